//! `xp --help`: the commands by what they are for. clap lists them as one.

use clap::CommandFactory;

use super::args::Cli;

/// A heading, and the commands below it in the order in which a person meets them.
const GROUPS: [(&str, &[&str]); 5] = [
    ("Experiments and locks", &["init", "check", "fmt", "lock", "diff", "merge", "git", "verify"]),
    ("Runs", &["run", "status", "capacity"]),
    ("One stage of a run", &["workload", "profile", "sim", "real", "compare", "report", "export"]),
    ("The store", &["gc", "store"]),
    ("About xp", &["explain", "schema", "completions", "help"]),
];

/// The command line, with its commands in groups.
pub fn command() -> clap::Command {
    let command = Cli::command();
    let mut built = command.clone();
    built.build();
    let style = *built.get_styles().get_header();
    let literal = *built.get_styles().get_literal();
    let visible = || built.get_subcommands().filter(|command| !command.is_hide_set());
    let width = visible().map(|command| command.get_name().len()).max().unwrap_or(0);
    let mut text = String::new();
    let mut write = |heading: &str, names: &[&str]| {
        let known: Vec<_> =
            names.iter().filter_map(|name| visible().find(|known| known.get_name() == *name)).collect();
        if known.is_empty() {
            return;
        }
        text.push_str(&format!("{style}{heading}:{style:#}\n"));
        for command in known {
            let about = command.get_about().map(ToString::to_string).unwrap_or_default();
            let name = command.get_name();
            text.push_str(&format!("  {literal}{name:<width$}{literal:#}  {about}\n"));
        }
        text.push('\n');
    };
    for (heading, names) in GROUPS {
        write(heading, names);
    }
    // A command that has no group yet is shown all the same.
    let grouped = |name: &str| GROUPS.iter().any(|(_, names)| names.contains(&name));
    let others: Vec<&str> = visible().map(clap::Command::get_name).filter(|name| !grouped(name)).collect();
    write("Other commands", &others);
    let template = format!(
        "{{about-with-newline}}\n{{usage-heading}} {{usage}}\n\n{text}{style}Options:{style:#}\n{{options}}{{after-help}}"
    );
    command.help_template(template)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_has_its_group() {
        let mut names: Vec<&str> = GROUPS.iter().flat_map(|(_, names)| *names).copied().collect();
        names.sort_unstable();
        let mut command = command();
        command.build();
        let visible = command.get_subcommands().filter(|command| !command.is_hide_set());
        let mut known: Vec<&str> = visible.map(clap::Command::get_name).collect();
        known.sort_unstable();
        assert_eq!(names, known, "see GROUPS");
    }
}
