//! What a run leaves behind, and whether it is whole.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::ensure;
use super::project::{LOCK, Place};

/// Folders of results; a folder below one is a stage's result and appears at once.
const PARENTS: [&str; 5] =
    ["runs/workloads", "runs/sim_runs", "runs/real_runs", "runs/comparisons", "profiles"];

/// Results that are the same bytes each time.
const EXACT: [&str; 3] = ["runs/workloads/", "runs/sim_runs/", "profiles/"];

/// Every file of a project but xp's own under `.xp/`, by name.
#[derive(Debug, Default, Clone)]
pub struct Results {
    files: BTreeMap<String, Vec<u8>>,
}

/// Whether a path's last part is the name of something unfinished.
pub fn is_temporary(path: &Path) -> bool {
    path.file_name().is_some_and(|name| {
        let name = name.to_string_lossy();
        name.starts_with(".xp-") && name.ends_with(".tmp")
    })
}

/// Files below a folder with their paths from `root`; unfinished ones are left out.
fn walk(root: &Path, folder: &Path, out: &mut BTreeMap<String, Vec<u8>>) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    for path in entries.flatten().map(|entry| entry.path()).filter(|path| !is_temporary(path)) {
        if path.is_dir() {
            walk(root, &path, out);
        } else {
            let name = path.strip_prefix(root).expect("inside").to_string_lossy().replace('\\', "/");
            out.insert(name, std::fs::read(&path).expect("a file that can be read"));
        }
    }
}

/// Leftovers of interrupted writes, anywhere in the project.
pub fn temporaries(folder: &Path) -> Vec<String> {
    let mut out = Vec::new();
    for path in std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()) {
        if is_temporary(&path) {
            out.push(path.display().to_string());
        } else if path.is_dir() {
            out.extend(temporaries(&path));
        }
    }
    out
}

/// A comparison is named by what was measured, which differs each time.
fn stable(name: &str) -> String {
    let Some(rest) = name.strip_prefix("runs/comparisons/") else { return name.to_owned() };
    let (folder, file) = rest.split_once('/').unwrap_or((rest, ""));
    let label = folder.rsplit_once('-').map_or(folder, |(label, _)| label);
    format!("runs/comparisons/{label}-*/{file}")
}

/// The folder of a stage's result and the path inside it.
fn split(name: &str) -> Option<(&str, &str)> {
    let parent = PARENTS.into_iter().find(|parent| name.starts_with(&format!("{parent}/")))?;
    let folder = name[parent.len() + 1..].split_once('/')?.0;
    let end = parent.len() + 1 + folder.len();
    Some((&name[..end], &name[end + 1..]))
}

impl Results {
    pub fn of(place: &Place) -> Self {
        let mut files = BTreeMap::new();
        walk(&place.path(""), &place.path(""), &mut files);
        files.retain(|name, _| !name.starts_with(".xp/"));
        Self { files }
    }

    /// Leaves out what is below a folder.
    pub fn forget(&mut self, folder: &str) {
        self.files.retain(|name, _| !name.starts_with(folder));
    }

    pub fn lock(&self) -> Option<&Vec<u8>> {
        self.files.get(LOCK)
    }

    fn folder(&self, folder: &str) -> BTreeMap<&str, &Vec<u8>> {
        let inside = |(name, bytes)| {
            let (of, file) = split(name)?;
            (of == folder).then_some((file, bytes))
        };
        self.files.iter().map(|(name, bytes)| (name.as_str(), bytes)).filter_map(inside).collect()
    }

    fn folders(&self) -> BTreeSet<&str> {
        self.files.keys().filter_map(|name| split(name)).map(|(folder, _)| folder).collect()
    }

    /// Whether a reader who comes now finds old files and new ones, and nothing between.
    pub fn check_whole(&self, before: &Self, after: &Self) -> Result<(), String> {
        let lock = self.lock();
        ensure!(
            lock == before.lock() || lock == after.lock(),
            "the lock is neither the old one nor the new one: {:?}",
            lock.map(|bytes| String::from_utf8_lossy(bytes).into_owned())
        );
        for folder in self.folders() {
            let found = self.folder(folder);
            if found == before.folder(folder) {
                continue;
            }
            let parent = folder.rsplit_once('/').map_or(folder, |(parent, _)| parent);
            let like = after.folders().into_iter().find(|other| other.starts_with(&format!("{parent}/")));
            let wanted: Vec<&str> =
                like.map(|other| after.folder(other)).unwrap_or_default().into_keys().collect();
            let names: Vec<&str> = found.keys().copied().collect();
            ensure!(names == wanted, "{folder} holds {names:?} and not {wanted:?}");
        }
        for (name, bytes) in &self.files {
            if before.files.get(name) != Some(bytes) {
                check_file(name, bytes)?;
                let exact = EXACT.iter().any(|parent| name.starts_with(parent));
                ensure!(
                    !exact || after.files.get(name).is_none_or(|wanted| wanted == bytes),
                    "{name} has other bytes than without a disturbance"
                );
            }
        }
        Ok(())
    }

    /// Whether these are the results of a run that nothing disturbed.
    pub fn check_equal(&self, undisturbed: &Self) -> Result<(), String> {
        let names = |results: &Self| results.files.keys().map(|name| stable(name)).collect::<BTreeSet<_>>();
        let (found, wanted) = (names(self), names(undisturbed));
        ensure!(
            found == wanted,
            "other files than without a disturbance: too many {:?}, missing {:?}",
            found.difference(&wanted).collect::<Vec<_>>(),
            wanted.difference(&found).collect::<Vec<_>>()
        );
        for (name, bytes) in &self.files {
            check_file(name, bytes)?;
            let Some(wanted) = undisturbed.files.get(name) else { continue };
            if name == LOCK || EXACT.iter().any(|parent| name.starts_with(parent)) {
                ensure!(bytes == wanted, "{name} has other bytes than without a disturbance");
            }
            if name.starts_with("runs/real_runs/") && name.ends_with("/token_metrics.csv") {
                let (found, wanted) = (tokens(bytes), tokens(wanted));
                ensure!(found == wanted, "{name} has other tokens: {found:?}, not {wanted:?}");
            }
        }
        Ok(())
    }
}

/// Which token each request got at each place.
fn tokens(bytes: &[u8]) -> Vec<(String, String, String)> {
    let text = String::from_utf8_lossy(bytes);
    let cells = |line: &str| {
        let cells: Vec<&str> = line.split(',').collect();
        (cells[0].to_owned(), cells[1].to_owned(), cells[4].to_owned())
    };
    text.lines().map(cells).collect()
}

/// Whether a file ends where a file of its kind does.
fn check_file(name: &str, bytes: &[u8]) -> Result<(), String> {
    let ends = |end: &[u8]| bytes.trim_ascii_end().ends_with(end);
    let whole = match name.rsplit('.').next() {
        Some("json") => serde_json::from_slice::<serde_json::Value>(bytes).is_ok(),
        Some("csv" | "jsonl" | "kdl") => bytes.ends_with(b"\n"),
        Some("pdf") => bytes.starts_with(b"%PDF-") && ends(b"%%EOF"),
        Some("svg") => ends(b"</svg>"),
        Some("md") => !bytes.is_empty(),
        _ => false,
    };
    ensure!(whole, "{name} is cut off or garbage ({} bytes)", bytes.len());
    Ok(())
}

/// Whether a content is in some file of the project, set aside or not.
pub fn is_somewhere(place: &Place, content: &str) -> bool {
    let mut files = BTreeMap::new();
    walk(&place.path(""), &place.path(""), &mut files);
    files.values().any(|bytes| bytes == content.as_bytes())
}

/// Whether xp's own files of known kinds are whole.
pub fn check_own(place: &Place) -> Result<(), String> {
    let mut files = BTreeMap::new();
    walk(&place.path(""), &place.path(".xp"), &mut files);
    let aside = |name: &str| name.starts_with(".xp/quarantine/");
    files
        .iter()
        .filter(|(name, _)| name.ends_with(".json") && !aside(name))
        .try_for_each(|(name, bytes)| check_file(name, bytes))
}
