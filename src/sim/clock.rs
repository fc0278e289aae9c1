//! The two clocks of a simulation. Its events need no more of time than an order and an addition.

/// A point of time on some clock: larger is later.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Moment(pub u64);

/// How moments and durations are counted.
pub trait Clock {
    /// A duration.
    type Span: Copy;

    /// The moment after a duration.
    fn after(moment: Moment, span: Self::Span) -> Moment;

    /// The duration in this clock's unit.
    fn span_of_ns(ns: u64) -> Self::Span;

    /// ns from run start.
    fn ns(moment: Moment) -> u64;

    /// The moment so many ns from run start.
    fn at_ns(ns: u64) -> Moment;
}

/// Integer nanoseconds: xp's own.
#[derive(Debug, Clone, Copy)]
pub enum Nanoseconds {}

impl Clock for Nanoseconds {
    type Span = u64;

    /// Time ends, and does not wrap, after 584 years.
    #[inline]
    fn after(moment: Moment, span: u64) -> Moment {
        Moment(moment.0.saturating_add(span))
    }

    fn span_of_ns(ns: u64) -> u64 {
        ns
    }

    #[inline]
    fn ns(moment: Moment) -> u64 {
        moment.0
    }

    fn at_ns(ns: u64) -> Moment {
        Moment(ns)
    }
}

/// Seconds as doubles, added as Vidur adds them: for results that shall be equal to Vidur's to the
/// last bit. A moment is the bits of its double, which for numbers from 0 are in the same order.
#[derive(Debug, Clone, Copy)]
pub enum Seconds {}

impl Seconds {
    /// The moment `seconds` from run start, at least 0.
    pub fn moment(seconds: f64) -> Moment {
        // Not a number is 0 as well; adding 0 turns −0 into 0.
        Moment((seconds.max(0.0) + 0.0).to_bits())
    }

    /// Seconds from run start.
    pub fn seconds(moment: Moment) -> f64 {
        f64::from_bits(moment.0)
    }
}

impl Clock for Seconds {
    type Span = f64;

    #[inline]
    fn after(moment: Moment, span: f64) -> Moment {
        // A model that predicts less than nothing does not turn time back.
        Self::moment((Self::seconds(moment) + span).max(Self::seconds(moment)))
    }

    fn span_of_ns(ns: u64) -> f64 {
        ns as f64 * 1e-9
    }

    #[inline]
    fn ns(moment: Moment) -> u64 {
        // Rounded by addition: a conversion to an integer truncates, and saturates.
        (Self::seconds(moment) * 1e9 + 0.5) as u64
    }

    fn at_ns(ns: u64) -> Moment {
        Self::moment(ns as f64 * 1e-9)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_in_the_order_of_their_seconds() {
        let times = [0.0, 1e-300, 0.1, 0.1 + 0.2, 1.0, 1e9, f64::MAX];
        assert!(times.map(Seconds::moment).is_sorted());
        assert_eq!(Seconds::moment(-0.0), Seconds::moment(0.0));
        assert_eq!(Seconds::seconds(Seconds::after(Seconds::moment(0.1), 0.2)), 0.1 + 0.2);
        assert_eq!(Seconds::after(Seconds::moment(1.0), -3.0), Seconds::moment(1.0));
    }

    #[test]
    fn nanoseconds_do_not_wrap() {
        assert_eq!(Nanoseconds::after(Moment(5), u64::MAX), Moment(u64::MAX));
        assert_eq!(Seconds::ns(Seconds::moment(1.5e-9)), 2);
        assert_eq!(Seconds::at_ns(1_500_000_000), Seconds::moment(1.5));
    }
}
