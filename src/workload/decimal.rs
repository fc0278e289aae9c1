//! Times written as decimal numbers → whole nanoseconds, without a float between them.

/// Latest time that is believed, ns: what readers with signed 64-bit integers hold.
const LATEST: u64 = i64::MAX as u64;

/// Longest number that is read, in bytes.
const MAX_BYTES: usize = 64;

/// A decimal number of units of 10^`exponent` nanoseconds, rounded to the nearest nanosecond, a half upwards.
/// Seconds have exponent 9, milliseconds 6.
///
/// # Errors
/// In words, what the text is instead: no number, negative, or later than any clock reaches.
pub(crate) fn nanoseconds(text: &str, exponent: i32) -> Result<u64, &'static str> {
    const NONE: &str = "is not a decimal number";
    const LATE: &str = "is later than any clock reaches";
    let text = text.trim();
    if text.is_empty() || text.len() > MAX_BYTES {
        return Err(NONE);
    }
    let (text, is_negative) = match text.strip_prefix('-') {
        Some(rest) => (rest, true),
        None => (text.strip_prefix('+').unwrap_or(text), false),
    };
    let (number, power) = match text.split_once(['e', 'E']) {
        Some((number, power)) => (number, power.parse::<i32>().map_err(|_| NONE)?),
        None => (text, 0),
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let digits = || whole.bytes().chain(fraction.bytes());
    if digits().next().is_none() || !digits().all(|byte| byte.is_ascii_digit()) {
        return Err(NONE);
    }
    if digits().all(|byte| byte == b'0') {
        return Ok(0);
    }
    if is_negative {
        return Err("is negative");
    }
    // The digits are a whole number of units of 10^scale ns.
    let scale = i64::from(power) + i64::from(exponent) - fraction.len() as i64;
    let significant: Vec<u8> = digits().map(|byte| byte - b'0').skip_while(|digit| *digit == 0).collect();
    // Digits left of the nanosecond; the one behind them rounds.
    let kept = significant.len() as i64 + scale;
    if kept > 19 {
        return Err(LATE);
    }
    let mut value: u64 = 0;
    for place in 0..kept.max(0) {
        let digit = significant.get(place as usize).copied().unwrap_or(0);
        value = value.checked_mul(10).and_then(|value| value.checked_add(digit.into())).ok_or(LATE)?;
    }
    let next = usize::try_from(kept).ok().and_then(|at| significant.get(at));
    let rounded = value.checked_add(u64::from(next.is_some_and(|digit| *digit >= 5))).ok_or(LATE)?;
    if rounded > LATEST { Err(LATE) } else { Ok(rounded) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn decimals_are_exact_and_round_half_up() {
        for (text, exponent, wanted) in [
            ("0", 9, 0),
            ("-0.0", 9, 0),
            ("4.314579", 9, 4_314_579_000),
            ("5.8926549999999995", 9, 5_892_655_000),
            ("1700000000.123456789", 9, 1_700_000_000_123_456_789),
            ("1.7e-05", 9, 17_000),
            ("1E3", 0, 1000),
            ("0.4999", 0, 0),
            ("0.5", 0, 1),
            ("0.05", 0, 0),
            ("99.5", 0, 100),
            (" 3 ", 6, 3_000_000),
            (".5", 3, 500),
            ("5.", 3, 5000),
            ("+2", 0, 2),
            ("1e-400", 9, 0),
            ("9223372036854775807", 0, i64::MAX as u64),
        ] {
            assert_eq!(nanoseconds(text, exponent), Ok(wanted), "{text}");
        }
        for text in
            ["", "x", "NaN", "inf", "1e", "1e99999999999", "1,5", "1.2.3", "--1", "e5", ".", "0x1", "١"]
        {
            assert_eq!(nanoseconds(text, 9), Err("is not a decimal number"), "{text}");
        }
        for text in ["9223372036854775808", "1e400", "99999999999999999999999", "9223372036.9e9"] {
            assert_eq!(nanoseconds(text, 0), Err("is later than any clock reaches"), "{text}");
        }
        assert_eq!(nanoseconds("-1e-9", 9), Err("is negative"));
    }

    proptest! {
        #[test]
        fn whole_numbers_are_themselves(value in 0..=LATEST, text in "\\PC{0,70}") {
            prop_assert_eq!(nanoseconds(&value.to_string(), 0), Ok(value));
            let _ = nanoseconds(&text, 9);
        }

        #[test]
        fn floats_of_seconds_are_read_to_the_nanosecond(value in 0u64..1 << 50) {
            let text = format!("{}.{:09}", value / 1_000_000_000, value % 1_000_000_000);
            prop_assert_eq!(nanoseconds(&text, 9), Ok(value));
        }
    }
}
