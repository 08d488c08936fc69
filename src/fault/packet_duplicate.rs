//! `packet-duplicate`: a share of the packets between two groups of replicas arrives twice, chosen at random.

use std::time::Duration;

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::impaired::{self, Effect};
use super::trace::Trace;
use super::{Emulated, Fault, FaultContext, FaultError, Problem, Receipt, network, sample};
use crate::agent::netem::Impairment;
use crate::plan::Target;

/// The least share that can be shown to act, and to leave something, within some ten thousand datagrams.
const PERCENT_MIN: f64 = 0.1;
/// The greatest.
const PERCENT_MAX: f64 = 99.9;

/// Parameters of `packet-duplicate`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct PacketDuplicate<T> {
    /// Whose packets are sent twice.
    pub from: Vec<T>,
    /// On their way to whom.
    pub to: Vec<T>,
    /// Whether packets in the other direction are sent twice as well.
    #[serde(default = "super::yes")]
    pub both_ways: bool,
    /// Share of packets sent twice, in percent: from 0.1 to 99.9.
    pub percent: f64,
}

impl<T> PacketDuplicate<T> {
    pub(super) fn map_targets<U, E>(
        &self,
        map: &mut dyn FnMut(&str, &T) -> Result<U, E>,
    ) -> Result<PacketDuplicate<U>, E> {
        Ok(PacketDuplicate {
            from: super::map_list("from", &self.from, map)?,
            to: super::map_list("to", &self.to, map)?,
            both_ways: self.both_ways,
            percent: self.percent,
        })
    }
}

#[async_trait]
impl Fault for PacketDuplicate<Target> {
    fn targets(&self) -> Vec<&Target> {
        self.from.iter().chain(&self.to).collect()
    }

    fn needs_agent(&self) -> bool {
        true
    }

    fn emulated(&self) -> Option<Emulated> {
        Some(Emulated {
            does: "duplicate",
            both_ways: self.both_ways,
            instead: None,
        })
    }

    fn describe(&self) -> String {
        let route = network::route(&self.from, &self.to, self.both_ways);
        format!("duplicate {} % of packets {route}", self.percent)
    }

    fn problems(&self) -> Vec<Problem> {
        let mut problems = network::problems(&self.from, &self.to);
        if !(PERCENT_MIN..=PERCENT_MAX).contains(&self.percent) {
            problems.push(Problem {
                path: "percent".to_owned(),
                message: format!("must be from {PERCENT_MIN} to {PERCENT_MAX}, is {}", self.percent),
                hint: "a share outside cannot be shown to act, and to leave something, in good time".to_owned(),
            });
        }
        problems
    }

    async fn inject(&self, context: &FaultContext) -> Result<Receipt, FaultError> {
        impaired::inject(context, &self.from, &self.to, self.both_ways, self).await
    }

    async fn heal(&self, context: &FaultContext) -> Result<Receipt, FaultError> {
        impaired::heal(context, self.both_ways, self).await
    }
}

impl<T: Send + Sync> Effect for PacketDuplicate<T> {
    fn impairment(&self) -> Impairment {
        Impairment::Duplicate { percent: self.percent }
    }

    fn datagrams(&self) -> u32 {
        sample::datagrams_for(self.percent)
    }

    fn longest(&self) -> Duration {
        Duration::ZERO
    }

    fn shows(&self, _before: &Trace, now: &Trace) -> (bool, String) {
        let (arrived, again) = (now.arrived(), now.arrived_again());
        let fits = sample::fits(again, arrived, self.percent);
        let share = f64::from(again) / f64::from(arrived.max(1)) * 100.0;
        let verb = if fits { "fits" } else { "does not fit" };
        let told = format!(
            "{}, {again} of them twice ({share:.1} %), which {verb} {} %",
            now.told(),
            self.percent
        );
        (fits, told)
    }

    fn is_over(&self, now: &Trace) -> (bool, String) {
        let again = now.arrived_again();
        let over = again == 0 && now.arrived() > 0;
        (over, format!("{}, {again} of them twice", now.told()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fault::test_double::targets;
    use crate::fault::trace::tests::trace;

    fn duplicate(percent: f64) -> PacketDuplicate<Target> {
        PacketDuplicate {
            from: targets(&[1]),
            to: targets(&[2]),
            both_ways: true,
            percent,
        }
    }

    /// So many datagrams, of which the first few arrive twice.
    fn twice(datagrams: u32, again: u32) -> Trace {
        let numbers = (0..datagrams).chain(0..again);
        trace(datagrams, numbers.map(|number| (number, 100)))
    }

    #[test]
    fn copies_show_by_their_share() {
        let (fault, before) = (duplicate(30.0), twice(64, 0));
        for (again, shown) in [(60, true), (45, true), (0, false), (5, false), (200, false)] {
            assert_eq!(fault.shows(&before, &twice(200, again)).0, shown, "{again} of 200");
        }
        assert!(!fault.shows(&before, &trace(200, [])).0, "nothing arrived");
    }

    #[test]
    fn it_is_over_when_none_comes_twice() {
        let fault = duplicate(30.0);
        assert!(fault.is_over(&twice(200, 0)).0);
        assert!(!fault.is_over(&twice(200, 1)).0);
        assert!(!fault.is_over(&trace(200, [])).0);
    }

    #[test]
    fn a_share_that_cannot_be_shown_is_a_problem() {
        for percent in [0.0, 100.0, f64::NAN] {
            assert_eq!(duplicate(percent).problems()[0].path, "percent", "{percent}");
        }
        let right = duplicate(0.1);
        assert_eq!((right.problems(), right.impairment().problem()), (vec![], None));
        assert_eq!(right.describe(), "duplicate 0.1 % of packets api-1 <-> api-2");
    }
}
