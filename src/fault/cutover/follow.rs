//! Logical replication: the tables of one server, copied to another and kept like the first.

use std::time::Duration;

use super::side::{Side, Tables};
use crate::fault::postgres::{Refused, literal};

/// One server that follows another.
#[derive(Debug, Clone, Copy)]
pub(super) struct Follow<'a> {
    /// Of the publication, the subscription and its slot. It needs no quotes.
    pub name: &'a str,
    pub publisher: &'a Side,
    pub subscriber: &'a Side,
}

impl Follow<'_> {
    /// Begins, with a copy of what is there or with what is new alone. The tables must be the subscriber's as well.
    pub(super) async fn begin(&self, tables: &Tables, copy: bool) -> Result<(), Refused> {
        let (name, tables) = (self.name, tables.0.join(", "));
        self.publisher
            .ask(&[&format!("create publication {name} for table {tables}")])
            .await?;
        let conninfo = literal(&self.publisher.conninfo());
        let with = format!("with (copy_data = {copy})");
        let subscribe = format!("create subscription {name} connection {conninfo} publication {name} {with}");
        self.subscriber.ask(&[&subscribe]).await.map(drop)
    }

    /// Waits until every table is copied, and changes to it are followed.
    pub(super) async fn copied(&self, limit: Duration) -> Result<(), Refused> {
        let question = format!(
            "select count(*) > 0 and bool_and(srsubstate = 'r') from pg_subscription_rel \
             join pg_subscription on pg_subscription.oid = srsubid where subname = {}",
            literal(self.name)
        );
        self.subscriber
            .until(limit, &question, "not every table is copied")
            .await
    }

    /// Waits until the subscriber has all that the publisher has written up to now.
    pub(super) async fn caught_up(&self, limit: Duration) -> Result<(), Refused> {
        let written = self.publisher.ask(&["select pg_current_wal_lsn()"]).await?;
        let question = format!(
            "select count(*) = 1 and bool_and(confirmed_flush_lsn >= {}::pg_lsn) from pg_replication_slots where slot_name = {}",
            literal(&written.unwrap_or_default()),
            literal(self.name)
        );
        let unseen = format!("{} has not caught up with it", self.subscriber.id());
        self.publisher.until(limit, &question, &unseen).await
    }

    /// Ends it, on either side. What was never begun is ended as well; a publisher that is gone does not keep the subscriber.
    pub(super) async fn end(&self) -> Result<(), Refused> {
        let name = self.name;
        let drop_it = format!("drop subscription if exists {name}");
        if self.subscriber.ask(&[&drop_it]).await.is_err() {
            let (disable, detach) = (
                format!("alter subscription {name} disable"),
                format!("alter subscription {name} set (slot_name = none)"),
            );
            self.subscriber.ask(&[&disable, &detach, &drop_it]).await?;
        }
        let slot = format!(
            "select count(pg_drop_replication_slot(slot_name)) from pg_replication_slots where slot_name = {} and not active",
            literal(name)
        );
        self.publisher
            .ask(&[&format!("drop publication if exists {name}"), &slot])
            .await
            .map(drop)
    }
}
