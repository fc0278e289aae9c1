use std::fs::{self, File};
use std::io::{self, ErrorKind, Read};
use std::path::{Path, PathBuf};

/// A file could not be read, or is not what a reader may trust.
#[derive(Debug, thiserror::Error, miette::Diagnostic)]
pub enum ReadError {
    /// The operating system said no.
    #[error("cannot read {}", path.display())]
    #[diagnostic(code(xp::store::read))]
    Io { path: PathBuf, source: io::Error },
    /// It is a folder, a pipe or a device: reading it gives no file's bytes, or never ends.
    #[error("{} is not a file", path.display())]
    #[diagnostic(code(xp::store::not_a_file))]
    NotAFile { path: PathBuf, source: io::Error },
    /// The file is larger than any honest file of its kind.
    #[error("{} is larger than {limit} bytes", path.display())]
    #[diagnostic(
        code(xp::store::too_large),
        help("a file of this kind has at most {limit} bytes; is this the right file?")
    )]
    TooLarge { path: PathBuf, limit: u64 },
    /// The file is not UTF-8.
    #[error("{} is not UTF-8: byte {offset} does not belong to a character", path.display())]
    #[diagnostic(code(xp::store::not_utf8))]
    NotUtf8 { path: PathBuf, offset: usize },
}

/// Opens a regular file for reading.
///
/// # Errors
/// The system refuses, or it is something else: opening a pipe would wait for its writer.
pub fn open_file(path: &Path) -> io::Result<File> {
    match irregular(&fs::metadata(path)?) {
        Some(error) => Err(error),
        None => File::open(path),
    }
}

/// What stands in a file's place, if it is none.
fn irregular(found: &fs::Metadata) -> Option<io::Error> {
    match found {
        found if found.is_file() => None,
        found if found.is_dir() => Some(io::Error::new(ErrorKind::IsADirectory, "it is a folder")),
        _ => Some(io::Error::new(ErrorKind::InvalidInput, "it is a pipe, a socket or a device")),
    }
}

/// Reads a whole file of at most `limit` bytes; a longer one is refused without being read.
pub fn read_bounded(path: &Path, limit: u64) -> Result<Vec<u8>, ReadError> {
    let io = |source| ReadError::Io { path: path.to_owned(), source };
    let too_large = || ReadError::TooLarge { path: path.to_owned(), limit };
    let found = fs::metadata(path).map_err(io)?;
    if let Some(source) = irregular(&found) {
        return Err(ReadError::NotAFile { path: path.to_owned(), source });
    }
    if found.len() > limit {
        return Err(too_large());
    }
    let file = File::open(path).map_err(io)?;
    let mut bytes = Vec::new();
    // It may grow meanwhile, and some files of the system have no length.
    file.take(limit + 1).read_to_end(&mut bytes).map_err(io)?;
    if bytes.len() as u64 > limit { Err(too_large()) } else { Ok(bytes) }
}

/// Like [`read_bounded`], for text.
pub fn read_text_bounded(path: &Path, limit: u64) -> Result<String, ReadError> {
    String::from_utf8(read_bounded(path, limit)?).map_err(|error| ReadError::NotUtf8 {
        path: path.to_owned(),
        offset: error.utf8_error().valid_up_to(),
    })
}

#[cfg(test)]
mod tests {
    use super::super::digest_file;
    use super::*;

    #[test]
    fn only_regular_files_are_opened() {
        let dir = tempfile::tempdir().unwrap();
        let error = read_bounded(dir.path(), 9).unwrap_err();
        assert!(
            matches!(&error, ReadError::NotAFile { source, .. } if source.to_string() == "it is a folder")
        );
        assert_eq!(digest_file(dir.path()).unwrap_err().kind(), ErrorKind::IsADirectory);
        let pipe = dir.path().join("pipe");
        if std::process::Command::new("mkfifo").arg(&pipe).status().is_ok_and(|made| made.success()) {
            assert!(matches!(read_bounded(&pipe, 9), Err(ReadError::NotAFile { .. })));
            assert!(digest_file(&pipe).is_err());
        }
        let none = read_bounded(&dir.path().join("none"), 9).unwrap_err();
        assert!(matches!(none, ReadError::Io { source, .. } if source.kind() == ErrorKind::NotFound));
    }
}
