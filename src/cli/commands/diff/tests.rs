use super::operand::Side;
use super::results::{self, Figure, Results, RunResults};
use super::{Compared, compare, json, markdown, text};
use crate::compare::Verdict;
use crate::lock::{Lock, samples};
use crate::store::Digest;

fn side(name: &str, lock: Lock) -> Side {
    Side { name: name.to_owned(), lock: Some(lock), file: None }
}

fn compared(runs: usize, edit: impl FnOnce(&mut Lock)) -> Compared {
    let old = samples::lock(runs);
    let mut new = old.clone();
    edit(&mut new);
    compare(side("main:locks/tiny.lock.kdl", old), side("locks/tiny.lock.kdl", new))
}

/// As it is where there are no colours.
fn shown(compared: &Compared) -> String {
    anstream::adapter::strip_str(&text::text(compared)).to_string()
}

/// Other requests and another chunk size in all runs.
fn two_settings(lock: &mut Lock) {
    lock.experiment.workload.requests = Some(7);
    lock.xp = "0.2.0".to_owned();
    for run in &mut lock.runs {
        run.workload.sha256 = Digest::of(format!("other {}", run.id));
        run.workload.requests = 7;
        run.workload.prefill_tokens += 20;
        run.scheduler.chunk_size = 32;
        run.sim.as_mut().unwrap().sha256 = Digest::of(format!("other sim {}", run.id));
    }
    let crate::spec::Backend::Candle(engine) = &mut lock.experiment.backends[0] else { panic!() };
    engine.chunk_size = 32;
    lock.spec.sha256 = Digest::of_json(&lock.experiment);
}

#[test]
fn one_run_reads_fact_by_fact() {
    insta::assert_snapshot!(shown(&compared(1, two_settings)), @"
    Old and new results of the run may not be compared.

    comparison-breaking: old and new results may not be compared
      experiment.workload.requests       6 → 7
      runs.tiny.workload.sha256          b870a7b3bad5… → e1cd2e6c0e43…
      runs.tiny.workload.requests        6 → 7
      runs.tiny.workload.prefill-tokens  118 → 138

    measurement: the engine is timed again
      experiment.backends.sarathi.chunk-size  16 → 32
      runs.tiny.scheduler.chunk-size          16 → 32

    simulation: simulated results are redone
      runs.tiny.sim.sha256  0c6e3bc0c59e… → c7c21244f8c4…

    cosmetic: no result changes
      xp           0.1.0 → 0.2.0
      spec.sha256  123ea53ca02d… → 532db2e43a13…

    made again
      workload, sim, real, compare, report  run tiny
    ");
}

#[test]
fn what_many_runs_have_alike_is_one_line() {
    let compared = compared(10_000, |lock| {
        two_settings(lock);
        lock.runs[5].scheduler.kv_blocks = 99;
        lock.runs.iter_mut().take(4).for_each(|run| run.scheduler.max_batch_size = 8);
    });
    insta::assert_snapshot!(shown(&compared), @"
    Old and new results of all 10,000 runs may not be compared.

    comparison-breaking: old and new results may not be compared
      experiment.workload.requests    6 → 7
      runs.*.workload.sha256          other values in all 10,000 runs
      runs.*.workload.requests        6 → 7  in all 10,000 runs
      runs.*.workload.prefill-tokens  118 → 138  in all 10,000 runs

    measurement: the engine is timed again
      experiment.backends.sarathi.chunk-size  16 → 32
      runs.*.scheduler.chunk-size             16 → 32  in all 10,000 runs
      runs.*.scheduler.max-batch-size         4 → 8  in 4 runs: tiny-1, tiny-2, tiny-3 and 1 more
      runs.tiny-6.scheduler.kv-blocks         512 → 99

    simulation: simulated results are redone
      runs.*.sim.sha256  other values in all 10,000 runs

    cosmetic: no result changes
      xp           0.1.0 → 0.2.0
      spec.sha256  b621b98927b4… → d63b1b24200d…

    made again
      workload, sim, real, compare, report  all 10,000 runs
    ");
}

#[test]
fn a_few_of_many_runs_are_named() {
    let compared = compared(12, |lock| {
        for index in [1, 4, 5, 9, 11] {
            lock.runs[index].scheduler.chunk_size = 256;
        }
        let bundle = lock.bundle.as_mut().unwrap();
        bundle.files.iter_mut().for_each(|file| file.sha256 = Digest::of("new"));
        bundle.sha256 = Digest::of("new");
        lock.experiment.compare.as_mut().unwrap().pass = "6%".parse().unwrap();
    });
    insta::assert_snapshot!(shown(&compared), @"
    The engine is timed again in 5 of 12 runs, measurements of the others stand.

    measurement: the engine is timed again
      runs.*.scheduler.chunk-size  16 → 256  in 5 runs: tiny-2, tiny-5, tiny-6 and 2 more

    simulation: simulated results are redone
      bundle.sha256          1e6ed65d77d6… → 11507a0e2f5e…
      bundle.files.*.sha256  other values in 4 files: attention.csv, mlp.csv, steps.csv and 1 more

    verdict: results stand, they are judged again
      experiment.compare.pass  10% → 6%

    made again
      profile, sim, real, compare, report  5 runs: tiny-2, tiny-5, tiny-6 and 2 more
      profile, sim, compare, report        7 runs: tiny-1, tiny-3, tiny-4 and 4 more, measurements stand
    ");
}

#[test]
fn measurements_stand_where_only_the_simulation_is_redone() {
    let compared = compared(2, |lock| {
        lock.bundle.as_mut().unwrap().sha256 = Digest::of("new");
        lock.runs[0].sim.as_mut().unwrap().sha256 = Digest::of("other");
    });
    let said = shown(&compared);
    for line in [
        "Simulated results of both runs are redone, measurements stand.",
        "simulation: simulated results are redone, measurements stand",
        "  profile, sim, compare, report  both runs, measurements stand",
    ] {
        assert!(said.lines().any(|found| found == line), "{line:?} is not in\n{said}");
    }
    let comment = markdown::markdown(&compared);
    for part in [
        "| **simulation**: simulated results are redone, measurements stand |",
        "\n- profile, sim, compare, report of both runs; measurements stand\n",
    ] {
        assert!(comment.contains(part), "{part:?} is not in\n{comment}");
    }
    let answer = serde_json::to_value(json::answer(&compared)).unwrap();
    assert_eq!(answer["summary"], "Simulated results of both runs are redone, measurements stand.");
    assert_eq!(answer["invalidated"][0]["measurements_stand"], true, "{answer}");
}

#[test]
fn runs_come_and_go_by_name() {
    let compared = compared(3, |lock| {
        let mut new = lock.runs[1].clone();
        new.id = "tiny-9".to_owned();
        new.set[0].value = 9.into();
        lock.runs.remove(1);
        lock.runs.push(new);
        lock.experiment.matrix[0].values = vec![1.into(), 3.into(), 9.into()];
    });
    insta::assert_snapshot!(shown(&compared), @r#"
    No result changes. 1 run is added. 1 run is removed.

    cosmetic: no result changes
      experiment.matrix."workload.arrivals.qps".values  1 2 3 → 1 3 9

    runs
      - tiny-2  qps=2
      + tiny-9  qps=9

    made again
      compare, report  both runs
      every stage      the added run: tiny-9
    "#);
}

#[test]
fn a_lock_may_be_new_or_gone() {
    let none = || Side { name: "/dev/null".to_owned(), lock: None, file: None };
    let new = compare(none(), side("a.lock.kdl", samples::lock(2)));
    let gone = compare(side("a.lock.kdl", samples::lock(1)), none());
    insta::assert_snapshot!(format!("{}\n{}", shown(&new), shown(&gone)), @"
    The lock is new: 2 runs.

    runs
      + tiny-1  qps=1
      + tiny-2  qps=2

    made again
      every stage  the added runs: tiny-1, tiny-2

    The lock is gone: 1 run.

    runs
      - tiny
    ");
    assert!(shown(&compared(2, |_| {})).starts_with("The locks say the same."));
}

#[test]
fn only_who_wrote_it_differs() {
    insta::assert_snapshot!(shown(&compared(2, |lock| lock.xp = "0.2.0".to_owned())), @"
    No result changes.

    cosmetic: no result changes
      xp  0.1.0 → 0.2.0
    ");
}

#[test]
fn a_comment_on_a_pull_request() {
    insta::assert_snapshot!(markdown::markdown(&compared(12, two_settings)), @"
    ### Old and new results of all 12 runs may not be compared.

    `main:locks/tiny.lock.kdl` → `locks/tiny.lock.kdl`

    | impact | facts | made again | in |
    |---|---:|---|---|
    | **comparison-breaking**: old and new results may not be compared | 15 | workload, sim, real, compare, report | all 12 runs |
    | **measurement**: the engine is timed again | 2 | sim, real, compare, report | all 12 runs |
    | **simulation**: simulated results are redone | 12 | sim, compare, report | all 12 runs |
    | **cosmetic**: no result changes | 2 | compare, report | all 12 runs |

    Made again:

    - workload, sim, real, compare, report of all 12 runs

    <details><summary>comparison-breaking: 15 facts</summary>

    | fact | old | new |
    |---|---|---|
    | `experiment.workload.requests` | `6` | `7` |
    | `runs.*.workload.sha256` | other values in all 12 runs | |
    | `runs.*.workload.requests` in all 12 runs | `6` | `7` |
    | `runs.*.workload.prefill-tokens` in all 12 runs | `118` | `138` |

    </details>

    <details><summary>measurement: 2 facts</summary>

    | fact | old | new |
    |---|---|---|
    | `experiment.backends.sarathi.chunk-size` | `16` | `32` |
    | `runs.*.scheduler.chunk-size` in all 12 runs | `16` | `32` |

    </details>

    <details><summary>simulation: 12 facts</summary>

    | fact | old | new |
    |---|---|---|
    | `runs.*.sim.sha256` | other values in all 12 runs | |

    </details>

    <details><summary>cosmetic: 2 facts</summary>

    | fact | old | new |
    |---|---|---|
    | `xp` | `0.1.0` | `0.2.0` |
    | `spec.sha256` | `b7a52e90a5fc…` | `bbcaceb178a9…` |

    </details>
    ");
}

#[test]
fn a_comment_stays_short_and_obeys_nobody() {
    let hostile = "`|</details><script>alert(1)</script> @everyone #1\n\n# head\u{1b}[2J\u{202e}";
    let compared = compared(10_000, |lock| {
        lock.experiment.description = Some(hostile.repeat(50));
        lock.experiment.name = hostile.to_owned();
        lock.resolved_model.files = (0..3000)
            .map(|n| crate::store::FileDigest {
                file: format!("{n}.{hostile}"),
                bytes: n,
                sha256: Digest::of("x"),
            })
            .collect();
        for (n, run) in lock.runs.iter_mut().enumerate() {
            run.id = format!("{hostile}{n}");
        }
    });
    let text = markdown::markdown(&compared);
    assert!(text.chars().count() < 65_536, "{}", text.len());
    for line in text.lines() {
        assert!(
            !line.contains("<script") && !line.contains('\u{1b}') && !line.contains('\u{202e}'),
            "{line}"
        );
        assert!(line.matches('@').count() == 0 || line.contains('`'), "{line}");
    }
    assert_eq!(text.matches("<details>").count(), text.matches("</details>").count());
    let shown = shown(&compared);
    assert!(!shown.contains('\u{1b}') && !shown.contains('\u{202e}'), "{shown}");
    assert!(shown.lines().count() < 60, "{shown}");
}

#[test]
fn a_program_gets_every_change() {
    let compared = compared(2, two_settings);
    insta::assert_json_snapshot!(json::answer(&compared), @r#"
    {
      "version": 1,
      "command": "diff",
      "ok": false,
      "old": "main:locks/tiny.lock.kdl",
      "new": "locks/tiny.lock.kdl",
      "impact": "comparison-breaking",
      "summary": "Old and new results of both runs may not be compared.",
      "changes": [
        {
          "path": "experiment.workload.requests",
          "old": "6",
          "new": "7",
          "impact": "comparison-breaking",
          "runs": [
            "tiny-1",
            "tiny-2"
          ],
          "stages": [
            "workload",
            "sim",
            "real",
            "compare",
            "report"
          ]
        },
        {
          "path": "runs.tiny-1.workload.sha256",
          "old": "a6a6561a528fe703a026eb38d6f3eb79c8c88f973a7d3b6f9acf0bd2235184e4",
          "new": "e98c1e29395284c708b9f81ff51350d4cadb84910dd5c59055ed4435d1db88d4",
          "impact": "comparison-breaking",
          "runs": [
            "tiny-1"
          ],
          "stages": [
            "workload",
            "sim",
            "real",
            "compare",
            "report"
          ]
        },
        {
          "path": "runs.tiny-2.workload.sha256",
          "old": "6e5e2ee6411806531a07b34cfb882bf0225e74b8d8ce50030edcc8b3042d4f39",
          "new": "5b313c67f61cba7122d3136780aa5b35dde2687c3d5ff59c1f2bec8ee43b76da",
          "impact": "comparison-breaking",
          "runs": [
            "tiny-2"
          ],
          "stages": [
            "workload",
            "sim",
            "real",
            "compare",
            "report"
          ]
        },
        {
          "path": "runs.*.workload.requests",
          "old": "6",
          "new": "7",
          "impact": "comparison-breaking",
          "runs": [
            "tiny-1",
            "tiny-2"
          ],
          "stages": [
            "workload",
            "sim",
            "real",
            "compare",
            "report"
          ]
        },
        {
          "path": "runs.*.workload.prefill-tokens",
          "old": "118",
          "new": "138",
          "impact": "comparison-breaking",
          "runs": [
            "tiny-1",
            "tiny-2"
          ],
          "stages": [
            "workload",
            "sim",
            "real",
            "compare",
            "report"
          ]
        },
        {
          "path": "experiment.backends.sarathi.chunk-size",
          "old": "16",
          "new": "32",
          "impact": "measurement",
          "runs": [
            "tiny-1",
            "tiny-2"
          ],
          "stages": [
            "sim",
            "real",
            "compare",
            "report"
          ]
        },
        {
          "path": "runs.*.scheduler.chunk-size",
          "old": "16",
          "new": "32",
          "impact": "measurement",
          "runs": [
            "tiny-1",
            "tiny-2"
          ],
          "stages": [
            "sim",
            "real",
            "compare",
            "report"
          ]
        },
        {
          "path": "runs.tiny-1.sim.sha256",
          "old": "0c6e3bc0c59ec7db5ac80085cf61325b7722636490c9c1d137809a9802df7ebf",
          "new": "db10c85db37d9b7f841d3c9f0f968fdd9a7d73201a76143440519a65e2de7f57",
          "impact": "simulation",
          "runs": [
            "tiny-1"
          ],
          "stages": [
            "sim",
            "compare",
            "report"
          ]
        },
        {
          "path": "runs.tiny-2.sim.sha256",
          "old": "f976ecd703ea85ad42b9edf8497354bf408f860fa4987aa89693dd40f5e651ed",
          "new": "37cf490e43ac9f387ba3f92a2c4dbf860748ab6ef2e9752b8ebff766729c84e2",
          "impact": "simulation",
          "runs": [
            "tiny-2"
          ],
          "stages": [
            "sim",
            "compare",
            "report"
          ]
        },
        {
          "path": "xp",
          "old": "0.1.0",
          "new": "0.2.0",
          "impact": "cosmetic",
          "runs": [
            "tiny-1",
            "tiny-2"
          ],
          "stages": []
        },
        {
          "path": "spec.sha256",
          "old": "49a4e1cf1b6cde02ca727c201e559b82760222f8c14602af9831cd3ed9d60de7",
          "new": "a5956e087c9d9aff987ab5aeb0a5234abf2a6195221e2c111fd2d952df27409d",
          "impact": "cosmetic",
          "runs": [
            "tiny-1",
            "tiny-2"
          ],
          "stages": [
            "compare",
            "report"
          ]
        }
      ],
      "added_runs": [],
      "removed_runs": [],
      "common_runs": 2,
      "invalidated": [
        {
          "stages": [
            "workload",
            "sim",
            "real",
            "compare",
            "report"
          ],
          "runs": [
            "tiny-1",
            "tiny-2"
          ],
          "measurements_stand": false
        }
      ]
    }
    "#);
}

#[test]
fn results_stand_side_by_side() {
    let figures = |factor: f64| {
        let figure = |metric: &str, stat: &str, ms: f64| Figure {
            metric: metric.to_owned(),
            stat: stat.to_owned(),
            measured_ns: ms * 1e6,
            simulated_ns: ms * 1e6 * factor,
            error_percent: 100.0 * (factor - 1.0),
            verdict: if factor > 1.05 { Verdict::Warn } else { Verdict::Pass },
        };
        vec![figure("TTFT", "P50", 12.5), figure("E2E", "P99", 1250.0)]
    };
    let results = |factor: f64, verdict| Some(Results { verdict, figures: figures(factor) });
    let run = |run: &str, old, new| RunResults { run: run.to_owned(), old, new };
    let mut all = vec![
        run("tiny-0", None, None),
        run("tiny-1", results(1.02, Verdict::Pass), results(1.08, Verdict::Warn)),
        run("tiny-2", None, results(0.99, Verdict::Pass)),
    ];
    all.extend((3..40).map(|n| run(&format!("tiny-{n}"), None, None)));
    let shown = results::text(&all);
    insta::assert_snapshot!(anstream::adapter::strip_str(&shown).to_string(), @"

    results
      tiny-1: pass → warn
        metric  statistic  measured             simulated            error            verdict
        TTFT    P50        12.50 ms → 12.50 ms  12.75 ms → 13.50 ms  +2.0 % → +8.0 %  pass → warn
        E2E     P99        1.250 s → 1.250 s    1.275 s → 1.350 s    +2.0 % → +8.0 %  pass → warn
      tiny-2: not run → pass
        metric  statistic  measured      simulated     error       verdict
        TTFT    P50        – → 12.50 ms  – → 12.38 ms  – → -1.0 %  – → pass
        E2E     P99        – → 1.250 s   – → 1.238 s   – → -1.0 %  – → pass
      not run: tiny-0, tiny-3, tiny-4 and 35 more
    ");
    let compared =
        Compared { results: Some(all.drain(..3).collect()), ..compared(1, |lock| lock.xp.push('1')) };
    insta::assert_snapshot!(markdown::markdown(&compared), @"
    ### No result changes.

    `main:locks/tiny.lock.kdl` → `locks/tiny.lock.kdl`

    | impact | facts | made again | in |
    |---|---:|---|---|
    | **cosmetic**: no result changes | 1 | nothing | the run |

    Results of `tiny-1`: pass → warn

    | metric | statistic | measured | simulated | error | verdict |
    |---|---|---|---|---|---|
    | `TTFT` | `P50` | 12.50 ms → 12.50 ms | 12.75 ms → 13.50 ms | +2.0 % → +8.0 % | pass → warn |
    | `E2E` | `P99` | 1.250 s → 1.250 s | 1.275 s → 1.350 s | +2.0 % → +8.0 % | pass → warn |

    Results of `tiny-2`: not run → pass

    | metric | statistic | measured | simulated | error | verdict |
    |---|---|---|---|---|---|
    | `TTFT` | `P50` | – → 12.50 ms | – → 12.38 ms | – → -1.0 % | – → pass |
    | `E2E` | `P99` | – → 1.250 s | – → 1.238 s | – → -1.0 % | – → pass |

    - not run: `tiny-0`

    <details><summary>cosmetic: 1 fact</summary>

    | fact | old | new |
    |---|---|---|
    | `xp` | `0.1.0` | `0.1.01` |

    </details>
    ");
}
