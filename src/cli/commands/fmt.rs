use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;
use std::{fs, io};

use anstyle::AnsiColor;
use similar::{ChangeTag, TextDiff};

use super::super::args::FmtArgs;
use super::super::error::{self, CliError};
use super::super::output;
use crate::run::Project;
use crate::{spec, store};

/// Lines of a difference that are shown; the rest is counted.
const SHOWN_LINES: usize = 40;

/// Longest time that is spent on making a difference small.
const DIFF_TIME: Duration = Duration::from_secs(1);

/// What diagnostics call standard input.
const STDIN: &str = "<stdin>";

/// Writes experiments in canonical form, or says which are not in it. A file that cannot be read as KDL
/// is left alone; the others are gone through all the same.
pub fn run(args: &FmtArgs) -> Result<ExitCode, CliError> {
    let stdin = Path::new("-");
    if args.files.iter().any(|file| file == stdin) {
        if args.files.len() > 1 {
            return Err(CliError::system(
                "standard input and files at once".to_owned(),
                "name files, or `-` alone",
            ));
        }
        return of_stdin(args.check);
    }
    let files = if args.files.is_empty() { experiments()? } else { args.files.clone() };
    let mut refused = Vec::new();
    let mut differs = false;
    for path in &files {
        match of_file(path, args.check) {
            Ok(changed) => differs |= changed,
            Err(error) => refused.push(error),
        }
    }
    match error::report_all(&refused) {
        Some(code) => Ok(code),
        None if args.check && differs => Ok(ExitCode::from(1)),
        None => Ok(ExitCode::SUCCESS),
    }
}

/// Formats one file, or shows what would change; whether anything would.
fn of_file(path: &Path, check: bool) -> Result<bool, CliError> {
    let name = path.display().to_string();
    let text = spec::read_text(path, &name)?;
    let made = spec::canonical(&name, &text)?;
    if made == text {
        return Ok(false);
    }
    if check {
        show(&name, &text, &made)?;
        return Ok(true);
    }
    let failed = |error: io::Error| {
        CliError::system(
            format!("cannot write {name}: {error}"),
            "the file is as it was; is it writable, and its folder?",
        )
    };
    // A link stays one: the file that it leads to is replaced.
    let target = fs::canonicalize(path).map_err(failed)?;
    if fs::metadata(&target).map_err(failed)?.permissions().readonly() {
        return Err(failed(io::ErrorKind::PermissionDenied.into()));
    }
    store::write(&target, made.as_bytes()).map_err(failed)?;
    output::line(format_args!("{name}: formatted"))?;
    Ok(true)
}

fn of_stdin(check: bool) -> Result<ExitCode, CliError> {
    let text = spec::read_stream(io::stdin().lock(), STDIN)?;
    let made = spec::canonical(STDIN, &text)?;
    if !check {
        output::print(made)?;
        return Ok(ExitCode::SUCCESS);
    }
    if made == text {
        return Ok(ExitCode::SUCCESS);
    }
    show(STDIN, &text, &made)?;
    Ok(ExitCode::from(1))
}

/// Shows what would change, as a unified diff.
fn show(name: &str, text: &str, made: &str) -> Result<(), CliError> {
    output::line(format_args!("{name}: not in canonical form; `xp fmt` would change"))?;
    // Two large files that share nothing could be compared for minutes; the diff is only longer then.
    let diff = TextDiff::configure().timeout(DIFF_TIME).diff_lines(text, made);
    let mut lines = Vec::new();
    for hunk in diff.unified_diff().context_radius(2).iter_hunks() {
        lines.push(hunk.header().to_string());
        for change in hunk.iter_changes() {
            let style = match change.tag() {
                ChangeTag::Delete => AnsiColor::Red.on_default(),
                ChangeTag::Insert => AnsiColor::Green.on_default(),
                ChangeTag::Equal => anstyle::Style::new(),
            };
            // A line end may be all that is wrong: it is made visible.
            let line = change.value().strip_suffix('\n').unwrap_or(change.value());
            let shown = line.trim_end();
            let rest = line[shown.len()..].escape_debug();
            lines.push(format!("{style}{}{shown}{rest}{style:#}", change.tag()));
        }
    }
    for line in lines.iter().take(SHOWN_LINES) {
        output::line(format!("  {line}").trim_end())?;
    }
    if lines.len() > SHOWN_LINES {
        output::line(format_args!("  … and {} more lines", lines.len() - SHOWN_LINES))?;
    }
    Ok(())
}

/// Every experiment below `experiments/` of the project around the current folder, sorted.
fn experiments() -> Result<Vec<PathBuf>, CliError> {
    let refuse = |what: &Path, error: io::Error| {
        CliError::system(format!("cannot read {}: {error}", what.display()), "name the files to format")
    };
    let here = std::env::current_dir().map_err(|error| refuse(Path::new("."), error))?;
    let project = Project::of(&here.join("x.kdl")).map_err(|error| refuse(&here, error))?;
    let folder = project.root().join("experiments");
    let mut folders = vec![folder.clone()];
    let mut found = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).map_err(|error| refuse(&folder, error))? {
            let entry = entry.map_err(|error| refuse(&folder, error))?;
            let kind = entry.file_type().map_err(|error| refuse(&folder, error))?;
            let path = entry.path();
            if kind.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "kdl") {
                found.push(path.strip_prefix(&here).map_or(path.clone(), Path::to_owned));
            }
        }
    }
    found.sort();
    if found.is_empty() {
        return Err(CliError::system(
            format!("there is no experiment in {}", folder.display()),
            "`xp init` writes one to start from",
        ));
    }
    Ok(found)
}
