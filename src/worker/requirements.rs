//! Which packages the worker runs on: exact versions, one a line.

use std::path::Path;

use miette::{NamedSource, SourceSpan};

use crate::store::{self, ReadError};

/// The list of this xp, for a backend that names none.
const OWN: &str = include_str!("requirements.txt");

/// Largest list that is read, in bytes, and most lines of it.
const MAX_BYTES: u64 = 64 << 10;
const MAX_LINES: usize = 1_000;

/// Packages without which there is no worker.
const NEEDED: [&str; 2] = ["torch", "transformers"];

/// Options of pip and uv that say where packages come from.
const OPTIONS: [&str; 3] = ["--index-url", "--extra-index-url", "--find-links"];

/// A list of packages with exact versions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Requirements {
    /// Each line, in order, without comments: `torch==2.15.0`.
    lines: Vec<String>,
}

/// A list of packages is none.
#[derive(Debug, thiserror::Error, miette::Diagnostic)]
pub enum RequirementsError {
    #[error(transparent)]
    #[diagnostic(transparent)]
    Read(#[from] ReadError),
    /// A line does not name a package and its version.
    #[error("{path}:{line}: {why}")]
    #[diagnostic(
        code(xp::worker::requirements),
        help(
            "write a package and its exact version, `torch==2.15.0`, or where packages come from: `--index-url https://…`"
        )
    )]
    Line {
        path: String,
        line: usize,
        why: String,
        #[source_code]
        text: NamedSource<String>,
        #[label("here")]
        at: SourceSpan,
    },
    /// A package that every worker needs is not on the list.
    #[error("{path} does not say which version of {package} is wanted")]
    #[diagnostic(code(xp::worker::requirement_missing), help("add a line `{package}==…`"))]
    Missing { path: String, package: &'static str },
}

impl Requirements {
    /// The list of this xp.
    pub fn own() -> Self {
        Self::parse("requirements.txt", OWN)
            .unwrap_or_else(|error| unreachable!("the embedded list: {error}"))
    }

    /// Reads a list; `shown` names it in errors.
    pub fn read(path: &Path, shown: &str) -> Result<Self, RequirementsError> {
        Self::parse(shown, &store::read_text_bounded(path, MAX_BYTES)?)
    }

    fn parse(shown: &str, text: &str) -> Result<Self, RequirementsError> {
        let mut lines = Vec::new();
        let mut offset = 0;
        for (index, whole) in text.split_inclusive('\n').enumerate() {
            let line = whole.split_once(" #").map_or(whole, |(line, _)| line).trim();
            let is_comment = line.starts_with('#');
            let at = (offset, whole.trim_end().len().max(1)).into();
            offset += whole.len();
            if line.is_empty() || is_comment {
                continue;
            }
            let many = (index >= MAX_LINES).then(|| format!("more than {MAX_LINES} lines"));
            if let Some(why) = many.or_else(|| mistake(line)) {
                let text = NamedSource::new(shown, text.to_owned());
                return Err(RequirementsError::Line {
                    path: shown.to_owned(),
                    line: index + 1,
                    why,
                    text,
                    at,
                });
            }
            let parts: Vec<&str> = line.split_whitespace().collect();
            lines.push(parts.join(" "));
        }
        let list = Self { lines };
        match NEEDED.into_iter().find(|needed| !list.packages().any(|(name, _)| name == *needed)) {
            Some(package) => Err(RequirementsError::Missing { path: shown.to_owned(), package }),
            None => Ok(list),
        }
    }

    /// What a lock pins of a list.
    pub fn pinned(lines: &[String]) -> Self {
        Self { lines: lines.to_vec() }
    }

    /// Each line, in order.
    pub fn lines(&self) -> &[String] {
        &self.lines
    }

    /// Name and version of every package.
    pub fn packages(&self) -> impl Iterator<Item = (&str, &str)> {
        self.lines.iter().filter_map(|line| line.split_once("=="))
    }
}

/// Why a line is none.
fn mistake(line: &str) -> Option<String> {
    if let Some((option, value)) = line.split_once(char::is_whitespace) {
        let value = value.trim();
        if !OPTIONS.contains(&option) {
            return Some(format!("`{option}` stands before a space and is none of {}", OPTIONS.join(", ")));
        }
        return (!value.starts_with("https://") || value.contains(char::is_whitespace))
            .then(|| format!("`{value}` is no address that begins with https://"));
    }
    let Some((name, version)) = line.split_once("==") else {
        return Some(format!("`{line}` does not say an exact version with `==`"));
    };
    let is_name = name.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
        && name.starts_with(|c: char| c.is_ascii_alphanumeric());
    if !is_name {
        return Some(format!("`{name}` is no name of a package"));
    }
    let is_version = version.chars().all(|c| c.is_ascii_alphanumeric() || ".+!-_".contains(c))
        && version.starts_with(|c: char| c.is_ascii_digit());
    (!is_version).then(|| format!("`{version}` is no exact version"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_exact_versions_and_where_they_come_from() {
        let text = "# a comment\n\ntorch==2.9.1+cpu  # the CPU's\ntransformers==5.0\n--extra-index-url   https://a/b\n";
        let list = Requirements::parse("r.txt", text).unwrap();
        assert_eq!(list.lines(), ["torch==2.9.1+cpu", "transformers==5.0", "--extra-index-url https://a/b"]);
        let packages: Vec<_> = list.packages().collect();
        assert_eq!(packages, [("torch", "2.9.1+cpu"), ("transformers", "5.0")]);
        assert_eq!(Requirements::pinned(list.lines()), list);
        assert!(Requirements::own().packages().any(|(name, _)| name == "torch"));
    }

    #[test]
    fn what_is_not_exact_is_refused_with_its_place() {
        for (line, why) in [
            ("torch>=2", "exact version with `==`"),
            ("torch", "exact version with `==`"),
            ("torch==2.*", "`2.*` is no exact version"),
            ("torch==", "no exact version"),
            ("-e==1", "no name of a package"),
            ("torch==2 ; sys_platform == 'x'", "`torch==2` stands before a space"),
            ("--index-url http://a", "begins with https://"),
            ("--pre", "exact version"),
            ("-r other.txt", "`-r` stands before a space"),
        ] {
            let text = format!("numpy==1\n{line}\ntransformers==5\n");
            match Requirements::parse("r.txt", &text).unwrap_err() {
                RequirementsError::Line { line: 2, why: found, at, .. } => {
                    assert!(found.contains(why), "{line}: {found}");
                    assert_eq!((at.offset(), at.len()), (9, line.len()), "{line}");
                }
                other => panic!("{line}: {other:?}"),
            }
        }
        let missing = Requirements::parse("r.txt", "torch==2\n").unwrap_err();
        assert!(matches!(missing, RequirementsError::Missing { package: "transformers", .. }));
    }
}
