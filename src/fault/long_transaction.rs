//! `long-transaction`: a transaction stays open with its snapshot, and the server may not clear away what died since.
//!
//! The session is the harness's: it goes when the harness dies, and the server ends it when it has been idle for the fault's
//! time-to-live. On a standby its snapshot comes into conflict with what the primary clears away, unless the standby
//! tells the primary of it (`hot_standby_feedback`).

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::measured::{Measured, after};
use super::postgres::each::{self, Member};
use super::postgres::held::{self, Holder};
use super::postgres::table::TableName;
use super::postgres::{Refused, Server, in_time, setting_ms};
use super::process::TARGETS;
use super::{Fault, FaultContext, FaultError, Problem, Receipt, target};
use crate::plan::{Role, Target};
use crate::system::compose::ComposeFile;
use crate::system::definition::SystemDefinition;

/// Parameters of `long-transaction`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct LongTransaction<T> {
    /// The servers: `database:primary`, `database:standby`, or members of a group with roles.
    pub targets: Vec<T>,
    /// How isolated it is. One that is less so keeps no snapshot while it is idle.
    #[serde(default)]
    pub isolation: Isolation,
    /// A table that it has read, as a report would: whoever wants that for itself waits for its end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reads: Option<TableName>,
}

/// The levels at which a transaction keeps its first snapshot.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Isolation {
    /// One snapshot for all of it.
    #[default]
    RepeatableRead,
    /// Also watched for dependencies, which costs others. A standby has no such.
    Serializable,
}

impl Isolation {
    fn sql(self) -> &'static str {
        match self {
            Self::RepeatableRead => "repeatable read",
            Self::Serializable => "serializable",
        }
    }
}

impl<T> LongTransaction<T> {
    pub(super) fn map_targets<U, E>(
        &self,
        map: &mut dyn FnMut(&str, &T) -> Result<U, E>,
    ) -> Result<LongTransaction<U>, E> {
        Ok(LongTransaction {
            targets: super::map_list(TARGETS, &self.targets, map)?,
            isolation: self.isolation,
            reads: self.reads.clone(),
        })
    }
}

#[async_trait]
impl Fault for LongTransaction<Target> {
    fn targets(&self) -> Vec<&Target> {
        self.targets.iter().collect()
    }

    fn describe(&self) -> String {
        let isolation = self.isolation.sql();
        let reads = self.reads.as_ref().map(|table| format!(" that has read {table}"));
        format!(
            "leave a {isolation} transaction{} open at {}",
            reads.unwrap_or_default(),
            target::names(&self.targets)
        )
    }

    fn problems(&self) -> Vec<Problem> {
        let nobody = target::empty_list(TARGETS, &self.targets);
        let misplaced = match self.isolation {
            Isolation::RepeatableRead => Vec::new(),
            Isolation::Serializable => {
                each::misplaced(&self.targets, Role::Standby, "which has no serializable transactions")
            }
        };
        let reads = self.reads.as_ref().and_then(TableName::problem).map(|problem| Problem {
            path: "reads".to_owned(),
            ..problem
        });
        nobody.into_iter().chain(misplaced).chain(reads).collect()
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
        each::heal(context, |member, holder| async move {
            end(context, &member, holder, start).await
        })
        .await
    }
}

impl LongTransaction<Target> {
    async fn begin(&self, context: &FaultContext, member: &Member, start: Instant) -> (Option<Holder>, Measured) {
        let holder = match self.open(context, &member.server).await {
            Ok(holder) => holder,
            Err(refused) => return (None, member.unseen(format!("it did not begin: {refused}"))),
        };
        let measured = match in_time(self.seen(&member.server, holder.pid)).await {
            Ok(Some(seen)) => {
                let onset = Some(start.elapsed());
                let seen = format!(
                    "pg_stat_activity shows session {} idle in transaction with {seen}",
                    holder.pid
                );
                Measured::new(onset, format!("{}: {seen}{}", member.id, after(onset)))
            }
            Ok(None) => member.unseen(format!(
                "the server's views show no snapshot of session {}, or no lock on what it has read",
                holder.pid
            )),
            Err(refused) => member.unseen(refused),
        };
        (Some(holder), measured)
    }

    async fn open(&self, context: &FaultContext, server: &Server) -> Result<Holder, Refused> {
        let holder = Holder::open(context, server).await?;
        let (session, ttl) = (&holder.session, setting_ms(context.ttl));
        in_time(async {
            session
                .ask(&format!("set idle_in_transaction_session_timeout = {ttl}"))
                .await?;
            session
                .ask(&format!("begin isolation level {}", self.isolation.sql()))
                .await?;
            // The first question takes the snapshot.
            match &self.reads {
                None => session.ask("select 1").await,
                Some(table) => session.ask(&format!("select from {} limit 1", table.quoted())).await,
            }
        })
        .await?;
        Ok(holder)
    }
}

impl LongTransaction<Target> {
    /// The snapshot that it holds, and the lock on the table that it has read; nothing if one of them is not there.
    async fn seen(&self, server: &Server, pid: i32) -> Result<Option<String>, Refused> {
        let snapshot = snapshot(server, pid).await?;
        let (Some(snapshot), Some(table)) = (&snapshot, &self.reads) else {
            return Ok(snapshot);
        };
        let sql = format!(
            "select count(*) from pg_locks where granted and pid = {pid} and relation = {}",
            table.oid()
        );
        let locks: u32 = server.connect().await?.number(&sql).await?;
        Ok((locks > 0).then(|| format!("{snapshot}, and pg_locks shows its lock on {table}")))
    }
}

/// The snapshot that an idle transaction holds, and how many transactions ago that was: `backend_xmin 735, age 0`.
async fn snapshot(server: &Server, pid: i32) -> Result<Option<String>, Refused> {
    let sql = format!(
        "select 'backend_xmin ' || backend_xmin || ', age ' || age(backend_xmin) from pg_stat_activity where pid = {pid} and \
         state = 'idle in transaction'"
    );
    server.connect().await?.ask(&sql).await
}

async fn end(context: &FaultContext, member: &Member, holder: Option<Holder>, start: Instant) -> (bool, Measured) {
    let (mut lapsed, mut evidence) = (false, Vec::new());
    if let Some(holder) = holder {
        let last = in_time(snapshot(&member.server, holder.pid)).await;
        lapsed = !matches!(last, Ok(Some(_)));
        evidence.push(match last {
            Ok(Some(snapshot)) => format!("{}: at the end it held {snapshot}", member.id),
            Ok(None) => format!("{}: it was gone before the heal", member.id),
            Err(refused) => format!("{}: before the heal: {refused}", member.id),
        });
    }
    let gone = held::gone(context, &member.server).await;
    let onset = gone.is_ok().then(|| start.elapsed());
    evidence.push(match gone {
        Ok(()) => format!(
            "{}: pg_stat_activity shows no session of the fault{}",
            member.id,
            after(onset)
        ),
        Err(last) => format!("{}: {last}", member.id),
    });
    (lapsed, Measured { onset, evidence })
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;
    use crate::fault::postgres::double::{self, Double, Refusal};
    use crate::fault::test_double::{self, Disobedience, FakeSystem, targets};

    /// A server with room for one transaction.
    #[derive(Default)]
    struct Transactions {
        open: Option<i32>,
        /// It has read the orders.
        has_read: bool,
        /// A transaction keeps no snapshot.
        keeps_none: bool,
        /// A session that is gone stays in the views.
        lingers: bool,
    }

    impl Double for Transactions {
        fn answer(&mut self, session: i32, query: &str) -> Result<Vec<String>, Refusal> {
            let value = match query {
                "select pg_backend_pid()" => session.to_string(),
                "begin isolation level repeatable read" => {
                    self.open = Some(session);
                    String::new()
                }
                query if query.contains("from pg_locks") => u8::from(self.has_read).to_string(),
                "select from \"orders\" limit 1" => {
                    self.has_read = true;
                    String::new()
                }
                query if query.contains("backend_xmin") => {
                    let is_his = |pid: &i32| query.contains(&format!("pid = {pid} ")) && !self.keeps_none;
                    return Ok(self
                        .open
                        .filter(is_his)
                        .map(|_| "backend_xmin 7, age 2".to_owned())
                        .into_iter()
                        .collect());
                }
                query if query.contains("where application_name = 'nightmail fault 7'") => {
                    u8::from(self.open.is_some()).to_string()
                }
                _ => String::new(),
            };
            Ok(vec![value])
        }

        fn ended(&mut self, session: i32) {
            self.open = self.open.filter(|open| *open != session || self.lingers);
        }
    }

    async fn first(transactions: Transactions) -> (Arc<Mutex<Transactions>>, FaultContext) {
        let addresses = test_double::addresses();
        let server = double::listen(addresses[0].0, transactions).await;
        (server, FakeSystem::new(Disobedience::default(), addresses).context())
    }

    fn fault() -> LongTransaction<Target> {
        LongTransaction {
            targets: targets(&[1]),
            isolation: Isolation::default(),
            reads: None,
        }
    }

    #[tokio::test]
    async fn a_transaction_is_confirmed_while_it_holds_its_snapshot_and_when_it_is_gone() {
        let (server, context) = first(Transactions::default()).await;
        let on = fault().inject(&context).await.unwrap();
        assert!(
            on.confirmed && on.evidence[0].contains("backend_xmin 7, age 2"),
            "{on:?}"
        );
        let off = fault().heal(&context).await.unwrap();
        assert!(off.confirmed && !off.lapsed, "{off:?}");
        assert_eq!(server.lock().unwrap().open, None);
    }

    #[tokio::test]
    async fn one_that_reads_a_table_is_confirmed_by_its_lock() {
        let (_server, context) = first(Transactions::default()).await;
        let report = LongTransaction {
            reads: Some(TableName("orders".to_owned())),
            ..fault()
        };
        let on = report.inject(&context).await.unwrap();
        assert!(
            on.confirmed && on.evidence[0].contains("and pg_locks shows its lock on orders"),
            "{on:?}"
        );
        let elsewhere = LongTransaction {
            reads: Some(TableName("payments".to_owned())),
            ..fault()
        };
        let (_server, context) = first(Transactions::default()).await;
        let on = elsewhere.inject(&context).await.unwrap();
        assert!(
            !on.confirmed && on.evidence[0].contains("no lock on what it has read"),
            "{on:?}"
        );
        let statement = LongTransaction {
            reads: Some(TableName("orders; drop table orders".to_owned())),
            ..fault()
        };
        assert_eq!(statement.problems()[0].path, "reads");
    }

    #[tokio::test]
    async fn one_without_a_snapshot_or_that_is_gone_or_stays_is_told_so() {
        let keeps_none = Transactions {
            keeps_none: true,
            ..Transactions::default()
        };
        let (_server, context) = first(keeps_none).await;
        let on = fault().inject(&context).await.unwrap();
        assert!(!on.confirmed && on.evidence[0].contains("show no snapshot"), "{on:?}");

        let (server, context) = first(Transactions::default()).await;
        fault().inject(&context).await.unwrap();
        server.lock().unwrap().open = None;
        let off = fault().heal(&context).await.unwrap();
        assert!(off.confirmed && off.lapsed, "{off:?}");

        let lingers = Transactions {
            lingers: true,
            ..Transactions::default()
        };
        let (_server, context) = first(lingers).await;
        fault().inject(&context).await.unwrap();
        let off = fault().heal(&context).await.unwrap();
        assert!(
            !off.confirmed && off.evidence[1].contains("shows 1 sessions"),
            "{off:?}"
        );
    }
}
