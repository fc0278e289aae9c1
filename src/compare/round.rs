//! Figures are kept to six significant digits: more than any measurement
//! holds, and few enough to read. A verdict is derived from the rounded
//! figures, so that a reader of the file derives the same.

/// The closest number of six significant decimal digits; no negative zero.
pub(super) fn round(value: f64) -> f64 {
    let rounded = format!("{value:.5e}").parse().unwrap_or(value);
    if rounded == 0.0 { 0.0 } else { rounded }
}

/// Largest error that is told, per cent: where a resample measured almost nothing, the ratio has no bound.
const MAX_ERROR_PERCENT: f64 = 1e9;

/// 100 × (simulated / measured − 1), within ±10⁹. Nothing against nothing is no error.
pub(super) fn error_percent(measured: f64, simulated: f64) -> f64 {
    if measured == simulated {
        return 0.0;
    }
    (100.0 * (simulated - measured) / measured).clamp(-MAX_ERROR_PERCENT, MAX_ERROR_PERCENT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn six_digits_are_kept() {
        for (value, wanted) in [
            (123_456_789.0, 123_457_000.0),
            (-0.000_123_456_78, -0.000_123_457),
            (-0.0, 0.0),
            (7.0, 7.0),
            (999_999.5, 1e6),
        ] {
            assert_eq!(round(value).to_bits(), f64::to_bits(wanted), "{value}");
        }
    }

    #[test]
    fn errors_are_finite() {
        assert_eq!(error_percent(200.0, 210.0), 5.0);
        assert_eq!(error_percent(0.0, 0.0), 0.0);
        assert_eq!(error_percent(0.0, 1.0), MAX_ERROR_PERCENT);
        assert_eq!(error_percent(1.0, 0.0), -100.0);
    }
}
