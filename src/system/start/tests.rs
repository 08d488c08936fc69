//! Starts on an engine that starts nothing, and writes down what it was asked.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::json;

use super::*;
use crate::plan::ReplicaId;
use crate::system::compose::{self, ComposeFile};
use crate::system::engine::Disk;

const SHOP: &str = "
services:
  api:
    image: shop/api
    depends_on: {db: {condition: service_healthy}, migration: {condition: service_completed_successfully}}
    deploy: {replicas: 2}
    environment: {PASSWORD: correct-horse}
  db: {image: shop/db}
  migration: {image: shop/api, depends_on: [db]}
";

fn compose(text: &str) -> ComposeFile {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("compose.yaml");
    std::fs::write(&path, text).unwrap();
    compose::load_with(&path, &BTreeMap::new()).unwrap()
}

fn request(services: serde_json::Value, dir: &Path) -> SystemRequest {
    SystemRequest {
        run_id: "test".to_owned(),
        definition: serde_json::from_value(
            json!({"name": "shop", "title": "Shop", "services": services, "operations": {}}),
        )
        .unwrap(),
        dir: dir.to_owned(),
        environment: BTreeMap::new(),
        agents: Vec::new(),
        disks: BTreeMap::new(),
        images: Vec::new(),
        links: BTreeMap::new(),
        seed: 7,
        redactor: Redactor::default(),
        logs_dir: dir.join("logs"),
    }
}

/// Nothing listens there.
fn loopback(index: u16) -> Ipv4Addr {
    Ipv4Addr::from_bits(Ipv4Addr::new(127, 1, 0, 2).to_bits() + u32::from(index))
}

fn id(service: &str, index: u32) -> ReplicaId {
    ReplicaId {
        service: service.to_owned(),
        index,
    }
}

/// What was done, and what pods of services do if not run.
#[derive(Default)]
struct Fake {
    journal: Arc<Mutex<Vec<String>>>,
    looks: BTreeMap<&'static str, Look>,
    /// They are never ready.
    slow: BTreeSet<&'static str>,
    /// Their agents have ended.
    dead_agents: bool,
    dropped: Arc<AtomicU32>,
}

struct FakePod {
    id: ReplicaId,
    journal: Arc<Mutex<Vec<String>>>,
    look: Look,
    slow: bool,
    tries: AtomicU32,
    log: Arc<LogSink>,
    dropped: Arc<AtomicU32>,
}

impl Drop for FakePod {
    fn drop(&mut self) {
        self.dropped.fetch_add(1, Ordering::Relaxed);
    }
}

#[async_trait]
impl Starter for Fake {
    type Holder = ();
    type Pod = FakePod;

    async fn hold(&self, member: &Member, _: &Links) -> Result<(), EngineError> {
        self.journal.lock().unwrap().push(format!("hold {}", member.id));
        Ok(())
    }

    async fn launch(&self, member: &Member, (): (), log: Arc<LogSink>) -> Result<FakePod, EngineError> {
        self.journal.lock().unwrap().push(format!("launch {}", member.id));
        log.open().await.unwrap();
        log.line("the password is correct-horse", true).await;
        log.flush().await.unwrap();
        let service = member.service.name.as_str();
        Ok(FakePod {
            id: member.id.clone(),
            journal: self.journal.clone(),
            look: *self.looks.get(service).unwrap_or(&Look::Runs { restarts: 0 }),
            slow: self.slow.contains(service),
            tries: AtomicU32::new(0),
            log,
            dropped: self.dropped.clone(),
        })
    }

    async fn check_agent(&self, member: &Member, (): &()) -> Result<(), EngineError> {
        match self.dead_agents {
            true => Err(EngineError::NoReplica(format!("agent of {}", member.id))),
            false => Ok(()),
        }
    }
}

#[async_trait]
impl Launched for FakePod {
    fn runs_for_certain(&self) -> bool {
        false
    }

    async fn look(&self) -> Result<Look, EngineError> {
        Ok(self.look)
    }

    async fn try_ready(&self) -> Result<Result<(), String>, EngineError> {
        if self.slow || self.tries.fetch_add(1, Ordering::Relaxed) < 2 {
            return Ok(Err("not yet".to_owned()));
        }
        self.journal.lock().unwrap().push(format!("ready {}", self.id));
        Ok(Ok(()))
    }

    async fn check_agent(&self) -> Result<(), EngineError> {
        Ok(())
    }

    async fn tail(&self) -> Vec<String> {
        self.log.tail()
    }
}

/// Starts the shop; gives what came of it and what was done.
async fn started(fake: Fake, change: impl FnOnce(&mut SystemRequest)) -> (Result<Vec<String>, String>, Vec<String>) {
    let dir = tempfile::tempdir().unwrap();
    let mut request = request(json!({}), dir.path());
    change(&mut request);
    let members = members(&compose(SHOP), &request, loopback).unwrap();
    let journal = fake.journal.clone();
    let started = start_all(fake, members, &request, &Events::unsaved(None)).await;
    let pods = started.map(|started| started.pods.iter().map(|pod| pod.id.to_string()).collect());
    let journal = journal.lock().unwrap().clone();
    (pods.map_err(|error| error.to_string()), journal)
}

/// A job that has done what it is for.
fn migrated() -> Fake {
    Fake {
        looks: BTreeMap::from([("migration", Look::Ended { code: 0 })]),
        ..Fake::default()
    }
}

#[tokio::test]
async fn whoever_depends_is_held_after_a_start_and_launched_after_readiness() {
    let (pods, journal) = started(migrated(), |_| {}).await;
    assert_eq!(pods.unwrap(), ["api-1", "api-2", "db-1", "migration-1"]);
    let at = |what: &str| {
        let found = journal.iter().position(|line| line == what);
        found.unwrap_or_else(|| panic!("no `{what}` in {journal:?}"))
    };
    assert!(at("launch db-1") < at("hold migration-1"), "{journal:?}");
    assert!(at("launch migration-1") < at("hold api-1"), "{journal:?}");
    for api in ["launch api-1", "launch api-2"] {
        assert!(at("ready db-1") < at(api), "{journal:?}");
    }
    assert!(
        !journal.contains(&"ready migration-1".to_owned()),
        "a job is ready by its end: {journal:?}"
    );
}

#[tokio::test]
async fn one_that_ends_gives_its_last_words_and_the_others_give_up() {
    let fake = Fake {
        looks: BTreeMap::from([("migration", Look::Ended { code: 3 })]),
        slow: BTreeSet::from(["db"]),
        ..Fake::default()
    };
    let dropped = fake.dropped.clone();
    let (pods, journal) = started(fake, |_| {}).await;
    let expected = "migration-1 ended with exit code 3 before it was ready\n  | the password is correct-horse";
    assert_eq!(pods.unwrap_err(), expected);
    assert!(
        !journal.iter().any(|line| line.starts_with("launch api")),
        "{journal:?}"
    );
    // The database too, which would never have been ready.
    assert_eq!(dropped.load(Ordering::Relaxed), 2);
}

#[tokio::test]
async fn one_that_its_policy_brings_back_for_ever_fails_and_so_does_one_that_ends_after_its_start() {
    let with = |service, look| {
        let mut fake = migrated();
        fake.looks.insert(service, look);
        fake.slow.insert("api");
        fake
    };
    let (pods, _) = started(with("db", Look::Runs { restarts: 5 }), |_| {}).await;
    assert!(
        pods.unwrap_err().starts_with("db-1 ended 5 times before it was ready"),
        "too often"
    );
    let (pods, _) = started(with("api", Look::Ended { code: 1 }), |_| {}).await;
    let error = pods.unwrap_err();
    assert!(error.contains("ended with exit code 1 before it was ready"), "{error}");
    assert!(!error.contains("correct-horse"), "a secret of its environment: {error}");
}

#[tokio::test]
async fn a_process_that_only_had_to_run_is_looked_at_again_when_all_are_ready() {
    let dir = tempfile::tempdir().unwrap();
    let request = request(json!({"db": {"ready": {"tcp": {"port": 1}}}}), dir.path());
    let members = members(&compose(SHOP), &request, loopback).unwrap();
    let start = Start {
        starter: Fake::default(),
        order: Order::new(&members),
        addresses: BTreeMap::new(),
        seed: 0,
        logs_dir: dir.path().to_owned(),
        redactor: Redactor::default(),
        listeners: logs::listeners(),
        events: Events::unsaved(None),
    };
    let mut failed = Vec::new();
    for member in members {
        let pod = FakePod {
            id: member.id.clone(),
            journal: Arc::default(),
            look: Look::Ended { code: 9 },
            slow: false,
            tries: AtomicU32::new(0),
            log: Arc::new(start.log(&member).unwrap()),
            dropped: Arc::default(),
        };
        if let Err(error) = start.check_still_running([(member, pod)].iter()).await {
            failed.push(error.to_string());
        }
    }
    // Not the job, nor what was seen to be ready.
    assert_eq!(
        failed,
        ["api-1", "api-2"].map(|id| format!("{id} ended with exit code 9 at its start"))
    );
}

#[tokio::test]
async fn an_agent_that_has_ended_is_not_waited_for() {
    let fake = Fake {
        dead_agents: true,
        ..migrated()
    };
    let (pods, journal) = started(fake, |request| {
        request.links = BTreeMap::from([(id("api", 1), vec![id("db", 1)])]);
    })
    .await;
    assert_eq!(pods.unwrap_err(), "no replica agent of api-1");
    assert!(!journal.contains(&"launch api-1".to_owned()), "{journal:?}");
}

#[test]
fn members_have_their_order_environment_and_addresses() {
    let dir = tempfile::tempdir().unwrap();
    let mut request = request(json!({"db": {"ready": {"tcp": {"port": 5432}}}}), dir.path());
    let set = BTreeMap::from([("MODE".to_owned(), "fast".to_owned())]);
    request.environment = BTreeMap::from([("api".to_owned(), set)]);
    request.agents = vec![id("api", 2)];
    let members = members(&compose(SHOP), &request, loopback).unwrap();
    let told: Vec<String> = members
        .iter()
        .map(|member| format!("{} {} {} {}", member.index, member.id, member.address, member.agent))
        .collect();
    assert_eq!(
        told,
        [
            "0 api-1 127.1.0.2 false",
            "1 api-2 127.1.0.3 true",
            "2 db-1 127.1.0.4 false",
            "3 migration-1 127.1.0.5 false"
        ]
    );
    assert_eq!(members[0].environment["MODE"], "fast");
    assert_eq!(members[0].environment["PASSWORD"], "correct-horse");
    assert_eq!(members[0].names(), ["api", "api-1"]);
    assert!(members[0].is_unconditional() && !members[2].is_unconditional());
    assert_eq!(members[1].replica().agent, Some(agent_address(loopback(1))));
}

#[test]
fn who_is_not_there_can_have_neither_environment_nor_agent_nor_link() {
    let dir = tempfile::tempdir().unwrap();
    let refused = |change: &dyn Fn(&mut SystemRequest)| {
        let mut request = request(json!({}), dir.path());
        change(&mut request);
        members(&compose(SHOP), &request, loopback).unwrap_err().to_string()
    };
    let environment = refused(&|request| drop(request.environment.insert("web".to_owned(), BTreeMap::new())));
    assert!(
        environment.ends_with("compose.yaml: there is no service `web` to set environment on"),
        "{environment}"
    );
    assert_eq!(
        refused(&|request| request.agents.push(id("api", 3))),
        "no replica api-3"
    );
    let linked = refused(&|request| drop(request.links.insert(id("api", 1), vec![id("db", 2)])));
    assert_eq!(linked, "no replica db-2");
}

fn with_agent(member: &Member) -> Member {
    Member {
        agent: true,
        ..member.clone()
    }
}

#[test]
fn an_agent_is_told_its_links_and_a_seed_that_no_other_replica_has() {
    let dir = tempfile::tempdir().unwrap();
    let mut request = request(json!({}), dir.path());
    request.links = BTreeMap::from([(id("api", 2), vec![id("db", 1)])]);
    let members = members(&compose(SHOP), &request, loopback).unwrap();
    let addresses = members
        .iter()
        .map(|member| (member.id.clone(), member.address))
        .collect();
    let links = Links::of(&members[1], &addresses, 7);
    let admit = Ipv4Addr::new(10, 64, 0, 1);
    let words = agent_words(admit, &with_agent(&members[1]), &links);
    assert_eq!(
        words.join(" "),
        "agent --admit 10.64.0.1 --seed 4294967303 --link db-1=127.1.0.4"
    );
    assert_eq!(links.sysctls(&members[1].service)["net.ipv4.tcp_tw_reuse"], "1");
    let disk = |path: &str| Disk {
        path: path.to_owned(),
        size_bytes: 1,
    };
    let with_disks = Member {
        disks: vec![disk("/var/journal"), disk("/tmp")],
        ..members[1].clone()
    };
    assert!(!members[1].has_agent() && with_disks.has_agent());
    assert_eq!(
        agent_words(admit, &with_disks, &Links::default()).join(" "),
        "agent --admit 10.64.0.1 --disk /var/journal=/disk/0 --disk /tmp=/disk/1 --no-network",
        "with no right to filter packets it leaves the network alone"
    );
    assert_eq!(
        agent_words(admit, &with_agent(&with_disks), &Links::default()).join(" "),
        "agent --admit 10.64.0.1 --disk /var/journal=/disk/0 --disk /tmp=/disk/1 --seed 0"
    );
    let unlinked = Links::of(&members[0], &addresses, 7);
    assert_eq!(unlinked.seed, 7);
    assert!(unlinked.sysctls(&members[0].service).is_empty());
}

#[tokio::test]
async fn a_log_goes_to_its_file_and_its_listeners_and_shows_readiness_anew_after_a_start() {
    let dir = tempfile::tempdir().unwrap();
    let request = request(
        json!({"api": {"ready": {"log": {"matches": "^listening"}}}}),
        dir.path(),
    );
    let member = members(&compose(SHOP), &request, loopback).unwrap().remove(0);
    let listeners = logs::listeners();
    let mut heard = listeners.subscribe();
    let redactor = Redactor::default().with_environment(&member.environment);
    let log = LogSink::new(&member, dir.path(), redactor, listeners).unwrap();
    log.open().await.unwrap();
    log.line("listening, says the process before", false).await;
    assert!(!log.has_seen_ready());
    log.line("listening with correct-horse", true).await;
    assert!(log.has_seen_ready());
    log.forget_ready();
    assert!(!log.has_seen_ready());
    for number in 1..20 {
        log.line(&number.to_string(), true).await;
    }
    log.flush().await.unwrap();
    let written = std::fs::read_to_string(dir.path().join("api-1.log")).unwrap();
    assert_eq!(written.lines().count(), 21);
    assert!(!written.contains("correct-horse"), "{written}");
    assert_eq!(&*heard.recv().await.unwrap().line, "listening, says the process before");
    let tail = log.tail();
    assert_eq!(tail.len(), 20);
    assert_eq!(tail, written.lines().skip(1).collect::<Vec<_>>());
}

#[test]
fn a_line_that_is_no_regular_expression_is_told_with_its_replica() {
    let dir = tempfile::tempdir().unwrap();
    let request = request(json!({"db": {"ready": {"log": {"matches": "("}}}}), dir.path());
    let member = members(&compose(SHOP), &request, loopback).unwrap().remove(2);
    let error = LogSink::new(&member, dir.path(), Redactor::default(), logs::listeners()).unwrap_err();
    let error = error.to_string();
    assert!(
        error.starts_with("db-1 cannot be seen to be ready: `(` is not a regular expression"),
        "{error}"
    );
}
