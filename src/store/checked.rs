//! Files of xp's own that only save work: what they say can be found out again. Their first line is
//! the digest of the rest, so a damaged one is as good as none.

use std::io;
use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{Digest, read_text_bounded, write};

/// Largest file of this kind that is read, in bytes.
const MAX_BYTES: u64 = 64 << 20;

/// Reads what [`write_checked`] wrote. None if there is nothing, or nothing whole.
pub fn read_checked<T: DeserializeOwned>(path: &Path) -> Option<T> {
    let text = read_text_bounded(path, MAX_BYTES).ok()?;
    let (digest, body) = text.split_once('\n')?;
    let digest: Digest = digest.parse().ok()?;
    (Digest::of(body) == digest).then(|| serde_json::from_str(body).ok()).flatten()
}

/// Writes a value as JSON under its digest.
pub fn write_checked<T: Serialize>(path: &Path, value: &T) -> io::Result<()> {
    let body = serde_json::to_string(value).map_err(io::Error::other)?;
    write(path, format!("{}\n{body}", Digest::of(&body)).as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_damaged_file_is_as_good_as_none() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x");
        assert_eq!(read_checked::<u64>(&path), None);
        write_checked(&path, &1234567_u64).unwrap();
        assert_eq!(read_checked::<u64>(&path), Some(1234567));
        assert_eq!(read_checked::<String>(&path), None);
        let whole = std::fs::read(&path).unwrap();
        for at in 0..whole.len() {
            let mut bytes = whole.clone();
            bytes[at] ^= 1;
            std::fs::write(&path, &bytes).unwrap();
            assert_eq!(read_checked::<u64>(&path), None, "byte {at}");
            std::fs::write(&path, &whole[..at]).unwrap();
            assert_eq!(read_checked::<u64>(&path), None, "cut at {at}");
        }
    }
}
