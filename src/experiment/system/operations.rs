//! Set-up, pools, operations and their requests.

use super::Checker;
use crate::system::definition::{RequestTemplate, ValueSource};
use crate::yaml::place::Place;

impl Checker<'_> {
    pub(super) fn operations(&mut self, root: &Place) {
        let definition = self.definition;
        for (index, step) in definition.setup.iter().enumerate() {
            let place = root.key("setup").index(index);
            if let Some(pool) = &step.for_each {
                self.known(&place.key("for-each"), "pool", pool, definition.pools.keys());
            }
            let variables: Vec<&str> = step.for_each.iter().map(String::as_str).collect();
            self.request(&place.key("request"), &step.request, &variables);
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
            let mut variables: Vec<&str> = operation.values.keys().map(String::as_str).collect();
            variables.push("key");
            self.request(&place.key("request"), &operation.request, &variables);
            self.expression(&place.key("outcome").key("ok"), &operation.outcome.ok);
            self.expression(&place.key("outcome").key("fail"), &operation.outcome.fail);
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
            ValueSource::Range { .. } | ValueSource::Constant(_) => {}
        }
    }

    pub(super) fn request(&mut self, place: &Place, request: &RequestTemplate, variables: &[&str]) {
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
        self.templates(place, request, variables);
    }

    fn templates(&mut self, _place: &Place, _request: &RequestTemplate, _variables: &[&str]) {}

    pub(super) fn expression(&mut self, _place: &Place, _source: &str) {}
}
