//! The local Hugging Face cache: `models--org--name/{refs,snapshots}`.

use std::env;
use std::path::{Path, PathBuf};

use super::SourceError;
use crate::store::{ReadError, read_text_bounded};

/// A revision of a repository, on this disk.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Snapshot {
    /// Commit that the revision resolved to: 40 hex digits.
    pub commit: String,
    pub folder: PathBuf,
}

/// The cache's folder, from the variables that Hugging Face's own tools read.
pub(super) fn cache_folder() -> Option<PathBuf> {
    let variable = |name: &str| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    variable("HF_HUB_CACHE")
        .or_else(|| Some(variable("HF_HOME")?.join("hub")))
        .or_else(|| Some(variable("XDG_CACHE_HOME")?.join("huggingface/hub")))
        .or_else(|| Some(env::home_dir()?.join(".cache/huggingface/hub")))
}

/// Looks a revision up in a cache. A full commit stands for itself; a branch or tag is looked up.
pub(super) fn snapshot(cache: &Path, repo: &str, revision: &str) -> Result<Snapshot, SourceError> {
    let malformed = |what, text: &str| SourceError::Repository { what, text: text.to_owned() };
    let parts: Vec<&str> = repo.split('/').collect();
    if parts.len() > 2 || !parts.iter().all(|part| plain(part)) {
        return Err(malformed("repository", repo));
    }
    if !revision.split('/').all(plain) {
        return Err(malformed("revision", revision));
    }
    let missing = || SourceError::NotCached {
        repo: repo.to_owned(),
        revision: revision.to_owned(),
        cache: cache.to_owned(),
    };
    let home = cache.join(format!("models--{}", parts.join("--")));
    let commit = if is_commit(revision) {
        revision.to_owned()
    } else {
        let path = home.join("refs").join(revision);
        let text = match read_text_bounded(&path, 256) {
            Err(ReadError::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
                return Err(missing());
            }
            read => read?,
        };
        let commit = text.trim();
        if !is_commit(commit) {
            return Err(malformed("the cached commit", commit));
        }
        commit.to_owned()
    };
    let folder = home.join("snapshots").join(&commit);
    if !folder.is_dir() {
        return Err(missing());
    }
    Ok(Snapshot { commit, folder })
}

/// A part of a repository's or revision's name: it cannot climb out of the cache.
fn plain(part: &str) -> bool {
    !part.is_empty()
        && part.len() <= 100
        && !part.starts_with('.')
        && part.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c))
}

fn is_commit(text: &str) -> bool {
    text.len() == 40 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

#[cfg(test)]
mod tests {
    use super::super::{Access, folder};
    use super::*;
    use crate::store::{DigestCache, Memo};

    const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

    #[test]
    fn a_revision_resolves_to_its_commit() {
        let dir = tempfile::tempdir().unwrap();
        let home = dir.path().join("models--Org--tiny-1.0");
        folder::tests::write_tiny(&home.join("snapshots").join(COMMIT));
        std::fs::create_dir_all(home.join("refs/feature")).unwrap();
        for name in ["main", "feature/x"] {
            std::fs::write(home.join("refs").join(name), format!("{COMMIT}\n")).unwrap();
        }
        for revision in ["main", "feature/x", COMMIT] {
            let found = snapshot(dir.path(), "Org/tiny-1.0", revision).unwrap();
            assert_eq!(found.commit, COMMIT);
            let (digests, memo) = (DigestCache::default(), Memo::default());
            let access = Access { root: dir.path(), digests: &digests, memo: &memo };
            let made = folder::resolve(&found.folder, "Org/tiny-1.0", Some(found.commit), &access).unwrap();
            assert_eq!(made.commit.as_deref(), Some(COMMIT));
        }
    }

    #[test]
    fn what_is_not_cached_says_how_to_get_it() {
        let dir = tempfile::tempdir().unwrap();
        for revision in ["main", COMMIT] {
            let missing = snapshot(dir.path(), "Qwen/Qwen3-0.6B", revision).unwrap_err();
            let help = miette::Diagnostic::help(&missing).unwrap().to_string();
            assert!(help.contains("hf download Qwen/Qwen3-0.6B"), "{help}");
        }
    }

    #[test]
    fn names_cannot_climb_out_of_the_cache() {
        let dir = tempfile::tempdir().unwrap();
        for (repo, revision) in [
            ("../x", "main"),
            ("a/b/c", "main"),
            ("", "main"),
            ("a//b", "main"),
            ("a/b", "../../etc"),
            ("a/b", "/etc/passwd"),
            ("a/b", ""),
            ("a\\b", "main"),
        ] {
            let found = snapshot(dir.path(), repo, revision);
            assert!(matches!(found, Err(SourceError::Repository { .. })), "{repo:?} {revision:?}: {found:?}");
        }
        let home = dir.path().join("models--a--b/refs");
        std::fs::create_dir_all(&home).unwrap();
        std::fs::write(home.join("main"), "../../../etc").unwrap();
        assert!(matches!(snapshot(dir.path(), "a/b", "main"), Err(SourceError::Repository { .. })));
    }
}
