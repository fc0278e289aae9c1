//! The files of a model that make its chat template: those of its folder that are made for it, else its GGUF file.

use std::path::{Path, PathBuf};

use super::SourceError;
use crate::model::{CHAT_TEMPLATE, ChatTemplate, GgufFile, Moment, TOKENIZER_CONFIG, has_template};
use crate::store::read_bounded;

/// Names that are looked for.
pub(super) const NAMES: [&str; 2] = [CHAT_TEMPLATE, TOKENIZER_CONFIG];

/// Largest file that is read, in bytes; the template's own limits are lower.
const MAX_FILE: u64 = 8 << 20;

/// Where a chat template is read from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TemplateFiles {
    folder: PathBuf,
    shown: String,
    names: Vec<String>,
    /// Whether the only name is that of the model's GGUF file.
    gguf: bool,
}

impl TemplateFiles {
    /// Those of a folder; `shown` names it in errors. The `gguf` file of its weights, by its name, stands in for a
    /// folder without a template.
    pub(super) fn find(folder: &Path, shown: &str, gguf: Option<(&str, &GgufFile)>) -> Self {
        let config = || read_bounded(&folder.join(TOKENIZER_CONFIG), MAX_FILE).ok();
        let gguf =
            gguf.filter(|(_, file)| file.has_chat_template() && !holds_template(folder, config().as_deref()));
        let found = NAMES.into_iter().filter(|name| gguf.is_none() && folder.join(name).is_file());
        let names = gguf.map(|(name, _)| name).into_iter().chain(found).map(str::to_owned).collect();
        Self { folder: folder.to_owned(), shown: shown.to_owned(), names, gguf: gguf.is_some() }
    }

    /// The files' names.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    pub(super) fn shown(&self) -> &str {
        &self.shown
    }

    /// Reads the template. `check` sees each file's name and bytes, but for those of a GGUF file, which holds the
    /// weights.
    ///
    /// # Errors
    /// There is none, it has a mistake, or `check` refuses a file.
    pub(super) fn load(
        &self,
        now: Moment,
        check: impl Fn(&str, &[u8]) -> Result<(), SourceError>,
    ) -> Result<ChatTemplate, SourceError> {
        let found = match &self.names[..] {
            [name] if self.gguf => GgufFile::open(&self.folder.join(name))?
                .chat_template(&format!("{}/{name}", self.shown), now)?,
            _ => {
                let read = |name: &str| self.read(name, &check);
                let (template, config) = (read(CHAT_TEMPLATE)?, read(TOKENIZER_CONFIG)?);
                ChatTemplate::from_files(template.as_deref(), config.as_deref(), &self.shown, now)?
            }
        };
        found.ok_or_else(|| SourceError::NoChatTemplate { model: self.shown.clone() })
    }

    /// The content of a file, if it was found.
    fn read(
        &self,
        name: &str,
        check: impl Fn(&str, &[u8]) -> Result<(), SourceError>,
    ) -> Result<Option<Vec<u8>>, SourceError> {
        if !self.names.iter().any(|found| found == name) {
            return Ok(None);
        }
        let bytes = read_bounded(&self.folder.join(name), MAX_FILE)?;
        check(name, &bytes)?;
        Ok(Some(bytes))
    }
}

/// Whether one of a folder's files holds a template, or may once it can be read; `config` is its [`TOKENIZER_CONFIG`].
fn holds_template(folder: &Path, config: Option<&[u8]>) -> bool {
    folder.join(CHAT_TEMPLATE).is_file() || config.is_some_and(has_template)
}

/// What a folder that may hold a part of a model's files certainly lacks for its template: special tokens stand in one
/// file, and the template there or in another.
pub(super) fn gap(folder: &Path) -> Option<&'static str> {
    match read_bounded(&folder.join(TOKENIZER_CONFIG), MAX_FILE) {
        Err(_) => Some(TOKENIZER_CONFIG),
        Ok(config) if holds_template(folder, Some(&config)) => None,
        Ok(_) => Some(CHAT_TEMPLATE),
    }
}
