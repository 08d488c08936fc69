//! `pause`: the targets' processes are frozen: connections are accepted by the kernel and nothing answers; healed by thawing.

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::process::{self, Halt};
use super::{Fault, FaultContext, FaultError, Hold, Problem, Receipt, target};
use crate::plan::Target;

/// Parameters of `pause`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Pause<T> {
    /// The replicas.
    pub targets: Vec<T>,
}

impl<T> Pause<T> {
    pub(super) fn map_targets<U, E>(&self, map: &mut dyn FnMut(&str, &T) -> Result<U, E>) -> Result<Pause<U>, E> {
        Ok(Pause {
            targets: super::map_list("targets", &self.targets, map)?,
        })
    }
}

#[async_trait]
impl Fault for Pause<Target> {
    fn targets(&self) -> Vec<&Target> {
        self.targets.iter().collect()
    }

    fn holds(&self) -> Option<Hold> {
        Some(Hold::Processes)
    }

    fn describe(&self) -> String {
        format!("freeze {}", target::names(&self.targets))
    }

    fn problems(&self) -> Vec<Problem> {
        target::empty_list("targets", &self.targets).into_iter().collect()
    }

    async fn inject(&self, context: &FaultContext) -> Result<Receipt, FaultError> {
        process::inject(context, &self.targets, Halt::Freeze).await
    }

    async fn heal(&self, context: &FaultContext) -> Result<Receipt, FaultError> {
        process::heal(context, Halt::Freeze).await
    }
}
