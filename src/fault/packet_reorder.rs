//! `packet-reorder`: a share of the packets between two groups of replicas, chosen at random, overtakes the others, which
//! are delayed so that there is something to overtake.

use std::time::Duration;

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::impaired::{self, Effect};
use super::trace::Trace;
use super::{Emulated, Fault, FaultContext, FaultError, Problem, Receipt, network, sample};
use crate::agent::netem::{Impairment, Reorder};
use crate::duration::DurationMs;
use crate::plan::Target;

/// The least share that can be shown to overtake within some thousand datagrams.
const PERCENT_MIN: f64 = 1.0;
/// The greatest.
const PERCENT_MAX: f64 = 99.0;
/// The shortest delay in which the sender surely sends the next datagram.
const DELAY_MIN_MS: u64 = 5;
/// The longest.
const DELAY_MAX_MS: u64 = 1_000;

/// Parameters of `packet-reorder`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct PacketReorder<T> {
    /// Whose packets are reordered.
    pub from: Vec<T>,
    /// On their way to whom.
    pub to: Vec<T>,
    /// Whether packets in the other direction are reordered as well.
    #[serde(default = "super::yes")]
    pub both_ways: bool,
    /// Share of packets sent at once, in percent: from 1 to 99. The others are delayed.
    pub percent: f64,
    /// How long they are, from `5ms` to `1s`.
    pub delay: DurationMs,
}

impl<T> PacketReorder<T> {
    pub(super) fn map_targets<U, E>(
        &self,
        map: &mut dyn FnMut(&str, &T) -> Result<U, E>,
    ) -> Result<PacketReorder<U>, E> {
        Ok(PacketReorder {
            from: super::map_list("from", &self.from, map)?,
            to: super::map_list("to", &self.to, map)?,
            both_ways: self.both_ways,
            percent: self.percent,
            delay: self.delay,
        })
    }
}

#[async_trait]
impl Fault for PacketReorder<Target> {
    fn targets(&self) -> Vec<&Target> {
        self.from.iter().chain(&self.to).collect()
    }

    fn needs_agent(&self) -> bool {
        true
    }

    fn emulated(&self) -> Option<Emulated> {
        Some(Emulated {
            does: "delay",
            both_ways: self.both_ways,
            instead: Some(
                "`inject: {latency: ...}` on links instead, if TCP is what is meant: it restores the order, and all it sees is \
                 delay",
            ),
        })
    }

    fn describe(&self) -> String {
        let (percent, delay) = (self.percent, self.delay);
        let route = network::route(&self.from, &self.to, self.both_ways);
        format!("let {percent} % of packets overtake the others, which take {delay} longer, {route}")
    }

    fn problems(&self) -> Vec<Problem> {
        let mut problems = network::problems(&self.from, &self.to);
        if !(PERCENT_MIN..=PERCENT_MAX).contains(&self.percent) {
            problems.push(Problem {
                path: "percent".to_owned(),
                message: format!("must be from {PERCENT_MIN} to {PERCENT_MAX}, is {}", self.percent),
                hint: "beyond, nearly all packets keep their order; for a delay alone use `packet-latency`".to_owned(),
            });
        }
        if !(DELAY_MIN_MS..=DELAY_MAX_MS).contains(&self.delay.0) {
            let (least, most) = (DurationMs(DELAY_MIN_MS), DurationMs(DELAY_MAX_MS));
            problems.push(Problem {
                path: "delay".to_owned(),
                message: format!("must be from {least} to {most}, is {}", self.delay),
                hint: "a few times the time between two packets is enough, for example `20ms`".to_owned(),
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

impl<T: Send + Sync> Effect for PacketReorder<T> {
    fn impairment(&self) -> Impairment {
        Impairment::Reorder(Reorder {
            percent: self.percent,
            delay_ms: self.delay.0,
        })
    }

    fn datagrams(&self) -> u32 {
        sample::datagrams_for(self.swapped_percent()) * 2
    }

    fn longest(&self) -> Duration {
        self.delay.as_duration()
    }

    /// Datagrams are looked at two and two, as they were sent: each pair is swapped or not whatever the others are.
    fn shows(&self, _before: &Trace, now: &Trace) -> (bool, String) {
        let (pairs, swapped) = now.pairs();
        let expected = self.swapped_percent();
        let fits = sample::fits(swapped, pairs, expected);
        let share = f64::from(swapped) / f64::from(pairs.max(1)) * 100.0;
        let verb = if fits { "fits" } else { "does not fit" };
        let told = format!(
            "{}, {swapped} of {pairs} pairs in the wrong order ({share:.1} %), which {verb} the {expected:.1} % that come of {} %",
            now.told(),
            self.percent
        );
        (fits, told)
    }

    fn is_over(&self, now: &Trace) -> (bool, String) {
        let (pairs, swapped) = now.pairs();
        let over = swapped == 0 && pairs > 0;
        (
            over,
            format!("{}, {swapped} of {pairs} pairs in the wrong order", now.told()),
        )
    }
}

impl<T> PacketReorder<T> {
    /// A pair is swapped when its first is delayed and its second is not.
    fn swapped_percent(&self) -> f64 {
        let share = self.percent / 100.0;
        share * (1.0 - share) * 100.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fault::test_double::targets;
    use crate::fault::trace::tests::trace;

    fn reorder(percent: f64, delay: u64) -> PacketReorder<Target> {
        PacketReorder {
            from: targets(&[1]),
            to: targets(&[2]),
            both_ways: false,
            percent,
            delay: DurationMs(delay),
        }
    }

    /// So many pairs, of which the first few are swapped.
    fn pairs(pairs: u32, swapped: u32) -> Trace {
        let numbers = (0..pairs).flat_map(|pair| match pair < swapped {
            true => [pair * 2 + 1, pair * 2],
            false => [pair * 2, pair * 2 + 1],
        });
        trace(pairs * 2, numbers.map(|number| (number, 100)))
    }

    #[test]
    fn pairs_in_the_wrong_order_show_by_their_share() {
        let (fault, before) = (reorder(25.0, 20), pairs(32, 0));
        // A quarter of three quarters: 37.5 of 200.
        for (swapped, shown) in [(37, true), (50, true), (0, false), (3, false), (100, false)] {
            assert_eq!(fault.shows(&before, &pairs(200, swapped)).0, shown, "{swapped} of 200");
        }
        assert!(!fault.shows(&before, &trace(400, [])).0, "nothing arrived");
        assert_eq!(fault.datagrams(), 400);
    }

    #[test]
    fn it_is_over_when_every_pair_is_in_order() {
        let fault = reorder(25.0, 20);
        assert!(fault.is_over(&pairs(200, 0)).0);
        assert!(!fault.is_over(&pairs(200, 1)).0);
        assert!(!fault.is_over(&trace(400, [])).0);
    }

    #[test]
    fn what_cannot_be_shown_is_a_problem() {
        let wrong = [
            (reorder(0.5, 20), "percent"),
            (reorder(100.0, 20), "percent"),
            (reorder(25.0, 4), "delay"),
            (reorder(25.0, 1_001), "delay"),
        ];
        for (fault, path) in wrong {
            assert_eq!(fault.problems()[0].path, path, "{fault:?}");
        }
        let right = reorder(1.0, 5);
        assert_eq!((right.problems(), right.impairment().problem()), (vec![], None));
        let told = "let 1 % of packets overtake the others, which take 5ms longer, api-1 -> api-2";
        assert_eq!(right.describe(), told);
    }
}
