use crate::profile::vidur::TrainingRow;

/// Multilinear between measured places, and as steep beyond them as next to the last one; never
/// negative.
///
/// Lines (values of the first of two features) may hold different places, as measurements do. Where there
/// is one feature, there is one line.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Lattice {
    /// Ascending; one entry for each line.
    pub firsts: Vec<f64>,
    pub lines: Vec<Line>,
    pub features: u8,
}

/// Times along the last feature.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Line {
    /// Ascending.
    pub at: Vec<f64>,
    pub ms: Vec<f64>,
}

impl Lattice {
    /// From rows in any order; rows of one place count as their mean.
    pub fn fit(rows: &[TrainingRow], features: usize) -> Self {
        let place = |row: &TrainingRow| if features > 1 { row.x } else { [0.0, row.x[0]] };
        let mut rows: Vec<([f64; 2], f64)> = rows.iter().map(|row| (place(row), row.ms)).collect();
        rows.sort_by(|(a, _), (b, _)| a[0].total_cmp(&b[0]).then(a[1].total_cmp(&b[1])));
        let mut lattice = Self { firsts: Vec::new(), lines: Vec::new(), features: features as u8 };
        for same in rows.chunk_by(|(a, _), (b, _)| a == b) {
            let [first, second] = same[0].0;
            if lattice.firsts.last() != Some(&first) {
                lattice.firsts.push(first);
                lattice.lines.push(Line::default());
            }
            if let Some(line) = lattice.lines.last_mut() {
                line.at.push(second);
                line.ms.push(same.iter().map(|(_, ms)| ms).sum::<f64>() / same.len() as f64);
            }
        }
        lattice
    }

    /// Time at x, ms.
    pub fn predict(&self, x: [f64; 2]) -> f64 {
        let [first, second] = if self.features > 1 { x } else { [0.0, x[0]] };
        along(&self.firsts, first, |line| self.lines.get(line).map_or(0.0, |line| line.at(second))).max(0.0)
    }

    pub fn is_finite(&self) -> bool {
        self.lines.iter().flat_map(|line| &line.ms).all(|ms| ms.is_finite())
    }
}

impl Line {
    fn at(&self, x: f64) -> f64 {
        along(&self.at, x, |index| self.ms.get(index).copied().unwrap_or_default())
    }
}

/// Linear between the two of ascending `places` that x is between, or next to.
fn along(places: &[f64], x: f64, value: impl Fn(usize) -> f64) -> f64 {
    if places.len() < 2 {
        return value(0);
    }
    let upper = places.partition_point(|place| *place <= x).clamp(1, places.len() - 1);
    let (low, high) = (places[upper - 1], places[upper]);
    let share = (x - low) / (high - low);
    let (from, to) = (value(upper - 1), value(upper));
    from + (to - from) * share
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bilinear_function_is_met_everywhere() {
        let f = |a: f64, b: f64| 3.0 + 2.0 * a + 0.5 * b + 0.25 * a * b;
        let places = [16.0, 1.0, 4.5].into_iter().flat_map(|a| [64.0, 0.0, 8.0].map(|b| [a, b]));
        let rows: Vec<_> = places.map(|x| TrainingRow { x, ms: f(x[0], x[1]) }).collect();
        let lattice = Lattice::fit(&rows, 2);
        for x in [[1.0, 0.0], [2.5, 3.0], [16.0, 64.0], [10.0, 70.0], [20.0, 100.0], [0.0, 0.0]] {
            assert!((lattice.predict(x) - f(x[0], x[1])).abs() < 1e-9, "{x:?}");
        }
    }

    #[test]
    fn one_feature_repeated_places_and_no_negative_times() {
        let rows: Vec<_> = [(4.0, 2.0), (8.0, 6.0), (4.0, 4.0)]
            .map(|(tokens, ms)| TrainingRow { x: [tokens, 0.0], ms })
            .into();
        let lattice = Lattice::fit(&rows, 1);
        assert_eq!([4.0, 6.0, 8.0, 12.0, 0.0].map(|x| lattice.predict([x, 0.0])), [3.0, 4.5, 6.0, 9.0, 0.0]);
        assert_eq!(Lattice::fit(&[], 1).predict([1.0, 1.0]), 0.0);
    }
}
