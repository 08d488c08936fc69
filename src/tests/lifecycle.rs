//! What a run leaves behind when it ends, is interrupted, or is killed: nothing. On real containers, with the guestbook.

use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

const EXPERIMENT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/experiments/guestbook/book-paused.yaml");

/// One run at a time: several on one machine make the load late, and a late load proves nothing.
static MACHINE: Mutex<()> = Mutex::new(());

/// A run of the guestbook in a process group of its own.
struct Run {
    _machine: MutexGuard<'static, ()>,
    child: Child,
    out: tempfile::TempDir,
    lines: std::sync::mpsc::Receiver<String>,
}

impl Run {
    fn start(args: &[&str]) -> Self {
        let machine = MACHINE.lock().unwrap_or_else(PoisonError::into_inner);
        let out = tempfile::tempdir().unwrap();
        let mut child = Command::new(env!("CARGO_BIN_EXE_nightmail"))
            .args(["run", "--seed", "7", "--out"])
            .arg(out.path())
            .args(args)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .process_group(0)
            .spawn()
            .unwrap();
        let (sender, lines) = std::sync::mpsc::channel();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        std::thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                let _ = sender.send(line);
            }
        });
        Self {
            _machine: machine,
            child,
            out,
            lines,
        }
    }

    fn dir(&self) -> Option<PathBuf> {
        let entries = std::fs::read_dir(self.out.path()).ok()?;
        entries
            .filter_map(Result::ok)
            .map(|entry| entry.path())
            .find(|path| path.is_dir())
    }

    fn events(&self) -> Vec<Value> {
        let Some(dir) = self.dir() else { return Vec::new() };
        let text = std::fs::read_to_string(dir.join("events.jsonl")).unwrap_or_default();
        text.lines()
            .filter_map(|line| serde_json::from_str::<Value>(line).ok())
            .map(|entry| entry["event"].clone())
            .collect()
    }

    /// Waits until an event is on disk of which `is` holds.
    fn wait_for(&mut self, what: &str, is: impl Fn(&Value) -> bool) {
        let began = Instant::now();
        while !self.events().iter().any(&is) {
            let ended = self.child.try_wait().unwrap();
            assert!(
                ended.is_none(),
                "the run ended before {what}: {ended:?}\n{}",
                self.output()
            );
            assert!(
                began.elapsed() < Duration::from_secs(240),
                "no {what} after 240 s\n{}",
                self.output()
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn run_id(&self) -> String {
        let events = self.events();
        let started = events
            .iter()
            .find_map(|event| event["started"]["run_id"].as_str())
            .expect("a started event");
        started.to_owned()
    }

    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id() as i32), signal).unwrap();
    }

    fn exit_code(&mut self) -> Option<i32> {
        let began = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code();
            }
            assert!(
                began.elapsed() < Duration::from_secs(60),
                "still running 60 s later\n{}",
                self.output()
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn verdict(&self) -> Value {
        let dir = self.dir().expect("a run folder");
        serde_json::from_slice(&std::fs::read(dir.join("verdict.json")).expect("verdict.json")).unwrap()
    }

    fn output(&self) -> String {
        self.lines.try_iter().collect::<Vec<_>>().join("\n")
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn docker(args: &[&str]) -> String {
    let output: Output = Command::new("docker").args(args).output().expect("docker");
    assert!(
        output.status.success(),
        "docker {args:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// Containers, networks and volumes of a run.
fn left_of(run_id: &str) -> String {
    let label = format!("label=nightmail.run={run_id}");
    [
        ["ps", "-aq"].as_slice(),
        &["network", "ls", "-q"],
        &["volume", "ls", "-q"],
    ]
    .map(|list| docker(&[list, &["--filter", &label]].concat()))
    .join("")
}

fn assert_nothing_left(run_id: &str, within: Duration) {
    let began = Instant::now();
    loop {
        let left = left_of(run_id);
        if left.is_empty() {
            return;
        }
        assert!(began.elapsed() < within, "left behind after {within:?}: {left}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

fn in_phase(phase: &'static str) -> impl Fn(&Value) -> bool {
    move |event| event["phase"]["phase"] == phase
}

fn injected(event: &Value) -> bool {
    event.get("fault_injected").is_some()
}

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

/// An experiment on the guestbook with this method; without the bounds that only its own faults would keep.
fn experiment(folder: &Path, method: &str) -> String {
    let text = format!(
        "title: Visitors sign
system: {}/fixtures/guestbook
workload: {{arrivals: constant, operations: {{sign: {{rate: 10/s}}, opening-hours: {{rate: 5/s}}}}}}
gate: {{warm-up: 1s, window: 2s}}
steady-state-hypothesis:
  title: Visitors can sign
  probes: [{{name: signing succeeds, metric: success-rate, operation: sign, tolerance: '>= 99%'}}]
method:
{method}
recovery: {{within: 5s, stable-for: 2s}}
invariants: [every-visitor-stands-in-the-book-once]
",
        env!("CARGO_MANIFEST_DIR")
    );
    let path = folder.join("experiment.yaml");
    std::fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

fn container_of(run_id: &str, replica: &str) -> String {
    docker(&[
        "ps",
        "-q",
        "--filter",
        &format!("label=nightmail.run={run_id}"),
        "--filter",
        &format!("label=nightmail.replica={replica}"),
        "--filter",
        "label=nightmail.part=replica",
    ])
}

#[test]
fn a_stop_and_a_loss_are_lived_through() {
    let folder = tempfile::tempdir().unwrap();
    let file = experiment(
        folder.path(),
        "  - {name: packets are lost, at: 500ms, for: 3s, inject: {loss: {from: [door], to: [book], percent: 20}}}
  - {name: the book is closed, at: 6s, for: 2s, inject: {stop: {targets: [book]}}}",
    );
    let mut run = Run::start(&[&file]);
    assert_eq!(run.exit_code(), Some(0), "{}", run.output());
    let verdict = run.verdict();
    for (fault, name) in ["packets are lost", "the book is closed"].iter().enumerate() {
        let fault = &verdict["faults"][fault];
        assert_eq!(fault["name"], *name);
        assert_eq!(fault["injected"]["confirmed"], true, "{fault}");
        assert_eq!(fault["healed"]["confirmed"], true, "{fault}");
    }
}

#[test]
fn a_fault_that_does_not_bite_makes_the_run_inconclusive() {
    let folder = tempfile::tempdir().unwrap();
    let file = experiment(
        folder.path(),
        "  - {name: the book freezes, at: 3s, for: 1s, inject: {pause: {targets: [book]}}}",
    );
    let mut run = Run::start(&[&file]);
    run.wait_for("the method", in_phase("method"));
    let run_id = run.run_id();
    // Frozen behind the harness's back: its own fault has nothing left to do.
    docker(&["pause", &container_of(&run_id, "book-1")]);
    assert_eq!(run.exit_code(), Some(3), "{}", run.output());
    assert_nothing_left(&run_id, Duration::ZERO);
    let verdict = run.verdict();
    assert_eq!(verdict["faults"][0]["injected"]["confirmed"], false, "{verdict}");
    let receipt = verdict["assertions"]
        .as_array()
        .unwrap()
        .iter()
        .find(|assertion| assertion["kind"] == "receipt")
        .unwrap();
    assert_eq!(receipt["verdict"], "inconclusive", "{receipt}");
}

#[test]
fn a_fault_begins_with_the_operation_it_waits_for() {
    let folder = tempfile::tempdir().unwrap();
    let file = experiment(
        folder.path(),
        "  - name: the book freezes
    on: {operation: sign, outcome: ok, nth: 45, by: 10s}
    for: 2s
    inject: {pause: {targets: [book]}}",
    );
    let mut run = Run::start(&[&file]);
    assert_eq!(run.exit_code(), Some(0), "{}", run.output());
    let dir = run.dir().unwrap();
    let lines = |file: &str| -> Vec<Value> {
        let text = std::fs::read_to_string(dir.join(file)).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    };
    let events = lines("events.jsonl");
    let at = |event: &str| {
        let entry = events.iter().find(|entry| entry["event"].get(event).is_some());
        entry.and_then(|entry| entry["at_us"].as_u64()).expect("the event")
    };
    let (gate, intent) = (at("gate"), at("fault_intent"));
    let mut signed: Vec<u64> = lines("history.jsonl")
        .iter()
        .filter_map(|line| line.get("op"))
        .filter(|op| op["kind"] == "sign" && op["outcome"] == "ok")
        .filter_map(|op| op["done_us"].as_u64())
        .filter(|done| *done >= gate)
        .collect();
    signed.sort_unstable();
    assert!(signed.len() > 45, "{}", signed.len());
    assert!(
        signed[44] <= intent && intent < signed[44] + 500_000,
        "the 45th since the gate was signed at {} us, the fault intended at {intent} us",
        signed[44]
    );
}

#[test]
fn without_docker_the_exit_code_is_four_and_says_so() {
    let output = Command::new(env!("CARGO_BIN_EXE_nightmail"))
        .args(["run", EXPERIMENT])
        .env("DOCKER_HOST", "unix:///nowhere/docker.sock")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(4));
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(error.contains("Docker") && error.contains("hint"), "{error}");
}
