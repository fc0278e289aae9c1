use std::process::ExitCode;

use super::super::args::{FailOn, RunArgs};
use super::super::error::CliError;
use super::super::output;
use super::super::table;
use super::super::terminal::Terminal;
use super::{request, shown};
use crate::compare::{Comparison, Verdict, recorded_note};
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
        if let Some(machine) = of_machine(comparison).filter(|part| *part > comparison.pass_percent)
            && let Some(within) = comparison.within_at_speed()
        {
            output::line(format_args!(
                "\n  note: the machine was not as fast while it was measured as while it was profiled: up to {machine:.1} % \
                 of\n  an error is its own, and `at its speed` is without: then {within} of {} figures are within ±{} % or the noise\n  \
                 floor; `xp lock --upgrade bundle` profiles again",
                comparison.headline.len(),
                comparison.pass_percent
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

/// The largest part of an error that is the machine's, per cent.
fn of_machine(comparison: &Comparison) -> Option<f64> {
    let parts = comparison.budget.as_ref()?.rows.iter().map(|row| row.machine_percent);
    parts.map(|part| part.map(f64::abs)).try_fold(0.0, |most, part| Some(f64::max(most, part?)))
}
