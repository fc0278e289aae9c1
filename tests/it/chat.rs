//! Prompts in a model's chat template, from the experiment to the files of its workload.

use crate::loopback::whole;
use crate::project::Project;

const SPEC: &str = "experiments/chat.kdl";
const MODEL: &str = "models/tiny";
const TEMPLATE: &str = "{{ bos_token }}{% for m in messages %}<{{ m.role }}> {{ m.content }}\n{% endfor %}{% if add_generation_prompt %}<assistant>{% endif %}";

fn experiment(source: &str, workload: &str) -> String {
    format!(
        r#"experiment "chat" {{
    seed 7
    model "qwen3-tiny" {{ source {source}; }}
    hardware "cpu" threads=1
    workload "few" {{ requests 3; {workload}; }}
    backend "sarathi" chunk-size=64 max-batch-size=4 kv-memory="4MiB"
}}
"#
    )
}

fn project(workload: &str) -> Project {
    let project = Project::empty();
    project.write(SPEC, experiment(&format!("\"path\" \"{MODEL}\""), workload));
    for name in ["config.json", "tokenizer.json", "model.safetensors"] {
        let file = whole().into_iter().find(|file| file.name == name).unwrap();
        project.write(&format!("{MODEL}/{name}"), &*file.bytes);
    }
    let config = serde_json::json!({ "bos_token": "<|endoftext|>", "chat_template": TEMPLATE });
    project.write(&format!("{MODEL}/tokenizer_config.json"), config.to_string());
    project
}

const WORKLOAD: &str = "lengths \"fixed\" prefill=40 decode=3; chat-template #true";

#[test]
fn the_template_is_pinned_with_the_model_and_a_change_is_noticed() {
    let project = project(WORKLOAD);
    project.ok(&["lock", SPEC]);
    let lock = String::from_utf8(project.read("locks/chat.lock.kdl")).unwrap();
    assert!(
        lock.contains("chat-template #true") && lock.contains("file \"tokenizer_config.json\""),
        "{lock}"
    );
    project.ok(&["lock", SPEC, "--check"]);
    project.ok(&["verify", "locks/chat.lock.kdl", "--allow-missing"]);
    // A file of its own goes before the one in the settings.
    project.write(&format!("{MODEL}/chat_template.jinja"), format!("{TEMPLATE} {{# other #}}\n"));
    let said = project.fails(1, &["lock", SPEC, "--check"]);
    assert!(said.contains("resolved-model.files.\"chat_template.jinja\""), "{said}");
    assert!(said.contains("runs.*.workload.sha256") || said.contains(".workload.sha256"), "{said}");
    project.ok(&["lock", SPEC]);
    project.write(&format!("{MODEL}/chat_template.jinja"), "{% for m in messages %}\n{{ m.content");
    let said = project.fails(1, &["lock", SPEC]);
    assert!(said.contains("xp::chat::template") && said.contains("chat_template.jinja:2"), "{said}");
}

#[test]
fn the_engine_gets_what_the_template_makes() {
    let project = project(WORKLOAD);
    project.ok(&["run", SPEC]);
    let folder = project.only("runs/workloads");
    let read = |name: &str| std::fs::read_to_string(folder.join(name)).unwrap();
    for line in read("prompts.jsonl").lines() {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        let text = line["text"].as_str().unwrap();
        assert!(text.starts_with("<|endoftext|><user> ") && text.ends_with("\n<assistant>"), "{text:?}");
    }
    assert!(read("trace_lengths.csv").lines().skip(1).all(|line| line.ends_with(",40,3")));
    assert!(read("workload_meta.json").contains("\"chat-template\": true"));
}

#[test]
fn what_cannot_be_a_chat_is_refused() {
    let short = project("lengths \"fixed\" prefill=4 decode=3; chat-template #true");
    let said = short.fails(1, &["lock", SPEC]);
    assert!(said.contains("xp::workload::shorter_than_template") && said.contains("has 4 tokens"), "{said}");
    let none = project(WORKLOAD);
    none.write(&format!("{MODEL}/tokenizer_config.json"), "{}");
    let said = none.fails(1, &["lock", SPEC]);
    assert!(
        said.contains("xp::source::no_chat_template") && said.contains("models/tiny has no chat"),
        "{said}"
    );
    let made_up = Project::empty();
    made_up.write(SPEC, experiment("\"synthetic\"", WORKLOAD));
    let said = made_up.fails(1, &["check", SPEC]);
    assert!(said.contains("a synthetic model has no chat template"), "{said}");
    made_up.write(SPEC, experiment("\"synthetic\"", "lengths \"fixed\" prefill=40 decode=3"));
    made_up.ok(&["check", SPEC]);
}

#[test]
fn prompts_that_share_declared_blocks_are_no_chat() {
    let session = project(
        "lengths \"fixed\" prefill=40 decode=3; sessions turns=3 think-time=\"1s\"; chat-template #true",
    );
    let said = session.fails(1, &["check", SPEC]);
    assert!(said.contains("xp::spec::rule") && said.contains("`sessions` say which blocks"), "{said}");
    let hashes = project("trace \"t.jsonl\" format=\"mooncake\"; chat-template #true");
    let said = hashes.fails(1, &["check", SPEC]);
    assert!(said.contains("xp::spec::rule") && said.contains("`hash_ids` say which blocks"), "{said}");
    // Whether a trace of one's own has ids, its rows say.
    let ids = project("trace \"t.csv\"; chat-template #true");
    let rows = |ids: &str| format!("arrival_time_ns,num_prefill_tokens,num_decode_tokens{ids}\n");
    let fields = |ids: &str| (0..3).map(|at| format!("{at},40,3{ids}\n")).collect::<String>();
    ids.write("t.csv", rows(",prefix_hash_ids") + &fields(",1 2"));
    ids.ok(&["check", SPEC]);
    let said = ids.fails(1, &["lock", SPEC]);
    assert!(said.contains("xp::workload::prefixes_in_template"), "{said}");
    ids.write("t.csv", rows("") + &fields(""));
    ids.ok(&["lock", SPEC]);
}
