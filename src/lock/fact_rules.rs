//! What a changed fact does to results that exist: one table, which
//! `docs/lockfile.md` shows and a test in `run/` holds against the keys of the
//! stages.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::fact::segments;
use super::stage::{Stage, Stages};

/// What a changed fact does to results that exist.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Impact {
    /// No result changes.
    Cosmetic,
    /// Results stand; the verdict over them is computed again.
    Verdict,
    /// The simulation is run again.
    Simulation,
    /// The measurement is taken again (and so the simulation of it).
    Measurement,
    /// Old and new results may not be compared.
    ComparisonBreaking,
}

impl Impact {
    /// All of them, the gravest first.
    pub const ALL: [Self; 5] =
        [Self::ComparisonBreaking, Self::Measurement, Self::Simulation, Self::Verdict, Self::Cosmetic];

    /// Its name, as it is written.
    pub fn name(self) -> &'static str {
        match self {
            Self::Cosmetic => "cosmetic",
            Self::Verdict => "verdict",
            Self::Simulation => "simulation",
            Self::Measurement => "measurement",
            Self::ComparisonBreaking => "comparison-breaking",
        }
    }

    /// What it means for a reader of a diff.
    pub fn meaning(self) -> &'static str {
        match self {
            Self::Cosmetic => "no result changes",
            Self::Verdict => "results stand, they are judged again",
            Self::Simulation => "simulated results are redone",
            Self::Measurement => "the engine is timed again",
            Self::ComparisonBreaking => "old and new results may not be compared",
        }
    }
}

/// A row of the table.
#[derive(Debug)]
pub(super) struct Rule {
    /// Paths of the facts it is about. `*` stands for one name, `**` for any rest. `<measured>` and
    /// `<simulated>` stand for the names of these two backends.
    pub facts: &'static [&'static str],
    /// What a change does by itself.
    pub impact: Impact,
    /// Stages whose key holds the fact. Comparison and report are not listed: see `quoted`.
    pub stages: Stages,
    /// Facts that it decides: a change of it does what it makes of them, and no more.
    pub decides: &'static [&'static str],
    /// Whether it is an input of the lock. Every comparison quotes the digest of these, so that a
    /// change of any of them makes comparisons and report again.
    pub quoted: bool,
    /// The value that its absence stands for.
    pub absent: Option<&'static str>,
    /// What the fact is, for the documentation.
    #[allow(dead_code, reason = "docs/lockfile.md shows it, and a test compares")]
    pub what: &'static str,
}

const REAL: Stages = Stages::of(&[Stage::Real]);
const SIM: Stages = Stages::of(&[Stage::Sim]);
const BOTH: Stages = REAL.with(SIM);

/// Facts that stand in no lock and are found in it: the names of the two backends.
pub(super) const MEASURED: &str = "<measured>";
pub(super) const SIMULATED: &str = "<simulated>";

const WORKLOADS: &str = "runs.*.workload.sha256";
const SCHEDULERS: &str = "runs.*.scheduler.**";
const CLUSTERS: &str = "runs.*.cluster.**";
const RECORDINGS: &str = "runs.*.recorded.sha256";
const WORKERS: &str = "runs.*.worker.**";
const BUNDLES: &str = "bundle.**";
/// Of runs that have bundles of their own.
const OWN_BUNDLES: &str = "runs.*.bundle.**";
const SIMULATIONS: &str = "runs.*.sim.sha256";

/// A fact that does nothing but what the facts do that it decides.
const fn setting(
    facts: &'static [&'static str],
    decides: &'static [&'static str],
    what: &'static str,
) -> Rule {
    Rule { decides, ..key(facts, Impact::Cosmetic, Stages::NONE, what) }
}

/// A fact that the keys of stages hold.
const fn key(facts: &'static [&'static str], impact: Impact, stages: Stages, what: &'static str) -> Rule {
    Rule { facts, impact, stages, decides: &[], quoted: true, absent: None, what }
}

/// The table. The first row that has a fact's path is the fact's.
pub(super) const RULES: &[Rule] = &[
    Rule { quoted: false, ..setting(&["xp"], &[], "the version of xp that wrote the lock") },
    setting(&["lock", "spec.**"], &[], "the lock's format, and where the experiment came from"),
    key(&["versions.metrics"], Impact::ComparisonBreaking, BOTH, "the version of the metric definitions"),
    key(&["versions.engine"], Impact::Measurement, REAL, "the version of how the engine serves"),
    key(&["versions.simulator"], Impact::Simulation, SIM, "the version of how a workload is simulated"),
    setting(&["versions.workload"], &[WORKLOADS], "the version of a workload's files"),
    setting(
        &["experiment.name", "experiment.description", "experiment.report", "experiment.max-runs"],
        &[],
        "names and words (a run is named after its experiment: another name makes other runs)",
    ),
    setting(
        &["experiment.data"],
        &[WORKLOADS, "resolved-model.**", BUNDLES, OWN_BUNDLES],
        "the folder in which input files are looked for (`--set data=FOLDER` is recorded nowhere)",
    ),
    key(
        &["experiment.capacity.**", "experiment.hardware.price-per-hour"],
        Impact::Verdict,
        Stages::NONE,
        "which request rates a capacity search tries, and what a device costs",
    ),
    key(&["experiment.slo.**"], Impact::Verdict, Stages::NONE, "the service-level objectives"),
    key(
        &["experiment.compare.pass", "experiment.compare.warn"],
        Impact::Verdict,
        Stages::NONE,
        "the limits of a verdict",
    ),
    Rule {
        absent: Some("1"),
        ..key(&["experiment.compare.repeats"], Impact::Measurement, REAL, "how often a run is measured")
    },
    setting(&["experiment.compare.real"], &[MEASURED], "which backend is measured"),
    setting(&["experiment.compare.sim"], &[SIMULATED], "which backend is simulated"),
    setting(&["experiment.seed"], &["seeds.**"], "the root of every seed"),
    Rule {
        decides: &["resolved-model.**", BUNDLES, OWN_BUNDLES],
        ..key(
            &["experiment.model.name", "experiment.model.dtype"],
            Impact::ComparisonBreaking,
            BOTH,
            "the model's name and number format",
        )
    },
    setting(&["experiment.model.source.**"], &["resolved-model.**"], "where the model comes from"),
    Rule {
        decides: &[BUNDLES, OWN_BUNDLES],
        ..key(&["experiment.hardware.threads"], Impact::Measurement, BOTH, "the compute threads")
    },
    key(&["experiment.hardware.interconnect.**"], Impact::Simulation, SIM, "how devices are connected"),
    Rule {
        decides: &[BUNDLES, OWN_BUNDLES, SCHEDULERS, WORKERS],
        ..key(
            &["experiment.hardware.device"],
            Impact::Measurement,
            REAL,
            "the device that an engine runs on, and from whose memory KV blocks are planned",
        )
    },
    setting(
        &["experiment.hardware.**"],
        &[BUNDLES, OWN_BUNDLES, SCHEDULERS],
        "the device's memory, from which KV blocks are planned",
    ),
    setting(
        &["experiment.workload.chat-template"],
        &[WORKLOADS, "resolved-model.**", BUNDLES, OWN_BUNDLES],
        "whether prompts are messages in the model's chat template, which then belongs to the model",
    ),
    setting(
        &["experiment.workload.**"],
        &[WORKLOADS, BUNDLES, OWN_BUNDLES],
        "what is asked of the engine, and when",
    ),
    key(
        &["experiment.backends.<measured>.sampling.**"],
        Impact::Measurement,
        REAL,
        "how the measured engine draws a token (in the runs whose settings do not say it)",
    ),
    key(
        &["experiment.backends.<measured>.columns.**"],
        Impact::Measurement,
        REAL,
        "what the columns of a recording hold (in the runs whose settings do not say it)",
    ),
    setting(
        &["experiment.backends.<measured>.**"],
        &[SCHEDULERS, CLUSTERS, "seeds.router", RECORDINGS, WORKERS, MEASURED, BUNDLES, OWN_BUNDLES],
        "the measured engine's settings, each with its default",
    ),
    Rule {
        decides: &[SIMULATIONS],
        ..key(
            &["experiment.backends.<simulated>.predictor"],
            Impact::Simulation,
            SIM,
            "how a step's duration is predicted",
        )
    },
    key(
        &["experiment.backends.<simulated>.overhead.**"],
        Impact::Simulation,
        SIM,
        "what is added to every simulated step",
    ),
    key(
        &["experiment.backends.<simulated>.grid.**"],
        Impact::Simulation,
        SIM,
        "settings of the regression that predicts",
    ),
    key(&["experiment.backends.<simulated>.log"], Impact::Simulation, SIM, "what is kept of a simulation"),
    key(
        &["experiment.backends.<simulated>.vidur.**"],
        Impact::Simulation,
        SIM,
        "which tables of a folder of Vidur's predict",
    ),
    setting(
        &["experiment.backends.<simulated>.**"],
        &[SIMULATED, BUNDLES, OWN_BUNDLES],
        "the other settings of the simulated backend",
    ),
    setting(
        &["experiment.backends", "experiment.backends.**"],
        &[MEASURED, SIMULATED],
        "backends that are neither, and the order of all",
    ),
    setting(
        &["experiment.matrix", "experiment.matrix.**"],
        &[],
        "the matrix: its cells are the runs, which are added and removed",
    ),
    key(
        &["seeds.sampling", "seeds.weights"],
        Impact::Measurement,
        REAL,
        "the seeds of sampled tokens and of random weights",
    ),
    key(&["seeds.router"], Impact::Simulation, SIM, "the seed of the router's draws"),
    setting(&["seeds.**"], &[WORKLOADS], "the other seeds: of lengths, arrivals and prompts"),
    Rule {
        decides: &[BUNDLES, OWN_BUNDLES],
        ..key(
            &["resolved-model.sha256"],
            Impact::ComparisonBreaking,
            BOTH,
            "the digest of the model's shape, number format and files",
        )
    },
    setting(
        &["resolved-model.**"],
        &["resolved-model.sha256", WORKLOADS],
        "the model's commit, shape and files",
    ),
    Rule {
        decides: &[SIMULATIONS],
        ..key(
            &["bundle.sha256", "runs.*.bundle.sha256"],
            Impact::Simulation,
            Stages::of(&[Stage::Profile, Stage::Sim]),
            "the profiling bundle, of all runs or of one",
        )
    },
    setting(
        &[BUNDLES, OWN_BUNDLES],
        &["bundle.sha256", "runs.*.bundle.sha256"],
        "the bundle's place, machine and files",
    ),
    key(
        &[WORKLOADS],
        Impact::ComparisonBreaking,
        Stages::of(&[Stage::Workload, Stage::Sim, Stage::Real]),
        "the content of a run's workload",
    ),
    setting(&["runs.*.workload.**"], &[WORKLOADS], "its totals and the data files it reads"),
    key(&[SCHEDULERS], Impact::Measurement, BOTH, "a run's settings of the scheduler, resolved"),
    key(&[CLUSTERS], Impact::Simulation, SIM, "a run's replicas and devices, resolved"),
    key(&[RECORDINGS], Impact::Measurement, REAL, "the content of a run's recording"),
    setting(&["runs.*.recorded.**"], &[RECORDINGS], "a recording's place and size"),
    key(
        &[WORKERS],
        Impact::Measurement,
        REAL,
        "the program, the packages and the device of a run's Python worker",
    ),
    Rule {
        quoted: false,
        ..key(&[SIMULATIONS], Impact::Simulation, SIM, "the digest of a run's simulated result")
    },
    Rule { quoted: false, ..setting(&["runs.*.sim.**"], &[SIMULATIONS], "the number of its steps") },
    setting(&["runs", "runs.*.set.**"], &[], "the order of the runs, and the settings that name them"),
    Rule {
        decides: &[SCHEDULERS],
        ..key(&[MEASURED], Impact::Measurement, REAL, "the name of the backend that is measured")
    },
    key(&[SIMULATED], Impact::Simulation, SIM, "the name of the backend that is simulated"),
    // A fact that the table does not know may decide anything.
    key(&["**"], Impact::ComparisonBreaking, Stages::of(&[Stage::Workload]).with(BOTH), "any other fact"),
];

/// The row of the fact at a path; the path names the two backends by their roles.
pub(super) fn rule(path: &str) -> &'static Rule {
    let found = RULES.iter().find(|rule| rule.facts.iter().any(|pattern| matches(pattern, path)));
    found.expect("the last row has every path")
}

/// The rows of the table, each by the first of its facts.
#[cfg(test)]
pub(crate) fn rows() -> impl Iterator<Item = &'static str> {
    RULES.iter().map(|rule| rule.facts[0])
}

/// Whether a pattern of the table has a path, or the other pattern all of whose names are given.
pub(super) fn matches(pattern: &str, path: &str) -> bool {
    let mut names = segments(path);
    for part in pattern.split('.') {
        match (part, names.next()) {
            ("**", _) => return true,
            ("*", Some(_)) => {}
            (part, Some(name)) if part == name => {}
            _ => return false,
        }
    }
    names.next().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_has_paths_name_by_name() {
        for (pattern, path, has) in [
            ("xp", "xp", true),
            ("xp", "xp.a", false),
            ("spec.**", "spec.path", true),
            ("spec.**", "specs.path", false),
            ("runs.*.workload.**", "runs.\"a.b\".workload.files.c.bytes", true),
            ("runs.*.workload.sha256", "runs.a.workload.requests", false),
            ("runs.*", "runs", false),
        ] {
            assert_eq!(matches(pattern, path), has, "{pattern} {path}");
        }
        assert_eq!(rule("bundle.sha256").impact, Impact::Simulation);
        assert_eq!(rule("surprise.of.a.later.version").impact, Impact::ComparisonBreaking);
    }

    /// The table as the documentation has it.
    fn table() -> String {
        let code = |names: &[&str]| {
            let names: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
            names.join(", ")
        };
        let mut out = "| fact | is | impact | made again | decides |\n|---|---|---|---|---|\n".to_owned();
        for rule in RULES {
            let judged = rule.quoted || !rule.stages.is_empty();
            let judged = if judged { Stages::of(&[Stage::Compare, Stage::Report]) } else { Stages::NONE };
            let stages = rule.stages.with(judged).to_string();
            let stages = if stages.is_empty() { "–" } else { &stages };
            let decides = if rule.decides.is_empty() { "–".to_owned() } else { code(rule.decides) };
            out += &format!(
                "| {} | {} | {} | {stages} | {decides} |\n",
                code(rule.facts),
                rule.what,
                rule.impact.name()
            );
        }
        out
    }

    /// `XP_UPDATE_DOCS=1 cargo test documentation` writes it anew.
    #[test]
    fn the_documentation_shows_the_table() {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/lockfile.md");
        let text = std::fs::read_to_string(&path).unwrap();
        let (before, rest) = text.split_once("<!-- table -->\n").unwrap();
        let (shown, after) = rest.split_once("<!-- end of table -->").unwrap();
        if std::env::var_os("XP_UPDATE_DOCS").is_some() {
            let text = format!("{before}<!-- table -->\n{}<!-- end of table -->{after}", table());
            crate::store::write(&path, text.as_bytes()).unwrap();
            return;
        }
        assert!(shown == table(), "docs/lockfile.md is stale: run with XP_UPDATE_DOCS=1");
    }
}
