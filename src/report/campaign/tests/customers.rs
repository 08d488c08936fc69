//! What customers would have noticed.

use super::*;

/// A run without failures, in which every card purchase from the fault's effect to its heal is served after 6.5 s.
pub(super) fn slow() -> Saved {
    let mut verdict = sample::passed();
    verdict.operations[0].disrupted.clear();
    let mut saved = Saved::of("provider-slow", verdict);
    let under_fault = sample::EFFECTIVE_MS * 1e3..sample::HEALED_MS * 1e3;
    for op in saved.history.ops.iter_mut().filter(|op| op.kind == "buy-postage") {
        op.outcome = Outcome::Ok;
        op.done_us = op.intended_us + 20_000;
        if under_fault.contains(&(op.intended_us as f64)) {
            op.done_us = op.intended_us + 6_500_000;
        }
    }
    saved
}

pub(super) fn noticed(saved: &Saved) -> Notice {
    let folder = tempfile::tempdir().unwrap();
    saved.write(folder.path());
    let (campaign, _) = Campaign::gather(&[folder.path().to_owned()]);
    page(&campaign, &[], &options()).noticed
}

#[test]
fn whoever_is_served_late_has_waited_and_what_is_waited_for_does_not_go_on() {
    let saved = slow();
    let notice = noticed(&saved);
    let [run] = notice.noticed.as_slice() else {
        panic!("{notice:?}")
    };
    assert_eq!(
        run.disrupted,
        [
            "For 8.5 s 321 of 340 had to wait for this, 6.5 s at the median where 20 ms was usual: “A customer pays for postage by card”."
        ]
    );
    assert_eq!(
        run.besides[0],
        "Meanwhile this went on: “A customer looks at past orders”."
    );
}

#[test]
fn an_operation_that_few_asked_for_silences_no_other() {
    let mut saved = slow();
    saved.verdict.operations[1].is_told = false;
    let notice = noticed(&saved);
    assert_eq!(notice.noticed[0].disrupted.len(), 1);
    let few = "Too few came to tell how this went on: “A customer looks at past orders”.";
    assert_eq!(notice.noticed[0].besides[0], few);

    // Nobody waits any more.
    for op in &mut saved.history.ops {
        op.done_us = op.intended_us + 20_000;
    }
    let notice = noticed(&saved);
    assert_eq!((notice.noticed.len(), notice.untold.len()), (0, 0));
    assert_eq!(notice.unnoticed[0].but, [few]);

    saved.verdict.operations[0].is_told = false;
    assert_eq!(noticed(&saved).untold.len(), 1, "nothing can be told of any");
}

#[test]
fn a_failure_that_customers_would_not_have_noticed_is_named() {
    let mut saved = slow();
    for op in &mut saved.history.ops {
        op.done_us = op.intended_us + 20_000;
    }
    saved.verdict.assertions[0].finding.verdict = Judgement::Fail;
    saved.verdict.verdict = Judgement::Fail;
    assert_eq!(
        noticed(&saved).unnoticed[0].but,
        ["The run failed all the same, by “buying succeeds”."]
    );
}

#[test]
fn who_waited_is_not_told_without_a_history() {
    let mut verdict = sample::passed();
    let notice = page(&records(vec![verdict.clone()]), &[], &options()).noticed;
    assert_eq!(
        notice.noticed[0].besides[0],
        "Who else had to wait cannot be said: the run's history is not there any more."
    );
    verdict.operations[0].disrupted.clear();
    assert_eq!(page(&records(vec![verdict]), &[], &options()).noticed.untold.len(), 1);
}
