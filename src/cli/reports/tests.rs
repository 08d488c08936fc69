//! What runs count as, and what is written of them.

use super::*;
use crate::report::sample;

fn args(doubt: Doubt) -> ReportArgs {
    ReportArgs {
        doubt,
        baseline: None,
        accept: None,
        junit: None,
        markdown: None,
        openmetrics: None,
        github: false,
    }
}

#[test]
fn doubts_are_let_pass_where_that_is_asked_for_and_nothing_else_is() {
    let counted = |doubt, verdict: &crate::verdict::Verdict| {
        Weights::default().weigh(doubt, &sample::record(verdict, 1)).exit_code
    };
    assert_eq!(counted(Doubt::Block, &sample::inconclusive()), 3);
    assert_eq!(counted(Doubt::Warn, &sample::inconclusive()), 0);
    for (verdict, code) in [(sample::failed(), 1), (sample::aborted(), 4), (sample::passed(), 0)] {
        assert_eq!(counted(Doubt::Warn, &verdict), code);
    }
    let mut dirty = sample::inconclusive();
    dirty.leftovers = vec!["a network".to_owned()];
    assert_eq!(counted(Doubt::Block, &dirty), 3);
    assert_eq!(counted(Doubt::Warn, &dirty), 5, "what was left behind is no doubt");
}

#[test]
fn the_page_of_a_shard_says_that_it_is_of_that_shard_alone() {
    let shard = |of| Campaign {
        shard: Some(crate::campaign::Shard {
            number: 2,
            of,
            whole: String::new(),
            all: vec!["one.yaml".into()],
        }),
        ..Campaign::of(vec![sample::record(&sample::passed(), 1)])
    };
    let notes = |of| {
        let outcome = Outcome::of(&shard(of), |run| Weights::default().weigh(Doubt::Block, run));
        besides(&outcome, &Gaps::default()).notes
    };
    assert_eq!(
        notes(3),
        ["This is shard 2 of 3 alone: it says nothing of what the others were to run."]
    );
    assert!(notes(1).is_empty());
}

#[test]
fn an_accepted_weakness_lets_a_run_pass_until_its_day_and_not_after() {
    let dir = tempfile::tempdir().unwrap();
    let mut verdict = sample::failed();
    // A doubt stays one, whatever is accepted.
    let in_doubt = |assertion: &Assertion| assertion.finding.verdict == crate::verdict::Judgement::Inconclusive;
    verdict.assertions.retain(|assertion| !in_doubt(assertion));
    let failed: Vec<&str> = verdict
        .assertions
        .iter()
        .filter(|assertion| assertion.finding.verdict == crate::verdict::Judgement::Fail)
        .map(|assertion| assertion.name.as_str())
        .collect();
    let weights = |until: &str| {
        let entry = |name: &&str| {
            format!("- {{experiment: answers-lost, assertion: {name:?}, reason: known, owner: Ada, until: {until}}}\n")
        };
        let path = dir.path().join("accepted.yaml");
        fs::write(&path, failed.iter().map(entry).collect::<String>()).unwrap();
        let accept = Some(path);
        Weights::load(&ReportArgs {
            accept,
            ..args(Doubt::Block)
        })
        .unwrap()
    };
    let counted = |until: &str| weights(until).weigh(Doubt::Block, &sample::record(&verdict, 1));
    let (later, past) = (counted("2999-01-31"), counted("2020-01-31"));
    assert_eq!((later.exit_code, later.expired.len()), (0, 0), "{later:?}");
    assert_eq!(later.accepted.len(), failed.len(), "{later:?}");
    assert!(
        later.accepted.iter().all(|weakness| weakness.owner == "Ada"),
        "{later:?}"
    );
    assert_eq!((past.exit_code, past.accepted.len()), (1, 0), "{past:?}");
    assert_eq!(past.expired.len(), failed.len(), "{past:?}");
}

#[test]
fn a_baseline_that_cannot_be_read_or_is_another_systems_is_bad_usage() {
    let dir = tempfile::tempdir().unwrap();
    let baseline = |path: PathBuf| ReportArgs {
        baseline: Some(path),
        ..args(Doubt::Block)
    };
    let missing = Weights::load(&baseline(dir.path().join("none.json")));
    assert_eq!(missing.map(|_| ()), Err(exit::INVALID));
    let run = sample::record(&sample::passed(), 30_000);
    let other = RunRecord {
        system: "another".to_owned(),
        ..run.clone()
    };
    Campaign::of(vec![other]).write(dir.path()).unwrap();
    let weights = Weights::load(&baseline(dir.path().join(FILE))).unwrap();
    let campaign = Campaign::of(vec![run]);
    let (outcome, error) = weights.outcome(Doubt::Block, &campaign, &Gaps::default());
    assert!(error.is_some_and(|error| error.found.contains("another system")));
    assert!(
        outcome.problems[0].starts_with("not compared with the baseline: "),
        "{outcome:?}"
    );
    let conclude = |campaign: &Campaign| {
        let out = dir.path().join("out");
        conclude(
            &args(Doubt::Block),
            weights.clone(),
            &out,
            campaign,
            &Gaps::default(),
            Muted::default(),
        )
    };
    assert_eq!(conclude(&campaign), exit::INVALID);
    let failed = Campaign::of(vec![sample::record(&sample::failed(), 30_000)]);
    assert_eq!(conclude(&failed), exit::FAILED, "what has failed has failed");
}

#[test]
fn a_shard_with_nothing_to_do_says_that_and_no_more() {
    let dir = tempfile::tempdir().unwrap();
    let idle = Campaign {
        shard: Some(crate::campaign::Shard {
            number: 2,
            of: 2,
            whole: String::new(),
            all: vec!["one.yaml".into()],
        }),
        ..Campaign::of(Vec::new())
    };
    let code = conclude(
        &args(Doubt::Block),
        Weights::default(),
        dir.path(),
        &idle,
        &Gaps::default(),
        Muted::default(),
    );
    assert_eq!(code, exit::PASSED);
    let summary = fs::read_to_string(dir.path().join(summary::FILE)).unwrap();
    assert_eq!(summary, "# nothing to run on this shard (2 of 2)\n\n");
    assert_eq!(Campaign::read(dir.path()).unwrap(), idle, "it can be joined");
    assert!(
        !dir.path().join(page::FILE).exists(),
        "a page without a run would say that nothing is proven"
    );
}

#[test]
fn a_shard_knows_nothing_of_acceptances_for_experiments_of_others() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("accepted.yaml");
    let entry =
        |name: &str| format!("- {{experiment: {name}, assertion: x, reason: y, owner: z, until: 2999-01-31}}\n");
    fs::write(&path, entry("answers-lost") + &entry("elsewhere")).unwrap();
    let weights = Weights::load(&ReportArgs {
        accept: Some(path),
        ..args(Doubt::Block)
    })
    .unwrap();
    let runs = [sample::record(&sample::passed(), 1)];
    assert_eq!(weights.accepted.unmatched(&runs).len(), 2);
    let left = weights.accepted.about(&runs).unmatched(&runs);
    assert!(left.len() == 1 && left[0].contains("answers-lost"), "{left:?}");
}

#[test]
fn everything_is_written_and_a_step_summary_keeps_what_others_wrote() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("out");
    let campaign = Campaign {
        planned: vec!["experiments/postage/answers-lost.yaml".into(), "late.yaml".into()],
        ..Campaign::of(vec![sample::record(&sample::failed(), 30_000)])
    };
    let args = ReportArgs {
        junit: Some(dir.path().join("deep/er/all.xml")),
        markdown: Some(dir.path().join("all.md")),
        openmetrics: Some(dir.path().join("all.prom")),
        ..args(Doubt::Block)
    };
    let outcome = Outcome::of(&campaign, |run| Weights::default().weigh(args.doubt, run));
    write(
        &args,
        &Weights::default(),
        &out,
        &campaign,
        &outcome,
        &Gaps::default(),
        1,
    )
    .unwrap();
    let read = |path: PathBuf| fs::read_to_string(path).unwrap();
    assert_eq!(Campaign::read(&out).unwrap().planned, campaign.planned);
    let junit = read(out.join(junit::FILE));
    assert_eq!(junit, read(dir.path().join("deep/er/all.xml")));
    assert!(
        junit.contains("not reached") && junit.contains("experiment-sha256"),
        "{junit}"
    );
    assert_eq!(read(out.join(summary::FILE)), read(dir.path().join("all.md")));
    let metrics = read(dir.path().join("all.prom"));
    assert!(
        metrics.ends_with("# EOF\n") && metrics.contains("\nnightmail_gate_exit_code 1\n"),
        "{metrics}"
    );
    assert!(metrics.contains("\nnightmail_gate_not_reached 1\n"), "{metrics}");

    let step = dir.path().join("step.md");
    fs::write(&step, "x".repeat(gate::SUMMARY_BYTES_MAX - 40_000)).unwrap();
    append_summary(&step, &outcome).unwrap();
    let text = read(step);
    assert!(text.len() < gate::SUMMARY_BYTES_MAX, "{}", text.len());
    assert!(text.starts_with("xxx") && text.contains("no-go"));
}
