//! Memory that is asked for before it is needed.

/// Bytes that a processor fetches together.
pub(super) const LINE: usize = 64;

/// Words of a line.
pub(super) const LINE_WORDS: usize = LINE / size_of::<u32>();

/// Asks for the line that a slice begins in, into the second-level cache; nothing where the processor has no such wish.
#[inline(always)]
pub(super) fn prefetch<T>(values: &[T]) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a prefetch reads nothing that the program sees, and faults at no address.
    #[allow(unsafe_code)]
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T1, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T1>(values.as_ptr().cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = values;
}

/// Asks for all lines of a slice.
#[inline(always)]
pub(super) fn prefetch_all<T>(values: &[T]) {
    values.chunks(LINE / size_of::<T>()).for_each(prefetch);
}
