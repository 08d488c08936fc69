//! `nightmail prove`: an experiment that cannot fail is no evidence.
//!
//! For each experiment: the fault-free control must pass, the experiment must pass, each negative control must fail by
//! the assertion it names, and the same control without the method must pass: then it is the fault that finds the defect.

use super::args::RunArgs;
use super::exit;
use super::runner::{Done, Runner, block_on, load_plans};
use crate::plan::{NegativeControl, Plan};
use crate::report::table::{self, ProofRow};
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
        let mut rows = Vec::new();
        let mut codes = Vec::new();
        for plan in &plans {
            for variant in variants(plan) {
                let done = match runner.run(&variant.plan).await {
                    Ok(done) => done,
                    Err(code) => return code,
                };
                if let Some(code) = runner.interrupted() {
                    print!("{}", table::proof(&rows));
                    return code;
                }
                codes.push(variant.exit_code(&done.verdict));
                rows.push(variant.row(plan, &done));
            }
        }
        print!("{}", table::proof(&rows));
        worst(codes)
    })
}

/// A run of the proof and what it should give.
struct Variant {
    name: String,
    plan: Plan,
    /// The assertion that must fail; absent where the run must pass.
    fails: Option<String>,
}

fn variants(plan: &Plan) -> Vec<Variant> {
    let mut variants = Vec::new();
    if !plan.faults.is_empty() {
        variants.push(Variant {
            name: "control, no fault".to_owned(),
            plan: plan.without_method(),
            fails: None,
        });
    }
    variants.push(Variant {
        name: "experiment".to_owned(),
        plan: plan.clone(),
        fails: None,
    });
    for control in &plan.negative_controls {
        variants.extend(controlled(plan, control));
    }
    variants
}

fn controlled(plan: &Plan, control: &NegativeControl) -> Vec<Variant> {
    let unsafe_plan = plan.with_control(control);
    let mut variants = Vec::new();
    if !plan.faults.is_empty() {
        let quiet = unsafe_plan.without_method();
        variants.push(Variant {
            name: format!("{}, no fault", control.name),
            plan: quiet,
            fails: None,
        });
    }
    variants.push(Variant {
        name: control.name.clone(),
        plan: unsafe_plan,
        fails: Some(control.fails.clone()),
    });
    variants
}

impl Variant {
    fn expected(&self) -> String {
        match &self.fails {
            Some(assertion) => format!("fail by {assertion}"),
            None => "pass".to_owned(),
        }
    }

    fn as_it_should_be(&self, verdict: &Verdict) -> bool {
        if verdict.status != Status::Completed {
            return false;
        }
        match &self.fails {
            Some(name) => failed(verdict).any(|assertion| assertion == name),
            None => verdict.verdict == Judgement::Pass,
        }
    }

    /// What this row adds to the exit code: a control that did not fail is a weakness of the experiment.
    fn exit_code(&self, verdict: &Verdict) -> u8 {
        match (self.as_it_should_be(verdict), &self.fails) {
            (true, _) if !verdict.leftovers.is_empty() => exit::LEFTOVERS,
            (true, _) => exit::PASSED,
            (false, Some(_)) if verdict.status == Status::Completed && verdict.verdict != Judgement::Inconclusive => {
                exit::FAILED
            }
            (false, _) => verdict.exit_code,
        }
    }

    fn row(&self, plan: &Plan, done: &Done) -> ProofRow {
        let by: Vec<String> = failed(&done.verdict).map(str::to_owned).collect();
        ProofRow {
            experiment: plan.experiment.name.clone(),
            variant: self.name.clone(),
            expected: self.expected(),
            got: done.verdict.verdict,
            by,
            as_it_should_be: self.as_it_should_be(&done.verdict),
            dir: done.dir.clone(),
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
