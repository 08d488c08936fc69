//! From the command to the measured effect: how quickly faults bite and heal on a real system in Docker, and what a plain
//! container start costs beside the heal of a kill.
//!
//! `cargo bench --bench fault_onset` prints a table of medians. It needs Docker, and touches only containers and networks
//! of its own.

use std::collections::{BTreeMap, HashMap};
use std::error::Error;
use std::net::Ipv4Addr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bollard::models::ContainerCreateBody;
use bollard::query_parameters::{
    CreateContainerOptions, InspectContainerOptions, KillContainerOptions, ListContainersOptions,
    RemoveContainerOptions, StartContainerOptions, WaitContainerOptions,
};
use futures_util::StreamExt;
use nightmail::event::Events;
use nightmail::fault::kill::Kill;
use nightmail::fault::partition::Partition;
use nightmail::fault::pause::Pause;
use nightmail::fault::{Fault, FaultContext};
use nightmail::plan::{ReplicaId, Target};
use nightmail::redact::Redactor;
use nightmail::system::docker::Docker;
use nightmail::system::engine::{Engine, RunningSystem, SystemRequest};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Injections and heals of each fault; the first pair is not counted.
const ROUNDS: u32 = 25;
const TTL: Duration = Duration::from_secs(60);
/// The most that an onset may take at the median.
const ONSET_MAX: Duration = Duration::from_millis(50);
/// The most that the heal of a kill may take, in plain container starts.
const STARTS_MAX: f64 = 1.2;
/// How long a plain container may take to answer.
const PLAIN_WITHIN: Duration = Duration::from_secs(10);
/// Where the guestbook's book answers.
const PORT: u16 = 8080;
const PATH: &str = "/cgi-bin/entries";

type Failure = Box<dyn Error + Send + Sync>;

fn main() -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(bench())
}

async fn bench() -> Result<(), Failure> {
    let logs = tempfile::tempdir()?;
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/guestbook");
    let definition = serde_saphyr::from_str(&std::fs::read_to_string(dir.join("system.yaml"))?)?;
    let request = SystemRequest {
        run_id: format!("bench-onset-{}", std::process::id()),
        definition,
        dir,
        environment: BTreeMap::new(),
        agents: vec![replica("door"), replica("book")],
        disks: Default::default(),
        images: Vec::new(),
        links: Default::default(),
        seed: 1,
        redactor: Redactor::default(),
        logs_dir: logs.path().to_owned(),
    };
    let engine = Docker::connect()
        .await?
        .with_executable(env!("CARGO_BIN_EXE_nightmail"));
    let events = Events::unsaved(None);
    engine.prepare(&request, &events).await?;
    let system = engine.up(&request, &events).await?;
    let measured = measure(&system, &request.run_id).await;
    for leftover in system.down().await {
        line(&format!("left behind: {leftover}"));
    }
    measured
}

async fn measure(system: &Arc<dyn RunningSystem>, run_id: &str) -> Result<(), Failure> {
    line("| fault | injected: median, worst | healed: median, worst |");
    line("| --- | --- | --- |");
    let book = || vec![Target::Replicas(vec![replica("book")])];
    let door = || vec![Target::Replicas(vec![replica("door")])];
    let pause = rounds(system, &Pause { targets: book() }).await?;
    report("pause", &pause);
    let one_way = rounds(
        system,
        &Partition {
            from: door(),
            to: book(),
            both_ways: false,
        },
    )
    .await?;
    report("partition, one way", &one_way);
    let both_ways = rounds(
        system,
        &Partition {
            from: door(),
            to: book(),
            both_ways: true,
        },
    )
    .await?;
    report("partition, both ways", &both_ways);
    let kill = rounds(system, &Kill { targets: book() }).await?;
    report("kill", &kill);
    let plain = plain_starts(run_id).await?;
    let starts = kill.healed.median().as_secs_f64() / plain.median().as_secs_f64();
    line(&format!(
        "\nplain container start: median {}; heal of a kill: {starts:.2} of it",
        plain.in_words()
    ));

    let onsets = [&pause, &one_way, &both_ways].map(|rounds| rounds.injected.median().max(rounds.healed.median()));
    let slowest = onsets
        .into_iter()
        .chain([kill.injected.median()])
        .max()
        .unwrap_or_default();
    if slowest > ONSET_MAX || starts > STARTS_MAX {
        return Err(format!(
            "too slow: {slowest:?} (at most {ONSET_MAX:?}), {starts:.2} starts (at most {STARTS_MAX})"
        )
        .into());
    }
    Ok(())
}

/// Onsets of one kind, in ascending order.
struct Onsets(Vec<Duration>);

impl Onsets {
    fn of(mut all: Vec<Duration>) -> Self {
        all.remove(0);
        all.sort();
        Self(all)
    }

    fn median(&self) -> Duration {
        self.0[self.0.len() / 2]
    }

    fn in_words(&self) -> String {
        let ms = |onset: &Duration| format!("{:.1} ms", onset.as_secs_f64() * 1_000.0);
        format!("{}, {}", ms(&self.median()), ms(&self.0[self.0.len() - 1]))
    }
}

struct Rounds {
    injected: Onsets,
    healed: Onsets,
}

/// Injects and heals one fault again and again. A receipt that is not confirmed is a failure.
async fn rounds(system: &Arc<dyn RunningSystem>, fault: &dyn Fault) -> Result<Rounds, Failure> {
    let (mut injected, mut healed) = (Vec::new(), Vec::new());
    for round in 0..=ROUNDS {
        let context = FaultContext::new(system.clone(), round, TTL, 1);
        let on = fault.inject(&context).await;
        let off = fault.heal(&context).await?;
        for (receipt, onsets) in [(on?, &mut injected), (off, &mut healed)] {
            match receipt.onset_us {
                Some(onset_us) => onsets.push(Duration::from_micros(onset_us)),
                None => return Err(format!("{}: not confirmed: {:?}", fault.describe(), receipt.evidence).into()),
            }
        }
    }
    Ok(Rounds {
        injected: Onsets::of(injected),
        healed: Onsets::of(healed),
    })
}

/// Kills and starts a container of the same image that nightmail has no part in, until it answers each time.
async fn plain_starts(run_id: &str) -> Result<Onsets, Failure> {
    let docker = bollard::Docker::connect_with_local_defaults()?;
    let labels = [
        ("nightmail.run", run_id),
        ("nightmail.replica", "book-1"),
        ("nightmail.part", "replica"),
    ];
    let labels = labels.map(|(key, value)| format!("{key}={value}")).to_vec();
    let filters = HashMap::from([("label".to_owned(), labels)]);
    let list = ListContainersOptions {
        filters: Some(filters),
        ..ListContainersOptions::default()
    };
    let found = docker.list_containers(Some(list)).await?;
    let image = found
        .first()
        .and_then(|container| container.image_id.clone())
        .ok_or("the book's container is gone")?;
    let body = ContainerCreateBody {
        image: Some(image),
        ..ContainerCreateBody::default()
    };
    let id = docker.create_container(None::<CreateContainerOptions>, body).await?.id;
    let measured = time_starts(&docker, &id).await;
    let remove = RemoveContainerOptions {
        force: true,
        v: true,
        ..RemoveContainerOptions::default()
    };
    docker.remove_container(&id, Some(remove)).await?;
    measured
}

async fn time_starts(docker: &bollard::Docker, id: &str) -> Result<Onsets, Failure> {
    let mut starts = Vec::new();
    for _ in 0..=ROUNDS {
        let start = Instant::now();
        docker.start_container(id, None::<StartContainerOptions>).await?;
        let address = address_of(docker, id).await?;
        while !answers(address).await {
            if start.elapsed() > PLAIN_WITHIN {
                return Err("the plain container does not answer".into());
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        starts.push(start.elapsed());
        let mut ended = docker.wait_container(id, None::<WaitContainerOptions>);
        docker.kill_container(id, None::<KillContainerOptions>).await?;
        // The exit code is that of the kill, which the crate takes for an error.
        let _killed = ended.next().await;
    }
    Ok(Onsets::of(starts))
}

async fn address_of(docker: &bollard::Docker, id: &str) -> Result<Ipv4Addr, Failure> {
    let inspected = docker.inspect_container(id, None::<InspectContainerOptions>).await?;
    let networks = inspected
        .network_settings
        .and_then(|settings| settings.networks)
        .unwrap_or_default();
    let address = networks
        .into_values()
        .find_map(|network| network.ip_address)
        .ok_or("no address")?;
    Ok(address.parse()?)
}

/// Whether a fresh connection gets `200`.
async fn answers(address: Ipv4Addr) -> bool {
    let ask = async {
        let mut stream = TcpStream::connect((address, PORT)).await?;
        stream
            .write_all(format!("GET {PATH} HTTP/1.0\r\n\r\n").as_bytes())
            .await?;
        let mut status = [0; 12];
        stream.read_exact(&mut status).await?;
        Ok::<_, std::io::Error>(status.ends_with(b" 200"))
    };
    matches!(tokio::time::timeout(Duration::from_secs(1), ask).await, Ok(Ok(true)))
}

fn replica(service: &str) -> ReplicaId {
    ReplicaId {
        service: service.to_owned(),
        index: 1,
    }
}

fn report(fault: &str, rounds: &Rounds) {
    line(&format!(
        "| {fault} | {} | {} |",
        rounds.injected.in_words(),
        rounds.healed.in_words()
    ));
}

#[expect(clippy::print_stdout, reason = "a benchmark's output is what it prints")]
fn line(text: &str) {
    println!("{text}");
}
