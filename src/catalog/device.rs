use std::sync::LazyLock;

use serde::Deserialize;

/// A device that can be simulated, by its maker's data sheet.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Device {
    /// Memory, in bytes.
    pub memory_bytes: u64,
    /// Dense bf16 operations a second, in 10¹².
    pub bf16_tflops: f64,
    /// Bytes a second from its memory, in 10⁹.
    pub memory_gb_per_s: f64,
}

static DEVICES: LazyLock<Vec<(String, Device)>> = LazyLock::new(|| {
    let parsed: serde_json::Map<String, serde_json::Value> =
        serde_json::from_str(include_str!("devices.json")).expect("embedded catalog is JSON");
    parsed
        .into_iter()
        .map(|(name, device)| (name, serde_json::from_value(device).expect("embedded catalog is well-typed")))
        .collect()
});

/// The device known under `name`, such as `rtx-4090`.
pub fn device(name: &str) -> Option<&'static Device> {
    DEVICES.iter().find(|(known, _)| known == name).map(|(_, device)| device)
}

/// Names of all known devices, in catalog order.
pub fn known_devices() -> impl Iterator<Item = &'static str> {
    DEVICES.iter().map(|(name, _)| name.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_device_has_memory_and_speed() {
        for name in known_devices() {
            let device = device(name).unwrap();
            assert!(device.memory_bytes > 1 << 33 && device.bf16_tflops > 10.0, "{name}");
            assert!(device.memory_gb_per_s > 100.0, "{name}");
        }
    }
}
