//! Kernel profiles in the layout that LLMServingSim publishes: `meta.yaml`, and a folder `tpN` for each
//! degree of tensor parallelism with `dense.csv`, `per_sequence.csv`, `attention.csv`, for models with
//! experts `moe.csv` (in `tp1` alone), and `skew.csv` where uneven KV lengths were profiled. Times are
//! microseconds of one layer of one rank, measured without CUDA graphs. `skew_fit.csv` is not read: it is
//! made from `skew.csv`, and noisier than what is taken from there.
//!
//! <https://github.com/casys-kaist/LLMServingSim>, `docs/docs/profiler/output-bundle.md`, is the layout's
//! own description. What the numbers mean for a step is in `docs/vllm-model.md`.

mod attention;
mod curves;
mod error;
mod experts;
mod meta;
#[cfg(test)]
pub(crate) mod sample;
mod skew;
mod table;
#[cfg(test)]
mod tests;
mod yaml;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

pub use attention::AttentionGrid;
pub use curves::{DenseLayer, KernelCurve};
pub use error::KernelProfileError;
pub use experts::ExpertTable;
pub use meta::KernelProfileMeta;
pub use skew::Skew;
use table::Table;

use crate::store;

/// Largest `meta.yaml`, in bytes. Those whose skew fit stands in the file itself have 300 KiB.
const MAX_META: u64 = 4 << 20;
/// Largest table, in bytes.
const MAX_TABLE: u64 = 64 << 20;

/// The kernels of a model at one degree of tensor parallelism, durations in ns.
#[derive(Debug, Clone, PartialEq)]
pub struct KernelProfile {
    pub meta: KernelProfileMeta,
    /// Degree of tensor parallelism: one rank's kernels.
    pub tensor: u32,
    /// Over tokens of a step.
    pub dense: BTreeMap<DenseLayer, KernelCurve>,
    /// Over sequences of a step.
    pub lm_head: KernelCurve,
    /// Over sequences of a step.
    pub sampler: KernelCurve,
    pub attention: AttentionGrid,
    /// None where it was not profiled.
    pub skew: Option<Skew>,
    /// None for models without experts.
    pub experts: Option<ExpertTable>,
}

/// Reads `meta.yaml` alone.
pub fn read_kernel_meta(folder: &Path) -> Result<KernelProfileMeta, KernelProfileError> {
    let path = folder.join("meta.yaml");
    meta::parse(&path, &store::read_text_bounded(&path, MAX_META)?)
}

/// Reads the profile of one degree of tensor parallelism and checks all of it.
pub fn read_kernel_profile(folder: &Path, tensor: u32) -> Result<KernelProfile, KernelProfileError> {
    let meta = read_kernel_meta(folder)?;
    if !meta.tp_degrees.contains(&tensor) {
        let have = meta.tp_degrees;
        return Err(KernelProfileError::Degree { path: folder.to_owned(), wanted: tensor, have });
    }
    assemble(meta, tensor, |name| {
        let path = folder.join(name);
        if name == EXPERTS && !path.exists() {
            return Ok(None);
        }
        let bytes = store::read_bounded(&path, MAX_TABLE)?;
        Ok(Some((path, bytes)))
    })
}

/// Checks a profile whose files are in memory: `file` yields the bytes of `tpN/….csv`, or None.
pub(crate) fn parse_kernel_profile(
    meta: &str,
    tensor: u32,
    file: impl Fn(&str) -> Option<Vec<u8>>,
) -> Result<KernelProfile, KernelProfileError> {
    let meta = meta::parse(Path::new("meta.yaml"), meta)?;
    assemble(meta, tensor, |name| match file(name) {
        None if name == EXPERTS => Ok(None),
        bytes => Ok(Some((PathBuf::from(name), bytes.unwrap_or_default()))),
    })
}

/// Tensor parallelism does not change the kernel of an expert that a rank holds: there is one table.
const EXPERTS: &str = "tp1/moe.csv";

fn assemble(
    meta: KernelProfileMeta,
    tensor: u32,
    open: impl Fn(&str) -> Result<Option<(PathBuf, Vec<u8>)>, KernelProfileError>,
) -> Result<KernelProfile, KernelProfileError> {
    let table = |name: &str| -> Result<Table, KernelProfileError> {
        let (path, bytes) = open(&format!("tp{tensor}/{name}"))?.unwrap_or_default();
        Ok(Table { path, bytes })
    };
    let experts = match open(EXPERTS)? {
        Some((path, bytes)) => Some(experts::read(&Table { path, bytes })?),
        None => None,
    };
    let dense = curves::dense(&table("dense.csv")?, experts.is_some())?;
    let [lm_head, sampler] = curves::per_sequence(&table("per_sequence.csv")?)?;
    let attention = attention::read(&table("attention.csv")?, &meta)?;
    let skew = match meta.skew {
        true => Some(skew::read(&table("skew.csv")?)?),
        false => None,
    };
    Ok(KernelProfile { meta, tensor, dense, lm_head, sampler, attention, skew, experts })
}
