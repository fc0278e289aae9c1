use candle_core::{CpuStorage, CustomOp1, Device, Layout, Result, Shape, Tensor};

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

    /// The same over plain values.
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
        let values = storage.as_slice::<f32>()?;
        let Some((from, to)) = layout.contiguous_offsets() else {
            candle_core::bail!("activations are contiguous");
        };
        let (rows, inputs) = layout.shape().dims2()?;
        if inputs != self.0.inputs() {
            candle_core::bail!("a row has {inputs} activations, not {}", self.0.inputs());
        }
        let y = self.0.product(&values[from..to]);
        Ok((CpuStorage::F32(y), Shape::from((rows, self.0.outputs()))))
    }
}
