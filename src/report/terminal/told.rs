//! What is worth telling of an event, in one line: for the log, for the lines above the live ones, and for the page.

use crate::event::{Event, OperationProgress, Progress};
use crate::fault::Receipt;
use crate::report::text::{clean, count, duration, list, trim};
use crate::report::words;
use crate::verdict::{Assertion, Judgement};

/// How a line is marked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::report) enum Mark {
    /// Something happened.
    Plain,
    /// Something went as it should.
    Good,
    /// Something did not.
    Bad,
    /// A fault began or ended.
    Fault,
}

/// A line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::report) struct Told {
    pub mark: Mark,
    pub text: String,
}

impl Told {
    fn new(mark: Mark, text: String) -> Option<Self> {
        Some(Self { mark, text })
    }
}

/// The line of an event; none for how the load is going, which is shown otherwise.
pub(in crate::report) fn line(event: &Event) -> Option<Told> {
    match event {
        Event::Started {
            run_id,
            experiment,
            title,
            seed,
            engine,
            because,
            ..
        } => Told::new(
            Mark::Plain,
            format!(
                "run {} of {}: {} (seed {seed}, engine {})",
                clean(run_id),
                clean(experiment),
                clean(title),
                words::engine(engine, because)
            ),
        ),
        Event::Phase { phase, budget_ms } => {
            let budget = budget_ms.map_or_else(String::new, |ms| format!(" (at most {})", duration(ms as f64)));
            Told::new(Mark::Plain, format!("{}{budget}", words::phase(*phase)))
        }
        Event::ImageStarted { .. } | Event::ImageReady { .. } | Event::ReplicaReady { .. } => set_up(event),
        Event::Gate { passed, assertions } => gate(*passed, assertions),
        Event::FaultIntent { .. }
        | Event::FaultInjected { .. }
        | Event::FaultMissed { .. }
        | Event::HealIntent { .. }
        | Event::FaultHealed { .. }
        | Event::HealFailed { .. } => fault(event),
        Event::Progress(_) => None,
        Event::Drained {
            metric,
            drained,
            last,
            took_ms,
        } => drained_line(metric, *drained, *last, *took_ms),
        Event::LoadEnded(load) => {
            let mark = if load.dropped > 0 { Mark::Bad } else { Mark::Plain };
            Told::new(
                mark,
                format!(
                    "load ended: {} arrivals, {} dropped; the generator was late by {} at p99, {} at worst",
                    count(load.arrivals),
                    count(load.dropped),
                    duration(load.lag_p99_us as f64 / 1_000.0),
                    duration(load.lag_max_us as f64 / 1_000.0)
                ),
            )
        }
        Event::Notice { text } => Told::new(Mark::Plain, clean(text)),
        // The verdict block says it at the end, where it is not lost above the last lines of the load.
        Event::Broken { .. } => None,
        Event::Interrupted { signal } => Told::new(
            Mark::Bad,
            format!("interrupted by {}: everything is being undone", clean(signal)),
        ),
        Event::Down { kept: true, .. } => Told::new(Mark::Good, "the system was left up, as asked".to_owned()),
        Event::Down { leftovers, .. } => down(leftovers),
        Event::Judged { verdict, exit_code } => Told::new(
            Mark::Plain,
            format!("judged: {} (exit code {exit_code})", clean(verdict)),
        ),
    }
}

fn set_up(event: &Event) -> Option<Told> {
    match event {
        Event::ImageStarted { image, step } => {
            Told::new(Mark::Plain, format!("image {}: {}", clean(image), clean(step)))
        }
        Event::ImageReady { image, took_ms: 0, .. } => {
            Told::new(Mark::Good, format!("image {} is there", clean(image)))
        }
        Event::ImageReady { image, took_ms, .. } => Told::new(
            Mark::Good,
            format!("image {} made in {}", clean(image), duration(*took_ms as f64)),
        ),
        Event::ReplicaReady { replica, took_ms } => Told::new(
            Mark::Good,
            format!("{} ready after {}", clean(replica), duration(*took_ms as f64)),
        ),
        _ => None,
    }
}

fn gate(passed: bool, assertions: &[Assertion]) -> Option<Told> {
    let telling = |assertion: &&Assertion| passed || assertion.finding.verdict != Judgement::Pass;
    let probes: Vec<String> = assertions
        .iter()
        .filter(telling)
        .map(|assertion| format!("{} ({})", clean(&assertion.name), clean(&assertion.finding.detail)))
        .collect();
    match passed {
        true => Told::new(Mark::Good, format!("gate passed: {}", list(&probes))),
        false => Told::new(
            Mark::Bad,
            format!("gate not passed, nothing will be injected: {}", list(&probes)),
        ),
    }
}

fn fault(event: &Event) -> Option<Told> {
    let number = |fault: &u32| fault + 1;
    match event {
        Event::FaultIntent {
            fault, name, describe, ..
        } => Told::new(
            Mark::Fault,
            format!("fault F{} ({}): {}", number(fault), clean(name), clean(describe)),
        ),
        Event::FaultInjected { fault, receipt, .. } => {
            receipt_line(number(fault), receipt, "in effect", "NOT SEEN in effect")
        }
        Event::FaultMissed { fault, reason } => Told::new(
            Mark::Bad,
            format!("fault F{} not injected: {}", number(fault), clean(reason)),
        ),
        Event::HealIntent { fault } => Told::new(Mark::Fault, format!("healing fault F{}", number(fault))),
        Event::FaultHealed { fault, receipt, .. } => receipt_line(number(fault), receipt, "healed", "NOT SEEN healed"),
        Event::HealFailed { fault, reason } => Told::new(
            Mark::Bad,
            format!("fault F{} did not heal: {}", number(fault), clean(reason)),
        ),
        _ => None,
    }
}

fn receipt_line(number: u32, receipt: &Receipt, seen: &str, unseen: &str) -> Option<Told> {
    let onset = receipt
        .onset_us
        .map_or_else(String::new, |us| format!(" after {}", duration(us as f64 / 1_000.0)));
    let evidence = first_evidence(receipt).map_or_else(String::new, |line| format!(": {line}"));
    match receipt.confirmed {
        true => Told::new(Mark::Fault, format!("fault F{number} {seen}{onset}{evidence}")),
        false => Told::new(Mark::Bad, format!("fault F{number} {unseen}{evidence}")),
    }
}

/// The first thing that a receipt says: what showed the effect, or its end.
pub(super) fn first_evidence(receipt: &Receipt) -> Option<String> {
    let more = match receipt.evidence.len() {
        0 => return None,
        1 => String::new(),
        lines => format!(" (and {} more)", lines - 1),
    };
    Some(format!("{}{more}", clean(&receipt.evidence[0])))
}

fn drained_line(metric: &str, drained: bool, last: Option<f64>, took_ms: u64) -> Option<Told> {
    let took = duration(took_ms as f64);
    match drained {
        true => Told::new(Mark::Good, format!("backlog {} drained in {took}", clean(metric))),
        false => {
            let last = last.map_or_else(|| "no reading".to_owned(), |last| trim(last, 2));
            Told::new(
                Mark::Bad,
                format!(
                    "backlog {} not drained after {took}; last reading: {last}",
                    clean(metric)
                ),
            )
        }
    }
}

fn down(leftovers: &[String]) -> Option<Told> {
    match leftovers {
        [] => Told::new(Mark::Good, "everything is down, nothing left behind".to_owned()),
        leftovers => {
            let leftovers: Vec<String> = leftovers.iter().map(|leftover| clean(leftover)).collect();
            Told::new(Mark::Bad, format!("left behind: {}", leftovers.join(", ")))
        }
    }
}

/// Operations that have a line each; the rest has one together.
const OPERATIONS_MAX: usize = 12;

/// How the load is going: a line for each operation, and one for those that are beyond that many.
pub(super) fn progress(progress: &Progress) -> Vec<String> {
    let in_flight = count(progress.in_flight as u64);
    let (shown, rest) = progress
        .operations
        .split_at(progress.operations.len().min(OPERATIONS_MAX));
    let width = shown
        .iter()
        .map(|operation| clean(&operation.operation).chars().count())
        .max();
    let line = |operation: &OperationProgress| {
        format!(
            "load: {:<width$}  {}, {}",
            clean(&operation.operation),
            ends(operation.ok, operation.fail, operation.info),
            last_second(operation),
            width = width.unwrap_or(0)
        )
    };
    let mut lines: Vec<String> = shown.iter().map(line).collect();
    if !rest.is_empty() {
        let sum = |of: fn(&OperationProgress) -> u64| rest.iter().map(of).sum();
        let ends = ends(sum(|o| o.ok), sum(|o| o.fail), sum(|o| o.info));
        lines.push(format!("load: {} more operations, {ends}", rest.len()));
    }
    if let Some(last) = lines.last_mut() {
        last.push_str(&format!("; {in_flight} in flight"));
    }
    lines
}

fn ends(ok: u64, fail: u64, info: u64) -> String {
    format!("ok {} fail {} info {}", count(ok), count(fail), count(info))
}

/// What an operation came to in the last second.
pub(super) fn last_second(operation: &OperationProgress) -> String {
    let Some(percent) = operation.ok_percent else {
        return "last second none ended".to_owned();
    };
    let quantile = |name: &str, ms: Option<f64>| ms.map_or_else(String::new, |ms| format!(", {name} {}", duration(ms)));
    format!(
        "last second {}{}{}",
        crate::report::text::percent_of(percent),
        quantile("p50", operation.p50_ms),
        quantile("p99", operation.p99_ms)
    )
}
