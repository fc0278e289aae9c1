//! A project in a temporary folder, and `xp` run in it.

use std::path::{Path, PathBuf};
use std::process::Output;

use assert_cmd::Command;

/// An experiment that runs in a second even where nothing is optimised.
pub const TINY: &str = r#"experiment "tiny" {
    seed 7
    model "qwen3-tiny" { source "synthetic"; }
    hardware "cpu" threads=1
    workload "few" {
        requests 6
        lengths "uniform" min=12 max=40 prefill-to-decode=3
        arrivals "poisson" qps=50
    }
    backend "sarathi" chunk-size=16 max-batch-size=4 kv-memory="4MiB"
    backend "vidur" { profile "auto"; }
    compare real="sarathi" sim="vidur" pass="10%" warn="20%" repeats=2
}
"#;

/// A temporary project.
pub struct Project {
    dir: tempfile::TempDir,
    /// Temporary files of `xp`: tests do not wait for one another, nor for whoever else is timing the machine.
    temporary: tempfile::TempDir,
}

impl Project {
    /// A project with `experiments/tiny.kdl`.
    pub fn tiny() -> Self {
        let project = Self::empty();
        project.write("experiments/tiny.kdl", TINY);
        project
    }

    /// A project with nothing in it.
    pub fn empty() -> Self {
        let folder = || tempfile::tempdir().expect("a temporary folder");
        Self { dir: folder(), temporary: folder() }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn write(&self, name: &str, text: impl AsRef<[u8]>) {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().expect("a parent")).expect("folders");
        std::fs::write(path, text).expect("a file");
    }

    pub fn read(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    /// `xp` in the project, before it starts.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::cargo_bin("xp").expect("the binary is built");
        command
            .current_dir(self.dir.path())
            .env("TMPDIR", self.temporary.path())
            .env("NO_COLOR", "1")
            .env_remove("XP_STORE")
            .env("COLUMNS", "100")
            .args(args);
        command
    }

    /// Runs `xp` in the project.
    pub fn xp(&self, args: &[&str]) -> Output {
        self.command(args).output().expect("xp starts")
    }

    /// Runs `xp`, which must succeed; what it printed on both streams.
    pub fn ok(&self, args: &[&str]) -> String {
        let output = self.xp(args);
        let text = both(&output);
        assert!(output.status.success(), "xp {args:?} failed:\n{text}");
        text
    }

    /// Runs `xp`, which must fail with `code` and not by a panic; what it printed.
    pub fn fails(&self, code: i32, args: &[&str]) -> String {
        let output = self.xp(args);
        let text = both(&output);
        assert_eq!(output.status.code(), Some(code), "xp {args:?}:\n{text}");
        assert!(!text.contains("panicked"), "xp {args:?}:\n{text}");
        text
    }

    /// The only folder below `parent`.
    pub fn only(&self, parent: &str) -> PathBuf {
        let mut found = folders(&self.path(parent));
        assert_eq!(found.len(), 1, "{parent}: {found:?}");
        found.remove(0)
    }
}

/// Folders below `parent`, sorted.
pub fn folders(parent: &Path) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> =
        std::fs::read_dir(parent).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    found.sort();
    found
}

/// What a process printed on both streams.
pub fn both(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}
