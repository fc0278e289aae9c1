//! End-to-end tests: the real binary on real files, one test binary for all.

mod bad_input;
mod cards;
mod chat;
mod ci;
#[cfg(unix)]
mod crash;
mod data;
mod deployments;
mod determinism;
mod edges;
mod folders;
mod format;
mod fuzz_replay;
mod git;
mod goldens;
mod hub;
mod json;
mod keeping;
mod kernel_profile;
mod language;
mod locks;
mod loopback;
mod prefix_cache;
mod project;
mod recorded;
mod resume;
mod sharing;
mod snapshots;
mod stages;
mod text;
mod verify;
mod vidur_goldens;
mod vidur_predictor;
mod vidur_profiles;
mod vllm_fidelity;
#[cfg(unix)]
mod worker;
mod write_layer;
