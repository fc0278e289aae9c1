//! How a recording is written.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What the columns of a recording are called in its file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct RecordedColumns {
    /// Unit of all its times.
    pub unit: TimeUnit,
    /// The request's number in the workload, from 0; without it the rows are in the workload's order.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
    /// When the request was sent.
    pub arrival: String,
    /// When the engine first turned to it. It is only checked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scheduled: Option<String>,
    /// When its first output token was there.
    pub first_token: String,
    /// When its last output token was there.
    pub completion: String,
    /// Its prompt tokens, which must be those of the workload.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefill_tokens: Option<String>,
    /// Its output tokens, at most those that the workload asks for; without it just those.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decode_tokens: Option<String>,
}

/// Unit of times in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum TimeUnit {
    Ns,
    Us,
    Ms,
    S,
}

impl TimeUnit {
    /// A unit is 10 to the power of this many nanoseconds.
    pub fn exponent(self) -> i32 {
        match self {
            Self::Ns => 0,
            Self::Us => 3,
            Self::Ms => 6,
            Self::S => 9,
        }
    }
}
