//! Probes: what is measured, on what, and tolerances with their units.

use super::Resolver;
use crate::diagnostic::list;
use crate::experiment::spec::Measured;
use crate::plan::{Bound, BoundUnit, Measure, Probe};
use crate::yaml::place::Place;

/// What a probe measures on: an operation or a gauge.
pub(super) struct On<'a> {
    pub operation: Option<&'a str>,
    pub of: Option<&'a str>,
}

impl Resolver<'_> {
    pub(super) fn gate_probes(&mut self, place: &Place) -> Vec<Probe> {
        let mut probes = Vec::new();
        for (index, spec) in self.experiment.steady_state_hypothesis.probes.iter().enumerate() {
            let place = place.index(index);
            let on = On {
                operation: spec.operation.as_deref(),
                of: spec.of.as_deref(),
            };
            let measure = self.measure(&place, &place.key("metric"), spec.metric, &on);
            let Some((measure, unit)) = measure else {
                continue;
            };
            if let Some(tolerance) = self.bound(&place.key("tolerance"), &spec.tolerance, unit) {
                probes.push(Probe {
                    name: spec.name.clone(),
                    measure,
                    tolerance,
                });
            }
        }
        probes
    }

    /// What is measured and the unit of its bound. `metric` is the place of what says so.
    pub(super) fn measure(
        &mut self,
        place: &Place,
        metric: &Place,
        measured: Measured,
        on: &On,
    ) -> Option<(Measure, BoundUnit)> {
        let definition = &self.system.definition;
        match (on.operation, on.of, quantile_permille(measured)) {
            (Some(_), None, Some(MIN_PERMILLE)) => {
                self.found.push(
                    self.document
                        .at_value(metric, "the least latency of an operation promises nothing")
                        .allowed("success-rate, p50, p90, p95, p99, p99.9, max")
                        .hint("`min` is for gauges: name a metric with `of`"),
                );
                None
            }
            (Some(operation), None, quantile) => {
                let place = place.key("operation");
                if !self.is_in_load(&place, operation) {
                    return None;
                }
                let operation = operation.to_owned();
                Some(match quantile {
                    None => (Measure::SuccessRate { operation }, BoundUnit::Percent),
                    Some(quantile_permille) => (
                        Measure::Latency {
                            operation,
                            quantile_permille,
                        },
                        BoundUnit::Duration,
                    ),
                })
            }
            (None, Some(gauge), Some(quantile_permille)) => {
                let Some(metric) = definition.metrics.get(gauge) else {
                    let known = definition.metrics.keys().map(String::as_str);
                    let unknown = self.document.unknown(&place.key("of"), "metric", gauge, known);
                    self.found.push(unknown);
                    return None;
                };
                let unit = metric.unit.into();
                let metric = gauge.to_owned();
                Some((
                    Measure::Metric {
                        metric,
                        quantile_permille,
                    },
                    unit,
                ))
            }
            (None, Some(_), None) => {
                self.found.push(
                    self.document
                        .at_value(metric, "a gauge has no success rate")
                        .allowed("p50, p90, p95, p99, p99.9, max, min")
                        .hint("with `of`, readings are measured; for a success rate name an `operation`"),
                );
                None
            }
            (operation, of, _) => {
                let message = match (operation, of) {
                    (Some(_), _) => "`operation` and `of` exclude each other",
                    _ => "this says not what is measured",
                };
                self.found.push(
                    self.document
                        .at_key(&place.key("of"), message)
                        .allowed("operation (its success rate or latency), or of (a metric of the system)")
                        .hint(format!(
                            "operations: {}; metrics: {}",
                            list(definition.operations.keys().map(String::as_str)),
                            list(definition.metrics.keys().map(String::as_str)),
                        )),
                );
                None
            }
        }
    }

    /// An operation that is measured, or waited for, must be part of the load.
    pub(super) fn is_in_load(&mut self, place: &Place, operation: &str) -> bool {
        let known = &self.system.definition.operations;
        if !known.contains_key(operation) {
            let known = known.keys().map(String::as_str);
            self.found
                .push(self.document.unknown(place, "operation", operation, known));
            return false;
        }
        let load = &self.load;
        // Where the load itself is wrong, the message is given there.
        let load_is_right = !load.is_empty() && load.keys().all(|name| known.contains_key(name));
        if load_is_right && !load.contains_key(operation) {
            self.found.push(
                self.document
                    .at_value(place, format!("the operation `{operation}` is not part of the load"))
                    .label("never happens")
                    .allowed(list(load.keys().map(String::as_str)))
                    .hint(format!(
                        "add it: `workload: {{operations: {{{operation}: {{rate: 10/s}}}}}}`"
                    )),
            );
            return false;
        }
        true
    }

    pub(super) fn bound(&mut self, place: &Place, text: &str, unit: BoundUnit) -> Option<Bound> {
        match Bound::parse(text, unit) {
            Ok(bound) => Some(bound),
            Err(wrong) => {
                self.found.push(super::no_bound(self.document, place, wrong, unit));
                None
            }
        }
    }
}

/// The least of a gauge's readings is their quantile of this.
const MIN_PERMILLE: u32 = 0;

fn quantile_permille(measured: Measured) -> Option<u32> {
    match measured {
        Measured::SuccessRate => None,
        Measured::P50 => Some(500),
        Measured::P90 => Some(900),
        Measured::P95 => Some(950),
        Measured::P99 => Some(990),
        Measured::P999 => Some(999),
        Measured::Max => Some(1_000),
        Measured::Min => Some(MIN_PERMILLE),
    }
}
