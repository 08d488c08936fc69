//! From assertions to one judgement and an exit code.

use std::fmt;

use super::{Judgement, Recovery, SCHEMA_VERSION, Status, Verdict};
use crate::plan::Plan;

/// Passed.
const PASSED: u8 = 0;
/// Failed: a weakness was found.
const FAILED: u8 = 1;
/// It cannot be said.
const INCONCLUSIVE: u8 = 3;
/// The harness or its set-up broke.
const BROKEN: u8 = 4;
/// Judged, but clean-up left something behind.
const LEFTOVERS: u8 = 5;
/// Ended by SIGINT, as shells count.
const INTERRUPTED: u8 = 130;
/// Ended by SIGTERM, as shells count.
const TERMINATED: u8 = 143;

/// Exit codes, the worst first. A failure always wins; whoever interrupts a suite must see that it is not whole.
const WORST_FIRST: [u8; 7] = [FAILED, INTERRUPTED, TERMINATED, BROKEN, INCONCLUSIVE, LEFTOVERS, PASSED];

impl fmt::Display for Judgement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Pass => "pass",
            Self::Inconclusive => "inconclusive",
            Self::Fail => "fail",
        })
    }
}

/// The exit code of several experiments together: 1, then 4, 3, 5, 0. No experiment at all is nothing to be proud of,
/// but nothing failed either. A code that nightmail does not know is as bad as a breakage.
pub fn worst(codes: impl IntoIterator<Item = u8>) -> u8 {
    let rank = |code: u8| WORST_FIRST.iter().position(|known| *known == code);
    let known = codes.into_iter().map(|code| rank(code).map_or(BROKEN, |_| code));
    known.min_by_key(|code| rank(*code)).unwrap_or(PASSED)
}

/// The exit code of a run.
pub(crate) fn exit_code(status: Status, verdict: Judgement, signal: Option<&str>, leftovers: bool) -> u8 {
    match status {
        Status::Aborted => BROKEN,
        Status::Interrupted if signal == Some("SIGTERM") => TERMINATED,
        Status::Interrupted => INTERRUPTED,
        Status::Completed => {
            let judged = match verdict {
                Judgement::Pass => PASSED,
                Judgement::Inconclusive => INCONCLUSIVE,
                Judgement::Fail => FAILED,
            };
            worst([judged, if leftovers { LEFTOVERS } else { PASSED }])
        }
    }
}

impl Verdict {
    /// The verdict of a run that broke before there was anything to judge.
    pub fn aborted(plan: &Plan, run_id: &str, problem: &str) -> Self {
        Self {
            schema_version: SCHEMA_VERSION,
            experiment: plan.experiment.name.clone(),
            title: plan.experiment.title.clone(),
            run_id: run_id.to_owned(),
            status: Status::Aborted,
            verdict: Judgement::Inconclusive,
            exit_code: BROKEN,
            problem: Some(problem.to_owned()),
            seed: plan.seed,
            defects: plan.defects.clone(),
            assertions: Vec::new(),
            recovery: Recovery::default(),
            safety: Default::default(),
            operations: Vec::new(),
            services: Vec::new(),
            failovers: Vec::new(),
            lag_p99_ms: None,
            faults: Vec::new(),
            leftovers: Vec::new(),
            again: again(plan),
        }
    }
}

/// A command that runs the plan again: every random choice and every setting of it, not the timing.
pub(crate) fn again(plan: &Plan) -> String {
    let mut words = vec![
        "nightmail".to_owned(),
        // A twin is made by `prove` and by nothing else.
        if plan.is_twin { "prove" } else { "run" }.to_owned(),
        plan.experiment.path.display().to_string(),
        "--seed".to_owned(),
        plan.seed.to_string(),
    ];
    for (name, value) in &plan.configuration {
        words.extend(["--var".to_owned(), format!("{name}={value}")]);
    }
    if !plan.is_twin {
        for defect in &plan.defects {
            words.extend(["--defect".to_owned(), defect.clone()]);
        }
    }
    let words: Vec<String> = words.into_iter().map(quoted).collect();
    words.join(" ")
}

/// A word as a POSIX shell must be given it.
fn quoted(word: String) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:,+@%".contains(c);
    match !word.is_empty() && word.chars().all(plain) {
        true => word,
        false => format!("'{}'", word.replace('\'', r"'\''")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_counts() {
        assert_eq!(worst([0, 5, 3, 4, 1]), 1);
        assert_eq!(worst([0, 5, 3, 4]), 4);
        assert_eq!(worst([5, 0, 3]), 3);
        assert_eq!(worst([0, 5]), 5);
        assert_eq!(worst([0, 0]), 0);
        assert_eq!(worst([]), 0);
        assert_eq!(worst([130, 4]), 130);
        assert_eq!(worst([1, 130]), 1);
        assert_eq!(worst([3, 99]), 4, "an unknown code is a breakage");
    }

    #[test]
    fn exit_codes_follow_status_and_verdict() {
        let completed = |verdict, leftovers| exit_code(Status::Completed, verdict, None, leftovers);
        assert_eq!(completed(Judgement::Pass, false), 0);
        assert_eq!(completed(Judgement::Pass, true), 5);
        assert_eq!(completed(Judgement::Inconclusive, true), 3);
        assert_eq!(completed(Judgement::Fail, true), 1);
        assert_eq!(exit_code(Status::Aborted, Judgement::Pass, None, false), 4);
        assert_eq!(
            exit_code(Status::Interrupted, Judgement::Fail, Some("SIGINT"), true),
            130
        );
        assert_eq!(
            exit_code(Status::Interrupted, Judgement::Pass, Some("SIGTERM"), false),
            143
        );
    }

    #[test]
    fn words_survive_a_shell() {
        assert_eq!(quoted("cut=15s".to_owned()), "cut=15s");
        assert_eq!(quoted("a b".to_owned()), "'a b'");
        assert_eq!(quoted("it's".to_owned()), r"'it'\''s'");
        assert_eq!(quoted(String::new()), "''");
    }
}
