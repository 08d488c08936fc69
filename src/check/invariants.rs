//! Runs the checkers, and weighs what was lost against what is tolerated.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZero;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::available_parallelism;

use super::impact::LostByKind;
use super::{Breach, Checked, Checker, Evidence, Lost};
use crate::history::load::History;
use crate::plan::Plan;
use crate::verdict::{Assertion, AssertionKind, Finding, Judgement};

/// What every checker found.
pub(super) struct Invariants<'p> {
    /// By name, in the order of the plan; the error is why a checker said nothing.
    checked: Vec<(&'p str, Result<Checked, String>)>,
}

/// Loss over all invariants: an operation that two checkers miss is lost once.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Loss {
    pub operations: u64,
    /// Whether every checker could say what it had to.
    pub is_certain: bool,
    /// Age of the oldest when the fault took effect; none if nothing is lost, or if no fault was seen.
    pub age_ms: Option<f64>,
    /// How many of them came after the effect of the one fault that they must precede.
    pub later: u64,
}

/// What lost operations ought to precede: an effect, if it was seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LostBefore {
    /// The first of any fault; others may have lost what came later.
    FirstEffect(Option<u64>),
    /// That of one fault, which alone may lose anything.
    EffectOf(Option<u64>),
}

impl<'p> Invariants<'p> {
    /// Runs every checker, on all cores: they share the evidence and nothing else.
    pub(super) fn check(plan: &'p Plan, history: &History<'_>, last_heal_us: Option<u64>) -> Self {
        let evidence = Evidence::gather(history)
            .with_metrics(&plan.system.metrics)
            .with_last_heal(last_heal_us);
        let next = AtomicUsize::new(0);
        let work = || {
            let mut done = Vec::new();
            while let Some(name) = plan.invariants.get(next.fetch_add(1, Ordering::Relaxed)) {
                done.push((name.as_str(), check_one(plan, name, &evidence)));
            }
            done
        };
        let cores = available_parallelism().map_or(1, NonZero::get);
        let threads = if evidence.is_large() {
            cores.min(plan.invariants.len())
        } else {
            1
        };
        let done = std::thread::scope(|scope| {
            let threads: Vec<_> = (1..threads).map(|_| scope.spawn(work)).collect();
            let mut done = work();
            for thread in threads {
                done.extend(thread.join().expect("checkers are guarded"));
            }
            done
        });
        let mut done: BTreeMap<&str, Result<Checked, String>> = done.into_iter().collect();
        let in_order = plan
            .invariants
            .iter()
            .filter_map(|name| done.remove_entry(name.as_str()));
        Self {
            checked: in_order.collect(),
        }
    }

    /// What was lost.
    pub(super) fn loss(&self, before: LostBefore) -> Loss {
        let (LostBefore::FirstEffect(effect_us) | LostBefore::EffectOf(effect_us)) = before;
        let found = self.checked.iter().filter_map(|(_, checked)| checked.as_ref().ok());
        let lost: BTreeMap<&str, &Lost> = found
            .flat_map(|checked| &checked.lost)
            .map(|lost| (lost.key.as_str(), lost))
            .collect();
        let oldest_us = lost.values().map(|lost| lost.intended_us).min();
        let later = match before {
            LostBefore::FirstEffect(_) => 0,
            LostBefore::EffectOf(effect_us) => lost
                .values()
                .filter(|lost| effect_us.is_some_and(|effect| lost.intended_us > effect))
                .count(),
        };
        let age_us = effect_us
            .zip(oldest_us)
            .map(|(effect, oldest)| effect.saturating_sub(oldest));
        Loss {
            operations: lost.len() as u64,
            is_certain: self.is_certain() && !self.checked.is_empty(),
            age_ms: age_us.map(|us| us as f64 / 1_000.0),
            later: later as u64,
        }
    }

    /// Lost operations by their kind; nothing where no invariant was checked.
    pub(super) fn lost_by_kind(&self) -> Option<LostByKind<'_>> {
        let lost: BTreeMap<&str, &str> = self
            .found()
            .flat_map(|(_, checked)| &checked.lost)
            .map(|lost| (lost.key.as_str(), lost.kind.as_str()))
            .collect();
        let mut counts = BTreeMap::new();
        for kind in lost.into_values() {
            *counts.entry(kind).or_default() += 1;
        }
        let is_certain = self.is_certain();
        (!self.checked.is_empty()).then_some(LostByKind { counts, is_certain })
    }

    /// How often these breaches were found, by all invariants together.
    pub(super) fn count(&self, breaches: &[Breach]) -> u64 {
        let of = |checked: &Checked| -> u64 { breaches.iter().filter_map(|breach| checked.breaches.get(breach)).sum() };
        self.found().map(|(_, checked)| of(checked)).sum()
    }

    /// The invariants whose checkers could say all that they had to.
    pub(super) fn certain(&self) -> BTreeSet<&str> {
        let certain = self.found().filter(|(_, checked)| checked.doubts == 0);
        certain.map(|(name, _)| name).collect()
    }

    /// Whether every checker could.
    fn is_certain(&self) -> bool {
        self.certain().len() == self.checked.len()
    }

    fn found(&self) -> impl Iterator<Item = (&str, &Checked)> {
        self.checked
            .iter()
            .filter_map(|(name, checked)| Some((*name, checked.as_ref().ok()?)))
    }

    /// The assertions.
    pub(super) fn assertions(&self, plan: &Plan, loss: &Loss) -> Vec<Assertion> {
        let tolerated = tolerated(plan, loss);
        let finding = |checked: &Result<Checked, String>| match checked {
            Ok(checked) => checked.finding(tolerated.as_deref()),
            Err(reason) => Finding {
                verdict: Judgement::Inconclusive,
                detail: reason.clone(),
                evidence: Vec::new(),
                samples: 0,
                first: None,
            },
        };
        let assertions = self.checked.iter().map(|(name, checked)| Assertion {
            name: (*name).to_owned(),
            kind: AssertionKind::Invariant,
            finding: finding(checked),
        });
        assertions.collect()
    }
}

/// Why the loss is tolerated, if it is. Without a fault that was seen nothing is: it is a fault's loss that is tolerable.
fn tolerated(plan: &Plan, loss: &Loss) -> Option<String> {
    let (operations_max, time_max_ms) = (plan.tolerate.data_loss_operations, plan.tolerate.data_loss_time_ms);
    let few = loss.operations <= operations_max;
    let young = loss.age_ms.is_some_and(|age| age <= time_max_ms as f64);
    (few && young && loss.later == 0).then(|| {
        let time_max = crate::duration::DurationMs(time_max_ms);
        let fault = plan.tolerate.data_loss_fault;
        let fault = fault.and_then(|id| plan.faults.iter().find(|fault| fault.id == id));
        let fault = fault.map_or_else(|| "the first fault".to_owned(), |fault| format!("`{}`", fault.name));
        format!("tolerated: at most {operations_max} operations, the oldest at most {time_max} before {fault}")
    })
}

fn check_one(plan: &Plan, name: &str, evidence: &Evidence<'_>) -> Result<Checked, String> {
    match plan.system.invariants.get(name) {
        Some(invariant) => guarded(invariant.checker(), evidence),
        None => Err(format!("the system has no invariant `{name}`")),
    }
}

/// A checker that panics has found nothing, and passes nothing.
fn guarded(checker: &dyn Checker, evidence: &Evidence<'_>) -> Result<Checked, String> {
    std::panic::catch_unwind(AssertUnwindSafe(|| checker.check(evidence))).map_err(|panic| {
        let text = panic.downcast_ref::<&str>().copied().map(str::to_owned);
        let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
        let text = text.unwrap_or_else(|| "a panic without a message".to_owned());
        format!("the checker broke, a defect of nightmail: {text}")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::Names;

    struct Panics;

    impl Checker for Panics {
        fn names(&self) -> Names<'_> {
            Names::default()
        }

        fn check(&self, _evidence: &Evidence<'_>) -> Checked {
            panic!("index out of bounds")
        }
    }

    #[test]
    fn a_checker_that_panics_says_why() {
        let error = guarded(&Panics, &Evidence::gather(&History::default())).unwrap_err();
        assert!(error.contains("index out of bounds"), "{error}");
    }
}
