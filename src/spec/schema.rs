//! JSON Schema of an experiment (draft 2020-12), from the Rust types, in a form
//! whose violations say something: a tagged enum is checked as the variant that
//! its `kind` names, not as "any of these".

use std::sync::LazyLock;

use jsonschema::Validator;
use serde_json::{Map, Value, json};

use super::experiment::Experiment;
use super::suggest::one_of;

static SCHEMA: LazyLock<(Value, Validator)> = LazyLock::new(|| {
    let mut schema: Value = schemars::schema_for!(Experiment).into();
    simplify(&mut schema);
    let validator = jsonschema::draft202012::new(&schema).expect("the experiment's own schema is valid");
    (schema, validator)
});

/// JSON Schema of the JSON form of an experiment.
pub fn experiment_schema() -> Value {
    SCHEMA.0.clone()
}

/// Checks instances against [`experiment_schema`].
pub(super) fn validator() -> &'static Validator {
    &SCHEMA.1
}

/// Rewrites what schemars makes of Rust types into what validates with a place.
fn simplify(schema: &mut Value) {
    match schema {
        Value::Array(items) => items.iter_mut().for_each(simplify),
        Value::Object(map) => {
            map.values_mut().for_each(simplify);
            drop_null(map);
            split_by_kind(map);
        }
        _ => {}
    }
}

/// An instance has no nulls: an optional field is there, or it is not.
fn drop_null(map: &mut Map<String, Value>) {
    if let Some(Value::Array(types)) = map.get_mut("type") {
        types.retain(|name| name != "null");
        if let [only] = types.as_slice() {
            map["type"] = only.clone();
        }
    }
    if let Some(Value::Array(options)) = map.get_mut("anyOf") {
        options.retain(|option| option["type"] != "null");
        if let [Value::Object(only)] = options.as_slice() {
            let only = only.clone();
            map.remove("anyOf");
            for (key, value) in only {
                map.entry(key).or_insert(value);
            }
        }
    }
}

/// `oneOf` variants with a constant `kind` → `if` the kind is this `then` check that variant.
fn split_by_kind(map: &mut Map<String, Value>) {
    let Some(Value::Array(variants)) = map.get("oneOf") else { return };
    let kind = |variant: &Value| variant.pointer("/properties/kind/const").cloned();
    let Some(kinds) = variants.iter().map(kind).collect::<Option<Vec<Value>>>() else { return };
    let rules: Vec<Value> = kinds
        .iter()
        .zip(variants)
        .map(|(kind, variant)| {
            json!({
                "if": { "properties": { "kind": { "const": kind } }, "required": ["kind"] },
                "then": variant,
            })
        })
        .collect();
    map.remove("oneOf");
    map.insert("type".to_owned(), json!("object"));
    map.insert("required".to_owned(), json!(["kind"]));
    map.insert("properties".to_owned(), json!({ "kind": { "type": "string", "enum": kinds } }));
    map.insert("allOf".to_owned(), Value::Array(rules));
}

/// The schema of the value at `pointer`, following the variants that `instance` names.
pub(super) fn leaf(instance: &Value, pointer: &str) -> Option<&'static Value> {
    let root = &SCHEMA.0;
    let (mut schema, mut value) = (root, Some(instance));
    for key in pointer.split('/').skip(1) {
        schema = property(root, schema, value, key)?;
        value = value.and_then(|value| match value {
            Value::Array(items) => key.parse::<usize>().ok().and_then(|index| items.get(index)),
            other => other.get(key),
        });
    }
    Some(resolve(root, schema))
}

fn resolve(root: &'static Value, schema: &'static Value) -> &'static Value {
    match schema.get("$ref").and_then(Value::as_str).and_then(|path| path.strip_prefix('#')) {
        Some(pointer) => root.pointer(pointer).unwrap_or(schema),
        None => schema,
    }
}

fn property(
    root: &'static Value,
    schema: &'static Value,
    instance: Option<&Value>,
    key: &str,
) -> Option<&'static Value> {
    let schema = resolve(root, schema);
    if let Some(items) = schema.get("items") {
        return Some(items);
    }
    let kind = instance.and_then(|instance| instance.get("kind"));
    let rules = schema.get("allOf").and_then(Value::as_array).into_iter().flatten();
    let chosen = rules
        .filter(|rule| kind.is_some() && rule.pointer("/if/properties/kind/const") == kind)
        .filter_map(|rule| rule.get("then"));
    let direct = schema.get("properties").and_then(|properties| properties.get(key));
    direct.or_else(|| {
        chosen.map(|then| resolve(root, then)).find_map(|then| then.pointer(&format!("/properties/{key}")))
    })
}

/// A schema that asks for a number between two others, and for nothing else.
#[derive(Debug, Clone, Copy)]
pub(super) struct Range {
    whole: bool,
    least: f64,
    most: f64,
}

impl Range {
    pub fn of(schema: &Value) -> Option<Self> {
        const KNOWN: [&str; 6] = ["type", "minimum", "maximum", "format", "description", "default"];
        let whole = match schema["type"].as_str()? {
            "integer" => true,
            "number" => false,
            _ => return None,
        };
        let is_plain = schema.as_object()?.keys().all(|key| KNOWN.contains(&key.as_str()));
        let limit = |key: &str| schema.get(key).and_then(Value::as_f64);
        is_plain.then_some(Self { whole, least: limit("minimum")?, most: limit("maximum")? })
    }

    /// Whether the validator would certainly accept the value.
    pub fn admits(&self, value: &Value) -> bool {
        let of_type = if self.whole { value.is_u64() } else { value.is_number() };
        of_type && value.as_f64().is_some_and(|number| (self.least..=self.most).contains(&number))
    }
}

/// Names that a schema admits, when it lists them.
pub(super) fn allowed(schema: &'static Value) -> Vec<&'static str> {
    let listed = schema.get("enum").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
    let options = schema.get("oneOf").and_then(Value::as_array).into_iter().flatten();
    listed.chain(options.filter_map(|option| option.get("const").and_then(Value::as_str))).collect()
}

/// What a schema expects, as the object of a sentence.
pub(super) fn expected(schema: &'static Value) -> String {
    let names = allowed(schema);
    if !names.is_empty() {
        return one_of(names);
    }
    let number = |key: &str| schema.get(key).and_then(Value::as_f64).map(|limit| (limit, &schema[key]));
    let what = match schema.get("type").and_then(Value::as_str) {
        Some("integer") => "a whole number",
        Some("number") => "a number",
        Some("string") => return text(schema),
        Some("array") => return "a list".to_owned(),
        Some("boolean") => return "`#true` or `#false`".to_owned(),
        _ => return "a block of settings".to_owned(),
    };
    match (number("minimum"), number("maximum")) {
        (Some((_, min)), Some((_, max))) => format!("{what} from {} to {}", plain(min), plain(max)),
        (Some((_, min)), None) => format!("{what} of at least {}", plain(min)),
        (None, Some((_, max))) => format!("{what} of at most {}", plain(max)),
        (None, None) => what.to_owned(),
    }
}

/// A unit's schema says in its description what it is.
fn text(schema: &Value) -> String {
    let description = schema.get("description").and_then(Value::as_str).unwrap_or_default();
    match description.split_once(", such as ") {
        Some((what, example)) if schema.get("x-unit").is_some() => format!("{what} such as \"{example}\""),
        _ => "a text".to_owned(),
    }
}

/// A number without exponent or a trailing `.0`.
fn plain(number: &Value) -> String {
    match (number.as_u64(), number.as_f64()) {
        (Some(integer), _) => integer.to_string(),
        (None, Some(float)) => format!("{float}"),
        (None, None) => number.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::grammar::{EXPERIMENT, Field, Kind, Object, Shape};
    use super::*;

    /// Settings that a schema's object knows, for one kind of it.
    fn properties(schema: &'static Value, kind: Option<&'static Kind>) -> Vec<String> {
        let root = &SCHEMA.0;
        let schema = resolve(root, schema);
        let variant = kind.map(|kind| {
            let rules = schema["allOf"].as_array().unwrap();
            let rule = rules.iter().find(|rule| rule["if"]["properties"]["kind"]["const"] == kind.name);
            resolve(root, &rule.unwrap_or_else(|| panic!("no kind {} in {schema}", kind.name))["then"])
        });
        let mut names: Vec<String> = variant.unwrap_or(schema)["properties"]
            .as_object()
            .unwrap_or_else(|| panic!("no properties in {schema}"))
            .keys()
            .filter(|name| kind.is_none() || *name != "kind")
            .cloned()
            .collect();
        names.sort();
        names
    }

    fn assert_same(object: &'static Object, schema: &'static Value) {
        let kinds: Vec<Option<&'static Kind>> =
            if object.kinds.is_empty() { vec![None] } else { object.kinds.iter().map(Some).collect() };
        for kind in kinds {
            let fields = || object.fields.iter().chain(kind.map_or(&[][..], |kind| kind.fields));
            let args =
                object.args.iter().chain(kind.map_or(&[][..], |kind| kind.args)).map(|arg| (*arg).to_owned());
            let mut known: Vec<String> = fields().map(|field| field.field.to_owned()).chain(args).collect();
            known.retain(|name| kind.is_none() || name != "kind");
            known.sort();
            assert_eq!(known, properties(schema, kind), "{:?}", kind.map(|kind| kind.name));
            for Field { field, shape, .. } in fields() {
                let kind_value = kind.map_or(json!({}), |kind| json!({ "kind": kind.name }));
                let inner = property(&SCHEMA.0, schema, Some(&kind_value), field).unwrap();
                match shape {
                    Shape::Object(object) => assert_same(object, inner),
                    Shape::Named(object) => assert_same(object, &resolve(&SCHEMA.0, inner)["items"]),
                    Shape::Scalar | Shape::Matrix => {}
                }
            }
        }
    }

    #[test]
    fn the_grammar_table_and_the_types_know_the_same_settings() {
        assert_same(&EXPERIMENT, &SCHEMA.0);
    }

    #[test]
    fn what_is_expected_is_said_in_words() {
        let instance =
            json!({ "workload": { "arrivals": { "kind": "gamma" } }, "backends": [{ "kind": "candle" }] });
        let says = |pointer: &str| expected(leaf(&instance, pointer).unwrap());
        assert_eq!(says("/hardware/threads"), "a whole number from 1 to 1024");
        assert_eq!(says("/workload/arrivals/cv"), "a number from 0.01 to 100");
        assert_eq!(says("/workload/arrivals/kind"), "`static`, `poisson`, `gamma`, `trace` or `recorded`");
        assert_eq!(says("/backends/0/kv-memory"), "a size such as \"80GiB\"");
        let policies = "`sarathi`, `vllm_v1`, `vllm`, `orca`, `lightllm`, `faster_transformer` or `static`";
        assert_eq!(says("/backends/0/scheduler"), policies);
        assert_eq!(says("/slo/ttft-p99"), "a duration such as \"500ms\"");
        assert_eq!(says("/model/dtype"), "`f32`, `f16` or `bf16`");
    }
}
