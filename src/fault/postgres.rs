//! Asking a PostgreSQL server: for its role, to take another, whether it accepts writes, and whatever a fault of the database
//! itself wants to know. A question is bounded by [`in_time`]; nothing else here bounds its time.
//!
//! A fault of the database lives in sessions of the harness. What of it ends with its session ends when the harness dies, and
//! the server itself ends a session that is idle for longer than the fault's time-to-live.

use std::fmt;
use std::net::Ipv4Addr;
use std::time::Duration;

use tokio::task::AbortHandle;
use tokio::time::timeout;
use tokio_postgres::config::Host;
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, Config, NoTls, SimpleQueryMessage};

use crate::system::definition::Roles;
use crate::system::postgres::{config, in_full};

#[cfg(test)]
pub(super) mod double;
pub(super) mod each;
pub(super) mod guard;
pub(super) mod held;
pub(super) mod table;
pub(super) mod writes;

/// How long one question may take, connecting included.
pub(super) const ASK_WITHIN: Duration = Duration::from_secs(2);

/// A server, and who may ask it.
#[derive(Debug, Clone)]
pub(super) struct Server(Config);

impl Server {
    /// The server at that address, asked as a group's `roles` say.
    pub(super) fn of(roles: &Roles, address: Ipv4Addr) -> Self {
        Self(config(roles, address))
    }

    /// A fresh connection.
    pub(super) async fn connect(&self) -> Result<Session, Refused> {
        Self::open(&self.0).await
    }

    /// How another server reaches it, as libpq takes it.
    pub(super) fn conninfo(&self) -> String {
        let Self(config) = self;
        let host = config.get_hosts().iter().find_map(|host| match host {
            Host::Tcp(name) => Some(name.as_str()),
            Host::Unix(_) => None,
        });
        let password = config.get_password().map(String::from_utf8_lossy);
        let port = config.get_ports().first().map(ToString::to_string);
        let words = [
            ("host", host),
            ("port", port.as_deref()),
            ("user", config.get_user()),
            ("password", password.as_deref()),
            ("dbname", config.get_dbname()),
        ];
        let given = words.into_iter().filter_map(|(word, value)| {
            let escaped = value?.replace('\\', "\\\\").replace('\'', "\\'");
            Some(format!("{word}='{escaped}'"))
        });
        given.collect::<Vec<_>>().join(" ")
    }

    /// A fresh connection that others see under that name, with these settings of its own: `-c name=value`.
    pub(super) async fn connect_as(&self, application: &str, settings: &str) -> Result<Session, Refused> {
        let mut config = self.0.clone();
        config.application_name(application).options(settings);
        Self::open(&config).await
    }

    /// The variables by which PostgreSQL's own programs connect in the same way.
    pub(super) fn environment(&self, application: &str, settings: &str) -> Vec<(&'static str, String)> {
        let host = self.0.get_hosts().first().map(|host| match host {
            Host::Tcp(host) => host.clone(),
            Host::Unix(folder) => folder.display().to_string(),
        });
        let password = self
            .0
            .get_password()
            .map(|password| String::from_utf8_lossy(password).into_owned());
        let all = [
            ("PGHOST", host),
            ("PGPORT", self.0.get_ports().first().map(u16::to_string)),
            ("PGUSER", self.0.get_user().map(str::to_owned)),
            ("PGPASSWORD", password),
            ("PGDATABASE", self.0.get_dbname().map(str::to_owned)),
            ("PGAPPNAME", Some(application.to_owned())),
            ("PGOPTIONS", Some(settings.to_owned())),
        ];
        all.into_iter()
            .filter_map(|(name, value)| Some((name, value?)))
            .collect()
    }

    async fn open(config: &Config) -> Result<Session, Refused> {
        let (client, connection) = config.connect(NoTls).await.map_err(|error| Refused::of(&error))?;
        // It ends when the session is dropped. What breaks it is told to whoever asks on it.
        let connection = tokio::spawn(async move { drop(connection.await) }).abort_handle();
        Ok(Session {
            client,
            connection,
            waits: true,
        })
    }
}

/// A connection. What it has not committed is undone when it is dropped.
#[derive(Debug)]
pub(super) struct Session {
    client: Client,
    connection: AbortHandle,
    /// Dropped, it waits in the background for the answers that are still to come.
    waits: bool,
}

impl Drop for Session {
    fn drop(&mut self) {
        if !self.waits {
            self.connection.abort();
        }
    }
}

impl Session {
    /// The same session, whose connection breaks when it is dropped, whatever the server is at.
    pub(super) fn ending_at_once(mut self) -> Self {
        self.waits = false;
        self
    }

    /// Whether it follows another server, and accepts no writes.
    pub(super) async fn is_in_recovery(&self) -> Result<bool, Refused> {
        match self.ask("select pg_is_in_recovery()").await?.as_deref() {
            Some("t") => Ok(true),
            Some("f") => Ok(false),
            other => Err(Refused::because(format!("pg_is_in_recovery() answered {other:?}"))),
        }
    }

    /// Asks a standby to become a primary, and does not wait for that.
    pub(super) async fn promote(&self) -> Result<(), Refused> {
        match self.ask("select pg_promote(false)").await?.as_deref() {
            Some("t") => Ok(()),
            other => Err(Refused::because(format!("pg_promote(false) answered {other:?}"))),
        }
    }

    /// Whether it accepts a transaction that writes: one begins, is given its number, and is rolled back. Nothing stays of it.
    pub(super) async fn accepts_writes(&self) -> Result<(), Refused> {
        let begun = async {
            self.ask("begin read write").await?;
            self.ask("select txid_current()").await
        };
        let begun = begun.await;
        // A transaction that did not begin cannot be rolled back either, which is only a warning.
        self.ask("rollback").await?;
        begun.map(drop)
    }

    /// Commits a transaction that writes to the log and nothing else, and says where. It is acknowledged as any other is.
    pub(super) async fn write_to_log(&self) -> Result<String, Refused> {
        let written = self
            .ask("select pg_logical_emit_message(true, 'nightmail', '')")
            .await?;
        written.ok_or_else(|| Refused::because("pg_logical_emit_message said nothing".to_owned()))
    }

    /// The number by which others see it.
    pub(super) async fn pid(&self) -> Result<i32, Refused> {
        self.number("select pg_backend_pid()").await
    }

    /// The first column of the first row of an answer.
    pub(super) async fn ask(&self, sql: &str) -> Result<Option<String>, Refused> {
        Ok(self.row(sql).await?.into_iter().next().flatten())
    }

    /// The first column of the first row, which must be a number.
    pub(super) async fn number<N: std::str::FromStr>(&self, sql: &str) -> Result<N, Refused> {
        let answer = self.ask(sql).await?;
        let number = answer.as_deref().and_then(|answer| answer.parse().ok());
        number.ok_or_else(|| Refused::because(format!("`{sql}` answered {answer:?}")))
    }

    /// Runs a statement; how many rows it touched.
    pub(super) async fn execute(&self, sql: &str) -> Result<u64, Refused> {
        let answer = self.client.simple_query(sql).await;
        let answer = answer.map_err(|error| Refused::of(&error))?;
        let touched = answer.iter().map(|message| match message {
            SimpleQueryMessage::CommandComplete(rows) => *rows,
            _ => 0,
        });
        Ok(touched.sum())
    }

    /// Runs a statement in a transaction of its own, and asks something before the commit; how many rows the statement
    /// touched, and the first column of the answer. All of it goes to the server at once, so that no lock is held for longer.
    pub(super) async fn execute_and_ask(
        &self,
        statement: &str,
        question: &str,
    ) -> Result<(u64, Option<String>), Refused> {
        let whole = format!("begin; {statement}\n; {question}; commit");
        let answer = match self.client.simple_query(&whole).await {
            Ok(answer) => answer,
            Err(error) => {
                drop(self.ask("rollback").await);
                return Err(Refused::of(&error));
            }
        };
        let (mut touched, mut asked) = (Vec::new(), None);
        for message in &answer {
            match message {
                SimpleQueryMessage::CommandComplete(rows) => touched.push(*rows),
                SimpleQueryMessage::Row(row) => asked = row.get(0).map(str::to_owned),
                _ => {}
            }
        }
        // That of the statement comes before those of the question and the commit.
        let touched = touched.iter().rev().nth(2).copied();
        Ok((touched.unwrap_or_default(), asked))
    }

    /// The first row of an answer, empty if there is none.
    pub(super) async fn row(&self, sql: &str) -> Result<Vec<Option<String>>, Refused> {
        let answer = self.client.simple_query(sql).await;
        let answer = answer.map_err(|error| Refused::of(&error))?;
        let row = answer.iter().find_map(|message| match message {
            SimpleQueryMessage::Row(row) => Some((0..row.len()).map(|at| row.get(at).map(str::to_owned)).collect()),
            _ => None,
        });
        Ok(row.unwrap_or_default())
    }
}

/// Why a server would not, in its own words or the kernel's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refused {
    /// The server's SQLSTATE, if it was the server.
    pub(super) code: Option<String>,
    reason: String,
}

impl Refused {
    /// An answer that is none.
    pub(super) fn because(reason: String) -> Self {
        Self { code: None, reason }
    }

    fn of(error: &tokio_postgres::Error) -> Self {
        Self {
            code: error.code().map(|state| state.code().to_owned()),
            reason: in_full(error),
        }
    }

    /// Whether the server said so by that SQLSTATE.
    pub(super) fn is(&self, state: &SqlState) -> bool {
        self.code.as_deref() == Some(state.code())
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reason)
    }
}

impl From<Refused> for String {
    fn from(refused: Refused) -> Self {
        refused.reason
    }
}

/// The answer, or that there was none in time.
pub(super) async fn in_time<T>(asked: impl Future<Output = Result<T, Refused>>) -> Result<T, Refused> {
    match timeout(ASK_WITHIN, asked).await {
        Ok(answer) => answer,
        Err(_) => Err(Refused::because(format!("no answer within {} s", ASK_WITHIN.as_secs()))),
    }
}

/// A text as a statement has it.
pub(super) fn literal(text: &str) -> String {
    // With a backslash it must say that it has some, whatever the server's settings.
    let (quotes, prefix) = (text.replace('\'', "''"), if text.contains('\\') { "E" } else { "" });
    format!("{prefix}'{}'", quotes.replace('\\', "\\\\"))
}

/// A time-out as the server's settings take it, which end at 24 days.
pub(super) fn setting_ms(limit: Duration) -> i32 {
    i32::try_from(limit.as_millis()).unwrap_or(i32::MAX).max(1)
}
