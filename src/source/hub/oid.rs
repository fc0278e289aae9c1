//! The names that the hub gives to contents, and that its cache gives to blobs.

use std::fmt;
use std::io::{self, Read as _};
use std::path::Path;

use sha1::{Digest as _, Sha1};
use sha2::Sha256;

use crate::store::{Digest, open_file};

/// The hub's own digest of a file; written in hex, it is the blob's name in the cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Oid {
    /// SHA-256 of the content: files kept by Git LFS.
    Sha256(Digest),
    /// Git's object name: SHA-1 of `blob LENGTH\0` and the content.
    Git([u8; 20]),
}

impl Oid {
    /// Reads 40 or 64 lower-case hex digits; nothing else may become a file's name.
    pub fn parse(text: &str) -> Option<Self> {
        if text.len() == 64 {
            return text.parse().ok().map(Self::Sha256);
        }
        if text.len() != 40 || !text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
            return None;
        }
        let mut bytes = [0; 20];
        for (byte, at) in bytes.iter_mut().zip((0..).step_by(2)) {
            *byte = u8::from_str_radix(&text[at..at + 2], 16).ok()?;
        }
        Some(Self::Git(bytes))
    }

    /// What the digest is called.
    pub fn algorithm(&self) -> &'static str {
        match self {
            Self::Sha256(_) => "SHA-256",
            Self::Git(_) => "git SHA-1",
        }
    }
}

impl fmt::Display for Oid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sha256(digest) => digest.fmt(f),
            Self::Git(bytes) => bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}")),
        }
    }
}

/// Both digests of a file of known length, as it arrives.
pub(super) struct Hasher {
    sha256: Sha256,
    /// Only of files that git itself keeps: the others are large.
    git: Option<Sha1>,
}

impl Hasher {
    /// A hasher of a file of `size` bytes that will be held against `oid`.
    pub fn new(oid: Oid, size: u64) -> Self {
        let git = matches!(oid, Oid::Git(_)).then(|| Sha1::new_with_prefix(format!("blob {size}\0")));
        Self { sha256: Sha256::new(), git }
    }

    pub fn update(&mut self, bytes: &[u8]) {
        self.sha256.update(bytes);
        if let Some(git) = &mut self.git {
            git.update(bytes);
        }
    }

    /// The digest of the kind that was asked for, and SHA-256.
    pub fn finish(self) -> (Oid, Digest) {
        let sha256 = Digest::from_bytes(self.sha256.finalize().into());
        match self.git {
            Some(git) => (Oid::Git(git.finalize().into()), sha256),
            None => (Oid::Sha256(sha256), sha256),
        }
    }
}

/// The digest of a file on disk, of the kind that `like` is.
pub(super) fn of_file(path: &Path, like: Oid) -> io::Result<Oid> {
    let mut file = open_file(path)?;
    let mut hasher = Hasher::new(like, file.metadata()?.len());
    let mut piece = vec![0; 1 << 16];
    loop {
        match file.read(&mut piece)? {
            0 => return Ok(hasher.finish().0),
            n => hasher.update(&piece[..n]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_are_those_of_git_and_sha256sum() {
        // `printf 'hello\n' | git hash-object --stdin`
        let git = Oid::parse("ce013625030ba8dba906f756967f9e9ca394464a").unwrap();
        let mut hasher = Hasher::new(git, 6);
        hasher.update(b"hel");
        hasher.update(b"lo\n");
        let (oid, sha256) = hasher.finish();
        assert_eq!((oid, sha256), (git, Digest::of("hello\n")));
        assert_eq!(oid.to_string(), "ce013625030ba8dba906f756967f9e9ca394464a");
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("hello");
        std::fs::write(&path, "hello\n").unwrap();
        assert_eq!(of_file(&path, git).unwrap(), git);
        assert_eq!(of_file(&path, Oid::Sha256(Digest::of(""))).unwrap(), Oid::Sha256(sha256));
        let (oid, sha256) = Hasher::new(Oid::Sha256(sha256), 0).finish();
        assert_eq!((oid, oid.to_string()), (Oid::Sha256(sha256), Digest::of("").to_string()));
    }

    #[test]
    fn only_hex_of_a_known_length_is_a_name() {
        let dots = "../".repeat(14);
        for bad in
            ["", "ab", &"G".repeat(40), &"AB".repeat(20), &"é".repeat(20), &dots[..40], &"a".repeat(65)]
        {
            assert_eq!(Oid::parse(bad), None, "{bad:?}");
        }
    }
}
