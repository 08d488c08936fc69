//! `disk-full` on real replicas, whose folder is a file system of its own.

use std::sync::Arc;
use std::time::{Duration, Instant};

use nightmail::agent::api::FillRequest;
use nightmail::byte_size::ByteSize;
use nightmail::fault::disk_full::DiskFull;
use nightmail::fault::partition::Partition;
use nightmail::fault::{Fault, FaultContext};
use nightmail::plan::Target;
use nightmail::system::engine::{Disk, ProcessState, RunningSystem, SystemRequest};

use crate::faults::{WITHIN, agent, confirmed, context, databases, down, lapsed, of, query, unconfirmed};
use crate::support::{Under, address, ask, asked, docker, events, eventually, replica, request, until, write};

on_both_engines!(
    a_disk_is_full_for_its_replica_until_the_heal,
    a_disk_is_the_replicas_over_all_its_lives,
    a_disk_that_somebody_else_fills_or_empties_is_not_confirmed,
    a_disk_empties_when_its_time_is_over,
    one_agent_drops_packets_and_fills_a_disk,
    a_database_without_room_for_its_log_is_down_until_there_is,
);

/// Where the disk is.
const PATH: &str = "/var/journal";
const SIZE: ByteSize = ByteSize(4_000_000);
const FULL: &str = "No space left on device";

/// The image has a folder there, of the user that it runs as; the other service's has none.
const JOURNALS: &str = "
services:
  branch: {build: branch, command: serve}
  bare: {image: probe, command: serve}
";

async fn journals(engine: &Under, name: &str) -> (SystemRequest, Arc<dyn RunningSystem>) {
    let request = request_for(name);
    let system = engine.up(&request, &events()).await.unwrap();
    (request, system)
}

fn request_for(name: &str) -> SystemRequest {
    let mut request = request(name, JOURNALS, &["branch", "bare"]);
    let image = request.dir.join("branch");
    std::fs::create_dir_all(image.join("journal")).unwrap();
    write(&image.join("journal/first"), "of the image");
    write(
        &image.join("Dockerfile"),
        "FROM probe\nCOPY --chown=999:999 journal /var/journal\n",
    );
    for service in ["branch", "bare"] {
        let disk = Disk {
            path: PATH.to_owned(),
            size_bytes: SIZE.0,
        };
        request.disks.insert(replica(service, 1), vec![disk]);
    }
    request
}

fn full(service: &str) -> DiskFull<Target> {
    DiskFull {
        targets: of(service),
        path: PATH.to_owned(),
        size: SIZE,
    }
}

/// What comes of writing a new file there, asked past the code under test. One that is written over gives its block back first.
fn written(system: &Arc<dyn RunningSystem>, service: &str) -> String {
    let name: u32 = rand::random();
    asked(&**system, service, &format!("/put{PATH}/{name:08x}"))
}

async fn a_disk_is_full_for_its_replica_until_the_heal(engine: Under) {
    let (request, system) = journals(&engine, "disk-full").await;
    assert_eq!(asked(&*system, "branch", "/list/var/journal"), "first");
    assert_eq!(asked(&*system, "bare", "/list/var/journal"), "");
    // Neither is root.
    for service in ["branch", "bare"] {
        assert_eq!(written(&system, service), "written", "{service}");
    }

    for (number, service) in (0..).zip(["branch", "bare"]) {
        let (fault, context) = (full(service), context(&system, number));
        let id = format!("{service}-1");
        confirmed(&fault.inject(&context).await.unwrap(), &[&id]);
        assert!(written(&system, service).contains(FULL), "{service}");
        let other = if service == "bare" { "branch" } else { "bare" };
        assert_eq!(written(&system, other), "written", "{other} has a disk of its own");
        let healed = fault.heal(&context).await.unwrap();
        confirmed(&healed, &[&id]);
        assert!(!healed.lapsed, "{healed:#?}");
        assert_eq!(written(&system, service), "written");
    }
    if engine.is_docker() {
        has_no_rights(&request.run_id);
    }
    down(&engine, &system, &request.run_id).await;
}

/// An agent that only has disks has no capability, and is not root.
fn has_no_rights(run_id: &str) {
    let (run, part) = (format!("label=nightmail.run={run_id}"), "label=nightmail.part=holder");
    let holders = docker(&["ps", "-q", "--filter", &run, "--filter", part]);
    assert_eq!(holders.lines().count(), 2);
    for holder in holders.lines() {
        let asked = "{{.HostConfig.CapAdd}} {{.HostConfig.CapDrop}} {{.Config.User}}";
        let rights = docker(&["inspect", "--format", asked, holder]);
        assert_eq!(rights, "[] [ALL] 65534:65534");
    }
}

async fn a_disk_is_the_replicas_over_all_its_lives(engine: Under) {
    let (request, system) = journals(&engine, "disk-lives").await;
    let branch = replica("branch", 1);
    let (fault, context) = (full("branch"), context(&system, 0));
    assert_eq!(asked(&*system, "branch", "/put/var/journal/second"), "written");
    confirmed(&fault.inject(&context).await.unwrap(), &["branch-1"]);
    let born_again = async || {
        system.kill(&branch).await.unwrap();
        until(&*system, &branch, ProcessState::Exited).await;
        system.start(&branch).await.unwrap();
        let address = address(&*system, "branch");
        eventually("it answers again", WITHIN, || ask(address, "/").is_ok()).await;
    };
    born_again().await;
    for (file, text) in [("first", "of the image"), ("second", "x")] {
        assert_eq!(asked(&*system, "branch", &format!("/read/var/journal/{file}")), text);
    }
    assert!(written(&system, "branch").contains(FULL));
    confirmed(&fault.heal(&context).await.unwrap(), &["branch-1"]);
    assert_eq!(written(&system, "branch"), "written");
    born_again().await;
    assert_eq!(asked(&*system, "branch", "/read/var/journal/second"), "x");
    down(&engine, &system, &request.run_id).await;
}

async fn a_disk_that_somebody_else_fills_or_empties_is_not_confirmed(engine: Under) {
    let (request, system) = journals(&engine, "disk-full-not").await;
    let (fault, first) = (full("branch"), context(&system, 0));
    let agent = agent(&system, "branch");
    let another = FillRequest {
        path: PATH.to_owned(),
        ttl_ms: 60_000,
    };
    agent.fill("another", &another).await.unwrap();
    unconfirmed(&fault.inject(&first).await.unwrap(), "nothing was done to it");
    assert!(agent.empty("another").await.unwrap().existed);

    // Somebody empties it, and somebody fills it again: it did not last, and has not healed.
    let second = context(&system, 1);
    confirmed(&fault.inject(&second).await.unwrap(), &["branch-1"]);
    assert!(agent.empty("1").await.unwrap().existed);
    agent.fill("another", &another).await.unwrap();
    let healed = fault.heal(&second).await.unwrap();
    unconfirmed(&healed, "was refused (ENOSPC)");
    assert!(healed.lapsed, "{healed:#?}");
    assert!(agent.empty("another").await.unwrap().existed);
    lapsed(&fault.heal(&second).await.unwrap(), &["branch-1"], "before the heal");

    // Of anything else such an agent knows nothing.
    let packets = agent.faults().await.unwrap_err().to_string();
    assert!(packets.contains("nothing answers GET /nightmail/faults"), "{packets}");
    down(&engine, &system, &request.run_id).await;
}

async fn a_disk_empties_when_its_time_is_over(engine: Under) {
    let (request, system) = journals(&engine, "disk-ttl").await;
    let (fault, context) = (full("branch"), context(&system, 0));
    let context = FaultContext {
        ttl: Duration::from_secs(4),
        ..context
    };
    confirmed(&fault.inject(&context).await.unwrap(), &["branch-1"]);
    assert!(written(&system, "branch").contains(FULL));
    eventually("its time is over", WITHIN, || written(&system, "branch") == "written").await;
    lapsed(
        &fault.heal(&context).await.unwrap(),
        &["branch-1"],
        "time-to-live had passed",
    );
    down(&engine, &system, &request.run_id).await;
}

async fn one_agent_drops_packets_and_fills_a_disk(engine: Under) {
    let mut request = request_for("disk-and-packets");
    request.agents = vec![replica("branch", 1), replica("bare", 1)];
    let system = engine.up(&request, &events()).await.unwrap();
    let cut = Partition {
        from: of("branch"),
        to: of("bare"),
        both_ways: true,
    };
    let (fault, first, second) = (full("branch"), context(&system, 0), context(&system, 1));
    confirmed(&cut.inject(&first).await.unwrap(), &["bare-1", "branch-1"]);
    confirmed(&fault.inject(&second).await.unwrap(), &["branch-1"]);
    assert!(written(&system, "branch").contains(FULL));
    confirmed(&cut.heal(&first).await.unwrap(), &["bare-1", "branch-1"]);
    assert!(
        written(&system, "branch").contains(FULL),
        "one heal leaves the other fault"
    );
    confirmed(&fault.heal(&second).await.unwrap(), &["branch-1"]);
    assert_eq!(written(&system, "branch"), "written");
    down(&engine, &system, &request.run_id).await;
}

async fn a_database_without_room_for_its_log_is_down_until_there_is(engine: Under) {
    const LOG: &str = "/var/lib/postgresql/data/pg_wal";
    const LOG_SIZE: ByteSize = ByteSize(64_000_000);
    let mut request = databases("disk-of-a-database");
    let disk = Disk {
        path: LOG.to_owned(),
        size_bytes: LOG_SIZE.0,
    };
    request.disks.insert(replica("database-1", 1), vec![disk]);
    // It comes up, for which its user must find its own files there, as private as they were.
    let system = engine.up(&request, &events()).await.unwrap();
    let (fault, context) = (
        DiskFull {
            targets: of("database-1"),
            path: LOG.to_owned(),
            size: LOG_SIZE,
        },
        context(&system, 0),
    );
    query(&system, "database-1", "create table kept as select 7 as it").await;
    confirmed(&fault.inject(&context).await.unwrap(), &["database-1-1"]);
    let address = address(&*system, "database-1");
    let config = format!("host={address} user=postgres dbname=postgres connect_timeout=5");
    let (client, connection) = tokio_postgres::connect(&config, tokio_postgres::NoTls).await.unwrap();
    let connection = tokio::spawn(connection);
    // More than fits into the files of the log that are there already.
    let much = "create table much as select repeat('x', 1000) as it from generate_series(1, 100000)";
    assert!(client.simple_query(much).await.is_err(), "there is no room for that");
    connection.abort();
    // That it lets nobody in comes a moment after its answer.
    let answers = async || match tokio_postgres::connect(&config, tokio_postgres::NoTls).await {
        Ok((client, connection)) => {
            let connection = tokio::spawn(connection);
            let answer = client.simple_query("select").await;
            connection.abort();
            answer.is_ok()
        }
        Err(_) => false,
    };
    let until = async |up: bool, otherwise: &str| {
        let began = Instant::now();
        while answers().await != up {
            assert!(began.elapsed() < Duration::from_secs(60), "{otherwise}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    until(false, "it goes on without room").await;

    confirmed(&fault.heal(&context).await.unwrap(), &["database-1-1"]);
    until(true, "it does not come back").await;
    assert_eq!(query(&system, "database-1", "select it from kept").await, "7");
    assert_eq!(
        query(&system, "database-1", "select to_regclass('much') is null").await,
        "t"
    );
    down(&engine, &system, &request.run_id).await;
    let log = std::fs::read_to_string(request.logs_dir.join("database-1-1.log")).unwrap();
    assert!(log.contains(FULL), "{log}");
}
