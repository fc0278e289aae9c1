use std::collections::BTreeMap;

use super::GitError;
use super::command::{Answer, answer, git};
use super::repository::{Repository, failed};

/// Most bytes of a list of branches, or of the files of a folder.
const MAX_LIST: u64 = 16 << 20;

impl Repository {
    /// Texts of the files below `folder` (from the repository's top, with a slash at its end) whose names end
    /// with `suffix`, at the tips of all local branches. Each content once, by the first branch that has it:
    /// `branch:path` and text.
    ///
    /// # Errors
    /// git fails, a list is very long, or a file is no text of at most `limit` bytes.
    pub fn texts_at_branches(
        &self,
        folder: &str,
        suffix: &str,
        limit: u64,
    ) -> Result<Vec<(String, String)>, GitError> {
        let list = |args: &[&str]| -> Result<Answer, GitError> {
            let found = answer(git(self.dir()).args(args), MAX_LIST)?;
            match (found.cut, found.ok()) {
                (true, _) => Err(GitError::TooLarge { name: format!("git {}", args[0]), limit: MAX_LIST }),
                (_, true) => Ok(found),
                _ => Err(failed(args[0], &found)),
            }
        };
        let tips = list(&["for-each-ref", "--format=%(objectname) %(refname:short)", "refs/heads"])?;
        // By content: most branches have most files in common.
        let mut blobs: BTreeMap<String, String> = BTreeMap::new();
        for line in String::from_utf8_lossy(&tips.out).lines() {
            let Some((commit, branch)) = line.split_once(' ') else { continue };
            let tree = list(&["ls-tree", "-r", "-z", "--full-tree", commit, "--", folder])?;
            for entry in tree.out.split(|byte| *byte == 0) {
                let entry = String::from_utf8_lossy(entry);
                let Some((facts, path)) = entry.split_once('\t') else { continue };
                let mut facts = facts.split(' ').skip(1);
                if let (Some("blob"), Some(blob), true) = (facts.next(), facts.next(), path.ends_with(suffix))
                {
                    blobs.entry(blob.to_owned()).or_insert_with(|| format!("{branch}:{path}"));
                }
            }
        }
        let mut texts = Vec::with_capacity(blobs.len());
        for (blob, name) in blobs {
            let found = answer(git(self.dir()).args(["cat-file", "blob", &blob]), limit)?;
            if found.cut {
                return Err(GitError::TooLarge { name, limit });
            }
            if !found.ok() {
                return Err(failed("cat-file", &found));
            }
            match String::from_utf8(found.out) {
                Ok(text) => texts.push((name, text)),
                Err(error) => {
                    let offset = error.utf8_error().valid_up_to();
                    return Err(GitError::NotUtf8 { name, offset });
                }
            }
        }
        Ok(texts)
    }
}
