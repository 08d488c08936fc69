//! Finds what would stop a workload, before anything is started.

use super::client::ReplicaCounts;
use super::gauge::Gauge;
use super::operation::Operation;
use super::reads::Reader;
use super::setup::Step;
use super::values::Draws;
use super::{Problem, drain};
use crate::system::definition::SystemDefinition;

/// Every template, expression, pool and pointer of a definition that does not compile; one problem for each operation,
/// metric, step, backlog and final read at most, for services of so many replicas. Pure.
pub fn problems(system: &SystemDefinition, replicas: &ReplicaCounts) -> Vec<Problem> {
    let mut problems = Vec::new();
    for position in 0..system.setup.len() {
        problems.extend(Step::compile(system, position).err());
    }
    for (name, definition) in &system.operations {
        problems.extend(Operation::compile(name, definition).err());
        problems.extend(Draws::compile(name, &definition.values, &system.pools, replicas, 0).err());
    }
    for (name, definition) in &system.metrics {
        problems.extend(Gauge::compile(name, definition, system).err());
    }
    for position in 0..system.backlogs.len() {
        // What is wrong with a gauge itself has just been found.
        if !system.metrics.contains_key(&system.backlogs[position].metric) {
            problems.extend(drain::compile(system, position).err());
        }
    }
    for (name, definition) in &system.final_reads {
        problems.extend(Reader::compile(name, definition, system).err());
    }
    problems
}
