//! How many replicas each service of a Compose file has.

use std::collections::BTreeMap;
use std::path::Path;

use crate::diagnostic::Diagnostic;
use crate::yaml::Document;
use crate::yaml::node::{Node, Value};

/// Reads the services and their replicas, and nothing else.
pub(super) fn replicas(compose: &Path) -> Result<BTreeMap<String, u32>, Diagnostic> {
    let document = Document::load(compose)?;
    let services = document.root.get("services").map(Node::entries).unwrap_or_default();
    let count = |node: &Node| match &node.get("deploy")?.get("replicas")?.value {
        Value::Scalar(scalar) => scalar.text.parse().ok(),
        _ => None,
    };
    Ok(services
        .iter()
        .map(|entry| (entry.key.clone(), count(&entry.node).unwrap_or(1)))
        .collect())
}
