//! One disturbed command, and what must hold after it.

use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::Output;

use super::ensure;
use super::project::{Place, SPEC, Template};
use super::results::{Results, check_own, is_somewhere, temporaries};
use crate::project::both;

/// An operation that `XP_FAULT_LOG` tells.
#[derive(Debug, Clone)]
pub struct Operation {
    pub number: usize,
    pub name: String,
    pub paths: Vec<String>,
}

/// Reads a fault log.
pub fn operations(log: &std::path::Path) -> Vec<Operation> {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let read = |line: &str| {
        let mut parts = line.split('\t');
        let number = parts.next()?.parse().ok()?;
        Some(Operation { number, name: parts.next()?.to_owned(), paths: parts.map(str::to_owned).collect() })
    };
    text.lines().map(|line| read(line).unwrap_or_else(|| panic!("a line of the log: {line:?}"))).collect()
}

/// What the process was told to do at an operation, or from it on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Disturbance {
    Fail { n: usize, error: &'static str },
    FailFrom { n: usize, error: &'static str },
    Stop { n: usize },
    Torn { n: usize },
}

impl Disturbance {
    fn variable(self) -> String {
        match self {
            Self::Fail { n, error } => format!("fail:{n}:{error}"),
            Self::FailFrom { n, error } => format!("fail:{n}+:{error}"),
            Self::Stop { n } => format!("stop:{n}"),
            Self::Torn { n } => format!("torn:{n}"),
        }
    }

    pub fn number(self) -> usize {
        match self {
            Self::Fail { n, .. } | Self::FailFrom { n, .. } | Self::Stop { n } | Self::Torn { n } => n,
        }
    }
}

/// An error in the system's words.
fn words(error: &str) -> &'static str {
    match error {
        "ENOSPC" => "No space left on device",
        "EROFS" => "Read-only file system",
        "EIO" => "Input/output error",
        _ => panic!("{error} has no words here"),
    }
}

/// Text without the frames and line breaks that a diagnostic puts into it.
pub fn flat(text: &str) -> String {
    text.split(['│', '╰', '─', '▶', '×', '├', '╭', ' ', '\n'])
        .filter(|word| !word.is_empty())
        .collect::<Vec<_>>()
        .join(" ")
}

/// Whether xp goes on without what the operation does: it saves time or space, or tidies up. `before` are the
/// operations before it: the sync of a folder is as needed as the name that it makes last.
fn is_dispensable(operation: &Operation, before: &[Operation], root: &str) -> bool {
    let name = operation.name.as_str();
    if name.starts_with("Remove")
        || name == "Share"
        || operation.paths.iter().all(|path| is_extra(path, root))
    {
        return true;
    }
    let [folder] = operation.paths.as_slice() else { return false };
    let makes_name_here = |(_, earlier): &(usize, &Operation)| {
        let made = earlier.paths.last().filter(|_| ["CreateDir", "Rename"].contains(&earlier.name.as_str()));
        made.is_some_and(|made| Path::new(made).parent() == Some(Path::new(folder)))
    };
    name == "SyncDir"
        && before
            .iter()
            .enumerate()
            .rfind(makes_name_here)
            .is_some_and(|(at, earlier)| is_dispensable(earlier, &before[..at], root))
}

/// Whether a path is of what saves time, is there for git alone, or lies outside of the project.
fn is_extra(path: &str, root: &str) -> bool {
    let Ok(inside) = Path::new(path).strip_prefix(root) else { return true };
    let Ok(own) = inside.strip_prefix(".xp") else { return false };
    let first = own.iter().next().unwrap_or_default().to_string_lossy();
    ["digests", "memo", ".gitignore"].contains(&&*first) || first.starts_with(".xp-")
}

/// Disturbs a command in a copy of a template, looks at what is there, and lets xp go on.
pub fn disturb(
    template: &Template,
    args: &[&str],
    disturbance: Disturbance,
    rest: Rest,
) -> Result<(), String> {
    let place = Place::like(template);
    let log = place.beside("operations");
    let fault = disturbance.variable();
    let output =
        place.command(args).env("XP_FAULT", &fault).env("XP_FAULT_LOG", &log).output().expect("xp starts");
    let reached = operations(&log);
    let at = reached.iter().find(|operation| operation.number == disturbance.number());
    let checked = (|| {
        after_fault(&place, &output, disturbance, &reached)?;
        let left = temporaries(&place.path(""));
        let tidy = matches!(disturbance, Disturbance::Fail { .. })
            && at.is_none_or(|operation| {
                !operation.name.starts_with("Remove") && !operation.name.starts_with("SyncDir")
            });
        ensure!(!tidy || left.is_empty(), "{left:?} is left of a command that ended by itself");
        go_on_to(rest, &place, template)
    })();
    checked.map_err(|why: String| {
        format!(
            "XP_FAULT={fault} xp {args:?} in the {} project, at {at:?}: {why}\n--- it had said:\n{}",
            template.name,
            both(&output)
        )
    })
}

/// How a command ends at which an operation fails or stops. It may not come so far.
fn after_fault(
    place: &Place,
    output: &Output,
    disturbance: Disturbance,
    reached: &[Operation],
) -> Result<(), String> {
    let text = both(output);
    ensure!(!text.contains("panicked"), "it panicked");
    let happened = reached.len() >= disturbance.number();
    if !happened {
        ensure!(output.status.success(), "it ended with {} before the fault", output.status);
        return Ok(());
    }
    match disturbance {
        Disturbance::Stop { .. } | Disturbance::Torn { .. } => {
            ensure!(output.status.signal().is_some(), "it ended with {} and not at once", output.status);
        }
        Disturbance::Fail { error, n } | Disturbance::FailFrom { error, n } => {
            let forever = matches!(disturbance, Disturbance::FailFrom { .. });
            let failed = |number: usize| number == n || forever && number > n;
            if output.status.success() {
                let root = place.path("").display().to_string();
                let needed = reached.iter().enumerate().find(|(at, operation)| {
                    failed(operation.number) && !is_dispensable(operation, &reached[..*at], &root)
                });
                ensure!(needed.is_none(), "it succeeded although this failed: {needed:?}");
            } else {
                ensure!(output.status.code() == Some(2), "it ended with {} and not 2", output.status);
                let said = flat(&text);
                ensure!(said.contains(words(error)), "it does not say {:?}", words(error));
                ensure!(said.contains("cannot"), "it does not say what it could not do");
            }
        }
    }
    Ok(())
}

/// What holds after any disturbance: nobody reads half a file, and `xp status` works.
pub fn look(place: &Place, template: &Template) -> Result<(), String> {
    Results::of(place).check_whole(&template.before, &template.after)?;
    check_own(place)?;
    for content in template.precious {
        ensure!(is_somewhere(place, content), "{content:?} is lost");
    }
    let status = place.xp(&["status", SPEC]);
    let said = both(&status);
    ensure!(matches!(status.status.code(), Some(0 | 1)), "xp status ended with {}:\n{said}", status.status);
    ensure!(!said.contains("panicked") && !said.contains('\u{fffd}'), "xp status says:\n{said}");
    Ok(())
}

/// How far xp goes on after a disturbance. Rendering a report takes most of the time of these tests,
/// and all that it reads is checked before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rest {
    All,
    ButTheReport,
}

/// The same, and then `xp run` makes what it makes where nothing was disturbed.
pub fn go_on(place: &Place, template: &Template) -> Result<(), String> {
    go_on_to(Rest::All, place, template)
}

/// The same, as far as it is said.
pub fn go_on_to(rest: Rest, place: &Place, template: &Template) -> Result<(), String> {
    look(place, template)?;
    let command = if rest == Rest::All { "run" } else { "compare" };
    place.ok(&[command, SPEC])?;
    let (mut found, mut undisturbed) = (Results::of(place), template.after.clone());
    if rest == Rest::ButTheReport {
        found.forget("reports/");
        undisturbed.forget("reports/");
    }
    found.check_equal(&undisturbed)?;
    let said = place.ok(&["status", SPEC])?;
    let stale = said
        .lines()
        .find(|line| line.contains("stale") && !(rest == Rest::ButTheReport && line.starts_with("report ")));
    ensure!(stale.is_none(), "not all is up to date after that:\n{said}");
    for content in template.precious {
        ensure!(is_somewhere(place, content), "{content:?} is lost in the end");
    }
    Ok(())
}

#[test]
fn a_folders_sync_is_as_needed_as_the_name_before_it() {
    let operation = |number: usize, name: &str, paths: &[&str]| Operation {
        number,
        name: name.to_owned(),
        paths: paths.iter().map(|path| format!("/p/{path}")).collect(),
    };
    let operations = [
        operation(1, "CreateDir", &[".xp"]),
        operation(2, "SyncDir", &[""]),
        operation(3, "CreateDir", &[".xp/memo"]),
        operation(4, "SyncDir", &[".xp"]),
        operation(5, "CreateDir", &[".xp/store"]),
        operation(6, "SyncDir", &[".xp"]),
        operation(7, "Rename", &[".xp/.xp-Ab12Cd.tmp", ".xp/digests"]),
        operation(8, "SyncDir", &[".xp"]),
        operation(9, "Rename", &["locks/.xp-Ab12Cd.tmp", "locks/a.lock.kdl"]),
        operation(10, "SyncDir", &["locks"]),
        operation(11, "SyncDir", &["runs"]),
        operation(12, "RemoveFile", &["runs/.xp-Ab12Cd.tmp"]),
    ];
    let dispensable = operations.iter().enumerate();
    let dispensable = dispensable.filter(|(at, of)| is_dispensable(of, &operations[..*at], "/p"));
    let dispensable: Vec<usize> = dispensable.map(|(_, operation)| operation.number).collect();
    assert_eq!(dispensable, [3, 4, 7, 8, 12]);
}
