//! What is said of a system that stays up, on any engine.

use std::collections::BTreeSet;

use crate::system::definition::{Ready, SystemDefinition};
use crate::system::engine::Replica;

/// How to reach a kept system and how to end it, line by line.
pub fn lines(run_id: &str, definition: &SystemDefinition, replicas: &[Replica]) -> Vec<String> {
    let mut lines: Vec<String> = replicas
        .iter()
        .map(|replica| format!("{}: {}", replica.id, replica.address))
        .collect();
    let services: BTreeSet<&str> = replicas.iter().map(|replica| replica.id.service.as_str()).collect();
    if let Some(replica) = replicas.first() {
        lines.push(format!(
            "nightmail shell {} --run {run_id} (likewise into the others)",
            replica.id
        ));
    }
    for service in services {
        if let Some(port) = port(definition, service) {
            lines.push(format!("nightmail forward {service}:{port} --run {run_id}"));
        }
    }
    lines.push("`nightmail gc` takes it down".to_owned());
    lines
}

/// A port on which a service answers, as far as the definition tells.
fn port(definition: &SystemDefinition, service: &str) -> Option<u16> {
    match definition.services.get(service)?.ready.as_ref()? {
        Ready::Http { port, .. } | Ready::Tcp { port } | Ready::Postgres { port, .. } => Some(*port),
        Ready::Log { .. } => None,
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;
    use crate::plan::ReplicaId;

    #[test]
    fn the_lines_name_each_replica_and_each_service_that_has_a_port() {
        let definition = serde_json::from_value(serde_json::json!({
            "name": "shop",
            "title": "A shop",
            "operations": {},
            "services": {
                "api": {"ready": {"http": {"port": 8080, "path": "/"}}},
                "worker": {"ready": {"log": {"matches": "ready"}}},
            },
        }))
        .unwrap();
        let replica = |service: &str, index| Replica {
            id: ReplicaId {
                service: service.to_owned(),
                index,
            },
            address: Ipv4Addr::new(10, 64, 0, index as u8),
            agent: None,
        };
        let replicas = [
            replica("api", 1),
            replica("api", 2),
            replica("worker", 1),
            replica("queue", 1),
        ];
        let told = lines("run1", &definition, &replicas);
        assert_eq!(
            told,
            [
                "api-1: 10.64.0.1",
                "api-2: 10.64.0.2",
                "worker-1: 10.64.0.1",
                "queue-1: 10.64.0.1",
                "nightmail shell api-1 --run run1 (likewise into the others)",
                "nightmail forward api:8080 --run run1",
                "`nightmail gc` takes it down",
            ]
        );
    }
}
