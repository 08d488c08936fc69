//! `rollback`: replicas that run another release are given back what the Compose file says. It is what an operator does about a
//! `deploy` that stays, at a time or on an event of its own. It is never undone: the heal says whether they still run it.

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::deploy;
use super::process::TARGETS;
use super::rollout::{Order, Rollout};
use super::{Fault, FaultContext, FaultError, Hold, Problem, Receipt, target, yes};
use crate::duration::DurationMs;
use crate::plan::Target;
use crate::system::compose::ComposeFile;
use crate::system::definition::SystemDefinition;
use crate::system::engine::Release;

/// Parameters of `rollback`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Rollback<T> {
    /// The replicas, in the order in which they are replaced.
    pub targets: Vec<T>,
    /// Whether one after the other, or all at once.
    #[serde(default)]
    pub order: Order,
    /// The pause between one that is replaced and the next.
    #[serde(default)]
    pub pause: DurationMs,
    /// Whether the next is replaced only once the one before is ready.
    #[serde(default = "yes")]
    pub wait_ready: bool,
}

impl<T> Rollback<T> {
    pub(super) fn map_targets<U, E>(&self, map: &mut dyn FnMut(&str, &T) -> Result<U, E>) -> Result<Rollback<U>, E> {
        Ok(Rollback {
            targets: super::map_list(TARGETS, &self.targets, map)?,
            order: self.order,
            pause: self.pause,
            wait_ready: self.wait_ready,
        })
    }
}

impl Rollback<Target> {
    fn rollout(&self) -> Rollout {
        Rollout {
            order: self.order,
            pause: self.pause,
            wait_ready: self.wait_ready,
            stops_at_failure: false,
        }
    }
}

#[async_trait]
impl Fault for Rollback<Target> {
    fn targets(&self) -> Vec<&Target> {
        self.targets.iter().collect()
    }

    fn holds(&self) -> Option<Hold> {
        Some(Hold::Processes)
    }

    fn is_undone(&self) -> bool {
        false
    }

    fn describe(&self) -> String {
        format!("roll back {}, {}", target::names(&self.targets), self.rollout().words())
    }

    fn problems(&self) -> Vec<Problem> {
        let nobody = target::empty_list(TARGETS, &self.targets);
        nobody.into_iter().chain(self.rollout().problems()).collect()
    }

    fn problems_in(&self, definition: &SystemDefinition, compose: &ComposeFile) -> Vec<Problem> {
        deploy::forgetful(&self.targets, definition, compose)
    }

    async fn inject(&self, context: &FaultContext) -> Result<Receipt, FaultError> {
        let start = Instant::now();
        let replicas = target::resolve(&*context.system, &self.targets).await?;
        deploy::inject(context, replicas, &Release::default(), self.rollout(), start).await
    }

    async fn heal(&self, context: &FaultContext) -> Result<Receipt, FaultError> {
        deploy::look(context, &Release::default()).await
    }
}
