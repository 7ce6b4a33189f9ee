//! The parser against chapters and labs, right and wrong: every mistake is told with file and line.
#![allow(clippy::unwrap_used)]

use lab::{
    Check, Diagnostic, Lab, Observation, Ran, RecordingMode, Reply, Status, StepKind, judge, judge_recording, parse,
};
use proptest::prelude::*;

const CHAPTER: &str = include_str!("fixtures/sample/chapter.md");
const LAB: &str = include_str!("fixtures/sample/lab.toml");

fn sample() -> Lab {
    parse("book/src/chapter-0.md", CHAPTER, "labs/chapter-0/lab.toml", LAB)
        .unwrap_or_else(|all| panic!("{}", text(&all)))
}

fn text(diagnostics: &[Diagnostic]) -> String {
    diagnostics.iter().map(|d| format!("{d}\n")).collect()
}

/// The sample with `from` replaced by `to` in the chapter or the lab, and what the parser says about it.
fn mistake(from: &str, to: &str) -> String {
    assert!(CHAPTER.contains(from) || LAB.contains(from), "{from:?} is not in the sample");
    let chapter = CHAPTER.replacen(from, to, 1);
    let lab = if CHAPTER.contains(from) { LAB.to_owned() } else { LAB.replacen(from, to, 1) };
    text(&parse("c.md", &chapter, "l/lab.toml", &lab).err().unwrap_or_default())
}

#[test]
fn the_sample_is_read_whole() {
    let lab = sample();
    assert_eq!((lab.id.as_str(), lab.slug.as_str(), lab.points()), ("chapter-0", "sample", 2));
    assert_eq!(lab.cluster.nodes(), ["manager1", "worker1"]);
    let ids: Vec<&str> = lab.steps.iter().map(|s| s.id.as_str()).collect();
    assert_eq!(ids, ["look", "refused", "scale"]);
    let look = lab.step("look").unwrap();
    assert_eq!(look.commands[0].line, "docker node ls");
    assert!(look.commands[0].recording.as_ref().unwrap().text.starts_with("ID "));
    assert_eq!(lab.step("refused").unwrap().commands[0].exit, 1);
    assert_eq!(lab.step("scale").unwrap().kind, StepKind::Exercise);
    assert_eq!(&CHAPTER[look.block.clone()].lines().next().unwrap(), &"```console {step=look}");
}

#[test]
fn needs_default_to_the_step_before_and_are_followed_through() {
    let lab = parse("c.md", CHAPTER, "l/lab.toml", &LAB.replace("needs = []\n", "")).unwrap();
    let before: Vec<&str> = lab.prerequisites("scale").iter().map(|s| s.id.as_str()).collect();
    assert_eq!(before, ["look", "refused"]);
}

/// Each mistake with the beginning of what is said about it.
#[test]
fn every_mistake_is_told_with_file_line_and_expectation() {
    let cases: &[(&str, &str, &[&str])] = &[
        (
            "{step=look}",
            "{step=loook}",
            &[
                "c.md:7: the step `loook` has no [[step]]",
                "did you mean `look`?",
                "l/lab.toml:10: [[step]] `look` has no block",
            ],
        ),
        ("{step=refused}", "{step=look}", &["c.md:16: a second block of step `look`, after line 7"]),
        (
            "```console {step=look}",
            "```consol {step=look}",
            &["c.md:7: a step block of language `consol`", "did you mean `console`?"],
        ),
        ("{step=look}", "{step=look,node=x}", &["c.md:7: unknown attribute `node=x`"]),
        ("{step=look}", "{step=Look}", &["c.md:7: the step id `Look`", "expected: an id of at most 40"]),
        ("manager1$ docker node ls", "$ docker node ls", &["c.md:8: a prompt without a node in step `look`"]),
        ("manager1$ docker node ls", "manager1$ docker node \\", &["c.md:8: a command in step `look` ends in `\\`"]),
        (
            "manager1$ docker node ls",
            "manager2$ docker node ls",
            &["c.md:8: the node `manager2`", "did you mean `manager1`?"],
        ),
        ("manager1$ docker node ls\n", "", &["c.md:8: output before any command in step `look`"]),
        ("replicas.\n```\n", "replicas.\n", &["c.md:21: the block of step `scale` is not closed"]),
        (
            "```console {step=refused}",
            "- a\n\n  ```console {step=refused}",
            &["c.md:18: the step `refused` is indented"],
        ),
        ("title = \"A sample\"\n", "", &["l/lab.toml:1: lab.toml has no `title`"]),
        (
            "format_version = 1",
            "format_version = 2",
            &["l/lab.toml:1: a `format_version` that this swarmlab does not know"],
        ),
        ("format_version = 1", "format_version = ", &["l/lab.toml:1: no valid TOML"]),
        ("workers = 1", "wokers = 1", &["l/lab.toml:7: unknown key `wokers`", "did you mean `workers`?"]),
        ("managers = 1", "managers = 9", &["l/lab.toml:6: `managers`", "a whole number from 1 to 7"]),
        ("id = \"refused\"", "id = \"look\"", &["l/lab.toml:23: a second [[step]] `look`, after line 10"]),
        (
            "needs = []\nexit = 1",
            "needs = [\"lok\"]\nexit = 1",
            &["l/lab.toml:25: step `refused` needs `lok`, which is no step", "did you mean `look`?"],
        ),
        (
            "needs = []\nexit = 1",
            "needs = [\"scale\"]\nexit = 1",
            &["l/lab.toml:25: step `refused` needs `scale`: a later step"],
        ),
        ("needs = []\npoints", "needs = [\"scale\"]\npoints", &["l/lab.toml:32: step `scale` needs `scale`: a circle"]),
        ("exit = 1", "exit = 300", &["l/lab.toml:26: `exit` in [[step]] `refused` is the number 300"]),
        ("exit = 1", "exit = [1, 0]", &["`exit` of [[step]] `refused` lists 2 codes for 1 commands"]),
        ("points = 2", "points = -1", &["l/lab.toml:33: `points`"]),
        ("timeout = \"60s\"", "timeout = 60", &["l/lab.toml:34: `timeout`", "a time in quotes"]),
        ("timeout = \"60s\"", "timeout = \"60h\"", &["at most 10m"]),
        (
            "kind = \"exercise\"",
            "kind = \"exercice\"",
            &["l/lab.toml:31: `kind = \"exercice\"`", "did you mean `exercise`?"],
        ),
        ("reset = [\"manager1$ docker service rm web\"]\n", "", &["l/lab.toml:28: [[step]] `scale` has no `reset`"]),
        (
            "solution = [",
            "solutions = [",
            &["unknown key `solutions`", "did you mean `solution`?", "has no `solution`"],
        ),
        (
            "kind = \"api\"\npath = \"/nodes\"",
            "kind = \"apy\"\npath = \"/nodes\"",
            &["l/lab.toml:15: `kind = \"apy\"` in check 1 of step `look`"],
        ),
        ("path = \"/nodes\"", "path = \"nodes\"", &["l/lab.toml:16: `path = \"nodes\"`"]),
        ("path = \"/nodes\"", "pfad = \"/nodes\"", &["unknown key `pfad`", "has no `path`"]),
        ("select = \"/*/Status/State\"", "select = \"Status\"", &["l/lab.toml:17: `select = \"Status\"`"]),
        (
            "expect = { count = 2, all = \"ready\" }",
            "expect = { cuont = 2 }",
            &["l/lab.toml:18: unknown condition `cuont`", "did you mean `count`"],
        ),
        (
            "kind = \"api\"\npath = \"/nodes\"\nselect = \"/*/Status/State\"",
            "kind = \"command\"\nrun = \"docker service rm web\"",
            &["l/lab.toml:16: `docker service rm` in check 1", "a check never changes anything"],
        ),
        ("words = \"Both nodes are ready.\"", "", &["l/lab.toml:14: check 1 of step `look` has no `words`"]),
        (
            "eventually = { timeout = \"10s\" }",
            "eventually = { timout = \"10s\" }",
            &["unknown key `timout`", "did you mean `timeout`?"],
        ),
        (
            "always = \"the lab starts with a swarm\"",
            "requires = [\"vips\"]",
            &["l/lab.toml:20: `requires`", "did you mean `vip`?"],
        ),
    ];
    for (from, to, wanted) in cases {
        let said = mistake(from, to);
        for want in *wanted {
            assert!(said.contains(want), "{from:?} -> {to:?}\n  wanted: {want}\n  said:\n{said}");
        }
    }
}

#[test]
fn a_chapter_without_steps_is_refused() {
    let said = text(&parse("c.md", "# Nothing\n", "l/lab.toml", LAB).unwrap_err());
    assert!(said.contains("c.md:1: no step in the chapter"), "{said}");
}

#[test]
fn what_is_too_large_is_refused() {
    let large = "x".repeat(lab::limits::CHAPTER_BYTES + 1);
    assert!(text(&parse("c.md", &large, "l/lab.toml", LAB).unwrap_err()).contains("at most 1048576 bytes"));
    let large = format!("{LAB}\n# {}", "x".repeat(lab::limits::LAB_BYTES));
    assert!(text(&parse("c.md", CHAPTER, "l/lab.toml", &large).unwrap_err()).contains("at most 262144 bytes"));
}

#[test]
fn a_command_that_goes_on_keeps_its_lines() {
    let chapter = CHAPTER.replace("manager1$ docker node ls\n", "manager1$ cat <<END \\\n>   | sort\n> b\n> END\n");
    let lab = parse("c.md", &chapter, "l/lab.toml", LAB).unwrap();
    assert_eq!(lab.step("look").unwrap().commands[0].line, "cat <<END \\\n  | sort\nb\nEND");
}

fn check(step: &str, at: usize) -> Check {
    sample().step(step).unwrap().checks[at].clone()
}

fn response(status: u16, body: &str) -> Observation {
    Observation::Response { status, body: body.to_owned() }
}

#[test]
fn trouble_is_an_error_and_a_missing_service_a_failure() {
    let check = check("scale", 0);
    assert_eq!(judge(&check, &Observation::Trouble("no socket".into())).status, Status::Error);
    let missing = judge(&check, &response(404, r#"{"message":"service web not found"}"#));
    assert_eq!((missing.status, missing.seen.as_str()), (Status::Fail, "status 404: service web not found"));
    let two = judge(&check, &response(200, r#"{"Spec":{"Mode":{"Replicated":{"Replicas":2}}}}"#));
    assert_eq!((two.status, two.seen.as_str()), (Status::Fail, "2"));
    assert_eq!(two.expected, "Spec.Mode.Replicated.Replicas: 3");
    let three = judge(&check, &response(200, r#"{"Spec":{"Mode":{"Replicated":{"Replicas":3}}}}"#));
    assert_eq!(three.status, Status::Pass);
    let hint = lab::state_hint(&check, &two).unwrap();
    assert!(hint.contains("manager1$ docker service inspect --pretty web"), "{hint}");
    assert!(lab::state_hint(&check, &three).is_none());
}

#[test]
fn a_list_of_tasks_is_counted_and_each_is_judged() {
    let check = check("scale", 1);
    let tasks = |states: &[&str]| {
        let all: Vec<String> = states.iter().map(|s| format!(r#"{{"Status":{{"State":"{s}"}}}}"#)).collect();
        judge(&check, &response(200, &format!("[{}]", all.join(",")))).status
    };
    let none = judge(&check, &response(200, "[]"));
    assert!(lab::state_hint(&check, &none).unwrap().contains("manager1$ docker service ps web"));
    assert_eq!(tasks(&["running", "running", "running"]), Status::Pass);
    assert_eq!(tasks(&["running", "running"]), Status::Fail);
    assert_eq!(tasks(&["running", "running", "starting"]), Status::Fail);
}

/// The sample lab with this as the only check of its step `look`.
fn with_check(toml: &str) -> Result<Check, String> {
    let from = LAB.find("kind = \"api\"").unwrap();
    let to = LAB.find("[[step]]\nid = \"refused\"").unwrap();
    let lab = parse("c.md", CHAPTER, "l/lab.toml", &format!("{}{toml}\n\n{}", &LAB[..from], &LAB[to..]));
    lab.map(|lab| lab.step("look").unwrap().checks[0].clone()).map_err(|all| text(&all))
}

#[test]
fn replies_of_many_requests_are_judged_together() {
    let toml = r#"kind = "http"
url = "http://manager1:8080/"
requests = 4
expect = { distinct = 2 }
words = "Two tasks answer.""#;
    let check = &with_check(toml).unwrap();
    let ok = |body: &str| Reply::Ok { status: 200, body: body.to_owned() };
    let two = Observation::Replies(vec![ok("a"), ok("b"), ok("a"), ok("b")]);
    assert_eq!(judge(check, &two).status, Status::Pass);
    let refused = Observation::Replies(vec![ok("a"), Reply::Err("connection refused".into())]);
    assert_eq!(judge(check, &refused).status, Status::Fail);
}

#[test]
fn outputs_of_many_runs_are_judged_as_a_distribution() {
    let check = with_check(
        "kind = \"command\"\nrun = \"cat x\"\ntimes = 10\nwords = \"w\"\nexpect = { distinct = 2, share = { ge = 0.3 } }",
    )
    .unwrap();
    let ran = |out: &str| Ran { exit: 0, stdout: format!("{out}\n"), stderr: String::new(), timed_out: false };
    let runs = |first: usize| Observation::Output((0..10).map(|at| ran(if at < first { "a" } else { "b" })).collect());
    let fair = judge(&check, &runs(7));
    assert_eq!((fair.status, fair.seen.as_str()), (Status::Pass, "\"a\" (7 of 10), \"b\" (3 of 10)"));
    assert_eq!(fair.expected, "the outputs of 10 runs: 2 different ones and each different one's share at least 0.3");
    assert_eq!(judge(&check, &runs(8)).status, Status::Fail);
    assert_eq!(judge(&check, &runs(10)).status, Status::Fail);
    let mut broken = vec![ran("a"), Ran { exit: 3, stderr: "gone".into(), ..ran("") }];
    let seen = judge(&check, &Observation::Output(broken.clone()));
    assert_eq!((seen.status, seen.seen.as_str()), (Status::Fail, "exit code 3 instead of 0: gone"));
    broken.pop();
    assert_eq!(judge(&check, &Observation::Output(broken)).status, Status::Error);
    assert!(
        with_check("kind = \"command\"\nrun = \"cat x\"\ntimes = 0\nwords = \"w\"").unwrap_err().contains("`times`")
    );
}

#[test]
fn a_name_server_s_answer_is_a_sorted_list_and_an_unknown_name_an_empty_one() {
    let dns = |more: &str| with_check(&format!("kind = \"dns\"\nwords = \"w\"\n{more}"));
    let check = dns("container = \"client\"\nname = \"tasks.web\"\nexpect = [\"10.0.1.3\", \"10.0.1.4\"]").unwrap();
    let answer = |all: &[&str]| Observation::Records(Ok(all.iter().map(|a| (*a).to_owned()).collect()));
    assert_eq!(judge(&check, &answer(&["10.0.1.4", "10.0.1.3"])).status, Status::Pass);
    let none = judge(&check, &answer(&[]));
    assert_eq!((none.status, none.seen.as_str()), (Status::Fail, "an empty list"));
    assert_eq!(none.asked, "manager1: DNS A tasks.web in container client");
    assert_eq!(judge(&check, &Observation::Records(Err("no answer".into()))).status, Status::Fail);
    assert_eq!(judge(&check, &Observation::Missing("no container".into())).status, Status::Fail);
    for (more, told) in [
        ("name = \"web\"", "no `container`"),
        ("container = \"c\"", "no `name`"),
        ("container = \"c\"\nname = \"web\"\nrecord = \"MX\"", "`record = \"MX\"`"),
        ("container = \"c\"\nname = \"web\"\nrecord = \"PTR\"", "an address such as"),
        ("container = \"c\"\nname = \"10.0.0.1\"", "a name such as"),
        ("container = \"c'\"\nname = \"web\"", "how the container's name begins"),
    ] {
        let said = dns(more).unwrap_err();
        assert!(said.contains(told), "{more}: {said}");
    }
    assert!(dns("container = \"c\"\nname = \"10.0.0.1\"\nrecord = \"PTR\"").is_ok());
}

#[test]
fn http_is_asked_from_a_node_a_container_or_the_learner_s_machine() {
    let http = |more: &str| with_check(&format!("kind = \"http\"\nurl = \"http://web/\"\nwords = \"w\"\n{more}"));
    let asked = |more: &str| judge(&http(more).unwrap(), &Observation::Replies(Vec::new())).asked;
    assert_eq!(asked(""), "manager1: GET http://web/");
    assert_eq!(asked("container = \"client\"\nrequests = 3"), "manager1: GET http://web/ in container client, 3 times");
    assert_eq!(asked("node = \"lab\""), "your machine: GET http://web/");
    assert!(http("node = \"lab\"\ncontainer = \"c\"").unwrap_err().contains("the node `lab`"));
    assert!(with_check("kind = \"api\"\npath = \"/info\"\nnode = \"lab\"\nwords = \"w\"").is_err());
}

#[test]
fn recording_new_output_changes_only_what_no_longer_matches() {
    let lab = sample();
    let out = |text: &str| lab::NewOutput {
        step: "look".into(),
        command: 0,
        ran: "docker node ls".into(),
        output: text.to_owned(),
    };
    let same = lab.step("look").unwrap().commands[0].recording.clone().unwrap().text.replace("[..]", "28.2.2");
    let kept = lab::rewrite("c.md", CHAPTER, &lab, &[out(&same.replace("0jhw6vuizm3n", "aaaaaaaaaaa1"))]).unwrap();
    assert_eq!(kept, CHAPTER);
    let down = same.replace("worker1    Ready ", "worker1    Down  ");
    let changed = lab::rewrite("c.md", CHAPTER, &lab, &[out(&down)]).unwrap();
    assert_eq!(changed.lines().count(), CHAPTER.lines().count());
    assert!(changed.contains("manager1   Ready     Active         Leader           [..]"));
    assert!(changed.contains("worker1    Down      Active                          28.2.2"));
    let again = parse("c.md", &changed, "l/lab.toml", LAB).unwrap();
    let command = &again.step("look").unwrap().commands[0];
    assert_eq!(judge_recording(command, RecordingMode::Ordered, &down).unwrap().status, Status::Pass);
    assert_eq!(judge_recording(command, RecordingMode::Ordered, &same).unwrap().status, Status::Fail);
    assert!(lab::rewrite("c.md", CHAPTER, &lab, &[out("manager1$ x")]).is_err());
}

#[test]
fn a_token_that_no_recording_holds_yet_is_recorded_where_it_is_printed_and_quoted() {
    let token = |c: char| format!("SWMTKN-1-{}1-{}1", String::from(c).repeat(49), String::from(c).repeat(24));
    let block = |recorded: &str, quoted: &str| {
        format!("```console {{step=look}}\nmanager1$ token\n{recorded}worker1$ join {quoted}\n```\n")
    };
    let toml = "format_version = 1\ntitle = \"T\"\n[cluster]\nworkers = 1\n[[step]]\nid = \"look\"\n";
    let (placeholder, real, later) = (token('a'), token('b'), token('c'));
    let chapter = block("", &placeholder);
    let lab = parse("c.md", &chapter, "l/lab.toml", toml).unwrap();
    let ran = |now: &str| {
        let new = |command, ran: String, output: &str| lab::NewOutput {
            step: "look".into(),
            command,
            ran,
            output: output.into(),
        };
        vec![new(0, "token".into(), now), new(1, format!("join {now}"), "")]
    };
    let recorded = lab::rewrite("c.md", &chapter, &lab, &ran(&real)).unwrap();
    assert_eq!(recorded, block(&format!("{real}\n"), &real));
    let lab = parse("c.md", &recorded, "l/lab.toml", toml).unwrap();
    assert_eq!(lab::rewrite("c.md", &recorded, &lab, &ran(&later)).unwrap(), recorded);
}

#[test]
fn a_report_has_a_status_for_every_step_and_check_and_survives_a_round_trip() {
    use lab::report::{CheckReport, Report, Reports, StepReport};
    let lab = sample();
    let check = check("scale", 0);
    let mut step = StepReport::new(lab.step("scale").unwrap(), Status::Fail, None);
    step.checks.push(CheckReport::new(&check, judge(&check, &response(404, "{}"))));
    let skipped = StepReport::new(lab.step("look").unwrap(), Status::Skip, Some("why".into()));
    let report = Report::new(&lab, "embedded", "2026-01-01T00:00:00Z".into(), 5, 10, vec![skipped, step]);
    assert_eq!((report.points.earned, report.points.possible), (0, 2));
    let json = serde_json::to_value(&report).unwrap();
    assert_eq!(json["format_version"], 1);
    assert_eq!(json["status"], "fail");
    assert_eq!(json["steps"][0]["status"], "skip");
    assert_eq!(json["steps"][1]["checks"][0]["status"], "fail");
    assert_eq!(serde_json::from_value::<Report>(json).unwrap(), report);
    assert_eq!(Reports::new("embedded", vec![report]).status, Status::Fail);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn the_parser_never_panics_on_noise(chapter in "(```|console|exercise| \\{step=a\\}|manager1\\$ |> |\n|\\\\|[..]|é|.){0,40}", lab in "(\\[\\[step\\]\\]|\\[cluster\\]|id|=|\"a\"|1|\n|\\{|\\}|é|.){0,40}") {
        let _ = parse("c.md", &chapter, "l/lab.toml", &lab);
    }

    #[test]
    fn the_parser_never_panics_on_a_damaged_sample(cut in 0usize..4000, len in 0usize..60, put in "\\PC{0,8}") {
        for (whole, first) in [(CHAPTER, true), (LAB, false)] {
            let mut at = cut % whole.len();
            while !whole.is_char_boundary(at) { at -= 1; }
            let mut end = (at + len).min(whole.len());
            while !whole.is_char_boundary(end) { end += 1; }
            let damaged = format!("{}{put}{}", &whole[..at], &whole[end..]);
            let (chapter, lab) = if first { (damaged.as_str(), LAB) } else { (CHAPTER, damaged.as_str()) };
            let _ = parse("c.md", chapter, "l/lab.toml", lab);
        }
    }

    #[test]
    fn output_always_matches_itself(lines in proptest::collection::vec("\\PC{0,30}", 0..12)) {
        let output = lab::recording::tidy(&lines.join("\n"));
        prop_assert!(lab::recording::matches(&output, &output));
        prop_assert!(lab::recording::matches("...", &output));
    }
}
