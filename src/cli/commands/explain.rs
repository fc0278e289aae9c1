use std::process::ExitCode;

use anstyle::{AnsiColor, Style};

use super::super::args::ExplainArgs;
use super::super::error::CliError;
use super::super::output;
use crate::explain::{self, Explanation};

const HEADING: Style = Style::new().bold();
const CODE: Style = AnsiColor::Cyan.on_default();

/// Prints the long story of diagnostics, or lists all of them.
pub fn run(args: &ExplainArgs) -> Result<ExitCode, CliError> {
    if args.codes.is_empty() {
        return list();
    }
    // All are looked up before any is printed.
    let mut found: Vec<&Explanation> = Vec::new();
    for code in &args.codes {
        let known = explain::find(code);
        if known.is_empty() {
            return Err(unknown(code));
        }
        found.extend(known);
    }
    for (index, known) in found.iter().enumerate() {
        if index > 0 {
            output::line("\n")?;
        }
        output::line(format_args!("{HEADING}{}{HEADING:#}\n", known.code))?;
        output::print(rendered(known.text))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn unknown(code: &str) -> CliError {
    let shown: String = code.chars().take(100).collect();
    let help = match explain::closest(code) {
        Some(likely) => format!("did you mean `{likely}`? `xp explain` lists all codes"),
        None => "`xp explain` lists all codes".to_owned(),
    };
    CliError::system(format!("no diagnostic has the code {shown:?}"), &help)
}

fn list() -> Result<ExitCode, CliError> {
    let codes = || explain::rooms().iter().flat_map(|room| &room.explanations).map(|known| known.code.len());
    let width = codes().max().unwrap_or(0);
    for (index, room) in explain::rooms().iter().enumerate() {
        if index > 0 {
            output::line("")?;
        }
        output::line(format_args!("{HEADING}{}{HEADING:#}: {}", room.name, room.summary))?;
        for known in &room.explanations {
            output::line(format_args!("  {CODE}{:<width$}{CODE:#}  {}", known.code, known.summary))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Markdown for a terminal: headings bold, code indented, text as it is.
fn rendered(markdown: &str) -> String {
    let mut out = String::new();
    let mut in_code = false;
    for line in markdown.lines() {
        if line.starts_with("```") {
            in_code = !in_code;
            continue;
        }
        match line.strip_prefix("### ") {
            _ if line.is_empty() => {}
            _ if in_code => out.push_str(&format!("    {CODE}{line}{CODE:#}")),
            Some(heading) => out.push_str(&format!("{HEADING}{heading}{HEADING:#}")),
            None => out.push_str(line),
        }
        out.push('\n');
    }
    out
}
