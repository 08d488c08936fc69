//! What decides, and what is accepted of it.

use super::*;

#[test]
fn all_must_have_passed_to_go() {
    let (go, reasons) = answer(&records(vec![sample::passed(), sample::passed()]));
    assert_eq!(go, Answer::Go);
    assert_eq!(
        reasons,
        ["All 2 runs passed, and the one business service stayed within its impact tolerance."]
    );
    let interrupted = Verdict {
        status: Status::Interrupted,
        verdict: Judgement::Inconclusive,
        ..sample::passed()
    };
    let dirty = Verdict {
        leftovers: vec!["a network".to_owned()],
        exit_code: 5,
        ..sample::passed()
    };
    for (doubt, reason) in [
        (sample::inconclusive(), "1 of 2 runs is inconclusive: run-1 (2)."),
        (sample::aborted(), "1 of 2 runs was aborted: run-1 (2)."),
        (interrupted, "1 of 2 runs was interrupted: run-1 (2)."),
        (dirty, "1 of 2 runs left something behind: run-1 (2)."),
    ] {
        let (doubtful, reasons) = answer(&records(vec![sample::passed(), doubt.clone()]));
        assert_eq!((doubtful, reasons[0].as_str()), (Answer::NotProven, reason));
        let (failure_wins, reasons) = answer(&records(vec![failed(), doubt]));
        assert_eq!(
            (failure_wins, reasons[0].as_str()),
            (Answer::NoGo, "1 of 2 runs failed: run-0 (1).")
        );
    }
    assert_eq!(answer(&records(Vec::new())).0, Answer::NotProven);
}

#[test]
fn a_business_service_beyond_its_tolerance_is_no_go_though_every_run_passed() {
    let mut verdict = sample::passed();
    let service = &mut verdict.services[0];
    (service.verdict, service.tolerated_ms) = (Judgement::Fail, 5_000);
    let (no_go, reasons) = answer(&records(vec![sample::passed(), verdict.clone()]));
    assert_eq!(no_go, Answer::NoGo);
    let exceeded =
        "“Selling postage online” exceeded its impact tolerance: disrupted for 10.2 s of 5 s at most in run-1 (2).";
    assert_eq!(reasons, [exceeded]);
    verdict.services[0].verdict = Judgement::Inconclusive;
    let (not_proven, reasons) = answer(&records(vec![sample::passed(), verdict]));
    assert_eq!(not_proven, Answer::NotProven);
    assert_eq!(
        reasons,
        ["Of “Selling postage online” it cannot be said whether the impact tolerance was kept."]
    );
}

/// Options with one accepted weakness, which ends on 2027-01-31.
fn accepting(what: &str, today: jiff::civil::Date) -> Options {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("accepted.yaml");
    let entry = format!("- {{experiment: run-1, {what}, reason: known, owner: Ada, until: 2027-01-31}}\n");
    fs::write(&path, entry).unwrap();
    Options {
        accepted: Accepted::load(&path, today).unwrap_or_else(|wrong| panic!("{wrong}")),
        ..options()
    }
}

const LAST_DAY: jiff::civil::Date = jiff::civil::date(2027, 1, 31);
const DAY_AFTER: jiff::civil::Date = jiff::civil::date(2027, 2, 1);

#[test]
fn a_failure_that_is_accepted_is_told_and_does_not_decide() {
    let mut verdict = failed();
    let kept = |assertion: &Assertion| {
        assertion.finding.verdict == Judgement::Pass || assertion.name == "nobody-charged-twice"
    };
    verdict.assertions.retain(kept);
    let campaign = records(vec![sample::passed(), verdict]);
    let accepted = "assertion: nobody-charged-twice";
    let model = page(&campaign, &[], &accepting(accepted, LAST_DAY));
    assert_eq!(model.decision.answer, Answer::Go);
    assert_eq!(
        model.decision.reasons,
        [
            "1 of 2 runs passed, and the one business service stayed within its impact tolerance.",
            "Not counted, because it is accepted: “nobody-charged-twice” of run-1 until 2027-01-31 (Ada).",
        ]
    );
    let of_run = &model.experiments[1];
    assert_eq!(of_run.verdict, Judgement::Fail, "it stays a failure");
    let marked: Vec<&str> = of_run
        .assertions
        .iter()
        .filter(|assertion| assertion.accepted.is_some())
        .map(|assertion| assertion.name.as_str())
        .collect();
    assert_eq!(marked, ["nobody-charged-twice"]);
    assert_eq!(model.zeros.twice.sum, Some(3), "what must be zero is told all the same");
    let html = render(&model);
    assert!(html.contains("Accepted until 2027-01-31") && html.contains("id=\"accepted\""));

    let model = page(&campaign, &[], &accepting(accepted, DAY_AFTER));
    assert_eq!(model.decision.answer, Answer::NoGo);
    assert_eq!(model.decision.reasons, ["1 of 2 runs failed: run-1 (2)."]);
    assert!(model.accepted[0].is_expired && model.accepted[0].runs.len() == 1);
    assert!(render(&model).contains("no longer"));
}

#[test]
fn what_is_known_beside_the_runs_decides_too() {
    let mut campaign = records(vec![sample::passed()]);
    campaign.planned = vec!["lost.yaml".into(), "late.yaml".into(), campaign.runs[0].file.clone()];
    let besides = |against: &[&str]| Options {
        besides: Besides {
            against: against.iter().map(|&line| line.to_owned()).collect(),
            doubts: vec!["Shard 2 is missing.".to_owned()],
            notes: vec!["Noted.".to_owned()],
            lost: [("lost.yaml".into(), "shard 2 is missing".to_owned())].into(),
        },
        ..options()
    };
    let model = page(&campaign, &[], &besides(&[]));
    assert_eq!(model.decision.answer, Answer::NotProven);
    let doubts = [
        "1 experiment that was planned was not run.",
        "Of 1 experiment that was planned there is no result.",
        "Shard 2 is missing.",
        "Noted.",
    ];
    assert_eq!(model.decision.reasons, doubts);
    assert_eq!(
        model.not_run,
        ["late.yaml", "lost.yaml (no result: shard 2 is missing)"]
    );
    let model = page(&campaign, &[], &besides(&["It regressed."]));
    assert_eq!(model.decision.answer, Answer::NoGo);
    assert_eq!(model.decision.reasons[0], "It regressed.");
}

#[test]
fn a_business_service_may_exceed_its_tolerance_where_that_is_accepted() {
    let mut verdict = sample::passed();
    let service = &mut verdict.services[0];
    (service.verdict, service.tolerated_ms) = (Judgement::Fail, 5_000);
    let key = format!("business-service: {}", service.service);
    let decided = |campaign: &Campaign, today| {
        let model = page(campaign, &[], &accepting(&key, today));
        (model.decision.answer, model.services[0].clone(), model.decision.reasons)
    };
    let campaign = records(vec![sample::passed(), verdict.clone()]);
    let (answer, row, reasons) = decided(&campaign, LAST_DAY);
    assert_eq!(
        (answer, row.verdict, row.accepted.len()),
        (Answer::Go, Judgement::Fail, 1)
    );
    assert!(
        reasons[0].starts_with("All 2 runs passed, and 0 of 1 business service") && reasons[1].contains("(Ada)"),
        "{reasons:?}"
    );
    assert_eq!(decided(&campaign, DAY_AFTER).0, Answer::NoGo);
    // In another experiment nobody accepted it.
    let twice = records(vec![verdict.clone(), verdict]);
    let (answer, row, reasons) = decided(&twice, LAST_DAY);
    assert_eq!((answer, row.accepted.len()), (Answer::NoGo, 1));
    assert!(reasons[0].ends_with("in run-0 (1)."), "{reasons:?}");
}
