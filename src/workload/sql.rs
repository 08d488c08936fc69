//! Queries in place of requests: to the member of a group that has a role, through a connection of the harness, in a
//! transaction that only reads.
//!
//! A query is prepared first, which allows one statement and no more, so that none can end the transaction; and it tells
//! the columns' types, since rows are read as text.

use std::net::Ipv4Addr;
use std::time::Duration;

use tokio_postgres::types::Type;

use super::Problem;
use super::members::{Member, members, with_role};
use super::session::{Column, Rows, Session};
use crate::history;
use crate::plan::Role;
use crate::system::definition::{Roles, SqlQuery, SqlRole, SystemDefinition};

/// Beyond this a list is not read: it must fit into memory, several times.
pub(super) const ROWS_MAX: usize = 1_000_000;

/// Name of the column that identifies a row.
pub(super) const ELEMENT: &str = "element";

/// How long the other members may take to say that they have the role, too.
const GRACE: Duration = Duration::from_millis(100);

/// A query, compiled.
#[derive(Debug)]
pub(super) struct Query {
    services: Vec<String>,
    roles: Roles,
    /// Which of them, unless they are a member by name.
    role: Option<Role>,
    text: String,
    /// The server's limit for the statement.
    timeout: Duration,
}

impl Query {
    /// Compiles the query at `at`, a place of the definition.
    pub(super) fn compile(definition: &SqlQuery, at: &str, system: &SystemDefinition) -> Result<Self, Problem> {
        let SqlQuery {
            group: name,
            role,
            query,
            timeout,
        } = definition;
        let group = system.groups.get(name);
        let group = group.and_then(|group| Some((&group.services, group.roles.as_ref()?)));
        let Some((services, roles)) = group else {
            let message = format!("`{name}` is no group with roles");
            return Err(Problem::new(format!("{at}.group"), message));
        };
        let (services, role) = match role {
            SqlRole::Primary => (services.clone(), Some(Role::Primary)),
            SqlRole::Standby => (services.clone(), Some(Role::Standby)),
            SqlRole::Member(member) if services.contains(member) => (vec![member.clone()], None),
            SqlRole::Member(member) => {
                let message = format!("`{member}` is no member of `{name}`");
                return Err(Problem::new(format!("{at}.role.member"), message));
            }
        };
        if query.trim().is_empty() {
            return Err(Problem::new(format!("{at}.query"), "the query is empty".to_owned()));
        }
        Ok(Self {
            services,
            roles: roles.clone(),
            role,
            text: query.clone(),
            timeout: timeout.as_duration(),
        })
    }

    /// The services whose replicas may be asked.
    pub(super) fn services(&self) -> impl Iterator<Item = &str> {
        self.services.iter().map(String::as_str)
    }

    /// The one number that the query gives, within its time and as much again for connecting.
    pub(super) async fn number<'a>(&self, addresses: impl Fn(&str) -> Option<&'a [Ipv4Addr]>) -> Result<f64, String> {
        let Rows { columns, rows } = self.bounded(addresses, 1).await?;
        let ([column], [row]) = (&columns[..], &rows[..]) else {
            let rows = match rows.len() {
                0 => "no row",
                1 => "one row",
                _ => "more than one row",
            };
            let columns = columns.len();
            return Err(format!("the query gives {rows} of {columns} columns, not one number"));
        };
        let text = row.first().and_then(Option::as_deref);
        let text = text.ok_or_else(|| format!("the query's `{}` is NULL", column.name))?;
        let number = text.parse().ok().filter(|number: &f64| number.is_finite());
        let number = number.filter(|_| is_number(&column.kind));
        number.ok_or_else(|| {
            let (name, kind) = (&column.name, column.kind.name());
            format!("the query's `{name}` is no number but `{text}`, of the type {kind}")
        })
    }

    /// All rows, within the query's time and as much again for connecting; but one more than [`ROWS_MAX`] at most.
    pub(super) async fn all<'a>(&self, addresses: impl Fn(&str) -> Option<&'a [Ipv4Addr]>) -> Result<Rows, String> {
        self.bounded(addresses, ROWS_MAX).await
    }

    async fn bounded<'a>(
        &self,
        addresses: impl Fn(&str) -> Option<&'a [Ipv4Addr]>,
        rows_max: usize,
    ) -> Result<Rows, String> {
        let members = members(&self.services, &self.roles, addresses).map_err(|error| error.to_string())?;
        // A server that accepts and hangs keeps no time of its own.
        let limit = self.timeout * 2;
        let answer = tokio::time::timeout(limit, self.ask(&members, rows_max)).await;
        answer.unwrap_or_else(|_| Err(format!("no answer within {} ms", limit.as_millis())))
    }

    async fn ask(&self, members: &[Member], rows_max: usize) -> Result<Rows, String> {
        let (member, session) = match (self.role, members) {
            (Some(role), _) => with_role(members, role, GRACE).await?,
            (None, [member]) => (member, Session::open(&member.config).await?),
            (None, _) => return Err(format!("{} has {} replicas, not one", self.services[0], members.len())),
        };
        let answer = session.select(&self.text, self.timeout, rows_max).await;
        answer.map_err(|reason| format!("{}: {reason}", member.name))
    }
}

fn is_number(kind: &Type) -> bool {
    is_whole(kind) || [Type::FLOAT4, Type::FLOAT8, Type::NUMERIC].contains(kind)
}

fn is_whole(kind: &Type) -> bool {
    [Type::INT2, Type::INT4, Type::INT8].contains(kind)
}

impl Column {
    /// A value of this column as the history keeps it: whole numbers and booleans as such, everything else as text.
    pub(super) fn value(&self, text: Option<&str>) -> history::Value<'static> {
        let Some(text) = text else {
            return history::Value::Null;
        };
        let as_text = || history::Value::Text(text.to_owned().into());
        if is_whole(&self.kind) {
            text.parse().map_or_else(|_| as_text(), history::Value::Int)
        } else if self.kind == Type::BOOL {
            history::Value::Bool(text == "t")
        } else {
            as_text()
        }
    }
}
