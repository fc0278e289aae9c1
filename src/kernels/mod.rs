//! Products of activations with packed weights on the CPU.
//!
//! `y = x Wᵀ`, with `x` and `y` in f32 and `W` in the number format that it is stored in. Weights are packed once, when a
//! model is loaded ([`Packed`]), so that a product reads them once from front to back, and are widened to f32 in registers
//! or, for many rows, a block at a time in the first-level cache. Beside weights in bf16, `x` is rounded to bf16, and a
//! processor that multiplies such pairs widens nothing.
//!
//! Every element of `y` is the same chain of fused multiply-adds in f32 over ascending inputs (of bf16, over ascending pairs, the
//! second of a pair first), whatever the number of rows, of threads, or of lanes of the processor's vectors: a row's result
//! depends on nothing but the row and the weights, to the last bit, on every machine.

mod buffer;
mod dots;
mod layout;
mod microkernel;
mod pack;
mod panel;
mod prefetch;
mod processor;
mod product;
mod rows;

pub use buffer::Buffer;
pub use pack::{PackError, Packed, Rows, WeightFormat};
pub use processor::row_group;
pub use product::{Put, Workers};
