//! The labels by which everything that nightmail makes is found again, and the words for what Docker refuses.

use std::collections::HashMap;

use testcontainers::bollard::errors::Error;

use crate::plan::ReplicaId;
use crate::system::engine::EngineError;

/// The run that a container, network or volume belongs to.
pub(crate) const RUN: &str = "nightmail.run";
/// The replica that a container belongs to.
pub(super) const REPLICA: &str = "nightmail.replica";
/// `holder` or `replica`.
pub(super) const PART: &str = "nightmail.part";
/// The process that made it, see [`super::owner`].
pub(super) const OWNER: &str = "nightmail.owner";
/// On images that nightmail made.
pub(super) const IMAGE: &str = "nightmail.image";

/// Labels of whatever belongs to a run.
pub(super) fn of_run(run_id: &str, owner: &str) -> HashMap<String, String> {
    HashMap::from([
        (RUN.to_owned(), run_id.to_owned()),
        (OWNER.to_owned(), owner.to_owned()),
    ])
}

/// A named volume belongs to the run.
pub(super) fn volume(run_id: &str, name: &str) -> String {
    format!("nightmail-{run_id}-{name}")
}

/// The volume that is a replica's n-th disk, from 0.
pub(super) fn disk(run_id: &str, replica: &ReplicaId, index: usize) -> String {
    volume(run_id, &format!("{replica}-disk-{index}"))
}

/// Labels of a container.
pub(super) fn of_container(run_id: &str, owner: &str, replica: &ReplicaId, part: &str) -> HashMap<String, String> {
    let mut labels = of_run(run_id, owner);
    labels.insert(REPLICA.to_owned(), replica.to_string());
    labels.insert(PART.to_owned(), part.to_owned());
    labels
}

/// A filter that only matches what carries this label.
pub(super) fn filter(label: &str) -> HashMap<String, Vec<String>> {
    HashMap::from([("label".to_owned(), vec![label.to_owned()])])
}

/// What Docker said, without the crate's own preamble.
pub(super) fn words(error: &Error) -> String {
    match error {
        Error::DockerResponseServerError { message, .. } => message.trim().to_owned(),
        other => root_of(other),
    }
}

/// What is at the bottom of an error, which the layers above it may not say: `permission denied` rather than `client error`.
fn root_of(error: &Error) -> String {
    let mut root: &dyn std::error::Error = error;
    while let Some(source) = root.source() {
        root = source;
    }
    match root.downcast_ref::<std::io::Error>() {
        Some(io) => io.kind().to_string(),
        None => error.to_string(),
    }
}

/// The HTTP status of a refusal.
pub(super) fn status(error: &Error) -> Option<u16> {
    match error {
        Error::DockerResponseServerError { status_code, .. } => Some(*status_code),
        _ => None,
    }
}

/// A refusal as the engine tells it.
pub(super) fn refused(action: impl Into<String>) -> impl FnOnce(Error) -> EngineError {
    let action = action.into();
    move |error| EngineError::Refused {
        reason: words(&error),
        action,
    }
}
