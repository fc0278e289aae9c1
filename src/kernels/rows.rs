//! Rows of activations as the innermost loops take them.

use super::buffer::Buffer;
use super::microkernel::group_sizes;
use super::prefetch::prefetch_all;

/// Inputs of a group's rows that are put in order before the next are, so that they stay in the first-level cache.
const INTERLEAVED: usize = 128;

/// What activations are multiplied as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// As they are.
    Exact,
    /// Rounded to bf16, and f32 again.
    Rounded,
    /// Rounded to bf16, two in a word: the first in its low half.
    Pairs,
}

/// Memory for rows, kept from product to product.
#[derive(Default)]
pub(super) struct RowBuffers {
    exact: Buffer<f32>,
    rounded: Buffer<f32>,
    pairs: Buffer<u32>,
}

impl RowBuffers {
    pub const fn new() -> Self {
        Self { exact: Buffer::new(), rounded: Buffer::new(), pairs: Buffer::new() }
    }
}

/// Rows in the groups that the kernels take: a group is `[input][row]`, or `[pair][row]`.
pub(super) struct Interleaved {
    /// Rows of all groups; the last ones may be none of the matrix, and zeros.
    pub rows: usize,
    pub inputs: usize,
    /// First row and number of rows of each group.
    pub groups: Vec<(usize, usize)>,
    forms: [Option<Form>; 2],
    pub buffers: RowBuffers,
}

impl Interleaved {
    /// Rows `x`, `[row][inputs]`, in some forms; for [`Form::Pairs`] there is an even number of inputs.
    pub fn new(
        x: &[f32],
        inputs: usize,
        most: usize,
        forms: [Option<Form>; 2],
        mut buffers: RowBuffers,
    ) -> Self {
        let sizes = group_sizes(x.len() / inputs, most);
        let rows = sizes.iter().sum();
        let mut first = 0;
        let grouped = |count| {
            first += count;
            (first - count, count)
        };
        let groups: Vec<_> = sizes.into_iter().map(grouped).collect();
        for form in forms.into_iter().flatten() {
            match form {
                Form::Exact => fill::<Exact>(x, inputs, &groups, buffers.exact.room(rows * inputs)),
                Form::Rounded => fill::<Rounded>(x, inputs, &groups, buffers.rounded.room(rows * inputs)),
                Form::Pairs => fill::<Pairs>(x, inputs, &groups, buffers.pairs.room(rows * inputs / 2)),
            }
        }
        Self { rows, inputs, groups, forms, buffers }
    }

    /// Asks for the first of the values in each form.
    pub fn prefetch(&self, most: usize) {
        for form in self.forms.into_iter().flatten() {
            match form {
                Form::Exact => prefetch_all(first(self.exact(), most)),
                Form::Rounded => prefetch_all(first(self.rounded(), most)),
                Form::Pairs => prefetch_all(first(self.pairs(), most)),
            }
        }
    }

    /// All groups in [`Form::Exact`].
    pub fn exact(&self) -> &[f32] {
        self.buffers.exact.first(self.rows * self.inputs)
    }

    /// All groups in [`Form::Rounded`].
    pub fn rounded(&self) -> &[f32] {
        self.buffers.rounded.first(self.rows * self.inputs)
    }

    /// All groups in [`Form::Pairs`].
    pub fn pairs(&self) -> &[u32] {
        self.buffers.pairs.first(self.rows * self.inputs / 2)
    }
}

/// The first values, so many at most.
fn first<T>(values: &[T], most: usize) -> &[T] {
    &values[..values.len().min(most)]
}

/// Bits of the f32 that is a number's nearest in bf16, ties to even. What is below bf16's normal numbers is zero, as it is to a
/// processor's dot products.
fn rounded(x: f32) -> u32 {
    let bits = x.to_bits();
    let nearest = bits.wrapping_add(0x7fff + (bits >> 16 & 1)) & 0xffff_0000;
    let not_a_number = bits & 0xffff_0000 | 0x40_0000;
    let kept = if bits & 0x7fff_ffff > 0x7f80_0000 { not_a_number } else { nearest };
    if kept & 0x7f80_0000 == 0 { kept & 0x8000_0000 } else { kept }
}

/// Those of at most [`INTERLEAVED`] numbers.
fn all_rounded(x: &[f32]) -> [u32; INTERLEAVED] {
    let mut all = [0; INTERLEAVED];
    all.iter_mut().zip(x).for_each(|(all, x)| *all = rounded(*x));
    all
}

/// How a row's inputs become values, each at the row's place among those of a group.
trait Place {
    type Value: Copy + Default;

    /// Inputs that a value holds.
    const INPUTS: usize;

    /// Places at most [`INTERLEAVED`] inputs of a row.
    fn place<const ROWS: usize>(x: &[f32], row: usize, to: &mut [[Self::Value; ROWS]]);
}

struct Exact;

impl Place for Exact {
    type Value = f32;
    const INPUTS: usize = 1;

    fn place<const ROWS: usize>(x: &[f32], row: usize, to: &mut [[f32; ROWS]]) {
        to.iter_mut().zip(x).for_each(|(to, x)| to[row] = *x);
    }
}

struct Rounded;

impl Place for Rounded {
    type Value = f32;
    const INPUTS: usize = 1;

    fn place<const ROWS: usize>(x: &[f32], row: usize, to: &mut [[f32; ROWS]]) {
        to.iter_mut().zip(all_rounded(x)).for_each(|(to, x)| to[row] = f32::from_bits(x));
    }
}

struct Pairs;

impl Place for Pairs {
    type Value = u32;
    const INPUTS: usize = 2;

    fn place<const ROWS: usize>(x: &[f32], row: usize, to: &mut [[u32; ROWS]]) {
        let x = all_rounded(x);
        to.iter_mut().zip(x.as_chunks().0).for_each(|(to, [low, high])| to[row] = low >> 16 | high);
    }
}

/// Puts rows in their groups.
fn fill<P: Place>(x: &[f32], inputs: usize, groups: &[(usize, usize)], mut to: &mut [P::Value]) {
    for &(first, count) in groups {
        let (group, rest) = to.split_at_mut(count * inputs / P::INPUTS);
        let x = &x[first * inputs..((first + count) * inputs).min(x.len())];
        match count {
            12 => interleave::<P, 12>(x, inputs, group),
            8 => interleave::<P, 8>(x, inputs, group),
            4 => interleave::<P, 4>(x, inputs, group),
            3 => interleave::<P, 3>(x, inputs, group),
            2 => interleave::<P, 2>(x, inputs, group),
            _ => interleave::<P, 1>(x, inputs, group),
        }
        to = rest;
    }
}

/// Rows `[row][inputs]`, `[value][ROWS]` in `to`; rows that are missing are zeros.
fn interleave<P: Place, const ROWS: usize>(x: &[f32], inputs: usize, to: &mut [P::Value]) {
    let (to, _) = to.as_chunks_mut::<ROWS>();
    for (block, to) in to.chunks_mut(INTERLEAVED / P::INPUTS).enumerate() {
        for row in 0..ROWS {
            let from = row * inputs + block * INTERLEAVED;
            match x.get(from..from + to.len() * P::INPUTS) {
                Some(x) => P::place(x, row, to),
                None => to.iter_mut().for_each(|to| to[row] = P::Value::default()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use half::bf16;
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn numbers_are_rounded_to_the_nearest(bits: u32) {
            let x = f32::from_bits(bits);
            let (found, wanted) = (bf16::from_f32(f32::from_bits(rounded(x))), bf16::from_f32(x));
            prop_assert_eq!(rounded(x) & 0xffff, 0);
            if wanted.is_nan() {
                prop_assert!(found.is_nan());
            } else if wanted.to_f32().abs() < f32::MIN_POSITIVE {
                prop_assert_eq!(found.to_bits(), wanted.to_bits() & 0x8000);
            } else {
                prop_assert_eq!(found, wanted);
            }
        }
    }

    #[test]
    fn forms_hold_the_same_rows() {
        let x: Vec<f32> = (0..5 * 6).map(|i| i as f32 + 0.001).collect();
        let in_form = |form| Interleaved::new(&x, 6, 12, [Some(Form::Exact), Some(form)], RowBuffers::new());
        let (rows, pairs) = (in_form(Form::Rounded), in_form(Form::Pairs));
        for rows in [&rows, &pairs] {
            assert_eq!((rows.rows, rows.groups.as_slice()), (8, [(0, 8)].as_slice()));
        }
        for input in 0..6 {
            for row in 0..8 {
                let wanted = x.get(row * 6 + input).copied().unwrap_or(0.0);
                let at = input * 8 + row;
                assert_eq!(rows.exact()[at], wanted);
                assert_eq!(rows.rounded()[at].to_bits(), rounded(wanted));
                let half = pairs.pairs()[input / 2 * 8 + row] >> (16 * (input % 2)) & 0xffff;
                assert_eq!(half, rounded(wanted) >> 16);
            }
        }
    }
}
