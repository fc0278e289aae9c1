//! Defaults that depend on other settings, which a schema cannot say.

use serde_json::{Value, json};

use super::check::backends_of;

/// Fills in what an instance leaves away and other settings say.
pub(super) fn fill(instance: &mut Value) {
    if measures_a_recording(instance)
        && let Some(compare) = instance.get_mut("compare").and_then(Value::as_object_mut)
    {
        // A recording is one run.
        compare.entry("repeats").or_insert(json!(1));
    }
    if let Some(workload) = instance.get_mut("workload").and_then(Value::as_object_mut)
        && workload.get("trace").is_some_and(Value::is_object)
    {
        // Requests of a trace come when it says.
        workload.entry("arrivals").or_insert(json!({ "kind": "recorded" }));
    }
}

/// Whether `compare` names a recording as what was measured.
fn measures_a_recording(instance: &Value) -> bool {
    let real = instance.pointer("/compare/real").and_then(Value::as_str);
    let is_named = |backend: &&Value| real.is_some() && backend.get("name").and_then(Value::as_str) == real;
    let found = backends_of(instance).iter().find(is_named);
    found.is_some_and(|backend| backend.get("kind").is_some_and(|kind| kind == "recorded"))
}
