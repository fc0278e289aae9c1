//! Numbers as they are written: six significant digits, so that a file is the
//! same wherever it was made and a reader can derive what follows from it.

/// The closest number of six significant decimal digits; no negative zero.
pub(super) fn six_digits(value: f64) -> f64 {
    let rounded = format!("{value:.5e}").parse().unwrap_or(value);
    if rounded == 0.0 { 0.0 } else { rounded }
}

/// Whether [`six_digits`] leaves a number as it is.
pub(super) fn is_canonical(value: f64) -> bool {
    value.is_finite() && six_digits(value).to_bits() == value.to_bits()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn six_digits_are_kept_and_rounding_again_changes_nothing() {
        for (value, wanted) in
            [(1_234_567.0, 1_234_570.0), (0.000_123_456_78, 0.000_123_457), (-0.0, 0.0), (3.5, 3.5)]
        {
            assert_eq!(six_digits(value).to_bits(), f64::to_bits(wanted), "{value}");
            assert!(is_canonical(wanted));
        }
        assert!(!is_canonical(-0.0) && !is_canonical(f64::NAN) && !is_canonical(1.234_567_8));
    }
}
