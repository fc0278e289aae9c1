//! Several devices of a matrix that are simulated from one profile: each would be as fast as the other.

use std::collections::HashMap;

use super::check::CODE;
use super::matrix::Cell;
use super::place::Finding;
use super::suggest::quoted;

/// Most devices that a warning names.
const NAMED: usize = 4;

/// A warning for each profile from which runs of different devices are simulated. It may be meant: devices that
/// differ in their memory or price alone.
pub(super) fn one_profile_of_several(cells: &[Cell]) -> Vec<Finding> {
    let Some(axis) = axis_of_devices(cells) else { return Vec::new() };
    let mut profiles: Vec<(String, Vec<&str>)> = Vec::new();
    let mut known: HashMap<String, usize> = HashMap::new();
    for Cell { experiment, .. } in cells {
        let Some(sim) = experiment.simulated() else { continue };
        let name = String::from(sim.profile.clone());
        let tables = sim.vidur.as_ref().map(|vidur| vidur.device.as_str()).unwrap_or_default();
        let at = *known.entry(format!("{name}\n{tables}")).or_insert_with(|| {
            profiles.push((name, Vec::new()));
            profiles.len() - 1
        });
        let device = experiment.hardware.device.as_str();
        if let Some((_, devices)) = profiles.get_mut(at).filter(|(_, devices)| !devices.contains(&device)) {
            devices.push(device);
        }
    }
    let shared = profiles.into_iter().filter(|(_, devices)| devices.len() > 1);
    let warn = |(profile, devices): (String, Vec<&str>)| {
        let more = if devices.len() > NAMED { " and more" } else { "" };
        let named: Vec<String> = devices.iter().take(NAMED).map(|device| quoted(device)).collect();
        let named = named.join(" and ");
        let message = format!("{named}{more} are simulated from one profile, {}", quoted(&profile));
        let finding = Finding::new(format!("/matrix/{axis}/path"), CODE, message).into_warning();
        finding.label("each as fast as the other").help(
            "vary the simulated backend's `profile` in a `zip` with the device; it is right as it is where devices \
             differ in memory or price alone",
        )
    };
    shared.map(warn).collect()
}

/// The place of the axis that varies the device.
fn axis_of_devices(cells: &[Cell]) -> Option<usize> {
    let overrides = &cells.first()?.overrides;
    overrides.iter().position(|(path, _)| matches!(path.as_str(), "hardware" | "hardware.device"))
}
