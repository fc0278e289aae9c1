//! SKELETON.
#![allow(unused_variables)]
use crate::source::ModelFiles;
use crate::spec::Dtype;

pub struct Engine {}

#[derive(Debug, thiserror::Error, miette::Diagnostic)]
#[error("todo")]
pub struct EngineError {}

impl Engine {
    pub fn load(model: &ModelFiles, dtype: Dtype, threads: u32) -> Result<Self, EngineError> {
        todo!()
    }
}
