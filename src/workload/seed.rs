//! SKELETON
/// The seed of a named stream, derived from the root seed.
pub fn derive(root: u64, stream: &str) -> u64 {
    todo!("{root} {stream}")
}
