//! What a person may name as a lock: a file, a file at a revision, standard
//! input, or none.

use std::io::Read;
use std::path::{Path, PathBuf};

use crate::git::{GitError, Repository, split_revision};
use crate::lock::{self, Lock, LockError};
use crate::store::ReadError;

/// Largest lock that is read, in bytes.
const MAX_BYTES: u64 = 64 << 20;

/// One side of a diff.
#[derive(Debug)]
pub struct Side {
    /// As the person named it.
    pub name: String,
    /// None: there is no lock.
    pub lock: Option<Lock>,
    /// Where it lies, or lay: its project is found from there.
    pub file: Option<PathBuf>,
}

/// A lock that was asked for is not to be had.
#[derive(Debug, thiserror::Error, miette::Diagnostic)]
pub enum OperandError {
    #[error(transparent)]
    #[diagnostic(transparent)]
    Git(#[from] GitError),
    #[error(transparent)]
    #[diagnostic(transparent)]
    Lock(#[from] LockError),
    #[error(transparent)]
    #[diagnostic(transparent)]
    Read(#[from] ReadError),
    /// Neither a file nor a revision.
    #[error("there is no lock {name:?}")]
    #[diagnostic(code(xp::diff::no_lock), help("{help}"))]
    NoLock { name: String, help: String },
    /// Standard input has one text.
    #[error("standard input can be one of the two locks, not both")]
    #[diagnostic(code(xp::diff::stdin), help("name a file for the other"))]
    Stdin,
    /// Standard input could not be read.
    #[error("cannot read standard input")]
    #[diagnostic(code(xp::diff::stdin))]
    Input { source: std::io::Error },
    /// Nothing is compared with nothing.
    #[error("neither side is a lock")]
    #[diagnostic(code(xp::diff::nothing), help("name a lock, or two"))]
    Nothing,
}

/// The two sides of `xp diff OLD [NEW]`.
///
/// # Errors
/// One of them cannot be read, or none of them is a lock.
pub fn sides(old: &str, new: Option<&str>) -> Result<(Side, Side), OperandError> {
    if old == "-" && new == Some("-") {
        return Err(OperandError::Stdin);
    }
    let (old, new) = match new {
        Some(new) => (side(old)?, side(new)?),
        None => against_head(old)?,
    };
    if old.lock.is_none() && new.lock.is_none() {
        return Err(OperandError::Nothing);
    }
    Ok((old, new))
}

fn side(name: &str) -> Result<Side, OperandError> {
    let made = |lock, file| Ok(Side { name: name.to_owned(), lock, file });
    if name == "/dev/null" {
        return made(None, None);
    }
    if name == "-" {
        return made(Some(parse("standard input", &stdin()?)?), None);
    }
    let path = Path::new(name);
    // A file of that name wins: a revision can always be written otherwise.
    if path.symlink_metadata().is_ok() {
        return made(Some(lock::read(path)?), Some(path.to_owned()));
    }
    let Some((rev, path)) = split_revision(name) else { return Err(no_lock(name)) };
    let repository =
        Repository::of(Path::new("."), "a lock at a revision is read from the repository of this folder")?;
    let lock = parse(name, &repository.text_at(rev, path, MAX_BYTES)?)?;
    let file = match path.strip_prefix("./") {
        Some(path) => PathBuf::from(path),
        // A repository without a working tree has no project.
        None => repository.top().unwrap_or_default().join(path),
    };
    made(Some(lock), Some(file))
}

/// A lock as the last commit has it, and as it is.
fn against_head(name: &str) -> Result<(Side, Side), OperandError> {
    if name == "-" || name == "/dev/null" {
        let help = "with one lock, the last commit's is the older: name its file, or name two".to_owned();
        return Err(OperandError::NoLock { name: name.to_owned(), help });
    }
    let path = Path::new(name);
    let exists = path.symlink_metadata().is_ok();
    let (folder, rest) = existing_folder(path);
    let help = "one lock is compared with the last commit's: name two to compare files";
    let repository = match Repository::of(&folder, help) {
        Ok(repository) => repository,
        Err(GitError::NoRepository { .. }) if !exists => return Err(no_lock(name)),
        Err(error) => return Err(error.into()),
    };
    let committed = repository.text_in_head(&format!("./{rest}"), MAX_BYTES)?;
    if !exists && committed.is_none() {
        return Err(no_lock(name));
    }
    let head = format!("HEAD:{name}");
    let old = committed.map(|text| parse(&head, &text)).transpose()?;
    let new = exists.then(|| lock::read(path)).transpose()?;
    let file = Some(path.to_owned());
    Ok((Side { name: head, lock: old, file: file.clone() }, Side { name: name.to_owned(), lock: new, file }))
}

/// The closest folder above a path that exists, and the rest of the path.
fn existing_folder(path: &Path) -> (PathBuf, String) {
    let above = path.ancestors().skip(1).find(|folder| folder.as_os_str().is_empty() || folder.is_dir());
    let folder = above.unwrap_or(Path::new(""));
    let rest = path.strip_prefix(folder).unwrap_or(path);
    let rest: Vec<_> = rest.iter().map(|part| part.to_string_lossy()).collect();
    (folder.to_owned(), rest.join("/"))
}

fn parse(name: &str, text: &str) -> Result<Lock, LockError> {
    lock::parse(Path::new(name), text)
}

fn stdin() -> Result<String, OperandError> {
    let mut bytes = Vec::new();
    let read = std::io::stdin().lock().take(MAX_BYTES + 1).read_to_end(&mut bytes);
    read.map_err(|source| OperandError::Input { source })?;
    let path = PathBuf::from("standard input");
    if bytes.len() as u64 > MAX_BYTES {
        return Err(ReadError::TooLarge { path, limit: MAX_BYTES }.into());
    }
    String::from_utf8(bytes)
        .map_err(|error| ReadError::NotUtf8 { path, offset: error.utf8_error().valid_up_to() }.into())
}

fn no_lock(name: &str) -> OperandError {
    let general = "a lock is a file, or REV:PATH, such as main:locks/a.lock.kdl";
    let help = match likely_file(Path::new(name)) {
        Some(likely) => format!("did you mean {likely}? {general}"),
        None => general.to_owned(),
    };
    OperandError::NoLock { name: name.chars().take(200).collect(), help }
}

/// A lock in the same folder, or in `locks/`, whose name is close.
fn likely_file(path: &Path) -> Option<String> {
    let name = path.file_name()?.to_string_lossy().into_owned();
    let folders = [path.parent()?, Path::new("locks")];
    let mut found: Vec<(usize, String)> = Vec::new();
    for folder in folders {
        let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten().take(1000) {
            let other = entry.file_name().to_string_lossy().into_owned();
            let Some(stem) = other.strip_suffix(".lock.kdl") else { continue };
            let far = distance(&name, stem).min(distance(&name, &other));
            let shown = folder.join(&other);
            found.push((far, shown.strip_prefix(".").unwrap_or(&shown).display().to_string()));
        }
    }
    found.sort();
    let (far, likely) = found.into_iter().next()?;
    (far <= (name.chars().count() / 3).max(1)).then_some(likely)
}

fn distance(one: &str, other: &str) -> usize {
    if one.len().max(other.len()) > 200 { usize::MAX } else { strsim::damerau_levenshtein(one, other) }
}
