//! A resolved experiment. What is expensive to make is made when it is asked for: checking a
//! lock needs no tokenizer and no workload.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use serde::{Deserialize, Serialize};

use super::pins::Lock;
use super::resolve::{ResolveError, streams};
use super::workloads::{counts_tokens, reads_texts, writes_texts};
use crate::model::Tokenizer;
use crate::source::{ModelFiles, SourceError};
use crate::spec::Cell;
use crate::store::Digest;
use crate::workload::{self, Seeds, Workload, WorkloadRequest};

/// A lock, and what is made from it where it is needed.
#[derive(Debug)]
pub struct Resolved {
    pub lock: Lock,
    pub model: ModelFiles,
    /// The experiment of each run, in the lock's order.
    pub cells: Vec<Cell>,
    /// What is known of each run's workload without making it, in the lock's order.
    pub extents: Vec<Extent>,
    /// The folder that paths of input files are relative to.
    pub inputs: PathBuf,
    pub(super) made: Made,
}

/// What is expensive, made once.
#[derive(Debug, Default)]
pub(super) struct Made {
    tokenizer: OnceLock<Arc<Tokenizer>>,
    /// The last workloads by their digest, newest last.
    workloads: Mutex<VecDeque<(Digest, Arc<Workload>)>>,
}

impl Made {
    pub(super) fn tokenizer(&self, model: &ModelFiles) -> Result<Arc<Tokenizer>, SourceError> {
        if let Some(tokenizer) = self.tokenizer.get() {
            return Ok(tokenizer.clone());
        }
        let tokenizer = Arc::new(model.load_tokenizer()?);
        Ok(self.tokenizer.get_or_init(|| tokenizer).clone())
    }
}

/// Most requests of the workloads that are kept in memory.
const MAX_KEPT_REQUESTS: usize = 1 << 20;

/// How far a workload reaches.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Extent {
    /// Longest prompt plus output, in tokens.
    pub longest: u64,
    /// The same of the requests that fit into the model's context; the others are refused.
    pub longest_served: Option<u32>,
    /// Index and tokens of the first request that does not fit into it.
    pub beyond_context: Option<(u64, u64)>,
    /// Arrival of the last request, ns from the start.
    pub last_arrival_ns: u64,
    /// What was done to a file of requests that its reader has to know.
    #[serde(default)]
    pub notes: Vec<String>,
}

impl Extent {
    pub(super) fn of(workload: &Workload, context: u32) -> Self {
        let totals = || {
            let of = |request: &WorkloadRequest| {
                u64::from(request.num_prefill_tokens) + u64::from(request.num_decode_tokens)
            };
            workload.requests.iter().map(of)
        };
        Self {
            longest: totals().max().unwrap_or(1),
            longest_served: totals().filter_map(|t| u32::try_from(t).ok()).filter(|t| *t <= context).max(),
            beyond_context: (0..).zip(totals()).find(|(_, tokens)| *tokens > u64::from(context)),
            last_arrival_ns: workload.requests.iter().map(|r| r.arrival_time_ns).max().unwrap_or(0),
            notes: Vec::new(),
        }
    }
}

impl Resolved {
    /// The workload's random streams.
    pub fn streams(&self) -> Seeds {
        streams(&self.lock.seeds)
    }

    /// The model's tokenizer.
    pub fn tokenizer(&self) -> Result<Arc<Tokenizer>, ResolveError> {
        Ok(self.made.tokenizer(&self.model)?)
    }

    /// The workload of a run; its content is the pinned one.
    pub fn workload(&self, index: usize) -> Result<Arc<Workload>, ResolveError> {
        let pinned = self.lock.runs[index].workload.sha256;
        if let Some((_, made)) = self.kept().iter().find(|(digest, _)| *digest == pinned) {
            return Ok(made.clone());
        }
        let experiment = &self.cells[index].experiment;
        let spec = &experiment.workload;
        let wanted = reads_texts(experiment) || counts_tokens(spec);
        let tokenizer = wanted.then(|| self.tokenizer()).transpose()?;
        let made = workload::generate(spec, &self.streams(), tokenizer.as_deref(), &self.inputs)?;
        let found = workload::digest(&workload::workload_files(&made, spec, &self.streams()));
        if found != pinned {
            return Err(ResolveError::WorkloadChanged { run: self.lock.runs[index].id.clone() });
        }
        Ok(self.keep(pinned, Arc::new(made)))
    }

    /// The workload of a run as it is served. Where an engine that runs here is to serve a trace or sessions, it has
    /// texts; where the policy keeps a prefix cache, the prefixes of texts are those of their tokens, in blocks of the policy.
    pub fn served_workload(&self, index: usize) -> Result<Arc<Workload>, ResolveError> {
        let made = self.workload(index)?;
        let (run, experiment) = (&self.lock.runs[index], &self.cells[index].experiment);
        let writes = made.prompts.is_empty() && writes_texts(experiment);
        let block = Some(run.scheduler.block_size).filter(|_| run.scheduler.prefix_caching);
        if !writes && (block.is_none() || made.prompts.is_empty()) {
            return Ok(made);
        }
        let key = Digest::of_json(&("served", run.workload.sha256, writes, block));
        if let Some((_, served)) = self.kept().iter().find(|(digest, _)| *digest == key) {
            return Ok(served.clone());
        }
        let tokenizer = self.tokenizer()?;
        let mut served = match writes {
            true => workload::with_texts(&made, &experiment.workload, &self.streams(), &tokenizer)?,
            false => (*made).clone(),
        };
        if let (Some(block), false) = (block, served.prompts.is_empty()) {
            served.prefixes = Some(workload::prefixes_of_texts(&served, &tokenizer, block)?);
        }
        Ok(self.keep(key, Arc::new(served)))
    }

    /// The workload of a run as it is simulated: as it is served, as far as the policy can tell.
    pub fn simulated_workload(&self, index: usize) -> Result<Arc<Workload>, ResolveError> {
        match self.lock.runs[index].scheduler.prefix_caching {
            true => self.served_workload(index),
            false => self.workload(index),
        }
    }

    /// Puts another workload in the place of the first run's, with the digest of its own content.
    pub fn replace_workload(&mut self, made: Workload, sha256: Digest) {
        let Some(run) = self.lock.runs.first_mut() else { return };
        run.workload.sha256 = sha256;
        run.workload.requests = made.requests.len() as u64;
        self.extents[0] = Extent::of(&made, self.lock.resolved_model.config.max_position_embeddings);
        self.keep(sha256, Arc::new(made));
    }

    fn keep(&self, digest: Digest, made: Arc<Workload>) -> Arc<Workload> {
        let mut kept = self.kept();
        kept.push_back((digest, made.clone()));
        while kept.len() > 1
            && kept.iter().map(|(_, made)| made.requests.len()).sum::<usize>() > MAX_KEPT_REQUESTS
        {
            kept.pop_front();
        }
        made
    }

    fn kept(&self) -> MutexGuard<'_, VecDeque<(Digest, Arc<Workload>)>> {
        self.made.workloads.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
