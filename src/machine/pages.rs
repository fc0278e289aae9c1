//! Memory that a step reads from front to back.

use std::io;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};

use bytemuck::Pod;
use memmap2::MmapMut;

/// Bytes of a large page.
const LARGE: usize = 2 << 20;

/// Numbers in pages of their own, large ones where the system has them: a processor reads ahead within a page, and finds a
/// large one's place once. The first number begins a line of the cache. All are zero at first.
#[derive(Debug)]
pub struct Pages<T> {
    map: MmapMut,
    /// Bytes in front, so that the first number begins a large page.
    skipped: usize,
    len: usize,
    kind: PhantomData<T>,
}

impl<T: Pod> Pages<T> {
    /// So many zeros.
    ///
    /// # Errors
    /// The system has not so much memory.
    pub fn zeros(len: usize) -> io::Result<Self> {
        let bytes = len.checked_mul(size_of::<T>()).ok_or(io::ErrorKind::OutOfMemory)?;
        // Of less, more would be wasted than is gained.
        if bytes < LARGE {
            let map = MmapMut::map_anon(bytes.max(1))?;
            return Ok(Self { map, skipped: 0, len, kind: PhantomData });
        }
        let whole = bytes.checked_next_multiple_of(LARGE).and_then(|bytes| bytes.checked_add(LARGE));
        let map = MmapMut::map_anon(whole.ok_or(io::ErrorKind::OutOfMemory)?)?;
        let skipped = map.as_ptr().align_offset(LARGE);
        // A wish: where it is not met, pages are small.
        #[cfg(target_os = "linux")]
        let _ = map.advise_range(memmap2::Advice::HugePage, skipped, bytes.next_multiple_of(LARGE));
        Ok(Self { map, skipped, len, kind: PhantomData })
    }
}

impl<T: Pod> Deref for Pages<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        bytemuck::cast_slice(&self.map[self.skipped..][..self.len * size_of::<T>()])
    }
}

impl<T: Pod> DerefMut for Pages<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        bytemuck::cast_slice_mut(&mut self.map[self.skipped..][..self.len * size_of::<T>()])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_kept_and_begin_a_line() {
        for len in [0, 1, 1000, 1 << 20, (1 << 20) + 3] {
            let mut pages = Pages::<f32>::zeros(len).unwrap();
            assert_eq!(pages.len(), len);
            assert!(pages.iter().all(|number| *number == 0.0));
            assert_eq!(pages.as_ptr().align_offset(64), 0);
            for (index, number) in pages.iter_mut().enumerate() {
                *number = index as f32;
            }
            assert!(pages.iter().enumerate().all(|(index, number)| *number == index as f32));
        }
    }

    #[test]
    fn more_than_there_is_is_refused() {
        assert!(Pages::<u32>::zeros(usize::MAX).is_err());
        assert!(Pages::<u8>::zeros(usize::MAX).is_err());
    }
}
