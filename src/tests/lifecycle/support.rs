//! Runs of the guestbook through the binary, and what Docker has of them.

use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

/// One run at a time: several on one machine make the load late, and a late load proves nothing.
static MACHINE: Mutex<()> = Mutex::new(());

/// A run of the guestbook in a process group of its own.
pub struct Run {
    _machine: MutexGuard<'static, ()>,
    pub child: Child,
    out: tempfile::TempDir,
    lines: std::sync::mpsc::Receiver<String>,
}

impl Run {
    pub fn start(args: &[&str]) -> Self {
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

    pub fn dir(&self) -> Option<PathBuf> {
        let entries = std::fs::read_dir(self.out.path()).ok()?;
        entries
            .filter_map(Result::ok)
            .map(|entry| entry.path())
            .find(|path| path.is_dir())
    }

    /// The entries of one of the run's files; a line that is being written is left out.
    pub fn entries(&self, file: &str) -> Vec<Value> {
        let Some(dir) = self.dir() else { return Vec::new() };
        let text = std::fs::read_to_string(dir.join(file)).unwrap_or_default();
        text.lines()
            .filter_map(|line| serde_json::from_str(line).ok())
            .collect()
    }

    pub fn events(&self) -> Vec<Value> {
        let entries = self.entries("events.jsonl").into_iter();
        entries.map(|entry| entry["event"].clone()).collect()
    }

    /// Waits until an event is on disk of which `is` holds.
    pub fn wait_for(&mut self, what: &str, is: impl Fn(&Value) -> bool) {
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

    pub fn run_id(&self) -> String {
        let events = self.events();
        let started = events
            .iter()
            .find_map(|event| event["started"]["run_id"].as_str())
            .expect("a started event");
        started.to_owned()
    }

    pub fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id() as i32), signal).unwrap();
    }

    pub fn exit_code(&mut self) -> Option<i32> {
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

    pub fn verdict(&self) -> Value {
        let dir = self.dir().expect("a run folder");
        serde_json::from_slice(&std::fs::read(dir.join("verdict.json")).expect("verdict.json")).unwrap()
    }

    pub fn output(&self) -> String {
        self.lines.try_iter().collect::<Vec<_>>().join("\n")
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub fn docker(args: &[&str]) -> String {
    let output: Output = Command::new("docker").args(args).output().expect("docker");
    assert!(
        output.status.success(),
        "docker {args:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// Containers, networks and volumes of a run.
pub fn left_of(run_id: &str) -> String {
    let label = format!("label=nightmail.run={run_id}");
    [
        ["ps", "-aq"].as_slice(),
        &["network", "ls", "-q"],
        &["volume", "ls", "-q"],
    ]
    .map(|list| docker(&[list, &["--filter", &label]].concat()))
    .join("")
}

pub fn assert_nothing_left(run_id: &str, within: Duration) {
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

pub fn in_phase(phase: &'static str) -> impl Fn(&Value) -> bool {
    move |event| event["phase"]["phase"] == phase
}

pub fn injected(event: &Value) -> bool {
    event.get("fault_injected").is_some()
}
