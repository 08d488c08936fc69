//! `pause`: the targets' processes are frozen: connections are accepted by the kernel and nothing answers; healed by thawing.

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Fault, FaultContext, FaultError, Receipt};
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

    fn needs_agent(&self) -> bool {
        false
    }

    fn describe(&self) -> String {
        todo!("fault helper")
    }

    async fn inject(&self, _context: &FaultContext) -> Result<Receipt, FaultError> {
        todo!("fault helper")
    }

    async fn heal(&self, _context: &FaultContext) -> Result<Receipt, FaultError> {
        todo!("fault helper")
    }
}
