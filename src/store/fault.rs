//! Faults on demand, in test builds only: a release has none of this. Operations on the file system
//! are counted over the process from 1.
//!
//! | `XP_FAULT` | does |
//! |---|---|
//! | `count` | nothing |
//! | `fail:N:ENOSPC` | the N-th operation fails with this error |
//! | `fail:N+:ENOSPC` | so do all after it |
//! | `stop:N` | the process ends before the N-th operation: no destructor runs, nothing is flushed |
//! | `torn:N` | the same, after half of the bytes if the N-th operation writes |
//!
//! With each of them, the file that `XP_FAULT_LOG` names gets a line for every operation: its number,
//! its name and its paths, separated by tabs.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::sync::{Mutex, OnceLock, PoisonError};

use super::file::Operation;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    Count,
    /// `forever`: all operations from the n-th.
    Fail {
        n: u64,
        forever: bool,
        errno: i32,
    },
    Stop {
        n: u64,
    },
    Torn {
        n: u64,
    },
}

/// Numbers of errors, the same on Linux and macOS.
const ERRORS: [(&str, i32); 6] =
    [("EIO", 5), ("EACCES", 13), ("EXDEV", 18), ("EMFILE", 24), ("ENOSPC", 28), ("EROFS", 30)];

impl Fault {
    fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split(':');
        let (kind, n) = (parts.next()?, parts.next());
        let forever = n.is_some_and(|n| n.ends_with('+'));
        let n = || n?.trim_end_matches('+').parse().ok();
        let fault = match kind {
            "count" => Self::Count,
            "stop" => Self::Stop { n: n()? },
            "torn" => Self::Torn { n: n()? },
            "fail" => {
                let name = parts.next()?;
                let (_, errno) = ERRORS.into_iter().find(|(known, _)| *known == name)?;
                Self::Fail { n: n()?, forever, errno }
            }
            _ => return None,
        };
        parts.next().is_none().then_some(fault)
    }

    fn at(self, count: u64) -> Effect {
        match self {
            Self::Fail { n, forever, errno } if count == n || (forever && count > n) => Effect::Fail(errno),
            Self::Stop { n } if count == n => Effect::Stop,
            Self::Torn { n } if count == n => Effect::Torn,
            _ => Effect::None,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Effect {
    None,
    Fail(i32),
    Stop,
    Torn,
}

struct Injector {
    fault: Fault,
    /// Operations so far, and where they are told.
    count: Mutex<(u64, Option<File>)>,
}

impl Injector {
    fn from_environment() -> Option<Self> {
        let text = std::env::var("XP_FAULT").ok()?;
        let Some(fault) = Fault::parse(&text) else { panic!("XP_FAULT={text} is no fault") };
        let log = std::env::var_os("XP_FAULT_LOG").map(open_log);
        Some(Self { fault, count: Mutex::new((0, log)) })
    }

    fn next(&self, operation: Operation, paths: &[&Path]) -> Effect {
        let mut guard = self.count.lock().unwrap_or_else(PoisonError::into_inner);
        let (count, log) = &mut *guard;
        *count += 1;
        if let Some(log) = log {
            let mut line = format!("{count}\t{operation:?}");
            for path in paths {
                line.push_str(&format!("\t{}", path.display()));
            }
            writeln!(log, "{line}").expect("the fault log can be written");
        }
        self.fault.at(*count)
    }
}

fn open_log(path: OsString) -> File {
    File::options().create(true).append(true).open(path).expect("the fault log can be opened")
}

fn injector() -> Option<&'static Injector> {
    static INJECTOR: OnceLock<Option<Injector>> = OnceLock::new();
    INJECTOR.get_or_init(Injector::from_environment).as_ref()
}

/// Counts an operation, which may fail or be the last.
pub(super) fn reached(operation: Operation, paths: &[&Path]) -> io::Result<()> {
    if is_torn_at(operation, paths)? {
        stop();
    }
    Ok(())
}

/// Like [`reached`]; true if the caller shall do half of the operation and stop.
pub(super) fn is_torn_at(operation: Operation, paths: &[&Path]) -> io::Result<bool> {
    let Some(injector) = injector() else { return Ok(false) };
    match injector.next(operation, paths) {
        Effect::None => Ok(false),
        Effect::Fail(errno) => Err(io::Error::from_raw_os_error(errno)),
        Effect::Stop => stop(),
        Effect::Torn => Ok(true),
    }
}

/// Ends the process at once, as a kill does.
pub(super) fn stop() -> ! {
    std::process::abort()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_are_read_and_come_when_they_are_due() {
        let fail = Fault::parse("fail:3:ENOSPC").unwrap();
        assert_eq!(fail, Fault::Fail { n: 3, forever: false, errno: 28 });
        assert_eq!([2, 3, 4].map(|n| fail.at(n)), [Effect::None, Effect::Fail(28), Effect::None]);
        let full = Fault::parse("fail:3+:EROFS").unwrap();
        assert_eq!([2, 3, 4].map(|n| full.at(n)), [Effect::None, Effect::Fail(30), Effect::Fail(30)]);
        assert_eq!(Fault::parse("stop:1").unwrap().at(1), Effect::Stop);
        assert_eq!(Fault::parse("torn:1").unwrap().at(2), Effect::None);
        assert_eq!(Fault::parse("count"), Some(Fault::Count));
        for bad in ["", "stop", "stop:x", "stop:1:2", "fail:1", "fail:1:EWHAT", "halt:1"] {
            assert_eq!(Fault::parse(bad), None, "{bad}");
        }
        assert_eq!(io::Error::from_raw_os_error(28).kind(), io::ErrorKind::StorageFull);
    }
}
