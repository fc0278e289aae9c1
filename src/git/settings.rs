use std::path::{Path, PathBuf};

use super::command::ask;
use super::error::GitError;
use super::repository::{Repository, failed};

/// Whose settings are changed.
#[derive(Debug, Clone)]
pub enum Scope {
    /// One repository's: `.git/config`, and `.gitattributes` at its top.
    Repository(Repository),
    /// A person's: `~/.gitconfig`, and their attributes file.
    Person,
}

/// A setting that xp makes.
#[derive(Debug, Clone)]
pub struct Setting {
    pub key: &'static str,
    pub value: String,
    /// How every value ends that an xp wrote, wherever it lies.
    pub ending: String,
}

/// What is there already of a list of settings.
#[derive(Debug)]
pub struct Settings<'a> {
    scope: &'a Scope,
    wanted: &'a [Setting],
    /// In the order of the wanted ones.
    found: Vec<Option<String>>,
}

impl Scope {
    fn dir(&self) -> &Path {
        match self {
            Self::Repository(repository) => repository.dir(),
            Self::Person => Path::new("."),
        }
    }

    fn flag(&self) -> &'static str {
        match self {
            Self::Repository(_) => "--local",
            Self::Person => "--global",
        }
    }

    /// Where settings are, for people.
    pub fn config(&self) -> &'static str {
        match self {
            Self::Repository(_) => ".git/config",
            Self::Person => "your git config",
        }
    }

    /// The attributes file.
    ///
    /// # Errors
    /// The repository has no working tree, or the person no home.
    pub fn attributes(&self) -> Result<PathBuf, GitError> {
        if let Self::Repository(repository) = self {
            return Ok(repository.top()?.join(".gitattributes"));
        }
        let set = ask(self.dir(), &["config", "--global", "--type=path", "--get", "core.attributesFile"])?;
        if set.ok() && !set.line().is_empty() {
            return Ok(PathBuf::from(set.line()));
        }
        let of = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let config = of("XDG_CONFIG_HOME").or_else(|| Some(of("HOME")?.join(".config")));
        config.map(|config| config.join("git").join("attributes")).ok_or_else(|| GitError::Failed {
            what: "attributes".to_owned(),
            said: "neither XDG_CONFIG_HOME nor HOME is set".to_owned(),
        })
    }
}

impl<'a> Settings<'a> {
    /// Reads what is there.
    ///
    /// # Errors
    /// git refuses.
    pub fn read(scope: &'a Scope, wanted: &'a [Setting]) -> Result<Self, GitError> {
        let found = wanted.iter().map(|setting| {
            let found = ask(scope.dir(), &["config", scope.flag(), "--get", setting.key])?;
            match found.code {
                Some(0) => Ok(Some(found.line())),
                // No such setting, or no such file yet.
                Some(1) => Ok(None),
                _ => Err(failed("config", &found)),
            }
        });
        Ok(Self { scope, wanted, found: found.collect::<Result<_, _>>()? })
    }

    /// Those that are not there, or not as wanted.
    pub fn missing(&self) -> impl Iterator<Item = &Setting> {
        let all = self.wanted.iter().zip(&self.found);
        all.filter(|(wanted, found)| found.as_ref() != Some(&wanted.value)).map(|(wanted, _)| wanted)
    }

    /// The first that a person has set to something of their own.
    pub fn taken(&self) -> Option<GitError> {
        self.wanted.iter().zip(&self.found).find_map(|(wanted, found)| {
            let found = found.as_ref().filter(|found| !found.ends_with(&wanted.ending))?;
            Some(GitError::Taken {
                place: format!("{} ({})", wanted.key, self.scope.config()),
                found: found.clone(),
                wanted: wanted.value.clone(),
            })
        })
    }

    /// Makes those that are missing. To be called when nothing is [taken](Self::taken).
    ///
    /// # Errors
    /// git refuses.
    pub fn write(&self) -> Result<(), GitError> {
        for setting in self.missing() {
            let written = ask(self.scope.dir(), &["config", self.scope.flag(), setting.key, &setting.value])?;
            if !written.ok() {
                return Err(failed("config", &written));
            }
        }
        Ok(())
    }

    /// Takes back those that xp made; how many.
    ///
    /// # Errors
    /// git refuses.
    pub fn remove(&self) -> Result<usize, GitError> {
        let mut removed = 0;
        for (wanted, found) in self.wanted.iter().zip(&self.found) {
            if found.as_ref().is_some_and(|found| found.ends_with(&wanted.ending)) {
                let unset = ask(self.scope.dir(), &["config", self.scope.flag(), "--unset", wanted.key])?;
                if !unset.ok() {
                    return Err(failed("config", &unset));
                }
                removed += 1;
            }
        }
        Ok(removed)
    }
}
