//! A plan as it may be written and shown.

use serde_json::Value;

use super::{ControlChange, Plan};
use crate::redact::{self, Redactor};

/// Parts of a plan that no value of the experiment's configuration or environment can stand in: they come from the
/// system's own files, and judging needs them as they are.
const OF_THE_SYSTEM: [&str; 3] = ["system", "system_dir", "replicas"];

impl Plan {
    /// What replaces this plan's secrets. A value that stands in the system's own files, such as a name, is none.
    pub fn redactor(&self) -> Redactor {
        let of_names = self.environment.values().flat_map(redact::in_environment);
        let known = self.known();
        let all = Redactor::new(self.secrets.iter().cloned().chain(of_names));
        all.sparing(|secret| known.iter().any(|text| text.contains(secret)))
    }

    /// The same plan without secrets: what is written, shown and judged.
    pub fn redacted(&self) -> Plan {
        let mut plan = self.clone();
        for environment in plan.environment.values_mut() {
            redact::mask(environment);
        }
        for control in &mut plan.negative_controls {
            if let ControlChange::With {
                environment, variation, ..
            } = &mut control.change
            {
                environment.values_mut().for_each(redact::mask);
                let varied = variation.iter_mut().flat_map(|varied| varied.environment.values_mut());
                varied.for_each(redact::mask);
            }
        }
        let value = serde_json::to_value(&plan).expect("a plan can be written");
        let read = self.redactor().readable(value, |redactor, value| {
            let Value::Object(members) = value else { return };
            let others = members
                .iter_mut()
                .filter(|(name, _)| !OF_THE_SYSTEM.contains(&name.as_str()));
            others.for_each(|(_, member)| redactor.value(member));
        });
        read.expect("a plan can be read back")
    }

    /// Every text that stands in the system's files, and names.
    fn known(&self) -> Vec<String> {
        let mut known = vec![self.experiment.name.clone()];
        known.extend(self.replicas.keys().cloned());
        let system = serde_json::to_value(&self.system).expect("a system definition can be written");
        texts(&system, &mut known);
        known
    }
}

fn texts(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::String(text) => found.push(text.clone()),
        Value::Array(elements) => elements.iter().for_each(|element| texts(element, found)),
        Value::Object(members) => {
            for (name, member) in members {
                found.push(name.clone());
                texts(member, found);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}
