//! How numbers are written: thousands comma, true minus, significant digits,
//! and the time unit that suits a group of values.

/// No-break thin space, before a unit.
pub(super) const THIN: char = '\u{202f}';
/// Stands where there is no number.
pub(super) const NONE: &str = "–";

/// `x` with `digits` decimals, thousands comma and U+2212 for minus.
pub(super) fn fixed(x: f64, digits: usize) -> String {
    if !x.is_finite() {
        return NONE.to_owned();
    }
    let text = format!("{:.digits$}", x.abs());
    let (whole, fraction) = text.split_once('.').map_or((text.as_str(), None), |(w, f)| (w, Some(f)));
    let mut out = String::with_capacity(text.len() + text.len() / 3 + 4);
    if x < 0.0 && text.bytes().any(|b| (b'1'..=b'9').contains(&b)) {
        out.push('−');
    }
    for (index, digit) in whole.chars().enumerate() {
        if index > 0 && (whole.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    if let Some(fraction) = fraction {
        out.push('.');
        out.push_str(fraction);
    }
    out
}

/// A whole count.
pub(super) fn count(n: u64) -> String {
    let text = n.to_string();
    let mut out = String::with_capacity(text.len() + text.len() / 3);
    for (index, digit) in text.chars().enumerate() {
        if index > 0 && (text.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// A small count as a word, `One` to `Nine` when `capital`.
pub(super) fn word(n: usize, capital: bool) -> String {
    const WORDS: [&str; 9] = ["one", "two", "three", "four", "five", "six", "seven", "eight", "nine"];
    match n.checked_sub(1).and_then(|index| WORDS.get(index)) {
        Some(word) if capital => word[..1].to_uppercase() + &word[1..],
        Some(word) => (*word).to_owned(),
        None => count(n as u64),
    }
}

/// Like [`fixed`] with a plus before what does not round to zero.
pub(super) fn signed(x: f64, digits: usize) -> String {
    let text = fixed(x, digits);
    let zero = !text.bytes().any(|b| (b'1'..=b'9').contains(&b));
    if x > 0.0 && !zero { format!("+{text}") } else { text }
}

/// Decimals of an error in per cent: one, none from 100 up.
fn error_digits(x: f64) -> usize {
    if x.abs() >= 99.95 { 0 } else { 1 }
}

/// A signed error without its unit; beyond a million per cent only its bound.
pub(super) fn error(x: f64) -> String {
    if x > 1e6 { ">1,000,000".to_owned() } else { signed(x, error_digits(x)) }
}

/// A signed error with its unit.
pub(super) fn percent(x: f64) -> String {
    format!("{}{THIN}%", error(x))
}

/// An error's size with its unit, for `… % slower`.
pub(super) fn size_percent(x: f64) -> String {
    let text = error(x.abs());
    format!("{}{THIN}%", text.strip_prefix('+').unwrap_or(&text))
}

/// At most two decimals, none that are zero: limits and ticks.
pub(super) fn plain(x: f64) -> String {
    let text = fixed(x, 2);
    match text.split_once('.') {
        Some((whole, "00")) => whole.to_owned(),
        Some((whole, fraction)) => format!("{whole}.{}", fraction.trim_end_matches('0')),
        None => text,
    }
}

/// A limit with its unit.
pub(super) fn limit(x: f64) -> String {
    format!("{}{THIN}%", plain(x))
}

/// `n` significant digits, at most `n - 1` decimals; small values keep three digits, up to six decimals.
pub(super) fn significant(x: f64, n: usize) -> String {
    let a = x.abs();
    if !a.is_finite() {
        return NONE.to_owned();
    }
    if a >= 1e9 {
        return format!("{x:.2e}").replace('-', "−");
    }
    let whole = [1.0, 10.0, 100.0, 1_000.0, 10_000.0].iter().take_while(|bound| a >= **bound).count();
    if a == 0.0 {
        return "0".to_owned();
    }
    let digits = if a >= 1.0 {
        n.saturating_sub(whole)
    } else {
        3 + [0.1, 0.01, 0.001].iter().filter(|bound| a < **bound).count()
    };
    fixed(x, digits)
}

/// A unit of time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum TimeUnit {
    Ns,
    Us,
    Ms,
    S,
}

impl TimeUnit {
    const ALL: [TimeUnit; 4] = [TimeUnit::S, TimeUnit::Ms, TimeUnit::Us, TimeUnit::Ns];

    /// Nanoseconds in one.
    pub(super) fn ns(self) -> f64 {
        match self {
            TimeUnit::Ns => 1.0,
            TimeUnit::Us => 1e3,
            TimeUnit::Ms => 1e6,
            TimeUnit::S => 1e9,
        }
    }

    /// `s`, `ms`, `µs` or `ns`.
    pub(super) fn symbol(self) -> &'static str {
        match self {
            TimeUnit::Ns => "ns",
            TimeUnit::Us => "µs",
            TimeUnit::Ms => "ms",
            TimeUnit::S => "s",
        }
    }

    /// The one unit for a group of values in ns: the largest in which the smallest
    /// value is at least 0.1, but not one in which the largest has six digits.
    pub(super) fn of(values: impl IntoIterator<Item = f64>) -> TimeUnit {
        let (mut least, mut most) = (f64::INFINITY, 0.0_f64);
        for value in values.into_iter().map(f64::abs).filter(|value| value.is_finite() && *value > 0.0) {
            least = least.min(value);
            most = most.max(value);
        }
        if most == 0.0 {
            return TimeUnit::Ms;
        }
        let unit = Self::ALL.into_iter().find(|unit| least >= 0.1 * unit.ns()).unwrap_or(TimeUnit::Ns);
        Self::ALL
            .into_iter()
            .rev()
            .find(|other| *other >= unit && most < 1e5 * other.ns())
            .unwrap_or(TimeUnit::S)
    }

    /// Like [`TimeUnit::show`] without zeros at the end, for lengths that are round.
    pub(super) fn brief(ns: f64) -> String {
        let unit = Self::ALL.into_iter().find(|unit| ns.abs() >= unit.ns()).unwrap_or(TimeUnit::Ns);
        format!("{}{THIN}{}", plain(ns / unit.ns()), unit.symbol())
    }

    /// A duration in ns with the unit that suits it alone, three significant digits.
    pub(super) fn show(ns: f64) -> String {
        let unit = Self::ALL.into_iter().find(|unit| ns.abs() >= 0.1 * unit.ns()).unwrap_or(TimeUnit::Ns);
        format!("{}{THIN}{}", significant(ns / unit.ns(), 3), unit.symbol())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_commas_a_true_minus_and_no_negative_zero() {
        assert_eq!(fixed(1_234_567.0, 0), "1,234,567");
        assert_eq!(fixed(-1234.56, 1), "−1,234.6");
        assert_eq!(fixed(-0.04, 1), "0.0");
        assert_eq!(signed(0.04, 1), "0.0");
        assert_eq!(signed(2.36, 1), "+2.4");
        assert_eq!(fixed(f64::NAN, 1), "–");
        assert_eq!(count(1_000), "1,000");
        assert_eq!(word(1, true), "One");
        assert_eq!(word(12, false), "12");
    }

    #[test]
    fn errors_drop_decimals_when_they_say_nothing() {
        assert_eq!(percent(-12.34), "−12.3\u{202f}%");
        assert_eq!(percent(99.96), "+100\u{202f}%");
        assert_eq!(percent(12_345.6), "+12,346\u{202f}%");
        assert_eq!(percent(1e9), ">1,000,000\u{202f}%");
        assert_eq!(size_percent(-3.04), "3.0\u{202f}%");
        assert_eq!(limit(2.5), "2.5\u{202f}%");
        assert_eq!(limit(9.0), "9\u{202f}%");
    }

    #[test]
    fn significant_digits() {
        let four = |x| significant(x, 4);
        assert_eq!(
            [four(65.4566), four(137.356), four(1065.7), four(0.6894)],
            ["65.46", "137.4", "1,066", "0.689"]
        );
        assert_eq!([four(0.0), four(0.01234), four(0.000_012_34)], ["0", "0.0123", "0.000012"]);
        assert_eq!(significant(12_345.0, 3), "12,345");
        assert_eq!(significant(-1.234e300, 4), "−1.23e300");
    }

    #[test]
    fn units_follow_the_magnitude_of_a_group() {
        let unit = |values: &[f64]| TimeUnit::of(values.iter().copied()).symbol();
        assert_eq!(unit(&[60e9, 137e9]), "s");
        assert_eq!(unit(&[30e6, 56e6]), "ms");
        assert_eq!(unit(&[0.4e9, 90e9]), "s");
        assert_eq!(unit(&[3e3, 9e3]), "µs");
        assert_eq!(unit(&[12.0, 40.0]), "ns");
        assert_eq!(unit(&[12e3, 3e12]), "s", "the largest decides when they are far apart");
        assert_eq!(unit(&[0.0]), "ms");
        assert_eq!(unit(&[]), "ms");
        assert_eq!(TimeUnit::show(170e6), "0.170\u{202f}s");
        assert_eq!(TimeUnit::show(42.0), "42.0\u{202f}ns");
        assert_eq!(TimeUnit::show(-1.5e6), "−1.50\u{202f}ms");
    }
}
