//! Nothing in the library changes the file system but `src/store/file.rs`, so that every change can be
//! counted, made to fail and stopped at (`crash.rs`).

use std::path::{Path, PathBuf};

/// What changes the file system, or opens it for that.
const WRITES: [&str; 29] = [
    "fs::write(",
    "fs::create_dir",
    "fs::rename(",
    "fs::remove_",
    "fs::copy(",
    "fs::hard_link(",
    "fs::soft_link(",
    "fs::set_permissions(",
    "DirBuilder",
    "OpenOptions",
    "File::create",
    "File::options(",
    ".set_len(",
    ".set_permissions(",
    ".set_modified(",
    ".set_times(",
    ".sync_all(",
    ".sync_data(",
    "fs::symlink(",
    " symlink(",
    "reflink",
    "tempfile::",
    "NamedTempFile",
    ".persist(",
    "rustix::fs",
    "libc::",
    "Command::new(",
    "fs_extra",
    "memmap",
];

/// Where it may stand all the same, and why.
const ALLOWED: [(&str, &str, &str); 9] = [
    ("store/file.rs", "", "the layer itself"),
    ("store/fault.rs", "File::options(", "the log of a test build"),
    ("store/atomic.rs", "tempfile::", "names of temporary files; the layer creates and deletes them"),
    ("cli/args.rs", "Command::new(", "clap's, no process"),
    ("git/command.rs", "Command::new(", "git, asked for what it has and told what it is to keep"),
    ("worker/client.rs", "Command::new(", "the worker, which writes nothing"),
    ("worker/environment.rs", "Command::new(", "uv or pip, which fill a folder that nobody sees yet"),
    ("machine/pages.rs", "memmap", "memory that no file is behind"),
    ("run/invalidation.rs", "tempfile::", "a file of tests alone"),
];

fn sources(folder: &Path, out: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => sources(&path, out),
            false if path.extension().is_some_and(|end| end == "rs") => out.push(path),
            false => {}
        }
    }
}

/// The lines of a file with their numbers, without items that only tests have.
fn code(text: &str) -> Vec<(usize, &str)> {
    let mut out = Vec::new();
    let mut lines = (1..).zip(text.lines());
    while let Some((number, line)) = lines.next() {
        if !line.starts_with("#[cfg(test)]") && !line.starts_with("#[cfg(all(test") {
            out.push((number, line));
            continue;
        }
        // Other attributes, then the item; one that is formatted ends at the margin where it began.
        let item = lines.by_ref().map(|(_, line)| line).find(|line| !line.starts_with('#'));
        if item.is_some_and(|item| !item.ends_with([';', '}'])) {
            lines.by_ref().find(|(_, line)| *line == "}");
        }
    }
    out
}

/// Modules that a file declares for tests only, by their paths below `src/` without an end.
fn test_modules(root: &Path, path: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(path).unwrap();
    let own = path.with_extension("");
    // `mod.rs` and `lib.rs` stand for their folder.
    let folder = if own.ends_with("mod") || own.ends_with("lib") { own.parent().unwrap() } else { &own };
    let folder = folder.strip_prefix(root).unwrap().to_string_lossy().replace('\\', "/");
    let lines: Vec<&str> = text.lines().collect();
    let declared = lines.windows(2).filter(|pair| pair[0] == "#[cfg(test)]").filter_map(|pair| {
        let name = pair[1].rsplit_once("mod ")?.1.strip_suffix(';')?;
        Some(format!("{folder}/{name}").trim_start_matches('/').to_owned())
    });
    declared.collect()
}

/// Lines of code that write, in a file named `name` below `src/`.
fn writes(name: &str, text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (number, line) in code(text) {
        let line = line.trim();
        if line.starts_with("//") {
            continue;
        }
        // A function that is imported is called without the name of its module.
        let imported = line.strip_prefix("use std::fs::").is_some_and(|names| {
            let names = names.trim_matches(['{', '}', ';', ' ']).split(',').map(str::trim);
            names.into_iter().any(|name| name != "self" && name.starts_with(char::is_lowercase))
        });
        let needle = WRITES.iter().find(|needle| line.contains(**needle));
        let allowed = |needle: &str| {
            ALLOWED.iter().any(|(file, what, _)| *file == name && (what.is_empty() || *what == needle))
        };
        if imported && !allowed("") || needle.is_some_and(|needle| !allowed(needle)) {
            found.push(format!("src/{name}:{number}: {line}"));
        }
    }
    found
}

#[test]
fn every_change_of_the_file_system_goes_through_the_store() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut paths = Vec::new();
    sources(&root, &mut paths);
    assert!(paths.len() > 100, "{paths:?}");
    let tests: Vec<String> = paths.iter().flat_map(|path| test_modules(&root, path)).collect();
    assert!(tests.iter().any(|module| module == "spec/tests"), "{tests:?}");
    let mut found = Vec::new();
    for path in paths {
        let name = path.strip_prefix(&root).unwrap().to_string_lossy().replace('\\', "/");
        if tests
            .iter()
            .any(|module| name == format!("{module}.rs") || name.starts_with(&format!("{module}/")))
        {
            continue;
        }
        found.extend(writes(&name, &std::fs::read_to_string(&path).unwrap()));
    }
    assert!(found.is_empty(), "use src/store/ (docs/crash-safety.md):\n{}", found.join("\n"));
}

#[test]
fn a_place_that_bypasses_the_store_is_found() {
    let bad = [
        "    std::fs::write(path, bytes)?;",
        "use std::fs::{self, write};",
        "    let file = File::create_new(path)?;",
        "    fs::remove_dir_all(folder)?;",
    ];
    for line in bad {
        assert_eq!(writes("run/new.rs", line).len(), 1, "{line}");
        assert_eq!(writes("store/file.rs", line).len(), 0, "{line}");
    }
    let good = [
        "use std::fs::{self, File};",
        "// std::fs::write(path, bytes)",
        "fn a() {}\n#[cfg(test)]\nmod tests {\n    fn b() { std::fs::write(p, b).unwrap(); }\n}",
    ];
    let after = "#[cfg(test)]\npub mod a {\n    b();\n}\n\nfn c() { fs::write(p, b) }";
    assert_eq!(writes("run/new.rs", after), ["src/run/new.rs:6: fn c() { fs::write(p, b) }"]);
    for line in good {
        assert_eq!(writes("run/new.rs", line), [""; 0], "{line}");
    }
}
