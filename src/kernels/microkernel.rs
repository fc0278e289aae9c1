//! The innermost loops: a few rows against a panel.

use std::marker::PhantomData;

use pulp::{Simd, WithSimd};

use super::layout::{Layout, MAX_STEP, PANEL};
use super::prefetch::{LINE_WORDS, prefetch};

/// Rows that are multiplied together at most, for vectors of so many lanes: as many as the registers hold sums of.
pub(super) fn most_rows(lanes: usize) -> usize {
    match lanes {
        16 => 12,
        4 | 8 => 3,
        _ => 1,
    }
}

/// More rows than this are filled up to a multiple of it, where so many are multiplied together at most.
pub(super) fn row_group(most: usize) -> usize {
    if most >= 12 { 4 } else { 1 }
}

/// Sizes of the groups that so many rows are multiplied in, at least as many together: sizes that there are kernels for.
///
/// More than four rows are filled up to whole fours, which eights and twelves make up: small kernels have too few sums
/// under way to keep the multipliers busy, so that five rows in a four and a one would take twice as long as eight.
pub(super) fn group_sizes(rows: usize, most: usize) -> Vec<usize> {
    let padded = row_group(most) > 1 && rows > row_group(most);
    let mut left = if padded { rows.next_multiple_of(row_group(most)) } else { rows };
    let mut sizes = Vec::new();
    while left > 0 {
        let size = match padded {
            true if left.is_multiple_of(12) => 12,
            true => 8,
            false => [4, 3, 2].into_iter().find(|size| *size <= left.min(most)).unwrap_or(1),
        };
        sizes.push(size);
        left -= size;
    }
    sizes
}

/// What is done with a panel, in vectors of which it has `NV`.
trait OnPanel {
    fn run<S: Simd, const NV: usize>(self, simd: S);
}

/// Finds out how many vectors a panel has.
#[inline(always)]
fn on_panel<S: Simd>(simd: S, what: impl OnPanel) {
    match S::F32_LANES {
        16 => what.run::<S, 2>(simd),
        8 => what.run::<S, 4>(simd),
        4 => what.run::<S, 8>(simd),
        _ => what.run::<S, PANEL>(simd),
    }
}

/// Adds the products of some rows with a panel, or with a part of its inputs.
pub(super) struct Multiply<'a, L> {
    pub layout: PhantomData<L>,
    /// Number of rows, of [`group_sizes`].
    pub rows: usize,
    /// The panel's words for these inputs.
    pub words: &'a [u32],
    /// Words that will be needed soon.
    pub ahead: &'a [u32],
    /// `[input][row]`.
    pub x: &'a [f32],
    /// Sums so far, `[row][PANEL]`.
    pub sums: &'a mut [f32],
}

impl<L: Layout> WithSimd for Multiply<'_, L> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        on_panel(simd, self);
    }
}

impl<L: Layout> OnPanel for Multiply<'_, L> {
    #[inline(always)]
    fn run<S: Simd, const NV: usize>(self, simd: S) {
        match (self.rows, NV) {
            (12, 2) => self.multiply::<S, 12, NV>(simd),
            (8, 2) => self.multiply::<S, 8, NV>(simd),
            (4, 2) => self.multiply::<S, 4, NV>(simd),
            (3, ..PANEL) => self.multiply::<S, 3, NV>(simd),
            (2, ..PANEL) => self.multiply::<S, 2, NV>(simd),
            _ => self.multiply::<S, 1, NV>(simd),
        }
    }
}

impl<L: Layout> Multiply<'_, L> {
    #[inline(always)]
    fn multiply<S: Simd, const ROWS: usize, const NV: usize>(self, simd: S) {
        debug_assert_eq!(self.rows, ROWS);
        let (words, _) = S::as_simd_u32s(self.words);
        let (kept, _) = S::as_mut_simd_f32s(self.sums);
        let mut sums: [[S::f32s; NV]; ROWS] =
            std::array::from_fn(|row| std::array::from_fn(|v| kept[row * NV + v]));
        let mut wide = [[simd.splat_f32s(0.0); NV]; MAX_STEP];
        let (x, _) = self.x.as_chunks::<ROWS>();
        let mut ahead = self.ahead.chunks(LINE_WORDS);
        let lines_each = ahead.len().div_ceil((x.len() / L::GROUP).max(1));
        for (words, x) in words.chunks_exact(L::WORDS * NV).zip(x.chunks_exact(L::GROUP)) {
            for _ in 0..lines_each {
                ahead.next().into_iter().for_each(prefetch);
            }
            for step in 0..L::GROUP / L::STEP {
                L::widen(simd, words, step, &mut wide);
                for input in 0..L::STEP {
                    let input = if L::AS_DOTS { input ^ 1 } else { input };
                    let (wide, x) = (&wide[input], &x[step * L::STEP + input]);
                    for row in 0..ROWS {
                        let x = simd.splat_f32s(x[row]);
                        for v in 0..NV {
                            sums[row][v] = simd.mul_add_f32s(x, wide[v], sums[row][v]);
                        }
                    }
                }
            }
        }
        for (row, sums) in sums.iter().enumerate() {
            kept[row * NV..(row + 1) * NV].copy_from_slice(sums);
        }
    }
}

/// Widens a panel, or a part of its inputs.
pub(super) struct Widen<'a, L> {
    pub layout: PhantomData<L>,
    pub words: &'a [u32],
    /// Bits of f32, `[input][PANEL]`.
    pub to: &'a mut [u32],
}

impl<L: Layout> WithSimd for Widen<'_, L> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        on_panel(simd, self);
    }
}

impl<L: Layout> OnPanel for Widen<'_, L> {
    #[inline(always)]
    fn run<S: Simd, const NV: usize>(self, simd: S) {
        let (words, _) = S::as_simd_u32s(self.words);
        let (to, _) = S::as_mut_simd_u32s(self.to);
        let mut wide = [[simd.splat_f32s(0.0); NV]; MAX_STEP];
        for (words, to) in words.chunks_exact(L::WORDS * NV).zip(to.chunks_exact_mut(L::GROUP * NV)) {
            for (step, to) in to.chunks_exact_mut(L::STEP * NV).enumerate() {
                L::widen(simd, words, step, &mut wide);
                for (wide, to) in wide.iter().zip(to.chunks_exact_mut(NV)) {
                    for v in 0..NV {
                        to[v] = simd.transmute_u32s_f32s(wide[v]);
                    }
                }
            }
        }
    }
}
