//! A value of a metric: a whole number, or a ratio. Both are written so that
//! the same record gives the same bytes on every machine.

use std::cmp::Ordering;

use crate::metrics::row_writer::push_number;

/// Most bins of a histogram.
pub(super) const BINS: u64 = 100;

/// What values of a metric are: `u64` for times and counts, `f64` for ratios.
pub(super) trait Value: Copy + PartialEq {
    /// A total order.
    fn order(&self, other: &Self) -> Ordering;
    fn real(self) -> f64;
    /// Appends it to a cell, exactly: digits, or the shortest decimal that reads back the same.
    fn push(self, cell: &mut Vec<u8>);
    /// Edges of at most [`BINS`] bins of equal width from `min` to `max`, ascending: bin i is from
    /// edge i up to and without edge i + 1, and the last bin holds `max` too.
    fn edges(min: Self, max: Self) -> Vec<Self>;
}

impl Value for u64 {
    fn order(&self, other: &Self) -> Ordering {
        self.cmp(other)
    }

    fn real(self) -> f64 {
        self as f64
    }

    fn push(self, cell: &mut Vec<u8>) {
        push_number(cell, self);
    }

    /// The width is whole, the least with which [`BINS`] bins reach.
    fn edges(min: Self, max: Self) -> Vec<Self> {
        let span = u128::from(max.saturating_sub(min)) + 1;
        let width = span.div_ceil(u128::from(BINS));
        let bins = span.div_ceil(width) as u64;
        let edge = |bin: u64| u128::from(min) + u128::from(bin) * width;
        (0..=bins).map(|bin| u64::try_from(edge(bin)).unwrap_or(u64::MAX)).collect()
    }
}

impl Value for f64 {
    fn order(&self, other: &Self) -> Ordering {
        self.total_cmp(other)
    }

    fn real(self) -> f64 {
        self
    }

    fn push(self, cell: &mut Vec<u8>) {
        push_real(cell, self);
    }

    /// 100 bins; one where all values are equal.
    fn edges(min: Self, max: Self) -> Vec<Self> {
        let width = (max - min) / BINS as f64;
        // Equal values, or so close (or far) that bins between them cannot be told.
        if !width.is_finite() || width <= 0.0 || min + width <= min {
            return vec![min, max];
        }
        let mut edges: Vec<f64> = (0..BINS).map(|bin| min + bin as f64 * width).collect();
        edges.push(max);
        edges
    }
}

/// Appends the shortest decimal that reads back as the same number.
pub(super) fn push_real(cell: &mut Vec<u8>, value: f64) {
    // Negative zero is zero.
    let value = if value == 0.0 { 0.0 } else { value };
    cell.extend_from_slice(value.to_string().as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_bins_have_whole_edges_and_reach_over_the_largest_value() {
        assert_eq!(u64::edges(7, 7), [7, 8]);
        assert_eq!(u64::edges(1, 4), [1, 2, 3, 4, 5]);
        let edges = u64::edges(0, 1000);
        assert_eq!((edges.len(), edges[1], *edges.last().unwrap()), (92, 11, 1001));
        let edges = u64::edges(0, u64::MAX);
        assert!(edges.len() <= 101 && *edges.last().unwrap() == u64::MAX);
        assert!(edges.is_sorted());
    }

    #[test]
    fn real_bins_are_a_hundred_or_one() {
        assert_eq!(f64::edges(0.5, 0.5), [0.5, 0.5]);
        let edges = f64::edges(0.0, 1.0);
        assert_eq!((edges.len(), edges[50], edges[100]), (101, 0.5, 1.0));
        let next = f64::from_bits(1.0f64.to_bits() + 1);
        assert_eq!(f64::edges(1.0, next), [1.0, next]);
    }

    #[test]
    fn numbers_are_written_exactly() {
        let text = |value: f64| {
            let mut cell = Vec::new();
            push_real(&mut cell, value);
            String::from_utf8(cell).unwrap()
        };
        assert_eq!((text(-0.0), text(0.1), text(3.0)), ("0".into(), "0.1".into(), "3".into()));
    }
}
