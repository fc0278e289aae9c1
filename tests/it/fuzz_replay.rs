//! The inputs that fuzzing kept, and changes of them that are the same each time, through every reader:
//! none panics, and what is accepted survives being written and read again. `docs/fuzzing.md` tells more.

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use xp::fuzzing::TARGETS;

/// `fuzz/` and a path below it.
fn fuzz(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz").join(path)
}

/// Files of a folder by name.
fn files(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let entries = std::fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut found: Vec<(String, Vec<u8>)> = entries
        .map(|entry| entry.unwrap())
        .map(|entry| (entry.file_name().into_string().unwrap(), std::fs::read(entry.path()).unwrap()))
        .collect();
    found.sort();
    found
}

/// The tokens of a dictionary: `"…"` a line, with `\xNN`.
fn dictionary(text: &str) -> Vec<Vec<u8>> {
    let token = |line: &str| {
        let mut parts = line.strip_prefix('"')?.strip_suffix('"')?.split("\\x");
        let mut bytes = parts.next()?.as_bytes().to_vec();
        for part in parts {
            bytes.push(u8::from_str_radix(&part[..2], 16).ok()?);
            bytes.extend(&part.as_bytes()[2..]);
        }
        Some(bytes)
    };
    text.lines().filter_map(token).collect()
}

/// Pseudo-random numbers (xorshift64*), the same everywhere.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let number = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33;
        usize::try_from(number).unwrap() % bound.max(1)
    }

    /// Some part of `length` bytes, seldom a long one.
    fn range(&mut self, length: usize) -> std::ops::Range<usize> {
        let start = self.below(length + 1);
        let most = if self.below(4) == 0 { length } else { 8 };
        start..(start + self.below(most + 1)).min(length)
    }

    /// Changes a place or a few.
    fn change(&mut self, bytes: &mut Vec<u8>, other: &[u8], tokens: &[Vec<u8>]) {
        for _ in 0..=self.below(3) {
            let (range, length) = (self.range(bytes.len()), bytes.len());
            let at = range.start;
            match self.below(8) {
                0 if at < length => bytes[at] ^= 1 << self.below(8),
                1 if at < length => bytes[at] = self.below(256) as u8,
                2 => bytes.truncate(at),
                3 => drop(bytes.drain(range)),
                4 => {
                    let part = bytes[range].to_vec();
                    let to = self.below(length + 1);
                    bytes.splice(to..to, part);
                }
                5 => {
                    let part = other[self.range(other.len())].to_vec();
                    bytes.splice(range, part);
                }
                _ => {
                    let part = tokens[self.below(tokens.len())].clone();
                    let end = if self.below(2) == 0 { at } else { range.end };
                    bytes.splice(at..end, part);
                }
            }
        }
    }
}

/// Runs a target on its corpus, and on `changes` of each file.
fn replay(name: &str, changes: usize, dictionaries: &[&str]) {
    let (_, run) = TARGETS.iter().find(|(target, _)| *target == name).unwrap();
    let corpus = files(&fuzz("corpus").join(name));
    assert!(corpus.len() > 1, "the corpus of {name} is gone");
    let text = |name: &&str| std::fs::read_to_string(fuzz(&format!("dictionaries/{name}.dict"))).unwrap();
    let tokens: Vec<Vec<u8>> = dictionaries.iter().flat_map(|name| dictionary(&text(name))).collect();
    assert!(tokens.len() > 50, "{dictionaries:?}");
    let survives = |input: &[u8], what: &str| {
        catch_unwind(AssertUnwindSafe(|| run(input))).unwrap_or_else(|_| {
            let kept = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-input"));
            std::fs::write(&kept, input).unwrap();
            panic!("{name} fails on {what}, kept as {}", kept.display());
        })
    };
    let mut accepted = 0;
    let mut numbers = Numbers(0x9e37_79b9_7f4a_7c15);
    for (file, bytes) in &corpus {
        accepted += usize::from(survives(bytes, file));
        for index in 0..changes {
            let mut changed = bytes.clone();
            let other = &corpus[numbers.below(corpus.len())].1;
            numbers.change(&mut changed, other, &tokens);
            survives(&changed, &format!("change {index} of {file}"));
        }
    }
    assert!(accepted > 0, "nothing of the corpus of {name} is accepted: its format changed, make new files");
}

#[test]
fn experiments() {
    replay("spec", 40, &["kdl", "spec"]);
}

#[test]
fn locks() {
    replay("lock", 40, &["kdl", "lock"]);
}

#[test]
fn tables() {
    replay("run", 150, &["csv", "json"]);
    replay("workload", 150, &["csv", "json"]);
    replay("trace", 150, &["csv"]);
    replay("bundle", 150, &["csv", "json"]);
    replay("kernels", 300, &["csv", "json"]);
    replay("vidur", 150, &["csv"]);
}

#[test]
fn json() {
    replay("prompts", 150, &["json"]);
    replay("published", 100, &["csv", "json"]);
    replay("recording", 150, &["csv", "json"]);
    replay("weights", 150, &["json"]);
    replay("config", 150, &["json"]);
    replay("comparison", 60, &["json"]);
    replay("capacity", 60, &["json"]);
    replay("tokenizer", 60, &["json"]);
    replay("chat", 60, &["json", "jinja"]);
}

#[test]
fn every_target_has_a_binary_and_a_small_corpus() {
    let names: BTreeSet<String> = TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect();
    let binaries = files(&fuzz("fuzz_targets")).into_iter().map(|(name, text)| {
        let name = name.trim_end_matches(".rs").to_owned();
        let text = String::from_utf8(text).unwrap();
        assert!(text.contains(&format!("xp::fuzzing::{name}(data)")), "{text}");
        name
    });
    assert_eq!(binaries.collect::<BTreeSet<_>>(), names);
    let manifest = std::fs::read_to_string(fuzz("Cargo.toml")).unwrap();
    let mut total = 0;
    for name in &names {
        assert!(manifest.contains(&format!("path = \"fuzz_targets/{name}.rs\"")), "{name}");
        for (file, bytes) in files(&fuzz("corpus").join(name)) {
            assert!(bytes.len() < 16 << 10, "{name}/{file} has {} bytes", bytes.len());
            total += bytes.len();
        }
    }
    assert!(total < 500_000, "the corpora have {total} bytes");
}
