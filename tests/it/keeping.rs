//! What is kept, what is removed, and what is copied: `xp gc` and `xp store`.

use crate::project::{Project, TINY, folders};

const SPEC: &str = "experiments/tiny.kdl";
const LOCK: &str = "locks/tiny.lock.kdl";

/// Files of a store's objects.
fn objects(project: &Project, store: &str) -> Vec<std::path::PathBuf> {
    folders(&project.path(&format!("{store}/objects"))).iter().flat_map(|part| folders(part)).collect()
}

fn restored(text: &str) -> usize {
    text.matches(" restored ").count()
}

#[test]
fn gc_removes_what_no_lock_or_report_needs_and_a_second_finds_nothing() {
    let project = Project::tiny();
    project.ok(&["run", SPEC]);
    let nothing = project.ok(&["gc", "--dry-run"]);
    assert!(nothing.contains("0 things would be removed"), "{nothing}");

    // The lock moves on; the report that is there still rests on what it was made from.
    project.ok(&["lock", SPEC, "--set", "workload.requests=5"]);
    let kept = project.ok(&["gc"]);
    assert!(kept.contains("0 things removed"), "{kept}");
    std::fs::remove_file(project.path("reports/tiny.pdf")).unwrap();
    let before = (objects(&project, ".xp/store").len(), folders(&project.path("runs/real_runs")).len());
    let planned = project.ok(&["gc", "--dry-run"]);
    assert_eq!(before.0, objects(&project, ".xp/store").len(), "a dry run removes nothing");
    let removed = project.ok(&["gc"]);
    assert_eq!(planned.replace("would be removed", "removed"), removed);
    for word in ["result", "object", "run", "record"] {
        assert!(removed.lines().any(|line| line.starts_with(word)), "{word}:\n{removed}");
    }
    assert!(objects(&project, ".xp/store").len() < before.0);
    assert_eq!(folders(&project.path("runs/real_runs")).len(), 0);
    assert_eq!(folders(&project.path("profiles")).len(), 1, "measured bundles stay");
    assert!(project.ok(&["gc"]).contains("0 things removed"));

    // What the lock rests on is whole: it is used again.
    std::fs::remove_dir_all(project.path("runs")).unwrap();
    let sim = project.ok(&["sim", "--locked", SPEC, "--set", "workload.requests=5"]);
    assert_eq!(restored(&sim), 1, "{sim}");

    // A lock that cannot be read protects everything.
    project.write("locks/bad.lock.kdl", "words");
    std::fs::remove_file(project.path(LOCK)).unwrap();
    let said = project.fails(1, &["gc"]);
    assert!(said.contains("bad.lock.kdl cannot be read") && said.contains("nothing was removed"), "{said}");
    project.fails(2, &["gc", "nowhere"]);
    let said = project.fails(2, &["gc", "--quarantine-older-than", "soon"]);
    assert!(said.contains("such as 30d"), "{said}");
}

#[test]
fn results_go_to_another_place_and_come_back() {
    let project = Project::tiny();
    project.ok(&["run", SPEC]);
    let pushed = project.ok(&["store", "push", "share"]);
    assert!(pushed.contains("pushed 7 results"), "{pushed}");
    let again = project.ok(&["store", "push", "share"]);
    assert!(again.contains("pushed 0 results with 0 new files, 0 B; 7 were there"), "{again}");
    let info = project.ok(&["store", "info"]);
    assert!(info.contains("results  7"), "{info}");

    // Another machine's project: a lock, a store, and nothing else.
    let lock = project.read(LOCK);
    project.write("other/experiments/tiny.kdl", TINY);
    project.write("other/locks/tiny.lock.kdl", lock);
    let pulled = project.ok(&["store", "pull", "share", "other/locks/tiny.lock.kdl"]);
    assert_eq!(restored(&pulled), 7, "{pulled}");
    let status = project.ok(&["status", "--frozen", "other/locks/tiny.lock.kdl"]);
    assert_eq!(status.matches(" fresh ").count(), 8, "{status}");
    let again = project.ok(&["store", "pull", "share", "other/locks/tiny.lock.kdl"]);
    assert_eq!((restored(&again), again.contains("pulled 0 results")), (0, true), "{again}");
    assert_eq!(project.read("reports/tiny.pdf"), project.read("other/reports/tiny.pdf"));

    // A damaged content at the other side is named, and all else is pulled.
    let share = objects(&project, "share");
    let object = share.iter().max_by_key(|path| std::fs::metadata(path).unwrap().len()).unwrap();
    std::fs::remove_file(object).unwrap();
    std::fs::write(object, "damage").unwrap();
    project.write("third/locks/tiny.lock.kdl", project.read(LOCK));
    let said = project.fails(1, &["store", "pull", "share", "third/locks/tiny.lock.kdl"]);
    assert!(said.contains("1 damaged results were left out") && restored(&said) >= 5, "{said}");
    let said = project.fails(1, &["store", "push", "share"]);
    assert!(said.contains("is damaged"), "{said}");
    assert_eq!(std::fs::read(object).unwrap(), b"damage", "what is others' is left alone");

    // Folders that are no stores.
    for folder in ["experiments", "."] {
        let said = project.fails(1, &["store", "push", folder]);
        assert!(said.contains("is no store"), "{said}");
    }
    project.fails(2, &["store", "pull", "nowhere"]);
    let said = project.fails(1, &["store", "push", ".xp/store"]);
    assert!(said.contains("own store"), "{said}");
}
