//! The canonical form: what it looks like, and that it loses nothing.

use kdl::KdlDocument;
use proptest::prelude::*;

use super::super::canonical;
use super::*;

fn form(text: &str) -> String {
    let made = canonical("x.kdl", text).unwrap_or_else(|error| panic!("{}\n{text}", render(&error)));
    let again = canonical("x.kdl", &made).unwrap_or_else(|error| panic!("{}\n{made}", render(&error)));
    assert_eq!(again, made, "of\n{text}");
    made
}

#[test]
fn a_node_a_line_and_values_before_properties() {
    insta::assert_snapshot!(form(
        r##"

experiment "chat"   {seed 7;   model dtype = "f32"  "qwen3-0.6b"{source "synthetic"}


    workload chat
      { requests 1_000;;arrivals qps=2.0   "poisson" }
	backend sarathi kv-memory=#"64MiB"#; backend vidur { }
}"##.replace(";;", ";").replace("workload chat\n     ", "workload chat").as_str()
    ), @r##"
    experiment "chat" {
        seed 7
        model "qwen3-0.6b" dtype="f32" {
            source "synthetic"
        }

        workload chat {
            requests 1_000
            arrivals "poisson" qps=2.0
        }
        backend sarathi kv-memory=#"64MiB"#
        backend vidur {}
    }
    "##);
}

#[test]
fn comments_stay_where_they_are() {
    insta::assert_snapshot!(form(
        "\u{feff}/* head */
// of the file   \u{a0}
experiment \"x\" { // of the block

    // of the seed

    seed 7 // behind the seed
    /* before */ hardware /* in */ \"cpu\" /* around */ = /* it */ 2 /* behind */; // further behind
    /- /* why */ slo ttft-p99=\"1s\" { a }
    /-
    // because
    report \"x.pdf\"; compare /-real=\"a\" /-{ b; /* last */ }
    backend \"x\" // ended
    /* one */ /* line */
    /* two
         lines */
}

/* end */",
    ).replace("= 2", "=2").as_str(), @r#"
    /* head */
    // of the file
    experiment "x" { // of the block
        // of the seed

        seed 7 // behind the seed
        /* before */ hardware /* in */ /* around */ /* it */ "cpu"=2 /* behind */ // further behind
        /* why */ /-slo ttft-p99="1s" {
            a
        }
        // because
        /-report "x.pdf"
        compare /-real="a" /-{
            b /* last */
        }
        backend "x" // ended
        /* one */ /* line */
        /* two
             lines */
    }

    /* end */
    "#);
}

#[test]
fn continued_lines_stay_continued() {
    insta::assert_snapshot!(form(
        "a 1 \\
   b=2 \\ // why
      \\
3 \\

c \\ // of c
 { d \\ /* e */ // f

}
g \\ // h
 // i
j /- \\
 // k
 1",
    ), @r"
    a 1 \ // why
        3 \
        b=2
    c { // of c
        d /* e */ // f
    }
    g // h
    // i
    j \ // k
        /-1
    ");
}

#[test]
fn multi_line_texts_move_with_their_node() {
    let text = "experiment \"x\" {\n  a { b \"\"\"\n one\n\n   two \\\"\n \"\"\" c=#\"\"\"\n\traw \\\n\t\"\"\"# }\n}\n";
    insta::assert_snapshot!(form(text), @r##"
    experiment "x" {
        a {
            b """
                one

                  two \"
                """ c=#"""
                raw \
                """#
        }
    }
    "##);
}

#[test]
fn what_is_canonical_is_left_alone() {
    let starter = starter("first");
    for (name, text) in [
        ("starter", starter.as_str()),
        ("quickstart", include_str!("../../../experiments/quickstart.kdl")),
        ("qwen", include_str!("../../../experiments/qwen.kdl")),
        ("nothing", ""),
    ] {
        assert_eq!(form(text), text, "{name}");
    }
    assert_eq!(form(" \n\n"), "");
    assert_eq!(form("a\r\n\r\n\r\nb\u{2028}c"), "a\n\nb\nc\n");
}

#[test]
fn what_is_no_kdl_is_refused_with_its_place() {
    for text in ["a {", "a }", "a \"", "a 1 = 2", "/* x", "a (u8)5", &"a {".repeat(2_000)] {
        let error = canonical("x.kdl", text).unwrap_err();
        assert!(render(&error).contains("xp::spec::syntax"), "{}", render(&error));
    }
    let large = "a \"".to_owned() + &"x".repeat(1 << 20) + "\"";
    assert!(render(&canonical("x.kdl", &large).unwrap_err()).contains("xp::spec::too_large"));
}

/// A node as it may be written in many ways.
#[derive(Debug, Clone)]
struct Node {
    slashed: bool,
    name: String,
    /// Whether it is commented out, its name if it is a property, its value.
    entries: Vec<(bool, Option<String>, String)>,
    /// Whether it is commented out, and its nodes.
    block: Option<(bool, Vec<Node>)>,
}

/// Nodes of a document, with their texts as they were written.
fn nodes(document: &KdlDocument) -> Vec<Node> {
    let node = |node: &kdl::KdlNode| Node {
        slashed: false,
        name: node.name().to_string(),
        entries: node
            .entries()
            .iter()
            .map(|entry| {
                let value = entry.format().map(|format| format.value_repr.clone());
                (false, entry.name().map(ToString::to_string), value.unwrap())
            })
            .collect(),
        block: node.children().map(|block| (false, nodes(block))),
    };
    document.nodes().iter().map(node).collect()
}

/// Writes nodes with all that may stand between their parts, as random bytes decide.
struct Writer<'a> {
    bytes: std::iter::Copied<std::slice::Iter<'a, u8>>,
    out: String,
    comments: Vec<String>,
}

impl Writer<'_> {
    fn choose<'c>(&mut self, from: &[&'c str]) -> &'c str {
        from[usize::from(self.bytes.next().unwrap_or(0)) % from.len()]
    }

    /// Writes one of the patterns; `L` in it is a line comment's text, `B` a block comment.
    fn put(&mut self, patterns: &[&str]) {
        for c in self.choose(patterns).chars() {
            let number = self.comments.len();
            let comment = match c {
                'L' => format!("// {number}: a {{ \"comment /* ; \\"),
                'B' => ["/*N:*/", "/* N: } /* in \" */ ; */", "/* N:\n   two // lines */"][number % 3]
                    .replace('N', &number.to_string()),
                c => {
                    self.out.push(c);
                    continue;
                }
            };
            self.out.push_str(&comment);
            self.comments.push(comment);
        }
    }

    fn nodes(&mut self, nodes: &[Node]) {
        for node in nodes {
            self.put(&[
                "",
                "    ",
                "\n\n",
                "L\n",
                "B ",
                "B\n",
                "\t",
                "\\\n",
                "BB",
                "\\ L\n",
                "L\r\n\r\n\r\n",
            ]);
            if node.slashed {
                self.out.push_str("/-");
                self.put(&["", " ", "\n", "L\n", "B", "B L\n"]);
            }
            self.out.push_str(&node.name);
            for (slashed, name, value) in &node.entries {
                self.put(&[" ", "  ", "\t", " B ", "B", " \\\n", " \\ L\n ", "\\ B L\n\\\n"]);
                if *slashed {
                    self.out.push_str("/-");
                    self.put(&["", " ", "\n", "L\n", "B"]);
                }
                if let Some(name) = name {
                    self.out.push_str(name);
                    self.put(&["", " ", "B", "\\ L\n"]);
                    self.out.push('=');
                    self.put(&["", " ", " B", "\\\n"]);
                }
                self.out.push_str(value);
            }
            if let Some((slashed, block)) = &node.block {
                self.put(&[" ", "B", " \\\n", " \\ L\n"]);
                if *slashed {
                    self.out.push_str(" /-");
                    self.put(&["", "\n", "L\n", "B"]);
                }
                self.out.push('{');
                self.put(&["\n", "", " L\n", "B\n", " \n\n"]);
                self.nodes(block);
                self.put(&["", "L\n", "B", "\n\n"]);
                self.out.push('}');
            }
            self.put(&[
                "\n", ";", "; L\n", " L\n", "B\n", " B; ", ";\n\n\n", "\r\n", "\u{2028}", "\\ L\n\n",
                "\\\nB;",
            ]);
        }
    }
}

/// The nodes as `bytes` say, and the comments that are in it.
fn written(nodes: &[Node], bytes: &[u8]) -> (String, Vec<String>) {
    let mut writer = Writer { bytes: bytes.iter().copied(), out: String::new(), comments: Vec::new() };
    writer.nodes(nodes);
    writer.put(&["", "L", "B", "\n\n"]);
    (writer.out, writer.comments)
}

fn assert_comments(made: &str, comments: &[String]) {
    assert_eq!(
        made.matches("a { \"comment").count()
            + made.matches(":*/").count()
            + made.matches(": }").count()
            + made.matches(":\n   two").count(),
        comments.len(),
        "{made}"
    );
    for comment in comments {
        assert_eq!(made.matches(comment.as_str()).count(), 1, "{comment:?} in\n{made}");
    }
}

fn any_node(depth: u32) -> BoxedStrategy<Node> {
    let name = prop_oneof![Just("a"), Just("\"b c\""), Just("d-1"), Just("#\"e\"#")].prop_map(str::to_owned);
    let value = prop::sample::select(vec![
        "1",
        "-2.50",
        "1_000",
        "0xFf",
        "1e-3",
        "#true",
        "#null",
        "#nan",
        "word",
        "\"a \\\" b\"",
        "\"\\u{e9}\"",
        "\"\"",
        "#\"raw \\ \"#",
        "\"c \\\n   d\"",
        "\"\"\"\n  x\n\n     y \\t\n  \"\"\"",
        "##\"\"\"\n\t\"# \\\n\t\"\"\"##",
        "\"\"\"\r\n   \r\n  x\r\n  \"\"\"",
    ])
    .prop_map(str::to_owned);
    let entry = (prop::bool::weighted(0.2), prop::option::of(name.clone()), value);
    let entries = prop::collection::vec(entry, 0..4);
    let block = match depth {
        0 => Just(None).boxed(),
        _ => prop::option::of((prop::bool::weighted(0.2), prop::collection::vec(any_node(depth - 1), 0..3)))
            .boxed(),
    };
    (prop::bool::weighted(0.2), name, entries, block)
        .prop_map(|(slashed, name, entries, block)| Node { slashed, name, entries, block })
        .boxed()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn any_document_keeps_its_meaning_and_its_comments(
        nodes in prop::collection::vec(any_node(2), 0..4),
        bytes in prop::collection::vec(any::<u8>(), 0..120),
    ) {
        let (text, comments) = written(&nodes, &bytes);
        // The formatter itself checks that the meaning is the same; `format.rs` tests that check.
        assert_comments(&form(&text), &comments);
    }

    #[test]
    fn an_experiment_means_the_same(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let mut tree = nodes(&parse_kdl("x.kdl", GOOD, 1 << 20).unwrap());
        let slashed = Node { slashed: true, ..tree[0].clone() };
        tree.push(slashed);
        let (text, comments) = written(&tree, &bytes);
        let made = form(&text);
        assert_comments(&made, &comments);
        let loaded = |text: &str| {
            load_text("x.kdl", text, &[]).unwrap_or_else(|error| panic!("{}\n{text}", render(&error)))
        };
        let parts = |text: &str| {
            let loaded = loaded(text);
            (loaded.experiment, loaded.cells)
        };
        prop_assert_eq!(parts(&text), parts(&made));
        prop_assert_eq!(loaded(&made).experiment, good());
    }

    #[test]
    fn any_text_is_formatted_or_refused(text in "[ -~\n]{0,60}|([a-c \n{};=\\\\/*\"#-]|/-|//|/\\*|\\*/){0,40}") {
        if canonical("x.kdl", &text).is_ok() {
            form(&text);
        }
    }
}
