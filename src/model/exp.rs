//! The exponential function in a form that compiles to vector instructions:
//! the C library's is called once a number and would cost more than the dot
//! products around it.

/// 1.5 · 2²³: adding it rounds to an integer, which then stands in the low bits of the sum.
const ROUND: f32 = 12_582_912.0;
const LN2_HIGH: f32 = 0.693_359_4;
const LN2_LOW: f32 = -2.121_944_4e-4;

/// `eˣ` within 3e-7 relative for x ≤ 88; below −87 it is as good as zero.
///
/// Range reduction to |r| ≤ ln 2 / 2 and a polynomial of degree 6 (Taylor; Muller, "Elementary
/// Functions", 3rd edition, ch. 11).
#[inline(always)]
pub(super) fn exp(x: f32) -> f32 {
    let x = x.clamp(-87.0, 88.0);
    let shifted = x * std::f32::consts::LOG2_E + ROUND;
    let n = shifted - ROUND;
    let r = x - n * LN2_HIGH - n * LN2_LOW;
    let mut p = 1.0 / 720.0;
    p = p * r + 1.0 / 120.0;
    p = p * r + 1.0 / 24.0;
    p = p * r + 1.0 / 6.0;
    p = p * r + 0.5;
    p = p * r + 1.0;
    p = p * r + 1.0;
    // Times 2ⁿ: n is added to the exponent.
    f32::from_bits(p.to_bits().wrapping_add(shifted.to_bits() << 23))
}

const LANES: usize = 16;

/// The largest number; −∞ of none.
#[inline(always)]
pub(super) fn largest(values: &[f32]) -> f32 {
    let (lanes, rest) = values.as_chunks::<LANES>();
    let mut max = [f32::NEG_INFINITY; LANES];
    for chunk in lanes {
        for i in 0..LANES {
            max[i] = if chunk[i] > max[i] { chunk[i] } else { max[i] };
        }
    }
    max.iter().chain(rest).copied().fold(f32::NEG_INFINITY, f32::max)
}

/// Replaces scores by their softmax.
#[inline(always)]
pub(super) fn softmax(scores: &mut [f32]) {
    let max = largest(scores);
    let (lanes, rest) = scores.as_chunks_mut::<LANES>();
    let mut sums = [0.0; LANES];
    for chunk in lanes.iter_mut() {
        for i in 0..LANES {
            chunk[i] = exp(chunk[i] - max);
            sums[i] += chunk[i];
        }
    }
    let mut sum: f32 = sums.iter().sum();
    for score in rest.iter_mut() {
        *score = exp(*score - max);
        sum += *score;
    }
    let inverse = 1.0 / sum;
    scores.iter_mut().for_each(|score| *score *= inverse);
}

/// `out = SiLU(gate) × up` (Shazeer, "GLU Variants Improve Transformer", 2020).
#[inline(always)]
pub(super) fn swiglu(gate: &[f32], up: &[f32], out: &mut [f32]) {
    for ((out, gate), up) in out.iter_mut().zip(gate).zip(up) {
        *out = gate / (1.0 + exp(-gate)) * up;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_the_exponential() {
        for step in 0..=17_500 {
            let x = -87.0 + step as f32 * 0.01;
            let (found, wanted) = (f64::from(exp(x)), f64::from(x).exp());
            assert!((found / wanted - 1.0).abs() < 3e-7, "exp({x}) = {found}, not {wanted}");
        }
        assert!(exp(-1e9) < 1e-37);
        assert_eq!(exp(0.0), 1.0);
    }

    #[test]
    fn softmax_sums_to_one_whatever_the_size_of_its_scores() {
        for len in [1, 7, 8, 9, 100] {
            let mut scores: Vec<f32> = (0..len).map(|i| (i * 37 % 19) as f32 * 30.0 - 200.0).collect();
            let wanted: Vec<f64> = {
                let max = scores.iter().copied().fold(f32::MIN, f32::max);
                let e: Vec<f64> = scores.iter().map(|s| f64::from(s - max).exp()).collect();
                let sum: f64 = e.iter().sum();
                e.into_iter().map(|e| e / sum).collect()
            };
            softmax(&mut scores);
            for (found, wanted) in scores.iter().zip(wanted) {
                assert!((f64::from(*found) - wanted).abs() < 1e-6);
            }
        }
    }
}
