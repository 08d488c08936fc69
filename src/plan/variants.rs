//! Variants of a plan: with defects, as a negative control, or without its faults.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{
    ControlChange, Gate, NegativeControl, Plan, PlannedFault, RecoveryPlan, Schedule, Tolerance, ToxiproxyPlan,
    WindowedProbe, WorkloadPlan,
};

/// The parts of a plan that follow from the experiment's configuration. Under another one they take the plan's place.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Variation {
    /// See [`Plan::configuration`].
    pub configuration: BTreeMap<String, String>,
    /// See [`Plan::environment`].
    pub environment: BTreeMap<String, BTreeMap<String, String>>,
    /// See [`Plan::workload`].
    pub workload: WorkloadPlan,
    /// See [`Plan::gate`].
    pub gate: Gate,
    /// See [`Plan::toxiproxy`].
    pub toxiproxy: Option<ToxiproxyPlan>,
    /// See [`Plan::faults`].
    pub faults: Vec<PlannedFault>,
    /// See [`Plan::during`].
    pub during: Vec<WindowedProbe>,
    /// See [`Plan::afterwards`].
    pub afterwards: Vec<WindowedProbe>,
    /// See [`Plan::recovery`].
    pub recovery: Option<RecoveryPlan>,
    /// See [`Plan::invariants`].
    pub invariants: Vec<String>,
    /// See [`Plan::tolerate`].
    pub tolerate: Tolerance,
    /// See [`Plan::schedule`].
    pub schedule: Schedule,
}

impl Variation {
    /// What a plan made under another configuration differs by.
    pub(crate) fn of(plan: Plan) -> Self {
        Self {
            configuration: plan.configuration,
            environment: plan.environment,
            workload: plan.workload,
            gate: plan.gate,
            toxiproxy: plan.toxiproxy,
            faults: plan.faults,
            during: plan.during,
            afterwards: plan.afterwards,
            recovery: plan.recovery,
            invariants: plan.invariants,
            tolerate: plan.tolerate,
            schedule: plan.schedule,
        }
    }

    fn applied_to(self, plan: Plan) -> Plan {
        Plan {
            configuration: self.configuration,
            environment: self.environment,
            workload: self.workload,
            gate: self.gate,
            toxiproxy: self.toxiproxy,
            faults: self.faults,
            during: self.during,
            afterwards: self.afterwards,
            recovery: self.recovery,
            invariants: self.invariants,
            tolerate: self.tolerate,
            schedule: self.schedule,
            ..plan
        }
    }
}

impl Plan {
    /// The fault-free twin: the same load for the same time, so that what both find can be compared.
    pub fn without_method(&self) -> Plan {
        Plan {
            faults: Vec::new(),
            during: Vec::new(),
            afterwards: Vec::new(),
            recovery: None,
            is_twin: true,
            ..self.clone()
        }
    }

    /// The same experiment on a system made unsafe as the control says.
    pub fn with_control(&self, control: &NegativeControl) -> Plan {
        match &control.change {
            ControlChange::Defect(defect) => with_defect(self.clone(), defect),
            ControlChange::With {
                environment, variation, ..
            } => {
                let mut plan = match variation {
                    Some(variation) => variation.as_ref().clone().applied_to(self.clone()),
                    None => self.clone(),
                };
                merge(&mut plan.environment, environment);
                plan.is_twin = true;
                plan
            }
        }
    }
}

/// The plan with a defect of its system switched on.
pub(crate) fn with_defect(mut plan: Plan, name: &str) -> Plan {
    if let Some(defect) = plan.system.defects.get(name) {
        for service in &defect.services {
            let variables = plan.environment.entry(service.clone()).or_default();
            variables.extend(defect.environment.clone());
        }
    }
    if !plan.defects.iter().any(|known| known == name) {
        plan.defects.push(name.to_owned());
    }
    plan
}

fn merge(into: &mut BTreeMap<String, BTreeMap<String, String>>, over: &BTreeMap<String, BTreeMap<String, String>>) {
    for (service, variables) in over {
        into.entry(service.clone()).or_default().extend(variables.clone());
    }
}
