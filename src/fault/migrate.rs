//! `migrate`: a change of the schema is made while customers are served, as a migration tool makes it.
//!
//! The script goes to the server statement by statement, or whole in one transaction, in a session of the harness that bears
//! the fault's name. What the server refuses for want of time is tried again; the session may be killed midway, and the
//! migration gone on with, begun again or rolled back. A second session looks on all the while: that it is at work, which locks
//! it has, who waits for it. The heal undoes nothing, for a schema is not a fault: it ends what has not ended, and says what
//! became of it. A migration that did not get through has *failed*, which is a finding.
//!
//! A tool of the user's can run in place of a script.
//!
//! `statements` parts a file, `script` keeps it, `run` runs it (`state` says how far it is), `command` runs a tool, `watch` looks on.

use std::path::Path;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, sleep};

use super::measured::{Measured, after};
use super::postgres::each::{self, Member, PAUSE};
use super::postgres::held::{self, Task, application};
use super::postgres::{Refused, in_time};
use super::process::TARGETS;
use super::{Fault, FaultContext, FaultError, Problem, Receipt, target};
use crate::duration::DurationMs;
use crate::plan::{Role, Target};
use crate::system::compose::ComposeFile;
use crate::system::definition::SystemDefinition;

mod command;
mod run;
mod script;
mod state;
mod statements;
#[cfg(test)]
mod tests;
mod watch;

use run::Run;
pub use script::SqlFile;
use state::{Outcome, State};
use watch::Watch;

/// Parameters of `migrate`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Migrate<T> {
    /// The primary: `database:primary`, or a member of a group with roles.
    pub targets: Vec<T>,
    /// A file of SQL, relative to the system's folder: `migrations/add-notes.sql`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub script: Option<SqlFile>,
    /// In place of `script`: a migration tool and its arguments, run on this host with `PGHOST`, `PGPORT`, `PGUSER`,
    /// `PGDATABASE`, `PGAPPNAME` and `PGOPTIONS` set.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub command: Vec<String>,
    /// Whether all of it is one transaction. Otherwise each statement is one.
    #[serde(default = "super::yes")]
    pub transaction: bool,
    /// How long a statement may wait for a lock (the server's `lock_timeout`); for ever unless given, or if zero.
    #[serde(default)]
    pub lock_timeout: DurationMs,
    /// How long a statement may take (the server's `statement_timeout`); until the fault's time-to-live unless given, or if
    /// zero.
    #[serde(default)]
    pub statement_timeout: DurationMs,
    /// How often a statement is tried again, or the transaction if it is one, that one of these time-outs, a deadlock or a
    /// conflict ended.
    #[serde(default)]
    pub retries: u32,
    /// The pause before that.
    #[serde(default = "one_second")]
    pub retry_every: DurationMs,
    /// So long after its beginning its session is killed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub killed_after: Option<DurationMs>,
    /// What follows on that.
    #[serde(default)]
    pub then: Then,
    /// The pause before that.
    #[serde(default = "one_second")]
    pub resume_after: DurationMs,
    /// The file that undoes it, for `then: roll-back`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub rollback: Option<SqlFile>,
}

/// What follows when a migration was killed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Then {
    /// Nothing: it is left as it is.
    #[default]
    Nothing,
    /// It goes on with the statement in which it was killed.
    Resume,
    /// It begins again with its first statement.
    StartOver,
    /// The script `rollback` is run.
    RollBack,
}

fn one_second() -> DurationMs {
    DurationMs(1_000)
}

impl<T> Migrate<T> {
    pub(super) fn map_targets<U, E>(&self, map: &mut dyn FnMut(&str, &T) -> Result<U, E>) -> Result<Migrate<U>, E> {
        Ok(Migrate {
            targets: super::map_list(TARGETS, &self.targets, map)?,
            script: self.script.clone(),
            command: self.command.clone(),
            transaction: self.transaction,
            lock_timeout: self.lock_timeout,
            statement_timeout: self.statement_timeout,
            retries: self.retries,
            retry_every: self.retry_every,
            killed_after: self.killed_after,
            then: self.then,
            resume_after: self.resume_after,
            rollback: self.rollback.clone(),
        })
    }
}

/// A migration under way, or over.
struct Migrating {
    state: Arc<Mutex<State>>,
    watch: Watch,
    of: usize,
    _task: Task,
}

#[async_trait]
impl Fault for Migrate<Target> {
    fn targets(&self) -> Vec<&Target> {
        self.targets.iter().collect()
    }

    fn is_undone(&self) -> bool {
        false
    }

    fn is_judged(&self) -> bool {
        true
    }

    fn read_files(&mut self, folder: &Path) -> Vec<Problem> {
        let script = self.script.as_mut().and_then(|file| file.read(SCRIPT, folder));
        let rollback = self.rollback.as_mut().and_then(|file| file.read(ROLLBACK, folder));
        script.into_iter().chain(rollback).collect()
    }

    fn describe(&self) -> String {
        let what = match &self.script {
            Some(script) => script.to_string(),
            None => format!("`{}`", self.command.join(" ")),
        };
        let at = target::names(&self.targets);
        let killed = self.killed_after.map_or_else(String::new, |after| {
            let then = match self.then {
                Then::Nothing => "leave it so",
                Then::Resume => "go on with it",
                Then::StartOver => "begin it again",
                Then::RollBack => "roll it back",
            };
            format!(", kill it after {after} and {then}")
        });
        format!("run the migration {what} at {at}{killed}")
    }

    fn problems(&self) -> Vec<Problem> {
        let nobody = target::empty_list(TARGETS, &self.targets);
        let misplaced = each::misplaced(&self.targets, Role::Standby, "which follows the primary's schema");
        let rollback = self.rollback.as_ref().and_then(|file| file.problem(ROLLBACK));
        nobody
            .into_iter()
            .chain(misplaced)
            .chain(target::several(TARGETS, &self.targets, "a migration runs at one"))
            .chain(self.either())
            .chain(self.script.as_ref().and_then(|file| file.problem(SCRIPT)))
            .chain(rollback)
            .chain(self.not_in_transaction(SCRIPT, self.script.as_ref()))
            .chain(self.not_in_transaction(ROLLBACK, self.rollback.as_ref()))
            .chain(self.idle_parameters())
            .collect()
    }

    fn problems_in(&self, definition: &SystemDefinition, _compose: &ComposeFile) -> Vec<Problem> {
        each::roleless(definition, &self.targets)
    }

    async fn inject(&self, context: &FaultContext) -> Result<Receipt, FaultError> {
        let start = Instant::now();
        each::inject(context, &self.targets, |member| async move {
            self.begin(context, &member, start).await
        })
        .await
    }

    async fn heal(&self, context: &FaultContext) -> Result<Receipt, FaultError> {
        let start = Instant::now();
        let failed = Mutex::new(None);
        let ended = each::heal(context, |member, migrating: Option<Migrating>| {
            let failed = &failed;
            async move {
                let (found, measured) = end(context, &member, migrating, start).await;
                *failed.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = found;
                (false, measured)
            }
        })
        .await?;
        let failed = failed.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
        Ok(Receipt { failed, ..ended })
    }
}

const SCRIPT: &str = "script";
const ROLLBACK: &str = "rollback";

impl Migrate<Target> {
    fn either(&self) -> Option<Problem> {
        let names_nobody = self.command.first().is_some_and(|program| program.trim().is_empty());
        let message = match (&self.script, self.command.is_empty()) {
            (Some(_), false) => "and `command` exclude each other",
            (None, true) => "is missing: nothing says what is to be changed",
            _ if names_nobody => "is missing, and `command` names no program",
            _ => return None,
        };
        Some(Problem {
            path: SCRIPT.to_owned(),
            message: message.to_owned(),
            hint: "name a file of SQL (`script: migrations/FILE.sql`), or the words of a command".to_owned(),
        })
    }

    /// What the server, or good sense, keeps out of a transaction of several statements.
    fn not_in_transaction(&self, path: &str, script: Option<&SqlFile>) -> Option<Problem> {
        let script = script.filter(|_| self.transaction)?;
        let statements = script.statements().ok()?;
        let (line, because) = statements.iter().find_map(|statement| match statement {
            alone if alone.stands_alone() => Some((
                alone.line,
                "the server runs this statement outside of transactions alone",
            )),
            repeated if repeated.repeat.is_some() => Some((
                repeated.line,
                "what is repeated in one transaction keeps its locks to the end",
            )),
            _ => None,
        })?;
        Some(Problem {
            path: path.to_owned(),
            message: format!("cannot be run as one transaction: {script}:{line}: {because}"),
            hint: "say `transaction: false`".to_owned(),
        })
    }

    /// Parameters that say nothing without others.
    fn idle_parameters(&self) -> Vec<Problem> {
        let problem = |path: &str, message: &str, hint: &str| Problem {
            path: path.to_owned(),
            message: message.to_owned(),
            hint: hint.to_owned(),
        };
        let mut found = Vec::new();
        if self.then != Then::Nothing && self.killed_after.is_none() {
            found.push(problem(
                "then",
                "says what follows on a kill, and nothing kills it",
                "add for example `killed-after: 1s`",
            ));
        }
        match (self.then, &self.rollback) {
            (Then::RollBack, None) => found.push(problem(
                "then",
                "is `roll-back`, and no script says how",
                "name one: `rollback: migrations/FILE.sql`",
            )),
            (Then::RollBack, Some(_)) | (_, None) => {}
            (_, Some(_)) => found.push(problem(
                ROLLBACK,
                "is never run",
                "say `then: roll-back`, or leave it out",
            )),
        }
        found
    }

    async fn begin(&self, context: &FaultContext, member: &Member, start: Instant) -> (Option<Migrating>, Measured) {
        let watch = Watch::of(&application(context), &member.server);
        let run = match Run::new(self, context, &member.server, watch.seen()) {
            Ok(run) => run,
            Err(reason) => return (None, member.unseen(reason)),
        };
        let migrating = Migrating {
            state: run.state(),
            of: run.statements(),
            watch,
            _task: Task(tokio::spawn(run.run())),
        };
        let seen = migrating.at_work(context, start).await;
        let onset = seen.is_ok().then(|| start.elapsed());
        let seen = seen.unwrap_or_else(|unseen| unseen);
        let measured = Measured::new(onset, format!("{}: {seen}{}", member.id, after(onset)));
        (Some(migrating), measured)
    }
}

impl Migrating {
    /// Waits until it was seen at work or is over; what was seen, or why nothing was.
    async fn at_work(&self, context: &FaultContext, start: Instant) -> Result<String, String> {
        let name = application(context);
        loop {
            let seen = watch::lock(&self.watch.seen()).clone();
            let state = state::lock(&self.state).clone();
            match state.ended {
                Some((Outcome::Wrong(_), _)) => return Err(state.words(self.of)),
                Some(_) => return Ok(state.words(self.of)),
                None if seen.at_work => {
                    return Ok(format!("pg_stat_activity shows `{name}` at work; {}", seen.words()[0]));
                }
                None if start.elapsed() >= context.patience.granted => {
                    let blind = seen.blind.map_or_else(String::new, |reason| format!(": {reason}"));
                    return Err(format!("pg_stat_activity never showed `{name}` at work{blind}"));
                }
                None => sleep(PAUSE).await,
            }
        }
    }
}

/// Ends it if it has not ended. What failed, if something did, and what was measured.
async fn end(
    context: &FaultContext,
    member: &Member,
    migrating: Option<Migrating>,
    start: Instant,
) -> (Option<String>, Measured) {
    let (mut failed, mut evidence, mut is_proven) = (None, Vec::new(), true);
    if let Some(Migrating {
        state,
        watch,
        of,
        _task,
    }) = migrating
    {
        let state = state::lock(&state).clone();
        let words = state.words(of);
        match &state.ended {
            Some((Outcome::Applied | Outcome::RolledBack | Outcome::Left, _)) => {}
            Some((Outcome::Wrong(_), _)) => is_proven = false,
            Some((Outcome::Failed(_), _)) | None => failed = Some(words.clone()),
        }
        let seen = watch.finished().await;
        drop(_task);
        evidence.push(words);
        evidence.extend(seen.words());
        evidence.extend(state.notes);
    }
    let left = in_time(terminate(context, member)).await;
    let gone = match left {
        Ok(()) => held::gone(context, &member.server).await,
        Err(refused) => Err(refused),
    };
    let onset = gone.is_ok().then(|| start.elapsed());
    evidence.push(match gone {
        Ok(()) => format!("pg_stat_activity shows no session of the migration{}", after(onset)),
        Err(last) => last.to_string(),
    });
    let measured = Measured {
        onset: onset.filter(|_| is_proven),
        evidence: evidence
            .into_iter()
            .map(|line| format!("{}: {line}", member.id))
            .collect(),
    };
    (failed, measured)
}

/// What a client has sent, the server runs to its end though nobody waits for it.
async fn terminate(context: &FaultContext, member: &Member) -> Result<(), Refused> {
    let name = application(context);
    let sql =
        format!("select count(pg_terminate_backend(pid)) from pg_stat_activity where application_name = '{name}'");
    member.server.connect().await?.ask(&sql).await.map(drop)
}
