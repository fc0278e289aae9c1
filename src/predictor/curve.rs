/// A duration over a count, linear between measured points and beyond the last two.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Curve {
    /// Duration at 0, 1, 2, … up to the last measured count, ns.
    table: Vec<f64>,
    /// Growth per count beyond the table, ns.
    slope: f64,
}

impl Curve {
    /// `points` ascend in x. Below the first point the curve is level; nothing at all at 0.
    pub fn new(points: &[(u32, f64)]) -> Option<Self> {
        let (first, last) = (points.first()?, points.last()?);
        let mut table = vec![first.1; last.0 as usize + 1];
        table[0] = 0.0;
        for pair in points.windows(2) {
            let [(x0, y0), (x1, y1)] = [pair[0], pair[1]];
            for x in x0..=x1 {
                let share = f64::from(x - x0) / f64::from(x1 - x0);
                table[x as usize] = y0 + (y1 - y0) * share;
            }
        }
        let slope = match points {
            [.., (x0, y0), (x1, y1)] => ((y1 - y0) / f64::from(x1 - x0)).max(0.0),
            _ => last.1 / f64::from(last.0.max(1)),
        };
        Some(Self { table, slope })
    }

    /// Adds another curve, `times` times.
    pub fn add(&mut self, other: &Self, times: f64) {
        let from = self.table.len();
        for x in from..other.table.len() {
            self.table.push(self.at(x as u32));
        }
        for x in 0..self.table.len() {
            self.table[x] += times * other.at(x as u32);
        }
        self.slope += times * other.slope;
    }

    /// A curve that is nothing everywhere.
    pub fn zero() -> Self {
        Self { table: vec![0.0], slope: 0.0 }
    }

    /// Duration at `x`, ns.
    pub fn at(&self, x: u32) -> f64 {
        match self.table.get(x as usize) {
            Some(ns) => *ns,
            None => {
                let last = self.table.len() - 1;
                self.table[last] + self.slope * (f64::from(x) - last as f64)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_linear_between_points_and_beyond_them() {
        let curve = Curve::new(&[(2, 10.0), (4, 20.0), (8, 20.0), (10, 30.0)]).unwrap();
        let found: Vec<f64> = [0, 1, 2, 3, 4, 6, 9, 10, 12].map(|x| curve.at(x)).into();
        assert_eq!(found, [0.0, 10.0, 10.0, 15.0, 20.0, 20.0, 25.0, 30.0, 40.0]);
        assert_eq!(Curve::new(&[]), None);
        let mut sum = Curve::zero();
        sum.add(&curve, 2.0);
        sum.add(&Curve::new(&[(1, 1.0), (20, 20.0)]).unwrap(), 1.0);
        assert_eq!([0, 3, 12, 30].map(|x| sum.at(x)), [0.0, 33.0, 92.0, 290.0]);
    }
}
