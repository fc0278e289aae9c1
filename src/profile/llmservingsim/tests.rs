use proptest::prelude::*;

use super::*;

/// What is said of a profile that is refused.
fn refused(files: &sample::Files) -> String {
    let error = files.read(1).expect_err("the profile is refused");
    let help = miette::Diagnostic::help(&error).map(|help| help.to_string());
    format!("{error} | {}", help.unwrap_or_default())
}

#[test]
fn a_profile_reads_as_it_was_written() {
    let profile = sample::dense().read(2).unwrap();
    assert_eq!((profile.tensor, profile.meta.max_num_seqs), (2, 4));
    assert_eq!((profile.meta.model.as_str(), profile.meta.variant.as_str()), ("example/tiny", "bf16"));
    assert_eq!(profile.dense.len(), 10);
    assert_eq!(profile.dense[&DenseLayer::QkvProj][1], (2, 3500.0));
    assert_eq!(profile.lm_head, [(1, 11_000.0), (2, 12_000.0), (4, 14_000.0)]);
    assert_eq!(profile.experts, None);
    let grid = &profile.attention;
    assert_eq!((&grid.chunks[..], &grid.kv_prefill[..]), (&[16, 32, 64][..], &[0, 16, 32, 64][..]));
    // Four decodes beside a chunk: 12 pairs of chunk and KV before it, 3 KV lengths.
    assert_eq!(grid.continued, 36);
    let last = *grid.mixed.last().unwrap();
    assert!((last - sample::attention_us(64.0, 64.0, 4.0, 64.0) * 1e3).abs() < 1e-6, "{last}");
    let shares = profile.skew.unwrap();
    assert_eq!((shares.pure, shares.mixed), (vec![(2, 0.2), (4, 0.3)], vec![(2, 0.5)]));

    let profile = sample::experts().read(1).unwrap();
    assert_eq!(profile.dense.len(), 7);
    assert_eq!(profile.experts.unwrap()[1], (2, vec![(2, 9000.0), (4, 13_000.0)]));
}

#[test]
fn a_folder_reads_as_its_files_do() {
    let dir = tempfile::tempdir().unwrap();
    for (name, text) in sample::experts().0 {
        let path = dir.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    assert_eq!(read_kernel_profile(dir.path(), 2).unwrap(), sample::experts().read(2).unwrap());
    let error = read_kernel_profile(dir.path(), 3).unwrap_err();
    assert!(
        matches!(&error, KernelProfileError::Degree { wanted: 3, have, .. } if *have == [1, 2]),
        "{error}"
    );
    std::fs::remove_file(dir.path().join("tp1/attention.csv")).unwrap();
    assert!(read_kernel_profile(dir.path(), 1).unwrap_err().to_string().contains("attention.csv"));
}

#[test]
fn points_that_meta_does_not_declare_are_left_out() {
    let files = sample::dense();
    let more = files.with("tp1/attention.csv", "time_us\n", "time_us\n24,0,3,24,9999\n0,0,3,16,9999\n");
    assert_eq!(more.read(1).unwrap().attention, files.read(1).unwrap().attention);
}

#[test]
fn without_skew_in_meta_no_skew_is_read() {
    let mut files = sample::dense().with("meta.yaml", "enabled: true", "enabled: false");
    assert_eq!(files.read(1).unwrap().skew, None);
    files.0.remove("tp1/skew.csv");
    assert_eq!(files.read(1).unwrap().skew, None);
}

#[test]
fn mistakes_are_told_with_their_place_and_what_would_be_right() {
    let files = sample::dense();
    for (name, from, to, wanted) in [
        (
            "tp1/dense.csv",
            "act_fn,1,8.25",
            "act_fn,1,NaN",
            "dense.csv:44:10: time_us is \"NaN\" | a duration",
        ),
        ("tp1/dense.csv", "act_fn,1,8.25", "act_fn,1,-8.25", "dense.csv:44:10: time_us is"),
        ("tp1/dense.csv", "act_fn,1,8.25", "act_fn,1,inf", "dense.csv:44:10"),
        ("tp1/dense.csv", "act_fn,1,", "act_fn,0,", "dense.csv:44:8: tokens is \"0\" | a whole number"),
        (
            "tp1/dense.csv",
            "act_fn,1,",
            "act_fm,1,",
            "dense.csv:44:1: layer is \"act_fm\" | one of embedding,",
        ),
        ("tp1/dense.csv", "act_fn,2,", "act_fn,1,", "given twice | each point once; the first is on line 44"),
        (
            "tp1/dense.csv",
            "layer,tokens",
            "layer,token",
            "1:1: the columns are others | the first line is `layer,t",
        ),
        ("tp1/dense.csv", "act_fn,2,8.5", "act_fn,2", "dense.csv:45:1: no such row"),
        ("tp1/per_sequence.csv", "sampler,2,", "sampler,4294967296,", "per_sequence.csv:5:9"),
        ("tp1/attention.csv", "0,0,2,32,", "0,0,2,33,", "there is no row 0,0,2,32 of the grid"),
        ("tp1/attention.csv", "32,16,1,16,", "32,16,1,17,", "there is no row 32,16,1,16 of the grid"),
        ("tp1/attention.csv", "0,0,2,32,", "0,0,2,16,", "given twice"),
        ("tp1/attention.csv", "0,0,2,32,", "0,0,2,0,", "kv_decode is \"0\""),
        ("tp1/attention.csv", "0,0,2,32,", "0,7,2,32,", "kv_prefill is \"7\" | 0 where prefill_chunk is 0"),
        ("tp1/attention.csv", "0,0,2,32,", "0,0,0,0,", "prefill_chunk is \"0\" | a chunk, decodes, or both"),
        ("tp1/skew.csv", "mixed,2", "blended,2", "skew.csv:5:1: regime is \"blended\" | `pure` or `mixed`"),
        ("tp1/skew.csv", "30,40,33", "30,40,", "skew.csv:4:"),
        ("meta.yaml", "tp_degrees: [1, 2]", "tp_degrees: 1", "meta.yaml:6:13: \"1\" is not what stands here"),
        ("meta.yaml", "max_num_seqs: 4", "max_num_seqs: four", "meta.yaml:9:17"),
        (
            "meta.yaml",
            "  max_num_seqs: 4\n",
            "",
            "there is no `max_num_seqs` | restore `engine_effective.max",
        ),
        ("meta.yaml", "0, 16-64 x2", "0, 16-64", "meta.yaml:14:11"),
        (
            "meta.yaml",
            "enabled: true",
            "enabled: perhaps",
            "\"perhaps\" is not what stands here | it is `true`",
        ),
        ("meta.yaml", "model: example/tiny", "model: [", "meta.yaml:"),
    ] {
        let found = refused(&files.with(name, from, to));
        assert!(found.contains(wanted), "{name}, {to:?}: {found}");
    }
}

#[test]
fn what_is_missing_or_lone_is_told() {
    let without = |name: &str, start: &str| {
        let mut files = sample::experts();
        let text = files.0.get_mut(name).unwrap();
        *text = text.lines().filter(|line| !line.starts_with(start)).fold(String::new(), |a, b| a + b + "\n");
        refused(&files)
    };
    assert!(without("tp1/dense.csv", "o_proj").contains("there is no `o_proj`"));
    assert!(without("tp1/per_sequence.csv", "sampler").contains("there is no `sampler`"));
    assert!(without("tp1/attention.csv", "6").contains("there is no row 64,0,0,0"));
    let mut files = sample::experts();
    files.0.remove("tp1/moe.csv");
    assert!(refused(&files).contains("there is no `gate_up_proj`"));
    files = sample::dense();
    files.0.insert("tp1/dense.csv".to_owned(), "layer,tokens,time_us\nembedding,1,1\n".to_owned());
    assert!(refused(&files).contains("dense.csv:2:1: embedding has one point"));
    files.0.insert("tp1/dense.csv".to_owned(), "layer,tokens,time_us\n".to_owned());
    assert!(refused(&files).contains("no rows"));
    files.0.insert("tp1/dense.csv".to_owned(), format!("layer,tokens,time_us\n{},1,1\n", "x".repeat(10_000)));
    assert!(refused(&files).contains("longer than"));
}

#[test]
fn cells_that_the_card_could_not_hold_are_continued() {
    let mut files = sample::dense();
    let text = files.0.get_mut("tp1/attention.csv").unwrap();
    // Nothing with more than 200 KV tokens: of decodes alone, four of 64.
    let fits = |line: &str| {
        let key: Vec<u64> = line.split(',').take(4).filter_map(|cell| cell.parse().ok()).collect();
        key.len() < 4 || key[2] * (key[3] + 16) + key[0] + key[1] <= 200
    };
    *text = text.lines().filter(|line| fits(line)).fold(String::new(), |a, b| a + b + "\n");
    let found = files.read(1).unwrap().attention;
    let wanted = sample::dense().read(1).unwrap().attention;
    assert!(found.continued > wanted.continued);
    for (found, wanted) in
        found.mixed.iter().chain(&found.decode).zip(wanted.mixed.iter().chain(&wanted.decode))
    {
        assert!((found / wanted - 1.0).abs() < 1e-9, "{found} {wanted}");
    }
}

proptest! {
    /// Whatever the files hold: a profile whose every number is finite, or a mistake that can be told.
    #[test]
    fn no_bytes_bring_the_reader_down(
        which in 0_usize..6,
        cuts in prop::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>(), "\\PC{0,4}"), 1..6),
    ) {
        let files = sample::experts();
        let name = ["meta.yaml", "tp1/dense.csv", "tp1/per_sequence.csv", "tp1/attention.csv", "tp1/skew.csv",
            "tp1/moe.csv"][which];
        let mut bytes = files.0[name].clone().into_bytes();
        for (from, to, text) in cuts {
            if bytes.is_empty() {
                break;
            }
            let (from, to) = (from.index(bytes.len()), to.index(bytes.len()));
            // Short cuts keep most of the file as it was.
            let end = if from <= to && to - from < 12 { to } else { from };
            bytes.splice(from..end, text.bytes());
        }
        let text = |other: &str| match other == name {
            true => bytes.clone(),
            false => files.0.get(other).map(|text| text.clone().into_bytes()).unwrap_or_default(),
        };
        let meta = String::from_utf8_lossy(&text("meta.yaml")).into_owned();
        match parse_kernel_profile(&meta, 1, |name| Some(text(name))) {
            Ok(profile) => {
                let grid = &profile.attention;
                prop_assert!(grid.mixed.iter().chain(&grid.decode).chain(&grid.prefill).all(|ns| ns.is_finite()));
            }
            Err(error) => prop_assert!(error.to_string().len() < 1 << 16),
        }
    }

    #[test]
    fn no_text_brings_the_reader_of_meta_down(text in "[a-z:\\-\\[\\]{},'\"&*!|>#% \n\t0-9]{0,200}") {
        let _ = meta::parse(Path::new("meta.yaml"), &text);
    }
}
