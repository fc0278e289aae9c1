//! A folder with `tokenizer.json`, and `config.json` and safetensors files or a GGUF file.

use std::path::Path;

use rayon::prelude::*;

use super::{
    Access, CONFIG, ModelFiles, SourceError, TOKENIZER, TemplateFiles, TokenizerFile, config, gguf, weights,
};
use crate::catalog::ModelConfig;
use crate::model::{GgufFile, Weights};
use crate::store::{FileDigest, read_text_bounded};

/// Largest `tokenizer.json` that is read, in bytes.
pub(super) const MAX_TOKENIZER: u64 = 64 << 20;

/// Resolves a folder; `shown` names it in errors. With `chat` its chat template belongs to it.
pub(super) fn resolve(
    folder: &Path,
    shown: &str,
    commit: Option<String>,
    chat: bool,
    access: &Access<'_>,
) -> Result<ModelFiles, SourceError> {
    let contents = Contents::of(folder, shown)?;
    let mut names = contents.names(folder);
    names.push(TOKENIZER.to_owned());
    let path = std::path::absolute(folder).map_err(|error| SourceError::io(folder, error))?;
    let template = chat.then(|| TemplateFiles::find(&path, shown, contents.gguf()));
    names.extend(template.iter().flat_map(|files| files.names()).cloned());
    names.sort();
    names.dedup();
    let hashed: Result<Vec<FileDigest>, SourceError> = names
        .into_par_iter()
        .map(|name| {
            let path = folder.join(&name);
            let (bytes, sha256) =
                access.digests.digest(&path).map_err(|error| SourceError::io(&path, error))?;
            Ok(FileDigest { file: name, bytes, sha256 })
        })
        .collect();
    let mut files = hashed?;
    files.sort();
    let made = ModelFiles {
        config: contents.config().clone(),
        commit,
        files,
        tokenizer: TokenizerFile::File { path: path.join(TOKENIZER), shown: format!("{shown}/{TOKENIZER}") },
        template,
        weights: match &contents {
            Contents::Safetensors { shards, .. } => {
                Weights::Safetensors(shards.iter().map(|name| path.join(name)).collect())
            }
            Contents::Gguf { name, .. } => Weights::Gguf(path.join(name)),
        },
    };
    access.memo.recall("checked model", &(&made.config, &made.files), || {
        let tokenizer = made.load_tokenizer()?;
        if tokenizer.vocab_size() > made.config.vocab_size {
            return Err(SourceError::Vocabulary {
                file: format!("{shown}/{TOKENIZER}"),
                tokenizer: tokenizer.vocab_size(),
                model: made.config.vocab_size,
            });
        }
        match &contents {
            Contents::Safetensors { shards, config } => weights::check(folder, shown, shards, config),
            Contents::Gguf { file, .. } => gguf::check(file),
        }
    })?;
    Ok(made)
}

/// The shape of the model in a folder, if it says one.
pub(super) fn shape(folder: &Path) -> Option<ModelConfig> {
    Contents::of(folder, CONFIG).ok().map(|contents| contents.config().clone())
}

/// What holds shape and weights.
enum Contents {
    Safetensors { config: ModelConfig, shards: Vec<String> },
    Gguf { name: String, file: Box<GgufFile> },
}

impl Contents {
    fn of(folder: &Path, shown: &str) -> Result<Self, SourceError> {
        if let Some(name) = gguf::find(folder, shown)? {
            let file = Box::new(GgufFile::open(&folder.join(&name))?);
            return Ok(Self::Gguf { name, file });
        }
        let config_text = read_text_bounded(&folder.join(CONFIG), config::MAX_CONFIG)?;
        let config = config::parse(&format!("{shown}/{CONFIG}"), &config_text)?;
        Ok(Self::Safetensors { config, shards: weights::find(folder, shown)? })
    }

    fn config(&self) -> &ModelConfig {
        match self {
            Self::Safetensors { config, .. } => config,
            Self::Gguf { file, .. } => file.config(),
        }
    }

    /// The GGUF file, by its name.
    fn gguf(&self) -> Option<(&str, &GgufFile)> {
        match self {
            Self::Safetensors { .. } => None,
            Self::Gguf { name, file } => Some((name, file)),
        }
    }

    /// Names of the files.
    fn names(&self, folder: &Path) -> Vec<String> {
        match self {
            Self::Safetensors { shards, .. } => {
                let index = folder.join(weights::INDEX).exists().then(|| weights::INDEX.to_owned());
                [CONFIG.to_owned()].into_iter().chain(shards.iter().cloned()).chain(index).collect()
            }
            Self::Gguf { name, .. } => vec![name.clone()],
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::fmt::Write as _;
    use std::sync::LazyLock;

    use super::super::tensor_table;
    use super::super::tests::resolve_in as resolve_source;
    use super::*;
    use crate::model::{ChatMessage, train_synthetic};
    use crate::progress::Silent;
    use crate::source::Network;
    use crate::source::config::tests::TINY;
    use crate::spec::Source;
    use crate::store::{DigestCache, Memo, digest_file};

    static TOKENIZER_JSON: LazyLock<Vec<u8>> = LazyLock::new(|| train_synthetic(1024).unwrap());

    /// A safetensors file of zeros with the tensors of the tiny model that `keep` admits.
    fn tensors(keep: impl Fn(&str) -> bool) -> Vec<u8> {
        let config = config::parse("config.json", TINY).unwrap();
        let mut header = String::from("{\"__metadata__\":{\"format\":\"pt\"}");
        let mut end = 0;
        for tensor in tensor_table(&config).into_iter().filter(|tensor| keep(&tensor.name)) {
            let start = end;
            end += 2 * tensor.elements();
            let (name, shape) = (tensor.name, tensor.shape);
            write!(
                header,
                ",{name:?}:{{\"dtype\":\"BF16\",\"shape\":{shape:?},\"data_offsets\":[{start},{end}]}}"
            )
            .unwrap();
        }
        header.push('}');
        let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
        bytes.extend(header.as_bytes());
        bytes.resize(bytes.len() + end as usize, 0);
        bytes
    }

    /// Writes the tiny model into a folder.
    pub(in crate::source) fn write_tiny(folder: &Path) {
        std::fs::create_dir_all(folder).unwrap();
        std::fs::write(folder.join(CONFIG), TINY).unwrap();
        std::fs::write(folder.join(TOKENIZER), &*TOKENIZER_JSON).unwrap();
        std::fs::write(folder.join("model.safetensors"), tensors(|_| true)).unwrap();
    }

    fn resolve_in(root: &Path) -> Result<ModelFiles, SourceError> {
        resolve_source(root, &Source::Path { path: "models/tiny".to_owned() }, "qwen3-tiny", 0)
    }

    #[test]
    fn a_folder_is_checked_and_every_file_of_it_pinned() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("models/tiny");
        write_tiny(&folder);
        std::fs::write(folder.join("README.md"), "not pinned").unwrap();
        let made = resolve_in(dir.path()).unwrap();
        let names: Vec<&str> = made.files.iter().map(|file| file.file.as_str()).collect();
        assert_eq!(names, ["config.json", "model.safetensors", "tokenizer.json"]);
        for file in &made.files {
            assert_eq!(digest_file(&folder.join(&file.file)).unwrap(), (file.bytes, file.sha256));
        }
        let Weights::Safetensors(paths) = made.weights else { panic!("{:?}", made.weights) };
        assert!(paths.len() == 1 && paths[0].is_absolute());
    }

    #[test]
    fn shards_are_found_by_their_index() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("models/tiny");
        write_tiny(&folder);
        std::fs::rename(folder.join("model.safetensors"), folder.join("old.bin")).unwrap();
        let first = |name: &str| name.contains("layers.0");
        std::fs::write(folder.join("model-1.safetensors"), tensors(first)).unwrap();
        std::fs::write(folder.join("model-2.safetensors"), tensors(|name| !first(name))).unwrap();
        let none = resolve_in(dir.path()).unwrap_err().to_string();
        insta::assert_snapshot!(none, @"models/tiny has 2 *.safetensors and no model.safetensors.index.json");
        std::fs::write(
            folder.join(weights::INDEX),
            "{\"weight_map\": {\"a\": \"model-2.safetensors\", \"b\": \"model-1.safetensors\"}}",
        )
        .unwrap();
        let made = resolve_in(dir.path()).unwrap();
        let names: Vec<&str> = made.files.iter().map(|file| file.file.as_str()).collect();
        assert_eq!(
            names,
            ["config.json", "model-1.safetensors", "model-2.safetensors", weights::INDEX, "tokenizer.json"]
        );
        std::fs::write(folder.join("model-1.safetensors"), tensors(|_| true)).unwrap();
        insta::assert_snapshot!(resolve_in(dir.path()).unwrap_err(), @"models/tiny/model-2.safetensors, tensor model.embed_tokens.weight: is in model-1.safetensors too");
    }

    #[test]
    fn weights_and_tokenizers_of_another_model_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("models/tiny");
        write_tiny(&folder);
        let with_config = |from: &str, to: &str| {
            std::fs::write(folder.join(CONFIG), TINY.replacen(from, to, 1)).unwrap();
            resolve_in(dir.path()).unwrap_err().to_string()
        };
        let found = [
            with_config("\"tie_word_embeddings\": true", "\"tie_word_embeddings\": false"),
            with_config("\"intermediate_size\": 160", "\"intermediate_size\": 161"),
            with_config("\"num_hidden_layers\": 2", "\"num_hidden_layers\": 3"),
            with_config("\"vocab_size\": 1024", "\"vocab_size\": 1023"),
        ];
        insta::assert_snapshot!(found.join("\n"), @r"
        models/tiny, tensor lm_head.weight: is missing
        models/tiny/model.safetensors, tensor model.layers.0.mlp.gate_proj.weight: has shape [160, 64], config.json calls for [161, 64]
        models/tiny, tensor model.layers.2.input_layernorm.weight: is missing
        models/tiny/tokenizer.json has 1024 tokens, the model only 1023
        ");
    }

    /// A small GGUF model of `tests/reference/`, with a tokenizer of its size.
    fn write_gguf(folder: &Path) {
        std::fs::create_dir_all(folder).unwrap();
        let case =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/reference/cases/llama-q4_k_m/model.gguf");
        std::fs::copy(case, folder.join("small.gguf")).unwrap();
        std::fs::write(folder.join(TOKENIZER), train_synthetic(288).unwrap()).unwrap();
    }

    #[test]
    fn a_gguf_file_says_shape_and_weights_itself() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("models/tiny");
        write_gguf(&folder);
        let made = resolve_in(dir.path()).unwrap();
        let names: Vec<&str> = made.files.iter().map(|file| file.file.as_str()).collect();
        assert_eq!(names, ["small.gguf", "tokenizer.json"]);
        assert_eq!((made.config.model_type.as_str(), made.config.hidden_size), ("llama", 256));
        assert!(matches!(made.weights, Weights::Gguf(path) if path.is_absolute()));
        assert_eq!(shape(&folder), Some(made.config));
        std::fs::copy(folder.join("small.gguf"), folder.join("other.gguf")).unwrap();
        insta::assert_snapshot!(resolve_in(dir.path()).unwrap_err(), @"models/tiny has 2 *.gguf");
    }

    /// Writes the small GGUF model anew, with this chat template in its metadata.
    fn write_gguf_with_template(folder: &Path, template: &str) {
        use candle_core::quantized::gguf_file::{Content, Value, write};
        write_gguf(folder);
        let path = folder.join("small.gguf");
        let mut from = std::io::Cursor::new(std::fs::read(&path).unwrap());
        let content = Content::read(&mut from).unwrap();
        let mut tensor = |name: &String| content.tensor(&mut from, name, &candle_core::Device::Cpu).unwrap();
        let tensors: Vec<_> = content.tensor_infos.keys().map(|name| (name, tensor(name))).collect();
        let tensors: Vec<_> = tensors.iter().map(|(name, tensor)| (name.as_str(), tensor)).collect();
        let words = ["<pad>", "<s>", "</s>"].map(|word| Value::String(word.to_owned()));
        let mut metadata = content.metadata.clone();
        metadata.insert("tokenizer.ggml.tokens".to_owned(), Value::Array(words.to_vec()));
        metadata.insert("tokenizer.ggml.bos_token_id".to_owned(), Value::U32(1));
        metadata.insert("tokenizer.ggml.eos_token_id".to_owned(), Value::U32(3));
        metadata.insert("tokenizer.chat_template".to_owned(), Value::String(template.to_owned()));
        let metadata: Vec<_> = metadata.iter().map(|(key, value)| (key.as_str(), value)).collect();
        write(&mut std::fs::File::create(&path).unwrap(), &metadata, &tensors).unwrap();
    }

    #[test]
    fn a_gguf_file_says_its_chat_template_where_no_file_beside_it_does() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("models/tiny");
        let (digests, memo) = (DigestCache::default(), Memo::default());
        let access = Access {
            inputs: dir.path(),
            digests: &digests,
            memo: &memo,
            network: Network::Offline,
            progress: &Silent,
        };
        let resolve_chat = || resolve(&folder, "models/tiny", None, true, &access);
        let prompt = |made: &ModelFiles| {
            let template = made.load_template(made.template.as_ref().unwrap()).unwrap();
            template.prompt(&[ChatMessage::user("x")]).unwrap()
        };
        let pinned = |made: &ModelFiles| -> Vec<String> {
            made.template_pins().into_iter().map(|pin| pin.file.clone()).collect()
        };
        write_gguf(&folder);
        insta::assert_snapshot!(resolve_chat().unwrap_err(), @"models/tiny has no chat template");
        // An id beyond the tokens is no special token.
        write_gguf_with_template(
            &folder,
            "{{ bos_token }}{{ messages[0].content }}{{ eos_token is defined }}",
        );
        let made = resolve_chat().unwrap();
        assert_eq!((prompt(&made).as_str(), pinned(&made)), ("<s>xFalse", vec!["small.gguf".to_owned()]));
        assert_eq!(made.files.len(), 2);
        // Settings without a template change nothing, a template of its own goes first.
        std::fs::write(folder.join("tokenizer_config.json"), "{}").unwrap();
        assert_eq!(pinned(&resolve_chat().unwrap()), ["small.gguf"]);
        std::fs::write(folder.join("chat_template.jinja"), "own").unwrap();
        let made = resolve_chat().unwrap();
        assert_eq!(prompt(&made), "own");
        assert_eq!(pinned(&made), ["chat_template.jinja", "tokenizer_config.json"]);
        std::fs::remove_file(folder.join("chat_template.jinja")).unwrap();
        write_gguf_with_template(&folder, "\n{{ nothing");
        insta::assert_snapshot!(resolve_chat().unwrap_err(), @"tokenizer.chat_template of models/tiny/small.gguf:2: syntax error: unexpected end of input, expected end of variable block");
    }

    #[test]
    fn damaged_gguf_files_are_refused_and_never_panic() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("models/tiny");
        write_gguf(&folder);
        let path = folder.join("small.gguf");
        let whole = std::fs::read(&path).unwrap();
        for cut in [0, 3, 8, 24, 100, 1000, 5000, whole.len() / 2] {
            std::fs::write(&path, &whole[..cut]).unwrap();
            if let Ok(made) = resolve_in(dir.path()) {
                let reader = crate::model::WeightReader::open(&made.weights).unwrap();
                let wanted = [made.config.hidden_size as usize, made.config.hidden_size as usize];
                let name = "model.layers.1.self_attn.o_proj.weight";
                assert!(reader.tensor(name, &wanted, crate::spec::Dtype::F32).is_err(), "cut at {cut}");
            }
        }
        for (at, byte) in (0..400).map(|i| (i * 13 % 4000, (i * 37) as u8)) {
            let mut bytes = whole.clone();
            bytes[at] = byte;
            std::fs::write(&path, &bytes).unwrap();
            let _ = resolve_in(dir.path());
        }
        std::fs::write(&path, b"GGUF\x03\0\0\0 and no more").unwrap();
        let found = resolve_in(dir.path()).unwrap_err().to_string();
        assert!(found.starts_with("the GGUF file cannot be used"), "{found}");
    }

    #[test]
    fn a_missing_file_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("models/tiny");
        for name in ["model.safetensors", TOKENIZER, CONFIG] {
            write_tiny(&folder);
            std::fs::remove_file(folder.join(name)).unwrap();
            let found = resolve_in(dir.path()).unwrap_err().to_string();
            assert!(found.contains(name.trim_start_matches("model")), "{found}");
        }
    }
}
