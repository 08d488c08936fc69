//! `lock`: a transaction holds a table's lock, as a migration does that somebody has left open, or that of some of its rows.
//!
//! The session that holds it is the harness's: the lock goes when the harness dies, and the server ends the session itself
//! when it has been idle for the fault's time-to-live. It is there once `pg_locks` shows it granted and another session is
//! refused the weakest lock that conflicts with it, or one of the rows. While it lasts, those who wait for it are counted.

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;
use tokio_postgres::error::SqlState;

use super::measured::{Measured, after, ms};
use super::postgres::each::{self, Member};
use super::postgres::held::Holder;
use super::postgres::table::TableName;
use super::postgres::{Refused, Server, in_time, setting_ms};
use super::process::TARGETS;
use super::{Fault, FaultContext, FaultError, Hold, Problem, Receipt, target};
use crate::plan::{Role, Target};
use crate::system::compose::ComposeFile;
use crate::system::definition::SystemDefinition;

#[cfg(test)]
mod on_rows;
mod waits;

use waits::Waits;

/// Parameters of `lock`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Lock<T> {
    /// The primaries: `database:primary`, or members of a group with roles.
    pub targets: Vec<T>,
    /// The table, in the database that `roles` names: `orders`, or with its schema `accounting.orders`.
    pub table: TableName,
    /// How it is locked.
    #[serde(default)]
    pub mode: Mode,
    /// Only rows that meet this condition, as `SELECT ... WHERE ... FOR UPDATE` locks them: `account = 'customer-1'`. Whoever
    /// reads goes on, and so does whoever writes other rows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rows: Option<String>,
}

/// The modes of a table's lock that customers notice: whoever writes conflicts with each of them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// Nobody writes, also with indexes being made: as `CREATE INDEX` takes it.
    Share,
    /// Nobody writes, and nobody else takes this: as `CREATE TRIGGER` takes it.
    ShareRowExclusive,
    /// Nobody writes, nor reads with `FOR UPDATE`: as `REFRESH MATERIALIZED VIEW CONCURRENTLY` takes it.
    Exclusive,
    /// Nobody reads either: as most of `ALTER TABLE`, `DROP TABLE` and `TRUNCATE` take it.
    #[default]
    AccessExclusive,
}

impl Mode {
    /// In a statement.
    fn sql(self) -> &'static str {
        match self {
            Self::Share => "share",
            Self::ShareRowExclusive => "share row exclusive",
            Self::Exclusive => "exclusive",
            Self::AccessExclusive => "access exclusive",
        }
    }

    /// In `pg_locks`.
    fn in_views(self) -> &'static str {
        match self {
            Self::Share => "ShareLock",
            Self::ShareRowExclusive => "ShareRowExclusiveLock",
            Self::Exclusive => "ExclusiveLock",
            Self::AccessExclusive => "AccessExclusiveLock",
        }
    }

    /// The weakest mode that conflicts with it; customers' own locks refuse none of these.
    fn weakest_conflicting(self) -> &'static str {
        match self {
            Self::Share | Self::ShareRowExclusive => "row exclusive",
            Self::Exclusive => "row share",
            Self::AccessExclusive => "access share",
        }
    }
}

impl<T> Lock<T> {
    pub(super) fn map_targets<U, E>(&self, map: &mut dyn FnMut(&str, &T) -> Result<U, E>) -> Result<Lock<U>, E> {
        Ok(Lock {
            targets: super::map_list(TARGETS, &self.targets, map)?,
            table: self.table.clone(),
            mode: self.mode,
            rows: self.rows.clone(),
        })
    }
}

/// The lock on one server.
struct Held {
    holder: Holder,
    waits: Waits,
}

#[async_trait]
impl Fault for Lock<Target> {
    fn targets(&self) -> Vec<&Target> {
        self.targets.iter().collect()
    }

    fn holds(&self) -> Option<Hold> {
        Some(Hold::Table(self.table.0.clone()))
    }

    fn describe(&self) -> String {
        let mode = self.mode.sql();
        if let Some(rows) = &self.rows {
            let (table, names) = (&self.table, target::names(&self.targets));
            return format!("lock rows of {table} of {names}: {rows}");
        }
        format!(
            "lock table {} of {} in {mode} mode",
            self.table,
            target::names(&self.targets)
        )
    }

    fn problems(&self) -> Vec<Problem> {
        let nobody = target::empty_list(TARGETS, &self.targets);
        let why = "which grants no such lock: only what a primary locks, it locks as well";
        let misplaced = each::misplaced(&self.targets, Role::Standby, why);
        nobody
            .into_iter()
            .chain(misplaced)
            .chain(self.table.problem())
            .chain(self.no_rows())
            .collect()
    }

    fn problems_in(&self, definition: &SystemDefinition, _compose: &ComposeFile) -> Vec<Problem> {
        each::roleless(definition, &self.targets)
    }

    async fn inject(&self, context: &FaultContext) -> Result<Receipt, FaultError> {
        let start = Instant::now();
        each::inject(context, &self.targets, |member| async move {
            self.take(context, &member, start).await
        })
        .await
    }

    async fn heal(&self, context: &FaultContext) -> Result<Receipt, FaultError> {
        let start = Instant::now();
        each::heal(context, |member, held| async move {
            self.release(context, &member, held, start).await
        })
        .await
    }
}

impl Lock<Target> {
    /// What is wrong with the condition for rows.
    fn no_rows(&self) -> Option<Problem> {
        let rows = self.rows.as_deref()?;
        let problem = |path: &str, message: &str, hint: &str| Problem {
            path: path.to_owned(),
            message: message.to_owned(),
            hint: hint.to_owned(),
        };
        if rows.trim().is_empty() {
            let hint = "write what follows WHERE, for example `rows: \"account = 'customer-1'\"`";
            return Some(problem("rows", "is no condition", hint));
        }
        let hint = "leave out `mode`, or leave out `rows` to lock the table";
        let said = "is a table's, and `rows` locks rows";
        (self.mode != Mode::default()).then(|| problem("mode", said, hint))
    }

    async fn take(&self, context: &FaultContext, member: &Member, start: Instant) -> (Option<Held>, Measured) {
        // Rows are locked by customers as well: that they are free is seen when they are locked.
        if self.rows.is_none()
            && let Err(refused) = in_time(self.try_it(&member.server)).await
        {
            let seen = format!(
                "before, {} was refused ({refused}); nothing was done to it",
                self.trial()
            );
            return (None, member.unseen(seen));
        }
        let holder = match self.hold(context, &member.server).await {
            Ok(holder) => holder,
            Err(refused) => return (None, member.unseen(format!("the lock was not granted: {refused}"))),
        };
        let measured = match in_time(self.seen(&member.server, holder.pid)).await {
            Ok(seen) => {
                let onset = Some(start.elapsed());
                Measured::new(onset, format!("{}: {seen}{}", member.id, after(onset)))
            }
            Err(refused) => member.unseen(refused),
        };
        let waits = match self.rows {
            None => Waits::of(&self.table, &member.server),
            Some(_) => Waits::of_rows(&self.table, holder.pid, &member.server),
        };
        (Some(Held { holder, waits }), measured)
    }

    /// The session that has the lock. It ends by itself when it has been idle for the time-to-live.
    async fn hold(&self, context: &FaultContext, server: &Server) -> Result<Holder, Refused> {
        let holder = Holder::open(context, server).await?;
        let session = &holder.session;
        let (ttl, patience) = (setting_ms(context.ttl), context.patience.granted);
        let taken = async {
            session
                .ask(&format!("set idle_in_transaction_session_timeout = {ttl}"))
                .await?;
            // Whoever comes behind it waits as well, so it does not stand in line for ever.
            session
                .ask(&format!("set lock_timeout = {}", setting_ms(patience)))
                .await?;
            session.ask("begin").await?;
            let Some(rows) = &self.rows else {
                let (table, mode) = (self.table.quoted(), self.mode.sql());
                return session
                    .ask(&format!("lock table {table} in {mode} mode"))
                    .await
                    .map(drop);
            };
            let locked = format!(
                "select count(*) from (select from {} where ({rows}) for update) as locked",
                self.table.quoted()
            );
            match session.number::<u64>(&locked).await? {
                0 => Err(Refused::because(format!("no row of {} meets `{rows}`", self.table))),
                _ => Ok(()),
            }
        };
        let silent = Refused::because(format!("no answer within {}", ms(patience * 2)));
        tokio::time::timeout(patience * 2, taken).await.map_err(|_| silent)??;
        Ok(holder)
    }

    /// That it is granted, and what it does to others.
    async fn seen(&self, server: &Server, pid: i32) -> Result<String, Refused> {
        let (mode, table) = (self.in_views(), &self.table);
        if !self.is_granted(server, pid).await? {
            return Err(Refused::because(format!(
                "pg_locks shows no {mode} of session {pid} on {table}"
            )));
        }
        match self.try_it(server).await {
            Err(refused) if refused.is(&SqlState::LOCK_NOT_AVAILABLE) => Ok(format!(
                "pg_locks shows {mode} on {table} granted to session {pid}; {} of another session is refused (55P03)",
                self.trial()
            )),
            Err(refused) => Err(refused),
            Ok(()) => Err(Refused::because(format!(
                "pg_locks shows {mode} on {table} granted to session {pid}, but {} of another session is granted, too",
                self.trial()
            ))),
        }
    }

    async fn is_granted(&self, server: &Server, pid: i32) -> Result<bool, Refused> {
        let sql = format!(
            "select count(*) from pg_locks where granted and pid = {pid} and relation = {} and mode = '{}'",
            self.table.oid(),
            self.in_views()
        );
        let granted: u32 = server.connect().await?.number(&sql).await?;
        Ok(granted > 0)
    }

    /// The table's lock in `pg_locks`, which those of rows are not in: whoever has some has that one, too.
    fn in_views(&self) -> &'static str {
        match self.rows {
            None => self.mode.in_views(),
            Some(_) => "RowShareLock",
        }
    }

    fn trial(&self) -> String {
        if let Some(rows) = &self.rows {
            return format!("SELECT FROM {} WHERE {rows} FOR UPDATE NOWAIT", self.table);
        }
        let mode = self.mode.weakest_conflicting().to_uppercase();
        format!("LOCK TABLE {} IN {mode} MODE NOWAIT", self.table)
    }

    /// Whether a fresh session is granted the weakest lock that conflicts; it gives it back at once.
    async fn try_it(&self, server: &Server) -> Result<(), Refused> {
        let session = server.connect().await?;
        session.ask("begin").await?;
        let (table, mode) = (self.table.quoted(), self.mode.weakest_conflicting());
        let trial = match &self.rows {
            None => format!("lock table {table} in {mode} mode nowait"),
            Some(rows) => format!("select from {table} where ({rows}) limit 1 for update nowait"),
        };
        session.ask(&trial).await?;
        session.ask("rollback").await.map(drop)
    }

    async fn release(
        &self,
        context: &FaultContext,
        member: &Member,
        held: Option<Held>,
        start: Instant,
    ) -> (bool, Measured) {
        let (mut lapsed, mut evidence) = (false, Vec::new());
        if let Some(Held { holder, waits }) = held {
            let granted = in_time(self.is_granted(&member.server, holder.pid)).await;
            lapsed = granted != Ok(true);
            match granted {
                Ok(true) => {}
                Ok(false) => evidence.push(format!("{}: the lock was gone before the heal", member.id)),
                Err(refused) => evidence.push(format!("{}: before the heal: {refused}", member.id)),
            }
            evidence.push(format!("{}: {}", member.id, waits.words().await));
        }
        let free = each::until(context.patience.granted, || self.try_it(&member.server)).await;
        let onset = free.is_ok().then(|| start.elapsed());
        let seen = match free {
            Ok(()) => "is granted".to_owned(),
            Err(refused) => format!("is refused: {refused}"),
        };
        evidence.push(format!("{}: {} {seen}{}", member.id, self.trial(), after(onset)));
        (lapsed, Measured { onset, evidence })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;
    use crate::fault::postgres::double::{self, Double, Refusal};
    use crate::fault::test_double::{self, Disobedience, FakeSystem, targets};

    /// A server with one table.
    #[derive(Default)]
    struct Table {
        locked_by: Option<i32>,
        /// Whoever has it does not let go.
        is_taken: bool,
        /// It says that it has granted the lock, and grants others theirs as well.
        only_says_so: bool,
        /// It grants no lock that others would wait for.
        is_busy: bool,
    }

    const NOT_AVAILABLE: Refusal = ("55P03", "could not obtain lock on relation \"orders\"");

    impl Double for Table {
        fn answer(&mut self, session: i32, query: &str) -> Result<Vec<String>, Refusal> {
            let is_locked = self.is_taken || self.locked_by.is_some();
            let value = match query {
                "select pg_backend_pid()" => session.to_string(),
                "lock table \"orders\" in access share mode nowait" if is_locked && !self.only_says_so => {
                    return Err(NOT_AVAILABLE);
                }
                "lock table \"orders\" in access exclusive mode" if self.is_busy => {
                    return Err(("55P03", "canceling statement due to lock timeout"));
                }
                "lock table \"orders\" in access exclusive mode" => {
                    self.locked_by = Some(session);
                    String::new()
                }
                query if query.contains("pg_locks where granted") => {
                    let is_his = |pid| query.contains(&format!("pid = {pid} "));
                    u8::from(self.locked_by.is_some_and(is_his)).to_string()
                }
                query if query.contains("waitstart") => return Ok(vec!["3".to_owned(), "1200".to_owned()]),
                _ => String::new(),
            };
            Ok(vec![value])
        }

        fn ended(&mut self, session: i32) {
            self.locked_by = self.locked_by.filter(|holder| *holder != session);
        }
    }

    async fn first(table: Table) -> (Arc<Mutex<Table>>, FaultContext) {
        let addresses = test_double::addresses();
        let server = double::listen(addresses[0].0, table).await;
        (server, FakeSystem::new(Disobedience::default(), addresses).context())
    }

    fn lock() -> Lock<Target> {
        Lock {
            targets: targets(&[1]),
            table: TableName("orders".to_owned()),
            mode: Mode::default(),
            rows: None,
        }
    }

    #[tokio::test]
    async fn a_lock_is_confirmed_on_and_off_and_tells_who_waited() {
        let (server, context) = first(Table::default()).await;
        let on = lock().inject(&context).await.unwrap();
        assert!(on.confirmed && on.onset_us.is_some(), "{on:?}");
        assert!(
            on.evidence[0].contains("of another session is refused (55P03)"),
            "{on:?}"
        );
        assert!(server.lock().unwrap().locked_by.is_some());
        let off = lock().heal(&context).await.unwrap();
        assert!(off.confirmed && !off.lapsed, "{off:?}");
        assert!(
            off.evidence[0]
                .contains("at most 3 other sessions waited for it at the same time, the longest for 1200.0 ms"),
            "{off:?}"
        );
        assert!(lock().heal(&context).await.unwrap().confirmed);
    }

    #[tokio::test]
    async fn a_table_that_is_locked_before_or_a_lock_that_locks_nobody_out_is_not_confirmed() {
        let is_taken = Table {
            is_taken: true,
            ..Table::default()
        };
        let is_busy = Table {
            is_busy: true,
            ..Table::default()
        };
        let only_says_so = Table {
            only_says_so: true,
            ..Table::default()
        };
        for (table, because) in [
            (is_taken, "nothing was done to it"),
            (is_busy, "the lock was not granted: db error: ERROR: canceling"),
            (only_says_so, "of another session is granted, too"),
        ] {
            let (_server, context) = first(table).await;
            let on = lock().inject(&context).await.unwrap();
            assert!(!on.confirmed && on.evidence[0].contains(because), "{on:?}");
        }
    }

    #[tokio::test]
    async fn a_lock_that_is_gone_before_has_lapsed_and_a_table_that_stays_locked_is_not_healed() {
        let (server, context) = first(Table::default()).await;
        lock().inject(&context).await.unwrap();
        server.lock().unwrap().locked_by = None;
        let off = lock().heal(&context).await.unwrap();
        assert!(off.confirmed && off.lapsed, "{off:?}");

        lock().inject(&context).await.unwrap();
        server.lock().unwrap().is_taken = true;
        let off = lock().heal(&context).await.unwrap();
        assert!(!off.confirmed && !off.lapsed, "{off:?}");
    }

    #[tokio::test]
    async fn a_lock_ends_with_whoever_holds_it() {
        let (server, context) = first(Table::default()).await;
        let on = lock().inject(&context).await.unwrap();
        assert!(on.confirmed, "{on:?}");
        drop(context);
        let is_free = async || match server.lock().unwrap().locked_by {
            None => Ok(()),
            Some(_) => Err(Refused::because("it is locked".to_owned())),
        };
        each::until(std::time::Duration::from_secs(5), is_free).await.unwrap();
    }

    #[test]
    fn a_standby_grants_no_lock_and_a_statement_is_no_table() {
        let wrong = Lock {
            targets: vec![Target::Role {
                group: "database".to_owned(),
                role: Role::Standby,
                members: Vec::new(),
            }],
            table: TableName("orders; drop table orders".to_owned()),
            mode: Mode::Share,
            rows: None,
        };
        let paths: Vec<String> = wrong.problems().into_iter().map(|problem| problem.path).collect();
        assert_eq!(paths, ["targets[0]", "table"]);
    }
}
