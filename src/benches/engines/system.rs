//! Online postage up and down, and faults in it.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use nightmail::event::Events;
use nightmail::fault::kill::Kill;
use nightmail::fault::partition::Partition;
use nightmail::fault::{Fault, FaultContext};
use nightmail::plan::{ReplicaId, Target};
use nightmail::redact::Redactor;
use nightmail::system::docker::Docker;
use nightmail::system::engine::{Engine, RunningSystem, SystemRequest};
use nightmail::system::local::{Local, stage};

use super::{DOWN, Failure, Figures, KILL, PARTITION, UP, median, ms};

/// Starts; the first is not counted.
const STARTS: u32 = 7;
/// Injections of each fault; the first is not counted.
const FAULTS: u32 = 25;
const TTL: Duration = Duration::from_secs(60);

/// The engine of that name; the one without Docker only on a stage.
pub async fn engine(name: &str) -> Result<Box<dyn Engine>, Failure> {
    Ok(match name {
        "local" => Box::new(Local::new(stage::Inside::take().ok_or("this is no stage")?)?),
        _ => Box::new(
            Docker::connect()
                .await?
                .with_executable(env!("CARGO_BIN_EXE_nightmail")),
        ),
    })
}

pub async fn measure(name: &str) -> Result<Figures, Failure> {
    let logs = tempfile::tempdir()?;
    let engine = engine(name).await?;
    let events = Events::unsaved(None);
    let mut figures = Figures::default();
    let (mut ups, mut downs) = (Vec::new(), Vec::new());
    for start in 0..=STARTS {
        let request = request(&format!("bench-engines-{}-{start}", std::process::id()), logs.path())?;
        engine.prepare(&request, &events).await?;
        let began = Instant::now();
        let system = engine.up(&request, &events).await?;
        let up = began.elapsed();
        if start == STARTS {
            figures.add(KILL, onset(&system, &kill()).await?);
            figures.add(PARTITION, onset(&system, &partition()).await?);
        }
        let began = Instant::now();
        let left = system.down().await;
        if !left.is_empty() {
            return Err(format!("left behind: {left:?}").into());
        }
        if start > 0 {
            ups.push(ms(up));
            downs.push(ms(began.elapsed()));
        }
    }
    figures.add(UP, median(ups)?);
    figures.add(DOWN, median(downs)?);
    Ok(figures)
}

fn request(run_id: &str, logs: &Path) -> Result<SystemRequest, Failure> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/postage");
    Ok(SystemRequest {
        run_id: run_id.to_owned(),
        definition: serde_saphyr::from_str(&std::fs::read_to_string(dir.join("system.yaml"))?)?,
        dir,
        environment: BTreeMap::new(),
        agents: vec![replica("postage-worker"), replica("payment-provider")],
        disks: Default::default(),
        images: Vec::new(),
        links: BTreeMap::new(),
        seed: 1,
        redactor: Redactor::default(),
        logs_dir: logs.to_owned(),
    })
}

fn replica(service: &str) -> ReplicaId {
    ReplicaId {
        service: service.to_owned(),
        index: 1,
    }
}

fn target(service: &str) -> Vec<Target> {
    vec![Target::Replicas(vec![replica(service)])]
}

fn kill() -> Kill<Target> {
    Kill {
        targets: target("postage-worker"),
    }
}

fn partition() -> Partition<Target> {
    Partition {
        from: target("postage-worker"),
        to: target("payment-provider"),
        both_ways: false,
    }
}

/// Milliseconds from the command to the measured effect, at the median. A receipt that is not confirmed is a failure.
async fn onset(system: &Arc<dyn RunningSystem>, fault: &dyn Fault) -> Result<f64, Failure> {
    let mut onsets = Vec::new();
    for round in 0..=FAULTS {
        let context = FaultContext::new(system.clone(), round, TTL, 1);
        let on = fault.inject(&context).await?;
        fault.heal(&context).await?;
        let onset_us = on
            .onset_us
            .ok_or_else(|| format!("{}: not confirmed: {:?}", fault.describe(), on.evidence))?;
        if round > 0 {
            onsets.push(onset_us as f64 / 1_000.0);
        }
    }
    median(onsets)
}
