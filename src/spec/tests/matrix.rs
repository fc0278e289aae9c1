//! Products, zips and their limits.

use proptest::prelude::*;
use serde::Deserialize;
use serde_json::{Value, json};

use super::*;

/// `GOOD` with another matrix.
fn with(matrix: &str) -> String {
    let old = "matrix { workload.arrivals.qps 1 2 4; backend.sarathi.chunk-size 128 512; }";
    assert!(GOOD.contains(old));
    GOOD.replace(old, matrix)
}

const ZIP: &str = "matrix { workload.arrivals.qps 1 2; zip { backend.sarathi.chunk-size 64 128 128; backend.sarathi.max-batch-size 8 8 16; }; }";

/// Settings of each cell, one line each.
fn settings(loaded: &Loaded) -> Vec<String> {
    let of =
        |cell: &Cell| cell.overrides.iter().map(|(_, value)| value.to_string()).collect::<Vec<_>>().join(" ");
    loaded.cells.iter().map(of).collect()
}

#[test]
fn axes_of_a_zip_go_together() {
    let loaded = load_text("x.kdl", &with(ZIP), &[]).unwrap();
    assert_eq!(settings(&loaded), ["1 64 8", "1 128 8", "1 128 16", "2 64 8", "2 128 8", "2 128 16"]);
    let Backend::Candle(last) = &loaded.cells[5].experiment.backends[0] else { panic!() };
    assert_eq!((last.chunk_size, last.max_batch_size), (128, 16));
    assert_eq!(expand(&loaded.experiment).unwrap(), loaded.cells);
    let zips: Vec<Option<u32>> = loaded.experiment.matrix.iter().map(|axis| axis.zip).collect();
    assert_eq!(zips, [None, Some(1), Some(1)]);
    // Without a zip, nothing of it is written.
    assert!(!serde_json::to_string(&good()).unwrap().contains("\"zip\""));
    let json = serde_json::to_string(&loaded.experiment).unwrap();
    assert_eq!(serde_json::from_str::<Experiment>(&json).unwrap(), loaded.experiment);
    assert_eq!(faults(&serde_json::to_value(&loaded.experiment).unwrap()), []);
}

#[test]
fn setting_an_axis_of_a_zip_picks_its_rows() {
    let set = |text: &str| {
        let loaded = load_text("x.kdl", &with(ZIP), &[Override::parse(text).unwrap()]).unwrap();
        (settings(&loaded), loaded.experiment.matrix.iter().map(|axis| axis.zip).collect::<Vec<_>>())
    };
    let zipped = vec![None, Some(1), Some(1)];
    let (cells, zips) = set("backend.sarathi.chunk-size=128");
    assert_eq!(
        (cells, zips),
        (["1 128 8", "1 128 16", "2 128 8", "2 128 16"].map(str::to_owned).to_vec(), zipped.clone())
    );
    let (cells, zips) = set("backend.sarathi.max-batch-size=16");
    assert_eq!((cells, zips), (["1 128 16", "2 128 16"].map(str::to_owned).to_vec(), zipped));
    // A value that no row has takes the axis out of the zip.
    let (cells, zips) = set("backend.sarathi.max-batch-size=4");
    assert_eq!((cells.len(), zips), (6, vec![None; 3]));
}

#[test]
fn zips_are_checked() {
    let said = |matrix: &str| match load_text("x.kdl", &with(matrix), &[]) {
        Ok(_) => panic!("no mistake in {matrix}"),
        Err(error) => render(&error),
    };
    let matrix = "matrix {\n        zip {\n            backend.sarathi.chunk-size 64 128\n            backend.sarathi.max-batch-size 8 16 32\n        }\n    }";
    insta::assert_snapshot!(said(matrix), @r"
    xp::spec::matrix

      × axes of a zip differ in length: `backend.sarathi.chunk-size` has 2 values,
      │ `backend.sarathi.max-batch-size` has 3
        ╭─[x.kdl:19:13]
     17 │         zip {
     18 │             backend.sarathi.chunk-size 64 128
        ·             ────────────────┬────────────────
        ·                             ╰── 2 values
     19 │             backend.sarathi.max-batch-size 8 16 32
        ·             ───────────────────┬──────────────────
        ·                                ╰── 3 values
     20 │         }
        ╰────
      help: a zip takes the first value of each axis, then the second, and so on: give each as many
    ");
    insta::assert_snapshot!(said("matrix { zip { workload.requests 1 2; }; zip; }"), @r#"
      × x.kdl: 2 mistakes

    Error: xp::spec::grammar

      × a zip of one axis
        ╭─[x.kdl:16:14]
     15 │     compare real="sarathi" sim="vidur" pass="5%" warn="9%" repeats=3
     16 │     matrix { zip { workload.requests 1 2; }; zip; }
        ·              ─┬─
        ·               ╰── binds nothing together
     17 │     report "reports/chat.pdf"
        ╰────
      help: write its axes in its block: `zip { backend.sarathi.chunk-size 64 128;
            backend.sarathi.max-batch-size 8 16 }`

    Error: xp::spec::grammar

      × a zip of no axis
        ╭─[x.kdl:16:46]
     15 │     compare real="sarathi" sim="vidur" pass="5%" warn="9%" repeats=3
     16 │     matrix { zip { workload.requests 1 2; }; zip; }
        ·                                              ─┬─
        ·                                               ╰── binds nothing together
     17 │     report "reports/chat.pdf"
        ╰────
      help: write its axes in its block: `zip { backend.sarathi.chunk-size 64 128;
            backend.sarathi.max-batch-size 8 16 }`
    "#);
    let twice =
        "matrix { workload.requests 1 2; zip { workload.requests 1 2; workload.arrivals.qps 1 1; }; }";
    assert!(said(twice).contains("`workload.requests` is given twice"));
    let same = "matrix { zip { workload.requests 1 2 1; workload.arrivals.qps 5 5 5; }; }";
    assert!(said(same).contains("`1 5` is given twice"));
    assert!(said("matrix { zip 5; }").contains("`zip` takes axes in a block"));
    assert!(
        said("matrix { zip { zip { workload.requests 1; }; workload.requests 1; }; }")
            .contains("no setting \"zip\"")
    );
    let bad = "matrix { zip { workload.requests 1 0; workload.arrivals.qps 1 2; }; }";
    insta::assert_snapshot!(said(bad), @r#"
    xp::spec::value

      × `requests` takes a whole number from 1 to 10000000, not 0
        ╭─[x.kdl:16:40]
     15 │     compare real="sarathi" sim="vidur" pass="5%" warn="9%" repeats=3
     16 │     matrix { zip { workload.requests 1 0; workload.arrivals.qps 1 2; }; }
        ·                                        ┬
        ·                                        ╰── here
     17 │     report "reports/chat.pdf"
        ╰────
      help: Number of requests. For trace lengths: at most this many rows.
    "#);
}

#[test]
fn a_matrix_of_too_many_runs_names_each_axis() {
    let values = |from: u32, count: u32| {
        (from..from + count).map(|value| value.to_string()).collect::<Vec<_>>().join(" ")
    };
    let matrix = format!(
        "matrix {{\n        workload.arrivals.qps {}\n        backend.sarathi.chunk-size {}\n        workload.requests 5\n    }}",
        values(1, 60),
        values(1, 50)
    );
    let load = |limit: &str| load_text("x.kdl", &with(&format!("{limit}{matrix}")), &[]);
    assert_eq!(load("").unwrap().cells.len(), 3_000);
    insta::assert_snapshot!(render(&load("max-runs 2999\n    ").unwrap_err()), @r#"
    xp::spec::matrix

      × the matrix has 3000 runs, at most 2999 are run
        ╭─[x.kdl:17:5]
     15 │     compare real="sarathi" sim="vidur" pass="5%" warn="9%" repeats=3
     16 │     max-runs 2999
        ·              ──┬─
        ·                ╰── the limit
     17 │     matrix {
        ·     ───┬──
        ·        ╰── their product is too large
     18 │         workload.arrivals.qps 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29 30 31 32 33 34 35 36 37 38 39 40 41 42 43 44 45 46 47 48 49 50 51 52 53 54 55 56 57 58 59 60
        ·         ──────────┬──────────
        ·                   ╰── 60 values
     19 │         backend.sarathi.chunk-size 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29 30 31 32 33 34 35 36 37 38 39 40 41 42 43 44 45 46 47 48 49 50
        ·         ─────────────┬────────────
        ·                      ╰── 50 values
     20 │         workload.requests 5
        ╰────
      help: 60 of `workload.arrivals.qps` × 50 of `backend.sarathi.chunk-size`: take values out, split
            the experiment, or raise `max-runs`, to 50000 at most
    "#);
    assert_eq!(load("max-runs 3000\n    ").unwrap().experiment.max_runs, Some(3_000));
    assert!(render(&load("max-runs 60000\n    ").unwrap_err()).contains("from 1 to 50000"));
    let set = [Override::parse("max-runs=10").unwrap()];
    let text = render(
        &load_text("x.kdl", GOOD, &set)
            .map(|_| ())
            .and(load_text("x.kdl", &with(&matrix), &set))
            .unwrap_err(),
    );
    assert!(text.contains("3000 runs, at most 10 are run") && text.contains("max-runs=10"), "{text}");
    let many = format!("matrix {{ workload.arrivals.qps {} }}", values(1, 10_001));
    let text = render(&load_text("x.kdl", &with(&many), &[]).unwrap_err());
    assert!(
        text.contains("10001 runs, at most 10000 are run") && text.contains("experiment, or raise"),
        "{text}"
    );
    let wide = |limit: &str| load_text("x.kdl", &with(&format!("{limit}{many}")), &[]);
    assert_eq!(wide("max-runs 10001\n").unwrap().cells.len(), 10_001);
}

#[test]
fn kinds_may_vary_with_their_settings() {
    let matrix = "matrix { workload.arrivals static poisson; workload.requests 3 4; }";
    let loaded = load_text("x.kdl", &with(matrix).replace("\"poisson\" qps=2.0", "\"static\""), &[]);
    // Without a rate, a Poisson process is none.
    assert!(render(&loaded.unwrap_err()).contains("needs `qps`"));
    let matrix = "matrix { workload.arrivals poisson gamma; workload.arrivals.cv 2 3; }";
    let text = render(&load_text("x.kdl", &with(matrix), &[]).unwrap_err());
    assert!(text.contains("`cv` is no setting of `arrivals \"poisson\"`"), "{text}");
    let gamma = with("matrix { workload.arrivals gamma poisson; }")
        .replace("\"poisson\" qps=2.0", "\"gamma\" qps=2.0 cv=2");
    let loaded = load_text("x.kdl", &gamma, &[]).unwrap_or_else(|error| panic!("{}", render(&error)));
    assert_eq!(loaded.cells[1].experiment.workload.arrivals, Arrivals::Poisson { qps: 2.0 });
}

#[test]
fn ten_thousand_cells_are_expanded_quickly() {
    let values = |from: u32, count: u32| (from..from + count).map(serde_json::Value::from).collect();
    let axis =
        |path: &str, from, count| Axis { path: path.to_owned(), values: values(from, count), zip: None };
    let mut experiment = good();
    let matrices = [
        vec![axis("workload.arrivals.qps", 1, 100), axis("backend.sarathi.chunk-size", 64, 100)],
        // Each cell has a workload of its own.
        vec![axis("workload.arrivals.qps", 1, 100), axis("workload.requests", 1, 100)],
        vec![axis("workload.arrivals.qps", 1, 10_000)],
    ];
    for matrix in matrices {
        experiment.matrix = matrix;
        let shape = crate::catalog::model("qwen3-0.6b");
        let started = std::time::Instant::now();
        assert_eq!(cells::cells(&experiment, shape).unwrap().cells.len(), 10_000);
        let took = started.elapsed();
        println!("{} axes: {took:?}", experiment.matrix.len());
        // Hardly optimised and on a busy machine.
        assert!(took.as_secs() < 5, "{took:?}");
    }
}

/// An engine that is not run here, in the place of xp's own: it may be of any device.
fn engine() -> Backend {
    let engine = json!({ "kind": "engine", "name": "sarathi", "scheduler": "sarathi" });
    serde_json::from_value(engine).unwrap()
}

/// `GOOD` with such an engine, hardware, simulated backend and matrix.
fn with_cards(hardware: &str, sim: &str, matrix: &str) -> String {
    with(&format!("matrix {{ {matrix} }}"))
        .replace("hardware \"cpu\" threads=2", hardware)
        .replace("backend \"sarathi\" ", "backend \"sarathi\" kind=\"engine\" scheduler=\"sarathi\" ")
        .replace("profile \"auto\"; predictor \"interpolate\";", sim)
        .replace("compare real=\"sarathi\" sim=\"vidur\" pass=\"5%\" warn=\"9%\" repeats=3", "")
}

#[test]
fn cards_vary_with_their_profiles() {
    let load = |sim: &str, matrix: &str| load_text("x.kdl", &with_cards("hardware \"l4\"", sim, matrix), &[]);
    let named = "profile \"profiles/l4\"; predictor \"kernels\";";
    let zip = "zip { hardware \"l4\" \"l40s\"; hardware.price-per-hour 0.7 3; backend.vidur.profile \"profiles/l4\" \"profiles/l40s\"; }";
    let loaded = load(named, zip).unwrap_or_else(|error| panic!("{}", render(&error)));
    assert!(loaded.warnings.is_empty(), "{:?}", loaded.warnings);
    let told: Vec<(String, Option<f64>, String)> = loaded
        .cells
        .iter()
        .map(|Cell { experiment, .. }| {
            let Hardware { device, price_per_hour, .. } = experiment.hardware.clone();
            (device, price_per_hour, experiment.simulated().unwrap().profile.clone().into())
        })
        .collect();
    let card = |name: &str, price| (name.to_owned(), Some(price), format!("profiles/{name}"));
    assert_eq!(told, [card("l4", 0.7), card("l40s", 3.0)]);
    assert!(loaded.experiment.varies_profile());
    // A rule that looks at two settings holds in every cell: what is simulated, and of which device.
    let refused = |sim: &str, matrix: &str| render(&load(sim, matrix).map(|_| ()).unwrap_err());
    let text = refused(named, "hardware.device \"l4\" \"tpu\"");
    assert!(text.contains("no device \"tpu\""), "{text}");
    let text = refused(named, "hardware.device \"l4\" \"l40s\"; backend.vidur.profile \"auto\"");
    assert!(text.contains("nothing here measures a profile of \"l4\""), "{text}");
    // The base's own device is no matter where the matrix says another.
    let text = refused(
        named,
        "hardware.device \"cpu\"; backend.vidur.profile \"auto\"; backend.vidur.predictor \"kernels\"",
    );
    assert!(text.contains("xp measures no kernels of a GPU"), "{text}");
    let own =
        "hardware.device \"cpu\"; backend.vidur.profile \"auto\"; backend.vidur.predictor \"interpolate\"";
    assert!(load(named, own).is_ok());
}

#[test]
fn cards_of_one_profile_are_a_warning() {
    let named = "profile \"profiles/l4\"; predictor \"kernels\";";
    let text =
        with_cards("hardware \"l4\"", named, "hardware.device \"l4\" \"l40s\"; workload.arrivals.qps 1 2;");
    let loaded = load_text("x.kdl", &text, &[]).unwrap();
    let told: Vec<String> = loaded.warnings.iter().map(Mistake::in_one_line).collect();
    insta::assert_snapshot!(
        told.join("\n"),
        @r#"x.kdl:16:14: "l4" and "l40s" are simulated from one profile, "profiles/l4""#
    );
    // One device in two sizes is no mistake, nor are two that are told apart by their tables.
    for matrix in [
        "hardware.memory \"20GiB\" \"24GiB\"",
        "zip { hardware.device \"l4\" \"l40s\"; backend.vidur.vidur.device \"a\" \"b\"; }",
    ] {
        let named = named.replace("\"kernels\"", "\"linear\"; vidur \"a\"");
        let loaded = load_text("x.kdl", &with_cards("hardware \"l4\"", &named, matrix), &[]);
        assert!(loaded.unwrap_or_else(|error| panic!("{}", render(&error))).warnings.is_empty(), "{matrix}");
    }
}

/// The cells as they are defined: each setting of each cell set, and the whole experiment checked.
fn defined(experiment: &Experiment) -> Option<Vec<Cell>> {
    let mut base = experiment.clone();
    base.matrix.clear();
    let base = serde_json::to_value(base).unwrap();
    let lengths: Vec<usize> = experiment.matrix.iter().map(|axis| axis.values.len()).collect();
    let count: usize = lengths.iter().product();
    let cell = |mut index: usize| {
        let mut choice = vec![0; lengths.len()];
        for (value, length) in choice.iter_mut().zip(&lengths).rev() {
            *value = index % length;
            index /= length;
        }
        let mut instance = base.clone();
        let mut overrides = Vec::new();
        for (axis, value) in experiment.matrix.iter().zip(choice) {
            let target = path::resolve(&axis.path, &instance).unwrap();
            path::set(&mut instance, &target, axis.values[value].clone(), |_| false);
            overrides.push((axis.path.clone(), axis.values[value].clone()));
        }
        let is_right =
            violations::violations(&instance, None).is_empty() && check::contradictions(&instance).is_empty();
        let experiment = Experiment::deserialize(&instance).ok().filter(|_| is_right)?;
        Some(Cell { experiment, overrides })
    };
    (0..count).map(cell).collect()
}

/// Axes of one value to three, good and bad.
fn axes() -> impl Strategy<Value = Vec<Axis>> {
    let axis = |path: &'static str, values: Vec<Value>| {
        let values = prop::sample::subsequence(values.clone(), 1..=values.len());
        prop::option::weighted(
            0.4,
            values.prop_map(move |values| Axis { path: path.to_owned(), values, zip: None }),
        )
    };
    let numbers = || vec![json!(1), json!(7), json!(0), json!(2.5)];
    (
        axis("workload.arrivals", vec![json!("poisson"), json!("gamma"), json!("static")]),
        axis("workload.arrivals.qps", numbers()),
        axis("workload.arrivals.cv", numbers()),
        axis("workload.requests", numbers()),
        axis("workload.lengths.max", vec![json!(20), json!(8), json!("x")]),
        axis("workload.decode-tokens", vec![json!(3), json!(0)]),
        axis("backend.sarathi.chunk-size", numbers()),
        axis(
            "backend.sarathi.kv-memory",
            vec![json!("1GiB"), json!("2GiB"), json!("99999999999TiB"), json!(5)],
        ),
        axis("backend.sarathi.sampling.top-p", numbers()),
        (
            axis("hardware.device", vec![json!("cpu"), json!("l4"), json!("tpu"), json!(5)]),
            axis("hardware.memory", vec![json!("1GiB"), json!("9GiB"), json!("none"), json!(5)]),
            axis("backend.vidur.profile", vec![json!("auto"), json!("profiles/a"), json!("../b")]),
            axis("backend.vidur.predictor", vec![json!("interpolate"), json!("kernels"), json!("forest")]),
        ),
    )
        .prop_map(|(a, b, c, d, e, f, g, h, i, (j, k, l, m))| {
            [a, b, c, d, e, f, g, h, i, j, k, l, m].into_iter().flatten().collect::<Vec<_>>()
        })
        .prop_shuffle()
        .prop_map(|mut axes| {
            axes.truncate(4);
            axes
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn cells_are_what_setting_each_value_gives(axes in axes(), gamma: bool, gpu: bool) {
        let mut experiment = good();
        if gpu {
            experiment.backends[0] = engine();
            experiment.compare = None;
        }
        if gamma {
            experiment.workload.arrivals = Arrivals::Gamma { qps: 2.0, cv: 3.0 };
        }
        experiment.matrix = axes;
        if !experiment.matrix.is_empty() {
            prop_assert_eq!(expand(&experiment).ok(), defined(&experiment));
        }
    }
}
