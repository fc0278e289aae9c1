use sysinfo::System;

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
    let told = |text: String| if text.is_empty() { "unknown".to_owned() } else { text };
    let hardware: Vec<(String, String)> = [
        ("cpu", told(cpu)),
        ("architecture", std::env::consts::ARCH.to_owned()),
        ("logical cores", system.cpus().len().to_string()),
        ("vector instructions", if features.is_empty() { "baseline".to_owned() } else { features.join(" ") }),
        ("caches", told(caches())),
        ("frequency policy", told(frequency_policy())),
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

/// Sizes of the first processor's caches, such as `L1 data 48K, L2 1024K`; empty where the system does not say.
fn caches() -> String {
    let read = |index: u32, what: &str| {
        let path = format!("/sys/devices/system/cpu/cpu0/cache/index{index}/{what}");
        std::fs::read_to_string(path).ok().map(|text| text.trim().to_owned())
    };
    let cache = |index: u32| {
        let (level, kind, size) = (read(index, "level")?, read(index, "type")?, read(index, "size")?);
        let kind = if kind == "Unified" { String::new() } else { format!(" {}", kind.to_lowercase()) };
        Some(format!("L{level}{kind} {size}"))
    };
    (0..8).map_while(cache).collect::<Vec<_>>().join(", ")
}

/// What decides the processor's clock rate, such as `performance`; empty where the system does not say.
fn frequency_policy() -> String {
    let path = "/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor";
    std::fs::read_to_string(path).map(|text| text.trim().to_owned()).unwrap_or_default()
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
