use std::path::{Path, PathBuf};

use serde_json::Value as Json;

use super::*;

fn cases() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/reference/chat");
    let mut found: Vec<PathBuf> =
        std::fs::read_dir(root).unwrap().map(|entry| entry.unwrap().path()).collect();
    found.sort();
    found
}

/// A time such as `2025-03-07T15:04:05`.
fn moment(text: &str) -> Moment {
    let parts: Vec<u16> = text.split(['-', 'T', ':']).map(|part| part.parse().unwrap()).collect();
    let [year, month, day, hour, minute, second] = parts[..] else { panic!("{text}") };
    let small = |part: u16| u8::try_from(part).unwrap();
    Moment {
        year,
        month: small(month),
        day: small(day),
        hour: small(hour),
        minute: small(minute),
        second: small(second),
    }
}

#[test]
fn templates_are_rendered_as_transformers_renders_them() {
    let mut seen = 0;
    for folder in cases() {
        let read = |name: &str| std::fs::read(folder.join(name)).unwrap();
        let parsed = |name: &str| serde_json::from_slice::<Json>(&read(name)).unwrap();
        let (jinja, config) = (read(CHAT_TEMPLATE), read(TOKENIZER_CONFIG));
        let (expected, conversations) = (parsed("expected.json"), parsed("messages.json"));
        let now = moment(expected["now"].as_str().unwrap());
        // From the file of its own, and from the tokenizer's settings.
        for jinja in [Some(jinja.as_slice()), None] {
            let template = ChatTemplate::from_files(jinja, Some(&config), "model", now).unwrap().unwrap();
            for (given, wanted) in
                conversations.as_array().unwrap().iter().zip(expected["rendered"].as_array().unwrap())
            {
                assert_eq!(given["name"], wanted["name"]);
                for (prompt, field) in
                    [(false, "without_generation_prompt"), (true, "with_generation_prompt")]
                {
                    let conversation = Conversation {
                        messages: given["messages"].clone(),
                        tools: given.get("tools").cloned().unwrap_or_default(),
                        add_generation_prompt: prompt,
                        variables: given["variables"].as_object().cloned().unwrap_or_default(),
                    };
                    let found = match template.render(&conversation) {
                        Ok(text) => json!({ "text": text }),
                        Err(ChatError::Refused { message, .. }) => json!({ "error": message }),
                        Err(error) => panic!("{}, {}: {error}", folder.display(), given["name"]),
                    };
                    assert_eq!(found, wanted[field], "{}, {}, {field}", folder.display(), given["name"]);
                    seen += 1;
                }
            }
        }
    }
    assert_eq!(seen, 96);
}

fn template(text: &str) -> Result<ChatTemplate, ChatError> {
    ChatTemplate::new(text, "t.jinja", BTreeMap::new(), Moment::PINNED)
}

fn rendered(text: &str) -> Result<String, ChatError> {
    template(text)?.prompt(&[ChatMessage::user("Hi <&> ä")])
}

#[test]
fn what_python_writes_is_written() {
    for (text, wanted) in [
        ("{{ true }} {{ none }} {{ [1, 'a', 2.5, {'k': none}] }}", "True None [1, 'a', 2.5, {'k': None}]"),
        ("{{ messages }}", "[{'role': 'user', 'content': 'Hi <&> ä'}]"),
        ("{{ messages[0].missing }}|{{ 7 // 2 }} {{ -7 // 2 }} {{ -7 % 3 }} {{ 2 ** 5 }}", "|3 -4 2 32"),
        (
            "{{ {'b': 1, 'a': [true, none, 1.0, 'é\\n']} | tojson }}",
            r#"{"b": 1, "a": [true, null, 1.0, "é\n"]}"#,
        ),
        ("{{ {'b': [], 'a': {}} | tojson(indent=2, sort_keys=true) }}", "{\n  \"a\": {},\n  \"b\": []\n}"),
        ("{{ {'a': [1, 2]} | tojson(separators=(',', ':')) }}", r#"{"a":[1,2]}"#),
        ("{{ 'ä𝄞' | tojson(ensure_ascii=true) }}", "\"\\u00e4\\ud834\\udd1e\""),
        ("{% for c in 'ab' %}{{ c }}-{% endfor %}", "a-b-"),
        ("{% generation %}{% set a = 1 %}{{ a }}{% endgeneration %}{{ a }}", "1"),
        ("{{ 'a,b'.split(',')[-1] }} {{ messages[0].get('x', 'y') }}", "b y"),
        (
            "{%- for key, value in messages[0].items() %}{{ key }}={{ value | length }};{% endfor %}",
            "role=4;content=8;",
        ),
        ("{{ messages | map(attribute='role') | list }}", "['user']"),
        ("  {% if true %}\nx\n  {% endif %}\ny\n", "x\ny"),
    ] {
        assert_eq!(rendered(text).unwrap(), wanted, "{text}");
    }
}

#[test]
fn a_mistake_is_told_with_its_line() {
    let said = |text: &str| rendered(text).unwrap_err().to_string();
    insta::assert_snapshot!(said("a\n{% if x %}\n{{ y"), @"t.jinja:3: syntax error: unexpected end of input, expected end of variable block");
    insta::assert_snapshot!(said("a\n\n{{ messages.x.y }}"), @"t.jinja:3: undefined value: `messages.x` is undefined");
    insta::assert_snapshot!(said("{% macro m(a) %}\n{{ a.b.c }}\n{% endmacro %}\n\n{{ m({}) }}"), @"t.jinja:2: undefined value: `a.b` is undefined");
    insta::assert_snapshot!(said("\n{{ raise_exception('no ' ~ messages[0].role) }}"), @"t.jinja:2: the chat template refuses the conversation: no user");
    insta::assert_snapshot!(said("\n{{ strftime_now('%Q') }}"), @"t.jinja:2: invalid operation: `%Q` is no directive of a time");
    insta::assert_snapshot!(said("{{ messages | frobnicate }}"), @"t.jinja:1: unknown filter: filter frobnicate is unknown");
    insta::assert_snapshot!(said("{% include 'x' %}"), @"t.jinja:1: syntax error: unknown statement include");
    insta::assert_snapshot!(said("{{ messages[0].frobnicate() }}"), @"t.jinja:1: unknown method: map has no method named frobnicate");
    insta::assert_snapshot!(said("{{ x | tojson }}"), @"t.jinja:1: could not serialize to value: undefined is no JSON");
}

#[test]
fn hostile_templates_end() {
    let nest = |open: &str, inner: &str, close: &str, times: usize| {
        format!("{}{inner}{}", open.repeat(times), close.repeat(times))
    };
    let doubling =
        "{% set n = namespace(x=[1]) %}{% for i in range(60) %}{% set n.x = [n.x, n.x] %}{% endfor %}";
    let doubled =
        "{% set n = namespace(x='aaaaaaaa') %}{% for i in range(60) %}{% set n.x = n.x ~ n.x %}{% endfor %}";
    for text in [
        "{% for a in range(100000) %}{% for b in range(100000) %}{% endfor %}{% endfor %}".to_owned(),
        doubled.to_owned(),
        "{{ 'abc' * 1000000000 }}".to_owned(),
        "{{ [[1] * 90000000] * 90000000 }}".to_owned(),
        format!("{{% set x %}}{{% for i in range(99999) %}}{}{{% endfor %}}{{% endset %}}", "x".repeat(500_000)),
        "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}".to_owned(),
        "{% for a in [1] recursive %}{{ loop([1]) }}{% endfor %}".to_owned(),
        nest("{% if 1 %}", "x", "{% endif %}", 50_000),
        format!("{{{{ {} }}}}", nest("[", "1", "]", 400_000)),
        format!("{{{{ x{} }}}}", ".y".repeat(100_000)),
        "{% set n = namespace(x=1) %}{% for i in range(90000) %}{% set n.x = [n.x] %}{% endfor %}{{ n.x | tojson }}".to_owned(),
        "{% set n = namespace(x=1) %}{% for i in range(90000) %}{% set n.x = {'a': n.x} %}{% endfor %}{{ n.x }}".to_owned(),
        "{% set n = namespace(x=1) %}{% set n.x = n %}{{ n }}".to_owned(),
        "{% set n = namespace(x=1) %}{% set n.x = n %}{{ n | tojson }}".to_owned(),
        format!("{}{}{}", "{% set a = [1] %}", "{% set a = [a, a] %}".repeat(50), "{{ a }}"),
        format!("{doubling}{}", "{{ n.x | join }}"),
        format!("{doubling}{}", "{{ n.x | string }}"),
        format!("{doubling}{}", "{{ ','.join(n.x) }}"),
        "{{ '%99999999999d' | format(1) }}{{ '{:99999999}'.format(1) }}".to_owned(),
        "x".repeat(2 << 20),
    ] {
        let found = rendered(&text);
        assert!(found.is_err(), "{}: {found:?}", text.chars().take(80).collect::<String>());
    }
    for text in [
        nest("(", "1", ")", 400_000).replace("(1)", "{{ (1) }}"),
        format!("{{{{ {}1 }}}}", "not ".repeat(200_000)),
        format!("{{{{ 1{} }}}}", " + 1".repeat(100_000)),
        "{% set n = namespace(x=1) %}{% set n.x = [n] %}{{ n == n.x[0] }}{{ n.x == n.x }}{{ n in n.x }}"
            .to_owned(),
    ] {
        let found = rendered(&text);
        assert!(found.is_ok(), "{}: {found:?}", text.chars().take(80).collect::<String>());
    }
}

#[test]
fn a_template_is_found_where_models_have_it() {
    let read = |jinja: Option<&str>, config: Option<&Json>| {
        let config = config.map(|config| serde_json::to_vec(config).unwrap());
        ChatTemplate::from_files(jinja.map(str::as_bytes), config.as_deref(), "m", Moment::PINNED)
    };
    let text = |jinja: Option<&str>, config: &Json| {
        read(jinja, Some(config)).unwrap().unwrap().prompt(&[ChatMessage::user("x")]).unwrap()
    };
    let tokens = json!({"bos_token": {"content": "<s>"}, "eos_token": "</s>", "pad_token": null,
        "chat_template": "c{{ bos_token }}"});
    assert_eq!(
        text(Some("{{ bos_token }}{{ eos_token }}{{ pad_token is defined }}\r\n"), &tokens),
        "<s></s>False"
    );
    assert_eq!(text(None, &tokens), "c<s>");
    let named = |names: &[&str]| {
        let list: Vec<Json> = names.iter().map(|name| json!({"name": name, "template": *name})).collect();
        json!({ "chat_template": list })
    };
    assert_eq!(text(None, &named(&["rag", "default", "tool_use"])), "default");
    for none in [json!({}), json!({"chat_template": null}), json!({"bos_token": "x"})] {
        assert!(read(None, Some(&none)).unwrap().is_none() && !has_template(none.to_string().as_bytes()));
    }
    assert!(read(None, None).unwrap().is_none() && has_template(tokens.to_string().as_bytes()));
    let said = |config: &[u8]| {
        ChatTemplate::from_files(None, Some(config), "m", Moment::PINNED).unwrap_err().to_string()
    };
    insta::assert_snapshot!(said(named(&["rag", "tool_use"]).to_string().as_bytes()), @r#"m/tokenizer_config.json has chat templates named "rag", "tool_use", and none named `default`"#);
    insta::assert_snapshot!(said(named(&[]).to_string().as_bytes()), @"m/tokenizer_config.json has chat templates named nothing, and none named `default`");
    insta::assert_snapshot!(said(br#"{"chat_template": 7}"#), @"m/tokenizer_config.json:1:20: `chat_template` is a text, or a list of objects with `name` and `template`");
    insta::assert_snapshot!(said(b"[]"), @"m/tokenizer_config.json:1:1: an object is expected");
    insta::assert_snapshot!(said(b"{\n  \"a\": \xff}"), @"m/tokenizer_config.json:2:8: it is not UTF-8");
    insta::assert_snapshot!(said(b"{\n  \"a\": }"), @"m/tokenizer_config.json:2:8: expected value");
    insta::assert_snapshot!(said(br#"{"chat_template": "a\nb{{"}"#), @"chat_template of m/tokenizer_config.json:2: syntax error: unexpected end of input, expected expression");
    insta::assert_snapshot!(said(&b"[".repeat(9 << 20)), @"m/tokenizer_config.json has 9437184 bytes, more than 8388608");
    insta::assert_snapshot!(said(format!("{{\"a\": {}", "[".repeat(1 << 20)).as_bytes()), @"m/tokenizer_config.json:1:133: recursion limit exceeded");
}
