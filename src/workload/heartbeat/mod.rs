//! Heartbeats: numbered writes to *every* member of a group for as long as the load lasts, since what a server says of its
//! own role is no evidence: a primary is who acknowledges a write.
//!
//! `writer` writes to one member; `table` makes the table before and reads it afterwards. Each member is written to on a
//! connection of its own, straight at its address, so that one that hangs holds up no other.

use std::time::Instant;

use tokio::sync::watch;
use tokio::task::JoinSet;

use super::client::Addresses;
use super::members::{Member, members};
use super::{Problem, WorkloadError};
use crate::history::record::Recorder;
use crate::system::definition::{HeartbeatDefinition, SystemDefinition};

mod table;
#[cfg(test)]
mod tests;
mod writer;

pub use table::{read, set_up};
use writer::Writer;

/// A group that is written to.
#[derive(Debug)]
struct Beaten<'a> {
    group: &'a str,
    definition: &'a HeartbeatDefinition,
    members: Vec<Member>,
}

/// Every group that is written to, with its members where they are.
fn groups<'a>(system: &'a SystemDefinition, addresses: &Addresses) -> Result<Vec<Beaten<'a>>, WorkloadError> {
    let beaten = system.heartbeats.iter().map(|(group, definition)| {
        Ok(Beaten {
            group,
            definition,
            members: members_of(system, group, addresses)?,
        })
    });
    beaten.collect()
}

fn members_of(system: &SystemDefinition, name: &str, addresses: &Addresses) -> Result<Vec<Member>, WorkloadError> {
    let group = system.groups.get(name);
    let Some((group, roles)) = group.and_then(|group| Some((group, group.roles.as_ref()?))) else {
        let message = format!("`{name}` is no group with roles");
        return Err(WorkloadError::Definition(Problem::new(
            format!("heartbeats.{name}"),
            message,
        )));
    };
    members(&group.services, roles, |service| {
        addresses.get(service).map(Vec::as_slice)
    })
}

/// Heartbeats that are being written. Dropping this gives up those that are under way, and nobody records them.
#[derive(Debug)]
pub struct Heartbeats {
    stop: watch::Sender<bool>,
    writers: JoinSet<()>,
}

impl Heartbeats {
    /// Begins to write to every member of every group that has heartbeats. `run` sets the rows of this run apart from
    /// others' in the same table.
    pub fn start(
        system: &SystemDefinition,
        addresses: &Addresses,
        run: &str,
        epoch: Instant,
        recorder: &Recorder,
    ) -> Result<Self, WorkloadError> {
        let (stop, stopped) = watch::channel(false);
        let mut writers = JoinSet::new();
        for beaten in groups(system, addresses)? {
            for member in beaten.members {
                let writer = Writer::new(beaten.group, member, beaten.definition, run, epoch, recorder.clone());
                writers.spawn(writer.write_until(stopped.clone()));
            }
        }
        Ok(Self { stop, writers })
    }

    /// Begins no more, and waits for those under way, which their time-outs bound. All are in the recorder's hands when
    /// this returns.
    pub async fn stop(mut self) {
        self.stop.send_replace(true);
        while self.writers.join_next().await.is_some() {}
    }
}
