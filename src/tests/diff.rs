//! `nightmail diff` and `nightmail baseline` on folders and files: what they read, what they print, and their exit codes.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;

use assert_cmd::Command;
use serde_json::{Value, json};

fn nightmail(args: &[&str]) -> Output {
    let mut command = Command::cargo_bin("nightmail").unwrap();
    command
        .args(args)
        .env("DOCKER_HOST", "unix:///nowhere")
        .env("NO_COLOR", "1")
        .output()
        .unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A run of the experiment `x` as `campaign.json` has it.
fn run(system: &str, number: u32, recovery_ms: f64, verdict: &str) -> Value {
    json!({
        "folder": format!("run-{number}"), "file": "experiments/x.yaml", "sha256": "aa", "system": system,
        "system_title": "", "engine": "local", "nightmail": "0.1.0", "host": null,
        "started_unix_ms": number, "took_ms": 30_000, "is_twin": false, "targets": [],
        "verdict": {
            "schema_version": 1, "experiment": "x", "title": "X holds", "run_id": format!("run-{number}"),
            "status": "completed", "verdict": verdict, "exit_code": if verdict == "fail" { 1 } else { 0 },
            "problem": null, "seed": 1, "defects": [], "recovery": {
                "recovery_time_ms": recovery_ms, "disruption_ms": 0.0, "data_loss_operations": 0, "data_loss_time_ms": null,
                "censored": false, "metastable": false, "backlog_drained_ms": null, "degraded": []
            },
            "assertions": [{"name": "recovery", "kind": "recovery", "verdict": verdict, "detail": "", "evidence": [], "samples": 9}],
            "faults": [], "leftovers": [], "again": "nightmail run experiments/x.yaml --seed 1"
        }
    })
}

fn campaign(path: &Path, runs: Vec<Value>) -> String {
    let whole = json!({"schema_version": 1, "nightmail": "0.1.0", "runs": runs});
    fs::write(path, whole.to_string()).unwrap();
    path.display().to_string()
}

fn runs(first: u32, recovery_ms: f64, verdict: &str) -> Vec<Value> {
    (first..first + 5)
        .map(|number| run("shop", number, recovery_ms + f64::from(number), verdict))
        .collect()
}

struct Dir(tempfile::TempDir);

impl Dir {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn campaign(&self, name: &str, runs: Vec<Value>) -> String {
        campaign(&self.path(name), runs)
    }
}

#[test]
fn exit_codes_say_what_became_of_the_runs() {
    let dir = Dir::new();
    let before = dir.campaign("before.json", runs(1, 1_000.0, "pass"));
    let mut flaky = runs(11, 1_000.0, "pass");
    flaky[0] = run("shop", 11, 1_000.0, "fail");
    for (name, now, code, said) in [
        ("same", runs(11, 1_000.0, "pass"), 0, "Nothing became worse"),
        ("slower", runs(11, 4_000.0, "pass"), 1, "regressed: recovery-time"),
        ("failing", runs(11, 1_000.0, "fail"), 1, "now fails: recovery"),
        ("flaky", flaky, 3, "flaky: recovery (1 of 5 runs)"),
        ("few", vec![run("shop", 11, 9_000.0, "pass")], 3, "4 more runs needed"),
    ] {
        let now = dir.campaign("now.json", now);
        let output = nightmail(&["diff", &before, &now]);
        let told = text(&output.stdout);
        assert_eq!(
            output.status.code(),
            Some(code),
            "{name}: {told}{}",
            text(&output.stderr)
        );
        assert!(told.contains(said), "{name}: {told}");
        assert!(told.contains(&format!("exit code {code}")), "{name}: {told}");
    }
}

#[test]
fn accepted_weaknesses_are_read_and_named() {
    let dir = Dir::new();
    let before = dir.campaign("before.json", runs(1, 1_000.0, "pass"));
    let now = dir.campaign("now.json", runs(11, 1_000.0, "fail"));
    let accepted = dir.path("accepted.yaml");
    let accepted_name = accepted.display().to_string();
    let entry = |until: &str| {
        format!("- experiment: x\n  assertion: recovery\n  reason: known\n  owner: ann\n  until: {until}\n")
    };
    for (until, code) in [("2999-12-31", 0), ("2001-01-01", 1)] {
        fs::write(&accepted, entry(until)).unwrap();
        let output = nightmail(&["diff", &before, &now, "--accept", &accepted_name]);
        let told = text(&output.stdout);
        assert_eq!(output.status.code(), Some(code), "{told}");
        assert!(told.contains("x: recovery: known (ann, until"), "{told}");
    }
    fs::write(&accepted, entry("soon")).unwrap();
    let output = nightmail(&["diff", &before, &now, "--accept", &accepted_name]);
    assert_eq!(output.status.code(), Some(2));
    assert!(
        text(&output.stderr).contains("accepted.yaml:5:10"),
        "{}",
        text(&output.stderr)
    );
}

#[test]
fn bad_input_is_exit_code_two_and_says_what_to_do() {
    let dir = Dir::new();
    let before = dir.campaign("before.json", runs(1, 1_000.0, "pass"));
    let now = dir.campaign("now.json", runs(11, 1_000.0, "pass"));
    let other = dir.campaign("other.json", vec![run("counter", 21, 1_000.0, "pass")]);
    let empty = dir.campaign("empty.json", Vec::new());
    let newer = dir.path("newer.json");
    fs::write(
        &newer,
        json!({"schema_version": 2, "runs": "of another shape"}).to_string(),
    )
    .unwrap();
    let half = dir.path("half.json");
    fs::write(&half, "{\"schema_version\": 1, \"ru").unwrap();
    let folder = dir.path("folder");
    fs::create_dir(&folder).unwrap();
    let newer = newer.display().to_string();
    let half = half.display().to_string();
    let folder = folder.display().to_string();
    for (baseline, runs, said) in [
        (
            other.as_str(),
            now.as_str(),
            "the baseline is of another system: it has runs of counter, and these are of shop",
        ),
        (&newer, &now, "it has version 2, and this nightmail knows up to 1"),
        (&before, &newer, "it has version 2"),
        (&half, &now, "half written"),
        (&folder, &now, "no run is in it"),
        (&empty, &now, "no run is in it"),
        ("nowhere", &now, "nowhere: there is no such file or folder"),
        (&before, "nowhere", "nowhere: there is no such file or folder"),
    ] {
        let output = nightmail(&["diff", baseline, runs]);
        let message = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{said}: {message}");
        assert!(
            message.contains(said) && message.contains("hint: "),
            "{said}: {message}"
        );
        assert_eq!(text(&output.stdout), "", "{said}");
    }
}

#[test]
fn a_half_written_run_is_named_and_the_rest_compared() {
    let dir = Dir::new();
    let before = dir.campaign("before.json", runs(1, 1_000.0, "pass"));
    let now = dir.campaign("now.json", runs(11, 1_000.0, "pass"));
    let broken = dir.path("runs/20261130-x");
    fs::create_dir_all(&broken).unwrap();
    fs::write(broken.join("plan.json"), "{\"schema_ver").unwrap();
    let output = nightmail(&["diff", &before, &now, &dir.path("runs").display().to_string()]);
    let (told, message) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(4), "{told}{message}");
    assert!(
        message.contains("20261130-x") && told.contains("20261130-x"),
        "{told}{message}"
    );
    assert!(told.contains("shop/x") && told.contains("5 of 5 passed"), "{told}");

    let worse = dir.campaign("worse.json", runs(11, 9_000.0, "pass"));
    let output = nightmail(&["diff", &before, &worse, &dir.path("runs").display().to_string()]);
    assert_eq!(output.status.code(), Some(1), "a failure always wins");
}

#[test]
fn every_format_goes_to_a_file_and_the_text_to_the_log() {
    let dir = Dir::new();
    let before = dir.campaign("before.json", runs(1, 1_000.0, "pass"));
    let now = dir.campaign("now.json", runs(11, 4_000.0, "pass"));
    for (format, begins) in [
        ("text", "   experiment"),
        ("markdown", "## ❌"),
        ("json", "{\n  \"schema_version\": 1"),
    ] {
        let out = dir.path("made/here/diff");
        let out_name = out.display().to_string();
        let output = nightmail(&["diff", &before, &now, "--format", format, "--out", &out_name]);
        assert_eq!(output.status.code(), Some(1));
        assert!(text(&output.stdout).contains("regressed: recovery-time"));
        let written = fs::read_to_string(&out).unwrap();
        assert!(written.starts_with(begins), "{format}: {written}");
        let shown = nightmail(&["diff", &before, &now, "--format", format]);
        assert_eq!(text(&shown.stdout), written, "{format}");
    }
}

#[test]
fn a_baseline_is_written_and_compares_as_its_runs_do() {
    let dir = Dir::new();
    let before = dir.campaign("before.json", runs(1, 1_000.0, "pass"));
    let now = dir.campaign("now.json", runs(11, 4_000.0, "pass"));
    let out = dir.path("ci/baseline.json").display().to_string();
    let made = nightmail(&["baseline", &before, "--out", &out]);
    assert_eq!(made.status.code(), Some(0), "{}", text(&made.stderr));
    assert!(
        text(&made.stdout).contains("5 runs of 1 experiment,"),
        "{}",
        text(&made.stdout)
    );
    let shown = |baseline: &str| text(&nightmail(&["diff", baseline, &now]).stdout);
    assert_eq!(shown(&out), shown(&before));
    let again = nightmail(&["baseline", &out, "--out", &out]);
    assert_eq!(again.status.code(), Some(0));
    assert_eq!(shown(&out), shown(&before));
    let nothing = nightmail(&["baseline", "nowhere", "--out", &out]);
    assert_eq!(nothing.status.code(), Some(2));
    // A folder that holds a campaign and no runs stands for it.
    fs::copy(dir.path("before.json"), dir.path("campaign.json")).unwrap();
    assert_eq!(shown(&dir.0.path().display().to_string()), shown(&before));
}

/// The two shards of a gate: of `x`, and of `y`, which passes.
fn shards(dir: &Dir, of_x: Vec<Value>) -> [String; 2] {
    let mut of_y = run("shop", 91, 1_000.0, "pass");
    of_y["file"] = json!("experiments/y.yaml");
    of_y["verdict"]["experiment"] = json!("y");
    let shard = |name: &str, number: u32, file: &str, runs: Vec<Value>| {
        fs::create_dir_all(dir.path(name)).unwrap();
        let shard = json!({
            "number": number, "of": 2, "whole": "w", "all": ["experiments/x.yaml", "experiments/y.yaml"]
        });
        let campaign =
            json!({"schema_version": 1, "nightmail": "0.1.0", "shard": shard, "planned": [file], "runs": runs});
        fs::write(dir.path(name).join("campaign.json"), campaign.to_string()).unwrap();
        dir.path(name).display().to_string()
    };
    [
        shard("one", 1, "experiments/x.yaml", of_x),
        shard("two", 2, "experiments/y.yaml", vec![of_y]),
    ]
}

/// What `merge` printed, and the page, the summary and the JUnit report that it left.
struct MergedReports {
    code: Option<i32>,
    said: String,
    html: String,
    summary: String,
    junit: String,
}

fn merged(dir: &Dir, args: &[&str]) -> MergedReports {
    let out = dir.path("whole").display().to_string();
    let output = nightmail(&[&["merge", "--out", &out], args].concat());
    let read = |name: &str| fs::read_to_string(dir.path("whole").join(name)).unwrap_or_default();
    MergedReports {
        code: output.status.code(),
        said: text(&output.stdout) + &text(&output.stderr),
        html: read("report.html"),
        summary: read("summary.md"),
        junit: read("junit.xml"),
    }
}

#[test]
fn an_accepted_weakness_opens_the_gate_and_is_told_everywhere() {
    let dir = Dir::new();
    let [one, two] = shards(&dir, vec![run("shop", 1, 1_000.0, "fail")]);
    let accepted = dir.path("accepted.yaml");
    let entry = "- {experiment: x, assertion: '*', reason: known, owner: ann, until: 2999-12-31}\n";
    fs::write(&accepted, entry).unwrap();
    let accepted = accepted.display().to_string();
    let closed = merged(&dir, &[&one, &two]);
    assert_eq!(closed.code, Some(1), "{}", closed.said);
    assert!(
        closed.said.contains("no-go: of 2 experiments 1 failed"),
        "{}",
        closed.said
    );
    assert!(closed.junit.contains("<failure "), "{}", closed.junit);

    let open = merged(&dir, &[&one, &two, "--accept", &accepted]);
    assert_eq!(open.code, Some(0), "{}", open.said);
    let answer =
        "go, with 1 accepted weakness (ann, until 2999-12-31): of 2 experiments 1 passed and 1 failed as accepted";
    assert!(open.said.contains(&format!("\n{answer}\n")), "{}", open.said);
    assert!(open.said.contains("!  x "), "{}", open.said);
    assert!(open.summary.starts_with("# ✅ go, with 1 accepted weakness"));
    assert!(open.summary.contains("| ⚠️ | x | fail, accepted |"), "{}", open.summary);
    assert!(!open.summary.contains("❌"), "{}", open.summary);
    let skipped = "<skipped message=\"accepted until 2999-12-31 by ann: known\"";
    assert!(open.junit.contains(skipped), "{}", open.junit);
    assert!(
        !open.junit.contains("<failure ") && !open.junit.contains("<error "),
        "{}",
        open.junit
    );
    let campaign = fs::read_to_string(dir.path("whole/campaign.json")).unwrap();
    assert!(campaign.contains("\"folder\": \"../one/run-1\""), "{campaign}");

    let doubtful = |verdict: &str| {
        let mut run = run("shop", 1, 1_000.0, verdict);
        run["verdict"]["exit_code"] = json!(3);
        shards(&dir, vec![run])
    };
    let [one, two] = doubtful("inconclusive");
    let let_pass = merged(&dir, &[&one, &two, "--doubt", "warn"]);
    assert_eq!(let_pass.code, Some(0), "{}", let_pass.said);
    let answer = "go, with 1 doubt let pass: of 2 experiments 1 passed and 1 could not be judged";
    assert!(let_pass.said.contains(answer), "{}", let_pass.said);
    assert!(
        let_pass.junit.contains("<skipped message=\"a doubt, let pass\""),
        "{}",
        let_pass.junit
    );
}

#[test]
fn a_run_whose_files_changed_since_it_ended_has_no_result_in_any_report() {
    let dir = Dir::new();
    let [one, two] = shards(&dir, vec![run("shop", 1, 1_000.0, "pass")]);
    let folder = dir.path("one/run-1");
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("verdict.json"), "{}").unwrap();
    fs::write(folder.join("SHA256SUMS"), "0".repeat(64) + "  verdict.json\n").unwrap();
    let reports = merged(&dir, &[&one, &two]);
    assert_eq!(reports.code, Some(4), "{}", reports.said);
    let answer = "not proven: of 2 experiments 1 has no result; the shards make up no whole: ";
    assert!(reports.said.contains(answer), "{}", reports.said);
    let summary = reports.summary.replace('\\', "");
    for text in [&reports.said, &reports.html, &summary, &reports.junit] {
        assert!(
            text.contains("verdict.json is not what it was when the run ended"),
            "{text}"
        );
    }
    fs::remove_file(folder.join("SHA256SUMS")).unwrap();
    assert_eq!(
        merged(&dir, &[&one, &two]).code,
        Some(0),
        "of one without checksums nothing is known"
    );
}

#[test]
fn what_regressed_closes_the_gate_in_every_report_and_one_slow_run_does_not() {
    let dir = Dir::new();
    let before = dir.campaign("before.json", runs(1, 1_000.0, "pass"));
    let [one, two] = shards(&dir, runs(11, 4_000.0, "pass"));
    let closed = merged(&dir, &[&one, &two, "--baseline", &before]);
    assert_eq!(closed.code, Some(1), "{}", closed.said);
    let answer = "no-go: all 6 runs passed, but recovery-time of x regressed";
    assert!(closed.said.contains(answer), "{}", closed.said);
    assert!(closed.said.contains("This closes the gate."), "{}", closed.said);
    assert!(
        closed.summary.starts_with(&format!("# ❌ {answer}\n")),
        "{}",
        closed.summary
    );
    assert!(
        closed
            .html
            .contains("Recovery-time of x regressed: median 1 s before, 4 s now")
    );
    assert!(
        closed
            .junit
            .contains("<testsuite name=\"comparison with the baseline\""),
        "{}",
        closed.junit
    );
    assert!(
        closed.junit.contains("<failure message=\"recovery-time of x regressed"),
        "{}",
        closed.junit
    );

    let [one, two] = shards(&dir, vec![run("shop", 11, 9_000.0, "pass")]);
    let open = merged(&dir, &[&one, &two, "--baseline", &before]);
    assert_eq!(open.code, Some(0), "{}", open.said);
    assert!(open.said.contains("go: all 2 experiments passed"), "{}", open.said);
    assert!(
        open.said.contains("This does not close the gate: ") && !open.said.contains("exit code"),
        "{}",
        open.said
    );
}

#[test]
fn a_shard_that_is_missing_or_half_written_or_doubled_is_named_in_every_report() {
    let dir = Dir::new();
    let [one, two] = shards(&dir, vec![run("shop", 1, 1_000.0, "pass")]);
    let named = |reports: &MergedReports, why: &str| {
        let summary = reports.summary.replace('\\', "");
        for (report, text) in [
            ("said", &reports.said),
            ("html", &reports.html),
            ("summary", &summary),
            ("junit", &reports.junit),
        ] {
            assert!(text.contains(why), "{report}: {why}: {text}");
        }
        assert!(!reports.junit.contains("the gate ended before"), "{}", reports.junit);
        assert!(!reports.summary.contains("not reached"), "{}", reports.summary);
    };
    let missing = merged(&dir, &[&one]);
    assert_eq!(missing.code, Some(4), "{}", missing.said);
    named(&missing, "of 2 shards one is missing: 2");
    let answer = "not proven: of 2 experiments 1 has no result; the shards make up no whole: ";
    assert!(missing.said.contains(answer), "{}", missing.said);
    assert!(
        !missing.html.contains("was planned was not run"),
        "nobody knows whether it was"
    );

    let doubled = merged(&dir, &[&one, &two, &two]);
    assert_eq!(doubled.code, Some(2), "{}", doubled.said);
    named(&doubled, "shard 2 of 2 is there already");
    assert!(
        doubled
            .said
            .contains("not proven: all 2 experiments passed, but the shards"),
        "{}",
        doubled.said
    );

    fs::write(dir.path("two/campaign.json"), "{\"schema_version\": 1, \"ru").unwrap();
    let half = merged(&dir, &[&one, &two]);
    assert_eq!(half.code, Some(4), "{}", half.said);
    named(&half, "of 2 shards one is missing: 2");
    named(&half, "EOF while parsing");
}
