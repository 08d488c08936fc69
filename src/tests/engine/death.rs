//! What becomes of a system whose harness dies, is interrupted, or asks to keep it.

use std::io::Write;
use std::net::SocketAddr;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use nightmail::control;
use nightmail::link::api;
use nightmail::link::carrier::Carrier;
use nightmail::link::chain::{Direction, Per, Toxic};
use nightmail::link::proxies::Proxies;
use nightmail::link::proxy::Reach;
use nightmail::link::toxic::Kind;
use nightmail::link::toxic::timeout::Timeout;
use nightmail::system::docker::gc;
use nightmail::system::engine::{Disk, Engine};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tokio::net::TcpListener;

use crate::support::{ask, engine, events, eventually, left_of, replica, request, run_id};

const APP: &str = "
services:
  app: {image: probe, command: serve, volumes: [data:/data, /anonymous]}
  other: {image: probe, command: serve, deploy: {replicas: 3}}
volumes: {data: }
";

/// The issue's own figure.
const GONE_WITHIN: Duration = Duration::from_secs(10);

const RUN_VARIABLE: &str = "NIGHTMAIL_TEST_RUN";

/// Not a test: the harness that the tests below kill. Does nothing unless one of them started it.
#[tokio::test(flavor = "multi_thread")]
async fn harness_to_be_killed() {
    let Ok(run_id) = std::env::var(RUN_VARIABLE) else {
        return;
    };
    let mut request = request("death", APP, &["app"]);
    request.run_id = run_id;
    let disk = Disk {
        path: "/var/journal".to_owned(),
        size_bytes: 4_000_000,
    };
    request.disks.insert(replica("app", 1), vec![disk]);
    let _system = engine().await.up(&request, &events()).await.unwrap();
    std::future::pending::<()>().await;
}

/// Starts such a harness in a process group of its own, and kills the whole group when `ripe`.
async fn kill_harness(run_id: &str, ripe: impl Fn(&[String]) -> bool) {
    let mut harness = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "death::harness_to_be_killed"])
        .env(RUN_VARIABLE, run_id)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0)
        .spawn()
        .unwrap();
    eventually("the harness has begun", Duration::from_secs(120), || {
        ripe(&left_of(run_id))
    })
    .await;
    killpg(Pid::from_raw(i32::try_from(harness.id()).unwrap()), Signal::SIGKILL).unwrap();
    harness.wait().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_outlives_a_harness_whose_process_group_is_killed() {
    let run_id = run_id("killed");
    // Four replicas with a holder each, the network, two volumes, and a disk.
    kill_harness(&run_id, |found| found.len() == 12).await;
    eventually("everything is gone", GONE_WITHIN, || left_of(&run_id).is_empty()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_outlives_a_harness_that_is_killed_while_it_starts_containers() {
    let run_id = run_id("killed-early");
    kill_harness(&run_id, |found| found.len() >= 3).await;
    // What was being created at that moment appears late: nothing may be there at the end of the time, not just once.
    tokio::time::sleep(GONE_WITHIN).await;
    assert_eq!(left_of(&run_id), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_up_that_is_given_up_is_cleaned_up() {
    let request = request("given-up", APP, &["app"]);
    let engine = engine().await;
    engine.prepare(&request, &events()).await.unwrap();
    let none = events();
    let given_up = tokio::time::timeout(Duration::from_millis(600), engine.up(&request, &none)).await;
    assert!(given_up.is_err(), "it came up before it could be given up");
    assert_eq!(engine.clean(&request.run_id).await, Vec::<String>::new());
    eventually("the reaper has found the rest", GONE_WITHIN, || {
        left_of(&request.run_id).is_empty()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn gc_spares_the_living_and_removes_the_dead_and_the_kept() {
    let living = request("living", APP, &["app"]);
    let engine = engine().await;
    let system = engine.up(&living, &events()).await.unwrap();
    // A run whose harness is gone, reaper and all.
    let dead = run_id("dead");
    let label = format!("nightmail.run={dead}");
    let made = Command::new("docker")
        .args(["volume", "create", "--label", &label])
        .output()
        .unwrap();
    assert!(made.status.success());

    let report = gc(false).await.unwrap();
    assert!(report.removed_runs.contains(&dead), "{report:?}");
    assert!(report.spared_runs.contains(&living.run_id), "{report:?}");
    assert_eq!(left_of(&dead), Vec::<String>::new());
    let address = system.replica(&replica("app", 1)).unwrap().address;
    assert_eq!(ask(address, "/").unwrap(), "ok");
    assert_eq!(system.down().await, Vec::<String>::new());
    assert_eq!(left_of(&living.run_id), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kept_system_stays_and_says_how_to_reach_it() {
    let request = request("kept", APP, &["app"]);
    let engine = engine().await;
    let system = engine.up(&request, &events()).await.unwrap();
    let address = system.replica(&replica("app", 1)).unwrap().address;
    let lines = system.keep().await;
    assert!(
        lines.iter().any(|line| line.contains(&address.to_string())),
        "{lines:?}"
    );
    drop(system);
    // Longer than the reaper takes to notice a death.
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(ask(address, "/").unwrap(), "ok");
    assert_eq!(engine.clean(&request.run_id).await, Vec::<String>::new());
    assert_eq!(left_of(&request.run_id), Vec::<String>::new());
}

/// The reaper of a run, told these lines.
async fn reaper(run_id: &str, orders: &str) -> Child {
    let mut reaper = Command::new(env!("CARGO_BIN_EXE_nightmail"))
        .args(["reaper", "--run", run_id])
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    reaper.stdin.as_mut().unwrap().write_all(orders.as_bytes()).unwrap();
    reaper
}

/// A Toxiproxy's interface with one proxy, which has one toxic; nightmail's own links stand in for it.
async fn toxiproxy() -> (Arc<Proxies>, SocketAddr) {
    let proxies = Proxies::new(Carrier::here(), 1, Reach::Loopback);
    let address = "127.0.0.1:0".to_owned();
    let proxy = proxies.add("api".to_owned(), address.clone(), "127.0.0.1:1".to_owned(), true);
    let toxic = Toxic {
        name: "nightmail-1".to_owned(),
        kind: Kind::Timeout(Timeout::default()),
        stream: Direction::Downstream,
        toxicity: 1.0,
        per: Per::Connection,
    };
    proxy.await.unwrap().link.add(toxic).await.unwrap();
    let listener = TcpListener::bind(address).await.unwrap();
    let listens = listener.local_addr().unwrap();
    let served = proxies.clone();
    tokio::spawn(async move {
        let answer = move |asked| {
            let proxies = served.clone();
            async move { api::answer(&proxies, &asked).await }
        };
        control::serve(&listener, answer).await;
    });
    (proxies, listens)
}

fn has_toxic(proxies: &Proxies) -> bool {
    !proxies.get("api").unwrap().link.chain().toxics.is_empty()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_toxic_elsewhere_goes_when_its_harness_dies_or_its_time_is_over_and_not_before() {
    for (ttl_ms, dies) in [(60_000, true), (300, false)] {
        let (proxies, at) = toxiproxy().await;
        let orders = format!("call 1 {ttl_ms} {at} DELETE /proxies/api/toxics/nightmail-1 \n");
        let mut reaper = reaper(&run_id("toxic"), &orders).await;
        assert!(has_toxic(&proxies));
        let mut pipe = reaper.stdin.take();
        if dies {
            pipe = None;
        }
        eventually("the toxic is gone", GONE_WITHIN, || !has_toxic(&proxies)).await;
        drop(pipe);
        assert!(reaper.wait().unwrap().success());
    }
    let (proxies, at) = toxiproxy().await;
    let orders = format!("call 1 60000 {at} DELETE /proxies/api/toxics/nightmail-1 \ndisarm 1\n");
    let mut reaper = reaper(&run_id("toxic"), &orders).await;
    drop(reaper.stdin.take());
    assert!(reaper.wait().unwrap().success());
    assert!(has_toxic(&proxies), "it was healed by whoever disarmed it");
}
