use std::path::Path;

use proptest::prelude::*;

use super::sample::{self, ALONE, SPREAD, shape};
use super::*;

/// What reading the sample gives after one of its files was changed.
fn read(
    selection: &VidurSelection,
    change: impl FnOnce(&VidurFiles),
) -> Result<TrainingSet, VidurProfileError> {
    let dir = tempfile::tempdir().unwrap();
    let files = sample::write(dir.path());
    change(&files);
    read_training(&files, &shape(), selection)
}

fn edit(path: &Path, change: impl FnOnce(String) -> String) {
    let text = std::fs::read_to_string(path).unwrap();
    let changed = change(text.clone());
    assert_ne!(text, changed, "the edit of {} changes nothing", path.display());
    std::fs::write(path, changed).unwrap();
}

/// The error as a person reads it: message and help.
fn told(result: Result<TrainingSet, VidurProfileError>) -> String {
    use miette::Diagnostic as _;
    let error = result.unwrap_err();
    let help = error.help().map(|help| help.to_string()).unwrap_or_default();
    format!("{error}\n{help}")
}

fn refused(result: Result<TrainingSet, VidurProfileError>, wants: &[&str]) {
    let text = told(result);
    for want in wants {
        assert!(text.contains(want), "{text:?} does not say {want:?}");
    }
}

#[test]
fn every_operator_gets_the_rows_of_its_model() {
    let set = read(&ALONE, |_| {}).unwrap();
    let counts: Vec<(VidurOp, usize)> = set.tables().map(|(op, rows)| (op, rows.len())).collect();
    assert_eq!(counts.len(), 12);
    for (op, count) in counts {
        let wanted = match op {
            VidurOp::AttnKvCacheSave => 50,
            VidurOp::AttnDecode | VidurOp::AttnPrefill => 25,
            _ => 14,
        };
        assert_eq!(count, wanted, "{}", op.name());
    }
    // The first row of mlp.csv and its second operator.
    assert_eq!(set.rows(VidurOp::AttnPostProj)[0], TrainingRow { x: [512.0, 0.0], ms: 0.785144 });
    assert_eq!(set.rows(VidurOp::AttnPrefill)[1].x, [0.0, 1024.0]);
    assert_eq!(set.rows(VidurOp::AttnDecode)[4].x, [16.0, 16.0]);
    // Saving KV is measured by whichever is more, chunk or batch.
    assert_eq!(set.rows(VidurOp::AttnKvCacheSave)[9].x, [16.0, 0.0]);
}

#[test]
fn messages_are_tokens_of_two_bytes_a_number() {
    let set = read(&SPREAD, |_| {}).unwrap();
    let reduce = set.rows(VidurOp::AllReduce);
    assert_eq!((reduce.len(), reduce[0]), (20, TrainingRow { x: [8.3125, 0.0], ms: 0.00402 }));
    assert_eq!(set.rows(VidurOp::RayCommTime)[1], TrainingRow { x: [2.0, 0.0], ms: 0.506 });
    // On several nodes, sending is measured between nodes.
    let far = read(&VidurSelection { devices_per_node: 2, ..SPREAD }, |_| {}).unwrap();
    assert_eq!(set.rows(VidurOp::SendRecv)[0].ms, 0.00402);
    assert_eq!(far.rows(VidurOp::SendRecv)[0].ms, 0.00404);
}

#[test]
fn equal_rows_count_once_and_gaps_of_some_operators_are_zero() {
    let set = read(&ALONE, |files| {
        edit(&files.mlp, |text| {
            let last = text.lines().last().unwrap().to_owned();
            let first = text.lines().nth(1).unwrap().to_owned();
            // The same numbers, written in another way, and a row of another device count.
            format!("{text}{last}\n{}\n", first.replace(",512,1", ",512.0,1.0"))
        });
    });
    assert_eq!(set.unwrap().rows(VidurOp::Add).len(), 14);
    let set = read(&ALONE, |files| {
        edit(&files.mlp, |text| text.replacen(",0.792144,", ",,", 1).replace(".add.median", ".other.median"));
    });
    let set = set.unwrap();
    assert!(set.rows(VidurOp::Add).iter().all(|row| row.ms == 0.0));
    assert_eq!(set.rows(VidurOp::Add).len(), 14);
    let gap = |rows: &[TrainingRow]| rows.iter().filter(|row| row.ms == 0.0).count();
    assert_eq!(gap(set.rows(VidurOp::PostAttentionLayernorm)) + gap(set.rows(VidurOp::AttnRope)), 0);
    let set = read(&ALONE, |files| edit(&files.mlp, |text| text.replacen(",0.790144,", ",nan,", 1)));
    assert_eq!(gap(set.unwrap().rows(VidurOp::PostAttentionLayernorm)), 1);
}

#[test]
fn a_missing_column_is_named() {
    for column in ["num_tokens", "n_kv_head", "time_stats.mlp_act.median", "use_gated_mlp"] {
        let found = read(&ALONE, |files| edit(&files.mlp, |text| text.replacen(column, "x", 1)));
        refused(found, &["mlp.csv:1: there is no column", column, "26 columns these are nearest: "]);
    }
    for column in ["kv_cache_size", "time_stats.attn_decode.median", "block_size"] {
        let found = read(&ALONE, |files| edit(&files.attention, |text| text.replacen(column, "x", 1)));
        refused(found, &["attention.csv:1: there is no column", column]);
    }
    let found = read(&ALONE, |files| edit(&files.mlp, |text| text.replacen("n_embd", "num_tokens", 1)));
    refused(found, &["mlp.csv:1: two are called column `num_tokens`"]);
}

#[test]
fn a_cell_that_no_measurement_gives_is_named() {
    for bad in ["NaN", "-0.5", "inf", "", "fast", "1e99", "1,5"] {
        let quoted = format!(",\"{bad}\",");
        let found = read(&ALONE, |files| edit(&files.mlp, |text| text.replacen(",0.784144,", &quoted, 1)));
        refused(found, &["mlp.csv:2: column `time_stats.attn_pre_proj.median` is", bad, "a duration in ms"]);
    }
    let found = read(&ALONE, |files| edit(&files.mlp, |text| text.replacen(",True,", ",maybe,", 1)));
    refused(found, &["mlp.csv:2: column `use_gated_mlp` is \"maybe\"", "True or False would be right"]);
    let found =
        read(&ALONE, |files| edit(&files.attention, |text| text.replacen(",1,16,0,", ",1.5,16,0,", 1)));
    refused(found, &["attention.csv:2: column `batch_size` is \"1.5\"", "a whole number"]);
    let found =
        read(&ALONE, |files| edit(&files.attention, |text| text.replacen(",1,16,", ",1,16777216,", 1)));
    refused(found, &["column `prefill_chunk_size` is \"16777216\"", "fewer than 2^24"]);
    let found = read(&SPREAD, |files| {
        edit(files.all_reduce.as_ref().unwrap(), |text| text.replacen(",1064,", ",-1064,", 1));
    });
    // Rows that are not of the model are not read.
    assert!(found.is_ok());
    let found = read(&SPREAD, |files| {
        edit(files.all_reduce.as_ref().unwrap(), |text| text.replace(",1064,", ",-1064,"));
    });
    refused(found, &["all_reduce.csv:22: column `size` is \"-1064\""]);
}

#[test]
fn rows_that_are_not_there_are_told_with_those_that_are() {
    let found = read(&VidurSelection { tensor_parallel: 3, devices_per_node: 3, ..ALONE }, |_| {});
    refused(
        found,
        &[
            "mlp.csv has no rows with n_head 4",
            "num_tensor_parallel_workers 3",
            "there are rows with (n_head, n_kv_head,",
            "(4, 2, 64, 128, True, 1000, 1); (4, 2, 64, 128, True, 1000, 2)",
        ],
    );
    let found = read(&VidurSelection { block_size: 32, ..ALONE }, |_| {});
    refused(found, &["attention.csv has no rows with", "block_size 32", "(64, 4, 2, 16, 1)"]);
    let found = read(&ALONE, |files| edit(&files.mlp, |text| text.lines().next().unwrap().to_owned()));
    refused(found, &["mlp.csv has no rows", "no rows at all"]);
    let found = read(&ALONE, |files| {
        edit(&files.mlp, |text| text.lines().take(2).collect::<Vec<_>>().join("\n"));
    });
    refused(found, &["mlp.csv has 1 row(s) to train attn_pre_proj with", "2 rows at least"]);
    let found = read(&ALONE, |files| {
        let is_decode = |line: &&str| !line.ends_with("True");
        edit(&files.attention, |text| text.lines().filter(is_decode).collect::<Vec<_>>().join("\n"));
    });
    refused(found, &["attention.csv has 0 row(s) to train attn_prefill with"]);
}

#[test]
fn files_that_are_no_tables_are_refused() {
    let found = read(&ALONE, |files| std::fs::write(&files.mlp, "").unwrap());
    refused(found, &["mlp.csv"]);
    let found = read(&ALONE, |files| std::fs::write(&files.mlp, [0xff, 0xfe, b'\n']).unwrap());
    refused(found, &["mlp.csv:1", "not UTF-8"]);
    let found = read(&ALONE, |files| edit(&files.mlp, |text| format!("{text}1,2,3\n")));
    refused(found, &["mlp.csv:44: the row has 3 cells"]);
    let found = read(&ALONE, |files| edit(&files.mlp, |text| format!("{text}\"{}", "x\n".repeat(100_000))));
    refused(found, &["longer than 65536 bytes"]);
    let found = read(&ALONE, |files| std::fs::write(&files.mlp, ",".repeat(5000)).unwrap());
    refused(found, &["mlp.csv:1: 5001 columns"]);
    let found = read(&ALONE, |files| {
        std::fs::remove_file(&files.attention).unwrap();
        std::fs::create_dir(&files.attention).unwrap();
    });
    refused(found, &["cannot read", "attention.csv"]);
    let found = read(&ALONE, |files| std::fs::remove_file(&files.mlp).unwrap());
    refused(found, &["cannot read", "mlp.csv"]);
}

#[test]
fn devices_that_no_profile_describes_are_refused() {
    for (tensor_parallel, pipeline_stages, devices_per_node) in [(0, 1, 4), (1, 0, 4), (3, 1, 2), (1, 1, 0)] {
        let selection = VidurSelection { tensor_parallel, pipeline_stages, devices_per_node, ..ALONE };
        refused(read(&selection, |_| {}), &["tensor-parallel times", "a multiple of them"]);
    }
    let dir = tempfile::tempdir().unwrap();
    let files = VidurFiles { all_reduce: None, ..sample::write(dir.path()) };
    refused(read_training(&files, &shape(), &SPREAD), &["all_reduce needs a table"]);
}

#[test]
fn rows_that_were_picked_before_are_read_as_they_are() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    refused(read_filtered(dir.path(), "7b"), &["cannot read", "7b__"]);
    let names: Vec<&str> = VidurOp::COMPUTE.iter().map(|op| op.name()).collect();
    let row = "0.25,1,2,3,4,5,6,7,8,9\n";
    let table = format!("num_tokens,{}\n{row}{row}", names.join(","));
    std::fs::write(path("7b__compute.csv"), table).unwrap();
    let prefill = "kv_cache_size,prefill_chunk_size_squared,attn_prefill\n0,4096,0.019\n64,4096,0.02\n";
    std::fs::write(path("7b__attn_prefill.csv"), prefill).unwrap();
    let set = read_filtered(dir.path(), "7b").unwrap();
    assert_eq!(set.rows(VidurOp::Add), [TrainingRow { x: [0.25, 0.0], ms: 9.0 }; 2]);
    assert_eq!(set.rows(VidurOp::AttnPrefill)[1], TrainingRow { x: [64.0, 4096.0], ms: 0.02 });
    edit(&path("7b__attn_prefill.csv"), |text| text.replace("0.02\n", "-0.02\n"));
    refused(read_filtered(dir.path(), "7b"), &["7b__attn_prefill.csv:3: column `attn_prefill` is \"-0.02\""]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Any edits of any file: an error that names the file, or rows that can be trained with.
    #[test]
    fn edited_tables_are_refused_or_hold_measurements(
        which in 0_usize..5,
        edits in prop::collection::vec((any::<prop::sample::Index>(), prop::sample::select(&b"0,\"\n-.9eNx\xff\r"[..])), 1..6),
    ) {
        let dir = tempfile::tempdir().unwrap();
        let files = sample::write(dir.path());
        let path = match which {
            0 => &files.mlp,
            1 => &files.attention,
            2 => files.all_reduce.as_ref().unwrap(),
            3 => files.send_recv.as_ref().unwrap(),
            _ => files.cpu_overhead.as_ref().unwrap(),
        };
        let mut bytes = std::fs::read(path).unwrap();
        for (at, byte) in edits {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        std::fs::write(path, bytes).unwrap();
        match read_training(&files, &shape(), &SPREAD) {
            Ok(set) => for (_, rows) in set.tables() {
                prop_assert!(rows.len() >= MIN_ROWS);
                prop_assert!(rows.iter().all(|row| row.ms.is_finite() && row.ms >= 0.0));
                prop_assert!(rows.iter().all(|row| row.x.iter().all(|x| x.is_finite() && *x >= 0.0)));
            },
            Err(error) => {
                let name = path.file_name().unwrap().to_str().unwrap();
                prop_assert!(error.to_string().contains(name), "{} does not name {}", error, name);
            }
        }
    }
}
