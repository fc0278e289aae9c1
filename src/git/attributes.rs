use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use super::error::GitError;
use crate::store;

/// No honest attributes file is larger.
const MAX_BYTES: u64 = 1 << 20;

/// An attributes file, and the line in it that is xp's.
#[derive(Debug)]
pub struct Attributes {
    path: PathBuf,
    text: String,
    pattern: &'static str,
    attributes: &'static [(&'static str, &'static str)],
}

impl Attributes {
    /// Reads the file; one that does not exist is empty. The line is `PATTERN NAME=VALUE…`.
    ///
    /// # Errors
    /// The file cannot be read, or is no text.
    pub fn read(
        path: &Path,
        pattern: &'static str,
        attributes: &'static [(&'static str, &'static str)],
    ) -> Result<Self, GitError> {
        let io = |source| GitError::Io { path: path.to_owned(), source };
        let text = match fs::metadata(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => String::new(),
            Err(error) => return Err(io(error)),
            Ok(found) if found.len() > MAX_BYTES => {
                return Err(GitError::TooLarge { name: path.display().to_string(), limit: MAX_BYTES });
            }
            Ok(_) => fs::read_to_string(path).map_err(io)?,
        };
        Ok(Self { path: path.to_owned(), text, pattern, attributes })
    }

    /// The line that is xp's.
    pub fn line(&self) -> String {
        let attributes = self.attributes.iter().map(|(name, value)| format!(" {name}={value}"));
        format!("{}{}", self.pattern, attributes.collect::<String>())
    }

    /// The lines about this pattern: number from 1, and the line.
    fn about(&self) -> impl Iterator<Item = (usize, &str)> {
        let lines = (1..).zip(self.text.lines().map(str::trim));
        lines.filter(|(_, line)| {
            let pattern = line.split_whitespace().next().unwrap_or_default();
            pattern == self.pattern || pattern.trim_matches('"') == self.pattern
        })
    }

    /// Whether the line is there.
    pub fn is_there(&self) -> bool {
        let line = self.line();
        self.about().any(|(_, found)| found.split_whitespace().eq(line.split_whitespace()))
    }

    /// A line that gives the pattern one of the attributes otherwise.
    pub fn taken(&self) -> Option<GitError> {
        let (number, found) = self.about().find(|(_, line)| {
            line.split_whitespace().skip(1).any(|word| {
                let (name, value) = word.split_once('=').unwrap_or((word, ""));
                let name = name.trim_start_matches(['-', '!']);
                let own = self.attributes.iter().find(|(known, _)| *known == name);
                name == "binary" || own.is_some_and(|(_, wanted)| *wanted != value)
            })
        })?;
        Some(GitError::Taken {
            place: format!("{}:{number}", self.path.display()),
            found: found.to_owned(),
            wanted: self.line(),
        })
    }

    /// Adds the line at the end, where it outranks the lines before it. To be called when nothing is
    /// [taken](Self::taken).
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn add(&mut self) -> Result<(), GitError> {
        if self.is_there() {
            return Ok(());
        }
        if !self.text.is_empty() && !self.text.ends_with('\n') {
            self.text.push('\n');
        }
        self.text.push_str(&self.line());
        self.text.push('\n');
        self.write()
    }

    /// Takes the line back; a file that held nothing else goes with it.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn remove(&mut self) -> Result<bool, GitError> {
        if !self.is_there() {
            return Ok(false);
        }
        let own = self.line();
        let is_own = |line: &str| line.split_whitespace().eq(own.split_whitespace());
        self.text = self.text.split_inclusive('\n').filter(|line| !is_own(line)).collect();
        if self.text.is_empty() {
            let io = |source| GitError::Io { path: self.path.clone(), source };
            store::file::remove_file(&self.path).map_err(io)?;
        } else {
            self.write()?;
        }
        Ok(true)
    }

    fn write(&self) -> Result<(), GitError> {
        // A link is followed: attributes files are kept elsewhere and linked to.
        let path = fs::canonicalize(&self.path).unwrap_or_else(|_| self.path.clone());
        store::write(&path, self.text.as_bytes()).map_err(|source| GitError::Io { path, source })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attributes(text: &str) -> (tempfile::TempDir, Attributes) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(".gitattributes");
        if !text.is_empty() {
            fs::write(&path, text).unwrap();
        }
        let read = Attributes::read(&path, "*.lock.kdl", &[("diff", "xp-lock"), ("merge", "xp-lock")]);
        (dir, read.unwrap())
    }

    #[test]
    fn a_line_is_added_once_and_taken_back() {
        for before in ["", "*.png binary\n", "# mine\n*.lock.kdl text eol=lf"] {
            let (dir, mut file) = attributes(before);
            assert!(!file.is_there() && file.taken().is_none());
            file.add().unwrap();
            file.add().unwrap();
            let path = dir.path().join(".gitattributes");
            let text = fs::read_to_string(&path).unwrap();
            assert_eq!(text.matches("*.lock.kdl diff=xp-lock merge=xp-lock\n").count(), 1, "{text}");
            assert!(text.starts_with(before));
            assert!(file.remove().unwrap() && !file.remove().unwrap());
            let after = fs::read_to_string(&path).unwrap_or_default();
            assert_eq!(after.trim_end(), before.trim_end());
            assert_eq!(path.exists(), !before.is_empty());
        }
    }

    #[test]
    fn what_a_person_wrote_is_not_replaced() {
        for taken in
            ["*.lock.kdl merge=union", "*.lock.kdl -diff", "\"*.lock.kdl\" binary", "*.lock.kdl !merge"]
        {
            let (_dir, file) = attributes(&format!("a b\n{taken}\n"));
            let error = file.taken().unwrap().to_string();
            assert!(error.contains(".gitattributes:2 ") && error.contains(taken), "{error}");
        }
        let (_dir, file) = attributes("*.lock.kdl  merge=xp-lock\tdiff=xp-lock");
        assert!(file.taken().is_none() && !file.is_there());
    }
}
