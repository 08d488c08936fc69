//! How far a migration has come, and how it ended.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::time::Instant;

use crate::fault::measured::ms;

/// Only the first so many tries that failed are told.
const NOTES_MAX: usize = 6;

/// How it ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Outcome {
    /// All of it was run.
    Applied,
    /// It was killed, and undone by the other script.
    RolledBack,
    /// It was killed, and left so, as was asked.
    Left,
    /// It did not get through: a finding.
    Failed(String),
    /// It could not be run as asked, which says nothing about the system.
    Wrong(String),
}

/// How far it has come.
#[derive(Debug, Clone)]
pub(super) struct State {
    pub began: Instant,
    /// And when.
    pub ended: Option<(Outcome, Instant)>,
    /// Statements that are through.
    pub done: usize,
    /// What is run at the moment.
    pub now: String,
    pub rows: u64,
    /// Statements, or transactions, that were sent.
    pub sent: u32,
    pub is_being_killed: bool,
    /// What else happened, in a line each.
    pub notes: Vec<String>,
    untold: u32,
}

impl State {
    pub(super) fn new() -> Self {
        Self {
            began: Instant::now(),
            ended: None,
            done: 0,
            now: "nothing yet".to_owned(),
            rows: 0,
            sent: 0,
            is_being_killed: false,
            notes: Vec::new(),
            untold: 0,
        }
    }

    pub(super) fn note(&mut self, note: String) {
        match self.notes.len() < NOTES_MAX {
            true => self.notes.push(note),
            false => self.untold += 1,
        }
    }

    /// How it ended and what it did, in a line; `of` is the number of its statements.
    pub(super) fn words(&self, of: usize) -> String {
        let did = format!(
            "{} of {of} statements, {} rows touched, {} statements or transactions sent",
            self.done, self.rows, self.sent
        );
        let untold = match self.untold {
            0 => String::new(),
            untold => format!(", {untold} more refusals than are told here"),
        };
        let Some((outcome, at)) = &self.ended else {
            return format!("it had not ended, but was at {}: {did}{untold}", self.now);
        };
        let took = ms(at.duration_since(self.began));
        match outcome {
            Outcome::Applied => format!("applied within {took}: {did}{untold}"),
            Outcome::RolledBack => format!(
                "killed, and rolled back within {took} by {} statements; {} rows touched, {} statements or transactions sent{untold}",
                self.done, self.rows, self.sent
            ),
            Outcome::Left => format!("killed and left so: {did}{untold}"),
            Outcome::Failed(reason) | Outcome::Wrong(reason) => format!("{reason}; after {took}: {did}{untold}"),
        }
    }
}

pub(super) fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}
