//! One file of the hub, into the cache: whole and as the hub says, or not at all.

use std::io::{self, ErrorKind, Read, Write};
use std::path::PathBuf;

use super::HubError;
use super::cache::Cache;
use super::http::Answer;
use super::listing::{Hub, Remote};
use super::oid::Hasher;
use super::repeats::{Repeats, Trouble};
use crate::store::file::{self, PartFile};
use crate::store::{self, Digest};

/// Bytes that are read at once.
const PIECE: usize = 1 << 18;

/// A file to fetch.
#[derive(Debug, Clone, Copy)]
pub(super) struct Job<'a> {
    pub file: &'a str,
    pub remote: Remote,
    /// What the lock pins of it.
    pub pinned: Option<Digest>,
}

/// The part of a file that is there: `blobs/OID.incomplete`, as Hugging Face's own tools name it.
struct Partial {
    path: PathBuf,
    file: PartFile,
    have: u64,
    hasher: Hasher,
    /// Parts of it came at other times: they may not belong together.
    patched: bool,
}

impl Partial {
    /// Opens what an earlier call left, if anything, and hashes it.
    fn open(path: PathBuf, remote: &Remote) -> io::Result<Self> {
        let file = PartFile::open(&path)?;
        let hasher = Hasher::new(remote.oid, remote.size);
        let mut partial = Self { path, file, have: 0, hasher, patched: false };
        if partial.file.length()? > remote.size {
            partial.file.clear()?;
        }
        let mut piece = vec![0; PIECE];
        loop {
            match partial.file.read(&mut piece)? {
                0 => break,
                n => {
                    partial.hasher.update(&piece[..n]);
                    partial.have += n as u64;
                }
            }
        }
        partial.patched = partial.have > 0;
        Ok(partial)
    }

    /// Drops all that is there.
    fn restart(&mut self, remote: &Remote) -> io::Result<()> {
        self.file.clear()?;
        self.have = 0;
        self.patched = false;
        self.hasher = Hasher::new(remote.oid, remote.size);
        Ok(())
    }

    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes)?;
        self.hasher.update(bytes);
        self.have += bytes.len() as u64;
        Ok(())
    }
}

/// A file on its way.
struct Transfer<'a> {
    hub: &'a Hub<'a>,
    commit: &'a str,
    job: Job<'a>,
    partial: Partial,
    /// Bytes that the progress bar knows of.
    reported: u64,
}

/// Fetches a file of a commit into the cache, unless its content is there already.
///
/// # Errors
/// A file that is not as long as the hub says, or has another digest, is deleted; where the server fails,
/// what has arrived stays for the next call.
pub(super) fn fetch(hub: &Hub<'_>, cache: &Cache, commit: &str, job: Job<'_>) -> Result<(), HubError> {
    let blob = cache.blob(&job.remote.oid);
    let _lock = cache.lock(&job.remote.oid, hub.progress)?;
    if blob.is_file() {
        hub.progress.advance(job.remote.size);
    } else {
        let folder = blob.parent().unwrap_or(&blob);
        file::create_dir_all(folder).map_err(HubError::io(folder))?;
        let path = blob.with_extension("incomplete");
        let partial = Partial::open(path.clone(), &job.remote).map_err(HubError::io(&path))?;
        let mut transfer = Transfer { hub, commit, job, partial, reported: 0 };
        transfer.report();
        match transfer.complete() {
            Err(error @ (HubError::Wrong { .. } | HubError::Size { .. })) => {
                file::remove_file(&path).map_err(HubError::io(&path))?;
                return Err(error);
            }
            done => done?,
        }
        store::rename(&path, &blob).map_err(HubError::io(&blob))?;
    }
    cache.link(commit, job.file, &job.remote.oid)
}

impl Transfer<'_> {
    /// Receives until the file is whole and right.
    fn complete(&mut self) -> Result<(), HubError> {
        let wanted = self.hub.wanted(self.commit, Some(self.job.file));
        let mut repeats = Repeats::new(self.hub.client.patience, self.hub.progress);
        let mut restarted = false;
        loop {
            while self.partial.have < self.job.remote.size {
                let had = self.partial.have;
                let Err(trouble) = self.receive() else { break };
                // A server that gives a piece each time is slow; one that gives nothing is down.
                if self.partial.have >= had + PIECE as u64 {
                    repeats.gained();
                }
                repeats.after(trouble, wanted)?;
            }
            match self.check() {
                Err(HubError::Wrong { .. }) if self.partial.patched && !restarted => {
                    restarted = true;
                    self.restart()?;
                }
                Err(error) => return Err(error),
                Ok(()) => return self.partial.file.finish().map_err(HubError::io(&self.partial.path)),
            }
        }
    }

    /// Asks for the rest, once.
    fn receive(&mut self) -> Result<(), Trouble> {
        let (hub, size) = (self.hub, self.job.remote.size);
        let wanted = hub.wanted(self.commit, Some(self.job.file));
        let url = hub.file_url(self.commit, self.job.file)?;
        let offset = self.partial.have;
        let answer = hub.client.fetch(&url, wanted, offset)?;
        match answer.status {
            206 => match content_range(&answer) {
                Some((_, Some(total))) if total != size => return Err(self.other_size(total)),
                Some((start, _)) if start == offset => self.partial.patched = true,
                _ => {
                    return Err(
                        self.no_ranges(&answer, "the server sent another part than it was asked for")?
                    );
                }
            },
            416 => return Err(self.no_ranges(&answer, "the server has no such part")?),
            _ if offset > 0 => self.restart()?,
            _ => {}
        }
        let length = answer.header("content-length").and_then(|text| text.parse::<u64>().ok());
        let coming = length.map(|length| self.partial.have.saturating_add(length));
        if let Some(coming) = coming.filter(|coming| *coming != size) {
            return Err(self.other_size(coming));
        }
        self.take(answer)
    }

    fn take(&mut self, answer: Answer) -> Result<(), Trouble> {
        let (size, host) = (self.job.remote.size, answer.host);
        let mut body = answer.body.into_reader();
        let mut piece = vec![0; PIECE];
        loop {
            let n = match body.read(&mut piece) {
                Ok(n) => n,
                // The connection's end is of no interest once all is there.
                Err(_) if self.partial.have == size => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(broken(&host, error)),
            };
            if n == 0 {
                return match self.partial.have == size {
                    true => Ok(()),
                    false => {
                        Err(Trouble::passing(&host, ErrorKind::UnexpectedEof, "the connection broke off"))
                    }
                };
            }
            if self.partial.have + n as u64 > size {
                return Err(self.other_size(self.partial.have + n as u64));
            }
            self.partial.append(&piece[..n]).map_err(HubError::io(&self.partial.path))?;
            self.report();
        }
    }

    /// Holds the whole file against what the hub says and the lock pins.
    fn check(&mut self) -> Result<(), HubError> {
        let fresh = Hasher::new(self.job.remote.oid, self.job.remote.size);
        let (oid, sha256) = std::mem::replace(&mut self.partial.hasher, fresh).finish();
        let wrong = |algorithm, says, expected: String, found: String| {
            let file = self.hub.wanted(self.commit, Some(self.job.file)).name();
            Err(HubError::Wrong { file, algorithm, says, expected, found })
        };
        if oid != self.job.remote.oid {
            let expected = self.job.remote.oid.to_string();
            return wrong(oid.algorithm(), "the hub says", expected, oid.to_string());
        }
        match self.job.pinned {
            Some(pinned) if pinned != sha256 => {
                wrong("SHA-256", "the lock pins", pinned.to_string(), sha256.to_string())
            }
            _ => Ok(()),
        }
    }

    fn restart(&mut self) -> Result<(), HubError> {
        self.partial.restart(&self.job.remote).map_err(HubError::io(&self.partial.path))
    }

    /// The part that is there is of no use: the next try asks for the whole file.
    fn no_ranges(&mut self, answer: &Answer, why: &str) -> Result<Trouble, HubError> {
        self.restart()?;
        Ok(Trouble::passing(&answer.host, ErrorKind::InvalidData, why))
    }

    fn other_size(&self, found: u64) -> Trouble {
        let file = self.hub.wanted(self.commit, Some(self.job.file)).name();
        Trouble::Final(HubError::Size { file, expected: self.job.remote.size, found })
    }

    /// Moves the bar, which never goes back.
    fn report(&mut self) {
        if self.partial.have > self.reported {
            self.hub.progress.advance(self.partial.have - self.reported);
            self.reported = self.partial.have;
        }
    }
}

fn broken(host: &str, error: io::Error) -> Trouble {
    // Never the whole message of the HTTP library: it may hold an address.
    match error.get_ref().and_then(|inner| inner.downcast_ref::<ureq::Error>()) {
        Some(ureq::Error::Timeout(_)) => {
            Trouble::passing(host, ErrorKind::TimedOut, "nothing more came in time")
        }
        Some(_) => Trouble::passing(host, ErrorKind::InvalidData, "the connection broke off"),
        None => Trouble::Passing { host: host.to_owned(), why: error, wait: None },
    }
}

/// First byte and whole length of `Content-Range: bytes 5-9/10`; the length may be unknown (`*`).
fn content_range(answer: &Answer) -> Option<(u64, Option<u64>)> {
    parse_range(answer.header("content-range")?)
}

fn parse_range(text: &str) -> Option<(u64, Option<u64>)> {
    let (range, total) = text.trim().strip_prefix("bytes")?.trim_start().split_once('/')?;
    let start = range.split_once('-')?.0.trim().parse().ok()?;
    match total.trim() {
        "*" => Some((start, None)),
        total => Some((start, Some(total.parse().ok()?))),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::source::hub::oid::Oid;

    #[test]
    fn ranges_are_read_strictly() {
        assert_eq!(parse_range("bytes 5-9/10"), Some((5, Some(10))));
        assert_eq!(parse_range("bytes 0-0/*"), Some((0, None)));
        for bad in
            ["", "bytes", "bytes */10", "5-9/10", "bytes 5/10", "bytes -9/10", "bytes 5-9/x", "items 5-9/10"]
        {
            assert_eq!(parse_range(bad), None, "{bad}");
        }
    }

    #[test]
    fn what_was_there_is_hashed_and_what_is_too_long_is_dropped() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.incomplete");
        let remote = Remote { size: 6, oid: Oid::Sha256(Digest::of("abcdef")) };
        fs::write(&path, "abc").unwrap();
        let mut partial = Partial::open(path.clone(), &remote).unwrap();
        assert_eq!((partial.have, partial.patched), (3, true));
        partial.append(b"def").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"abcdef");
        assert_eq!(partial.hasher.finish().0, remote.oid);
        fs::write(&path, "abcdefg").unwrap();
        let mut partial = Partial::open(path.clone(), &remote).unwrap();
        assert_eq!((partial.have, partial.patched), (0, false));
        partial.append(b"abc").unwrap();
        partial.restart(&remote).unwrap();
        partial.append(b"abcdef").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"abcdef");
        assert_eq!(partial.hasher.finish().0, remote.oid);
    }
}
