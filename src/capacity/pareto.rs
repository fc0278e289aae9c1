//! Which cells no other cell beats on both cost and latency.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A cell by what it costs and how long it takes; less is better on both.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Point {
    /// Per million output tokens.
    pub cost: f64,
    pub latency_ns: u64,
}

impl Point {
    /// At most as much of both, and less of one.
    pub fn dominates(&self, other: &Point) -> bool {
        self.cost <= other.cost && self.latency_ns <= other.latency_ns && self != other
    }
}

/// Where a cell stands among all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    /// No cell beats it. Cells that are equal in both do not beat each other.
    OnFront,
    /// This one (from 0) is on the front and beats it: the fastest of those that cost no more, and of equals the
    /// first.
    DominatedBy(u32),
    /// It has no cost or no latency: no rate holds, or the price is not known.
    Apart,
}

/// Standing of every cell; cells without a finite cost stand apart. n log n.
pub fn standings(points: &[Option<Point>]) -> Vec<Standing> {
    let mut order: Vec<(usize, Point)> = points
        .iter()
        .enumerate()
        .filter_map(|(index, point)| Some((index, (*point)?)))
        .filter(|(_, point)| point.cost.is_finite())
        .collect();
    order.sort_by(|(i, a), (j, b)| {
        a.cost.total_cmp(&b.cost).then(a.latency_ns.cmp(&b.latency_ns)).then(i.cmp(j))
    });
    let mut out = vec![Standing::Apart; points.len()];
    let mut best: Option<(usize, Point)> = None;
    for (index, point) in order {
        match best {
            Some((by, fastest)) if fastest.dominates(&point) => out[index] = Standing::DominatedBy(by as u32),
            Some((_, fastest)) if fastest == point => out[index] = Standing::OnFront,
            _ => {
                out[index] = Standing::OnFront;
                best = Some((index, point));
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn point(cost: f64, latency_ns: u64) -> Option<Point> {
        Some(Point { cost, latency_ns })
    }

    #[test]
    fn ties_are_settled_by_place() {
        let found =
            standings(&[point(1.0, 9), point(1.0, 9), point(1.0, 8), None, point(2.0, 8), point(0.5, 20)]);
        use Standing::{Apart, DominatedBy, OnFront};
        assert_eq!(found, [DominatedBy(2), DominatedBy(2), OnFront, Apart, DominatedBy(2), OnFront]);
        assert_eq!(standings(&[point(1.0, 9), point(1.0, 9)]), [OnFront, OnFront]);
        assert_eq!(standings(&[point(f64::NAN, 1), point(f64::INFINITY, 1)]), [Apart, Apart]);
    }

    proptest! {
        #[test]
        fn it_is_the_front_by_definition(cells in proptest::collection::vec(
            proptest::option::weighted(0.9, (0u32..12, 0u64..12)), 0..40))
        {
            let points: Vec<Option<Point>> =
                cells.iter().map(|cell| cell.and_then(|(cost, latency)| point(f64::from(cost), latency))).collect();
            let found = standings(&points);
            for (index, standing) in found.iter().enumerate() {
                let beaten = |by: &Option<Point>| match (by, &points[index]) {
                    (Some(by), Some(own)) => by.dominates(own),
                    _ => false,
                };
                match standing {
                    Standing::Apart => prop_assert!(points[index].is_none()),
                    Standing::OnFront => prop_assert!(points[index].is_some() && !points.iter().any(beaten)),
                    Standing::DominatedBy(by) => {
                        prop_assert!(beaten(&points[*by as usize]));
                        prop_assert_eq!(found[*by as usize], Standing::OnFront);
                    }
                }
            }
        }
    }
}
