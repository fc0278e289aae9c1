//! The closed world the template is compiled in: its own files, the embedded
//! fonts, one data file, what is attached. No packages, no network, no system fonts, no clock.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use typst::diag::{FileError, FileResult};
use typst::foundations::{Bytes, Datetime, Duration};
use typst::syntax::{FileId, RootedPath, Source, VirtualPath, VirtualRoot};
use typst::text::{Font, FontBook};
use typst::utils::LazyHash;
use typst::{Library, LibraryExt, World};
use typst_kit::fonts::FontStore;

/// Families the template sets text in; nothing else is offered, so nothing else can slip in.
pub(super) const SERIF: &str = "Libertinus Serif";
pub(super) const MONO: &str = "DejaVu Sans Mono";

/// The template, by name.
const TEMPLATE: [(&str, &str); 10] = [
    ("report.typ", include_str!("template/report.typ")),
    ("figures.typ", include_str!("template/figures.typ")),
    ("theme.typ", include_str!("template/theme.typ")),
    ("plot.typ", include_str!("template/plot.typ")),
    ("overview.typ", include_str!("template/overview.typ")),
    ("decision.typ", include_str!("template/decision.typ")),
    ("capacity.typ", include_str!("template/capacity.typ")),
    ("front.typ", include_str!("template/front.typ")),
    ("errors.typ", include_str!("template/errors.typ")),
    ("appendix.typ", include_str!("template/appendix.typ")),
];

/// The embedded fonts of the two families, read once per process.
pub(super) fn fonts() -> &'static FontStore {
    static FONTS: OnceLock<FontStore> = OnceLock::new();
    FONTS.get_or_init(|| {
        let mut store = FontStore::new();
        store.extend(
            typst_kit::fonts::embedded().filter(|(_, info)| [SERIF, MONO].contains(&info.family.as_str())),
        );
        store
    })
}

fn library() -> &'static LazyHash<Library> {
    static LIBRARY: OnceLock<LazyHash<Library>> = OnceLock::new();
    LIBRARY.get_or_init(|| LazyHash::new(Library::default()))
}

/// Id of a file at the root of this world.
fn id(name: &str) -> FileId {
    let path = VirtualPath::new(name).expect("template names are plain file names");
    RootedPath::new(VirtualRoot::Project, path).intern()
}

/// The template's files with one `data.json`.
pub(super) struct ReportWorld {
    main: FileId,
    data_id: FileId,
    data: Bytes,
    attached: BTreeMap<String, Bytes>,
    sources: BTreeMap<&'static str, Source>,
}

impl ReportWorld {
    /// A world whose main file is `main`, one of the template's, whose `/data.json` is `data`, with files to
    /// attach beside them.
    pub(super) fn new(main: &str, data: Vec<u8>, attached: BTreeMap<String, Bytes>) -> Self {
        let sources =
            TEMPLATE.iter().map(|(name, text)| (*name, Source::new(id(name), (*text).to_owned()))).collect();
        ReportWorld { main: id(main), data_id: id("data.json"), data: Bytes::new(data), attached, sources }
    }

    fn name(id: FileId) -> &'static str {
        id.get().vpath().get_without_slash()
    }
}

impl World for ReportWorld {
    fn library(&self) -> &LazyHash<Library> {
        library()
    }

    fn book(&self) -> &LazyHash<FontBook> {
        fonts().book()
    }

    fn main(&self) -> FileId {
        self.main
    }

    fn source(&self, id: FileId) -> FileResult<Source> {
        let name = Self::name(id);
        match self.sources.get(name) {
            Some(source) if source.id() == id => Ok(source.clone()),
            _ => Err(FileError::NotFound(name.into())),
        }
    }

    fn file(&self, id: FileId) -> FileResult<Bytes> {
        if id == self.data_id {
            return Ok(self.data.clone());
        }
        if let Some(bytes) = self.attached.get(Self::name(id)) {
            return Ok(bytes.clone());
        }
        self.source(id).map(|source| Bytes::new(source.text().as_bytes().to_vec()))
    }

    fn font(&self, index: usize) -> Option<Font> {
        fonts().font(index)
    }

    fn today(&self, _offset: Option<Duration>) -> Option<Datetime> {
        None
    }
}
