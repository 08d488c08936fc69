//! Requests for one replica, and readings of all: a number that no replica has must not wait for the run.

use super::Checker;
use crate::experiment::resolve::plural;
use crate::system::definition::{
    FinalRead, Items, MetricDefinition, OperationDefinition, RequestTemplate, SetupStep, ValueSource,
};
use crate::workload::reads::REPLICA;
use crate::workload::{pool_values, replica_number, variable_name};
use crate::yaml::place::Place;

/// What a template of one plain name draws on.
enum Drawn<'a> {
    From(&'a ValueSource),
    EachOf(&'a str),
}

impl Checker<'_> {
    /// The replicas that an operation's attempts go to.
    pub(super) fn replica_of_operation(&mut self, place: &Place, operation: &OperationDefinition) {
        let drawn = |name: &str| {
            let mut values = operation.values.iter();
            let found = values.find(|(value, _)| variable_name(value) == name);
            found.map(|(_, source)| Drawn::From(source))
        };
        self.replica(&place.key("request"), &operation.request, drawn);
    }

    /// The replicas that the requests of a set-up step go to.
    pub(super) fn replica_of_step(&mut self, place: &Place, step: &SetupStep) {
        let drawn = |name: &str| {
            let pool = step.for_each.as_deref().filter(|pool| variable_name(pool) == name);
            pool.map(Drawn::EachOf)
        };
        let request = place.key("request");
        match step.every_replica {
            true => self.each_or_one(&request, &step.request, "every-replica"),
            false => self.replica(&request, &step.request, drawn),
        }
    }

    /// The replicas that a gauge is read of.
    pub(super) fn replica_of_metric(&mut self, place: &Place, metric: &MetricDefinition, asked: &RequestTemplate) {
        let request = place.key("request");
        match metric.over_replicas {
            Some(_) => self.each_or_one(&request, asked, "over-replicas"),
            None => self.replica(&request, asked, |_| None),
        }
    }

    /// The replicas that a final read is made of; where it is each, their number has the field's name for itself.
    pub(super) fn replica_of_read(&mut self, place: &Place, read: &FinalRead, asked: &RequestTemplate) {
        let request = place.key("request");
        if !read.every_replica {
            return self.replica(&request, asked, |_| None);
        }
        self.each_or_one(&request, asked, "every-replica");
        let items = place.key("items");
        let taken = match &read.items {
            Some(Items::Json { fields, .. }) => fields
                .iter()
                .position(|field| field == REPLICA)
                .map(|index| items.key("json").key("fields").index(index)),
            Some(Items::Lines { matches }) => {
                let regex = regex::Regex::new(matches).ok();
                let mut groups = regex.iter().flat_map(|regex| regex.capture_names().flatten());
                groups
                    .any(|group| group == REPLICA)
                    .then(|| items.key("lines").key("matches"))
            }
            None => None,
        };
        if let Some(place) = taken {
            self.found.push(
                self.document
                    .at_value(
                        &place,
                        "with `every-replica` the field `replica` is the number of the replica that gave the item",
                    )
                    .label("name taken")
                    .hint("leave this field out, or read one replica alone"),
            );
        }
    }

    fn each_or_one(&mut self, place: &Place, request: &RequestTemplate, each: &str) {
        if request.replica.is_some() {
            self.found.push(
                self.document
                    .at_key(
                        &place.key("replica"),
                        format!("`replica` and `{each}` exclude each other"),
                    )
                    .label("one replica, or each?")
                    .hint("remove one of them"),
            );
        }
    }

    /// The number must be one that a replica has, as far as it can be known: if it stands there, or is drawn by a template
    /// of one plain name. What other templates give shows when they are filled in.
    fn replica<'d>(&mut self, place: &Place, request: &RequestTemplate, drawn: impl Fn(&str) -> Option<Drawn<'d>>) {
        let (Some(template), Some(&count)) = (&request.replica, self.replicas.get(&request.service)) else {
            return;
        };
        let name = plain_name(template);
        let wrong = match name {
            Some(name) => drawn(name).and_then(|drawn| self.wrong_number(&drawn, count)),
            None if template.contains('{') => None,
            None => unless_replica(template, count),
        };
        let Some(wrong) = wrong else {
            return;
        };
        let service = &request.service;
        let (message, hint) = match name {
            Some(name) => (
                format!("`{name}` can be `{wrong}`, but `{service}` has no such replica"),
                format!(
                    "let an operation draw `{{replica-of: {service}}}`, and let set-up go to each with `every-replica: true`"
                ),
            ),
            None => (
                format!("`{service}` has no replica `{wrong}`"),
                "replicas are numbered from 1, as Compose does".to_owned(),
            ),
        };
        let allowed = match count {
            1 => "1".to_owned(),
            count => format!("1 to {count}"),
        };
        self.found.push(
            self.document
                .at_value(&place.key("replica"), message)
                .label(format!("`{service}` has {}", plural(count, "replica")))
                .allowed(allowed)
                .hint(hint),
        );
    }

    /// The first number that may be drawn and that no replica has.
    fn wrong_number(&self, drawn: &Drawn<'_>, count: u32) -> Option<String> {
        let of_pool = |name: &str| {
            let pool = self.definition.pools.get(name)?;
            pool_values(pool).iter().find_map(|value| unless_replica(value, count))
        };
        match drawn {
            Drawn::EachOf(pool) => of_pool(pool),
            Drawn::From(ValueSource::OneOf(pool) | ValueSource::Cycle(pool)) => of_pool(pool),
            Drawn::From(ValueSource::Range { min, max }) => {
                let mut ends = [min, max].into_iter();
                ends.find_map(|end| unless_replica(&end.to_string(), count))
            }
            Drawn::From(ValueSource::ReplicaOf(service)) => {
                let last = self.replicas.get(service)?;
                unless_replica(&last.to_string(), count)
            }
            Drawn::From(ValueSource::Constant(serde_json::Value::String(text))) => unless_replica(text, count),
            Drawn::From(ValueSource::Constant(value)) => unless_replica(&value.to_string(), count),
        }
    }
}

/// The name of a template that is `{{ name }}` and no more.
fn plain_name(template: &str) -> Option<&str> {
    let name = template.trim().strip_prefix("{{")?.strip_suffix("}}")?.trim();
    let is_name = !name.is_empty() && name.chars().all(|c| c.is_alphanumeric() || c == '_');
    is_name.then_some(name)
}

/// What it says, if that is no number of one of so many replicas.
fn unless_replica(text: &str, count: u32) -> Option<String> {
    match replica_number(text) {
        Some(number) if number <= count => None,
        _ => Some(text.trim().to_owned()),
    }
}
