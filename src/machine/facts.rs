use std::collections::BTreeMap;
use std::path::Path;

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

/// This machine, with `threads` compute threads, for computing on `device`: `cpu`, or whatever name of a GPU, which is
/// then among the facts. No host name and nothing else that tells two
/// machines of the same kind apart.
pub fn machine(device: &str, threads: u32) -> MachineFacts {
    let mut system = System::new();
    system.refresh_cpu_list(sysinfo::CpuRefreshKind::nothing());
    system.refresh_memory();
    let cpu = system.cpus().first().map(|cpu| cpu.brand().trim().to_owned()).unwrap_or_default();
    let features: Vec<&str> =
        vector_features().into_iter().filter(|(_, has)| *has).map(|(name, _)| name).collect();
    // Memory in whole GiB: what the system keeps for itself varies between two starts.
    let memory = (system.total_memory() as f64 / f64::from(1 << 30)).round();
    let told = |text: String| if text.is_empty() { "unknown".to_owned() } else { text };
    let mut hardware: Vec<(String, String)> = [
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
    if device != "cpu" {
        hardware.push(("gpu".to_owned(), told(gpus(Path::new(NVIDIA)))));
        hardware.push(("gpu driver".to_owned(), told(gpu_driver(Path::new(NVIDIA)))));
    }
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

/// Where NVIDIA's driver tells about itself.
const NVIDIA: &str = "/proc/driver/nvidia";

/// Models of the GPUs, such as `NVIDIA H200` or `2 × NVIDIA L4`; empty where there is no driver of NVIDIA's.
fn gpus(driver: &Path) -> String {
    let Ok(found) = std::fs::read_dir(driver.join("gpus")) else { return String::new() };
    let mut counts: BTreeMap<String, u32> = BTreeMap::new();
    for text in found.flatten().filter_map(|gpu| std::fs::read_to_string(gpu.path().join("information")).ok())
    {
        let model = text.lines().find_map(|line| line.strip_prefix("Model:"));
        *counts.entry(model.unwrap_or("unknown").trim().to_owned()).or_default() += 1;
    }
    let told = |(model, count): (String, u32)| if count == 1 { model } else { format!("{count} × {model}") };
    counts.into_iter().map(told).collect::<Vec<_>>().join(", ")
}

/// Version of the driver, such as `535.54.03`; empty where there is none.
fn gpu_driver(driver: &Path) -> String {
    let text = std::fs::read_to_string(driver.join("version")).unwrap_or_default();
    let is_version =
        |word: &&str| word.contains('.') && word.split('.').all(|part| part.parse::<u32>().is_ok());
    text.lines()
        .next()
        .and_then(|line| line.split_whitespace().find(is_version))
        .unwrap_or_default()
        .to_owned()
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
        assert_eq!(machine("cpu", 2), machine("cpu", 2));
        assert_ne!(machine("cpu", 2).fingerprint, machine("cpu", 3).fingerprint);
        assert_ne!(machine("cpu", 2).fingerprint, machine("h100", 2).fingerprint);
    }

    #[test]
    fn gpus_and_their_driver_are_read_from_the_driver() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!((gpus(folder.path()), gpu_driver(folder.path())), Default::default());
        let version = "NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.54.03  Tue Jun  6 22:20:39 UTC 2023\nGCC version: 12.2.0\n";
        std::fs::write(folder.path().join("version"), version).unwrap();
        for (slot, model) in
            [("0000:01:00.0", "NVIDIA L4"), ("0000:02:00.0", "NVIDIA H200"), ("0000:03:00.0", "NVIDIA L4")]
        {
            let gpu = folder.path().join("gpus").join(slot);
            std::fs::create_dir_all(&gpu).unwrap();
            std::fs::write(gpu.join("information"), format!("Model: \t\t {model}\nIRQ:   \t\t 11\n"))
                .unwrap();
        }
        assert_eq!(gpus(folder.path()), "NVIDIA H200, 2 × NVIDIA L4");
        assert_eq!(gpu_driver(folder.path()), "535.54.03");
    }
}
