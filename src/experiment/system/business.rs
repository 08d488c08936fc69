//! Business services: each made of operations that are its alone, with an impact tolerance that can be judged.

use super::Checker;
use crate::duration::DurationMs;
use crate::plan::{Bound, BoundUnit, Compare};
use crate::yaml::place::Place;

impl Checker<'_> {
    pub(super) fn business_services(&mut self, place: &Place) {
        let definition = self.definition;
        let mut owners: Vec<(&str, &str)> = Vec::new();
        for (name, service) in &definition.business_services {
            let place = place.key(name);
            let operations = place.key("operations");
            if service.operations.is_empty() {
                self.empty(&operations, "a business service is made of at least one operation");
            }
            for (index, operation) in service.operations.iter().enumerate() {
                let at = operations.index(index);
                self.known(&at, "operation", operation, definition.operations.keys());
                match owners.iter().find(|(owned, _)| owned == operation) {
                    Some((_, owner)) => self.found.push(
                        self.document
                            .at_value(&at, format!("`{operation}` belongs to `{owner}` already"))
                            .hint("let each operation stand for one business service, so that nothing counts twice"),
                    ),
                    None => owners.push((operation, name)),
                }
            }
            let place = place.key("impact-tolerance");
            self.success_rate(&place.key("success-rate"), &service.impact_tolerance.success_rate);
            if service.impact_tolerance.served_within == Some(DurationMs(0)) {
                self.found.push(
                    self.document
                        .at_value(&place.key("served-within"), "nobody is served in no time")
                        .allowed("a duration above zero, for example 5s")
                        .hint("leave it out if waiting is not to count"),
                );
            }
        }
    }

    fn success_rate(&mut self, place: &Place, text: &str) {
        match Bound::parse(text, BoundUnit::Percent) {
            Ok(bound) if matches!(bound.compare, Compare::AtLeast | Compare::MoreThan) => {}
            Ok(_) => self.found.push(
                self.document
                    .at_value(
                        place,
                        "a service is disrupted where too few are served, not where too many are",
                    )
                    .allowed("a least share, for example \">= 99%\"")
                    .hint("leave it out for \">= 99%\""),
            ),
            Err(wrong) => {
                let diagnostic = crate::experiment::resolve::no_bound(self.document, place, wrong, BoundUnit::Percent);
                self.found.push(diagnostic);
            }
        }
    }
}
