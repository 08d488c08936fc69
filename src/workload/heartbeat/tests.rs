//! Heartbeats against real servers: what each answers is what is recorded, and two writers do not go unseen.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde_json::json;
use tempfile::TempDir;

use super::{Heartbeats, read, set_up, table};
use crate::check::one_writer::OneWriter;
use crate::check::{Checker, Evidence};
use crate::history::load::History;
use crate::history::record::Recorder;
use crate::history::{Heartbeat, Outcome};
use crate::system::definition::SystemDefinition;
use crate::system::postgres::config;
use crate::system::postgres::scratch::{PATIENCE, Postgres};
use crate::verdict::{Finding, Judgement};
use crate::workload::Addresses;
use crate::workload::session::{Answer, Session};

const OLD: &str = "db-a-1";
const NEW: &str = "db-b-1";

/// A group of servers that is written to.
struct Beating {
    system: SystemDefinition,
    addresses: Addresses,
    epoch: Instant,
    recorder: Recorder,
    path: PathBuf,
    _folder: TempDir,
}

impl Beating {
    /// The servers are the members `db-a`, `db-b` and so on.
    fn new(servers: &[&Postgres]) -> Self {
        let services = ["db-a", "db-b"].iter().zip(servers);
        let addresses: Addresses = services
            .map(|(name, server)| ((*name).to_owned(), vec![server.address]))
            .collect();
        let system = json!({
            "name": "shop", "title": "A shop", "operations": {},
            "groups": {"database": {
                "services": addresses.keys().collect::<Vec<_>>(),
                "roles": servers[0].roles(),
            }},
            "heartbeats": {"database": {"every": "20ms", "timeout": "300ms"}},
        });
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("history.jsonl");
        Self {
            system: serde_json::from_value(system).unwrap(),
            addresses,
            epoch: Instant::now(),
            recorder: Recorder::create(&path).unwrap(),
            path,
            _folder: folder,
        }
    }

    async fn start(&self) -> Heartbeats {
        set_up(&self.system, &self.addresses).await.unwrap();
        Heartbeats::start(&self.system, &self.addresses, "run-1", self.epoch, &self.recorder).unwrap()
    }

    /// Waits until so many of the heartbeats begun from now on, of each member named, have ended so.
    async fn until(&self, wanted: &[(&str, Outcome)]) {
        const ENOUGH: usize = 3;
        let from_us = self.epoch.elapsed().as_micros() as u64;
        let start = Instant::now();
        loop {
            let counts = self.look(|history| {
                let recent = history.heartbeats.iter().filter(|beat| beat.sent_us >= from_us);
                let mut counts: BTreeMap<(String, Outcome), usize> = BTreeMap::new();
                recent.for_each(|beat| *counts.entry((beat.member.to_string(), beat.outcome)).or_default() += 1);
                counts
            });
            let counts = counts.await;
            let enough = |(member, outcome): &(&str, Outcome)| {
                counts
                    .get(&((*member).to_owned(), *outcome))
                    .is_some_and(|count| *count >= ENOUGH)
            };
            if wanted.iter().all(enough) {
                return;
            }
            assert!(start.elapsed() < PATIENCE, "{wanted:?} did not come: {counts:?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    async fn look<T>(&self, look: impl FnOnce(&History<'_>) -> T) -> T {
        self.recorder.flush().await.unwrap();
        let text = std::fs::read(&self.path).unwrap();
        look(&History::parse(&text).unwrap())
    }

    /// Ends the heartbeats, reads the table and judges.
    async fn finish(&self, heartbeats: Heartbeats) -> Finding {
        heartbeats.stop().await;
        let patience = Duration::from_millis(500);
        let read = read(
            &self.system,
            &self.addresses,
            "run-1",
            self.epoch,
            &self.recorder,
            patience,
        );
        read.await.unwrap();
        let checker = OneWriter {
            group: "database".to_owned(),
        };
        self.look(|history| checker.check(&Evidence::gather(history)).finding(None))
            .await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_standby_that_is_promoted_while_the_old_primary_lives_makes_two_writers() {
    let old = Postgres::start();
    let new = old.standby();
    let beating = Beating::new(&[&old, &new]);
    let heartbeats = beating.start().await;
    beating.until(&[(OLD, Outcome::Ok), (NEW, Outcome::Fail)]).await;
    new.promote();
    beating.until(&[(OLD, Outcome::Ok), (NEW, Outcome::Ok)]).await;
    let finding = beating.finish(heartbeats).await;
    assert_eq!(finding.verdict, Judgement::Fail, "{finding:?}");
    assert_eq!(finding.evidence.len(), 1);
    let said = "db-a-1 and db-b-1 both acknowledged writes for at least ";
    assert!(finding.evidence[0].starts_with(said), "{finding:?}");
    assert!(
        finding.detail.contains("and the old went on until"),
        "{}",
        finding.detail
    );
    let unknown = "how many of them are lost is not known: there is more than one primary: \
                   db-a-1 is a primary; db-b-1 is a primary";
    assert!(finding.detail.ends_with(unknown), "{}", finding.detail);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_standby_that_is_promoted_after_the_end_of_the_old_primary_makes_one_writer() {
    let mut old = Postgres::start();
    let new = old.standby();
    let beating = Beating::new(&[&old, &new]);
    let heartbeats = beating.start().await;
    beating.until(&[(OLD, Outcome::Ok), (NEW, Outcome::Fail)]).await;
    old.kill();
    beating.until(&[(OLD, Outcome::Info), (NEW, Outcome::Fail)]).await;
    new.promote();
    beating.until(&[(OLD, Outcome::Info), (NEW, Outcome::Ok)]).await;
    let finding = beating.finish(heartbeats).await;
    assert_eq!(finding.verdict, Judgement::Pass, "{finding:?}");
    assert!(
        finding
            .detail
            .contains("db-b-1 took over from db-a-1: last write of the old at"),
        "{}",
        finding.detail
    );
    beating
        .look(|history| {
            let list = &history.reads[&Heartbeat::read_of("database")];
            assert!(list.complete, "{list:?}");
            let mut of_new = history
                .heartbeats
                .iter()
                .filter(|beat| beat.member == NEW && beat.outcome == Outcome::Ok);
            let is_there = |beat: &Heartbeat<'_>| {
                list.items
                    .iter()
                    .any(|item| *item.element == format!("{NEW}/{}", beat.number))
            };
            assert!(of_new.all(is_there));
        })
        .await;
}

const CLOSE: [&str; 2] = [
    "alter system set default_transaction_read_only = on",
    "select pg_reload_conf()",
];
const OPEN: [&str; 2] = [
    "alter system reset default_transaction_read_only",
    "select pg_reload_conf()",
];

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_closed_refuses_until_it_is_opened_in_place_of_the_other() {
    let old = Postgres::start();
    let new = old.another();
    new.execute(&CLOSE).await;
    let beating = Beating::new(&[&old, &new]);
    let heartbeats = beating.start().await;
    beating.until(&[(OLD, Outcome::Ok), (NEW, Outcome::Fail)]).await;
    old.execute(&CLOSE).await;
    beating.until(&[(OLD, Outcome::Fail), (NEW, Outcome::Fail)]).await;
    new.execute(&OPEN).await;
    beating.until(&[(OLD, Outcome::Fail), (NEW, Outcome::Ok)]).await;
    let finding = beating.finish(heartbeats).await;
    assert_eq!(finding.verdict, Judgement::Pass, "{finding:?}");
    assert!(
        finding.detail.contains("db-b-1 took over from db-a-1"),
        "{}",
        finding.detail
    );
    beating
        .look(|history| {
            let list = &history.reads[&Heartbeat::read_of("database")];
            assert!(list.complete, "{list:?}");
            let is_of_new = |item: &crate::history::Item<'_>| item.element.starts_with(NEW);
            assert!(!list.items.is_empty() && list.items.iter().all(is_of_new), "{list:?}");
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_primary_without_its_standby_had_acknowledged_is_lost() {
    let mut old = Postgres::start();
    let new = old.standby();
    let beating = Beating::new(&[&old, &new]);
    let heartbeats = beating.start().await;
    beating.until(&[(OLD, Outcome::Ok), (NEW, Outcome::Fail)]).await;
    // The standby goes on with what it has, and asks nobody for more.
    new.execute(&["alter system set primary_conninfo = ''", "select pg_reload_conf()"])
        .await;
    while old.number("select count(*) from pg_stat_replication").await > 0 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    beating.until(&[(OLD, Outcome::Ok)]).await;
    old.kill();
    new.promote();
    beating.until(&[(NEW, Outcome::Ok)]).await;
    let finding = beating.finish(heartbeats).await;
    assert_eq!(finding.verdict, Judgement::Pass, "{finding:?}");
    let lost = finding.detail.split("; ").last().unwrap();
    let (count, told) = lost.split_once(' ').unwrap();
    assert!(count.parse::<u32>().unwrap() >= 3, "{lost}");
    assert!(told.starts_with("of them lost, the oldest acknowledged "), "{lost}");
    assert!(told.ends_with("ms before the last write of db-a-1"), "{lost}");
}

#[tokio::test(flavor = "multi_thread")]
async fn commits_that_hang_are_not_acknowledged_and_do_not_pile_up() {
    let server = Postgres::start();
    let beating = Beating::new(&[&server]);
    let heartbeats = beating.start().await;
    beating.until(&[(OLD, Outcome::Ok)]).await;
    let hang = "alter system set synchronous_standby_names = 'nobody'";
    server.execute(&[hang, "select pg_reload_conf()"]).await;
    // Nine of them, each given up.
    for _ in 0..3 {
        beating.until(&[(OLD, Outcome::Info)]).await;
    }
    let waiting = "select count(*) from pg_stat_activity where wait_event = 'SyncRep'";
    assert!(server.number(waiting).await <= 2);
    let last = beating.look(|history| {
        history
            .heartbeats
            .last()
            .map(|beat| (beat.outcome, beat.error.clone().map(|error| error.into_owned())))
    });
    assert_eq!(last.await, Some((Outcome::Info, Some("timeout".to_owned()))));
    heartbeats.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_whose_wait_was_cancelled_is_no_acknowledgement() {
    let server = Postgres::start();
    let beating = Beating::new(&[&server]);
    set_up(&beating.system, &beating.addresses).await.unwrap();
    let hang = "alter system set synchronous_standby_names = 'nobody'";
    server.execute(&[hang, "select pg_reload_conf()"]).await;
    let session = Session::open(&config(&server.roles(), server.address)).await.unwrap();
    session.execute("set synchronous_commit = on").await.unwrap();
    let insert = table::insert("run-1", OLD, 1);
    let cancel = async {
        let cancel = "select count(pg_cancel_backend(pid)) from pg_stat_activity where wait_event = 'SyncRep'";
        while server.number(cancel).await == 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let (answer, ()) = tokio::join!(session.write(&insert), cancel);
    let warned = "with a warning: canceling wait for synchronous replication due to user request";
    assert_eq!(answer, Answer::Failed(warned.to_owned()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_may_not_be_made_ends_the_set_up_with_what_the_server_said() {
    let server = Postgres::start();
    server.execute(&["create role guest login"]).await;
    let mut beating = Beating::new(&[&server]);
    let group = beating.system.groups.get_mut("database").unwrap();
    let mut roles = server.roles();
    let crate::system::definition::Roles::Postgres { user, .. } = &mut roles;
    "guest".clone_into(user);
    group.roles = Some(roles);
    let error = table::set_up_patiently(&beating.system, &beating.addresses, Duration::from_secs(5)).await;
    let error = error.unwrap_err().to_string();
    assert!(
        error.starts_with("the table for the heartbeats of `database` could not be made on its primary: db error: ")
            && error.contains("permission denied for database postgres"),
        "{error}"
    );
}
