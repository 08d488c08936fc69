//! `deploy`: replicas are given another release of their service, in a rolling deployment or all at once. The heal is the
//! rollback to what they ran before.
//!
//! It is in effect from the moment that the first old process is gone: from then on customers may notice it. A rollout stops at a
//! replica that does not get ready, as those of good tools do. Nothing needs to be undone should the harness die: what has its
//! releases is removed with the run.

use std::collections::BTreeMap;

use async_trait::async_trait;
use futures_util::future::join_all;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::measured::{Measured, nothing_to_heal, receipt};
use super::process::TARGETS;
use super::rollout::{self, Order, Ran, Replaced, Rollout};
use super::{Fault, FaultContext, FaultError, Hold, Problem, Receipt, target, yes};
use crate::duration::DurationMs;
use crate::plan::{ReplicaId, Target};
use crate::system::compose::{ComposeFile, MountSource};
use crate::system::definition::SystemDefinition;
use crate::system::engine::Release;

/// Parameters of `deploy`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Deploy<T> {
    /// The replicas, in the order in which they are replaced.
    pub targets: Vec<T>,
    /// Environment set over the Compose file's and the experiment's.
    #[serde(default)]
    pub environment: BTreeMap<String, String>,
    /// Another image: the name of one that a service of the Compose file has, or one of `x-nightmail.images`.
    pub image: Option<String>,
    /// What stands in place of the service's `command`.
    pub command: Option<Vec<String>>,
    /// Whether one after the other, or all at once.
    #[serde(default)]
    pub order: Order,
    /// The pause between one that is replaced and the next.
    #[serde(default)]
    pub pause: DurationMs,
    /// Whether the next is replaced only once the one before is ready.
    #[serde(default = "yes")]
    pub wait_ready: bool,
    /// Whether the release stays: nothing is rolled back when the fault's time is over.
    #[serde(default)]
    pub stays: bool,
}

impl<T> Deploy<T> {
    pub(super) fn map_targets<U, E>(&self, map: &mut dyn FnMut(&str, &T) -> Result<U, E>) -> Result<Deploy<U>, E> {
        Ok(Deploy {
            targets: super::map_list(TARGETS, &self.targets, map)?,
            environment: self.environment.clone(),
            image: self.image.clone(),
            command: self.command.clone(),
            order: self.order,
            pause: self.pause,
            wait_ready: self.wait_ready,
            stays: self.stays,
        })
    }
}

#[async_trait]
impl Fault for Deploy<Target> {
    fn targets(&self) -> Vec<&Target> {
        self.targets.iter().collect()
    }

    fn holds(&self) -> Option<Hold> {
        Some(Hold::Processes)
    }

    fn is_undone(&self) -> bool {
        !self.stays
    }

    fn release(&self) -> Option<Release> {
        Some(Release {
            image: self.image.clone(),
            command: self.command.clone(),
            environment: self.environment.clone(),
        })
    }

    fn describe(&self) -> String {
        let release = self.release().unwrap_or_default();
        let (names, rollout) = (target::names(&self.targets), self.rollout());
        format!("deploy {} to {names}, {}", rollout::words(&release), rollout.words())
    }

    fn problems(&self) -> Vec<Problem> {
        let nobody = target::empty_list(TARGETS, &self.targets);
        nobody
            .into_iter()
            .chain(self.problem_of_release())
            .chain(self.environment.keys().filter_map(|name| misnamed(name)))
            .chain(self.rollout().problems())
            .collect()
    }

    fn problems_in(&self, definition: &SystemDefinition, compose: &ComposeFile) -> Vec<Problem> {
        let images = self.image.iter().filter_map(|image| unknown_image(image, compose));
        images.chain(forgetful(&self.targets, definition, compose)).collect()
    }

    async fn inject(&self, context: &FaultContext) -> Result<Receipt, FaultError> {
        let start = Instant::now();
        let replicas = target::resolve(&*context.system, &self.targets).await?;
        let release = self.release().unwrap_or_default();
        inject(context, replicas, &release, self.rollout(), start).await
    }

    async fn heal(&self, context: &FaultContext) -> Result<Receipt, FaultError> {
        let release = self.release().unwrap_or_default();
        match self.stays {
            true => look(context, &release).await,
            false => self.roll_back(context, &release).await,
        }
    }
}

impl Deploy<Target> {
    fn rollout(&self) -> Rollout {
        Rollout {
            order: self.order,
            pause: self.pause,
            wait_ready: self.wait_ready,
            stops_at_failure: true,
        }
    }

    fn problem_of_release(&self) -> Option<Problem> {
        let (path, message) = match (&self.image, &self.command) {
            (_, Some(command)) if command.is_empty() => ("command", "is empty: nothing would run"),
            (None, None) if self.environment.is_empty() => ("environment", "is empty: this release changes nothing"),
            _ => return None,
        };
        Some(Problem {
            path: path.to_owned(),
            message: message.to_owned(),
            hint: "say what is different, for example `environment: {RELEASE: \"2\"}`".to_owned(),
        })
    }

    /// Gives back what was run before, everywhere, whatever happens at one of them.
    async fn roll_back(&self, context: &FaultContext, release: &Release) -> Result<Receipt, FaultError> {
        let start = Instant::now();
        let replicas = context.acted.list(TARGETS);
        let before: Vec<(ReplicaId, Release)> = replicas
            .into_iter()
            .filter_map(|id| {
                let ran = context.acted.let_go(&id)?.downcast::<Ran>().ok()?;
                Some((id, ran.0))
            })
            .collect();
        if before.is_empty() {
            return Ok(nothing_to_heal());
        }
        // Looked at before anything is undone: what runs something else already did not last.
        let looked = join_all(before.iter().map(|(id, _)| ended(context, id, release))).await;
        let ended: Vec<String> = looked.into_iter().flatten().collect();
        let rollout = Rollout {
            stops_at_failure: false,
            ..self.rollout()
        };
        let replaced = rollout.run(context, &before, start).await?;
        let ids: Vec<ReplicaId> = before.into_iter().map(|(id, _)| id).collect();
        let mut receipt = receipt(&ids, replaced.into_iter().map(Measured::from).collect());
        receipt.lapsed = !ended.is_empty();
        receipt.evidence.splice(0..0, ended);
        Ok(receipt)
    }
}

impl From<Replaced> for Measured {
    /// It is over once the last is ready.
    fn from(replaced: Replaced) -> Self {
        Self {
            onset: replaced.ready,
            evidence: replaced.evidence,
        }
    }
}

/// Rolls a release out to replicas that run another.
pub(super) async fn inject(
    context: &FaultContext,
    replicas: Vec<ReplicaId>,
    release: &Release,
    rollout: Rollout,
    start: Instant,
) -> Result<Receipt, FaultError> {
    for id in &replicas {
        let running = context.system.running(id).await?;
        let line = match running {
            None => format!("{id}: did not run before, nothing was done to anybody"),
            Some(running) if running.release == *release => {
                let what = rollout::words(release);
                format!("{id}: ran {what} before, nothing was done to anybody")
            }
            Some(_) => continue,
        };
        return Ok(receipt(std::slice::from_ref(id), vec![Measured::new(None, line)]));
    }
    context.acted.remember(TARGETS, &replicas);
    let wanted: Vec<(ReplicaId, Release)> = replicas.iter().map(|id| (id.clone(), release.clone())).collect();
    let replaced = rollout.run(context, &wanted, start).await?;
    let first_gone = replaced.iter().filter_map(|replaced| replaced.gone).min();
    let mut receipt = receipt(&replicas, replaced.into_iter().map(Measured::from).collect());
    if let (true, Some(gone)) = (receipt.confirmed, first_gone) {
        receipt.onset_us = Some(gone.as_micros().try_into().unwrap_or(u64::MAX));
    }
    Ok(receipt)
}

/// Says whether those that were given a release still run it. Whether they are ready is no concern of the fault's: a bad release
/// may well be too busy to say so.
pub(super) async fn look(context: &FaultContext, release: &Release) -> Result<Receipt, FaultError> {
    let replicas = context.acted.list(TARGETS);
    if replicas.is_empty() {
        return Ok(nothing_to_heal());
    }
    let start = Instant::now();
    let looked = join_all(replicas.iter().map(async |id| {
        let system = &*context.system;
        match rollout::shows(system, id, release).await {
            Ok(seen) => {
                let ready = match rollout::tries_ready(system, id).await {
                    Ok(()) => "and is ready".to_owned(),
                    Err(reason) => format!("though it {reason}"),
                };
                let onset = Some(start.elapsed());
                Measured::new(onset, format!("{id}: nothing is undone; {seen}, {ready}"))
            }
            Err(reason) => Measured::new(None, format!("{id}: {reason}")),
        }
    }));
    Ok(receipt(&replicas, looked.await))
}

/// What a replica runs in place of a release that it was given, in words; nothing if it runs it, or if that cannot be seen.
async fn ended(context: &FaultContext, id: &ReplicaId, release: &Release) -> Option<String> {
    let running = context.system.running(id).await.ok()?;
    match running {
        Some(running) if running.release == *release => None,
        Some(running) => Some(format!(
            "{id}: {} ran another release before the heal: somebody had rolled it back, or replaced it again",
            running.process
        )),
        None => Some(format!("{id}: did not run before the heal")),
    }
}

fn misnamed(name: &str) -> Option<Problem> {
    let is_wrong = name.is_empty() || name.contains(['=', '\0']);
    is_wrong.then(|| Problem {
        path: format!("environment.{name}"),
        message: "is no name of an environment variable".to_owned(),
        hint: "write for example `environment: {RELEASE: \"2\"}`".to_owned(),
    })
}

fn unknown_image(image: &str, compose: &ComposeFile) -> Option<Problem> {
    let mut known = compose.images();
    known.extend(compose.recipes.keys().map(String::as_str));
    known.sort_unstable();
    known.dedup();
    (!known.contains(&image)).then(|| Problem {
        path: "image".to_owned(),
        message: format!("names `{image}`, which the Compose file does not"),
        hint: format!(
            "one of {}; or say under `x-nightmail: {{images: ...}}` of the Compose file how it is made",
            known.join(", ")
        ),
    })
}

/// A database whose data would go with its old container.
pub(super) fn forgetful(targets: &[Target], definition: &SystemDefinition, compose: &ComposeFile) -> Vec<Problem> {
    let is_database = |service: &str| {
        let mut groups = definition.groups.values().filter(|group| group.roles.is_some());
        groups.any(|group| group.services.iter().any(|member| member == service))
    };
    let has_volume = |service: &str| {
        let found = compose.services.get(service);
        found.is_none_or(|service| {
            let mut mounts = service.mounts.iter();
            mounts.any(|mount| matches!(mount.source, MountSource::Volume(_) | MountSource::Bind(_)))
        })
    };
    let problem = |(index, target): (usize, &Target)| {
        let (Target::Replicas(ids) | Target::Role { members: ids, .. }) = target;
        let service = &ids
            .iter()
            .find(|id| is_database(&id.service) && !has_volume(&id.service))?
            .service;
        Some(Problem {
            path: format!("{TARGETS}[{index}]"),
            message: format!("means `{service}`, a database that would lose its data with its old container"),
            hint: format!("mount a named volume where `{service}` keeps its data, or deploy the services that use it"),
        })
    };
    targets.iter().enumerate().filter_map(problem).collect()
}

#[cfg(test)]
mod tests;
