/// A duration over two features, bilinear between grid points and beyond the last ones.
///
/// Rows (values of the first feature) may hold different columns, as measurements do.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Grid {
    xs: Vec<f64>,
    rows: Vec<Row>,
}

#[derive(Debug, Clone, PartialEq)]
struct Row {
    ys: Vec<f64>,
    ns: Vec<f64>,
}

/// The segment of ascending `values` that `x` lies in or next to, and where in it (below 0
/// or above 1 outside of all).
fn locate(values: &[f64], x: f64) -> (usize, f64) {
    if values.len() < 2 {
        return (0, 0.0);
    }
    let upper = values.partition_point(|value| *value <= x).clamp(1, values.len() - 1);
    let (low, high) = (values[upper - 1], values[upper]);
    (upper - 1, (x - low) / (high - low))
}

impl Row {
    fn at(&self, y: f64) -> f64 {
        let (index, share) = locate(&self.ys, y);
        let low = self.ns[index];
        match self.ns.get(index + 1) {
            Some(high) => low + (high - low) * share,
            None => low,
        }
    }
}

impl Grid {
    /// From (x, y, ns) in any order; None without points.
    pub fn new(points: impl IntoIterator<Item = (u32, u32, f64)>) -> Option<Self> {
        let mut points: Vec<(u32, u32, f64)> = points.into_iter().collect();
        points.sort_by_key(|(x, y, _)| (*x, *y));
        let mut grid = Self { xs: Vec::new(), rows: Vec::new() };
        for (x, y, ns) in points {
            if grid.xs.last() != Some(&f64::from(x)) {
                grid.xs.push(f64::from(x));
                grid.rows.push(Row { ys: Vec::new(), ns: Vec::new() });
            }
            let row = grid.rows.last_mut()?;
            row.ys.push(f64::from(y));
            row.ns.push(ns);
        }
        (!grid.xs.is_empty()).then_some(grid)
    }

    /// Duration at (x, y), ns; never negative.
    pub fn at(&self, x: f64, y: f64) -> f64 {
        let (index, share) = locate(&self.xs, x);
        let low = self.rows[index].at(y);
        let ns = match self.rows.get(index + 1) {
            Some(row) => low + (row.at(y) - low) * share,
            None => low,
        };
        ns.max(0.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bilinear_function_is_met_everywhere() {
        let f = |x: f64, y: f64| 3.0 + 2.0 * x + 0.5 * y + 0.25 * x * y;
        let points = [1_u32, 4, 16]
            .into_iter()
            .flat_map(|x| [0_u32, 8, 64].map(|y| (x, y, f(f64::from(x), f64::from(y)))));
        let grid = Grid::new(points).unwrap();
        for (x, y) in [(1.0, 0.0), (2.5, 3.0), (16.0, 64.0), (10.0, 70.0), (20.0, 100.0), (4.0, 8.0)] {
            assert!((grid.at(x, y) - f(x, y)).abs() < 1e-9, "{x} {y}");
        }
        assert_eq!(Grid::new([]), None);
        assert_eq!(Grid::new([(5, 5, 7.0)]).unwrap().at(100.0, 0.0), 7.0);
    }
}
