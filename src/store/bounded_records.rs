use std::io::{self, Read};

/// A CSV file, or a record of one, is longer than any honest one, or a line is empty.
#[derive(Debug, thiserror::Error)]
pub enum OutOfBounds {
    #[error("larger than {limit} bytes")]
    File { limit: u64 },
    #[error("line {line} is longer than {limit} bytes")]
    Record { line: u64, limit: usize },
    #[error("line {line} is empty")]
    EmptyLine { line: u64 },
}

/// Where in a record the next byte stands. Quotes count where the CSV reader counts them: a reader
/// that saw other ends of records could be made to gather a record without end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    CellStart,
    Plain,
    Quoted,
    /// Behind a quote of a quoted cell: its end, or half of a quote that is meant.
    Quote,
}

/// Passes the bytes of a CSV file on, and refuses a file or a record that is too long before the CSV
/// reader gathers it; errors are [`OutOfBounds`] within [`io::Error`]. A line break inside quotes does
/// not end a record.
#[derive(Debug)]
pub struct BoundedRecords<R> {
    inner: R,
    left: u64,
    max_file: u64,
    max_record: usize,
    lenient: bool,
    /// Bytes of the record so far, and the line that it is on.
    record: usize,
    line: u64,
    at: At,
    at_end: bool,
}

impl<R> BoundedRecords<R> {
    /// For a file whose lines end in `\n`, none of them empty; limits are in bytes.
    pub fn new(inner: R, max_file: u64, max_record: usize) -> Self {
        Self {
            inner,
            left: max_file,
            max_file,
            max_record,
            lenient: false,
            record: 0,
            line: 1,
            at: At::CellStart,
            at_end: false,
        }
    }

    /// For a file of anybody's: lines may be empty, and end in `\r` or `\r\n` too.
    pub fn lenient(inner: R, max_file: u64, max_record: usize) -> Self {
        Self { lenient: true, ..Self::new(inner, max_file, max_record) }
    }

    /// Whether the file has ended, and not with the end of a line.
    pub fn ends_within_a_record(&self) -> bool {
        self.at_end && self.record > 0
    }

    fn account(&mut self, bytes: &[u8]) -> Result<(), OutOfBounds> {
        self.left =
            self.left.checked_sub(bytes.len() as u64).ok_or(OutOfBounds::File { limit: self.max_file })?;
        for &byte in bytes {
            let ends = byte == b'\n' || (byte == b'\r' && self.lenient);
            if ends && self.at != At::Quoted {
                if self.record == 0 && !self.lenient {
                    return Err(OutOfBounds::EmptyLine { line: self.line });
                }
                self.record = 0;
                self.at = At::CellStart;
                self.line += u64::from(byte == b'\n');
                continue;
            }
            self.line += u64::from(byte == b'\n');
            self.at = match (self.at, byte) {
                (At::CellStart, b'"') | (At::Quote, b'"') => At::Quoted,
                (At::Quoted, b'"') => At::Quote,
                (At::Quoted, _) => At::Quoted,
                (_, b',') => At::CellStart,
                // Text behind a closing quote belongs to the cell, and has no quotes of its own.
                _ => At::Plain,
            };
            self.record += 1;
            if self.record > self.max_record {
                return Err(OutOfBounds::Record { line: self.line, limit: self.max_record });
            }
        }
        Ok(())
    }
}

impl<R: Read> Read for BoundedRecords<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.at_end = read == 0;
        self.account(&buffer[..read]).map_err(io::Error::other)?;
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_file_over_the_limit_is_refused_while_it_is_read() {
        let mut source = BoundedRecords::new(io::repeat(b'\n').chain(io::empty()), 10, 4);
        source.record = 1;
        let error = io::copy(&mut source, &mut io::sink()).unwrap_err();
        assert!(error.to_string().contains("larger than 10 bytes"), "{error}");
    }

    /// The records of a text as the CSV reader gathers them behind the bounds: their bytes at most.
    fn longest(text: &str, lenient: bool) -> Result<usize, String> {
        let bounded = match lenient {
            true => BoundedRecords::lenient(text.as_bytes(), u64::MAX, 8),
            false => BoundedRecords::new(text.as_bytes(), u64::MAX, 8),
        };
        let terminator = if lenient { csv::Terminator::CRLF } else { csv::Terminator::Any(b'\n') };
        let mut reader = csv::ReaderBuilder::new()
            .has_headers(false)
            .flexible(true)
            .terminator(terminator)
            .from_reader(bounded);
        let mut longest = 0;
        let mut record = csv::ByteRecord::new();
        while reader.read_byte_record(&mut record).map_err(|error| error.to_string())? {
            longest = longest.max(record.as_slice().len() + record.len() - 1);
        }
        Ok(longest)
    }

    #[test]
    fn quotes_that_close_nothing_do_not_hide_the_end_of_a_record() {
        // To the CSV reader all of it is one record: a quote within a cell means nothing.
        let text = format!("a\",\"\n{}", "\",a\"\",\"\n".repeat(100));
        for lenient in [false, true] {
            assert!(longest(&text, lenient).unwrap_err().contains("longer than 8 bytes"));
            assert_eq!(longest("a\"b,c\nd\n", lenient), Ok(5));
            assert_eq!(longest("\"a\nb\",c\nd\n", lenient), Ok(5));
        }
    }

    proptest! {
        #[test]
        fn no_record_is_longer_than_the_bound(text in "[a,\"\n\r]{0,60}", lenient: bool) {
            if let Ok(longest) = longest(&text, lenient) {
                prop_assert!(longest <= 8, "{longest}");
            }
        }
    }
}
