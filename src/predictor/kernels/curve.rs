/// A duration over a count, ns: a table as far as steps go, growing evenly beyond.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Curve {
    table: Vec<f64>,
    slope: f64,
}

/// What a curve is between the points that were measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Between {
    /// A kernel whose work grows with each count.
    Line,
    /// A matrix product: it computes whole tiles of rows, so a count takes what the next measured one takes.
    Stair,
}

impl Curve {
    /// No time at all, for counts below `len`.
    pub fn zero(len: usize) -> Self {
        Self { table: vec![0.0; len.max(1)], slope: 0.0 }
    }

    /// Through points that ascend, for counts up to `most`. Below the first it is level, and 0 at 0. Beyond
    /// the last it goes on as over the last half of what was measured: two neighbours of a staircase say
    /// nothing of how it climbs.
    pub fn new(points: &[(u32, f64)], between: Between, most: u32) -> Self {
        let Some(&(last, end)) = points.last() else { return Self::zero(1) };
        let half = points.iter().rev().find(|(count, _)| *count <= last / 2).or(points.first());
        let slope = match half {
            Some(&(count, ns)) if count < last => ((end - ns) / f64::from(last - count)).max(0.0),
            _ => 0.0,
        };
        let at = |count: u32| match points.partition_point(|(at, _)| *at < count) {
            above if above == points.len() => end + slope * f64::from(count - last),
            0 => points[0].1,
            above => {
                let ((x0, y0), (x1, y1)) = (points[above - 1], points[above]);
                match between {
                    Between::Stair => y1,
                    Between::Line => y0 + (y1 - y0) * f64::from(count - x0) / f64::from(x1 - x0),
                }
            }
        };
        let table = (0..=most).map(|count| if count == 0 { 0.0 } else { at(count) }).collect();
        Self { table, slope }
    }

    /// Adds another curve for the same counts, `times` times.
    pub fn add(&mut self, other: &Self, times: f64) {
        for (sum, ns) in self.table.iter_mut().zip(&other.table) {
            *sum += times * ns;
        }
        self.slope += times * other.slope;
    }

    /// Duration at a count, ns.
    pub fn at(&self, count: u32) -> f64 {
        match self.table.get(count as usize) {
            Some(ns) => *ns,
            None => {
                let last = self.table.len() - 1;
                self.table[last] + self.slope * (f64::from(count) - last as f64)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_and_stairs_differ_between_points_alone() {
        let points = [(1, 10.0), (4, 40.0), (8, 60.0)];
        let line = Curve::new(&points, Between::Line, 20);
        let stair = Curve::new(&points, Between::Stair, 20);
        for (count, ns) in points {
            assert_eq!((line.at(count), stair.at(count)), (ns, ns));
        }
        assert_eq!((line.at(0), stair.at(0)), (0.0, 0.0));
        assert_eq!((line.at(2), stair.at(2)), (20.0, 40.0));
        assert_eq!((line.at(7), stair.at(7)), (55.0, 60.0));
        // Beyond: 4 → 8 took 20, whether within the table or not.
        assert_eq!((line.at(12), stair.at(20), stair.at(40)), (80.0, 120.0, 220.0));
    }
}
