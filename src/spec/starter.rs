//! The file that `xp init` writes.

/// A commented experiment that checks, and runs in a minute. What cannot be part of a name is replaced by `-`.
pub fn starter(name: &str) -> String {
    include_str!("starter.kdl").replace("NAME", &sanitised(name))
}

fn sanitised(name: &str) -> String {
    let clean = |c: char| if c.is_ascii_alphanumeric() || "._-".contains(c) { c } else { '-' };
    let name: String = name.chars().take(100).map(clean).collect();
    let name = name.trim_start_matches(|c: char| !c.is_ascii_alphanumeric());
    if name.is_empty() { "experiment".to_owned() } else { name.to_owned() }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::load_text;
    use super::*;

    #[test]
    fn the_starter_checks_and_is_named_after_its_file() {
        let loaded = load_text("first.kdl", &starter("first try!"), &[]).unwrap();
        assert_eq!(loaded.experiment.name, "first-try-");
        assert_eq!(loaded.experiment.model.name, "qwen3-17m");
        assert_eq!(loaded.cells.len(), 1);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn every_name_gives_a_starter_that_checks(name in "\\PC{0,120}") {
            prop_assert!(load_text("x.kdl", &starter(&name), &[]).is_ok());
        }
    }
}
