//! The files of a model's folder that make its chat template.

use std::path::{Path, PathBuf};

use super::SourceError;
use crate::model::{CHAT_TEMPLATE, ChatTemplate, Moment, TOKENIZER_CONFIG, has_template};
use crate::store::{ReadError, read_bounded};

/// Names that are looked for.
pub(super) const NAMES: [&str; 2] = [CHAT_TEMPLATE, TOKENIZER_CONFIG];

/// Largest file that is read, in bytes; the template's own limits are lower.
const MAX_FILE: u64 = 8 << 20;

/// Where a chat template is read from: the files of a folder that there are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TemplateFiles {
    folder: PathBuf,
    shown: String,
    names: Vec<&'static str>,
}

impl TemplateFiles {
    /// Those of a folder; `shown` names it in errors.
    pub(super) fn find(folder: &Path, shown: &str) -> Self {
        let names = NAMES.into_iter().filter(|name| folder.join(name).is_file()).collect();
        Self { folder: folder.to_owned(), shown: shown.to_owned(), names }
    }

    /// The files' names.
    pub fn names(&self) -> &[&'static str] {
        &self.names
    }

    pub(super) fn shown(&self) -> &str {
        &self.shown
    }

    /// Reads the template. `check` sees each file's name and bytes.
    ///
    /// # Errors
    /// There is none, it has a mistake, or `check` refuses a file.
    pub(super) fn load(
        &self,
        now: Moment,
        check: impl Fn(&str, &[u8]) -> Result<(), SourceError>,
    ) -> Result<ChatTemplate, SourceError> {
        let read = |name: &str| {
            let known = self.names.contains(&name);
            let bytes = known.then(|| read_bounded(&self.folder.join(name), MAX_FILE)).transpose()?;
            bytes.as_deref().map_or(Ok(()), |bytes| check(name, bytes))?;
            Ok::<_, SourceError>(bytes)
        };
        let (template, config) = (read(CHAT_TEMPLATE)?, read(TOKENIZER_CONFIG)?);
        ChatTemplate::from_files(template.as_deref(), config.as_deref(), &self.shown, now)?
            .ok_or_else(|| SourceError::NoChatTemplate { model: self.shown.clone() })
    }
}

/// What a folder that may hold a part of a model's files certainly lacks for its template: special tokens stand in one
/// file, and the template there or in another.
pub(super) fn gap(folder: &Path) -> Option<&'static str> {
    let config: Result<Vec<u8>, ReadError> = read_bounded(&folder.join(TOKENIZER_CONFIG), MAX_FILE);
    match config {
        Err(_) => Some(TOKENIZER_CONFIG),
        Ok(config) if folder.join(CHAT_TEMPLATE).is_file() || has_template(&config) => None,
        Ok(_) => Some(CHAT_TEMPLATE),
    }
}
