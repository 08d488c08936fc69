//! Metrics and final reads: by requests, or by SQL?

use super::Checker;
use crate::system::definition::{FinalRead, MetricDefinition, SqlQuery, SqlRole};
use crate::yaml::place::Place;

const EXAMPLE: &str = "`sql: {group: database, role: primary, query: \"select count(*) from orders\"}`";

impl Checker<'_> {
    /// A metric has a request with a value, or a query that gives the number itself.
    pub(super) fn source_of_metric(&mut self, place: &Place, metric: &MetricDefinition) {
        self.one_source(place, metric.request.is_some(), metric.sql.as_ref());
        match (&metric.request, &metric.sql) {
            (Some(_), None) if metric.value.is_none() => {
                self.missing(
                    place,
                    "value",
                    "say where in the answer the number is, for example `value: body.count`",
                );
            }
            (None, Some(_)) => {
                let others = [
                    ("value", metric.value.is_some(), "a query gives the number itself"),
                    (
                        "over-replicas",
                        metric.over_replicas.is_some(),
                        "a query goes to one member",
                    ),
                ];
                self.without(place, others);
            }
            _ => {}
        }
    }

    /// A final read has a request whose answers become items, or a query whose rows are the items.
    pub(super) fn source_of_read(&mut self, place: &Place, read: &FinalRead) {
        self.one_source(place, read.request.is_some(), read.sql.as_ref());
        match (&read.request, &read.sql) {
            (Some(_), None) if read.items.is_none() => {
                self.missing(
                    place,
                    "items",
                    "say how an answer becomes items: `items: {json: {at: /items, element: key}}`",
                );
            }
            (None, Some(_)) => {
                let others = [
                    ("items", read.items.is_some(), "the rows of a query are the items"),
                    ("every-replica", read.every_replica, "a query goes to one member"),
                ];
                self.without(place, others);
            }
            _ => {}
        }
    }

    fn one_source(&mut self, place: &Place, has_request: bool, sql: Option<&SqlQuery>) {
        match (has_request, sql) {
            (true, Some(_)) => self.found.push(
                self.document
                    .at_key(&place.key("sql"), "`request` and `sql` exclude each other")
                    .label("a request, or a query?")
                    .hint("remove one of them"),
            ),
            (false, None) => self.missing(
                place,
                "request",
                "say what is sent: `request: {service: api, port: 8080, path: /}`, or what is asked of a database: `sql: ...`",
            ),
            _ => {}
        }
        if let Some(sql) = sql {
            self.query(&place.key("sql"), sql);
        }
    }

    fn query(&mut self, place: &Place, sql: &SqlQuery) {
        self.group_with_roles(&place.key("group"), &sql.group, false);
        if let (SqlRole::Member(member), Some(group)) = (&sql.role, self.definition.groups.get(&sql.group)) {
            let at = place.key("role").key("member");
            let is_member = self.known(&at, "member", member, group.services.iter());
            let replicas = self.replicas.get(member).copied().unwrap_or(1);
            if is_member && replicas != 1 {
                self.found.push(
                    self.document
                        .at_value(&at, format!("`{member}` has {replicas} replicas"))
                        .label("which of them?")
                        .allowed("a service with one replica")
                        .hint("ask for `primary` or `standby`"),
                );
            }
        }
        if sql.query.trim().is_empty() {
            self.found.push(
                self.document
                    .at_value(&place.key("query"), "there is nothing to ask")
                    .label("empty")
                    .allowed("one statement that gives rows")
                    .hint(format!("for example {EXAMPLE}")),
            );
        }
        if sql.timeout.0 == 0 {
            self.found.push(
                self.document
                    .at_value(&place.key("timeout"), "no query ends that soon")
                    .allowed("1ms or more")
                    .hint("leave it out for 2s"),
            );
        }
    }

    fn without<const N: usize>(&mut self, place: &Place, others: [(&str, bool, &str); N]) {
        for (key, _, reason) in others.into_iter().filter(|(_, is_there, _)| *is_there) {
            self.found.push(
                self.document
                    .at_key(
                        &place.key(key),
                        format!("`sql` and `{key}` exclude each other: {reason}"),
                    )
                    .hint(format!("remove `{key}`")),
            );
        }
    }

    fn missing(&mut self, place: &Place, key: &str, hint: &str) {
        self.found
            .push(self.document.at_value(place, format!("`{key}` is missing")).hint(hint));
    }
}
