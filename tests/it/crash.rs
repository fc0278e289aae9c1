//! Nothing is ever half-written: not where an operation fails, not where the process is killed, not on a
//! full disk (docs/crash-safety.md). Every experiment here shares one bundle, so that a run takes a second.
//!
//! The default `cargo test` takes a sample; `cargo test --test it -- --ignored crash` takes all.

mod disks;
mod faults;
mod kills;
mod neighbours;
mod power;
mod project;
mod results;
mod trial;

/// Fails a trial with words instead of a panic, so that a sweep tells all that is wrong.
macro_rules! ensure {
    ($what:expr, $($words:tt)*) => {
        if !$what {
            return Err(format!($($words)*));
        }
    };
}
pub(crate) use ensure;
