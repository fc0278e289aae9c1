//! What goes over the pipe: `docs/worker-protocol.md`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::scheduler::RequestId;
use crate::spec::Dtype;

/// Version of the protocol, which worker and xp have to share.
pub const PROTOCOL: u32 = 1;

/// A request to the worker.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "do", rename_all = "snake_case")]
pub(super) enum Ask<'a> {
    /// Loads the model of a folder.
    Load { model: &'a str, dtype: Dtype, device: TorchDevice, threads: u32 },
    /// What its monotonic clock says.
    Clock,
    /// Begins a batch with whole prompts.
    Prefill { rows: &'a [(RequestId, &'a [u32])] },
    /// One more token of each of these requests of the batch; the others have ended.
    Decode { rows: &'a [RequestId] },
    /// Begins a batch as if requests had come so far: request, tokens in the cache.
    Fill { rows: &'a [(RequestId, u32)] },
    /// Forgets the batch.
    DropBatch,
}

impl Ask<'_> {
    /// What the worker is doing meanwhile, for people.
    pub fn doing(&self) -> String {
        match self {
            Self::Load { .. } => "loading the model".to_owned(),
            Self::Clock => "telling its time".to_owned(),
            Self::Prefill { rows } => {
                let longest = rows.iter().map(|(_, tokens)| tokens.len()).max().unwrap_or_default();
                format!("computing {} prompts of up to {longest} tokens", rows.len())
            }
            Self::Decode { rows } => format!("decoding a token of {} requests", rows.len()),
            Self::Fill { rows } => format!("making a batch of {} requests up", rows.len()),
            Self::DropBatch => "forgetting a batch".to_owned(),
        }
    }
}

/// Where torch computes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum TorchDevice {
    Cpu,
    /// The first CUDA device that torch sees.
    Cuda,
}

impl TorchDevice {
    /// The one that `hardware "…"` means: every device that is not the CPU is a GPU of NVIDIA's.
    pub fn of(hardware: &str) -> Self {
        if hardware == "cpu" { Self::Cpu } else { Self::Cuda }
    }
}

/// A request as it is sent.
#[derive(Debug, Serialize)]
pub(super) struct Numbered<'a> {
    pub id: u64,
    #[serde(flatten)]
    pub ask: &'a Ask<'a>,
}

/// The worker's first line.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub(super) struct Greeting {
    pub hello: Hello,
}

/// What the worker says of itself.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub(super) struct Hello {
    pub protocol: u32,
    #[serde(default)]
    pub python: String,
    /// Versions of the packages that were asked about; None for one that is not there.
    #[serde(default)]
    pub packages: BTreeMap<String, Option<String>>,
    /// Why it can do nothing.
    pub failed: Option<String>,
}

/// The answer to a request.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub(super) struct Answer<T> {
    pub id: u64,
    pub ok: Option<T>,
    pub error: Option<Complaint>,
}

/// Why a request was not done.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub(super) struct Complaint {
    pub kind: String,
    pub message: String,
}

/// The model is loaded.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct LoadedModel {
    /// Threads that torch uses.
    pub threads: u32,
    /// Name of the GPU.
    pub device_name: Option<String>,
    /// Which of transformers' attention implementations runs.
    pub attention: String,
}

/// Now, by the worker's monotonic clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub(super) struct WorkerTime {
    pub now_ns: u64,
}

/// What a step yielded, and when, by the worker's monotonic clock.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Stepped {
    /// A token of each row, in order.
    pub tokens: Vec<u32>,
    pub start_ns: u64,
    /// The tokens were known.
    pub end_ns: u64,
}

/// Nothing to say.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(super) struct Done {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_a_flat_object() {
        let json = |ask: &Ask<'_>| serde_json::to_string(&Numbered { id: 3, ask }).unwrap();
        let rows = [(7, [1_u32, 2].as_slice())];
        assert_eq!(json(&Ask::Prefill { rows: &rows }), r#"{"id":3,"do":"prefill","rows":[[7,[1,2]]]}"#);
        assert_eq!(json(&Ask::DropBatch), r#"{"id":3,"do":"drop_batch"}"#);
        let load = Ask::Load { model: "m", dtype: Dtype::Bf16, device: TorchDevice::of("h100"), threads: 2 };
        assert_eq!(
            json(&load),
            r#"{"id":3,"do":"load","model":"m","dtype":"bf16","device":"cuda","threads":2}"#
        );
    }
}
