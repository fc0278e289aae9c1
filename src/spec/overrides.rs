//! `--set path=value`: applied to the instance before it is validated, so that
//! a mistake in it points into its own text.

use std::path::PathBuf;

use kdl::KdlEntry;
use serde_json::Value;

use super::diagnostic::{Mistake, SourceText, SpecErrors};
use super::kdl_value::scalar;
use super::lexeme::{is_forbidden, lexeme};
use super::path::{resolve, set};
use super::place::{OVERRIDES, Place, Places};
use super::schema::leaf;

/// Longest override, in bytes.
const MAX_BYTES: usize = 10_000;

/// What diagnostics call the source of an override.
const FLAG: &str = "--set";

/// The setting that says where input files are. What `--set` says of it holds for one command on one
/// machine: it is no part of what the experiment means.
const DATA: &str = "data";

/// Takes the place of the data folder out of `--set`s; the last one that says it wins. One without a value is left
/// among the others, to be refused.
pub fn take_data(set: &[String]) -> (Option<PathBuf>, Vec<String>) {
    let place = |text: &String| {
        let place = text.strip_prefix(DATA)?.strip_prefix('=').filter(|place| !place.is_empty())?;
        Some(PathBuf::from(place))
    };
    let others = set.iter().filter(|text| place(text).is_none()).cloned().collect();
    (set.iter().rev().find_map(place), others)
}

/// One `--set path=value`.
#[derive(Debug, Clone, PartialEq)]
pub struct Override {
    /// Such as `workload.arrivals.qps`.
    pub path: String,
    /// A KDL number, keyword or quoted text as what it says; anything else as a text.
    pub value: Value,
    /// As it was written.
    pub text: String,
}

impl Override {
    /// Reads `path=value`; whether the path leads anywhere is the experiment's to say.
    ///
    /// # Errors
    /// There is no `=`, nothing before or behind it, or a number that no setting can hold.
    pub fn parse(text: &str) -> Result<Self, SpecErrors> {
        let source = SourceText::new(FLAG, text);
        let refuse = |span, message: &str, label: &str, help: &str| {
            let mistake = Mistake::at(&source, span, "xp::spec::set", message, label);
            Err(SpecErrors::from(mistake.help(help)))
        };
        let example = "write `--set path=value`, such as `--set workload.arrivals.qps=4`";
        if text.len() > MAX_BYTES {
            return refuse(
                (0, 0),
                "an override that is too long",
                "here",
                "put it into the experiment's file",
            );
        }
        if let Some((at, c)) = text.char_indices().find(|(_, c)| is_forbidden(*c)) {
            return refuse(
                (at, c.len_utf8()),
                "an override with an invisible character",
                "here",
                "remove it",
            );
        }
        let Some((path, written)) = text.split_once('=') else {
            return refuse((0, text.len()), "an override without `=`", "no value", example);
        };
        if path.is_empty() {
            return refuse((0, 1), "an override without a path", "nothing before `=`", example);
        }
        if written.is_empty() {
            return refuse((path.len(), 1), "an override without a value", "nothing behind `=`", example);
        }
        let value = match literal(written) {
            None => Value::String(written.to_owned()),
            Some(entry) => match scalar(entry.value()) {
                Ok(value) => value,
                Err((message, help)) => {
                    return refuse((path.len() + 1, written.len()), message, "here", help);
                }
            },
        };
        Ok(Self { path: path.to_owned(), value, text: text.to_owned() })
    }

    /// The value as it was written.
    fn written(&self) -> &str {
        self.text.split_once('=').map_or("", |(_, written)| written)
    }
}

/// The text as a quoted text, number or keyword of KDL, if it is one and nothing else.
fn literal(written: &str) -> Option<KdlEntry> {
    let quoted = written.starts_with(['"', '#']);
    let number = written.trim_start_matches(['+', '-']).starts_with(|c: char| c.is_ascii_digit());
    if !quoted && !number {
        return None;
    }
    let (end, _) = lexeme(written, 0).ok()?;
    if end != written.len() {
        return None;
    }
    KdlEntry::parse(written).ok().filter(|entry| entry.name().is_none() && entry.ty().is_none())
}

/// Applies overrides in order; mistakes are those of their paths.
pub(super) fn apply(instance: &mut Value, places: &mut Places, overrides: &[Override]) -> Vec<Mistake> {
    let mut mistakes = Vec::new();
    for one in overrides.iter().filter(|one| one.path != DATA) {
        let source = SourceText::new(FLAG, &one.text);
        let target = match resolve(&one.path, instance) {
            Ok(target) => target,
            Err(wrong) => {
                let mistake = Mistake::at(&source, wrong.span, "xp::spec::set", wrong.message, wrong.label);
                mistakes.push(mistake.help(wrong.help));
                continue;
            }
        };
        let at = one.path.len() + 1;
        let place = Place {
            source: places.add_source(source),
            layer: OVERRIDES,
            name: (0, one.path.len()),
            value: (at, one.text.len().saturating_sub(at)),
        };
        let pointer = target.pointer();
        let from_set = |pointer: &str| places.get(pointer).is_some_and(|place| place.layer == OVERRIDES);
        set(instance, &target, one.value.clone(), from_set);
        // A commit of digits alone is still a text.
        let wants_text = leaf(instance, &pointer).is_some_and(|schema| schema["type"] == "string");
        if wants_text && !one.value.is_string() {
            set(instance, &target, Value::String(one.written().to_owned()), from_set);
        }
        places.insert(&pointer, place);
        places.accept(&pointer);
        pin_axis(instance, places, one, place);
    }
    mistakes
}

/// An axis of the matrix that varies what is set keeps that one value, and a zip its rows with that value:
/// this picks cells. A zip that has no such row goes on without the axis.
fn pin_axis(instance: &mut Value, places: &mut Places, one: &Override, place: Place) {
    let Some(axes) = instance.get_mut("matrix").and_then(Value::as_array_mut) else { return };
    let Some(index) = axes.iter().position(|axis| axis["path"] == one.path.as_str()) else { return };
    let zip = axes[index].get("zip").cloned();
    let values = axes[index]["values"].as_array().map_or(&[][..], Vec::as_slice);
    let rows: Vec<usize> = (0..values.len()).filter(|row| values[*row] == one.value).collect();
    if zip.is_none() || rows.is_empty() {
        axes[index]["values"] = Value::Array(vec![one.value.clone()]);
        places.insert(format!("/matrix/{index}/values/0"), place);
        unzip(axes, index);
        return;
    }
    for (bound, axis) in axes.iter_mut().enumerate().filter(|(_, axis)| axis.get("zip") == zip.as_ref()) {
        let at = |row: usize| format!("/matrix/{bound}/values/{row}");
        let found: Vec<Option<Place>> = rows.iter().map(|row| places.get(&at(*row)).copied()).collect();
        for (row, found) in found.into_iter().enumerate() {
            if let Some(found) = if bound == index { Some(place) } else { found } {
                places.insert(at(row), found);
            }
        }
        let kept: Vec<Value> = rows.iter().filter_map(|row| axis["values"].get(*row).cloned()).collect();
        axis["values"] = Value::Array(kept);
    }
}

/// Takes an axis out of its zip. A zip of one is none, and zips are numbered in their order.
fn unzip(axes: &mut [Value], index: usize) {
    let zip_of = |axis: &Value| axis.get("zip").cloned();
    let Some(zip) = zip_of(&axes[index]) else { return };
    let left = axes.iter().filter(|axis| zip_of(axis).as_ref() == Some(&zip)).count() - 1;
    let mut numbers: Vec<Value> = Vec::new();
    for (at, axis) in axes.iter_mut().enumerate() {
        let Some(old) = zip_of(axis) else { continue };
        let Value::Object(fields) = axis else { continue };
        fields.shift_remove("zip");
        if at == index || (old == zip && left < 2) {
            continue;
        }
        let number = numbers.iter().position(|known| *known == old).unwrap_or_else(|| {
            numbers.push(old);
            numbers.len() - 1
        });
        fields.insert("zip".to_owned(), Value::from(number + 1));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn value(text: &str) -> Value {
        Override::parse(&format!("seed={text}")).unwrap().value
    }

    #[test]
    fn scalars_are_what_they_say_and_all_else_is_a_text() {
        assert_eq!(value("4"), 4);
        assert_eq!(value("4.0"), 4);
        assert_eq!(value("-0.5"), -0.5);
        assert_eq!(value("1e3"), 1000);
        assert_eq!(value("#true"), true);
        assert_eq!(value("\"a b\""), "a b");
        for text in
            ["true", "50%", "64MiB", "poisson", "models/x y", "a=b", "\"open", "1 2", "(u8)5", "/-5", "{"]
        {
            assert_eq!(value(text), *text, "{text}");
        }
        for text in ["", "seed", "=5", "seed=", "seed=#nan", "seed=#inf", "seed=1e400", "seed=#null"] {
            assert!(Override::parse(text).is_err(), "{text}");
        }
        assert!(Override::parse("seed=99999999999999999999999").is_err());
    }

    #[test]
    fn the_place_of_the_data_folder_is_taken_out() {
        let set = ["seed=1", "data=/a", "database=x", "data=/b c"].map(str::to_owned);
        let (place, others) = take_data(&set);
        assert_eq!(place, Some(PathBuf::from("/b c")));
        assert_eq!(others, ["seed=1", "database=x"]);
        assert_eq!(take_data(&others), (None, others.clone()));
        let empty = ["data=".to_owned()];
        assert_eq!(take_data(&empty), (None, empty.to_vec()));
        assert!(Override::parse(&empty[0]).is_err());
    }

    proptest! {
        #[test]
        fn any_text_is_an_override_or_a_mistake(text in "\\PC{0,40}") {
            let _ = Override::parse(&text);
        }

        #[test]
        fn numbers_and_quoted_texts_round_trip(number in any::<u64>(), text in "[a-zA-Z0-9 /._-]{0,20}") {
            prop_assert_eq!(value(&number.to_string()), Value::from(number));
            prop_assert_eq!(value(&format!("{text:?}")), Value::from(text));
        }
    }
}
