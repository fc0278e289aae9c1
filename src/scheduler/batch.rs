use std::fmt;

use super::RequestId;

/// One request's share of a step: the `tokens` tokens at positions `context..context + tokens` of
/// its prompt followed by its output.
///
/// After a preemption the request's sequence is computed again from position 0: prompt and the
/// output generated so far are prefilled together (`is_prefill`), and the chunk that reaches the
/// newest token emits the next one. No token is emitted twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchEntry {
    /// Whose tokens these are.
    pub request: RequestId,
    /// Tokens to compute in this step, at least 1: a chunk of the prefill, or 1 in decode.
    pub tokens: u32,
    /// Tokens of this request already in the KV cache before the step.
    pub context: u32,
    /// The prefill, of the prompt or of a recompute, was not complete before this step.
    pub is_prefill: bool,
    /// The step yields an output token for this request (decode, or the chunk that ends the prefill).
    pub emits: bool,
}

/// What one step computes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Batch {
    /// Shares in the policy's order; a request has at most one.
    pub entries: Vec<BatchEntry>,
    /// Requests that lost their KV blocks while this batch was formed, in order. None of them has
    /// a share; whatever was cached for them is gone.
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

impl fmt::Display for BatchEntry {
    /// `d3` is a decode of request 3, `p3[8..16]` a chunk of its prefill; `p3[8..16]*` ends it and emits.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.is_prefill {
            return write!(f, "d{}", self.request);
        }
        let end = u64::from(self.context) + u64::from(self.tokens);
        let emits = if self.emits { "*" } else { "" };
        write!(f, "p{}[{}..{end}]{emits}", self.request, self.context)
    }
}

impl fmt::Display for Batch {
    /// Shares in order, then the preempted: `d0 p2[8..16]* preempted 3`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, entry) in self.entries.iter().enumerate() {
            write!(f, "{}{entry}", if index == 0 { "" } else { " " })?;
        }
        for (index, request) in self.preempted.iter().enumerate() {
            write!(f, "{}{request}", if index == 0 { " preempted " } else { " " })?;
        }
        Ok(())
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
