//! The table, the decision and the summary of a gate.

use std::collections::BTreeMap;

use super::super::sample;
use super::*;
use crate::campaign::{Campaign, Counted};
use crate::verdict::Verdict;

fn outcome(runs: Vec<(&str, Verdict)>, unreached: &[&str]) -> Outcome {
    let planned = runs.iter().map(|(file, _)| *file).chain(unreached.iter().copied());
    let mut planned: Vec<PathBuf> = planned.map(PathBuf::from).collect();
    planned.dedup();
    let record = |(file, verdict): (&str, Verdict)| RunRecord {
        file: file.into(),
        ..sample::record(&verdict, 36_700)
    };
    let campaign = Campaign {
        planned,
        ..Campaign::of(runs.into_iter().map(record).collect())
    };
    Outcome::of(&campaign, |run| {
        match run.file.file_stem().and_then(|name| name.to_str()) {
            Some("known") => Counted {
                accepted: vec![sample::weakness("nobody-charged-twice")],
                ..Counted::default()
            },
            Some("doubtful") => Counted {
                is_doubt_let_pass: true,
                ..Counted::default()
            },
            Some("expired") => Counted {
                expired: vec![sample::weakness("nobody-charged-twice")],
                ..Counted::plainly(run.verdict.exit_code)
            },
            _ => Counted::plainly(run.verdict.exit_code),
        }
    })
}

fn mixed() -> Outcome {
    let runs = vec![
        ("experiments/postage/baseline.yaml", sample::passed()),
        ("experiments/postage/known.yaml", sample::failed()),
        ("experiments/postage/answers-lost.yaml", sample::failed()),
        ("experiments/counter/baseline.yaml", sample::inconclusive()),
        ("experiments/counter/host-killed.yaml", sample::aborted()),
        ("experiments/counter/doubtful.yaml", sample::inconclusive()),
        ("experiments/counter/expired.yaml", sample::failed()),
    ];
    outcome(runs, &["experiments/counter/disk-full.yaml"])
}

#[test]
fn the_table_says_of_each_experiment_what_it_came_to_and_at_last_what_all_did() {
    let unicode = Style {
        unicode: true,
        ..Style::default()
    };
    insta::assert_snapshot!("gate_table", table(&mixed(), &unicode));
    let narrow = Style {
        width: Some(50),
        ..Style::default()
    };
    assert!(table(&mixed(), &narrow).lines().next().unwrap().chars().count() <= 50);
}

#[test]
fn the_last_line_is_the_decision() {
    let last = |outcome: &Outcome| table(outcome, &Style::default()).lines().last().unwrap().to_owned();
    let passed = |files: &[&'static str]| files.iter().map(|file| (*file, sample::passed())).collect();
    assert_eq!(
        last(&outcome(passed(&["a.yaml"]), &[])),
        "go: the one experiment passed"
    );
    assert_eq!(
        last(&outcome(passed(&["a.yaml", "b.yaml"]), &[])),
        "go: all 2 experiments passed"
    );
    assert_eq!(
        last(&outcome(
            vec![("a.yaml", sample::passed()), ("known.yaml", sample::failed())],
            &[]
        )),
        "go, with 1 accepted weakness (team-postage, until 2027-01-31): of 2 experiments 1 passed and 1 failed as accepted"
    );
    assert_eq!(
        last(&outcome(vec![("doubtful.yaml", sample::inconclusive())], &[])),
        "go, with 1 doubt let pass: of 1 experiment 1 could not be judged"
    );
    assert_eq!(
        last(&outcome(
            vec![
                ("known.yaml", sample::failed()),
                ("doubtful.yaml", sample::inconclusive()),
                ("a.yaml", sample::failed())
            ],
            &[]
        )),
        "no-go: of 3 experiments 1 failed; not counted: 1 accepted weakness (team-postage, until 2027-01-31) and 1 doubt \
         let pass"
    );
    assert_eq!(
        last(&outcome(vec![("a.yaml", sample::passed()); 5], &[])),
        "go: all 5 runs passed"
    );
    assert_eq!(
        last(&outcome(passed(&["a.yaml"]), &["b.yaml", "c.yaml"])),
        "not proven: of 3 experiments 2 were not reached"
    );
    assert_eq!(last(&outcome(Vec::new(), &[])), "go: there was nothing to run");
    let mut shard = outcome(passed(&["a.yaml"]), &[]);
    shard.shard = Some((2, 3));
    let alone = "go: the one experiment passed (shard 2 of 3 alone)";
    assert_eq!(last(&shard), alone);
    assert!(summary(&shard, |_| None, SUMMARY_BYTES_MAX).contains("(shard 2 of 3 alone)"));
    shard.shard = Some((1, 1));
    assert_eq!(last(&shard), "go: the one experiment passed", "there are no others");
    let mut idle = outcome(Vec::new(), &[]);
    idle.shard = Some((2, 3));
    assert_eq!(
        table(&idle, &Style::default()),
        "nothing to run on this shard (2 of 3)\n"
    );
    assert_eq!(
        summary(&idle, |_| None, SUMMARY_BYTES_MAX),
        "# nothing to run on this shard (2 of 3)\n\n"
    );
    let mut dirty = sample::passed();
    (dirty.leftovers, dirty.exit_code) = (vec!["a network".to_owned()], 5);
    assert_eq!(
        last(&outcome(vec![("a.yaml", dirty)], &[])),
        "not proven: of 1 experiment 1 left something behind"
    );
}

/// Five runs of one experiment, slower than those of the baseline.
fn slower() -> Outcome {
    use crate::campaign::accept::Accepted;
    use crate::campaign::compare::compare;
    use crate::campaign::compare::tests::recovered;
    let before = Campaign::of(recovered("x", 1, &[1_000.0, 1_250.0, 1_500.0, 1_250.0, 1_000.0]));
    let now = Campaign::of(recovered("x", 11, &[4_000.0; 5]));
    let comparison = compare(&before, &now, &Accepted::default()).unwrap();
    Outcome::of(&now, |run| Counted::plainly(run.verdict.exit_code)).compared(comparison)
}

#[test]
fn what_regressed_stands_in_the_decision_and_in_the_summary() {
    let outcome = slower();
    let last = table(&outcome, &Style::default()).lines().last().unwrap().to_owned();
    assert_eq!(last, "no-go: all 5 runs passed, but recovery-time of x regressed");
    let page = summary(&outcome, |_| None, SUMMARY_BYTES_MAX);
    assert!(
        page.starts_with("# ❌ no-go: all 5 runs passed, but recovery-time of x regressed\n"),
        "{page}"
    );
    let figures = "- recovery-time of x regressed: median 1.2 s before, 4 s now (+220 %)";
    assert!(page.contains(figures), "{page}");
    assert!(
        page.contains("Compared with the baseline") && page.contains("This closes the gate."),
        "{page}"
    );
    assert!(!page.contains("Exit code"), "{page}");
}

#[test]
fn what_is_missing_is_named_with_its_cause() {
    let why = "of 2 shards one is missing: 2";
    let lost = BTreeMap::from([(PathBuf::from("b.yaml"), why.to_owned())]);
    let problems = || vec![format!("the shards make up no whole: {why}")];
    let half = outcome(vec![("a.yaml", sample::passed())], &["b.yaml"]).with_problems(problems(), &lost);
    let told = table(&half, &Style::default());
    assert!(
        told.contains(&format!(
            "b           no result  -     -       -           -         {why}"
        )),
        "{told}"
    );
    assert_eq!(
        told.lines().last().unwrap(),
        format!("not proven: of 2 experiments 1 has no result; the shards make up no whole: {why}")
    );
    let page = summary(&half, |_| None, SUMMARY_BYTES_MAX);
    assert!(
        page.contains(&format!("| ❔ | b | no result | \\- | \\- | \\- | {why} |")),
        "{page}"
    );
    assert!(
        page.contains(&format!("- the shards make up no whole: {why}")),
        "{page}"
    );
    let twice = outcome(vec![("a.yaml", sample::passed())], &[]);
    let twice = twice.with_problems(problems(), &BTreeMap::new());
    let told = table(&twice, &Style::default());
    assert!(
        told.contains("not proven: the one experiment passed, but the shards"),
        "{told}"
    );
}

#[test]
fn the_summary_has_the_worst_first_and_what_is_not_here_too() {
    let section = |run: &RunRecord| {
        let is_here = !run.file.ends_with("host-killed.yaml");
        is_here.then(|| format!("## section of {}\n", run.file.display()))
    };
    insta::assert_snapshot!("gate_summary", summary(&mixed(), section, SUMMARY_BYTES_MAX));
}

/// Text that every escaping makes as long as it can.
fn hostile_verdict(number: usize) -> Verdict {
    let mut verdict = sample::failed();
    let text = "@#|<www.x https://x `*_[".repeat(100);
    verdict.title.clone_from(&text);
    verdict.run_id = format!("run-{number}");
    for assertion in &mut verdict.assertions {
        assertion.name.clone_from(&text);
        assertion.finding.detail.clone_from(&text);
        assertion.finding.evidence = vec![text.clone(); 20];
    }
    verdict
}

#[test]
fn two_hundred_hostile_experiments_fit_into_a_step_of_github() {
    let files: Vec<String> = (0..200)
        .map(|number| format!("{number}{}.yaml", "@#|<".repeat(50)))
        .collect();
    let mut runs: Vec<(&str, Verdict)> = vec![("passed.yaml", sample::passed())];
    runs.extend(
        files
            .iter()
            .enumerate()
            .map(|(number, file)| (file.as_str(), hostile_verdict(number))),
    );
    let outcome = outcome(runs, &[]);
    let plan = sample::plan();
    let page = summary(
        &outcome,
        |run| Some(super::super::summary::render(&plan, &run.verdict)),
        SUMMARY_BYTES_MAX,
    );
    assert!(page.len() < SUMMARY_BYTES_MAX, "{}", page.len());
    let shown = page.matches("Run it again").count();
    assert!(shown > 0, "the worst have room");
    let left_out = format!("The summaries of {} more runs have no room here", 201 - shown);
    assert!(page.contains(&left_out), "{shown}");
    let little = summary(&outcome, |_| None, 64 * 1024);
    assert!(little.len() <= 48 * 1024 + 100, "{}", little.len());
    assert!(little.contains(" more | | | | | |"));
}
