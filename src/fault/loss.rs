//! `loss`: a share of the packets between two groups of replicas is dropped, chosen at random.

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Fault, FaultContext, FaultError, Receipt};
use crate::plan::Target;

/// Parameters of `loss`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Loss<T> {
    /// Whose packets are dropped.
    pub from: Vec<T>,
    /// On their way to whom.
    pub to: Vec<T>,
    /// Whether packets in the other direction are dropped as well.
    #[serde(default = "super::yes")]
    pub both_ways: bool,
    /// Share of packets dropped, in percent: more than 0, less than 100.
    pub percent: f64,
}

impl<T> Loss<T> {
    pub(super) fn map_targets<U, E>(&self, map: &mut dyn FnMut(&str, &T) -> Result<U, E>) -> Result<Loss<U>, E> {
        Ok(Loss {
            from: super::map_list("from", &self.from, map)?,
            to: super::map_list("to", &self.to, map)?,
            both_ways: self.both_ways,
            percent: self.percent,
        })
    }
}

#[async_trait]
impl Fault for Loss<Target> {
    fn targets(&self) -> Vec<&Target> {
        self.from.iter().chain(&self.to).collect()
    }

    fn needs_agent(&self) -> bool {
        true
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
