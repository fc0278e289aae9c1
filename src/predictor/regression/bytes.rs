//! Trained operators as bytes: eight bytes of magic, a format number, the digest of the rest, and the
//! rest: numbers in little-endian order, lists after their lengths.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::error::RegressionError;
use super::forest::{Forest, ForestOptions, MAX_TREES};
use super::interpolate::{Lattice, Line};
use super::linear::{Linear, LinearOptions, MAX_DEGREE, Term};
use super::model::Model;
use super::search::Candidate;
use super::train::{TrainedOperator, TrainedOperators};
use super::tree::{Node, Split, Tree};
use crate::profile::vidur::VidurOp;
use crate::store::Digest;

const MAGIC: [u8; 8] = *b"xp-train";
/// Raise it when the bytes, or the meaning of their numbers, change.
const FORMAT: u32 = 1;
const HEAD: usize = MAGIC.len() + 4 + 32;

fn damaged(problem: impl Into<String>) -> RegressionError {
    RegressionError::Bytes { problem: problem.into() }
}

pub(super) fn write(trained: &TrainedOperators) -> Vec<u8> {
    let mut body = Vec::new();
    write_length(&mut body, trained.operators.len());
    for (op, operator) in &trained.operators {
        write_length(&mut body, op.name().len());
        body.extend(op.name().as_bytes());
        write_operator(&mut body, operator);
    }
    let mut out = MAGIC.to_vec();
    out.extend(FORMAT.to_le_bytes());
    out.extend(Digest::of(&body).bytes());
    out.extend(body);
    out
}

fn write_length(out: &mut Vec<u8>, length: usize) {
    out.extend((length as u32).to_le_bytes());
}

fn write_floats(out: &mut Vec<u8>, values: &[f64]) {
    write_length(out, values.len());
    out.extend(values.iter().flat_map(|value| value.to_le_bytes()));
}

fn write_operator(out: &mut Vec<u8>, operator: &TrainedOperator) {
    match operator.cv_mape {
        Some(error) => {
            out.push(1);
            out.extend(error.to_le_bytes());
        }
        None => out.push(0),
    }
    match &operator.candidate {
        Candidate::Linear(options) => {
            out.extend([0, options.degree as u8]);
            let flags = [options.include_bias, options.interaction_only, options.fit_intercept];
            out.extend(flags.map(u8::from));
        }
        Candidate::Forest(options) => {
            out.push(1);
            for count in [options.n_estimators, options.max_depth, options.min_samples_split] {
                out.extend(count.to_le_bytes());
            }
        }
        Candidate::Interpolate => out.push(2),
    }
    match &operator.model {
        Model::Linear(linear) => {
            out.extend(linear.intercept.to_le_bytes());
            write_length(out, linear.terms.len());
            for term in &linear.terms {
                out.extend(term.powers);
                out.extend(term.coefficient.to_le_bytes());
            }
        }
        Model::Forest(forest) => {
            write_length(out, forest.trees.len());
            for tree in &forest.trees {
                write_length(out, tree.nodes.len());
                tree.nodes.iter().for_each(|node| write_node(out, node));
            }
        }
        Model::Lattice(lattice) => {
            write_floats(out, &lattice.firsts);
            for line in &lattice.lines {
                write_floats(out, &line.at);
                out.extend(line.ms.iter().flat_map(|ms| ms.to_le_bytes()));
            }
        }
    }
}

fn write_node(out: &mut Vec<u8>, node: &Node) {
    out.extend(node.ms.to_le_bytes());
    out.extend(node.rows.to_le_bytes());
    match node.split {
        None => out.push(0),
        Some(split) => {
            out.extend([1, split.feature]);
            out.extend(split.threshold.to_le_bytes());
            out.extend(split.left.to_le_bytes());
            out.extend(split.right.to_le_bytes());
        }
    }
}

/// Reads what [`write`] wrote.
pub(super) fn read(bytes: &[u8]) -> Result<TrainedOperators, RegressionError> {
    let Some((head, body)) = bytes.split_at_checked(HEAD) else { return Err(damaged("they are cut off")) };
    let Some(head) = head.strip_prefix(&MAGIC) else { return Err(damaged("they are something else")) };
    let (format, digest) = head.split_at(4);
    let format = u32::from_le_bytes([format[0], format[1], format[2], format[3]]);
    if format != FORMAT {
        return Err(damaged(format!("their format is {format}, and this xp's {FORMAT}")));
    }
    if digest != Digest::of(body).bytes() {
        return Err(damaged("their digest is not that of their content"));
    }
    read_body(body)
}

/// Reads what follows the digest, which a stranger may have computed as well.
fn read_body(body: &[u8]) -> Result<TrainedOperators, RegressionError> {
    let mut bytes = Cursor { bytes: body };
    let mut operators = BTreeMap::new();
    for _ in 0..bytes.length(1)? {
        let length = bytes.length(1)?;
        let name = str::from_utf8(bytes.take(length)?).unwrap_or_default();
        let op = VidurOp::from_name(name).ok_or_else(|| damaged("an operator is unknown"))?;
        if operators.last_key_value().is_some_and(|(last, _)| *last >= op) {
            return Err(damaged("operators are out of order"));
        }
        operators.insert(op, Arc::new(read_operator(&mut bytes, op.features().len())?));
    }
    match bytes.bytes {
        [] => Ok(TrainedOperators { operators }),
        _ => Err(damaged("there is more than the operators")),
    }
}

fn read_operator(bytes: &mut Cursor<'_>, features: usize) -> Result<TrainedOperator, RegressionError> {
    let cv_mape = if bytes.flag()? { Some(bytes.float()?) } else { None };
    let (candidate, model) = match bytes.byte()? {
        0 => {
            let degree = bytes.byte()?.into();
            let [include_bias, interaction_only, fit_intercept] =
                [bytes.flag()?, bytes.flag()?, bytes.flag()?];
            let options = LinearOptions { degree, include_bias, interaction_only, fit_intercept };
            options.check().map_err(|error| damaged(error.to_string()))?;
            (Candidate::Linear(options), Model::Linear(read_linear(bytes, features)?))
        }
        1 => {
            let [n_estimators, max_depth, min_samples_split] =
                [bytes.count()?, bytes.count()?, bytes.count()?];
            let options = ForestOptions { n_estimators, max_depth, min_samples_split };
            options.check().map_err(|error| damaged(error.to_string()))?;
            (Candidate::Forest(options), Model::Forest(read_forest(bytes, features)?))
        }
        2 => (Candidate::Interpolate, Model::Lattice(read_lattice(bytes, features)?)),
        _ => return Err(damaged("a regressor is unknown")),
    };
    Ok(TrainedOperator { candidate, cv_mape, model })
}

fn read_linear(bytes: &mut Cursor<'_>, features: usize) -> Result<Linear, RegressionError> {
    let intercept = bytes.float()?;
    let mut terms = Vec::new();
    for _ in 0..bytes.length(10)? {
        let powers = [bytes.byte()?, bytes.byte()?];
        if u32::from(powers[0]) + u32::from(powers[1]) > MAX_DEGREE || (features < 2 && powers[1] > 0) {
            return Err(damaged("a term has an impossible degree"));
        }
        terms.push(Term { powers, coefficient: bytes.float()? });
    }
    Ok(Linear { terms, intercept })
}

fn read_forest(bytes: &mut Cursor<'_>, features: usize) -> Result<Forest, RegressionError> {
    let count = bytes.length(4)?;
    if count == 0 || count > MAX_TREES as usize {
        return Err(damaged("a forest has an impossible number of trees"));
    }
    let mut trees = Vec::new();
    for _ in 0..count {
        let count = bytes.length(13)?;
        let mut nodes = Vec::with_capacity(count);
        for at in 0..count {
            let (ms, rows) = (bytes.float()?, bytes.count()?);
            let split = if bytes.flag()? { Some(read_split(bytes, features, at, count)?) } else { None };
            nodes.push(Node { ms, rows, split });
        }
        if nodes.is_empty() {
            return Err(damaged("a tree has no nodes"));
        }
        trees.push(Tree { nodes });
    }
    Ok(Forest { trees })
}

/// Children come behind their node, so that every way down ends.
fn read_split(
    bytes: &mut Cursor<'_>,
    features: usize,
    at: usize,
    count: usize,
) -> Result<Split, RegressionError> {
    let split = Split {
        feature: bytes.byte()?,
        threshold: bytes.float()?,
        left: bytes.count()?,
        right: bytes.count()?,
    };
    let behind = |child: u32| (at + 1..count).contains(&(child as usize));
    if usize::from(split.feature) >= features || !behind(split.left) || !behind(split.right) {
        return Err(damaged("a tree is none"));
    }
    Ok(split)
}

fn read_lattice(bytes: &mut Cursor<'_>, features: usize) -> Result<Lattice, RegressionError> {
    let firsts = bytes.ascending()?;
    let mut lines = Vec::new();
    for _ in &firsts {
        let at = bytes.ascending()?;
        let ms = at.iter().map(|_| bytes.float()).collect::<Result<Vec<_>, _>>()?;
        lines.push(Line { at, ms });
    }
    Ok(Lattice { firsts, lines, features: features as u8 })
}

/// Bytes that are still to read.
struct Cursor<'a> {
    bytes: &'a [u8],
}

impl<'a> Cursor<'a> {
    fn take(&mut self, length: usize) -> Result<&'a [u8], RegressionError> {
        let (taken, rest) = self.bytes.split_at_checked(length).ok_or_else(|| damaged("they are cut off"))?;
        self.bytes = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], RegressionError> {
        let mut out = [0; N];
        out.copy_from_slice(self.take(N)?);
        Ok(out)
    }

    fn byte(&mut self) -> Result<u8, RegressionError> {
        Ok(self.array::<1>()?[0])
    }

    fn flag(&mut self) -> Result<bool, RegressionError> {
        match self.byte()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(damaged("a flag is neither 0 nor 1")),
        }
    }

    fn count(&mut self) -> Result<u32, RegressionError> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    /// The length of a list whose entries have `size` bytes at least: no more than there are bytes for.
    fn length(&mut self, size: usize) -> Result<usize, RegressionError> {
        let length = self.count()? as usize;
        if length > self.bytes.len() / size { Err(damaged("they are cut off")) } else { Ok(length) }
    }

    fn float(&mut self) -> Result<f64, RegressionError> {
        let value = f64::from_le_bytes(self.array()?);
        if value.is_finite() { Ok(value) } else { Err(damaged("a number is none")) }
    }

    /// A list of numbers, one at least, each above the one before.
    fn ascending(&mut self) -> Result<Vec<f64>, RegressionError> {
        let length = self.length(8)?;
        let values = (0..length).map(|_| self.float()).collect::<Result<Vec<_>, _>>()?;
        if values.is_empty() || values.windows(2).any(|pair| pair[0] >= pair[1]) {
            return Err(damaged("measured places do not ascend"));
        }
        Ok(values)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::predictor::regression::RegressorGrid;
    use crate::profile::vidur::{TrainingRow, TrainingSet};

    fn body(grid: &RegressorGrid) -> Vec<u8> {
        let mut set = TrainingSet::default();
        for i in 0..30_u32 {
            let x = [f64::from(i % 6), f64::from(i / 6) * 64.0];
            set.push(VidurOp::AttnDecode, TrainingRow { x, ms: 1.0 + x[0] * x[1] });
        }
        TrainedOperators::train(&set, grid, 1).unwrap().to_bytes()[HEAD..].to_vec()
    }

    proptest! {
        /// Whoever edits the bytes may compute the digest anew: what is read then still predicts.
        #[test]
        fn hostile_bytes_are_refused_or_harmless(
            which in 0_usize..3,
            edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
            cut in any::<Option<prop::sample::Index>>(),
        ) {
            let grid = match which {
                0 => RegressorGrid::Linear {
                    degree: vec![2],
                    include_bias: vec![true],
                    interaction_only: vec![false],
                    fit_intercept: vec![true],
                },
                1 => RegressorGrid::Forest {
                    n_estimators: vec![3],
                    max_depth: vec![5],
                    min_samples_split: vec![2],
                },
                _ => RegressorGrid::Interpolate,
            };
            let mut bytes = body(&grid);
            for (at, value) in edits {
                let at = at.index(bytes.len());
                bytes[at] = value;
            }
            if let Some(cut) = cut {
                bytes.truncate(cut.index(bytes.len()));
            }
            if let Ok(trained) = read_body(&bytes) {
                for (_, operator) in trained.operators() {
                    for x in [0.0, 3.5, 1e300] {
                        prop_assert!(operator.predict_ms([x, x]).is_finite());
                    }
                }
                let again = TrainedOperators::from_bytes(&trained.to_bytes());
                prop_assert_eq!(again, Ok(trained));
            }
        }

        #[test]
        fn any_bytes_are_read_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(read(&bytes).is_err());
            let _ = read_body(&bytes);
        }
    }
}
