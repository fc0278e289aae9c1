//! The shape of a model before anything else of it is looked at.

use std::path::Path;

use super::{CONFIG, config, folder, hub, inside};
use crate::catalog::{self, ModelConfig};
use crate::spec::Source;
use crate::store::read_text_bounded;

/// The shape of a model, if it is at hand: from the catalog, or from a `config.json` in its folder or in the local
/// cache. Nothing is downloaded, and a file that cannot be used is left to [`resolve`](super::resolve) to tell.
pub fn shape(source: &Source, name: &str, root: &Path) -> Option<ModelConfig> {
    let read = |path: &Path| read_text_bounded(path, config::MAX_CONFIG).ok();
    let home = match source {
        Source::Config { path } => {
            return config::parse_shape(path, &read(&inside(root, path).ok()?)?).ok();
        }
        Source::Synthetic => return catalog::model(name).cloned(),
        Source::Path { path } => inside(root, path).ok()?,
        Source::Hf { repo, revision } => hub::cached_folder(repo, revision)?,
    };
    // A repository of the hub has a `config.json` in the cache before it has weights.
    folder::shape(&home).or_else(|| config::parse(CONFIG, &read(&home.join(CONFIG))?).ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::config::tests::TINY;

    #[test]
    fn a_shape_is_what_the_config_says_and_nothing_without_one() {
        let dir = tempfile::tempdir().unwrap();
        let source = Source::Path { path: "models/x".to_owned() };
        let of = || shape(&source, "any", dir.path());
        assert_eq!(of(), None);
        std::fs::create_dir_all(dir.path().join("models/x")).unwrap();
        let config = dir.path().join("models/x/config.json");
        std::fs::write(&config, TINY).unwrap();
        assert_eq!(of().as_ref(), catalog::model("qwen3-tiny"));
        std::fs::write(&config, &TINY[..40]).unwrap();
        assert_eq!(of(), None);
        assert_eq!(shape(&Source::Path { path: "../x".to_owned() }, "any", dir.path()), None);
        assert_eq!(
            shape(&Source::Synthetic, "qwen3-tiny", dir.path()).as_ref(),
            catalog::model("qwen3-tiny")
        );
    }
}
