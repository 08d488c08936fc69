//! `during` and `afterwards`: bounds over the time of faults, and over the time after them.

use super::Resolver;
use super::probes::On;
use crate::diagnostic::list;
use crate::duration::DurationMs;
use crate::experiment::spec::{Measured, Windowed};
use crate::plan::{Probe, RecoveryPlan, WindowedProbe};
use crate::yaml::place::Place;

/// What an element may state, besides on what.
const BOUNDS: &str = "one of success-rate, p50, p90, p95, p99, p99.9, max, min";

impl Resolver<'_> {
    pub(super) fn during(&mut self) -> Vec<WindowedProbe> {
        let mut found = Vec::new();
        for (index, spec) in self.experiment.during.iter().enumerate() {
            let place = Place::root().key("during").index(index);
            let fault = self.time_of_faults(&place, spec);
            if let Some(probe) = self.windowed(&place, "during", spec) {
                found.push(WindowedProbe {
                    probe,
                    after_ms: spec.after.0,
                    fault,
                });
            }
        }
        found
    }

    pub(super) fn afterwards(&mut self, recovery: Option<&RecoveryPlan>) -> Vec<WindowedProbe> {
        let mut found = Vec::new();
        for (index, spec) in self.experiment.afterwards.iter().enumerate() {
            let place = Place::root().key("afterwards").index(index);
            self.time_afterwards(&place, spec, recovery);
            if let Some(probe) = self.windowed(&place, "afterwards", spec) {
                found.push(WindowedProbe {
                    after_ms: spec.after.0,
                    ..WindowedProbe::whole(probe)
                });
            }
        }
        found
    }

    /// What is measured, and its one bound.
    fn windowed(&mut self, place: &Place, of_list: &str, spec: &Windowed) -> Option<Probe> {
        let bounds = bounds(spec);
        let [(key, measured, tolerance)] = bounds.as_slice() else {
            let found = list(bounds.iter().map(|(key, ..)| *key));
            let message = format!("each element of `{of_list}` states one bound, here: {found}");
            self.found.push(
                self.document
                    .at_value(place, message)
                    .allowed(BOUNDS)
                    .hint("for example {operation: purchase-history, success-rate: \">= 99.5%\"}"),
            );
            return None;
        };
        let on = On {
            operation: spec.operation.as_deref(),
            of: spec.of.as_deref(),
        };
        let (measure, unit) = self.measure(place, &place.key(*key), *measured, &on)?;
        let tolerance = self.bound(&place.key(*key), tolerance, unit)?;
        let subject = spec.operation.as_deref().or(spec.of.as_deref()).unwrap_or_default();
        let when = if of_list == "during" { "" } else { " afterwards" };
        Some(Probe {
            name: spec.name.clone().unwrap_or_else(|| format!("{subject} {key}{when}")),
            measure,
            tolerance,
        })
    }

    /// The fault from whose effect the age of what is lost counts, if one is named.
    pub(super) fn losing_fault(&mut self) -> Option<u32> {
        let name = self.experiment.tolerate.data_loss.fault.as_ref()?;
        let place = Place::root().key("tolerate").key("data-loss").key("fault");
        self.step(&place, name).map(|position| position as u32)
    }

    /// The position of a step that is named there.
    fn step(&mut self, place: &Place, name: &str) -> Option<usize> {
        let steps = &self.experiment.method;
        let found = steps.iter().position(|step| step.name == name);
        if found.is_none() {
            let known = steps.iter().map(|step| step.name.as_str());
            self.found.push(self.document.unknown(place, "step", name, known));
        }
        found
    }

    /// The position of the step whose time is judged, if it is one's alone. Of every step that is, something must be left.
    fn time_of_faults(&mut self, place: &Place, spec: &Windowed) -> Option<u32> {
        let steps = &self.experiment.method;
        let fault = match &spec.fault {
            // Where there is no step at all, that is said of the list.
            Some(_) if steps.is_empty() => return None,
            Some(name) => Some(self.step(&place.key("fault"), name)?),
            None => None,
        };
        let judged = steps
            .iter()
            .enumerate()
            .filter(|(position, _)| fault.is_none_or(|fault| fault == *position));
        let shortest = judged.map(|(_, step)| step).min_by_key(|step| step.r#for);
        if let Some(step) = shortest.filter(|step| spec.after.0 > 0 && step.r#for <= spec.after) {
            let (after, lasts) = (spec.after, step.r#for);
            self.found.push(
                self.document
                    .at_value(
                        &place.key("after"),
                        format!("nothing is left to judge of `{}`, which lasts {lasts}", step.name),
                    )
                    .label(format!("its first {after} are not judged"))
                    .allowed(format!("less than {lasts}"))
                    .hint("shorten `after`, let the fault last longer, or name a longer one with `fault`"),
            );
        }
        fault.map(|position| position as u32)
    }

    /// The load must go on for longer than is passed over.
    fn time_afterwards(&mut self, place: &Place, spec: &Windowed, recovery: Option<&RecoveryPlan>) {
        if spec.fault.is_some() {
            self.found.push(
                self.document
                    .at_key(&place.key("fault"), "`fault` belongs to `during`")
                    .label("by then no fault is left")
                    .hint("remove it: `afterwards` counts from the last heal"),
            );
        }
        let Some(recovery) = recovery else { return };
        let lasts = DurationMs(recovery.within_ms.saturating_add(recovery.stable_for_ms));
        if spec.after >= lasts {
            self.found.push(
                self.document
                    .at_value(
                        &place.key("after"),
                        format!("nothing is left to judge: the load ends {lasts} after the last heal"),
                    )
                    .label("the time before is not judged")
                    .allowed(format!("less than {lasts}"))
                    .hint("shorten `after`, or make recovery's `stable-for` longer"),
            );
        }
    }
}

fn bounds(spec: &Windowed) -> Vec<(&'static str, Measured, &str)> {
    [
        ("success-rate", Measured::SuccessRate, &spec.success_rate),
        ("p50", Measured::P50, &spec.p50),
        ("p90", Measured::P90, &spec.p90),
        ("p95", Measured::P95, &spec.p95),
        ("p99", Measured::P99, &spec.p99),
        ("p99.9", Measured::P999, &spec.p999),
        ("max", Measured::Max, &spec.max),
        ("min", Measured::Min, &spec.min),
    ]
    .into_iter()
    .filter_map(|(key, measured, bound)| bound.as_deref().map(|bound| (key, measured, bound)))
    .collect()
}
