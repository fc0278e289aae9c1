//! A pass of few rows, cut by columns.
//!
//! Every thread takes some heads and some outputs of every matrix, for all rows, and so reads a part of the weights. It
//! carries its heads from their projection through attention, and its columns of the MLP from the gate to the activation;
//! what the next matrix needs of the others' columns it reads from them, four times a layer. Sums over all columns
//! stay whole, unlike in the tensor parallelism of Shoeybi et al. ("Megatron-LM", 2019, §3): no number is
//! added up in parts, so that a row is to the last bit what it is on one thread.

use std::ops::Range;
use std::sync::{Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use super::attention::{Heads, Row, attention};
use super::decoder::{Decoder, OnCpu};
use super::kv_cache::{KvHeads, PagedKv};
use super::mlp::activate;
use super::network::{Dense, Layer, Mlp};
use super::ops::{Op, OpTimer};
use super::threads::{Meeting, Member, on_threads};
use crate::kernels::{Buffer, Packed, Workers};

/// Panels of a layer's matrices that a thread takes.
#[derive(Debug)]
pub(super) struct Taken {
    /// Of queries, keys and values.
    qkv: [Range<usize>; 3],
    o: Range<usize>,
    gate_up: [Range<usize>; 2],
    down: Range<usize>,
}

impl Taken {
    /// Of one thread out of some; None where they cannot all take as many heads and whole panels.
    fn of(layer: &Layer<OnCpu>, heads: Heads, (thread, threads): (usize, usize)) -> Option<Self> {
        let Mlp::Dense(Dense { gate_up_proj, down_proj, intermediate }) = &layer.mlp else { return None };
        let part = |matrix: &Packed, from: usize, outputs: usize| {
            let each = outputs.is_multiple_of(threads).then(|| outputs / threads)?;
            matrix.panels_of(from + thread * each..from + (thread + 1) * each)
        };
        heads.keys.is_multiple_of(threads).then_some(())?;
        let (q_width, kv_width) = (heads.queries * heads.dim, heads.keys * heads.dim);
        let of_qkv = |from, outputs| part(&layer.qkv_proj, from, outputs);
        Some(Self {
            qkv: [of_qkv(0, q_width)?, of_qkv(q_width, kv_width)?, of_qkv(q_width + kv_width, kv_width)?],
            o: part(&layer.o_proj, 0, layer.o_proj.outputs())?,
            gate_up: [
                part(gate_up_proj, 0, *intermediate)?,
                part(gate_up_proj, *intermediate, *intermediate)?,
            ],
            down: part(down_proj, 0, down_proj.outputs())?,
        })
    }
}

/// Activations of a pass that is cut by columns, kept so that the next has their memory.
#[derive(Debug, Default)]
pub(super) struct Columns(Vec<Part>);

/// Those of a thread.
#[derive(Debug, Default)]
struct Part {
    own: Mutex<Own>,
    /// Its columns of what attention, or the MLP's first half, made of all rows.
    made: RwLock<Buffer<f32>>,
    /// Its columns of what is to be added to all rows.
    added: RwLock<Buffer<f32>>,
}

/// What no other thread sees. Buffers are `[row][…]`.
#[derive(Debug, Default)]
struct Own {
    /// What the layers add to, all columns: every thread keeps them.
    x: Buffer<f32>,
    normed: Buffer<f32>,
    /// All columns of what the threads made.
    whole: Buffer<f32>,
    /// Of the thread's heads.
    qkv: Buffer<f32>,
    query: Buffer<f32>,
    key: Buffer<f32>,
    gate_up: Buffer<f32>,
}

impl Columns {
    /// What the layers made of a row of the pass.
    pub fn row(&mut self, row: usize, hidden: usize) -> &[f32] {
        let own = self.0[0].own.get_mut().unwrap_or_else(PoisonError::into_inner);
        &own.x.first((row + 1) * hidden)[row * hidden..]
    }
}

impl Decoder {
    /// What each of the threads takes of each layer, `[thread][layer]`; None where they cannot all take as much.
    pub(super) fn taken(&self, num_layers: usize, threads: usize) -> Option<Vec<Vec<Taken>>> {
        let layers = &self.network.layers[..num_layers];
        let of_thread =
            |thread| layers.iter().map(|layer| Taken::of(layer, self.heads(), (thread, threads))).collect();
        (threads > 1).then(|| (0..threads).map(of_thread).collect())?
    }

    /// Computes the rows of a pass, whose tokens are `tokens`, on as many threads as `taken` has.
    pub(super) fn by_columns(
        &self,
        taken: &[Vec<Taken>],
        (tokens, rows): (&[u32], &[Row<'_>]),
        kv: &mut PagedKv,
        columns: &mut Columns,
        timer: &mut dyn OpTimer,
    ) {
        let threads = taken.len();
        if columns.0.len() < threads {
            columns.0.resize_with(threads, Part::default);
        }
        let parts = &columns.0[..threads];
        let kv: Vec<Mutex<KvHeads<'_>>> = kv.split(threads).into_iter().map(Mutex::new).collect();
        let meeting = Meeting::new(threads);
        on_threads(threads, timer, |thread, timer| {
            let all = self.heads();
            let mut pass = OnThread {
                model: self,
                thread,
                parts,
                rows,
                heads: Heads { queries: all.queries / threads, keys: all.keys / threads, ..all },
                own: lock(&parts[thread].own),
                kv: lock(&kv[thread]),
                member: meeting.member(),
            };
            let x = pass.own.x.room(rows.len() * self.config.hidden_size as usize);
            self.network.embed.rows(tokens, x);
            timer.lap(Op::Emb);
            for (index, (layer, taken)) in self.network.layers.iter().zip(&taken[thread]).enumerate() {
                pass.attention(index, layer, taken, timer);
                pass.mlp(layer, taken, timer);
            }
        });
    }
}

fn lock<T>(of_thread: &Mutex<T>) -> MutexGuard<'_, T> {
    of_thread.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A pass on one of its threads.
struct OnThread<'a> {
    model: &'a Decoder,
    thread: usize,
    parts: &'a [Part],
    rows: &'a [Row<'a>],
    /// Those that the thread takes.
    heads: Heads,
    own: MutexGuard<'a, Own>,
    kv: MutexGuard<'a, KvHeads<'a>>,
    member: Member<'a>,
}

impl<'a> OnThread<'a> {
    /// A layer up to the projection of what attention made.
    fn attention(&mut self, index: usize, layer: &Layer<OnCpu>, taken: &Taken, timer: &mut dyn OpTimer) {
        self.norm(&layer.input_layernorm);
        timer.lap(Op::InputLayernorm);
        let (count, heads) = (self.rows.len(), self.heads);
        let (q_width, kv_width) = heads.widths();
        let width = q_width + 2 * kv_width;
        let mut made = self.made();
        let Own { normed, qkv, query, key, .. } = &mut *self.own;
        let qkv = qkv.room(count * width);
        layer.qkv_proj.multiply_panels(normed.first(count * layer.qkv_proj.inputs()), &taken.qkv, qkv);
        timer.lap(Op::AttnPreProj);
        let (query, key) = (query.room(count * q_width), key.room(count * kv_width));
        let per_row = query.chunks_exact_mut(q_width).zip(key.chunks_exact_mut(kv_width));
        for (((query, key), qkv), row) in per_row.zip(qkv.chunks_exact(width)).zip(self.rows) {
            self.model.rotate(layer, heads, (qkv, row.position), query, key);
        }
        timer.lap(Op::AttnRope);
        self.kv.store_rows(index, self.rows, key, qkv);
        timer.lap(Op::AttnKvCacheSave);
        let out = made.room(count * q_width);
        attention(self.model.arch, (&self.kv, index), self.rows, heads, query, out, Workers::Caller);
        drop(made);
        self.member.meet();
        timer.lap(Op::Attention);
        self.project(&layer.o_proj, &taken.o);
        timer.lap(Op::AttnPostProj);
    }

    /// A layer's second half.
    fn mlp(&mut self, layer: &Layer<OnCpu>, taken: &Taken, timer: &mut dyn OpTimer) {
        // Of no other kind has anybody taken a part.
        let Mlp::Dense(mlp) = &layer.mlp else { return };
        self.norm(&layer.post_attention_layernorm);
        timer.lap(Op::PostAttentionLayernorm);
        let (count, intermediate) = (self.rows.len(), mlp.intermediate / self.parts.len());
        let mut made = self.made();
        let Own { normed, gate_up, .. } = &mut *self.own;
        let gate_up = gate_up.room(count * 2 * intermediate);
        mlp.gate_up_proj.multiply_panels(
            normed.first(count * mlp.gate_up_proj.inputs()),
            &taken.gate_up,
            gate_up,
        );
        timer.lap(Op::MlpUpProj);
        activate(self.model.arch, gate_up, made.room(count * intermediate), intermediate, Workers::Caller);
        drop(made);
        self.member.meet();
        timer.lap(Op::MlpAct);
        self.project(&mlp.down_proj, &taken.down);
        timer.lap(Op::MlpDownProj);
    }

    /// Norms all columns for what comes next.
    fn norm(&mut self, weight: &[f32]) {
        let count = self.rows.len() * self.model.config.hidden_size as usize;
        let Own { x, normed, .. } = &mut *self.own;
        self.model.norm(weight, x.first(count), normed.room(count), Workers::Caller);
    }

    /// Adds to all rows the product of what all threads made with a matrix, of which this one computes some panels.
    fn project(&mut self, matrix: &Packed, panels: &Range<usize>) {
        let (count, threads) = (self.rows.len(), self.parts.len());
        let part =
            |width: usize, to: &mut [f32], part: &Buffer<f32>, thread: usize, put: fn(&mut [f32], &[f32])| {
                let from = part.first(count * width / threads).chunks_exact(width / threads);
                for (to, from) in to.chunks_exact_mut(width).zip(from) {
                    put(&mut to[thread * width / threads..][..width / threads], from);
                }
            };
        let width = matrix.inputs();
        let whole = self.own.whole.room(count * width);
        for (thread, of_thread) in self.parts.iter().enumerate() {
            part(width, whole, &shown(&of_thread.made), thread, |to, from| to.copy_from_slice(from));
        }
        let width = matrix.outputs();
        let added = &self.parts[self.thread].added;
        {
            let mut added = added.write().unwrap_or_else(PoisonError::into_inner);
            matrix.multiply_panels(whole, std::slice::from_ref(panels), added.room(count * width / threads));
        }
        self.member.meet();
        let x = self.own.x.room(count * width);
        for (thread, of_thread) in self.parts.iter().enumerate() {
            part(width, x, &shown(&of_thread.added), thread, |to, from| {
                to.iter_mut().zip(from).for_each(|(to, from)| *to += from);
            });
        }
    }

    /// Where the thread puts what it made.
    fn made(&self) -> RwLockWriteGuard<'a, Buffer<f32>> {
        self.parts[self.thread].made.write().unwrap_or_else(PoisonError::into_inner)
    }
}

fn shown(buffer: &RwLock<Buffer<f32>>) -> RwLockReadGuard<'_, Buffer<f32>> {
    buffer.read().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::ModelConfig;
    use crate::model::{Activations, NoTimer, Share, WeightReader};
    use crate::spec::Dtype;

    /// Eight heads of queries and four of keys, so that up to four threads can take some.
    fn model() -> Decoder {
        let tiny = crate::catalog::model("qwen3-tiny").unwrap();
        let config = ModelConfig {
            num_attention_heads: 8,
            num_key_value_heads: 4,
            head_dim: 32,
            hidden_size: 128,
            intermediate_size: 256,
            ..tiny.clone()
        };
        Decoder::load(&config, &WeightReader::Synthetic { seed: 5 }, Dtype::Bf16, 256).unwrap()
    }

    /// A prompt in two chunks beside a decode, then a decode of both.
    fn logits(model: &Decoder, threads: usize) -> Vec<f32> {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        let tokens: Vec<u32> = (0..12).map(|i| (i * 37 + 11) % 1024).collect();
        let share = |tokens, context, blocks| Share { tokens, context, blocks, emits: true };
        pool.install(|| {
            let mut kv = PagedKv::new(2, 16, 4, 4, 32).unwrap();
            let (mut activations, mut all) = (Activations::default(), Vec::new());
            let (one, other) = (&[9, 3, 11, 1][..], &[0, 2][..]);
            for shares in [
                &[share(&tokens[..5], 0, one), share(&tokens[..1], 0, other)][..],
                &[share(&tokens[1..2], 1, other), share(&tokens[5..11], 5, one)],
                &[share(&tokens[11..], 11, one), share(&tokens[2..3], 2, other)],
            ] {
                all.extend(model.forward(shares, &mut kv, &mut activations, 2, &mut NoTimer).unwrap());
            }
            all
        })
    }

    #[test]
    fn the_number_of_threads_leaves_the_logits_as_they_are() {
        let model = model();
        assert!(model.taken(2, 1).is_none() && model.taken(2, 2).is_some() && model.taken(2, 4).is_some());
        assert!(model.taken(2, 3).is_none(), "four heads on three threads");
        let wanted = logits(&model, 1);
        assert!(wanted.iter().all(|logit| logit.is_finite()) && wanted.iter().any(|logit| *logit != 0.0));
        for threads in [2, 3, 4] {
            assert_eq!(logits(&model, threads), wanted, "{threads} threads");
        }
    }

    #[test]
    fn threads_take_all_panels_once() {
        let model = model();
        for threads in [2, 4] {
            let taken = model.taken(2, threads).unwrap();
            let all = |of: fn(&Taken) -> Vec<Range<usize>>| {
                let mut panels: Vec<usize> =
                    taken.iter().flat_map(|layers| of(&layers[1])).flatten().collect();
                panels.sort_unstable();
                panels
            };
            assert_eq!(all(|taken| taken.qkv.to_vec()), (0..16).collect::<Vec<_>>());
            assert_eq!(all(|taken| vec![taken.o.clone()]), (0..4).collect::<Vec<_>>());
            assert_eq!(all(|taken| taken.gate_up.to_vec()), (0..16).collect::<Vec<_>>());
            assert_eq!(all(|taken| vec![taken.down.clone()]), (0..4).collect::<Vec<_>>());
        }
    }
}
