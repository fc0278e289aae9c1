//! Byte-level BPE training. The tokenizers crate has a trainer too; where a
//! token can be merged in two ways its result may depend on the order of a
//! hash map, and a lock pins these bytes.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, HashMap};

use serde_json::{Map, Value, json};

use super::TokenizerError;
use super::corpus;

/// The one special token; it has id 0.
const END_OF_TEXT: &str = "<|endoftext|>";

/// A token of each byte and the special one.
const SMALLEST: u32 = 257;

/// Largest vocabulary the training text is rich enough for.
pub(super) const LARGEST: u32 = 4096;

/// A merge must be worth it.
const LEAST_COUNT: i64 = 2;

/// Trains a byte-level BPE on text of the project's own (prose and generated sentences): the
/// bytes of its `tokenizer.json`, the same on every machine and in every run.
///
/// `vocab_size` is an upper bound; no more than 4,096 tokens are learned, which a model with more
/// rows in its embedding just never sees. Sennrich et al., "Neural machine translation of rare
/// words with subword units", ACL 2016; bytes as characters as in GPT-2.
///
/// # Errors
/// A vocabulary below 257 does not hold the bytes.
pub fn train_synthetic(vocab_size: u32) -> Result<Vec<u8>, TokenizerError> {
    if vocab_size < SMALLEST {
        return Err(TokenizerError::Vocabulary { wanted: vocab_size, least: SMALLEST });
    }
    let vocab_size = vocab_size.min(LARGEST);
    // A small vocabulary needs little text, and tests train one often.
    let bytes_per_token = if vocab_size > 2048 { 120 } else { 64 };
    let text = corpus::training_text(vocab_size as usize * bytes_per_token);
    let (tokens, merges) = train(&word_counts(&text), vocab_size as usize);
    Ok(tokenizer_json(&tokens, &merges))
}

/// Words of the text as the pre-tokenizer splits them, each with its leading space, and their counts.
fn word_counts(text: &str) -> BTreeMap<&str, i64> {
    let class = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' => 0,
        b'0'..=b'9' => 1,
        b' ' => 2,
        _ => 3,
    };
    let bytes = text.as_bytes();
    let mut counts = BTreeMap::new();
    let mut start = 0;
    for at in 1..=bytes.len() {
        let joined = at < bytes.len()
            && (class(bytes[at]) == class(bytes[at - 1]) || (at - start == 1 && bytes[start] == b' '));
        if !joined {
            *counts.entry(&text[start..at]).or_insert(0) += 1;
            start = at;
        }
    }
    counts
}

/// The printable character that stands for a byte (GPT-2's table).
fn byte_char(byte: u8) -> char {
    let printable = |byte: u8| matches!(byte, b'!'..=b'~' | 0xA1..=0xAC | 0xAE..=0xFF);
    if printable(byte) {
        return char::from(byte);
    }
    let rank = (0..byte).filter(|&other| !printable(other)).count() as u32;
    char::from_u32(256 + rank).unwrap_or('?')
}

type Pair = (u32, u32);

/// What is learned: tokens in the order of their ids, and merges in the order of their ranks.
type Learned = (Vec<String>, Vec<Pair>);

/// Pairs of neighbours, how often each occurs, and in which words.
#[derive(Default)]
struct Pairs {
    counts: HashMap<Pair, i64>,
    places: HashMap<Pair, Vec<usize>>,
    /// Commonest first; of equally common pairs the one with the smaller ids. Entries go stale.
    heap: BinaryHeap<(i64, Reverse<Pair>)>,
}

impl Pairs {
    fn add(&mut self, word: &[u32], count: i64, place: usize) {
        for pair in word.windows(2).map(|pair| (pair[0], pair[1])) {
            let total = self.counts.entry(pair).or_insert(0);
            *total += count;
            if count > 0 {
                self.places.entry(pair).or_default().push(place);
                self.heap.push((*total, Reverse(pair)));
            }
        }
    }

    /// The commonest pair.
    fn best(&mut self) -> Option<Pair> {
        while let Some((count, Reverse(pair))) = self.heap.pop() {
            let current = self.counts.get(&pair).copied().unwrap_or(0);
            if current == count {
                return (count >= LEAST_COUNT).then_some(pair);
            }
            // Every rise pushed an entry of its own; only a fall leaves none that is right.
            if current < count && current >= LEAST_COUNT {
                self.heap.push((current, Reverse(pair)));
            }
        }
        None
    }
}

fn train(counts: &BTreeMap<&str, i64>, vocab_size: usize) -> Learned {
    let mut tokens = vec![END_OF_TEXT.to_owned()];
    tokens.extend((0..=255).map(|byte| byte_char(byte).to_string()));
    let mut ids: HashMap<String, u32> = tokens.iter().cloned().zip(0..).collect();
    let mut merges = Vec::new();
    let mut words: Vec<(Vec<u32>, i64)> = counts
        .iter()
        .map(|(word, count)| (word.bytes().map(|byte| u32::from(byte) + 1).collect(), *count))
        .collect();
    let mut pairs = Pairs::default();
    for (place, (word, count)) in words.iter().enumerate() {
        pairs.add(word, *count, place);
    }
    while tokens.len() < vocab_size {
        let Some(pair) = pairs.best() else { break };
        let text = format!("{}{}", tokens[pair.0 as usize], tokens[pair.1 as usize]);
        let id = *ids.entry(text.clone()).or_insert_with(|| {
            tokens.push(text);
            tokens.len() as u32 - 1
        });
        merges.push(pair);
        let mut places = pairs.places.remove(&pair).unwrap_or_default();
        places.sort_unstable();
        places.dedup();
        for place in places {
            let (word, count) = &mut words[place];
            let merged = merge(word, pair, id);
            if merged.len() < word.len() {
                pairs.add(word, -*count, place);
                pairs.add(&merged, *count, place);
                *word = merged;
            }
        }
    }
    (tokens, merges)
}

/// The word with every occurrence of the pair replaced, from the left.
fn merge(word: &[u32], pair: Pair, id: u32) -> Vec<u32> {
    let mut out = Vec::with_capacity(word.len());
    let mut at = 0;
    while at < word.len() {
        if at + 1 < word.len() && (word[at], word[at + 1]) == pair {
            out.push(id);
            at += 2;
        } else {
            out.push(word[at]);
            at += 1;
        }
    }
    out
}

fn tokenizer_json(tokens: &[String], merges: &[Pair]) -> Vec<u8> {
    let vocab: Map<String, Value> =
        tokens.iter().enumerate().map(|(id, token)| (token.clone(), id.into())).collect();
    let merges: Vec<[&str; 2]> =
        merges.iter().map(|&(a, b)| [tokens[a as usize].as_str(), tokens[b as usize].as_str()]).collect();
    let byte_level = |prefix: bool| json!({"type": "ByteLevel", "add_prefix_space": prefix, "trim_offsets": true, "use_regex": true});
    let value = json!({
        "version": "1.0",
        "truncation": null,
        "padding": null,
        "added_tokens": [{
            "id": 0, "content": END_OF_TEXT, "single_word": false, "lstrip": false, "rstrip": false,
            "normalized": false, "special": true,
        }],
        "normalizer": null,
        "pre_tokenizer": byte_level(false),
        "post_processor": null,
        "decoder": byte_level(true),
        "model": {
            "type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
            "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false, "ignore_merges": false,
            "vocab": vocab, "merges": merges,
        },
    });
    let mut bytes = serde_json::to_vec_pretty(&value).expect("a JSON value serializes");
    bytes.push(b'\n');
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Tokenizer;
    use crate::store::Digest;

    #[test]
    fn the_same_bytes_in_every_run_and_on_every_machine() {
        // Committed locks pin these digests.
        let digests = [300, 1024, 2048, 4096].map(|size| {
            let bytes = train_synthetic(size).unwrap();
            assert_eq!(bytes, train_synthetic(size).unwrap());
            assert_eq!(Tokenizer::from_bytes(&bytes, "t").unwrap().vocab_size(), size);
            Digest::of(&bytes).to_string()
        });
        insta::assert_snapshot!(digests.join("\n"), @r"
        fc261661fc55deca7bca911ed6130e4ae3f30267df781c8540580e52bec7a247
        06572ef6eaa6983376322a897a11c5d6c0b65b22c3e77ebc408e6457639f94a4
        3bf2872c29fe5905c637b128aa9e2cc0e8fc1ddf3bb0ff074c57398b68e8bbb9
        70ff90b2d5fbeca80c20de3a7e6c6e0a2acd85930f984e52d4c1ef4adb933d0d
        ");
        assert_eq!(train_synthetic(151_936).unwrap(), train_synthetic(4096).unwrap());
        assert!(matches!(train_synthetic(256), Err(TokenizerError::Vocabulary { .. })));
    }

    #[test]
    fn words_are_those_of_the_pre_tokenizer() {
        let counts = word_counts("The cat, number 12, the cat.");
        let words: Vec<_> = counts.into_iter().collect();
        assert_eq!(
            words,
            [(" 12", 1), (" cat", 2), (" number", 1), (" the", 1), (",", 2), (".", 1), ("The", 1)]
        );
    }

    #[test]
    fn merges_go_by_count_and_then_by_id() {
        // "ab" three times, "bc" three times: the smaller ids win.
        let counts = BTreeMap::from([("ab", 2), ("bc", 2), ("abc", 1)]);
        let (tokens, merges) = train(&counts, 258);
        assert_eq!(tokens[257], "ab");
        assert_eq!(merges, [(98, 99)]);
        assert_eq!(merge(&[1, 1, 1], (1, 1), 9), [9, 1]);
    }

    #[test]
    fn a_learned_word_is_one_token() {
        let bytes = train_synthetic(4096).unwrap();
        let tokenizer = Tokenizer::from_bytes(&bytes, "t").unwrap();
        for word in [" the", " engine", " token", "."] {
            assert_eq!(tokenizer.encode(word).unwrap().len(), 1, "{word:?}");
        }
    }
}
