//! Asking a PostgreSQL server: for its role, to take another, and whether it accepts writes. Nothing here bounds its time; the
//! caller does.

use std::net::Ipv4Addr;

use tokio_postgres::{Client, Config, NoTls, SimpleQueryMessage};

use crate::system::definition::Roles;
use crate::system::postgres::{config, in_full};

#[cfg(test)]
pub(super) mod double;

/// A server, and who may ask it.
#[derive(Debug, Clone)]
pub(super) struct Server(Config);

impl Server {
    /// The server at that address, asked as a group's `roles` say.
    pub(super) fn of(roles: &Roles, address: Ipv4Addr) -> Self {
        Self(config(roles, address))
    }

    /// A fresh connection.
    pub(super) async fn connect(&self) -> Result<Session, String> {
        let (client, connection) = self.0.connect(NoTls).await.map_err(|error| in_full(&error))?;
        // It ends when the session is dropped. What breaks it is told to whoever asks on it.
        tokio::spawn(async move { drop(connection.await) });
        Ok(Session { client })
    }
}

/// A connection.
pub(super) struct Session {
    client: Client,
}

impl Session {
    /// Whether it follows another server, and accepts no writes.
    pub(super) async fn is_in_recovery(&self) -> Result<bool, String> {
        match self.ask("select pg_is_in_recovery()").await?.as_deref() {
            Some("t") => Ok(true),
            Some("f") => Ok(false),
            other => Err(format!("pg_is_in_recovery() answered {other:?}")),
        }
    }

    /// Asks a standby to become a primary, and does not wait for that.
    pub(super) async fn promote(&self) -> Result<(), String> {
        match self.ask("select pg_promote(false)").await?.as_deref() {
            Some("t") => Ok(()),
            other => Err(format!("pg_promote(false) answered {other:?}")),
        }
    }

    /// Whether it accepts a transaction that writes: one begins, is given its number, and is rolled back. Nothing stays of it.
    pub(super) async fn accepts_writes(&self) -> Result<(), String> {
        let begun = async {
            self.ask("begin read write").await?;
            self.ask("select txid_current()").await
        };
        let begun = begun.await;
        // A transaction that did not begin cannot be rolled back either, which is only a warning.
        self.ask("rollback").await?;
        begun.map(drop)
    }

    /// The first column of the first row of an answer.
    async fn ask(&self, sql: &str) -> Result<Option<String>, String> {
        let answer = self.client.simple_query(sql).await.map_err(|error| in_full(&error))?;
        Ok(answer.iter().find_map(|message| match message {
            SimpleQueryMessage::Row(row) => row.get(0).map(str::to_owned),
            _ => None,
        }))
    }
}
