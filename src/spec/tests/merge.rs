//! Laying settings over one another, for any settings.

use proptest::prelude::*;

use super::layers::Files;
use super::*;

/// Settings of a layer: each is there or not.
#[derive(Debug, Clone, Default, PartialEq)]
struct Layer {
    seed: Option<u32>,
    threads: Option<u32>,
    requests: Option<u32>,
    qps: Option<u32>,
    chunk: Option<u32>,
    batch: Option<u32>,
    ttft: Option<u32>,
    axis: Option<Vec<u32>>,
}

impl Layer {
    fn kdl(&self) -> String {
        let line = |setting: Option<u32>, before: &str, after: &str| {
            setting.map(|value| format!("{before}{value}{after}\n")).unwrap_or_default()
        };
        let axis = self.axis.as_ref().map(|values| {
            let values: Vec<String> = values.iter().map(ToString::to_string).collect();
            format!("matrix {{ backend.slow.chunk-size {}; }}\n", values.join(" "))
        });
        [
            line(self.seed, "seed ", ""),
            line(self.threads, "hardware \"cpu\" threads=", ""),
            line(self.requests, "workload { requests ", "; }"),
            line(self.chunk, "backend \"sarathi\" chunk-size=", ""),
            line(self.batch, "backend \"slow\" { max-batch-size ", "; }"),
            line(self.ttft, "slo ttft-p99=\"", "s\""),
            axis.unwrap_or_default(),
        ]
        .concat()
        .replace(
            "workload { requests",
            &match self.qps {
                Some(qps) => format!("workload {{ arrivals qps={qps}; requests"),
                None => "workload { requests".to_owned(),
            },
        )
    }

    /// This layer, and over it another.
    fn with(&self, over: &Self) -> Self {
        // `qps` is written on the line of `requests` alone.
        let qps = over.requests.and(over.qps).or(self.requests.and(self.qps));
        Self {
            seed: over.seed.or(self.seed),
            threads: over.threads.or(self.threads),
            requests: over.requests.or(self.requests),
            qps,
            chunk: over.chunk.or(self.chunk),
            batch: over.batch.or(self.batch),
            ttft: over.ttft.or(self.ttft),
            axis: over.axis.clone().or_else(|| self.axis.clone()),
        }
    }
}

fn layer() -> impl Strategy<Value = Layer> {
    let value = || prop::option::of(1..60_u32);
    let axis = prop::option::of(prop::collection::btree_set(1..60_u32, 1..4));
    (value(), value(), value(), value(), value(), value(), value(), axis).prop_map(
        |(seed, threads, requests, qps, chunk, batch, ttft, axis)| {
            let axis = axis.map(|values| values.into_iter().collect());
            Layer { seed, threads, requests, qps, chunk, batch, ttft, axis }
        },
    )
}

const REST: &str = r#"
model "qwen3-tiny"
workload "w" { requests 1; lengths "fixed" prefill=8 decode=2; arrivals "poisson" qps=1; }
backend "sarathi"
backend "slow" kind="candle"
"#;

/// The experiment of layers that are included one after another, or that include one another.
fn of(layers: &[&Layer], nested: bool) -> Experiment {
    let name = |index: usize| format!("{index}.kdl");
    let mut files = vec![("rest.kdl".to_owned(), REST.to_owned())];
    let mut includes = vec!["rest.kdl".to_owned()];
    for (index, layer) in layers.iter().enumerate() {
        let before = match nested {
            true => format!("include \"{}\"\n", includes.pop().unwrap()),
            false => String::new(),
        };
        files.push((name(index), before + &layer.kdl()));
        includes.push(name(index));
    }
    let includes: Vec<String> = includes.iter().map(|name| format!("{name:?}")).collect();
    files.push(("x.kdl".to_owned(), format!("experiment \"x\" {{ include {}; }}", includes.join(" "))));
    let files: Vec<(&str, &str)> = files.iter().map(|(path, text)| (path.as_str(), text.as_str())).collect();
    match load(&Files::new(&files), "x.kdl", &Changes::default()) {
        Ok(loaded) => loaded.experiment,
        Err(error) => panic!("{files:?}\n{}", render(&error)),
    }
}

/// The same with the layers as presets.
fn of_presets(layers: &[&Layer], used: usize) -> Experiment {
    let presets: String = layers
        .iter()
        .enumerate()
        .map(|(at, layer)| format!("preset \"p{at}\" {{\n{}}}\n", layer.kdl()))
        .collect();
    let uses: String = (0..used).map(|at| format!("use \"p{at}\"\n")).collect();
    let text = format!("experiment \"x\" {{\n{REST}{presets}{uses}}}");
    let presets = (used..layers.len()).map(|at| format!("p{at}")).collect();
    let changes = Changes { presets, overrides: Vec::new() };
    load(&Files::new(&[("x.kdl", &text)]), "x.kdl", &changes)
        .unwrap_or_else(|error| panic!("{}", render(&error)))
        .experiment
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn the_later_layer_wins(a in layer(), b in layer(), c in layer()) {
        let merged = a.with(&b).with(&c);
        let expected = of(&[&merged], false);
        prop_assert_eq!(&of(&[&a, &b, &c], false), &expected);
        prop_assert_eq!(&of(&[&a, &b, &c], true), &expected);
        prop_assert_eq!(&of_presets(&[&a, &b, &c], 3), &expected);
        prop_assert_eq!(&of_presets(&[&a, &b, &c], 1), &expected);
    }

    #[test]
    fn a_layer_twice_is_a_layer_once(a in layer(), b in layer()) {
        prop_assert_eq!(of(&[&a, &a], false), of(&[&a], false));
        prop_assert_eq!(of(&[&a, &b, &b], true), of(&[&a, &b], true));
        prop_assert_eq!(of(&[&Layer::default(), &a], false), of(&[&a, &Layer::default()], true));
    }

    #[test]
    fn a_file_wins_over_what_it_includes(a in layer(), b in layer()) {
        let body = format!("include \"rest.kdl\"\n{}", a.kdl());
        let text = format!("experiment \"x\" {{\ninclude \"a.kdl\"\n{}}}", b.kdl());
        let files = Files::new(&[("x.kdl", &text), ("a.kdl", &body), ("rest.kdl", REST)]);
        let found = load(&files, "x.kdl", &Changes::default()).unwrap().experiment;
        prop_assert_eq!(found, of(&[&a.with(&b)], false));
    }

    /// Files of any text, one included in the other.
    #[test]
    fn any_text_may_be_included(text in "\\PC{0,80}", nodes in prop::collection::vec(prop::sample::select(vec![
        "seed 1\n", "seed #null\n", "workload #null\n", "backend \"sarathi\" #null\n", "backend \"sarathi\" kind=\"sim\"\n",
        "matrix #null\n", "matrix { zip { workload.requests 1 2; backend.slow.chunk-size 3 4; }; }\n",
        "matrix { workload.requests #null; }\n", "preset \"p\" { seed 5; slo #null; }\n", "use \"p\"\n",
        "include \"x.kdl\"\n", "include \"y.kdl\"\n", "experiment \"y\" {\n", "}\n", "model \"qwen3-17m\" {\n",
        "backend \"slow\" #null\n", "backend\n", "source \"path\" \"x\"\n", "workload { lengths #null; }\n",
    ]), 0..12)) {
        for body in [&text, &nodes.concat()] {
            let x = "experiment \"x\" { include \"rest.kdl\" \"y.kdl\"\n }".to_owned();
            let files = Files::new(&[("x.kdl", &x), ("rest.kdl", REST), ("y.kdl", body)]);
            if let Err(error) = load(&files, "x.kdl", &Changes::default()) {
                let _ = render(&error);
            }
        }
    }
}
