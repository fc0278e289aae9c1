//! What follows attention in a layer, on the CPU: an MLP, or a mixture of experts that are MLPs.

use candle_core::{Device, Tensor};
use pulp::Arch;
use rayon::prelude::*;

use super::ModelError;
use super::decoder::with_values;
use super::exp::swiglu;
use super::linear::{Linear, add};
use super::network::{Dense, Experts, Mlp};
use super::ops::{Op, OpTimer};

impl Mlp<Linear> {
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

impl Dense<Linear> {
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

impl Experts<Linear> {
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
}
