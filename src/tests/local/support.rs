//! A stranger's system, made of the host's own busybox and outside of the repository, runs of it, and what there is of them.

use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt;
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt;
use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use nix::sys::signal::{SigHandler, Signal, kill, signal};
use nix::unistd::Pid;
use serde_json::Value;
use tempfile::TempDir;

use crate::ways::{self, Way};

/// How long anything that must come may take.
pub const WITHIN: Duration = Duration::from_secs(60);
/// Nothing may be left so long after the death of what was started.
pub const GONE_WITHIN: Duration = Duration::from_secs(10);

const COMPOSE: &str = r#"
name: parlour
services:
  page:
    image: box
    command:
      - sh
      - -c
      - busybox mkdir -p /tmp/www && echo welcome > /tmp/www/index.html && exec busybox httpd -f -p 8080 -h /tmp/www
    ports: ["8080:8080"]
    restart: always
  clock:
    image: box
    command: [sh, -c, "while busybox sleep 1; do busybox date; done"]
    depends_on: [page]
x-nightmail:
  images:
    box: {host-programs: {programs: [busybox], packages: [busybox-static], links: {/bin/sh: busybox}}}
"#;

const SYSTEM: &str = r#"
name: parlour
title: A page and a clock
services:
  page: {ready: {http: {port: 8080, path: /}}}
operations:
  look:
    title: A visitor looks at the page
    request: {service: page, port: 8080, path: /, timeout: 1s}
    outcome: {ok: "status == 200"}
"#;

const EXPERIMENT: &str = r#"
title: Visitors see the page
system: ./
workload:
  for: 1500ms
  operations: {look: {rate: 5/s}}
gate: {warm-up: 200ms, window: 1s}
steady-state-hypothesis:
  title: The page is shown
  probes:
    - {name: looking succeeds, metric: success-rate, operation: look, tolerance: ">= 99%"}
"#;

/// What makes the experiment a fault, and a promise that it breaks.
pub const BREAKS: &str = r#"
method:
  - name: the page freezes
    at: 200ms
    for: 1500ms
    inject: {pause: {targets: [page]}}
during:
  - {name: the page is shown, operation: look, success-rate: ">= 99%"}
recovery: {within: 5s, stable-for: 1s}
"#;

/// One load at a time: several on one machine make it late, and a late load proves nothing.
pub fn alone() -> MutexGuard<'static, ()> {
    static MACHINE: Mutex<()> = Mutex::new(());
    MACHINE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Does the same in every way in which nightmail can be run here.
pub fn each_way(test: impl Fn(&Parlour)) {
    for way in ways::all() {
        let parlour = Parlour::new(way);
        let tested = std::panic::catch_unwind(AssertUnwindSafe(|| test(&parlour)));
        assert!(tested.is_ok(), "{} it failed, as was said before", way.name);
    }
}

/// A folder of the system and its experiment, with a cache of its own: whatever mentions it belongs to this test.
pub struct Parlour {
    pub way: &'static Way,
    dir: TempDir,
}

impl Parlour {
    fn new(way: &'static Way) -> Self {
        let dir = TempDir::with_prefix_in("parlour-", &way.folder).unwrap();
        let parlour = Self { way, dir };
        parlour.hand_over(parlour.dir.path());
        parlour.write("compose.yaml", COMPOSE);
        parlour.write("system.yaml", SYSTEM);
        parlour.write("look.yaml", EXPERIMENT);
        parlour
    }

    /// A path within it.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn cache(&self) -> PathBuf {
        self.path("cache")
    }

    pub fn write(&self, name: &str, text: &str) {
        let path = self.path(name);
        std::fs::write(&path, text).unwrap();
        self.hand_over(&path);
    }

    /// Changes a file of it.
    pub fn edit(&self, name: &str, from: &str, to: &str) {
        let text = std::fs::read_to_string(self.path(name)).unwrap();
        assert!(text.contains(from), "{name} has no {from}");
        self.write(name, &text.replace(from, to));
    }

    /// Everything here belongs to whom the way's folder belongs to.
    fn hand_over(&self, path: &Path) {
        let owner = self.way.folder.metadata().unwrap();
        chown(path, Some(owner.uid()), Some(owner.gid())).unwrap();
    }

    /// `nightmail run` of the experiment. `around` are the words of a program that starts it, such as a shell.
    pub fn command(&self, around: &[&str]) -> Command {
        let nightmail = self.way.readable(Path::new(env!("CARGO_BIN_EXE_nightmail")));
        let mut command = match around.split_first() {
            None => self.way.command(&nightmail),
            Some((program, words)) => {
                let mut command = self.way.command(Path::new(program));
                command.args(words).arg(nightmail);
                command
            }
        };
        command
            .args(["run", "--engine", "local", "--seed", "7", "--out"])
            .arg(self.path("runs"))
            .arg(self.path("look.yaml"));
        self.alone_in_its_cache(command)
    }

    /// `nightmail gate` of these experiments of it, or `merge` of these folders.
    pub fn judged(&self, subcommand: &str, names: &[&str], out: &str, more: &[&str]) -> Command {
        let nightmail = self.way.readable(Path::new(env!("CARGO_BIN_EXE_nightmail")));
        let mut command = self.way.command(&nightmail);
        command.arg(subcommand).arg("--out").arg(self.path(out)).args(more);
        command.args(names.iter().map(|name| self.path(name)));
        if subcommand == "gate" {
            command.args(["--engine", "local", "--seed", "7"]);
        }
        self.alone_in_its_cache(command)
    }

    fn alone_in_its_cache(&self, mut command: Command) -> Command {
        command
            .env("NIGHTMAIL_CACHE", self.cache())
            .env("NO_COLOR", "1")
            .env_remove("GITHUB_ACTIONS")
            .stdin(Stdio::null());
        command
    }

    /// A run to its end.
    pub fn run(&self) -> Ended {
        Ended::of(&self.command(&[]).output().unwrap())
    }

    /// A run that goes on.
    pub fn start(&self) -> Run<'_> {
        self.start_as(false)
    }

    /// The same, as a shell does that starts it in its background: with signals ignored.
    pub fn start_as(&self, in_background: bool) -> Run<'_> {
        let mut command = self.command(&[]);
        if in_background {
            // SAFETY: only calls that a handler of signals may make; none of ours runs.
            unsafe {
                command.pre_exec(|| {
                    for ignored in [Signal::SIGINT, Signal::SIGQUIT, Signal::SIGCHLD] {
                        signal(ignored, SigHandler::SigIgn)?;
                    }
                    Ok(())
                });
            }
        }
        self.begin(command)
    }

    /// A command that goes on.
    pub fn begin(&self, mut command: Command) -> Run<'_> {
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        Run {
            parlour: self,
            child: child.unwrap(),
        }
    }

    /// The run folder, if there is just one.
    pub fn run_dir(&self) -> Option<PathBuf> {
        let entries = std::fs::read_dir(self.path("runs")).ok()?.flatten();
        let mut found = entries.map(|entry| entry.path()).filter(|path| path.is_dir());
        let dir = found.next()?;
        assert!(found.next().is_none(), "there are several run folders");
        Some(dir)
    }

    pub fn events(&self) -> Vec<Value> {
        let Some(dir) = self.run_dir() else { return Vec::new() };
        let text = std::fs::read_to_string(dir.join("events.jsonl")).unwrap_or_default();
        let lines = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        lines.map(|mut line| line["event"].take()).collect()
    }

    pub fn verdict(&self) -> Value {
        let dir = self.run_dir().expect("a run folder");
        serde_json::from_slice(&std::fs::read(dir.join("verdict.json")).expect("verdict.json")).unwrap()
    }

    /// Everything that there is of its runs: processes that were started with its cache, that have it on their command line
    /// or in their mounts, and mounts of the host itself.
    fn found(&self) -> Vec<(u32, String)> {
        let mentions = |path: String| {
            let read = std::fs::read(path).unwrap_or_default();
            let wanted = self.cache();
            let wanted = wanted.as_os_str().as_encoded_bytes();
            read.windows(wanted.len()).any(|part| part == wanted)
        };
        let mut found = Vec::new();
        for pid in processes() {
            let file = |name: &str| format!("/proc/{pid}/{name}");
            if ["environ", "cmdline", "mountinfo"].map(file).into_iter().any(mentions) {
                let words = std::fs::read_to_string(file("cmdline")).unwrap_or_default();
                found.push((pid, words.replace('\0', " ")));
            }
        }
        found
    }

    /// Those of its processes that have this on their command line.
    pub fn processes(&self, word: &str) -> Vec<Pid> {
        let all = self.found().into_iter();
        all.filter(|(_, words)| words.contains(word))
            .map(|(pid, _)| Pid::from_raw(pid as i32))
            .collect()
    }

    /// The same as [`Parlour::found`], in words.
    pub fn left(&self) -> Vec<String> {
        let all = self.found().into_iter();
        all.map(|(pid, words)| format!("process {pid}: {words}")).collect()
    }

    /// Waits until nothing is left.
    pub fn assert_nothing_left(&self, within: Duration) {
        let began = Instant::now();
        loop {
            let left = self.left();
            if left.is_empty() {
                break;
            }
            assert!(began.elapsed() < within, "left behind after {within:?}: {left:#?}");
            std::thread::sleep(Duration::from_millis(10));
        }
        assert_eq!(interfaces(), BTreeSet::new(), "interfaces of the host");
    }
}

/// Processes of this machine but this one.
fn processes() -> Vec<u32> {
    let found = std::fs::read_dir("/proc").unwrap().flatten();
    let pids = found.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter(|pid| *pid != std::process::id()).collect()
}

/// Interfaces of the host that are named as a stage's are.
pub fn interfaces() -> BTreeSet<String> {
    let listed = std::fs::read_to_string("/proc/self/net/dev").unwrap();
    let names = listed.lines().filter_map(|line| Some(line.split_once(':')?.0.trim()));
    let is_ours = |name: &&str| {
        name.strip_prefix("nm")
            .is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
    };
    names.filter(is_ours).map(str::to_owned).collect()
}

/// How a command ended.
#[derive(Debug)]
pub struct Ended {
    pub code: Option<i32>,
    pub said: String,
}

impl Ended {
    pub fn of(output: &Output) -> Self {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Self {
            code: output.status.code(),
            said: format!("{}{}", text(&output.stdout), text(&output.stderr)),
        }
    }

    /// Fails unless it ended with this code and said all of this.
    pub fn assert(&self, code: i32, all_of: &[&str]) {
        assert_eq!(self.code, Some(code), "{}", self.said);
        for said in all_of {
            assert!(self.said.contains(said), "`{said}` is missing from\n{}", self.said);
        }
    }
}

/// A run that goes on. One that is dropped is killed.
pub struct Run<'a> {
    parlour: &'a Parlour,
    pub child: Child,
}

impl Run<'_> {
    /// Waits until something holds while it goes on.
    pub fn wait_until(&mut self, what: &str, holds: impl Fn(&Parlour) -> bool) {
        let began = Instant::now();
        while !holds(self.parlour) {
            let ended = self.child.try_wait().unwrap();
            assert!(ended.is_none(), "the run ended before {what}: {ended:?}");
            assert!(began.elapsed() < WITHIN, "no {what} within {WITHIN:?}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    pub fn wait_for_phase(&mut self, phase: &str) {
        self.wait_until(phase, |parlour| {
            parlour.events().iter().any(|event| event["phase"]["phase"] == phase)
        });
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
            assert!(began.elapsed() < WITHIN, "still running: {:#?}", self.parlour.left());
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Run<'_> {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
