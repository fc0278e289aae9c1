//! Root mean square normalization (Zhang & Sennrich, "Root Mean Square Layer Normalization", NeurIPS 2019).

/// Sums that squares are added up in, whatever the processor's vectors are.
const LANES: usize = 16;

/// `out = x / √(mean x² + ε) · weight`.
#[inline(always)]
pub(super) fn rms_norm(x: &[f32], weight: &[f32], eps: f32, out: &mut [f32]) {
    let (chunks, rest) = x.as_chunks::<LANES>();
    let mut sums = [0.0; LANES];
    for chunk in chunks {
        for lane in 0..LANES {
            sums[lane] += chunk[lane] * chunk[lane];
        }
    }
    let sum: f32 = sums.iter().sum::<f32>() + rest.iter().map(|x| x * x).sum::<f32>();
    let inverse = 1.0 / (sum / x.len() as f32 + eps).sqrt();
    out.iter_mut().zip(x).zip(weight).for_each(|((out, x), weight)| *out = x * inverse * weight);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_the_formula() {
        for len in [1, 15, 16, 40, 384] {
            let x: Vec<f32> = (0..len).map(|i| (i * 37 % 19) as f32 - 7.3).collect();
            let weight: Vec<f32> = (0..len).map(|i| 0.5 + i as f32 * 0.01).collect();
            let mut out = vec![f32::NAN; len];
            rms_norm(&x, &weight, 1e-6, &mut out);
            let mean = x.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>() / len as f64;
            for ((out, x), weight) in out.iter().zip(&x).zip(&weight) {
                let wanted = f64::from(*x) / (mean + 1e-6).sqrt() * f64::from(*weight);
                assert!(
                    (f64::from(*out) - wanted).abs() < 1e-6 * wanted.abs().max(1.0),
                    "{out}, not {wanted}"
                );
            }
        }
    }
}
