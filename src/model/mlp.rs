//! What follows attention in a layer, on the CPU: an MLP, or a mixture of experts that are MLPs.

use pulp::Arch;
use rayon::prelude::*;

use super::exp::swiglu;
use super::network::{Dense, Experts, Mlp};
use super::ops::{Op, OpTimer};
use super::strand::{Strand, rows_apart};
use crate::kernels::{Packed, Put, Workers};

impl Mlp<Packed> {
    /// Adds what it makes of a strand's normed rows to the strand. Reports all operators but the last one's end.
    pub fn forward(&self, arch: Arch, strand: &mut Strand, timer: &mut dyn OpTimer) {
        match self {
            Self::Dense(dense) => dense.forward(arch, strand, timer),
            Self::Experts(experts) => experts.forward(arch, strand, timer),
        }
    }
}

impl Dense<Packed> {
    fn forward(&self, arch: Arch, strand: &mut Strand, timer: &mut dyn OpTimer) {
        let (rows, workers) = (strand.rows, strand.workers);
        let gate_up = strand.gate_up.room(rows * 2 * self.intermediate);
        self.gate_up_proj.multiply(
            strand.normed.first(rows * self.gate_up_proj.inputs()),
            gate_up,
            Put::Over,
            workers,
        );
        timer.lap(Op::MlpUpProj);
        let activated = strand.activated.room(rows * self.intermediate);
        activate(arch, gate_up, activated, self.intermediate, workers);
        timer.lap(Op::MlpAct);
        let x = strand.x.room(rows * self.down_proj.outputs());
        self.down_proj.multiply(activated, x, Put::Onto, workers);
    }
}

/// `out = SiLU(gate) × up`. `gate_up` is `[row][gate, up]`.
pub(super) fn activate(arch: Arch, gate_up: &[f32], out: &mut [f32], intermediate: usize, workers: Workers) {
    let rows = out.par_chunks_mut(intermediate).zip(gate_up.par_chunks(2 * intermediate));
    rows.with_min_len(rows_apart(workers)).for_each(|(out, gate_up)| {
        let (gate, up) = gate_up.split_at(intermediate);
        arch.dispatch(|| swiglu(gate, up, out));
    });
}

impl Experts<Packed> {
    fn forward(&self, arch: Arch, strand: &mut Strand, timer: &mut dyn OpTimer) {
        let (rows, workers, hidden) = (strand.rows, strand.workers, self.router.inputs());
        let x = strand.normed.first(rows * hidden);
        let product = |matrix: &Packed, x: &[f32]| {
            let mut y = vec![0.0; x.len() / matrix.inputs() * matrix.outputs()];
            matrix.multiply(x, &mut y, Put::Over, workers);
            y
        };
        let routed = self.route(&product(&self.router, x));
        let hidden_of = |row: usize| &x[row * hidden..(row + 1) * hidden];
        let busy = routed.iter().zip(&self.experts).filter(|(tokens, _)| !tokens.is_empty());
        let gathered: Vec<Vec<f32>> = busy
            .clone()
            .map(|(tokens, expert)| {
                let x: Vec<f32> = tokens.iter().flat_map(|(row, _)| hidden_of(*row)).copied().collect();
                product(&expert.gate_up_proj, &x)
            })
            .collect();
        timer.lap(Op::MlpUpProj);
        let activated: Vec<Vec<f32>> = gathered
            .iter()
            .zip(busy.clone())
            .map(|(gate_up, (_, expert))| {
                let mut out = vec![0.0; gate_up.len() / 2];
                activate(arch, gate_up, &mut out, expert.intermediate, workers);
                out
            })
            .collect();
        timer.lap(Op::MlpAct);
        // Experts in order: a token's sum does not depend on who else goes to them.
        let mut out = vec![0.0; rows * hidden];
        for (activated, (tokens, expert)) in activated.iter().zip(busy) {
            let y = product(&expert.down_proj, activated);
            for ((row, weight), y) in tokens.iter().zip(y.chunks_exact(hidden)) {
                let out = &mut out[row * hidden..(row + 1) * hidden];
                out.iter_mut().zip(y).for_each(|(out, y)| *out += weight * y);
            }
        }
        strand.x.room(rows * hidden).iter_mut().zip(out).for_each(|(x, out)| *x += out);
    }
}
