//! What of a system a run was to touch: the ground of what is covered and what is not.

use std::collections::{BTreeMap, BTreeSet};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::plan::{Plan, PlannedFault, Target};

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
        }
    }

    /// The Compose services that a plan's faults act on, or lie between.
    pub(super) fn targets(plan: &Plan) -> BTreeSet<String> {
        plan.faults.iter().flat_map(services).collect()
    }
}

fn services(fault: &PlannedFault) -> impl Iterator<Item = String> {
    let targets = fault.fault.behaviour().targets().into_iter();
    let members = targets.flat_map(|target| match target {
        Target::Replicas(replicas) => replicas,
        Target::Role { members, .. } => members,
    });
    members.map(|replica| replica.service.clone())
}
