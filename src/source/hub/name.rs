//! Names that come from an experiment, a lock or the hub: none of them may
//! climb out of the cache or change what a request asks for.

use super::HubError;

/// A repository's name, `owner/name` or `name`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Repo(String);

impl Repo {
    pub fn parse(text: &str) -> Result<Self, HubError> {
        let parts: Vec<&str> = text.split('/').collect();
        match parts.len() <= 2 && parts.iter().all(|part| plain(part)) {
            true => Ok(Self(text.to_owned())),
            false => Err(HubError::Name { what: "repository", text: text.to_owned() }),
        }
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The folder of the repository in a cache.
    pub fn folder(&self) -> String {
        format!("models--{}", self.0.replace('/', "--"))
    }
}

/// Refuses what is not a branch, a tag, `refs/pr/1` or a commit.
pub(super) fn check_revision(text: &str) -> Result<(), HubError> {
    match text.split('/').all(plain) {
        true => Ok(()),
        false => Err(HubError::Name { what: "revision", text: text.to_owned() }),
    }
}

/// A part of a repository's or revision's name.
fn plain(part: &str) -> bool {
    !part.is_empty()
        && part.len() <= 100
        && !part.starts_with('.')
        && part.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c))
}

/// Whether a name is that of a file beside `config.json`, and of no other place.
pub(super) fn is_plain_file(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= 200
        && !name.starts_with('.')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c))
}

/// Whether a text is a full commit: 40 hex digits.
pub(super) fn is_commit(text: &str) -> bool {
    text.len() == 40 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_cannot_climb_out_of_the_cache() {
        for good in ["Qwen/Qwen3-0.6B", "gpt2", "a_b/c-d.e"] {
            assert!(Repo::parse(good).is_ok(), "{good}");
        }
        assert_eq!(Repo::parse("Qwen/Qwen3-0.6B").unwrap().folder(), "models--Qwen--Qwen3-0.6B");
        for bad in ["../x", "a/b/c", "", "a//b", "a\\b", "/a", "a/..", "a\0", "a/b?x=1", "a b"] {
            assert!(matches!(Repo::parse(bad), Err(HubError::Name { .. })), "{bad:?}");
        }
        for good in ["main", "refs/pr/1", "v1.0", "feature/x", &"a".repeat(40)] {
            assert!(check_revision(good).is_ok(), "{good}");
        }
        for bad in ["../../etc", "/etc/passwd", "", "a/", "a/./b", "a%2f", "main#x"] {
            assert!(matches!(check_revision(bad), Err(HubError::Name { .. })), "{bad:?}");
        }
        for bad in ["", ".", "..", "../x", "/x", "a/b", "a\\b", "a\0", ".x", "a b", &"a".repeat(201)] {
            assert!(!is_plain_file(bad), "{bad:?}");
        }
        assert!(is_plain_file("model-00001-of-00002.safetensors"));
    }
}
