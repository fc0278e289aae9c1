//! Linear least squares by Householder reflections with column pivoting (Golub & Van Loan, "Matrix
//! Computations", 4th ed., §5.4.2), on columns scaled to length 1.

/// Coefficients b with the least ‖A·b − y‖; `columns` are those of A, each as long as `y`.
///
/// A column that the others explain as far as the arithmetic can tell gets 0, so that rank-deficient
/// systems have a solution too.
pub(super) fn least_squares(mut columns: Vec<Vec<f64>>, y: &[f64]) -> Vec<f64> {
    let (rows, n) = (y.len(), columns.len());
    let mut y = y.to_vec();
    let scales: Vec<f64> = columns.iter_mut().map(|column| normalise(column)).collect();
    let mut order: Vec<usize> = (0..n).collect();
    let mut diagonal: Vec<f64> = Vec::new();
    let tolerance = f64::EPSILON * rows.max(n) as f64;
    for step in 0..n.min(rows) {
        // Lengths of what is left of the columns are computed anew: updating them loses digits.
        let lengths: Vec<f64> = columns[step..].iter().map(|column| norm(&column[step..])).collect();
        let longest =
            (0..lengths.len()).fold(0, |best, at| if lengths[at] > lengths[best] { at } else { best });
        if lengths[longest] <= tolerance {
            break;
        }
        columns.swap(step, step + longest);
        order.swap(step, step + longest);
        let (done, rest) = columns.split_at_mut(step + 1);
        let head = &mut done[step];
        // The reflection's vector replaces the column below the diagonal, diagonal included.
        let alpha = if head[step] > 0.0 { -lengths[longest] } else { lengths[longest] };
        head[step] -= alpha;
        let squared = dot(&head[step..], &head[step..]);
        for column in rest {
            reflect(&head[step..], squared, &mut column[step..]);
        }
        reflect(&head[step..], squared, &mut y[step..]);
        diagonal.push(alpha);
    }
    let rank = diagonal.len();
    let mut solution = vec![0.0; n];
    let mut pivoted = vec![0.0; rank];
    for row in (0..rank).rev() {
        let known: f64 = (row + 1..rank).map(|column| columns[column][row] * pivoted[column]).sum();
        pivoted[row] = (y[row] - known) / diagonal[row];
    }
    for (value, at) in pivoted.iter().zip(&order) {
        solution[*at] = value / scales[*at];
    }
    solution
}

/// Scales a column to length 1 and yields its former length; a column of nothing is let be.
fn normalise(column: &mut [f64]) -> f64 {
    // The largest number first: the square of a column of large ones may be beyond the floats.
    let largest = column.iter().fold(0.0, |most: f64, value| most.max(value.abs()));
    if largest == 0.0 {
        return 1.0;
    }
    column.iter_mut().for_each(|value| *value /= largest);
    let length = norm(column);
    column.iter_mut().for_each(|value| *value /= length);
    largest * length
}

fn norm(values: &[f64]) -> f64 {
    dot(values, values).sqrt()
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// Reflects `values` at the plane across `vector`, whose length squared is given.
fn reflect(vector: &[f64], squared: f64, values: &mut [f64]) {
    if squared == 0.0 {
        return;
    }
    let share = 2.0 * dot(vector, values) / squared;
    for (value, along) in values.iter_mut().zip(vector) {
        *value -= share * along;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_system_of_any_shape_is_solved() {
        // y = 2a − 3b, columns of very different sizes, rows more than needed.
        let a: Vec<f64> = (0..20).map(|i| f64::from(i) * 1e9).collect();
        let b: Vec<f64> = (0..20).map(|i| f64::from(i * i % 7) * 1e-6).collect();
        let y: Vec<f64> = a.iter().zip(&b).map(|(a, b)| 2.0 * a - 3.0 * b).collect();
        let found = least_squares(vec![a.clone(), b.clone()], &y);
        assert!((found[0] / 2.0 - 1.0).abs() < 1e-14, "{found:?}");
        // A column twice, and one of nothing: still a solution.
        let found = least_squares(vec![a.clone(), a.clone(), vec![0.0; 20]], &a);
        assert!((found[0] + found[1] - 1.0).abs() < 1e-14 && found[2] == 0.0, "{found:?}");
        // More columns than rows.
        let found = least_squares(vec![vec![1.0, 2.0], vec![3.0, 1.0], vec![5.0, 5.0]], &[4.0, 3.0]);
        let met: Vec<f64> = [[1.0, 3.0, 5.0], [2.0, 1.0, 5.0]].iter().map(|row| dot(row, &found)).collect();
        assert!((met[0] - 4.0).abs() < 1e-12 && (met[1] - 3.0).abs() < 1e-12, "{met:?}");
        assert_eq!(least_squares(vec![vec![], vec![]], &[]), [0.0, 0.0]);
    }

    #[test]
    fn residuals_are_orthogonal_to_every_column() {
        let columns: Vec<Vec<f64>> =
            (1..5).map(|power| (0..50).map(|i| f64::from(i).powi(power) - 10.0).collect()).collect();
        let y: Vec<f64> = (0..50).map(|i| f64::from(i * 37 % 11)).collect();
        let found = least_squares(columns.clone(), &y);
        let residual: Vec<f64> = (0..50)
            .map(|row| y[row] - columns.iter().zip(&found).map(|(c, b)| c[row] * b).sum::<f64>())
            .collect();
        for column in &columns {
            assert!((dot(column, &residual) / norm(column)).abs() < 1e-9);
        }
    }
}
