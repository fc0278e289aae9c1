//! A regression tree: every split makes the sum of squared errors as small as one split can (Breiman et
//! al., "Classification and Regression Trees", 1984).

use crate::profile::vidur::TrainingRow;

/// A tree as its nodes, each before its children; the first is the root.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Tree {
    pub nodes: Vec<Node>,
}

/// A node and what it says if nothing lies below it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Node {
    /// Mean time of its rows, ms.
    pub ms: f64,
    /// Different rows in it.
    pub rows: u32,
    pub split: Option<Split>,
}

/// Rows with a feature of at most the threshold are to the left.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Split {
    pub feature: u8,
    pub threshold: f64,
    pub left: u32,
    pub right: u32,
}

/// When a node is not split any more.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    pub max_depth: u32,
    /// Fewest different rows of a node that is split.
    pub min_samples_split: u32,
}

/// Rows in the order of each feature, found once for all trees of a forest.
#[derive(Debug)]
pub(super) struct Sorted<'a> {
    rows: &'a [TrainingRow],
    by_feature: Vec<Vec<u32>>,
}

impl<'a> Sorted<'a> {
    pub fn new(rows: &'a [TrainingRow], features: usize) -> Self {
        let by_feature = (0..features.min(2)).map(|feature| {
            let mut order: Vec<u32> = (0..rows.len() as u32).collect();
            order.sort_by(|a, b| {
                rows[*a as usize].x[feature].total_cmp(&rows[*b as usize].x[feature]).then(a.cmp(b))
            });
            order
        });
        Self { by_feature: by_feature.collect(), rows }
    }
}

/// A node whose rows are at the same places of every order.
struct Open {
    node: u32,
    depth: u32,
    start: usize,
    end: usize,
}

impl Tree {
    /// Grows a tree of rows that count so many times each; rows of weight 0 are left out.
    pub fn grow(sorted: &Sorted<'_>, weights: &[u32], limits: Limits) -> Self {
        let rows = sorted.rows;
        let drawn = |order: &Vec<u32>| -> Vec<u32> {
            order.iter().copied().filter(|row| weights[*row as usize] > 0).collect()
        };
        let mut orders: Vec<Vec<u32>> = sorted.by_feature.iter().map(drawn).collect();
        let count = orders.first().map_or(0, Vec::len);
        let mut goes_left = vec![false; rows.len()];
        let mut spare = Vec::with_capacity(count);
        let mut nodes = vec![leaf(rows, weights, orders.first().map_or(&[], Vec::as_slice))];
        let mut open = vec![Open { node: 0, depth: 0, start: 0, end: count }];
        while let Some(Open { node, depth, start, end }) = open.pop() {
            if depth >= limits.max_depth || end - start < limits.min_samples_split.max(2) as usize {
                continue;
            }
            let parts = orders.iter().map(|order| &order[start..end]);
            let Some((feature, threshold)) = best_split(rows, weights, parts) else { continue };
            for row in &orders[0][start..end] {
                goes_left[*row as usize] = rows[*row as usize].x[feature] <= threshold;
            }
            let mut middle = start;
            for order in &mut orders {
                // A stable partition keeps both sides in order.
                let part = &mut order[start..end];
                spare.clear();
                spare.extend(part.iter().copied().filter(|row| !goes_left[*row as usize]));
                let mut kept = 0;
                for at in 0..part.len() {
                    if goes_left[part[at] as usize] {
                        part[kept] = part[at];
                        kept += 1;
                    }
                }
                part[kept..].copy_from_slice(&spare);
                middle = start + kept;
            }
            let left = nodes.len() as u32;
            nodes.push(leaf(rows, weights, &orders[0][start..middle]));
            nodes.push(leaf(rows, weights, &orders[0][middle..end]));
            nodes[node as usize].split =
                Some(Split { feature: feature as u8, threshold, left, right: left + 1 });
            open.push(Open { node: left + 1, depth: depth + 1, start: middle, end });
            open.push(Open { node: left, depth: depth + 1, start, end: middle });
        }
        Self { nodes }
    }

    /// Time at x, ms.
    pub fn predict(&self, x: [f64; 2]) -> f64 {
        self.predict_within(x, Limits { max_depth: u32::MAX, min_samples_split: 0 })
    }

    /// Time at x, ms, as if the tree had been grown with tighter limits: limits decide where growth
    /// ends, and nothing of what is above.
    pub fn predict_within(&self, x: [f64; 2], limits: Limits) -> f64 {
        let Some(mut node) = self.nodes.first() else { return 0.0 };
        let mut depth = 0;
        while let Some(split) = node.split {
            if depth >= limits.max_depth || node.rows < limits.min_samples_split {
                break;
            }
            let is_left = x[usize::from(split.feature)] <= split.threshold;
            node = &self.nodes[if is_left { split.left } else { split.right } as usize];
            depth += 1;
        }
        node.ms
    }
}

fn leaf(rows: &[TrainingRow], weights: &[u32], members: &[u32]) -> Node {
    let (weight, sum) = sums(rows, weights, members);
    Node { ms: if weight > 0.0 { sum / weight } else { 0.0 }, rows: members.len() as u32, split: None }
}

/// Σ weight and Σ weight · ms.
fn sums(rows: &[TrainingRow], weights: &[u32], members: &[u32]) -> (f64, f64) {
    members.iter().fold((0.0, 0.0), |(weight, sum), row| {
        let counted = f64::from(weights[*row as usize]);
        (weight + counted, sum + counted * rows[*row as usize].ms)
    })
}

/// The split with the least sum of squared errors, the first of equal ones; None if there is none, or
/// nothing to gain.
fn best_split<'a>(
    rows: &[TrainingRow],
    weights: &[u32],
    orders: impl Iterator<Item = &'a [u32]>,
) -> Option<(usize, f64)> {
    let mut best: Option<(f64, usize, f64)> = None;
    for (feature, order) in orders.enumerate() {
        let value = |row: u32| rows[row as usize].x[feature];
        let first = rows[*order.first()? as usize].ms;
        if order.iter().all(|row| rows[*row as usize].ms == first) {
            return None;
        }
        let (weight, sum) = sums(rows, weights, order);
        let (mut left_weight, mut left_sum) = (0.0, 0.0);
        for pair in order.windows(2) {
            let counted = f64::from(weights[pair[0] as usize]);
            left_weight += counted;
            left_sum += counted * rows[pair[0] as usize].ms;
            let (low, high) = (value(pair[0]), value(pair[1]));
            if low >= high {
                continue;
            }
            // The sum of squares less what both means explain is least where they explain most.
            let right_sum = sum - left_sum;
            let explained =
                left_sum * left_sum / left_weight + right_sum * right_sum / (weight - left_weight);
            if best.is_none_or(|(most, ..)| explained > most) {
                let middle = low / 2.0 + high / 2.0;
                best = Some((explained, feature, if middle < high { middle.max(low) } else { low }));
            }
        }
    }
    best.map(|(_, feature, threshold)| (feature, threshold))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(x: [f64; 2], ms: f64) -> TrainingRow {
        TrainingRow { x, ms }
    }

    #[test]
    fn a_step_is_split_where_it_is() {
        let rows: Vec<_> =
            (0..10).map(|i| row([f64::from(i % 3), f64::from(i)], if i < 4 { 1.0 } else { 5.0 })).collect();
        let sorted = Sorted::new(&rows, 2);
        let tree = Tree::grow(&sorted, &[1; 10], Limits { max_depth: 8, min_samples_split: 2 });
        assert_eq!(tree.nodes.len(), 3);
        assert_eq!(tree.nodes[0].split, Some(Split { feature: 1, threshold: 3.5, left: 1, right: 2 }));
        assert_eq!((tree.predict([0.0, 3.5]), tree.predict([9.0, 3.6])), (1.0, 5.0));
    }

    #[test]
    fn a_tree_with_tighter_limits_is_the_same_tree_cut() {
        let rows: Vec<_> = (0..200_u32)
            .map(|i| row([f64::from(i % 14), f64::from(i / 14)], f64::from(i * 7919 % 101)))
            .collect();
        let weights: Vec<u32> = (0..200).map(|i| i % 4).collect();
        let sorted = Sorted::new(&rows, 2);
        let whole = Tree::grow(&sorted, &weights, Limits { max_depth: 32, min_samples_split: 2 });
        for max_depth in [0, 1, 3, 8] {
            for min_samples_split in [2, 5, 30] {
                let limits = Limits { max_depth, min_samples_split };
                let cut = Tree::grow(&sorted, &weights, limits);
                for row in &rows {
                    assert_eq!(cut.predict(row.x), whole.predict_within(row.x, limits));
                }
            }
        }
        // Grown out, it says of every row that was drawn what was measured.
        for (row, weight) in rows.iter().zip(&weights) {
            assert!(*weight == 0 || whole.predict(row.x) == row.ms);
        }
    }

    #[test]
    fn rows_of_one_place_are_one_leaf() {
        let rows = [row([1.0, 0.0], 1.0), row([1.0, 0.0], 3.0)];
        let tree = Tree::grow(&Sorted::new(&rows, 1), &[1, 3], Limits { max_depth: 9, min_samples_split: 2 });
        assert_eq!((tree.nodes.len(), tree.predict([7.0, 0.0])), (1, 2.5));
    }
}
