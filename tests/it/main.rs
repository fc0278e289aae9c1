//! End-to-end tests: the real binary on real files, one test binary for all.

mod bad_input;
mod determinism;
mod edges;
mod folders;
mod git;
mod locks;
mod project;
mod resume;
mod snapshots;
mod stages;
