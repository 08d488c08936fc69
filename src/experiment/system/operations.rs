//! Set-up, pools, operations and their requests.

use super::Checker;
use crate::diagnostic::Diagnostic;
use crate::experiment::resolve::load::rate_mistake;
use crate::system::definition::{RequestTemplate, ValueSource};
use crate::workload::expression::Expression;
use crate::yaml::place::Place;

impl Checker<'_> {
    pub(super) fn operations(&mut self, root: &Place) {
        let definition = self.definition;
        for (index, step) in definition.setup.iter().enumerate() {
            let place = root.key("setup").index(index);
            if let Some(pool) = &step.for_each {
                self.known(&place.key("for-each"), "pool", pool, definition.pools.keys());
            }
            self.request(&place.key("request"), &step.request);
            self.replica_of_step(&place, step);
            self.expression(&place.key("expect"), &step.expect);
        }
        if definition.operations.is_empty() {
            self.empty(&root.key("operations"), "a system needs at least one operation");
        }
        for (name, operation) in &definition.operations {
            let place = root.key("operations").key(name);
            for (value, source) in &operation.values {
                self.value(&place.key("values").key(value), value, source);
            }
            for (index, recorded) in operation.record.iter().enumerate() {
                let known = operation.values.keys();
                self.known(&place.key("record").index(index), "value", recorded, known);
            }
            self.request(&place.key("request"), &operation.request);
            self.replica_of_operation(&place, operation);
            self.expression(&place.key("outcome").key("ok"), &operation.outcome.ok);
            self.expression(&place.key("outcome").key("fail"), &operation.outcome.fail);
            if let Some(never) = &operation.outcome.never {
                self.expression(&place.key("outcome").key("never"), never);
            }
            if let Some(retry) = &operation.retry {
                self.expression(&place.key("retry").key("when"), &retry.when);
                if retry.attempts < 1 {
                    self.found.push(
                        self.document
                            .at_value(
                                &place.key("retry").key("attempts"),
                                "there must be at least one attempt",
                            )
                            .allowed("1 or more, the first attempt included")
                            .hint("leave `retry` out if there are no retries"),
                    );
                }
            }
        }
    }

    pub(super) fn profiles(&mut self, root: &Place) {
        let definition = self.definition;
        for (name, profile) in &definition.profiles {
            let place = root.key("profiles").key(name).key("operations");
            if profile.operations.is_empty() {
                self.empty(&place, "a profile needs at least one operation");
            }
            for (operation, load) in &profile.operations {
                let place = place.key(operation);
                if !definition.operations.contains_key(operation) {
                    self.unknown_key(&place, "operation", operation, definition.operations.keys());
                }
                let mistake = rate_mistake(self.document, &place.key("rate"), &load.rate);
                self.found.extend(mistake);
            }
        }
    }

    fn value(&mut self, place: &Place, name: &str, source: &ValueSource) {
        if name == "key" {
            self.found.push(
                self.document
                    .at_key(place, "`key` is the operation's own idempotency key")
                    .hint("give the value another name"),
            );
        }
        match source {
            ValueSource::OneOf(pool) => {
                self.known(&place.key("one-of"), "pool", pool, self.definition.pools.keys());
            }
            ValueSource::Cycle(pool) => {
                self.known(&place.key("cycle"), "pool", pool, self.definition.pools.keys());
            }
            ValueSource::Range { min, max } if min > max => self.found.push(
                self.document
                    .at_value(&place.key("range"), format!("the range from {min} to {max} is empty"))
                    .hint("swap `min` and `max`"),
            ),
            ValueSource::ReplicaOf(service) => self.service(&place.key("replica-of"), service),
            ValueSource::Range { .. } | ValueSource::Constant(_) => {}
        }
    }

    pub(super) fn request(&mut self, place: &Place, request: &RequestTemplate) {
        self.service(&place.key("service"), &request.service);
        self.leading_slash(&place.key("path"), &request.path);
        if request.port == 0 {
            self.found.push(
                self.document
                    .at_value(&place.key("port"), "port 0 cannot be connected to")
                    .allowed("1 to 65535")
                    .hint("name the port on which the service listens"),
            );
        }
        if request.timeout.0 == 0 {
            self.found.push(
                self.document
                    .at_value(&place.key("timeout"), "no request ends within no time")
                    .hint("write for example `timeout: 2s`"),
            );
        }
        if request.body.is_some() && request.json.is_some() {
            self.found.push(
                self.document
                    .at_key(&place.key("body"), "a request has either `body` or `json`")
                    .hint("remove one of them"),
            );
        }
    }

    pub(super) fn expression(&mut self, place: &Place, source: &str) {
        if let Err(mistake) = Expression::compile(source) {
            // The parser of expressions draws its own caret below; the place says as much.
            let message = mistake.message.lines().next().unwrap_or_default();
            let message = message.replace("ERROR: <input>:", "position ");
            self.found.push(
                self.document
                    .at_value(place, message)
                    .allowed(mistake.allowed)
                    .hint(mistake.hint),
            );
        }
    }

    /// What the workload itself cannot compile (templates above all), where nothing else was found.
    pub(super) fn workload(&mut self) {
        for problem in crate::workload::problems(self.definition, self.replicas) {
            let place = Place::root().below(&problem.at);
            let diagnostic = self.document.at_value(&place, problem.message);
            let meant = place.find(&self.document.root).value.extent();
            let start = diagnostic.start();
            let is_known = |found: &Diagnostic| {
                found.start() == start || found.start().is_some_and(|start| meant.contains(&start))
            };
            if !self.found.iter().any(is_known) {
                self.found
                    .push(diagnostic.hint("templates are minijinja's: `{{ name }}`; a hyphen in a name becomes `_`"));
            }
        }
    }
}
