//! `read-your-writes`: what a member of a group acknowledged is seen by whoever reads elsewhere a while later, as on a standby.
//!
//! The writes are the heartbeats that nightmail sends to `writer`, which are numbered; the reads are those of `metric`, which
//! gives the newest number that is seen. A reading must see every heartbeat that was acknowledged at least `within` before the
//! reading *began*, so that a slow reading is no stale one. Invalid if one does not: by how much is told. A reading that
//! failed says nothing. Nothing acknowledged, no reading by which something had to be seen, or more than every tenth of these
//! failed: inconclusive. O(n log n).

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::about::About;
use super::probe::GAPS_MAX_PERCENT;
use super::{Breach, Checked, Checker, Evidence, Names};
use crate::duration::DurationMs;
use crate::history::{Heartbeat, Outcome};

/// Parameters of `read-your-writes`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct ReadYourWrites {
    /// The group, a key of `heartbeats`.
    pub group: String,
    /// The replica that is written to, such as `database-1-1`.
    pub writer: String,
    /// The gauge that gives the newest of the writer's numbers that is seen elsewhere, 0 if none is.
    pub metric: String,
    /// How long after its acknowledgement a write may stay unseen.
    pub within: DurationMs,
}

impl Checker for ReadYourWrites {
    fn names(&self) -> Names<'_> {
        Names {
            heartbeats: vec![("group".to_owned(), &self.group)],
            metrics: vec![("metric".to_owned(), &self.metric)],
            ..Names::default()
        }
    }

    fn check(&self, evidence: &Evidence<'_>) -> Checked {
        let mut checked = Checked::default();
        let acknowledged = self.acknowledged(evidence);
        // The newest of the first so many, for acknowledgements need not come in the order of the numbers.
        let newest: Vec<u64> = acknowledged
            .iter()
            .scan(0, |newest, beat| {
                *newest = beat.number.max(*newest);
                Some(*newest)
            })
            .collect();
        let (mut due, mut failed, mut longest_us) = (0, 0, 0);
        for reading in evidence.readings(&self.metric) {
            let until_us = reading.at_us.checked_sub(self.within.as_us());
            let all = until_us.map_or(0, |until_us| {
                acknowledged.partition_point(|beat| beat.done_us <= until_us)
            });
            let Some(newest) = newest[..all].last() else {
                continue;
            };
            let Some(seen) = reading.value else {
                failed += 1;
                continue;
            };
            due += 1;
            if *newest as f64 <= seen {
                continue;
            }
            let mut unseen = acknowledged[..all].iter().filter(|beat| beat.number as f64 > seen);
            let stale_us = unseen.next().map_or(0, |oldest| reading.at_us - oldest.done_us);
            longest_us = longest_us.max(stale_us);
            checked.breach(Breach::Stale, About::reading(&self.metric, reading.at_us), || {
                let (at_s, stale_ms) = (reading.at_us as f64 / 1e6, stale_us.div_ceil(1_000));
                format!(
                    "at {at_s:.3} s a write that {} had acknowledged {stale_ms} ms before was not seen",
                    self.writer
                )
            });
        }
        self.doubt(&acknowledged, due, failed, &mut checked);
        let longest = match longest_us {
            0 => String::new(),
            us => format!("; the oldest write that was not seen was {} ms old", us.div_ceil(1_000)),
        };
        let (count, metric, within) = (acknowledged.len(), &self.metric, self.within);
        checked.looked_at(
            count + due,
            format!(
                "{count} writes acknowledged by {}; {due} readings of `{metric}` that had to see one within {within}, \
                 {failed} failed{longest}",
                self.writer
            ),
        );
        checked
    }
}

impl ReadYourWrites {
    /// The writer's acknowledged heartbeats, in the order of their acknowledgement.
    fn acknowledged<'h>(&self, evidence: &Evidence<'h>) -> Vec<&'h Heartbeat<'h>> {
        let all = evidence.heartbeats(&self.group).into_iter();
        let mut acknowledged: Vec<_> = all
            .filter(|beat| beat.member == self.writer && beat.outcome == Outcome::Ok)
            .collect();
        acknowledged.sort_by_key(|beat| beat.done_us);
        acknowledged
    }

    fn doubt(&self, acknowledged: &[&Heartbeat<'_>], due: usize, failed: usize, checked: &mut Checked) {
        if acknowledged.is_empty() {
            checked.doubt(|| format!("{} acknowledged no heartbeat, so there was nothing to see", self.writer));
        } else if due == 0 {
            checked.doubt(|| format!("no reading of `{}` came late enough to have to see one", self.metric));
        } else if failed * 100 > (due + failed) * GAPS_MAX_PERCENT {
            checked.doubt(|| {
                let of = due + failed;
                format!(
                    "{failed} of {of} readings of `{}` failed: too many to tell",
                    self.metric
                )
            });
        }
    }
}
