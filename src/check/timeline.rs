//! What happened when, as the events tell.

use std::collections::BTreeMap;
use std::ops::Range;

use crate::event::{Entry, Event, LoadSummary, Phase};
use crate::fault::Receipt;
use crate::history::load::History;
use crate::plan::Plan;
use crate::verdict::{Assertion, Status};

/// A run as its events tell it. Times are microseconds since the load started.
#[derive(Default)]
pub(super) struct Timeline<'e> {
    pub run_id: &'e str,
    /// When the gate was judged, whether it passed, and its assertions.
    pub gate: Option<(u64, bool, &'e [Assertion])>,
    /// By the fault's position in the method.
    pub faults: Vec<FaultSeen<'e>>,
    pub drained: BTreeMap<&'e str, Drained>,
    pub summary: Option<&'e LoadSummary>,
    /// When the last arrival could have come.
    pub load_end_us: u64,
    pub signal: Option<&'e str>,
    pub broken: Option<&'e str>,
    pub leftovers: &'e [String],
    /// Whether the harness lived to take the system down.
    ended: bool,
}

/// A fault as it happened.
#[derive(Default)]
pub(super) struct FaultSeen<'e> {
    pub describe: Option<&'e str>,
    pub injected: Option<&'e Receipt>,
    pub effective_us: Option<i64>,
    pub healed: Option<&'e Receipt>,
    pub healed_us: Option<i64>,
    pub problem: Option<&'e str>,
}

/// How a backlog ended.
pub(super) struct Drained {
    pub at_us: u64,
    pub drained: bool,
    pub last: Option<f64>,
    pub took_ms: u64,
}

fn at_us(time_us: i64) -> u64 {
    time_us.max(0).unsigned_abs()
}

impl<'e> Timeline<'e> {
    pub(super) fn new(plan: &Plan, history: &History<'_>, events: &'e [Entry]) -> Self {
        let mut timeline = Self::default();
        timeline.faults.resize_with(plan.faults.len(), FaultSeen::default);
        let mut recovery_us = None;
        let mut load_ended_us = None;
        for entry in events {
            match &entry.event {
                Event::Phase {
                    phase: Phase::Recovery, ..
                } => recovery_us = Some(at_us(entry.at_us)),
                Event::LoadEnded(summary) => {
                    load_ended_us = Some(at_us(entry.at_us));
                    timeline.summary = Some(summary);
                }
                _ => timeline.see(entry),
            }
        }
        let last_us = history.ops.iter().map(|op| op.intended_us + 1).max().unwrap_or(0);
        // The load goes on to its planned end even if nobody arrives in its last moments.
        let planned_us = recovery_us.map_or(0, |start| start + plan.schedule.recovery_ms * 1_000);
        let went_on = timeline.status() == Status::Completed && load_ended_us.is_some_and(|ended| ended >= planned_us);
        timeline.load_end_us = if went_on { last_us.max(planned_us) } else { last_us };
        timeline
    }

    fn see(&mut self, entry: &'e Entry) {
        match &entry.event {
            Event::Started { run_id, .. } => self.run_id = run_id,
            Event::Gate { passed, assertions } => self.gate = Some((at_us(entry.at_us), *passed, assertions)),
            Event::Drained {
                metric,
                drained,
                last,
                took_ms,
            } => {
                let ended = Drained {
                    at_us: at_us(entry.at_us),
                    drained: *drained,
                    last: *last,
                    took_ms: *took_ms,
                };
                self.drained.insert(metric, ended);
            }
            Event::Interrupted { signal } => self.signal = Some(signal),
            Event::Broken { problem } => self.broken = Some(problem),
            Event::Down { leftovers, .. } => {
                self.leftovers = leftovers;
                self.ended = true;
            }
            Event::Phase {
                phase: Phase::Down | Phase::Judge,
                ..
            }
            | Event::Judged { .. } => self.ended = true,
            _ => self.see_fault(&entry.event),
        }
    }

    fn see_fault(&mut self, event: &'e Event) {
        let (Event::FaultIntent { fault, .. }
        | Event::FaultInjected { fault, .. }
        | Event::FaultMissed { fault, .. }
        | Event::FaultHealed { fault, .. }
        | Event::HealFailed { fault, .. }) = event
        else {
            return;
        };
        let Some(seen) = self.faults.get_mut(*fault as usize) else {
            return;
        };
        match event {
            Event::FaultIntent { describe, .. } => seen.describe = Some(describe),
            Event::FaultInjected {
                receipt, effective_us, ..
            } => {
                (seen.injected, seen.effective_us) = (Some(receipt), *effective_us);
            }
            Event::FaultHealed { receipt, healed_us, .. } => {
                (seen.healed, seen.healed_us) = (Some(receipt), *healed_us);
            }
            Event::FaultMissed { reason, .. } | Event::HealFailed { reason, .. } => seen.problem = Some(reason),
            _ => {}
        }
    }

    /// How far the run got.
    pub(super) fn status(&self) -> Status {
        match (self.broken, self.signal) {
            (Some(_), _) => Status::Aborted,
            (None, Some(_)) => Status::Interrupted,
            (None, None) if self.ended => Status::Completed,
            (None, None) => Status::Aborted,
        }
    }

    /// Why it did not complete.
    pub(super) fn problem(&self) -> Option<String> {
        match self.status() {
            Status::Completed => None,
            Status::Interrupted => self.signal.map(|signal| format!("interrupted by {signal}")),
            Status::Aborted => {
                let unknown =
                    "the harness ended before the run did (killed, perhaps); `nightmail gc` removes what it left";
                Some(self.broken.unwrap_or(unknown).to_owned())
            }
        }
    }

    /// When the first fault was seen in effect.
    pub(super) fn first_effect_us(&self) -> Option<u64> {
        self.faults
            .iter()
            .filter_map(|fault| fault.effective_us)
            .map(at_us)
            .min()
    }

    /// When that fault was seen in effect.
    pub(super) fn effect_us(&self, fault: u32) -> Option<u64> {
        self.faults.get(fault as usize)?.effective_us.map(at_us)
    }

    /// When the last fault was seen healed; absent if one that took effect was not.
    pub(super) fn last_heal_us(&self) -> Option<u64> {
        let in_effect = self.faults.iter().filter(|fault| fault.effective_us.is_some());
        let heals: Option<Vec<u64>> = in_effect.map(|fault| fault.healed_us.map(at_us)).collect();
        heals?.into_iter().max()
    }

    /// From a fault's effect to its end, as observed; one that was not seen healed lasted to the end of the load.
    pub(super) fn fault_window_us(&self, fault: &FaultSeen<'_>) -> Option<Range<u64>> {
        let end = fault.healed_us.map_or(self.load_end_us, at_us);
        Some(at_us(fault.effective_us?)..end)
    }
}
