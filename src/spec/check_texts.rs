//! Rules for texts that mean something: paths, and values with units.

use serde_json::Value;

use super::check::CODE;
use super::place::Finding;
use super::suggest::quoted;
use super::units::{Bandwidth, ByteSize, Duration, Percent};

/// A value with a unit that has the right form and says more than 64 bits hold.
pub(super) fn check_unit(instance: &Value, pointer: String, unit: &str, out: &mut Vec<Finding>) {
    let Some(text) = instance.pointer(&pointer).and_then(Value::as_str) else { return };
    let fits = match unit {
        "percent" => text.parse::<Percent>().is_ok(),
        "size" => text.parse::<ByteSize>().is_ok(),
        "bandwidth" => text.parse::<Bandwidth>().is_ok(),
        _ => text.parse::<Duration>().is_ok(),
    };
    // Another form is a violation of the schema, which says so.
    if text.starts_with(|c: char| c.is_ascii_digit()) && !fits {
        let finding = Finding::new(pointer, CODE, format!("the {unit} {} is too large", quoted(text)));
        out.push(finding.label("too large").help("is the unit right?"));
    }
}

/// Why a path does not stay inside the project.
fn outside(path: &str) -> Option<&'static str> {
    if path.is_empty() {
        return Some("it is empty");
    }
    if path.contains('\\') {
        return Some("paths are written with `/`");
    }
    if path.starts_with('/') || path.starts_with('~') || path.as_bytes().get(1) == Some(&b':') {
        return Some("paths are relative to the project");
    }
    if path.split('/').any(|part| part == "..") {
        return Some("`..` leaves the project");
    }
    if path.chars().any(char::is_control) {
        return Some("it holds a control character");
    }
    None
}

/// A path stays inside the project.
pub(super) fn check_path(pointer: String, path: &str, out: &mut Vec<Finding>) {
    let Some(why) = outside(path) else { return };
    let message = format!("{} is no path inside the project", quoted(path));
    let help = "a lock names only what lies below the project's folder, so that it holds on every machine";
    out.push(Finding::new(pointer, "xp::spec::path", message).label(why).help(help));
}

/// A lock holds no place of one machine: a folder elsewhere is given on the command line.
pub(super) fn check_data(instance: &Value, out: &mut Vec<Finding>) {
    let Some(data) = instance.get("data").and_then(Value::as_str) else { return };
    let Some(why) = outside(data) else { return };
    let message = format!("{} is no folder of the project", quoted(data));
    let help = "name a folder of the project, which need not exist: `data \"data\"`; where it is on this machine is said on the command line: `--set data=/some/folder`";
    out.push(Finding::new("/data", "xp::spec::path", message).label(why).help(help));
}

pub(super) fn check_report(instance: &Value, out: &mut Vec<Finding>) {
    let Some(report) = instance.get("report").and_then(Value::as_str) else { return };
    check_path("/report".to_owned(), report, out);
    if !report.ends_with(".pdf") {
        let finding =
            Finding::new("/report", "xp::spec::path", format!("the report {} is no PDF", quoted(report)));
        out.push(finding.label("ends differently").help("let it end in `.pdf`"));
    }
}
