//! Products with whole matrices, shared out over threads.

use std::cell::Cell;
use std::marker::PhantomData;
use std::ops::Range;

use rayon::prelude::*;

use super::buffer::Buffer;
use super::layout::{Layout, MAX_STEP, MAX_WORDS, PANEL, layout_of};
use super::pack::{Packed, with_layout};
use super::prefetch::prefetch_all;
use super::processor::Processor;
use super::rows::{Form, Interleaved, RowBuffers};

/// Rows in f32 that are multiplied before the next are begun: more of them would not stay in the second-level cache. Pairs of
/// bf16 are half as large.
const MOST_ROWS: usize = 240;

/// Numbers that are asked for at once, at most: the second-level cache has to hold weights, too.
const MOST_FETCHED: usize = 1 << 14;

/// Parts of a product for each thread.
const PARTS: usize = 8;

/// Fewer rows are put in place by one thread: another would take longer to begin.
const PUT_ROWS: usize = 16;

thread_local! {
    /// Those of the last product, for the next one.
    static BUFFERS: Cell<Buffers> = const { Cell::new(Buffers { rows: RowBuffers::new(), sums: Buffer::new() }) };
}

#[derive(Default)]
struct Buffers {
    rows: RowBuffers,
    /// `[panel][row][PANEL]`, of all panels or of one.
    sums: Buffer<f32>,
}

/// Who computes a product.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Workers {
    /// The threads of the current pool share out the panels, so that each reads a part of the weights.
    #[default]
    Pool,
    /// The calling thread, which reads all weights and hands nothing to another.
    Caller,
}

impl Workers {
    /// Fewest parts of some work that a thread takes at a time, where a thread of a pool takes `of_pool`.
    pub fn least(self, of_pool: usize) -> usize {
        match self {
            Self::Pool => of_pool,
            // All of them.
            Self::Caller => usize::MAX,
        }
    }
}

/// What a product does with the values that are in its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Put {
    /// `y = x Wᵀ`.
    Over,
    /// `y += x Wᵀ`.
    Onto,
}

impl Put {
    /// Puts sums over or onto as many values.
    #[inline(always)]
    pub(super) fn put(self, sums: &[f32], y: &mut [f32]) {
        match self {
            Self::Over => y.copy_from_slice(sums),
            Self::Onto => y.iter_mut().zip(sums).for_each(|(y, sum)| *y += sum),
        }
    }
}

impl Packed {
    /// `x Wᵀ`: `x` is `[rows][inputs]`, the result `[rows][outputs]`. Runs on the current thread pool.
    pub fn product(&self, x: &[f32]) -> Vec<f32> {
        let mut y = vec![0.0; x.len() / self.inputs().max(1) * self.outputs()];
        self.multiply(x, &mut y, Put::Over, Workers::Pool);
        y
    }

    /// Multiplies `x`, `[rows][inputs]`, and puts the product over or onto `y`, `[rows][outputs]`.
    pub fn multiply(&self, x: &[f32], y: &mut [f32], put: Put, workers: Workers) {
        self.multiply_on(Processor::this(), x, y, put, workers);
    }

    /// Multiplies `x`, `[rows][inputs]`, with the outputs of some panels, on the calling thread alone. `y` is `[rows]` of these
    /// outputs.
    pub fn multiply_panels(&self, x: &[f32], panels: &[Range<usize>], y: &mut [f32]) {
        self.multiply_some(Processor::this(), x, panels, y, Put::Over);
    }

    fn multiply_on(&self, on: Processor, x: &[f32], y: &mut [f32], put: Put, workers: Workers) {
        if workers == Workers::Caller {
            let all = 0..self.panels.len();
            return self.multiply_some(on, x, std::slice::from_ref(&all), y, put);
        }
        self.by_rows(on, x, (y, self.outputs()), |x, y, sums| self.shared_out(on, x, y, put, sums));
    }

    /// Does something to as many rows at a time as stay in the cache; `y` has rows of `width`.
    fn by_rows(
        &self,
        on: Processor,
        x: &[f32],
        (y, width): (&mut [f32], usize),
        multiply: impl Fn(&Interleaved, &mut [f32], &mut Buffer<f32>),
    ) {
        let forms = on.forms(&self.formats);
        let most = if forms == [None, Some(Form::Pairs)] { 2 * MOST_ROWS } else { MOST_ROWS };
        let rows_of = |width: usize| most * width.max(1);
        for (y, x) in y.chunks_mut(rows_of(width)).zip(x.chunks(rows_of(self.inputs()))) {
            let mut buffers = BUFFERS.take();
            let rows = std::mem::take(&mut buffers.rows);
            let x = Interleaved::new(x, self.inputs(), on.most_rows(), forms, rows);
            multiply(&x, y, &mut buffers.sums);
            buffers.rows = x.buffers;
            BUFFERS.set(buffers);
        }
    }

    fn shared_out(&self, on: Processor, x: &Interleaved, y: &mut [f32], put: Put, sums: &mut Buffer<f32>) {
        let of_panel = x.rows * PANEL;
        let sums = sums.room(self.panels.len() * of_panel);
        let least = (self.panels.len() / (rayon::current_num_threads() * PARTS)).max(1);
        let panels = sums.par_chunks_mut(of_panel).enumerate();
        panels.with_min_len(least).for_each_init(
            // They come from another core's cache: faster all at once than one after the other.
            || x.prefetch(MOST_FETCHED),
            |(), (index, sums)| x.times(on, self, (index, index + 1), sums),
        );
        if x.rows < PUT_ROWS {
            prefetch_all(sums);
        }
        let rows = y.par_chunks_mut(self.outputs()).enumerate();
        rows.with_min_len(PUT_ROWS).for_each(|(row, y)| {
            for (panel, sums) in self.panels.iter().zip(sums.chunks_exact(of_panel)) {
                panel.put(&sums[row * PANEL..], &mut y[panel.first_output..], put);
            }
        });
    }

    fn multiply_some(&self, on: Processor, x: &[f32], panels: &[Range<usize>], y: &mut [f32], put: Put) {
        let outputs_of =
            |panels: &Range<usize>| self.panels[panels.clone()].iter().map(|panel| panel.outputs);
        let width = panels.iter().flat_map(outputs_of).sum::<usize>().max(1);
        let order = || panels.iter().cloned().flatten();
        self.by_rows(on, x, (y, width), |x, y, sums| {
            let sums = sums.room(x.rows * PANEL);
            let following = order().skip(1).chain([self.panels.len()]);
            let mut first = 0;
            for (index, next) in order().zip(following) {
                let panel = &self.panels[index];
                x.times(on, self, (index, next), sums);
                for (y, sums) in y.chunks_exact_mut(width).zip(sums.chunks_exact(PANEL)) {
                    panel.put(sums, &mut y[first..], put);
                }
                first += panel.outputs;
            }
        });
    }

    /// Rows of the matrix into `out`: those of `outputs`, `[output][inputs]`, each less than the number of outputs.
    pub fn rows(&self, outputs: &[u32], out: &mut [f32]) {
        for (to, &output) in out.chunks_exact_mut(self.inputs()).zip(outputs) {
            let output = output as usize;
            let after = self.panels.partition_point(|panel| panel.first_output <= output);
            let (panel, words) = (&self.panels[after - 1], self.words(after - 1));
            let lane = output - panel.first_output;
            with_layout!(panel.format, layout => widen_lane(layout_of(layout), words, lane, to));
        }
    }
}

/// Widens one lane of a panel.
fn widen_lane<L: Layout>(_: PhantomData<L>, words: &[u32], lane: usize, to: &mut [f32]) {
    let mut of_lane = [0; MAX_WORDS];
    let mut wide = [[0.0]; MAX_STEP];
    for (words, to) in words.chunks_exact(L::WORDS * PANEL).zip(to.chunks_exact_mut(L::GROUP)) {
        for (word, words) in of_lane.iter_mut().zip(words.chunks_exact(PANEL)) {
            *word = words[lane];
        }
        for (step, to) in to.chunks_exact_mut(L::STEP).enumerate() {
            L::widen::<_, 1>(pulp::Scalar::new(), &of_lane, step, &mut wide);
            to.iter_mut().zip(&wide).for_each(|(to, [wide])| *to = *wide);
        }
    }
}

#[cfg(test)]
mod tests {
    use candle_core::quantized::{GgmlDType, QTensor};
    use candle_core::{Device, Tensor};
    use pulp::Arch;

    use super::*;
    use crate::kernels::{PackError, Rows, WeightFormat};

    fn noise(seed: u64, len: usize) -> Vec<f32> {
        let mut state = seed;
        let mut next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 40) as f32 / (1 << 24) as f32 - 0.5
        };
        (0..len).map(|_| next()).collect()
    }

    /// A matrix as it is stored, and as candle reads it.
    fn stored(format: WeightFormat, outputs: usize, inputs: usize, seed: u64) -> (Vec<u8>, Vec<f32>) {
        let weights = noise(seed, outputs * inputs);
        let quantized = |dtype| {
            let tensor = Tensor::from_vec(weights.clone(), (outputs, inputs), &Device::Cpu).unwrap();
            let quantized = QTensor::quantize(&tensor, dtype).unwrap();
            let read = quantized.dequantize(&Device::Cpu).unwrap().flatten_all().unwrap().to_vec1().unwrap();
            (quantized.data().unwrap().into_owned(), read)
        };
        match format {
            WeightFormat::F32 => (weights.iter().flat_map(|w| w.to_le_bytes()).collect(), weights),
            WeightFormat::Bf16 => {
                let halves: Vec<_> = weights.iter().map(|w| half::bf16::from_f32(*w)).collect();
                let bytes = halves.iter().flat_map(|w| w.to_le_bytes()).collect();
                (bytes, halves.iter().map(|w| w.to_f32()).collect())
            }
            WeightFormat::F16 => {
                // Some of them subnormal.
                let small = |(index, w): (usize, &f32)| if index % 5 == 0 { w * 1e-5 } else { *w };
                let halves: Vec<_> = weights.iter().enumerate().map(small).map(half::f16::from_f32).collect();
                let bytes = halves.iter().flat_map(|w| w.to_le_bytes()).collect();
                (bytes, halves.iter().map(|w| w.to_f32()).collect())
            }
            WeightFormat::Q8_0 => quantized(GgmlDType::Q8_0),
            WeightFormat::Q4K => quantized(GgmlDType::Q4K),
            WeightFormat::Q6K => quantized(GgmlDType::Q6K),
        }
    }

    const FORMATS: [WeightFormat; 6] = [
        WeightFormat::F32,
        WeightFormat::Bf16,
        WeightFormat::F16,
        WeightFormat::Q8_0,
        WeightFormat::Q4K,
        WeightFormat::Q6K,
    ];

    /// Outputs of [`mixed`] whose weights are bf16.
    const BF16_OUTPUTS: Range<usize> = 40..104;

    /// All formats in one matrix, and what it holds.
    fn mixed(inputs: usize) -> (Packed, Vec<f32>) {
        let (mut parts, mut all) = (Vec::new(), Vec::new());
        for ((seed, format), outputs) in (1..).zip(FORMATS).zip([40, 64, 1, 33, 32, 7]) {
            let (bytes, read) = stored(format, outputs, inputs, seed);
            parts.push((format, outputs, bytes));
            all.extend(read);
        }
        let parts: Vec<Rows<'_>> =
            parts.iter().map(|&(format, outputs, ref bytes)| Rows { format, outputs, bytes }).collect();
        (Packed::new(inputs, &parts).unwrap(), all)
    }

    fn rows_of(packed: &Packed, outputs: &[u32]) -> Vec<f32> {
        let mut out = vec![f32::NAN; outputs.len() * packed.inputs()];
        packed.rows(outputs, &mut out);
        out
    }

    #[test]
    fn rows_are_the_weights_to_the_last_bit() {
        let (packed, weights) = mixed(512);
        let outputs: Vec<u32> = (0..packed.outputs() as u32).collect();
        assert_eq!(rows_of(&packed, &outputs), weights);
        assert_eq!(rows_of(&packed, &[176, 3]), [&weights[176 * 512..], &weights[3 * 512..4 * 512]].concat());
    }

    #[test]
    fn an_odd_number_of_inputs_is_no_hindrance() {
        for format in [WeightFormat::F32, WeightFormat::Bf16, WeightFormat::F16] {
            let (bytes, weights) = stored(format, 3, 7, 5);
            let packed = Packed::new(7, &[Rows { format, outputs: 3, bytes: &bytes }]).unwrap();
            assert_eq!(rows_of(&packed, &[0, 1, 2]), weights);
        }
    }

    #[test]
    fn products_are_those_of_the_formula() {
        let (packed, weights) = mixed(768);
        for rows in [1, 2, 3, 5, 12, 13, 31, 130, 200] {
            let x = noise(rows as u64, rows * 768);
            let y = packed.product(&x);
            assert_eq!(y.len(), rows * packed.outputs());
            for (row, y) in y.chunks_exact(packed.outputs()).enumerate() {
                let x = &x[row * 768..(row + 1) * 768];
                let halves: Vec<f32> = x.iter().map(|x| half::bf16::from_f32(*x).to_f32()).collect();
                for ((output, y), weights) in y.iter().enumerate().zip(weights.chunks_exact(768)) {
                    let x = if BF16_OUTPUTS.contains(&output) { &halves[..] } else { x };
                    let wanted: f64 = x.iter().zip(weights).map(|(x, w)| f64::from(*x) * f64::from(*w)).sum();
                    assert!(
                        (f64::from(*y) - wanted).abs() < 2e-6 * wanted.abs().max(10.0),
                        "{rows} rows: {y}, not {wanted}"
                    );
                }
            }
        }
    }

    #[test]
    fn a_row_depends_on_no_other_and_on_no_processor() {
        let (packed, _) = mixed(512);
        let x = noise(9, 150 * 512);
        let one_by_one: Vec<f32> = x.chunks_exact(512).flat_map(|row| packed.product(row)).collect();
        let bits = |y: &[f32]| y.iter().map(|y| y.to_bits()).collect::<Vec<_>>();
        let wanted = bits(&one_by_one);
        for rows in [2, 3, 4, 7, 12, 20, 47, 150] {
            let found: Vec<f32> = x.chunks(rows * 512).flat_map(|rows| packed.product(rows)).collect();
            assert_eq!(bits(&found), wanted, "{rows} at a time");
        }
        let on = |processor, x: &[f32], workers| {
            let mut y = vec![f32::NAN; x.len() / 512 * packed.outputs()];
            packed.multiply_on(processor, x, &mut y, Put::Over, workers);
            bits(&y)
        };
        assert_eq!(on(Processor::this(), &x, Workers::Caller), wanted, "on the calling thread");
        let without_dots = |arch| Processor { arch, dots: None };
        assert_eq!(on(without_dots(Arch::new()), &x, Workers::Pool), wanted, "without dot products of bf16");
        let few = &x[..5 * 512];
        let portable = on(without_dots(Arch::Scalar), few, Workers::Pool);
        assert_eq!(portable, wanted[..5 * packed.outputs()], "portable");
        #[cfg(target_arch = "x86_64")]
        if let Some(v3) = pulp::x86::V3::try_new() {
            assert_eq!(on(without_dots(Arch::V3(v3)), &x, Workers::Pool), wanted, "AVX2");
        }
        let single = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
        assert_eq!(bits(&single.install(|| packed.product(&x))), wanted, "one thread");
    }

    #[test]
    fn products_are_added_to_what_is_there() {
        let (packed, _) = mixed(512);
        let x = noise(3, 300 * 512);
        let before = noise(4, 300 * packed.outputs());
        let wanted: Vec<f32> = packed.product(&x).iter().zip(&before).map(|(y, before)| before + y).collect();
        for workers in [Workers::Pool, Workers::Caller] {
            let mut y = before.clone();
            packed.multiply(&x, &mut y, Put::Onto, workers);
            assert_eq!(y, wanted, "{workers:?}");
        }
    }

    #[test]
    fn some_panels_make_their_columns() {
        let (packed, _) = mixed(512);
        // Formats begin panels of their own: 40, 64, 1, 33, 32 and 7 outputs.
        assert_eq!(packed.panels_of(0..40), Some(0..2));
        assert_eq!(packed.panels_of(104..105), Some(4..5));
        assert_eq!(packed.panels_of(170..177), Some(8..9));
        assert_eq!((packed.panels_of(40..41), packed.panels_of(0..177)), (None, Some(0..9)));
        for rows in [1, 5, 13, 250] {
            let x = noise(rows as u64, rows * 512);
            let whole = packed.product(&x);
            let mut y = vec![f32::NAN; rows * 41];
            packed.multiply_panels(&x, &[4..5, 0..2], &mut y);
            for (y, whole) in y.chunks_exact(41).zip(whole.chunks_exact(packed.outputs())) {
                assert_eq!((y[0], &y[1..]), (whole[104], &whole[..40]));
            }
        }
    }

    #[test]
    fn what_is_no_matrix_is_refused() {
        let whole = Rows { format: WeightFormat::F32, outputs: 1, bytes: &[0; 4 * 48] };
        let pack = |rows| Packed::new(48, &[whole, rows]).unwrap_err();
        let size = |(part, error)| part == 1 && matches!(error, PackError::Size { .. });
        let no_blocks = Rows { format: WeightFormat::Q8_0, outputs: 1, bytes: &[0; 34] };
        assert!(size(pack(no_blocks)), "48 is no multiple of 32");
        assert!(size(pack(Rows { outputs: 2, ..whole })));
        let infinite = Rows { format: WeightFormat::F16, outputs: 1, bytes: &[0x7c; 96] };
        assert_eq!(pack(infinite), (1, PackError::NotFinite));
        let nothing = Packed::new(48, &[]).unwrap();
        assert_eq!(nothing.outputs(), 0);
        assert!(nothing.product(&[0.0; 48]).is_empty());
    }
}
