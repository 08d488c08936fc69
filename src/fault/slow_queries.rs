//! `slow-queries`: every statement that writes to a table takes longer, as with an index that nobody made, a trigger that somebody
//! added, or a disk that is worn out. It keeps its locks and its connection meanwhile, which a slow network would not have it do.
//!
//! A trigger on the table sleeps once for each statement, for as long as a session of the harness holds an advisory lock: without
//! that session it does nothing, so that the fault ends when the harness dies, and when the session has been idle for the
//! time-to-live. Statements that only read have no triggers: for those there is `latency` on the link to the database.
//!
//! What it adds is measured by a statement that writes to the table and finds no row to change.

use std::time::Duration;

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, timeout};

use super::measured::{Measured, after, ms};
use super::postgres::each::{self, Member};
use super::postgres::held::Holder;
use super::postgres::table::TableName;
use super::postgres::{ASK_WITHIN, Refused, Server, Session, in_time, setting_ms};
use super::process::TARGETS;
use super::{Fault, FaultContext, FaultError, Hold, Problem, Receipt, target};
use crate::duration::DurationMs;
use crate::plan::{Role, Target};
use crate::system::compose::ComposeFile;
use crate::system::definition::SystemDefinition;

/// The least that a statement is slowed by: less would not be told from what else a busy server does.
const BY_MIN_MS: u64 = 50;
/// And the most.
const BY_MAX_MS: u64 = 60_000;

/// Parameters of `slow-queries`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct SlowQueries<T> {
    /// The primaries: `database:primary`, or members of a group with roles.
    pub targets: Vec<T>,
    /// The table, in the database that `roles` names: `orders`, or with its schema `accounting.orders`.
    pub table: TableName,
    /// By how much longer each statement that writes to the table takes, from 50 ms to 60 s.
    pub by: DurationMs,
}

impl<T> SlowQueries<T> {
    pub(super) fn map_targets<U, E>(&self, map: &mut dyn FnMut(&str, &T) -> Result<U, E>) -> Result<SlowQueries<U>, E> {
        Ok(SlowQueries {
            targets: super::map_list(TARGETS, &self.targets, map)?,
            table: self.table.clone(),
            by: self.by,
        })
    }
}

#[async_trait]
impl Fault for SlowQueries<Target> {
    fn targets(&self) -> Vec<&Target> {
        self.targets.iter().collect()
    }

    fn holds(&self) -> Option<Hold> {
        Some(Hold::Table(self.table.0.clone()))
    }

    fn describe(&self) -> String {
        let (table, by) = (&self.table, self.by);
        format!(
            "slow writes to table {table} of {} by {by}",
            target::names(&self.targets)
        )
    }

    fn problems(&self) -> Vec<Problem> {
        let nobody = target::empty_list(TARGETS, &self.targets);
        let misplaced = each::misplaced(&self.targets, Role::Standby, "to which nobody writes");
        let is_right = (BY_MIN_MS..=BY_MAX_MS).contains(&self.by.0);
        let by = (!is_right).then(|| Problem {
            path: "by".to_owned(),
            message: format!("must be from 50ms to 60s, is {}", self.by),
            hint: "write for example `by: 300ms`".to_owned(),
        });
        nobody
            .into_iter()
            .chain(misplaced)
            .chain(self.table.problem())
            .chain(by)
            .collect()
    }

    fn problems_in(&self, definition: &SystemDefinition, _compose: &ComposeFile) -> Vec<Problem> {
        each::roleless(definition, &self.targets)
    }

    async fn inject(&self, context: &FaultContext) -> Result<Receipt, FaultError> {
        let start = Instant::now();
        each::inject(context, &self.targets, |member| async move {
            self.slow(context, &member, start).await
        })
        .await
    }

    async fn heal(&self, context: &FaultContext) -> Result<Receipt, FaultError> {
        let start = Instant::now();
        each::heal(context, |member, held| async move {
            self.let_go(context, &member, held, start).await
        })
        .await
    }
}

impl SlowQueries<Target> {
    async fn slow(&self, context: &FaultContext, member: &Member, start: Instant) -> (Option<Holder>, Measured) {
        let server = &member.server;
        let before = match self.trial(server).await {
            Ok(took) if took < self.added() => took,
            Ok(took) => {
                let seen = format!("before, {} took {} already", self.trial_words(), ms(took));
                return (None, member.unseen(format!("{seen}; nothing was done to it")));
            }
            Err(refused) => {
                let seen = format!("before, {} was refused", self.trial_words());
                return (
                    None,
                    member.unseen(format!("{seen} ({refused}); nothing was done to it")),
                );
            }
        };
        let holder = match self.hold(context, server).await {
            Ok(holder) => holder,
            Err(refused) => return (None, member.unseen(format!("it could not be slowed: {refused}"))),
        };
        let measured = match self.trial(server).await {
            Ok(took) if took >= self.added() => {
                let onset = Some(start.elapsed());
                let seen = format!("{} took {} before, {} now", self.trial_words(), ms(before), ms(took));
                Measured::new(onset, format!("{}: {seen}{}", member.id, after(onset)))
            }
            Ok(took) => member.unseen(format!("{} took only {}", self.trial_words(), ms(took))),
            Err(refused) => member.unseen(refused),
        };
        (Some(holder), measured)
    }

    /// Makes the trigger, and the session that it looks for.
    async fn hold(&self, context: &FaultContext, server: &Server) -> Result<Holder, Refused> {
        let holder = Holder::open(context, server).await?;
        let session = &holder.session;
        let (key, name, table) = (key(context), self.name(context), self.table.quoted());
        let seconds = self.added().as_secs_f64();
        let patience = context.patience.granted;
        let made = async {
            // Whoever comes behind it waits as well, so it does not stand in line for ever.
            session
                .ask(&format!("set lock_timeout = {}", setting_ms(patience)))
                .await?;
            session
                .ask(&format!(
                    "create function {name}() returns trigger language plpgsql as $slow$ begin \
                     if not pg_try_advisory_xact_lock_shared({key}) then perform pg_sleep({seconds}); end if; \
                     return null; end $slow$"
                ))
                .await?;
            session
                .ask(&format!(
                    "create trigger {name} before insert or update or delete on {table} \
                     for each statement execute function {name}()"
                ))
                .await?;
            let ttl = setting_ms(context.ttl);
            session
                .ask(&format!("set idle_in_transaction_session_timeout = {ttl}"))
                .await?;
            session.ask("begin").await?;
            session.ask(&format!("select pg_advisory_xact_lock({key})")).await
        };
        let silent = || Refused::because(format!("no answer within {}", ms(patience * 2)));
        let made = timeout(patience * 2, made).await.unwrap_or_else(|_| Err(silent()));
        if let Err(refused) = made {
            drop(holder);
            // What was made of it does nothing, and must not be in the way of whoever tries again.
            let _ = self.clear_away(context, server).await;
            return Err(refused);
        }
        Ok(holder)
    }

    async fn let_go(
        &self,
        context: &FaultContext,
        member: &Member,
        held: Option<Holder>,
        start: Instant,
    ) -> (bool, Measured) {
        let server = &member.server;
        let (mut lapsed, mut evidence) = (false, Vec::new());
        let was_held = held.is_some();
        if let Some(holder) = held {
            let last = self.trial(server).await;
            lapsed = !matches!(last, Ok(took) if took >= self.added());
            let last = last.map_or_else(
                |refused| format!("was refused: {refused}"),
                |took| format!("took {}", ms(took)),
            );
            evidence.push(format!("{}: before the heal {} {last}", member.id, self.trial_words()));
            drop(holder);
        }
        let healed = async {
            if was_held {
                self.clear_away(context, server).await?;
            }
            each::until(context.patience.granted, async || match self.trial(server).await? {
                took if took < self.added() => Ok(took),
                took => Err(Refused::because(format!("{} takes {}", self.trial_words(), ms(took)))),
            })
            .await
        };
        let healed: Result<Duration, Refused> = healed.await;
        let onset = healed.is_ok().then(|| start.elapsed());
        evidence.push(match healed {
            Ok(took) => format!(
                "{}: {} takes {}{}",
                member.id,
                self.trial_words(),
                ms(took),
                after(onset)
            ),
            Err(refused) => format!("{}: {refused}", member.id),
        });
        (lapsed, Measured { onset, evidence })
    }

    /// Removes the function and its trigger. Those that sleep in it have the table, and end first.
    async fn clear_away(&self, context: &FaultContext, server: &Server) -> Result<(), Refused> {
        let limit = context.patience.granted + self.added();
        let cleared = async {
            let session = server.connect().await?;
            session
                .ask(&format!("set lock_timeout = {}", setting_ms(limit)))
                .await?;
            let sql = format!("drop function if exists {}() cascade", self.name(context));
            session.ask(&sql).await.map(drop)
        };
        let silent = || Refused::because(format!("the trigger is still there after {}", ms(limit * 2)));
        timeout(limit * 2, cleared).await.unwrap_or_else(|_| Err(silent()))
    }

    fn added(&self) -> Duration {
        Duration::from_millis(self.by.0)
    }

    /// What the function and the trigger are called.
    fn name(&self, context: &FaultContext) -> String {
        format!("nightmail_slow_{}", context.id)
    }

    fn trial_words(&self) -> String {
        format!("DELETE FROM {} WHERE false", self.table)
    }

    /// How long a statement takes that writes nothing to the table.
    async fn trial(&self, server: &Server) -> Result<Duration, Refused> {
        let session = in_time(server.connect()).await?;
        let limit = self.added() + ASK_WITHIN;
        let asked = timeout(limit, self.try_on(&session)).await;
        asked.unwrap_or_else(|_| Err(Refused::because(format!("no answer within {}", ms(limit)))))
    }

    async fn try_on(&self, session: &Session) -> Result<Duration, Refused> {
        let began = Instant::now();
        let sql = format!("delete from {} where false", self.table.quoted());
        session.ask(&sql).await?;
        Ok(began.elapsed())
    }
}

/// The advisory lock's key: no other fault of the run has it.
fn key(context: &FaultContext) -> i64 {
    i64::from_be_bytes(*b"night\0\0\0") + i64::from(context.id)
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;
    use crate::fault::postgres::double::{self, Double, Refusal};
    use crate::fault::test_double::{self, Disobedience, FakeSystem, targets};

    const BY: Duration = Duration::from_millis(300);

    /// A server with one table.
    #[derive(Default)]
    struct Table {
        /// It was slow before, and stays so.
        is_slow: bool,
        /// It has the trigger, which does nothing.
        ignores_it: bool,
        /// Its trigger cannot be removed.
        keeps_it: bool,
        has_trigger: bool,
        locked_by: Option<i32>,
    }

    impl Double for Table {
        fn answer(&mut self, session: i32, query: &str) -> Result<Vec<String>, Refusal> {
            match query {
                "delete from \"orders\" where false" => {
                    let sleeps = self.has_trigger && self.locked_by.is_some() && !self.ignores_it;
                    if sleeps || self.is_slow {
                        std::thread::sleep(BY);
                    }
                }
                "select pg_backend_pid()" => return Ok(vec![session.to_string()]),
                query if query.starts_with("create trigger nightmail_slow_") => self.has_trigger = true,
                query if query.starts_with("select pg_advisory_xact_lock(") => self.locked_by = Some(session),
                query if query.starts_with("drop function") && self.keeps_it => {
                    return Err(("55P03", "canceling statement due to lock timeout"));
                }
                query if query.starts_with("drop function") => self.has_trigger = false,
                _ => {}
            }
            Ok(vec![String::new()])
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

    fn slow() -> SlowQueries<Target> {
        SlowQueries {
            targets: targets(&[1]),
            table: TableName("orders".to_owned()),
            by: DurationMs(300),
        }
    }

    #[tokio::test]
    async fn writes_are_slow_until_the_heal_and_nothing_is_left() {
        let (server, context) = first(Table::default()).await;
        let on = slow().inject(&context).await.unwrap();
        assert!(on.confirmed && on.onset_us.is_some(), "{on:?}");
        assert!(on.evidence[0].contains("DELETE FROM orders WHERE false took"), "{on:?}");
        let off = slow().heal(&context).await.unwrap();
        assert!(off.confirmed && !off.lapsed, "{off:?}");
        assert!(!server.lock().unwrap().has_trigger);
        assert!(slow().heal(&context).await.unwrap().confirmed);
    }

    #[tokio::test]
    async fn a_table_that_is_slow_before_or_does_not_get_slower_is_not_confirmed() {
        let is_slow = Table {
            is_slow: true,
            ..Table::default()
        };
        let ignores_it = Table {
            ignores_it: true,
            ..Table::default()
        };
        for (table, because) in [(is_slow, "already; nothing was done to it"), (ignores_it, "took only")] {
            let (_server, context) = first(table).await;
            let on = slow().inject(&context).await.unwrap();
            assert!(!on.confirmed && on.evidence[0].contains(because), "{on:?}");
        }
    }

    #[tokio::test]
    async fn one_that_somebody_ends_has_lapsed_and_one_that_stays_slow_is_not_healed() {
        let (server, context) = first(Table::default()).await;
        slow().inject(&context).await.unwrap();
        server.lock().unwrap().locked_by = None;
        let off = slow().heal(&context).await.unwrap();
        assert!(off.confirmed && off.lapsed, "{off:?}");

        let (server, mut context) = first(Table::default()).await;
        context.patience.granted = Duration::from_millis(50);
        slow().inject(&context).await.unwrap();
        server.lock().unwrap().is_slow = true;
        let off = slow().heal(&context).await.unwrap();
        assert!(!off.confirmed && !off.lapsed, "{off:?}");

        let (server, context) = first(Table::default()).await;
        slow().inject(&context).await.unwrap();
        server.lock().unwrap().keeps_it = true;
        let off = slow().heal(&context).await.unwrap();
        assert!(!off.confirmed && off.evidence[1].contains("lock timeout"), "{off:?}");
    }

    #[test]
    fn what_would_not_be_seen_is_refused() {
        let mut wrong = slow();
        wrong.by = DurationMs(49);
        wrong.table = TableName("orders; drop table orders".to_owned());
        let paths: Vec<String> = wrong.problems().into_iter().map(|problem| problem.path).collect();
        assert_eq!(paths, ["table", "by"]);
        assert_eq!(slow().problems(), []);
    }
}
