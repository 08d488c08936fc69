//! `loss`: a share of the packets between two groups of replicas is dropped, chosen at random.

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Fault, FaultContext, FaultError, Problem, Receipt, network};
use crate::plan::Target;

/// The least share that can be shown to bite, and to leave something, within some ten thousand datagrams.
const PERCENT_MIN: f64 = 0.1;
/// The greatest.
const PERCENT_MAX: f64 = 99.9;

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
    /// Share of packets dropped, in percent: from 0.1 to 99.9.
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
        format!(
            "drop {} % of packets {}",
            self.percent,
            network::route(&self.from, &self.to, self.both_ways)
        )
    }

    fn problems(&self) -> Vec<Problem> {
        let mut problems = network::problems(&self.from, &self.to);
        if !(PERCENT_MIN..=PERCENT_MAX).contains(&self.percent) {
            problems.push(Problem {
                path: "percent".to_owned(),
                message: format!("must be from {PERCENT_MIN} to {PERCENT_MAX}, is {}", self.percent),
                hint: "for all packets use `partition`; a smaller share cannot be shown to bite in good time"
                    .to_owned(),
            });
        }
        problems
    }

    async fn inject(&self, context: &FaultContext) -> Result<Receipt, FaultError> {
        network::inject(context, &self.from, &self.to, self.both_ways, Some(self.percent)).await
    }

    async fn heal(&self, context: &FaultContext) -> Result<Receipt, FaultError> {
        network::heal(context, self.both_ways, Some(self.percent)).await
    }
}
