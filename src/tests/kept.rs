//! Systems that `run --keep` leaves up without Docker: reached from outside, taken down, and gone with their harness. On real
//! namespaces, with the postage service.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

const EXPERIMENT: &str = "
title: Customers look at their history
system: SYSTEM
workload: {arrivals: constant, operations: {buy-postage: {rate: 5/s}, purchase-history: {rate: 5/s}}, for: 2s}
gate: {warm-up: 1s, window: 1s}
steady-state-hypothesis:
  title: History is shown
  probes: [{name: history is shown, metric: success-rate, operation: purchase-history, tolerance: '>= 50%'}]
invariants: [nobody-charged-twice]
";

/// One system at a time, and one cache for all: images are made once, and no kept system of this machine's user is touched.
static MACHINE: Mutex<()> = Mutex::new(());

fn cache() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("kept-cache")
}

fn command(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_nightmail"));
    command
        .args(args)
        .env("NIGHTMAIL_CACHE", cache())
        .env("DOCKER_HOST", "unix:///nowhere/docker.sock")
        .env("NO_COLOR", "1")
        .stdin(Stdio::null());
    command
}

fn nightmail(args: &[&str]) -> Output {
    command(args).output().expect("nightmail")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// One test begins when no other goes on, and without what an earlier one may have left.
fn begin() -> MutexGuard<'static, ()> {
    let machine = MACHINE.lock().unwrap_or_else(PoisonError::into_inner);
    nightmail(&["gc"]);
    machine
}

/// What ran meanwhile is the test's business no more.
struct Ends(Child);

impl Drop for Ends {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A kept system. Whatever becomes of the test, it does not stay.
struct Kept {
    folder: tempfile::TempDir,
    run_id: String,
    told: String,
}

impl Kept {
    fn run() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let system = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/postage");
        std::fs::write(folder.path().join("kept.yaml"), EXPERIMENT.replace("SYSTEM", system)).unwrap();
        let (experiment, out) = (folder.path().join("kept.yaml"), folder.path().join("runs"));
        // Both its pipes are read to their ends, which come only if nobody who stays holds them.
        let output = command(&["run", "--engine", "local", "--keep", "--out"])
            .args([&out, &experiment])
            .output()
            .expect("nightmail");
        let told = text(&output.stdout) + &text(&output.stderr);
        let run_id = told.lines().find_map(|line| {
            let (_, rest) = line.split_once("--run ")?;
            rest.split_whitespace().next().map(str::to_owned)
        });
        let kept = Self {
            folder,
            run_id: run_id.unwrap_or_default(),
            told,
        };
        // Whatever the load came to on a busy machine, the command ends as the verdict says.
        assert_eq!(output.status.code(), Some(kept.exit_code()), "{}", kept.told);
        kept
    }

    fn exit_code(&self) -> i32 {
        let runs = std::fs::read_dir(self.folder.path().join("runs")).unwrap().flatten();
        let run = runs.map(|entry| entry.path()).find(|path| path.is_dir());
        let verdict = std::fs::read(run.expect("a run folder").join("verdict.json")).unwrap();
        let verdict: serde_json::Value = serde_json::from_slice(&verdict).unwrap();
        assert_eq!(verdict["status"], "completed", "{}", self.told);
        verdict["exit_code"].as_i64().unwrap() as i32
    }

    /// The processes of its stage, told by the folder on their command line; and whatever they have started.
    fn processes(&self) -> Vec<i32> {
        let all: Vec<(i32, i32)> = std::fs::read_dir("/proc")
            .unwrap()
            .flatten()
            .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
            .filter_map(|pid| Some((pid, parent(pid)?)))
            .collect();
        let folder = self.folder.path().display().to_string();
        let is_its_own = |pid: i32| {
            let words = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            text(&words).contains(&folder)
        };
        let mut found: Vec<i32> = all.iter().map(|(pid, _)| *pid).filter(|pid| is_its_own(*pid)).collect();
        let mut at = 0;
        while let Some(pid) = found.get(at).copied() {
            let children = all.iter().filter(|(_, parent)| *parent == pid).map(|(child, _)| *child);
            let new: Vec<i32> = children.filter(|child| !found.contains(child)).collect();
            found.extend(new);
            at += 1;
        }
        found
    }

    /// The harness: the one that the first process of the stage has started.
    fn harness(&self) -> i32 {
        let all = self.processes();
        *all.iter()
            .find(|pid| parent(**pid).is_some_and(|parent| all.contains(&parent)))
            .expect("a harness")
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        let processes = self.processes();
        for pid in &processes {
            let _ = kill(Pid::from_raw(*pid), Signal::SIGKILL);
        }
        wait_until_gone(&processes);
    }
}

/// The parent of a process; none of one that has ended.
fn parent(pid: i32) -> Option<i32> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let mut fields = stat.rsplit_once(") ")?.1.split(' ');
    let state = fields.next()?;
    (state != "Z").then(|| fields.next()?.parse().ok())?
}

/// Those that are still there after a while.
fn wait_until_gone(processes: &[i32]) -> Vec<i32> {
    let began = Instant::now();
    loop {
        let left: Vec<i32> = processes.iter().copied().filter(|pid| parent(*pid).is_some()).collect();
        if left.is_empty() || began.elapsed() > Duration::from_secs(30) {
            return left;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn assert_gone(processes: &[i32]) {
    assert_eq!(wait_until_gone(processes), Vec::<i32>::new(), "still there");
}

/// Sockets of kept runs.
fn sockets() -> Vec<String> {
    let entries = std::fs::read_dir(cache().join("kept")).into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name().display().to_string()).collect()
}

fn get(address: SocketAddr) -> std::io::Result<String> {
    let mut connection = TcpStream::connect(address)?;
    connection.set_read_timeout(Some(Duration::from_secs(10)))?;
    connection.write_all(b"GET /ready HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")?;
    let mut answer = String::new();
    connection.read_to_string(&mut answer)?;
    let _ = connection.shutdown(Shutdown::Both);
    Ok(answer)
}

/// A forward, and where it listens.
fn forward(target: &str) -> (Ends, SocketAddr, String) {
    let mut child = command(&["forward", target, "--listen", "127.0.0.1:0"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap())
        .read_line(&mut line)
        .unwrap();
    let address = line.split(' ').next().unwrap().parse();
    let address = address.unwrap_or_else(|_| panic!("no address: {line}"));
    (Ends(child), address, line)
}

#[test]
fn a_kept_system_outlives_its_command_can_be_entered_and_goes_with_gc() {
    let _machine = begin();
    let kept = Kept::run();
    assert!(
        kept.told.contains("nightmail forward postage-api:8080 --run"),
        "{}",
        kept.told
    );
    let processes = kept.processes();
    assert!(processes.len() > 8, "init, harness and seven replicas: {processes:?}");
    assert_eq!(sockets(), [format!("{}.sock", kept.run_id)]);

    let (mut forwarding, address, told) = forward("postage-api:8080");
    assert!(
        told.contains("postage-api-1") && told.contains("postage-api-2"),
        "{told}"
    );
    // Both, since they take turns.
    for _ in 0..2 {
        let answer = get(address).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }
    a_command_runs_in_the_image_as_the_replica_does();
    where_the_image_has_no_shell_it_is_the_hosts();
    a_replica_that_dies_comes_back(&kept);

    let collected = nightmail(&["gc"]);
    let said = text(&collected.stdout);
    assert_eq!(collected.status.code(), Some(0), "{said}{}", text(&collected.stderr));
    assert!(said.contains(&kept.run_id), "{said}");
    assert!(said.contains("Docker was not looked at"), "{said}");
    assert_gone(&processes);
    assert_eq!(sockets(), Vec::<String>::new());
    // What was carried there ends with it.
    assert_eq!(forwarding.0.wait().unwrap().code(), Some(0));
    let none = nightmail(&["shell", "postage-api"]);
    assert_eq!(none.status.code(), Some(2));
    assert!(text(&none.stderr).contains("run --keep"), "{}", text(&none.stderr));
}

fn a_command_runs_in_the_image_as_the_replica_does() {
    // With what any shell has by itself: there need not be anything else in an image.
    let script = "echo $HOSTNAME
        while read -r key id rest; do if [ $key = Uid: ]; then own=$id; fi; done < /proc/self/status
        while IFS=: read -r name x id rest; do if [ $id = $own ]; then echo $name; fi; done < /etc/passwd
        read -r first < /proc/1/comm; echo $first
        exit 7";
    let shell = nightmail(&["shell", "database-1", "--", "/bin/sh", "-c", script]);
    let said = text(&shell.stdout);
    assert_eq!(shell.status.code(), Some(7), "{said}{}", text(&shell.stderr));
    let lines: Vec<&str> = said.lines().collect();
    // Its name, whom it runs as, and the first of its own processes.
    assert_eq!(lines, ["database-1-1", "postgres", "postgres"]);

    let mut typed = command(&["shell", "database-1"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    typed.stdin.take().unwrap().write_all(b"echo typed; exit 3\n").unwrap();
    let ended = typed.wait_with_output().unwrap();
    assert_eq!(
        (text(&ended.stdout).as_str(), ended.status.code()),
        ("typed\n", Some(3))
    );

    let missing = nightmail(&["shell", "database-1", "--", "no-such-command"]);
    assert_eq!(missing.status.code(), Some(4));
    assert!(
        text(&missing.stderr).contains("not in the image"),
        "{}",
        text(&missing.stderr)
    );
}

fn where_the_image_has_no_shell_it_is_the_hosts() {
    let of_image = nightmail(&["shell", "postage-api-2", "--", "/replicas", "health", "/ready"]);
    assert_eq!(of_image.status.code(), Some(0), "{}", text(&of_image.stderr));
    assert_eq!(text(&of_image.stderr), "");

    let script = "cat /proc/net/route /etc/hosts; tr '\\0' ' ' < /proc/1/cmdline";
    let of_host = nightmail(&["shell", "postage-api-2", "--", "sh", "-c", script]);
    let (said, note) = (text(&of_host.stdout), text(&of_host.stderr));
    assert_eq!(of_host.status.code(), Some(0), "{said}{note}");
    assert!(
        note.contains("sh of the host") && note.contains("postage-api-2"),
        "{note}"
    );
    assert!(said.contains("eth0") && said.contains("database-1-1"), "{said}");
    assert!(said.ends_with("/replicas postage-api "), "{said}");

    let unknown = nightmail(&["shell", "postage"]);
    assert_eq!(unknown.status.code(), Some(2));
    assert!(
        text(&unknown.stderr).contains("postage-api-2"),
        "{}",
        text(&unknown.stderr)
    );
}

/// Its restart policy is kept too.
fn a_replica_that_dies_comes_back(kept: &Kept) {
    let printer = |kept: &Kept| {
        let is = |pid: &i32| {
            let words = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            text(&words).starts_with("/replicas\0label-printer")
        };
        kept.processes().into_iter().find(is)
    };
    let first = printer(kept).expect("a label printer");
    kill(Pid::from_raw(first), Signal::SIGKILL).unwrap();
    let began = Instant::now();
    while printer(kept).is_none_or(|now| now == first) {
        assert!(began.elapsed() < Duration::from_secs(30), "it did not come back");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_kept_system_goes_with_its_harness_and_leaves_a_socket_that_nobody_minds() {
    let _machine = begin();
    let kept = Kept::run();
    let processes = kept.processes();
    kill(Pid::from_raw(kept.harness()), Signal::SIGKILL).unwrap();
    assert_gone(&processes);
    let none = nightmail(&["forward", "postage-api:8080"]);
    assert_eq!(none.status.code(), Some(2), "{}", text(&none.stderr));
    assert_eq!(sockets(), Vec::<String>::new());
    assert_eq!(nightmail(&["gc"]).status.code(), Some(0));
}

#[test]
fn two_kept_systems_must_be_told_apart_and_end_together_or_by_a_signal() {
    let _machine = begin();
    let (first, second) = (Kept::run(), Kept::run());
    let ask = ["shell", "database-1", "--", "/bin/sh", "-c", "echo there"];
    let undecided = nightmail(&ask);
    assert_eq!(undecided.status.code(), Some(2));
    let said = text(&undecided.stderr);
    assert!(said.contains(&first.run_id) && said.contains(&second.run_id), "{said}");
    let decided = nightmail(&[&["shell", "--run", &second.run_id], &ask[1..]].concat());
    assert_eq!(text(&decided.stdout), "there\n", "{}", text(&decided.stderr));

    let processes = second.processes();
    kill(Pid::from_raw(second.harness()), Signal::SIGTERM).unwrap();
    assert_gone(&processes);
    assert_eq!(sockets(), [format!("{}.sock", first.run_id)]);
    let processes = first.processes();
    assert_eq!(nightmail(&["gc"]).status.code(), Some(0));
    assert_gone(&processes);
}
