//! Artifacts on disk: digests, atomic writes, bounded reads. The one place
//! that touches the file system for writing.

mod atomic;
mod digest;
mod read;

pub use atomic::{StagedDir, sync_dir, write};
pub use digest::{Digest, FileDigest, ParseDigestError, abbreviate, digest_dir, digest_file};
pub use read::{ReadError, open_file, read_bounded, read_text_bounded};
