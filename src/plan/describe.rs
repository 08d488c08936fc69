//! A plan in words, for `nightmail plan`: what would be done, to whom, for how long, and what would be asked.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use super::rate::RatePlan;
use super::timeline::timeline;
use super::{Arrivals, ControlChange, Measure, Plan, PlannedFault, Probe, Role, Target, Trigger};
use crate::duration::DurationMs;
use crate::redact::shown;
use crate::system::definition::Unit;

/// The plan in words, several lines.
pub fn render(plan: &Plan) -> String {
    let mut text = String::new();
    head(&mut text, plan);
    load(&mut text, plan);
    heading(&mut text, "Timeline");
    text.push_str(&timeline(plan));
    faults(&mut text, plan);
    assertions(&mut text, plan);
    controls(&mut text, plan);
    settings(&mut text, plan);
    text
}

fn heading(text: &mut String, heading: &str) {
    let _ = write!(text, "\n{heading}\n");
}

fn line(text: &mut String, line: impl AsRef<str>) {
    let _ = writeln!(text, "  {}", line.as_ref());
}

fn head(text: &mut String, plan: &Plan) {
    let info = &plan.experiment;
    let _ = writeln!(text, "{}", info.title);
    for described in info
        .description
        .lines()
        .filter(|described| !described.trim().is_empty())
    {
        line(text, described.trim());
    }
    let tags = if info.tags.is_empty() {
        String::new()
    } else {
        format!(" [{}]", info.tags.join(", "))
    };
    line(text, format!("{}{tags}, seed {}", info.path.display(), plan.seed));
    heading(text, "System");
    line(text, format!("{}: {}", plan.system.name, plan.system.title));
    let services: Vec<String> = plan
        .replicas
        .iter()
        .map(|(service, replicas)| match replicas {
            1 => service.clone(),
            _ => format!("{service} ({replicas} replicas)"),
        })
        .collect();
    line(text, services.join(", "));
    if !plan.defects.is_empty() {
        line(text, format!("defects switched on: {}", plan.defects.join(", ")));
    }
}

fn load(text: &mut String, plan: &Plan) {
    heading(text, "Load");
    let arrivals = match plan.workload.arrivals {
        Arrivals::Poisson => "Poisson arrivals",
        Arrivals::Constant => "arrivals at equal gaps",
    };
    line(
        text,
        format!("{arrivals}, at most {} in flight", plan.workload.in_flight_max),
    );
    for (operation, rate) in &plan.workload.rates {
        line(text, rate_of(plan, operation, rate));
    }
}

/// A line for each operation whose rate rises or falls.
pub fn changing_rates(plan: &Plan) -> impl Iterator<Item = String> {
    let rates = plan.workload.rates.iter().filter(|(_, rate)| rate.is_changing());
    rates.map(|(operation, rate)| rate_of(plan, operation, rate))
}

fn rate_of(plan: &Plan, operation: &str, rate: &RatePlan) -> String {
    let expected = rate.expected_until(plan.schedule.total_ms as f64);
    let separator = if rate.is_changing() { ";" } else { "," };
    format!("{operation} {rate}{separator} about {expected:.0} in all")
}

fn faults(text: &mut String, plan: &Plan) {
    if plan.faults.is_empty() {
        return;
    }
    heading(text, "Faults");
    for fault in &plan.faults {
        line(text, format!("{}. {}", fault.id + 1, fault.name));
        line(text, format!("   {}", fault.fault.behaviour().describe()));
        line(text, format!("   {}", when(fault)));
    }
    let (touched, total) = blast_radius(plan);
    heading(text, "Blast radius");
    line(
        text,
        format!("{} of {total} replicas: {}", touched.len(), list(&touched)),
    );
    for fault in &plan.faults {
        for role in fault.fault.behaviour().targets().into_iter().filter_map(role) {
            line(text, format!("{role}, found when `{}` is injected", fault.name));
        }
    }
}

fn when(fault: &PlannedFault) -> String {
    let start = match &fault.trigger {
        Trigger::At { at_ms } => format!("{} after the gate", DurationMs(*at_ms)),
        Trigger::OnOperation {
            operation,
            outcome,
            nth,
            by_ms,
        } => format!(
            "at {operation} number {nth} that ends {}, by {} after the gate",
            format!("{outcome:?}").to_lowercase(),
            DurationMs(*by_ms)
        ),
        Trigger::OnLog {
            service,
            matches,
            nth,
            by_ms,
        } => format!(
            "at line number {nth} of {service}'s log that matches `{matches}`, by {} after the gate",
            DurationMs(*by_ms)
        ),
    };
    let (lasts, ttl) = (DurationMs(fault.for_ms), DurationMs(fault.ttl_ms));
    match fault.fault.behaviour().is_undone() {
        true => format!("{start}, for {lasts}; heals by itself after {ttl} whatever happens"),
        false => format!("{start}, counted as lasting for {lasts}; never undone"),
    }
}

/// The replicas that faults may touch, and how many there are. Of a role every member counts, since any may have it.
fn blast_radius(plan: &Plan) -> (BTreeSet<String>, u32) {
    let touched = plan
        .faults
        .iter()
        .flat_map(|fault| fault.fault.behaviour().targets())
        .flat_map(|target| match target {
            Target::Replicas(replicas) => replicas,
            Target::Role { members, .. } => members,
        })
        .map(ToString::to_string)
        .collect();
    (touched, plan.replicas.values().sum())
}

fn role(target: &Target) -> Option<String> {
    match target {
        Target::Replicas(_) => None,
        Target::Role { group, role, .. } => Some(match role {
            Role::Primary => format!("the primary of {group}"),
            Role::Standby => format!("the standbys of {group}"),
        }),
    }
}

fn assertions(text: &mut String, plan: &Plan) {
    heading(text, "Must hold");
    line(
        text,
        format!("before the first fault, and again at the end: {}", plan.gate.title),
    );
    for described in &plan.gate.probes {
        line(text, format!("   {}", probe(plan, described)));
    }
    if !plan.during.is_empty() {
        line(text, "while faults last:");
        for windowed in &plan.during {
            let part = windowed.part_of_faults(&plan.faults);
            line(text, described(plan, &windowed.probe, part));
        }
    }
    if let Some(recovery) = &plan.recovery {
        let (within, stable) = (DurationMs(recovery.within_ms), DurationMs(recovery.stable_for_ms));
        let most = recovery.disrupted_for_ms.map_or_else(String::new, |most| {
            format!("; service disrupted for at most {}", DurationMs(most))
        });
        line(
            text,
            format!("recovery: within {within} of the last heal, lasting {stable}{most}"),
        );
    }
    if !plan.afterwards.is_empty() {
        line(text, "from the last heal on, to the end of the load:");
        for windowed in &plan.afterwards {
            line(text, described(plan, &windowed.probe, windowed.part_of_afterwards()));
        }
    }
    if !plan.invariants.is_empty() {
        line(text, format!("invariants: {}", plan.invariants.join(", ")));
    }
    let tolerated = &plan.tolerate;
    match (tolerated.data_loss_operations, tolerated.data_loss_time_ms) {
        (0, 0) => line(text, "no loss is tolerated"),
        (operations, time_ms) => line(
            text,
            format!(
                "tolerated loss: {operations} operations, {}{}",
                DurationMs(time_ms),
                losing_fault(plan)
            ),
        ),
    }
}

/// Which fault the age of what is lost counts from, if not from the first.
fn losing_fault(plan: &Plan) -> String {
    let fault = plan.tolerate.data_loss_fault;
    let fault = fault.and_then(|id| plan.faults.iter().find(|fault| fault.id == id));
    fault.map_or_else(String::new, |fault| format!(" before `{}`", fault.name))
}

/// A probe and over which part of its time it is judged.
fn described(plan: &Plan, of: &Probe, part: Option<String>) -> String {
    let part = part.map(|part| format!(", {part}")).unwrap_or_default();
    format!("   {}{part}", probe(plan, of))
}

fn probe(plan: &Plan, probe: &Probe) -> String {
    let quantile = |permille: u32| match permille {
        0 => "min".to_owned(),
        1_000 => "max".to_owned(),
        permille => format!("p{}", f64::from(permille) / 10.0),
    };
    let duration = |bound: &super::Bound| {
        let number = DurationMs(bound.value as u64).to_string();
        bound.to_string().replace(&bound.value.to_string(), &number)
    };
    let measured = match &probe.measure {
        Measure::SuccessRate { operation } => format!("success rate of {operation} {}%", probe.tolerance),
        Measure::Latency {
            operation,
            quantile_permille,
        } => format!(
            "{} of {operation} {}",
            quantile(*quantile_permille),
            duration(&probe.tolerance)
        ),
        Measure::Metric {
            metric,
            quantile_permille,
        } => {
            let unit = plan
                .system
                .metrics
                .get(metric)
                .map(|metric| metric.unit)
                .unwrap_or_default();
            let bound = match unit {
                Unit::Count => probe.tolerance.to_string(),
                Unit::Ms => duration(&probe.tolerance),
            };
            format!("{} of {metric} {bound}", quantile(*quantile_permille))
        }
    };
    format!("{} ({measured})", probe.name)
}

fn controls(text: &mut String, plan: &Plan) {
    if plan.negative_controls.is_empty() {
        return;
    }
    heading(text, "Negative controls, run by `nightmail prove`");
    for control in &plan.negative_controls {
        let what = match &control.change {
            ControlChange::Defect(defect) => plan.system.defects.get(defect).map(|defect| defect.title.clone()),
            ControlChange::With { .. } => None,
        };
        let what = what.map(|title| format!(" ({title})")).unwrap_or_default();
        line(
            text,
            format!("{}{what} must fail `{}`", control.name, control.fails.join("` and `")),
        );
    }
}

fn settings(text: &mut String, plan: &Plan) {
    if !plan.configuration.is_empty() {
        heading(text, "Configuration");
        for (name, value) in &plan.configuration {
            line(text, format!("{name}: {}", shown(name, value)));
        }
    }
    if plan.environment.values().any(|variables| !variables.is_empty()) {
        heading(text, "Environment over the Compose file's");
        for (service, variables) in &plan.environment {
            for (name, value) in variables {
                line(text, format!("{service}: {name}={}", shown(name, value)));
            }
        }
    }
}

fn list(names: &BTreeSet<String>) -> String {
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    names.join(", ")
}
