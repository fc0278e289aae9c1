//! How weights lie in memory, and how they become f32 on the way to a multiplication.
//!
//! The outputs of a matrix are cut into panels of [`PANEL`] lanes. A panel holds groups of consecutive inputs. In a
//! group comes word after word, and in a word lane after lane, so that a vector register takes the same word of
//! neighbouring outputs: `[group][word][lane]`, 32 bits each.
//!
//! Loops are written out: a closure that is not inlined is compiled for no vector instructions at all, and takes twenty
//! times as long.

use std::marker::PhantomData;

use pulp::Simd;

/// Outputs of a panel.
pub(super) const PANEL: usize = 32;

/// Most inputs that are widened together.
pub(super) const MAX_STEP: usize = 8;

/// Most words of a group.
pub(super) const MAX_WORDS: usize = 38;

/// Vectors of widened weights: `[input][vector]`.
pub(super) type Wide<S, const NV: usize> = [[<S as Simd>::f32s; NV]; MAX_STEP];

/// A format of packed weights. A panel is `NV` vectors wide.
pub(super) trait Layout: Copy + Send + Sync + 'static {
    /// Consecutive inputs of a group.
    const GROUP: usize;
    /// Words of a group in each lane.
    const WORDS: usize;
    /// Inputs that [`widen`](Self::widen) makes at a time, at most [`MAX_STEP`].
    const STEP: usize;

    /// Whether activations are rounded to bf16, and the second of two inputs is multiplied before the first, as by a
    /// processor's dot products of bf16.
    const AS_DOTS: bool = false;

    /// Most groups of rows that widen for themselves, in registers. More of them take what was widened once for all.
    const OWN_WIDENING: usize = 3;

    /// Words of a panel of so many inputs, which are whole groups.
    fn panel_words(self, inputs: usize) -> usize {
        inputs / Self::GROUP * Self::WORDS * PANEL
    }

    /// Widens the inputs from `STEP * step` of a group, whose words are `[word][NV]`.
    fn widen<S: Simd, const NV: usize>(simd: S, words: &[S::u32s], step: usize, to: &mut Wide<S, NV>);
}

/// The type of a layout.
pub(super) fn layout_of<L: Layout>(_: L) -> PhantomData<L> {
    PhantomData
}

/// One word of all lanes.
#[inline(always)]
fn word<S: Simd, const NV: usize>(words: &[S::u32s], index: usize) -> [S::u32s; NV] {
    std::array::from_fn(|v| words[index * NV + v])
}

/// One word of all lanes that is a number.
#[inline(always)]
fn float<S: Simd, const NV: usize>(simd: S, words: &[S::u32s], index: usize) -> [S::f32s; NV] {
    word::<S, NV>(words, index).map(|bits| simd.transmute_f32s_u32s(bits))
}

/// 2²³. An integer below it in the low bits of a number of that size makes the number so much larger.
const SHIFTED: f32 = 8_388_608.0;

/// Integers below 2²³, less `zero`, as numbers; exact.
#[inline(always)]
fn number<S: Simd>(simd: S, bits: S::u32s, zero: f32) -> S::f32s {
    let shifted = simd.or_u32s(bits, simd.splat_u32s(SHIFTED.to_bits()));
    simd.sub_f32s(simd.transmute_f32s_u32s(shifted), simd.splat_f32s(SHIFTED + zero))
}

/// `bits` from bit `from` on, below `mask`.
#[inline(always)]
fn field<S: Simd>(simd: S, bits: S::u32s, from: u32, mask: u32) -> S::u32s {
    simd.and_u32s(simd.wrapping_dyn_shr_u32s(bits, simd.splat_u32s(from)), simd.splat_u32s(mask))
}

/// A word is a weight.
#[derive(Debug, Clone, Copy)]
pub(super) struct F32;

impl Layout for F32 {
    const OWN_WIDENING: usize = usize::MAX;
    const GROUP: usize = 1;
    const WORDS: usize = 1;
    const STEP: usize = 1;

    #[inline(always)]
    fn widen<S: Simd, const NV: usize>(simd: S, words: &[S::u32s], _step: usize, to: &mut Wide<S, NV>) {
        to[0] = float(simd, words, 0);
    }
}

/// A word has two weights, the first in its low half.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bf16;

impl Layout for Bf16 {
    const AS_DOTS: bool = true;
    const OWN_WIDENING: usize = usize::MAX;
    const GROUP: usize = 2;
    const WORDS: usize = 1;
    const STEP: usize = 2;

    #[inline(always)]
    fn widen<S: Simd, const NV: usize>(simd: S, words: &[S::u32s], _step: usize, to: &mut Wide<S, NV>) {
        let pair = word::<S, NV>(words, 0);
        let (half, high) = (simd.splat_u32s(16), simd.splat_u32s(0xffff_0000));
        for v in 0..NV {
            to[0][v] = simd.transmute_f32s_u32s(simd.wrapping_dyn_shl_u32s(pair[v], half));
            to[1][v] = simd.transmute_f32s_u32s(simd.and_u32s(pair[v], high));
        }
    }
}

/// A word has two weights, the first in its low half. Finite ones only.
#[derive(Debug, Clone, Copy)]
pub(super) struct F16;

impl Layout for F16 {
    const GROUP: usize = 2;
    const WORDS: usize = 1;
    const STEP: usize = 2;

    #[inline(always)]
    fn widen<S: Simd, const NV: usize>(simd: S, words: &[S::u32s], _step: usize, to: &mut Wide<S, NV>) {
        let pair = word::<S, NV>(words, 0);
        for v in 0..NV {
            to[0][v] = widen_f16(simd, simd.wrapping_dyn_shl_u32s(pair[v], simd.splat_u32s(16)));
            to[1][v] = widen_f16(simd, pair[v]);
        }
    }
}

/// The number whose bits are the upper half of `top`. With its exponent and mantissa where those of an f32 are, it is too
/// small by 2¹¹², subnormal or not.
#[inline(always)]
fn widen_f16<S: Simd>(simd: S, top: S::u32s) -> S::f32s {
    let sign = simd.and_u32s(top, simd.splat_u32s(0x8000_0000));
    let bits = simd.or_u32s(sign, field(simd, top, 3, 0x0fff_e000));
    simd.mul_f32s(simd.transmute_f32s_u32s(bits), simd.splat_f32s(f32::from_bits((127 + 112) << 23)))
}

/// Blocks of `BLOCK` inputs: the first word is their scale, the others have four integers each, 128 too large, the
/// first in the lowest byte.
#[derive(Debug, Clone, Copy)]
pub(super) struct Scaled8<const BLOCK: usize>;

impl<const BLOCK: usize> Layout for Scaled8<BLOCK> {
    const GROUP: usize = BLOCK;
    const WORDS: usize = 1 + BLOCK / 4;
    const STEP: usize = 4;

    #[inline(always)]
    fn widen<S: Simd, const NV: usize>(simd: S, words: &[S::u32s], step: usize, to: &mut Wide<S, NV>) {
        let scale = float::<S, NV>(simd, words, 0);
        let four = word::<S, NV>(words, 1 + step);
        for (place, to) in to.iter_mut().enumerate().take(4) {
            for v in 0..NV {
                let integer = field(simd, four[v], 8 * place as u32, 0xff);
                to[v] = simd.mul_f32s(number(simd, integer, 128.0), scale[v]);
            }
        }
    }
}

/// Q4_K: super-blocks of 256 inputs in eight blocks of 32 with a scale and a minimum each. Words: the scale of scales,
/// the scale of minima; four with the scale (low byte) and minimum of two blocks; 32 with eight integers each.
#[derive(Debug, Clone, Copy)]
pub(super) struct Scaled4;

impl Layout for Scaled4 {
    const GROUP: usize = 256;
    const WORDS: usize = 2 + 4 + 32;
    const STEP: usize = 8;

    #[inline(always)]
    fn widen<S: Simd, const NV: usize>(simd: S, words: &[S::u32s], step: usize, to: &mut Wide<S, NV>) {
        let (scales, minima) = (float::<S, NV>(simd, words, 0), float::<S, NV>(simd, words, 1));
        let block = step / 4;
        let factors = word::<S, NV>(words, 2 + block / 2);
        let eight = word::<S, NV>(words, 6 + step);
        let from = 16 * (block as u32 % 2);
        for v in 0..NV {
            let scale = simd.mul_f32s(scales[v], number(simd, field(simd, factors[v], from, 0xff), 0.0));
            let minimum =
                simd.mul_f32s(minima[v], number(simd, field(simd, factors[v], from + 8, 0xff), 0.0));
            for (place, to) in to.iter_mut().enumerate() {
                let integer = field(simd, eight[v], 4 * place as u32, 0xf);
                to[v] = simd.sub_f32s(simd.mul_f32s(number(simd, integer, 0.0), scale), minimum);
            }
        }
    }
}
