//! End-to-end tests: the real binary on real files, one test binary for all.

mod bad_input;
#[cfg(unix)]
mod crash;
mod determinism;
mod edges;
mod folders;
mod hub;
mod language;
mod locks;
mod loopback;
mod project;
mod resume;
mod sharing;
mod snapshots;
mod stages;
mod write_layer;
