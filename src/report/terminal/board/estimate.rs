//! Bounds on success rates while their time lasts: what has come of them so far.
//!
//! This is an estimate and never a verdict. It counts operations when they ended, as the reports on the load do; the judge counts them
//! by when their customers arrived, and knows what became of those in flight. Latencies and gauges cannot be told from the reports.

use super::tracks::Part;
use crate::plan::{Bound, Measure, PlannedFault, WindowedProbe};

/// A bound that can be estimated.
#[derive(Debug, Clone)]
pub(super) struct Estimate {
    /// The probe's name.
    pub name: String,
    /// What is asked, in percent.
    pub bound: Bound,
    /// What ended `ok`, and what ended at all, in the time that is judged.
    pub part: Part,
    operation: String,
    asked: Asked,
}

/// When.
#[derive(Debug, Clone, Copy)]
enum Asked {
    /// While faults last, or one of them, after so long from its effect. Without any fault, from the gate on.
    During { fault: Option<u32>, after_us: i64 },
    /// From so long after the last heal.
    Afterwards { after_us: i64 },
}

/// What decides whether a time is judged.
#[derive(Debug, Clone, Default)]
pub(super) struct Course {
    /// Faults in force, by position, with the time of their effect.
    pub in_force: Vec<(u32, i64)>,
    /// When the gate passed.
    pub gate_us: Option<i64>,
    /// When the last fault of the method had healed, once all have.
    pub last_heal_us: Option<i64>,
}

impl Estimate {
    /// Of the bounds of a plan, those that can be estimated: `during`, then `afterwards`.
    pub fn of(during: &[WindowedProbe], afterwards: &[WindowedProbe], faults: &[PlannedFault]) -> Vec<Self> {
        let after_us = |probe: &WindowedProbe| i64::try_from(probe.after_ms).unwrap_or(i64::MAX / 1_000) * 1_000;
        let of_faults = during.iter().map(|probe| {
            let (fault, after_us) = (probe.fault, after_us(probe));
            (probe, Asked::During { fault, after_us })
        });
        let of_after = afterwards.iter().filter(|_| !faults.is_empty()).map(|probe| {
            (
                probe,
                Asked::Afterwards {
                    after_us: after_us(probe),
                },
            )
        });
        let estimated = |(windowed, asked): (&WindowedProbe, Asked)| match &windowed.probe.measure {
            Measure::SuccessRate { operation } => Some(Self {
                name: windowed.probe.name.clone(),
                bound: windowed.probe.tolerance,
                part: Part::default(),
                operation: operation.clone(),
                asked,
            }),
            Measure::Latency { .. } | Measure::Metric { .. } => None,
        };
        of_faults.chain(of_after).filter_map(estimated).collect()
    }

    /// Which kind of assertion it belongs to.
    pub fn kind(&self) -> &'static str {
        match self.asked {
            Asked::During { .. } => "during",
            Asked::Afterwards { .. } => "afterwards",
        }
    }

    /// Counts what ended since a moment, if all of that time is judged.
    pub fn take(&mut self, since_us: i64, news: &[(String, Part)], course: &Course, is_faultless: bool) {
        if !self.is_judged(since_us, course, is_faultless) {
            return;
        }
        let of_it = news.iter().filter(|(operation, _)| *operation == self.operation);
        for (_, part) in of_it {
            self.part.ok += part.ok;
            self.part.ended += part.ended;
        }
    }

    fn is_judged(&self, since_us: i64, course: &Course, is_faultless: bool) -> bool {
        let is_past = |from_us: Option<i64>, after_us: i64| {
            from_us.is_some_and(|from_us| since_us >= from_us.saturating_add(after_us))
        };
        match self.asked {
            Asked::During { after_us, .. } if is_faultless => is_past(course.gate_us, after_us),
            Asked::During { fault, after_us } => {
                let chosen = || {
                    course
                        .in_force
                        .iter()
                        .filter(|(id, _)| fault.is_none_or(|fault| fault == *id))
                };
                // The first part of any fault that is asked about is left out, though another be in force.
                chosen().next().is_some() && chosen().all(|&(_, effective_us)| is_past(Some(effective_us), after_us))
            }
            Asked::Afterwards { after_us } => is_past(course.last_heal_us, after_us),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{Compare, Probe};

    fn asked(after_ms: u64, fault: Option<u32>) -> WindowedProbe {
        WindowedProbe {
            probe: Probe {
                name: "buying goes on".to_owned(),
                measure: Measure::SuccessRate {
                    operation: "buy".to_owned(),
                },
                tolerance: Bound {
                    compare: Compare::AtLeast,
                    value: 99.0,
                },
            },
            after_ms,
            fault,
        }
    }

    fn counted(estimate: &mut Estimate, since_us: i64, course: &Course, is_faultless: bool) -> u64 {
        let before = estimate.part.ended;
        let part = Part {
            ok: 9,
            ended: 10,
            p99_ms: None,
        };
        let news = [("buy".to_owned(), part), ("other".to_owned(), part)];
        estimate.take(since_us, &news, course, is_faultless);
        estimate.part.ended - before
    }

    #[test]
    fn during_counts_while_faults_last_but_their_first_part() {
        let mut estimate = Estimate::of(&[asked(1_000, None)], &[], &[]).remove(0);
        let at = |in_force: &[(u32, i64)]| Course {
            in_force: in_force.to_vec(),
            ..Course::default()
        };
        assert_eq!(
            counted(&mut estimate, 9_000_000, &at(&[]), false),
            0,
            "no fault is in force"
        );
        assert_eq!(
            counted(&mut estimate, 5_900_000, &at(&[(0, 5_000_000)]), false),
            0,
            "its first second"
        );
        assert_eq!(counted(&mut estimate, 6_000_000, &at(&[(0, 5_000_000)]), false), 10);
        let two = at(&[(0, 5_000_000), (1, 6_500_000)]);
        assert_eq!(
            counted(&mut estimate, 7_000_000, &two, false),
            0,
            "the first second of another"
        );
        assert_eq!(estimate.part.ok_percent(), Some(90.0));

        let mut of_one = Estimate::of(&[asked(1_000, Some(0))], &[], &[]).remove(0);
        assert_eq!(
            counted(&mut of_one, 7_000_000, &two, false),
            10,
            "of which it was not asked"
        );
        assert_eq!(counted(&mut of_one, 9_000_000, &at(&[(1, 0)]), false), 0);
    }

    #[test]
    fn without_a_fault_it_counts_from_the_gate() {
        let mut estimate = Estimate::of(&[asked(500, None)], &[], &[]).remove(0);
        let course = Course {
            gate_us: Some(4_000_000),
            ..Course::default()
        };
        assert_eq!(counted(&mut estimate, 4_400_000, &course, true), 0);
        assert_eq!(counted(&mut estimate, 4_500_000, &course, true), 10);
    }
}
