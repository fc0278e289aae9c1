//! Texts that no person wrote.

use proptest::prelude::*;

use super::*;

#[test]
fn nesting_bombs_are_refused_on_a_small_stack() {
    let bombs = [
        "a {".repeat(2_000),
        "a{".repeat(400_000),
        "/*".repeat(50_000),
        format!("/*{}*/", "*".repeat(900_000)),
        "/-".repeat(100_000),
        "(a)".repeat(100_000),
        format!("{}\"x\"{}", "#".repeat(100_000), "#".repeat(99_999)),
        "}".repeat(500_000),
        "a{}b".repeat(200_000),
        "a=".repeat(200_000),
        format!("a {}\n", "9".repeat(60)).repeat(10_000),
        format!("\"\\q {}\"", "{ a ".repeat(100_000)),
        "a \"x\"y {".repeat(50_000),
        "a /- {".repeat(10_000),
        "x\n/- a {\n".repeat(20),
        "\"\"\"\n".repeat(20_000),
        format!("experiment \"x\" {{ matrix {{ {} }}; }}", "seed 1;".repeat(10_000)),
        format!("experiment \"x\" {{ {} }}", "backend \"x\";".repeat(10_000)),
        format!("experiment \"x\" {}", "y=1 ".repeat(10_000)),
        format!(
            "experiment \"x\" {{ compare real=\"y\"; {} }}",
            (0..5_000).map(|index| format!("backend b{index} kind=candle;")).collect::<String>()
        ),
    ];
    let check = move || {
        for bomb in bombs {
            let Err(error) = load_text("bomb.kdl", &bomb, &[]) else {
                // A long comment alone is no bomb, and no experiment.
                panic!("accepted {:?}…", &bomb[..20]);
            };
            let text = render(&error);
            assert!(text.contains("bomb.kdl"), "{text}");
            assert!(text.len() < 30_000, "{} bytes for {:?}…", text.len(), &bomb[..20]);
        }
    };
    std::thread::Builder::new().stack_size(2 << 20).spawn(check).unwrap().join().unwrap();
}

#[test]
fn a_lock_with_many_runs_is_no_bomb() {
    let run = "run \"a-1b2c3d4e\" {\n    set \"workload.arrivals.qps\" value=4\n    workload {\n        sha256 \"00\"\n    }\n}\n";
    let text = run.repeat(2_000);
    let document = parse_kdl("x.lock.kdl", &text, 64 << 20).unwrap();
    assert_eq!(document.nodes().len(), 2_000);
    assert!(
        parse_kdl("x.lock.kdl", &text, 1_000).unwrap_err().to_string().contains("larger than 1000 bytes")
    );
}

#[test]
fn the_faults_of_a_hostile_instance_are_few() {
    let settings: serde_json::Map<String, serde_json::Value> =
        (0..2_000).map(|index| (format!("u{index}"), 1.into())).collect();
    let backends: Vec<serde_json::Value> = (0..300).map(|_| settings.clone().into()).collect();
    let found = faults(&serde_json::json!({ "workload": settings, "backends": backends }));
    assert!((100..400).contains(&found.len()), "{}", found.len());
}

#[test]
fn more_values_than_any_file_has_are_refused_unparsed() {
    // Each of them would take some 600 bytes.
    let error = parse_kdl("x.lock.kdl", &"a\n".repeat(3_000_000), 64 << 20).unwrap_err();
    assert!(render(&error).contains("more than 2000000 names and values"), "{}", render(&error));
}

/// Pieces that KDL is made of, good and bad.
fn soup() -> impl Strategy<Value = String> {
    let piece = prop::sample::select(vec![
        "a",
        "b-c",
        "\"x\"",
        "\"x",
        "#\"r\"#",
        "\"\"\"\n  m\n  \"\"\"",
        "\"\"",
        "1",
        "-2.5e3",
        "0x1f",
        "#true",
        "#nan",
        "true",
        "=",
        " = ",
        " ",
        " ",
        "\n",
        "\r\n",
        ";",
        "{",
        "}",
        "{ ",
        " }",
        "/-",
        "/- ",
        "/*c*/",
        "/*",
        "*/",
        "// c\n",
        "\\\n",
        "\\",
        "(",
        ")",
        "#",
        "é",
        "\u{a0}",
        "\u{202e}",
        "[",
        "/",
        "\\n",
        ".5",
        "+",
        "-",
        "9999999999999999999999999999999999999999",
        "experiment",
        "\"\\u{41}\"",
    ]);
    prop::collection::vec(piece, 0..40).prop_map(|pieces| pieces.concat())
}

/// Whole statements, most of them well-formed.
fn statements() -> impl Strategy<Value = String> {
    let piece = prop::sample::select(vec![
        "a 1\n",
        "b \"x\" k=v;",
        " c {\n",
        "}\n",
        "}",
        " };",
        "/- d 1\n",
        "e /-2 3\n",
        "f /- {\n",
        "g{h 1}\n",
        "i/*{*/ 2\n",
        "j \\\n  3\n",
        "k = 4\n",
        "l m = 5 n=#true\n",
        "/- o {\n",
        "p #\"}\"# \"{\"\n",
        "q \"\"\"\n  {\n  \"\"\" r\n",
        "// }\n",
        "\n",
        "s /-t=1 /-u\n",
        "\"v w\" 0x1f -1.5e-3\n",
        "x {}\n",
        "y {};",
        "/-z;",
        "\r\n",
        "/*\n*/",
        "é ü\n",
        "aa /-{} {}\n",
        "bb {} /-{}\n",
        "/-ii /-{} \\\n;",
        "cc\\ // c\n1\n",
        "dd /- 1 {\n",
        "ee#\"\"#\n",
        "ff +1 - -- +\n",
        "gg 1_000 1_0.0_1\n",
        "hh \"\\u{41}\\s\\\n  \"\n",
    ]);
    prop::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn any_text_is_an_experiment_or_a_list_of_mistakes(text in "\\PC{0,200}") {
        if let Err(error) = load_text("x.kdl", &text, &[]) {
            let _ = render(&error);
        }
    }

    #[test]
    fn any_bytes_are_an_experiment_or_a_list_of_mistakes(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        if let Err(error) = load_text("x.kdl", &String::from_utf8_lossy(&bytes), &[]) {
            let _ = render(&error);
        }
    }

    /// The parser recovers from errors by recursion: what the guard lets through must have none.
    #[test]
    fn what_the_guard_accepts_the_parser_accepts(text in prop_oneof![soup(), statements()]) {
        if let Ok(guarded) = super::guard::check(&text) {
            prop_assert_eq!(guarded.len(), text.len());

            if let Err(error) = kdl::KdlDocument::parse_v2(&guarded) {
                prop_assert!(false, "{:?}: {:?}", text, error.diagnostics);
            }
        }
    }

    #[test]
    fn a_damaged_file_is_an_experiment_or_a_list_of_mistakes(
        cuts in prop::collection::vec((any::<prop::sample::Index>(), 0..12_usize, soup()), 1..4)
    ) {
        let mut text = GOOD.to_owned();
        for (at, length, new) in cuts {
            let mut start = at.index(text.len() + 1);
            while !text.is_char_boundary(start) { start -= 1; }
            let mut end = (start + length).min(text.len());
            while !text.is_char_boundary(end) { end += 1; }
            text.replace_range(start..end, &new);
        }
        if let Err(error) = load_text("x.kdl", &text, &[]) {
            prop_assert!(!render(&error).contains("Failed to read"));
        }
    }

    #[test]
    fn an_experiment_as_json_is_read_back(seed in any::<u64>(), qps in 0.001..1e6_f64, requests in 1..1000_u32) {
        let mut experiment = good();
        experiment.seed = seed;
        experiment.workload.requests = Some(requests);
        experiment.workload.arrivals = Arrivals::Poisson { qps };
        let text = serde_json::to_string(&experiment).unwrap();
        prop_assert_eq!(serde_json::from_str::<Experiment>(&text).unwrap(), experiment);
    }
}
