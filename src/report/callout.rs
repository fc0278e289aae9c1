//! Where the labels of named points go: near their point, inside the plot, off
//! each other and off the cloud.

use super::curve::{Point, round};

/// A label beside a ringed point: fractions of the plot.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub(super) struct Callout {
    pub point: Point,
    /// Middle of the label's box.
    pub label: Point,
    /// Where the leader ends, on the box's near side.
    pub end: Point,
    pub text: String,
}

/// A box in points: left, bottom, right, top.
type Rect = [f64; 4];

const HEIGHT: f64 = 7.0;

fn overlap(a: Rect, b: Rect) -> bool {
    a[0] < b[2] && b[0] < a[2] && a[1] < b[3] && b[1] < a[3]
}

fn cross(a: [f64; 2], b: [f64; 2], c: [f64; 2], d: [f64; 2]) -> bool {
    let side =
        |p: [f64; 2], q: [f64; 2], r: [f64; 2]| (q[0] - p[0]) * (r[1] - p[1]) - (q[1] - p[1]) * (r[0] - p[0]);
    side(a, b, c) * side(a, b, d) < 0.0 && side(c, d, a) * side(c, d, b) < 0.0
}

/// Places the labels of `points` on a plot of `width` × `height` points, one
/// after the other, each at the cheapest of its candidate places. Cost: covered
/// labels and rings above all, then crossed leaders, covered dots, distance.
pub(super) fn place(points: &[(Point, String)], dots: &[Point], width: f64, height: f64) -> Vec<Callout> {
    let to_pt = |p: &Point| [p[0] * width, p[1] * height];
    let rings: Vec<[f64; 2]> = points.iter().map(|(p, _)| to_pt(p)).collect();
    let dots: Vec<[f64; 2]> = dots.iter().map(to_pt).collect();
    let given: Vec<usize> = (0..points.len()).collect();
    let mut down = given.clone();
    down.sort_by(|a, b| rings[*b][1].total_cmp(&rings[*a][1]).then(a.cmp(b)));
    let up: Vec<usize> = down.iter().rev().copied().collect();
    // Which label goes first decides much in a cluster; the best of three orders is good enough.
    let orders = [down, up, given];
    let tried = orders.iter().map(|order| place_in_order(order, points, &rings, &dots, width, height));
    tried.reduce(|best, next| if next.0 < best.0 { next } else { best }).map_or_else(Vec::new, |best| best.1)
}

/// One pass over the points; its total cost and the labels.
fn place_in_order(
    order: &[usize],
    points: &[(Point, String)],
    rings: &[[f64; 2]],
    dots: &[[f64; 2]],
    width: f64,
    height: f64,
) -> (f64, Vec<Callout>) {
    let mut total = 0.0;
    let mut taken: Vec<Rect> = Vec::new();
    let mut leaders: Vec<([f64; 2], [f64; 2])> = Vec::new();
    let mut out: Vec<Option<Callout>> = vec![None; points.len()];
    for &index in order {
        let (from, text) = (rings[index], &points[index].1);
        let label_width = 3.75 * text.chars().count() as f64 + 2.0;
        let mut best: Option<(f64, [f64; 2], [f64; 2])> = None;
        for radius in [11.0, 16.0, 22.0, 29.0, 37.0, 46.0, 58.0, 72.0, 90.0] {
            for (dx, dy) in DIRECTIONS {
                let side = if dx < -0.2 {
                    -1.0
                } else if dx > 0.2 {
                    1.0
                } else {
                    0.0
                };
                let middle = [from[0] + radius * dx + side * label_width / 2.0, from[1] + radius * dy];
                let rect = [
                    middle[0] - label_width / 2.0,
                    middle[1] - HEIGHT / 2.0,
                    middle[0] + label_width / 2.0,
                    middle[1] + HEIGHT / 2.0,
                ];
                if rect[0] < 1.0 || rect[1] < 2.0 || rect[2] > width + 6.0 || rect[3] > height + 2.0 {
                    continue;
                }
                let end = match side {
                    s if s > 0.0 => [rect[0] - 0.5, middle[1]],
                    s if s < 0.0 => [rect[2] + 0.5, middle[1]],
                    _ => [middle[0], if dy > 0.0 { rect[1] } else { rect[3] }],
                };
                let near = |p: [f64; 2], by: f64| overlap([p[0] - by, p[1] - by, p[0] + by, p[1] + by], rect);
                let mut cost = radius;
                cost += 1e6 * taken.iter().filter(|other| overlap(rect, **other)).count() as f64;
                cost += 1e4 * rings.iter().filter(|ring| near(**ring, 2.6)).count() as f64;
                cost += 400.0 * leaders.iter().filter(|(a, b)| cross(from, end, *a, *b)).count() as f64;
                cost += 200.0 * leaders.iter().filter(|(a, b)| crosses_rect(*a, *b, rect)).count() as f64;
                cost += 6.0 * dots.iter().filter(|dot| near(**dot, 1.0)).count().min(40) as f64;
                cost += 900.0 * taken.iter().filter(|other| crosses_rect(from, end, **other)).count() as f64;
                if best.is_none_or(|(least, _, _)| cost < least) {
                    best = Some((cost, middle, end));
                }
            }
        }
        let (cost, middle, end) = best.unwrap_or((0.0, from, from));
        total += cost;
        taken.push([
            middle[0] - label_width / 2.0,
            middle[1] - HEIGHT / 2.0,
            middle[0] + label_width / 2.0,
            middle[1] + HEIGHT / 2.0,
        ]);
        leaders.push((from, end));
        let fraction = |p: [f64; 2]| [round(p[0] / width), round(p[1] / height)];
        out[index] = Some(Callout {
            point: fraction(from),
            label: fraction(middle),
            end: fraction(end),
            text: text.clone(),
        });
    }
    (total, out.into_iter().flatten().collect())
}

fn crosses_rect(a: [f64; 2], b: [f64; 2], r: Rect) -> bool {
    cross(a, b, [r[0], r[1]], [r[2], r[3]]) || cross(a, b, [r[0], r[3]], [r[2], r[1]])
}

/// Directions by preference: lower right first, which an identity line leaves free.
const DIRECTIONS: [(f64, f64); 12] = [
    (0.9, -0.45),
    (0.7, -0.7),
    (-0.9, 0.45),
    (-0.7, 0.7),
    (1.0, 0.0),
    (-1.0, 0.0),
    (0.45, -0.9),
    (-0.45, 0.9),
    (0.0, -1.0),
    (0.0, 1.0),
    (0.8, 0.6),
    (-0.8, -0.6),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn boxes(callouts: &[Callout], width: f64, height: f64) -> Vec<Rect> {
        callouts
            .iter()
            .map(|c| {
                let (x, y, w) =
                    (c.label[0] * width, c.label[1] * height, 3.75 * c.text.chars().count() as f64 / 2.0);
                [x - w, y - HEIGHT / 2.0, x + w, y + HEIGHT / 2.0]
            })
            .collect()
    }

    #[test]
    fn labels_of_a_crowded_corner_do_not_cover_each_other() {
        for corner in [[0.99, 0.99], [0.01, 0.01], [0.99, 0.01], [0.5, 0.5]] {
            let points: Vec<(Point, String)> = (0..5)
                .map(|i| ([corner[0], corner[1] + f64::from(i) * 1e-4], format!("#{}", 1000 + i)))
                .collect();
            let dots: Vec<Point> = (0..400).map(|i| [f64::from(i) / 400.0, f64::from(i) / 400.0]).collect();
            let callouts = place(&points, &dots, 125.0, 125.0);
            assert_eq!(callouts.len(), 5);
            let boxes = boxes(&callouts, 125.0, 125.0);
            for (i, a) in boxes.iter().enumerate() {
                assert!(a[0] >= 0.0 && a[1] >= 0.0 && a[2] <= 132.0 && a[3] <= 128.0, "{corner:?} {a:?}");
                assert!(boxes[i + 1..].iter().all(|b| !overlap(*a, *b)), "{corner:?} {boxes:?}");
            }
        }
    }
}
