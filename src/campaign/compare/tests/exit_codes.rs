//! What passes, fails and flickers, before and now, and the exit code that follows.

use super::*;
use crate::campaign::accept::Accepted;

/// Runs of which the letters say how they ended: `p`assed, `f`ailed, `i`nconclusive.
fn runs(first: i64, ends: &str) -> Vec<RunRecord> {
    let one = |(number, end): (i64, char)| {
        let mut run = run("x", number);
        match end {
            'f' => run = failed(run, "recovery"),
            'i' => run.verdict.verdict = Judgement::Inconclusive,
            _ => {}
        }
        run
    };
    (first..).zip(ends.chars()).map(one).collect()
}

fn standing(before: &str, now: &str) -> (Standing, u8) {
    // Of another experiment both sides have a run, so that there is always something to compare.
    let with_other = |mut runs: Vec<RunRecord>, number| {
        runs.extend(recovered("other", number, &USUAL));
        runs
    };
    let comparison = compared(with_other(runs(1, before), 100), with_other(runs(11, now), 200));
    let experiment = comparison.experiments.iter().find(|one| one.experiment == "x").unwrap();
    (experiment.standing, comparison.exit_code)
}

#[test]
fn every_way_from_before_to_now() {
    use Standing::{Fixed, Flaky, Inconclusive, Missing, New, NowFails, Passes, StillFails, WasFlaky};
    let ways = [
        ("pppp", "pp", Passes, 0),
        ("pppi", "pi", Passes, 0),
        ("ii", "pp", Passes, 0),
        ("pppp", "ff", NowFails, 1),
        ("pppp", "fi", NowFails, 1),
        ("pfpf", "ff", NowFails, 1),
        ("ii", "f", NowFails, 1),
        ("ff", "ff", StillFails, 0),
        ("pppp", "pf", Flaky, 3),
        ("pfpf", "pf", Flaky, 3),
        ("ff", "pf", Flaky, 3),
        ("pfpf", "pp", WasFlaky, 0),
        ("ff", "pp", Fixed, 0),
        ("pppp", "ii", Inconclusive, 3),
        ("", "pp", New, 0),
        ("", "ff", New, 1),
        ("", "pf", New, 3),
        ("", "i", New, 3),
        ("pp", "", Missing, 0),
    ];
    for (before, now, expected, code) in ways {
        assert_eq!(standing(before, now), (expected, code), "{before:?} to {now:?}");
    }
}

fn accepted(until: &str) -> Accepted {
    let entry = "experiment: x, assertion: recovery, reason: it is slow, owner: ann";
    let text = format!("[{{{entry}, until: {until}}}]");
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("accepted.yaml");
    std::fs::write(&file, text).unwrap();
    Accepted::load(&file, jiff::civil::date(2026, 11, 30)).unwrap()
}

#[test]
fn an_accepted_failure_does_not_close_the_gate_until_its_day_has_passed() {
    let with = |accepted: &Accepted, before: &str, now: &str| {
        let (before, now) = (Campaign::of(runs(1, before)), Campaign::of(runs(11, now)));
        compare(&before, &now, accepted).unwrap()
    };
    for until in ["2026-11-30", "2027-01-31"] {
        let comparison = with(&accepted(until), "pp", "ff");
        assert_eq!((comparison.exit_code, comparison.accepted.len()), (0, 1), "{until}");
        assert_eq!(comparison.experiments[0].standing, Standing::Passes);
        assert!(comparison.experiments[0].failing.is_empty());
    }
    // Whether or not it failed before.
    for before in ["pp", "ff"] {
        let comparison = with(&accepted("2026-11-29"), before, "ff");
        assert_eq!((comparison.exit_code, comparison.expired.len()), (1, 1), "{before}");
        assert!(comparison.experiments[0].is_expired);
    }
    let comparison = with(&accepted("2027-01-31"), "pp", "pp");
    assert_eq!((comparison.exit_code, comparison.unmatched.len()), (0, 1));
}

#[test]
fn a_violation_is_accepted_with_the_invariant_that_found_it() {
    let twice = |number| {
        let mut run = failed(run("x", number), "nobody-charged-twice");
        run.verdict.safety.twice = Some(4);
        run
    };
    let load = |assertion: &str| {
        let text = format!("[{{experiment: x, assertion: '{assertion}', reason: r, owner: o, until: 2027-01-31}}]");
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("accepted.yaml");
        std::fs::write(&file, text).unwrap();
        Accepted::load(&file, jiff::civil::date(2026, 11, 30)).unwrap()
    };
    let with = |accepted: &Accepted| {
        let before = Campaign::of(recovered("x", 1, &USUAL));
        compare(&before, &Campaign::of(vec![twice(11), twice(12)]), accepted).unwrap()
    };
    let comparison = with(&load("nobody-charged-twice"));
    assert_eq!(comparison.exit_code, 0);
    let found = metric(&comparison, "happened-twice");
    assert_eq!(found.change, Change::Regressed, "it is said all the same");
    assert_eq!(
        found.accepted.as_ref().map(|weakness| weakness.owner.as_str()),
        Some("o")
    );
    assert_eq!(with(&load("*")).exit_code, 1, "an invariant must be named");
}

#[test]
fn a_metric_that_is_worse_can_be_accepted() {
    let load = |until: &str| {
        let text = format!("[{{experiment: x, metric: recovery-time, reason: r, owner: o, until: {until}}}]");
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("accepted.yaml");
        std::fs::write(&file, text).unwrap();
        Accepted::load(&file, jiff::civil::date(2026, 11, 30)).unwrap()
    };
    let with = |accepted: &Accepted, times: &[f64]| {
        let before = Campaign::of(recovered("x", 1, &USUAL));
        compare(&before, &Campaign::of(recovered("x", 11, times)), accepted).unwrap()
    };
    let comparison = with(&load("2027-01-31"), &[9_000.0; 5]);
    assert_eq!((comparison.exit_code, comparison.unmatched.len()), (0, 0));
    assert_eq!(metric(&comparison, "recovery-time").change, Change::Regressed);
    assert_eq!(with(&load("2026-01-31"), &[9_000.0; 5]).exit_code, 1);
    assert_eq!(with(&load("2027-01-31"), &USUAL).unmatched.len(), 1);
}
