//! The load: a profile of the system, what the experiment says over it, and whether anybody comes at all.

use std::collections::BTreeMap;

use super::Resolver;
use crate::diagnostic::{Diagnostic, list};
use crate::duration::DurationMs;
use crate::experiment::spec::Workload;
use crate::plan::{Measure, Plan, WorkloadPlan};
use crate::rate::RateSpec;
use crate::system::definition::{OperationRate, SystemDefinition};
use crate::yaml::Document;
use crate::yaml::place::Place;

/// The operations of a load with their rates: those of its profile, and over them its own.
pub(super) fn rates(workload: &Workload, system: &SystemDefinition) -> BTreeMap<String, OperationRate> {
    let profile = workload.profile.as_ref().and_then(|name| system.profiles.get(name));
    let mut rates = profile.map(|profile| profile.operations.clone()).unwrap_or_default();
    rates.extend(workload.operations.clone());
    rates
}

/// What is wrong with the points of a rate that stands at `place`.
pub(in crate::experiment) fn rate_mistake(document: &Document, place: &Place, rate: &RateSpec) -> Option<Diagnostic> {
    let mistake = rate.mistake()?;
    let diagnostic = match mistake.point {
        Some(point) => document.at_value(&place.index(point).key("at"), mistake.message),
        None => document.at_key(place, mistake.message),
    };
    Some(diagnostic.allowed(mistake.allowed).hint(mistake.hint))
}

impl Resolver<'_> {
    pub(super) fn workload(&mut self) -> WorkloadPlan {
        let workload = &self.experiment.workload.0;
        let place = Place::root().key("workload");
        let operations = place.key("operations");
        self.profile(&place);
        let known = &self.system.definition.operations;
        for (name, load) in &workload.operations {
            let place = operations.key(name);
            if !known.contains_key(name) {
                let diagnostic = self.unknown_key(&place, "operation", name, known.keys());
                self.found.push(diagnostic);
            }
            let mistake = rate_mistake(self.document, &place.key("rate"), &load.rate);
            self.found.extend(mistake);
        }
        if workload.in_flight_max == 0 {
            self.found.push(
                self.document
                    .at_value(&place.key("in-flight-max"), "with none in flight nothing is ever sent")
                    .allowed("1 or more")
                    .hint("leave it out for 4000"),
            );
        }
        let rates = self.load.iter();
        WorkloadPlan {
            arrivals: workload.arrivals,
            rates: rates.map(|(name, load)| (name.clone(), load.rate.plan())).collect(),
            in_flight_max: workload.in_flight_max as usize,
        }
    }

    /// Somebody must come: as the experiment says, or as a profile does.
    fn profile(&mut self, place: &Place) {
        let definition = &self.system.definition;
        match &self.experiment.workload.0.profile {
            Some(name) if definition.profiles.is_empty() => self.found.push(
                self.document
                    .at_value(
                        &place.key("profile"),
                        format!("unknown profile `{name}`: the system has none"),
                    )
                    .label("no such profile")
                    .allowed("workload: {operations: {OPERATION: {rate: 10/s}, ...}, ...}")
                    .hint(format!(
                        "name operations: {}",
                        list(definition.operations.keys().map(String::as_str))
                    )),
            ),
            Some(name) if !definition.profiles.contains_key(name) => {
                let known = definition.profiles.keys().map(String::as_str);
                let unknown = self.document.unknown(&place.key("profile"), "profile", name, known);
                self.found.push(unknown);
            }
            None if self.load.is_empty() => self.found.push(
                self.document
                    .at_value(&place.key("operations"), "without load nothing can be seen to fail")
                    .allowed(list(definition.operations.keys().map(String::as_str)))
                    .hint("name at least one operation and its rate"),
            ),
            _ => {}
        }
    }

    /// Nothing can be told of an operation that never arrives while the load lasts, nor by a probe of the steady state of
    /// one that does not arrive in the window. Only rates that fall to zero can be so.
    pub(super) fn arrivals(&mut self, plan: &Plan) {
        let place = Place::root().key("workload");
        let given = &self.experiment.workload.0.operations;
        let total_ms = plan.schedule.total_ms;
        for (name, rate) in &plan.workload.rates {
            if rate.expected_until(total_ms as f64) > 0.0 {
                continue;
            }
            let place = match given.contains_key(name) {
                true => place.key("operations").key(name).key("rate"),
                false => place.key("profile"),
            };
            let lasts = DurationMs(total_ms);
            self.found.push(
                self.document
                    .at_key(
                        &place,
                        format!("`{name}` never arrives in this load, which lasts {lasts} at most"),
                    )
                    .label(rate.to_string())
                    .allowed("a rate above zero at some time while the load lasts")
                    .hint("instants count from the start of the load; let it rise sooner, or leave the operation out"),
            );
        }
        self.arrivals_at_gate(plan);
    }

    fn arrivals_at_gate(&mut self, plan: &Plan) {
        let probes = Place::root().key("steady-state-hypothesis").key("probes");
        let (from_ms, to_ms) = (plan.gate.warm_up_ms, plan.gate.warm_up_ms + plan.gate.window_ms);
        for (index, probe) in plan.gate.probes.iter().enumerate() {
            let (Measure::SuccessRate { operation } | Measure::Latency { operation, .. }) = &probe.measure else {
                continue;
            };
            let Some(rate) = plan.workload.rates.get(operation) else {
                continue;
            };
            if rate.expected_until(to_ms as f64) - rate.expected_until(from_ms as f64) > 0.0 {
                continue;
            }
            let (from, to) = (DurationMs(from_ms), DurationMs(to_ms));
            self.found.push(
                self.document
                    .at_value(
                        &probes.index(index).key("operation"),
                        format!("`{operation}` does not arrive in the window of the gate, from {from} to {to}"),
                    )
                    .label(rate.to_string())
                    .allowed("an operation that arrives in the window of the gate")
                    .hint("let its rate rise sooner, or measure another operation"),
            );
        }
    }
}
