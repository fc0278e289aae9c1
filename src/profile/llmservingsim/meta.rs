//! `meta.yaml`: what was profiled, on what, and over which grid.

use std::path::Path;
use std::str::FromStr;

use super::KernelProfileError;
use super::yaml::{self, Node, Value};

/// Most values of an axis: doubling to 2³² takes 33.
const MAX_VALUES: usize = 256;
/// Largest value of an axis, and of a limit of the engine.
const MAX_COUNT: u32 = 1 << 24;

/// What `meta.yaml` says, as far as it changes a prediction or names what was measured.
#[derive(Debug, Clone, PartialEq)]
pub struct KernelProfileMeta {
    /// Name of the model as its profiler was told; empty when the file has none.
    pub model: String,
    /// Label of the card in the folder's name, and the driver's name of it.
    pub hardware: String,
    pub gpu: String,
    /// Number formats of weights and KV cache: `bf16`, `fp8-kvfp8`, …
    pub variant: String,
    /// Version of the engine whose kernels were timed.
    pub vllm_version: String,
    /// Degrees of tensor parallelism with a folder, ascending.
    pub tp_degrees: Vec<u32>,
    /// Sequences of a step that the profiled engine could hold.
    pub max_num_seqs: u32,
    /// Tokens of a step that were profiled.
    pub max_num_batched_tokens: u32,
    /// Whether uneven KV lengths were profiled; without, no correction is made for them.
    pub skew: bool,
    pub(super) grid: DeclaredGrid,
}

/// The axes of the attention grid, each ascending.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct DeclaredGrid {
    /// Tokens of a prefill chunk, above 0.
    pub chunks: Vec<u32>,
    /// Decoding sequences, above 0.
    pub n_decode: Vec<u32>,
    /// Tokens in the KV cache, above 0; a chunk has 0 besides.
    pub kv: Vec<u32>,
}

struct Reader<'a> {
    path: &'a Path,
    root: Node,
}

/// Reads the text of `meta.yaml`.
pub(super) fn parse(path: &Path, text: &str) -> Result<KernelProfileMeta, KernelProfileError> {
    let reader = Reader { path, root: yaml::parse(path, text)? };
    let degrees = reader.need(&["tp_degrees"])?;
    let mut tp_degrees = match &degrees.value {
        Value::List(items) => items.iter().map(|item| reader.count(item)).collect::<Result<Vec<u32>, _>>()?,
        _ => return Err(reader.wrong(degrees, "a list of degrees, as in `tp_degrees: [1, 2]`")),
    };
    tp_degrees.sort_unstable();
    tp_degrees.dedup();
    Ok(KernelProfileMeta {
        model: reader.text(&["model"])?,
        hardware: reader.text(&["hardware"])?,
        gpu: reader.text(&["gpu"])?,
        variant: reader.text(&["variant"])?,
        vllm_version: reader.text(&["vllm_version"])?,
        tp_degrees,
        max_num_seqs: reader.count(reader.need(&["engine_effective", "max_num_seqs"])?)?,
        max_num_batched_tokens: reader
            .count(reader.need(&["engine_effective", "max_num_batched_tokens"])?)?,
        skew: match reader.find(&["skew_profile", "enabled"]) {
            None => false,
            Some(node) => match &node.value {
                Value::Scalar(word) if word == "true" => true,
                Value::Scalar(word) if word == "false" => false,
                _ => return Err(reader.wrong(node, "`true` or `false`")),
            },
        },
        grid: DeclaredGrid {
            chunks: reader.axis("chunks")?,
            n_decode: reader.axis("n_decode")?,
            kv: reader.axis("kv")?,
        },
    })
}

impl Reader<'_> {
    fn find(&self, keys: &[&str]) -> Option<&Node> {
        keys.iter().try_fold(&self.root, |node, key| node.get(key))
    }

    fn need(&self, keys: &[&str]) -> Result<&Node, KernelProfileError> {
        let mut node = &self.root;
        for key in keys {
            node = node.get(key).ok_or_else(|| {
                let right = format!("restore `{}`, or profile again", keys.join("."));
                KernelProfileError::invalid(self.path, node.at, format!("there is no `{key}`"), right)
            })?;
        }
        Ok(node)
    }

    fn wrong(&self, node: &Node, right: &str) -> KernelProfileError {
        let found = match &node.value {
            Value::Scalar(text) => format!("{:?} is not what stands here", shortened(text)),
            Value::List(_) => "a list is not what stands here".to_owned(),
            Value::Map(_) => "a map is not what stands here".to_owned(),
        };
        KernelProfileError::invalid(self.path, node.at, found, format!("it is {right}"))
    }

    /// A scalar that is only shown; empty when there is none.
    fn text(&self, keys: &[&str]) -> Result<String, KernelProfileError> {
        match self.find(keys).map(|node| (node, &node.value)) {
            None => Ok(String::new()),
            Some((_, Value::Scalar(text))) => Ok(shortened(text).to_owned()),
            Some((node, _)) => Err(self.wrong(node, "a text")),
        }
    }

    fn count(&self, node: &Node) -> Result<u32, KernelProfileError> {
        let parsed = match &node.value {
            Value::Scalar(text) => u32::from_str(text).ok().filter(|count| (1..=MAX_COUNT).contains(count)),
            _ => None,
        };
        parsed.ok_or_else(|| self.wrong(node, &format!("a count between 1 and {MAX_COUNT}")))
    }

    /// An axis of the attention grid in the profiler's shorthand, 0 left out: `0, 16-2048 x2` is 0, then
    /// 16 doubling to 2048, the last value being there whether the doubling meets it or not.
    fn axis(&self, name: &str) -> Result<Vec<u32>, KernelProfileError> {
        let node = self.need(&["attention_grid", name])?;
        let right = "values and ranges such as `0, 16-2048 x2`";
        let wrong = || self.wrong(node, right);
        let mut values = Vec::new();
        match &node.value {
            Value::Scalar(text) => {
                for part in text.split(',') {
                    expand(part.trim(), &mut values).ok_or_else(wrong)?;
                }
            }
            Value::List(items) => {
                for item in items {
                    let Value::Scalar(text) = &item.value else { return Err(self.wrong(item, right)) };
                    expand(text.trim(), &mut values).ok_or_else(|| self.wrong(item, right))?;
                }
            }
            Value::Map(_) => return Err(wrong()),
        }
        values.sort_unstable();
        values.dedup();
        values.retain(|value| *value > 0);
        if values.len() < 2 || values.len() > MAX_VALUES {
            return Err(self.wrong(node, &format!("2 to {MAX_VALUES} values above 0")));
        }
        Ok(values)
    }
}

/// One value, or `first-last xFACTOR`. None when it is neither, or too long.
fn expand(part: &str, values: &mut Vec<u32>) -> Option<()> {
    let count = |text: &str| u32::from_str(text.trim()).ok().filter(|value| *value <= MAX_COUNT);
    let Some((first, rest)) = part.split_once('-') else {
        values.push(count(part)?);
        return Some(());
    };
    let (last, factor) = rest.split_once('x')?;
    let (first, last) = (count(first)?, count(last)?);
    let factor = f64::from_str(factor.trim()).ok().filter(|factor| *factor > 1.0 && *factor <= 1e6)?;
    if first == 0 || first > last {
        return None;
    }
    // The profiler multiplies without rounding in between, and halves round to even.
    let mut next = f64::from(first);
    while next <= f64::from(last) {
        let value = next.round_ties_even() as u32;
        if values.last() != Some(&value) {
            values.push(value);
        }
        if values.len() > MAX_VALUES {
            return None;
        }
        next *= factor;
    }
    if values.last() != Some(&last) {
        values.push(last);
    }
    Some(())
}

/// At most 200 characters.
fn shortened(text: &str) -> &str {
    text.char_indices().nth(200).map_or(text, |(end, _)| &text[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shorthand_of_axes_is_expanded() {
        let axis = |text: &str| {
            let mut values = Vec::new();
            text.split(',').try_for_each(|part| expand(part.trim(), &mut values).ok_or(())).ok()?;
            Some(values)
        };
        assert_eq!(axis("0, 16-256 x2"), Some(vec![0, 16, 32, 64, 128, 256]));
        assert_eq!(axis("1-5 x2.0"), Some(vec![1, 2, 4, 5]));
        assert_eq!(axis("16-82 x1.5"), Some(vec![16, 24, 36, 54, 81, 82]));
        assert_eq!(axis("3, 9"), Some(vec![3, 9]));
        for bad in
            ["", "16-", "16-8 x2", "0-8 x2", "16-2048", "16-2048 x1", "16-2048 xNaN", "1-9999999 x1.0001"]
        {
            assert_eq!(axis(bad), None, "{bad}");
        }
    }
}
