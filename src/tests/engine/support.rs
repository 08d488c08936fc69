//! Systems for the tests: a Compose file, a definition, and the probe program as their only image; and the engines that
//! run them.

use std::collections::BTreeSet;
use std::future::Future;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::ops::Deref;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Once};
use std::time::{Duration, Instant};

use nightmail::event::Events;
use nightmail::plan::ReplicaId;
use nightmail::system::definition::SystemDefinition;
use nightmail::system::docker::Docker;
use nightmail::system::engine::{Engine, ProcessState, RunningSystem, SystemRequest};
use nightmail::system::local::{Local, stage};
use nix::fcntl::{OFlag, open};
use nix::sys::signal::{SigHandler, SigSet, Signal, signal};
use nix::sys::stat::{Mode, umask};
use serde_json::json;

use crate::ways;

/// A folder of a workspace that has the probe as its only package.
pub fn folder(name: &str) -> PathBuf {
    static WORKSPACE: Once = Once::new();
    let workspace = std::env::var_os(ways::FOLDER)
        .map_or_else(|| PathBuf::from(env!("CARGO_TARGET_TMPDIR")), PathBuf::from)
        .join("engine");
    WORKSPACE.call_once(|| {
        std::fs::create_dir_all(&workspace).unwrap();
        let manifest = "[workspace]\n[package]\nname = \"probe\"\nversion = \"0.0.0\"\nedition = \"2024\"\n\
                        [[bin]]\nname = \"probe\"\npath = \"probe.rs\"\n";
        for (file, text) in [("Cargo.toml", manifest), ("probe.rs", include_str!("probe.rs"))] {
            write(&workspace.join(file), text);
        }
    });
    let folder = workspace.join(name);
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

/// Writes a file if it differs, so that nothing is built anew without need, and at once, since the same test on another
/// engine may be reading it.
pub fn write(path: &Path, text: &str) {
    if std::fs::read_to_string(path).ok().as_deref() == Some(text) {
        return;
    }
    let partial = path.with_extension(format!("{}", rand::random::<u32>()));
    std::fs::write(&partial, text).unwrap();
    std::fs::rename(partial, path).unwrap();
}

/// Where the image `probe` comes from; appended to every Compose file.
pub const IMAGES: &str =
    "x-nightmail:\n  images:\n    probe: {cargo-binary: {package: probe, binary: probe, path: /probe}}\n";

pub fn replica(service: &str, index: u32) -> ReplicaId {
    ReplicaId {
        service: service.to_owned(),
        index,
    }
}

/// A run id that no other test, and no test at the same time, has: process ids count from 1 on every stage.
pub fn run_id(name: &str) -> String {
    format!("test-{name}-{:08x}", rand::random::<u32>())
}

/// A request for a system of this Compose file, in which every service named in `ready` answers on its port when ready.
pub fn request(name: &str, compose: &str, ready: &[&str]) -> SystemRequest {
    request_with(name, compose, "", ready)
}

/// The same with more images, lines of the Compose file as [`IMAGES`] ends with.
pub fn request_with(name: &str, compose: &str, images: &str, ready: &[&str]) -> SystemRequest {
    let dir = folder(name);
    write(&dir.join("compose.yaml"), &format!("{compose}{IMAGES}{images}"));
    let hints: serde_json::Map<String, serde_json::Value> = ready
        .iter()
        .map(|service| {
            (
                (*service).to_owned(),
                json!({"ready": {"http": {"port": 8080, "path": "/"}}}),
            )
        })
        .collect();
    let definition: SystemDefinition =
        serde_json::from_value(json!({"name": name, "title": name, "services": hints, "operations": {}})).unwrap();
    request_of(name, dir, definition)
}

/// A request for the system of that definition in that folder.
pub fn request_of(name: &str, dir: PathBuf, definition: SystemDefinition) -> SystemRequest {
    let run_id = run_id(name);
    SystemRequest {
        logs_dir: dir.join(format!("logs-{run_id}")),
        run_id,
        definition,
        dir,
        environment: Default::default(),
        agents: Vec::new(),
        disks: Default::default(),
        images: Vec::new(),
        links: Default::default(),
        seed: 1,
        redactor: Default::default(),
    }
}

/// Makes two tests of each of these functions, one on Docker and one on the engine without it. Such a function takes the
/// engine, [`Under`] test.
macro_rules! on_both_engines {
    ($($test:ident),+ $(,)?) => {$(
        mod $test {
            #[tokio::test(flavor = "multi_thread")]
            async fn on_docker() {
                super::$test(crate::support::Under::docker().await).await;
            }

            #[test]
            fn on_local() {
                crate::support::on_local(concat!(module_path!(), "::on_local"), super::$test);
            }
        }
    )+};
}

/// The same for what only the engine without Docker does.
macro_rules! on_local_only {
    ($($test:ident),+ $(,)?) => {$(
        mod $test {
            #[test]
            fn on_local() {
                crate::support::on_local(concat!(module_path!(), "::on_local"), super::$test);
            }
        }
    )+};
}

/// The engine that a test is about.
pub struct Under {
    engine: Box<dyn Engine>,
}

impl Deref for Under {
    type Target = dyn Engine;

    fn deref(&self) -> &Self::Target {
        &*self.engine
    }
}

impl Under {
    pub async fn docker() -> Self {
        Self {
            engine: Box::new(engine().await),
        }
    }

    pub fn is_docker(&self) -> bool {
        self.name() == "docker"
    }

    /// Everything that there is of a run, asked past the code under test.
    pub fn left_of(&self, run_id: &str) -> Vec<String> {
        match self.is_docker() {
            true => left_of(run_id),
            false => left_on_stage(run_id),
        }
    }
}

/// Whoever else acts on a system's replicas, past the fault that a test is about: by Docker itself where that runs them, and
/// otherwise by the engine, which nobody else can reach.
pub struct SomebodyElse {
    is_docker: bool,
    system: Arc<dyn RunningSystem>,
    run_id: String,
}

impl Under {
    pub fn somebody_else(&self, system: &Arc<dyn RunningSystem>, run_id: &str) -> SomebodyElse {
        SomebodyElse {
            is_docker: self.is_docker(),
            system: system.clone(),
            run_id: run_id.to_owned(),
        }
    }
}

impl SomebodyElse {
    /// `stop`, `start`, `pause` or `unpause`.
    pub async fn does(&self, deed: &str, id: &ReplicaId) {
        if self.is_docker {
            let container = container(&self.run_id, id);
            if deed == "start" {
                // Docker hears of an end later than the kernel, and does not start what it takes to be running.
                eventually("Docker has noticed the end", WITHIN, || {
                    docker(&["inspect", "--format", "{{.State.Running}}", &container]) != "true"
                })
                .await;
            }
            docker(&[deed, &container]);
            return;
        }
        match deed {
            "stop" => self.system.stop(id).await,
            "start" => self.system.start(id).await,
            "pause" => self.system.pause(id).await,
            "unpause" => self.system.unpause(id).await,
            other => panic!("nobody can {other}"),
        }
        .unwrap();
    }

    /// `running`, `paused` or `exited`, as Docker says it, or the kernel.
    pub fn sees(&self, id: &ReplicaId) -> String {
        if self.is_docker {
            let container = container(&self.run_id, id);
            return docker(&["inspect", "--format", "{{.State.Status}}", &container]);
        }
        let place = format!("/{}/{id}/", self.run_id);
        let read = |pid: u32, file: &str| std::fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap_or_default();
        let found = others_on_stage().into_iter().find(|pid| {
            let is_first = |line: &str| line.starts_with("NSpid:") && line.ends_with("\t1");
            read(*pid, "mountinfo").contains(&place) && read(*pid, "status").lines().any(is_first)
        });
        let status = found.map(|pid| read(pid, "status")).unwrap_or_default();
        let state = status.lines().find_map(|line| line.strip_prefix("State:\t"));
        match state.map(|state| &state[..1]) {
            None | Some("Z" | "X") => "exited",
            Some("T") => "paused",
            Some(_) => "running",
        }
        .to_owned()
    }
}

pub fn docker(args: &[&str]) -> String {
    let output = Command::new("docker").args(args).output().unwrap();
    assert!(output.status.success(), "docker {args:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// A replica's container.
fn container(run_id: &str, id: &ReplicaId) -> String {
    let labels = [
        format!("label=nightmail.run={run_id}"),
        format!("label=nightmail.replica={id}"),
    ];
    let [run, replica] = labels.each_ref().map(String::as_str);
    let part = "label=nightmail.part=replica";
    let found = docker(&["ps", "-aq", "--filter", run, "--filter", replica, "--filter", part]);
    assert_eq!(found.lines().count(), 1, "{id} is one container: {found:?}");
    found
}

/// Runs a test on stages of its own: one for every way in which nightmail can be run here, and in each this test alone,
/// once more. `test` is its name, with that of the crate.
pub fn on_local<F: Future<Output = ()>>(test: &str, body: impl FnOnce(Under) -> F) {
    let Some(inside) = stage::Inside::take() else {
        let (_, test) = test.split_once("::").expect("a test is within a module");
        return ways::all().iter().for_each(|way| once_more(way, test));
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let engine = Local::new(inside).unwrap();
        body(Under {
            engine: Box::new(engine),
        })
        .await;
        // The kernel takes down the network of many namespaces one after another, when it finds the time.
        let began = Instant::now();
        let left = || (others_on_stage(), &interfaces() - &BTreeSet::from(["lo".to_owned()]));
        while left() != Default::default() {
            assert!(
                began.elapsed() < Duration::from_secs(30),
                "left on the stage: {:?}",
                left()
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
}

fn once_more(way: &ways::Way, test: &str) {
    let own = std::env::current_exe().unwrap();
    let mut command = way.command(Path::new(env!("CARGO_BIN_EXE_nightmail")));
    command.arg("stage").arg(way.readable(&own));
    command
        .args(["--exact", test, "--nocapture"])
        .env("LEAK", "a secret of the harness");
    // SAFETY: only calls that a handler of signals may make.
    unsafe { command.pre_exec(leave_traces) };
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && said.contains("1 passed"),
        "{} it did not pass: {}\n{said}{}",
        way.name,
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
}

/// Gives a process what replicas must not inherit: a mask for new files, a signal that is ignored and one that is blocked,
/// and a descriptor that stays open.
fn leave_traces() -> std::io::Result<()> {
    umask(Mode::from_bits_truncate(0o077));
    // SAFETY: no handler of ours runs.
    unsafe { signal(Signal::SIGUSR1, SigHandler::SigIgn) }?;
    let blocked: SigSet = [Signal::SIGUSR2].into_iter().collect();
    blocked.thread_block()?;
    let null = open("/dev/null", OFlag::O_RDONLY, Mode::empty())?;
    // Without the mark that closes it when another program begins; not ours to close.
    std::mem::forget(null);
    Ok(())
}

/// Processes of this stage beside its first and this one, zombies too.
pub fn others_on_stage() -> BTreeSet<u32> {
    let found = std::fs::read_dir("/proc").unwrap().flatten();
    found
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|pid| ![1, std::process::id()].contains(pid))
        .collect()
}

/// The interfaces of this stage.
pub fn interfaces() -> BTreeSet<String> {
    let listed = std::fs::read_to_string("/proc/self/net/dev").unwrap();
    let lines = listed.lines().skip(2);
    lines
        .filter_map(|line| Some(line.split_once(':')?.0.trim().to_owned()))
        .collect()
}

/// Mounts of this stage, and processes on it, that belong to a run: its id is in the paths that they were mounted from.
fn left_on_stage(run_id: &str) -> Vec<String> {
    let mentions = |pid: &str| {
        let mounts = std::fs::read_to_string(format!("/proc/{pid}/mountinfo")).unwrap_or_default();
        mounts.contains(run_id)
    };
    let mounted = mentions("self").then(|| "a mount".to_owned());
    let processes = others_on_stage().into_iter();
    let processes = processes.filter(|pid| mentions(&pid.to_string()));
    mounted
        .into_iter()
        .chain(processes.map(|pid| format!("process {pid}")))
        .collect()
}

/// Docker, with nightmail itself at hand.
pub async fn engine() -> Docker {
    let docker = Docker::connect().await.expect("these tests need Docker");
    docker.with_executable(env!("CARGO_BIN_EXE_nightmail"))
}

pub fn events() -> Events {
    Events::unsaved(None)
}

/// Everything that Docker has of a run, asked past the code under test.
pub fn left_of(run_id: &str) -> Vec<String> {
    let filter = format!("label=nightmail.run={run_id}");
    let lists: [&[&str]; 3] = [&["ps", "-aq"], &["network", "ls", "-q"], &["volume", "ls", "-q"]];
    lists
        .into_iter()
        .flat_map(|list| {
            let output = Command::new("docker")
                .args(list)
                .args(["--filter", &filter])
                .output()
                .unwrap();
            assert!(output.status.success(), "{output:?}");
            let found = String::from_utf8(output.stdout).unwrap();
            found.lines().map(|id| format!("{} {id}", list[0])).collect::<Vec<_>>()
        })
        .collect()
}

/// What the probe at this address answers.
pub fn ask(address: Ipv4Addr, path: &str) -> std::io::Result<String> {
    let limit = Duration::from_secs(3);
    let mut stream = TcpStream::connect_timeout(&(address, 8080).into(), limit)?;
    stream.set_read_timeout(Some(limit))?;
    write!(stream, "GET {path} HTTP/1.1\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (_, body) = answer.split_once("\r\n\r\n").unwrap_or_default();
    Ok(body.to_owned())
}

/// Waits for something that is on its way.
pub async fn eventually(what: &str, within: Duration, mut holds: impl FnMut() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < within, "{what}: not within {within:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// How long anything that must come may take.
pub const WITHIN: Duration = Duration::from_secs(30);

pub fn address(system: &dyn RunningSystem, service: &str) -> Ipv4Addr {
    system.replica(&replica(service, 1)).unwrap().address
}

pub fn asked(system: &dyn RunningSystem, service: &str, path: &str) -> String {
    ask(address(system, service), path).unwrap()
}

/// A line of `/proc/self/status`.
pub fn status(system: &dyn RunningSystem, service: &str, field: &str) -> String {
    field_of(&asked(system, service, "/status"), field)
}

pub fn field_of(status: &str, field: &str) -> String {
    let prefix = format!("{field}:");
    let line = status.lines().find_map(|line| line.strip_prefix(&prefix));
    let words: Vec<&str> = line
        .unwrap_or_else(|| panic!("no {field} in\n{status}"))
        .split_whitespace()
        .collect();
    words.join(" ")
}

pub async fn until(system: &dyn RunningSystem, id: &ReplicaId, state: ProcessState) {
    let began = Instant::now();
    while system.state(id).await.unwrap() != state {
        assert!(began.elapsed() < WITHIN, "{id} is not {state:?}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

pub async fn down(engine: &Under, system: &dyn RunningSystem, request: &SystemRequest) {
    assert_eq!(system.down().await, Vec::<String>::new());
    assert_eq!(engine.left_of(&request.run_id), Vec::<String>::new());
}

pub fn log(request: &SystemRequest, replica: &str) -> String {
    std::fs::read_to_string(request.logs_dir.join(format!("{replica}.log"))).unwrap()
}

pub fn times_logged(request: &SystemRequest, replica: &str, line: &str) -> usize {
    log(request, replica).lines().filter(|logged| *logged == line).count()
}

/// Waits until a line is in a replica's log so often: the log is followed, and may be behind.
pub async fn until_logged(request: &SystemRequest, replica: &str, line: &str, times: usize) {
    eventually(line, WITHIN, || times_logged(request, replica, line) >= times).await;
}
