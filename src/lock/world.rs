//! A project on disk, as an experiment in it sees it.

use std::path::{Path, PathBuf};

use super::data_folder::data_folder;
use crate::catalog::ModelConfig;
use crate::source;
use crate::spec::{Source, World};
use crate::store::{ReadError, read_text_bounded};

/// The files of a project, and the shapes of models that are on this disk.
#[derive(Debug, Clone)]
pub struct ProjectFiles {
    root: PathBuf,
    /// The experiment: its path from the root, and where it is.
    experiment: (String, PathBuf),
    /// What diagnostics put before a path from the root.
    prefix: String,
    /// What they call the experiment.
    name: String,
    /// Where the data folder is on this machine, if the command line says it.
    data: Option<PathBuf>,
}

impl ProjectFiles {
    /// The project of an experiment. `relative` is the experiment's path from the root; diagnostics name files so.
    pub fn new(root: &Path, experiment: &Path, relative: &str) -> Self {
        Self {
            root: root.to_owned(),
            experiment: (relative.to_owned(), experiment.to_owned()),
            prefix: String::new(),
            name: relative.to_owned(),
            data: None,
        }
    }

    /// The same, with the data folder in that place.
    #[must_use]
    pub fn with_data(mut self, place: Option<PathBuf>) -> Self {
        self.data = place;
        self
    }

    /// The same, with files named as they are reached from the current folder.
    #[must_use]
    pub fn named_as_given(mut self) -> Self {
        self.name = self.experiment.1.display().to_string();
        self.prefix = self.name.strip_suffix(&self.experiment.0).unwrap_or_default().to_owned();
        self
    }
}

impl World for ProjectFiles {
    fn read(&self, path: &str, limit: u64) -> Result<String, ReadError> {
        let (relative, experiment) = &self.experiment;
        // The experiment's own name may be no text.
        let place = if path == relative { experiment.clone() } else { self.root.join(path) };
        read_text_bounded(&place, limit)
    }

    fn shown(&self, path: &str) -> String {
        if path == self.experiment.0 { self.name.clone() } else { format!("{}{path}", self.prefix) }
    }

    fn shape(&self, source: &Source, data: Option<&str>) -> Option<ModelConfig> {
        let folder = data_folder(&self.root, data, self.data.as_deref());
        // A synthetic model is of the catalog, which an experiment looks at by itself.
        source::shape(source, "", &folder)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_named_from_the_root_or_as_they_are_given() {
        let root = Path::new("/p");
        let files = ProjectFiles::new(root, Path::new("../p/experiments/x.kdl"), "experiments/x.kdl");
        assert_eq!(files.shown("experiments/x.kdl"), "experiments/x.kdl");
        let given = files.named_as_given();
        assert_eq!(given.shown("experiments/x.kdl"), "../p/experiments/x.kdl");
        assert_eq!(given.shown("shared/base.kdl"), "../p/shared/base.kdl");
        let around = ProjectFiles::new(root, Path::new("a/../x.kdl"), "x.kdl").named_as_given();
        assert_eq!(
            (around.shown("x.kdl"), around.shown("b.kdl")),
            ("a/../x.kdl".to_owned(), "a/../b.kdl".to_owned())
        );
    }
}
