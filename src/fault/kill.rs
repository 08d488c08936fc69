//! `kill`: SIGKILL to every process of the targets; healed by starting them again.

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::process::{self, Halt};
use super::{Fault, FaultContext, FaultError, Hold, Problem, Receipt, target};
use crate::plan::Target;

/// Parameters of `kill`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Kill<T> {
    /// The replicas.
    pub targets: Vec<T>,
}

impl<T> Kill<T> {
    pub(super) fn map_targets<U, E>(&self, map: &mut dyn FnMut(&str, &T) -> Result<U, E>) -> Result<Kill<U>, E> {
        Ok(Kill {
            targets: super::map_list("targets", &self.targets, map)?,
        })
    }
}

#[async_trait]
impl Fault for Kill<Target> {
    fn targets(&self) -> Vec<&Target> {
        self.targets.iter().collect()
    }

    fn holds(&self) -> Option<Hold> {
        Some(Hold::Processes)
    }

    fn describe(&self) -> String {
        format!("SIGKILL to {}", target::names(&self.targets))
    }

    fn problems(&self) -> Vec<Problem> {
        target::empty_list("targets", &self.targets).into_iter().collect()
    }

    async fn inject(&self, context: &FaultContext) -> Result<Receipt, FaultError> {
        process::inject(context, &self.targets, Halt::Kill).await
    }

    async fn heal(&self, context: &FaultContext) -> Result<Receipt, FaultError> {
        process::heal(context, Halt::Kill).await
    }
}
