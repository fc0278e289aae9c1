//! What a lock pins of its workloads, made or remembered.

use std::collections::HashMap;

use rayon::prelude::*;

use super::pins::WorkloadPin;
use super::resolve::{Measured, ResolveError, input_file, measured_backend};
use super::resolved::{Extent, Made};
use crate::source::{Access, ModelFiles};
use crate::spec::{Arrivals, Backend, Cell, Experiment, Lengths, TraceFormat, WorkloadSpec};
use crate::store::{Digest, FileDigest};
use crate::workload::{self, Seeds, WorkloadRequest};

/// Whether an experiment has an engine that is fed texts. What is simulated alone has lengths, and no texts are made.
pub(super) fn reads_texts(experiment: &Experiment) -> bool {
    experiment.backends.iter().any(|backend| matches!(backend, Backend::Candle(_) | Backend::Transformers(_)))
}

/// Whether lengths are those of texts.
pub(super) fn counts_tokens(spec: &WorkloadSpec) -> bool {
    spec.prompts.is_some() || spec.trace.as_ref().is_some_and(|trace| trace.format == TraceFormat::Sharegpt)
}

/// Whether requests of lengths alone get texts when they are served.
pub(crate) fn writes_texts(experiment: &Experiment) -> bool {
    let spec = &experiment.workload;
    (spec.trace.is_some() || spec.sessions.is_some())
        && !counts_tokens(spec)
        && matches!(measured_backend(experiment), Ok(Measured::Candle(_) | Measured::Transformers(_)))
}

/// Makes the workloads of cells, or remembers what is pinned of them.
pub(super) struct Workloads<'a> {
    pub seeds: Seeds,
    pub model: &'a ModelFiles,
    pub made: &'a Made,
    /// Whether something reads texts: see [`reads_texts`].
    pub texts: bool,
    pub access: &'a Access<'a>,
}

impl Workloads<'_> {
    /// The pin and the extent of each cell's workload. Cells that ask for the same share it.
    pub fn describe(&self, cells: &[Cell]) -> Result<Vec<(WorkloadPin, Extent)>, ResolveError> {
        let mut distinct: Vec<&WorkloadSpec> = Vec::new();
        let mut places: HashMap<Digest, usize> = HashMap::new();
        let mut index = Vec::with_capacity(cells.len());
        for cell in cells {
            let spec = &cell.experiment.workload;
            let place = places.entry(Digest::of_json(spec)).or_insert_with(|| {
                distinct.push(spec);
                distinct.len() - 1
            });
            index.push(*place);
        }
        let described: Result<Vec<_>, ResolveError> =
            distinct.into_par_iter().map(|spec| self.describe_one(spec)).collect();
        let described = described?;
        Ok(index.into_iter().map(|place| described[place].clone()).collect())
    }

    fn describe_one(&self, spec: &WorkloadSpec) -> Result<(WorkloadPin, Extent), ResolveError> {
        let files = self.data_files(spec)?;
        let context = self.model.config.max_position_embeddings;
        // The format of the files is part of the build.
        let template = if spec.chat_template { self.model.template_pins() } else { Vec::new() };
        let tokenizer = (self.model.tokenizer_pin(), template);
        let inputs = (spec, &self.seeds, tokenizer, &files, context, self.texts);
        self.access.memo.recall("workload", &inputs, || {
            let wanted = self.texts || counts_tokens(spec);
            let tokenizer = wanted.then(|| self.made.tokenizer(self.model)).transpose()?;
            let (made, notes) =
                workload::generate_with_notes(spec, &self.seeds, tokenizer.as_deref(), self.access.inputs)?;
            let total = |tokens: fn(&WorkloadRequest) -> u32| {
                made.requests.iter().map(|request| u64::from(tokens(request))).sum()
            };
            let pin = WorkloadPin {
                sha256: workload::digest(&workload::workload_files(&made, spec, &self.seeds)),
                requests: made.requests.len() as u64,
                prefill_tokens: total(|request| request.num_prefill_tokens),
                decode_tokens: total(|request| request.num_decode_tokens),
                files: files.clone(),
            };
            Ok((pin, Extent { notes, ..Extent::of(&made, context) }))
        })
    }

    /// Digests of the files that a workload reads.
    fn data_files(&self, workload: &WorkloadSpec) -> Result<Vec<FileDigest>, ResolveError> {
        let lengths = match &workload.lengths {
            Some(Lengths::Trace { path }) => Some(path),
            _ => None,
        };
        let trace = workload.trace.as_ref().map(|trace| &trace.path);
        let arrivals = match &workload.arrivals {
            Arrivals::Trace { path } => Some(path),
            _ => None,
        };
        // Lengths and arrivals may be columns of one file.
        let arrivals = arrivals.filter(|path| lengths != Some(path) && trace != Some(path));
        [workload.prompts.as_ref(), lengths, trace, arrivals]
            .into_iter()
            .flatten()
            .map(|path| input_file(path, self.access))
            .collect()
    }
}
