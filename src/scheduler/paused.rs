use std::collections::VecDeque;

use super::RequestId;
use super::decodes::{DecodeGroup, Decoding};

/// A running request between two of its steps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Running {
    /// Its prefill is not complete.
    Prefill(RequestId),
    Decode(Decoding),
}

#[derive(Debug)]
enum Segment {
    Prefill(RequestId),
    Decodes(DecodeGroup),
}

/// What is first in the list.
#[derive(Debug)]
pub enum First {
    Prefill(RequestId),
    /// All decodes up to the next prefill.
    Decodes(DecodeGroup),
}

/// Running requests that are in no batch, in the order in which their batches ended. Decodes that
/// stand side by side are kept as a group, so that the list is as short as there are prefills.
#[derive(Debug, Default)]
pub struct Paused {
    segments: VecDeque<Segment>,
}

impl Paused {
    /// Whether there are none.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.segments.is_empty()
    }

    /// Takes the first, a whole group of decodes at once.
    pub fn pop_front(&mut self) -> Option<First> {
        Some(match self.segments.pop_front()? {
            Segment::Prefill(request) => First::Prefill(request),
            Segment::Decodes(group) => First::Decodes(group),
        })
    }

    /// Takes the last request.
    pub fn pop_back(&mut self) -> Option<Running> {
        match self.segments.back_mut()? {
            Segment::Prefill(request) => {
                let last = Running::Prefill(*request);
                self.segments.pop_back();
                Some(last)
            }
            Segment::Decodes(group) => {
                let last = group.pop().map(Running::Decode);
                if group.is_empty() {
                    self.segments.pop_back();
                }
                last
            }
        }
    }

    /// Puts decodes back to the front.
    pub fn push_front(&mut self, group: DecodeGroup) {
        if !group.is_empty() {
            self.segments.push_front(Segment::Decodes(group));
        }
    }

    /// Adds decodes at the end.
    pub fn push_group(&mut self, mut group: DecodeGroup) {
        if let Some(Segment::Decodes(last)) = self.segments.back_mut() {
            group.drain().into_iter().for_each(|decoding| last.push(decoding));
        } else if !group.is_empty() {
            self.segments.push_back(Segment::Decodes(group));
        }
    }

    /// Adds one request at the end.
    pub fn push(&mut self, running: Running, new_group: impl FnOnce() -> DecodeGroup) {
        match (running, self.segments.back_mut()) {
            (Running::Prefill(request), _) => self.segments.push_back(Segment::Prefill(request)),
            (Running::Decode(decoding), Some(Segment::Decodes(group))) => group.push(decoding),
            (Running::Decode(decoding), _) => {
                let mut group = new_group();
                group.push(decoding);
                self.segments.push_back(Segment::Decodes(group));
            }
        }
    }

    /// Puts `first` before all others and sorts by `rank`; equals stay in order.
    pub fn sort(
        &mut self,
        first: &[RequestId],
        rank: impl Fn(RequestId) -> u64,
        new_group: impl Fn() -> DecodeGroup,
    ) {
        for &request in first.iter().rev() {
            self.segments.push_front(Segment::Prefill(request));
        }
        let ranks = || {
            self.segments.iter().flat_map(|segment| {
                let (prefill, decodes) = match segment {
                    Segment::Prefill(request) => (Some(*request), None),
                    Segment::Decodes(group) => (None, Some(group.requests())),
                };
                prefill.into_iter().chain(decodes.into_iter().flatten()).map(&rank)
            })
        };
        if ranks().is_sorted() {
            return;
        }
        let mut all = Vec::new();
        for segment in self.segments.drain(..) {
            match segment {
                Segment::Prefill(request) => all.push(Running::Prefill(request)),
                Segment::Decodes(mut group) => all.extend(group.drain().into_iter().map(Running::Decode)),
            }
        }
        all.sort_by_key(|running| rank(running.request()));
        for running in all {
            self.push(running, &new_group);
        }
    }

    /// All requests, in order; for decodes their state.
    pub fn iter(&self) -> impl Iterator<Item = Running> + '_ {
        self.segments.iter().flat_map(|segment| {
            let (prefill, decodes) = match segment {
                Segment::Prefill(request) => (Some(Running::Prefill(*request)), None),
                Segment::Decodes(group) => (None, Some(group.iter().map(Running::Decode))),
            };
            prefill.into_iter().chain(decodes.into_iter().flatten())
        })
    }
}

impl Running {
    /// Whose this is.
    pub fn request(&self) -> RequestId {
        match self {
            Self::Prefill(request) => *request,
            Self::Decode(decoding) => decoding.request,
        }
    }
}
