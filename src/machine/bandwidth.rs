//! How fast memory is read.

use std::hint::black_box;
use std::time::Instant;

use rayon::prelude::*;

use super::Pages;

/// Numbers that are read: more than any cache holds.
const NUMBERS: usize = 1 << 26;
/// What a thread takes at a time.
const PART: usize = 1 << 18;
const TRIES: u32 = 4;

/// Bytes a second from memory, in 10⁹, that the threads of the current pool read together: the best of a few tries. 0 if
/// there is no memory to try it with.
pub fn read_gb_per_s() -> f64 {
    let Ok(mut numbers) = Pages::<u64>::zeros(NUMBERS) else { return 0.0 };
    numbers.fill(1);
    let read = |_| {
        let started = Instant::now();
        let sum: u64 = numbers.par_chunks(PART).map(|part| part.iter().fold(0, |sum, n| sum ^ n)).sum();
        black_box(sum);
        (NUMBERS * size_of::<u64>()) as f64 / started.elapsed().as_secs_f64() / 1e9
    };
    (0..TRIES).map(read).fold(0.0, f64::max)
}
