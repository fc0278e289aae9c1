use super::RequestId;

/// One request's share of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchEntry {
    /// Whose tokens these are.
    pub request: RequestId,
    /// Tokens to compute in this step: a chunk of the prompt, or 1 in decode.
    pub tokens: u32,
    /// Tokens of this request already in the KV cache before the step.
    pub context: u32,
    /// The prompt is not complete before this step.
    pub is_prefill: bool,
    /// The step yields an output token for this request (decode, or the chunk that ends the prompt).
    pub emits: bool,
}

/// What one step computes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Batch {
    /// Shares in the policy's order.
    pub entries: Vec<BatchEntry>,
    /// Requests that lost their KV blocks while this batch was formed, in order.
    pub preempted: Vec<RequestId>,
}

impl Batch {
    /// Empties the batch, keeping its memory.
    pub fn clear(&mut self) {
        self.entries.clear();
        self.preempted.clear();
    }

    /// Whether the step would compute nothing.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Tokens over all shares.
    pub fn num_tokens(&self) -> u32 {
        self.entries.iter().map(|entry| entry.tokens).sum()
    }
}

/// Why a request can never run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Rejected {
    /// Prompt plus output is longer than the model's context.
    #[error("{tokens} tokens exceed the context of {max_context}")]
    TooLong { tokens: u32, max_context: u32 },
    /// The request alone needs more KV blocks than there are.
    #[error("needs {needed} KV blocks of {available}")]
    TooManyBlocks { needed: u32, available: u32 },
    /// A prompt or an output of no tokens.
    #[error("a request needs at least one prompt and one output token")]
    Empty,
}
