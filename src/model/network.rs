//! The parts of a model, in whatever form its weights lie on the device that computes with them.

use std::fmt::Debug;

use super::ModelError;
use super::exp::softmax;
use super::weights::Stored;

/// How a device holds weights.
pub(super) trait Form {
    /// A matrix, `[outputs, inputs]`.
    type Matrix: Debug;
    /// The weights of a norm over a row of activations, or over a head.
    type Norm: Debug;

    /// Matrices of the same width, one above the other; each with its name and its number of rows.
    fn matrix(
        &self,
        parts: Vec<(String, usize, Stored<'_>)>,
        inputs: usize,
    ) -> Result<Self::Matrix, ModelError>;

    /// The weights of a norm.
    fn norm(&self, weights: Vec<f32>) -> Result<Self::Norm, ModelError>;
}

/// All weights of a model.
#[derive(Debug)]
pub(super) struct Network<W: Form> {
    /// Rows are those of the vocabulary.
    pub embed: W::Matrix,
    pub layers: Vec<Layer<W>>,
    pub norm: W::Norm,
    /// None: the embedding's weights.
    pub lm_head: Option<W::Matrix>,
}

impl<W: Form> Network<W> {
    /// The matrix that makes logits of what the layers made.
    pub fn output(&self) -> &W::Matrix {
        self.lm_head.as_ref().unwrap_or(&self.embed)
    }

    /// All matrices.
    pub fn matrices(&self) -> impl Iterator<Item = &W::Matrix> {
        let layers = self.layers.iter().flat_map(Layer::matrices);
        std::iter::once(&self.embed).chain(&self.lm_head).chain(layers)
    }
}

#[derive(Debug)]
pub(super) struct Layer<W: Form> {
    pub input_layernorm: W::Norm,
    /// Query, key and value projections in one matrix.
    pub qkv_proj: W::Matrix,
    pub qk_norm: Option<QkNorm<W::Norm>>,
    pub o_proj: W::Matrix,
    pub post_attention_layernorm: W::Norm,
    pub mlp: Mlp<W::Matrix>,
}

impl<W: Form> Layer<W> {
    fn matrices(&self) -> impl Iterator<Item = &W::Matrix> {
        [&self.qkv_proj, &self.o_proj].into_iter().chain(self.mlp.matrices())
    }
}

/// Weights of the norms of each query and key head.
#[derive(Debug)]
pub(super) struct QkNorm<N> {
    pub query: N,
    pub key: N,
}

/// What follows attention in a layer.
#[derive(Debug)]
pub(super) enum Mlp<M> {
    Dense(Dense<M>),
    Experts(Experts<M>),
}

impl<M> Mlp<M> {
    fn matrices(&self) -> Box<dyn Iterator<Item = &M> + '_> {
        match self {
            Self::Dense(dense) => Box::new(dense.matrices()),
            Self::Experts(experts) => Box::new(
                std::iter::once(&experts.router).chain(experts.experts.iter().flat_map(Dense::matrices)),
            ),
        }
    }
}

/// SwiGLU (Shazeer, "GLU Variants Improve Transformer", 2020).
#[derive(Debug)]
pub(super) struct Dense<M> {
    /// Gate and up projections in one matrix.
    pub gate_up_proj: M,
    pub down_proj: M,
    pub intermediate: usize,
}

impl<M> Dense<M> {
    fn matrices(&self) -> impl Iterator<Item = &M> {
        [&self.gate_up_proj, &self.down_proj].into_iter()
    }
}

/// A mixture of experts (Shazeer et al., "Outrageously Large Neural Networks", ICLR 2017): a token goes to the few
/// experts that the router finds likeliest, and their results are weighed by its probabilities.
#[derive(Debug)]
pub(super) struct Experts<M> {
    /// `[experts][hidden]`.
    pub router: M,
    pub experts: Vec<Dense<M>>,
    /// Experts of a token.
    pub per_token: usize,
    /// Whether the weights of a token's experts are made to sum to one.
    pub normalized: bool,
}

impl<M> Experts<M> {
    /// For each expert the rows that go to it, ascending, with their weights. `logits` is `[row][expert]`; of equally
    /// likely experts the first is taken.
    pub fn route(&self, logits: &[f32]) -> Vec<Vec<(usize, f32)>> {
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
