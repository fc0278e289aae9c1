//! What files, overrides and matrices mean.

use super::*;

#[test]
fn a_file_is_read_with_its_defaults() {
    let experiment = good();
    insta::assert_json_snapshot!(experiment, @r#"
    {
      "name": "chat",
      "seed": 7,
      "model": {
        "name": "qwen3-0.6b",
        "dtype": "f32",
        "source": {
          "kind": "synthetic"
        }
      },
      "hardware": {
        "device": "cpu",
        "threads": 2
      },
      "workload": {
        "name": "chat",
        "requests": 64,
        "lengths": {
          "kind": "zipf",
          "theta": 0.6,
          "min": 16,
          "max": 1024,
          "prefill-to-decode": 4.0
        },
        "arrivals": {
          "kind": "poisson",
          "qps": 2.0
        }
      },
      "backends": [
        {
          "kind": "candle",
          "name": "sarathi",
          "scheduler": "sarathi",
          "chunk-size": 256,
          "max-batch-size": 32,
          "block-size": 16,
          "kv-memory": "1GiB",
          "watermark": "1%",
          "sampling": {
            "temperature": 0.0,
            "top-k": 0,
            "top-p": 1.0
          }
        },
        {
          "kind": "sim",
          "name": "vidur",
          "profile": "auto",
          "predictor": "interpolate"
        }
      ],
      "slo": {
        "ttft-p99": "500ms",
        "tpot-p99": "80ms"
      },
      "compare": {
        "real": "sarathi",
        "sim": "vidur",
        "pass": "5%",
        "warn": "9%",
        "repeats": 3
      },
      "matrix": [
        {
          "path": "workload.arrivals.qps",
          "values": [
            1,
            2,
            4
          ]
        },
        {
          "path": "backend.sarathi.chunk-size",
          "values": [
            128,
            512
          ]
        }
      ],
      "report": "reports/chat.pdf"
    }
    "#);
}

#[test]
fn settings_may_be_properties_or_lines() {
    let lines = r##"experiment "chat" {
        seed 7
        model { name "qwen3-0.6b"; dtype f32; source { kind "synthetic"; }; }
        hardware "cpu" { threads 2; }
        workload "chat" requests=64 {
            lengths { kind "zipf"; theta 0.6; min 16; max 1024; prefill-to-decode 4.0; }
            arrivals "poisson" { qps 2; }
        }
        backend "sarathi" { kind "candle"; chunk-size 256; max-batch-size 32; }
        /- backend "other" kind="sim"
        backend "vidur"
        slo { ttft-p99 "500ms"; tpot-p99 #"80ms"#; }
        compare { real "sarathi"; sim "vidur"; pass "5%"; warn "9%"; repeats 3 }
        matrix { workload.arrivals.qps 1 2 4; backend.sarathi.chunk-size 128 512 }
        report "reports/chat.pdf" /* a { file */ // and more
    }"##;
    let loaded = load_text("x.kdl", lines, &[]).unwrap_or_else(|error| panic!("{}", render(&error)));
    assert_eq!(loaded.experiment, good());
}

#[test]
fn two_engines_are_told_apart_by_kind() {
    let text = GOOD.replace(
        "    slo ",
        "    backend \"big\" kind=\"candle\" chunk-size=512 { sampling temperature=0.7 top-k=40 top-p=0.95; }\n    slo ",
    );
    let experiment = load_text("x.kdl", &text, &[]).unwrap().experiment;
    let Backend::Candle(big) = &experiment.backends[2] else { panic!("{:?}", experiment.backends) };
    assert_eq!((big.chunk_size, big.sampling.top_k, big.sampling.top_p), (512, 40, 0.95));
}

#[test]
fn the_matrix_is_a_product_with_the_first_axis_slowest() {
    let loaded = load_text("x.kdl", GOOD, &[]).unwrap();
    let settings: Vec<String> = loaded
        .cells
        .iter()
        .map(|cell| cell.overrides.iter().map(|(_, value)| value.to_string()).collect::<Vec<_>>().join(" "))
        .collect();
    assert_eq!(settings, ["1 128", "1 512", "2 128", "2 512", "4 128", "4 512"]);
    assert_eq!(loaded.cells[3].experiment.workload.arrivals, Arrivals::Poisson { qps: 2.0 });
    assert!(loaded.cells[3].experiment.matrix.is_empty());
    assert_eq!(expand(&loaded.experiment).unwrap(), loaded.cells);
    let without = GOOD.lines().filter(|line| !line.contains("matrix")).collect::<Vec<_>>().join("\n");
    let loaded = load_text("x.kdl", &without, &[]).unwrap();
    assert_eq!(loaded.cells, [Cell { experiment: loaded.experiment.clone(), overrides: vec![] }]);
}

#[test]
fn overrides_change_what_they_name() {
    let loaded =
        set(&["seed=9", "workload.arrivals.qps=3", "compare.pass=1%", "backend.vidur.profile=bundle/a"])
            .unwrap();
    assert_eq!(loaded.experiment.seed, 9);
    assert_eq!(loaded.experiment.compare.as_ref().unwrap().pass, Percent(1.0));
    // An axis is cut to the value that is set.
    assert_eq!(loaded.experiment.matrix[0].values, [3]);
    assert_eq!(loaded.cells.len(), 2);
    // A new kind drops what only the old one had.
    let without = GOOD.lines().filter(|line| !line.contains("matrix")).collect::<Vec<_>>().join("\n");
    let one = |text: &str| load_text("x.kdl", &without, &[Override::parse(text).unwrap()]);
    assert_eq!(one("workload.arrivals=static").unwrap().experiment.workload.arrivals, Arrivals::Static);
    assert_eq!(one("model=qwen3-17m").unwrap().experiment.model.name, "qwen3-17m");
    let hf = ["model.source=hf", "model.source.repo=Qwen/Qwen3-0.6B", "model.source.revision=1234567"];
    let hf: Vec<Override> = hf.iter().map(|text| Override::parse(text).unwrap()).collect();
    let source = load_text("x.kdl", &without, &hf).unwrap().experiment.model.source;
    assert_eq!(source, Source::Hf { repo: "Qwen/Qwen3-0.6B".to_owned(), revision: "1234567".to_owned() });
}

#[test]
fn a_missing_file_has_an_io_error_as_its_cause() {
    let world = world::OneText { name: "x.kdl", text: GOOD };
    let error = load(&world, "no/such.kdl", &Changes::default()).unwrap_err();
    assert!(std::error::Error::source(&error).is_some_and(|cause| cause.is::<std::io::Error>()));
    assert_eq!(error.to_string(), "cannot read no/such.kdl");
}

/// Every `kdl` block of a document.
fn examples(document: &str) -> Vec<&str> {
    document.split("```kdl\n").skip(1).filter_map(|rest| rest.split("```").next()).collect()
}

/// The file that an example says it is, in its first line.
fn file_of(example: &str) -> Option<&str> {
    example.lines().next()?.strip_prefix("// ")
}

#[test]
fn the_examples_of_the_documentation_check() {
    let documents = [
        ("README.md", include_str!("../../../README.md")),
        ("spec.md", include_str!("../../../docs/spec.md")),
    ];
    for (name, document) in documents {
        let examples = examples(document);
        assert!(!examples.is_empty(), "{name} has no example");
        let files: Vec<(&str, &str)> =
            examples.iter().map(|text| (file_of(text).unwrap_or(name), *text)).collect();
        let files = layers::Files::new(&files);
        for text in examples.iter().filter(|text| text.contains("experiment \"")) {
            let checked = match file_of(text) {
                Some(path) => load(&files, path, &Changes::default()),
                None => load_text(name, text, &[]),
            };
            let loaded = checked.unwrap_or_else(|error| panic!("{name}:\n{text}\n{}", render(&error)));
            assert!(loaded.warnings.is_empty(), "{name}:\n{text}\n{:?}", loaded.warnings);
        }
    }
    for text in
        [include_str!("../../../experiments/quickstart.kdl"), include_str!("../../../experiments/qwen.kdl")]
    {
        load_text("x.kdl", text, &[]).unwrap_or_else(|error| panic!("{}", render(&error)));
    }
}

#[test]
fn what_the_documentation_says_of_its_files_holds() {
    let examples = examples(include_str!("../../../docs/spec.md"));
    let files: Vec<(&str, &str)> = examples.iter().filter_map(|text| Some((file_of(text)?, *text))).collect();
    let files = layers::Files::new(&files);
    let of = |path: &str, presets: &[&str]| {
        let presets = presets.iter().map(|name| (*name).to_owned()).collect();
        load(&files, path, &Changes { presets, overrides: Vec::new() }).unwrap().experiment
    };
    let steady = of("experiments/steady.kdl", &[]);
    assert_eq!((steady.workload.requests, steady.slo), (Some(32), Slo::default()));
    assert_eq!(steady.workload.arrivals, Arrivals::Poisson { qps: 4.0 });
    assert!(matches!(steady.workload.lengths, Some(Lengths::Zipf { max: 400, .. })));
    let smoke = of("experiments/presets.kdl", &["qwen", "smoke"]);
    assert_eq!((smoke.model.name.as_str(), smoke.workload.requests), ("qwen3-0.6b", Some(4)));
    assert_eq!(smoke.workload.arrivals, Arrivals::Gamma { qps: 4.0, cv: 4.0 });
    let zipped = examples.iter().find(|text| text.contains("zip {")).unwrap();
    assert_eq!(load_text("x.kdl", zipped, &[]).unwrap().cells.len(), 6);
}

#[test]
fn every_node_and_kind_has_an_example() {
    use super::grammar::{EXPERIMENT, Object, Shape};
    fn walk(object: &'static Object, words: &mut Vec<&'static str>) {
        let of_kinds = object.kinds.iter().flat_map(|kind| kind.fields);
        for field in object.fields.iter().chain(of_kinds) {
            words.push(field.node);
            if let Shape::Object(inner) | Shape::Named(inner) = field.shape {
                words.extend(inner.kinds.iter().map(|kind| kind.name));
                walk(inner, words);
            }
        }
    }
    let mut words = vec!["zip", "#null"];
    words.extend(lower::DIRECTIVES);
    walk(&EXPERIMENT, &mut words);
    let examples = examples(include_str!("../../../docs/spec.md")).concat();
    let is_word = |c: char| c.is_ascii_alphanumeric() || "-#".contains(c);
    let used: Vec<&str> = examples.split(|c: char| !is_word(c)).collect();
    words.retain(|word| !used.contains(word));
    assert_eq!(words, [""; 0], "have no example");
}

#[test]
fn every_default_is_in_the_documentation() {
    let document = include_str!("../../../docs/spec.md");
    fn walk(value: &serde_json::Value, document: &str) {
        if let Some(map) = value.as_object() {
            for (name, inner) in map.iter().filter(|(name, _)| *name != "backends") {
                assert!(
                    document.contains(&format!("`{name}`"))
                        || ["name", "kind", "device"].contains(&name.as_str()),
                    "{name}"
                );
                walk(inner, document);
            }
        }
    }
    walk(&serde_json::to_value(good()).unwrap(), document);
    good().backends.iter().for_each(|backend| walk(&serde_json::to_value(backend).unwrap(), document));
}
