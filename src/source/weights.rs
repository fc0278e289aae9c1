//! Safetensors files, checked by their headers: no weight is read.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::path::Path;

use safetensors::Dtype;
use safetensors::tensor::Metadata;
use serde::Deserialize;

use super::SourceError;
use super::error::json_place;
use super::tensors::tensor_table;
use crate::catalog::ModelConfig;
use crate::store::{open_file, read_text_bounded};

pub(super) const INDEX: &str = "model.safetensors.index.json";
pub(super) const SINGLE: &str = "model.safetensors";

/// Largest header, in bytes; the format's own limit.
const MAX_HEADER: u64 = 100_000_000;

/// Largest index, in bytes.
const MAX_INDEX: u64 = 64 << 20;

/// Most shards an index may name.
const MAX_SHARDS: usize = 10_000;

/// The names of the weight files in `folder`, sorted; `shown` names it in errors.
pub(super) fn find(folder: &Path, shown: &str) -> Result<Vec<String>, SourceError> {
    let index = folder.join(INDEX);
    if index.exists() {
        return shards(&format!("{shown}/{INDEX}"), &read_text_bounded(&index, MAX_INDEX)?);
    }
    let entries = std::fs::read_dir(folder).map_err(|error| SourceError::io(folder, error))?;
    let mut found = Vec::new();
    for entry in entries {
        let name = entry.map_err(|error| SourceError::io(folder, error))?.file_name();
        if let Some(name) = name.to_str().filter(|name| name.ends_with(".safetensors")) {
            found.push(name.to_owned());
        }
    }
    if found.iter().any(|name| name == SINGLE) {
        return Ok(vec![SINGLE.to_owned()]);
    }
    match found.len() {
        1 => Ok(found),
        n => {
            let message = if n == 0 {
                "has no *.safetensors".to_owned()
            } else {
                format!("has {n} *.safetensors and no {INDEX}")
            };
            Err(SourceError::Weights { folder: shown.to_owned(), message })
        }
    }
}

/// The files that an index names.
pub(crate) fn shards(file: &str, text: &str) -> Result<Vec<String>, SourceError> {
    #[derive(Deserialize)]
    struct Index {
        weight_map: BTreeMap<String, String>,
    }
    let index: Index = serde_json::from_str(text).map_err(|error| {
        let (line, column, message) = json_place(&error);
        SourceError::Index { file: file.to_owned(), line, column, message }
    })?;
    let names: BTreeSet<String> = index.weight_map.into_values().collect();
    let place = |name: &str, message: String| {
        let written = serde_json::to_string(name).unwrap_or_default();
        let at = text.find(&written).unwrap_or(0);
        let before = &text[..at];
        let column = at - before.rfind('\n').map_or(0, |newline| newline + 1) + 1;
        SourceError::Index { file: file.to_owned(), line: before.matches('\n').count() + 1, column, message }
    };
    for name in &names {
        let plain = name.ends_with(".safetensors")
            && !name.starts_with('.')
            && name.len() <= 200
            && name.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c));
        if !plain {
            return Err(place(name, format!("{name:?} is not the name of a shard beside the index")));
        }
    }
    if names.is_empty() || names.len() > MAX_SHARDS {
        return Err(place(
            "weight_map",
            format!("names {} shards, not between 1 and {MAX_SHARDS}", names.len()),
        ));
    }
    Ok(names.into_iter().collect())
}

/// Checks the headers of the weight files, and that they hold each tensor of the config once, in
/// its shape, as F32, F16 or BF16. Tensors that the model does not use are let be.
pub(super) fn check(
    folder: &Path,
    shown: &str,
    names: &[String],
    config: &ModelConfig,
) -> Result<(), SourceError> {
    let mut tensors: BTreeMap<String, (&str, Dtype, Vec<u64>)> = BTreeMap::new();
    for name in names {
        let file = format!("{shown}/{name}");
        let metadata = header(&folder.join(name), &file)?;
        for (tensor, info) in metadata.tensors().into_iter().collect::<BTreeMap<_, _>>() {
            let shape = info.shape.iter().map(|&size| size as u64).collect();
            if let Some((other, ..)) = tensors.insert(tensor.clone(), (name, info.dtype, shape)) {
                return Err(SourceError::Tensor { file, tensor, message: format!("is in {other} too") });
            }
        }
    }
    for wanted in tensor_table(config) {
        let error = |name: &str, message: String| SourceError::Tensor {
            file: if name.is_empty() { shown.to_owned() } else { format!("{shown}/{name}") },
            tensor: wanted.name.clone(),
            message,
        };
        let Some((name, dtype, shape)) = tensors.get(&wanted.name) else {
            return Err(error("", "is missing".to_owned()));
        };
        if *shape != wanted.shape {
            return Err(error(
                name,
                format!("has shape {shape:?}, config.json calls for {:?}", wanted.shape),
            ));
        }
        if !matches!(dtype, Dtype::F32 | Dtype::F16 | Dtype::BF16) {
            return Err(error(name, format!("is {dtype:?}, not F32, F16 or BF16")));
        }
    }
    Ok(())
}

/// Reads the header of a file.
fn header(path: &Path, file: &str) -> Result<Metadata, SourceError> {
    let io = |error| SourceError::io(path, error);
    let reader = open_file(path).map_err(io)?;
    let size = reader.metadata().map_err(io)?.len();
    parse_header(reader, size, path, file)
}

/// Reads the header of `size` bytes: eight bytes of length, and JSON. The library checks that the
/// tensors fill the data without gap or overlap and have the size of their shapes; we check both lengths
/// against the file before anything is allocated.
pub(crate) fn parse_header(
    mut reader: impl Read,
    size: u64,
    path: &Path,
    file: &str,
) -> Result<Metadata, SourceError> {
    let io = |error| SourceError::io(path, error);
    let bad = |place: &'static str, message: String| SourceError::Safetensors {
        file: file.to_owned(),
        place,
        message,
    };
    if size < 8 {
        return Err(bad("byte 0", format!("the file has {size} bytes, and its header's length alone has 8")));
    }
    let mut length = [0; 8];
    reader.read_exact(&mut length).map_err(io)?;
    let length = u64::from_le_bytes(length);
    if length > MAX_HEADER || length > size - 8 {
        return Err(bad(
            "byte 0",
            format!("says its header has {length} bytes; the file has {size}, and {MAX_HEADER} is the limit"),
        ));
    }
    let mut text = Vec::new();
    reader.take(length).read_to_end(&mut text).map_err(io)?;
    let metadata: Metadata =
        serde_json::from_slice(&text).map_err(|error| bad("header", error.to_string()))?;
    let end = metadata.tensors().values().map(|info| info.data_offsets.1 as u64).max().unwrap_or(0);
    let data = size - 8 - length;
    if end != data {
        return Err(bad(
            "header",
            format!("its tensors end at byte {end} of the data, the file has {data} bytes of it"),
        ));
    }
    Ok(metadata)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn file(header: &str, data: usize) -> Vec<u8> {
        let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
        bytes.extend(header.as_bytes());
        bytes.resize(bytes.len() + data, 0);
        bytes
    }

    fn read(bytes: &[u8]) -> Result<Metadata, String> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("m.safetensors");
        std::fs::write(&path, bytes).unwrap();
        header(&path, "m.safetensors").map_err(|error| error.to_string())
    }

    #[test]
    fn headers_that_lie_are_refused() {
        let good = r#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"b":{"dtype":"BF16","shape":[1,2],"data_offsets":[8,12]}}"#;
        assert_eq!(read(&file(good, 12)).unwrap().tensors().len(), 2);
        let cases = [
            read(b"1234567"),
            read(&(2u64 << 30).to_le_bytes()),
            read(&u64::MAX.to_le_bytes()),
            read(&file(good, 11)),
            read(&file(good, 13)),
            read(&file(&good.replace("[8,12]", "[4,8]"), 8)),
            read(&file(&good.replace("[8,12]", "[12,16]"), 16)),
            read(&file(&good.replace("[8,12]", "[8,4]"), 8)),
            read(&file(&good.replace("[1,2]", "[1,3]"), 12)),
            read(&file(&good.replace("[1,2]", "[18446744073709551615,2]"), 12)),
            read(&file(&good.replace("BF16", "BF17"), 12)),
            read(&file(&good.replace("[1,2]", "[-1,2]"), 12)),
            read(&file(&good[..20], 0)),
            read(&file(&"[".repeat(100_000), 0)),
        ];
        let found: Vec<String> = cases.into_iter().map(Result::unwrap_err).collect();
        insta::assert_snapshot!(found.join("\n"), @r"
        m.safetensors, byte 0: the file has 7 bytes, and its header's length alone has 8
        m.safetensors, byte 0: says its header has 2147483648 bytes; the file has 8, and 100000000 is the limit
        m.safetensors, byte 0: says its header has 18446744073709551615 bytes; the file has 8, and 100000000 is the limit
        m.safetensors, header: its tensors end at byte 12 of the data, the file has 11 bytes of it
        m.safetensors, header: its tensors end at byte 12 of the data, the file has 13 bytes of it
        m.safetensors, header: invalid offset for tensor `b`
        m.safetensors, header: invalid offset for tensor `b`
        m.safetensors, header: invalid offset for tensor `b`
        m.safetensors, header: invalid shape, data type, or offset for tensor
        m.safetensors, header: overflow computing buffer size from shape and/or element type
        m.safetensors, header: unknown variant `BF17`, expected one of `BOOL`, `F4`, `F6_E2M3`, `F6_E3M2`, `U8`, `I8`, `F8_E5M2`, `F8_E4M3`, `F8_E8M0`, `F8_E4M3FNUZ`, `F8_E5M2FNUZ`, `I16`, `U16`, `F16`, `BF16`, `I32`, `U32`, `F32`, `C64`, `F64`, `I64`, `U64` at line 1 column 111
        m.safetensors, header: invalid value: integer `-1`, expected usize at line 1 column 112
        m.safetensors, header: EOF while parsing a value at line 1 column 20
        m.safetensors, header: invalid type: sequence, expected struct HashMetadata at line 1 column 0
        ");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]

        #[test]
        fn mutated_files_never_panic(at in 0usize..200, byte: u8, cut: bool) {
            let mut bytes = file(r#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}"#, 8);
            let at = at % bytes.len();
            bytes[at] = byte;
            bytes.truncate(if cut { at } else { bytes.len() });
            let _ = read(&bytes);
            let _ = shards("i.json", &String::from_utf8_lossy(&bytes[8.min(bytes.len())..]));
        }
    }

    #[test]
    fn an_index_names_shards_beside_it_and_nothing_else() {
        let index = |name: &str| {
            shards(
                "i.json",
                &format!(
                    "{{\n  \"metadata\": {{}},\n  \"weight_map\": {{\"a\": {name:?}, \"b\": \"x.safetensors\"}}\n}}"
                ),
            )
        };
        assert_eq!(index("model-00001-of-00002.safetensors").unwrap().len(), 2);
        for bad in [
            "../m.safetensors",
            "/m.safetensors",
            "a/b.safetensors",
            "..safetensors",
            "m.bin",
            ".safetensors",
            "a\\b.safetensors",
            "",
        ] {
            let found = index(bad).unwrap_err().to_string();
            assert!(found.starts_with("i.json:3:"), "{found}");
        }
        insta::assert_snapshot!(shards("i.json", "{\"weight_map\": {}}").unwrap_err(), @"i.json:1:2: names 0 shards, not between 1 and 10000");
        insta::assert_snapshot!(shards("i.json", "{\"weight_map\": {\"a\": 7}}").unwrap_err(), @"i.json:1:22: invalid type: integer `7`, expected a string");
        insta::assert_snapshot!(shards("i.json", &"{\"a\":".repeat(9_999)).unwrap_err(), @"i.json:1:49995: EOF while parsing a value");
    }
}
