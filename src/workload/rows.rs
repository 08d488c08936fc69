//! Final reads by SQL: the rows of a query are the items.

use std::borrow::Cow;
use std::time::Instant;

use super::Problem;
use super::client::Client;
use super::reads::PAUSE;
use super::session::Rows;
use super::sql::{ELEMENT, Query, ROWS_MAX};
use crate::history::record::Recorder;
use crate::history::{Fields, Item, Record};
use crate::system::definition::{SqlQuery, SystemDefinition};

/// A final read by SQL, compiled.
#[derive(Debug)]
pub(super) struct RowsReader {
    pub(super) name: String,
    query: Query,
}

impl RowsReader {
    /// Compiles the query of the final read `name`.
    pub(super) fn compile(name: &str, sql: &SqlQuery, system: &SystemDefinition) -> Result<Self, Problem> {
        Ok(Self {
            name: name.to_owned(),
            query: Query::compile(sql, &format!("final-reads.{name}.sql"), system)?,
        })
    }

    /// The services whose replicas may be asked.
    pub(super) fn services(&self) -> impl Iterator<Item = &str> {
        self.query.services()
    }

    /// Gives the number of items recorded, and whether they are all. Asks until there is an answer; one that is no list of
    /// items stays an error: it would be the same again.
    pub(super) async fn read(
        &self,
        client: &Client,
        recorder: &Recorder,
        deadline: Instant,
    ) -> (u64, Result<(), String>) {
        let items = self.answer(client, deadline).await.and_then(|rows| items(&rows));
        let items = match items {
            Ok(items) => items,
            Err(error) => return (0, Err(error)),
        };
        for (element, fields) in &items {
            recorder.record(&Record::Item(Item {
                read: Cow::Borrowed(&self.name),
                element: Cow::Borrowed(element),
                fields: fields.clone(),
            }));
        }
        (items.len() as u64, Ok(()))
    }

    async fn answer(&self, client: &Client, deadline: Instant) -> Result<Rows, String> {
        let mut attempts = 0;
        loop {
            attempts += 1;
            match self.query.all(|service| client.addresses(service)).await {
                Ok(rows) => return Ok(rows),
                Err(reason) if Instant::now() + PAUSE > deadline => {
                    return Err(format!("after {attempts} attempts, {reason}"));
                }
                Err(_) => tokio::time::sleep(PAUSE).await,
            }
        }
    }
}

/// Each row's `element`, and its other columns.
fn items(rows: &Rows) -> Result<Vec<(String, Fields<'static>)>, String> {
    if rows.rows.len() > ROWS_MAX {
        return Err(format!("the query gives more than {ROWS_MAX} rows"));
    }
    let columns = &rows.columns;
    let names = || {
        columns
            .iter()
            .map(|column| format!("`{}`", column.name))
            .collect::<Vec<_>>()
    };
    let element = columns.iter().position(|column| column.name == ELEMENT);
    let element = element.ok_or_else(|| {
        format!(
            "no column of the query is named `{ELEMENT}`; there are {}",
            names().join(", ")
        )
    })?;
    let item = |row: &Vec<Option<String>>| {
        let identity = row.get(element).cloned().flatten();
        let identity = identity.ok_or_else(|| format!("the `{ELEMENT}` of a row is NULL"))?;
        let others = columns.iter().zip(row).enumerate().filter(|(at, _)| *at != element);
        let fields = others.map(|(_, (column, text))| (Cow::Owned(column.name.clone()), column.value(text.as_deref())));
        Ok((identity, fields.collect()))
    };
    rows.rows.iter().map(item).collect()
}
