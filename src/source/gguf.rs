//! GGUF files in a model's folder, checked by their headers: no weight is read.

use std::path::Path;

use super::SourceError;
use super::tensors::tensor_table;
use crate::model::GgufFile;

/// The name of the GGUF file in `folder`, where there are no safetensors; `shown` names the folder in errors.
pub(super) fn find(folder: &Path, shown: &str) -> Result<Option<String>, SourceError> {
    let entries = std::fs::read_dir(folder).map_err(|error| SourceError::io(folder, error))?;
    let mut found = Vec::new();
    for entry in entries {
        let name = entry.map_err(|error| SourceError::io(folder, error))?.file_name();
        match name.to_str() {
            Some(name) if name.ends_with(".safetensors") => return Ok(None),
            Some(name) if name.ends_with(".gguf") => found.push(name.to_owned()),
            _ => {}
        }
    }
    match found.len() {
        0 | 1 => Ok(found.pop()),
        n => Err(SourceError::Weights { folder: shown.to_owned(), message: format!("has {n} *.gguf") }),
    }
}

/// Checks that the file holds each tensor of its shape.
pub(super) fn check(file: &GgufFile) -> Result<(), SourceError> {
    for tensor in tensor_table(file.config()) {
        let shape: Vec<usize> = tensor.shape.iter().map(|size| *size as usize).collect();
        file.check(&tensor.name, &shape)?;
    }
    Ok(())
}
