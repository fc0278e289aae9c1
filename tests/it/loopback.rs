//! A hub on this machine: the parts of Hugging Face's API that clients use to download a model, on two
//! ports (the hub, and the store that large files are redirected to), with failures on demand.

use std::collections::{BTreeMap, VecDeque};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use sha1::{Digest as _, Sha1};
use xp::catalog::ModelConfig;
use xp::source::tensor_table;
use xp::store::Digest;

pub const REPO: &str = "Org/tiny";
pub const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// A file of the repository.
#[derive(Clone)]
pub struct RemoteFile {
    pub name: String,
    pub bytes: Arc<Vec<u8>>,
    /// Kept by Git LFS: it is named by its SHA-256, and another host sends it.
    pub large: bool,
}

impl RemoteFile {
    pub fn new(name: &str, bytes: impl Into<Vec<u8>>, large: bool) -> Self {
        Self { name: name.to_owned(), bytes: Arc::new(bytes.into()), large }
    }

    /// The hub's name for the content, and so the blob's in the cache.
    pub fn oid(&self) -> String {
        if self.large { Digest::of(&*self.bytes).to_string() } else { git_oid(&self.bytes) }
    }
}

fn git_oid(bytes: &[u8]) -> String {
    let mut hasher = Sha1::new_with_prefix(format!("blob {}\0", bytes.len()));
    hasher.update(bytes);
    hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What the server does to one request, in place of what is right.
#[derive(Clone)]
pub enum Act {
    /// A status, headers, and a body.
    Status(u16, Vec<(&'static str, String)>, Vec<u8>),
    /// The right head, this many bytes of the body, and the end of the connection.
    Cut(usize),
    /// The right head, this many bytes of the body, and nothing more for as long as the client waits.
    Stall(usize),
    /// The right body in pieces, with a pause between them.
    Slow(usize, Duration),
    /// The whole file, whatever part is asked for.
    NoRanges,
    /// Another file.
    Bytes(Vec<u8>),
    /// These bytes, and the end of the connection.
    Raw(Vec<u8>),
}

pub fn status(code: u16) -> Act {
    Act::Status(code, Vec::new(), Vec::new())
}

pub fn redirect(to: impl Into<String>) -> Act {
    Act::Status(302, vec![("Location", to.into())], Vec::new())
}

/// A request that came.
#[derive(Debug, Clone)]
pub struct Seen {
    /// Of the store's port, not the hub's.
    pub at_store: bool,
    /// `GET /path?query`.
    pub line: String,
    pub range: Option<String>,
    pub authorization: Option<String>,
}

/// What is done to requests of one kind.
struct Scene {
    /// A part of their line.
    pattern: String,
    next: VecDeque<Act>,
    /// Once there is nothing next.
    always: Option<Act>,
}

struct State {
    files: Vec<RemoteFile>,
    /// Commits by revision.
    revisions: Mutex<BTreeMap<String, String>>,
    /// Whether listings say what the files are.
    blobs: AtomicBool,
    store: SocketAddr,
    script: Mutex<Vec<Scene>>,
    seen: Mutex<Vec<Seen>>,
    stop: AtomicBool,
}

/// The server; it stops when dropped.
pub struct Loopback {
    state: Arc<State>,
    hub: SocketAddr,
    listeners: Vec<JoinHandle<()>>,
}

impl Loopback {
    pub fn start(files: Vec<RemoteFile>) -> Self {
        let bind = || TcpListener::bind("127.0.0.1:0").expect("a port");
        let (hub, store) = (bind(), bind());
        let address = |listener: &TcpListener| listener.local_addr().expect("an address");
        let hub_address = address(&hub);
        let state = Arc::new(State {
            files,
            revisions: Mutex::new(BTreeMap::from([("main".to_owned(), COMMIT.to_owned())])),
            blobs: AtomicBool::new(true),
            store: address(&store),
            script: Mutex::default(),
            seen: Mutex::default(),
            stop: AtomicBool::new(false),
        });
        let listeners = [(hub, false), (store, true)].map(|(listener, at_store)| {
            let state = Arc::clone(&state);
            std::thread::spawn(move || accept(&listener, &state, at_store))
        });
        Self { state, hub: hub_address, listeners: listeners.into() }
    }

    /// Value for `HF_ENDPOINT`.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.hub)
    }

    /// The other host: another name, and another port.
    pub fn store(&self) -> String {
        format!("http://localhost:{}", self.state.store.port())
    }

    pub fn file(&self, name: &str) -> &RemoteFile {
        self.state.files.iter().find(|file| file.name == name).expect("a file")
    }

    /// Points a branch, a tag or `refs/pr/1` to a commit.
    pub fn set_revision(&self, revision: &str, commit: &str) {
        self.state.revisions.lock().unwrap().insert(revision.to_owned(), commit.to_owned());
    }

    /// Leaves sizes and digests out of listings, as some mirrors do.
    pub fn hide_blobs(&self) {
        self.state.blobs.store(false, Ordering::SeqCst);
    }

    /// What is done to the next requests whose line contains `pattern`, in turn.
    pub fn next(&self, pattern: &str, acts: impl IntoIterator<Item = Act>) {
        self.play(pattern, acts.into_iter().collect(), None);
    }

    /// What is done to all requests whose line contains `pattern`.
    pub fn always(&self, pattern: &str, act: Act) {
        self.play(pattern, VecDeque::new(), Some(act));
    }

    /// The requests since the last call.
    pub fn take_seen(&self) -> Vec<Seen> {
        std::mem::take(&mut self.state.seen.lock().unwrap())
    }

    fn play(&self, pattern: &str, next: VecDeque<Act>, always: Option<Act>) {
        let pattern = pattern.to_owned();
        self.state.script.lock().unwrap().push(Scene { pattern, next, always });
    }

    /// Drops what was to be done.
    pub fn forget(&self) {
        self.state.script.lock().unwrap().clear();
    }
}

impl Drop for Loopback {
    fn drop(&mut self) {
        self.state.stop.store(true, Ordering::SeqCst);
        for address in [self.hub, self.state.store] {
            let _ = TcpStream::connect(address);
        }
        for listener in self.listeners.drain(..) {
            let _ = listener.join();
        }
    }
}

fn accept(listener: &TcpListener, state: &Arc<State>, at_store: bool) {
    for stream in listener.incoming() {
        if state.stop.load(Ordering::SeqCst) {
            return;
        }
        let Ok(stream) = stream else { continue };
        let state = Arc::clone(state);
        std::thread::spawn(move || {
            let _ = stream.set_read_timeout(Some(Duration::from_secs(5)));
            let _ = stream.set_write_timeout(Some(Duration::from_secs(5)));
            let _ = serve(stream, &state, at_store);
        });
    }
}

/// One request, one answer, and the end of the connection.
fn serve(mut stream: TcpStream, state: &State, at_store: bool) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?.take(64 << 10));
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let line = line.trim().trim_end_matches(" HTTP/1.1").to_owned();
    let mut headers = BTreeMap::new();
    loop {
        let mut header = String::new();
        if reader.read_line(&mut header)? == 0 || header.trim().is_empty() {
            break;
        }
        if let Some((name, value)) = header.split_once(':') {
            headers.insert(name.trim().to_ascii_lowercase(), value.trim().to_owned());
        }
    }
    if line.is_empty() {
        return Ok(());
    }
    let (range, authorization) = (headers.remove("range"), headers.remove("authorization"));
    state.seen.lock().unwrap().push(Seen {
        at_store,
        line: line.clone(),
        range: range.clone(),
        authorization,
    });
    let act = {
        let mut script = state.script.lock().unwrap();
        let mut scenes = script.iter_mut().filter(|scene| line.contains(&scene.pattern));
        scenes.find_map(|scene| scene.next.pop_front().or_else(|| scene.always.clone()))
    };
    let (method, path) = line.split_once(' ').unwrap_or_default();
    let right =
        |range: Option<&str>| if at_store { state.blob(path, range) } else { state.answer(path, range) };
    let head_only = method == "HEAD";
    match act {
        None => send(&mut stream, &right(range.as_deref()), head_only, usize::MAX),
        Some(Act::NoRanges) => send(&mut stream, &right(None), head_only, usize::MAX),
        Some(Act::Status(code, headers, body)) => {
            send(&mut stream, &Answer { code, headers, body: Arc::new(body), from: 0 }, head_only, usize::MAX)
        }
        Some(Act::Bytes(body)) => {
            let answer = Answer { code: 200, headers: Vec::new(), body: Arc::new(body), from: 0 };
            send(&mut stream, &answer, head_only, usize::MAX)
        }
        Some(Act::Cut(n)) => send(&mut stream, &right(range.as_deref()), head_only, n),
        Some(Act::Stall(n)) => {
            send(&mut stream, &right(range.as_deref()), head_only, n)?;
            let until = Instant::now() + Duration::from_secs(20);
            while !state.stop.load(Ordering::SeqCst) && Instant::now() < until && !gone(&stream) {
                std::thread::sleep(Duration::from_millis(10));
            }
            Ok(())
        }
        Some(Act::Slow(piece, pause)) => {
            let answer = right(range.as_deref());
            send(&mut stream, &answer, head_only, 0)?;
            for bytes in answer.body[answer.from..].chunks(piece) {
                stream.write_all(bytes)?;
                std::thread::sleep(pause);
            }
            Ok(())
        }
        Some(Act::Raw(bytes)) => stream.write_all(&bytes),
    }
}

/// Whether the client has closed the connection.
fn gone(stream: &TcpStream) -> bool {
    stream.set_nonblocking(true).is_err() || matches!(stream.peek(&mut [0]), Ok(0)) || {
        let _ = stream.set_nonblocking(false);
        false
    }
}

struct Answer {
    code: u16,
    headers: Vec<(&'static str, String)>,
    body: Arc<Vec<u8>>,
    from: usize,
}

/// Sends the head, and at most `most` bytes of the body.
fn send(stream: &mut TcpStream, answer: &Answer, head_only: bool, most: usize) -> std::io::Result<()> {
    let body = &answer.body[answer.from..];
    let mut head = format!("HTTP/1.1 {} .\r\nConnection: close\r\n", answer.code);
    if !answer.headers.iter().any(|(name, _)| *name == "Content-Length") {
        head.push_str(&format!("Content-Length: {}\r\n", body.len()));
    }
    for (name, value) in &answer.headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    stream.write_all(format!("{head}\r\n").as_bytes())?;
    if !head_only {
        stream.write_all(&body[..body.len().min(most)])?;
    }
    stream.flush()
}

impl State {
    fn answer(&self, path: &str, range: Option<&str>) -> Answer {
        let path = path.split('?').next().unwrap_or_default();
        let missing = |code: &str| Answer {
            code: 404,
            headers: vec![("X-Error-Code", code.to_owned())],
            body: Arc::default(),
            from: 0,
        };
        let json = |value: serde_json::Value| Answer {
            code: 200,
            headers: vec![("Content-Type", "application/json".to_owned())],
            body: Arc::new(value.to_string().into_bytes()),
            from: 0,
        };
        let commit_of = |revision: &str| {
            let revision = revision.replace("%2F", "/");
            let known = self.revisions.lock().unwrap();
            known.get(&revision).or_else(|| known.values().find(|commit| **commit == revision)).cloned()
        };
        if let Some(revision) = path.strip_prefix(&format!("/api/models/{REPO}/revision/")) {
            return match commit_of(revision) {
                Some(commit) => json(serde_json::json!({
                    "id": REPO, "modelId": REPO, "sha": commit, "private": false, "siblings": self.siblings(),
                })),
                None => missing("RevisionNotFound"),
            };
        }
        if path.starts_with(&format!("/api/models/{REPO}/tree/")) {
            return json(self.tree());
        }
        let Some((revision, name)) =
            path.strip_prefix(&format!("/{REPO}/resolve/")).and_then(|rest| rest.split_once('/'))
        else {
            return missing("RepoNotFound");
        };
        let Some(commit) = commit_of(revision) else { return missing("RevisionNotFound") };
        let Some(file) = self.files.iter().find(|file| file.name == name) else {
            return missing("EntryNotFound");
        };
        let mut headers = vec![("X-Repo-Commit", commit)];
        if file.large {
            let port = self.store.port();
            headers.push(("X-Linked-Etag", format!("\"{}\"", file.oid())));
            headers.push(("X-Linked-Size", file.bytes.len().to_string()));
            headers.push(("Location", format!("http://localhost:{port}/{}?signature=signed", file.oid())));
            return Answer { code: 302, headers, body: Arc::default(), from: 0 };
        }
        headers.push(("ETag", format!("\"{}\"", file.oid())));
        ranged(headers, &file.bytes, range)
    }

    fn blob(&self, path: &str, range: Option<&str>) -> Answer {
        let oid = path.trim_start_matches('/').split('?').next().unwrap_or_default();
        match self.files.iter().find(|file| file.oid() == oid) {
            Some(file) => ranged(Vec::new(), &file.bytes, range),
            None => Answer { code: 403, headers: Vec::new(), body: Arc::default(), from: 0 },
        }
    }

    fn siblings(&self) -> Vec<serde_json::Value> {
        let of_file = |file: &RemoteFile| {
            let (name, size) = (&file.name, file.bytes.len());
            match (self.blobs.load(Ordering::SeqCst), file.large) {
                (false, _) => serde_json::json!({ "rfilename": name }),
                (_, false) => serde_json::json!({ "rfilename": name, "size": size, "blobId": file.oid() }),
                (_, true) => serde_json::json!({
                    "rfilename": name, "size": size, "blobId": git_oid(b"pointer"),
                    "lfs": { "sha256": file.oid(), "size": size, "pointerSize": 135 },
                }),
            }
        };
        self.files.iter().map(of_file).collect()
    }

    fn tree(&self) -> serde_json::Value {
        let of_file = |file: &RemoteFile| {
            let (name, size) = (&file.name, file.bytes.len());
            let mut entry = serde_json::json!({
                "type": "file", "path": name, "size": size, "oid": git_oid(&file.bytes),
            });
            if file.large {
                entry["lfs"] = serde_json::json!({ "oid": file.oid(), "size": size, "pointerSize": 135 });
            }
            entry
        };
        self.files.iter().map(of_file).collect()
    }
}

fn ranged(mut headers: Vec<(&'static str, String)>, bytes: &Arc<Vec<u8>>, range: Option<&str>) -> Answer {
    let total = bytes.len();
    headers.push(("Accept-Ranges", "bytes".to_owned()));
    let from = range.and_then(|range| range.strip_prefix("bytes=")?.strip_suffix('-')?.parse::<usize>().ok());
    match from {
        None => Answer { code: 200, headers, body: Arc::clone(bytes), from: 0 },
        Some(from) if from < total => {
            headers.push(("Content-Range", format!("bytes {from}-{}/{total}", total - 1)));
            Answer { code: 206, headers, body: Arc::clone(bytes), from }
        }
        Some(_) => {
            headers.push(("Content-Range", format!("bytes */{total}")));
            Answer { code: 416, headers, body: Arc::default(), from: 0 }
        }
    }
}

/// `config.json` of the catalog's smallest model.
pub const CONFIG: &str = r#"{
  "architectures": ["Qwen3ForCausalLM"],
  "hidden_act": "silu",
  "hidden_size": 64,
  "intermediate_size": 160,
  "max_position_embeddings": 2048,
  "model_type": "qwen3",
  "num_attention_heads": 4,
  "num_hidden_layers": 2,
  "num_key_value_heads": 2,
  "rms_norm_eps": 1e-6,
  "rope_theta": 1000000,
  "tie_word_embeddings": true,
  "vocab_size": 1024
}
"#;

static TOKENIZER: LazyLock<Vec<u8>> =
    LazyLock::new(|| xp::model::train_synthetic(1024).expect("a tokenizer"));

/// A safetensors file with those tensors of the model that `keep` admits; its numbers are small and not all the same.
fn tensors(keep: impl Fn(&str) -> bool) -> Vec<u8> {
    let config: &ModelConfig = xp::catalog::model("qwen3-tiny").expect("a catalog model");
    let (mut header, mut end) = (serde_json::Map::new(), 0);
    for tensor in tensor_table(config).into_iter().filter(|tensor| keep(&tensor.name)) {
        let start = end;
        end += 2 * tensor.elements();
        let info =
            serde_json::json!({ "dtype": "BF16", "shape": tensor.shape, "data_offsets": [start, end] });
        header.insert(tensor.name, info);
    }
    let header = serde_json::Value::Object(header).to_string();
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend(header.as_bytes());
    // BF16 numbers between 0.0078 and 0.03.
    bytes.extend((0..end / 2).flat_map(|index| [(index * 7 % 251) as u8, 0x3c]));
    bytes
}

/// A repository whose weights are one file.
pub fn whole() -> Vec<RemoteFile> {
    static WEIGHTS: LazyLock<Vec<u8>> = LazyLock::new(|| tensors(|_| true));
    let mut files = small();
    files.push(RemoteFile::new("model.safetensors", WEIGHTS.clone(), true));
    files
}

/// A repository whose weights are two shards.
pub fn sharded() -> Vec<RemoteFile> {
    let names = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"];
    let first = |name: &str| name.contains("layers.0");
    let map = serde_json::json!({ "metadata": {}, "weight_map": { "a": names[0], "b": names[1] } });
    let mut files = small();
    files.push(RemoteFile::new("model.safetensors.index.json", map.to_string(), false));
    files.push(RemoteFile::new(names[0], tensors(first), true));
    files.push(RemoteFile::new(names[1], tensors(|name| !first(name)), true));
    files
}

fn small() -> Vec<RemoteFile> {
    vec![
        RemoteFile::new(".gitattributes", "*.safetensors filter=lfs", false),
        RemoteFile::new("README.md", "# A model\n", false),
        RemoteFile::new("config.json", CONFIG, false),
        RemoteFile::new("tokenizer.json", TOKENIZER.clone(), false),
    ]
}
