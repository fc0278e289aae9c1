//! A run that somebody else measured, read from a file: when each request came,
//! got its first token and its last.

mod error;
mod rows;
mod timing;

use std::path::Path;

pub use error::RecordingError;

use super::{Backend, BackendError, Job};
use crate::metrics::{RunKind, RunMeta, RunRecord};
use crate::progress::Progress;
use crate::spec::RecordedBackend;
use crate::store::{Digest, read_text_bounded};
use crate::workload::Workload;

/// Largest recording that is read, in bytes.
const MAX_BYTES: u64 = 512 << 20;

/// A recording in place of an engine.
pub struct RecordedRunner<'a> {
    pub spec: &'a RecordedBackend,
    /// Where the recording is.
    pub file: &'a Path,
    /// The digest that the lock pins of it.
    pub sha256: Digest,
    /// The device that the experiment declares; no machine is looked at.
    pub device: &'a str,
}

impl Backend for RecordedRunner<'_> {
    fn serve(&mut self, job: &Job<'_>, _: &dyn Progress) -> Result<(RunRecord, RunMeta), BackendError> {
        let name = &self.spec.path;
        let text = read_text_bounded(self.file, MAX_BYTES).map_err(RecordingError::from)?;
        if Digest::of(&text) != self.sha256 {
            return Err(RecordingError::Changed { file: name.clone() }.into());
        }
        let record = parse_recording(self.spec, &text, job.workload)?;
        let mut meta = super::meta(job, &self.spec.name, RunKind::Recorded, &record);
        meta.hardware = vec![
            ("device".to_owned(), self.device.to_owned()),
            ("compute threads".to_owned(), job.hardware.threads.to_string()),
        ];
        Ok((record, meta))
    }
}

/// Reads a recording of a workload's requests; its text is JSON lines if the file's name says so, else CSV.
///
/// # Errors
/// With file, line and column: see [`RecordingError`].
pub(crate) fn parse_recording(
    spec: &RecordedBackend,
    text: &str,
    workload: &Workload,
) -> Result<RunRecord, RecordingError> {
    let mut timings = timing::Timings::new(&spec.path, &spec.columns, workload);
    rows::read(&spec.path, text, &spec.columns, &mut timings)?;
    timings.record()
}

#[cfg(test)]
mod tests;
