use std::fmt;
use std::io::{self, Read, Write};
use std::path::Path;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// A SHA-256 digest; written as 64 lower-case hex digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String", extend("pattern" = "^[0-9a-f]{64}$"))]
pub struct Digest([u8; 32]);

/// The text is not 64 hex digits.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a digest is 64 lower-case hexadecimal digits")]
pub struct ParseDigestError;

impl Digest {
    /// Digest of bytes in memory.
    pub fn of(bytes: impl AsRef<[u8]>) -> Self {
        Self(Sha256::digest(bytes.as_ref()).into())
    }

    /// Digest of the compact JSON form of `value`. Field order is the type's,
    /// so the digest is stable as long as the type is.
    pub fn of_json<T: Serialize>(value: &T) -> Self {
        Self::of(serde_json::to_vec(value).expect("pinned values serialize to JSON"))
    }

    /// A digest that was computed piece by piece.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The first `n` hex digits, for names of folders and for people.
    pub fn short(&self, n: usize) -> String {
        self.to_string()[..n.min(64)].to_owned()
    }

    /// The 32 bytes.
    pub fn bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Digest({self})")
    }
}

impl FromStr for Digest {
    type Err = ParseDigestError;

    fn from_str(s: &str) -> Result<Self, ParseDigestError> {
        let bytes = s.as_bytes();
        if bytes.len() != 64 || !bytes.iter().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
            return Err(ParseDigestError);
        }
        let mut out = [0; 32];
        for (byte, pair) in out.iter_mut().zip(bytes.chunks_exact(2)) {
            let hex = |c: u8| if c.is_ascii_digit() { c - b'0' } else { c - b'a' + 10 };
            *byte = hex(pair[0]) << 4 | hex(pair[1]);
        }
        Ok(Self(out))
    }
}

impl TryFrom<String> for Digest {
    type Error = ParseDigestError;

    fn try_from(s: String) -> Result<Self, ParseDigestError> {
        s.parse()
    }
}

impl From<Digest> for String {
    fn from(digest: Digest) -> Self {
        digest.to_string()
    }
}

/// A value for people: a digest by its first 12 digits, anything else as it is.
pub fn abbreviate(value: &str) -> String {
    match value.len() == 64 && value.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        true => format!("{}…", &value[..12]),
        false => value.to_owned(),
    }
}

/// One file of an artifact: its name inside the artifact, size and digest.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FileDigest {
    /// Path inside the artifact's folder, with forward slashes.
    pub file: String,
    /// Length in bytes.
    pub bytes: u64,
    /// Digest of the content.
    pub sha256: Digest,
}

/// Streams a regular file through SHA-256; returns its length and digest.
pub fn digest_file(path: &Path) -> io::Result<(u64, Digest)> {
    copy_digested(super::open_file(path)?, io::sink())
}

/// Copies bytes, and returns how many there were and their digest.
pub(super) fn copy_digested(mut from: impl Read, mut to: impl Write) -> io::Result<(u64, Digest)> {
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    let mut bytes = 0;
    loop {
        match from.read(&mut buffer)? {
            0 => return Ok((bytes, Digest(hasher.finalize().into()))),
            n => {
                hasher.update(&buffer[..n]);
                to.write_all(&buffer[..n])?;
                bytes += n as u64;
            }
        }
    }
}

/// Takes bytes and keeps their number and digest alone.
#[derive(Debug, Clone, Default)]
pub struct DigestWriter {
    hasher: Sha256,
    bytes: u64,
}

impl DigestWriter {
    /// How many bytes there were, and their digest.
    pub fn finish(self) -> (u64, Digest) {
        (self.bytes, Digest(self.hasher.finalize().into()))
    }
}

impl Write for DigestWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.hasher.update(bytes);
        self.bytes += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Every regular file below `dir`, sorted by name, with its digest; unfinished ones are left out.
pub fn digest_dir(dir: &Path) -> io::Result<Vec<FileDigest>> {
    fn walk(root: &Path, dir: &Path, out: &mut Vec<FileDigest>) -> io::Result<()> {
        for entry in std::fs::read_dir(dir)? {
            let entry = entry?;
            if super::is_temporary(&entry.file_name().to_string_lossy()) {
                continue;
            }
            let path = entry.path();
            if path.is_dir() {
                walk(root, &path, out)?;
            } else {
                let (bytes, sha256) = digest_file(&path)?;
                let name = path.strip_prefix(root).unwrap_or(&path);
                let file = name.iter().map(|part| part.to_string_lossy()).collect::<Vec<_>>().join("/");
                out.push(FileDigest { file, bytes, sha256 });
            }
        }
        Ok(())
    }
    let mut out = Vec::new();
    walk(dir, dir, &mut out)?;
    out.sort();
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_digests_are_abbreviated() {
        assert_eq!(abbreviate(&Digest::of("abc").to_string()), "ba7816bf8f01…");
        // As long as a digest, with a character across the cut.
        let name = format!("a{}b", "ä".repeat(31));
        assert_eq!((name.len(), abbreviate(&name)), (64, name));
    }

    #[test]
    fn text_form_round_trips_and_rejects_anything_else() {
        let digest = Digest::of("abc");
        assert_eq!(digest.to_string(), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        assert_eq!(digest.to_string().parse(), Ok(digest));
        for bad in ["", "ba78", &"G".repeat(64), &"BA".repeat(32)] {
            assert_eq!(bad.parse::<Digest>(), Err(ParseDigestError), "{bad}");
        }
    }
}
