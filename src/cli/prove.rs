//! `nightmail prove`: an experiment that cannot fail is no evidence.
//!
//! For each experiment: the fault-free control must pass, the experiment must pass, each negative control must fail by
//! the assertion it names, and the same control without the method must pass: then it is the fault that finds the defect.

use super::args::RunArgs;
use super::exit;
use super::runner::{Runner, block_on, load_plans};
use crate::plan::Plan;
use crate::report::table::{self, Expected, ProofRow, Twin};
use crate::report::terminal::Style;
use crate::verdict::{Judgement, Status, Verdict, worst};

/// Proves every experiment; 0 only if every row is as it should be.
pub fn prove(args: &RunArgs) -> u8 {
    let plans = match load_plans(&args.select) {
        Ok(plans) => plans,
        Err(code) => return code,
    };
    block_on(async {
        let runner = match Runner::new(args).await {
            Ok(runner) => runner,
            Err(code) => return code,
        };
        let mut done = Vec::new();
        for variant in plans.iter().flat_map(variants) {
            match runner.run(&variant.plan).await {
                Ok(one) => done.push((variant, one.verdict)),
                Err(code) => return code,
            }
            if let Some(code) = runner.interrupted() {
                show(&done);
                return code;
            }
        }
        show(&done);
        worst(done.iter().map(|(variant, verdict)| variant.exit_code(verdict)))
    })
}

fn show(done: &[(Variant, Verdict)]) {
    let rows: Vec<_> = done.iter().map(|(variant, verdict)| variant.row(verdict)).collect();
    print!("{}", table::proof(&rows, &Style::of_stdout()));
}

/// A run of the proof and what it should give.
struct Variant {
    twin: Twin,
    plan: Plan,
    expected: Expected,
}

fn variants(plan: &Plan) -> Vec<Variant> {
    let passes = |twin, plan| Variant {
        twin,
        plan,
        expected: Expected::Pass,
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
        variants.push(Variant {
            twin: twin(true),
            plan: changed,
            expected: Expected::FailBy(control.fails.clone()),
        });
    }
    variants
}

impl Variant {
    fn as_it_should_be(&self, verdict: &Verdict) -> bool {
        if verdict.status != Status::Completed {
            return false;
        }
        match &self.expected {
            Expected::FailBy(name) => failed(verdict).any(|assertion| assertion == name),
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
