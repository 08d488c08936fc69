//! Metrics that are read on demand: they stay in the plan where something in it asks for them.

use std::collections::BTreeSet;

use crate::plan::{Measure, Plan};

/// Takes out of the plan's system the metrics that are read on demand and that no probe, bound, backlog or invariant of the
/// plan names.
pub(super) fn without_those_nobody_asks_for(mut plan: Plan) -> Plan {
    let asked = asked_for(&plan);
    plan.system
        .metrics
        .retain(|name, metric| !metric.on_demand || asked.contains(name));
    plan
}

fn asked_for(plan: &Plan) -> BTreeSet<String> {
    let probes = plan.gate.probes.iter().map(|probe| &probe.measure);
    let windowed = plan.during.iter().chain(&plan.afterwards);
    let measured = probes.chain(windowed.map(|windowed| &windowed.probe.measure));
    let measured = measured.filter_map(|measure| match measure {
        Measure::Metric { metric, .. } => Some(metric.clone()),
        Measure::SuccessRate { .. } | Measure::Latency { .. } => None,
    });
    let invariants = plan
        .invariants
        .iter()
        .filter_map(|name| plan.system.invariants.get(name));
    let named = invariants.flat_map(|invariant| invariant.checker().names().metrics);
    let backlogs = plan.system.backlogs.iter().map(|backlog| backlog.metric.clone());
    measured
        .chain(named.map(|(_, metric)| metric.to_owned()))
        .chain(backlogs)
        .collect()
}
