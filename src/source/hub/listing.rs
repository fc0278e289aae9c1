//! What the hub says of a revision: its commit, and each file's size and digest.

use std::collections::BTreeMap;
use std::io::{self, Read as _};

use serde::Deserialize;

use super::HubError;
use super::http::{Answer, Client, Wanted, no_such_file};
use super::name::{Repo, is_commit};
use super::oid::Oid;
use super::repeats::{Repeats, Trouble};
use crate::progress::Progress;

/// Largest answer about a revision that is read, in bytes: some 50,000 files.
const MAX_ANSWER: u64 = 16 << 20;

/// A file as the hub describes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Remote {
    /// Length in bytes.
    pub size: u64,
    pub oid: Oid,
}

/// A revision as the hub describes it.
#[derive(Debug)]
pub(super) struct Listing {
    pub commit: String,
    /// By name; None where the list does not say what the file is.
    pub files: BTreeMap<String, Option<Remote>>,
}

#[derive(Deserialize)]
struct Info {
    sha: String,
    siblings: Vec<Sibling>,
}

#[derive(Deserialize)]
struct Sibling {
    rfilename: String,
    size: Option<u64>,
    #[serde(rename = "blobId")]
    blob_id: Option<String>,
    lfs: Option<Lfs>,
}

#[derive(Deserialize)]
struct Lfs {
    size: u64,
    #[serde(alias = "oid")]
    sha256: String,
}

impl Sibling {
    fn remote(&self) -> Option<Remote> {
        let (size, oid) = match &self.lfs {
            Some(lfs) => (lfs.size, lfs.sha256.as_str()),
            None => (self.size?, self.blob_id.as_deref()?),
        };
        Some(Remote { size, oid: Oid::parse(oid)? })
    }
}

/// The hub, asked about one repository.
pub(super) struct Hub<'a> {
    pub client: &'a Client,
    pub repo: &'a Repo,
    pub progress: &'a dyn Progress,
}

impl Hub<'_> {
    /// Asks what a revision holds.
    pub fn listing(&self, revision: &str) -> Result<Listing, HubError> {
        let (repo, wanted) = (self.repo.as_str(), self.wanted(revision, None));
        let path = format!("/api/models/{repo}/revision/{}?blobs=true", escaped(revision));
        let url = self.client.url(&path)?;
        self.progress.start(&format!("{} is asked about {}", self.client.host(), wanted.name()), 0);
        let bytes = self.repeated(wanted, || self.read(self.client.ask(&url, wanted)?, wanted));
        self.progress.finish();
        let bytes = bytes?;
        let info: Info = serde_json::from_slice(&bytes).map_err(|error| {
            let (line, column) = (error.line(), error.column());
            self.odd(wanted, format!("it is no description of a model (line {line}, column {column})"))
        })?;
        if !is_commit(&info.sha) {
            return Err(self.odd(wanted, "it names no commit of 40 hex digits".to_owned()));
        }
        if is_commit(revision) && info.sha != revision {
            return Err(self.odd(wanted, format!("it is about commit {}", info.sha)));
        }
        let files = info.siblings.iter().map(|file| (file.rfilename.clone(), file.remote())).collect();
        Ok(Listing { commit: info.sha, files })
    }

    /// What a file is: by the listing, or by a request of its own where a mirror's listing says less.
    pub fn remote(&self, listing: &Listing, file: &str) -> Result<Remote, HubError> {
        let wanted = self.wanted(&listing.commit, Some(file));
        match listing.files.get(file) {
            Some(Some(remote)) => return Ok(*remote),
            Some(None) => {}
            None => return Err(no_such_file(wanted)),
        }
        let url = self.file_url(&listing.commit, file)?;
        let answer = self.repeated(wanted, || self.client.head(&url, wanted))?;
        let etag = answer.header("x-linked-etag").or_else(|| answer.header("etag")).unwrap_or_default();
        let etag = etag.trim_start_matches("W/").trim_matches('"');
        let length = answer.header("x-linked-size").or_else(|| answer.header("content-length"));
        let oid = Oid::parse(etag).ok_or_else(|| self.odd(wanted, "its ETag is no digest".to_owned()))?;
        let size = length.and_then(|text| text.parse().ok());
        let size = size.ok_or_else(|| self.odd(wanted, "it says no size".to_owned()))?;
        match answer.header("x-repo-commit").filter(|commit| *commit != listing.commit) {
            Some(_) => Err(self.odd(wanted, "it is about another commit".to_owned())),
            None => Ok(Remote { size, oid }),
        }
    }

    /// Where a file is asked for.
    pub fn file_url(&self, commit: &str, file: &str) -> Result<url::Url, HubError> {
        self.client.url(&format!("/{}/resolve/{commit}/{}", self.repo.as_str(), escaped(file)))
    }

    pub fn wanted<'a>(&'a self, revision: &'a str, file: Option<&'a str>) -> Wanted<'a> {
        Wanted { repo: self.repo.as_str(), revision, file }
    }

    fn repeated<T>(
        &self,
        wanted: Wanted<'_>,
        mut ask: impl FnMut() -> Result<T, Trouble>,
    ) -> Result<T, HubError> {
        let mut repeats = Repeats::new(self.client.patience, self.progress);
        loop {
            match ask() {
                Ok(made) => return Ok(made),
                Err(trouble) => repeats.after(trouble, wanted)?,
            }
        }
    }

    fn read(&self, answer: Answer, wanted: Wanted<'_>) -> Result<Vec<u8>, Trouble> {
        let (mut bytes, host) = (Vec::new(), answer.host);
        let read = answer.body.into_reader().take(MAX_ANSWER + 1).read_to_end(&mut bytes);
        if bytes.len() as u64 > MAX_ANSWER {
            return Err(self.odd(wanted, format!("it is longer than {MAX_ANSWER} bytes")).into());
        }
        match read {
            Ok(_) => Ok(bytes),
            Err(_) => Err(Trouble::passing(&host, io::ErrorKind::UnexpectedEof, "the answer broke off")),
        }
    }

    fn odd(&self, wanted: Wanted<'_>, why: String) -> HubError {
        HubError::Answer {
            host: self.client.host(),
            what: wanted.name(),
            source: io::Error::new(io::ErrorKind::InvalidData, why),
        }
    }
}

/// A checked name as one segment of an address: only its slashes need escaping.
fn escaped(name: &str) -> String {
    name.replace('/', "%2F")
}
