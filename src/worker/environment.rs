//! Which Python the worker runs in: an environment of xp's own with the pinned packages, made when it is
//! first needed, or the interpreter that `XP_PYTHON` names.

use std::env;
use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::error::WorkerError;
use super::process::{Process, Silence, describe};
use super::requirements::Requirements;
use crate::progress::Progress;
use crate::source::Network;
use crate::store::{self, Digest, StagedDir, file};

/// A program that says its version does so at once.
const VERSION: Duration = Duration::from_secs(60);
/// Between two lines of pip lies a download.
const INSTALL: Duration = Duration::from_secs(2 * 3_600);

/// A Python, and what is put before the arguments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interpreter {
    pub program: PathBuf,
    pub args: Vec<OsString>,
}

impl Interpreter {
    /// A program without arguments of its own.
    pub fn at(program: impl Into<PathBuf>) -> Self {
        Self { program: program.into(), args: Vec::new() }
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.args(&self.args);
        command
    }
}

/// What makes environments, and where.
#[derive(Debug, Clone)]
pub struct Environments {
    /// Where they are kept.
    cache: PathBuf,
    python: Interpreter,
    /// Faster than pip, where it is there.
    uv: Option<Interpreter>,
}

/// The interpreter for a list of packages. Where `XP_PYTHON` names none, it is that of an environment of xp's
/// own, which is made first if it is not here.
///
/// # Errors
/// There is no Python, the packages cannot be installed, or they would have to be while xp is offline.
pub fn interpreter(
    requirements: &Requirements,
    network: Network,
    progress: &dyn Progress,
) -> Result<Interpreter, WorkerError> {
    match variable("XP_PYTHON") {
        Some(program) => Ok(Interpreter::at(program)),
        None => Environments::of_process()?.interpreter(requirements, network, progress),
    }
}

fn variable(name: &str) -> Option<OsString> {
    env::var_os(name).filter(|value| !value.is_empty())
}

/// Where xp keeps what projects share: `XP_CACHE_DIR`, else `xp` in the user's folder for caches.
fn cache_folder() -> Result<PathBuf, WorkerError> {
    if let Some(folder) = variable("XP_CACHE_DIR") {
        return std::path::absolute(&folder).map_err(|source| WorkerError::NoCache { source });
    }
    let caches = variable("XDG_CACHE_HOME").map(PathBuf::from).filter(|folder| folder.is_absolute());
    let home = || env::home_dir().filter(|home| home.is_absolute()).map(|home| home.join(".cache"));
    match caches.or_else(home) {
        Some(folder) => Ok(folder.join("xp")),
        None => Err(WorkerError::NoCache { source: io::ErrorKind::NotFound.into() }),
    }
}

impl Environments {
    fn of_process() -> Result<Self, WorkerError> {
        let uv = Interpreter::at("uv");
        let has_uv = words(&uv, ["--version"]).is_ok();
        let python = Interpreter::at(if cfg!(windows) { "python" } else { "python3" });
        Ok(Self { cache: cache_folder()?, python, uv: has_uv.then_some(uv) })
    }

    fn interpreter(
        &self,
        requirements: &Requirements,
        network: Network,
        progress: &dyn Progress,
    ) -> Result<Interpreter, WorkerError> {
        let said = "import platform; print(platform.python_implementation(), platform.python_version())";
        let version = words(&self.python, ["-I", "-c", said])?;
        let system = (env::consts::OS, env::consts::ARCH);
        let key = Digest::of_json(&(requirements.lines(), &version, system));
        let parent = self.cache.join("python");
        let folder = parent.join(key.short(16));
        let made = Interpreter::at(python_of(&folder));
        if made.program.exists() {
            return Ok(made);
        }
        let packages = packages(requirements);
        if network == Network::Offline {
            return Err(WorkerError::Offline { packages, source: io::ErrorKind::NetworkUnreachable.into() });
        }
        let io = |path: &Path| {
            let path = path.to_owned();
            move |source| WorkerError::Io { path, source }
        };
        file::create_dir_all(&parent).map_err(io(&parent))?;
        // One of several that want it makes it.
        let guard = parent.join("writer");
        let guard_file = file::open_or_create_to_lock(&guard).map_err(io(&guard))?;
        progress.start(&format!("installing {packages}"), 0);
        let installed = guard_file.lock().map_err(io(&guard)).and_then(|()| {
            if made.program.exists() {
                return Ok(());
            }
            let staged = StagedDir::new(&folder).map_err(io(&folder))?;
            self.install(requirements, staged.path(), &packages, progress)?;
            if folder.exists() {
                // Its interpreter is gone.
                file::remove_dir_all(&folder).map_err(io(&folder))?;
            }
            staged.commit_unsynced().map_err(io(&folder))
        });
        progress.finish();
        installed.map(|()| made)
    }

    /// Makes an environment in an empty folder.
    fn install(
        &self,
        requirements: &Requirements,
        folder: &Path,
        packages: &str,
        progress: &dyn Progress,
    ) -> Result<(), WorkerError> {
        let list = folder.join("requirements.txt");
        let python = python_of(folder);
        let (venv, install) = match &self.uv {
            Some(uv) => {
                let (mut venv, mut install) = (uv.command(), uv.command());
                venv.args(["venv", "--allow-existing", "--python"]).arg(&self.python.program);
                install.args(["pip", "install", "--python"]).arg(&python);
                (venv, install)
            }
            None => {
                let (mut venv, mut install) = (self.python.command(), Command::new(&python));
                venv.args(["-I", "-m", "venv"]);
                install.args(["-I", "-m", "pip", "install", "--no-input", "--progress-bar", "off"]);
                install.arg("--disable-pip-version-check");
                (venv, install)
            }
        };
        let (mut venv, mut install) = (venv, install);
        venv.arg(folder);
        install.arg("-r").arg(&list);
        run(venv, packages, progress)?;
        let text = requirements.lines().join("\n") + "\n";
        store::write_part(&list, text.as_bytes())
            .map_err(|source| WorkerError::Io { path: list.clone(), source })?;
        run(install, packages, progress)
    }
}

/// The interpreter of an environment.
fn python_of(folder: &Path) -> PathBuf {
    match cfg!(windows) {
        true => folder.join("Scripts").join("python.exe"),
        false => folder.join("bin").join("python"),
    }
}

/// `torch 2.15.0, numpy 2.4.6`.
fn packages(requirements: &Requirements) -> String {
    let packages: Vec<String> =
        requirements.packages().map(|(name, version)| format!("{name} {version}")).collect();
    packages.join(", ")
}

/// The first line that a program prints.
fn words<const N: usize>(program: &Interpreter, args: [&str; N]) -> Result<String, WorkerError> {
    let missing = |source| WorkerError::NoPython { program: program.program.clone(), source };
    let mut command = program.command();
    command.args(args);
    let mut process = Process::start(command).map_err(missing)?;
    process.receive(VERSION).map_err(|_| missing(io::Error::other("it does not say its version")))
}

/// Runs a step of an installation to its end.
fn run(command: Command, packages: &str, progress: &dyn Progress) -> Result<(), WorkerError> {
    let program = Path::new(command.get_program()).file_stem().unwrap_or_else(|| OsStr::new("python"));
    let program = program.to_string_lossy().into_owned();
    let failed = |how: String, words: String| WorkerError::Install {
        packages: packages.to_owned(),
        program: program.clone(),
        how,
        words,
        source: io::Error::other("there is no environment"),
    };
    let mut process =
        Process::start(command).map_err(|error| failed(format!("does not start: {error}"), String::new()))?;
    loop {
        match process.receive(INSTALL) {
            Ok(line) => progress.note(&line.trim().chars().take(60).collect::<String>()),
            Err(Silence::Ended(Some(status))) if status.success() => return Ok(()),
            Err(Silence::Ended(status)) => return Err(failed(describe(status), process.last_words())),
            Err(Silence::NoText { .. }) => return Err(failed("prints no text".to_owned(), String::new())),
            Err(Silence::TimedOut) => {
                process.kill();
                return Err(failed("has been silent for two hours".to_owned(), process.last_words()));
            }
        }
    }
}

#[cfg(all(test, unix))]
mod tests {
    use std::fs;

    use super::*;
    use crate::progress::Silent;

    /// A shell script as a program: `venv` makes an interpreter that is the same script, and every call is written down.
    const INSTALLER: &str = r#"
folder=$(dirname "$0")
echo "$@" >>"$folder/calls"
last=; for last in "$@"; do :; done
case "$*" in
--version) echo "uv 9" ;;
*print*) echo "CPython 3.12.1" ;;
*venv*) mkdir -p "$last/bin" && ln -s /bin/echo "$last/bin/python" ;;
*install*) test ! -e "$folder/broken" || { echo "no such version" >&2; exit 7; }
           grep -q torch "$last" && echo "Collecting torch" ;;
esac"#;

    fn environments(dir: &Path) -> Environments {
        let path = dir.join("installer.sh");
        fs::write(&path, INSTALLER).unwrap();
        let shell = Interpreter { program: "/bin/sh".into(), args: vec![path.into()] };
        Environments { cache: dir.join("cache"), python: shell.clone(), uv: Some(shell) }
    }

    fn list() -> Requirements {
        Requirements::pinned(&["torch==2.9.1".to_owned(), "transformers==5.0".to_owned()])
    }

    fn kept(dir: &Path) -> Vec<String> {
        let entries = fs::read_dir(dir.join("cache/python")).unwrap();
        let mut names: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn an_environment_is_made_once_and_used_from_then_on() {
        let dir = tempfile::tempdir().unwrap();
        let environments = environments(dir.path());
        let offline = environments.interpreter(&list(), Network::Offline, &Silent).unwrap_err();
        assert!(offline.to_string().contains("torch 2.9.1, transformers 5.0"), "{offline}");
        assert!(!dir.path().join("cache").exists());
        let made = environments.interpreter(&list(), Network::Online, &Silent).unwrap();
        assert!(made.program.starts_with(dir.path()) && made.program.exists());
        let text =
            fs::read_to_string(made.program.parent().unwrap().with_file_name("requirements.txt")).unwrap();
        assert_eq!(text, "torch==2.9.1\ntransformers==5.0\n");
        let calls = || fs::read_to_string(dir.path().join("calls")).unwrap();
        assert_eq!(calls().matches("install").count(), 1, "{}", calls());
        assert_eq!(environments.interpreter(&list(), Network::Offline, &Silent).unwrap(), made);
        assert_eq!(calls().matches("install").count(), 1, "{}", calls());
        // One whose interpreter went away is made again.
        fs::remove_file(&made.program).unwrap();
        assert_eq!(environments.interpreter(&list(), Network::Online, &Silent).unwrap(), made);
        assert!(made.program.exists() && kept(dir.path()).len() == 2);
        let other = Requirements::pinned(&["torch==2.9.2".to_owned(), "transformers==5.0".to_owned()]);
        assert_ne!(environments.interpreter(&other, Network::Online, &Silent).unwrap(), made);
    }

    #[test]
    fn an_environment_that_cannot_be_made_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let environments = environments(dir.path());
        fs::write(dir.path().join("broken"), "").unwrap();
        let error = environments.interpreter(&list(), Network::Online, &Silent).unwrap_err();
        let text = "cannot install torch 2.9.1, transformers 5.0: sh ended with exit code 7\nno such version";
        assert_eq!(error.to_string(), text);
        assert_eq!(kept(dir.path()), ["writer"]);
        fs::remove_file(dir.path().join("broken")).unwrap();
        environments.interpreter(&list(), Network::Online, &Silent).unwrap();
        let none = Environments { python: Interpreter::at("/no/python"), ..environments };
        let error = none.interpreter(&list(), Network::Online, &Silent).unwrap_err();
        assert!(matches!(error, WorkerError::NoPython { .. }), "{error}");
    }
}
