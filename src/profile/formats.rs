//! A profile of any format that xp reads: its own bundles and step profiles, kernel profiles of GPUs, and folders of
//! Vidur's.

use std::path::{Path, PathBuf};

use super::llmservingsim::{
    KernelProfile, KernelProfileError, KernelProfileMeta, read_kernel_meta, read_kernel_profile,
};
use super::vidur::{VidurFolder, VidurProfileError, VidurTables};
use super::whole_steps::STEPS_FILE;
use super::{
    Bundle, ProfileError, StepProfile, content_digest, read_bundle, read_steps, write_bundle, write_steps,
};
use crate::machine::SpeedPoint;
use crate::store::{self, Digest, FileDigest};

/// A profile that was read and checked.
#[derive(Debug, Clone)]
pub enum Profile {
    /// A bundle that xp measured.
    Own(Box<Bundle>),
    /// Whole steps that xp measured of an engine in another process.
    Steps(Box<StepProfile>),
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

/// The head of a profile that xp measured.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct MeasuredProfile<'a> {
    /// Digest of all that it says.
    pub content: Digest,
    /// Digest of the model's shape and number format.
    pub model_digest: Digest,
    /// Name and version of the engine.
    pub engine: &'a str,
    /// Tokens of a step that it covers, where steps are bounded by them.
    pub max_tokens: Option<u32>,
    /// Requests in a step that it covers.
    pub max_batch_size: u32,
    /// Tokens of a request that it covers.
    pub max_context: u32,
    /// Tokens in a KV block, where the engine has blocks.
    pub block_size: Option<u32>,
    /// The machine's noise while it was measured.
    pub noise_percent: f64,
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
    /// Reads a folder: with `tables` it is one of Vidur's; one with a `meta.yaml` is a kernel profile, one with a
    /// `steps.json` a step profile, any other a bundle of xp's.
    ///
    /// # Errors
    /// It is no profile, or one that contradicts itself; every error names the file.
    pub fn read(folder: &Path, tables: Option<&VidurTables>) -> Result<Self, FormatError> {
        if let Some(tables) = tables {
            return Ok(Self::Vidur(Box::new(VidurFolder::open(folder, tables)?)));
        }
        if folder.join(STEPS_FILE).is_file() {
            return Ok(Self::Steps(Box::new(read_steps(folder)?)));
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

    /// What xp measured says of itself; None of what comes from elsewhere.
    pub fn measured(&self) -> Option<MeasuredProfile<'_>> {
        match self {
            Self::Own(bundle) => Some(MeasuredProfile {
                content: content_digest(bundle),
                model_digest: bundle.meta.model_digest,
                engine: &bundle.meta.engine,
                max_tokens: Some(bundle.meta.max_tokens),
                max_batch_size: bundle.meta.max_batch_size,
                max_context: bundle.meta.max_context,
                block_size: Some(bundle.meta.block_size),
                noise_percent: bundle.meta.noise_percent,
            }),
            Self::Steps(steps) => Some(MeasuredProfile {
                content: self.digest(),
                model_digest: steps.model_digest,
                engine: &steps.engine,
                max_tokens: None,
                max_batch_size: steps.max_batch_size,
                max_context: steps.max_context,
                block_size: None,
                noise_percent: steps.noise_percent,
            }),
            Self::Kernels(_) | Self::Vidur(_) => None,
        }
    }

    /// Writes a profile that xp measured as a whole folder, replacing what was there.
    ///
    /// # Errors
    /// The system refuses, or it comes from elsewhere.
    pub fn write(&self, folder: &Path) -> Result<(), ProfileError> {
        match self {
            Self::Own(bundle) => write_bundle(folder, bundle),
            Self::Steps(steps) => write_steps(folder, steps),
            Self::Kernels(_) | Self::Vidur(_) => {
                let source = std::io::ErrorKind::Unsupported.into();
                Err(ProfileError::Write { path: folder.to_owned(), source })
            }
        }
    }

    /// What a lock pins it by: the digest of its head, which holds those of its files, or of these.
    pub fn digest(&self) -> Digest {
        match self {
            Self::Own(bundle) => Digest::of_json(&bundle.meta),
            Self::Steps(steps) => Digest::of_json(steps),
            Self::Kernels(_) | Self::Vidur(_) => Digest::of_json(&self.files()),
        }
    }

    /// The machine it was measured on, for people: name, value.
    pub fn hardware(&self) -> Vec<(String, String)> {
        match self {
            Self::Own(bundle) => bundle.meta.hardware.clone(),
            Self::Steps(steps) => steps.hardware.clone(),
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
            Self::Steps(steps) => steps.fingerprint,
            Self::Kernels(_) | Self::Vidur(_) => Digest::of_json(&self.hardware()),
        }
    }

    /// Mean duration of the engine's reference step, ns, where it was measured.
    pub fn reference_ns(&self) -> Option<u64> {
        match self {
            Self::Own(bundle) => Some(bundle.meta.reference_ns),
            Self::Steps(steps) => Some(steps.reference_ns),
            Self::Kernels(_) | Self::Vidur(_) => None,
        }
    }

    /// How fast the machine was in it, where that was measured.
    pub fn speed(&self) -> Option<SpeedPoint> {
        match self {
            Self::Own(bundle) => bundle.meta.speed,
            Self::Steps(_) | Self::Kernels(_) | Self::Vidur(_) => None,
        }
    }

    /// Its files, without the head of a bundle.
    pub fn files(&self) -> &[FileDigest] {
        match self {
            Self::Own(bundle) => &bundle.meta.files,
            Self::Steps(_) => &[],
            Self::Kernels(kernels) => &kernels.files,
            Self::Vidur(vidur) => vidur.files(),
        }
    }

    /// The file that holds the digests of the others, or all there is.
    pub fn head(&self) -> Option<&'static str> {
        match self {
            Self::Own(_) => Some("bundle.json"),
            Self::Steps(_) => Some(STEPS_FILE),
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
