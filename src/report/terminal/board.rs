//! What is going on right now: the state behind the live lines.

use std::collections::BTreeMap;

use super::style::{Paint, Style};
use super::told;
use crate::event::{Entry, Event, OperationProgress, Phase, Progress};
use crate::plan::Plan;
use crate::report::text::{clean, count, duration, percent_of};
use crate::report::words;

/// The state of a run, as far as it is shown.
#[derive(Debug, Default)]
pub(super) struct Board {
    phase: Option<(Phase, Option<u64>)>,
    /// Being made, with the step.
    images: BTreeMap<String, String>,
    ready: Vec<String>,
    replicas: Option<u32>,
    progress: Option<Progress>,
    faults: BTreeMap<u32, InForce>,
    /// How long each fault is to last, from the plan.
    for_ms: BTreeMap<u32, u64>,
}

/// A fault in force.
#[derive(Debug)]
struct InForce {
    name: String,
    measured: Option<String>,
    since_us: Option<i64>,
    healing: bool,
}

impl Board {
    /// Learns what no event tells: how long faults are to last, how many replicas there are.
    pub fn expect(&mut self, plan: &Plan) {
        self.for_ms = plan.faults.iter().map(|fault| (fault.id, fault.for_ms)).collect();
        self.replicas = Some(plan.replicas.values().sum());
    }

    /// Takes an event in.
    pub fn apply(&mut self, event: &Event) {
        match event {
            Event::Started { .. } => {
                let (for_ms, replicas) = (std::mem::take(&mut self.for_ms), self.replicas);
                *self = Self {
                    for_ms,
                    replicas,
                    ..Self::default()
                };
            }
            Event::Phase { phase, budget_ms } => {
                self.phase = Some((*phase, *budget_ms));
                self.images.clear();
                if *phase > Phase::Recovery {
                    self.progress = None;
                }
            }
            Event::ImageStarted { image, step } => {
                self.images.insert(clean(image), clean(step));
            }
            Event::ImageReady { image, .. } => {
                self.images.remove(&clean(image));
            }
            Event::ReplicaReady { replica, .. } => self.ready.push(clean(replica)),
            Event::Progress(progress) => self.progress = Some(progress.clone()),
            Event::LoadEnded(_) => self.progress = None,
            _ => self.apply_fault(event),
        }
    }

    fn apply_fault(&mut self, event: &Event) {
        match event {
            Event::FaultIntent { fault, name, .. } => {
                let name = clean(name);
                let in_force = InForce {
                    name,
                    measured: None,
                    since_us: None,
                    healing: false,
                };
                self.faults.insert(*fault, in_force);
            }
            Event::FaultInjected {
                fault,
                receipt,
                effective_us,
            } => {
                if let Some(in_force) = self.faults.get_mut(fault) {
                    in_force.measured = told::first_evidence(receipt);
                    in_force.since_us = *effective_us;
                }
            }
            Event::HealIntent { fault } => {
                if let Some(in_force) = self.faults.get_mut(fault) {
                    in_force.healing = true;
                }
            }
            Event::FaultMissed { fault, .. } | Event::FaultHealed { fault, .. } | Event::HealFailed { fault, .. } => {
                self.faults.remove(fault);
            }
            _ => {}
        }
    }

    /// The phase that is on, in words.
    pub fn headline(&self, style: &Style) -> String {
        let phase = self.phase.map_or("starting", |(phase, _)| words::phase(phase));
        style.paint(Paint::Bold, phase)
    }

    /// How long that phase lasts at most, after the time that it has lasted.
    pub fn budget(&self) -> String {
        let budget_ms = self.phase.and_then(|(_, budget_ms)| budget_ms);
        budget_ms.map_or_else(String::new, |ms| format!("of at most {}", duration(ms as f64)))
    }

    /// The lines below the phase.
    pub fn lines(&self, at_us: i64, style: &Style) -> Vec<String> {
        let mut lines = Vec::new();
        for (image, step) in &self.images {
            lines.push(format!("  image {image}: {step}"));
        }
        if let Some((Phase::Up, _)) = self.phase {
            lines.push(self.readiness());
        }
        if let Some(progress) = &self.progress {
            let name_width = progress
                .operations
                .iter()
                .map(|o| clean(&o.operation).chars().count())
                .max()
                .unwrap_or(0);
            lines.extend(
                progress
                    .operations
                    .iter()
                    .map(|operation| operation_line(operation, name_width, style)),
            );
        }
        for (number, in_force) in &self.faults {
            lines.push(self.fault_line(*number, in_force, at_us, style));
        }
        lines
    }

    fn readiness(&self) -> String {
        let of = self
            .replicas
            .map_or_else(String::new, |replicas| format!(" of {replicas}"));
        format!("  {}{of} replicas ready {}", self.ready.len(), self.ready.join(" "))
    }

    fn fault_line(&self, number: u32, in_force: &InForce, at_us: i64, style: &Style) -> String {
        let bolt = if style.unicode { "⚡" } else { "!" };
        let name = style.paint(Paint::Fault, &format!("{bolt} F{} {}", number + 1, in_force.name));
        let state = match (in_force.healing, in_force.since_us) {
            (true, _) => "healing".to_owned(),
            (false, None) => "being injected".to_owned(),
            (false, Some(since_us)) => self.remaining(number, at_us - since_us),
        };
        // What is left comes before the evidence, which a narrow terminal cuts off.
        let measured = in_force
            .measured
            .as_ref()
            .map_or_else(String::new, |measured| format!(": {measured}"));
        format!("  {name}, {state}{measured}")
    }

    fn remaining(&self, number: u32, elapsed_us: i64) -> String {
        let elapsed_ms = (elapsed_us.max(0)) as f64 / 1_000.0;
        let seconds = |ms: f64| format!("{:.1} s", ms / 1_000.0);
        match self.for_ms.get(&number) {
            Some(&for_ms) => format!("{} left", seconds((for_ms as f64 - elapsed_ms).max(0.0))),
            None => format!("for {}", seconds(elapsed_ms)),
        }
    }
}

fn operation_line(operation: &OperationProgress, name_width: usize, style: &Style) -> String {
    let percent = match operation.ok_percent {
        None => format!("{:>8}", "-"),
        Some(percent) => {
            let paint = if percent >= 99.0 { Paint::Pass } else { Paint::Fail };
            style.paint(paint, &format!("{:>8}", percent_of(percent)))
        }
    };
    let quantile = |ms: Option<f64>| ms.map_or_else(|| "-".to_owned(), duration);
    format!(
        "  {:<name_width$}  {percent} ok last second  p50 {:>7}  p99 {:>7}  ok {} fail {} info {}",
        clean(&operation.operation),
        quantile(operation.p50_ms),
        quantile(operation.p99_ms),
        count(operation.ok),
        count(operation.fail),
        count(operation.info),
    )
}

/// Wall-clock time of an entry, to the second.
pub(super) fn clock(entry: &Entry) -> String {
    match jiff::Timestamp::from_millisecond(entry.unix_ms) {
        Ok(instant) => instant.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
        Err(_) => "-".to_owned(),
    }
}
