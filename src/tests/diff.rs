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
