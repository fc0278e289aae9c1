use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// A file could not be read, or is not what a reader may trust.
#[derive(Debug, thiserror::Error, miette::Diagnostic)]
pub enum ReadError {
    /// The operating system said no.
    #[error("cannot read {}", path.display())]
    #[diagnostic(code(xp::store::read))]
    Io { path: PathBuf, source: io::Error },
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

/// Reads a whole file of at most `limit` bytes; a longer one is refused without being read.
pub fn read_bounded(path: &Path, limit: u64) -> Result<Vec<u8>, ReadError> {
    let io = |source| ReadError::Io { path: path.to_owned(), source };
    let file = File::open(path).map_err(io)?;
    let mut bytes = Vec::new();
    file.take(limit + 1).read_to_end(&mut bytes).map_err(io)?;
    if bytes.len() as u64 > limit {
        return Err(ReadError::TooLarge { path: path.to_owned(), limit });
    }
    Ok(bytes)
}

/// Like [`read_bounded`], for text.
pub fn read_text_bounded(path: &Path, limit: u64) -> Result<String, ReadError> {
    String::from_utf8(read_bounded(path, limit)?).map_err(|error| ReadError::NotUtf8 {
        path: path.to_owned(),
        offset: error.utf8_error().valid_up_to(),
    })
}
