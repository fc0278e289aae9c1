use super::super::generate::tests::{SEEDS, TOKENIZER, spec as workload_spec};
use super::super::{Prompting, generate, generate_with_notes, with_texts, workload_files};
use super::*;
use crate::spec::{Arrivals, Lengths, Trace as Spec, WorkloadSpec};

fn of(format: TraceFormat) -> Spec {
    Spec { path: "t".to_owned(), format, time_scale: 1.0, max_tokens: None, block: None }
}

fn traced(spec: &Spec, text: &str) -> Traced {
    let arrives = spec.format != TraceFormat::Sharegpt;
    parse(spec, text, 100, arrives, Some(Prompting::plain(&TOKENIZER)))
        .unwrap_or_else(|error| panic!("{error}"))
}

fn said(format: TraceFormat, text: &str) -> String {
    let arrives = format != TraceFormat::Sharegpt;
    match parse(&of(format), text, 100, arrives, Some(Prompting::plain(&TOKENIZER))) {
        Ok(traced) => panic!("{traced:?}"),
        Err(error) => error.to_string(),
    }
}

#[test]
fn xps_own_traces_keep_their_prefixes_and_their_order_of_arrival() {
    let text = "request_id,arrival_time_ns,num_prefill_tokens,num_decode_tokens,prefix_hash_ids\n\
                0,500,40,3,7 8\n1,100,33,2,7;9\n2,100,15,1,\n3,900,16,4,7\n";
    let made = traced(&of(TraceFormat::Xp), text);
    assert_eq!(made.pairs, [(33, 2), (15, 1), (40, 3), (16, 4)]);
    assert_eq!(made.arrivals.unwrap(), [100, 100, 500, 900]);
    let prefixes = made.prefixes.unwrap();
    assert_eq!(
        (0..4).map(|at| prefixes.of(at).to_vec()).collect::<Vec<_>>(),
        [vec![7, 9], vec![], vec![7, 8], vec![7]]
    );
    assert_eq!(prefixes.block_size(), 16);
    assert_eq!(
        made.notes,
        ["t: 1 request arrives before the one above; all are taken in the order of their arrivals"]
    );
    // Without its arrivals the file's order stays, and a prompt that is cut has fewer full blocks.
    let cut = Spec { max_tokens: Some(20), block: Some(16), ..of(TraceFormat::Xp) };
    let made = parse(&cut, text, 2, false, None).unwrap();
    assert_eq!((made.pairs.as_slice(), made.arrivals), (&[(17, 3), (18, 2)][..], None));
    assert_eq!(made.prefixes.unwrap().of(0), [7]);
    let slow = Spec { time_scale: 2.5, ..of(TraceFormat::Xp) };
    assert_eq!(traced(&slow, text).arrivals.unwrap(), [250, 250, 1250, 2250]);
}

#[test]
fn published_formats_are_read_in_their_units() {
    let vidur = "arrived_at,num_prefill_tokens,num_decode_tokens,pd_ratio\n0.0,374,44,8.5\n5.8926549999999995,396,109,3.6\n";
    let made = traced(&of(TraceFormat::Vidur), vidur);
    assert_eq!((made.arrivals.unwrap()[1], made.pairs[1]), (5_892_655_000, (396, 109)));
    let lengths = "num_prefill_tokens,num_decode_tokens,pd_ratio\n374,44,8.5\n";
    let made = parse(&of(TraceFormat::Vidur), lengths, 9, false, None).unwrap();
    assert_eq!((made.pairs.as_slice(), made.arrivals), (&[(374, 44)][..], None));
    let azure = "TIMESTAMP,ContextTokens,GeneratedTokens\r\n2023-11-16 18:17:03.9799600,4808,10\r\n\
                 2023-11-16 18:17:04.0319600,3180,8\r\n";
    let made = traced(&of(TraceFormat::Azure), azure);
    assert_eq!((made.arrivals.unwrap(), made.pairs[1]), (vec![0, 52_000_000], (3180, 8)));
    let mooncake = "{\"timestamp\": 0, \"input_length\": 1030, \"output_length\": 5, \"hash_ids\": [0, 1, 2]}\n\
                    {\"timestamp\": 27.5, \"input_length\": 1024, \"output_length\": 6, \"hash_ids\": [0, 3], \"x\": {}}\n";
    let made = traced(&of(TraceFormat::Mooncake), mooncake);
    assert_eq!(made.arrivals.unwrap(), [0, 27_500_000]);
    let prefixes = made.prefixes.unwrap();
    // A block that is not full is nobody's prefix.
    assert_eq!((prefixes.block_size(), prefixes.of(0), prefixes.of(1)), (512, &[0, 1][..], &[0, 3][..]));
}

#[test]
fn each_reply_of_a_conversation_is_a_request_with_all_that_was_said_before() {
    let long = "The engine waits for the next request and computes a step of all that are here. ".repeat(3);
    let chat = format!(
        "[{{\"id\": \"a\", \"conversations\": [{{\"from\": \"human\", \"value\": {long:?}}}, \
         {{\"from\": \"gpt\", \"value\": \"A token.\"}}, {{\"from\": \"human\", \"value\": \"More?\"}}, \
         {{\"from\": \"gpt\", \"value\": \"Another token.\"}}]}}, \
         {{\"conversations\": [{{\"from\": \"gpt\", \"value\": \"Hello.\"}}, {{\"from\": \"gpt\", \"value\": \"\"}}]}}]"
    );
    let made = traced(&of(TraceFormat::Sharegpt), &chat);
    let texts = made.texts.clone().unwrap();
    assert_eq!(texts, [long.clone(), format!("{long}\nA token.\nMore?")]);
    let tokens = |text: &str| TOKENIZER.encode(text).unwrap().len() as u32;
    assert_eq!(made.pairs[1], (tokens(&texts[1]), tokens("Another token.")));
    let prefixes = made.prefixes.clone().unwrap();
    let (first, second) = (prefixes.of(0), prefixes.of(1));
    assert_eq!((first.len() as u32, second.len() as u32), (made.pairs[0].0 / 16, made.pairs[1].0 / 16));
    assert_eq!(first[..first.len() - 1], second[..first.len() - 1], "turns share what was said before");
    assert_eq!(made.notes, ["t: 1 replies are left out, which have no text"]);
    // One conversation after another says the same, and so does a cap.
    let lines = chat.trim_matches(['[', ']']).replace("}, {\"conversations\"", "}\n{\"conversations\"");
    assert_eq!(traced(&of(TraceFormat::Sharegpt), &lines).pairs, made.pairs);
    let one = parse(&of(TraceFormat::Sharegpt), &chat, 1, false, Some(Prompting::plain(&TOKENIZER))).unwrap();
    assert_eq!((one.pairs.len(), one.texts.unwrap().len()), (1, 1));
    let short = Spec { max_tokens: Some(made.pairs[0].0 + made.pairs[0].1), ..of(TraceFormat::Sharegpt) };
    let made = traced(&short, &chat);
    assert_eq!((made.pairs.len(), made.notes.len()), (1, 2));
    assert!(matches!(parse(&short, &chat, 9, false, None), Err(WorkloadError::NoTokenizer { .. })));
}

#[test]
fn what_is_wrong_is_told_with_its_place() {
    use TraceFormat::{Azure, Mooncake, Sharegpt, Vidur, Xp};
    let xp =
        |rows: &str| format!("arrival_time_ns,num_prefill_tokens,num_decode_tokens,prefix_hash_ids\n{rows}");
    let azure = |rows: &str| format!("TIMESTAMP,ContextTokens,GeneratedTokens\n{rows}");
    let line = |fields: &str| {
        format!("{{\"timestamp\": 0, \"input_length\": 600, \"output_length\": 1}}\n{{{fields}}}")
    };
    let said = [
        said(Xp, ""),
        said(Xp, "num_prefill_tokens,num_decode_tokens\n1,1\n"),
        said(Xp, &xp("")),
        said(Xp, &xp("1,2\n")),
        said(Xp, &xp("0,0,1,\n")),
        said(Xp, &xp("-5,9,1,\n")),
        said(Xp, &xp("NaN,9,1,\n")),
        said(Xp, &xp("1e300,9,1,\n")),
        said(Xp, &xp("0,9,99999999999999999999999,\n")),
        said(Xp, &xp("0,9,1048577,\n")),
        said(Xp, &xp("0,16,1,1 2\n")),
        said(Xp, &xp("0,32,1,1 -2\n")),
        said(Xp, &xp(&format!("0,32,1,{}\n", "1 ".repeat(1 << 20)))),
        said(Vidur, "arrived_at,num_prefill_tokens,num_decode_tokens\n0.5,9,1\n-0.5,9,1\n"),
        said(Vidur, "num_prefill_tokens,num_decode_tokens\n9,1\n"),
        said(Azure, &azure("2023-02-30 00:00:00,9,1\n")),
        said(Azure, &azure("2023-02-20 00:00:00,9,0\n")),
        said(Mooncake, &line("\"timestamp\": -1, \"input_length\": 9, \"output_length\": 1")),
        said(Mooncake, &line("\"input_length\": 9, \"output_length\": 1")),
        said(Mooncake, &line("\"timestamp\": 0, \"input_length\": -9, \"output_length\": 1")),
        said(
            Mooncake,
            &line("\"timestamp\": 0, \"input_length\": 512, \"output_length\": 1, \"hash_ids\": [1, 2]"),
        ),
        said(Mooncake, "{\"timestamp\": 0, \"input_len"),
        said(Mooncake, &"[".repeat(2 << 20)),
        said(Sharegpt, "[{\"conversations\": [{\"from\": \"human\", \"value\": \"a\"}"),
        said(Sharegpt, "[{\"conversation\": []}]"),
        said(Sharegpt, "[]"),
        said(Sharegpt, "[] x"),
        said(Sharegpt, &"[".repeat(100_000)),
        said(Sharegpt, "{\"conversations\": []}\n7"),
    ];
    insta::assert_snapshot!(said.join("\n"));
}

#[test]
fn a_trace_makes_a_workload_that_reads_back() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(
        dir.path().join("t"),
        "arrival_time_ns,num_prefill_tokens,num_decode_tokens,prefix_hash_ids\n5,33,3,1 2\n3,16,2,1\n",
    )
    .unwrap();
    let base = workload_spec(Lengths::Fixed { prefill: 1, decode: None }, Arrivals::Recorded);
    let spec = WorkloadSpec { requests: None, lengths: None, trace: Some(of(TraceFormat::Xp)), ..base };
    let (made, notes) = generate_with_notes(&spec, &SEEDS, Some(&TOKENIZER), dir.path()).unwrap();
    assert_eq!((made.requests[0].inter_arrival_ns, made.requests[1].inter_arrival_ns), (3, 2));
    assert_eq!((made.prompts.len(), notes.len()), (0, 1));
    let served = with_texts(&made, &spec, &SEEDS, &TOKENIZER).unwrap();
    assert_eq!((served.prompts.len(), &served.prefixes), (2, &made.prefixes));
    assert_eq!(TOKENIZER.encode(&served.prompts[0]).unwrap().len(), 16);
    let files = workload_files(&made, &spec, &SEEDS);
    assert_eq!(files.len(), 5);
    for (name, bytes) in &files {
        std::fs::write(dir.path().join(name), bytes).unwrap();
    }
    let (read, meta) = super::super::read_workload(dir.path()).unwrap();
    assert_eq!((&read, meta.prefix_block_size, &meta.workload), (&made, Some(16), &spec));
    let prefixes = dir.path().join("prefix_hash_ids.csv");
    for (good, bad) in [("\n1,1 2", "\n1,1 2 3"), ("\n1,1 2", ""), ("0,1", "0,x"), ("\n1,1 2", "\n2,1 2")] {
        let text = String::from_utf8(files[3].1.clone()).unwrap();
        assert!(text.contains(good), "{text}");
        std::fs::write(&prefixes, text.replacen(good, bad, 1)).unwrap();
        let error = super::super::read_workload(dir.path()).unwrap_err().to_string();
        assert!(error.starts_with("prefix_hash_ids.csv:"), "{error}");
    }
    // Other arrivals take the place of its own; a cap and the shorter of two files decide.
    let replaced = WorkloadSpec { arrivals: Arrivals::Static, requests: Some(1), ..spec.clone() };
    let one = generate(&replaced, &SEEDS, None, dir.path()).unwrap();
    assert_eq!((one.requests[0].num_prefill_tokens, one.requests[0].arrival_time_ns), (33, 0));
    assert_eq!(one.prefixes.unwrap().len(), 1);
    let none = WorkloadSpec { trace: None, ..spec.clone() };
    assert!(generate(&none, &SEEDS, None, dir.path()).is_err());
    let both = WorkloadSpec { lengths: Some(Lengths::Fixed { prefill: 1, decode: None }), ..spec };
    assert!(matches!(generate(&both, &SEEDS, None, dir.path()), Err(WorkloadError::TwoLengths)));
}
