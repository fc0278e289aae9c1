//! A run as lines and bars: one line a stage when it is done, a bar while it
//! works, and no bars where there is no terminal.

use std::io::IsTerminal;
use std::sync::Mutex;
use std::time::Duration;

use anstyle::{AnsiColor, Style};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::output;
use crate::progress::Progress;
use crate::run::{Observer, Stage};

/// Renders a run on standard error.
#[derive(Debug)]
pub struct Terminal {
    bar: Bar,
}

#[derive(Debug)]
struct Bar {
    bar: ProgressBar,
    title: Mutex<String>,
}

const DIM: Style = Style::new().dimmed();
const GREEN: Style = AnsiColor::Green.on_default().bold();
const CYAN: Style = AnsiColor::Cyan.on_default().bold();
const YELLOW: Style = AnsiColor::Yellow.on_default().bold();

impl Terminal {
    /// Bars appear only if standard error is a terminal.
    pub fn new() -> Self {
        let target = match std::io::stderr().is_terminal() {
            true => ProgressDrawTarget::stderr_with_hz(10),
            false => ProgressDrawTarget::hidden(),
        };
        let bar = ProgressBar::with_draw_target(Some(0), target);
        Self { bar: Bar { bar, title: Mutex::new(String::new()) } }
    }

    fn line(&self, text: &str) {
        self.bar.bar.suspend(|| output::note(text));
    }
}

fn label_of(label: &str) -> String {
    if label.is_empty() { String::new() } else { format!(" {label}") }
}

impl Observer for Terminal {
    fn locked(&self, path: &str, reasons: &[String]) {
        let verb = if reasons.is_empty() { "unchanged" } else { "written" };
        self.line(&format!("{GREEN}{:>10}{GREEN:#} {path} {DIM}{verb}{DIM:#}", "lock"));
        const SHOWN: usize = 6;
        for reason in reasons.iter().take(SHOWN) {
            self.line(&format!("           {DIM}{reason}{DIM:#}"));
        }
        if reasons.len() > SHOWN {
            self.line(&format!(
                "           {DIM}and {} more facts (`xp diff` tells all){DIM:#}",
                reasons.len() - SHOWN
            ));
        }
    }

    fn started(&self, stage: Stage, label: &str, reason: &str) {
        self.line(&format!("{CYAN}{:>10}{CYAN:#}{} {DIM}{reason}{DIM:#}", stage.name(), label_of(label)));
        if let Ok(mut title) = self.bar.title.lock() {
            *title = format!("{:>10}{}", stage.name(), label_of(label));
        }
    }

    fn finished(&self, stage: Stage, label: &str, what: &str, seconds: f64) {
        self.bar.finish();
        self.line(&format!(
            "{GREEN}{:>10}{GREEN:#}{} {what} {DIM}in {seconds:.1} s{DIM:#}",
            stage.name(),
            label_of(label)
        ));
    }

    fn reused(&self, stage: Stage, label: &str, what: &str) {
        self.line(&format!(
            "{GREEN}{:>10}{GREEN:#}{} {DIM}reused{DIM:#} {what}",
            stage.name(),
            label_of(label)
        ));
    }

    fn restored(&self, stage: Stage, label: &str, what: &str, reason: &str) {
        self.line(&format!(
            "{GREEN}{:>10}{GREEN:#}{} {DIM}restored{DIM:#} {what} {DIM}({reason}){DIM:#}",
            stage.name(),
            label_of(label)
        ));
    }

    fn warned(&self, message: &str) {
        self.line(&format!("{YELLOW}{:>10}{YELLOW:#} {message}", "note"));
    }

    fn progress(&self) -> &dyn Progress {
        &self.bar
    }
}

impl Progress for Bar {
    fn start(&self, what: &str, total: u64) {
        let title = self.title.lock().map(|title| title.clone()).unwrap_or_default();
        let template = match total {
            0 => "{prefix} {spinner} {wide_msg}",
            _ => "{prefix} {bar:30.cyan/dim} {pos}/{len} {msg} {eta}",
        };
        if let Ok(style) = ProgressStyle::with_template(template) {
            self.bar.set_style(style.progress_chars("━╸─"));
        }
        self.bar.set_prefix(title);
        self.bar.set_length(total);
        self.bar.set_position(0);
        self.bar.set_message(what.to_owned());
        self.bar.reset_eta();
        if total == 0 {
            // Only work without a length ticks by itself: a ticking thread would disturb a timing.
            self.bar.enable_steady_tick(Duration::from_millis(100));
        }
    }

    fn start_bytes(&self, what: &str, total: u64) {
        let template = "{prefix} {bar:20.cyan/dim} {binary_bytes}/{binary_total_bytes} \
                        {binary_bytes_per_sec} {eta} {wide_msg}";
        if let Ok(style) = ProgressStyle::with_template(template) {
            self.bar.set_style(style.progress_chars("━╸─"));
        }
        self.bar.set_prefix(format!("{:>10}", "download"));
        self.bar.set_length(total);
        self.bar.set_position(0);
        self.bar.set_message(what.to_owned());
        self.bar.reset_eta();
    }

    fn advance(&self, done: u64) {
        self.bar.inc(done);
    }

    fn note(&self, note: &str) {
        self.bar.set_message(note.to_owned());
    }

    fn finish(&self) {
        self.bar.disable_steady_tick();
        self.bar.set_length(0);
        self.bar.finish_and_clear();
        self.bar.reset();
    }
}
