//! A profile of any format that xp reads: its own bundles, kernel profiles of GPUs, and folders of Vidur's.

use std::path::{Path, PathBuf};

use super::llmservingsim::{
    KernelProfile, KernelProfileError, KernelProfileMeta, read_kernel_meta, read_kernel_profile,
};
use super::vidur::{VidurFolder, VidurProfileError, VidurTables};
use super::{Bundle, ProfileError, read_bundle};
use crate::store::{self, Digest, FileDigest};

/// A profile that was read and checked.
#[derive(Debug, Clone)]
pub enum Profile {
    /// A bundle that xp measured.
    Own(Box<Bundle>),
    /// Kernels of a GPU as LLMServingSim publishes them.
    Kernels(Box<Kernels>),
    /// Operators of a GPU as Vidur publishes them.
    Vidur(Box<VidurFolder>),
}

/// A folder of kernel profiles, one for each degree of tensor parallelism.
#[derive(Debug, Clone)]
pub struct Kernels {
    pub meta: KernelProfileMeta,
    folder: PathBuf,
    files: Vec<FileDigest>,
}

impl Kernels {
    /// The kernels of one degree of tensor parallelism.
    ///
    /// # Errors
    /// The degree was not profiled, or its tables are none.
    pub fn read(&self, tensor: u32) -> Result<KernelProfile, KernelProfileError> {
        read_kernel_profile(&self.folder, tensor)
    }
}

/// A profile cannot be read.
#[derive(Debug, thiserror::Error, miette::Diagnostic)]
pub enum FormatError {
    #[error(transparent)]
    #[diagnostic(transparent)]
    Own(#[from] ProfileError),
    #[error(transparent)]
    #[diagnostic(transparent)]
    Kernels(#[from] KernelProfileError),
    #[error(transparent)]
    #[diagnostic(transparent)]
    Vidur(#[from] VidurProfileError),
    /// A table that the profile's head names is not there.
    #[error("cannot read {}", path.display())]
    #[diagnostic(
        code(xp::profile::table),
        help("the profile's `meta.yaml` says that it is there: is the copy whole?")
    )]
    Table { path: PathBuf, source: std::io::Error },
}

impl Profile {
    /// Reads a folder: with `tables` it is one of Vidur's; one with a `meta.yaml` is a kernel profile, any other a
    /// bundle of xp's.
    ///
    /// # Errors
    /// It is no profile, or one that contradicts itself; every error names the file.
    pub fn read(folder: &Path, tables: Option<&VidurTables>) -> Result<Self, FormatError> {
        if let Some(tables) = tables {
            return Ok(Self::Vidur(Box::new(VidurFolder::open(folder, tables)?)));
        }
        if !folder.join("meta.yaml").is_file() {
            return Ok(Self::Own(Box::new(read_bundle(folder)?)));
        }
        let meta = read_kernel_meta(folder)?;
        let mut names = vec!["meta.yaml".to_owned()];
        // A copy may leave degrees out.
        for degree in meta.tp_degrees.iter().filter(|degree| folder.join(format!("tp{degree}")).is_dir()) {
            let tables = ["dense.csv", "per_sequence.csv", "attention.csv"];
            let skew = meta.skew.then_some("skew.csv");
            names.extend(tables.into_iter().chain(skew).map(|table| format!("tp{degree}/{table}")));
        }
        let experts = "tp1/moe.csv";
        names.extend(folder.join(experts).is_file().then(|| experts.to_owned()));
        names.sort();
        let digest = |file: String| {
            let path = folder.join(&file);
            match store::digest_file(&path) {
                Ok((bytes, sha256)) => Ok(FileDigest { file, bytes, sha256 }),
                Err(source) => Err(FormatError::Table { path, source }),
            }
        };
        let files = names.into_iter().map(digest).collect::<Result<_, _>>()?;
        Ok(Self::Kernels(Box::new(Kernels { meta, folder: folder.to_owned(), files })))
    }

    /// What a lock pins it by: the digest of its head, which holds those of its files, or of these.
    pub fn digest(&self) -> Digest {
        match self {
            Self::Own(bundle) => Digest::of_json(&bundle.meta),
            Self::Kernels(_) | Self::Vidur(_) => Digest::of_json(&self.files()),
        }
    }

    /// The machine it was measured on, for people: name, value.
    pub fn hardware(&self) -> Vec<(String, String)> {
        match self {
            Self::Own(bundle) => bundle.meta.hardware.clone(),
            Self::Kernels(kernels) => {
                let KernelProfileMeta { gpu, variant, vllm_version, model, .. } = &kernels.meta;
                let facts = [("gpu", gpu), ("format", variant), ("vllm", vllm_version), ("model", model)];
                let told = facts.into_iter().filter(|(_, value)| !value.is_empty());
                told.map(|(name, value)| (name.to_owned(), value.clone())).collect()
            }
            Self::Vidur(vidur) => {
                let VidurTables { device, model, network, .. } = &vidur.tables;
                let facts = [("gpu", Some(device)), ("model", Some(model)), ("network", network.as_ref())];
                let told = facts.into_iter().filter_map(|(name, value)| Some((name, value?)));
                told.map(|(name, value)| (name.to_owned(), value.clone())).collect()
            }
        }
    }

    /// Digest of the facts of that machine that decide speed. Of another's profile: what it says of its card.
    pub fn fingerprint(&self) -> Digest {
        match self {
            Self::Own(bundle) => bundle.meta.fingerprint,
            Self::Kernels(_) | Self::Vidur(_) => Digest::of_json(&self.hardware()),
        }
    }

    /// Mean duration of the engine's reference step, ns, where it was measured.
    pub fn reference_ns(&self) -> Option<u64> {
        match self {
            Self::Own(bundle) => Some(bundle.meta.reference_ns),
            Self::Kernels(_) | Self::Vidur(_) => None,
        }
    }

    /// Its files, without the head of a bundle.
    pub fn files(&self) -> &[FileDigest] {
        match self {
            Self::Own(bundle) => &bundle.meta.files,
            Self::Kernels(kernels) => &kernels.files,
            Self::Vidur(vidur) => vidur.files(),
        }
    }

    /// The file that holds the digests of the others, where there is one.
    pub fn head(&self) -> Option<&'static str> {
        match self {
            Self::Own(_) => Some("bundle.json"),
            Self::Kernels(_) | Self::Vidur(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::llmservingsim::sample;

    #[test]
    fn a_folder_is_read_by_what_it_holds() {
        let dir = tempfile::tempdir().unwrap();
        sample::dense().write(dir.path());
        let profile = Profile::read(dir.path(), None).unwrap();
        let names: Vec<&str> = profile.files().iter().map(|file| file.file.as_str()).collect();
        assert!(names.contains(&"meta.yaml") && names.contains(&"tp1/dense.csv"), "{names:?}");
        assert!(profile.hardware().iter().any(|(name, _)| name == "gpu"));
        let before = profile.digest();
        let path = dir.path().join("tp1/dense.csv");
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, format!("{text}\n")).unwrap();
        assert_ne!(Profile::read(dir.path(), None).unwrap().digest(), before);
        std::fs::remove_file(&path).unwrap();
        assert!(matches!(Profile::read(dir.path(), None), Err(FormatError::Table { .. })));
        let empty = tempfile::tempdir().unwrap();
        assert!(matches!(Profile::read(empty.path(), None), Err(FormatError::Own(_))));
    }
}
