use std::process::ExitCode;

use super::super::args::{FailOn, RunArgs};
use super::super::error::CliError;
use super::super::output;
use super::super::table;
use super::super::terminal::Terminal;
use super::{request, shown};
use crate::compare::{Verdict, recorded_note};
use crate::run;

/// Runs everything that is not up to date, and shows the headline.
pub fn run(args: &RunArgs) -> Result<ExitCode, CliError> {
    let terminal = Terminal::new();
    let mut request = request(&args.target)?;
    request.allow_foreign_bundle = args.allow_foreign_bundle;
    let outcome = run::execute(request, &terminal)?;
    for comparison in &outcome.comparisons {
        let style = table::verdict_style(comparison.verdict);
        let verdict = table::verdict(comparison.verdict);
        output::line(format_args!(
            "\n{} against {}, run {}: {style}{verdict}{style:#} (pass within {} %, warn within {} %)\n",
            comparison.sim, comparison.real, comparison.run, comparison.pass_percent, comparison.warn_percent
        ))?;
        output::print(table::headline(comparison))?;
        if comparison.recorded {
            output::line(format_args!("\n  note: {}", recorded_note(&comparison.real)))?;
        }
        if let Some(drift) = comparison.drift_percent.filter(|drift| drift.abs() > comparison.pass_percent) {
            let (much, how) = (drift.abs(), if drift > 0.0 { "slower" } else { "faster" });
            output::line(format_args!(
                "\n  note: the machine was {much:.1} % {how} while it was measured than while it was profiled;\n  \
                 that much of each error is its own: `xp lock --upgrade bundle` on a quiet machine profiles again"
            ))?;
        }
    }
    output::line(format_args!("\nlock    {}", shown(&outcome.lock)))?;
    if let Some(report) = &outcome.report {
        output::line(format_args!("report  {}", shown(report)))?;
    }
    let worst = outcome.verdict();
    let failed = match args.fail_on {
        None => false,
        Some(FailOn::Fail) => worst == Some(Verdict::Fail),
        Some(FailOn::Warn) => worst >= Some(Verdict::Warn),
    };
    Ok(if failed { ExitCode::from(1) } else { ExitCode::SUCCESS })
}
