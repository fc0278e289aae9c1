//! Artifacts on disk: digests, atomic writes, bounded reads. The one place
//! that touches the file system for writing.

mod atomic;
mod digest;
mod object_store;
mod read;
mod stored_result;

pub use atomic::{StagedDir, write};
pub use digest::{Digest, FileDigest, ParseDigestError, abbreviate, digest_dir, digest_file};
pub use object_store::{FetchError, ObjectStore, StoreGuard, touch};
pub use read::{ReadError, open_file, read_bounded, read_text_bounded};
pub use stored_result::{ResultError, StoredResult, is_inside, result_key};
