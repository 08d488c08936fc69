//! A plan as it may be written and shown.

use serde_json::Value;

use super::Plan;
use crate::redact::{self, Redactor};

/// Parts of a plan that no value of the experiment's configuration or environment can stand in: they come from the
/// system's own files, and judging needs them as they are.
const OF_THE_SYSTEM: [&str; 3] = ["system", "system_dir", "replicas"];

impl Plan {
    /// What replaces this plan's secrets. A value that is part of a name of the system is no secret: it stands in files.
    pub fn redactor(&self) -> Redactor {
        let environments = self.environment.values();
        let of_names = environments.flat_map(redact::in_environment);
        let all = self.secrets.iter().cloned().chain(of_names);
        let names: Vec<&String> = self.names().collect();
        Redactor::new(all.filter(|secret| !names.iter().any(|name| name.contains(secret.as_str()))))
    }

    /// The same plan without secrets: what is written, shown and judged.
    pub fn redacted(&self) -> Result<Plan, serde_json::Error> {
        let redactor = self.redactor();
        let mut value = serde_json::to_value(self)?;
        if let Value::Object(members) = &mut value {
            for (_, member) in members
                .iter_mut()
                .filter(|(name, _)| !OF_THE_SYSTEM.contains(&name.as_str()))
            {
                redactor.value(member);
            }
        }
        serde_json::from_value(value)
    }

    fn names(&self) -> impl Iterator<Item = &String> {
        let system = &self.system;
        std::iter::once(&self.experiment.name)
            .chain(self.replicas.keys())
            .chain(system.groups.keys())
            .chain(system.operations.keys())
            .chain(system.invariants.keys())
            .chain(system.metrics.keys())
            .chain(system.defects.keys())
    }
}
