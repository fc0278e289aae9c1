//! The worker as xp sees it: typed requests, each with a deadline.

use std::collections::BTreeMap;
use std::io;
use std::process::Command;
use std::time::Duration;

use serde::de::DeserializeOwned;

use super::environment::Interpreter;
use super::error::WorkerError;
use super::message::{
    Answer, Ask, Complaint, Done, Greeting, Hello, LoadedModel, Numbered, PROTOCOL, Stepped, TorchDevice,
    WorkerTime,
};
use super::process::{Process, Silence, describe, shown};
use super::requirements::Requirements;
use crate::scheduler::RequestId;
use crate::spec::Dtype;

/// The program that the worker is.
pub const SCRIPT: &str = include_str!("worker.py");

/// Importing torch from a disk that was not read yet takes a minute.
const HELLO: Duration = Duration::from_secs(600);
/// Loading tens of gigabytes takes minutes.
const LOAD: Duration = Duration::from_secs(3_600);

/// A running worker.
#[derive(Debug)]
pub struct Worker {
    process: Process,
    last_id: u64,
    /// How long a step may take.
    step_timeout: Duration,
    /// Version of its Python.
    pub python: String,
    /// Versions of the packages of the list.
    pub packages: BTreeMap<String, String>,
}

/// A worker with its model.
#[derive(Debug)]
pub struct LoadedWorker {
    pub worker: Worker,
    pub loaded: LoadedModel,
}

impl Worker {
    /// Starts a worker and checks that it has the packages that are pinned.
    pub fn start(
        interpreter: &Interpreter,
        requirements: &Requirements,
        threads: u32,
        step_timeout: Duration,
    ) -> Result<Self, WorkerError> {
        let mut command = Command::new(&interpreter.program);
        command.args(&interpreter.args).args(["-I", "-c", SCRIPT]);
        command.args(requirements.packages().map(|(name, _)| name));
        for variable in ["OMP_NUM_THREADS", "MKL_NUM_THREADS"] {
            command.env(variable, threads.to_string());
        }
        // What is needed is on this disk: nothing is asked of a hub.
        for (variable, value) in [
            ("HF_HUB_OFFLINE", "1"),
            ("TRANSFORMERS_OFFLINE", "1"),
            ("HF_HUB_DISABLE_TELEMETRY", "1"),
            ("TOKENIZERS_PARALLELISM", "false"),
        ] {
            command.env(variable, value);
        }
        let started = |source| WorkerError::Start { program: interpreter.program.clone(), source };
        let process = Process::start(command).map_err(started)?;
        let mut worker =
            Self { process, last_id: 0, step_timeout, python: String::new(), packages: BTreeMap::new() };
        let hello = worker.greeting()?;
        if hello.protocol != PROTOCOL {
            return Err(WorkerError::Protocol { found: hello.protocol, wanted: PROTOCOL });
        }
        if let Some(message) = hello.failed {
            let source = io::Error::other("Python raised an error");
            return Err(WorkerError::Import { message, source });
        }
        let mut wrong = Vec::new();
        for (name, wanted) in requirements.packages() {
            match hello.packages.get(name).cloned().flatten() {
                // A build of the same version, such as `2.9.1+cpu`, is told in `run_meta.json`.
                Some(found) if found == wanted || found.split('+').next() == Some(wanted) => {
                    worker.packages.insert(name.to_owned(), found);
                }
                Some(found) => wrong.push((format!("{name} {found}"), format!("{name} {wanted}"))),
                None => wrong.push((format!("no {name}"), format!("{name} {wanted}"))),
            }
        }
        if !wrong.is_empty() {
            let (found, wanted): (Vec<String>, Vec<String>) = wrong.into_iter().unzip();
            let program = interpreter.program.clone();
            return Err(WorkerError::Packages {
                program,
                found: found.join(", "),
                wanted: wanted.join(", "),
            });
        }
        worker.python = hello.python;
        Ok(worker)
    }

    /// Loads a model: a folder with `config.json` and safetensors files.
    pub fn load(
        &mut self,
        model: &str,
        dtype: Dtype,
        device: TorchDevice,
        threads: u32,
    ) -> Result<LoadedModel, WorkerError> {
        self.ask(&Ask::Load { model, dtype, device, threads }, LOAD)
    }

    /// What its monotonic clock says, ns.
    pub fn clock_ns(&mut self) -> Result<u64, WorkerError> {
        let WorkerTime { now_ns } = self.ask(&Ask::Clock, self.step_timeout)?;
        Ok(now_ns)
    }

    /// Begins a batch with whole prompts; yields the first token of each.
    pub fn prefill(&mut self, rows: &[(RequestId, &[u32])]) -> Result<Stepped, WorkerError> {
        self.step(&Ask::Prefill { rows }, rows.len())
    }

    /// Yields one more token of each of these requests of the batch.
    pub fn decode(&mut self, rows: &[RequestId]) -> Result<Stepped, WorkerError> {
        self.step(&Ask::Decode { rows }, rows.len())
    }

    /// Begins a batch of requests that have so many tokens in the cache, all of them zeros.
    pub fn fill(&mut self, rows: &[(RequestId, u32)]) -> Result<(), WorkerError> {
        self.ask::<Done>(&Ask::Fill { rows }, self.step_timeout).map(|Done {}| ())
    }

    /// Forgets the batch.
    pub fn drop_batch(&mut self) -> Result<(), WorkerError> {
        self.ask::<Done>(&Ask::DropBatch, self.step_timeout).map(|Done {}| ())
    }

    /// Sets how long a step may take.
    pub fn set_step_timeout(&mut self, step_timeout: Duration) {
        self.step_timeout = step_timeout;
    }

    fn step(&mut self, ask: &Ask<'_>, rows: usize) -> Result<Stepped, WorkerError> {
        let stepped: Stepped = self.ask(ask, self.step_timeout)?;
        if stepped.tokens.len() != rows || stepped.end_ns < stepped.start_ns {
            let why = format!("{} tokens of {rows} requests", stepped.tokens.len());
            return Err(self.garbage(&ask.doing(), why, &format!("{stepped:?}")));
        }
        Ok(stepped)
    }

    fn greeting(&mut self) -> Result<Hello, WorkerError> {
        let doing = "starting";
        let line = self.line(doing, HELLO)?;
        match serde_json::from_str(&line) {
            Ok(Greeting { hello }) => Ok(hello),
            Err(error) => Err(self.garbage(doing, error.to_string(), &line)),
        }
    }

    fn ask<T: DeserializeOwned>(&mut self, ask: &Ask<'_>, within: Duration) -> Result<T, WorkerError> {
        self.last_id += 1;
        let id = self.last_id;
        let doing = ask.doing();
        let request = serde_json::to_string(&Numbered { id, ask }).expect("plain data");
        self.process.send(request);
        let line = self.line(&doing, within)?;
        let answer: Answer<T> = match serde_json::from_str(&line) {
            Ok(answer) => answer,
            Err(error) => return Err(self.garbage(&doing, error.to_string(), &line)),
        };
        match answer {
            Answer { id: found, .. } if found != id => {
                Err(self.garbage(&doing, format!("it answers request {found}, not {id}"), &line))
            }
            Answer { ok: Some(ok), error: None, .. } => Ok(ok),
            Answer { ok: None, error: Some(complaint), .. } => Err(self.complaint(doing, complaint)),
            _ => Err(self.garbage(&doing, "it holds not one of `ok` and `error`".to_owned(), &line)),
        }
    }

    fn line(&mut self, doing: &str, within: Duration) -> Result<String, WorkerError> {
        let doing = doing.to_owned();
        match self.process.receive(within) {
            Ok(line) => Ok(line),
            Err(Silence::Ended(status)) => {
                let (how, words) = (describe(status), self.process.last_words());
                Err(WorkerError::Died { how, doing, words, source: io::ErrorKind::BrokenPipe.into() })
            }
            Err(Silence::TimedOut) => {
                self.process.kill();
                let words = self.process.last_words();
                let (seconds, source) = (within.as_secs_f64(), io::ErrorKind::TimedOut.into());
                Err(WorkerError::Timeout { seconds, doing, words, source })
            }
            Err(Silence::NoText { why, line }) => Err(self.garbage(&doing, why.to_owned(), &line)),
        }
    }

    fn garbage(&mut self, doing: &str, why: String, line: &str) -> WorkerError {
        self.process.kill();
        let (doing, line) = (doing.to_owned(), shown(line.as_bytes()));
        let (words, source) = (self.process.last_words(), io::ErrorKind::InvalidData.into());
        WorkerError::Garbage { doing, why, line, words, source }
    }

    /// The worker lives on, and what it was asked is not done.
    fn complaint(&self, doing: String, Complaint { kind, message }: Complaint) -> WorkerError {
        match kind.as_str() {
            "out_of_memory" => {
                WorkerError::OutOfMemory { doing, message, source: io::ErrorKind::OutOfMemory.into() }
            }
            "no_device" => WorkerError::NoDevice { message, source: io::ErrorKind::NotFound.into() },
            "not_finite" => WorkerError::NotFinite { message },
            _ => {
                let source = io::Error::other("Python raised an error");
                WorkerError::Failed { doing, message, source }
            }
        }
    }
}
