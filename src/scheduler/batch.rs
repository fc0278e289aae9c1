use std::fmt;

use super::RequestId;
use super::decodes::Decodes;

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

/// A chunk of one request's prefill: the `tokens` tokens after the first `context`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Chunk {
    pub request: RequestId,
    /// Tokens to compute in this step, at least 1.
    pub tokens: u32,
    /// Tokens already in the KV cache before the step.
    pub context: u32,
    /// The chunk ends the prefill and yields an output token.
    pub emits: bool,
}

/// What one step computes: decodes, then chunks of prefills.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Batch {
    /// Requests that get one token each.
    pub decodes: Decodes,
    /// Chunks of prefills in the policy's order; a request has at most one share of a batch.
    pub chunks: Vec<Chunk>,
    /// Requests that lost their KV blocks while this batch was formed, in order; whatever was cached
    /// for them is gone. One that is admitted again at once has a chunk that begins at 0.
    pub preempted: Vec<RequestId>,
    /// Of those among them whose prompt was cut (a mistake of Vidur's): its tokens that come back as output.
    pub cut: Vec<(RequestId, u32)>,
    /// Requests whose last token the step yields, in batch order.
    pub(super) ending: Vec<RequestId>,
    /// Where the scheduler keeps the decodes until the batch is complete.
    pub(super) lane: u32,
}

impl Batch {
    /// A batch of these shares, decodes first.
    pub fn of(entries: impl IntoIterator<Item = BatchEntry>) -> Self {
        let (chunks, decodes): (Vec<_>, Vec<_>) = entries.into_iter().partition(|entry| entry.is_prefill);
        let chunk = |entry: BatchEntry| Chunk {
            request: entry.request,
            tokens: entry.tokens,
            context: entry.context,
            emits: entry.emits,
        };
        Self {
            decodes: Decodes::of(decodes.into_iter().map(|entry| (entry.request, entry.context))),
            chunks: chunks.into_iter().map(chunk).collect(),
            ..Self::default()
        }
    }

    /// Empties the batch, keeping its memory.
    pub fn clear(&mut self) {
        self.decodes = Decodes::default();
        self.chunks.clear();
        self.preempted.clear();
        self.cut.clear();
        self.ending.clear();
    }

    /// Whether the step would compute nothing.
    pub fn is_empty(&self) -> bool {
        self.decodes.is_empty() && self.chunks.is_empty()
    }

    /// Number of shares.
    pub fn len(&self) -> usize {
        self.decodes.len() + self.chunks.len()
    }

    /// All shares in batch order.
    pub fn entries(&self) -> impl Iterator<Item = BatchEntry> + '_ {
        let decode =
            |(request, context)| BatchEntry { request, tokens: 1, context, is_prefill: false, emits: true };
        let chunk = |chunk: &Chunk| BatchEntry {
            request: chunk.request,
            tokens: chunk.tokens,
            context: chunk.context,
            is_prefill: true,
            emits: chunk.emits,
        };
        self.decodes.iter().map(decode).chain(self.chunks.iter().map(chunk))
    }

    /// Tokens over all shares.
    pub fn num_tokens(&self) -> u32 {
        let chunks: u32 = self.chunks.iter().map(|chunk| chunk.tokens).sum();
        self.decodes.len() as u32 + chunks
    }

    /// Shares that yield an output token.
    pub fn num_emitting(&self) -> u32 {
        self.decodes.len() as u32 + self.chunks.iter().filter(|chunk| chunk.emits).count() as u32
    }

    /// Requests whose last token the step yields, in batch order. Known when the batch is formed,
    /// since the number of output tokens is.
    pub fn ending(&self) -> &[RequestId] {
        &self.ending
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
        for (index, entry) in self.entries().enumerate() {
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
    /// The policy computes a prompt in one step, and this one is longer than a step may be.
    #[error(
        "a prompt of {tokens} tokens exceeds a step of {chunk_size}, and the policy does not split prompts"
    )]
    PromptTooLong { tokens: u32, chunk_size: u32 },
    /// A prompt or an output of no tokens.
    #[error("a request needs at least one prompt and one output token")]
    Empty,
}
