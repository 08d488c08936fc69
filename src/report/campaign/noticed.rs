//! What customers would have noticed, in sentences: generated from what was measured, and from nothing else.

use super::decision::{Counted, few};
use super::model::{Experiment, Notice, Noticed};
use crate::report::text::{count, duration, list, plural, trim};
use crate::report::words;
use crate::system::definition::Unit;
use crate::verdict::{OperationImpact, Status, Verdict};

/// Operations told of one run at most.
const OPERATIONS_MAX: usize = 8;
/// Operations named that went on.
const WENT_ON_MAX: usize = 3;
/// Backlogs told of one run.
const BACKLOGS_MAX: usize = 2;

/// What customers would have noticed of the runs, whose parts of the page are `experiments`.
pub(super) fn notice(runs: &[Counted<'_>], experiments: &[Experiment]) -> Notice {
    let mut notice = Notice::default();
    for (counted, experiment) in runs.iter().zip(experiments) {
        let verdict = &counted.run.verdict;
        let is_disrupted = verdict
            .operations
            .iter()
            .any(|operation| !operation.disrupted.is_empty());
        let is_told = !verdict.operations.is_empty() && verdict.operations.iter().all(|operation| operation.is_told);
        if is_disrupted {
            notice.noticed.push(Noticed {
                run: counted.reference(),
                broken: broken(verdict),
                disrupted: disrupted(verdict),
                besides: besides(verdict, experiment),
            });
        } else if !is_told || verdict.status != Status::Completed {
            notice.untold.push(counted.reference());
        } else {
            notice.unnoticed.push(counted.reference());
        }
    }
    notice
}

fn broken(verdict: &Verdict) -> String {
    let faults: Vec<String> = verdict.faults.iter().map(|fault| fault.name.clone()).collect();
    few(&faults)
}

/// A sentence for each operation that was disrupted, the longest first.
fn disrupted(verdict: &Verdict) -> Vec<String> {
    let mut worst: Vec<&OperationImpact> = verdict
        .operations
        .iter()
        .filter(|operation| !operation.disrupted.is_empty())
        .collect();
    worst.sort_by(|one, other| total_ms(other).total_cmp(&total_ms(one)));
    let mut sentences: Vec<String> = worst
        .iter()
        .take(OPERATIONS_MAX)
        .map(|operation| of_operation(operation))
        .collect();
    if let Some(more) = worst.len().checked_sub(OPERATIONS_MAX).filter(|more| *more > 0) {
        sentences.push(format!("{} more were disrupted.", plural(more as u64, "operation")));
    }
    sentences
}

/// What else there was to it.
fn besides(verdict: &Verdict, experiment: &Experiment) -> Vec<String> {
    let mut sentences = went_on(verdict);
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

/// `For 10.2 s 311 of 372 did not get this done: “A customer pays by card at a branch”.`
fn of_operation(operation: &OperationImpact) -> String {
    let sum = |number: fn(&crate::verdict::Stretch) -> u64| operation.disrupted.iter().map(number).sum::<u64>();
    let (arrived, ok) = (sum(|stretch| stretch.arrived), sum(|stretch| stretch.ok));
    let time = duration(total_ms(operation));
    let time = match operation.disrupted.len() as u64 {
        1 => format!("For {time}"),
        stretches => format!("For {time} in all, in {} stretches,", count(stretches)),
    };
    let who = match (arrived, ok) {
        (1, 0) => "the one who came did not get".to_owned(),
        (arrived, 0) => format!("none of {} got", count(arrived)),
        (arrived, ok) => format!(
            "{} of {} did not get",
            count(arrived.saturating_sub(ok)),
            count(arrived)
        ),
    };
    format!("{time} {who} this done: {}.", named(operation))
}

fn named(operation: &OperationImpact) -> String {
    match operation.title.is_empty() {
        true => words::quoted(&operation.operation),
        false => words::quoted(&operation.title),
    }
}

fn went_on(verdict: &Verdict) -> Vec<String> {
    let (told, untold): (Vec<&OperationImpact>, Vec<&OperationImpact>) = verdict
        .operations
        .iter()
        .filter(|operation| operation.disrupted.is_empty())
        .partition(|operation| operation.is_told);
    let mut sentences = Vec::new();
    let names: Vec<String> = told
        .iter()
        .take(WENT_ON_MAX)
        .map(|operation| named(operation))
        .collect();
    match told.len().saturating_sub(WENT_ON_MAX) as u64 {
        _ if told.is_empty() => {}
        0 => sentences.push(format!("Meanwhile this went on: {}.", list(&names))),
        more => sentences.push(format!(
            "Meanwhile this went on: {}, and {}.",
            names.join(", "),
            plural(more, "more operation")
        )),
    }
    let names: Vec<String> = untold
        .iter()
        .take(WENT_ON_MAX)
        .map(|operation| named(operation))
        .collect();
    if !names.is_empty() {
        sentences.push(format!("Too few came to tell how this went on: {}.", list(&names)));
    }
    sentences
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
    match (recovery.censored, recovery.recovery_time_ms) {
        (true, _) => sentences.push("Good service had not come back when the load ended.".to_owned()),
        (false, Some(0.0)) => sentences.push("Good service was back when the last fault had healed.".to_owned()),
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
