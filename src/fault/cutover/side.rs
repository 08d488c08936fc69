//! One of the two servers of a move: what it holds, and whether anybody may write to it.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::timeout;

use crate::fault::FaultContext;
use crate::fault::measured::ms;
use crate::fault::postgres::each::{self, Member};
use crate::fault::postgres::held::application;
use crate::fault::postgres::writes::{is_refused, writes};
use crate::fault::postgres::{Refused, Session, in_time, literal};
use crate::plan::ReplicaId;

/// Where nightmail's own tables are.
const OWN_SCHEMA: &str = "nightmail.";

/// What separates the lines of an answer.
const LINE: char = '\n';

/// Every table of the users, by the name that a statement has for it.
const TABLES: &str = "from pg_class join pg_namespace on pg_namespace.oid = relnamespace \
    where relkind = 'r' and relpersistence = 'p' and nspname <> 'information_schema' and nspname not like 'pg\\_%'";

/// Whether a table's rows can be told apart, without which a server that publishes them refuses to change them.
const HAS_IDENTITY: &str = "relreplident in ('f', 'i') or (relreplident = 'd' and \
    exists (select from pg_index where indrelid = pg_class.oid and indisprimary))";

/// A server.
#[derive(Debug)]
pub(super) struct Side {
    member: Member,
    application: String,
    /// How long to look for what was asked of it.
    patience: Duration,
    /// How long an answer may take.
    limit: Duration,
    /// A session that is there already: while nobody may write, every connection that is made lasts.
    admin: Mutex<Option<Session>>,
}

/// The tables that come along, as statements name them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Tables(pub Vec<String>);

/// How many rows each table has, and a sum over all that stands in them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Contents(Vec<Counted>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Counted {
    table: String,
    rows: u64,
    checksum: String,
}

/// A sequence, as statements name it, and the last number that it gave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Sequence {
    name: String,
    last: i64,
}

impl Side {
    pub(super) fn new(context: &FaultContext, member: Member) -> Self {
        Self {
            member,
            application: application(context),
            patience: context.patience.granted,
            limit: context.patience.ready,
            admin: Mutex::default(),
        }
    }

    pub(super) fn id(&self) -> &ReplicaId {
        &self.member.id
    }

    /// How the other server reaches it.
    pub(super) fn conninfo(&self) -> String {
        self.member.server.conninfo()
    }

    /// The first row of what is answered to each statement, the last of them, in a session that may write whoever else may.
    pub(super) async fn ask(&self, statements: &[&str]) -> Result<Option<String>, Refused> {
        let mut admin = self.admin.lock().await;
        let asked = async {
            let session = match admin.take() {
                Some(session) => session,
                None => {
                    let settings = "-c default_transaction_read_only=off -c statement_timeout=0";
                    in_time(self.member.server.connect_as(&self.application, settings)).await?
                }
            };
            let mut answer = None;
            for statement in statements {
                answer = session.ask(statement).await?;
            }
            // One that failed is of no further use.
            *admin = Some(session);
            Ok(answer)
        };
        let answer: Result<_, Refused> = match timeout(self.limit, asked).await {
            Ok(answer) => answer,
            Err(_) => Err(Refused::because(format!("no answer within {}", ms(self.limit)))),
        };
        answer.map_err(|refused| self.because(refused))
    }

    /// Asks the same until it is answered `t`, and otherwise says what was not seen.
    pub(super) async fn until(&self, limit: Duration, question: &str, unseen: &str) -> Result<(), Refused> {
        each::until(limit, async || match self.ask(&[question]).await?.as_deref() {
            Some("t") => Ok(()),
            _ => Err(self.because(unseen)),
        })
        .await
    }

    /// A reason, with whose it is.
    pub(super) fn because(&self, reason: impl std::fmt::Display) -> Refused {
        Refused::because(format!("{}: {reason}", self.id()))
    }

    /// Whether it has data of its own, and another server can follow it if one must.
    pub(super) async fn fits(&self, is_followed: bool) -> Result<(), Refused> {
        let ask = "select concat_ws(' ', pg_is_in_recovery(), current_setting('wal_level'))";
        let said = self.ask(&[ask]).await?.unwrap_or_default();
        match said.split_once(' ') {
            Some(("f", level)) if level != "logical" && is_followed => Err(self.because(format!(
                "its wal_level is {level}, and only with `logical` can another server follow it"
            ))),
            Some(("f", _)) => Ok(()),
            _ => Err(self.because("it is a standby")),
        }
    }

    /// Its tables.
    pub(super) async fn tables(&self) -> Result<Tables, Refused> {
        Ok(Tables(self.names("true").await?))
    }

    /// Those whose rows cannot be told apart.
    pub(super) async fn keyless(&self) -> Result<Vec<String>, Refused> {
        self.names(&format!("not ({HAS_IDENTITY})")).await
    }

    async fn names(&self, condition: &str) -> Result<Vec<String>, Refused> {
        let sql = format!(
            "select string_agg(format('%I.%I', nspname, relname), E'\\n' order by nspname, relname) {TABLES} and \
             ({condition})"
        );
        Ok(lines(self.ask(&[&sql]).await?))
    }

    /// What is in these tables.
    pub(super) async fn contents(&self, tables: &Tables) -> Result<Contents, Refused> {
        let parts = tables.0.iter().enumerate().map(|(at, table)| {
            format!(
                "select {at} as place, concat_ws(' ', count(*), coalesce(sum(('x' || \
                 left(md5(nightmail_row::text), 12))::bit(48)::bigint), 0)) as said from {table} as nightmail_row"
            )
        });
        let parts: Vec<String> = parts.collect();
        let sql = format!(
            "select string_agg(said, E'\\n' order by place) from ({}) as counted",
            parts.join(" union all ")
        );
        let said = lines(self.ask(&[&sql]).await?);
        let counted = tables.0.iter().zip(&said).filter_map(|(table, said)| {
            let (rows, checksum) = said.split_once(' ')?;
            Some(Counted {
                table: table.clone(),
                rows: rows.parse().ok()?,
                checksum: checksum.to_owned(),
            })
        });
        let counted: Vec<Counted> = counted.collect();
        match counted.len() == tables.0.len() {
            true => Ok(Contents(counted)),
            false => Err(self.because(format!("asked for what is in its tables it answered {said:?}"))),
        }
    }

    /// Its sequences that were used.
    pub(super) async fn sequences(&self) -> Result<Vec<Sequence>, Refused> {
        let sql = "select string_agg(last_value || ' ' || format('%I.%I', schemaname, sequencename), E'\\n' \
                   order by schemaname, sequencename) from pg_sequences where last_value is not null";
        let said = lines(self.ask(&[sql]).await?);
        let sequence = |line: &String| {
            let (last, name) = line.split_once(' ')?;
            Some(Sequence {
                name: name.to_owned(),
                last: last.parse().ok()?,
            })
        };
        Ok(said.iter().filter_map(sequence).collect())
    }

    /// Has sequences go on from there, which is seen.
    pub(super) async fn set(&self, sequences: &[Sequence]) -> Result<(), Refused> {
        let statements: Vec<String> = sequences
            .iter()
            .map(|Sequence { name, last }| format!("select setval({}::regclass, {last})", literal(name)))
            .collect();
        let statements: Vec<&str> = statements.iter().map(String::as_str).collect();
        self.ask(&statements).await?;
        let there = self.sequences().await?;
        match sequences.iter().find(|wanted| !there.contains(wanted)) {
            None => Ok(()),
            Some(Sequence { name, last }) => Err(self.because(format!("the sequence {name} is not at {last}"))),
        }
    }

    /// Whether everybody may write, in a fresh session.
    pub(super) async fn is_open(&self) -> Result<(), Refused> {
        let tried = in_time(async { writes(&self.member.server.connect().await?).await });
        tried.await.map_err(|refused| self.because(refused))
    }

    /// Whether nobody may, in a fresh session.
    pub(super) async fn is_closed(&self) -> Result<(), Refused> {
        let tried = in_time(async { writes(&self.member.server.connect().await?).await });
        is_refused(tried.await, "a fresh session").map_err(|refused| self.because(refused))
    }

    /// Has transactions only read, and ends the sessions that are older than that: a transaction that had begun to write
    /// could go on. Returns how many.
    pub(super) async fn close(&self) -> Result<u32, Refused> {
        self.ask(&[
            "alter system set default_transaction_read_only = on",
            "select pg_reload_conf()",
        ])
        .await?;
        each::until(self.patience, || self.is_closed()).await?;
        let now = self.ask(&["select clock_timestamp()"]).await?.unwrap_or_default();
        let older = format!(
            "from pg_stat_activity where backend_type = 'client backend' and pid <> pg_backend_pid() and \
             application_name <> {} and backend_start < {}::timestamptz",
            literal(&self.application),
            literal(&now)
        );
        let ended = self
            .ask(&[&format!("select count(pg_terminate_backend(pid)) {older}")])
            .await?;
        let none = format!("select count(*) = 0 {older}");
        self.until(self.patience, &none, "sessions from before go on").await?;
        Ok(ended.and_then(|count| count.parse().ok()).unwrap_or_default())
    }

    /// Lets everybody write again.
    pub(super) async fn open(&self) -> Result<(), Refused> {
        self.ask(&[
            "alter system reset default_transaction_read_only",
            "select pg_reload_conf()",
        ])
        .await?;
        each::until(self.patience, || self.is_open()).await
    }
}

impl Tables {
    /// Those that another server has as well, and those that it lacks. Nightmail's own are missed by nobody.
    pub(super) fn with(self, others: &Self) -> (Self, Vec<String>) {
        let (both, missing): (Vec<_>, Vec<_>) = self.0.into_iter().partition(|table| others.0.contains(table));
        let missing = missing.into_iter().filter(|table| !table.starts_with(OWN_SCHEMA));
        (Self(both), missing.collect())
    }
}

impl Contents {
    /// How many rows there are in all.
    pub(super) fn rows(&self) -> u64 {
        self.0.iter().map(|counted| counted.rows).sum()
    }

    /// Tables that are not empty.
    pub(super) fn filled(&self) -> Vec<&str> {
        let filled = self.0.iter().filter(|counted| counted.rows > 0);
        filled.map(|counted| counted.table.as_str()).collect()
    }

    /// How they differ from those at another server: `public.orders 412 rows and 340`. None if they do not.
    pub(super) fn differences(&self, other: &Self) -> Option<String> {
        let differing = self.0.iter().zip(&other.0).filter(|(one, other)| one != other);
        let words: Vec<String> = differing
            .map(|(one, other)| match one.rows == other.rows {
                true => format!("{} {} rows, not the same", one.table, one.rows),
                false => format!("{} {} rows and {}", one.table, one.rows, other.rows),
            })
            .collect();
        (!words.is_empty()).then(|| words.join(", "))
    }
}

/// Each sequence where it has come furthest: a number that was given once is given no more.
pub(super) fn furthest(here: Vec<Sequence>, there: Vec<Sequence>) -> Vec<Sequence> {
    let mut last: BTreeMap<String, i64> = BTreeMap::new();
    for sequence in here.into_iter().chain(there) {
        let known = last.entry(sequence.name).or_insert(sequence.last);
        *known = sequence.last.max(*known);
    }
    last.into_iter().map(|(name, last)| Sequence { name, last }).collect()
}

/// `public.entries_id_seq at 712`, of each.
pub(super) fn words(sequences: &[Sequence]) -> String {
    let words: Vec<String> = sequences
        .iter()
        .map(|sequence| format!("{} at {}", sequence.name, sequence.last))
        .collect();
    match words.is_empty() {
        true => "no sequence was used".to_owned(),
        false => words.join(", "),
    }
}

fn lines(answer: Option<String>) -> Vec<String> {
    let answer = answer.unwrap_or_default();
    answer
        .split(LINE)
        .filter(|line| !line.is_empty())
        .map(str::to_owned)
        .collect()
}
