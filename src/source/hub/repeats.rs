//! What is worth another try, and when.

use std::io;
use std::time::Duration;

use super::HubError;
use super::http::Wanted;
use super::settings::Patience;
use crate::progress::Progress;

/// Longest pause of our own between two tries.
const MAX_PAUSE: Duration = Duration::from_secs(30);

/// Tries of a request before it is given up.
const TRIES: u32 = 5;

/// A request did not give what was asked for.
#[derive(Debug)]
pub(super) enum Trouble {
    /// Worth another try, after the time that the server asks for.
    Passing {
        host: String,
        why: io::Error,
        wait: Option<Duration>,
    },
    Final(HubError),
}

impl Trouble {
    pub fn passing(host: &str, kind: io::ErrorKind, why: &str) -> Self {
        Self::Passing { host: host.to_owned(), why: io::Error::new(kind, why), wait: None }
    }
}

impl From<HubError> for Trouble {
    fn from(error: HubError) -> Self {
        Self::Final(error)
    }
}

/// Counts tries, and waits between them.
pub(super) struct Repeats<'a> {
    patience: Patience,
    progress: &'a dyn Progress,
    failures: u32,
}

impl<'a> Repeats<'a> {
    pub fn new(patience: Patience, progress: &'a dyn Progress) -> Self {
        Self { patience, progress, failures: 0 }
    }

    /// Something was gained since the last failure: the next ones count anew.
    pub fn gained(&mut self) {
        self.failures = 0;
    }

    /// Waits until it is time for another try.
    ///
    /// # Errors
    /// The trouble is final, or it was one too many.
    pub fn after(&mut self, trouble: Trouble, wanted: Wanted<'_>) -> Result<(), HubError> {
        let (host, source, wait) = match trouble {
            Trouble::Final(error) => return Err(error),
            Trouble::Passing { host, why, wait } => (host, why, wait),
        };
        self.failures += 1;
        if self.failures >= TRIES {
            let (what, tries) = (wanted.name(), format!(" in {TRIES} tries"));
            return Err(HubError::Unreachable { host, what, tries, source });
        }
        let pause = self.patience.pause.saturating_mul(1 << (self.failures - 1)).min(MAX_PAUSE);
        let pause = wait.unwrap_or(pause);
        self.progress.note(&format!("{source}; again in {:.1} s", pause.as_secs_f64()));
        std::thread::sleep(pause);
        Ok(())
    }
}
