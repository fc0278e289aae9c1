//! Models of a hub: `xp lock` against a server on this machine that does what hubs do, and what they
//! should not.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use crate::loopback::{Act, COMMIT, CONFIG, Loopback, RemoteFile, Seen, redirect, sharded, status, whole};
use crate::project::{Project, both};

const SPEC: &str = "experiments/tiny.kdl";
const LOCK: &str = "locks/tiny.lock.kdl";
const WEIGHTS: &str = "model.safetensors";
const TOKEN: &str = "hf_SecretOfTheTests";

/// An experiment whose lock depends on no machine.
fn experiment(revision: &str) -> String {
    format!(
        r#"experiment "tiny" {{
    seed 7
    model "tiny" {{ source "hf" repo="Org/tiny" revision="{revision}"; }}
    hardware "cpu" threads=1
    workload "few" {{ requests 2; lengths "fixed" prefill=9 decode=3; }}
    backend "sarathi" chunk-size=16 max-batch-size=4 kv-memory="4MiB"
}}
"#
    )
}

/// A project, a cache, and a hub.
struct Desk {
    hub: Loopback,
    project: Project,
    home: tempfile::TempDir,
}

impl Desk {
    fn new(files: Vec<RemoteFile>) -> Self {
        let (project, home) = (Project::empty(), tempfile::tempdir().unwrap());
        project.write(SPEC, experiment("main"));
        Self { hub: Loopback::start(files), project, home }
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_xp"));
        for (name, _) in std::env::vars_os() {
            let name = name.to_string_lossy().into_owned();
            if name.starts_with("HF_") || name.to_ascii_lowercase().ends_with("_proxy") {
                command.env_remove(name);
            }
        }
        command
            .current_dir(self.project.path(""))
            .env("TMPDIR", self.home.path())
            .env("HF_HOME", self.home.path())
            .env("HF_ENDPOINT", self.hub.endpoint())
            .env("HF_HUB_DOWNLOAD_TIMEOUT", "10")
            .env("XP_HUB_PAUSE_MS", "1")
            .env("NO_COLOR", "1")
            .env("COLUMNS", "100")
            .args(args);
        command
    }

    fn run(&self, args: &[&str], variables: &[(&str, &str)]) -> Output {
        self.command(args).envs(variables.iter().copied()).output().unwrap()
    }

    /// `xp lock`, which must succeed; what it printed.
    fn locks(&self, args: &[&str]) -> String {
        let output = self.run(&[&["lock", SPEC], args].concat(), &[]);
        let text = both(&output);
        assert!(output.status.success(), "xp lock {args:?}:\n{text}");
        text
    }

    /// `xp lock`, which must fail with `code` and leave no file of the model behind; the whole message on one line.
    fn refuses(&self, code: i32, args: &[&str]) -> String {
        self.refuses_with(code, args, &[])
    }

    fn refuses_with(&self, code: i32, args: &[&str], variables: &[(&str, &str)]) -> String {
        let (status, text) = self.says(args, variables);
        assert_eq!(status, Some(code), "xp lock {args:?}: {text}");
        assert!(!self.project.path(LOCK).exists());
        text
    }

    /// Exit code of `xp lock`, and what it printed: on one line, without what is another thing each time.
    fn says(&self, args: &[&str], variables: &[(&str, &str)]) -> (Option<i32>, String) {
        let output = self.run(&[&["lock", SPEC], args].concat(), variables);
        let text = both(&output);
        assert!(!text.contains("panicked"), "{text}");
        let words: Vec<&str> = text.split(['│', ' ', '\n']).filter(|word| !word.is_empty()).collect();
        let hub = self.hub.endpoint();
        // Which codes have a story is no matter of the hub.
        let words = words.join(" ");
        let told = words.split(" `xp explain ").next().unwrap_or_default();
        let text = told
            .replace(&hub, "HUB")
            .replace(hub.trim_start_matches("http://"), "HUB")
            .replace(self.hub.store().trim_start_matches("http://"), "STORE")
            .replace(&self.home.path().display().to_string(), "HOME");
        (output.status.code(), text)
    }

    fn lock_text(&self) -> String {
        String::from_utf8(self.project.read(LOCK)).unwrap()
    }

    fn cache(&self) -> PathBuf {
        self.home.path().join("hub/models--Org--tiny")
    }

    fn snapshot(&self) -> PathBuf {
        self.cache().join("snapshots").join(COMMIT)
    }

    fn blob(&self, file: &str) -> PathBuf {
        self.cache().join("blobs").join(self.hub.file(file).oid())
    }

    fn incomplete(&self, file: &str) -> PathBuf {
        self.blob(file).with_extension("incomplete")
    }

    /// The files are whole, and nothing else is in the cache.
    fn assert_cached(&self, names: &[&str]) {
        for name in names {
            let file = self.hub.file(name);
            assert!(fs::read(self.blob(name)).unwrap() == *file.bytes, "{name}");
            let pointer = self.snapshot().join(name);
            assert!(fs::read(&pointer).unwrap() == *file.bytes, "{name}");
            let target = PathBuf::from("../../blobs").join(file.oid());
            assert_eq!(fs::read_link(&pointer).unwrap(), target);
        }
        for folder in [self.snapshot(), self.cache().join("blobs")] {
            assert_eq!(fs::read_dir(&folder).unwrap().count(), names.len(), "{}", folder.display());
        }
    }

    /// Lines of the requests since the last call, sorted, with the part that was asked for.
    fn seen(&self) -> Vec<String> {
        let line = |seen: Seen| {
            let line = if seen.at_store { "STORE".to_owned() } else { seen.line.replace(COMMIT, "COMMIT") };
            seen.range.map_or_else(|| line.clone(), |range| format!("{line} {range}"))
        };
        let mut lines: Vec<String> = self.hub.take_seen().into_iter().map(line).collect();
        lines.sort();
        lines
    }

    /// Parts of the weights that the store was asked for.
    fn ranges(&self) -> Vec<String> {
        let seen = self.hub.take_seen().into_iter().filter(|seen| seen.at_store);
        seen.map(|seen| seen.range.unwrap_or_else(|| "all".to_owned())).collect()
    }

    /// Nothing of a file that did not arrive whole and right is in the cache.
    fn assert_absent(&self, name: &str) {
        assert!(!self.blob(name).exists() && !self.incomplete(name).exists());
        assert!(fs::symlink_metadata(self.snapshot().join(name)).is_err());
    }
}

const WHOLE: [&str; 3] = ["config.json", "tokenizer.json", WEIGHTS];

#[test]
fn a_model_is_downloaded_once_and_kept() {
    let desk = Desk::new(sharded());
    desk.locks(&[]);
    let names = [
        "config.json",
        "model-00001-of-00002.safetensors",
        "model-00002-of-00002.safetensors",
        "model.safetensors.index.json",
        "tokenizer.json",
    ];
    desk.assert_cached(&names);
    assert_eq!(fs::read_to_string(desk.cache().join("refs/main")).unwrap(), COMMIT);
    let lock = desk.lock_text();
    assert!(lock.contains(&format!("commit \"{COMMIT}\"")), "{lock}");
    for name in names {
        let (bytes, sha256) = xp::store::digest_file(&desk.snapshot().join(name)).unwrap();
        let pin = format!("file \"{name}\" bytes={bytes} sha256=\"{sha256}\"");
        assert!(lock.contains(&pin), "{pin} is not in\n{lock}");
    }
    assert_eq!(
        desk.seen(),
        [
            "GET /Org/tiny/resolve/COMMIT/config.json",
            "GET /Org/tiny/resolve/COMMIT/model-00001-of-00002.safetensors",
            "GET /Org/tiny/resolve/COMMIT/model-00002-of-00002.safetensors",
            "GET /Org/tiny/resolve/COMMIT/model.safetensors.index.json",
            "GET /Org/tiny/resolve/COMMIT/tokenizer.json",
            "GET /api/models/Org/tiny/revision/main?blobs=true",
            "STORE",
            "STORE",
        ]
    );

    // What is there is not asked for again, and where the branch is now does not matter.
    let next = "f".repeat(40);
    desk.hub.set_revision("old", COMMIT);
    desk.hub.set_revision("main", &next);
    desk.locks(&[]);
    desk.locks(&["--check"]);
    desk.locks(&["--offline"]);
    assert_eq!(desk.seen(), [""; 0]);
    assert_eq!(desk.lock_text(), lock);

    // Unless it is asked to move. What both commits hold is not fetched again.
    desk.locks(&["--upgrade", "model"]);
    assert_eq!(desk.seen(), ["GET /api/models/Org/tiny/revision/main?blobs=true"]);
    assert_eq!(desk.lock_text(), lock.replace(COMMIT, &next));
    desk.project.write(LOCK, &lock);

    // A file that is gone comes back, of the pinned commit and by its digest.
    fs::remove_file(desk.blob(names[1])).unwrap();
    let said = both(&desk.run(&["lock", SPEC, "--offline"], &[]));
    assert!(said.contains("model-00001-of-00002.safetensors") && !said.contains("00002-of"), "{said}");
    assert_eq!(desk.seen(), [""; 0]);
    desk.locks(&[]);
    desk.assert_cached(&names);
    assert_eq!(
        desk.seen(),
        [
            "GET /Org/tiny/resolve/COMMIT/model-00001-of-00002.safetensors",
            "GET /api/models/Org/tiny/revision/COMMIT?blobs=true",
            "STORE",
        ]
    );
    assert_eq!(desk.lock_text(), lock);
}

#[test]
fn what_only_looks_asks_no_hub() {
    let desk = Desk::new(whole());
    let looks: [&[&str]; 3] =
        [&["lock", "--check", SPEC], &["status", SPEC], &["status", "--explain", "--frozen", LOCK]];
    let told = |args: &[&str]| {
        let output = desk.run(args, &[]);
        assert_eq!(desk.seen(), [""; 0], "{args:?}");
        let text = both(&output);
        assert!(
            text.contains("xp::source::not_cached") && text.contains("is not in the Hugging Face"),
            "{text}"
        );
        let answer = desk.run(&[args, &["--json"]].concat(), &[]);
        assert_eq!(desk.seen(), [""; 0], "{args:?} --json");
        let answer: serde_json::Value = serde_json::from_slice(&answer.stdout).unwrap();
        assert_eq!(answer["diagnostics"][0]["code"], "xp::source::not_cached", "{answer}");
        assert_eq!(answer["ok"], false, "{answer}");
        output.status.code()
    };
    // Nothing of it is here, and then not all.
    looks[..2].iter().for_each(|args| assert_eq!(told(args), Some(2), "{args:?}"));
    assert!(!desk.cache().exists());
    desk.locks(&[]);
    desk.seen();
    for args in looks {
        let output = desk.run(args, &[]);
        assert!(output.status.success(), "{args:?}: {}", both(&output));
        assert_eq!(desk.seen(), [""; 0], "{args:?}");
    }
    fs::remove_file(desk.blob(WEIGHTS)).unwrap();
    looks.iter().for_each(|args| assert_eq!(told(args), Some(2), "{args:?}"));
    assert!(!desk.blob(WEIGHTS).exists());
}

/// A pattern that matches requests for the weights' bytes, and no others.
fn weights_of(desk: &Desk) -> String {
    desk.hub.file(WEIGHTS).oid()
}

#[test]
fn the_token_is_for_the_hub_alone() {
    let desk = Desk::new(whole());
    // A server that says everything again, wherever it can.
    let echo = vec![("X-Error-Message", format!("Bearer {TOKEN}"))];
    let echo = Act::Status(403, echo, format!("{{\"error\": \"{TOKEN}\"}}").into_bytes());
    let mut printed = String::new();
    for act in [
        echo,
        Act::Bytes(format!("{{\"sha\": \"{TOKEN}\"}}").into_bytes()),
        Act::Bytes(format!("{TOKEN} is no JSON").into_bytes()),
        redirect(format!("ftp://x/{TOKEN}")),
    ] {
        desk.hub.next("/revision/", [act]);
        let output = desk.run(&["lock", SPEC], &[("HF_TOKEN", TOKEN), ("RUST_BACKTRACE", "1")]);
        printed.push_str(&both(&output));
        let seen = desk.hub.take_seen();
        assert!(!output.status.success() && seen.len() == 1 && seen[0].authorization.is_some());
    }
    fs::write(desk.home.path().join("token"), format!("{TOKEN}\n")).unwrap();
    printed.push_str(&desk.locks(&[]));
    let seen = desk.hub.take_seen();
    assert!(seen.iter().any(|seen| seen.at_store));
    for seen in &seen {
        let expected = (!seen.at_store).then(|| format!("Bearer {TOKEN}"));
        assert_eq!(seen.authorization, expected, "{}", seen.line);
    }
    // Once away from the hub, a request that is sent back to it is a stranger's.
    fs::remove_dir_all(desk.home.path().join("hub")).unwrap();
    let back = format!("{}/Org/tiny/resolve/{COMMIT}/back", desk.hub.endpoint());
    desk.hub.next("/config.json", [redirect(format!("{}/away", desk.hub.store()))]);
    desk.hub.next("/away", [redirect(back)]);
    desk.hub.next("/back", [Act::Bytes(CONFIG.as_bytes().to_vec())]);
    printed.push_str(&desk.locks(&[]));
    for seen in desk.hub.take_seen().iter().filter(|seen| seen.at_store || seen.line.contains("/back")) {
        assert_eq!(seen.authorization, None, "{}", seen.line);
    }
    assert!(!printed.contains(TOKEN), "{printed}");
    fs::remove_file(desk.home.path().join("token")).unwrap();
    for root in [desk.project.path(""), desk.home.path().to_owned()] {
        assert_secret_free(&root);
    }
}

fn assert_secret_free(folder: &Path) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        assert!(!path.to_string_lossy().contains(TOKEN), "{}", path.display());
        match path.is_dir() {
            true => assert_secret_free(&path),
            false => {
                let bytes = fs::read(&path).unwrap();
                let found = bytes.windows(TOKEN.len()).any(|window| window == TOKEN.as_bytes());
                assert!(!found, "{}", path.display());
            }
        }
    }
}

#[test]
fn a_cut_download_goes_on_where_it_was_cut() {
    let desk = Desk::new(whole());
    desk.hub.next(&weights_of(&desk), [Act::Cut(100_000), Act::Cut(50_000), Act::Stall(20_000)]);
    let (code, said) = desk.says(&[], &[("HF_HUB_DOWNLOAD_TIMEOUT", "1")]);
    assert_eq!(code, Some(0), "{said}");
    desk.assert_cached(&WHOLE);
    assert_eq!(desk.ranges(), ["all", "bytes=100000-", "bytes=150000-", "bytes=170000-"]);
}

#[test]
fn a_server_without_ranges_sends_all_again() {
    let desk = Desk::new(whole());
    let weights = weights_of(&desk);
    desk.hub.next(&weights, [Act::Cut(100_000), Act::NoRanges]);
    desk.locks(&[]);
    desk.assert_cached(&WHOLE);
    assert_eq!(desk.ranges(), ["all", "bytes=100000-"]);

    // 416, and a part that was not asked for: the whole file is asked for.
    let other = Act::Status(206, vec![("Content-Range", "bytes 5-9/10".to_owned())], b"other".to_vec());
    for odd in [status(416), other] {
        let desk = Desk::new(whole());
        desk.hub.next(&weights, [Act::Cut(100_000), odd]);
        if desk.run(&["lock", SPEC], &[]).status.success() {
            desk.assert_cached(&WHOLE);
            assert_eq!(desk.ranges(), ["all", "bytes=100000-", "all"]);
        } else {
            // The whole length of that part is not the file's.
            desk.assert_absent(WEIGHTS);
        }
    }
}

#[test]
fn what_a_former_process_left_is_used_if_it_is_good() {
    for (left, expected) in [("good", vec!["bytes=1000-"]), ("bad", vec!["bytes=1000-", "all"])] {
        let desk = Desk::new(whole());
        let part = match left {
            "good" => desk.hub.file(WEIGHTS).bytes[..1000].to_vec(),
            _ => vec![7; 1000],
        };
        fs::create_dir_all(desk.cache().join("blobs")).unwrap();
        fs::write(desk.incomplete(WEIGHTS), part).unwrap();
        desk.locks(&[]);
        desk.assert_cached(&WHOLE);
        assert_eq!(desk.ranges(), expected, "{left}");
    }
    // A whole file that was not renamed, and one that is too long.
    for (extra, expected) in [(0, vec![]), (1, vec!["all"])] {
        let desk = Desk::new(whole());
        let mut part = desk.hub.file(WEIGHTS).bytes.to_vec();
        part.resize(part.len() + extra, 0);
        fs::create_dir_all(desk.cache().join("blobs")).unwrap();
        fs::write(desk.incomplete(WEIGHTS), part).unwrap();
        desk.locks(&[]);
        desk.assert_cached(&WHOLE);
        assert_eq!(desk.ranges(), expected as Vec<&str>);
    }
}

#[test]
fn wrong_files_never_enter_the_cache() {
    let mut said = Vec::new();
    for (name, pattern) in [(WEIGHTS, None), ("tokenizer.json", Some("/tokenizer.json"))] {
        let desk = Desk::new(whole());
        let file = desk.hub.file(name);
        let mut bytes = file.bytes.to_vec();
        let pattern = pattern.map_or_else(|| weights_of(&desk), str::to_owned);
        bytes[99] ^= 1;
        let found = RemoteFile { bytes: bytes.clone().into(), ..file.clone() }.oid();
        // The tokenizer's digest and length are not this test's matter.
        let plain = |said: String| {
            let said = said.replace(&file.oid(), "EXPECTED").replace(&found, "FOUND");
            [(0, "N"), (1, "N+1"), (-1, "N-1")].iter().fold(said, |said, (more, name)| {
                said.replace(&file.bytes.len().checked_add_signed(*more).unwrap().to_string(), name)
            })
        };
        desk.hub.next(&pattern, [Act::Bytes(bytes.clone())]);
        said.push(plain(desk.refuses(1, &[])));
        desk.assert_absent(name);
        for change in [-1, 1] {
            bytes.resize(bytes.len().checked_add_signed(change).unwrap(), 0);
            desk.hub.next(&pattern, [Act::Bytes(bytes.clone())]);
            said.push(plain(desk.refuses(1, &[])));
            desk.assert_absent(name);
            bytes.resize(desk.hub.file(name).bytes.len(), 0);
        }
        // Without a length, what is too much is noticed too.
        let mut raw = b"HTTP/1.1 200 .\r\nConnection: close\r\n\r\n".to_vec();
        raw.extend(&bytes);
        raw.push(0);
        desk.hub.next(&pattern, [Act::Raw(raw)]);
        said.push(plain(desk.refuses(1, &[])));
        desk.assert_absent(name);
        desk.locks(&[]);
        desk.assert_cached(&WHOLE);
    }
    insta::assert_snapshot!(said.join("\n"), @r"
    xp::source::hub_digest × model.safetensors of Org/tiny at 0123456789ab… has the SHA-256 FOUND; the hub says EXPECTED help: nothing of it was put into the cache: a commit never changes its files, so the server or the lock is wrong
    xp::source::hub_size × model.safetensors of Org/tiny at 0123456789ab…: the hub says N bytes, and its server sends N-1 help: nothing of it was put into the cache; try again later
    xp::source::hub_size × model.safetensors of Org/tiny at 0123456789ab…: the hub says N bytes, and its server sends N+1 help: nothing of it was put into the cache; try again later
    xp::source::hub_size × model.safetensors of Org/tiny at 0123456789ab…: the hub says N bytes, and its server sends N+1 help: nothing of it was put into the cache; try again later
    xp::source::hub_digest × tokenizer.json of Org/tiny at 0123456789ab… has the git SHA-1 FOUND; the hub says EXPECTED help: nothing of it was put into the cache: a commit never changes its files, so the server or the lock is wrong
    xp::source::hub_size × tokenizer.json of Org/tiny at 0123456789ab…: the hub says N bytes, and its server sends N-1 help: nothing of it was put into the cache; try again later
    xp::source::hub_size × tokenizer.json of Org/tiny at 0123456789ab…: the hub says N bytes, and its server sends N+1 help: nothing of it was put into the cache; try again later
    xp::source::hub_size × tokenizer.json of Org/tiny at 0123456789ab…: the hub says N bytes, and its server sends N+1 help: nothing of it was put into the cache; try again later
    ");
}

#[test]
fn a_file_of_other_bytes_than_the_lock_pins_is_refused() {
    let desk = Desk::new(whole());
    desk.locks(&[]);
    let lock = desk.lock_text();
    let sha256 = |name: &str| xp::store::digest_file(&desk.snapshot().join(name)).unwrap().1.to_string();
    for name in ["config.json", WEIGHTS] {
        let other = "0".repeat(64);
        desk.project.write(LOCK, lock.replace(&sha256(name), &other));
        let gone = desk.snapshot().join(name);
        let kept = fs::read_link(&gone).unwrap();
        let (_, said) = desk.says(&[], &[]);
        assert!(said.contains("cache_damaged") && said.contains(&format!("the lock pins {other}")), "{said}");
        fs::remove_file(&gone).unwrap();
        fs::remove_file(desk.blob(name)).unwrap();
        let (_, said) = desk.says(&[], &[]);
        assert!(said.contains("hub_digest") && said.contains(&format!("the lock pins {other}")), "{said}");
        desk.assert_absent(name);
        desk.project.write(LOCK, &lock);
        desk.locks(&[]);
        assert_eq!(fs::read_link(&gone).unwrap(), kept);
    }
    desk.assert_cached(&WHOLE);
}

#[test]
fn refusals_say_what_can_be_done() {
    let desk = Desk::new(whole());
    let mut said = Vec::new();
    let gated = || Act::Status(403, vec![("X-Error-Code", "GatedRepo".to_owned())], Vec::new());
    desk.hub.next("/revision/", [status(401)]);
    said.push(desk.refuses(2, &[]));
    desk.hub.next("/config.json", [gated()]);
    said.push(desk.refuses_with(2, &[], &[("HF_TOKEN", TOKEN)]));
    desk.hub.next("/revision/", [status(404), status(418)]);
    said.push(desk.refuses(1, &[]));
    said.push(desk.refuses(2, &[]));
    for (set, code) in [("model.source.repo=Org/tinny", 1), ("model.source.revision=mian", 1)] {
        said.push(desk.refuses(code, &["--set", set]));
    }
    desk.hub.next("/tokenizer.json", [status(404)]);
    said.push(desk.refuses(1, &[]));
    said.push(desk.refuses_with(2, &[], &[("HF_ENDPOINT", "http://127.0.0.1:1")]));
    said.push(desk.refuses_with(2, &[], &[("HF_ENDPOINT", "nonsense")]));
    insta::assert_snapshot!(said.join("\n"), @r"
    xp::source::hub_denied × the hub does not hand out Org/tiny at main ╰─▶ HTTP 401 help: the repository is gated, private, or not there (is its name right?): ask for access at HUB/Org/tiny, and give a token in HF_TOKEN or by `hf auth login`
    xp::source::hub_denied × the hub does not hand out config.json of Org/tiny at 0123456789ab… ╰─▶ HTTP 403 help: the token of HF_TOKEN has no access: ask for it at HUB/Org/tiny, and see that the token may read gated repositories and has not run out
    xp::source::hub_missing × the hub has no repository Org/tiny with a revision main help: is the name right? Upper and lower case count
    xp::source::hub_unreachable × HUB did not give Org/tiny at main ╰─▶ HTTP 418 help: what has arrived is kept, and the next call goes on from there; --offline uses the cache alone
    xp::source::hub_missing × the hub has no repository Org/tinny help: is the name right? Upper and lower case count
    xp::source::hub_missing × the hub has no revision mian of Org/tiny help: branches and tags are listed on the page of Org/tiny; a commit has 40 digits
    xp::source::hub_missing × the hub has no file tokenizer.json of Org/tiny at 0123456789ab… help: a model has config.json, tokenizer.json and *.safetensors beside each other
    xp::source::hub_unreachable × 127.0.0.1:1 did not give Org/tiny at main in 5 tries ╰─▶ Connection refused (os error 111) help: what has arrived is kept, and the next call goes on from there; --offline uses the cache alone
    xp::source::hub_setting × HF_ENDPOINT cannot be used ╰─▶ it is not the address of a hub, such as https://huggingface.co
    ");
}

#[test]
fn a_server_that_recovers_is_asked_again() {
    let desk = Desk::new(whole());
    let busy = |seconds: &str| Act::Status(429, vec![("Retry-After", seconds.to_owned())], Vec::new());
    desk.hub.next("/revision/", [busy("1")]);
    desk.hub.next("/config.json", [status(500), status(502), status(503), status(504)]);
    desk.hub
        .next(&weights_of(&desk), [Act::Raw(Vec::new()), Act::Raw(b"garbage\r\n\r\n".to_vec()), status(403)]);
    let start = Instant::now();
    desk.locks(&[]);
    assert!(start.elapsed() >= Duration::from_secs(1));
    desk.assert_cached(&WHOLE);
    assert_eq!(desk.seen().iter().filter(|line| line.ends_with("/config.json")).count(), 5);

    let desk = Desk::new(whole());
    desk.hub.next("/revision/", [busy("4000")]);
    let mut said = vec![desk.refuses(2, &[])];
    desk.hub.always(&weights_of(&desk), status(500));
    said.push(desk.refuses(2, &[]));
    assert_eq!(desk.ranges().len(), 5);
    insta::assert_snapshot!(said.join("\n"), @r"
    xp::source::hub_unreachable × HUB did not give Org/tiny at main and asks to wait 4000 s ╰─▶ HTTP 429 help: what has arrived is kept, and the next call goes on from there; --offline uses the cache alone
    xp::source::hub_unreachable × STORE did not give model.safetensors of Org/tiny at 0123456789ab… in 5 tries ╰─▶ HTTP 500 help: what has arrived is kept, and the next call goes on from there; --offline uses the cache alone
    ");
}

#[test]
fn a_server_that_falls_silent_is_given_up() {
    let desk = Desk::new(whole());
    desk.hub.always(&weights_of(&desk), Act::Stall(0));
    let start = Instant::now();
    let said = desk.refuses_with(2, &[], &[("HF_HUB_DOWNLOAD_TIMEOUT", "0.3")]);
    assert!(said.contains("came in time"), "{said}");
    assert!(start.elapsed() < Duration::from_secs(20));
    // A slow one is not: pieces come sooner than is waited for.
    let desk = Desk::new(whole());
    desk.hub.next(&weights_of(&desk), [Act::Slow(20_000, Duration::from_millis(100))]);
    let (code, said) = desk.says(&[], &[("HF_HUB_DOWNLOAD_TIMEOUT", "1")]);
    assert_eq!(code, Some(0), "{said}");
    desk.assert_cached(&WHOLE);
    assert_eq!(desk.ranges(), ["all"]);
}

#[test]
fn answers_that_are_none_are_refused() {
    let desk = Desk::new(whole());
    let mut said = Vec::new();
    let listing = |sha: &str, siblings: &str| {
        Act::Bytes(format!("{{\"sha\": \"{sha}\", \"siblings\": [{siblings}]}}").into_bytes())
    };
    let file =
        |name: &str, oid: &str| format!("{{\"rfilename\": {name:?}, \"size\": 3, \"blobId\": {oid:?}}}");
    let mut huge = b"{\"sha\": \"".to_vec();
    huge.resize(17 << 20, b'a');
    let oid = "0".repeat(40);
    for act in [
        Act::Bytes(b"<html>".to_vec()),
        Act::Bytes("[".repeat(100_000).into_bytes()),
        Act::Bytes(huge),
        listing("../../../etc", ""),
        listing("main", ""),
        listing(COMMIT, ""),
        listing(COMMIT, "{\"rfilename\": 7}"),
        listing(COMMIT, &file("../../evil", &oid)),
        redirect("/api/models/Org/tiny/revision/main"),
        redirect("file:///etc/passwd"),
        status(302),
    ] {
        desk.hub.next("/revision/", std::iter::repeat_n(act, 20));
        said.push(desk.says(&[], &[]).1);
        desk.hub.forget();
    }
    // Names and digests that would lead out of the cache.
    let config = desk.hub.file("config.json").oid();
    let config =
        format!("{{\"rfilename\": \"config.json\", \"size\": {}, \"blobId\": {config:?}}}", CONFIG.len());
    for act in [
        listing(COMMIT, &file("config.json", "../../../../evil")),
        listing(COMMIT, &format!("{config}, {}", file("/etc/x.safetensors", &oid))),
        listing(COMMIT, &format!("{config}, {}", file("../x.safetensors", &oid))),
        listing(COMMIT, &format!("{config}, {}", file("a\\b.safetensors", &oid))),
    ] {
        desk.hub.next("/revision/", [act]);
        desk.hub.next("HEAD", [Act::Bytes(Vec::new())]);
        said.push(desk.says(&[], &[]).1);
        desk.hub.forget();
    }
    assert!(!desk.project.path(LOCK).exists());
    insta::assert_snapshot!(said.join("\n"), @r"
    xp::source::hub_answer × the answer of HUB about Org/tiny at main is not understood ╰─▶ it is no description of a model (line 1, column 1) help: is HF_ENDPOINT the address of a hub?
    xp::source::hub_answer × the answer of HUB about Org/tiny at main is not understood ╰─▶ it is no description of a model (line 1, column 1) help: is HF_ENDPOINT the address of a hub?
    xp::source::hub_answer × the answer of HUB about Org/tiny at main is not understood ╰─▶ it is longer than 16777216 bytes help: is HF_ENDPOINT the address of a hub?
    xp::source::hub_answer × the answer of HUB about Org/tiny at main is not understood ╰─▶ it names no commit of 40 hex digits help: is HF_ENDPOINT the address of a hub?
    xp::source::hub_answer × the answer of HUB about Org/tiny at main is not understood ╰─▶ it names no commit of 40 hex digits help: is HF_ENDPOINT the address of a hub?
    xp::source::hub_missing × the hub has no file config.json of Org/tiny at 0123456789ab… help: a model has config.json, tokenizer.json and *.safetensors beside each other
    xp::source::hub_answer × the answer of HUB about Org/tiny at main is not understood ╰─▶ it is no description of a model (line 1, column 80) help: is HF_ENDPOINT the address of a hub?
    xp::source::hub_missing × the hub has no file config.json of Org/tiny at 0123456789ab… help: a model has config.json, tokenizer.json and *.safetensors beside each other
    xp::source::hub_redirect × HUB redirects Org/tiny at main where xp does not follow: there are too many redirects help: is HF_ENDPOINT the address of a hub?
    xp::source::hub_redirect × HUB redirects Org/tiny at main where xp does not follow: the address is not one of a web server help: is HF_ENDPOINT the address of a hub?
    xp::source::hub_redirect × HUB redirects Org/tiny at main where xp does not follow: the Location header is missing or no address help: is HF_ENDPOINT the address of a hub?
    xp::source::hub_answer × the answer of HUB about config.json of Org/tiny at 0123456789ab… is not understood ╰─▶ its ETag is no digest help: is HF_ENDPOINT the address of a hub?
    xp::source::weights × Org/tiny has no *.safetensors help: one `model.safetensors`, or shards named by `model.safetensors.index.json`, are expected
    xp::source::weights × Org/tiny has no *.safetensors help: one `model.safetensors`, or shards named by `model.safetensors.index.json`, are expected
    xp::source::weights × Org/tiny has no *.safetensors help: one `model.safetensors`, or shards named by `model.safetensors.index.json`, are expected
    ");
    let mut files = Vec::new();
    all_files(desk.home.path(), &mut files);
    let blob = desk.blob("config.json");
    files.retain(|path| *path != blob && *path != desk.snapshot().join("config.json"));
    assert!(files.iter().all(|path| path.starts_with(desk.home.path().join("hub/.locks"))), "{files:?}");
}

#[test]
fn an_index_that_leads_out_is_refused() {
    let mut files = sharded();
    let index = files.iter_mut().find(|file| file.name.ends_with(".index.json")).unwrap();
    index.bytes = br#"{"weight_map": {"a": "../../../../evil.safetensors"}}"#.to_vec().into();
    let desk = Desk::new(files);
    let said = desk.refuses(1, &[]);
    assert!(said.contains("not the name of a shard"), "{said}");
}

fn all_files(folder: &Path, out: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { all_files(&path, out) } else { out.push(path) }
    }
}

#[test]
fn a_mirror_that_lists_names_alone_is_asked_for_each_file() {
    let desk = Desk::new(whole());
    desk.hub.hide_blobs();
    desk.locks(&[]);
    desk.assert_cached(&WHOLE);
    assert_eq!(
        desk.seen(),
        [
            "GET /Org/tiny/resolve/COMMIT/config.json",
            "GET /Org/tiny/resolve/COMMIT/model.safetensors",
            "GET /Org/tiny/resolve/COMMIT/tokenizer.json",
            "GET /api/models/Org/tiny/revision/main?blobs=true",
            "HEAD /Org/tiny/resolve/COMMIT/config.json",
            "HEAD /Org/tiny/resolve/COMMIT/model.safetensors",
            "HEAD /Org/tiny/resolve/COMMIT/tokenizer.json",
            "STORE",
        ]
    );
}

#[test]
fn a_renamed_repository_and_a_pull_request_are_found() {
    let desk = Desk::new(whole());
    desk.hub.set_revision("refs/pr/1", COMMIT);
    desk.hub.next(
        "/api/models/Org/tiny/revision/refs%2Fpr%2F1",
        [redirect("/api/models/Org/tiny/revision/refs%2Fpr%2F1?blobs=true&moved")],
    );
    desk.project.write(SPEC, experiment("refs/pr/1"));
    desk.locks(&[]);
    desk.assert_cached(&WHOLE);
    assert_eq!(fs::read_to_string(desk.cache().join("refs/refs/pr/1")).unwrap(), COMMIT);
    desk.locks(&["--offline"]);
}

#[test]
fn a_cache_without_links_holds_the_files() {
    let desk = Desk::new(whole());
    let output = desk.run(&["lock", SPEC], &[("HF_HUB_DISABLE_SYMLINKS", "1")]);
    assert!(output.status.success(), "{}", both(&output));
    for name in WHOLE {
        let pointer = desk.snapshot().join(name);
        assert!(!pointer.is_symlink() && fs::read(pointer).unwrap() == *desk.hub.file(name).bytes);
    }
    desk.locks(&["--offline"]);
}

#[test]
fn offline_never_asks() {
    let desk = Desk::new(whole());
    for (args, variables) in [(&["--offline"][..], &[][..]), (&[], &[("HF_HUB_OFFLINE", "1")])] {
        for revision in ["main", COMMIT] {
            desk.project.write(SPEC, experiment(revision));
            let said = desk.refuses_with(2, args, variables);
            assert!(said.contains("is not in the Hugging Face cache (HOME/hub)"), "{said}");
        }
    }
    assert_eq!(desk.seen(), [""; 0]);
    // A full commit whose files are there needs no question either.
    desk.project.write(SPEC, experiment(COMMIT));
    desk.locks(&[]);
    desk.seen();
    fs::remove_file(desk.project.path(LOCK)).unwrap();
    desk.locks(&[]);
    assert_eq!(desk.seen(), [""; 0]);
    assert!(!desk.cache().join("refs").exists());
}

#[test]
fn two_processes_share_one_download() {
    let desk = Desk::new(whole());
    let other = Project::empty();
    other.write(SPEC, experiment("main"));
    desk.hub.always(&weights_of(&desk), Act::Slow(60_000, Duration::from_millis(100)));
    let spawn = |folder: PathBuf| {
        let mut command = desk.command(&["lock", SPEC]);
        command.current_dir(folder).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    };
    let both_of_them = [spawn(desk.project.path("")), spawn(other.path(""))];
    for child in both_of_them {
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", both(&output));
    }
    desk.assert_cached(&WHOLE);
    assert_eq!(desk.ranges(), ["all"]);
    assert_eq!(fs::read(other.path(LOCK)).unwrap(), desk.project.read(LOCK));
}

#[test]
fn a_killed_download_goes_on() {
    let desk = Desk::new(whole());
    desk.hub.next(&weights_of(&desk), [Act::Stall(150_000)]);
    let mut child = desk
        .command(&["lock", SPEC])
        .env("HF_HUB_DOWNLOAD_TIMEOUT", "30")
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let until = Instant::now() + Duration::from_secs(20);
    let part = || fs::metadata(desk.incomplete(WEIGHTS)).map_or(0, |found| found.len());
    while part() < 150_000 {
        assert!(Instant::now() < until && child.try_wait().unwrap().is_none());
        std::thread::sleep(Duration::from_millis(5));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(!desk.blob(WEIGHTS).exists() && !desk.project.path(LOCK).exists());
    desk.hub.take_seen();
    desk.locks(&[]);
    desk.assert_cached(&WHOLE);
    assert_eq!(desk.ranges(), ["bytes=150000-"]);
}

#[test]
fn a_model_that_xp_does_not_run_is_refused_before_its_weights_are_fetched() {
    let mut files = whole();
    let config = files.iter_mut().find(|file| file.name == "config.json").unwrap();
    config.bytes = CONFIG.replace("qwen3", "gpt2").into_bytes().into();
    let desk = Desk::new(files);
    let said = desk.refuses(1, &[]);
    assert!(said.contains("Org/tiny/config.json:7:3: model_type \"gpt2\" is not supported"), "{said}");
    assert_eq!(desk.ranges(), [""; 0]);
}

#[test]
fn a_model_of_the_hub_is_measured() {
    let desk = Desk::new(sharded());
    let output = desk.run(&["run", SPEC], &[]);
    assert!(output.status.success(), "{}", both(&output));
    let runs = desk.project.only("runs/real_runs");
    let tokens = fs::read_to_string(runs.join("token_metrics.csv")).unwrap();
    assert_eq!(tokens.lines().count(), 1 + 2 * 3);
    desk.seen();
    let output = desk.run(&["run", "--locked", "--offline", LOCK], &[]);
    assert!(output.status.success(), "{}", both(&output));
    assert_eq!(desk.seen(), [""; 0]);
}

#[test]
fn a_chat_template_is_fetched_where_it_is_asked_for() {
    let mut files = whole();
    files.push(RemoteFile::new("chat_template.jinja", "{{ messages[0].content }}", false));
    files.push(RemoteFile::new("tokenizer_config.json", "{\"bos_token\": \"x\"}", false));
    let desk = Desk::new(files);
    desk.locks(&[]);
    desk.assert_cached(&WHOLE);
    desk.seen();
    // The pinned commit is asked for what it lacks.
    let chat = experiment("main").replace("decode=3;", "decode=3; chat-template #true;");
    desk.project.write(SPEC, &chat);
    let (code, said) = desk.says(&["--offline"], &[]);
    assert!(code == Some(1) || code == Some(2), "{said}");
    assert!(said.contains("missing: tokenizer_config.json"), "{said}");
    desk.locks(&[]);
    assert_eq!(
        desk.seen(),
        [
            "GET /Org/tiny/resolve/COMMIT/chat_template.jinja",
            "GET /Org/tiny/resolve/COMMIT/tokenizer_config.json",
            "GET /api/models/Org/tiny/revision/COMMIT?blobs=true",
        ]
    );
    let lock = desk.lock_text();
    for name in ["chat_template.jinja", "tokenizer_config.json"] {
        assert!(lock.contains(&format!("file \"{name}\"")), "{lock}");
    }
    desk.locks(&["--check", "--offline"]);
    assert_eq!(desk.seen(), [""; 0]);
}

#[test]
fn a_model_without_the_template_is_refused_before_its_weights_are_fetched() {
    let desk = Desk::new(whole());
    desk.project.write(SPEC, experiment("main").replace("decode=3;", "decode=3; chat-template #true;"));
    let said = desk.refuses(1, &[]);
    assert!(said.contains("Org/tiny has no chat template"), "{said}");
    desk.assert_absent(WEIGHTS);
}

/// Needs a Python with `huggingface_hub`, named by `XP_TEST_PYTHON`.
#[test]
#[ignore = "needs XP_TEST_PYTHON"]
fn pythons_client_and_xp_share_the_cache() {
    let python = std::env::var("XP_TEST_PYTHON").expect("XP_TEST_PYTHON");
    let ask = |desk: &Desk, text: &str, offline: &str| {
        let mut command = Command::new(&python);
        command.args(["-c", text]).env("HF_HOME", desk.home.path()).env("HF_ENDPOINT", desk.hub.endpoint());
        let output = command.env("HF_HUB_OFFLINE", offline).env("HF_HUB_DISABLE_XET", "1").output().unwrap();
        assert!(output.status.success(), "{}", both(&output));
        String::from_utf8(output.stdout).unwrap()
    };
    // What xp downloads, Python finds.
    let desk = Desk::new(sharded());
    desk.locks(&[]);
    let found = ask(
        &desk,
        "from huggingface_hub import snapshot_download, try_to_load_from_cache, scan_cache_dir\n\
         import json, os\n\
         folder = snapshot_download('Org/tiny')\n\
         names = json.load(open(os.path.join(folder, 'model.safetensors.index.json')))['weight_map'].values()\n\
         for name in ['config.json', 'tokenizer.json', *names]:\n\
         \x20   path = try_to_load_from_cache('Org/tiny', name)\n\
         \x20   assert os.path.dirname(path) == folder, path\n\
         scan = scan_cache_dir()\n\
         assert not scan.warnings, scan.warnings\n\
         print(folder)",
        "1",
    );
    assert_eq!(found.trim(), desk.snapshot().display().to_string());
    assert!(desk.seen().iter().all(|line| !line.contains("/tree/")));
    let lock = desk.lock_text();

    // What Python downloads, xp finds.
    let desk = Desk::new(sharded());
    ask(&desk, "from huggingface_hub import snapshot_download; snapshot_download('Org/tiny')", "0");
    desk.seen();
    desk.locks(&["--offline"]);
    assert_eq!((desk.seen(), desk.lock_text()), (Vec::new(), lock));
    fs::remove_file(desk.project.path(LOCK)).unwrap();
    desk.locks(&[]);
    assert_eq!(desk.seen(), ["GET /api/models/Org/tiny/revision/main?blobs=true"]);
}
