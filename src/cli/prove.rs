//! `nightmail prove`: an experiment that cannot fail is no evidence.
//!
//! For each experiment: the fault-free control must pass, the experiment must pass, each negative control must fail by
//! every assertion it names, and the same control without the method must pass: then it is the fault that finds the defect.

use std::cell::OnceCell;

use super::args::RunArgs;
use super::exit;
use super::runner::{Done, make_runs, without_control};
use crate::plan::Plan;
use crate::report::table::{self, Expected, ProofRow, Twin};
use crate::report::terminal::Style;
use crate::verdict::{Judgement, Status, Verdict, worst};

/// Proves every experiment; 0 only if every row is as it should be.
pub fn prove(args: &RunArgs) -> u8 {
    let bare = OnceCell::new();
    let of = |plans: Vec<Plan>| {
        bare.get_or_init(|| notes(&plans));
        plans.iter().flat_map(variants).collect()
    };
    make_runs(args, of, |done| {
        let code = show(done);
        print!("{}", bare.get().map_or("", String::as_str));
        code
    })
}

/// A line for each experiment that has no negative control: its rows prove less than they seem to.
fn notes(plans: &[Plan]) -> String {
    let note = |plan| Some((plan, without_control(plan)?));
    let noted = plans.iter().filter_map(note);
    noted
        .map(|(plan, note)| format!("note: {}: {note}\n", plan.experiment.path.display()))
        .collect()
}

fn show(done: &[(Variant, Done)]) -> u8 {
    let rows: Vec<_> = done.iter().map(|(variant, one)| variant.row(&one.verdict)).collect();
    print!("{}", table::proof(&rows, &Style::of_stdout()));
    worst(done.iter().map(|(variant, one)| variant.exit_code(&one.verdict)))
}

/// A run of the proof and what it should give.
struct Variant {
    twin: Twin,
    expected: Expected,
}

fn variants(plan: &Plan) -> Vec<(Variant, Plan)> {
    let passes = |twin, plan| {
        let expected = Expected::Pass;
        (Variant { twin, expected }, plan)
    };
    let mut variants = Vec::new();
    if !plan.faults.is_empty() {
        variants.push(passes(Twin::Control, plan.without_method()));
    }
    variants.push(passes(Twin::Experiment, plan.clone()));
    for control in &plan.negative_controls {
        let twin = |method| Twin::NegativeControl {
            name: control.name.clone(),
            method,
        };
        let changed = plan.with_control(control);
        if !plan.faults.is_empty() {
            variants.push(passes(twin(false), changed.without_method()));
        }
        let fails = Variant {
            twin: twin(true),
            expected: Expected::FailBy(control.fails.clone()),
        };
        variants.push((fails, changed));
    }
    variants
}

impl Variant {
    fn as_it_should_be(&self, verdict: &Verdict) -> bool {
        if verdict.status != Status::Completed {
            return false;
        }
        match &self.expected {
            Expected::FailBy(names) => names
                .iter()
                .all(|name| failed(verdict).any(|assertion| assertion == name)),
            Expected::Pass => verdict.verdict == Judgement::Pass,
        }
    }

    /// What this row adds to the exit code: a control that did not fail is a weakness of the experiment.
    fn exit_code(&self, verdict: &Verdict) -> u8 {
        let undecided = verdict.status != Status::Completed || verdict.verdict == Judgement::Inconclusive;
        match (self.as_it_should_be(verdict), &self.expected) {
            (true, _) if !verdict.leftovers.is_empty() => exit::LEFTOVERS,
            (true, _) => exit::PASSED,
            (false, Expected::FailBy(_)) if !undecided => exit::FAILED,
            (false, _) => verdict.exit_code,
        }
    }

    fn row<'a>(&self, verdict: &'a Verdict) -> ProofRow<'a> {
        ProofRow {
            twin: self.twin.clone(),
            expected: self.expected.clone(),
            verdict,
            as_it_should_be: self.as_it_should_be(verdict),
        }
    }
}

fn failed(verdict: &Verdict) -> impl Iterator<Item = &str> {
    let failed = verdict
        .assertions
        .iter()
        .filter(|assertion| assertion.finding.verdict == Judgement::Fail);
    failed.map(|assertion| assertion.name.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::sample;

    #[test]
    fn an_experiment_without_a_negative_control_is_noted_and_one_with_controls_is_not() {
        let file = std::path::Path::new("experiments/guestbook/book-paused.yaml");
        let proven = crate::experiment::load(
            file,
            &crate::experiment::Overrides::default(),
            &crate::kernel::Capabilities::here(crate::system::docker::TRAITS),
        )
        .unwrap();
        let mut bare = proven.clone();
        bare.negative_controls.clear();
        bare.experiment.path = "bare.yaml".into();
        let expected = "note: bare.yaml: no negative control, so nothing shows that it can fail\n";
        assert_eq!(notes(&[proven, bare]), expected);
    }

    #[test]
    fn a_control_must_fail_by_every_assertion_that_it_names_and_a_pass_is_a_pass() {
        let by = |names: &[&str]| Expected::FailBy(names.iter().map(|&name| name.to_owned()).collect());
        let is = |expected: Expected, verdict: &Verdict| {
            let twin = Twin::Experiment;
            Variant { twin, expected }.as_it_should_be(verdict)
        };
        let verdict = sample::failed();
        let names: Vec<&str> = failed(&verdict).collect();
        assert!(!names.is_empty(), "the sample has something that failed");
        assert!(is(by(&names), &verdict));
        assert!(!is(by(&[names[0], "captures-match-payments"]), &verdict));
        assert!(!is(Expected::Pass, &verdict));
        assert!(is(Expected::Pass, &sample::passed()));
        assert!(!is(by(&names), &sample::passed()));
        assert!(!is(by(&names), &sample::aborted()));
    }
}
