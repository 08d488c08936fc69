//! What of a system a run was to touch: the ground of what is covered and what is not.

use std::collections::{BTreeMap, BTreeSet};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::check::put_to_test;
use crate::plan::{Measure, Plan, PlannedFault, Probe, Target};
use crate::verdict::{PutToTest, Recovery};

/// What a system has, and what of it a run was to touch, by its plan.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Scope {
    /// The system's business services: titles by key.
    pub business_services: BTreeMap<String, String>,
    /// Those of them of which an operation at least is part of the load.
    pub loaded: BTreeSet<String>,
    /// The system's Compose services.
    pub services: BTreeSet<String>,
    /// Compose services that faults act on, or lie between, by the fault's kind.
    pub faults: BTreeMap<String, BTreeSet<String>>,
    /// Business services whose operations an assertion is about, by the assertion's name; what is about none is not here. Absent if
    /// the record was written before this was known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub concerns: Option<BTreeMap<String, BTreeSet<String>>>,
    /// Which of the numbers that must be zero something would have found; absent likewise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub put_to_test: Option<PutToTest>,
}

impl Scope {
    /// That of a plan.
    pub(super) fn of(plan: &Plan) -> Self {
        let business = &plan.system.business_services;
        let is_loaded = |operations: &[String]| {
            let mut operations = operations.iter();
            operations.any(|operation| plan.workload.rates.contains_key(operation))
        };
        let mut faults: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for fault in &plan.faults {
            let of_kind = faults.entry(fault.fault.name().to_owned()).or_default();
            of_kind.extend(services(fault));
        }
        Self {
            business_services: business
                .iter()
                .map(|(name, service)| (name.clone(), service.title.clone()))
                .collect(),
            loaded: business
                .iter()
                .filter(|(_, service)| is_loaded(&service.operations))
                .map(|(name, _)| name.clone())
                .collect(),
            services: plan.replicas.keys().cloned().collect(),
            faults,
            concerns: Some(concerns(plan)),
            put_to_test: Some(put_to_test(plan)),
        }
    }

    /// The Compose services that a plan's faults act on, or lie between.
    pub(super) fn targets(plan: &Plan) -> BTreeSet<String> {
        plan.faults.iter().flat_map(services).collect()
    }
}

/// The business services that each assertion of a plan is about. Recovery is about what the steady state is measured on.
fn concerns(plan: &Plan) -> BTreeMap<String, BTreeSet<String>> {
    let business = &plan.system.business_services;
    let owner = |operation: &str| {
        let mut services = business.iter();
        services.find(|(_, service)| service.operations.iter().any(|own| own == operation))
    };
    let mut concerns: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut add = |assertion: &str, operation: &str| {
        if let Some((service, _)) = owner(operation) {
            concerns
                .entry(assertion.to_owned())
                .or_default()
                .insert(service.clone());
        }
    };
    let measured = |probe: &Probe| match &probe.measure {
        Measure::SuccessRate { operation } | Measure::Latency { operation, .. } => Some(operation.clone()),
        Measure::Metric { .. } => None,
    };
    for probe in &plan.gate.probes {
        if let Some(operation) = measured(probe) {
            add(&probe.name, &operation);
            add(Recovery::ASSERTION, &operation);
        }
    }
    for asked in plan.during.iter().chain(&plan.afterwards) {
        if let Some(operation) = measured(&asked.probe) {
            add(&asked.probe.name, &operation);
        }
    }
    for name in &plan.invariants {
        let invariant = plan.system.invariants.get(name);
        let operations = invariant.map(|invariant| invariant.checker().names().operations);
        for (_, operation) in operations.unwrap_or_default() {
            add(name, operation);
        }
    }
    concerns
}

fn services(fault: &PlannedFault) -> impl Iterator<Item = String> {
    let targets = fault.fault.behaviour().targets().into_iter();
    let members = targets.flat_map(|target| match target {
        Target::Replicas(replicas) => replicas,
        Target::Role { members, .. } => members,
    });
    members.map(|replica| replica.service.clone())
}
