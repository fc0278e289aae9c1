use candle_core::{DType, Result, Tensor};
use rayon::prelude::*;

/// `y = x Wᵀ`, with `x` and `y` in f32 and `W: [out, in]` in the model's number format.
#[derive(Debug)]
pub(super) struct Linear {
    weight: Tensor,
    /// Slices of the weight's rows, one a thread, for products with few rows: candle's
    /// matrix-vector product uses one thread only, and memory has more to give.
    slices: Vec<Tensor>,
}

/// Up to this many rows of `x`, the product is split by hand.
const FEW_ROWS: usize = 4;

impl Linear {
    pub fn new(weight: Tensor, threads: usize) -> Result<Self> {
        let rows = weight.dim(0)?;
        let share = rows.div_ceil(threads.max(1));
        let slices = (0..rows)
            .step_by(share)
            .map(|from| weight.narrow(0, from, share.min(rows - from)))
            .collect::<Result<_>>()?;
        Ok(Self { weight, slices })
    }

    /// `x: [rows, in]` → `[rows, out]`.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        if x.dim(0)? > FEW_ROWS || self.slices.len() == 1 {
            return product(x, &self.weight);
        }
        let parts = self.slices.par_iter().map(|weight| product(x, weight)).collect::<Result<Vec<_>>>()?;
        Tensor::cat(&parts, 1)
    }
}

fn product(x: &Tensor, weight: &Tensor) -> Result<Tensor> {
    match weight.dtype() {
        DType::F32 => x.matmul(&weight.t()?),
        other => x.to_dtype(other)?.matmul(&weight.t()?)?.to_dtype(DType::F32),
    }
}
