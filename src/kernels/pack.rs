//! Matrices of weights in panels.

use std::ops::Range;

use rayon::prelude::*;

use super::layout::{Bf16, F16, F32, Layout, PANEL, Scaled4, Scaled8};
use super::product::Put;
use crate::machine::Pages;

/// How weights are stored: row after row, little-endian.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum WeightFormat {
    F32,
    Bf16,
    F16,
    /// GGML's: blocks of 32 with a scale in f16 and 8-bit integers.
    Q8_0,
    /// GGML's: super-blocks of 256 with 4-bit integers in eight blocks.
    Q4K,
    /// GGML's: super-blocks of 256 with 6-bit integers in sixteen blocks.
    Q6K,
}

impl WeightFormat {
    /// Weights of a block, and its bytes.
    pub fn block(self) -> (usize, usize) {
        match self {
            Self::F32 => (1, 4),
            Self::Bf16 | Self::F16 => (1, 2),
            Self::Q8_0 => (32, 34),
            Self::Q4K => (256, 144),
            Self::Q6K => (256, 210),
        }
    }

    /// Bytes of a row of so many weights; None if they are no whole blocks.
    pub fn row_bytes(self, inputs: usize) -> Option<usize> {
        let (weights, bytes) = self.block();
        inputs.is_multiple_of(weights).then(|| inputs / weights * bytes)
    }
}

/// Weights cannot be packed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PackError {
    /// Rows are no whole blocks, or not as many bytes as they should be.
    #[error("{found} bytes of {format:?} are no {outputs} rows of {inputs} weights")]
    Size { format: WeightFormat, outputs: usize, inputs: usize, found: usize },
    /// A 16-bit weight is infinite or none.
    #[error("a weight is infinite or not a number")]
    NotFinite,
    /// The system has not so much.
    #[error("no memory for {bytes} bytes")]
    Memory { bytes: usize },
}

/// A format in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PackedFormat {
    F32,
    Bf16,
    F16,
    Scaled8By32,
    Scaled8By16,
    Scaled4,
}

/// Calls a function that is generic over [`Layout`] with that of a format.
macro_rules! with_layout {
    ($format:expr, $layout:ident => $body:expr) => {
        match $format {
            $crate::kernels::pack::PackedFormat::F32 => {
                let $layout = $crate::kernels::layout::F32;
                $body
            }
            $crate::kernels::pack::PackedFormat::Bf16 => {
                let $layout = $crate::kernels::layout::Bf16;
                $body
            }
            $crate::kernels::pack::PackedFormat::F16 => {
                let $layout = $crate::kernels::layout::F16;
                $body
            }
            $crate::kernels::pack::PackedFormat::Scaled8By32 => {
                let $layout = $crate::kernels::layout::Scaled8::<32>;
                $body
            }
            $crate::kernels::pack::PackedFormat::Scaled8By16 => {
                let $layout = $crate::kernels::layout::Scaled8::<16>;
                $body
            }
            $crate::kernels::pack::PackedFormat::Scaled4 => {
                let $layout = $crate::kernels::layout::Scaled4;
                $body
            }
        }
    };
}
pub(super) use with_layout;

/// Neighbouring outputs.
#[derive(Debug)]
pub(super) struct Panel {
    pub format: PackedFormat,
    pub first_output: usize,
    /// At most [`PANEL`]; the lanes behind them hold zeros.
    pub outputs: usize,
    /// Where its words lie among the matrix's; they are as its format's [`Layout`] says.
    pub words: Range<usize>,
}

impl Panel {
    /// Puts the panel's results of a row at the beginning of `y`.
    pub fn put(&self, lanes: &[f32], y: &mut [f32], put: Put) {
        match (self.outputs == PANEL, y.first_chunk_mut::<PANEL>(), lanes.first_chunk::<PANEL>()) {
            // Of a known length, they are copied in place.
            (true, Some(y), Some(lanes)) => put.put(lanes, y),
            _ => put.put(&lanes[..self.outputs], &mut y[..self.outputs]),
        }
    }
}

/// Rows of a matrix as they are stored.
#[derive(Debug, Clone, Copy)]
pub struct Rows<'a> {
    pub format: WeightFormat,
    pub outputs: usize,
    pub bytes: &'a [u8],
}

/// A matrix `[outputs][inputs]`, packed for products. Its outputs may be in different formats.
#[derive(Debug)]
pub struct Packed {
    inputs: usize,
    outputs: usize,
    pub(super) panels: Vec<Panel>,
    /// Formats of the panels, each once.
    pub(super) formats: Vec<PackedFormat>,
    /// Panel after panel.
    words: Pages<u32>,
}

impl Packed {
    /// The rows of all parts, one above the other.
    ///
    /// # Errors
    /// The part that has more or fewer bytes than it should, or weights in f16 that are no numbers; or there is no memory.
    pub fn new(inputs: usize, parts: &[Rows<'_>]) -> Result<Self, (usize, PackError)> {
        let (mut panels, mut formats, mut stored) = (Vec::new(), Vec::new(), Vec::new());
        let (mut outputs, mut all_words) = (0, 0);
        for (part, rows) in parts.iter().enumerate() {
            let row_bytes = rows.row_bytes(inputs).map_err(|error| (part, error))?;
            let format = PackedFormat::of(rows.format, inputs);
            if !formats.contains(&format) {
                formats.push(format);
            }
            let words = with_layout!(format, layout => layout.panel_words(inputs));
            for bytes in rows.bytes.chunks(PANEL * row_bytes.max(1)) {
                let of_panel = bytes.len() / row_bytes;
                let words = all_words..all_words + words;
                (outputs, all_words) = (outputs + of_panel, words.end);
                panels.push(Panel { format, first_output: outputs - of_panel, outputs: of_panel, words });
                stored.push((part, rows.format, bytes, row_bytes));
            }
        }
        let no_memory = |_| (0, PackError::Memory { bytes: all_words * size_of::<u32>() });
        let mut words = Pages::zeros(all_words).map_err(no_memory)?;
        let (mut rest, mut places) = (&mut *words, Vec::with_capacity(panels.len()));
        for panel in &panels {
            let (place, behind) = rest.split_at_mut(panel.words.len());
            places.push(place);
            rest = behind;
        }
        places.into_par_iter().zip(&stored).try_for_each(|(place, &(part, format, bytes, row_bytes))| {
            let rows: Vec<&[u8]> = bytes.chunks_exact(row_bytes).collect();
            pack(format, inputs, &rows, place).map_err(|error| (part, error))
        })?;
        Ok(Self { inputs, outputs, panels, formats, words })
    }

    /// Length of a row.
    pub fn inputs(&self) -> usize {
        self.inputs
    }

    /// Number of rows.
    pub fn outputs(&self) -> usize {
        self.outputs
    }

    /// Bytes in memory.
    pub fn num_bytes(&self) -> usize {
        size_of_val(&*self.words)
    }

    /// The panels that hold just these outputs; None if there are no such.
    pub fn panels_of(&self, outputs: Range<usize>) -> Option<Range<usize>> {
        let begins = |output| match self.panels.binary_search_by_key(&output, |panel| panel.first_output) {
            Ok(panel) => Some(panel),
            Err(_) => (output == self.outputs).then_some(self.panels.len()),
        };
        (outputs.start <= outputs.end).then_some(())?;
        Some(begins(outputs.start)?..begins(outputs.end)?)
    }

    /// The words of a panel; none behind the last.
    pub(super) fn words(&self, panel: usize) -> &[u32] {
        self.panels.get(panel).map_or(&[], |panel| &self.words[panel.words.clone()])
    }
}

impl Rows<'_> {
    /// Bytes of a row.
    fn row_bytes(&self, inputs: usize) -> Result<usize, PackError> {
        let Self { format, outputs, bytes } = *self;
        match format.row_bytes(inputs) {
            Some(row_bytes) if row_bytes.checked_mul(outputs) == Some(bytes.len()) => Ok(row_bytes),
            _ => Err(PackError::Size { format, outputs, inputs, found: bytes.len() }),
        }
    }
}

impl PackedFormat {
    /// What a format becomes in rows of so many weights.
    fn of(format: WeightFormat, inputs: usize) -> Self {
        // Two weights share a word: an odd number of them is widened.
        let paired = inputs.is_multiple_of(2);
        match format {
            WeightFormat::Bf16 if paired => Self::Bf16,
            WeightFormat::F16 if paired => Self::F16,
            WeightFormat::F32 | WeightFormat::Bf16 | WeightFormat::F16 => Self::F32,
            WeightFormat::Q8_0 => Self::Scaled8By32,
            WeightFormat::Q4K => Self::Scaled4,
            WeightFormat::Q6K => Self::Scaled8By16,
        }
    }
}

/// Packs at most [`PANEL`] rows into words that are zero.
fn pack(format: WeightFormat, inputs: usize, rows: &[&[u8]], out: &mut [u32]) -> Result<(), PackError> {
    let paired = inputs.is_multiple_of(2);
    match format {
        WeightFormat::F32 => lanes(rows, out, u32::from_le_bytes),
        WeightFormat::Bf16 if paired => lanes(rows, out, u32::from_le_bytes),
        WeightFormat::Bf16 => lanes(rows, out, |two| half::bf16::from_le_bytes(two).to_f32().to_bits()),
        WeightFormat::F16 => {
            finite_f16(rows)?;
            match paired {
                true => lanes(rows, out, u32::from_le_bytes),
                false => lanes(rows, out, |two| half::f16::from_le_bytes(two).to_f32().to_bits()),
            }
        }
        WeightFormat::Q8_0 => blocks::<Scaled8<32>, 34>(rows, out, q8_0),
        WeightFormat::Q4K => blocks::<Scaled4, 144>(rows, out, q4_k),
        WeightFormat::Q6K => {
            let words = Scaled8::<16>::WORDS;
            for (lane, row) in rows.iter().enumerate() {
                let (row, _) = row.as_chunks::<210>();
                for (index, block) in row.iter().enumerate() {
                    q6_k(block, |part, word, bits| {
                        out[((16 * index + part) * words + word) * PANEL + lane] = bits;
                    });
                }
            }
        }
    }
    Ok(())
}

/// A word of every `BYTES` bytes, lane beside lane.
fn lanes<const BYTES: usize>(rows: &[&[u8]], out: &mut [u32], word: impl Fn([u8; BYTES]) -> u32) {
    for (lane, row) in rows.iter().enumerate() {
        let (row, _) = row.as_chunks::<BYTES>();
        for (bytes, to) in row.iter().zip(out.chunks_exact_mut(PANEL)) {
            to[lane] = word(*bytes);
        }
    }
}

fn finite_f16(rows: &[&[u8]]) -> Result<(), PackError> {
    let finite = |row: &&[u8]| row.as_chunks::<2>().0.iter().all(|two| two[1] & 0x7c != 0x7c);
    if rows.iter().all(finite) { Ok(()) } else { Err(PackError::NotFinite) }
}

/// Blocks of `BYTES` bytes that are groups of a layout; `word_of` says a block's words.
fn blocks<L: Layout, const BYTES: usize>(
    rows: &[&[u8]],
    out: &mut [u32],
    word_of: impl Fn(&[u8; BYTES], usize) -> u32,
) {
    for (lane, row) in rows.iter().enumerate() {
        let (row, _) = row.as_chunks::<BYTES>();
        for (block, to) in row.iter().zip(out.chunks_exact_mut(L::WORDS * PANEL)) {
            for word in 0..L::WORDS {
                to[word * PANEL + lane] = word_of(block, word);
            }
        }
    }
}

/// A number in f16.
fn f16(low: u8, high: u8) -> f32 {
    half::f16::from_le_bytes([low, high]).to_f32()
}

/// Words of a block of [`WeightFormat::Q8_0`]: f16 scale, 32 signed bytes.
fn q8_0(block: &[u8; 34], word: usize) -> u32 {
    let Some(quad) = word.checked_sub(1) else { return f16(block[0], block[1]).to_bits() };
    let at = 2 + 4 * quad;
    u32::from_le_bytes([block[at], block[at + 1], block[at + 2], block[at + 3]].map(|byte| byte ^ 0x80))
}

/// Words of a super-block of [`WeightFormat::Q4K`]: two f16 scales, 12 bytes of 6-bit factors, 128 bytes of
/// integers, where 32 bytes hold a block in their low halves and the next in their high halves.
fn q4_k(block: &[u8; 144], word: usize) -> u32 {
    match word {
        0 => f16(block[0], block[1]).to_bits(),
        1 => f16(block[2], block[3]).to_bits(),
        2..6 => {
            let both = |part: usize| {
                let (scale, minimum) = q4_k_factors(&block[4..16], part);
                u32::from(scale) | u32::from(minimum) << 8
            };
            both(2 * (word - 2)) | both(2 * (word - 2) + 1) << 16
        }
        _ => {
            let first = 8 * (word - 6);
            let (part, within) = (first / 32, first % 32);
            (0..8).fold(0, |bits, place| {
                let byte = block[16 + 32 * (part / 2) + within + place];
                bits | u32::from(byte >> (4 * (part % 2)) & 0xf) << (4 * place)
            })
        }
    }
}

/// Scale and minimum of a block, 6 bits each: of the first four in the low bits of bytes 0 to 7, of the others in
/// bytes 8 to 11 and the high bits of the former.
fn q4_k_factors(bytes: &[u8], part: usize) -> (u8, u8) {
    match part {
        0..4 => (bytes[part] & 63, bytes[part + 4] & 63),
        _ => (
            bytes[part + 4] & 0xf | (bytes[part - 4] >> 6) << 4,
            bytes[part + 4] >> 4 | (bytes[part] >> 6) << 4,
        ),
    }
}

/// Words of a super-block of [`WeightFormat::Q6K`], sixteen groups: 128 bytes of low halves, 64 of the upper two bits,
/// 16 signed scales, a scale of scales in f16.
fn q6_k(block: &[u8; 210], mut put: impl FnMut(usize, usize, u32)) {
    let of_scales = f16(block[208], block[209]);
    let integer = |index: usize| {
        // Halves of 128; in each, quarters of 32 share bytes.
        let (half, quarter, within) = (index / 128, index / 32 % 4, index % 32);
        let low = block[64 * half + 32 * (quarter % 2) + within] >> (4 * (quarter / 2)) & 0xf;
        let high = block[128 + 32 * half + within] >> (2 * quarter) & 3;
        // 32 too large as it is stored, 128 too large as it is packed.
        u32::from(low | high << 4) + 96
    };
    for part in 0..16 {
        let scale = of_scales * f32::from(block[192 + part] as i8);
        put(part, 0, scale.to_bits());
        for quad in 0..4 {
            let first = 16 * part + 4 * quad;
            let bits = (0..4).fold(0, |bits, place| bits | integer(first + place) << (8 * place));
            put(part, 1 + quad, bits);
        }
    }
}

const _: () = assert!(F32::WORDS == 1 && Bf16::WORDS == 1 && F16::WORDS == 1, "words are stored as they are");
