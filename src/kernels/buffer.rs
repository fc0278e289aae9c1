/// Memory that grows to what is asked of it, and is kept: fresh pages take longer than many a product.
#[derive(Debug, Default)]
pub struct Buffer<T>(Vec<T>);

impl<T: Copy + Default> Buffer<T> {
    /// Without memory.
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// Room for so many values; they may be anything.
    pub fn room(&mut self, count: usize) -> &mut [T] {
        self.0.resize(count.max(self.0.len()), T::default());
        &mut self.0[..count]
    }

    /// The first values.
    pub fn first(&self, count: usize) -> &[T] {
        &self.0[..count]
    }
}
