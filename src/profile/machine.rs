use sysinfo::System;

use crate::engine::ENGINE_VERSION;
use crate::store::Digest;

/// What of a machine decides its speed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MachineFacts {
    /// Digest of the facts; two machines of the same kind share it.
    pub fingerprint: Digest,
    /// The facts for people: name, value.
    pub hardware: Vec<(String, String)>,
}

/// This machine, with `threads` compute threads. No host name and nothing else that tells two
/// machines of the same kind apart.
pub fn machine(threads: u32) -> MachineFacts {
    let mut system = System::new();
    system.refresh_cpu_list(sysinfo::CpuRefreshKind::nothing());
    system.refresh_memory();
    let cpu = system.cpus().first().map(|cpu| cpu.brand().trim().to_owned()).unwrap_or_default();
    let features: Vec<&str> =
        vector_features().into_iter().filter(|(_, has)| *has).map(|(name, _)| name).collect();
    // Memory in whole GiB: what the system keeps for itself varies between two starts.
    let memory = (system.total_memory() as f64 / f64::from(1 << 30)).round();
    let hardware: Vec<(String, String)> = [
        ("cpu", if cpu.is_empty() { "unknown".to_owned() } else { cpu }),
        ("architecture", std::env::consts::ARCH.to_owned()),
        ("logical cores", system.cpus().len().to_string()),
        ("vector instructions", if features.is_empty() { "baseline".to_owned() } else { features.join(" ") }),
        ("memory", format!("{memory} GiB")),
        ("system", std::env::consts::OS.to_owned()),
        ("compute threads", threads.to_string()),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into();
    MachineFacts { fingerprint: Digest::of_json(&hardware), hardware }
}

#[cfg(target_arch = "x86_64")]
fn vector_features() -> Vec<(&'static str, bool)> {
    vec![
        ("avx2", is_x86_feature_detected!("avx2")),
        ("fma", is_x86_feature_detected!("fma")),
        ("avx512f", is_x86_feature_detected!("avx512f")),
        ("avx512bf16", is_x86_feature_detected!("avx512bf16")),
    ]
}

#[cfg(not(target_arch = "x86_64"))]
fn vector_features() -> Vec<(&'static str, bool)> {
    Vec::new()
}

/// Name and version of the engine that is measured. Whether it was optimised is part of it:
/// a debug build is another engine.
pub fn engine_id() -> String {
    let build = if cfg!(debug_assertions) { "debug" } else { "release" };
    format!("candle {ENGINE_VERSION}, {build}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fingerprint_is_stable_and_depends_on_threads() {
        assert_eq!(machine(2), machine(2));
        assert_ne!(machine(2).fingerprint, machine(3).fingerprint);
    }
}
