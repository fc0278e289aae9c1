use std::path::Path;

use rayon::prelude::*;

use super::lengths::{MAX_TOKENS, Pair};
use super::prompting::Prompting;
use super::sessions::{Turns, turns};
use super::stream::Stream;
use super::trace::{self, Traced};
use super::{Prefixes, Seeds, Workload, WorkloadError, WorkloadRequest, arrivals, lengths, prompts};
use crate::model::Tokenizer;
use crate::spec::{Arrivals, Lengths, Sessions, WorkloadSpec};

/// Most requests that are held in memory.
pub(super) const MAX_REQUESTS: u32 = 10_000_000;

/// Makes a workload: deterministic in the spec, the seeds, the tokenizer and the files that the
/// spec names (relative to `root`).
///
/// - A trace of lengths gives at most `requests` requests; with a trace of arrivals as well, the
///   shorter of the two decides. In every other case a file must have enough rows.
/// - A published trace gives at most `requests` requests, with its own arrivals or, as a trace of lengths, with others;
///   its requests have lengths alone, unless it has texts: see [`with_texts`]. Prefix ids that it has are kept.
/// - `decode_tokens` overrides the output length of any distribution or trace.
/// - Texts are either those of `prompts`, whose lengths are their tokens, or synthetic ones of
///   exactly the drawn length. Requests of a very large workload share synthetic prompts by
///   length, and a workload whose texts would be larger still has none.
/// - With `chat_template` a prompt is the text as a user's message in the tokenizer's template, and its length
///   counts the template's tokens. Requests of lengths alone whose prefixes have ids have no template.
/// - Requests of sessions have lengths alone, and ids of the blocks that they share.
/// - Without a tokenizer there are lengths only.
///
/// # Errors
/// A spec that contradicts itself, files that are not what they should be, and tokenizers for
/// which no text of a wanted length is found.
pub fn generate(
    spec: &WorkloadSpec,
    seeds: &Seeds,
    tokenizer: Option<&Tokenizer>,
    root: &Path,
) -> Result<Workload, WorkloadError> {
    generate_with_notes(spec, seeds, tokenizer, root).map(|(made, _)| made)
}

/// The same, with what was done to a trace that a reader of it has to know.
pub fn generate_with_notes(
    spec: &WorkloadSpec,
    seeds: &Seeds,
    tokenizer: Option<&Tokenizer>,
    root: &Path,
) -> Result<(Workload, Vec<String>), WorkloadError> {
    let wanted = match (spec.requests, &spec.trace) {
        (Some(0), _) | (None, None) => {
            return Err(WorkloadError::parameter("requests", 0, "must be at least 1"));
        }
        (Some(requests), _) => requests,
        (None, Some(_)) => MAX_REQUESTS,
    };
    if wanted > MAX_REQUESTS {
        return Err(WorkloadError::TooMany { requests: wanted.into(), limit: MAX_REQUESTS.into() });
    }
    if let Some(tokens) = spec.decode_tokens
        && !(1..=MAX_TOKENS).contains(&tokens)
    {
        return Err(WorkloadError::parameter("decode-tokens", tokens, "must be between 1 and 1048576"));
    }
    let prompting = tokenizer.map(|tokenizer| Prompting::of(spec, tokenizer)).transpose()?;
    let Asked { pairs, texts, arrivals, mut prefixes, notes } =
        match (&spec.trace, &spec.prompts, &spec.lengths) {
            (Some(_), Some(_), _) | (Some(_), _, Some(_)) | (None, Some(_), Some(_)) => {
                return Err(WorkloadError::TwoLengths);
            }
            (None, None, None) => return Err(WorkloadError::NoLengths),
            (Some(trace), None, None) => {
                let arrives = spec.arrivals == Arrivals::Recorded;
                Asked::from(trace::read(trace, wanted, arrives, prompting, root)?)
            }
            (None, Some(file), None) => {
                let given = prompts::from_file(file, wanted, prompting, root)?;
                let pairs = given.iter().map(|(tokens, _)| (*tokens, None)).collect();
                Asked { texts: Some(given.into_iter().map(|prompt| prompt.1).collect()), ..Asked::of(pairs) }
            }
            (None, None, Some(lengths)) => {
                Asked::of(lengths::lengths(lengths, wanted, &mut Stream::new(seeds.lengths, 0), root)?)
            }
        };
    if spec.chat_template && texts.is_none() && (spec.sessions.is_some() || prefixes.is_some()) {
        return Err(WorkloadError::PrefixesInTemplate);
    }
    if let Some(sessions) = &spec.sessions {
        return Ok((of_sessions(spec, sessions, &pairs, seeds, root)?, notes));
    }
    let (gaps, times) = match arrivals {
        Some(times) => (arrivals::between(&times), times),
        None => {
            let stream = &mut Stream::new(seeds.arrivals, 0);
            let gaps = arrivals::gaps(&spec.arrivals, pairs.len() as u32, stream, root)?;
            let times = arrivals::times(&gaps)?;
            (gaps, times)
        }
    };
    let may_be_fewer = spec.trace.is_some() || matches!(spec.lengths, Some(Lengths::Trace { .. }));
    if let (Arrivals::Trace { path }, true) = (&spec.arrivals, gaps.len() < pairs.len())
        && !may_be_fewer
    {
        return Err(WorkloadError::TooFew {
            file: path.clone(),
            what: "rows",
            rows: gaps.len(),
            requests: wanted,
        });
    }
    let mut requests = Vec::with_capacity(gaps.len());
    for (index, ((&(prefill, decode), gap), time)) in pairs.iter().zip(&gaps).zip(times).enumerate() {
        requests.push(WorkloadRequest {
            prompt_id: index as u32,
            num_prefill_tokens: prefill,
            num_decode_tokens: spec.decode_tokens.or(decode).ok_or(WorkloadError::NoDecode)?,
            inter_arrival_ns: *gap,
            arrival_time_ns: time,
        });
    }
    if let Some(prefixes) = &mut prefixes {
        prefixes.truncate(requests.len());
    }
    let prompts = match (texts, prompting) {
        (Some(mut texts), _) => {
            if spec.trace.is_some() {
                texts.truncate(requests.len());
            }
            texts
        }
        (None, Some(prompting)) if spec.trace.is_none() => {
            prompts::synthetic(&mut requests, seeds.prompts, prompting)?
        }
        (None, Some(prompting)) => {
            prompting.admit(&requests)?;
            Vec::new()
        }
        (None, None) => Vec::new(),
    };
    Ok((Workload { requests, prompts, prefixes }, notes))
}

/// A workload of conversations: lengths alone, and what prompts have in common.
fn of_sessions(
    spec: &WorkloadSpec,
    sessions: &Sessions,
    pairs: &[Pair],
    seeds: &Seeds,
    root: &Path,
) -> Result<Workload, WorkloadError> {
    let said = pairs.iter().map(|&(prefill, decode)| Some((prefill, spec.decode_tokens.or(decode)?)));
    let said: Vec<(u32, u32)> = said.collect::<Option<_>>().ok_or(WorkloadError::NoDecode)?;
    let count = (said.len() as u32).div_ceil(sessions.turns.max(1));
    let gaps = arrivals::gaps(&spec.arrivals, count, &mut Stream::new(seeds.arrivals, 0), root)?;
    if let (Arrivals::Trace { path }, true) = (&spec.arrivals, gaps.len() < count as usize) {
        let (rows, requests) = (gaps.len(), count);
        return Err(WorkloadError::TooFew { file: path.clone(), what: "rows", rows, requests });
    }
    let Turns { lengths, arrivals, prefixes } =
        turns(sessions, &said, &gaps, &mut Stream::new(seeds.arrivals, 1))?;
    let gaps = arrivals::between(&arrivals);
    let timed = gaps.iter().zip(&arrivals);
    let requests = (0..).zip(&lengths).zip(timed).map(|((index, lengths), (gap, arrival))| WorkloadRequest {
        prompt_id: index,
        num_prefill_tokens: lengths.0,
        num_decode_tokens: lengths.1,
        inter_arrival_ns: *gap,
        arrival_time_ns: *arrival,
    });
    let requests = requests.collect();
    Ok(Workload { requests, prompts: Vec::new(), prefixes: Some(prefixes) })
}

/// A workload of lengths alone, made of `spec`, with texts made to measure, for an engine that has to have some; they
/// begin alike where its prefixes say so. A workload that has texts, or would have too many, stays as it is.
///
/// # Errors
/// No text of a wanted length is found for the tokenizer.
pub fn with_texts(
    workload: &Workload,
    spec: &WorkloadSpec,
    seeds: &Seeds,
    tokenizer: &Tokenizer,
) -> Result<Workload, WorkloadError> {
    let mut made = workload.clone();
    if made.prompts.is_empty() {
        let prompting = Prompting::of(spec, tokenizer)?;
        made.prompts = match &made.prefixes {
            Some(prefixes) => prompts::following(&mut made.requests, prefixes, seeds.prompts, prompting)?,
            None => prompts::synthetic(&mut made.requests, seeds.prompts, prompting)?,
        };
    }
    Ok(made)
}

/// The prefixes of a workload's texts, by their tokens, in blocks of so many tokens.
///
/// # Errors
/// A text that the tokenizer refuses.
pub fn prefixes_of_texts(
    workload: &Workload,
    tokenizer: &Tokenizer,
    block_size: u32,
) -> Result<Prefixes, WorkloadError> {
    let encoded: Vec<Vec<u32>> = workload
        .prompts
        .par_iter()
        .map(|text| Ok(tokenizer.encode(text)?))
        .collect::<Result<_, WorkloadError>>()?;
    let prompt = |request: &WorkloadRequest| {
        let tokens = encoded.get(request.prompt_id as usize).map_or(&[][..], Vec::as_slice);
        // What comes after the prompt is not of it, whatever its text says.
        &tokens[..tokens.len().min(request.num_prefill_tokens as usize)]
    };
    Ok(Prefixes::of_tokens(block_size, workload.requests.iter().map(prompt)))
}

/// What is asked, before it is known when.
#[derive(Default)]
struct Asked {
    pairs: Vec<Pair>,
    texts: Option<Vec<String>>,
    /// Arrivals that a trace recorded, ns.
    arrivals: Option<Vec<u64>>,
    prefixes: Option<Prefixes>,
    notes: Vec<String>,
}

impl Asked {
    fn of(pairs: Vec<Pair>) -> Self {
        Self { pairs, ..Self::default() }
    }
}

impl From<Traced> for Asked {
    fn from(traced: Traced) -> Self {
        let Traced { pairs, arrivals, prefixes, texts, notes } = traced;
        let pairs = pairs.into_iter().map(|(prefill, decode)| (prefill, Some(decode))).collect();
        Self { pairs, texts, arrivals, prefixes, notes }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::sync::LazyLock;

    use super::*;
    use crate::model::train_synthetic;
    use crate::workload::{digest, workload_files};

    pub(in crate::workload) static TOKENIZER: LazyLock<Tokenizer> =
        LazyLock::new(|| Tokenizer::from_bytes(&train_synthetic(1024).unwrap(), "tokenizer.json").unwrap());

    pub(in crate::workload) const SEEDS: Seeds = Seeds { prompts: 1, lengths: 2, arrivals: 3 };

    pub(in crate::workload) fn spec(lengths: Lengths, arrivals: Arrivals) -> WorkloadSpec {
        WorkloadSpec {
            name: "few".to_owned(),
            requests: Some(5),
            trace: None,
            prompts: None,
            lengths: Some(lengths),
            arrivals,
            sessions: None,
            decode_tokens: None,
            chat_template: false,
        }
    }

    const UNIFORM: Lengths = Lengths::Uniform { min: 12, max: 40, prefill_to_decode: 3.0 };

    fn folder() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).unwrap();
        write("lengths.csv", "num_prefill_tokens,num_decode_tokens\n3,4\n5,6\n7,8\n");
        write("arrivals.csv", "request_id,inter_arrival_ns,arrival_time_ns\n0,5,5\n1,1,6\n");
        write("prompts.jsonl", "{\"text\": \"The engine waits.\"}\n{\"text\": \"A token.\", \"id\": 9}\n");
        dir
    }

    fn trace(path: &str) -> Arrivals {
        Arrivals::Trace { path: path.to_owned() }
    }

    #[test]
    fn the_bytes_of_each_kind_never_change() {
        let dir = folder();
        let fixed = Lengths::Fixed { prefill: 9, decode: Some(2) };
        let zipf = Lengths::Zipf { theta: 0.6, min: 4, max: 64, prefill_to_decode: 4.0 };
        let traced = Lengths::Trace { path: "lengths.csv".to_owned() };
        let specs = [
            spec(fixed, Arrivals::Static),
            spec(UNIFORM, Arrivals::Poisson { qps: 50.0 }),
            spec(zipf, Arrivals::Gamma { qps: 2.5, cv: 2.0 }),
            spec(traced, trace("arrivals.csv")),
            WorkloadSpec {
                prompts: Some("prompts.jsonl".to_owned()),
                lengths: None,
                requests: Some(2),
                decode_tokens: Some(7),
                ..spec(UNIFORM, Arrivals::Static)
            },
        ];
        let digests: Vec<String> = specs
            .iter()
            .map(|spec| {
                let made = generate(spec, &SEEDS, Some(&TOKENIZER), dir.path()).unwrap();
                assert_eq!(made, generate(spec, &SEEDS, Some(&TOKENIZER), dir.path()).unwrap());
                for request in &made.requests {
                    let text = &made.prompts[request.prompt_id as usize];
                    assert_eq!(
                        TOKENIZER.encode(text).unwrap().len(),
                        request.num_prefill_tokens as usize,
                        "{text}"
                    );
                }
                digest(&workload_files(&made, spec, &SEEDS)).to_string()
            })
            .collect();
        insta::assert_snapshot!(digests.join("\n"), @r"
        29e1efe828efe35bb57113a2422dda29a1cdeb8e297454815dab405d9de2f409
        aff3377eb79c7af89a7fc6a6bec6688394f44384d5fac477309931d54e12f60c
        652d14fc0631c2cd06f31dd92de1883c6967cdb2384b65339dc88c7548ca4eee
        0f4593301640f505a4be9fca8bc18b248e11d5f8a14c582e23eafb092d1197f3
        09f7b3f578feae11f9c678ea66495b0efadaa9ef4ef42c1fcc2b43aee246d9e0
        ");
    }

    #[test]
    fn the_number_of_threads_does_not_matter() {
        let spec = WorkloadSpec { requests: Some(40), ..spec(UNIFORM, Arrivals::Poisson { qps: 9.0 }) };
        let [one, four] = [1, 4].map(|threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| generate(&spec, &SEEDS, Some(&TOKENIZER), Path::new(".")).unwrap())
        });
        assert_eq!(one, four);
    }

    #[test]
    fn the_shorter_of_two_traces_decides_and_requests_caps() {
        let dir = folder();
        let traced = Lengths::Trace { path: "lengths.csv".to_owned() };
        let made = generate(&spec(traced.clone(), trace("arrivals.csv")), &SEEDS, None, dir.path()).unwrap();
        assert_eq!(made.requests.len(), 2);
        assert_eq!(made.requests[1].arrival_time_ns, 6);
        let capped = WorkloadSpec { requests: Some(1), ..spec(traced.clone(), trace("arrivals.csv")) };
        assert_eq!(generate(&capped, &SEEDS, None, dir.path()).unwrap().requests.len(), 1);
        assert_eq!(
            generate(&spec(traced, Arrivals::Static), &SEEDS, None, dir.path()).unwrap().requests.len(),
            3
        );
        let few = generate(&spec(UNIFORM, trace("arrivals.csv")), &SEEDS, None, dir.path());
        assert!(matches!(few, Err(WorkloadError::TooFew { rows: 2, requests: 5, .. })), "{few:?}");
    }

    #[test]
    fn decode_tokens_override_every_length() {
        let spec = WorkloadSpec { decode_tokens: Some(77), ..spec(UNIFORM, Arrivals::Static) };
        let made = generate(&spec, &SEEDS, None, Path::new(".")).unwrap();
        assert!(made.requests.iter().all(|request| request.num_decode_tokens == 77));
        assert!(made.prompts.is_empty());
    }

    #[test]
    fn specs_that_say_too_little_or_too_much_are_refused() {
        let dir = folder();
        let make = |spec: &WorkloadSpec| generate(spec, &SEEDS, Some(&TOKENIZER), dir.path()).unwrap_err();
        let base = spec(UNIFORM, Arrivals::Static);
        let prompts = Some("prompts.jsonl".to_owned());
        assert!(matches!(make(&WorkloadSpec { lengths: None, ..base.clone() }), WorkloadError::NoLengths));
        assert!(matches!(
            make(&WorkloadSpec { prompts: prompts.clone(), ..base.clone() }),
            WorkloadError::TwoLengths
        ));
        assert!(matches!(
            make(&WorkloadSpec { requests: Some(0), ..base.clone() }),
            WorkloadError::Parameter { .. }
        ));
        assert!(matches!(
            make(&WorkloadSpec { requests: Some(u32::MAX), ..base.clone() }),
            WorkloadError::TooMany { .. }
        ));
        let bare = Lengths::Fixed { prefill: 9, decode: None };
        assert!(matches!(make(&spec(bare, Arrivals::Static)), WorkloadError::NoDecode));
        let texts = WorkloadSpec { prompts, lengths: None, ..base };
        assert!(matches!(make(&texts), WorkloadError::TooFew { rows: 2, requests: 5, .. }));
        let alone = generate(&texts, &SEEDS, None, dir.path());
        assert!(matches!(alone, Err(WorkloadError::NoTokenizer { .. })));
    }
}
