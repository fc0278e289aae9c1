//! The data of a report inside its PDF, and how they are read back.

use std::io::Read;

use flate2::read::ZlibDecoder;
use serde::Serialize;

use super::{Contents, ReportError};
use crate::capacity::capacity_json;
use crate::compare::comparison_json;

/// Name of the attached lock.
pub const LOCK: &str = "lock.kdl";
/// Name of the attached search.
pub const CAPACITY: &str = "capacity.json";
/// Name of the attached prices of the compared runs.
pub const PRICES: &str = "prices.json";

/// A file inside a PDF.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Attachment {
    pub name: String,
    mime: &'static str,
    description: String,
    #[serde(skip)]
    pub bytes: Vec<u8>,
}

/// What a report of these contents carries.
pub(super) fn of(contents: &Contents<'_>) -> Result<Vec<Attachment>, ReportError> {
    let Contents { comparisons, lock, capacity, prices } = *contents;
    let mut out = Vec::with_capacity(comparisons.len() + 3);
    for (number, comparison) in (1..).zip(comparisons) {
        out.push(Attachment {
            name: format!("comparison-{number}.json"),
            mime: "application/json",
            description: format!("Everything that the report says of run {number}"),
            bytes: comparison_json(comparison)?,
        });
    }
    let json = |name: &str, description: &str, bytes: Vec<u8>| Attachment {
        name: name.to_owned(),
        mime: "application/json",
        description: description.to_owned(),
        bytes,
    };
    if let Some(capacity) = capacity {
        out.push(json(CAPACITY, "Every probe of the search for the highest rates", capacity_json(capacity)?));
    }
    if let Some(prices) = prices {
        out.push(json(PRICES, "What the runs cost", serde_json::to_vec(prices)?));
    }
    out.extend(lock.map(|text| Attachment {
        name: LOCK.to_owned(),
        mime: "text/plain",
        description: "The lock of all runs".to_owned(),
        bytes: text.as_bytes().to_vec(),
    }));
    Ok(out)
}

/// Largest attached file that is read, in bytes: as large as a `comparison.json` may be.
const MAX_BYTES: u64 = 256 << 20;

/// Reads what [`super::render_pdf`] attached, in the order of the file. It knows the form in which xp writes
/// its reports and no other PDF: every length is checked, and nothing is taken for granted.
///
/// # Errors
/// [`ReportError::Attachments`] where the bytes are no such report, or were damaged.
pub fn attachments(pdf: &[u8]) -> Result<Vec<Attachment>, ReportError> {
    if !pdf.starts_with(b"%PDF-") {
        return Err(damaged("it is no PDF"));
    }
    let mut out = Vec::new();
    let mut rest = pdf;
    while let Some(after) = after(rest, b" 0 obj\n<</Type/Filespec/F(") {
        rest = after;
        let name = text(take_until(&mut rest, b')')?)?;
        let file = self::after(rest, b"/EF<</F ").ok_or_else(|| damaged("a file has no content"))?;
        let number = number(&mut &*file)?;
        let head = format!("\n{number} 0 obj\n<</Length ");
        let object = self::after(pdf, head.as_bytes());
        let bytes = content(object.ok_or_else(|| damaged("a file has no content"))?)?;
        out.push(Attachment { name: name.to_owned(), mime: "", description: String::new(), bytes });
    }
    Ok(out)
}

/// The content of an embedded file, from the number of its length on.
fn content(mut object: &[u8]) -> Result<Vec<u8>, ReportError> {
    let length = number(&mut object)?;
    let end = object.windows(7).position(|window| window == b"stream\n");
    let end = end.ok_or_else(|| damaged("a file has no content"))?;
    let (head, stream) = (&object[..end], &object[end + 7..]);
    let size = number(&mut after(head, b"/Params<</Size ").ok_or_else(|| damaged("a file has no size"))?)?;
    let stored = usize::try_from(length).ok().and_then(|length| stream.get(..length));
    let stored = stored.ok_or_else(|| damaged("a file ends before its end"))?;
    if !head.starts_with(b"/Type/EmbeddedFile") || size > MAX_BYTES {
        return Err(damaged("a file is none, or too large"));
    }
    let mut bytes = Vec::new();
    match after(head, b"/Filter/FlateDecode") {
        Some(_) => {
            // No more than it says: a few bytes can unpack to any number.
            let unpacked = ZlibDecoder::new(stored).take(size + 1).read_to_end(&mut bytes);
            unpacked.map_err(|_| damaged("a file cannot be unpacked"))?;
        }
        None => bytes.extend_from_slice(stored),
    }
    if bytes.len() as u64 != size {
        return Err(damaged("a file has another size than it says"));
    }
    Ok(bytes)
}

fn damaged(why: &str) -> ReportError {
    ReportError::Attachments { why: why.to_owned() }
}

/// What follows the first `needle`.
fn after<'a>(bytes: &'a [u8], needle: &[u8]) -> Option<&'a [u8]> {
    let at = bytes.windows(needle.len()).position(|window| window == needle)?;
    Some(&bytes[at + needle.len()..])
}

/// The bytes before the first `end`, which is passed too.
fn take_until<'a>(bytes: &mut &'a [u8], end: u8) -> Result<&'a [u8], ReportError> {
    let at =
        bytes.iter().take(4096).position(|byte| *byte == end).ok_or_else(|| damaged("a name has no end"))?;
    let (taken, rest) = bytes.split_at(at);
    *bytes = &rest[1..];
    Ok(taken)
}

/// A name of an attached file; xp gives them plain ones.
fn text(bytes: &[u8]) -> Result<&str, ReportError> {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-.".contains(byte);
    match std::str::from_utf8(bytes) {
        Ok(text) if bytes.iter().all(plain) => Ok(text),
        _ => Err(damaged("a file has a name that xp does not give")),
    }
}

/// The decimal number at the start.
fn number(bytes: &mut &[u8]) -> Result<u64, ReportError> {
    let digits = bytes.iter().take(20).take_while(|byte| byte.is_ascii_digit()).count();
    let (taken, rest) = bytes.split_at(digits);
    *bytes = rest;
    let parsed = std::str::from_utf8(taken).ok().and_then(|text| text.parse().ok());
    parsed.ok_or_else(|| damaged("a number is none"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::fixture::matrix;
    use crate::report::render_pdf;

    #[test]
    fn what_is_attached_is_read_back_to_the_byte() {
        let runs = matrix(2);
        for lock in [None, Some("lock 1\n"), Some(&*"lock 1 // long enough to be packed\n".repeat(99))] {
            let pdf = render_pdf(&runs, lock).unwrap();
            let read = attachments(&pdf).unwrap();
            let bytes = |files: &[Attachment]| -> Vec<(String, Vec<u8>)> {
                files.iter().map(|file| (file.name.clone(), file.bytes.clone())).collect()
            };
            let contents = Contents { comparisons: &runs, lock, ..Contents::default() };
            assert_eq!(bytes(&read), bytes(&of(&contents).unwrap()));
        }
    }

    #[test]
    fn damaged_and_hostile_files_are_refused() {
        let pdf = render_pdf(&matrix(2), Some("lock 1\n")).unwrap();
        let good = attachments(&pdf).unwrap();
        for length in (0..pdf.len()).step_by(pdf.len() / 60) {
            // Cut anywhere: an error, or fewer files, and never others.
            if let Ok(read) = attachments(&pdf[..length]) {
                assert!(good.starts_with(&read), "{length}");
            }
        }
        let with = |from: &str, to: &str| {
            let at = pdf.windows(from.len()).position(|window| window == from.as_bytes()).unwrap();
            let edited = [&pdf[..at], to.as_bytes(), &pdf[at + from.len()..]].concat();
            attachments(&edited).map(|files| files.len()).unwrap_err().to_string()
        };
        let said = [
            attachments(b"words").unwrap_err().to_string(),
            with("F(comparison-1.json)", "F(../comparison)"),
            with("/EF<</F ", "/EF<</F x"),
            with("/Params<</Size ", "/Params<</Size 1"),
            with("/Params<</Size ", "/Params<</Size 99999999999999999999"),
            with("/Type/EmbeddedFile", "/Type/Embedded"),
        ];
        insta::assert_snapshot!(said.join("\n"), @r"
        the PDF's attached data cannot be read: it is no PDF
        the PDF's attached data cannot be read: a file has a name that xp does not give
        the PDF's attached data cannot be read: a number is none
        the PDF's attached data cannot be read: a file has another size than it says
        the PDF's attached data cannot be read: a number is none
        the PDF's attached data cannot be read: a file is none, or too large
        ");
    }
}
