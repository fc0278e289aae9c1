//! Artifacts on disk: digests, atomic writes, bounded reads. The one place
//! that touches the file system for writing.

mod atomic;
mod bounded_records;
mod checked;
mod digest;
mod digest_cache;
#[cfg(debug_assertions)]
mod fault;
pub mod file;
mod memo;
mod object_store;
mod read;
mod stored_result;
mod transfer;

pub use atomic::{StagedDir, copy, is_temporary, rename, write, write_part, write_with};
pub use bounded_records::{BoundedRecords, OutOfBounds};
pub use checked::{read_checked, write_checked};
pub use digest::{Digest, DigestWriter, FileDigest, ParseDigestError, abbreviate, digest_dir, digest_file};
pub use digest_cache::DigestCache;
pub use memo::Memo;
pub use object_store::{FetchError, ObjectStore, StoreGuard};
pub use read::{ReadError, open_file, read_bounded, read_text_bounded};
pub use stored_result::{ResultError, StoredResult, is_inside, result_key};
pub use transfer::{TransferError, Transferred, transfer};
