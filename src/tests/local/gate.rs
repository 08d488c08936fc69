//! Gates: several experiments by one command, one answer.

use std::path::{Path, PathBuf};

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::support::{BREAKS, Ended, GONE_WITHIN, Parlour, alone, each_way};

/// A second experiment, the same by another name.
fn with_another(parlour: &Parlour) {
    let look = std::fs::read_to_string(parlour.path("look.yaml")).unwrap();
    parlour.write("again.yaml", &look);
}

fn ended(parlour: &Parlour, subcommand: &str, names: &[&str], out: &str, more: &[&str]) -> Ended {
    Ended::of(&parlour.judged(subcommand, names, out, more).output().unwrap())
}

fn json(path: PathBuf) -> Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

fn names_of(campaign: &Value, list: &str) -> usize {
    campaign[list].as_array().map_or(0, Vec::len)
}

#[test]
fn experiments_side_by_side_are_each_run_once_and_know_of_each_other() {
    each_way(|parlour| {
        let _alone = alone();
        with_another(parlour);
        let gate = ended(parlour, "gate", &["look.yaml", "again.yaml"], "runs", &["--jobs", "2"]);
        gate.assert(0, &["go: all 2 experiments passed", "look   20", "again  20"]);
        let campaign = json(parlour.path("runs/campaign.json"));
        assert_eq!((names_of(&campaign, "planned"), names_of(&campaign, "runs")), (2, 2));
        let mut was_beside = false;
        for run in campaign["runs"].as_array().unwrap() {
            let folder = parlour.path("runs").join(run["folder"].as_str().unwrap());
            assert!(folder.is_dir(), "{}", folder.display());
            let events = std::fs::read_to_string(folder.join("events.jsonl")).unwrap();
            let lines = events.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
            let ended = lines
                .into_iter()
                .find(|line| line["event"].get("load_ended").is_some())
                .unwrap();
            let machine = &ended["event"]["load_ended"]["machine"];
            assert!(names_of(machine, "late_max_us") >= 2, "{machine}");
            was_beside |= machine["beside"].as_array().unwrap().iter().any(|beside| beside == 1);
        }
        assert!(was_beside, "their loads were never under way at the same time");
        let junit = std::fs::read_to_string(parlour.path("runs/junit.xml")).unwrap();
        for said in [
            "<testsuite name=\"again\"",
            "<testsuite name=\"look\"",
            "name=\"experiment-sha256\"",
            "failures=\"0\" errors=\"0\"",
        ] {
            assert!(junit.contains(said), "{said}: {junit}");
        }
        parlour.assert_nothing_left(GONE_WITHIN);
    });
}

#[test]
fn shards_are_a_whole_once_they_are_merged() {
    each_way(|parlour| {
        let _alone = alone();
        with_another(parlour);
        let experiments = ["look.yaml", "again.yaml"];
        for (shard, out) in [("1/2", "one"), ("2/2", "two")] {
            let gate = ended(parlour, "gate", &experiments, out, &["--shard", shard]);
            let alone = format!("go: the one experiment passed (shard {} of 2 alone)", &shard[..1]);
            gate.assert(0, &[alone.as_str()]);
        }
        let merged = ended(parlour, "merge", &["one", "two"], "whole", &["--expect", "2"]);
        merged.assert(0, &["go: all 2 experiments passed"]);
        let campaign = json(parlour.path("whole/campaign.json"));
        for run in campaign["runs"].as_array().unwrap() {
            let folder = PathBuf::from(run["folder"].as_str().unwrap());
            assert!(folder.starts_with(".."), "{} would not move with it", folder.display());
            let folder = parlour.path("whole").join(folder);
            assert!(folder.is_dir(), "{} leads nowhere", folder.display());
        }
        let half = ended(parlour, "merge", &["two"], "half", &[]);
        half.assert(4, &["of 2 shards one is missing: 1", "1 has no result"]);
        for report in ["report.html", "summary.md", "junit.xml"] {
            let text = std::fs::read_to_string(parlour.path("half").join(report)).unwrap();
            assert!(text.contains("of 2 shards one is missing: 1"), "{report}: {text}");
        }
        // One that is killed leaves nothing of the gate before it.
        let again = parlour.judged("gate", &experiments, "one", &["--shard", "1/2"]);
        let mut killed = parlour.begin(again);
        killed.wait_until("its run", |parlour| folders(&parlour.path("one")) == 2);
        killed.signal(Signal::SIGKILL);
        assert_eq!(killed.exit_code(), None);
        let merged = ended(parlour, "merge", &["one", "two"], "whole", &["--expect", "2"]);
        merged.assert(3, &["not proven: of 2 experiments 1 was not reached"]);
        parlour.assert_nothing_left(GONE_WITHIN);
    });
}

fn folders(path: &Path) -> usize {
    let entries = std::fs::read_dir(path).unwrap().flatten();
    entries.filter(|entry| entry.path().is_dir()).count()
}

#[test]
fn what_the_time_cannot_hold_is_not_begun_and_leaves_the_gate_not_proven() {
    each_way(|parlour| {
        with_another(parlour);
        let gate = ended(
            parlour,
            "gate",
            &["look.yaml", "again.yaml"],
            "runs",
            &["--time-limit", "5s"],
        );
        let limit = "which the rest of the time limit of 5s cannot hold: it and 1 more were not run";
        gate.assert(3, &[limit, "not proven: of 2 experiments 2 were not reached"]);
        let junit = std::fs::read_to_string(parlour.path("runs/junit.xml")).unwrap();
        assert_eq!(junit.matches("type=\"not reached\"").count(), 2, "{junit}");
    });
}

#[test]
fn a_failure_closes_the_gate_and_is_shown_to_github_where_it_is_asked_for() {
    each_way(|parlour| {
        let _alone = alone();
        let look = std::fs::read_to_string(parlour.path("look.yaml")).unwrap();
        let broken = look.replace("  for: 1500ms\n", "") + BREAKS;
        parlour.write("broken.yaml", &broken);
        parlour.write("step.md", "");
        let mut command = parlour.judged("gate", &["broken.yaml", "look.yaml"], "runs", &["--github"]);
        let output = command
            .env("GITHUB_STEP_SUMMARY", parlour.path("step.md"))
            .output()
            .unwrap();
        let gate = Ended::of(&output);
        gate.assert(1, &["no-go: of 2 experiments 1 failed", "::stop-commands::"]);
        let mut lines = gate.said.lines();
        let word = lines.find_map(|line| line.strip_prefix("::stop-commands::"));
        let (muted, _) = gate.said.split_once(&format!("\n::{}::\n", word.unwrap())).unwrap();
        assert!(muted.contains("no-go: of 2 experiments"), "{}", gate.said);
        let line = 1 + broken
            .lines()
            .position(|line| line.contains("name: the page is shown"))
            .unwrap();
        let file = parlour.path("broken.yaml").display().to_string();
        let annotation = format!("::error file={file},line={line},title=broken (fail)::during: the page is shown: ");
        assert!(
            gate.said.lines().any(|said| said.starts_with(&annotation)),
            "{}",
            gate.said
        );
        let step = std::fs::read_to_string(parlour.path("step.md")).unwrap();
        assert!(step.contains("no-go") && step.contains("the page is shown"), "{step}");
        let junit = std::fs::read_to_string(parlour.path("runs/junit.xml")).unwrap();
        assert!(
            junit.contains("[[ATTACHMENT|") && junit.contains("report.html]]"),
            "{junit}"
        );
    });
}
