use std::fmt::Write as _;

/// A date and a time of day, for templates that write them: of the proleptic Gregorian calendar, without a zone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment {
    /// 1 to 9999.
    pub year: u16,
    /// 1 to 12.
    pub month: u8,
    /// 1 to 31.
    pub day: u8,
    /// 0 to 23.
    pub hour: u8,
    pub minute: u8,
    pub second: u8,
}

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
const DAYS: [&str; 7] = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"];

/// Longest text that a format becomes, in bytes.
const MAX_TEXT: usize = 4096;

impl Moment {
    /// What templates take for now: a prompt that is made again has to be the same, whenever that is.
    pub const PINNED: Self = Self { year: 2025, month: 1, day: 1, hour: 0, minute: 0, second: 0 };

    /// As C's `strftime` formats it, in the C locale.
    ///
    /// # Errors
    /// A directive that is none, or a text that is too long.
    pub(super) fn format(self, format: &str) -> Result<String, String> {
        let mut out = String::new();
        let mut chars = format.chars();
        while let Some(c) = chars.next() {
            if out.len() > MAX_TEXT {
                return Err(format!("a time of more than {MAX_TEXT} bytes"));
            }
            if c != '%' {
                out.push(c);
                continue;
            }
            let mut directive = chars.next();
            // GNU's way to leave out leading zeros.
            let bare = directive == Some('-');
            if bare {
                directive = chars.next();
            }
            let mut number = |value: u32, width: usize| {
                let width = if bare { 0 } else { width };
                let _ = write!(out, "{value:0width$}");
            };
            let (hour, day) = (u32::from(self.hour), u32::from(self.day));
            let twelve = if hour % 12 == 0 { 12 } else { hour % 12 };
            match directive {
                Some('Y') => number(self.year.into(), 4),
                Some('y') => number(u32::from(self.year) % 100, 2),
                Some('m') => number(self.month.into(), 2),
                Some('d') => number(day, 2),
                Some('e') if bare => number(day, 0),
                Some('e') => out.push_str(&format!("{day:2}")),
                Some('H') => number(hour, 2),
                Some('I') => number(twelve, 2),
                Some('M') => number(self.minute.into(), 2),
                Some('S') => number(self.second.into(), 2),
                Some('j') => number(self.day_of_year(), 3),
                Some('u') => number(self.weekday() as u32 + 1, 1),
                Some('w') => number((self.weekday() as u32 + 1) % 7, 1),
                Some('f') => out.push_str("000000"),
                Some('B') => out.push_str(self.month_name()),
                Some('b' | 'h') => out.push_str(&self.month_name()[..3]),
                Some('A') => out.push_str(DAYS[self.weekday()]),
                Some('a') => out.push_str(&DAYS[self.weekday()][..3]),
                Some('p') => out.push_str(if hour < 12 { "AM" } else { "PM" }),
                Some('F') => out.push_str(&self.format("%Y-%m-%d")?),
                Some('T' | 'X') => out.push_str(&self.format("%H:%M:%S")?),
                Some('R') => out.push_str(&self.format("%H:%M")?),
                Some('D' | 'x') => out.push_str(&self.format("%m/%d/%y")?),
                Some('c') => out.push_str(&self.format("%a %b %e %H:%M:%S %Y")?),
                // Python's time without a zone has none.
                Some('z' | 'Z') => {}
                Some('%') => out.push('%'),
                Some('n') => out.push('\n'),
                Some('t') => out.push('\t'),
                Some(other) => return Err(format!("`%{other}` is no directive of a time")),
                None => return Err("`%` ends the format of a time".to_owned()),
            }
        }
        Ok(out)
    }

    fn month_name(self) -> &'static str {
        MONTHS[usize::from(self.month.clamp(1, 12)) - 1]
    }

    /// Days since 1 January, from 1.
    fn day_of_year(self) -> u32 {
        let year = u32::from(self.year);
        let is_leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
        let before = [0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334];
        let month = usize::from(self.month.clamp(1, 12));
        before[month - 1] + u32::from(is_leap && month > 2) + u32::from(self.day)
    }

    /// From 0, a Monday.
    fn weekday(self) -> usize {
        let years = u32::from(self.year.max(1)) - 1;
        // Day 1 of year 1 was a Monday.
        ((years * 365 + years / 4 - years / 100 + years / 400 + self.day_of_year() - 1) % 7) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_formatted_as_strftime_does() {
        let moment = Moment { year: 2024, month: 3, day: 7, hour: 0, minute: 4, second: 5 };
        let said = |format: &str| moment.format(format).unwrap();
        assert_eq!(said("%d %b %Y"), "07 Mar 2024");
        assert_eq!(said("%A, %B %-d, %Y"), "Thursday, March 7, 2024");
        assert_eq!(said("%a %j %I:%M %p|%e|%y%%"), "Thu 067 12:04 AM| 7|24%");
        assert_eq!(said("%F %T"), "2024-03-07 00:04:05");
        assert_eq!(said("%c"), "Thu Mar  7 00:04:05 2024");
        assert_eq!(Moment::PINNED.format("%A").unwrap(), "Wednesday");
        let late = Moment { year: 2000, month: 12, day: 31, hour: 23, ..moment };
        assert_eq!(late.format("%a %j %I %p %w %u").unwrap(), "Sun 366 11 PM 0 7");
        assert_eq!(moment.format("%Q").unwrap_err(), "`%Q` is no directive of a time");
        assert_eq!(moment.format("5 %").unwrap_err(), "`%` ends the format of a time");
        assert!(moment.format(&"%c".repeat(10_000)).unwrap_err().contains("4096"));
    }
}
