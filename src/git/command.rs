//! One call of git: bounded, in English, without a terminal.

use std::ffi::OsStr;
use std::io::Read;
use std::path::Path;
use std::process::{Command, Stdio};

use super::error::GitError;

/// Most bytes of git's words and of a short answer.
const MAX_WORDS: u64 = 4 << 10;

/// What git said.
#[derive(Debug)]
pub(super) struct Answer {
    pub code: Option<i32>,
    /// Standard output; cut at the limit.
    pub out: Vec<u8>,
    /// Whether there was more.
    pub cut: bool,
    /// The first line of standard error, for people.
    pub said: String,
}

impl Answer {
    pub fn ok(&self) -> bool {
        self.code == Some(0)
    }

    /// Standard output without the end of its line.
    pub fn line(&self) -> String {
        String::from_utf8_lossy(&self.out).trim_end_matches(['\n', '\r']).to_owned()
    }
}

/// A call in a folder. Callers put `--end-of-options` or `--` before what a person wrote.
pub(super) fn git(dir: &Path) -> Command {
    let mut command = Command::new("git");
    command
        .current_dir(dir)
        .env("LC_ALL", "C")
        .env("GIT_TERMINAL_PROMPT", "0")
        .env("GIT_OPTIONAL_LOCKS", "0")
        .stdin(Stdio::null());
    command
}

/// Runs a call whose answer is short.
pub(super) fn ask<S: AsRef<OsStr>>(dir: &Path, args: &[S]) -> Result<Answer, GitError> {
    answer(git(dir).args(args), MAX_WORDS)
}

/// Runs a call and keeps at most `limit` bytes of what it prints.
pub(super) fn answer(command: &mut Command, limit: u64) -> Result<Answer, GitError> {
    let missing = |source| GitError::Missing { source };
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().map_err(missing)?;
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    // Two pipes are read at once: whichever fills up would hold git, and git us.
    let (out, words) = std::thread::scope(|scope| {
        let words = scope.spawn(|| stderr.map(|pipe| bounded(pipe, MAX_WORDS)).unwrap_or_default());
        let out = stdout.map(|pipe| bounded(pipe, limit + 1)).unwrap_or_default();
        if out.len() as u64 > limit {
            let _ = child.kill();
        }
        (out, words.join().unwrap_or_default())
    });
    let status = child.wait().map_err(missing)?;
    let cut = out.len() as u64 > limit;
    Ok(Answer { code: status.code(), cut, said: first_line(&words), out })
}

/// The start of a stream; the rest is read and dropped only where it is short, else the pipe closes.
fn bounded(pipe: impl Read, limit: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    // What was read before a failure is all there is.
    let _ = pipe.take(limit).read_to_end(&mut bytes);
    bytes
}

/// git's first line as a part of a sentence: no prefix, nothing that moves a cursor, not endless.
fn first_line(bytes: &[u8]) -> String {
    const SHOWN: usize = 200;
    let text = String::from_utf8_lossy(bytes);
    let line = text.lines().find(|line| !line.trim().is_empty()).unwrap_or_default();
    let line = line.strip_prefix("fatal: ").or_else(|| line.strip_prefix("error: ")).unwrap_or(line);
    let plain: String = line.chars().map(|c| if c.is_control() { ' ' } else { c }).take(SHOWN).collect();
    match plain.trim() {
        "" => "it says nothing".to_owned(),
        text if line.chars().count() > SHOWN => format!("{text}…"),
        text => text.to_owned(),
    }
}

/// Runs git with the streams of this process; its exit code.
///
/// # Errors
/// git does not run.
pub fn run_through<S: AsRef<OsStr>>(args: &[S]) -> Result<Option<i32>, GitError> {
    let status = Command::new("git").args(args).status().map_err(|source| GitError::Missing { source })?;
    Ok(status.code())
}

/// Whether git would colour a diff on a terminal, or where its pager shows one.
pub fn wants_colour(is_terminal: bool) -> bool {
    let paged = std::env::var_os("GIT_PAGER_IN_USE").is_some_and(|value| value != "0" && value != "false");
    let shown = if is_terminal || paged { "true" } else { "false" };
    let args = ["config", "--get-colorbool", "color.diff", shown];
    ask(Path::new("."), &args).is_ok_and(|answer| answer.line() == "true")
}

/// Merges three files line by line, with markers around conflicts: ours, base and theirs.
///
/// # Errors
/// git does not run, or cannot read a file.
pub fn merge_lines(files: [&Path; 3], labels: [&str; 3]) -> Result<Vec<u8>, GitError> {
    const MAX_BYTES: u64 = 256 << 20;
    let mut call = git(Path::new("."));
    call.args(["merge-file", "-p", "-q"]);
    labels.iter().for_each(|label| {
        call.args(["-L", label]);
    });
    call.arg("--");
    for file in files {
        // Absolute, since git takes a path below its repository's top for one from there.
        call.arg(std::path::absolute(file).map_err(|source| GitError::Io { path: file.to_owned(), source })?);
    }
    let merged = answer(&mut call, MAX_BYTES)?;
    match merged.code {
        // The number of conflicts, at most 127; more is an error.
        Some(0..=127) if !merged.cut => Ok(merged.out),
        _ => Err(GitError::Failed { what: "merge-file".to_owned(), said: merged.said }),
    }
}
