use std::path::{Path, PathBuf};

use super::command::{Answer, answer, ask, git};
use super::error::GitError;
use super::suggest::closest;

/// Most bytes of a listing that is searched for a likely name.
const MAX_LISTING: u64 = 1 << 20;

/// A git repository, seen from a folder in it.
#[derive(Debug, Clone)]
pub struct Repository {
    dir: PathBuf,
}

/// `REV:path` taken apart at the first `:` that is in no braces; the revision may be empty (the index).
pub fn split_revision(text: &str) -> Option<(&str, &str)> {
    let mut depth = 0_u32;
    let at = text.char_indices().find_map(|(at, c)| {
        match c {
            '{' => depth += 1,
            '}' => depth = depth.saturating_sub(1),
            ':' if depth == 0 => return Some(at),
            _ => {}
        }
        None
    })?;
    Some((&text[..at], &text[at + 1..]))
}

impl Repository {
    /// The repository that a folder lies in.
    ///
    /// # Errors
    /// It lies in none, or git does not run or trust it. `help` says what else can be done.
    pub fn of(dir: &Path, help: &str) -> Result<Self, GitError> {
        let dir = match dir.as_os_str().is_empty() {
            true => Path::new("."),
            false => dir,
        };
        let found = ask(dir, &["rev-parse", "--git-dir"])?;
        if found.ok() {
            return Ok(Self { dir: dir.to_owned() });
        }
        if found.said.starts_with("not a git repository") {
            let dir = std::path::absolute(dir).unwrap_or_else(|_| dir.to_owned());
            return Err(GitError::NoRepository { dir, help: help.to_owned() });
        }
        Err(failed("rev-parse", &found))
    }

    /// The top folder of the working tree.
    ///
    /// # Errors
    /// The repository has none.
    pub fn top(&self) -> Result<PathBuf, GitError> {
        let found = ask(&self.dir, &["rev-parse", "--show-toplevel"])?;
        if !found.ok() {
            return Err(failed("rev-parse", &found));
        }
        Ok(PathBuf::from(found.line()))
    }

    /// The value that an attribute has for a path from the top.
    ///
    /// # Errors
    /// git refuses.
    pub fn attribute(&self, name: &str, path: &str) -> Result<String, GitError> {
        let found = ask(&self.top()?, &["check-attr", "-z", name, "--", path])?;
        if !found.ok() {
            return Err(failed("check-attr", &found));
        }
        let text = String::from_utf8_lossy(&found.out).into_owned();
        Ok(text.split('\0').nth(2).unwrap_or_default().to_owned())
    }

    /// The folder that calls run in.
    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    /// The text of a file at a revision. The path is from the repository's top, or with `./` from this
    /// folder; without a revision it is the staged file's.
    ///
    /// # Errors
    /// There is no such revision or file, or it is no text of at most `limit` bytes.
    pub fn text_at(&self, rev: &str, path: &str, limit: u64) -> Result<String, GitError> {
        let name = format!("{rev}:{path}");
        // From here on the object starts with a digit, a letter of a digest, or a colon.
        let object = match rev {
            "" => format!(":{path}"),
            rev => format!("{}:{path}", self.tree(rev)?),
        };
        let kind = ask(&self.dir, &["cat-file", "-t", &object])?;
        if kind.line() != "blob" || path.is_empty() {
            let help = self.where_else(rev, path, object.split(':').next().unwrap_or_default());
            let rev = if rev.is_empty() { "the index" } else { rev }.to_owned();
            return Err(GitError::Path { rev, path: path.to_owned(), help });
        }
        let blob = answer(git(&self.dir).args(["cat-file", "blob", &object]), limit)?;
        if blob.cut {
            return Err(GitError::TooLarge { name, limit });
        }
        if !blob.ok() {
            return Err(failed("cat-file", &blob));
        }
        String::from_utf8(blob.out)
            .map_err(|error| GitError::NotUtf8 { name, offset: error.utf8_error().valid_up_to() })
    }

    /// The file at a revision, or none where the revision does not have it or there is no commit yet.
    ///
    /// # Errors
    /// As of [`Self::text_at`] for all else.
    pub fn text_in_head(&self, path: &str, limit: u64) -> Result<Option<String>, GitError> {
        match self.text_at("HEAD", path, limit) {
            Ok(text) => Ok(Some(text)),
            Err(GitError::Path { .. } | GitError::Revision { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The tree of a revision, as a digest.
    fn tree(&self, rev: &str) -> Result<String, GitError> {
        let wanted = format!("{rev}^{{tree}}");
        let found = ask(&self.dir, &["rev-parse", "--verify", "--end-of-options", &wanted])?;
        let tree = found.line();
        let is_digest = !tree.is_empty() && tree.bytes().all(|byte| byte.is_ascii_hexdigit());
        if found.ok() && is_digest {
            return Ok(tree);
        }
        let help = match self.likely_revision(rev) {
            Some(likely) => format!("did you mean `{likely}`?"),
            None => {
                "a revision is a branch, a tag, a commit, or such as HEAD~2; a file on disk goes by its path"
                    .to_owned()
            }
        };
        let said = match found.said.as_str() {
            "Needed a single revision" => "git knows no such branch, tag or commit".to_owned(),
            said => said.to_owned(),
        };
        Err(GitError::Revision { rev: rev.to_owned(), said, help })
    }

    fn likely_revision(&self, rev: &str) -> Option<String> {
        let mut listing = git(&self.dir);
        listing.args(["for-each-ref", "--count=1000", "--format=%(refname:short)"]);
        let listing = answer(listing.args(["refs/heads", "refs/tags", "refs/remotes"]), MAX_LISTING).ok()?;
        closest(rev, String::from_utf8_lossy(&listing.out).lines()).map(str::to_owned)
    }

    /// Help for a path that a revision does not have.
    fn where_else(&self, rev: &str, path: &str, tree: &str) -> String {
        let general = "the path is from the repository's top; `./` makes it start in this folder";
        if tree.is_empty() || path.is_empty() {
            return general.to_owned();
        }
        let mut listing = git(&self.dir);
        listing.args(["ls-tree", "-r", "-z", "--name-only", "--full-tree", tree]);
        let Ok(listing) = answer(&mut listing, MAX_LISTING) else { return general.to_owned() };
        let listing = String::from_utf8_lossy(&listing.out).into_owned();
        let names = || listing.split('\0').filter(|name| !name.is_empty());
        let asked = path.trim_start_matches("./");
        let below = names().find(|name| name.strip_suffix(asked).is_some_and(|rest| rest.ends_with('/')));
        match below.or_else(|| closest(asked, names().filter(|name| name.ends_with(".lock.kdl")))) {
            Some(likely) => format!("did you mean `{rev}:{likely}`? {general}"),
            None => general.to_owned(),
        }
    }
}

pub(super) fn failed(what: &str, answer: &Answer) -> GitError {
    GitError::Failed { what: what.to_owned(), said: answer.said.clone() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_revision_ends_at_the_first_colon_outside_of_braces() {
        assert_eq!(split_revision("main:locks/a.lock.kdl"), Some(("main", "locks/a.lock.kdl")));
        assert_eq!(split_revision(":a:b"), Some(("", "a:b")));
        assert_eq!(split_revision("HEAD^{/fix: it}:a"), Some(("HEAD^{/fix: it}", "a")));
        assert_eq!(split_revision("locks/a.lock.kdl"), None);
        assert_eq!(split_revision("{:"), None);
    }

    fn repository() -> (tempfile::TempDir, Repository) {
        let dir = tempfile::tempdir().unwrap();
        let run = |args: &[&str]| {
            let identity = ["-c", "user.name=x", "-c", "user.email=x@example.org"];
            let answer = answer(git(dir.path()).args(identity).args(args), 1 << 10).unwrap();
            assert!(answer.ok(), "git {args:?}: {}", answer.said);
        };
        run(&["init", "-q", "-b", "main"]);
        std::fs::create_dir_all(dir.path().join("sub/locks")).unwrap();
        std::fs::write(dir.path().join("sub/locks/a.lock.kdl"), "one").unwrap();
        std::fs::write(dir.path().join("bytes"), [0xff]).unwrap();
        run(&["add", "."]);
        run(&["commit", "-q", "-m", "x"]);
        std::fs::write(dir.path().join("sub/locks/a.lock.kdl"), "two").unwrap();
        run(&["add", "."]);
        let repository = Repository::of(&dir.path().join("sub"), "").unwrap();
        (dir, repository)
    }

    #[test]
    fn a_file_is_read_at_a_revision_and_mistakes_are_told() {
        let (dir, repository) = repository();
        let at = |rev: &str, path: &str| match repository.text_at(rev, path, 8) {
            Ok(text) => text,
            Err(error) => {
                use miette::Diagnostic;
                let help = error.help().map(|help| help.to_string()).unwrap_or_default();
                format!("{error} | {help}")
            }
        };
        let lock = "sub/locks/a.lock.kdl";
        let found = [
            at("HEAD", lock),
            at("", lock),
            at("main", "./locks/a.lock.kdl"),
            at("mian", lock),
            at("nowhere-at-all", lock),
            at("-x", "foo"),
            at("--upload-pack=touch${IFS}x", "foo"),
            at("HEAD", "locks/a.lock.kdl"),
            at("HEAD", "sub/locks/b.lock.kdl"),
            at("HEAD", "--output=x"),
            at("HEAD", "sub"),
            at("HEAD", ""),
            at("HEAD", "bytes"),
        ];
        insta::assert_snapshot!(found.join("\n"), @"
        one
        two
        one
        there is no revision mian: git knows no such branch, tag or commit | did you mean `main`?
        there is no revision nowhere-at-all: git knows no such branch, tag or commit | a revision is a branch, a tag, a commit, or such as HEAD~2; a file on disk goes by its path
        there is no revision -x: git knows no such branch, tag or commit | a revision is a branch, a tag, a commit, or such as HEAD~2; a file on disk goes by its path
        there is no revision --upload-pack=touch${IFS}x: git knows no such branch, tag or commit | a revision is a branch, a tag, a commit, or such as HEAD~2; a file on disk goes by its path
        HEAD has no file locks/a.lock.kdl | did you mean `HEAD:sub/locks/a.lock.kdl`? the path is from the repository's top; `./` makes it start in this folder
        HEAD has no file sub/locks/b.lock.kdl | did you mean `HEAD:sub/locks/a.lock.kdl`? the path is from the repository's top; `./` makes it start in this folder
        HEAD has no file --output=x | the path is from the repository's top; `./` makes it start in this folder
        HEAD has no file sub | the path is from the repository's top; `./` makes it start in this folder
        HEAD has no file  | the path is from the repository's top; `./` makes it start in this folder
        HEAD:bytes is not UTF-8: byte 0 does not belong to a character |
        ");
        assert!(matches!(repository.text_at("HEAD", lock, 2), Err(GitError::TooLarge { .. })));
        assert_eq!(repository.text_in_head("./none", 8).unwrap(), None);
        let names = std::fs::read_dir(dir.path()).unwrap().count();
        assert_eq!(names, 3, "no call of git wrote a file");
    }

    #[test]
    fn a_folder_outside_of_any_repository_is_told() {
        // A temporary folder may lie in a repository of whoever runs this.
        let dir = tempfile::tempdir().unwrap();
        let mut call = git(dir.path());
        call.env("GIT_CEILING_DIRECTORIES", dir.path().parent().unwrap()).args(["rev-parse", "--git-dir"]);
        let found = answer(&mut call, 1 << 10).unwrap();
        assert!(found.said.starts_with("not a git repository"), "{}", found.said);
    }
}
