//! `junit.xml` as its readers read it.

use super::super::sample;
use super::*;

fn parsed(xml: &str) -> Report {
    Report::deserialize_from_str(xml).unwrap()
}

#[test]
fn names_are_unique_and_what_did_not_pass_has_its_page() {
    let mut failed = sample::failed();
    let again = failed.assertions.clone();
    failed.assertions.extend(again);
    let suite = || Suite {
        file: Path::new("experiments/postage/answers-lost.yaml"),
        properties: vec![("experiment-sha256", "abc".to_owned())],
        attachment: Some("runs/one/report.html".to_owned()),
        ..Suite::of_run(&failed, Path::new("runs/one"), Duration::ZERO)
    };
    let unreached = Unreached {
        name: "answers-lost",
        file: Path::new("experiments/counter/answers-lost.yaml"),
        lost: None,
    };
    let besides = Besides {
        unreached: vec![unreached],
        ..Besides::default()
    };
    let report = parsed(&render(&[suite(), suite()], &besides));
    let suites: Vec<&str> = report.test_suites.iter().map(|suite| suite.name.as_str()).collect();
    assert_eq!(suites, ["answers-lost", "answers-lost (2)", "answers-lost (3)"]);
    for suite in &report.test_suites[..2] {
        let mut names: Vec<&str> = suite.test_cases.iter().map(|case| case.name.as_str()).collect();
        let cases = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), cases);
        assert!(suite.properties.iter().any(|property| property.name.as_str() == "seed"));
        assert!(suite.properties.iter().any(|property| property.value.as_str() == "abc"));
        for case in &suite.test_cases {
            assert_eq!(
                case.classname.as_ref().map(|name| name.as_str()),
                Some(suite.name.as_str())
            );
            let file = case.extra.get("file").map(|file| file.as_str());
            assert_eq!(file, Some("experiments/postage/answers-lost.yaml"));
            let out = case.system_out.as_ref().map_or("", |out| out.as_str());
            let did_pass = matches!(case.status, TestCaseStatus::Success { .. });
            assert_eq!(out == "[[ATTACHMENT|runs/one/report.html]]", !did_pass, "{out}");
        }
    }
    assert_eq!((report.test_suites[2].errors, report.test_suites[2].tests), (1, 1));
}

#[test]
fn what_is_accepted_or_let_pass_is_skipped_and_says_why() {
    let mut verdict = sample::failed();
    verdict
        .assertions
        .retain(|assertion| assertion.finding.verdict != Judgement::Pass);
    let mut doubt = verdict.assertions[0].clone();
    (doubt.name, doubt.finding.verdict) = ("in doubt".to_owned(), Judgement::Inconclusive);
    let mut other = verdict.assertions[0].clone();
    (other.name, other.finding.verdict) = ("another".to_owned(), Judgement::Fail);
    verdict.assertions = vec![
        verdict
            .assertions
            .into_iter()
            .find(|one| one.finding.verdict == Judgement::Fail)
            .unwrap(),
        doubt,
    ];
    let weakness = sample::weakness(&verdict.assertions[0].name);
    let counts = |verdict: &Verdict, is_doubt_let_pass: bool| {
        let counted = Counted {
            accepted: vec![weakness.clone()],
            is_doubt_let_pass,
            ..Counted::default()
        };
        let suite = Suite {
            counted: Some(&counted),
            ..Suite::of_run(verdict, Path::new("runs/one"), Duration::ZERO)
        };
        let xml = render(&[suite], &Besides::default());
        let report = parsed(&xml);
        let suite = &report.test_suites[0];
        (suite.failures, suite.errors, suite.skipped, xml)
    };
    let (failures, errors, skipped, xml) = counts(&verdict, false);
    assert_eq!((failures, errors, skipped), (0, 1, 1), "{xml}");
    let said = "<skipped message=\"accepted until 2027-01-31 by team-postage: the pool has no limit of its own\"";
    assert!(xml.contains(said), "{xml}");
    let (failures, errors, skipped, xml) = counts(&verdict, true);
    assert_eq!((failures, errors, skipped), (0, 0, 2), "{xml}");
    assert!(xml.contains("<skipped message=\"a doubt, let pass\""), "{xml}");
    verdict.assertions.push(other);
    let (failures, ..) = counts(&verdict, true);
    assert_eq!(failures, 1, "what nobody accepted stays a failure");
}

#[test]
fn what_regressed_has_a_suite_of_its_own_and_so_has_what_is_no_whole() {
    use crate::campaign::Campaign;
    use crate::campaign::accept::Accepted;
    use crate::campaign::compare::compare;
    use crate::campaign::compare::tests::recovered;
    const USUAL: [f64; 5] = [1_000.0, 1_250.0, 1_500.0, 1_250.0, 1_000.0];
    let runs = |first: i64, slower: [f64; 5]| {
        let runs = [
            recovered("same", first, &USUAL),
            recovered("slower", first + 20, &slower),
        ];
        Campaign::of(runs.concat())
    };
    let comparison = compare(&runs(1, USUAL), &runs(101, [4_000.0; 5]), &Accepted::default()).unwrap();
    let problems = vec!["of 2 shards one is missing: 2".to_owned()];
    let besides = Besides {
        unreached: vec![Unreached {
            name: "lost",
            file: Path::new("lost.yaml"),
            lost: Some(&problems[0]),
        }],
        comparison: Some(&comparison),
        problems: &problems,
    };
    let xml = render(&[], &besides);
    let report = parsed(&xml);
    let told: Vec<_> = report
        .test_suites
        .iter()
        .map(|suite| (suite.name.as_str(), suite.tests, suite.failures, suite.errors))
        .collect();
    assert_eq!(
        told,
        [
            ("lost", 1, 0, 1),
            ("comparison with the baseline", 2, 1, 0),
            ("all runs together", 1, 0, 1)
        ]
    );
    for said in [
        "recovery-time of slower regressed: median 1.2 s before, 4 s now",
        "<error message=\"There is no result of it: of 2 shards one is missing: 2\" type=\"no result\"",
        "<error message=\"of 2 shards one is missing: 2\"",
    ] {
        assert!(xml.contains(said), "{said}: {xml}");
    }
}

#[test]
fn output_is_cut_and_no_report_is_too_great_for_its_readers() {
    let mut verdict = sample::failed();
    let long = "what it said, & <more> of it; ".repeat(67);
    for assertion in &mut verdict.assertions {
        assertion.finding.detail.clone_from(&long);
        assertion.finding.evidence = vec![long.clone(); 20];
    }
    let mut one = verdict.clone();
    one.assertions
        .retain(|assertion| assertion.finding.verdict == Judgement::Fail);
    let suite = Suite::of_run(&one, Path::new("runs/one"), Duration::ZERO);
    let failed = parsed(&render(&[suite], &Besides::default()))
        .test_suites
        .remove(0)
        .test_cases
        .remove(0);
    let TestCaseStatus::NonSuccess {
        message, description, ..
    } = failed.status
    else {
        panic!("{failed:?}")
    };
    assert_eq!(message.unwrap().as_str().chars().count(), MESSAGE_CHARS);
    assert_eq!(description.unwrap().as_str().chars().count(), OUTPUT_CHARS[0]);

    let many = vec![Suite::of_run(&verdict, Path::new("runs/one"), Duration::ZERO); 300];
    let xml = render(&many, &Besides::default());
    assert!(xml.len() <= BYTES_MAX, "{}", xml.len());
    // Parsing so much takes a minute.
    let (cases, failures) = (xml.matches("<testcase ").count(), xml.matches("<failure ").count());
    assert_eq!((cases, failures), (300 * 13, 300), "every case is there");
}

#[test]
fn where_names_alone_are_too_much_only_what_passed_is_left_out() {
    let mut verdict = sample::failed();
    let mut passed = verdict.assertions[0].clone();
    passed.name = "x".repeat(200);
    verdict.assertions.extend(vec![passed; 100]);
    let many = vec![Suite::of_run(&verdict, Path::new("runs/one"), Duration::ZERO); 20];
    let xml = render_within(200_000, &many, &Besides::default());
    assert!(xml.len() <= 200_000, "{}", xml.len());
    let report = parsed(&xml);
    assert_eq!((report.failures, report.errors), (20, 20));
    assert!(xml.contains("cases, to keep the report small"));
    let nothing = render_within(1_000, &many, &Besides::default());
    assert_eq!(parsed(&nothing).errors, 1, "no report is no pass");
}
