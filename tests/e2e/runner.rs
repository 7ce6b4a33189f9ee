//! The runner's commands as far as they need no cluster: what they say about names, files and progress, and how the
//! book is built.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::Path;

use assert_cmd::Command;
use predicates::prelude::*;
use predicates::str::contains;

use crate::support::binary;

const CHAPTER: &str = include_str!("../../crates/lab/tests/fixtures/sample/chapter.md");
const LAB: &str = include_str!("../../crates/lab/tests/fixtures/sample/lab.toml");

/// `swarmlab` in an empty home of its own.
fn swarmlab(home: &Path) -> Command {
    let mut command = Command::new(binary());
    command.current_dir(home).env("HOME", home).env_remove("XDG_STATE_HOME").env("NO_COLOR", "1");
    command
}

/// A folder with one lab, `chapter-7`.
fn labs() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    };
    write("book/src/chapter-7.md", CHAPTER);
    write("book/src/SUMMARY.md", "- [Sample](chapter-7.md)\n");
    write("labs/chapter-7/lab.toml", LAB);
    write(
        "book.toml",
        "[book]\ntitle = \"t\"\nsrc = \"book/src\"\n[build]\nbuild-dir = \"out\"\n[output.html.search]\nenable = false\n",
    );
    folder
}

#[test]
fn list_works_from_any_folder_with_what_the_binary_carries() {
    let home = tempfile::tempdir().unwrap();
    swarmlab(home.path()).arg("list").assert().success().stdout(contains("chapter-1").and(contains("chapter-3")));
    let json = swarmlab(home.path()).args(["list", "--format", "json"]).assert().success();
    let json: serde_json::Value = serde_json::from_slice(&json.get_output().stdout).unwrap();
    assert_eq!(json["format_version"], 1);
    assert!(json["chapters"][0]["steps"].as_array().is_some_and(|s| !s.is_empty()));
}

#[test]
fn a_named_folder_and_the_checkout_around_take_precedence() {
    let labs = labs();
    let home = tempfile::tempdir().unwrap();
    let only_sample = || contains("chapter-7").and(contains("chapter-1").not());
    swarmlab(home.path()).arg("list").arg("--labs").arg(labs.path()).assert().success().stdout(only_sample());
    swarmlab(home.path())
        .current_dir(labs.path().join("book/src"))
        .arg("list")
        .assert()
        .success()
        .stdout(only_sample());
    swarmlab(home.path())
        .args(["list", "--labs", "/nonexistent"])
        .assert()
        .code(2)
        .stderr(contains("no `labs` folder"));
}

#[test]
fn unknown_names_bring_the_nearest() {
    let home = tempfile::tempdir().unwrap();
    let run = |args: &[&str], want: &str| {
        swarmlab(home.path()).args(args).assert().code(2).stdout("").stderr(contains(want));
    };
    run(&["run", "chaptr-1"], "no chapter `chaptr-1`; did you mean `chapter-1`");
    run(&["run", "99"], "no chapter `99`");
    run(&["run", "chapter-1", "--step", "nonesuch-at-all"], "no step `nonesuch-at-all` in chapter-1; there are `");
    run(&["run", "chapter-1", "--engine", "dokcerd"], "dokcerd");
    run(&["run", "all", "--step", "a"], "--step wants one chapter");
    run(&["verify", "x"], "no chapter `x`");
    run(&["record", "chapter-1"], "there is no chapter here to write to");
}

#[test]
fn a_chapter_is_found_by_number_and_by_word() {
    let labs = labs();
    for name in ["7", "chapter-7", "sample"] {
        swarmlab(labs.path())
            .args(["run", name, "--step", "lok"])
            .assert()
            .code(2)
            .stderr(contains("no step `lok` in chapter-7; did you mean `look`?"));
    }
}

#[test]
fn a_malformed_lab_is_told_with_file_and_line() {
    let labs = labs();
    fs::write(labs.path().join("labs/chapter-7/lab.toml"), LAB.replace("exit = 1", "exti = 1")).unwrap();
    for args in [["run", "7"], ["run", "all"], ["verify", "7"], ["start", "7"]] {
        swarmlab(labs.path())
            .args(args)
            .assert()
            .code(2)
            .stdout("")
            .stderr(contains("labs/chapter-7/lab.toml:26: unknown key `exti`").and(contains("did you mean `exit`?")));
    }
}

#[test]
fn learner_commands_say_how_to_open_a_lab() {
    let home = tempfile::tempdir().unwrap();
    for command in ["check", "hint", "solve", "reset", "status", "shell", "stop"] {
        swarmlab(home.path()).arg(command).assert().code(2).stderr(contains("swarmlab start CHAPTER"));
    }
}

#[test]
fn progress_is_shown_and_a_damaged_file_is_told_not_dropped() {
    let labs = labs();
    let file = labs.path().join(".local/state/swarmlab/progress.json");
    fs::create_dir_all(file.parent().unwrap()).unwrap();
    let progress = r#"{"format_version":1,"open":{"chapter":"chapter-7","engine":"embedded"},
        "chapters":{"chapter-7":{"look":{"state":"done"},"refused":{"state":"skipped"}}}}"#;
    fs::write(&file, progress).unwrap();
    swarmlab(labs.path()).arg("status").assert().success().stdout(
        contains("done     look")
            .and(contains("skipped  refused"))
            .and(contains("> open     scale"))
            .and(contains("swarmlab start chapter-7")),
    );
    swarmlab(labs.path())
        .args(["shell", "worker2"])
        .assert()
        .code(2)
        .stderr(contains("no node `worker2`; did you mean `worker1`?"));
    swarmlab(labs.path()).args(["check", "scle"]).assert().code(2).stderr(contains("did you mean `scale`?"));
    fs::write(&file, &progress[..40]).unwrap();
    swarmlab(labs.path()).arg("status").assert().code(2).stderr(contains("progress.json is damaged"));
    assert_eq!(fs::read_to_string(&file).unwrap(), progress[..40]);
}

#[test]
fn the_book_is_built_without_mdbook_and_its_links_are_checked() {
    let labs = labs();
    swarmlab(labs.path()).args(["book", "build"]).assert().success();
    let page = fs::read_to_string(labs.path().join("out/chapter-7.html")).unwrap();
    assert!(page.contains("id=\"step-look\"") && page.contains("data-copy=\"docker node ls\""));
    swarmlab(labs.path()).args(["book", "check"]).assert().success().stdout(contains("0 broken"));
    let chapter = labs.path().join("book/src/chapter-7.md");
    fs::write(&chapter, format!("{CHAPTER}\n[gone](nowhere.md) ![p](p.png) [a](#step-lok)\n")).unwrap();
    swarmlab(labs.path())
        .args(["book", "check"])
        .assert()
        .code(1)
        .stdout(contains("nowhere").and(contains("p.png")).and(contains("#step-lok")));
    fs::write(&chapter, CHAPTER.replace("{step=look}", "{step=lok}")).unwrap();
    swarmlab(labs.path()).args(["book", "build"]).assert().code(2).stderr(contains("chapter-7.md:7: the step `lok`"));
}

#[test]
fn the_carried_book_has_no_broken_link() {
    let home = tempfile::tempdir().unwrap();
    swarmlab(home.path()).args(["book", "check"]).assert().success().stdout(contains("0 broken"));
}

#[test]
fn the_preprocessor_answers_mdbook() {
    let home = tempfile::tempdir().unwrap();
    swarmlab(home.path()).args(["preprocessor", "supports", "html"]).assert().success();
    swarmlab(home.path()).args(["preprocessor", "supports", "epub"]).assert().failure();
    swarmlab(home.path())
        .arg("preprocessor")
        .write_stdin("no json")
        .assert()
        .failure()
        .stderr(contains("Unable to parse"));
}

#[test]
fn the_preprocessor_speaks_mdbooks_protocol_and_says_what_is_malformed() {
    let labs = labs();
    let book = |chapter: &str| {
        let context = serde_json::json!({
            "root": labs.path(), "config": {"book": {"src": "book/src"}}, "renderer": "html", "mdbook_version": "0.5.4",
        });
        let page = serde_json::json!({"Chapter": {
            "name": "Sample", "content": chapter, "number": null, "sub_items": [], "path": "chapter-7.md",
            "source_path": "chapter-7.md", "parent_names": [],
        }});
        serde_json::json!([context, {"items": [page]}]).to_string()
    };
    let good = swarmlab(labs.path()).arg("preprocessor").write_stdin(book(CHAPTER)).assert().success();
    let page: serde_json::Value = serde_json::from_slice(&good.get_output().stdout).unwrap();
    assert!(page["items"][0]["Chapter"]["content"].as_str().unwrap().contains("id=\"step-look\""));
    let bad = CHAPTER.replace("manager1$", "manager3$");
    let told = contains("book/src/chapter-7.md:8: the node `manager3`");
    swarmlab(labs.path()).arg("preprocessor").write_stdin(book(&bad)).assert().failure().stdout("").stderr(told);
}

#[test]
fn trouble_with_the_machine_is_json_with_the_reason_and_exit_code_2() {
    let home = tempfile::tempdir().unwrap();
    // the engine `bare` has no Docker: nothing can be asked
    let labs = labs();
    let out = swarmlab(home.path())
        .args(["run", "7", "--engine", "bare", "--step", "look", "--format", "json", "--labs"])
        .arg(labs.path())
        .assert()
        .code(predicate::in_iter([1, 2]));
    let report: serde_json::Value = serde_json::from_slice(&out.get_output().stdout).unwrap();
    assert_eq!((report["chapter"].as_str(), report["engine"].as_str()), (Some("chapter-7"), Some("bare")));
    assert_ne!(report["status"], "pass");
    assert!(!out.get_output().stderr.is_empty());
}
