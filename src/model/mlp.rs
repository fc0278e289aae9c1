//! What follows attention in a layer: an MLP, or a mixture of experts that are MLPs.

use candle_core::{Device, Tensor};
use pulp::Arch;
use rayon::prelude::*;

use super::ModelError;
use super::decoder::with_values;
use super::exp::{softmax, swiglu};
use super::linear::{Linear, add};
use super::ops::{Op, OpTimer};

/// The second half of a layer.
#[derive(Debug)]
pub(super) enum Mlp {
    Dense(Dense),
    Experts(Experts),
}

impl Mlp {
    /// Bytes of its matrices in memory.
    pub fn num_bytes(&self) -> usize {
        match self {
            Self::Dense(dense) => dense.num_bytes(),
            Self::Experts(experts) => {
                experts.router.num_bytes() + experts.experts.iter().map(Dense::num_bytes).sum::<usize>()
            }
        }
    }

    /// `x: [rows, hidden]` → `residual + y`, `[rows, hidden]` all. Reports all operators but the last one's end.
    pub fn forward_onto(
        &self,
        arch: Arch,
        residual: &Tensor,
        x: &Tensor,
        timer: &mut dyn OpTimer,
    ) -> Result<Tensor, ModelError> {
        match self {
            Self::Dense(dense) => dense.forward_onto(arch, residual, x, timer),
            Self::Experts(experts) => experts.forward_onto(arch, residual, x, timer),
        }
    }
}

/// SwiGLU (Shazeer, "GLU Variants Improve Transformer", 2020).
#[derive(Debug)]
pub(super) struct Dense {
    /// Gate and up projections in one matrix.
    pub gate_up_proj: Linear,
    pub down_proj: Linear,
    pub intermediate: usize,
}

impl Dense {
    fn num_bytes(&self) -> usize {
        self.gate_up_proj.num_bytes() + self.down_proj.num_bytes()
    }

    fn forward_onto(
        &self,
        arch: Arch,
        residual: &Tensor,
        x: &Tensor,
        timer: &mut dyn OpTimer,
    ) -> Result<Tensor, ModelError> {
        let rows = x.dim(0)?;
        let gate_up = self.gate_up_proj.forward(x)?;
        timer.lap(Op::MlpUpProj);
        let activated = with_values(&gate_up, |gate_up| activate(arch, gate_up, self.intermediate))?;
        let activated = Tensor::from_vec(activated, (rows, self.intermediate), &Device::Cpu)?;
        timer.lap(Op::MlpAct);
        Ok(self.down_proj.forward_onto(residual, &activated)?)
    }
}

/// SiLU(gate) × up. `gate_up` is `[row][gate, up]`.
fn activate(arch: Arch, gate_up: &[f32], intermediate: usize) -> Vec<f32> {
    let mut out = vec![0.0; gate_up.len() / 2];
    out.par_chunks_mut(intermediate).zip(gate_up.par_chunks(2 * intermediate)).for_each(|(out, gate_up)| {
        let (gate, up) = gate_up.split_at(intermediate);
        arch.dispatch(|| swiglu(gate, up, out));
    });
    out
}

/// A mixture of experts (Shazeer et al., "Outrageously Large Neural Networks", ICLR 2017): a token goes to the few
/// experts that the router finds likeliest, and their results are weighed by its probabilities.
#[derive(Debug)]
pub(super) struct Experts {
    /// `[experts][hidden]`.
    pub router: Linear,
    pub experts: Vec<Dense>,
    /// Experts of a token.
    pub per_token: usize,
    /// Whether the weights of a token's experts are made to sum to one.
    pub normalized: bool,
}

impl Experts {
    fn forward_onto(
        &self,
        arch: Arch,
        residual: &Tensor,
        x: &Tensor,
        timer: &mut dyn OpTimer,
    ) -> Result<Tensor, ModelError> {
        let (rows, hidden) = x.dims2()?;
        let mut out = with_values(x, |x| {
            let routed = self.route(&self.router.forward_values(x));
            let hidden_of = |row: usize| &x[row * hidden..(row + 1) * hidden];
            let busy = routed.iter().zip(&self.experts).filter(|(tokens, _)| !tokens.is_empty());
            let gathered: Vec<Vec<f32>> = busy
                .clone()
                .map(|(tokens, expert)| {
                    let x: Vec<f32> = tokens.iter().flat_map(|(row, _)| hidden_of(*row)).copied().collect();
                    expert.gate_up_proj.forward_values(&x)
                })
                .collect();
            timer.lap(Op::MlpUpProj);
            let activated: Vec<Vec<f32>> = gathered
                .iter()
                .zip(busy.clone())
                .map(|(gate_up, (_, expert))| activate(arch, gate_up, expert.intermediate))
                .collect();
            timer.lap(Op::MlpAct);
            // Experts in order: a token's sum does not depend on who else goes to them.
            let mut out = vec![0.0; rows * hidden];
            for (activated, (tokens, expert)) in activated.iter().zip(busy) {
                let y = expert.down_proj.forward_values(activated);
                for ((row, weight), y) in tokens.iter().zip(y.chunks_exact(hidden)) {
                    let out = &mut out[row * hidden..(row + 1) * hidden];
                    out.iter_mut().zip(y).for_each(|(out, y)| *out += weight * y);
                }
            }
            out
        })?;
        with_values(residual, |residual| add(&mut out, residual, hidden))?;
        Ok(Tensor::from_vec(out, (rows, hidden), &Device::Cpu)?)
    }

    /// For each expert the rows that go to it, ascending, with their weights. `logits` is `[row][expert]`; of equally
    /// likely experts the first is taken.
    fn route(&self, logits: &[f32]) -> Vec<Vec<(usize, f32)>> {
        let mut routed = vec![Vec::new(); self.experts.len()];
        for (row, logits) in logits.chunks_exact(self.experts.len().max(1)).enumerate() {
            let mut probabilities = logits.to_vec();
            softmax(&mut probabilities);
            let mut order: Vec<usize> = (0..probabilities.len()).collect();
            order.sort_by(|a, b| probabilities[*b].total_cmp(&probabilities[*a]));
            order.truncate(self.per_token);
            let sum: f32 = order.iter().map(|expert| probabilities[*expert]).sum();
            for expert in order {
                let weight = probabilities[expert] / if self.normalized { sum } else { 1.0 };
                routed[expert].push((row, weight));
            }
        }
        routed
    }
}
