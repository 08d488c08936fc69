//! Variants of a plan: with defects, as a negative control, or without its faults.

use std::collections::BTreeMap;

use super::{ControlChange, NegativeControl, Plan};

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
            ControlChange::With { environment } => {
                let mut plan = self.clone();
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
