//! The migration itself, as a tool would run it: statement by statement or as a whole, tried again, killed, gone on with.

use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::future::{Either, select};
use tokio::time::{Instant, sleep};
use tokio_postgres::error::SqlState;

use super::command::{Tool, Unsuccessful};
use super::state::{Outcome, State, lock};
use super::statements::Statement;
use super::watch::{self, OWN_LOCKS, Seen};
use super::{Migrate, Then};
use crate::fault::FaultContext;
use crate::fault::measured::ms;
use crate::fault::postgres::held::application;
use crate::fault::postgres::{Refused, Server, Session, each, in_time, setting_ms};
use crate::plan::Target;

/// Why it went no further.
struct Stopped {
    refused: Refused,
    /// What was refused.
    what: String,
    tries: u32,
    /// It could not even be begun.
    is_wrong: bool,
}

/// A migration to be run.
pub(super) struct Run {
    server: Server,
    application: String,
    settings: String,
    /// The tool that runs it, if it is none of the harness's.
    tool: Option<Tool>,
    /// Of the script; none if a tool runs it.
    statements: Vec<Statement>,
    rollback: Vec<Statement>,
    transaction: bool,
    retries: u32,
    retry_every: Duration,
    killed_after: Option<Duration>,
    then: Then,
    resume_after: Duration,
    patience: Duration,
    state: Arc<Mutex<State>>,
    seen: Arc<Mutex<Seen>>,
}

impl Run {
    pub(super) fn new(
        migrate: &Migrate<Target>,
        context: &FaultContext,
        server: &Server,
        seen: Arc<Mutex<Seen>>,
    ) -> Result<Self, String> {
        let parted = |file: &super::SqlFile| file.statements().map_err(|flaw| file.flawed("script", &flaw).message);
        let statement_timeout = migrate.statement_timeout.as_duration();
        // Whatever happens to whoever sent it, no statement outlives the fault's time.
        let longest = match statement_timeout.is_zero() {
            true => context.ttl,
            false => statement_timeout.min(context.ttl),
        };
        let settings = format!(
            "-c lock_timeout={} -c statement_timeout={} -c idle_in_transaction_session_timeout={}",
            migrate.lock_timeout.0,
            setting_ms(longest),
            setting_ms(context.ttl)
        );
        let application = application(context);
        let tool = (!migrate.command.is_empty())
            .then(|| Tool::new(&migrate.command, server.environment(&application, &settings)));
        Ok(Self {
            server: server.clone(),
            application,
            settings,
            tool,
            statements: migrate.script.as_ref().map(parted).transpose()?.unwrap_or_default(),
            rollback: migrate.rollback.as_ref().map(parted).transpose()?.unwrap_or_default(),
            transaction: migrate.transaction,
            retries: migrate.retries,
            retry_every: migrate.retry_every.as_duration(),
            killed_after: migrate.killed_after.map(|after| after.as_duration()),
            then: migrate.then,
            resume_after: migrate.resume_after.as_duration(),
            patience: context.patience.granted,
            state: Arc::new(Mutex::new(State::new())),
            seen,
        })
    }

    pub(super) fn state(&self) -> Arc<Mutex<State>> {
        self.state.clone()
    }

    /// How many statements it has; a tool's work counts as one.
    pub(super) fn statements(&self) -> usize {
        self.statements.len().max(1)
    }

    /// Runs it to its end, whatever that is.
    pub(super) async fn run(self) {
        let outcome = match self.killed_after {
            None => match self.forwards().await {
                Ok(()) => Outcome::Applied,
                Err(stopped) => stopped.outcome(),
            },
            Some(after) => self.killed(after).await,
        };
        lock(&self.state).ended = Some((outcome, Instant::now()));
    }

    async fn killed(&self, after: Duration) -> Outcome {
        let over = "it was over before it could be killed".to_owned();
        let ended = match select(pin!(self.forwards()), pin!(self.kill(after))).await {
            Either::Left((Ok(()), _)) => return Outcome::Wrong(over),
            Either::Left((Err(_), killing)) if lock(&self.state).is_being_killed => killing.await,
            Either::Left((Err(stopped), _)) => return stopped.outcome(),
            Either::Right((killed, _)) => killed,
        };
        if let Err(refused) = ended {
            return Outcome::Wrong(format!("it was not killed: {refused}"));
        }
        if self.then == Then::Nothing {
            return Outcome::Left;
        }
        sleep(self.resume_after).await;
        if self.then != Then::Resume {
            lock(&self.state).done = 0;
        }
        let ended = match self.then {
            Then::RollBack => self.apply(&self.rollback).await.map(|()| Outcome::RolledBack),
            _ => self.forwards().await.map(|()| Outcome::Applied),
        };
        ended.unwrap_or_else(Stopped::outcome_after_kill)
    }

    /// Makes the change.
    async fn forwards(&self) -> Result<(), Stopped> {
        match &self.tool {
            Some(tool) => self.by_tool(tool).await,
            None => self.apply(&self.statements).await,
        }
    }

    async fn by_tool(&self, tool: &Tool) -> Result<(), Stopped> {
        "the command".clone_into(&mut lock(&self.state).now);
        for tries in 1.. {
            let reason = match tool.run().await {
                Ok(()) => break,
                Err(Unsuccessful::Ended(reason)) => reason,
                Err(Unsuccessful::NotRun(reason)) => {
                    return Err(Stopped {
                        refused: Refused::because(reason),
                        what: "the command".to_owned(),
                        tries,
                        is_wrong: true,
                    });
                }
            };
            self.again("the command", tries, Refused::because(reason), true).await?;
        }
        let mut state = lock(&self.state);
        state.sent += 1;
        state.done = 1;
        Ok(())
    }

    /// Ends its session from another one, after the tool whose it is, and sees that it is gone.
    async fn kill(&self, after: Duration) -> Result<(), Refused> {
        sleep(after).await;
        let now = {
            let mut state = lock(&self.state);
            state.is_being_killed = true;
            state.now.clone()
        };
        if let Some(tool) = &self.tool {
            tool.kill();
        }
        let of_it = format!("from pg_stat_activity where application_name = '{}'", self.application);
        let terminate = format!("select count(pg_terminate_backend(pid)) {of_it}");
        let ended: u32 = in_time(async { self.server.connect().await?.number(&terminate).await }).await?;
        if ended == 0 && self.tool.is_none() {
            return Err(Refused::because("its session was gone by then".to_owned()));
        }
        let left = format!("select count(*) {of_it}");
        each::until(self.patience, async || {
            match self.server.connect().await?.number::<u32>(&left).await? {
                0 => Ok(()),
                _ => Err(Refused::because("its session did not end".to_owned())),
            }
        })
        .await?;
        let took = ms(lock(&self.state).began.elapsed());
        let note = format!("killed in {now}: pg_terminate_backend ended its session, gone {took} after its beginning");
        lock(&self.state).note(note);
        Ok(())
    }

    /// Goes on where it has come to.
    async fn apply(&self, statements: &[Statement]) -> Result<(), Stopped> {
        let session = self.open().await.map_err(|refused| Stopped {
            refused,
            what: "a session".to_owned(),
            tries: 1,
            is_wrong: false,
        })?;
        if self.transaction {
            return self.whole(&session, statements).await;
        }
        let done = lock(&self.state).done;
        for (index, statement) in statements.iter().enumerate().skip(done) {
            self.each(&session, index, statement).await?;
            lock(&self.state).done = index + 1;
        }
        Ok(())
    }

    async fn open(&self) -> Result<Session, Refused> {
        in_time(async {
            let session = self.server.connect_as(&self.application, &self.settings).await?;
            let session = session.ending_at_once();
            // Should the harness die in mid-statement, the server need not wait for its end to notice. Not every version can.
            drop(session.ask("set client_connection_check_interval = 1000").await);
            Ok(session)
        })
        .await
    }

    /// All of it in one transaction, until it is through.
    async fn whole(&self, session: &Session, statements: &[Statement]) -> Result<(), Stopped> {
        for tries in 1.. {
            match self.in_one(session, statements).await {
                Ok(()) => break,
                Err(refused) => self.again("the transaction", tries, refused, false).await?,
            }
        }
        Ok(())
    }

    /// Nothing of it stays unless all of it does.
    async fn in_one(&self, session: &Session, statements: &[Statement]) -> Result<(), Refused> {
        let mut rows = 0;
        let done = async {
            session.ask("begin").await?;
            for (index, statement) in statements.iter().enumerate() {
                self.now(index, statement);
                rows += session.execute(&statement.sql).await?;
            }
            let locks = session.ask(OWN_LOCKS).await?;
            watch::lock(&self.seen).locked(&locks.unwrap_or_default());
            session.ask("commit").await
        };
        let done = done.await;
        match done {
            Ok(_) => {
                let mut state = lock(&self.state);
                state.rows += rows;
                state.sent += 1;
                state.done = statements.len();
                Ok(())
            }
            Err(refused) => {
                drop(session.ask("rollback").await);
                Err(refused)
            }
        }
    }

    /// One statement, until it is through; one that is repeated, until it touches no row.
    async fn each(&self, session: &Session, index: usize, statement: &Statement) -> Result<(), Stopped> {
        let what = self.now(index, statement);
        let mut tries = 0;
        loop {
            tries += 1;
            let rows = match self.once(session, statement).await {
                Ok(rows) => rows,
                Err(refused) => {
                    self.again(&what, tries, refused, false).await?;
                    continue;
                }
            };
            {
                let mut state = lock(&self.state);
                state.rows += rows;
                state.sent += 1;
            }
            tries = 0;
            match statement.repeat {
                Some(pause) if rows > 0 => sleep(pause.as_duration()).await,
                _ => return Ok(()),
            }
        }
    }

    /// Where the server lets it, in a transaction that says which locks it has.
    async fn once(&self, session: &Session, statement: &Statement) -> Result<u64, Refused> {
        if statement.stands_alone() || statement.runs_procedure() {
            return session.execute(&statement.sql).await;
        }
        let (rows, locks) = session.execute_and_ask(&statement.sql, OWN_LOCKS).await?;
        watch::lock(&self.seen).locked(&locks.unwrap_or_default());
        Ok(rows)
    }

    fn now(&self, index: usize, statement: &Statement) -> String {
        let what = format!("statement {} (line {})", index + 1, statement.line);
        lock(&self.state).now.clone_from(&what);
        what
    }

    /// After a refusal: waits for the next try, if there is one and time may help, as it does where nobody knows why.
    async fn again(&self, what: &str, tries: u32, refused: Refused, nobody_knows: bool) -> Result<(), Stopped> {
        {
            let mut state = lock(&self.state);
            state.sent += 1;
            if tries > self.retries || !(nobody_knows || may_pass(&refused)) {
                return Err(Stopped {
                    refused,
                    what: what.to_owned(),
                    tries,
                    is_wrong: false,
                });
            }
            state.note(format!("{what} was refused: {refused}"));
        }
        sleep(self.retry_every).await;
        Ok(())
    }
}

impl Stopped {
    /// What is there already, or is not there, was left so by the kill: that the migration cannot go on from it is a finding.
    fn outcome_after_kill(self) -> Outcome {
        let is_left_so = HALF_MADE.iter().any(|state| self.refused.is(state));
        match self.outcome() {
            Outcome::Wrong(reason) if is_left_so => Outcome::Failed(reason),
            outcome => outcome,
        }
    }

    fn outcome(self) -> Outcome {
        let tries = match self.tries {
            1 => String::new(),
            tries => format!(" {tries} times"),
        };
        let reason = format!("{} was refused{tries}: {}", self.what, self.refused);
        let class = self.refused.code.as_deref().and_then(|code| code.get(..2));
        match class {
            // It makes no sense to this server, or may not be asked of it: syntax, names, rights, features.
            Some("42" | "0A" | "28" | "3D" | "3F") => Outcome::Wrong(reason),
            _ if self.is_wrong => Outcome::Wrong(reason),
            _ => Outcome::Failed(reason),
        }
    }
}

/// What the server says of something that was made already, or not made yet.
const HALF_MADE: [SqlState; 9] = [
    SqlState::DUPLICATE_TABLE,
    SqlState::DUPLICATE_COLUMN,
    SqlState::DUPLICATE_OBJECT,
    SqlState::DUPLICATE_FUNCTION,
    SqlState::DUPLICATE_SCHEMA,
    SqlState::UNDEFINED_TABLE,
    SqlState::UNDEFINED_COLUMN,
    SqlState::UNDEFINED_OBJECT,
    SqlState::UNDEFINED_FUNCTION,
];

/// What another try may spare: a time-out, a deadlock, a conflict.
fn may_pass(refused: &Refused) -> bool {
    [
        SqlState::LOCK_NOT_AVAILABLE,
        SqlState::QUERY_CANCELED,
        SqlState::T_R_DEADLOCK_DETECTED,
        SqlState::T_R_SERIALIZATION_FAILURE,
    ]
    .iter()
    .any(|state| refused.is(state))
}
