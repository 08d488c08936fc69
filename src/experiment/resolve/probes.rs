//! Probes of the steady state and bounds under `during`: what is measured, and tolerances with their units.

use super::Resolver;
use crate::diagnostic::{Diagnostic, list};
use crate::duration::DurationMs;
use crate::experiment::spec::{During, Measured};
use crate::plan::{Bound, Compare, Measure, Probe};
use crate::system::definition::Unit;
use crate::yaml::place::Place;

/// What a probe measures on: an operation or a gauge, with its place.
struct On<'a> {
    operation: Option<&'a str>,
    of: Option<&'a str>,
}

/// The unit of a bound.
#[derive(Clone, Copy, PartialEq, Eq)]
enum BoundUnit {
    Percent,
    Duration,
    Count,
}

impl BoundUnit {
    fn allowed(self) -> &'static str {
        match self {
            Self::Percent => "a comparison (>= > <= < ==) with a percentage, for example \">= 99.5%\"",
            Self::Duration => "a comparison (>= > <= < ==) with a duration, for example \"<= 500ms\"",
            Self::Count => "a comparison (>= > <= < ==) with a number, for example \"<= 5\"",
        }
    }
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

    pub(super) fn during(&mut self) -> Vec<Probe> {
        let mut probes = Vec::new();
        for (index, spec) in self.experiment.during.iter().enumerate() {
            let place = Place::root().key("during").index(index);
            let bounds = bounds(spec);
            let [(key, measured, tolerance)] = bounds.as_slice() else {
                let found = list(bounds.iter().map(|(key, ..)| *key));
                self.found.push(
                    self.document
                        .at_value(
                            &place,
                            format!("each element of `during` states one bound, here: {found}"),
                        )
                        .allowed("one of success-rate, p50, p90, p95, p99, p99.9, max")
                        .hint("for example {operation: purchase-history, success-rate: \">= 99.5%\"}"),
                );
                continue;
            };
            let on = On {
                operation: spec.operation.as_deref(),
                of: spec.of.as_deref(),
            };
            let Some((measure, unit)) = self.measure(&place, &place.key(*key), *measured, &on) else {
                continue;
            };
            if let Some(tolerance) = self.bound(&place.key(*key), tolerance, unit) {
                let subject = spec.operation.as_deref().or(spec.of.as_deref()).unwrap_or_default();
                probes.push(Probe {
                    name: spec.name.clone().unwrap_or_else(|| format!("{subject} {key}")),
                    measure,
                    tolerance,
                });
            }
        }
        probes
    }

    fn measure(&mut self, place: &Place, metric: &Place, measured: Measured, on: &On) -> Option<(Measure, BoundUnit)> {
        let definition = &self.system.definition;
        match (on.operation, on.of, quantile_permille(measured)) {
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
                let unit = match metric.unit {
                    Unit::Count => BoundUnit::Count,
                    Unit::Ms => BoundUnit::Duration,
                };
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
                        .allowed("p50, p90, p95, p99, p99.9, max")
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

    fn bound(&mut self, place: &Place, text: &str, unit: BoundUnit) -> Option<Bound> {
        match bound(text, unit) {
            Ok(bound) => Some(bound),
            Err((message, hint)) => {
                let diagnostic: Diagnostic = self.document.at_value(place, message);
                self.found.push(diagnostic.allowed(unit.allowed()).hint(hint));
                None
            }
        }
    }
}

fn bounds(spec: &During) -> Vec<(&'static str, Measured, &str)> {
    [
        ("success-rate", Measured::SuccessRate, &spec.success_rate),
        ("p50", Measured::P50, &spec.p50),
        ("p90", Measured::P90, &spec.p90),
        ("p95", Measured::P95, &spec.p95),
        ("p99", Measured::P99, &spec.p99),
        ("p99.9", Measured::P999, &spec.p999),
        ("max", Measured::Max, &spec.max),
    ]
    .into_iter()
    .filter_map(|(key, measured, bound)| bound.as_deref().map(|bound| (key, measured, bound)))
    .collect()
}

fn quantile_permille(measured: Measured) -> Option<u32> {
    match measured {
        Measured::SuccessRate => None,
        Measured::P50 => Some(500),
        Measured::P90 => Some(900),
        Measured::P95 => Some(950),
        Measured::P99 => Some(990),
        Measured::P999 => Some(999),
        Measured::Max => Some(1_000),
    }
}

/// Reads a tolerance such as `>= 99.5%`. An error is what is wrong and a hint.
fn bound(text: &str, unit: BoundUnit) -> Result<Bound, (String, String)> {
    let text = text.trim();
    let signs = [
        (">=", Compare::AtLeast),
        ("<=", Compare::AtMost),
        ("==", Compare::Equal),
        (">", Compare::MoreThan),
        ("<", Compare::LessThan),
    ];
    let Some((compare, value)) = signs
        .into_iter()
        .find_map(|(sign, compare)| text.strip_prefix(sign).map(|value| (compare, value.trim())))
    else {
        let sign = if unit == BoundUnit::Percent { ">=" } else { "<=" };
        return Err((
            format!("the tolerance `{text}` does not say how to compare"),
            format!("write for example \"{sign} {text}\""),
        ));
    };
    let is_number = value
        .parse::<f64>()
        .is_ok_and(|number| number.is_finite() && number >= 0.0);
    let is_percent = value.ends_with('%');
    let is_duration = value.parse::<DurationMs>().is_ok();
    let has = match (is_percent, is_duration, is_number) {
        (true, ..) => "a percentage",
        (_, true, _) => "a duration",
        (.., true) => "a number without a unit",
        _ => "neither a number, a percentage nor a duration",
    };
    let wrong = |needs: &str, hint: String| Err((format!("this needs {needs}, and `{value}` is {has}"), hint));
    let value = match unit {
        BoundUnit::Percent => match value.strip_suffix('%').and_then(|number| number.trim().parse().ok()) {
            Some(percent) if (0.0..=100.0).contains(&percent) => percent,
            Some(_) => {
                return Err((
                    format!("`{value}` is outside 0% to 100%"),
                    "write for example \">= 99.5%\"".into(),
                ));
            }
            None if is_number => return wrong("a percentage", format!("write `{value}%`")),
            None => {
                return wrong(
                    "a percentage",
                    "a success rate is a percentage, for example \">= 99.5%\"".into(),
                );
            }
        },
        BoundUnit::Duration => match value.parse::<DurationMs>() {
            Ok(duration) => duration.0 as f64,
            Err(_) if is_number => return wrong("a duration", format!("write `{value}ms` or `{value}s`")),
            Err(_) => return wrong("a duration", "a latency is a duration, for example \"<= 500ms\"".into()),
        },
        BoundUnit::Count => match value.parse::<f64>() {
            Ok(number) if is_number => number,
            _ => {
                return wrong(
                    "a plain number",
                    "this metric counts things; for times its `unit` would be ms".into(),
                );
            }
        },
    };
    Ok(Bound { compare, value })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_need_their_unit() {
        let at_least = bound(">= 99.5 %", BoundUnit::Percent).unwrap();
        assert_eq!((at_least.compare, at_least.value), (Compare::AtLeast, 99.5));
        assert_eq!(bound("<2s", BoundUnit::Duration).unwrap().value, 2_000.0);
        assert_eq!(bound("== 0", BoundUnit::Count).unwrap().compare, Compare::Equal);
        for (text, unit) in [
            (">= 99.5", BoundUnit::Percent),
            (">= 101%", BoundUnit::Percent),
            (">= 2s", BoundUnit::Percent),
            ("<= 2", BoundUnit::Duration),
            ("<= 2%", BoundUnit::Duration),
            ("2s", BoundUnit::Duration),
            ("<= 5s", BoundUnit::Count),
            ("<= -1", BoundUnit::Count),
            ("<= NaN", BoundUnit::Count),
            ("<= inf", BoundUnit::Count),
            ("", BoundUnit::Count),
        ] {
            assert!(bound(text, unit).is_err(), "{text}");
        }
    }
}
