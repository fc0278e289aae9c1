//! SKELETON.
#![allow(unused_variables)]
use std::path::Path;

use super::Bundle;
use crate::engine::Engine;
use crate::progress::Progress;
use crate::store::Digest;

/// The steps that a bundle has to cover.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct Limits {
    pub chunk_size: u32,
    pub max_batch_size: u32,
    pub block_size: u32,
    pub max_context: u32,
}

/// This machine.
#[derive(Debug, Clone)]
pub struct MachineFacts {
    pub fingerprint: Digest,
    pub hardware: Vec<(String, String)>,
}

#[derive(Debug, thiserror::Error, miette::Diagnostic)]
#[error("todo")]
pub struct ProfileError {}

pub fn machine(threads: u32) -> MachineFacts {
    todo!()
}

/// Name and version of the engine that is measured.
pub fn engine_id() -> String {
    todo!()
}

pub fn measure(
    engine: &mut Engine,
    limits: &Limits,
    model: &str,
    shape: Digest,
    progress: &dyn Progress,
) -> Result<Bundle, ProfileError> {
    todo!()
}

pub fn read_bundle(folder: &Path) -> Result<Bundle, ProfileError> {
    todo!()
}

pub fn write_bundle(folder: &Path, bundle: &Bundle) -> Result<(), ProfileError> {
    todo!()
}
