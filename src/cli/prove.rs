//! `nightmail prove`: an experiment that cannot fail is no evidence.
//!
//! For each experiment: the fault-free control must pass, the experiment must pass, each negative control must fail by
//! every assertion it names, and the same control without the method must pass: then it is the fault that finds the defect.

use std::cell::OnceCell;
use std::path::{Path, PathBuf};

use super::args::RunArgs;
use super::runner::{Done, make_runs, without_control};
use super::{exit, page};
use crate::campaign::{self, Proof};
use crate::plan::{ExperimentInfo, Plan};
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
    make_runs(args, of, |done, not_made| {
        let code = show(done, not_made);
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

fn show(done: &[(Variant, Done)], not_made: &[PathBuf]) -> u8 {
    let rows: Vec<_> = done.iter().map(|(variant, one)| variant.row(&one.verdict)).collect();
    print!("{}", table::proof(&rows, &Style::of_stdout()));
    leave_proofs(done);
    let dirs: Vec<&Path> = done.iter().map(|(_, one)| one.dir.as_path()).collect();
    page::of_runs(&dirs, not_made, "proof.html");
    worst(done.iter().map(|(variant, one)| variant.exit_code(&one.verdict)))
}

/// Leaves the proof of each experiment in the folder of its own run. One that cannot be written is told, and is no proof.
fn leave_proofs(done: &[(Variant, Done)]) {
    for rows in done.chunk_by(|(one, _), (other, _)| one.file == other.file) {
        let own = rows.iter().find(|(variant, _)| variant.twin == Twin::Experiment);
        let Some((_, own)) = own else { continue };
        if let Err(error) = proof(rows).write(&own.dir) {
            eprintln!("warning: the proof could not be written: {error}");
        }
    }
}

/// The proof of one experiment, of whose runs those made are given.
fn proof(rows: &[(Variant, Done)]) -> Proof {
    let (variant, done) = &rows[0];
    let is_whole = rows.len() == variant.rows;
    let (sha256, experiment) = (variant.sha256.clone(), done.verdict.experiment.clone());
    let rows: Vec<campaign::ProofRow> = rows.iter().map(|(variant, done)| variant.proof_row(done)).collect();
    Proof {
        schema_version: Proof::SCHEMA_VERSION,
        experiment,
        sha256,
        proven_unix_ms: jiff::Timestamp::now().as_millisecond(),
        proven: is_whole && rows.iter().all(|row| row.as_it_should_be) && Proof::shows_failure(&rows),
        rows,
    }
}

/// A run of the proof and what it should give.
struct Variant {
    /// The experiment's file.
    file: PathBuf,
    /// SHA-256 of it.
    sha256: String,
    /// How many runs its proof has.
    rows: usize,
    twin: Twin,
    expected: Expected,
}

fn variants(plan: &Plan) -> Vec<(Variant, Plan)> {
    let passes = |twin, changed| (Variant::of(&plan.experiment, twin, Expected::Pass), changed);
    let mut variants = Vec::new();
    if !plan.faults.is_empty() {
        variants.push(passes(Twin::Control, plan.without_method()));
    }
    variants.push(passes(Twin::Experiment, plan.clone()));
    // What is told of a control, and held against verdicts, is without secrets as they are.
    let told = plan.redacted().negative_controls;
    for (control, told) in plan.negative_controls.iter().zip(told) {
        let twin = |method| Twin::NegativeControl {
            name: told.name.clone(),
            method,
        };
        let changed = plan.with_control(control);
        if !plan.faults.is_empty() {
            variants.push(passes(twin(false), changed.without_method()));
        }
        let fails = Variant::of(&plan.experiment, twin(true), Expected::FailBy(told.fails.clone()));
        variants.push((fails, changed));
    }
    let rows = variants.len();
    for (variant, _) in &mut variants {
        variant.rows = rows;
    }
    variants
}

impl Variant {
    fn of(experiment: &ExperimentInfo, twin: Twin, expected: Expected) -> Self {
        Self {
            file: experiment.path.clone(),
            sha256: experiment.sha256.clone(),
            rows: 0,
            twin,
            expected,
        }
    }

    fn proof_row(&self, done: &Done) -> campaign::ProofRow {
        let (control, faults) = match &self.twin {
            Twin::Control => (None, false),
            Twin::Experiment => (None, true),
            Twin::NegativeControl { name, method } => (Some(name.clone()), *method),
        };
        campaign::ProofRow {
            control,
            faults,
            fails: match &self.expected {
                Expected::Pass => Vec::new(),
                Expected::FailBy(names) => names.clone(),
            },
            run: done.dir.file_name().map_or_else(|| done.dir.clone(), PathBuf::from),
            status: done.verdict.status,
            verdict: done.verdict.verdict,
            as_it_should_be: self.as_it_should_be(&done.verdict),
        }
    }

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

    fn plan() -> Plan {
        let file = Path::new("experiments/guestbook/book-paused.yaml");
        let overrides = crate::experiment::Overrides::default();
        let here = crate::kernel::Capabilities::here(crate::system::docker::TRAITS);
        crate::experiment::load(file, &overrides, &here).unwrap()
    }

    /// Runs as the variants of the plan want them, each in a folder of that name.
    fn done(plan: &Plan, verdict: impl Fn(&Variant) -> Verdict) -> Vec<(Variant, Done)> {
        let made = |(variant, _): (Variant, Plan)| {
            let verdict = verdict(&variant);
            (
                variant,
                Done {
                    verdict,
                    dir: "runs/own".into(),
                },
            )
        };
        variants(plan).into_iter().map(made).collect()
    }

    /// What each variant should come to.
    fn as_expected(variant: &Variant) -> Verdict {
        match &variant.expected {
            Expected::Pass => sample::passed(),
            Expected::FailBy(names) => {
                let mut verdict = sample::failed();
                for (assertion, name) in verdict.assertions.iter_mut().rev().zip(names) {
                    assertion.name.clone_from(name);
                    assertion.finding.verdict = Judgement::Fail;
                }
                verdict
            }
        }
    }

    #[test]
    fn a_proof_holds_every_row_and_shows_a_failure() {
        let plan = plan();
        let whole = proof(&done(&plan, as_expected));
        assert!(whole.proven, "{whole:?}");
        assert_eq!(whole.sha256, plan.experiment.sha256);
        let rows: Vec<_> = whole
            .rows
            .iter()
            .map(|row| (row.control.is_some(), row.faults))
            .collect();
        assert_eq!(rows[..2], [(false, false), (false, true)]);
        assert!(rows[2..].chunks(2).all(|pair| pair == [(true, false), (true, true)]));
        let all_pass = proof(&done(&plan, |_| sample::passed()));
        assert!(!all_pass.proven, "a control that did not fail proves nothing");
        let mut cut_short = done(&plan, as_expected);
        cut_short.pop();
        assert!(!proof(&cut_short).proven);
        let bare = Plan {
            negative_controls: Vec::new(),
            ..plan
        };
        let unproven = proof(&done(&bare, as_expected));
        assert!(!unproven.proven && unproven.rows.iter().all(|row| row.as_it_should_be));
    }

    #[test]
    fn a_proof_holds_no_secret_and_knows_assertions_by_what_verdicts_call_them() {
        const SECRET: &str = "sk_live_9f8e7d";
        let mut plan = plan();
        plan.secrets = vec![SECRET.to_owned()];
        let control = &mut plan.negative_controls[0];
        control.name = format!("signed with {SECRET}");
        control.fails = vec![format!("kept with {SECRET}")];
        let whole = proof(&done(&plan, as_expected));
        let last = whole.rows.last().unwrap();
        assert_eq!(last.control.as_deref(), Some("signed with ***"));
        assert_eq!(last.fails, ["kept with ***"]);
        assert!(!serde_json::to_string(&whole).unwrap().contains(SECRET));
    }

    #[test]
    fn a_proof_is_left_with_the_experiments_own_run_and_read_back() {
        let folder = tempfile::tempdir().unwrap();
        let mut runs = done(&plan(), as_expected);
        for (number, (_, one)) in runs.iter_mut().enumerate() {
            one.dir = folder.path().join(number.to_string());
            std::fs::create_dir(&one.dir).unwrap();
        }
        leave_proofs(&runs);
        let read = |number: &str| Proof::read(&folder.path().join(number)).unwrap();
        assert_eq!(read("0"), None);
        let proof = read("1").unwrap();
        assert!(proof.proven);
        assert_eq!(proof.rows[1].run, PathBuf::from("1"));
    }

    #[test]
    fn an_experiment_without_a_negative_control_is_noted_and_one_with_controls_is_not() {
        let proven = plan();
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
            Variant::of(&plan().experiment, Twin::Experiment, expected).as_it_should_be(verdict)
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
