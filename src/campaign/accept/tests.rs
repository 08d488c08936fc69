//! Accepted weaknesses: what of a run is left out of account, and what is said of a bad file.

use jiff::civil::date;

use super::*;
use crate::campaign::compare::tests::{failed, run};

const TODAY: Date = date(2026, 11, 30);

fn read(text: &str) -> Result<Accepted, Diagnostics> {
    let document = Document::parse(Path::new("ci/accepted.yaml"), text.as_bytes())?;
    Accepted::of(&document, TODAY)
}

fn good(text: &str) -> Accepted {
    read(text).unwrap_or_else(|wrong| panic!("{wrong}"))
}

const SLOW: &str = "
- experiment: x
  assertion: recovery
  reason: the connection pool waits too long
  owner: team-postage
  until: 2027-01-31
";

#[test]
fn a_failure_that_is_accepted_leaves_the_rest_of_the_verdict() {
    let accepted = good(SLOW);
    let weighed = accepted.weigh(&failed(run("x", 1), "recovery"));
    assert_eq!((weighed.verdict, weighed.exit_code), (Judgement::Pass, 0));
    assert_eq!(weighed.accepted.len(), 1);
    assert_eq!(
        weighed.accepted[0].to_string(),
        "x: recovery: the connection pool waits too long (team-postage, until 2027-01-31; ci/accepted.yaml:2)"
    );

    let both = failed(failed(run("x", 1), "recovery"), "nobody-charged-twice");
    let weighed = accepted.weigh(&both);
    assert_eq!(
        (weighed.verdict, weighed.exit_code, weighed.accepted.len()),
        (Judgement::Fail, 1, 1)
    );

    let mut doubtful = failed(run("x", 1), "recovery");
    doubtful.verdict.assertions[0].finding.verdict = Judgement::Inconclusive;
    let weighed = accepted.weigh(&doubtful);
    assert_eq!(
        (weighed.verdict, weighed.exit_code),
        (Judgement::Inconclusive, 3),
        "doubt is never a pass"
    );
}

#[test]
fn what_is_not_a_failure_of_the_experiment_keeps_its_exit_code() {
    let accepted = good(SLOW);
    let mut leftovers = failed(run("x", 1), "recovery");
    leftovers.verdict.leftovers = vec!["network nightmail-x".to_owned()];
    assert_eq!(accepted.weigh(&leftovers).exit_code, 5);
    let mut interrupted = failed(run("x", 1), "recovery");
    interrupted.verdict.status = Status::Interrupted;
    interrupted.verdict.exit_code = 130;
    assert_eq!(accepted.weigh(&interrupted).exit_code, 130);
    let passed = accepted.weigh(&run("x", 1));
    assert_eq!(
        (passed.verdict, passed.exit_code, passed.accepted.len()),
        (Judgement::Pass, 0, 0)
    );
    let other = accepted.weigh(&failed(run("y", 1), "recovery"));
    assert_eq!((other.verdict, other.exit_code), (Judgement::Fail, 1));
}

#[test]
fn the_last_day_counts_and_the_next_does_not() {
    let until = |day: &str| good(&SLOW.replace("2027-01-31", day)).weigh(&failed(run("x", 1), "recovery"));
    assert_eq!(until("2026-11-30").verdict, Judgement::Pass);
    let expired = until("2026-11-29");
    assert_eq!((expired.verdict, expired.exit_code), (Judgement::Fail, 1));
    assert_eq!((expired.accepted.len(), expired.expired.len()), (0, 1));
}

#[test]
fn any_assertion_is_any_but_an_invariant() {
    let accepted = good(&SLOW.replace("recovery", "'*'"));
    assert_eq!(
        accepted.weigh(&failed(run("x", 1), "recovery")).verdict,
        Judgement::Pass
    );
    let twice = failed(run("x", 1), "nobody-charged-twice");
    assert_eq!(accepted.weigh(&twice).verdict, Judgement::Fail);
    let named = good(&SLOW.replace("recovery", "nobody-charged-twice"));
    assert_eq!(named.weigh(&twice).verdict, Judgement::Pass);
}

#[test]
fn a_system_may_be_named() {
    let of = |system: &str| good(&format!("{SLOW}  system: {system}\n")).weigh(&failed(run("x", 1), "recovery"));
    assert_eq!(of("postage").verdict, Judgement::Pass);
    assert_eq!(of("counter").verdict, Judgement::Fail);
}

#[test]
fn what_accepts_nothing_is_said_with_its_reason() {
    let entry = |experiment: &str, assertion: &str| {
        format!("- {{experiment: {experiment}, assertion: {assertion}, reason: r, owner: o, until: 2027-01-31}}\n")
    };
    let accepted = good(
        &[
            entry("answers-lots", "recovery"),
            entry("answers-lost", "recovry"),
            entry("answers-lost", "recovery"),
            entry("answers-lost", "nobody-charged-twice"),
            "- {experiment: answers-lost, metric: recovery-time, reason: r, owner: o, until: 2027-01-31}\n".to_owned(),
        ]
        .concat(),
    );
    let runs = [
        failed(run("answers-lost", 1), "nobody-charged-twice"),
        run("answers-lost", 2),
    ];
    insta::assert_snapshot!("unmatched", accepted.unmatched(&runs).join("\n"));
}

#[test]
fn nothing_is_accepted_by_an_empty_list() {
    let accepted = good("[]\n");
    assert_eq!(
        accepted.weigh(&failed(run("x", 1), "recovery")).verdict,
        Judgement::Fail
    );
    assert_eq!(accepted.unmatched(&[]), [""; 0]);
}

#[test]
fn messages_about_bad_files() {
    let files = [
        ("unknown key", SLOW.replace("owner", "ownr")),
        ("missing keys", "- experiment: x\n".to_owned()),
        ("no day", SLOW.replace("2027-01-31", "soon")),
        ("no such day", SLOW.replace("2027-01-31", "2027-02-30")),
        ("an instant", SLOW.replace("2027-01-31", "2027-01-31T10:00:00Z")),
        ("assertion and metric", format!("{SLOW}  metric: recovery-time\n")),
        ("every experiment", SLOW.replace("experiment: x", "experiment: '*'")),
        (
            "a file",
            SLOW.replace("experiment: x", "experiment: experiments/postage/x.yaml"),
        ),
        ("no reason", SLOW.replace("the connection pool waits too long", "' '")),
        ("twice", format!("{SLOW}{SLOW}")),
        ("no list", "accepted: []\n".to_owned()),
    ];
    let mut messages = String::new();
    for (name, text) in files {
        let wrong = read(&text).map(|_| ()).expect_err(name).to_string();
        assert!(wrong.contains("hint"), "{name}: {wrong}");
        messages.push_str(&format!("== {name}\n{wrong}\n\n"));
    }
    insta::assert_snapshot!("bad_files", messages);
}

#[test]
fn an_empty_file_is_an_error_that_says_what_to_write() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("accepted.yaml");
    std::fs::write(&file, "").unwrap();
    let wrong = Accepted::load(&file, TODAY).map(|_| ()).unwrap_err().to_string();
    let hint = "hint: `nightmail schema accepted` says what belongs in it; write `[]`";
    assert!(wrong.contains(hint), "{wrong}");
}

#[test]
fn a_file_that_is_not_there_is_said_to_be_so() {
    let missing = Path::new("nowhere/accepted.yaml");
    let wrong = Accepted::load(missing, TODAY).map(|_| ()).unwrap_err().to_string();
    assert!(wrong.contains("nowhere/accepted.yaml"), "{wrong}");
}

#[test]
fn the_schema_names_every_key() {
    let schema = schema().to_string();
    for key in [
        "system",
        "experiment",
        "assertion",
        "metric",
        "reason",
        "owner",
        "until",
        "date",
    ] {
        assert!(schema.contains(&format!("\"{key}\"")), "{key}");
    }
}

#[test]
fn a_business_service_is_accepted_by_its_key_and_tells_when_it_is_not_needed() {
    const SERVICE: &str = "
- {experiment: x, business-service: selling, reason: r, owner: o, until: 2027-01-31}
";
    let exceeds = |verdict| {
        let mut run = run("x", 1);
        run.verdict.services = vec![crate::verdict::ServiceImpact {
            service: "selling".to_owned(),
            verdict,
            ..crate::report::sample::passed().services[0].clone()
        }];
        run
    };
    let accepted = good(SERVICE);
    let (failing, kept) = (exceeds(Judgement::Fail), exceeds(Judgement::Pass));
    assert!(matches!(accepted.service(&failing, "selling"), Acceptance::Yes(_)));
    assert!(matches!(accepted.service(&failing, "sorting"), Acceptance::No));
    assert!(accepted.unmatched(std::slice::from_ref(&failing)).is_empty());
    let idle = accepted.unmatched(&[kept]);
    assert_eq!(
        idle,
        [
            "ci/accepted.yaml:2: the business service `selling` kept its impact tolerance in `x`: if it is mended, remove this"
        ]
    );
    let misspelt = good(&SERVICE.replace("selling", "seling")).unmatched(&[failing]);
    assert!(misspelt[0].ends_with("did you mean `selling`?"), "{misspelt:?}");
    let both = read(&SERVICE.replace("business-service: selling", "business-service: selling, metric: p99"));
    assert!(
        both.unwrap_err()
            .to_string()
            .contains("`metric` and `business-service` stand in one element")
    );
}
