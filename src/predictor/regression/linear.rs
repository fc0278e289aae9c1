use super::error::RegressionError;
use super::least_squares::least_squares;
use crate::profile::vidur::TrainingRow;

/// Settings of a polynomial fit, with scikit-learn's names for them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LinearOptions {
    /// Highest degree of a term: 1 to [`MAX_DEGREE`].
    pub degree: u32,
    /// A column of ones among the terms. With an intercept it changes nothing.
    pub include_bias: bool,
    /// Only products of different features: no squares.
    pub interaction_only: bool,
    /// A constant, fitted by centring terms and times.
    pub fit_intercept: bool,
}

/// Highest polynomial degree.
pub(super) const MAX_DEGREE: u32 = 6;

/// A fitted polynomial: intercept + Σ coefficient · x₀^p₀ · x₁^p₁.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Linear {
    pub terms: Vec<Term>,
    pub intercept: f64,
}

/// A term of a polynomial.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Term {
    pub powers: [u8; 2],
    pub coefficient: f64,
}

impl LinearOptions {
    pub(super) fn check(&self) -> Result<(), RegressionError> {
        match self.degree {
            1..=MAX_DEGREE => Ok(()),
            degree => Err(RegressionError::Grid {
                name: "degree",
                found: degree.to_string(),
                wanted: format!("a degree from 1 to {MAX_DEGREE}"),
            }),
        }
    }

    /// Exponents of all terms, by degree, those of the first feature descending.
    fn powers(&self, features: usize) -> Vec<[u8; 2]> {
        let degrees = if self.include_bias { 0 } else { 1 }..=self.degree.min(MAX_DEGREE) as u8;
        let of_degree = |degree: u8| (0..=degree).map(move |second| [degree - second, second]);
        degrees
            .flat_map(of_degree)
            .filter(|powers| features > 1 || powers[1] == 0)
            .filter(|powers| !self.interaction_only || powers.iter().all(|power| *power <= 1))
            .collect()
    }
}

fn monomial(x: [f64; 2], powers: [u8; 2]) -> f64 {
    let mut product = 1.0;
    for (value, power) in x.into_iter().zip(powers) {
        for _ in 0..power {
            product *= value;
        }
    }
    product
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len().max(1) as f64
}

impl Linear {
    /// Fits rows with so many features by least squares.
    pub fn fit(rows: &[TrainingRow], features: usize, options: &LinearOptions) -> Self {
        let powers = options.powers(features);
        let mut columns: Vec<Vec<f64>> =
            powers.iter().map(|powers| rows.iter().map(|row| monomial(row.x, *powers)).collect()).collect();
        let mut y: Vec<f64> = rows.iter().map(|row| row.ms).collect();
        let (mut means, mut mean_ms) = (vec![0.0; columns.len()], 0.0);
        if options.fit_intercept {
            for (column, centre) in columns.iter_mut().zip(&mut means) {
                *centre = mean(column);
                column.iter_mut().for_each(|value| *value -= *centre);
                // What rounding leaves of a constant is no feature.
                let largest = column.iter().fold(0.0, |most: f64, value| most.max(value.abs()));
                if largest <= centre.abs() * f64::EPSILON * 4.0 {
                    column.fill(0.0);
                }
            }
            mean_ms = mean(&y);
            y.iter_mut().for_each(|value| *value -= mean_ms);
        }
        let coefficients = least_squares(columns, &y);
        let explained: f64 = means.iter().zip(&coefficients).map(|(mean, b)| mean * b).sum();
        let terms = powers.into_iter().zip(coefficients);
        let terms = terms.map(|(powers, coefficient)| Term { powers, coefficient }).collect();
        Self { terms, intercept: mean_ms - explained }
    }

    /// Time at x, ms; may be negative, and beyond the floats far outside of the rows.
    pub fn predict(&self, x: [f64; 2]) -> f64 {
        let terms = self.terms.iter().map(|term| term.coefficient * monomial(x, term.powers));
        self.intercept + terms.sum::<f64>()
    }

    pub fn is_finite(&self) -> bool {
        self.intercept.is_finite() && self.terms.iter().all(|term| term.coefficient.is_finite())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OPTIONS: LinearOptions =
        LinearOptions { degree: 2, include_bias: true, interaction_only: false, fit_intercept: true };

    fn rows(f: impl Fn(f64, f64) -> f64) -> Vec<TrainingRow> {
        let grid =
            (0..12).flat_map(|a| (0..9).map(move |b| [f64::from(a * a) * 32.0, f64::from(b) * 4096.0]));
        grid.map(|x| TrainingRow { x, ms: f(x[0], x[1]) }).collect()
    }

    #[test]
    fn terms_are_those_of_the_settings() {
        let powers = |options: LinearOptions, features| options.powers(features);
        assert_eq!(powers(OPTIONS, 1), [[0, 0], [1, 0], [2, 0]]);
        assert_eq!(powers(OPTIONS, 2), [[0, 0], [1, 0], [0, 1], [2, 0], [1, 1], [0, 2]]);
        let interaction = LinearOptions { interaction_only: true, include_bias: false, ..OPTIONS };
        assert_eq!(powers(interaction, 2), [[1, 0], [0, 1], [1, 1]]);
        assert_eq!(powers(interaction, 1), [[1, 0]]);
    }

    #[test]
    fn a_polynomial_is_met_between_and_beyond_its_rows() {
        let f = |a: f64, b: f64| 0.02 + 3e-6 * a + 1e-7 * b + 2e-9 * a * a - 4e-12 * a * b + 1e-13 * b * b;
        for include_bias in [false, true] {
            let fit = Linear::fit(&rows(f), 2, &LinearOptions { include_bias, ..OPTIONS });
            for x in [[0.0, 0.0], [5.0, 77.0], [3000.0, 20_000.0], [9000.0, 90_000.0]] {
                let (found, wanted) = (fit.predict(x), f(x[0], x[1]));
                assert!((found / wanted - 1.0).abs() < 1e-10, "{x:?}: {found}, not {wanted}");
            }
        }
    }

    #[test]
    fn columns_of_very_different_lengths_lose_no_digits() {
        // Lengths of terms as in attention over (KV, chunk²) differ by 10^11.
        let f = |kv: f64, square: f64| -0.03 + 5e-5 * kv + 9e-8 * square + 2e-11 * kv * square;
        let places = (0..=16)
            .flat_map(|kv| (1..=16).map(move |c| [f64::from(kv) * 1024.0, f64::from(c * c) * 65536.0]));
        let rows: Vec<_> = places.map(|x| TrainingRow { x, ms: f(x[0], x[1]) }).collect();
        let fit = Linear::fit(&rows, 2, &OPTIONS);
        for x in [[0.0, 256.0], [64.0, 262_144.0], [4096.0, 16_777_216.0], [16_384.0, 1.0]] {
            assert!((fit.predict(x) - f(x[0], x[1])).abs() < 1e-12, "{x:?}");
        }
    }

    #[test]
    fn without_intercept_and_bias_nothing_costs_nothing() {
        let options = LinearOptions { include_bias: false, fit_intercept: false, ..OPTIONS };
        let fit = Linear::fit(&rows(|a, b| 7.0 + a + b), 2, &options);
        assert_eq!(fit.predict([0.0, 0.0]), 0.0);
        // A bias alone is an intercept of its own.
        let options = LinearOptions { include_bias: true, fit_intercept: false, ..OPTIONS };
        let fit = Linear::fit(&rows(|a, b| 7.0 + a + b), 2, &options);
        assert!((fit.predict([0.0, 0.0]) - 7.0).abs() < 1e-9);
    }

    #[test]
    fn rows_of_one_place_give_their_mean() {
        let same = |ms| TrainingRow { x: [0.1, 0.0], ms };
        let fit = Linear::fit(&[same(1.0), same(2.0), same(6.0)], 1, &OPTIONS);
        assert_eq!(fit.predict([0.1, 0.0]), 3.0);
        assert!(fit.is_finite());
    }
}
