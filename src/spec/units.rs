//! Values with units, parsed once: `"500ms"`, `"80GiB"`, `"5%"`.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

/// A text is not a value with a unit.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not {what}; write for example {example:?}")]
pub struct ParseUnitError {
    pub text: String,
    pub what: &'static str,
    pub example: &'static str,
}

macro_rules! unit {
    ($(#[$doc:meta])* $name:ident($inner:ty), $what:literal, $example:literal, $pattern:literal, $units:expr) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, PartialOrd, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(pub $inner);

        impl $name {
            /// Units from the largest to the smallest, with their size in the base unit.
            const UNITS: &'static [(&'static str, f64)] = $units;
        }

        impl FromStr for $name {
            type Err = ParseUnitError;

            fn from_str(text: &str) -> Result<Self, ParseUnitError> {
                let error = || ParseUnitError { text: text.to_owned(), what: $what, example: $example };
                let split = text.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(error)?;
                let (number, unit) = text.split_at(split);
                let (_, size) = Self::UNITS.iter().find(|(name, _)| *name == unit).ok_or_else(error)?;
                Self::from_parts(number, *size).ok_or_else(error)
            }
        }

        impl TryFrom<String> for $name {
            type Error = ParseUnitError;

            fn try_from(text: String) -> Result<Self, ParseUnitError> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(value: $name) -> Self {
                value.to_string()
            }
        }

        impl JsonSchema for $name {
            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({
                    "type": "string",
                    "pattern": $pattern,
                    "x-unit": $units.iter().map(|(name, _): &(&str, f64)| *name).collect::<Vec<_>>(),
                    "description": concat!($what, ", such as ", $example),
                })
            }
        }
    };
}

unit!(
    /// A duration in integer nanoseconds.
    Duration(u64), "a duration", "500ms", r"^[0-9]+(\.[0-9]+)?(h|min|s|ms|us|ns)$",
    &[("h", 3.6e12), ("min", 6e10), ("s", 1e9), ("ms", 1e6), ("us", 1e3), ("ns", 1.0)]
);
unit!(
    /// A size in bytes.
    ByteSize(u64), "a size", "80GiB", r"^[0-9]+(\.[0-9]+)?(TiB|GiB|MiB|KiB|TB|GB|MB|kB|B)$",
    &[
        ("TiB", 1_099_511_627_776.0), ("GiB", 1_073_741_824.0), ("MiB", 1_048_576.0), ("KiB", 1024.0),
        ("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3), ("B", 1.0),
    ]
);
unit!(
    /// Bytes a second.
    Bandwidth(u64), "a bandwidth", "25GB/s", r"^[0-9]+(\.[0-9]+)?(TB|GB|MB|kB|B)/s$",
    &[("TB/s", 1e12), ("GB/s", 1e9), ("MB/s", 1e6), ("kB/s", 1e3), ("B/s", 1.0)]
);
unit!(
    /// Per cent: `Percent(5.0)` is 5 %.
    Percent(f64), "a percentage", "5%", r"^[0-9]+(\.[0-9]+)?%$",
    &[("%", 1.0)]
);

/// Digits, or digits, a point and digits.
fn is_decimal(number: &str) -> bool {
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    number.split_once('.').map_or(digits(number), |(whole, fraction)| digits(whole) && digits(fraction))
}

/// A count of base units; whole numbers are exact, fractions are rounded to the nearest unit.
fn count(number: &str, size: f64) -> Option<u64> {
    if !is_decimal(number) {
        return None;
    }
    if !number.contains('.') {
        return number.parse::<u64>().ok()?.checked_mul(size as u64);
    }
    let value = (number.parse::<f64>().ok()? * size).round();
    (0.0..=9.0e18).contains(&value).then_some(value as u64)
}

impl Duration {
    fn from_parts(number: &str, size: f64) -> Option<Self> {
        count(number, size).map(Self)
    }
}

impl ByteSize {
    fn from_parts(number: &str, size: f64) -> Option<Self> {
        count(number, size).map(Self)
    }
}

impl Bandwidth {
    fn from_parts(number: &str, size: f64) -> Option<Self> {
        count(number, size).map(Self)
    }
}

impl Percent {
    fn from_parts(number: &str, _: f64) -> Option<Self> {
        let value = number.parse::<f64>().ok().filter(|_| is_decimal(number))?;
        (value <= 1e9).then_some(Self(value))
    }
}

/// Writes an integer with the largest unit that divides it.
fn write_exact(f: &mut fmt::Formatter<'_>, value: u64, units: &[(&str, f64)]) -> fmt::Result {
    let (unit, size) = units
        .iter()
        .map(|(unit, size)| (*unit, *size as u64))
        .find(|(_, size)| value > 0 && value.is_multiple_of(*size))
        .unwrap_or((units[units.len() - 1].0, 1));
    write!(f, "{}{unit}", value / size)
}

impl fmt::Display for Duration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_exact(f, self.0, Self::UNITS)
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_exact(f, self.0, Self::UNITS)
    }
}

impl fmt::Display for Bandwidth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_exact(f, self.0, Self::UNITS)
    }
}

impl fmt::Display for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}%", self.0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn units_round_trip_in_their_canonical_form() {
        for text in ["500ms", "2h", "1500us", "0ns", "7s"] {
            assert_eq!(text.parse::<Duration>().unwrap().to_string(), text);
        }
        assert_eq!("1.5s".parse::<Duration>().unwrap(), Duration(1_500_000_000));
        assert_eq!("80GiB".parse::<ByteSize>().unwrap().to_string(), "80GiB");
        assert_eq!("2.5%".parse::<Percent>().unwrap().to_string(), "2.5%");
    }

    #[test]
    fn what_is_no_value_with_a_unit_is_refused() {
        for text in
            ["", "500", "ms", "-5ms", "5 ms", "1e3s", "NaNs", "infs", "5m", "1..2s", "99999999999999h"]
        {
            assert!(text.parse::<Duration>().is_err(), "{text}");
        }
        assert!("5".parse::<Percent>().is_err());
        assert!("5gb".parse::<ByteSize>().is_err());
        for text in ["5.%", ".5%", "1e3%", "%", "99999999999%"] {
            assert!(text.parse::<Percent>().is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(count in any::<u64>(), percent in 0.0..1e9_f64) {
            prop_assert_eq!(Duration(count).to_string().parse(), Ok(Duration(count)));
            prop_assert_eq!(ByteSize(count).to_string().parse(), Ok(ByteSize(count)));
            prop_assert_eq!(Percent(percent).to_string().parse(), Ok(Percent(percent)));
        }

        #[test]
        fn any_text_is_a_value_or_an_error(text in "\\PC{0,20}") {
            let _ = (text.parse::<Duration>(), text.parse::<ByteSize>(), text.parse::<Percent>());
        }
    }
}
