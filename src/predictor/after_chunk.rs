use super::curve::Curve;
use crate::profile::AfterChunkPoint;

/// What decodes take longer soon after a prefill chunk: linear between measured numbers of them, level beyond.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct AfterChunk {
    /// Over the number of decodes, of the first step after a chunk, the second, …
    by_step: Vec<Curve>,
    /// Most decodes that were measured.
    most: u32,
}

impl AfterChunk {
    /// `points` ascend.
    pub fn new(points: &[AfterChunkPoint]) -> Self {
        let last = points.iter().map(|point| point.steps).max().unwrap_or(0);
        let curve = |steps| {
            let of_step = points.iter().filter(|point| point.steps == steps);
            let of_step: Vec<(u32, f64)> = of_step.map(|point| (point.batch_size, point.mean_ns)).collect();
            Curve::new(&of_step)
        };
        let most = points.iter().map(|point| point.batch_size).max().unwrap_or(0);
        Self { by_step: (1..=last).map_while(curve).collect(), most }
    }

    /// Extra duration of a step of so many decodes that is the `steps`th after a chunk, ns; nothing where it is 0.
    pub fn at(&self, decodes: u32, steps: u32) -> f64 {
        let curve = (steps as usize).checked_sub(1).and_then(|index| self.by_step.get(index));
        curve.map_or(0.0, |curve| curve.at(decodes.min(self.most)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_linear_over_decodes_and_ends_after_the_last_step() {
        let point = |batch_size, steps, mean_ns| AfterChunkPoint { batch_size, steps, mean_ns, mad_ns: 1.0 };
        let points = [point(1, 1, 100.0), point(1, 2, 40.0), point(5, 1, 300.0), point(5, 2, 0.0)];
        let after = AfterChunk::new(&points);
        let found =
            [(1, 1), (3, 1), (5, 1), (99, 1), (3, 2), (1, 3), (1, 0)].map(|(n, step)| after.at(n, step));
        assert_eq!(found, [100.0, 200.0, 300.0, 300.0, 20.0, 0.0, 0.0]);
        assert_eq!(AfterChunk::new(&[]).at(4, 1), 0.0);
    }
}
