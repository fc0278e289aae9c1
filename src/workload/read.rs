use std::path::Path;

use super::arrivals;
use super::contract::{
    FORMAT, INTERVALS, INTERVALS_COLUMNS, LENGTHS, LENGTHS_COLUMNS, META, PREFIXES, PREFIXES_COLUMNS,
    PROMPTS, PromptLine, WorkloadMeta, totals,
};
use super::error::object;
use super::generate::MAX_REQUESTS;
use super::lengths::{MAX_TOKENS, MAX_TRACE};
use super::prompts::MAX_PROMPTS;
use super::table::Table;
use super::{Prefixes, Workload, WorkloadError, WorkloadRequest};
use crate::store::read_text_bounded;

/// Largest `workload_meta.json` that is read, in bytes.
const MAX_META: u64 = 1 << 20;

/// Reads the four files of a workload, strictly: ids count from 0 without a gap, token counts are
/// at least 1, arrivals are the running sums of their gaps, every prompt is used by its id, and the
/// totals of `workload_meta.json` are those of the other files.
///
/// # Errors
/// With file, line and column.
pub fn read_workload(folder: &Path) -> Result<(Workload, WorkloadMeta), WorkloadError> {
    parse_workload(|name, limit| Ok(read_text_bounded(&folder.join(name), limit)?))
}

/// Checks a workload whose files `read` yields: by their names, of as many bytes at most.
pub(crate) fn parse_workload<T: AsRef<str>>(
    read: impl Fn(&str, u64) -> Result<T, WorkloadError>,
) -> Result<(Workload, WorkloadMeta), WorkloadError> {
    let meta = read_meta(read(META, MAX_META)?.as_ref())?;
    let prompts = read_prompts(read(PROMPTS, MAX_PROMPTS)?.as_ref())?;
    let mut requests = read_lengths(read(LENGTHS, MAX_TRACE)?.as_ref(), prompts.len())?;
    read_intervals(read(INTERVALS, MAX_TRACE)?.as_ref(), &mut requests)?;
    let prefixes = match meta.prefix_block_size {
        None => None,
        Some(0) => {
            let (file, field) = (META.to_owned(), "prefix_block_size");
            return Err(WorkloadError::Totals { file, field, said: 0, found: 1 });
        }
        Some(block) => Some(read_prefixes(read(PREFIXES, MAX_TRACE)?.as_ref(), block, &requests)?),
    };
    let made = Workload { requests, prompts, prefixes };
    let [requests, prefill, decode, last] = totals(&made);
    let claims = [
        ("requests", meta.requests, requests),
        ("prompts", meta.prompts, made.prompts.len() as u64),
        ("prefill_tokens", meta.prefill_tokens, prefill),
        ("decode_tokens", meta.decode_tokens, decode),
        ("last_arrival_ns", meta.last_arrival_ns, last),
    ];
    match claims.into_iter().find(|(_, said, found)| said != found) {
        Some((field, said, found)) => {
            Err(WorkloadError::Totals { file: META.to_owned(), field, said, found })
        }
        None => Ok((made, meta)),
    }
}

fn read_meta(text: &str) -> Result<WorkloadMeta, WorkloadError> {
    let meta: WorkloadMeta = object(META, 1, text)?;
    if meta.format != FORMAT {
        return Err(WorkloadError::Totals {
            file: META.to_owned(),
            field: "format",
            said: meta.format.into(),
            found: FORMAT.into(),
        });
    }
    Ok(meta)
}

fn read_prompts(text: &str) -> Result<Vec<String>, WorkloadError> {
    let mut out = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let prompt: PromptLine<'_> = object(PROMPTS, index + 1, line)?;
        if prompt.prompt_id != index as u64 {
            return Err(WorkloadError::Cell {
                file: PROMPTS.to_owned(),
                line: index as u64 + 1,
                column: "prompt_id".to_owned(),
                message: format!("{} should be {index}: ids count from 0", prompt.prompt_id),
            });
        }
        out.push(prompt.text.into_owned());
    }
    Ok(out)
}

fn read_lengths(text: &str, prompts: usize) -> Result<Vec<WorkloadRequest>, WorkloadError> {
    // Without texts ids are free; with texts they index them.
    let last_prompt = if prompts == 0 { u32::MAX } else { prompts as u32 - 1 };
    let mut out = Vec::new();
    Table::open(LENGTHS, text)?.exactly(&LENGTHS_COLUMNS)?.rows(|index, row| {
        row.expect(0, index as u64, "ids count from 0")?;
        if out.len() == MAX_REQUESTS as usize {
            return Err(WorkloadError::TooMany { requests: index as u64 + 1, limit: MAX_REQUESTS.into() });
        }
        out.push(WorkloadRequest {
            prompt_id: row.bounded(1, 0, last_prompt)?,
            num_prefill_tokens: row.bounded(2, 1, MAX_TOKENS)?,
            num_decode_tokens: row.bounded(3, 1, MAX_TOKENS)?,
            inter_arrival_ns: 0,
            arrival_time_ns: 0,
        });
        Ok(())
    })?;
    if out.is_empty() {
        return Err(WorkloadError::Row {
            file: LENGTHS.to_owned(),
            line: 2,
            message: "there is no request".to_owned(),
        });
    }
    Ok(out)
}

/// Each request has at most an id for each full block of its prompt.
fn read_prefixes(text: &str, block: u32, requests: &[WorkloadRequest]) -> Result<Prefixes, WorkloadError> {
    let mut out = Prefixes::new(block);
    Table::open(PREFIXES, text)?.exactly(&PREFIXES_COLUMNS)?.rows(|index, row| {
        row.expect(0, index as u64, "ids count from 0")?;
        let Some(request) = requests.get(index) else {
            return Err(row.error(0, format!("{LENGTHS} has no request {index}")));
        };
        let ids = row.text(1).split(' ').filter(|id| !id.is_empty());
        let ids: Vec<u64> = ids
            .map(|id| {
                let is_whole = id.bytes().all(|byte| byte.is_ascii_digit());
                let parsed = is_whole.then(|| id.parse().ok()).flatten();
                parsed.ok_or_else(|| row.wrong(1, id, "is no id of a prefix"))
            })
            .collect::<Result<_, _>>()?;
        let most = request.num_prefill_tokens / block;
        if ids.len() > most as usize {
            let message = format!("{} ids for a prompt of {most} full blocks", ids.len());
            return Err(row.error(1, message));
        }
        out.push(ids);
        Ok(())
    })?;
    if out.len() < requests.len() {
        let message = format!("the file ends here, {LENGTHS} has {} requests", requests.len());
        return Err(WorkloadError::Row { file: PREFIXES.to_owned(), line: out.len() as u64 + 2, message });
    }
    Ok(out)
}

fn read_intervals(text: &str, requests: &mut [WorkloadRequest]) -> Result<(), WorkloadError> {
    let mut rows = 0;
    let mut before = 0;
    Table::open(INTERVALS, text)?.exactly(&INTERVALS_COLUMNS)?.rows(|index, row| {
        row.expect(0, index as u64, "ids count from 0")?;
        let Some(request) = requests.get_mut(index) else {
            return Err(row.error(0, format!("{LENGTHS} has no request {index}")));
        };
        request.inter_arrival_ns = row.number(1)?;
        request.arrival_time_ns = row.number(2)?;
        let sum = arrivals::sum(before, request.inter_arrival_ns)
            .ok_or_else(|| row.error(1, "the request arrives later than any clock reaches".to_owned()))?;
        row.expect(2, sum, "an arrival is the one before and its gap")?;
        before = sum;
        rows = index + 1;
        Ok(())
    })?;
    if rows < requests.len() {
        let message = format!("the file ends here, {LENGTHS} has {} requests", requests.len());
        return Err(WorkloadError::Row { file: INTERVALS.to_owned(), line: rows as u64 + 2, message });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;

    use proptest::prelude::*;

    use super::super::generate::tests::{SEEDS, TOKENIZER, spec};
    use super::super::{generate, workload_files, write_workload};
    use super::*;
    use crate::spec::{Arrivals, Lengths, WorkloadSpec};

    static SPEC: LazyLock<WorkloadSpec> = LazyLock::new(|| {
        spec(Lengths::Fixed { prefill: 4, decode: Some(2) }, Arrivals::Poisson { qps: 10.0 })
    });

    static MADE: LazyLock<Workload> =
        LazyLock::new(|| generate(&SPEC, &SEEDS, Some(&TOKENIZER), Path::new(".")).unwrap());

    #[test]
    fn what_is_written_is_read() {
        let dir = tempfile::tempdir().unwrap();
        write_workload(dir.path(), &MADE, &SPEC, &SEEDS).unwrap();
        let (made, meta) = read_workload(dir.path()).unwrap();
        assert_eq!(made, *MADE);
        assert_eq!((meta.requests, meta.prefill_tokens, meta.decode_tokens), (5, 20, 10));
        assert_eq!((&meta.workload, meta.seeds), (&*SPEC, SEEDS));
        // The files can be read back as traces too.
        let again = WorkloadSpec {
            lengths: Some(Lengths::Trace { path: LENGTHS.to_owned() }),
            arrivals: Arrivals::Trace { path: INTERVALS.to_owned() },
            ..SPEC.clone()
        };
        let traced = generate(&again, &SEEDS, Some(&TOKENIZER), dir.path()).unwrap();
        assert_eq!(traced, *MADE);
    }

    /// Reads the workload with a part of one file replaced.
    fn with(name: &str, from: &str, to: &str) -> String {
        let dir = tempfile::tempdir().unwrap();
        write_workload(dir.path(), &MADE, &SPEC, &SEEDS).unwrap();
        let text = std::fs::read_to_string(dir.path().join(name)).unwrap();
        assert!(text.contains(from), "{from:?} is not in\n{text}");
        std::fs::write(dir.path().join(name), text.replacen(from, to, 1)).unwrap();
        read_workload(dir.path()).unwrap_err().to_string()
    }

    #[test]
    fn every_contradiction_has_a_place() {
        let cases = [
            with(LENGTHS, "request_id", "id"),
            with(LENGTHS, "\n1,1,", "\n1,9,"),
            with(LENGTHS, "\n1,1,4,2", "\n1,1,0,2"),
            with(LENGTHS, "\n1,1,4,2", "\n1,1,4,2,2"),
            with(LENGTHS, "\n1,1,4,2", "\n1,1,4.0,2"),
            with(LENGTHS, "\n1,1,4,2", ""),
            with(LENGTHS, "\n4,4,4,2", ""),
            with(LENGTHS, "\n4,4,4,2", "\n4,4,4,3"),
            with(INTERVALS, "\n1,", "\n0,"),
            with(INTERVALS, "\n1,", "\n1,9"),
            with(INTERVALS, "\n1,", "\n1,-"),
            with(PROMPTS, "\"prompt_id\":1", "\"prompt_id\":0"),
            with(PROMPTS, "{\"prompt_id\":1", "\n{\"prompt_id\":1"),
            with(META, "\"requests\": 5,\n  \"prompts\"", "\"requests\": 6,\n  \"prompts\""),
            with(META, "\"format\": 1", "\"format\": 2"),
            with(META, "\"format\": 1", "\"format\": NaN"),
            with(META, "\"name\"", "\"nom\""),
        ];
        insta::assert_snapshot!(cases.join("\n"), @r#"
        trace_lengths.csv:1: the header must be "request_id,prompt_id,num_prefill_tokens,num_decode_tokens"
        trace_lengths.csv:3, column `prompt_id`: 9 is not between 0 and 4
        trace_lengths.csv:3, column `num_prefill_tokens`: 0 is not between 1 and 1048576
        trace_lengths.csv:3: 5 fields, the header has 4
        trace_lengths.csv:3, column `num_prefill_tokens`: "4.0" is not a whole number
        trace_lengths.csv:3, column `request_id`: 2 should be 1: ids count from 0
        trace_intervals.csv:6, column `request_id`: trace_lengths.csv has no request 4
        workload_meta.json: decode_tokens is 10, the files hold 11
        trace_intervals.csv:3, column `request_id`: 0 should be 1: ids count from 0
        trace_intervals.csv:3, column `arrival_time_ns`: 81206379 should be 981206379: an arrival is the one before and its gap
        trace_intervals.csv:3, column `inter_arrival_ns`: "-53343727" is not a whole number
        prompts.jsonl:2, column `prompt_id`: 0 should be 1: ids count from 0
        prompts.jsonl:2:1: EOF while parsing a value
        workload_meta.json: requests is 6, the files hold 5
        workload_meta.json: format is 2, the files hold 1
        workload_meta.json:2:13: expected value
        workload_meta.json:3:7: unknown field `nom`, expected one of `format`, `name`, `requests`, `prompts`, `prefill_tokens`, `decode_tokens`, `last_arrival_ns`, `prefix_block_size`, `workload`, `seeds`
        "#);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]

        #[test]
        fn mutated_files_never_panic(file in 0usize..4, at in 0usize..4096, byte: u8, cut: bool) {
            let files: Vec<(&str, String)> = workload_files(&MADE, &SPEC, &SEEDS)
                .into_iter()
                .enumerate()
                .map(|(index, (name, mut bytes))| {
                    if index == file {
                        let at = at % bytes.len();
                        bytes[at] = byte;
                        bytes.truncate(if cut { at } else { bytes.len() });
                    }
                    (name, String::from_utf8_lossy(&bytes).into_owned())
                })
                .collect();
            let prompts = read_prompts(&files[0].1).map_or(0, |prompts| prompts.len());
            if let Ok(mut requests) = read_lengths(&files[1].1, prompts) {
                let _ = read_intervals(&files[2].1, &mut requests);
            }
            let _ = read_meta(&files[3].1);
        }

        #[test]
        fn any_text_is_read_or_refused(text in "\\PC{0,200}", columns in "[a-z_,\"\\n0-9]{0,80}") {
            for text in [text, format!("request_id,inter_arrival_ns,arrival_time_ns\n{columns}"), columns] {
                let _ = read_prompts(&text);
                let _ = read_meta(&text);
                let _ = read_lengths(&text, 3);
                let _ = read_intervals(&text, &mut []);
            }
        }
    }
}
