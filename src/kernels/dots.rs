//! Dot products of bf16 that a processor has instructions for: AVX-512's `vdpbf16ps`.
//!
//! An instruction adds to each of sixteen sums the product of the second numbers of two pairs, and then that of the first,
//! each fused and rounded once, as two multiply-adds in f32 do (Intel, Software Developer's Manual, volume 2, VDPBF16PS).
//! Numbers below 2⁻¹²⁶ are zero to it; but for these, the result is that of the portable kernel to the last bit. A
//! processor whose results differ is not asked for them.

#[cfg(target_arch = "x86_64")]
pub(super) use x86::Dots;

#[cfg(not(target_arch = "x86_64"))]
pub(super) use none::Dots;

/// Rows against the words of a panel or of a part of its inputs, in which all numbers are bf16.
#[cfg_attr(not(target_arch = "x86_64"), allow(dead_code))]
pub(super) struct MultiplyPairs<'a> {
    /// Number of rows, of [`group_sizes`](super::microkernel::group_sizes).
    pub rows: usize,
    /// `[pair][PANEL]`.
    pub words: &'a [u32],
    /// Words that will be needed soon.
    pub ahead: &'a [u32],
    /// `[pair][row]`.
    pub x: &'a [u32],
    /// Sums so far, `[row][PANEL]`.
    pub sums: &'a mut [f32],
}

#[cfg(target_arch = "x86_64")]
#[allow(unsafe_code)]
mod x86 {
    use std::arch::x86_64::{
        __m512, __m512bh, __m512i, _mm512_dpbf16_ps, _mm512_loadu_ps, _mm512_loadu_si512, _mm512_set1_epi32,
        _mm512_setzero_ps, _mm512_setzero_si512, _mm512_storeu_ps,
    };
    use std::sync::LazyLock;

    use super::MultiplyPairs;
    use crate::kernels::layout::PANEL;
    use crate::kernels::prefetch::{LINE_WORDS, prefetch};

    /// Sums of a vector.
    const LANES: usize = 16;

    /// Vectors of a panel.
    const VECTORS: usize = PANEL / LANES;

    /// That this processor has the instructions, and that they compute what they should.
    #[derive(Debug, Clone, Copy)]
    pub struct Dots(());

    impl Dots {
        /// Those of this processor.
        pub fn of_this_processor() -> Option<Self> {
            static FOUND: LazyLock<bool> = LazyLock::new(|| {
                is_x86_feature_detected!("avx512f")
                    && is_x86_feature_detected!("avx512bf16")
                    && Dots(()).computes_fused_sums()
            });
            FOUND.then_some(Self(()))
        }

        /// Whether sums of some thousand pairs are those of multiply-adds, the second number of a pair first.
        fn computes_fused_sums(self) -> bool {
            const PAIRS: usize = 128;
            let mut state = 1_u32;
            // Signs and mantissas of any kind, exponents that let sums lose bits at either end.
            let mut number = || {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (state >> 16) & 0x80ff | (118 + (state >> 8) % 16) << 7
            };
            let mut pairs = |count| (0..count).map(|_| number() | number() << 16).collect::<Vec<_>>();
            let (words, x) = (pairs(PAIRS * PANEL), pairs(PAIRS));
            let mut sums = [0.0; PANEL];
            self.multiply(MultiplyPairs { rows: 1, words: &words, ahead: &[], x: &x, sums: &mut sums });
            let halves = |pair: u32| [f32::from_bits(pair << 16), f32::from_bits(pair & 0xffff_0000)];
            sums.iter().enumerate().all(|(lane, found)| {
                let wanted = x.iter().zip(words.chunks_exact(PANEL)).fold(0.0_f32, |sum, (x, words)| {
                    let ([x, x_second], [w, w_second]) = (halves(*x), halves(words[lane]));
                    x.mul_add(w, x_second.mul_add(w_second, sum))
                });
                wanted.to_bits() == found.to_bits()
            })
        }

        /// Adds the products of some rows with words.
        pub fn multiply(self, what: MultiplyPairs<'_>) {
            // SAFETY: this value says that the processor has the instructions.
            unsafe {
                match what.rows {
                    12 => multiply::<12>(what),
                    8 => multiply::<8>(what),
                    4 => multiply::<4>(what),
                    3 => multiply::<3>(what),
                    2 => multiply::<2>(what),
                    _ => multiply::<1>(what),
                }
            }
        }
    }

    /// Loops are written out, as in the portable kernel: no closure would be compiled for these instructions.
    #[target_feature(enable = "avx512f,avx512bf16")]
    fn multiply<const ROWS: usize>(what: MultiplyPairs<'_>) {
        debug_assert_eq!(what.rows, ROWS);
        let MultiplyPairs { words, ahead, x, sums: kept, .. } = what;
        let (kept, _) = kept.as_chunks_mut::<LANES>();
        let mut sums = [[_mm512_setzero_ps(); VECTORS]; ROWS];
        for row in 0..ROWS {
            for v in 0..VECTORS {
                sums[row][v] = load(&kept[row * VECTORS + v]);
            }
        }
        let ((words, _), (x, _)) = (words.as_chunks::<LANES>(), x.as_chunks::<ROWS>());
        let mut ahead = ahead.chunks(LINE_WORDS);
        let lines_each = ahead.len().div_ceil(x.len().max(1));
        for (words, x) in words.as_chunks::<VECTORS>().0.iter().zip(x) {
            for _ in 0..lines_each {
                if let Some(line) = ahead.next() {
                    prefetch(line);
                }
            }
            let mut wide = [pairs(_mm512_setzero_si512()); VECTORS];
            for v in 0..VECTORS {
                wide[v] = pairs(load_words(&words[v]));
            }
            for row in 0..ROWS {
                let x = pairs(_mm512_set1_epi32(x[row].cast_signed()));
                for v in 0..VECTORS {
                    sums[row][v] = _mm512_dpbf16_ps(sums[row][v], wide[v], x);
                }
            }
        }
        for row in 0..ROWS {
            for v in 0..VECTORS {
                // SAFETY: it is as many numbers as a vector has.
                unsafe { _mm512_storeu_ps(kept[row * VECTORS + v].as_mut_ptr(), sums[row][v]) };
            }
        }
    }

    #[target_feature(enable = "avx512f")]
    #[inline]
    fn load(from: &[f32; LANES]) -> __m512 {
        // SAFETY: `from` is as many numbers as a vector has.
        unsafe { _mm512_loadu_ps(from.as_ptr()) }
    }

    #[target_feature(enable = "avx512f")]
    #[inline]
    fn load_words(from: &[u32; LANES]) -> __m512i {
        // SAFETY: `from` is as many words as a vector has.
        unsafe { _mm512_loadu_si512(from.as_ptr().cast()) }
    }

    #[target_feature(enable = "avx512f")]
    #[inline]
    fn pairs(words: __m512i) -> __m512bh {
        // SAFETY: both are 512 bits of any value.
        unsafe { std::mem::transmute::<__m512i, __m512bh>(words) }
    }
}

#[cfg(not(target_arch = "x86_64"))]
mod none {
    use super::MultiplyPairs;

    /// There are none.
    #[derive(Debug, Clone, Copy)]
    pub enum Dots {}

    impl Dots {
        pub fn of_this_processor() -> Option<Self> {
            None
        }

        pub fn multiply(self, _: MultiplyPairs<'_>) {
            match self {}
        }
    }
}
