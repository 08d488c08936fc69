//! A network of the test's own: namespaces on a bridge, an agent in each, and the test's thread beside the bridge.
//!
//! Nothing of it touches the machine's own network. It needs the right to make network namespaces (root's, or that of an
//! ordinary user in a user namespace), and goes away with its guard.

use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::{Child, Command, ExitStatus, Output};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use nightmail::agent::CONTROL_PORT;
use nightmail::agent::client::Client;
use nightmail::fault::FaultContext;
use nightmail::plan::{ReplicaId, Target};
use nightmail::system::definition::SystemDefinition;
use nightmail::system::engine::{
    Call, EngineError, LogLine, ProcessState, Release, Replica, Running, RunningSystem, Undo,
};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use nlink::netlink::namespace::{self, NamespaceGuard};
use tokio::sync::broadcast;

/// The test's own address, which the agents admit.
pub const HARNESS: Ipv4Addr = Ipv4Addr::new(10, 78, 0, 1);
/// How long anything that must come may take.
pub const WITHIN: Duration = Duration::from_secs(10);

/// Leaves these tests out where no namespace can be made. Only on purpose: each says so past the runner's capture.
const SKIP: &str = "NIGHTMAIL_SKIP_PRIVILEGED_TESTS";

/// Whether the test that asks is to go on here. Whoever may make network namespaces does so; anybody else's test (root's in
/// a container without that right, too) runs once more in a user namespace, as root of that, and what it says there is what
/// counts.
pub fn possible() -> bool {
    let thread = std::thread::current();
    let test = thread.name().expect("the runner names a test's thread after it");
    if std::env::var_os(SKIP).is_some_and(|value| value == "1") {
        say(&format!("SKIPPED, since {SKIP}=1: {test}\n"));
        return false;
    }
    if may_make_namespaces() {
        return true;
    }
    let output = in_user_namespace()
        .arg(std::env::current_exe().expect("the runner's own file"))
        .args(["--exact", test, "--nocapture"])
        .output()
        .expect("util-linux is installed");
    if !output.status.success() {
        panic!("{}", not_run(&output));
    }
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(
        said.contains("1 passed"),
        "{test} did not run in its namespace:\n{said}"
    );
    false
}

/// Tried, since root is not always allowed to.
fn may_make_namespaces() -> bool {
    let tried = Command::new("unshare").args(["--mount", "--net", "true"]).output();
    tried.expect("util-linux is installed").status.success()
}

/// A shell as root of a user namespace, which starts the words that follow. Its `/run` is its own, since network
/// namespaces are kept there by name.
fn in_user_namespace() -> Command {
    let mut command = Command::new("unshare");
    command.args(["--user", "--map-root-user", "--mount", "--net", "sh", "-c"]);
    command.args(["mount -t tmpfs tmpfs /run && exec \"$@\"", "sh"]);
    command
}

/// Why a test that ran in a user namespace did not pass: its own failure, or that there is no such namespace.
fn not_run(output: &Output) -> String {
    let said = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    if said.contains("running 1 test") {
        return format!("it failed in a user namespace:\n{said}");
    }
    format!(
        "this test makes network namespaces, which takes root with CAP_SYS_ADMIN, or a kernel that lets ordinary users \
         make user namespaces (`unshare --user --map-root-user --mount --net true` must succeed)\n{said}  hint: run it as root, allow user \
         namespaces (on some hosts `sysctl kernel.unprivileged_userns_clone=1` or \
         `sysctl kernel.apparmor_restrict_unprivileged_userns=0`), or leave such tests out with {SKIP}=1"
    )
}

/// Straight to the terminal: what a passing test prints, the runner keeps to itself.
fn say(text: &str) {
    let _ = std::io::stderr().write_all(text.as_bytes());
}

/// The network. Fields are dropped in their order: the thread leaves the namespace before that is removed.
pub struct Lab {
    _inside: NamespaceGuard,
    pub agents: Vec<AgentProcess>,
    _namespaces: Namespaces,
}

/// An agent and the namespace it stands in.
pub struct AgentProcess {
    pub namespace: String,
    pub address: Ipv4Addr,
    child: Child,
}

struct Namespaces(Vec<String>);

impl Drop for Namespaces {
    fn drop(&mut self) {
        for name in &self.0 {
            let _ = Command::new("ip").args(["netns", "del", name]).status();
        }
    }
}

impl Lab {
    /// So many replicas, each with an agent that answers.
    pub async fn new(replicas: u8) -> Self {
        Self::with_links(replicas, &[]).await
    }

    /// The same, with links from replicas to others.
    pub async fn with_links(replicas: u8, links: &[(u8, u8)]) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let prefix = format!("nm{}x{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let hub = format!("{prefix}hub");
        let mut namespaces = Namespaces(Vec::new());
        add_namespace(&mut namespaces, &hub);
        ip(&hub, "link add br0 type bridge");
        ip(&hub, &format!("addr add {HARNESS}/24 dev br0"));
        ip(&hub, "link set br0 up");
        let mut agents = Vec::new();
        for number in 1..=replicas {
            let name = format!("{prefix}r{number}");
            let address = address_of(number);
            add_namespace(&mut namespaces, &name);
            ip(
                &hub,
                &format!("link add v{number} type veth peer name eth0 netns {name}"),
            );
            ip(&hub, &format!("link set v{number} master br0 up"));
            ip(&name, &format!("addr add {address}/24 dev eth0"));
            ip(&name, "link set eth0 up");
            let mut words = vec!["--admit".to_owned(), HARNESS.to_string()];
            for (_, to) in links.iter().filter(|(from, _)| *from == number) {
                words.extend(["--link".to_owned(), format!("n-{to}={}", address_of(*to))]);
            }
            let child = spawn_agent(&name, &words.iter().map(String::as_str).collect::<Vec<_>>());
            agents.push(AgentProcess {
                namespace: name,
                address,
                child,
            });
        }
        let inside = namespace::enter(&hub).expect("the test's thread enters its namespace");
        let lab = Self {
            _inside: inside,
            agents,
            _namespaces: namespaces,
        };
        for agent in &lab.agents {
            agent.answers().await;
        }
        lab
    }

    /// A fault's context, with replica `n-1` at the n-th agent.
    pub fn context(&self, fault: u32, ttl: Duration) -> FaultContext {
        let replicas = self.agents.iter().zip(1..).map(|(agent, index)| Replica {
            id: replica_id(index),
            address: agent.address,
            agent: Some(agent.control()),
        });
        FaultContext::new(
            Arc::new(LabSystem {
                replicas: replicas.collect(),
            }),
            fault,
            ttl,
            1,
        )
    }
}

fn address_of(number: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 78, 0, number + 1)
}

pub fn replica_id(index: u32) -> ReplicaId {
    ReplicaId {
        service: "n".to_owned(),
        index,
    }
}

pub fn targets(indices: &[u32]) -> Vec<Target> {
    vec![Target::Replicas(
        indices.iter().map(|index| replica_id(*index)).collect(),
    )]
}

impl AgentProcess {
    pub fn control(&self) -> SocketAddr {
        SocketAddr::from((self.address, CONTROL_PORT))
    }

    pub fn client(&self) -> Client {
        Client::new(self.control())
    }

    pub async fn answers(&self) {
        let client = self.client();
        eventually("the agent answers", async || client.faults().await.is_ok()).await;
    }

    /// Sends a signal and waits for the end.
    pub fn end(&mut self, signal: Signal) -> (ExitStatus, Duration) {
        let start = Instant::now();
        let pid = Pid::from_raw(self.child.id().try_into().unwrap());
        kill(pid, signal).unwrap();
        (wait_for(&mut self.child), start.elapsed())
    }
}

impl Drop for AgentProcess {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// `nightmail agent` in that namespace.
pub fn spawn_agent(namespace: &str, args: &[&str]) -> Child {
    Command::new("ip")
        .args(["netns", "exec", namespace, env!("CARGO_BIN_EXE_nightmail"), "agent"])
        .args(args)
        .spawn()
        .expect("iproute2 is installed")
}

/// The exit status, or a panic if there is none in time.
pub fn wait_for(child: &mut Child) -> ExitStatus {
    let start = Instant::now();
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status;
        }
        assert!(start.elapsed() < WITHIN, "the process did not end");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Returns when the condition holds; panics when it never does.
pub async fn eventually(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let start = Instant::now();
    while !holds().await {
        assert!(start.elapsed() < WITHIN, "not within {WITHIN:?}: {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

fn add_namespace(namespaces: &mut Namespaces, name: &str) {
    run(&["netns", "add", name]);
    namespaces.0.push(name.to_owned());
    ip(name, "link set lo up");
}

fn ip(namespace: &str, words: &str) {
    let args: Vec<&str> = ["-n", namespace].into_iter().chain(words.split(' ')).collect();
    run(&args);
}

fn run(args: &[&str]) {
    let status = Command::new("ip").args(args).status().expect("iproute2 is installed");
    assert!(status.success(), "ip {}", args.join(" "));
}

/// Replicas that are nothing but their agents.
struct LabSystem {
    replicas: Vec<Replica>,
}

fn only_agents<T>(action: &str) -> Result<T, EngineError> {
    Err(EngineError::Refused {
        action: action.to_owned(),
        reason: "there are no processes here".to_owned(),
    })
}

#[async_trait]
impl RunningSystem for LabSystem {
    fn replicas(&self) -> &[Replica] {
        &self.replicas
    }

    fn definition(&self) -> &SystemDefinition {
        unreachable!("no role is asked for")
    }

    async fn kill(&self, _id: &ReplicaId) -> Result<(), EngineError> {
        only_agents("kill")
    }

    async fn stop(&self, _id: &ReplicaId) -> Result<(), EngineError> {
        only_agents("stop")
    }

    async fn start(&self, _id: &ReplicaId) -> Result<(), EngineError> {
        only_agents("start")
    }

    async fn redeploy(&self, _id: &ReplicaId, _release: &Release) -> Result<(), EngineError> {
        only_agents("redeploy")
    }

    async fn running(&self, _id: &ReplicaId) -> Result<Option<Running>, EngineError> {
        only_agents("running")
    }

    async fn pause(&self, _id: &ReplicaId) -> Result<(), EngineError> {
        only_agents("pause")
    }

    async fn unpause(&self, _id: &ReplicaId) -> Result<(), EngineError> {
        only_agents("unpause")
    }

    async fn state(&self, _id: &ReplicaId) -> Result<ProcessState, EngineError> {
        only_agents("state")
    }

    async fn is_ready(&self, _id: &ReplicaId) -> Result<bool, EngineError> {
        only_agents("is_ready")
    }

    async fn arm_deadline(&self, _: u32, _: Undo, _: &ReplicaId, _: Duration) -> Result<(), EngineError> {
        only_agents("arm_deadline")
    }

    async fn arm_call(&self, _: u32, _: &Call, _: Duration) -> Result<(), EngineError> {
        only_agents("arm_call")
    }

    async fn disarm_deadline(&self, _: u32) -> Result<(), EngineError> {
        only_agents("disarm_deadline")
    }

    fn log_lines(&self) -> broadcast::Receiver<LogLine> {
        broadcast::channel(1).1
    }

    async fn down(&self) -> Vec<String> {
        Vec::new()
    }

    async fn keep(&self) -> Vec<String> {
        Vec::new()
    }
}
