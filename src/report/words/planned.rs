//! A plan in words: what is measured, when faults start, how often customers come, what is made unsafe.

use crate::plan::rate::RatePlan;
use crate::plan::{Arrivals, ControlChange, Measure, NegativeControl, Plan, Probe, Trigger};
use crate::report::text::{clean, count, duration, list, trim};
use crate::system::definition::Unit;

/// A bound with its unit.
pub(in crate::report) fn bound(plan: &Plan, probe: &Probe) -> String {
    let unit = match &probe.measure {
        Measure::SuccessRate { .. } => " %",
        Measure::Latency { .. } => " ms",
        Measure::Metric { metric, .. } => match plan.system.metrics.get(metric).map(|definition| definition.unit) {
            Some(Unit::Ms) => " ms",
            _ => "",
        },
    };
    format!("{}{unit}", probe.tolerance)
}

/// What a probe measures.
pub(in crate::report) fn measure(measure: &Measure) -> String {
    match measure {
        Measure::SuccessRate { operation } => format!("success rate of {}", clean(operation)),
        Measure::Latency {
            operation,
            quantile_permille,
        } => format!("{} latency of {}", quantile(*quantile_permille), clean(operation)),
        Measure::Metric {
            metric,
            quantile_permille,
        } => format!("{} of {}", quantile(*quantile_permille), clean(metric)),
    }
}

fn quantile(permille: u32) -> String {
    match permille {
        0 => "minimum".to_owned(),
        1_000 => "maximum".to_owned(),
        permille => format!("p{}", trim(f64::from(permille) / 10.0, 1)),
    }
}

/// When a fault was to start.
pub(in crate::report) fn trigger(trigger: &Trigger) -> String {
    match trigger {
        Trigger::At { at_ms } => format!("{} after the gate", duration(*at_ms as f64)),
        Trigger::OnOperation {
            operation,
            outcome,
            nth,
            ..
        } => format!(
            "at {} number {} that ended `{}`",
            clean(operation),
            count(*nth),
            format!("{outcome:?}").to_lowercase()
        ),
        Trigger::OnLog {
            service, matches, nth, ..
        } => format!(
            "at line number {} of {}'s log that matches `{}`",
            count(*nth),
            clean(service),
            clean(matches)
        ),
    }
}

/// How arrivals are spaced.
pub(in crate::report) fn arrivals(arrivals: Arrivals) -> &'static str {
    match arrivals {
        Arrivals::Poisson => "Poisson (independent customers)",
        Arrivals::Constant => "constant (equal gaps)",
    }
}

/// How often an operation was to arrive: `40/s`, or `10 to 40/s` for a rate that changes.
pub(in crate::report) fn rate(rate: &RatePlan) -> String {
    let (least, greatest) = (trim(rate.least_per_s(), 2), trim(rate.greatest_per_s(), 2));
    match rate.is_changing() {
        true => format!("{least} to {greatest}/s"),
        false => format!("{greatest}/s"),
    }
}

/// What makes a negative control unsafe.
pub(in crate::report) fn control(plan: &Plan, control: &NegativeControl) -> String {
    match &control.change {
        ControlChange::Defect(defect) => match plan.system.defects.get(defect) {
            Some(definition) => format!("defect {}: {}", clean(defect), clean(&definition.title)),
            None => format!("defect {}", clean(defect)),
        },
        ControlChange::With {
            environment,
            configuration,
            ..
        } => {
            let of_services = environment.iter().flat_map(|(service, variables)| {
                variables.keys().map(move |name| clean(&format!("{name} of {service}")))
            });
            let of_the_file = configuration
                .iter()
                .map(|(name, value)| clean(&format!("{name} {value}")));
            let settings: Vec<String> = of_services.chain(of_the_file).collect();
            format!("other settings: {}", list(&settings))
        }
    }
}
