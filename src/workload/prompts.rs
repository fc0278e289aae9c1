//! Prompt texts: those of a file, or synthetic ones of an exact length.

use std::collections::{BTreeSet, HashMap};
use std::path::Path;

use rayon::prelude::*;
use serde::Deserialize;

use super::data_file::data_file;
use super::error::object;
use super::lengths::MAX_TOKENS;
use super::prefixes::{Prefixes, mix};
use super::prompting::{Prompting, STARTS};
use super::stream::Stream;
use super::{WorkloadError, WorkloadRequest};
use crate::model::sentence;
use crate::store::read_text_bounded;

/// Largest file of prompts that is read, in bytes.
pub(super) const MAX_PROMPTS: u64 = 256 << 20;

/// Longest text that is tokenized, in bytes.
const MAX_TEXT: usize = 16 << 20;

/// Requests with a text each, at most; more share texts.
const OWN_TEXT_REQUESTS: usize = 20_000;
/// Prompt tokens that are all written out, at most; more are shared.
const OWN_TEXT_TOKENS: u64 = 4_000_000;
/// Prompt tokens that are written out at all.
const MAX_TEXT_TOKENS: u64 = 20_000_000;

/// Prompts of a JSONL file (an object with a `text` a line; other fields are ignored), each with its
/// number of tokens. The first `requests` lines are used, there must be as many, and all are checked.
pub(super) fn from_file(
    file: &str,
    requests: u32,
    prompting: Option<Prompting<'_>>,
    root: &Path,
) -> Result<Vec<(u32, String)>, WorkloadError> {
    let prompting = prompting.ok_or_else(|| WorkloadError::NoTokenizer { file: file.to_owned() })?;
    let texts = texts(file, &read_text_bounded(&data_file(root, file)?, MAX_PROMPTS)?, requests)?;
    texts
        .into_par_iter()
        .enumerate()
        .map(|(index, text)| {
            let prompt = prompting.prompt(text)?;
            let tokens = prompting.tokenizer.encode(&prompt)?.len();
            match u32::try_from(tokens) {
                Ok(count) if (1..=MAX_TOKENS).contains(&count) => Ok((count, prompt)),
                _ => Err(WorkloadError::Cell {
                    file: file.to_owned(),
                    line: index as u64 + 1,
                    column: "text".to_owned(),
                    message: format!("has {tokens} tokens, not between 1 and {MAX_TOKENS}"),
                }),
            }
        })
        .collect()
}

/// The texts of the first `requests` lines; there must be as many, and all lines are checked.
pub(crate) fn texts(file: &str, content: &str, requests: u32) -> Result<Vec<String>, WorkloadError> {
    #[derive(Deserialize)]
    struct Line {
        text: String,
    }
    let mut texts = Vec::new();
    let mut rows = 0;
    for line in content.strip_prefix('\u{feff}').unwrap_or(content).lines() {
        rows += 1;
        let Line { text } = object(file, rows, line)?;
        if text.len() > MAX_TEXT {
            return Err(WorkloadError::Cell {
                file: file.to_owned(),
                line: rows as u64,
                column: "text".to_owned(),
                message: format!("has {} bytes, more than {MAX_TEXT}", text.len()),
            });
        }
        if rows <= requests as usize {
            texts.push(text);
        }
    }
    if rows < requests as usize {
        return Err(WorkloadError::TooFew { file: file.to_owned(), what: "prompts", rows, requests });
    }
    Ok(texts)
}

/// Synthetic prompts for requests whose lengths are known, and their `prompt_id`s.
///
/// Each request has a text of its own, unless there are over 20,000 requests or 4 million prompt
/// tokens: then requests of equal prompt length share one. When even the shared texts have over
/// 20 million tokens there are none, and every `prompt_id` is its request's.
pub(super) fn synthetic(
    requests: &mut [WorkloadRequest],
    seed: u64,
    prompting: Prompting<'_>,
) -> Result<Vec<String>, WorkloadError> {
    prompting.admit(requests)?;
    let total: u64 = requests.iter().map(|request| u64::from(request.num_prefill_tokens)).sum();
    let lengths = if requests.len() > OWN_TEXT_REQUESTS || total > OWN_TEXT_TOKENS {
        let Some(lengths) = share(requests) else { return Ok(Vec::new()) };
        lengths
    } else {
        requests.iter().map(|request| request.num_prefill_tokens).collect()
    };
    let writer = Writer::new(prompting)?;
    // Each text has a stream of its own, so that threads and other texts do not matter to it.
    lengths
        .into_par_iter()
        .enumerate()
        .map_init(HashMap::new, |sizes, (id, tokens)| {
            writer.write(true, tokens, &mut Stream::new(seed, id as u64), sizes)
        })
        .collect()
}

/// Synthetic texts that begin alike where prompts are said to: blocks of equal id are equal texts of a block's tokens.
/// Each request has a text of its own and becomes its `prompt_id`; as in [`synthetic`], there are none where they would
/// have over 20 million tokens.
///
/// Where a tokenizer merges across words, so that the tokens of a text are not those of its blocks, a request has a text
/// that shares nothing.
///
/// # Errors
/// With a chat template: its tokens are in no block that prompts are said to share.
pub(super) fn following(
    requests: &mut [WorkloadRequest],
    prefixes: &Prefixes,
    seed: u64,
    prompting: Prompting<'_>,
) -> Result<Vec<String>, WorkloadError> {
    if prompting.has_template() {
        return Err(WorkloadError::PrefixesInTemplate);
    }
    let total: u64 = requests.iter().map(|request| u64::from(request.num_prefill_tokens)).sum();
    if total > MAX_TEXT_TOKENS {
        return Ok(Vec::new());
    }
    (0..).zip(requests.iter_mut()).for_each(|(index, request)| request.prompt_id = index);
    let writer = Writer::new(prompting)?;
    let size = prefixes.block_size();
    let blocks_of = |index: usize, request: &WorkloadRequest| {
        let full = request.num_prefill_tokens.checked_div(size).unwrap_or(0) as usize;
        let ids = prefixes.of(index);
        // A block that opens a text reads differently from the same within.
        ids.iter().take(full).enumerate().map(|(at, id)| (at == 0, *id))
    };
    let distinct: BTreeSet<(bool, u64)> =
        requests.iter().enumerate().flat_map(|(index, request)| blocks_of(index, request)).collect();
    // Streams of blocks are others than those of requests.
    let seed_of_blocks = mix(seed, 0);
    let blocks: HashMap<(bool, u64), String> = distinct
        .into_par_iter()
        .map_init(HashMap::new, |sizes, (opens, id)| {
            let text = writer.write(opens, size, &mut Stream::new(seed_of_blocks, id), sizes)?;
            Ok(((opens, id), text))
        })
        .collect::<Result<_, WorkloadError>>()?;
    requests
        .par_iter()
        .enumerate()
        .map_init(HashMap::new, |sizes, (index, request)| {
            let wanted = request.num_prefill_tokens;
            let shared: Vec<&str> = blocks_of(index, request).map(|block| blocks[&block].as_str()).collect();
            let rest = wanted - shared.len() as u32 * size;
            let mut text = shared.concat();
            if rest > 0 {
                let stream = &mut Stream::new(seed, index as u64);
                text.push_str(&writer.write(shared.is_empty(), rest, stream, sizes)?);
            }
            if prompting.tokenizer.encode(&text)?.len() == wanted as usize {
                return Ok(text);
            }
            writer.write(true, wanted, &mut Stream::new(seed, index as u64), sizes)
        })
        .collect()
}

/// Gives requests of equal length one prompt, numbered in the order in which lengths first occur.
fn share(requests: &mut [WorkloadRequest]) -> Option<Vec<u32>> {
    let mut ids = HashMap::new();
    let mut lengths = Vec::new();
    let shared: Vec<u32> = requests
        .iter()
        .map(|request| {
            *ids.entry(request.num_prefill_tokens).or_insert_with(|| {
                lengths.push(request.num_prefill_tokens);
                lengths.len() as u32 - 1
            })
        })
        .collect();
    if lengths.iter().map(|&tokens| u64::from(tokens)).sum::<u64>() > MAX_TEXT_TOKENS {
        return None;
    }
    requests.iter_mut().zip(shared).for_each(|(request, id)| request.prompt_id = id);
    Some(lengths)
}

/// Tokens of a piece that was seen before.
type Sizes = HashMap<String, u32>;

/// Writes prompts of an exact number of tokens.
///
/// Tokenizers split English text at words before anything else, so the tokens of a text are those
/// of its words, each with the space before it. Words of generated sentences are added while they
/// fit; words of one token fill the rest. The finished prompt is tokenized once to make sure, and
/// mended where that rule did not hold. What a chat template adds to a text is left free for it.
struct Writer<'a> {
    prompting: Prompting<'a>,
    /// Tokens that the template adds.
    own: u32,
    /// Words that are one token behind another word.
    fillers: Vec<&'static str>,
    /// Words that are one token at the start of a text.
    starters: Vec<&'static str>,
}

/// Candidates for words of one token; the letters are one in every byte-level vocabulary.
const SHORT: [&str; 16] = [
    " the", " a", " token", " engine", " request", " of", " and", " step", " model", " is", "e", "s", "t",
    "n", "a", ".",
];

/// How often a text whose tokens are not the sum of its words is mended.
const MENDS: usize = 64;

impl<'a> Writer<'a> {
    fn new(prompting: Prompting<'a>) -> Result<Self, WorkloadError> {
        let mut writer =
            Self { prompting, own: prompting.own_tokens()?, fillers: Vec::new(), starters: Vec::new() };
        let base = writer.counted("The engine")?.1;
        for word in SHORT {
            // A single letter is a filler only if it does not join the word before it.
            if writer.counted(&format!("The engine{word}"))?.1 == base + 1 {
                writer.fillers.push(word);
            }
        }
        for word in STARTS {
            if writer.counted(word)?.1 == 1 {
                writer.starters.push(word);
            }
        }
        writer.fillers.truncate(8);
        Ok(writer)
    }

    fn size(&self, piece: &str, sizes: &mut Sizes) -> Result<u32, WorkloadError> {
        if let Some(size) = sizes.get(piece) {
            return Ok(*size);
        }
        let size = self.prompting.tokenizer.encode(piece)?.len() as u32;
        sizes.insert(piece.to_owned(), size);
        Ok(size)
    }

    /// The prompt of a text, and its tokens without those that the template adds.
    fn counted(&self, text: &str) -> Result<(String, u32), WorkloadError> {
        let prompt = self.prompting.prompt(text.to_owned())?;
        let tokens = self.prompting.tokenizer.encode(&prompt)?.len() as u32;
        Ok((prompt, tokens.saturating_sub(self.own)))
    }

    /// A prompt of exactly `tokens` tokens, more than the template adds; or a part of one, which opens it or goes on
    /// with it.
    fn write(
        &self,
        opens: bool,
        tokens: u32,
        stream: &mut Stream,
        sizes: &mut Sizes,
    ) -> Result<String, WorkloadError> {
        let inexact = || WorkloadError::Inexact { tokens };
        let tokens = tokens.saturating_sub(self.own);
        let mut pick = |n: u64| stream.below(n);
        let mut pieces: Vec<String> = Vec::new();
        let mut ends: Vec<u32> = Vec::new();
        let mut used = 0;
        let mut queue = Vec::new();
        let mut full = false;
        while !full {
            queue.clear();
            sentence(&mut pick, opens && pieces.is_empty(), &mut queue);
            for piece in queue.drain(..) {
                let size = self.size(&piece, sizes)?;
                if size == 0 {
                    return Err(inexact());
                }
                if used + size > tokens {
                    full = true;
                    break;
                }
                used += size;
                ends.push(used);
                pieces.push(piece);
            }
            full |= used == tokens;
        }
        let mut text = pieces.concat();
        for _ in 0..MENDS {
            let missing = tokens - used;
            for _ in 0..missing {
                let words = if opens && text.is_empty() { &self.starters } else { &self.fillers };
                if words.is_empty() {
                    return Err(inexact());
                }
                let word = words[pick(words.len() as u64) as usize];
                text.push_str(word);
                pieces.push(word.to_owned());
                ends.push(ends.last().copied().unwrap_or(0) + 1);
            }
            let (prompt, found) = self.counted(&text)?;
            if found == tokens {
                return Ok(prompt);
            }
            // Fewer than thought: fill up. More: take words away until it fits by their sizes.
            if found < tokens {
                used = found;
                continue;
            }
            let surplus = found - tokens;
            let mut taken = 0;
            while taken < surplus
                && let Some(end) = ends.pop()
            {
                taken += end - ends.last().copied().unwrap_or(0);
                pieces.pop();
            }
            text = pieces.concat();
            // A template may have a token more or less around no text.
            used = if text.is_empty() { 0 } else { self.counted(&text)?.1 };
            if used > tokens {
                used = tokens;
            }
        }
        Err(inexact())
    }
}

#[cfg(test)]
mod tests {
    use super::super::generate::tests::{SEEDS, TOKENIZER};
    use super::*;
    use crate::model::Tokenizer;
    use serde_json::{Value, json};

    fn requests(lengths: impl IntoIterator<Item = u32>) -> Vec<WorkloadRequest> {
        (0..)
            .zip(lengths)
            .map(|(prompt_id, num_prefill_tokens)| WorkloadRequest {
                prompt_id,
                num_prefill_tokens,
                num_decode_tokens: 1,
                inter_arrival_ns: 0,
                arrival_time_ns: 0,
            })
            .collect()
    }

    fn exact(tokenizer: &Tokenizer, lengths: impl IntoIterator<Item = u32>) {
        let mut requests = requests(lengths);
        let texts = synthetic(&mut requests, SEEDS.prompts, Prompting::plain(tokenizer)).unwrap();
        for request in requests {
            let text = &texts[request.prompt_id as usize];
            assert_eq!(tokenizer.encode(text).unwrap().len() as u32, request.num_prefill_tokens, "{text}");
        }
    }

    #[test]
    fn every_length_is_exact() {
        exact(&TOKENIZER, (1..=64).chain([257, 1000]));
    }

    #[test]
    fn other_tokenizers_are_exact_too() {
        let bytes = crate::model::train_synthetic(300).unwrap();
        let change = |path: &str, value: Value| {
            let mut file: Value = serde_json::from_slice(&bytes).unwrap();
            *file.pointer_mut(path).unwrap() = value;
            Tokenizer::from_bytes(&serde_json::to_vec(&file).unwrap(), "t").unwrap()
        };
        let byte_level =
            json!({"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true});
        exact(&change("/pre_tokenizer", byte_level), 1..=40);
        // Merges across words: the tokens of a text are not the sum of its words.
        let whole =
            json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false});
        exact(&change("/pre_tokenizer", whole), 1..=40);
        exact(&change("/normalizer", json!({"type": "Lowercase"})), 1..=40);
        let prepend = json!({"type": "Prepend", "prepend": "Say: "});
        let mut few = requests([1]);
        let prepending = change("/normalizer", prepend);
        let found = synthetic(&mut few, 1, Prompting::plain(&prepending));
        assert!(matches!(found, Err(WorkloadError::Inexact { tokens: 1 })), "{found:?}");
    }

    #[test]
    fn large_workloads_share_texts_by_length() {
        let mut many = requests((0..20_001).map(|index| 3 + index % 4));
        let texts = synthetic(&mut many, 1, Prompting::plain(&TOKENIZER)).unwrap();
        assert_eq!(texts.len(), 4);
        assert_eq!(many[7].prompt_id, many[3].prompt_id);
        let mut huge = requests((0..100).map(|index| 1_000_000 + index));
        assert!(synthetic(&mut huge, 1, Prompting::plain(&TOKENIZER)).unwrap().is_empty());
        assert_eq!(huge[99].prompt_id, 99);
    }

    #[test]
    fn texts_begin_alike_where_ids_say_so() {
        let prefixes = |block, ids: &[&[u64]]| {
            let mut out = Prefixes::new(block);
            ids.iter().for_each(|ids| out.push(ids.iter().copied()));
            out
        };
        let ids: [&[u64]; 6] = [&[7, 8, 9], &[7, 8, 4], &[7], &[5, 8], &[], &[7, 8, 9]];
        let mut asked = requests([48, 50, 16, 40, 20, 61]);
        let said = prefixes(16, &ids);
        let texts = following(&mut asked, &said, SEEDS.prompts, Prompting::plain(&TOKENIZER)).unwrap();
        let tokens: Vec<Vec<u32>> = texts.iter().map(|text| TOKENIZER.encode(text).unwrap()).collect();
        for (tokens, request) in tokens.iter().zip(&asked) {
            assert_eq!(tokens.len() as u32, request.num_prefill_tokens);
        }
        // The ids of the tokens say the same, and more of blocks that had none.
        let found = Prefixes::of_tokens(16, tokens.iter().map(Vec::as_slice));
        for (one, other) in (0..ids.len()).flat_map(|one| (0..one).map(move |other| (one, other))) {
            let shared =
                |of: &Prefixes| of.of(one).iter().zip(of.of(other)).take_while(|(a, b)| a == b).count();
            assert_eq!(shared(&found), shared(&said), "{one} and {other}");
        }
        assert_eq!(texts, following(&mut asked, &said, SEEDS.prompts, Prompting::plain(&TOKENIZER)).unwrap());

        // Whatever the tokenizer, lengths are exact.
        let bytes = crate::model::train_synthetic(300).unwrap();
        let mut file: Value = serde_json::from_slice(&bytes).unwrap();
        *file.pointer_mut("/pre_tokenizer").unwrap() =
            json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false});
        let merges = Tokenizer::from_bytes(&serde_json::to_vec(&file).unwrap(), "t").unwrap();
        for (text, request) in
            following(&mut asked, &said, SEEDS.prompts, Prompting::plain(&merges)).unwrap().iter().zip(&asked)
        {
            assert_eq!(merges.encode(text).unwrap().len() as u32, request.num_prefill_tokens);
        }
        let mut huge = requests((0..100).map(|index| 1_000_000 + index));
        assert!(following(&mut huge, &said, 1, Prompting::plain(&TOKENIZER)).unwrap().is_empty());
    }

    #[test]
    fn a_text_does_not_depend_on_the_texts_before_it() {
        let (mut long, mut short) = (requests([20, 30, 40]), requests([9, 30]));
        let long = synthetic(&mut long, 1, Prompting::plain(&TOKENIZER)).unwrap();
        assert_eq!(long[1], synthetic(&mut short, 1, Prompting::plain(&TOKENIZER)).unwrap()[1]);
    }

    #[test]
    fn a_file_of_prompts_is_read_strictly() {
        let dir = tempfile::tempdir().unwrap();
        let read = |text: &str| {
            std::fs::write(dir.path().join("p.jsonl"), text).unwrap();
            from_file("p.jsonl", 1, Some(Prompting::plain(&TOKENIZER)), dir.path())
                .map_err(|error| error.to_string())
        };
        assert_eq!(read("{\"text\": \".\", \"more\": [1]}\n").unwrap(), [(1, ".".to_owned())]);
        insta::assert_snapshot!(read("{\"text\": \"a\"}\n{\"text\": 7}\n").unwrap_err(), @"p.jsonl:2:10: invalid type: integer `7`, expected a string");
        insta::assert_snapshot!(read("{\"txt\": \"a\"}\n").unwrap_err(), @"p.jsonl:1:12: missing field `text`");
        insta::assert_snapshot!(read("{\"text\": \"\"}\n").unwrap_err(), @"p.jsonl:1, column `text`: has 0 tokens, not between 1 and 1048576");
        insta::assert_snapshot!(read("\n").unwrap_err(), @"p.jsonl:1:1: EOF while parsing a value");
        insta::assert_snapshot!(read("").unwrap_err(), @"p.jsonl has 0 prompts, the workload asks for 1 requests");
        insta::assert_snapshot!(read(&"[".repeat(100_000)).unwrap_err(), @"p.jsonl:1:1: an object is expected, not an array");
    }
}
