//! Where the input files of an experiment are on this machine. A lock holds their
//! paths in that folder and their digests, never the folder's own place.

use std::path::{Path, PathBuf};

use super::resolve::ResolveError;

/// The folder that paths of input files are relative to: the one given on the command line (relative to the
/// current folder), else the one that the experiment says (relative to the project), else the project's.
pub fn data_folder(project: &Path, said: Option<&str>, given: Option<&Path>) -> PathBuf {
    match (given, said) {
        (Some(given), _) => std::path::absolute(given).unwrap_or_else(|_| given.to_owned()),
        (None, Some(said)) => project.join(said),
        (None, None) => project.to_owned(),
    }
}

/// The same, where it is there.
///
/// # Errors
/// A data folder is said or given, and is no folder.
pub fn find_data_folder(
    project: &Path,
    said: Option<&str>,
    given: Option<&Path>,
) -> Result<PathBuf, ResolveError> {
    let folder = data_folder(project, said, given);
    if (said.is_some() || given.is_some()) && !folder.is_dir() {
        let shown = match (given, said) {
            (None, Some(said)) => said.to_owned(),
            _ => folder.display().to_string(),
        };
        return Err(ResolveError::NoDataFolder {
            folder: shown,
            source: std::io::ErrorKind::NotFound.into(),
        });
    }
    Ok(folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_wins_over_the_experiment() {
        let dir = tempfile::tempdir().unwrap();
        let (project, elsewhere) = (dir.path().join("p"), dir.path().join("elsewhere"));
        std::fs::create_dir(&project).unwrap();
        let find = |said, given: Option<&PathBuf>| {
            find_data_folder(&project, said, given.map(PathBuf::as_path)).map_err(|error| error.to_string())
        };
        assert_eq!(find(None, None).unwrap(), project);
        assert_eq!(find(Some("data"), None).unwrap_err(), "there is no data folder data");
        let missing = find(Some("data"), Some(&elsewhere)).unwrap_err();
        assert!(
            missing.starts_with("there is no data folder ") && missing.ends_with("elsewhere"),
            "{missing}"
        );
        std::fs::create_dir(&elsewhere).unwrap();
        std::fs::create_dir(project.join("data")).unwrap();
        assert_eq!(find(Some("data"), None).unwrap(), project.join("data"));
        assert_eq!(find(Some("data"), Some(&elsewhere)).unwrap(), elsewhere);
        assert_eq!(find(None, Some(&elsewhere)).unwrap(), elsewhere);
    }
}
