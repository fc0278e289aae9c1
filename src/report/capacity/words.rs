//! Sentences and names of a search.

use super::super::chart::MM;
use super::super::number::{NONE, THIN, TimeUnit, count, limit, plain, significant};
use super::super::text::{clean, fit, shorten};
use super::value_text;
use crate::capacity::{Answer, Capacity, Cell, Outcome, Probe};

/// A search with its cells named and ordered.
pub(super) struct Words<'a> {
    pub capacity: &'a Capacity,
    pub name: String,
    pub currency: String,
    /// Whether cells are of different hardware, whose name is then a part of theirs.
    pub hardware: bool,
    /// Axes that have more than one value and tell more than the hardware's name: place, and last part of the path.
    pub axes: Vec<(usize, String)>,
    /// Axes that have one value in all cells.
    pub fixed: Vec<usize>,
    /// The names of what tells cells apart, joined as the values are.
    pub known_as: String,
    /// Cells by cost, then by rate; those that never hold last.
    pub order: Vec<usize>,
}

impl<'a> Words<'a> {
    pub(super) fn of(capacity: &'a Capacity) -> Words<'a> {
        let cells = &capacity.cells;
        let varies = |axis: usize| {
            let value = |cell: &'a Cell| cell.settings.get(axis).map(|setting| &setting.value);
            cells.iter().any(|cell| value(cell) != value(&cells[0]))
        };
        let name = |path: &str| clean(path.rsplit('.').next().unwrap_or(path), 24);
        let axes: Vec<(usize, String)> = (capacity.telling_axes().into_iter())
            .filter(|axis| varies(*axis))
            .map(|axis| (axis, name(&capacity.axes[axis])))
            .collect();
        let fixed = (0..capacity.axes.len()).filter(|axis| !varies(*axis)).collect();
        let hardware = capacity.has_several_hardware();
        let of_hardware = hardware.then_some("hardware").into_iter();
        let known_as: Vec<&str> = of_hardware.chain(axes.iter().map(|(_, name)| name.as_str())).collect();
        let known_as = known_as.join(" × ");
        let mut order: Vec<usize> = (0..cells.len()).collect();
        let key = |index: usize| {
            let cell = &cells[index];
            let cost = cell.cost_per_million.unwrap_or(f64::INFINITY);
            (cell.outcome.highest_qps().is_none(), cost, -cell.outcome.highest_qps().unwrap_or(0.0))
        };
        order.sort_by(|a, b| {
            let (a_key, b_key) = (key(*a), key(*b));
            let by_cost = a_key.1.total_cmp(&b_key.1).then(a_key.2.total_cmp(&b_key.2));
            a_key.0.cmp(&b_key.0).then(by_cost).then(a.cmp(b))
        });
        Words {
            capacity,
            name: shorten(&clean(&capacity.name, 120), 48),
            currency: clean(&capacity.currency, 12),
            hardware,
            axes,
            fixed,
            known_as,
            order,
        }
    }

    /// Whether cells differ in a setting that is named.
    pub(super) fn named(&self) -> bool {
        self.hardware || !self.axes.is_empty()
    }

    /// The hardware of a cell, where cells differ in it.
    pub(super) fn hardware_of(&self, cell: usize) -> Option<String> {
        self.hardware.then(|| clean(&self.capacity.cells[cell].hardware, 40))
    }

    /// The best cell: the cheapest, else the one with the highest rate. None where none holds.
    pub(super) fn best(&self) -> Option<&'a Cell> {
        let cell = &self.capacity.cells[*self.order.first()?];
        cell.outcome.highest_qps().map(|_| cell)
    }

    /// Values of a cell's settings, such as `512 × 64`; its number where cells do not differ.
    pub(super) fn label(&self, cell: usize) -> String {
        let values = self.axes.iter();
        let values = values.map(|(axis, _)| value_text(&self.capacity.cells[cell].settings[*axis].value));
        let values: Vec<String> = self.hardware_of(cell).into_iter().chain(values).collect();
        if values.is_empty() { format!("cell {}", cell + 1) } else { values.join(" × ") }
    }

    /// [`Words::label`] within a width.
    pub(super) fn short(&self, cell: usize, size: f64, width: f64) -> String {
        fit(&self.label(cell), size, false, width)
    }

    /// Names and values of a cell's settings in words.
    fn long(&self, cell: usize) -> String {
        let settings = self.axes.iter().map(|(axis, name)| {
            format!("{name} {}", value_text(&self.capacity.cells[cell].settings[*axis].value))
        });
        let hardware = self.hardware_of(cell).into_iter();
        shorten(&hardware.chain(settings).collect::<Vec<_>>().join(", "), 120)
    }

    /// `of 12 cells hold`.
    pub(super) fn of_all_hold(&self) -> String {
        match self.capacity.cells.len() {
            1 => "rates hold".to_owned(),
            n => format!("of {} hold", cells_of(n)),
        }
    }

    fn holding(&self) -> usize {
        self.capacity.cells.iter().filter(|cell| cell.outcome.highest_qps().is_some()).count()
    }

    pub(super) fn title(&self) -> String {
        let n = self.capacity.cells.len();
        let Some(best) = self.best() else {
            return match n {
                1 => format!(
                    "The objectives hold at no rate from {} requests/s up",
                    plain_rate(self.capacity.range.min_qps)
                ),
                2 => "Neither of two cells holds the objectives at any rate tried".to_owned(),
                _ => format!("None of {} cells holds the objectives at any rate tried", count(n as u64)),
            };
        };
        let rate = rate(&best.outcome).replace('≥', "at least").replace('\u{202f}', " ");
        if n == 1 {
            return match best.outcome {
                Outcome::Throughout { highest_qps } => {
                    format!("The objectives hold even at {} requests/s", plain_rate(highest_qps))
                }
                _ => format!("The objectives hold up to {rate} requests/s"),
            };
        }
        let of = count(n as u64);
        match best.cost_per_million {
            Some(_) => format!("The cheapest of {of} cells serves {rate} requests/s within the objectives"),
            None => format!("The best of {of} cells serves {rate} requests/s within the objectives"),
        }
    }

    pub(super) fn lead(&self) -> String {
        let cells = &self.capacity.cells;
        let n = cells.len();
        let mut out = String::new();
        match (self.best(), self.order.first()) {
            (Some(cell), Some(index)) => {
                if self.named() {
                    out.push_str(&format!("It is {}. ", self.long(*index)));
                }
                if let Some(load) = cell.highest_load() {
                    out.push_str(&format!(
                        "At that rate it puts out {} tokens/s on {}. ",
                        significant(load.output_tokens_per_s, 3),
                        devices(cell)
                    ));
                }
            }
            _ => {
                let rates: usize = cells.iter().map(|cell| cell.probes.len()).sum();
                out.push_str(&format!(
                    "Every one of {} probes, from {} requests/s up, misses an objective. A lower rate, a weaker \
                     objective or more devices may do. ",
                    count(rates as u64),
                    plain_rate(self.capacity.range.min_qps)
                ));
            }
        }
        let holding = self.holding();
        let throughout =
            cells.iter().filter(|cell| matches!(cell.outcome, Outcome::Throughout { .. })).count();
        if n > 1 && holding > 0 {
            out.push_str(&match holding == n {
                true => "Every cell holds the objectives at some rate. ".to_owned(),
                false => format!(
                    "{} of {} cells hold the objectives at some rate. ",
                    count(holding as u64),
                    count(n as u64)
                ),
            });
        }
        if throughout > 0 {
            let highest = plain_rate(self.capacity.range.max_qps);
            out.push_str(&match n {
                1 => format!("The search ended at {highest} requests/s, the highest rate it was given. "),
                _ => format!(
                    "{} still hold at {highest} requests/s, the highest rate tried. ",
                    count(throughout as u64)
                ),
            });
        }
        let disordered = cells.iter().filter(|cell| !cell.disorder.is_empty()).count();
        if disordered > 0 {
            let places = if n == 1 { "Once".to_owned() } else { format!("In {}", cells_of(disordered)) };
            out.push_str(&format!(
                "{places} a higher rate held after a lower one failed: latency does not grow steadily with load there. "
            ));
        }
        out.trim_end().to_owned()
    }

    pub(super) fn number_notes(&self, cell: &Cell) -> Vec<String> {
        let mut out = vec![format!("{} requests/s on {}", rate(&cell.outcome), devices(cell))];
        if let (Some(price), Some(_)) = (cell.price(), cell.cost_per_million) {
            out.push(format!("{} {} per device-hour", significant(price.per_device_hour, 3), self.currency));
        }
        out.into_iter().map(|line| fit(&line, 8.0, false, 42.0 * MM)).collect()
    }

    pub(super) fn facts(&self) -> Vec<(String, Vec<String>)> {
        let c = self.capacity;
        let probes = || c.cells.iter().flat_map(|cell| &cell.probes);
        let stopped = probes().filter(|probe| matches!(probe.answer, Answer::Stopped(_))).count();
        let objectives = c
            .objectives
            .set()
            .map(|(objective, ns)| format!("P99 {} ≤ {}", objective.metric(), TimeUnit::brief(ns as f64)));
        let line = |text: String| fit(&clean(&text, 200), 8.0, false, 37.0 * MM);
        let of = |head: &str, lines: Vec<String>| {
            (head.to_owned(), lines.into_iter().map(line).collect::<Vec<_>>())
        };
        vec![
            of("Model", vec![c.model.clone(), format!("simulated by {}", c.simulator)]),
            of("Workload", vec![c.workload.clone(), format!("{} requests a probe", count(c.requests))]),
            of("Objectives", objectives.take(3).collect()),
            of(
                "Search",
                vec![
                    format!(
                        "{} to {} requests/s, to {}",
                        plain_rate(c.range.min_qps),
                        plain_rate(c.range.max_qps),
                        limit(100.0 * c.range.tolerance)
                    ),
                    format!(
                        "{}, {}",
                        cells_of(c.cells.len()),
                        match probes().count() {
                            1 => "1 probe".to_owned(),
                            n => format!("{} probes", count(n as u64)),
                        }
                    ),
                    format!("{} stopped early", count(stopped as u64)),
                ],
            ),
        ]
    }

    /// A cell of the front: name, rate, cost.
    pub(super) fn front_row(&self, index: usize) -> [String; 3] {
        let cell = &self.capacity.cells[index];
        [
            self.short(index, 8.0, 27.0 * MM),
            rate(&cell.outcome),
            cell.cost_per_million.map_or(NONE.to_owned(), |cost| significant(cost, 3)),
        ]
    }

    /// What the list of the front leaves out, and prices.
    pub(super) fn rest(&self, more: usize, beaten: usize, prices: &str) -> String {
        let cells = &self.capacity.cells;
        let never = cells.len() - self.holding();
        let mut out = Vec::new();
        if more > 0 {
            out.push(format!("{} more on the front.", count(more as u64)));
        }
        if beaten > 0 {
            let verb = if beaten == 1 { "is" } else { "are" };
            out.push(format!("{} {verb} beaten at every rate.", cells_of(beaten)));
        }
        if never > 0 {
            let verb = if never == 1 { "holds" } else { "hold" };
            out.push(format!("{} {verb} at no rate.", cells_of(never)));
        }
        out.push(prices.to_owned());
        out.join(" ")
    }

    pub(super) fn method(&self) -> Vec<String> {
        let tolerance = limit(100.0 * self.capacity.range.tolerance);
        vec![
            "A rate holds when the 99th percentile of every metric that has an objective is within it. A request that is \
             not served counts as one that never ends."
                .to_owned(),
            format!(
                "Each cell is searched upwards by doubling the rate until two rates in a row fail, then by halving the \
                 gap on a logarithmic scale until it is within {tolerance}. Rates are the same in any number of threads."
            ),
            "A probe is stopped when so many requests are certain to miss an objective that its percentile cannot be \
             within the limit any more. That never changes an answer."
                .to_owned(),
            "Cost is price × devices over output tokens per second, from a run’s start to its last token. Prompt tokens \
             are in the price of the output; idle time and the last requests’ draining are paid for."
                .to_owned(),
            "A cell is on the front if at one of its rates no other cell is at least as cheap and as fast, and better in \
             one. Beaten by: the fastest that costs no more at its own highest rate."
                .to_owned(),
            "Rates are simulated. How far the simulator can be trusted is said by comparisons with measured runs."
                .to_owned(),
        ]
    }
}

/// `1 cell`, `12 cells`.
fn cells_of(n: usize) -> String {
    if n == 1 { "1 cell".to_owned() } else { format!("{} cells", count(n as u64)) }
}

/// `2 devices (a100)`.
fn devices(cell: &Cell) -> String {
    let hardware = shorten(&clean(&cell.hardware, 40), 20);
    match (cell.devices, hardware.is_empty()) {
        (1, true) => "1 device".to_owned(),
        (n, true) => format!("{} devices", count(u64::from(n))),
        (n, false) => format!("{} × {hardware}", count(u64::from(n))),
    }
}

/// A rate of the range, as it was given.
pub(super) fn plain_rate(qps: f64) -> String {
    let text = plain(qps);
    if text.parse() == Ok(qps) || qps >= 100.0 { text } else { significant(qps, 3) }
}

/// The highest rate, with `≥` or `<` where the search has only a bound.
pub(super) fn rate(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Never { lowest_qps } => format!("<{THIN}{}", plain_rate(*lowest_qps)),
        Outcome::Throughout { highest_qps } => format!("≥{THIN}{}", plain_rate(*highest_qps)),
        Outcome::Between { holds_qps, .. } => significant(*holds_qps, 3),
    }
}

/// What keeps a cell from a higher rate: objectives missed at the next rate that fails.
pub(super) fn limited_by(cell: &Cell) -> String {
    let failing = |qps: f64| cell.probes.iter().find(|probe| probe.qps == qps && !probe.holds());
    let missed = |probe: Option<&Probe>| {
        let missed = probe.map_or(&[][..], |probe| &probe.missed);
        missed.iter().map(|objective| objective.metric()).collect::<Vec<_>>().join(", ")
    };
    match cell.outcome {
        Outcome::Never { lowest_qps } => missed(failing(lowest_qps)),
        Outcome::Throughout { .. } => "the range".to_owned(),
        Outcome::Between { fails_qps, .. } => missed(failing(fails_qps)),
    }
}
