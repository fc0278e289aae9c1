//! Products of rows with a panel.

use std::cell::Cell;
use std::marker::PhantomData;
use std::ops::Range;

use pulp::Arch;

use super::buffer::Buffer;
use super::dots::MultiplyPairs;
use super::layout::{Bf16, F32, Layout, PANEL, layout_of};
use super::microkernel::{Multiply, Widen};
use super::pack::{Packed, PackedFormat, with_layout};
use super::processor::Processor;
use super::rows::Interleaved;

/// Inputs of a panel that meet all rows before the next do: so many fit the first-level cache.
const BLOCK: usize = 256;

thread_local! {
    /// A widened part of a panel.
    static WIDENED: Cell<Buffer<u32>> = const { Cell::new(Buffer::new()) };
}

/// A part of a panel's inputs.
struct Part<'a> {
    words: &'a [u32],
    /// Words that come next.
    ahead: &'a [u32],
    inputs: Range<usize>,
}

impl Interleaved {
    /// Products with a panel of a matrix into `sums`, `[row][PANEL]`. Asks for the panel that is `next`.
    pub fn times(&self, on: Processor, matrix: &Packed, (panel, next): (usize, usize), sums: &mut [f32]) {
        sums.fill(0.0);
        let (words, next) = (matrix.words(panel), matrix.words(next));
        match (matrix.panels[panel].format, on.dots) {
            (PackedFormat::Bf16, Some(dots)) => self.parts::<Bf16>(words, next, |part| {
                self.groups_of::<Bf16, _>(self.pairs(), part, sums, |rows, words, ahead, x, sums| {
                    dots.multiply(MultiplyPairs { rows, words, ahead, x, sums });
                });
            }),
            (format, _) => with_layout!(format, layout => {
                self.in_f32(on.arch, layout_of(layout), words, next, sums);
            }),
        }
    }

    /// Multiplies numbers that were widened to f32.
    fn in_f32<L: Layout>(
        &self,
        arch: Arch,
        layout: PhantomData<L>,
        words: &[u32],
        next: &[u32],
        sums: &mut [f32],
    ) {
        let in_registers = self.groups.len() <= L::OWN_WIDENING;
        let x = if L::AS_DOTS { self.rounded() } else { self.exact() };
        let mut kept = WIDENED.take();
        let widened = kept.room(if in_registers { 0 } else { BLOCK.min(self.inputs) * PANEL });
        self.parts::<L>(words, next, |part| {
            if in_registers {
                self.groups_of::<L, _>(x, part, sums, |rows, words, ahead, x, sums| {
                    arch.dispatch(Multiply { layout, rows, words, ahead, x, sums });
                });
            } else {
                let widened = &mut widened[..part.inputs.len() * PANEL];
                arch.dispatch(Widen { layout, words: part.words, to: widened });
                let part = Part { words: widened, ..part };
                self.groups_of::<F32, _>(x, part, sums, |rows, words, ahead, x, sums| {
                    arch.dispatch(Multiply { layout: PhantomData::<F32>, rows, words, ahead, x, sums });
                });
            }
        });
        WIDENED.set(kept);
    }

    /// Does something with one part of a panel after the other.
    fn parts<L: Layout>(&self, all_words: &[u32], next: &[u32], mut each: impl FnMut(Part<'_>)) {
        let part_words = BLOCK / L::GROUP * L::WORDS * PANEL;
        for (part, words) in all_words.chunks(part_words).enumerate() {
            let ahead = match &all_words[all_words.len().min((part + 1) * part_words)..] {
                [] => next,
                rest => rest,
            };
            let ahead = &ahead[..ahead.len().min(part_words)];
            let from = part * BLOCK;
            each(Part { words, ahead, inputs: from..self.inputs.min(from + BLOCK) });
        }
    }

    /// Multiplies one group of rows after the other with a part of a panel, each of which asks for a share of what comes
    /// ahead. `x` are all values of all groups.
    fn groups_of<L: Layout, T>(
        &self,
        x: &[T],
        part: Part<'_>,
        sums: &mut [f32],
        multiply: impl Fn(usize, &[u32], &[u32], &[T], &mut [f32]),
    ) {
        // How many inputs a value of `x` holds.
        let packed = self.rows * self.inputs / x.len().max(1);
        let Part { words, ahead, inputs } = part;
        let mut shares = ahead.chunks(ahead.len().div_ceil(self.groups.len().max(1)).max(1));
        for &(first, rows) in &self.groups {
            // Where little is done with what is read, a processor reads ahead by itself, and better unasked.
            let reads_alone = rows == 1 && L::WORDS == 1;
            let ahead = if reads_alone { &[] } else { shares.next().unwrap_or_default() };
            let at = first * self.inputs;
            let x = &x[(at + inputs.start * rows) / packed..(at + inputs.end * rows) / packed];
            multiply(rows, words, ahead, x, &mut sums[first * PANEL..(first + rows) * PANEL]);
        }
    }
}
