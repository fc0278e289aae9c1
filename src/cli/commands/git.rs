//! `xp git`: what lets git show and merge locks by their facts.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use super::super::args::{GitArgs, GitCommand, GitInstallArgs};
use super::super::error::CliError;
use super::super::output;
use super::diff;
use crate::git::{self, Attributes, GitError, Repository, Scope, Setting, Settings};

const PATTERN: &str = "*.lock.kdl";
const DRIVER: &str = "xp-lock";
const ATTRIBUTES: &[(&str, &str)] = &[("diff", DRIVER), ("merge", DRIVER)];

/// Heads of hunks: the outermost block, such as `run "tiny"`.
const HEADS: &str = "^([a-z][a-z-]*( \"[^\"]*\")?) \\{$";

/// Sets up, checks, or takes back; or shows a diff to git.
pub fn run(args: &GitArgs) -> Result<ExitCode, CliError> {
    match &args.command {
        GitCommand::Install(args) => install(args).map_err(CliError::as_trouble),
        GitCommand::ShowDiff { args } => show_diff(args).map_err(CliError::as_trouble),
    }
}

fn settings() -> Result<Vec<Setting>, CliError> {
    let program = program()?;
    let call = |key, rest: &str| Setting {
        key,
        // In a driver's line a per cent sign stands for something.
        value: format!(
            "{}{rest}",
            if key == "merge.xp-lock.driver" { program.replace('%', "%%") } else { program.clone() }
        ),
        ending: rest.to_owned(),
    };
    let fixed = |key, value: &str| Setting { key, value: value.to_owned(), ending: value.to_owned() };
    Ok(vec![
        call("diff.xp-lock.command", " git show-diff"),
        fixed("diff.xp-lock.xfuncname", HEADS),
        fixed("merge.xp-lock.name", "facts of a lock of xp"),
        call("merge.xp-lock.driver", " merge %O %A %B --path %P --our-label %X --their-label %Y"),
        // A base that has conflicts itself would be no lock: of several bases, git takes what they have.
        fixed("merge.xp-lock.recursive", "binary"),
    ])
}

fn install(args: &GitInstallArgs) -> Result<ExitCode, CliError> {
    let repository = match args.global {
        true => None,
        false => Some(Repository::of(Path::new("."), "`--global` sets up all repositories of this user")?),
    };
    let scope = repository.clone().map_or(Scope::Person, Scope::Repository);
    let wanted = settings()?;
    let settings = Settings::read(&scope, &wanted)?;
    let path = scope.attributes()?;
    let mut attributes = Attributes::read(&path, PATTERN, ATTRIBUTES)?;
    let place = if args.global { path.display().to_string() } else { ".gitattributes".to_owned() };
    if args.uninstall {
        let removed = settings.remove()? + usize::from(attributes.remove()?);
        let what =
            if removed == 0 { "nothing was set up" } else { "git shows and merges locks as text again" };
        output::line(what)?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut missing: Vec<String> =
        settings.missing().map(|setting| format!("{} ({})", setting.key, scope.config())).collect();
    if !attributes.is_there() {
        missing.push(format!("{} ({place})", attributes.line()));
    }
    if args.check {
        if let Some(repository) = repository.as_ref().filter(|_| missing.is_empty()) {
            missing.extend(outranked(repository)?);
        }
        return check(&missing);
    }
    if let Some(taken) = settings.taken().or_else(|| attributes.taken()) {
        return Err(taken.into());
    }
    settings.write()?;
    attributes.add()?;
    let of = if args.global { "all your repositories" } else { "this repository" };
    output::line(format_args!("git shows and merges locks by their facts in {of}"))?;
    if let Some(repository) = &repository {
        if missing.iter().any(|missing| missing.contains(PATTERN)) {
            output::line("commit .gitattributes; in every other clone `xp git install` sets up the rest")?;
        }
        for outranked in outranked(repository)? {
            output::note(format_args!("note: {outranked}"));
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn check(missing: &[String]) -> Result<ExitCode, CliError> {
    if missing.is_empty() {
        output::line("git shows and merges locks by their facts")?;
        return Ok(ExitCode::SUCCESS);
    }
    let message = format!("not set up:\n  {}", missing.join("\n  "));
    output::note(format_args!("{message}\n`xp git install` sets it up"));
    Ok(ExitCode::from(1))
}

/// Attributes that another file gives locks, above the one that was written.
fn outranked(repository: &Repository) -> Result<Vec<String>, GitError> {
    let mut out = Vec::new();
    for (name, wanted) in ATTRIBUTES {
        let found = repository.attribute(name, "locks/any.lock.kdl")?;
        if found != *wanted {
            out.push(format!("another attributes file says {name}={found} of locks/*.lock.kdl"));
        }
    }
    Ok(out)
}

/// How git's shell calls this xp: by its name where that finds it.
fn program() -> Result<String, CliError> {
    let own = std::env::current_exe().map_err(|error| {
        CliError::system(
            format!("cannot tell where xp is: {error}"),
            "set the drivers by hand: see docs/lockfile.md",
        )
    })?;
    let real = |path: &Path| std::fs::canonicalize(path).ok();
    let path = std::env::var_os("PATH").unwrap_or_default();
    let named = std::env::split_paths(&path).map(|folder| folder.join("xp")).find(|found| found.is_file());
    if named.is_some_and(|named| real(&named).is_some() && real(&named) == real(&own)) {
        return Ok("xp".to_owned());
    }
    Ok(format!("'{}'", own.display().to_string().replace('\'', "'\\''")))
}

/// Shows a lock's diff to git. Whatever happens, something is shown and the exit code is 0: any other
/// ends `git diff` as a whole.
fn show_diff(args: &[OsString]) -> Result<ExitCode, CliError> {
    let [path, old, _, _, new, rest @ ..] = args else {
        if let [path] = args {
            output::line(format_args!(
                "* Unmerged path {}",
                diff::words::plain(&path.to_string_lossy(), 400)
            ))?;
            return Ok(ExitCode::SUCCESS);
        }
        return Err(CliError::system(
            "git calls this command, with seven arguments".to_owned(),
            "`xp git install` sets it up; `xp diff` compares two locks",
        ));
    };
    let is_terminal = std::io::IsTerminal::is_terminal(&std::io::stdout());
    let colour = git::wants_colour(is_terminal);
    match colour {
        true => anstream::ColorChoice::AlwaysAnsi.write_global(),
        false => anstream::ColorChoice::Never.write_global(),
    }
    let shown = |path: &OsString| diff::words::plain(&path.to_string_lossy(), 400);
    // Of a renamed file, git gives the new name behind the seven.
    let now = rest.get(2).unwrap_or(path);
    let (old, new) = (PathBuf::from(old), PathBuf::from(new));
    let bold = anstyle::Style::new().bold();
    output::line(format_args!("{bold}diff --xp a/{} b/{}{bold:#}", shown(path), shown(now)))?;
    match diff::of_files(&old, &new) {
        Ok(text) => output::print(text)?,
        Err(why) => {
            output::line(format_args!("as text: {why}"))?;
            let colour = if colour { "--color=always" } else { "--color=never" };
            let call = ["--no-pager", "diff", "--no-index", "--no-ext-diff", "--no-textconv", colour, "--"];
            let mut call: Vec<OsString> = call.iter().map(OsString::from).collect();
            call.extend([old.into(), new.into()]);
            git::run_through(&call)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}
