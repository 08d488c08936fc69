//! What customers would have noticed, in sentences: generated from what was measured, and from nothing else.

use super::course::OperationCourse;
use super::decision::Counted;
use super::model::{Experiment, Notice, Noticed, Unnoticed};
use super::waits::Waits;
use crate::report::text::{count, duration, few, list, plural, trim};
use crate::report::words;
use crate::system::definition::Unit;
use crate::verdict::{Judgement, OperationImpact, Status, Verdict};

/// Operations told of one run at most.
const OPERATIONS_MAX: usize = 8;
/// Operations named that went on.
const WENT_ON_MAX: usize = 3;
/// Backlogs told of one run.
const BACKLOGS_MAX: usize = 2;

/// An operation as customers had it.
struct Seen<'a> {
    impact: &'a OperationImpact,
    /// Over time; absent where nothing of it is left.
    course: Option<&'a OperationCourse>,
}

impl Seen<'_> {
    fn waits(&self) -> Option<&Waits> {
        self.course?.waits.as_ref()
    }

    /// Whether it was disrupted or waited for.
    fn is_noticed(&self) -> bool {
        !self.impact.disrupted.is_empty() || self.waits().is_some()
    }

    /// Whether it can be said that it was neither.
    fn is_told(&self) -> bool {
        self.impact.is_told && self.course.is_some_and(|course| course.usual_ms.is_some())
    }
}

fn seen<'a>(verdict: &'a Verdict, experiment: &'a Experiment) -> Vec<Seen<'a>> {
    let courses = experiment.course.as_ref();
    let course = |name: &str| courses?.operations.iter().find(|course| course.operation == name);
    let of = |impact: &'a OperationImpact| Seen {
        impact,
        course: course(&impact.operation),
    };
    verdict.operations.iter().map(of).collect()
}

/// What customers would have noticed of the runs, whose parts of the page are `experiments`. Each operation is judged by itself.
pub(super) fn notice(runs: &[Counted<'_>], experiments: &[Experiment]) -> Notice {
    let mut notice = Notice::default();
    for (counted, experiment) in runs.iter().zip(experiments) {
        let verdict = &counted.run.verdict;
        let seen = seen(verdict, experiment);
        if seen.iter().any(Seen::is_noticed) {
            notice.noticed.push(Noticed {
                run: counted.reference(),
                broken: broken(verdict),
                disrupted: disrupted(&seen),
                besides: besides(&seen, verdict, experiment),
            });
        } else if !seen.iter().any(Seen::is_told) || verdict.status != Status::Completed {
            notice.untold.push(counted.reference());
        } else {
            notice.unnoticed.push(Unnoticed {
                run: counted.reference(),
                but: left_open(&seen, verdict),
            });
        }
    }
    notice
}

fn broken(verdict: &Verdict) -> String {
    let faults: Vec<String> = verdict.faults.iter().map(|fault| fault.name.clone()).collect();
    few(&faults)
}

/// What is left open where nothing was noticed.
fn left_open(seen: &[Seen<'_>], verdict: &Verdict) -> Vec<String> {
    let mut sentences: Vec<String> = untold(seen).into_iter().collect();
    let failed = verdict
        .assertions
        .iter()
        .filter(|assertion| assertion.finding.verdict == Judgement::Fail);
    let failed: Vec<String> = failed.map(|assertion| words::quoted(&assertion.name)).collect();
    if !failed.is_empty() {
        sentences.push(format!("The run failed all the same, by {}.", few(&failed)));
    }
    sentences
}

/// A sentence for each operation that was disrupted or waited for, the longest disruption first.
fn disrupted(seen: &[Seen<'_>]) -> Vec<String> {
    let mut worst: Vec<&Seen<'_>> = seen.iter().filter(|seen| seen.is_noticed()).collect();
    let waited_ms = |seen: &Seen<'_>| seen.waits().map_or(0.0, Waits::total_ms);
    worst.sort_by(|one, other| {
        let by_wait = waited_ms(other).total_cmp(&waited_ms(one));
        total_ms(other.impact).total_cmp(&total_ms(one.impact)).then(by_wait)
    });
    let mut sentences: Vec<String> = worst
        .iter()
        .take(OPERATIONS_MAX)
        .map(|operation| of_operation(operation))
        .collect();
    if let Some(more) = worst.len().checked_sub(OPERATIONS_MAX).filter(|more| *more > 0) {
        sentences.push(match more {
            1 => "1 more operation was disrupted or waited for.".to_owned(),
            more => format!("{more} more operations were disrupted or waited for."),
        });
    }
    sentences
}

/// What else there was to it.
fn besides(seen: &[Seen<'_>], verdict: &Verdict, experiment: &Experiment) -> Vec<String> {
    let mut sentences = went_on(seen);
    sentences.extend(piled_up(experiment));
    sentences.extend(over(verdict));
    sentences.extend(harm(verdict));
    sentences
}

fn total_ms(operation: &OperationImpact) -> f64 {
    operation
        .disrupted
        .iter()
        .map(|stretch| stretch.to_ms - stretch.from_ms)
        .sum()
}

/// How it was disrupted, how it was waited for, or both.
fn of_operation(seen: &Seen<'_>) -> String {
    let named = named(seen.impact);
    let unserved = (!seen.impact.disrupted.is_empty()).then(|| unserved(seen.impact));
    let usual_ms = seen.course.and_then(|course| course.usual_ms).unwrap_or_default();
    match (unserved, seen.waits()) {
        (Some(unserved), None) => format!("{unserved}: {named}."),
        (None, Some(waits)) => format!("{}: {named}.", waited(waits, usual_ms, "this")),
        (Some(unserved), Some(waits)) => format!("{unserved}: {named}. {}.", waited(waits, usual_ms, "it")),
        (None, None) => String::new(),
    }
}

/// `For 10.2 s`, `For 10.2 s in all, in 3 stretches,`.
fn lasted(total_ms: f64, stretches: usize) -> String {
    let time = duration(total_ms);
    match stretches {
        1 => format!("For {time}"),
        stretches => format!("For {time} in all, in {} stretches,", count(stretches as u64)),
    }
}

/// `For 10.2 s 311 of 372 did not get this done within 5 s`.
fn unserved(operation: &OperationImpact) -> String {
    let sum = |number: fn(&crate::verdict::Stretch) -> u64| operation.disrupted.iter().map(number).sum::<u64>();
    let (arrived, ok) = (sum(|stretch| stretch.arrived), sum(|stretch| stretch.ok));
    let time = lasted(total_ms(operation), operation.disrupted.len());
    let who = match (arrived, ok) {
        (1, 0) => "the one who came did not get".to_owned(),
        (arrived, 0) => format!("none of {} got", count(arrived)),
        (arrived, ok) => format!(
            "{} of {} did not get",
            count(arrived.saturating_sub(ok)),
            count(arrived)
        ),
    };
    let within = operation
        .served_within_ms
        .map_or_else(String::new, |ms| format!(" within {}", duration(ms as f64)));
    format!("{time} {who} this done{within}")
}

/// `For 5 s 62 of 80 had to wait for this, 6.5 s at the median where 20 ms was usual`.
fn waited(waits: &Waits, usual_ms: f64, what: &str) -> String {
    let time = lasted(waits.total_ms(), waits.stretches.len());
    let (waited_ms, usual_ms) = (duration(waits.median_ms), duration(usual_ms));
    match (waits.arrived, waits.waited) {
        (1, _) => format!("{time} the one who came had to wait {waited_ms} for {what} where {usual_ms} was usual"),
        (arrived, 1) => format!(
            "{time} 1 of {} had to wait {waited_ms} for {what} where {usual_ms} was usual",
            count(arrived)
        ),
        (arrived, waited) => {
            let who = match arrived == waited {
                true => format!("all {}", count(arrived)),
                false => format!("{} of {}", count(waited), count(arrived)),
            };
            format!("{time} {who} had to wait for {what}, {waited_ms} at the median where {usual_ms} was usual")
        }
    }
}

fn named(operation: &OperationImpact) -> String {
    match operation.title.is_empty() {
        true => words::quoted(&operation.operation),
        false => words::quoted(&operation.title),
    }
}

fn went_on(seen: &[Seen<'_>]) -> Vec<String> {
    let went_on = seen.iter().filter(|seen| !seen.is_noticed() && seen.is_told());
    let names: Vec<String> = went_on.map(|seen| named(seen.impact)).collect();
    let mut sentences = Vec::new();
    match names.len().saturating_sub(WENT_ON_MAX) as u64 {
        _ if names.is_empty() => {}
        0 => sentences.push(format!("Meanwhile this went on: {}.", list(&names))),
        more => sentences.push(format!(
            "Meanwhile this went on: {}, and {}.",
            names[..WENT_ON_MAX].join(", "),
            plural(more, "more operation")
        )),
    }
    sentences.extend(untold(seen));
    sentences
}

/// What cannot be said of operations of which nothing was noticed.
fn untold(seen: &[Seen<'_>]) -> Option<String> {
    let untold: Vec<&Seen<'_>> = seen
        .iter()
        .filter(|seen| !seen.is_noticed() && !seen.is_told())
        .collect();
    if untold.is_empty() {
        return None;
    }
    // The course has every operation, or there is none.
    if untold.iter().all(|seen| seen.course.is_none()) {
        return Some("Who else had to wait cannot be said: the run's history is not there any more.".to_owned());
    }
    let names: Vec<String> = untold.iter().take(WENT_ON_MAX).map(|seen| named(seen.impact)).collect();
    Some(match untold.len().saturating_sub(WENT_ON_MAX) as u64 {
        0 => format!("Too few came to tell how this went on: {}.", list(&names)),
        more => format!(
            "Too few came to tell how this went on: {}, and {}.",
            names.join(", "),
            plural(more, "more operation")
        ),
    })
}

/// `At the worst 312 was the count of “Entries that the host has not acknowledged”.`
fn piled_up(experiment: &Experiment) -> Vec<String> {
    let gauges = experiment.course.iter().flat_map(|course| &course.gauges);
    let mut backlogs: Vec<(f64, String)> = gauges
        .filter(|gauge| gauge.is_backlog && gauge.unit == Unit::Count)
        .filter_map(|gauge| {
            let name = if gauge.title.is_empty() {
                &gauge.metric
            } else {
                &gauge.title
            };
            Some((gauge.peak().filter(|peak| *peak >= 1.0)?, words::quoted(name)))
        })
        .collect();
    backlogs.sort_by(|one, other| other.0.total_cmp(&one.0));
    let told: Vec<String> = backlogs
        .iter()
        .take(BACKLOGS_MAX)
        .map(|(peak, name)| format!("{name} rose to {}", trim(*peak, 1)))
        .collect();
    match told.is_empty() {
        true => Vec::new(),
        false => vec![format!("{}.", list(&told))],
    }
}

fn over(verdict: &Verdict) -> Vec<String> {
    let recovery = &verdict.recovery;
    let mut sentences = Vec::new();
    let is_left = recovery.disruption_ms.is_none_or(|ms| ms > 0.0);
    match (recovery.censored, recovery.recovery_time_ms) {
        (true, _) => sentences.push("Good service had not come back when the load ended.".to_owned()),
        (false, Some(_)) if !is_left => {
            sentences.push("The steady state that the experiment asks for was not seen to be left.".to_owned());
        }
        (false, Some(0.0)) => sentences.push(match words::back_before_heal_ms(verdict) {
            Some(ms) => format!(
                "Good service was back before the last heal, {} after the first effect.",
                duration(ms)
            ),
            None => "Good service was back when the last fault had healed.".to_owned(),
        }),
        (false, Some(ms)) => sentences.push(format!(
            "Good service was back {} after the last fault had healed.",
            duration(ms)
        )),
        (false, None) => {}
    }
    if let Some(ms) = recovery.backlog_drained_ms {
        let is_by_then = recovery
            .recovery_time_ms
            .is_some_and(|recovered_ms| ms <= recovered_ms || duration(ms) == duration(recovered_ms));
        sentences.push(match is_by_then {
            _ if ms == 0.0 => "What had piled up was worked off by the last heal.".to_owned(),
            true => "What had piled up was worked off by then.".to_owned(),
            false => format!("What had piled up was worked off {} after that heal.", duration(ms)),
        });
    }
    sentences
}

fn harm(verdict: &Verdict) -> Vec<String> {
    let safety = &verdict.safety;
    let mut sentences = Vec::new();
    if let Some(lost) = safety.lost.filter(|lost| *lost > 0) {
        let operations = plural(lost, "operation");
        sentences.push(format!(
            "{operations} that had been acknowledged to customers were lost."
        ));
    }
    if let Some(twice) = safety.twice.filter(|twice| *twice > 0) {
        sentences.push(format!(
            "{} there more often than they may be.",
            match twice {
                1 => "1 effect was".to_owned(),
                twice => format!("{} effects were", count(twice)),
            }
        ));
    }
    sentences
}
