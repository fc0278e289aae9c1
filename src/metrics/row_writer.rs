//! Rows of a CSV file, formatted into a buffer: a run of four million tokens
//! is written in well under a second and never held in memory as text.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::error::ContractError;
use crate::store::file::Writer;
use crate::store::{DigestWriter, FileDigest};

/// Bytes gathered before they are written.
const CHUNK: usize = 1 << 20;

/// Where the rows of a run go.
#[derive(Debug, Clone, Copy)]
pub(super) enum Target<'a> {
    /// Into files of a folder.
    Folder(&'a Path),
    /// Nowhere: their digests alone are wanted.
    Digest,
}

enum Sink {
    File(Writer),
    Digest(DigestWriter),
}

/// Writes one CSV file row by row.
pub(super) struct RowWriter {
    path: PathBuf,
    sink: Sink,
    buffer: Vec<u8>,
    /// The row has a cell already.
    in_row: bool,
}

impl RowWriter {
    /// Creates the file `name` with its header.
    pub(super) fn create(target: Target<'_>, name: &str, columns: &[&str]) -> Result<Self, ContractError> {
        let (path, sink) = match target {
            Target::Digest => (PathBuf::from(name), Sink::Digest(DigestWriter::default())),
            Target::Folder(folder) => {
                let path = folder.join(name);
                let file = Writer::create(&path);
                let file = file.map_err(|source| ContractError::Write { path: path.clone(), source })?;
                (path, Sink::File(file))
            }
        };
        let mut buffer = Vec::with_capacity(CHUNK + (CHUNK >> 4));
        buffer.extend_from_slice(columns.join(",").as_bytes());
        buffer.push(b'\n');
        Ok(Self { path, sink, buffer, in_row: false })
    }

    fn separate(&mut self) {
        if self.in_row {
            self.buffer.push(b',');
        }
        self.in_row = true;
    }

    /// A cell with a number.
    pub(super) fn number(&mut self, value: impl Into<u64>) {
        self.separate();
        push_number(&mut self.buffer, value.into());
    }

    /// A cell with a number, or nothing.
    pub(super) fn optional(&mut self, value: Option<u64>) {
        self.separate();
        if let Some(value) = value {
            push_number(&mut self.buffer, value);
        }
    }

    /// A cell with text, quoted where CSV (RFC 4180) asks for it.
    pub(super) fn text(&mut self, text: &str) {
        self.separate();
        if !text.bytes().any(|byte| matches!(byte, b',' | b'"' | b'\n' | b'\r')) {
            self.buffer.extend_from_slice(text.as_bytes());
            return;
        }
        self.buffer.push(b'"');
        self.buffer.extend_from_slice(text.replace('"', "\"\"").as_bytes());
        self.buffer.push(b'"');
    }

    /// A cell that `fill` appends; it holds no comma, quote or line break.
    pub(super) fn plain(&mut self, fill: impl FnOnce(&mut Vec<u8>)) {
        self.separate();
        fill(&mut self.buffer);
    }

    /// Ends the row.
    pub(super) fn end_row(&mut self) -> Result<(), ContractError> {
        self.buffer.push(b'\n');
        self.in_row = false;
        if self.buffer.len() >= CHUNK {
            self.flush()?;
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), ContractError> {
        let written = match &mut self.sink {
            Sink::File(file) => file.write_all(&self.buffer),
            Sink::Digest(digest) => digest.write_all(&self.buffer),
        };
        self.buffer.clear();
        self.done(written)
    }

    fn done(&self, result: io::Result<()>) -> Result<(), ContractError> {
        result.map_err(|source| ContractError::Write { path: self.path.clone(), source })
    }

    /// Writes what is left and waits until it is on the disk; or the digest, where that was wanted.
    pub(super) fn finish(mut self) -> Result<Option<FileDigest>, ContractError> {
        self.flush()?;
        let Self { path, sink, .. } = self;
        match sink {
            Sink::File(file) => {
                file.finish().map_err(|source| ContractError::Write { path, source })?;
                Ok(None)
            }
            Sink::Digest(digest) => {
                let (bytes, sha256) = digest.finish();
                Ok(Some(FileDigest { file: path.to_string_lossy().into_owned(), bytes, sha256 }))
            }
        }
    }
}

/// Appends a number in decimal digits.
pub(super) fn push_number(buffer: &mut Vec<u8>, mut value: u64) {
    let mut digits = [0; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (value % 10) as u8;
        value /= 10;
        if value == 0 {
            break;
        }
    }
    buffer.extend_from_slice(&digits[at..]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_text_are_csv() {
        let dir = tempfile::tempdir().unwrap();
        let mut rows = RowWriter::create(Target::Folder(dir.path()), "a.csv", &["a", "b", "c", "d"]).unwrap();
        rows.number(0u64);
        rows.number(u64::MAX);
        rows.optional(None);
        rows.text("say \"no\",\nthen go");
        rows.end_row().unwrap();
        rows.finish().unwrap();
        let text = std::fs::read_to_string(dir.path().join("a.csv")).unwrap();
        assert_eq!(text, "a,b,c,d\n0,18446744073709551615,,\"say \"\"no\"\",\nthen go\"\n");
    }
}
