//! Curves and clouds, thinned to what the eye can see. Thinning depends on the
//! data alone, so the same data give the same points.

use std::collections::BTreeMap;

use super::axis::Axis;

/// A point of a plot: fractions of its width and height, from the lower left.
pub(super) type Point = [f64; 2];

/// Four decimals are a fifth of a typographic point's hundredth on these plots.
pub(super) fn round(x: f64) -> f64 {
    let clamped = x.clamp(-3.0, 4.0);
    (clamped * 1e4).round() / 1e4 + 0.0
}

fn point(x: f64, y: f64) -> Point {
    [round(x), round(y)]
}

/// Steps of a thinned curve: columns of a plot told apart.
const COLUMNS: f64 = 320.0;

/// Cumulative distribution of `sorted` values over `axis`, as the corners of a
/// staircase. Values in the same of 320 columns share a step.
pub(super) fn cdf_steps(sorted: &[f64], axis: &Axis) -> Vec<Point> {
    let n = sorted.len() as f64;
    let mut out: Vec<Point> = Vec::new();
    let mut share = 0.0;
    let mut index = 0;
    while index < sorted.len() {
        let x = axis.at(sorted[index]);
        let column = libm::floor(x * COLUMNS);
        let start = share;
        index += 1;
        while index < sorted.len() && libm::floor(axis.at(sorted[index]) * COLUMNS) <= column {
            index += 1;
        }
        share = index as f64 / n;
        out.push(point(x, start));
        out.push(point(x, share));
    }
    out
}

/// Share of `sorted` at or below `value`, 0 to 1.
fn share_at(sorted: &[f64], value: f64) -> f64 {
    sorted.partition_point(|v| *v <= value) as f64 / sorted.len() as f64
}

/// Difference of two cumulative distributions, simulated minus measured, in
/// percentage points, at up to 160 places along `axis`: fraction along the axis,
/// difference. Also the largest in size over all values, and where it is.
pub(super) fn cdf_difference(measured: &[f64], simulated: &[f64], axis: &Axis) -> (Vec<Point>, f64, f64) {
    let difference = |value: f64| 100.0 * (share_at(simulated, value) - share_at(measured, value));
    let (mut gap, mut place) = (0.0_f64, 0.0);
    let mut columns: BTreeMap<i64, f64> = BTreeMap::new();
    let mut values: Vec<f64> = measured.iter().chain(simulated).copied().collect();
    values.sort_by(f64::total_cmp);
    values.dedup();
    for value in values {
        let d = difference(value);
        if d.abs() > gap.abs() {
            (gap, place) = (d, value);
        }
        // A column shows its last value, as a staircase drawn that fine would.
        columns.insert(libm::floor(axis.at(value) * 160.0) as i64, d);
    }
    let mut out = Vec::with_capacity(2 * columns.len() + 2);
    let mut last = 0.0;
    for (column, d) in columns {
        let x = column as f64 / 160.0;
        out.push([round(x), last]);
        out.push([round(x), (d * 100.0).round() / 100.0 + 0.0]);
        last = out[out.len() - 1][1];
    }
    out.push([round(out.last().map_or(0.0, |p| p[0])), 0.0]);
    (out, gap, place)
}

/// Dots of a scatter plot in three strengths: alone, some, many on a spot.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Cloud {
    pub few: Vec<Point>,
    pub some: Vec<Point>,
    pub many: Vec<Point>,
}

/// Thins dots to one per cell of a grid, at most `most` in all; a dot stands at
/// the first of its cell and is the stronger the more share the spot.
pub(super) fn thin_dots(dots: &[Point], most: usize) -> Cloud {
    let mut grid = 400.0;
    let cells = loop {
        let mut cells: BTreeMap<(i64, i64), (Point, u32)> = BTreeMap::new();
        for dot in dots {
            let key = ((dot[0] * grid) as i64, (dot[1] * grid) as i64);
            cells.entry(key).or_insert((*dot, 0)).1 += 1;
        }
        if cells.len() <= most || grid < 8.0 {
            break cells;
        }
        grid /= 1.5;
    };
    // How many share the spot a dot covers, which is coarser than the grid.
    let spot = |dot: &Point| ((dot[0] * 60.0) as i64, (dot[1] * 60.0) as i64);
    let mut spots: BTreeMap<(i64, i64), u32> = BTreeMap::new();
    for dot in dots {
        *spots.entry(spot(dot)).or_default() += 1;
    }
    let mut cloud = Cloud::default();
    for (dot, _) in cells.into_values() {
        let shared = spots.get(&spot(&dot)).copied().unwrap_or(1);
        let strength = match shared {
            0..=2 => &mut cloud.few,
            3..=8 => &mut cloud.some,
            _ => &mut cloud.many,
        };
        strength.push([round(dot[0]), round(dot[1])]);
    }
    cloud
}

/// Percentile `p` (0 to 100) of `sorted` values, linear between order statistics
/// (Hyndman and Fan's type 7).
pub(super) fn percentile(sorted: &[f64], p: f64) -> f64 {
    let Some(last) = sorted.len().checked_sub(1) else { return f64::NAN };
    let rank = p / 100.0 * last as f64;
    let low = (rank as usize).min(last);
    let high = (low + 1).min(last);
    sorted[low] + (sorted[high] - sorted[low]) * (rank - low as f64)
}

/// Error in per cent of each percentile from 1 to 99 with the difference in ns;
/// those with a measured value of zero are left out.
pub(super) fn error_by_percentile(measured: &[f64], simulated: &[f64]) -> Vec<(u32, f64, f64)> {
    (1..=99)
        .filter_map(|p| {
            let (m, s) = (percentile(measured, f64::from(p)), percentile(simulated, f64::from(p)));
            let error = 100.0 * (s / m - 1.0);
            (m > 0.0 && error.is_finite()).then_some((p, error, s - m))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cdf_of_many_values_is_thinned_and_ends_at_one() {
        let values: Vec<f64> = (0..100_000).map(|i| f64::from(i) / 1_000.0).collect();
        let axis = Axis::linear(0.0, 100.0);
        let steps = cdf_steps(&values, &axis);
        assert!(steps.len() <= 2 * 321, "{}", steps.len());
        assert_eq!(steps[0][1], 0.0);
        assert_eq!(steps[steps.len() - 1][1], 1.0);
        assert!(steps.windows(2).all(|w| w[0][0] <= w[1][0] && w[0][1] <= w[1][1]));
        assert_eq!(cdf_steps(&[5.0], &axis), [[0.05, 0.0], [0.05, 1.0]]);
        assert!(cdf_steps(&[], &axis).is_empty());
    }

    #[test]
    fn the_gap_between_two_cdfs_is_found_where_it_is() {
        let axis = Axis::linear(0.0, 10.0);
        let (points, gap, place) = cdf_difference(&[1.0, 2.0, 3.0, 4.0], &[1.0, 2.5, 3.0, 4.0], &axis);
        assert_eq!((gap, place), (-25.0, 2.0));
        assert_eq!(points[points.len() - 1][1], 0.0);
        let (_, none, _) = cdf_difference(&[1.0, 2.0], &[1.0, 2.0], &axis);
        assert_eq!(none, 0.0);
    }

    #[test]
    fn a_cloud_is_thinned_to_its_bound_and_keeps_its_extremes() {
        let dots: Vec<Point> = (0..5_000u64)
            .map(|i| [((i * 7919) % 5_000) as f64 / 5_000.0, ((i * 104_729) % 5_000) as f64 / 5_000.0])
            .collect();
        let cloud = thin_dots(&dots, 900);
        let kept = cloud.few.len() + cloud.some.len() + cloud.many.len();
        assert!((300..=900).contains(&kept), "{kept}");
        assert_eq!(cloud, thin_dots(&dots, 900));
        let same = thin_dots(&vec![[0.5, 0.5]; 5_000], 900);
        assert_eq!((same.few.len(), same.many.len()), (0, 1));
    }

    #[test]
    fn percentiles_interpolate() {
        let values = [1.0, 2.0, 3.0, 4.0];
        assert_eq!(percentile(&values, 50.0), 2.5);
        assert_eq!(percentile(&values, 0.0), 1.0);
        assert_eq!(percentile(&values, 100.0), 4.0);
        assert!(percentile(&[], 50.0).is_nan());
        assert_eq!(error_by_percentile(&[0.0, 0.0], &[1.0, 1.0]), []);
        assert_eq!(error_by_percentile(&[10.0], &[11.0]).len(), 99);
    }
}
