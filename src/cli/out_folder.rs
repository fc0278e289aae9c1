//! `--out DIR`: what a command may write into a folder of one's own, and what
//! it must leave alone. Only xp's own former output is ever replaced.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::{Component, Path, PathBuf};
use std::{env, fs, io};

use serde_json::Value;

use super::error::CliError;
use crate::run::RunError;
use crate::store::{self, StagedDir};

/// Largest metadata file that is looked into to recognise a former output, in bytes.
const MAX_META: u64 = 16 << 20;

/// What a stage writes into a folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Contract {
    Workload,
    Bundle,
    Measured,
    Simulated,
    Comparison,
}

impl Contract {
    /// What a folder of this kind is, for people.
    fn name(self) -> &'static str {
        match self {
            Self::Workload => "a workload",
            Self::Bundle => "a bundle",
            Self::Measured => "a measured run",
            Self::Simulated => "a simulated run",
            Self::Comparison => "a comparison",
        }
    }

    /// The file without which a folder is no output of this stage.
    fn marker(self) -> &'static str {
        match self {
            Self::Workload => "workload_meta.json",
            Self::Bundle => "bundle.json",
            Self::Measured | Self::Simulated => "run_meta.json",
            Self::Comparison => "comparison.json",
        }
    }

    /// Which files belong to the output whose marker holds `meta`; None if another stage made it.
    fn files(self, meta: &Value) -> Option<Files> {
        let names = |names: &[&str]| Files::Named(names.iter().map(|&name| name.to_owned()).collect());
        let run = ["request_metrics.csv", "token_metrics.csv", "steps.csv", "run_meta.json"];
        let kind = meta.get("kind").and_then(Value::as_str);
        match self {
            Self::Workload => {
                let files =
                    ["prompts.jsonl", "trace_lengths.csv", "trace_intervals.csv", "prefix_hash_ids.csv"];
                Some(names(&[&files[..], &[self.marker()]].concat()))
            }
            Self::Measured => matches!(kind, Some("measured" | "recorded")).then(|| names(&run)),
            Self::Simulated => (kind == Some("simulated")).then(|| names(&run)),
            Self::Comparison => Some(Files::Comparison),
            Self::Bundle => {
                let files = meta.get("files")?.as_array()?.iter();
                let listed = files.filter_map(|file| file.get("file")?.as_str().map(str::to_owned));
                Some(Files::Named(listed.chain([self.marker().to_owned()]).collect()))
            }
        }
    }
}

/// Files of an output, by their path inside it, with forward slashes.
enum Files {
    Named(BTreeSet<String>),
    Comparison,
}

impl Files {
    fn has_file(&self, name: &str) -> bool {
        match self {
            Self::Named(names) => names.contains(name),
            Self::Comparison => match name.split_once('/') {
                // `xp report` puts its PDF there unless it is told another place.
                None => ["summary.md", "comparison.json", "report.pdf"].contains(&name),
                Some(("tables", table)) => !table.contains('/') && table.ends_with(".csv"),
                Some(("figs", figure)) => !figure.contains('/') && figure.ends_with(".svg"),
                Some(_) => false,
            },
        }
    }

    fn has_folder(&self, name: &str) -> bool {
        match self {
            Self::Named(names) => {
                names.iter().any(|file| file.strip_prefix(name).is_some_and(|rest| rest.starts_with('/')))
            }
            Self::Comparison => name == "tables" || name == "figs",
        }
    }
}

/// The folder of `--out`, which may be written.
#[derive(Debug)]
pub struct OutFolder<'a> {
    path: &'a Path,
    contract: Contract,
    inputs: Vec<&'a Path>,
}

impl<'a> OutFolder<'a> {
    /// Refuses a folder that holds anything but a former output of the same stage, or an input of
    /// the command. Looks only; to be called before any work is done.
    pub fn claim(path: &'a Path, contract: Contract, inputs: &[&'a Path]) -> Result<Self, CliError> {
        let claimed = Self { path, contract, inputs: inputs.to_vec() };
        claimed.check()?;
        Ok(claimed)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.path
    }

    /// Fills a folder beside the name and renames it into place.
    pub fn fill<T>(&self, make: impl FnOnce(&Path) -> Result<T, RunError>) -> Result<T, CliError> {
        let staged = StagedDir::new(self.path).map_err(|error| self.unwritable(&error))?;
        let made = make(staged.path())?;
        // Much may have happened since the claim.
        self.check()?;
        staged.commit().map_err(|error| self.unwritable(&error))?;
        Ok(made)
    }

    /// See [`OutFolder::claim`].
    pub fn check(&self) -> Result<(), CliError> {
        if self.path.file_name().is_none() {
            return Err(self.refused("is no name of a folder"));
        }
        let place = resolved(self.path).map_err(|error| self.unwritable(&error))?;
        let within = |inner: &Path, outer: &Path| inner.starts_with(outer);
        for input in &self.inputs {
            let input_place = resolved(input).map_err(|error| self.unwritable(&error))?;
            let input = input.display();
            if within(&input_place, &place) {
                return Err(self.refused(&format!("would replace what the command reads, {input}")));
            }
            if within(&place, &input_place) {
                return Err(self.refused(&format!("lies inside what the command reads, {input}")));
            }
        }
        let here = env::current_dir().and_then(|here| here.canonicalize());
        if here.is_ok_and(|here| within(&here, &place)) {
            return Err(self.refused("holds the folder xp was called in"));
        }
        match fs::symlink_metadata(self.path) {
            Ok(found) if found.is_symlink() => return Err(self.refused("is a symbolic link")),
            _ => {}
        }
        match fs::symlink_metadata(&place) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(self.unwritable(&error)),
            Ok(found) if !found.is_dir() => Err(self.refused("is a file")),
            Ok(_) => self.check_content(&place),
        }
    }

    fn check_content(&self, folder: &Path) -> Result<(), CliError> {
        let unreadable = |error: io::Error| self.unwritable(&error);
        let is_left = |entry: fs::DirEntry| store::is_temporary(&entry.file_name().to_string_lossy());
        if fs::read_dir(folder).map_err(unreadable)?.flatten().all(is_left) {
            return Ok(());
        }
        let marker = folder.join(self.contract.marker());
        let meta = store::read_bounded(&marker, MAX_META)
            .ok()
            .and_then(|bytes| serde_json::from_slice::<Value>(&bytes).ok());
        let what = self.contract.name();
        let Some(files) = meta.and_then(|meta| self.contract.files(&meta)) else {
            return Err(self.refused(&format!("is not empty and not {what}")));
        };
        match foreign(folder, "", &files).map_err(unreadable)? {
            Some(name) => Err(self.refused(&format!("holds {name}, which is no part of {what}"))),
            None => Ok(()),
        }
    }

    fn refused(&self, why: &str) -> CliError {
        CliError::failed(
            format!("{} {why}", self.path.display()),
            &format!(
                "`--out` makes a folder, fills an empty one, or replaces {} that xp wrote: name another",
                self.contract.name()
            ),
        )
    }

    fn unwritable(&self, error: &io::Error) -> CliError {
        CliError::system(format!("cannot write {}: {error}", self.path.display()), "is the folder writable?")
    }
}

/// The first file or folder that the stage did not write.
fn foreign(folder: &Path, prefix: &str, files: &Files) -> io::Result<Option<String>> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        // Left by a process that was killed: of this stage's making, and nobody reads it.
        if store::is_temporary(&name) {
            continue;
        }
        let name = format!("{prefix}{name}");
        let kind = entry.file_type()?;
        let known = (kind.is_file() && files.has_file(&name)) || (kind.is_dir() && files.has_folder(&name));
        if !known {
            return Ok(Some(name));
        }
        if kind.is_dir()
            && let Some(found) = foreign(&entry.path(), &format!("{name}/"), files)?
        {
            return Ok(Some(found));
        }
    }
    Ok(None)
}

/// The path without links, also where its end does not exist yet.
fn resolved(path: &Path) -> io::Result<PathBuf> {
    let absolute = std::path::absolute(path)?;
    let mut existing = absolute.as_path();
    let mut rest: Vec<OsString> = Vec::new();
    while let Err(error) = existing.canonicalize() {
        let (Some(parent), Some(last)) = (existing.parent(), existing.components().next_back()) else {
            return Err(error);
        };
        rest.push(last.as_os_str().to_owned());
        existing = parent;
    }
    let mut place = existing.canonicalize()?;
    for part in rest.iter().rev() {
        match Path::new(part).components().next() {
            Some(Component::ParentDir) => {
                place.pop();
            }
            _ => place.push(part),
        }
    }
    Ok(place)
}
