//! Metrics, backlogs and final reads.

use super::Checker;
use crate::system::definition::Items;
use crate::yaml::place::Place;

impl Checker<'_> {
    pub(super) fn reads(&mut self, root: &Place) {
        let definition = self.definition;
        for (name, metric) in &definition.metrics {
            let place = root.key("metrics").key(name);
            if let Some(request) = &metric.request {
                self.request(&place.key("request"), request);
                self.replica_of_metric(&place, metric, request);
            }
            if let Some(value) = &metric.value {
                self.expression(&place.key("value"), value);
            }
            self.source_of_metric(&place, metric);
            if metric.every.0 < 10 {
                self.found.push(
                    self.document
                        .at_value(&place.key("every"), "a gauge cannot be read that often")
                        .allowed("10ms or more")
                        .hint("leave it out for one reading every 250ms"),
                );
            }
        }
        for (index, backlog) in definition.backlogs.iter().enumerate() {
            let place = root.key("backlogs").index(index);
            self.known(
                &place.key("metric"),
                "metric",
                &backlog.metric,
                definition.metrics.keys(),
            );
            if !(backlog.drained >= 0.0 && backlog.drained.is_finite()) {
                self.found.push(
                    self.document
                        .at_value(
                            &place.key("drained"),
                            format!("`{}` can be no backlog", backlog.drained),
                        )
                        .allowed("0 or more")
                        .hint("say what counts as work in progress"),
                );
            }
        }
        for (name, read) in &definition.final_reads {
            let place = root.key("final-reads").key(name);
            if let Some(request) = &read.request {
                self.request(&place.key("request"), request);
                self.replica_of_read(&place, read, request);
            }
            if let Some(items) = &read.items {
                self.items(&place.key("items"), items);
            }
            self.source_of_read(&place, read);
        }
    }

    fn items(&mut self, place: &Place, items: &Items) {
        match items {
            Items::Json { at, next, .. } => {
                self.pointer(&place.key("json").key("at"), at);
                if let Some(next) = next {
                    self.pointer(&place.key("json").key("next"), next);
                }
            }
            Items::Lines { matches } => {
                let place = place.key("lines").key("matches");
                let Some(regex) = self.regex(&place, matches) else {
                    return;
                };
                if !regex.capture_names().flatten().any(|name| name == "element") {
                    self.found.push(
                        self.document
                            .at_value(&place, "no group is named `element`")
                            .label("identifies nothing")
                            .hint("name the group that identifies an item: `(?<element>...)`"),
                    );
                }
            }
        }
    }

    fn pointer(&mut self, place: &Place, pointer: &str) {
        let escapes_are_whole = pointer
            .split('~')
            .skip(1)
            .all(|after| after.starts_with('0') || after.starts_with('1'));
        if !(pointer.is_empty() || pointer.starts_with('/')) || !escapes_are_whole {
            self.found.push(
                self.document
                    .at_value(place, format!("`{pointer}` is no JSON pointer"))
                    .allowed(
                        "nothing (\"\") for the whole answer, or /member/member; `~0` stands for `~`, `~1` for `/`",
                    )
                    .hint(format!(
                        "write `/{}`",
                        pointer.trim_start_matches(['$', '.', '/']).replace('.', "/")
                    )),
            );
        }
    }
}
