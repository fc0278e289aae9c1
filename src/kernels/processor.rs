//! What a processor computes products with.

use pulp::{Arch, Simd, WithSimd};

use super::dots::Dots;
use super::microkernel;
use super::pack::PackedFormat;
use super::rows::Form;

#[derive(Debug, Clone, Copy)]
pub(super) struct Processor {
    pub arch: Arch,
    /// Only with vectors of 16 numbers.
    pub dots: Option<Dots>,
}

impl Processor {
    /// That which the program runs on.
    pub fn this() -> Self {
        let arch = Arch::new();
        Self { arch, dots: Dots::of_this_processor().filter(|_| lanes(arch) == 16) }
    }

    /// Rows that it multiplies together at most.
    pub fn most_rows(self) -> usize {
        microkernel::most_rows(lanes(self.arch))
    }

    /// What it takes activations as beside weights in other formats than bf16, and in bf16, where there are such.
    pub fn forms(self, formats: &[PackedFormat]) -> [Option<Form>; 2] {
        let is_bf16 = |format: &PackedFormat| *format == PackedFormat::Bf16;
        let beside_bf16 = if self.dots.is_some() { Form::Pairs } else { Form::Rounded };
        [
            (!formats.iter().all(is_bf16)).then_some(Form::Exact),
            formats.iter().any(is_bf16).then_some(beside_bf16),
        ]
    }
}

/// Rows that this processor multiplies together: a number of rows above it takes as long as its next multiple does.
pub fn row_group() -> usize {
    microkernel::row_group(Processor::this().most_rows())
}

/// Numbers of a vector.
fn lanes(arch: Arch) -> usize {
    struct Lanes;
    impl WithSimd for Lanes {
        type Output = usize;

        #[inline(always)]
        fn with_simd<S: Simd>(self, _simd: S) -> usize {
            S::F32_LANES
        }
    }
    arch.dispatch(Lanes)
}
