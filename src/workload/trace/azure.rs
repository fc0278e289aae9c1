//! Traces of Azure's LLM inference service (AzurePublicDataset): time stamps of
//! a wall clock, token counts.

use super::rows::{At, Trace};
use crate::workload::WorkloadError;
use crate::workload::table::Table;

const TIMESTAMP: &str = "TIMESTAMP";
const PREFILL: &str = "ContextTokens";
const DECODE: &str = "GeneratedTokens";

/// Columns `TIMESTAMP`, `ContextTokens` and `GeneratedTokens`. Time starts with the earliest request.
pub(super) fn read<'a>(mut trace: Trace<'a>, text: &str) -> Result<Trace<'a>, WorkloadError> {
    let table = Table::open(trace.file, text)?;
    let (time, prefill, decode) = (table.column(TIMESTAMP)?, table.column(PREFILL)?, table.column(DECODE)?);
    let mut rows = Vec::new();
    let mut start = u64::MAX;
    table.rows(|_, row| {
        let text = row.text(time);
        let ns = timestamp(text)
            .ok_or_else(|| row.wrong(time, text, "is no time stamp such as 2023-11-16 18:17:03.9799600"))?;
        start = start.min(ns);
        rows.push((row.line(), ns, row.number(prefill)?, row.number(decode)?));
        Ok(())
    })?;
    for (line, ns, prefill, decode) in rows {
        trace.push(At { line, prefill: PREFILL, decode: DECODE }, prefill, decode, Some(ns - start))?;
    }
    Ok(trace)
}

/// `YYYY-MM-DD HH:MM:SS`, with a fraction of up to nine digits and an offset from UTC if there are any: ns since
/// 1970. A `T` may stand for the space.
fn timestamp(text: &str) -> Option<u64> {
    let (date, rest) = text.trim().split_once([' ', 'T'])?;
    let (clock, offset) = match rest.find(['Z', '+', '-']) {
        Some(at) => (&rest[..at], offset_seconds(&rest[at..])?),
        None => (rest, 0),
    };
    let mut parts = date.splitn(3, '-');
    let (year, month, day) =
        (number(parts.next()?, 4)?, number(parts.next()?, 2)?, number(parts.next()?, 2)?);
    let (clock, fraction) = clock.split_once('.').unwrap_or((clock, "0"));
    let mut parts = clock.splitn(3, ':');
    let (hour, minute, second) =
        (number(parts.next()?, 2)?, number(parts.next()?, 2)?, number(parts.next()?, 2)?);
    if !(1970..=2200).contains(&year)
        || !(1..=12).contains(&month)
        || !(1..=days_in(year, month)).contains(&day)
    {
        return None;
    }
    if hour > 23 || minute > 59 || second > 59 || fraction.len() > 9 {
        return None;
    }
    let nanoseconds = number(fraction, fraction.len())? * 10_i64.pow(9 - fraction.len() as u32);
    let years: i64 = (1970..year).map(|year| if is_leap(year) { 366 } else { 365 }).sum();
    let months: i64 = (1..month).map(|month| days_in(year, month)).sum();
    let seconds = ((years + months + day - 1) * 24 + hour) * 3600 + minute * 60 + second - offset;
    u64::try_from(seconds.checked_mul(1_000_000_000)?.checked_add(nanoseconds)?).ok()
}

/// `Z`, `+HH:MM`, `+HHMM` or `+HH`.
fn offset_seconds(text: &str) -> Option<i64> {
    if text == "Z" {
        return Some(0);
    }
    let sign = if text.starts_with('-') { -1 } else { 1 };
    let digits = text.get(1..)?.replace(':', "");
    let (hours, minutes) = match digits.len() {
        2 => (number(&digits, 2)?, 0),
        4 => (number(digits.get(..2)?, 2)?, number(digits.get(2..)?, 2)?),
        _ => return None,
    };
    (hours < 24 && minutes < 60).then_some(sign * (hours * 3600 + minutes * 60))
}

/// A number of just so many digits, of nine at most.
fn number(text: &str, digits: usize) -> Option<i64> {
    let is_number =
        text.len() == digits && (1..=9).contains(&digits) && text.bytes().all(|b| b.is_ascii_digit());
    is_number.then(|| text.parse().ok()).flatten()
}

fn is_leap(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

fn days_in(year: i64, month: i64) -> i64 {
    match month {
        2 if is_leap(year) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_stamps_are_read_with_their_fraction_and_offset() {
        assert_eq!(timestamp("1970-01-01 00:00:00"), Some(0));
        assert_eq!(timestamp("2023-11-16 18:17:03.9799600"), Some(1_700_158_623_979_960_000));
        assert_eq!(timestamp("2024-05-10T00:00:00.009930+00:00"), Some(1_715_299_200_009_930_000));
        assert_eq!(timestamp("2024-02-29 23:30:00-0030"), timestamp("2024-03-01 00:00:00Z"));
        for bad in [
            "",
            "2023-11-16",
            "2023-11-16 24:00:00",
            "2023-02-29 00:00:00",
            "2023-13-01 00:00:00",
            "1969-12-31 23:59:59",
            "1970-01-01 00:00:00+01",
            "2023-11-16 18:17",
            "2023-11-16 18:17:03.",
            "2023-11-16 18:17:03.0123456789",
            "2023-11-16 18:17:03 UTC",
            "20231116 181703",
            "NaN NaN",
            "２023-11-16 18:17:03",
            "2023-11-16 18:17:03+é1",
        ] {
            assert_eq!(timestamp(bad), None, "{bad}");
        }
    }
}
