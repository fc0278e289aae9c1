//! The values of one metric, with what each is about.

use super::value::Value;

/// Most rows of a series file, over all replicas.
pub(super) const MAX_ROWS: usize = 10_000;

/// A value, and what it is of: a request's id, a step's number, or a time in ns.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Point<T> {
    pub at: u64,
    pub value: T,
}

/// The values of one replica, or of the whole run, ascending by what they are of.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Lane<T> {
    /// 0 for what is not a replica's.
    pub replica: u32,
    pub points: Vec<Point<T>>,
}

/// All values of a metric.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Lanes {
    Whole(Vec<Lane<u64>>),
    Real(Vec<Lane<f64>>),
}

impl Lanes {
    /// Whole numbers that are no replica's.
    pub fn whole(points: impl IntoIterator<Item = (u64, u64)>) -> Self {
        Self::Whole(vec![Lane::new(0, points)])
    }

    /// Ratios that are no replica's.
    pub fn real(points: impl IntoIterator<Item = (u64, f64)>) -> Self {
        Self::Real(vec![Lane::new(0, points)])
    }
}

impl<T: Value> Lane<T> {
    pub fn new(replica: u32, points: impl IntoIterator<Item = (u64, T)>) -> Self {
        let points = points.into_iter().map(|(at, value)| Point { at, value }).collect();
        Self { replica, points }
    }

    /// A lane of a step function that is `value` from the run's start.
    pub fn held(replica: u32, value: T) -> Self {
        Self::new(replica, [(0, value)])
    }

    /// Lets a step function be `value` from `at` on. What was held for no time is forgotten, and what
    /// does not change is no point.
    pub fn hold(&mut self, at: u64, value: T) {
        if self.points.last().is_some_and(|last| last.at >= at) {
            self.points.pop();
        }
        if self.points.last().is_none_or(|last| last.value != value) {
            self.points.push(Point { at, value });
        }
    }

    /// Each value of a step function with the ns for which it is held, until the run's end.
    pub fn held_for(&self, end_ns: u64) -> impl Iterator<Item = (T, u64)> {
        let ends = self.points.iter().skip(1).map(|next| next.at).chain([end_ns]);
        self.points.iter().zip(ends).map(|(point, end)| (point.value, end.saturating_sub(point.at)))
    }

    /// At most `most` (at least 4) of its points: all, where there are no more. Else the first, the last,
    /// and of the others, cut into stretches of equally many, the least and the greatest of each stretch
    /// (the first of equals). No extreme is lost, and none is made up.
    pub fn thinned(&self, most: usize) -> Vec<Point<T>> {
        let points = &self.points[..];
        let most = most.max(4);
        let ([first, inner @ .., last], true) = (points, points.len() > most) else { return points.to_vec() };
        let stretches = (most - 2) / 2;
        let mut out = Vec::with_capacity(most);
        out.push(*first);
        for stretch in 0..stretches {
            // Below 2^64: a log has no more than 2^44 steps in memory, and MAX_ROWS bounds the stretches.
            let edge = |stretch: usize| inner.len() * stretch / stretches;
            let part = &inner[edge(stretch)..edge(stretch + 1)];
            let by_value = |a: &(usize, &Point<T>), b: &(usize, &Point<T>)| a.1.value.order(&b.1.value);
            let least = part.iter().enumerate().min_by(by_value).map(|(index, _)| index);
            // max_by takes the last of equals: the first of them comes from looking backwards.
            let greatest = part.iter().enumerate().rev().max_by(by_value).map(|(index, _)| index);
            let (Some(least), Some(greatest)) = (least, greatest) else { continue };
            out.push(part[least.min(greatest)]);
            if least != greatest {
                out.push(part[least.max(greatest)]);
            }
        }
        out.push(*last);
        out
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_step_function_keeps_its_changes() {
        let mut lane = Lane::held(0, 0u64);
        for (at, value) in [(0, 2), (5, 2), (7, 3), (7, 4), (9, 2), (9, 4), (12, 0)] {
            lane.hold(at, value);
        }
        let points: Vec<(u64, u64)> = lane.points.iter().map(|point| (point.at, point.value)).collect();
        assert_eq!(points, [(0, 2), (7, 4), (12, 0)]);
        assert_eq!(lane.held_for(20).collect::<Vec<_>>(), [(2, 7), (4, 5), (0, 8)]);
    }

    proptest! {
        #[test]
        fn thinning_keeps_extremes_and_order(values in prop::collection::vec(0u64..40, 0..300), most in 4usize..50) {
            let lane = Lane::new(0, values.iter().enumerate().map(|(at, value)| (at as u64, *value)));
            let kept = lane.thinned(most);
            prop_assert!(kept.len() <= most);
            prop_assert!(kept.is_sorted_by(|one, next| one.at < next.at));
            prop_assert!(kept.iter().all(|point| lane.points[point.at as usize] == *point));
            let value = |point: &Point<u64>| point.value;
            prop_assert_eq!(kept.iter().map(value).min(), values.iter().copied().min());
            prop_assert_eq!(kept.iter().map(value).max(), values.iter().copied().max());
            prop_assert_eq!(kept.first(), lane.points.first());
            prop_assert_eq!(kept.last(), lane.points.last());
            if values.len() <= most {
                prop_assert_eq!(kept.len(), values.len());
            }
        }
    }
}
