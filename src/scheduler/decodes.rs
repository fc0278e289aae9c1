//! Requests that decode in lockstep, one token each in every step.
//!
//! Between two changes of its members a group's steps differ in nothing but the
//! number of tokens behind them, so a step costs the same however many members
//! the group has: contexts are kept as offsets against a counter of steps, and
//! how many members need a KV block in a step is known by the remainders of
//! these offsets. Only joining and leaving look at members.

use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use super::RequestId;

/// A member: its context is `offset` plus the steps its group has made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Member {
    request: RequestId,
    offset: i64,
}

/// Block sizes up to this are counted by remainder; with larger ones growth is so rare that members are asked.
const COUNTED_BLOCK_SIZE: u32 = 1 << 12;

/// A request in decode, outside of a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Decoding {
    pub request: RequestId,
    /// Tokens in the KV cache.
    pub context: u32,
    /// Output tokens still to be emitted, at least 1.
    pub remaining: u32,
}

/// Requests in decode that step together. It changes hands several times a step, so it is a pointer.
#[derive(Debug)]
pub struct DecodeGroup(Box<Group>);

impl Deref for DecodeGroup {
    type Target = Group;

    fn deref(&self) -> &Group {
        &self.0
    }
}

impl DerefMut for DecodeGroup {
    fn deref_mut(&mut self) -> &mut Group {
        &mut self.0
    }
}

/// What a [`DecodeGroup`] points at.
#[derive(Debug)]
pub struct Group {
    /// Tokens in a KV block; 0 when members never need one.
    block_size: u32,
    /// Steps made.
    step: i64,
    members: Arc<Vec<Member>>,
    /// The step with which each member emits its last token.
    last_step: Vec<i64>,
    /// The least of these.
    next_end: i64,
    /// Tokens in the KV cache over all members.
    context_sum: u64,
    /// The largest offset.
    max_offset: i64,
    /// Members by the remainder of their offset.
    by_remainder: Vec<u32>,
}

impl DecodeGroup {
    /// An empty group over blocks of `block_size` tokens, 0 for members that never need a block.
    pub fn new(block_size: u32) -> Self {
        let counted = if block_size <= COUNTED_BLOCK_SIZE { block_size } else { 0 };
        Self(Box::new(Group {
            block_size,
            step: 0,
            members: Arc::new(Vec::new()),
            last_step: Vec::new(),
            next_end: i64::MAX,
            context_sum: 0,
            max_offset: i64::MIN,
            by_remainder: vec![0; counted as usize],
        }))
    }
}

impl Group {
    /// Number of members.
    #[inline]
    pub fn len(&self) -> usize {
        self.members.len()
    }

    /// Whether it has no members.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// Adds a member at the end.
    pub fn push(&mut self, new: Decoding) {
        debug_assert!(new.remaining > 0);
        let offset = i64::from(new.context) - self.step;
        let end = self.step + i64::from(new.remaining);
        Arc::make_mut(&mut self.members).push(Member { request: new.request, offset });
        self.last_step.push(end);
        self.next_end = self.next_end.min(end);
        self.max_offset = self.max_offset.max(offset);
        self.context_sum += u64::from(new.context);
        self.count(offset, 1);
    }

    /// Removes and returns the last member.
    pub fn pop(&mut self) -> Option<Decoding> {
        let member = Arc::make_mut(&mut self.members).pop()?;
        let end = self.last_step.pop()?;
        let gone = self.outside(member, end);
        self.context_sum -= u64::from(gone.context);
        self.count(member.offset, -1);
        if end == self.next_end || member.offset == self.max_offset {
            self.find_extremes();
        }
        Some(gone)
    }

    /// Takes all members out, in order.
    pub fn drain(&mut self) -> Vec<Decoding> {
        let all = self.iter().collect();
        Arc::make_mut(&mut self.members).clear();
        self.last_step.clear();
        self.by_remainder.fill(0);
        self.context_sum = 0;
        self.find_extremes();
        all
    }

    /// Members in order.
    pub fn iter(&self) -> impl Iterator<Item = Decoding> + '_ {
        self.members.iter().zip(&self.last_step).map(|(member, end)| self.outside(*member, *end))
    }

    /// Ids of the members in order.
    pub fn requests(&self) -> impl Iterator<Item = RequestId> + '_ {
        self.members.iter().map(|member| member.request)
    }

    /// Members that need one more KV block for the next step: those whose context fills their blocks.
    #[inline]
    pub fn growth(&self) -> u32 {
        match (self.block_size, self.by_remainder.is_empty()) {
            (0, _) => 0,
            (size, false) => self.by_remainder[(-self.step).rem_euclid(i64::from(size)) as usize],
            (_, true) => self.growing().count() as u32,
        }
    }

    /// The members that [`growth`](Self::growth) counts, in order.
    pub fn growing(&self) -> impl Iterator<Item = RequestId> + '_ {
        let (size, step) = (i64::from(self.block_size), self.step);
        self.members
            .iter()
            .filter(move |member| size > 0 && (member.offset + step) % size == 0)
            .map(|member| member.request)
    }

    /// What the next step computes for the group.
    pub fn next_step(&self) -> Decodes {
        Decodes {
            members: (!self.is_empty()).then(|| self.members.clone()),
            step: self.step,
            context_sum: self.context_sum,
            max_offset: self.max_offset,
        }
    }

    /// Appends the members whose last token the next step yields, in order.
    #[inline]
    pub fn ending(&self, ended: &mut Vec<RequestId>) {
        let step = self.step + 1;
        if step >= self.next_end {
            let ends = self.last_step.iter().zip(self.members.iter()).filter(|(end, _)| **end <= step);
            ended.extend(ends.map(|(_, member)| member.request));
        }
    }

    /// Makes a step: every member has one more token in the cache and one less to emit. Those that have
    /// none left leave; their ids are appended to `ended`, in order.
    #[inline]
    pub fn advance(&mut self, ended: &mut Vec<RequestId>) {
        self.context_sum += self.len() as u64;
        self.step += 1;
        if self.step >= self.next_end {
            self.end_members(ended);
        }
    }

    fn end_members(&mut self, ended: &mut Vec<RequestId>) {
        let Self { block_size, step, members, last_step, context_sum, by_remainder, .. } = self;
        let (mut index, mut kept, mut next_end, mut max_offset) = (0, 0, i64::MAX, i64::MIN);
        let mut stays = |member: &Member| {
            let end = last_step[index];
            index += 1;
            if end > *step {
                last_step[kept] = end;
                kept += 1;
                next_end = next_end.min(end);
                max_offset = max_offset.max(member.offset);
                return true;
            }
            ended.push(member.request);
            *context_sum -= (member.offset + *step) as u64;
            if let Some(count) = remainder(*block_size, by_remainder, member.offset) {
                *count -= 1;
            }
            false
        };
        match Arc::get_mut(members) {
            Some(members) => members.retain(stays),
            // A step under way looks at the members as they were: it keeps its list, and the group gets another.
            None => *members = Arc::new(members.iter().copied().filter(|member| stays(member)).collect()),
        }
        last_step.truncate(kept);
        (self.next_end, self.max_offset) = (next_end, max_offset);
    }

    fn outside(&self, member: Member, end: i64) -> Decoding {
        Decoding {
            request: member.request,
            context: (member.offset + self.step) as u32,
            remaining: (end - self.step) as u32,
        }
    }

    fn count(&mut self, offset: i64, change: i32) {
        if let Some(count) = remainder(self.block_size, &mut self.by_remainder, offset) {
            *count = count.wrapping_add_signed(change);
        }
    }

    fn find_extremes(&mut self) {
        self.next_end = self.last_step.iter().copied().min().unwrap_or(i64::MAX);
        self.max_offset = self.members.iter().map(|member| member.offset).max().unwrap_or(i64::MIN);
    }
}

fn remainder(block_size: u32, by_remainder: &mut [u32], offset: i64) -> Option<&mut u32> {
    by_remainder.get_mut(offset.checked_rem_euclid(i64::from(block_size))? as usize)
}

/// The decodes of one step: who, and how many tokens each has in the KV cache before it. A copy shares
/// the list of members with the group until either changes.
#[derive(Debug, Clone, Default)]
pub struct Decodes {
    members: Option<Arc<Vec<Member>>>,
    step: i64,
    context_sum: u64,
    max_offset: i64,
}

impl Decodes {
    /// Decodes of these requests at these contexts.
    pub fn of(decodes: impl IntoIterator<Item = (RequestId, u32)>) -> Self {
        let mut group = DecodeGroup::new(0);
        for (request, context) in decodes {
            group.push(Decoding { request, context, remaining: 1 });
        }
        group.next_step()
    }

    /// Number of decodes, one token each.
    #[inline]
    pub fn len(&self) -> usize {
        self.members.as_ref().map_or(0, |members| members.len())
    }

    /// Whether there are none.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.members.is_none()
    }

    /// Tokens in the KV cache before the step, over all decodes.
    #[inline]
    pub fn context_sum(&self) -> u64 {
        self.context_sum
    }

    /// The most tokens that one of them has in the KV cache before the step; 0 without any.
    #[inline]
    pub fn max_context(&self) -> u32 {
        if self.is_empty() { 0 } else { (self.max_offset + self.step) as u32 }
    }

    /// Request and context of each, in batch order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (RequestId, u32)> + '_ {
        let members = self.members.as_ref().map_or(&[][..], |members| members.as_slice());
        members.iter().map(|member| (member.request, (member.offset + self.step) as u32))
    }

    /// Whether the other step has the same members by being of the same group, unchanged: a cheap
    /// test that may say no to equals.
    #[inline]
    pub fn same_members(&self, other: &Self) -> bool {
        match (&self.members, &other.members) {
            (Some(a), Some(b)) => Arc::ptr_eq(a, b),
            (None, None) => true,
            _ => false,
        }
    }
}

impl PartialEq for Decodes {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl Eq for Decodes {}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[derive(Debug, Clone)]
    enum Call {
        Push(u32, u32),
        Pop,
        Advance,
        Drain,
    }

    fn calls() -> impl Strategy<Value = Vec<Call>> {
        let call = prop_oneof![
            4 => (0_u32..50, 1_u32..9).prop_map(|(context, remaining)| Call::Push(context, remaining)),
            1 => Just(Call::Pop),
            8 => Just(Call::Advance),
            1 => Just(Call::Drain),
        ];
        prop::collection::vec(call, 0..120)
    }

    proptest! {
        /// Against a list of requests that each know their own context.
        #[test]
        fn behaves_like_a_list(block_size in prop::sample::select(vec![0_u32, 1, 3, 16, 5000]), calls in calls()) {
            let mut group = DecodeGroup::new(block_size);
            let mut list: Vec<Decoding> = Vec::new();
            for (request, call) in (0..).zip(calls) {
                match call {
                    Call::Push(context, remaining) => {
                        let new = Decoding { request, context, remaining };
                        group.push(new);
                        list.push(new);
                    }
                    Call::Pop => prop_assert_eq!(group.pop(), list.pop()),
                    Call::Drain => prop_assert_eq!(group.drain(), std::mem::take(&mut list)),
                    Call::Advance => {
                        let before = group.next_step();
                        let (mut ended, mut wanted, mut announced) = (Vec::new(), Vec::new(), Vec::new());
                        group.ending(&mut announced);
                        group.advance(&mut ended);
                        prop_assert_eq!(&announced, &ended);
                        let contexts: Vec<_> = list.iter().map(|member| (member.request, member.context)).collect();
                        prop_assert_eq!(before.iter().collect::<Vec<_>>(), contexts, "a step is what it was when it was formed");
                        for member in &mut list {
                            member.context += 1;
                            member.remaining -= 1;
                            if member.remaining == 0 {
                                wanted.push(member.request);
                            }
                        }
                        list.retain(|member| member.remaining > 0);
                        prop_assert_eq!(ended, wanted);
                    }
                }
                let step = group.next_step();
                let fills = |member: &&Decoding| block_size > 0 && member.context.is_multiple_of(block_size);
                prop_assert_eq!(step.len(), list.len());
                prop_assert_eq!(step.context_sum(), list.iter().map(|member| u64::from(member.context)).sum::<u64>());
                prop_assert_eq!(step.max_context(), list.iter().map(|member| member.context).max().unwrap_or(0));
                prop_assert_eq!(group.growth() as usize, list.iter().filter(fills).count());
                prop_assert_eq!(
                    group.growing().collect::<Vec<_>>(),
                    list.iter().filter(fills).map(|member| member.request).collect::<Vec<_>>()
                );
            }
        }
    }
}
