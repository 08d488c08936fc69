//! The toxics of a link, as they stand: an unchanging list that is replaced as a whole.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::toxic::Kind;

/// The way that bytes go.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// From whoever connected.
    Upstream,
    /// To whoever connected.
    #[default]
    Downstream,
}

/// What toxicity is the share of.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Per {
    /// Of connections, as in Toxiproxy: a few that last are met all or not at all.
    #[default]
    Connection,
    /// Of requests: a request begins with the first byte upstream after a byte downstream.
    Request,
}

/// A toxic with its place.
#[derive(Debug, Clone, PartialEq)]
pub struct Toxic {
    /// Unique on its link.
    pub name: String,
    /// What it does.
    pub kind: Kind,
    /// Which way.
    pub stream: Direction,
    /// How likely it acts, from 0 to 1.
    pub toxicity: f64,
    /// On what.
    pub per: Per,
}

/// A toxic in force, with what it has met. A change makes a new one.
#[derive(Debug)]
pub struct Applied {
    /// The toxic.
    pub toxic: Toxic,
    /// What it has met.
    pub affected: Affected,
}

/// What a toxic has met since it was put in force.
#[derive(Debug, Default)]
pub struct Affected {
    connections: AtomicU64,
    bytes: AtomicU64,
}

impl Affected {
    pub(super) fn connection(&self) {
        self.connections.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn bytes(&self, bytes: usize) {
        self.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// Connections, and bytes, that it has acted on.
    pub fn counts(&self) -> (u64, u64) {
        (
            self.connections.load(Ordering::Relaxed),
            self.bytes.load(Ordering::Relaxed),
        )
    }
}

/// The toxics of a link, in order.
#[derive(Debug, Clone, Default)]
pub struct Chain {
    /// Counts the changes.
    pub version: u64,
    /// In the order of their coming.
    pub toxics: Vec<Arc<Applied>>,
}

impl Chain {
    /// The one of that name.
    pub fn find(&self, name: &str) -> Option<&Arc<Applied>> {
        self.toxics.iter().find(|applied| applied.toxic.name == name)
    }
}
