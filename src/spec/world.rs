//! What an experiment needs of the world around it: files that it includes, and
//! the shape of a model that the catalog does not know. Whoever checks an
//! experiment brings a world; this room opens no file.

use std::io::ErrorKind;
use std::path::Path;

use super::experiment::Source;
use crate::catalog::ModelConfig;
use crate::store::ReadError;

/// A project as an experiment sees it.
pub trait World {
    /// The text of a file of at most `limit` bytes. `path` is relative to the project, with `/`, without `.` and `..`.
    ///
    /// # Errors
    /// The file cannot be read, or it is no text of that size.
    fn read(&self, path: &str, limit: u64) -> Result<String, ReadError>;

    /// What diagnostics call the file.
    fn shown(&self, path: &str) -> String {
        path.to_owned()
    }

    /// The shape of a model whose weights come from elsewhere, if it is at hand: nothing is downloaded for it.
    /// `data` is what the experiment says of its data folder.
    fn shape(&self, source: &Source, data: Option<&str>) -> Option<ModelConfig> {
        let _ = (source, data);
        None
    }
}

/// A world of one text.
pub(super) struct OneText<'a> {
    pub name: &'a str,
    pub text: &'a str,
}

impl World for OneText<'_> {
    fn read(&self, path: &str, _: u64) -> Result<String, ReadError> {
        if path == self.name {
            return Ok(self.text.to_owned());
        }
        Err(ReadError::Io { path: Path::new(path).to_owned(), source: ErrorKind::NotFound.into() })
    }
}

/// The path of a file that `from` includes as `written`, relative to the project; or why it has none.
pub(super) fn join(from: &str, written: &str) -> Result<String, &'static str> {
    if written.is_empty() {
        return Err("it is empty");
    }
    if written.contains('\\') {
        return Err("paths are written with `/`");
    }
    if written.starts_with(['/', '~']) || written.as_bytes().get(1) == Some(&b':') {
        return Err("paths are relative to the file that includes");
    }
    if written.chars().any(char::is_control) {
        return Err("it holds a control character");
    }
    let mut parts: Vec<&str> = from.split('/').collect();
    parts.pop();
    for part in written.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop().ok_or("`..` leaves the project")?;
            }
            part => parts.push(part),
        }
    }
    match written.rsplit('/').next() {
        Some("" | "." | "..") => Err("it names no file"),
        _ => Ok(parts.join("/")),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn paths_are_relative_to_the_file_and_stay_in_the_project() {
        let from = "experiments/deep/a.kdl";
        assert_eq!(join(from, "b.kdl").unwrap(), "experiments/deep/b.kdl");
        assert_eq!(join(from, "./x//b.kdl").unwrap(), "experiments/deep/x/b.kdl");
        assert_eq!(join(from, "../../shared/b.kdl").unwrap(), "shared/b.kdl");
        assert_eq!(join("a.kdl", "b.kdl").unwrap(), "b.kdl");
        for bad in
            ["", "/etc/passwd", "~/b.kdl", "C:/b.kdl", "a\\b", "../../../b.kdl", "..", "b/", "a\nb", "."]
        {
            assert!(join(from, bad).is_err(), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn no_path_climbs_out(written in "[a./~\\\\:]{0,12}") {
            if let Ok(path) = join("x/y.kdl", &written) {
                prop_assert!(!path.starts_with('/') && path.split('/').all(|part| !matches!(part, "" | "." | "..")), "{path}");
            }
        }
    }
}
