use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::codec;
use super::pins::Lock;

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
    /// What it means for a reader of a diff.
    pub fn explanation(self) -> &'static str {
        match self {
            Self::Cosmetic => "cosmetic: no result changes",
            Self::Verdict => "verdict: results stand, they are judged again",
            Self::Simulation => "simulation: simulated results are redone",
            Self::Measurement => "measurement: the engine is timed again",
            Self::ComparisonBreaking => "comparison-breaking: old and new results may not be compared",
        }
    }
}

/// All facts of a lock: by dotted path, such as `runs.qwen.workload.sha256`, the value as written.
pub fn facts(lock: &Lock) -> BTreeMap<String, String> {
    let mut out = BTreeMap::new();
    let value = serde_json::to_value(lock).expect("a lock is plain data");
    flatten(&value, String::new(), &mut out);
    out
}

fn flatten(value: &Value, path: String, out: &mut BTreeMap<String, String>) {
    let join = |name: &str| if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
    match value {
        Value::Null => {}
        Value::Object(map) => map.iter().for_each(|(name, value)| flatten(value, join(name), out)),
        Value::Array(items) => {
            let field = path.rsplit('.').next().unwrap_or_default();
            match codec::key_of(field) {
                Some(key) => {
                    for item in items {
                        let name = item.get(key).and_then(Value::as_str).unwrap_or_default();
                        // A key may hold dots (file names, matrix paths); quoting keeps paths unambiguous.
                        let name = if name.contains('.') { format!("\"{name}\"") } else { name.to_owned() };
                        let mut rest = item.clone();
                        if let Value::Object(fields) = &mut rest {
                            fields.shift_remove(key);
                        }
                        flatten(&rest, join(&name), out);
                    }
                }
                None => {
                    let items: Vec<String> = items.iter().map(Value::to_string).collect();
                    out.insert(path, items.join(" "));
                }
            }
        }
        Value::String(text) => {
            out.insert(path, text.clone());
        }
        scalar => {
            out.insert(path, scalar.to_string());
        }
    }
}

/// The impact of a change to the fact at `path`.
pub fn impact(path: &str) -> Impact {
    let rest = path.strip_prefix("experiment.");
    match path.split('.').next().unwrap_or_default() {
        "lock" | "xp" | "spec" => Impact::Cosmetic,
        "versions" if path.ends_with(".simulator") => Impact::Simulation,
        "versions" if path.ends_with(".engine") => Impact::Measurement,
        "versions" | "resolved-model" => Impact::ComparisonBreaking,
        "bundle" => Impact::Simulation,
        "seeds" if path.ends_with(".sampling") || path.ends_with(".weights") => Impact::Measurement,
        "seeds" => Impact::ComparisonBreaking,
        "runs" if path.contains(".workload.") => Impact::ComparisonBreaking,
        "runs" if path.contains(".sim.") => Impact::Simulation,
        "runs" => Impact::Measurement,
        "experiment" => match rest.and_then(|rest| rest.split('.').next()).unwrap_or_default() {
            "name" | "description" | "report" | "max-runs" => Impact::Cosmetic,
            "slo" => Impact::Verdict,
            "compare" if path.ends_with(".repeats") || path.ends_with(".real") => Impact::Measurement,
            "compare" if path.ends_with(".sim") => Impact::Simulation,
            "compare" => Impact::Verdict,
            "backends" if path.ends_with(".profile") || path.ends_with(".predictor") => Impact::Simulation,
            "backends" | "hardware" | "matrix" => Impact::Measurement,
            _ => Impact::ComparisonBreaking,
        },
        _ => Impact::ComparisonBreaking,
    }
}
