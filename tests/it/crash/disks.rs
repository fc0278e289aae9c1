//! Disks that are full or read-only: real ones, where a small one may be mounted.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::project::{FRESH, LOCK, Place, SPEC, Template, copy};
use super::results::{Results, temporaries};
use super::trial::{flat, go_on, look};
use crate::project::both;

/// A file system in memory, unmounted when dropped.
struct Disk {
    folder: tempfile::TempDir,
}

impl Disk {
    /// None where this user may not mount anything.
    fn mount() -> Option<Self> {
        let disk = Self { folder: tempfile::tempdir().expect("a temporary folder") };
        disk.call("mount", &["-t", "tmpfs", "-o", "size=4m", "tmpfs"]).then_some(disk)
    }

    fn call(&self, program: &str, args: &[&str]) -> bool {
        let output = Command::new(program).args(args).arg(self.folder.path()).output();
        output.is_ok_and(|output| output.status.success())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A copy of a template on this disk.
    fn place(&self, template: &Template, temporary: &Path) -> Place {
        copy(template.place.path(""), &self.path("project"));
        Place::at(self.path("project"), temporary.to_owned())
    }

    /// Fills the disk until `free` bytes are left.
    fn fill(&self, free: u64) {
        let mut ballast = std::fs::File::create(self.path("ballast")).unwrap();
        while ballast.write_all(&[0; 4096]).is_ok() {}
        let full = ballast.metadata().unwrap().len();
        ballast.set_len(full - free).unwrap();
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Where nothing was mounted, this does nothing.
        self.call("umount", &["-l"]);
    }
}

/// A command that the disk must refuse, in words.
fn refused(place: &Place, args: &[&str], words: &str) {
    let output = place.xp(args);
    let said = flat(&both(&output));
    assert_eq!(output.status.code(), Some(2), "xp {args:?}: {said}");
    assert!(said.contains(words) && said.contains("cannot") && !said.contains("panicked"), "{said}");
}

#[test]
fn a_full_disk_is_an_error_and_nothing_is_lost() {
    let temporary = tempfile::tempdir().unwrap();
    let Some(disk) = Disk::mount() else {
        return eprintln!("skipped: this user may not mount a disk to fill");
    };
    let kib = 1024;
    let mut succeeded = false;
    for free in [0, 64 * kib, 192 * kib, 1536 * kib] {
        let place = disk.place(&FRESH, temporary.path());
        disk.fill(free);
        let output = place.xp(&["run", SPEC]);
        succeeded = output.status.success();
        if !succeeded {
            refused(&place, &["run", SPEC], "No space left on device");
            look(&place, &FRESH).unwrap();
            assert_eq!(temporaries(&place.path("")), [""; 0]);
        }
        std::fs::remove_file(disk.path("ballast")).unwrap();
        go_on(&place, &FRESH).unwrap();
        assert!(free > 0 || !succeeded, "the disk was not full");
        std::fs::remove_dir_all(place.path("")).unwrap();
    }
    assert!(succeeded, "1.5 MiB are enough for a run");
}

#[test]
fn a_read_only_disk_is_an_error_where_something_is_to_be_written() {
    let temporary = tempfile::tempdir().unwrap();
    let Some(disk) = Disk::mount() else {
        return eprintln!("skipped: this user may not mount a disk to make it read-only");
    };
    let place = disk.place(&FRESH, temporary.path());
    assert!(disk.call("mount", &["-o", "remount,ro"]));
    for args in [
        &["lock", SPEC][..],
        &["run", SPEC],
        &["workload", SPEC, "--out", "out"],
        &["init", "experiments/new.kdl"],
        &["schema", "--write", "schemas"],
    ] {
        refused(&place, args, "Read-only file system");
    }
    place.ok(&["check", SPEC]).unwrap();
    look(&place, &FRESH).unwrap();
    assert!(disk.call("mount", &["-o", "remount,rw"]));
    go_on(&place, &FRESH).unwrap();

    // Where all is made already there is nothing to refuse.
    assert!(disk.call("mount", &["-o", "remount,ro"]));
    let before = Results::of(&place);
    place.ok(&["lock", "--check", SPEC]).unwrap();
    place.ok(&["run", SPEC]).unwrap();
    place.ok(&["run", "--frozen", LOCK]).unwrap();
    refused(&place, &["run", SPEC, "--set", "workload.requests=3"], "Read-only file system");
    before.check_equal(&Results::of(&place)).unwrap();
}
