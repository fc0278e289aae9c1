use std::path::Path;

use super::{STEPS_FILE, STEPS_FORMAT, StepPoint, StepProfile};
use crate::profile::ProfileError;
use crate::store::{self, StagedDir};

/// Largest `steps.json`, in bytes.
const MAX_BYTES: u64 = 16 << 20;
/// Longest duration that is believed: an hour, ns.
const MAX_NS: u64 = 3_600_000_000_000;
/// Largest count that is believed.
const MAX_COUNT: u32 = 1 << 24;

/// Reads a folder of a step profile and checks all of it.
///
/// # Errors
/// It is none, or of a newer xp, or says what no measurement gives.
pub fn read_steps(folder: &Path) -> Result<StepProfile, ProfileError> {
    let path = folder.join(STEPS_FILE);
    parse_steps(&path, &store::read_text_bounded(&path, MAX_BYTES)?)
}

/// Checks the text of a `steps.json`, which errors call `path`.
fn parse_steps(path: &Path, text: &str) -> Result<StepProfile, ProfileError> {
    let invalid = |line: usize, message: String| ProfileError::invalid(path, line as u64, message);
    let json = |error: serde_json::Error| invalid(error.line(), error.to_string());
    let value: serde_json::Value = serde_json::from_str(text).map_err(json)?;
    if let Some(found) = value.get("format").and_then(serde_json::Value::as_u64)
        && found > u64::from(STEPS_FORMAT)
    {
        let found = u32::try_from(found).unwrap_or(u32::MAX);
        return Err(ProfileError::Newer { path: path.to_owned(), found, newest: STEPS_FORMAT });
    }
    let profile: StepProfile = serde_json::from_str(text).map_err(json)?;
    if !(profile.noise_percent.is_finite() && profile.noise_percent >= 0.0) {
        return Err(invalid(1, "noise_percent is no percentage".to_owned()));
    }
    for (name, count) in [("max_batch_size", profile.max_batch_size), ("max_context", profile.max_context)] {
        if !(1..=MAX_COUNT).contains(&count) {
            return Err(invalid(1, format!("{name} is {count}; it lies between 1 and {MAX_COUNT}")));
        }
    }
    for (name, points) in [("prefill", &profile.prefill), ("decode", &profile.decode)] {
        if let Some(why) = mistake(points) {
            return Err(invalid(1, format!("{name}: {why}")));
        }
    }
    Ok(profile)
}

/// What no measurement gives.
fn mistake(points: &[StepPoint]) -> Option<String> {
    if points.is_empty() {
        return Some("it has no points".to_owned());
    }
    let counts = 1..=MAX_COUNT;
    if let Some(point) = points.iter().find(|point| {
        !counts.contains(&point.requests) || !counts.contains(&point.tokens) || point.mean_ns > MAX_NS
    }) {
        return Some(format!("{point:?} is no step"));
    }
    let ascends = |pair: &[StepPoint]| match pair {
        [one, other] => (one.requests, one.tokens) < (other.requests, other.tokens),
        _ => true,
    };
    (!points.windows(2).all(ascends)).then(|| "its points do not ascend".to_owned())
}

/// Writes a step profile as a whole folder, replacing what was there.
///
/// # Errors
/// The system refuses.
pub fn write_steps(folder: &Path, profile: &StepProfile) -> Result<(), ProfileError> {
    let refused = |source| ProfileError::Write { path: folder.to_owned(), source };
    let staged = StagedDir::new(folder).map_err(refused)?;
    let json = serde_json::to_string_pretty(profile).map_err(|error| refused(error.into()))? + "\n";
    store::write_part(&staged.path().join(STEPS_FILE), json.as_bytes()).map_err(refused)?;
    staged.commit().map_err(refused)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::whole_steps::sample_steps;

    #[test]
    fn a_profile_reads_as_it_was_written() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("steps");
        write_steps(&folder, &sample_steps()).unwrap();
        assert_eq!(read_steps(&folder).unwrap(), sample_steps());
    }

    #[test]
    fn what_no_measurement_gives_is_refused() {
        let good = serde_json::to_string(&sample_steps()).unwrap();
        for (from, to, why) in [
            ("\"format\":1", "\"format\":7", "format 7"),
            ("\"requests\":1,", "\"requests\":0,", "is no step"),
            ("\"tokens\":64,", "\"tokens\":8,", "do not ascend"),
            ("\"mean_ns\":800,", "\"mean_ns\":8000000000000,", "is no step"),
            ("\"mean_ns\":800,", "\"mean_ns\":-8,", "invalid value"),
            ("\"max_context\":256", "\"max_context\":0", "max_context is 0"),
            ("\"noise_percent\":0.5", "\"noise_percent\":-1.0", "no percentage"),
            ("\"engine\"", "\"motor\"", "unknown field"),
        ] {
            assert!(good.contains(from), "{from}");
            let error = parse_steps(Path::new("steps.json"), &good.replacen(from, to, 1)).unwrap_err();
            assert!(error.to_string().contains(why), "{from}: {error}");
        }
        let mut none = sample_steps();
        none.decode.clear();
        let text = serde_json::to_string(&none).unwrap();
        assert!(parse_steps(Path::new("steps.json"), &text).is_err());
    }
}
