use std::io;
use std::path::Path;

use serde::Serialize;

use super::error::VidurProfileError;
use super::files::VidurFiles;
use super::select::{VidurSelection, VidurShape, read_training};
use super::training::TrainingSet;
use crate::store::{self, FileDigest, ReadError};

/// Which tables of a profiling folder are meant, and what of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct VidurTables {
    /// Folder below `compute/`.
    pub device: String,
    /// Folder below the device's.
    pub model: String,
    /// Folder below `network/`; None: nothing is sent.
    pub network: Option<String>,
    pub devices_per_node: u32,
    /// Whether the CPU's work between steps is modelled.
    pub cpu_overhead: bool,
}

/// A profiling folder of Vidur's: the tables of one model on one device.
#[derive(Debug, Clone)]
pub struct VidurFolder {
    pub tables: VidurTables,
    at: VidurFiles,
    files: Vec<FileDigest>,
}

impl VidurFolder {
    /// Finds the tables below `root`, and hashes those that are there.
    ///
    /// # Errors
    /// A name leaves the folder, or the tables of the operators are not there.
    pub fn open(root: &Path, tables: &VidurTables) -> Result<Self, VidurProfileError> {
        let network = tables.network.as_deref();
        let mut at = VidurFiles::published(root, &tables.device, &tables.model, network.unwrap_or("none"))?;
        if network.is_none() {
            (at.all_reduce, at.send_recv) = (None, None);
        }
        at.cpu_overhead = at.cpu_overhead.filter(|_| tables.cpu_overhead);
        let mut files = Vec::new();
        let wanted = [
            (Some(&at.mlp), true),
            (Some(&at.attention), true),
            (at.all_reduce.as_ref(), false),
            (at.send_recv.as_ref(), false),
            (at.cpu_overhead.as_ref(), true),
        ];
        for (path, is_needed) in wanted {
            let Some(path) = path else { continue };
            match store::digest_file(path) {
                Ok((bytes, sha256)) => files.push(FileDigest { file: name_in(root, path), bytes, sha256 }),
                Err(error) if error.kind() == io::ErrorKind::NotFound && !is_needed => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    return Err(VidurProfileError::Absent { path: path.clone() });
                }
                Err(source) => return Err(ReadError::Io { path: path.clone(), source }.into()),
            }
        }
        files.sort();
        Ok(Self { tables: tables.clone(), at, files })
    }

    /// Its files, by their places below the folder.
    pub fn files(&self) -> &[FileDigest] {
        &self.files
    }

    /// The rows that train the operators of a model on its devices.
    ///
    /// # Errors
    /// A table is none, or has no rows of the model.
    pub fn training(
        &self,
        shape: &VidurShape,
        selection: &VidurSelection,
    ) -> Result<TrainingSet, VidurProfileError> {
        read_training(&self.at, shape, selection)
    }
}

/// Where a file lies below a folder, with `/` between names.
fn name_in(root: &Path, path: &Path) -> String {
    let inside = path.strip_prefix(root).unwrap_or(path);
    let names: Vec<_> = inside.components().map(|part| part.as_os_str().to_string_lossy()).collect();
    names.join("/")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::vidur::sample;

    #[test]
    fn a_folder_has_the_files_that_are_asked_for() {
        let dir = tempfile::tempdir().unwrap();
        sample::write(dir.path());
        let tables = VidurTables {
            device: "dev".to_owned(),
            model: "org/small".to_owned(),
            network: None,
            devices_per_node: 4,
            cpu_overhead: false,
        };
        let names = |tables: &VidurTables| -> Vec<String> {
            let folder = VidurFolder::open(dir.path(), tables).unwrap();
            folder.files().iter().map(|file| file.file.clone()).collect()
        };
        let compute = ["compute/dev/org/small/attention.csv", "compute/dev/org/small/mlp.csv"];
        assert_eq!(names(&tables), compute);
        let all = VidurTables { network: Some("net".to_owned()), cpu_overhead: true, ..tables.clone() };
        assert_eq!(names(&all).len(), 5);
        let gone = VidurTables { device: "other".to_owned(), ..tables.clone() };
        let error = VidurFolder::open(dir.path(), &gone).unwrap_err();
        assert!(matches!(error, VidurProfileError::Absent { .. }), "{error}");
        let outside = VidurTables { network: Some("../..".to_owned()), ..tables };
        assert!(matches!(VidurFolder::open(dir.path(), &outside), Err(VidurProfileError::Name { .. })));
    }
}
