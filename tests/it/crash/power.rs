//! A loss of power loses what was not synced. So nothing may get its final name before its bytes are
//! on the disk, nothing may rest on a name that is not there yet, and at the end all must be.

use std::collections::BTreeSet;

use super::ensure;
use super::faults::count;
use super::project::{DAMAGED, FRESH, GARBAGE, REMADE, SPEC};
use super::trial::Operation;

/// What a loss of power could take.
#[derive(Default)]
struct Volatile {
    /// Files with bytes that were not synced since.
    bytes: BTreeSet<String>,
    /// Names whose folder was not synced since they were made.
    names: BTreeSet<String>,
    /// Of these, the final ones: others rest on them.
    committed: BTreeSet<String>,
}

fn is_below(path: &str, folder: &str) -> bool {
    path.strip_prefix(folder).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

fn is_unfinished(path: &str) -> bool {
    path.split('/').any(|part| part.starts_with(".xp-") && part.ends_with(".tmp"))
}

impl Volatile {
    fn apply(&mut self, operation: &Operation) -> Result<(), String> {
        let paths: Vec<&str> = operation.paths.iter().map(String::as_str).collect();
        match (operation.name.as_str(), paths.as_slice()) {
            ("CreateFile" | "CreateDir", [path]) => drop(self.names.insert((*path).to_owned())),
            ("SetMode", _) => {}
            ("Write" | "Share", [path]) => drop(self.bytes.insert((*path).to_owned())),
            ("Sync", [path]) => drop(self.bytes.remove(*path)),
            ("SyncDir", [folder]) => {
                let of = |path: &String| path.rsplit_once('/').is_some_and(|(parent, _)| parent == *folder);
                self.names.retain(|path| !of(path));
                self.committed.retain(|path| !of(path));
            }
            ("RemoveFile" | "RemoveDir", [path]) => {
                self.names.remove(*path);
                self.bytes.remove(*path);
            }
            ("Rename" | "Exchange", [from, to]) => {
                let inside = |path: &&String| is_below(path, from);
                let lost: Vec<&String> = self.bytes.iter().filter(inside).collect();
                ensure!(lost.is_empty(), "{operation:?} before these bytes are on the disk: {lost:?}");
                let lost: Vec<&String> =
                    self.names.iter().filter(inside).filter(|path| path != from).collect();
                ensure!(lost.is_empty(), "{operation:?} before these names are on the disk: {lost:?}");
                if !is_unfinished(to) {
                    let committed = &self.committed;
                    ensure!(committed.is_empty(), "{operation:?} before the names of {committed:?} are safe");
                    self.committed.insert((*to).to_owned());
                }
                self.names.remove(*from);
                self.names.insert((*to).to_owned());
            }
            _ => return Err(format!("an operation that this test does not know: {operation:?}")),
        }
        Ok(())
    }
}

fn check(operations: &[Operation]) -> Result<(), String> {
    let written: BTreeSet<&String> = operations
        .iter()
        .filter(|operation| operation.name == "Write")
        .map(|operation| &operation.paths[0])
        .collect();
    let mut volatile = Volatile::default();
    for operation in operations {
        volatile.apply(operation)?;
    }
    ensure!(volatile.bytes.is_empty(), "never synced: {:?}", volatile.bytes);
    // A file that is locked and holds nothing may vanish.
    let empty: BTreeSet<&String> = operations
        .iter()
        .filter(|operation| operation.name == "CreateFile")
        .map(|operation| &operation.paths[0])
        .collect();
    let lost: Vec<&String> =
        volatile.names.iter().filter(|name| !empty.contains(name) || written.contains(name)).collect();
    ensure!(lost.is_empty(), "names that were never synced: {lost:?}");
    Ok(())
}

#[test]
fn nothing_has_its_name_before_its_bytes_are_on_the_disk() {
    if !cfg!(debug_assertions) {
        return eprintln!("skipped: a release tells no operations");
    }
    check(&count(&FRESH, &["run", SPEC]).0).unwrap();
    check(&count(&GARBAGE, &["lock", SPEC]).0).unwrap();
    check(&count(&DAMAGED, &["run", SPEC]).0).unwrap();
    check(&count(&REMADE, &["run", SPEC]).0).unwrap();
}

#[test]
fn a_broken_order_is_noticed() {
    let operation = |name: &str, paths: &[&str]| Operation {
        number: 0,
        name: name.to_owned(),
        paths: paths.iter().map(|path| (*path).to_owned()).collect(),
    };
    let temporary = "/p/.xp-a.tmp";
    let steps = [
        operation("CreateFile", &[temporary]),
        operation("Write", &[temporary]),
        operation("Sync", &[temporary]),
        operation("Rename", &[temporary, "/p/a"]),
        operation("SyncDir", &["/p"]),
    ];
    check(&steps).unwrap();
    for missing in [2, 4] {
        let mut broken = steps.to_vec();
        broken.remove(missing);
        assert!(check(&broken).is_err(), "without {:?}", steps[missing]);
    }
}
