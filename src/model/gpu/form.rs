use candle_core::{DType, Device, Tensor};

use crate::kernels::WeightFormat;
use crate::model::ModelError;
use crate::model::decoder::packed;
use crate::model::network::Form;
use crate::model::weights::Stored;

/// Weights as tensors on a device, all in one number format.
#[derive(Debug)]
pub(super) struct OnDevice {
    pub device: Device,
    pub dtype: DType,
}

impl OnDevice {
    /// A matrix as it is stored. Blocks of integers are widened: there is no kernel here that computes with them.
    fn upload(
        &self,
        name: String,
        outputs: usize,
        inputs: usize,
        stored: Stored<'_>,
    ) -> Result<Tensor, ModelError> {
        let shape = (outputs, inputs);
        let found = match stored.format {
            WeightFormat::F32 => DType::F32,
            WeightFormat::F16 => DType::F16,
            WeightFormat::Bf16 => DType::BF16,
            _ => {
                let rows: Vec<u32> = (0..outputs as u32).collect();
                let mut values = vec![0.0; outputs * inputs];
                packed(vec![(name, outputs, stored)], inputs)?.rows(&rows, &mut values);
                return Ok(Tensor::from_vec(values, shape, &self.device)?.to_dtype(self.dtype)?);
            }
        };
        Ok(Tensor::from_raw_buffer(&stored.bytes, found, &[outputs, inputs], &self.device)?
            .to_dtype(self.dtype)?)
    }
}

impl Form for OnDevice {
    type Matrix = Tensor;
    type Norm = Tensor;

    fn matrix(&self, parts: Vec<(String, usize, Stored<'_>)>, inputs: usize) -> Result<Tensor, ModelError> {
        let mut uploaded = parts
            .into_iter()
            .map(|(name, outputs, stored)| self.upload(name, outputs, inputs, stored))
            .collect::<Result<Vec<_>, _>>()?;
        match uploaded.len() {
            1 => Ok(uploaded.remove(0)),
            _ => Ok(Tensor::cat(&uploaded, 0)?),
        }
    }

    fn norm(&self, weights: Vec<f32>) -> Result<Tensor, ModelError> {
        let len = weights.len();
        Ok(Tensor::from_vec(weights, len, &self.device)?.to_dtype(self.dtype)?)
    }
}
