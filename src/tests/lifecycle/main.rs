//! What a run leaves behind when it ends, is interrupted, or is killed: nothing. On real containers, with the guestbook.

mod links;
mod method;
mod support;

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use support::{Run, assert_nothing_left, docker, in_phase, injected, left_of};

const EXPERIMENT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/experiments/guestbook/book-paused.yaml");

#[test]
fn a_run_passes_and_leaves_reports_and_nothing_else() {
    let mut run = Run::start(&[EXPERIMENT]);
    run.wait_for("an injected fault", injected);
    let run_id = run.run_id();
    assert_ne!(
        left_of(&run_id),
        "",
        "while it lasts, the label must find the run's containers"
    );
    assert_eq!(run.exit_code(), Some(0), "{}", run.output());
    assert_nothing_left(&run_id, Duration::ZERO);
    let verdict = run.verdict();
    assert_eq!(verdict["verdict"], "pass");
    assert_eq!(verdict["seed"], 7);
    assert_eq!(verdict["faults"][0]["injected"]["confirmed"], true);
    let dir = run.dir().unwrap();
    for file in [
        "plan.json",
        "history.jsonl",
        "events.jsonl",
        "junit.xml",
        "summary.md",
        "report.html",
        "logs/book-1.log",
    ] {
        assert!(dir.join(file).metadata().is_ok_and(|file| file.len() > 0), "{file}");
    }
    judged_again_alike(&dir, &verdict);
}

/// `check` comes to the same verdict from what is on disk, in another place.
fn judged_again_alike(dir: &Path, verdict: &Value) {
    let copy = tempfile::tempdir().unwrap();
    for file in ["plan.json", "history.jsonl", "events.jsonl"] {
        std::fs::copy(dir.join(file), copy.path().join(file)).unwrap();
    }
    let again = Command::new(env!("CARGO_BIN_EXE_nightmail"))
        .arg("check")
        .arg(copy.path())
        .env("DOCKER_HOST", "unix:///nowhere")
        .output()
        .unwrap();
    assert_eq!(
        again.status.code(),
        Some(0),
        "{}",
        String::from_utf8_lossy(&again.stderr)
    );
    let judged: Value = serde_json::from_slice(&std::fs::read(copy.path().join("verdict.json")).unwrap()).unwrap();
    assert_eq!(&judged, verdict);
}

#[test]
fn an_interrupted_run_undoes_everything_first() {
    for (phase, code, signal) in [("up", 130, Signal::SIGINT), ("gate", 143, Signal::SIGTERM)] {
        let mut run = Run::start(&[EXPERIMENT]);
        run.wait_for(phase, in_phase(phase));
        let run_id = run.run_id();
        if phase == "up" {
            // In the midst of it: some containers are there, others are being made.
            let began = Instant::now();
            while docker(&["ps", "-aq", "--filter", &format!("label=nightmail.run={run_id}")]).is_empty() {
                assert!(began.elapsed() < Duration::from_secs(60), "no container after 60 s");
                std::thread::sleep(Duration::from_millis(5));
            }
        }
        run.signal(signal);
        assert_eq!(run.exit_code(), Some(code), "{}", run.output());
        assert_nothing_left(&run_id, Duration::ZERO);
        assert_eq!(run.verdict()["status"], "interrupted");
        assert_eq!(run.verdict()["exit_code"], code);
    }
}

#[test]
fn an_interrupt_heals_the_fault_in_force() {
    let mut run = Run::start(&[EXPERIMENT]);
    run.wait_for("an injected fault", injected);
    let run_id = run.run_id();
    run.signal(Signal::SIGINT);
    assert_eq!(run.exit_code(), Some(130), "{}", run.output());
    assert_nothing_left(&run_id, Duration::ZERO);
    assert_eq!(
        run.verdict()["faults"][0]["healed"]["confirmed"],
        true,
        "{}",
        run.verdict()
    );
}

#[test]
fn a_second_signal_ends_at_once_and_still_leaves_nothing() {
    let mut run = Run::start(&[EXPERIMENT]);
    run.wait_for("the method", in_phase("method"));
    let run_id = run.run_id();
    run.signal(Signal::SIGINT);
    run.wait_for("the end of the load", |event| {
        event.get("interrupted").is_some() || event.get("load_ended").is_some()
    });
    run.signal(Signal::SIGINT);
    assert_eq!(run.exit_code(), Some(130), "{}", run.output());
    assert_nothing_left(&run_id, Duration::from_secs(10));
}

#[test]
fn a_killed_harness_leaves_nothing() {
    for phase in ["up", "method"] {
        let mut run = Run::start(&[EXPERIMENT]);
        run.wait_for(phase, in_phase(phase));
        if phase == "method" {
            run.wait_for("an injected fault", injected);
        }
        let run_id = run.run_id();
        // The whole process group: the reaper must be in a session of its own.
        kill(Pid::from_raw(-(run.child.id() as i32)), Signal::SIGKILL).unwrap();
        assert_eq!(run.exit_code(), None);
        assert_nothing_left(&run_id, Duration::from_secs(10));
    }
}

#[test]
fn a_defect_fails_by_the_assertion_that_names_it() {
    let mut run = Run::start(&["--defect", "asks-again-signs-again", EXPERIMENT]);
    run.wait_for("an injected fault", injected);
    assert_eq!(run.exit_code(), Some(1), "{}", run.output());
    let verdict = run.verdict();
    let failed = verdict["assertions"]
        .as_array()
        .unwrap()
        .iter()
        .find(|assertion| assertion["verdict"] == "fail")
        .unwrap();
    assert_eq!(failed["name"], "every-visitor-stands-in-the-book-once");
}

#[test]
fn without_docker_the_exit_code_is_four_and_says_so() {
    let output = Command::new(env!("CARGO_BIN_EXE_nightmail"))
        .args(["run", "--engine", "docker", EXPERIMENT])
        .env("DOCKER_HOST", "unix:///nowhere/docker.sock")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(4));
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(error.contains("Docker") && error.contains("hint"), "{error}");
}
