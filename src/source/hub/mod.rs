//! Repositories of the Hugging Face hub: a revision becomes a commit, and the
//! commit's files come from the cache, or from the hub into the cache.

mod cache;
mod download;
mod error;
mod http;
mod listing;
mod name;
mod oid;
mod repeats;
mod settings;

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use rayon::prelude::*;

pub use error::HubError;

use self::cache::Cache;
use self::download::Job;
use self::http::Client;
use self::listing::{Hub, Listing};
use self::name::{Repo, is_commit, is_plain_file};
use self::oid::Oid;
use self::settings::{Environment, Settings};
use super::{
    Access, CONFIG, ModelFiles, Network, Pinned, SourceError, TOKENIZER, TemplateFiles, config, folder,
    template, weights,
};
use crate::model::Moment;
use crate::store::{Digest, read_text_bounded};

/// Files that are fetched at once: enough for a fast line, few enough for the hub's limits.
const STREAMS: usize = 4;

/// Whether the environment forbids the network.
pub(super) fn is_offline() -> bool {
    Environment::of_process().is_offline()
}

/// Where the files of a revision lie, as far as the cache knows it. Nothing is asked of the hub.
pub(super) fn cached_folder(repo: &str, revision: &str) -> Option<PathBuf> {
    let root = settings::cache_folder()?;
    let repo = Repo::parse(repo).ok()?;
    name::check_revision(revision).ok()?;
    let cache = Cache::new(&root, &repo, true);
    let commit = match is_commit(revision) {
        true => revision.to_owned(),
        false => cache.commit_of(revision).ok()??,
    };
    Some(cache.snapshot(&commit))
}

/// Resolves a revision of a repository. What a lock pins is kept without asking the hub for the
/// revision; files that are in the cache are not fetched. With `chat` the chat template belongs to the model.
pub(super) fn resolve(
    repo: &str,
    revision: &str,
    chat: bool,
    access: &Access<'_>,
    pinned: Option<Pinned<'_>>,
) -> Result<ModelFiles, SourceError> {
    let root = settings::cache_folder().ok_or(HubError::NoCache)?;
    resolve_in(&root, repo, revision, chat, access, pinned)
}

fn resolve_in(
    root: &Path,
    repo: &str,
    revision: &str,
    chat: bool,
    access: &Access<'_>,
    pinned: Option<Pinned<'_>>,
) -> Result<ModelFiles, SourceError> {
    let repo = Repo::parse(repo)?;
    name::check_revision(revision)?;
    // A lock that was edited may name another commit than the experiment, or not all files.
    let pinned = pinned.filter(|pinned| !is_commit(revision) || pinned.commit == revision);
    if let Some(pinned) = &pinned {
        check_pins(pinned)?;
    }
    let pins = pinned.map(|pinned| digests(&pinned)).filter(|pins| is_whole_model(pins, chat));
    let cache = Cache::new(root, &repo, Environment::of_process().symlinks());
    let resolving = Resolving { repo: &repo, cache: &cache, chat, access, pins: pins.as_ref() };
    let not_cached = |why: String| HubError::NotCached {
        what: format!("{} at {revision}", repo.as_str()),
        cache: root.to_owned(),
        source: io::Error::new(io::ErrorKind::NotFound, why),
    };
    let known = pinned.map(|pinned| pinned.commit).or(Some(revision).filter(|text| is_commit(text)));
    let commit = match (known, access.network) {
        (Some(commit), _) => commit.to_owned(),
        (None, Network::Offline) => {
            let commit = cache.commit_of(revision)?;
            commit.ok_or_else(|| not_cached("its commit is not known there".to_owned()))?
        }
        (None, Network::Online) => {
            let (listing, used) = resolving.fetch(revision)?;
            cache.note_commit(revision, &listing.commit)?;
            return resolving.read(&listing.commit, &known_oids(&listing, &used));
        }
    };
    let missing = resolving.missing(&commit);
    let expected = match missing.is_empty() {
        true => BTreeMap::new(),
        false if access.network == Network::Offline => {
            return Err(not_cached(format!("missing: {}", missing.join(", "))).into());
        }
        false => {
            let (listing, used) = resolving.fetch(&commit)?;
            known_oids(&listing, &used)
        }
    };
    resolving.read(&commit, &expected)
}

/// Whether pins name all that a model is made of.
fn is_whole_model(pins: &BTreeMap<String, Digest>, chat: bool) -> bool {
    let weights = pins.keys().any(|name| name.ends_with(".safetensors"));
    let template = !chat || template::NAMES.iter().any(|name| pins.contains_key(*name));
    weights && template && [CONFIG, TOKENIZER].iter().all(|name| pins.contains_key(*name))
}

/// The digests that the hub's listing gives for the files of a model.
fn known_oids(listing: &Listing, used: &[String]) -> BTreeMap<String, Oid> {
    let known = |file: &String| Some((file.clone(), listing.files.get(file)?.as_ref()?.oid));
    used.iter().filter_map(known).collect()
}

/// A commit and names that a lock pins are input like any other.
fn check_pins(pinned: &Pinned<'_>) -> Result<(), HubError> {
    if !is_commit(pinned.commit) {
        return Err(HubError::Name { what: "the pinned commit", text: pinned.commit.to_owned() });
    }
    match pinned.files.iter().find(|file| !is_plain_file(&file.file)) {
        Some(file) => Err(HubError::Name { what: "the pinned file", text: file.file.clone() }),
        None => Ok(()),
    }
}

fn digests(pinned: &Pinned<'_>) -> BTreeMap<String, Digest> {
    pinned.files.iter().map(|file| (file.file.clone(), file.sha256)).collect()
}

/// Those of the files that a folder lacks.
fn absent<'a>(folder: &Path, files: impl Iterator<Item = &'a str>) -> Vec<String> {
    files.filter(|file| !folder.join(file).is_file()).map(str::to_owned).collect()
}

/// What a snapshot certainly lacks, as far as its own files tell.
fn gaps(snapshot: &Path, shown: &str, chat: bool) -> Vec<String> {
    let mut missing = absent(snapshot, [CONFIG, TOKENIZER].into_iter());
    missing.extend(template::gap(snapshot).filter(|_| chat).map(str::to_owned));
    match weights::find(snapshot, shown) {
        Ok(names) => {
            // One shard that is alone is what a cut download leaves: the index was to come.
            let torn =
                !snapshot.join(weights::INDEX).is_file() && names.iter().any(|name| name.contains("-of-"));
            match torn {
                true => missing.push(weights::INDEX.to_owned()),
                false => missing.extend(absent(snapshot, names.iter().map(String::as_str))),
            }
        }
        Err(_) => missing.push(weights::SINGLE.to_owned()),
    }
    missing
}

/// One repository being resolved.
struct Resolving<'a> {
    repo: &'a Repo,
    cache: &'a Cache,
    /// Whether the chat template belongs to the model.
    chat: bool,
    access: &'a Access<'a>,
    /// The files that a lock pins.
    pins: Option<&'a BTreeMap<String, Digest>>,
}

impl Resolving<'_> {
    /// Files that the commit's snapshot certainly lacks.
    fn missing(&self, commit: &str) -> Vec<String> {
        let snapshot = self.cache.snapshot(commit);
        match self.pins {
            Some(pins) => absent(&snapshot, pins.keys().map(String::as_str)),
            None => gaps(&snapshot, self.repo.as_str(), self.chat),
        }
    }

    /// Asks the hub about a revision, and fetches what the commit's snapshot lacks; what the hub said, and
    /// the names of all files that the model is made of.
    fn fetch(&self, revision: &str) -> Result<(Listing, Vec<String>), SourceError> {
        let client = Client::new(Settings::read(Environment::of_process())?)?;
        let hub = Hub { client: &client, repo: self.repo, progress: self.access.progress };
        let listing = hub.listing(revision)?;
        let used = match self.pins {
            Some(pins) => {
                let names: Vec<String> = pins.keys().cloned().collect();
                self.fetch_these(&hub, &listing, &names)?;
                names
            }
            None => self.fetch_model(&hub, &listing)?,
        };
        Ok((listing, used))
    }

    /// Fetches a model, what is small first: one that xp does not run is refused before its weights are
    /// fetched.
    fn fetch_model(&self, hub: &Hub<'_>, listing: &Listing) -> Result<Vec<String>, SourceError> {
        let snapshot = self.cache.snapshot(&listing.commit);
        let shown = self.repo.as_str();
        let mut used = vec![CONFIG.to_owned(), TOKENIZER.to_owned()];
        self.fetch_these(hub, listing, &used[..1])?;
        let text = read_text_bounded(&snapshot.join(CONFIG), config::MAX_CONFIG)?;
        config::parse(&format!("{shown}/{CONFIG}"), &text)?;
        if self.chat {
            let listed = template::NAMES.into_iter().filter(|name| listing.files.contains_key(*name));
            used.extend(listed.map(str::to_owned));
            self.fetch_these(hub, listing, &used)?;
            TemplateFiles::find(&snapshot, shown, None).load(Moment::PINNED, |_, _| Ok(()))?;
        }
        let weights = match listing.files.contains_key(weights::INDEX) {
            true => {
                used.push(weights::INDEX.to_owned());
                self.fetch_these(hub, listing, &used)?;
                weights::find(&snapshot, shown)?
            }
            false => vec![single(listing, shown)?],
        };
        used.extend(weights);
        self.fetch_these(hub, listing, &used)?;
        Ok(used)
    }

    /// Fetches those of the files that the snapshot lacks.
    fn fetch_these(&self, hub: &Hub<'_>, listing: &Listing, names: &[String]) -> Result<(), HubError> {
        let snapshot = self.cache.snapshot(&listing.commit);
        let missing = absent(&snapshot, names.iter().map(String::as_str));
        let jobs: Vec<Job<'_>> = missing
            .iter()
            .map(|file| {
                let job = Job {
                    file,
                    remote: hub.remote(listing, file)?,
                    pinned: self.pins.and_then(|pins| pins.get(file)).copied(),
                };
                as_pinned(hub, listing, &job).map(|()| job)
            })
            .collect::<Result<_, HubError>>()?;
        if jobs.is_empty() {
            return Ok(());
        }
        let pool = rayon::ThreadPoolBuilder::new().num_threads(STREAMS.min(jobs.len())).build();
        let pool = pool.map_err(|error| HubError::io(&snapshot)(io::Error::other(error)))?;
        let total = jobs.iter().map(|job| job.remote.size).sum();
        self.access.progress.start_bytes(self.repo.as_str(), total);
        let fetch = |job: &Job<'_>| download::fetch(hub, self.cache, &listing.commit, *job);
        let done = pool.install(|| jobs.par_iter().try_for_each(fetch));
        self.access.progress.finish();
        done
    }

    /// Reads a snapshot, and holds its files against what is pinned, or else against what the hub said.
    fn read(&self, commit: &str, expected: &BTreeMap<String, Oid>) -> Result<ModelFiles, SourceError> {
        let snapshot = self.cache.snapshot(commit);
        let made =
            folder::resolve(&snapshot, self.repo.as_str(), Some(commit.to_owned()), self.chat, self.access)?;
        for file in &made.files {
            let pinned = self.pins.and_then(|pins| pins.get(&file.file)).map(|digest| Oid::Sha256(*digest));
            let says = if pinned.is_some() { "the lock pins" } else { "the hub says" };
            let Some(expected) = pinned.or_else(|| expected.get(&file.file).copied()) else { continue };
            let path = snapshot.join(&file.file);
            let found = match expected {
                Oid::Sha256(_) => Oid::Sha256(file.sha256),
                Oid::Git(_) => oid::of_file(&path, expected).map_err(HubError::io(&path))?,
            };
            if found != expected {
                let algorithm = expected.algorithm();
                let (expected, found) = (expected.to_string(), found.to_string());
                return Err(HubError::Damaged { path, algorithm, says, expected, found }.into());
            }
        }
        Ok(made)
    }
}

/// Refuses a file whose digest is known to be another than the pinned one, before it is fetched.
fn as_pinned(hub: &Hub<'_>, listing: &Listing, job: &Job<'_>) -> Result<(), HubError> {
    match (job.remote.oid, job.pinned) {
        (Oid::Sha256(found), Some(pinned)) if found != pinned => Err(HubError::Wrong {
            file: hub.wanted(&listing.commit, Some(job.file)).name(),
            algorithm: "SHA-256",
            says: "the lock pins",
            expected: pinned.to_string(),
            found: found.to_string(),
        }),
        _ => Ok(()),
    }
}

/// The one file of weights in a repository without an index.
fn single(listing: &Listing, shown: &str) -> Result<String, SourceError> {
    let names: Vec<&str> = listing
        .files
        .keys()
        .map(String::as_str)
        .filter(|name| name.ends_with(".safetensors") && is_plain_file(name))
        .collect();
    let message = match names.as_slice() {
        names if names.contains(&weights::SINGLE) => return Ok(weights::SINGLE.to_owned()),
        [name] => return Ok((*name).to_owned()),
        [] => "has no *.safetensors".to_owned(),
        several => format!("has {} *.safetensors and no {}", several.len(), weights::INDEX),
    };
    Err(SourceError::Weights { folder: shown.to_owned(), message })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::progress::Silent;
    use crate::store::{DigestCache, FileDigest, Memo};

    const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

    fn offline(root: &Path, revision: &str, pinned: Option<Pinned<'_>>) -> Result<ModelFiles, SourceError> {
        let (digests, memo) = (DigestCache::default(), Memo::default());
        let access = Access {
            inputs: root,
            digests: &digests,
            memo: &memo,
            network: Network::Offline,
            progress: &Silent,
        };
        resolve_in(root, "Org/tiny-1.0", revision, false, &access, pinned)
    }

    fn cached(root: &Path) -> std::path::PathBuf {
        let home = root.join("models--Org--tiny-1.0");
        let snapshot = home.join("snapshots").join(COMMIT);
        folder::tests::write_tiny(&snapshot);
        std::fs::create_dir_all(home.join("refs/feature")).unwrap();
        for name in ["main", "feature/x"] {
            std::fs::write(home.join("refs").join(name), COMMIT).unwrap();
        }
        snapshot
    }

    #[test]
    fn a_cached_revision_resolves_to_its_commit() {
        let dir = tempfile::tempdir().unwrap();
        let snapshot = cached(dir.path());
        for revision in ["main", "feature/x", COMMIT] {
            let made = offline(dir.path(), revision, None).unwrap();
            assert_eq!(made.commit.as_deref(), Some(COMMIT));
        }
        // The pinned commit counts, not where the branch is now.
        let made = offline(dir.path(), "main", None).unwrap();
        std::fs::write(dir.path().join("models--Org--tiny-1.0/refs/main"), "f".repeat(40)).unwrap();
        let pinned = Pinned { commit: COMMIT, files: &made.files };
        assert_eq!(offline(dir.path(), "main", Some(pinned)).unwrap().commit.as_deref(), Some(COMMIT));
        // A lock that was edited pins no more than the commit.
        let part = Pinned { commit: COMMIT, files: &made.files[..1] };
        assert_eq!(offline(dir.path(), "main", Some(part)).unwrap().files, made.files);
        let other = Pinned { commit: &"e".repeat(40), files: &made.files };
        assert_eq!(offline(dir.path(), COMMIT, Some(other)).unwrap().files, made.files);
        // A commit never changes its files.
        std::fs::write(snapshot.join(CONFIG), config::tests::TINY.replace("0.0", "0.5")).unwrap();
        let error = offline(dir.path(), "main", Some(pinned)).unwrap_err();
        assert!(matches!(error, SourceError::Hub(HubError::Damaged { .. })), "{error}");
    }

    #[test]
    fn what_the_cache_lacks_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let said = |revision: &str| {
            let error = offline(dir.path(), revision, None).unwrap_err();
            let SourceError::Hub(HubError::NotCached { source, .. }) = error else { panic!("{error}") };
            source.to_string()
        };
        let nothing = [said("main"), said(COMMIT)];
        let snapshot = cached(dir.path());
        std::fs::remove_file(snapshot.join(TOKENIZER)).unwrap();
        std::fs::rename(snapshot.join("model.safetensors"), snapshot.join("model-1-of-2.safetensors"))
            .unwrap();
        let torn = said("main");
        let index =
            "{\"weight_map\": {\"a\": \"model-1-of-2.safetensors\", \"b\": \"model-2-of-2.safetensors\"}}";
        std::fs::write(snapshot.join(weights::INDEX), index).unwrap();
        let found = [nothing.as_slice(), &[torn, said("main")]].concat().join("\n");
        insta::assert_snapshot!(found, @r"
        its commit is not known there
        missing: config.json, tokenizer.json, model.safetensors
        missing: tokenizer.json, model.safetensors.index.json
        missing: tokenizer.json, model-2-of-2.safetensors
        ");
    }

    #[test]
    fn pins_are_doubted_like_any_input() {
        let dir = tempfile::tempdir().unwrap();
        let file = |name: &str| FileDigest { file: name.to_owned(), bytes: 1, sha256: Digest::of("x") };
        for (commit, name) in
            [("main", "config.json"), ("../../x", "config.json"), (COMMIT, "../config.json")]
        {
            let found = offline(dir.path(), "main", Some(Pinned { commit, files: &[file(name)] }));
            assert!(
                matches!(found, Err(SourceError::Hub(HubError::Name { .. }))),
                "{commit} {name}: {found:?}"
            );
        }
    }
}
