use candle_core::{CpuStorage, CustomOp1, CustomOp2, Device, Layout, Result, Shape, Tensor};
use rayon::prelude::*;

use crate::kernels::Packed;

/// `y = x Wᵀ`, with `x` and `y` in f32 and `W: [out, in]` packed in its own number format.
#[derive(Debug)]
pub(super) struct Linear(Packed);

impl Linear {
    pub fn new(weights: Packed) -> Self {
        Self(weights)
    }

    /// Bytes in memory.
    pub fn num_bytes(&self) -> usize {
        self.0.num_bytes()
    }

    /// `x: [rows, in]` → `[rows, out]`.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        x.apply_op1_no_bwd(self)
    }

    /// `x: [rows, in]` → `residual + y`, `[rows, out]` both.
    pub fn forward_onto(&self, residual: &Tensor, x: &Tensor) -> Result<Tensor> {
        x.apply_op2_no_bwd(residual, self)
    }

    /// The same as [`forward`](Self::forward) over plain values.
    pub fn forward_values(&self, x: &[f32]) -> Vec<f32> {
        self.0.product(x)
    }

    /// Rows of the matrix: `[outputs, in]`.
    pub fn rows(&self, outputs: &[u32]) -> Result<Tensor> {
        Tensor::from_vec(self.0.rows(outputs), (outputs.len(), self.0.inputs()), &Device::Cpu)
    }
}

impl CustomOp1 for Linear {
    fn name(&self) -> &'static str {
        "packed-linear"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let y = self.0.product(self.rows_of(storage, layout)?);
        let shape = Shape::from((layout.dims()[0], self.0.outputs()));
        Ok((CpuStorage::F32(y), shape))
    }
}

impl CustomOp2 for Linear {
    fn name(&self) -> &'static str {
        "packed-linear-onto"
    }

    fn cpu_fwd(
        &self,
        storage: &CpuStorage,
        layout: &Layout,
        residual: &CpuStorage,
        residual_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (mut y, shape) = match CustomOp1::cpu_fwd(self, storage, layout)? {
            (CpuStorage::F32(y), shape) => (y, shape),
            _ => candle_core::bail!("a product is f32"),
        };
        if residual_layout.shape() != &shape {
            candle_core::bail!("the residual is {:?}, not {shape:?}", residual_layout.shape());
        }
        add(&mut y, contiguous(residual, residual_layout)?, self.0.outputs());
        Ok((CpuStorage::F32(y), shape))
    }
}

impl Linear {
    /// The values of `[rows, in]`.
    fn rows_of<'a>(&self, storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [f32]> {
        let (_, inputs) = layout.shape().dims2()?;
        if inputs != self.0.inputs() {
            candle_core::bail!("a row has {inputs} activations, not {}", self.0.inputs());
        }
        contiguous(storage, layout)
    }
}

fn contiguous<'a>(storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [f32]> {
    let Some((from, to)) = layout.contiguous_offsets() else {
        candle_core::bail!("activations are contiguous");
    };
    Ok(&storage.as_slice::<f32>()?[from..to])
}

/// `y += x` over rows of `width`, on the current thread pool. (Candle adds large tensors on threads of its own, however
/// many the machine has.)
pub(super) fn add(y: &mut [f32], x: &[f32], width: usize) {
    y.par_chunks_mut(width).zip(x.par_chunks(width)).with_min_len(ADD_ROWS).for_each(|(y, x)| {
        for (y, x) in y.iter_mut().zip(x) {
            *y += x;
        }
    });
}

/// Fewer rows are not worth another thread.
const ADD_ROWS: usize = 16;
