//! What `deploy` and `rollback` share: giving replicas another release, one after the other or all at once, and measuring that
//! they run it.
//!
//! The measurement never is the engine's answer to the command: a replica runs a release once its process is another than
//! before, its environment, where the kernel shows it, has what the release sets, and it meets its readiness condition on a
//! fresh connection.

use std::time::Duration;

use futures_util::future::join_all;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, sleep, timeout};

use super::measured::ms;
use super::{FaultContext, FaultError, Problem};
use crate::duration::DurationMs;
use crate::plan::ReplicaId;
use crate::redact;
use crate::system::engine::{Release, Running, RunningSystem};

/// Between two looks.
const POLL: Duration = Duration::from_millis(5);
/// How long one try of the readiness condition may take.
const TRY_WITHIN: Duration = Duration::from_secs(1);

/// In which order replicas are given a release.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Order {
    /// One after the other, in the order of the targets: old and new run side by side meanwhile.
    #[default]
    OneAtATime,
    /// All of them at the same time.
    AllAtOnce,
}

/// How replicas are given a release.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rollout {
    pub order: Order,
    /// Between one that is replaced and the next.
    pub pause: DurationMs,
    /// Whether the next is replaced only once the one before is ready.
    pub wait_ready: bool,
    /// Whether the others are left alone once one has not become what it should.
    pub stops_at_failure: bool,
}

/// What was measured of one replica. Times count from the beginning.
#[derive(Debug, Default)]
pub(super) struct Replaced {
    /// When its old process was first seen gone.
    pub gone: Option<Duration>,
    /// When it was first seen to run the release, ready.
    pub ready: Option<Duration>,
    pub evidence: Vec<String>,
}

impl Rollout {
    /// What is wrong with it.
    pub(super) fn problems(&self) -> Vec<Problem> {
        let misplaced = |path: &str| Problem {
            path: path.to_owned(),
            message: "says what comes between one replica and the next, and all are replaced at once".to_owned(),
            hint: "leave it out, or leave `order: all-at-once` out".to_owned(),
        };
        let paths = [("pause", self.pause.0 > 0), ("wait-ready", !self.wait_ready)];
        let given = paths
            .into_iter()
            .filter(|(_, is_given)| *is_given && self.order == Order::AllAtOnce);
        given.map(|(path, _)| misplaced(path)).collect()
    }

    /// `one at a time`.
    pub(super) fn words(&self) -> String {
        match (self.order, self.wait_ready, self.pause.0) {
            (Order::AllAtOnce, ..) => "all at once".to_owned(),
            (Order::OneAtATime, true, 0) => "one at a time".to_owned(),
            (Order::OneAtATime, true, _) => format!("one at a time, {} apart", self.pause),
            (Order::OneAtATime, false, 0) => "one after the other, ready or not".to_owned(),
            (Order::OneAtATime, false, _) => format!("one after the other, {} apart, ready or not", self.pause),
        }
    }

    /// Gives each of these replicas its release. An engine that refused one is an error once the others have had theirs, unless
    /// it stops there.
    pub(super) async fn run(
        &self,
        context: &FaultContext,
        releases: &[(ReplicaId, Release)],
        start: Instant,
    ) -> Result<Vec<Replaced>, FaultError> {
        match self.order {
            Order::AllAtOnce => {
                let replaced = releases
                    .iter()
                    .map(|(id, release)| replace_and_wait(context, id, release, start));
                join_all(replaced).await.into_iter().collect()
            }
            Order::OneAtATime => self.in_turn(context, releases, start).await,
        }
    }

    async fn in_turn(
        &self,
        context: &FaultContext,
        releases: &[(ReplicaId, Release)],
        start: Instant,
    ) -> Result<Vec<Replaced>, FaultError> {
        let mut all: Vec<Replaced> = Vec::new();
        let mut refused = None;
        for (index, (id, release)) in releases.iter().enumerate() {
            if index > 0 {
                sleep(self.pause.as_duration()).await;
            }
            let replaced = match self.wait_ready {
                true => replace_and_wait(context, id, release, start).await,
                false => replace(context, id, release, start).await,
            };
            let failed = match replaced {
                Ok(replaced) => {
                    let failed = replaced.gone.is_none() || (self.wait_ready && replaced.ready.is_none());
                    all.push(replaced);
                    failed
                }
                Err(error) => {
                    refused = refused.or(Some(error));
                    true
                }
            };
            if failed && self.stops_at_failure {
                let left = releases[index + 1..].iter();
                all.extend(left.map(|(id, _)| left_alone(id)));
                break;
            }
        }
        if let Some(error) = refused {
            return Err(error);
        }
        if !self.wait_ready {
            let waited = all
                .iter_mut()
                .zip(releases)
                .filter(|(replaced, _)| replaced.gone.is_some());
            join_all(waited.map(|(replaced, (id, release))| wait(context, id, release, start, replaced))).await;
        }
        Ok(all)
    }
}

fn left_alone(id: &ReplicaId) -> Replaced {
    Replaced {
        evidence: vec![format!("{id}: left as it was, since the one before did not get ready")],
        ..Replaced::default()
    }
}

async fn replace_and_wait(
    context: &FaultContext,
    id: &ReplicaId,
    release: &Release,
    start: Instant,
) -> Result<Replaced, FaultError> {
    let mut replaced = replace(context, id, release, start).await?;
    if replaced.gone.is_some() {
        wait(context, id, release, start, &mut replaced).await;
    }
    Ok(replaced)
}

/// Gives a replica its release, and watches the old process go.
async fn replace(
    context: &FaultContext,
    id: &ReplicaId,
    release: &Release,
    start: Instant,
) -> Result<Replaced, FaultError> {
    let system = &*context.system;
    let before = system.running(id).await?;
    // What it ran goes back when the fault is healed, also if the engine fails on the way.
    let ran = before.as_ref().map(|before| before.release.clone()).unwrap_or_default();
    context.acted.hold(id, Box::new(Ran(ran)));
    let mut redeploying = std::pin::pin!(system.redeploy(id, release));
    let mut gone = None;
    loop {
        let looked = tokio::select! {
            biased;
            redeployed = &mut redeploying => {
                redeployed?;
                break;
            }
            () = sleep(POLL) => system.running(id),
        };
        if gone.is_none() && looked.await.is_ok_and(|now| !is_same(now.as_ref(), before.as_ref())) {
            gone = Some(start.elapsed());
        }
    }
    let was = before.as_ref().map_or("no process", |before| before.process.as_str());
    if gone.is_none() && !is_same(system.running(id).await?.as_ref(), before.as_ref()) {
        gone = Some(start.elapsed());
    }
    let line = match gone {
        Some(gone) => format!("{id}: {was} was gone after {}", ms(gone)),
        None => format!("{id}: {was} still runs, though another was put in its place"),
    };
    Ok(Replaced {
        gone,
        evidence: vec![line],
        ..Replaced::default()
    })
}

/// What a replica ran before, kept from the moment it is replaced until it is given back.
pub(super) struct Ran(pub Release);

/// Whether the same process runs, or none both times.
fn is_same(one: Option<&Running>, other: Option<&Running>) -> bool {
    one.map(|running| &running.process) == other.map(|running| &running.process)
}

/// Waits until a replica runs its release, ready.
async fn wait(context: &FaultContext, id: &ReplicaId, release: &Release, start: Instant, replaced: &mut Replaced) {
    let limit = context.patience.ready;
    let told = Instant::now();
    let mut last = "nothing was tried".to_owned();
    while told.elapsed() < limit {
        match runs(&*context.system, id, release).await {
            Ok(seen) => {
                let ready = start.elapsed();
                replaced.ready = Some(ready);
                replaced
                    .evidence
                    .push(format!("{id}: {seen}, ready on a fresh connection after {}", ms(ready)));
                return;
            }
            Err(reason) => last = reason,
        }
        sleep(POLL).await;
    }
    let line = format!("{id}: {last}, {} after it was put in place", ms(limit));
    replaced.evidence.push(line);
}

/// Whether a replica runs a release, ready: what was seen, or why not.
async fn runs(system: &dyn RunningSystem, id: &ReplicaId, release: &Release) -> Result<String, String> {
    let seen = shows(system, id, release).await?;
    match tries_ready(system, id).await {
        Ok(()) => Ok(seen),
        Err(reason) => Err(format!("{seen}, and {reason}")),
    }
}

/// Whether a replica runs a release, ready or not: what was seen, or why not.
pub(super) async fn shows(system: &dyn RunningSystem, id: &ReplicaId, release: &Release) -> Result<String, String> {
    let running = system.running(id).await.map_err(|error| error.to_string())?;
    let running = running.ok_or("its process does not run")?;
    match running.release == *release {
        true => shown(&running, release),
        false => Err(format!("{} runs another release", running.process)),
    }
}

/// Whether a replica is ready on a fresh connection; if not, in words that follow its name.
pub(super) async fn tries_ready(system: &dyn RunningSystem, id: &ReplicaId) -> Result<(), String> {
    match timeout(TRY_WITHIN, system.is_ready(id)).await {
        Ok(Ok(true)) => Ok(()),
        Ok(Ok(false)) => Err("is not ready".to_owned()),
        Ok(Err(error)) => Err(format!("could not be asked whether it is ready: {error}")),
        Err(_) => Err(format!("did not answer within {}", ms(TRY_WITHIN))),
    }
}

/// What the process shows of its release.
fn shown(running: &Running, release: &Release) -> Result<String, String> {
    let process = &running.process;
    let Some(environment) = &running.environment else {
        let set = words(release);
        return Ok(format!(
            "{process} was started with {set} (its environment cannot be seen)"
        ));
    };
    match release
        .environment
        .iter()
        .find(|(name, value)| environment.get(*name) != Some(value))
    {
        Some((name, _)) => Err(format!("{process} has another {name} in its environment")),
        None => Ok(format!("{process} runs {}", words(release))),
    }
}

/// `RELEASE=2 of image shop:2`, as far as a release differs from what the Compose file says.
pub(super) fn words(release: &Release) -> String {
    let variables = release
        .environment
        .iter()
        .map(|(name, value)| format!("{name}={}", redact::shown(name, value)));
    let mut words: Vec<String> = variables.collect();
    words.extend(release.image.iter().map(|image| format!("image {image}")));
    words.extend(
        release
            .command
            .iter()
            .map(|command| format!("command `{}`", command.join(" "))),
    );
    match words.is_empty() {
        true => "what the Compose file says".to_owned(),
        false => words.join(", "),
    }
}
