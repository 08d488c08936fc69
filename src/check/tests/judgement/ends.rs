//! How a run ended: cleanly, with something left behind, interrupted, or broken.

use super::{good, load, plan, verdict};
use crate::check::tests::build::{self, SECOND};
use crate::event::Event;
use crate::plan::Plan;
use crate::verdict::{Judgement, Status};

#[test]
fn leftovers_turn_a_pass_into_5_and_nothing_else() {
    let mut events = build::events();
    let leftovers = vec!["network nightmail-1".to_owned()];
    *build::event_mut(&mut events, |event| matches!(event, Event::Down { .. })) =
        Event::Down { leftovers, kept: false };
    let passed = verdict(&plan(), &good(), &events);
    assert_eq!((passed.verdict, passed.exit_code), (Judgement::Pass, 5));
    assert_eq!(passed.leftovers, ["network nightmail-1"]);
    let doubtful = verdict(&plan(), &load(10_000..21_000), &events);
    assert_eq!(doubtful.exit_code, 3);
}

#[test]
fn an_interrupted_run_is_judged_as_far_as_it_got() {
    for (signal, code) in [("SIGINT", 130), ("SIGTERM", 143)] {
        let mut events = build::events();
        let signal = signal.to_owned();
        events.push(build::entry(30 * SECOND, Event::Interrupted { signal }));
        let verdict = verdict(&plan(), &load(10_000..40_000), &events);
        assert_eq!((verdict.status, verdict.exit_code), (Status::Interrupted, code));
        assert_eq!(
            verdict.verdict,
            Judgement::Inconclusive,
            "its time was cut short: {verdict:#?}"
        );
        let mut violated = load(10_000..40_000);
        violated.item("orders", "nobody", &[]).end("orders");
        let verdict = self::verdict(&plan(), &violated, &events);
        assert_eq!((verdict.verdict, verdict.exit_code), (Judgement::Fail, code));
    }
    let mut at_the_end = build::events();
    at_the_end.push(build::entry(
        37 * SECOND,
        Event::Interrupted {
            signal: "SIGINT".into(),
        },
    ));
    let plan = Plan {
        during: Vec::new(),
        ..build::plan()
    };
    assert_ne!(verdict(&plan, &good(), &at_the_end).verdict, Judgement::Pass);
}

#[test]
fn a_run_that_broke_or_died_is_aborted() {
    let mut broken = build::events();
    let problem = "api-1 was not ready".to_owned();
    broken.push(build::entry(SECOND, Event::Broken { problem }));
    let aborted = verdict(&plan(), &good(), &broken);
    assert_eq!((aborted.status, aborted.exit_code), (Status::Aborted, 4));
    assert_eq!(aborted.problem.as_deref(), Some("api-1 was not ready"));
    assert_eq!(aborted.verdict, Judgement::Inconclusive);

    let mut died = build::events();
    died.truncate(9);
    let aborted = verdict(&plan(), &good(), &died);
    assert_eq!((aborted.status, aborted.exit_code), (Status::Aborted, 4));
    assert!(
        aborted
            .problem
            .unwrap()
            .contains("the harness ended before the run did")
    );
}
