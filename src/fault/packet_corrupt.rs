//! `packet-corrupt`: in a share of the packets between two groups of replicas, chosen at random, one bit is flipped.
//!
//! The receiving kernel drops what does not match its checksum, so that a service sees no wrong data but packets that never
//! came; that is what is measured, too.

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
/// The share of flipped bits that a receiver must notice. Of the frame around a probe datagram, 554 bytes, it need not look
/// at the 6 bytes of the sender's hardware address, nor at one bit of its own.
const NOTICED: f64 = 1.0 - 49.0 / (554.0 * 8.0);

/// Parameters of `packet-corrupt`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct PacketCorrupt<T> {
    /// Whose packets are harmed.
    pub from: Vec<T>,
    /// On their way to whom.
    pub to: Vec<T>,
    /// Whether packets in the other direction are harmed as well.
    #[serde(default = "super::yes")]
    pub both_ways: bool,
    /// Share of packets harmed, in percent: from 0.1 to 99.9.
    pub percent: f64,
}

impl<T> PacketCorrupt<T> {
    pub(super) fn map_targets<U, E>(
        &self,
        map: &mut dyn FnMut(&str, &T) -> Result<U, E>,
    ) -> Result<PacketCorrupt<U>, E> {
        Ok(PacketCorrupt {
            from: super::map_list("from", &self.from, map)?,
            to: super::map_list("to", &self.to, map)?,
            both_ways: self.both_ways,
            percent: self.percent,
        })
    }
}

#[async_trait]
impl Fault for PacketCorrupt<Target> {
    fn targets(&self) -> Vec<&Target> {
        self.from.iter().chain(&self.to).collect()
    }

    fn needs_agent(&self) -> bool {
        true
    }

    fn emulated(&self) -> Option<Emulated> {
        Some(Emulated {
            does: "corrupt",
            both_ways: self.both_ways,
            instead: Some("`loss` instead: the kernel drops what was harmed, so that services see the same"),
        })
    }

    fn describe(&self) -> String {
        let route = network::route(&self.from, &self.to, self.both_ways);
        format!("flip a bit in {} % of packets {route}", self.percent)
    }

    fn problems(&self) -> Vec<Problem> {
        let mut problems = network::problems(&self.from, &self.to);
        if !(PERCENT_MIN..=PERCENT_MAX).contains(&self.percent) {
            problems.push(Problem {
                path: "percent".to_owned(),
                message: format!("must be from {PERCENT_MIN} to {PERCENT_MAX}, is {}", self.percent),
                hint: "for all packets use `partition`; a smaller share cannot be shown to act in good time".to_owned(),
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

impl<T: Send + Sync> Effect for PacketCorrupt<T> {
    fn impairment(&self) -> Impairment {
        Impairment::Corrupt { percent: self.percent }
    }

    fn datagrams(&self) -> u32 {
        sample::datagrams_for(self.percent).max(sample::datagrams_for(self.percent * NOTICED))
    }

    fn longest(&self) -> Duration {
        Duration::ZERO
    }

    fn shows(&self, _before: &Trace, now: &Trace) -> (bool, String) {
        let lost = now.sent.saturating_sub(now.arrived());
        let fits = sample::fits_between(lost, now.sent, self.percent * NOTICED, self.percent);
        let share = f64::from(lost) / f64::from(now.sent.max(1)) * 100.0;
        let verb = if fits { "fits" } else { "does not fit" };
        let told = format!(
            "{} unharmed, {lost} did not ({share:.1} %), which {verb} {} %",
            now.told(),
            self.percent
        );
        (fits, told)
    }

    fn is_over(&self, now: &Trace) -> (bool, String) {
        let over = now.sent > 0 && now.arrived() == now.sent;
        (over, format!("{} unharmed", now.told()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fault::test_double::targets;
    use crate::fault::trace::tests::trace;

    fn corrupt(percent: f64) -> PacketCorrupt<Target> {
        PacketCorrupt {
            from: targets(&[1]),
            to: targets(&[2]),
            both_ways: false,
            percent,
        }
    }

    fn arrived(sent: u32, arrived: u32) -> Trace {
        trace(sent, (0..arrived).map(|number| (number, 100)))
    }

    #[test]
    fn what_was_harmed_shows_by_what_is_missing() {
        let (fault, before) = (corrupt(30.0), arrived(64, 64));
        for (missing, shown) in [
            (60, true),
            (45, true),
            (0, false),
            (5, false),
            (120, false),
            (200, false),
        ] {
            assert_eq!(
                fault.shows(&before, &arrived(200, 200 - missing)).0,
                shown,
                "{missing} of 200"
            );
        }
    }

    #[test]
    fn bits_that_nobody_looks_at_are_allowed_for() {
        let fault = corrupt(99.9);
        let sent = fault.datagrams();
        let missing = |percent: f64| (f64::from(sent) * percent / 100.0).round() as u32;
        for percent in [99.9, 99.0, 99.9 * NOTICED] {
            assert!(
                fault.shows(&arrived(64, 64), &arrived(sent, sent - missing(percent))).0,
                "{percent}"
            );
        }
        assert!(!fault.shows(&arrived(64, 64), &arrived(sent, sent - missing(97.0))).0);
        assert!(
            !fault.shows(&arrived(64, 64), &arrived(sent, 0)).0,
            "that is a partition"
        );
    }

    #[test]
    fn it_is_over_when_all_arrive_unharmed() {
        let fault = corrupt(30.0);
        assert!(fault.is_over(&arrived(200, 200)).0);
        assert!(!fault.is_over(&arrived(200, 199)).0);
    }

    #[test]
    fn a_share_that_cannot_be_shown_is_a_problem() {
        for percent in [0.0, 100.0, f64::NAN] {
            assert_eq!(corrupt(percent).problems()[0].path, "percent", "{percent}");
        }
        let right = corrupt(0.1);
        assert_eq!((right.problems(), right.impairment().problem()), (vec![], None));
        assert_eq!(right.describe(), "flip a bit in 0.1 % of packets api-1 -> api-2");
    }
}
