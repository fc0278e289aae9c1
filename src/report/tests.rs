//! Whole renders: few, because the typesetter is slow without optimisation.

use super::fixture::{comparison, headline, matrix, with_errors};
use super::*;
use crate::capacity::{Capacity, Price, Setting, sample_queue};
use crate::compare::Pin;

fn page_count(pdf: &[u8]) -> usize {
    // Page objects may sit in compressed streams; the page tree's count does not lie.
    let text = String::from_utf8_lossy(pdf);
    text.match_indices("/Count ")
        .filter_map(|(at, key)| {
            text[at + key.len()..].split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
        })
        .max()
        .unwrap_or(0)
}

fn of_runs(comparisons: &[Comparison]) -> document::Document {
    document::Document::of(&Contents { comparisons, ..Contents::default() }, &[])
}

/// A comparison with hostile names and lengths everywhere a string goes.
fn hostile() -> Comparison {
    let evil = "#panic(\"x\") $y$ *b* _i_ `c` <l> @r \\ // /* [ ] { } ~ \"'";
    let mut run = comparison(3, 5);
    run.run = format!("{evil}{}", "n".repeat(10_000));
    run.description = Some(format!(
        "{evil} שלום مرحبا 模型 🚀\u{202e}\u{0}\u{7}e{} {}",
        "\u{301}".repeat(40),
        "w".repeat(400)
    ));
    run.real = "#show: none".to_owned();
    run.sim = "模".repeat(3_000);
    run.facts = vec![
        (
            evil.repeat(4),
            vec!["x".repeat(10_000), evil.to_owned(), "\u{1b}[31m".to_owned(), "no".to_owned()]
        );
        9
    ];
    run.pins = (0..40)
        .map(|index| Pin {
            group: format!("{evil}{}", index % 3),
            name: evil.repeat(3),
            value: format!("{}{evil}", "v".repeat(index * 40)),
        })
        .collect();
    for file in &mut run.files {
        file.file = format!("{}/{evil}", "d/".repeat(300));
    }
    run.whole_run = (0..9)
        .map(|_| crate::compare::WholeRun { name: evil.repeat(2), measured: 0.0, simulated: 1e300 })
        .collect();
    for row in &mut run.requests {
        (row.tpot_measured_ns, row.tpot_simulated_ns) = (None, None);
        row.ttft_simulated_ns = 0.0;
        row.e2e_measured_ns = 0.0;
    }
    run.headline = headline(&run.requests, Some(0.4));
    run.foreign_bundle = true;
    run.timeline_measured.clear();
    run
}

#[test]
fn the_same_comparison_gives_the_same_bytes_in_any_thread_pool() {
    let run = comparison(120, 1);
    let one = render_pdf(std::slice::from_ref(&run), None).expect("it renders");
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().expect("a pool of one thread");
    let two = pool.install(|| render_pdf(std::slice::from_ref(&run), None)).expect("it renders");
    assert!(one == two, "two renders differ");
    assert!(one.starts_with(b"%PDF-1."));
    assert!((2..=4).contains(&page_count(&one)), "{} pages", page_count(&one));
    for needle in [&b"pdfuaid:part"[..], b"/StructTreeRoot"] {
        assert!(
            one.windows(needle.len()).any(|window| window == needle),
            "{}",
            String::from_utf8_lossy(needle)
        );
    }
    for never in ["CreationDate", "ModDate", "xmp:CreateDate"] {
        assert!(!one.windows(never.len()).any(|window| window == never.as_bytes()), "{never}");
    }
}

#[test]
fn hostile_strings_and_empty_parts_make_a_report_all_the_same() {
    let pdf = render_pdf(&[hostile()], None).expect("a hostile name is only text");
    assert!((2..=4).contains(&page_count(&pdf)), "{} pages", page_count(&pdf));
}

#[test]
fn a_matrix_has_an_overview_and_pages() {
    let pdf = render_pdf(&matrix(2), None).expect("it renders");
    assert!((6..=8).contains(&page_count(&pdf)), "{} pages", page_count(&pdf));
}

#[test]
fn figures_are_seven_svgs() {
    let mut run = comparison(1, 1);
    (run.requests[0].tpot_measured_ns, run.requests[0].tpot_simulated_ns) = (None, None);
    let figures = render_figures(&run).expect("it renders");
    let names: Vec<&str> = figures.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, document::Figures::NAMES);
    assert!(figures.iter().all(|(_, svg)| svg.starts_with("<svg") && svg.trim_end().ends_with("</svg>")));
}

#[test]
fn nothing_is_no_report() {
    assert!(matches!(render_pdf(&[], None), Err(ReportError::Empty)));
}

/// A search with hostile names and settings, more axes than columns, and no price.
fn hostile_search() -> Capacity {
    let evil = "#panic(\"x\") $y$ *b* <l> @r \\ // 模型 \u{202e}\u{0}";
    let mut plan = sample_queue::plan(7);
    plan.name = format!("{evil}{}", "n".repeat(10_000));
    plan.currency = evil.repeat(9);
    plan.model = "m".repeat(3_000);
    plan.workload = evil.to_owned();
    plan.axes.extend((0..4).map(|axis| format!("{evil}.{axis}")));
    for (index, cell) in plan.cells.iter_mut().enumerate() {
        cell.hardware = format!("{evil}{index}");
        cell.price_per_device_hour = None;
        let extra = (0..4).map(|axis| Setting {
            path: format!("{evil}.{axis}"),
            value: serde_json::json!(format!("{evil}{index}{}", "v".repeat(500))),
        });
        cell.settings.extend(extra);
    }
    sample_queue::searched(plan, true)
}

/// A search in which no cell holds.
fn search_without_an_answer(cells: usize) -> Capacity {
    let mut plan = sample_queue::plan(cells);
    plan.objectives.ttft_p99_ns = Some(1_000_000);
    sample_queue::searched(plan, false)
}

#[test]
fn a_search_is_a_report_of_its_own_and_a_section_of_another() {
    let search = sample_queue::document(6, true);
    let alone = Contents { capacity: Some(&search), lock: Some("lock 1\n"), ..Contents::default() };
    let pdf = render(&alone).expect("it renders");
    assert!((2..=4).contains(&page_count(&pdf)), "{} pages", page_count(&pdf));
    assert!(pdf == render(&alone).expect("it renders"), "two renders differ");
    let files = attachments(&pdf).expect("xp's own");
    let names: Vec<&str> = files.iter().map(|file| file.name.as_str()).collect();
    assert_eq!(names, [CAPACITY, LOCK]);
    assert_eq!(crate::capacity::parse_capacity(CAPACITY, &files[0].bytes).expect("it is one"), search);
    let runs = [comparison(30, 1)];
    let both = render(&Contents { comparisons: &runs, ..alone }).expect("it renders");
    assert!(page_count(&both) > page_count(&pdf));
}

#[test]
fn hostile_and_empty_searches_render_all_the_same() {
    for search in [hostile_search(), search_without_an_answer(1)] {
        let contents = Contents { capacity: Some(&search), ..Contents::default() };
        render(&contents).expect("a hostile name is only text");
        let json = serde_json::to_string(&document::Document::of(&contents, &[])).expect("it serializes");
        assert!(!json.contains("\\u00") && json.len() < 200_000);
        for c in json.chars().filter(|c| !c.is_ascii()) {
            assert!(text::covered(c) || ('\u{300}'..='\u{36f}').contains(&c), "{c:?} U+{:04X}", c as u32);
        }
    }
}

#[test]
fn a_search_is_told_in_sentences_that_its_numbers_bear_out() {
    let said = |search: &Capacity| {
        let contents = Contents { capacity: Some(search), ..Contents::default() };
        let json = serde_json::to_value(document::Document::of(&contents, &[])).expect("it serializes");
        let page = &json["capacity"];
        let text = |name: &str| page[name].as_str().expect("a text").to_owned();
        let notes = page["number_notes"].as_array().expect("a list").iter().filter_map(|note| note.as_str());
        format!(
            "{}\n{}\n{} {}: {}",
            text("title"),
            text("lead"),
            text("number"),
            text("number_unit"),
            notes.collect::<Vec<_>>().join("; ")
        )
    };
    let mut wide = sample_queue::plan(1);
    wide.range = crate::capacity::Range::new(0.25, 0.5, 0.02).unwrap();
    let told = [
        said(&sample_queue::document(24, false)),
        said(&sample_queue::document(1, false)),
        said(&sample_queue::searched(wide, false)),
        said(&search_without_an_answer(24)),
        said(&search_without_an_answer(1)),
    ];
    insta::assert_snapshot!(told.join("\n\n"));
}

#[test]
fn a_matrix_with_prices_has_cost_against_latency() {
    let runs = matrix(4);
    let overview = |prices: Option<&Prices>| {
        let contents = Contents { comparisons: &runs, prices, ..Contents::default() };
        let json = serde_json::to_value(document::Document::of(&contents, &[])).expect("it serializes");
        json["overview"]["decision"].clone()
    };
    let price = |per_device_hour: f64| Some(Price { per_device_hour, devices: 2 });
    let of = |runs: Vec<Option<Price>>| Prices { currency: "US$".to_owned(), runs };
    let found = overview(Some(&of(vec![price(1.5), price(2.0), None, price(1.5)])));
    let rows = found["choices"].as_array().expect("a list");
    assert!(!rows.is_empty() && rows.iter().all(|row| row["target"].is_string()), "{found}");
    let words = found["rank_note"].as_str().expect("a text");
    assert!(
        words.contains("over 3 cells") && words.ends_with("Prices: 1.50 to 2.00 US$ per device-hour."),
        "{words}"
    );
    // One cell decides nothing, and a price that is none is no price.
    assert!(overview(Some(&of(vec![price(1.5), price(f64::NAN), price(-1.0)]))).is_null());
    assert!(overview(None).is_null());
    let prices = of(vec![price(1.5); 2]);
    let pdf = render(&Contents { comparisons: &runs[..2], prices: Some(&prices), ..Contents::default() });
    let files = attachments(&pdf.expect("it renders")).expect("xp's own");
    let attached = files.iter().find(|file| file.name == PRICES).expect("attached");
    assert_eq!(serde_json::from_slice::<Prices>(&attached.bytes).expect("prices"), prices);
}

/// Every character that reaches the template can be set, whatever came in.
#[test]
fn all_text_of_a_document_is_covered_by_the_fonts() {
    for run in [comparison(40, 1), hostile(), with_errors(vec![(-400.0, -500.0, 1e9); 12])] {
        let json = serde_json::to_string(&of_runs(&[run])).expect("it serializes");
        // JSON's own escapes are ASCII; control characters would show as \u00….
        assert!(!json.contains("\\u00"), "a control character is left");
        for c in json.chars().filter(|c| !c.is_ascii()) {
            assert!(text::covered(c) || ('\u{300}'..='\u{36f}').contains(&c), "{c:?} U+{:04X}", c as u32);
        }
    }
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(64))]
    /// Any numbers and names make a document without a panic, in bounded size.
    #[test]
    fn any_comparison_makes_a_document(
        name in "\\PC{0,60}",
        values in proptest::collection::vec(proptest::num::f64::ANY, 6..60),
        bin in 0u64..3_000_000_000,
    ) {
        let mut run = comparison((values.len() / 6) as u32, 1);
        run.run = name.clone();
        run.real = name;
        run.bin_ns = bin;
        for (row, v) in run.requests.iter_mut().zip(values.chunks(6)) {
            if let [a, b, c, d, e, f] = v {
                (row.ttft_measured_ns, row.ttft_simulated_ns) = (*a, *b);
                (row.tpot_measured_ns, row.tpot_simulated_ns) = (Some(*c), Some(*d));
                (row.e2e_measured_ns, row.e2e_simulated_ns) = (*e, *f);
            }
        }
        for (row, v) in run.headline.iter_mut().zip(values.chunks(4)) {
            row.error_percent = v[0];
            row.low_percent = v[v.len() - 1];
            row.measured_ns = v[v.len() / 2];
        }
        let json = serde_json::to_string(&of_runs(&[run])).expect("it serializes");
        proptest::prop_assert!(json.len() < 400_000, "{}", json.len());
        proptest::prop_assert!(!json.contains("NaN") && !json.contains("inf"));
    }
}

/// Writes reports for looking at into the folder XP_REPORT_LOOK, as PDF and as the template's data.
#[test]
#[ignore = "writes files for the eye"]
fn look() {
    let folder =
        std::path::PathBuf::from(std::env::var("XP_REPORT_LOOK").expect("XP_REPORT_LOOK names a folder"));
    let mut noisy = with_errors(vec![(2.0, 1.6, 2.3); 12]);
    noisy.repeats = 3;
    noisy.headline.iter_mut().enumerate().for_each(|(i, row)| row.noise_percent = Some(0.3 + 0.2 * i as f64));
    let mut fails = with_errors(
        [2.0, 41.0, -3.4, 9.1, 1.0, 1.0, -1.0, 6.2, 0.4, 0.5, 4.0, 320.0]
            .map(|e| (e, e - 2.0, e + 1.5))
            .to_vec(),
    );
    fails.foreign_bundle = true;
    let mut tiny = comparison(64, 8);
    for row in &mut tiny.requests {
        for value in [
            &mut row.ttft_measured_ns,
            &mut row.ttft_simulated_ns,
            &mut row.e2e_measured_ns,
            &mut row.e2e_simulated_ns,
        ] {
            *value /= 30_000.0;
        }
        row.tpot_measured_ns = row.tpot_measured_ns.map(|v| v / 30_000.0);
        row.tpot_simulated_ns = row.tpot_simulated_ns.map(|v| v / 31_000.0);
    }
    tiny.headline = headline(&tiny.requests, None);
    tiny.bin_ns /= 30_000;
    for point in tiny.timeline_measured.iter_mut().chain(&mut tiny.timeline_simulated) {
        point.time_ns /= 30_000;
    }
    tiny.facts.clear();
    tiny.pins.clear();
    let mut one = comparison(1, 3);
    (one.requests[0].tpot_measured_ns, one.requests[0].tpot_simulated_ns) = (None, None);
    one.headline = headline(&one.requests, None);
    let reports: Vec<(&str, Vec<Comparison>)> = vec![
        ("pass", vec![with_errors(vec![(2.0, 1.8, 2.3); 12])]),
        ("plain", vec![comparison(300, 1)]),
        ("noise", vec![noisy]),
        ("fail", vec![fails]),
        ("many", vec![comparison(6_000, 4)]),
        ("tiny", vec![tiny]),
        ("one", vec![one]),
        ("hostile", vec![hostile()]),
        ("matrix", matrix(6)),
        ("cells", matrix(40)),
        ("small", matrix(160)),
    ];
    for (name, runs) in reports {
        let data = serde_json::to_vec(&of_runs(&runs)).expect("it serializes");
        std::fs::write(folder.join(format!("{name}.json")), data).expect("the folder is writable");
        if std::env::var_os("XP_REPORT_DATA").is_none() {
            let started = std::time::Instant::now();
            let pdf = render_pdf(&runs, None).expect("it renders");
            eprintln!("{name}: {} pages, {} bytes, {:?}", page_count(&pdf), pdf.len(), started.elapsed());
            std::fs::write(folder.join(format!("{name}.pdf")), pdf).expect("the folder is writable");
        }
    }
    let searches = [
        ("capacity-1", sample_queue::document(1, true)),
        ("capacity-12", sample_queue::document(12, true)),
        ("capacity-60", sample_queue::document(60, false)),
        ("capacity-none", search_without_an_answer(12)),
        ("capacity-hostile", hostile_search()),
    ];
    let mut priced = matrix(12);
    for (index, run) in priced.iter_mut().enumerate() {
        let (rate, chunk) = ((index / 3) as f64, (index % 3) as f64);
        run.whole_run[1].measured = 330.0 * (1.0 + rate) * (1.0 - 0.05 * chunk);
        run.whole_run[1].simulated = run.whole_run[1].measured * (1.02 - 0.01 * rate);
        for row in run.headline.iter_mut().filter(|row| row.metric == "TTFT" && row.stat == "P99") {
            row.measured_ns = 0.2e9 * libm::pow(5.0, rate) * (1.3 - 0.2 * chunk);
            row.simulated_ns = row.measured_ns * (0.9 + 0.02 * index as f64);
        }
    }
    let price = Some(Price { per_device_hour: 0.34, devices: 1 });
    let prices = Prices { currency: "US$".to_owned(), runs: vec![price; 12] };
    let mut contents: Vec<(&str, Contents<'_>)> = searches
        .iter()
        .map(|(name, search)| (*name, Contents { capacity: Some(search), ..Contents::default() }))
        .collect();
    contents
        .push(("priced", Contents { comparisons: &priced, prices: Some(&prices), ..Contents::default() }));
    for (name, contents) in contents {
        let data = serde_json::to_vec(&document::Document::of(&contents, &[])).expect("it serializes");
        std::fs::write(folder.join(format!("{name}.json")), data).expect("the folder is writable");
        if std::env::var_os("XP_REPORT_DATA").is_none() {
            let pdf = render(&contents).expect("it renders");
            std::fs::write(folder.join(format!("{name}.pdf")), pdf).expect("the folder is writable");
        }
    }
    for (name, svg) in render_figures(&comparison(300, 1)).expect("it renders") {
        std::fs::write(folder.join(name), svg).expect("the folder is writable");
    }
    let figures = serde_json::to_vec(&document::Figures::of(&comparison(300, 1))).expect("it serializes");
    std::fs::write(folder.join("figures.json"), figures).expect("the folder is writable");
}
