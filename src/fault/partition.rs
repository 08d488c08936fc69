//! `partition`: packets between two groups of replicas are dropped, in one direction or both.

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Fault, FaultContext, FaultError, Problem, Receipt, network};
use crate::plan::Target;

/// Parameters of `partition`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Partition<T> {
    /// Whose packets are dropped.
    pub from: Vec<T>,
    /// On their way to whom.
    pub to: Vec<T>,
    /// Whether packets in the other direction are dropped as well.
    #[serde(default = "super::yes")]
    pub both_ways: bool,
}

impl<T> Partition<T> {
    pub(super) fn map_targets<U, E>(&self, map: &mut dyn FnMut(&str, &T) -> Result<U, E>) -> Result<Partition<U>, E> {
        Ok(Partition {
            from: super::map_list("from", &self.from, map)?,
            to: super::map_list("to", &self.to, map)?,
            both_ways: self.both_ways,
        })
    }
}

#[async_trait]
impl Fault for Partition<Target> {
    fn targets(&self) -> Vec<&Target> {
        self.from.iter().chain(&self.to).collect()
    }

    fn needs_agent(&self) -> bool {
        true
    }

    fn describe(&self) -> String {
        format!(
            "drop all packets {}",
            network::route(&self.from, &self.to, self.both_ways)
        )
    }

    fn problems(&self) -> Vec<Problem> {
        network::problems(&self.from, &self.to)
    }

    async fn inject(&self, context: &FaultContext) -> Result<Receipt, FaultError> {
        network::inject(context, &self.from, &self.to, self.both_ways, None).await
    }

    async fn heal(&self, context: &FaultContext) -> Result<Receipt, FaultError> {
        network::heal(context, self.both_ways, None).await
    }
}
