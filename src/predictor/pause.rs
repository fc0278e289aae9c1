use crate::profile::PausePoint;

/// What a step takes longer that follows a pause: linear between measured pauses, level beyond the longest.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Pause {
    /// (pause, extra), ns, ascending from (0, 0).
    points: Vec<(f64, f64)>,
}

impl Pause {
    /// `points` ascend.
    pub fn new(points: &[PausePoint]) -> Self {
        let measured = points.iter().map(|point| (f64::from(point.idle_ms) * 1e6, point.mean_ns));
        Self { points: [(0.0, 0.0)].into_iter().chain(measured).collect() }
    }

    /// Extra duration after a pause, ns.
    pub fn at(&self, idle_ns: u64) -> f64 {
        let idle = idle_ns as f64;
        let after = self.points.partition_point(|(x, _)| *x <= idle);
        match (self.points.get(after.wrapping_sub(1)), self.points.get(after)) {
            (Some((x0, y0)), Some((x1, y1))) => y0 + (y1 - y0) * (idle - x0) / (x1 - x0),
            (Some((_, level)), None) => *level,
            (None, _) => 0.0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_linear_between_points_and_level_beyond_them() {
        let point = |idle_ms, mean_ns| PausePoint { idle_ms, mean_ns, mad_ns: 1.0 };
        let pause = Pause::new(&[point(2, 100.0), point(10, 500.0)]);
        let found = [0, 1_000_000, 2_000_000, 6_000_000, 10_000_000, u64::MAX].map(|ns| pause.at(ns));
        assert_eq!(found, [0.0, 50.0, 100.0, 300.0, 500.0, 500.0]);
        assert_eq!(Pause::new(&[]).at(5), 0.0);
    }
}
