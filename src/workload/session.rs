//! A connection to a PostgreSQL server, for heartbeats and queries.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::TryStreamExt;
use tokio::task::JoinSet;
use tokio_postgres::error::{Severity, SqlState};
use tokio_postgres::types::Type;
use tokio_postgres::{AsyncMessage, CancelToken, Client, Config, NoTls, SimpleQueryMessage};

use crate::system::postgres::in_full;

/// How a write ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Answer {
    /// Acknowledged.
    Acknowledged,
    /// Refused, since the server only reads.
    OnlyReads(String),
    /// Something else was said, or nothing.
    Failed(String),
}

/// A column of an answer.
#[derive(Debug, Clone)]
pub(super) struct Column {
    pub(super) name: String,
    pub(super) kind: Type,
}

/// What a statement gave: its columns, and rows with a value for each, absent where it is NULL.
#[derive(Debug)]
pub(super) struct Rows {
    pub(super) columns: Vec<Column>,
    pub(super) rows: Vec<Vec<Option<String>>>,
}

/// A connection. Nothing here bounds its time; the caller does. Dropping it closes the socket, whatever is under way.
#[derive(Debug)]
pub(super) struct Session {
    client: Client,
    /// The last warning that the server gave.
    warning: Arc<Mutex<Option<String>>>,
    _connection: JoinSet<()>,
}

impl Session {
    /// Connects, and waits until the server takes statements.
    pub(super) async fn open(config: &Config) -> Result<Self, String> {
        let opened = config.connect(NoTls).await;
        let (client, mut connection) = opened.map_err(|error| in_full(&error))?;
        let warning: Arc<Mutex<Option<String>>> = Arc::default();
        let warned = warning.clone();
        let mut driver = JoinSet::new();
        // What breaks the connection is told to whoever asks on it.
        driver.spawn(async move {
            while let Some(Ok(message)) = poll_fn(|context| connection.poll_message(context)).await {
                if let AsyncMessage::Notice(notice) = message
                    && notice.parsed_severity() == Some(Severity::Warning)
                {
                    *warned.lock().unwrap_or_else(PoisonError::into_inner) = Some(notice.message().to_owned());
                }
            }
        });
        let session = Self {
            client,
            warning,
            _connection: driver,
        };
        // Whatever the server remarks about the connection itself has been said when this is answered.
        session.execute("").await.map_err(|error| in_full(&error))?;
        Ok(session)
    }

    /// Writes. A commit that comes back with a warning is none that can be relied on: so it does where the wait for a
    /// synchronous standby was cancelled.
    pub(super) async fn write(&self, sql: &str) -> Answer {
        self.take_warning();
        match self.execute(sql).await {
            Ok(()) => match self.take_warning() {
                None => Answer::Acknowledged,
                Some(warning) => Answer::Failed(format!("with a warning: {warning}")),
            },
            Err(error) if error.code() == Some(&SqlState::READ_ONLY_SQL_TRANSACTION) => {
                Answer::OnlyReads(in_full(&error))
            }
            Err(error) => Answer::Failed(in_full(&error)),
        }
    }

    /// Statements whose answers are of no interest.
    pub(super) async fn execute(&self, sql: &str) -> Result<(), tokio_postgres::Error> {
        self.client.batch_execute(sql).await
    }

    /// The rows of an answer, each as text; what is NULL is an empty text.
    pub(super) async fn rows(&self, sql: &str) -> Result<Vec<Vec<String>>, String> {
        let messages = self.client.simple_query(sql).await.map_err(|error| in_full(&error))?;
        let rows = messages.iter().filter_map(|message| match message {
            SimpleQueryMessage::Row(row) => Some(row),
            _ => None,
        });
        let text = |row: &tokio_postgres::SimpleQueryRow| {
            let columns = (0..row.len()).map(|column| row.get(column).unwrap_or_default().to_owned());
            columns.collect()
        };
        Ok(rows.map(text).collect())
    }

    /// What one statement gives in a transaction that only reads, each value as text; one row more than `rows_max` at most,
    /// so that whoever asks sees that there are more. The session is of no further use.
    pub(super) async fn select(&self, sql: &str, limit: Duration, rows_max: usize) -> Result<Rows, String> {
        let limit_ms = limit.as_millis();
        let begin = format!("begin read only; set local statement_timeout = {limit_ms}");
        self.execute(&begin).await.map_err(|error| in_full(&error))?;
        // One statement alone can be prepared, so that none can end the transaction and go on. And rows have no types.
        let prepared = self.client.prepare(sql).await.map_err(|error| in_full(&error))?;
        if !prepared.params().is_empty() {
            return Err("the query has parameters (`$1`), and there is nothing to fill them in".to_owned());
        }
        if prepared.columns().is_empty() {
            return Err("the query gives no rows: it must be a SELECT".to_owned());
        }
        let columns = prepared.columns().iter().map(|column| Column {
            name: column.name().to_owned(),
            kind: column.type_().clone(),
        });
        let columns: Vec<Column> = columns.collect();
        let messages = self
            .client
            .simple_query_raw(sql)
            .await
            .map_err(|error| in_full(&error))?;
        let mut messages = pin!(messages);
        let mut rows = Vec::new();
        while rows.len() <= rows_max {
            match messages.try_next().await.map_err(|error| in_full(&error))? {
                Some(SimpleQueryMessage::Row(row)) => {
                    rows.push((0..row.len()).map(|at| row.get(at).map(str::to_owned)).collect());
                }
                Some(_) => {}
                None => break,
            }
        }
        Ok(Rows { columns, rows })
    }

    /// Whether it follows another server. It may be that it is a primary and accepts no writes all the same.
    pub(super) async fn is_in_recovery(&self) -> Result<bool, String> {
        let rows = self.rows("select pg_is_in_recovery()").await?;
        Ok(rows.first().and_then(|row| row.first()).is_some_and(|said| said == "t"))
    }

    /// Whether transactions only read unless they say otherwise.
    pub(super) async fn only_reads(&self) -> Result<bool, String> {
        let rows = self.rows("show default_transaction_read_only").await?;
        Ok(rows
            .first()
            .and_then(|row| row.first())
            .is_some_and(|said| said == "on"))
    }

    /// What ends a statement that is under way, without this connection.
    pub(super) fn cancel_token(&self) -> CancelToken {
        self.client.cancel_token()
    }

    fn take_warning(&self) -> Option<String> {
        self.warning.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}
