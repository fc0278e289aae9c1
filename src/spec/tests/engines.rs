//! Engines that are simulated: what their settings ask of one another, of the model and of the device.

use super::*;

const FIT: &str = r#"experiment "x" {
    model "qwen3-8b" dtype="bf16"
    hardware "h100-80gb"
    workload "w" {
        requests 4
        lengths "uniform" min=64 max=1024
    }
    backend "vllm" kind="engine" {
        scheduler "vllm_v1"
        chunk-size 512
        max-batch-size 64
    }
    backend "sim" profile="profiles/h100" predictor="kernels"
}
"#;

fn changed(changes: &[(&str, &str)]) -> Result<Loaded, SpecErrors> {
    changed_in(FIT, changes)
}

fn said(changes: &[(&str, &str)]) -> String {
    said_in(FIT, changes)
}

#[test]
fn a_deployment_that_can_be_is_accepted() {
    for changes in [
        &[][..],
        &[(
            "chunk-size 512",
            "parallel tensor=4 pipeline=2\nreplicas 3 router=\"power_of_two\"\nchunk-size 512",
        )],
        // More devices than KV heads hold each head more than once.
        &[("chunk-size 512", "parallel tensor=16\nchunk-size 512")],
        &[("\"vllm_v1\"", "\"lightllm\"\nblock-size 1")],
        &[("\"h100-80gb\"", "\"my-card\" memory=\"48GiB\"")],
        &[("max-batch-size 64", "max-batch-size 64\nkv-blocks 100\nwatermark \"0%\"")],
    ] {
        if let Err(error) = changed(changes) {
            panic!("{changes:?}: {}", render(&error));
        }
    }
}

#[test]
fn settings_that_contradict_one_another_are_told() {
    insta::assert_snapshot!(said(&[
        ("chunk-size 512", "chunk-size 32\nkv-blocks 100\nkv-memory \"1GiB\""),
    ]), @r#"
      × x.kdl: 2 mistakes

    Error: xp::spec::rule

      × a step of 32 tokens cannot hold 64 requests
        ╭─[x.kdl:10:20]
      9 │         scheduler "vllm_v1"
     10 │         chunk-size 32
        ·                    ─┬
        ·                     ╰── fewer tokens than requests
     11 │ kv-blocks 100
     12 │ kv-memory "1GiB"
     13 │         max-batch-size 64
        ·                        ─┬
        ·                         ╰── a decode of each is a token
     14 │     }
        ╰────
      help: `vllm_v1` wants 64 tokens a step at least, as vLLM does

    Error: xp::spec::rule

      × the KV cache has two sizes
        ╭─[x.kdl:11:11]
     10 │         chunk-size 32
     11 │ kv-blocks 100
        ·           ─┬─
        ·            ╰── in blocks
     12 │ kv-memory "1GiB"
        ·           ───┬──
        ·              ╰── and in bytes
     13 │         max-batch-size 64
        ╰────
      help: keep one of them
    "#);
    insta::assert_snapshot!(said(&[
        ("\"vllm_v1\"", "\"lightllm\"\nprefix-caching #true\nparallel pipeline=2"),
    ]), @r#"
      × x.kdl: 3 mistakes

    Error: xp::spec::rule

      × `lightllm` keeps tokens, not blocks of 16
        ╭─[x.kdl:8:5]
      7 │     }
      8 │     backend "vllm" kind="engine" {
        ·     ──────────────┬─────────────
        ·                   ╰── must be 1
      9 │         scheduler "lightllm"
        ·                   ─────┬────
        ·                        ╰── memory by the token
     10 │ prefix-caching #true
        ╰────
      help: write `block-size 1`

    Error: xp::spec::rule

      × `lightllm` knows no prefix caching
        ╭─[x.kdl:10:16]
      8 │     backend "vllm" kind="engine" {
      9 │         scheduler "lightllm"
        ·                   ─────┬────
        ·                        ╰── the policy
     10 │ prefix-caching #true
        ·                ──┬──
        ·                  ╰── not of this policy
     11 │ parallel pipeline=2
        ╰────
      help: `vllm_v1` has it; leave it away for other policies

    Error: xp::spec::rule

      × `lightllm` has no pipeline stages
        ╭─[x.kdl:11:19]
      8 │     backend "vllm" kind="engine" {
      9 │         scheduler "lightllm"
        ·                   ─────┬────
        ·                        ╰── the policy
     10 │ prefix-caching #true
     11 │ parallel pipeline=2
        ·                   ┬
        ·                   ╰── must be 1
     12 │         chunk-size 512
        ╰────
      help: leave it away
    "#);
}

#[test]
fn an_engine_that_runs_here_may_have_a_prefix_cache() {
    let here = |settings: &str| {
        let text = format!(
            "experiment \"x\" {{\n    model \"qwen3-tiny\"\n    workload \"w\" requests=1 {{ lengths \"fixed\" prefill=9 decode=1; }}\n    \
             backend \"candle\" kv-memory=\"4MiB\" {{ {settings}; }}\n}}\n"
        );
        changed_in(&text, &[])
    };
    let loaded = here("scheduler \"vllm_v1\"; prefix-caching #true").unwrap();
    let [Backend::Candle(engine)] = loaded.experiment.backends.as_slice() else { panic!() };
    assert!(engine.settings().prefix_caching);
    let refused = render(&here("prefix-caching #true").unwrap_err());
    assert!(refused.contains("`sarathi` knows no prefix caching"), "{refused}");
}

#[test]
fn the_model_decides_how_it_can_be_split() {
    insta::assert_snapshot!(said(&[("chunk-size 512", "parallel tensor=6 pipeline=40 expert=#true\nchunk-size 512")]), @r#"
      × x.kdl: 3 mistakes

    Error: xp::spec::rule

      × 6 tensor-parallel devices do not divide the model's 32 attention heads
       ╭─[x.kdl:2:11]
     1 │ experiment "x" {
     2 │     model "qwen3-8b" dtype="bf16"
       ·           ─────┬────
       ·                ╰── 32 attention heads
     3 │     hardware "h100-80gb"
       ╰────
        ╭─[x.kdl:10:25]
      9 │         scheduler "vllm_v1"
     10 │         parallel tensor=6 pipeline=40 expert=#true
        ·                         ┬
        ·                         ╰── not a divisor
     11 │ chunk-size 512
        ╰────
      help: take one of 1, 2, 4, 8, 16, 32

    Error: xp::spec::rule

      × 40 pipeline stages for 36 layers
       ╭─[x.kdl:2:11]
     1 │ experiment "x" {
     2 │     model "qwen3-8b" dtype="bf16"
       ·           ─────┬────
       ·                ╰── 36 layers
     3 │     hardware "h100-80gb"
       ╰────
        ╭─[x.kdl:10:36]
      9 │         scheduler "vllm_v1"
     10 │         parallel tensor=6 pipeline=40 expert=#true
        ·                                    ─┬
        ·                                     ╰── a stage would have no layer
     11 │ chunk-size 512
        ╰────
      help: take 36 at most

    Error: xp::spec::rule

      × the model has no experts to share out
       ╭─[x.kdl:2:11]
     1 │ experiment "x" {
     2 │     model "qwen3-8b" dtype="bf16"
       ·           ─────┬────
       ·                ╰── a dense model
     3 │     hardware "h100-80gb"
       ╰────
        ╭─[x.kdl:10:46]
      9 │         scheduler "vllm_v1"
     10 │         parallel tensor=6 pipeline=40 expert=#true
        ·                                              ──┬──
        ·                                                ╰── needs a mixture of experts
     11 │ chunk-size 512
        ╰────
      help: leave it away, or take a model with experts
    "#);
}

#[test]
fn a_device_has_to_be_known_and_to_hold_the_model() {
    insta::assert_snapshot!(said(&[("\"h100-80gb\"", "\"h100\"")]), @r#"
    xp::spec::rule

      × no device "h100"
       ╭─[x.kdl:3:14]
     2 │     model "qwen3-8b" dtype="bf16"
     3 │     hardware "h100"
       ·              ───┬──
       ·                 ╰── unknown device
     4 │     workload "w" {
       ╰────
      help: known are: `cpu`, `a100-40gb`, `a100-80gb`, `a40`, `h100-80gb`, `h200-141gb`, `l4`,
            `l40s`, `rtx-3090`, `rtx-4090` or `rtx-pro-6000`; a device of your own says its memory:
            `hardware "h100" memory="24GiB"`
    "#);
    insta::assert_snapshot!(said(&[("\"h100-80gb\"", "\"small\" memory=\"8GiB\"")]), @r#"
    xp::spec::rule

      × the longest request needs 64 KV blocks, the cache has 0
       ╭─[x.kdl:8:5]
     5 │         requests 4
     6 │         lengths "uniform" min=64 max=1024
       ·                                      ──┬─
       ·                                        ╰── 1024 tokens in blocks of 16 are 64 blocks
     7 │     }
     8 │     backend "vllm" kind="engine" {
       ·     ──────────────┬─────────────
       ·                   ╰── 90% of a device leave 0 blocks
     9 │         scheduler "vllm_v1"
       ╰────
      help: a device of 8.59 GB holds 16.4 GB of weights and 268 MB of a step's results; shorten the
            requests, or use more devices: `parallel tensor=2`
    "#);
    let own = ("kind=\"engine\"", "kind=\"candle\"");
    let blocks = ("chunk-size 512", "block-size 32\nchunk-size 512");
    assert!(changed(&[own, blocks]).is_ok());
    insta::assert_snapshot!(said(&[own]), @r#"
    xp::spec::rule

      × KV blocks of 16 tokens do not fit FlashAttention on "h100-80gb"
       ╭─[x.kdl:3:14]
     2 │     model "qwen3-8b" dtype="bf16"
     3 │     hardware "h100-80gb"
       ·              ─────┬─────
       ·                   ╰── a GPU
     4 │     workload "w" {
       ╰────
       ╭─[x.kdl:8:5]
     7 │     }
     8 │     backend "vllm" kind="candle" {
       ·     ──────────────┬─────────────
       ·                   ╰── must be a multiple of 32
     9 │         scheduler "vllm_v1"
       ╰────
      help: write `block-size 32`
    "#);
    insta::assert_snapshot!(said(&[own, blocks, ("\"bf16\"", "\"f32\"")]), @r#"
    xp::spec::rule

      × FlashAttention on "h100-80gb" computes no f32
       ╭─[x.kdl:2:28]
     1 │ experiment "x" {
     2 │     model "qwen3-8b" dtype="f32"
       ·                            ──┬──
       ·                              ╰── too wide for it
     3 │     hardware "h100-80gb"
       ·              ─────┬─────
       ·                   ╰── a GPU
     4 │     workload "w" {
       ╰────
      help: write `dtype="bf16"` or `dtype="f16"`
    "#);
    insta::assert_snapshot!(said(&[("profile=\"profiles/h100\" predictor=\"kernels\"", "profile=\"auto\"")]), @r#"
    xp::spec::rule

      × nothing here measures a profile of "h100-80gb"
       ╭─[x.kdl:3:14]
     2 │     model "qwen3-8b" dtype="bf16"
     3 │     hardware "h100-80gb"
       ·              ─────┬─────
       ·                   ╰── the device
     4 │     workload "w" {
       ╰────
        ╭─[x.kdl:13:27]
     12 │     }
     13 │     backend "sim" profile="auto"
        ·                           ───┬──
        ·                              ╰── measured with an engine that runs
     14 │ }
        ╰────
      help: name the folder of a profile of the device: `profile "profiles/…"`; or run an engine on
            it: `kind="candle"`
    "#);
}
