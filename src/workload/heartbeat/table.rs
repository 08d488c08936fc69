//! The table that heartbeats go to: made on the primary before the load, read there at the end.

use std::borrow::Cow;
use std::time::{Duration, Instant};

use futures_util::future::join_all;

use super::{Beaten, groups};
use crate::history::record::Recorder;
use crate::history::{Fields, Heartbeat, Item, Read, Record};
use crate::plan::Role;
use crate::system::definition::SystemDefinition;
use crate::system::postgres::in_full;
use crate::workload::WorkloadError;
use crate::workload::client::Addresses;
use crate::workload::members::{ANSWER, Member, with_role};
use crate::workload::session::Session;

/// A system that has just become ready may still have no primary for a while; after this long it is no hiccup.
const PATIENCE: Duration = Duration::from_secs(10);

/// Between two attempts.
const PAUSE: Duration = Duration::from_millis(100);

/// Rows of several runs may be in it, where a system is kept. Nobody but nightmail reads it.
const TABLE: &str = "create schema if not exists nightmail; \
     create table if not exists nightmail.heartbeats \
     (run text, member text, number bigint, primary key (run, member, number))";

/// The statement that writes a heartbeat.
pub(super) fn insert(run: &str, member: &str, number: u64) -> String {
    let (run, member) = (quoted(run), quoted(member));
    format!("insert into nightmail.heartbeats values ({run}, {member}, {number})")
}

fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// A server that is closed must have the table before it is opened.
const WRITE_ALL_THE_SAME: &str = "set default_transaction_read_only = off";

/// Makes the table on the primary of each group that has heartbeats, and on members that are closed: on which transactions
/// only read by default, and that follow nobody. Patient for ten seconds.
pub async fn set_up(system: &SystemDefinition, addresses: &Addresses) -> Result<(), WorkloadError> {
    set_up_patiently(system, addresses, PATIENCE).await
}

pub(super) async fn set_up_patiently(
    system: &SystemDefinition,
    addresses: &Addresses,
    patience: Duration,
) -> Result<(), WorkloadError> {
    for beaten in groups(system, addresses)? {
        let made = patiently(Instant::now() + patience, async || {
            let (primary, session) = with_role(&beaten.members, Role::Primary, ANSWER).await?;
            session.execute(TABLE).await.map_err(|error| in_full(&error))?;
            let others = beaten.members.iter().filter(|member| member.name != primary.name);
            join_all(others.map(set_up_closed))
                .await
                .into_iter()
                .collect::<Result<(), String>>()
        });
        made.await.map_err(|reason| WorkloadError::Heartbeats {
            group: beaten.group.to_owned(),
            reason,
        })?;
    }
    Ok(())
}

/// Makes the table on a member that is closed. One that does not answer is none.
async fn set_up_closed(member: &Member) -> Result<(), String> {
    let asked = async {
        let session = Session::open(&member.config).await?;
        let is_closed = !session.is_in_recovery().await? && session.only_reads().await?;
        Ok::<_, String>(is_closed.then_some(session))
    };
    let Ok(Ok(Some(session))) = tokio::time::timeout(ANSWER, asked).await else {
        return Ok(());
    };
    for statement in [WRITE_ALL_THE_SAME, TABLE] {
        let made = session.execute(statement).await;
        made.map_err(|error| format!("{}: {}", member.name, in_full(&error)))?;
    }
    Ok(())
}

/// Reads the table of each group's primary, within `patience`, and records what is in it of this run. A read for which
/// there is no one primary is incomplete.
pub async fn read(
    system: &SystemDefinition,
    addresses: &Addresses,
    run: &str,
    epoch: Instant,
    recorder: &Recorder,
    patience: Duration,
) -> Result<(), WorkloadError> {
    let beaten = groups(system, addresses)?;
    let reads = beaten.iter().map(async |beaten| {
        let rows = patiently(Instant::now() + patience, async || rows(beaten, run).await).await;
        record(beaten.group, &rows, epoch, recorder);
    });
    join_all(reads).await;
    Ok(())
}

/// Member and number of each row.
async fn rows(beaten: &Beaten<'_>, run: &str) -> Result<Vec<Vec<String>>, String> {
    let (member, session) = with_role(&beaten.members, Role::Primary, ANSWER).await?;
    let sql = format!(
        "select member, number from nightmail.heartbeats where run = {}",
        quoted(run)
    );
    let rows = session.rows(&sql).await;
    rows.map_err(|reason| format!("{}: {reason}", member.name))
}

fn record(group: &str, rows: &Result<Vec<Vec<String>>, String>, epoch: Instant, recorder: &Recorder) {
    let read = Heartbeat::read_of(group);
    let all = rows.as_deref().unwrap_or_default();
    for row in all {
        recorder.record(&Record::Item(Item {
            read: Cow::Borrowed(&read),
            element: Cow::Owned(row.join("/")),
            fields: Fields::default(),
        }));
    }
    recorder.record(&Record::Read(Read {
        read: Cow::Borrowed(&read),
        at_us: epoch.elapsed().as_micros() as u64,
        items: all.len() as u64,
        error: rows.as_ref().err().map(|error| Cow::Borrowed(error.as_str())),
    }));
}

/// Tries again and again until it succeeds or the time is up. That the last attempt was cut short says less than why the one
/// before it failed.
async fn patiently<T>(deadline: Instant, attempt: impl AsyncFn() -> Result<T, String>) -> Result<T, String> {
    let mut last = "no answer in time".to_owned();
    loop {
        match tokio::time::timeout_at(deadline.into(), attempt()).await {
            Ok(Err(reason)) if Instant::now() + PAUSE < deadline => {
                last = reason;
                tokio::time::sleep(PAUSE).await;
            }
            Ok(result) => return result,
            Err(_) => return Err(last),
        }
    }
}
