//! A comparison whose every string can be set: what comes from names and files
//! of the user is made safe once, here, before any page is built.

use super::text::clean;
use crate::compare::{Comparison, Pin};

/// Most characters of a name, of a line, and of a pinned value.
const NAME: usize = 120;
const LINE: usize = 200;
const VALUE: usize = 400;

/// The comparison with clean, bounded strings.
pub(super) fn cleaned(comparison: &Comparison) -> Comparison {
    let mut c = comparison.clone();
    c.run = clean(&c.run, NAME);
    c.description = c.description.map(|text| clean(&text, LINE));
    c.real = clean(&c.real, NAME);
    c.sim = clean(&c.sim, NAME);
    c.xp_version = clean(&c.xp_version, 24);
    c.facts.truncate(4);
    for (head, lines) in &mut c.facts {
        *head = clean(head, NAME);
        lines.truncate(3);
        lines.iter_mut().for_each(|line| *line = clean(line, LINE));
    }
    for row in &mut c.headline {
        row.metric = clean(&row.metric, 12);
        row.stat = clean(&row.stat, 12);
    }
    for row in c.budget.iter_mut().flat_map(|budget| &mut budget.rows) {
        row.metric = clean(&row.metric, 12);
        row.stat = clean(&row.stat, 12);
    }
    for figure in &mut c.whole_run {
        figure.name = clean(&figure.name, NAME);
    }
    c.pins = c
        .pins
        .iter()
        .map(|pin| Pin {
            group: clean(&pin.group, NAME),
            name: clean(&pin.name, NAME),
            value: clean(&pin.value, VALUE),
        })
        .collect();
    for file in &mut c.files {
        file.file = clean(&file.file, VALUE);
    }
    c
}
