//! Files that a workload's spec names: below the project's folder, and nowhere else.

use std::path::{Component, Path, PathBuf};

use super::WorkloadError;

/// The place of a file that a spec or a lock names, relative to `root`.
///
/// # Errors
/// The path is empty, absolute, or leads out of `root`.
pub fn data_file(root: &Path, path: &str) -> Result<PathBuf, WorkloadError> {
    let plain = |part: Component<'_>| matches!(part, Component::Normal(_) | Component::CurDir);
    if path.is_empty() || path.contains(['\0', '\\']) || !Path::new(path).components().all(plain) {
        return Err(WorkloadError::Outside { path: path.to_owned() });
    }
    Ok(root.join(path))
}

#[cfg(test)]
mod tests {
    use super::super::generate;
    use super::super::generate::tests::{SEEDS, TOKENIZER, spec};
    use super::*;
    use crate::spec::{Arrivals, Lengths, WorkloadSpec};

    #[test]
    fn a_workload_reads_nothing_outside_of_the_project() {
        let dir = tempfile::tempdir().unwrap();
        let (root, outside) = (dir.path().join("project"), dir.path().join("trace.csv"));
        std::fs::create_dir(&root).unwrap();
        std::fs::write(&outside, "num_prefill_tokens,num_decode_tokens,inter_arrival_ns\n3,4,5\n").unwrap();
        let fixed = Lengths::Fixed { prefill: 9, decode: Some(2) };
        for path in ["../trace.csv", &outside.display().to_string(), "", "a/../../trace.csv", "a\\b"] {
            let path = path.to_owned();
            let specs = [
                spec(Lengths::Trace { path: path.clone() }, Arrivals::Static),
                spec(fixed.clone(), Arrivals::Trace { path: path.clone() }),
                WorkloadSpec { lengths: None, prompts: Some(path), ..spec(fixed.clone(), Arrivals::Static) },
            ];
            for spec in specs {
                let found = generate(&spec, &SEEDS, Some(&TOKENIZER), &root);
                assert!(matches!(found, Err(WorkloadError::Outside { .. })), "{spec:?}: {found:?}");
            }
        }
        assert_eq!(data_file(&root, "traces/./a.csv").unwrap(), root.join("traces/a.csv"));
    }
}
