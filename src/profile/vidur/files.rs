use std::path::{Component, Path, PathBuf};

use super::error::VidurProfileError;

/// Where the tables are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VidurFiles {
    pub mlp: PathBuf,
    pub attention: PathBuf,
    /// Needed by tensor parallelism.
    pub all_reduce: Option<PathBuf>,
    /// Needed by pipeline stages.
    pub send_recv: Option<PathBuf>,
    /// Needed where CPU work is modelled.
    pub cpu_overhead: Option<PathBuf>,
}

impl VidurFiles {
    /// The files below `root` in Vidur's layout: `compute/HARDWARE/MODEL/{mlp,attention}.csv` and
    /// `network/NETWORK/{all_reduce,send_recv}.csv`. CPU overheads are `cpu_overhead.csv` in `root`, or
    /// where Vidur looks for them, `cpu_overhead/NETWORK/MODEL/cpu_overheads.csv`.
    ///
    /// # Errors
    /// A name that leaves the folder, or is no name.
    pub fn published(
        root: &Path,
        hardware: &str,
        model: &str,
        network: &str,
    ) -> Result<Self, VidurProfileError> {
        let compute = root.join("compute").join(plain("hardware", hardware)?).join(plain("model", model)?);
        let network = plain("network", network)?;
        let of_network = root.join("network").join(network);
        let ours = root.join("cpu_overhead.csv");
        let overhead = match ours.exists() {
            true => ours,
            false => root.join("cpu_overhead").join(network).join(model).join("cpu_overheads.csv"),
        };
        Ok(Self {
            mlp: compute.join("mlp.csv"),
            attention: compute.join("attention.csv"),
            all_reduce: Some(of_network.join("all_reduce.csv")),
            send_recv: Some(of_network.join("send_recv.csv")),
            cpu_overhead: Some(overhead),
        })
    }
}

/// A relative path of plain names.
fn plain<'a>(what: &'static str, name: &'a str) -> Result<&'a Path, VidurProfileError> {
    let path = Path::new(name);
    let is_plain = path.components().all(|part| matches!(part, Component::Normal(_)))
        && path.components().next().is_some()
        && !name.contains(['\0', '\\']);
    if is_plain { Ok(path) } else { Err(VidurProfileError::Name { what, name: name.to_owned() }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stay_below_the_folder() {
        let files = VidurFiles::published(Path::new("p"), "a100", "org/model", "dgx").unwrap();
        assert_eq!(files.mlp, Path::new("p/compute/a100/org/model/mlp.csv"));
        assert_eq!(files.send_recv.as_deref(), Some(Path::new("p/network/dgx/send_recv.csv")));
        for bad in ["", "..", "a/../b", "/etc", "a\0b", "."] {
            let error = VidurFiles::published(Path::new("p"), "a100", bad, "dgx").unwrap_err();
            assert!(matches!(error, VidurProfileError::Name { what: "model", .. }), "{bad:?}");
            assert!(VidurFiles::published(Path::new("p"), bad, "m", "dgx").is_err());
            assert!(VidurFiles::published(Path::new("p"), "a100", "m", bad).is_err());
        }
    }
}
