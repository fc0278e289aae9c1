//! The `git` program: a file at a revision, settings, attributes. Everything
//! that comes from a person reaches git as a value, never as an option.

mod attributes;
mod branches;
mod command;
mod error;
mod repository;
mod settings;
mod suggest;

pub use attributes::Attributes;
pub use command::{merge_lines, run_through, wants_colour};
pub use error::GitError;
pub use repository::{Repository, split_revision};
pub use settings::{Scope, Setting, Settings};
