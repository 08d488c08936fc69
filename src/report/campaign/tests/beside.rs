//! What stands beside the answer: what is open, what was not put to the test, what an experiment tolerates.

use super::customers::{noticed, slow};
use super::*;

#[test]
fn what_no_invariant_looks_for_is_not_put_to_the_test() {
    let mut campaign = records(vec![sample::passed(), sample::passed(), sample::passed()]);
    for run in &mut campaign.runs {
        run.verdict.safety.ledger_differences = None;
        run.scope.put_to_test.as_mut().unwrap().ledger_differences = false;
    }
    let zeros = |campaign: &Campaign| page(campaign, &[], &options()).zeros.ledger_differences;
    let none = zeros(&campaign);
    assert_eq!((none.sum, none.told, none.untold, none.untested), (None, 0, 0, 3));
    assert!(render(&page(&campaign, &[], &options())).contains("not put to the test"));
    // Of a record that does not say it cannot be said, and what was found counts, whoever looked.
    campaign.runs[0].scope.put_to_test = None;
    campaign.runs[1].verdict.safety.ledger_differences = Some(2);
    let some = zeros(&campaign);
    assert_eq!((some.sum, some.told, some.untold, some.untested), (Some(2), 1, 1, 1));
}

#[test]
fn runs_of_different_builds_or_releases_are_told_apart() {
    let mut campaign = records(vec![sample::passed(), sample::passed(), sample::passed()]);
    for run in &mut campaign.runs {
        run.images = vec![
            "nightmail/replicas:9ee0b21f4023".to_owned(),
            "nightmail/agent:c66616c4d41b".to_owned(),
        ];
    }
    let open = |campaign: &Campaign| {
        let model = page(campaign, &[], &options());
        let told = model
            .decision
            .open
            .iter()
            .filter(|sentence| sentence.starts_with("Runs of"));
        (model.decision.answer, told.cloned().collect::<Vec<_>>())
    };
    assert_eq!(open(&campaign), (Answer::Go, Vec::new()));
    campaign.runs[1].images = vec![
        "nightmail/replicas:a714672669f6".to_owned(),
        "nightmail/agent:c00000000000".to_owned(),
    ];
    campaign.runs[2].release = "v2".to_owned();
    assert_eq!(
        open(&campaign),
        (
            Answer::Go,
            vec![
                "Runs of postage are of different releases: none named in run-0 (1) and run-1 (2); v2 in run-2 (3).".to_owned(),
                "Runs of postage used different builds of the image nightmail/replicas: 9ee0b21f4023 in run-0 (1) and run-2 (3); \
                 a714672669f6 in run-1 (2)."
                    .to_owned(),
            ]
        )
    );
    assert!(render(&page(&campaign, &[], &options())).contains("<code>nightmail/replicas:a714672669f6</code>"));
}

#[test]
fn what_is_open_is_told_and_does_not_change_the_answer() {
    let mut campaign = records(vec![sample::passed(), sample::passed()]);
    let sha256 = campaign.runs[0].sha256.clone();
    campaign.runs[0].proof = Some(proof_of(&sha256, true));
    let old = Options {
        stale_after_ms: 9 * 86_400_000,
        ..options()
    };
    let decision = page(&campaign, &[], &old).decision;
    assert_eq!(decision.answer, Answer::Go);
    assert_eq!(decision.reasons.len(), 1);
    assert_eq!(
        decision.open,
        [
            "Nothing shows that 1 of 2 experiments can fail: run-1.",
            "2 runs that passed are old: run-0 (1) and run-1 (2).",
            "The evidence of 2 runs is not there: run-0 (1) and run-1 (2).",
        ]
    );
}

#[test]
fn a_loss_that_the_experiment_tolerates_and_the_service_does_not_is_told_so() {
    let mut verdict = sample::passed();
    let service = &mut verdict.services[0];
    (service.verdict, service.lost) = (Judgement::Fail, Some(3));
    let (no_go, reasons) = answer(&records(vec![verdict.clone()]));
    assert_eq!(no_go, Answer::NoGo);
    let exceeded =
        "“Selling postage online” exceeded its impact tolerance: 3 operations lost of 0 at most in run-0 (1)";
    assert_eq!(
        reasons,
        [format!("{exceeded}, tolerated by the experiment, not by the service.")]
    );
    verdict.verdict = Judgement::Fail;
    assert_eq!(answer(&records(vec![verdict])).1[1], format!("{exceeded}."));
}

#[test]
fn service_that_is_back_before_the_last_heal_is_told_with_the_time_from_the_first_effect() {
    let mut saved = slow();
    let told = |saved: &Saved| {
        let answer = crate::report::words::answer(&saved.verdict);
        let figures = crate::report::words::recovery_figures(&saved.verdict);
        let value = figures[0].value.clone();
        (noticed(saved).noticed[0].besides.clone(), answer, value)
    };
    saved.verdict.recovery.recovery_time_ms = Some(0.0);
    saved.verdict.recovery.disruption_ms = Some(5_000.0);
    let (besides, answer, figure) = told(&saved);
    let sentence = "Good service was back before the last heal, 5 s after the first effect.";
    assert!(besides.iter().any(|one| one == sentence), "{besides:?}");
    assert!(
        answer.ends_with("disrupted for 5 s, and was back before the last heal."),
        "{answer}"
    );
    assert_eq!(figure, "before the last heal");

    // The bin of the heal itself.
    saved.verdict.recovery.disruption_ms = Some(sample::HEALED_MS - sample::EFFECTIVE_MS - 100.0);
    let (besides, _, figure) = told(&saved);
    let sentence = "Good service was back when the last fault had healed.";
    assert!(besides.iter().any(|one| one == sentence), "{besides:?}");
    assert_eq!(figure, "0 ms");
}
