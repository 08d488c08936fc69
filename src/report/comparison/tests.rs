//! What comparisons look like, as snapshots, and that data stays data.

use super::*;
use crate::campaign::accept::Accepted;
use crate::campaign::compare::compare;
use crate::campaign::compare::tests::{failed, recovered};
use crate::campaign::{Campaign, RunRecord};
use crate::report::terminal::Style;

const USUAL: [f64; 5] = [1_500.0, 1_750.0, 1_250.0, 1_500.0, 2_000.0];

/// One experiment of each kind.
fn runs(named: &str) -> (Vec<RunRecord>, Vec<RunRecord>) {
    let name = |kind: &str| format!("{kind}{named}");
    let (mut before, mut now) = (Vec::new(), Vec::new());
    const KINDS: [&str; 8] = [
        "as-before",
        "excused",
        "flaky",
        "improved",
        "now-fails",
        "regressed",
        "still-fails",
        "suspect",
    ];
    for (number, kind) in KINDS.iter().enumerate() {
        let first = number as i64 * 100;
        let mut earlier = recovered(&name(kind), first, &USUAL);
        if *kind == "still-fails" {
            earlier = earlier.into_iter().map(|run| failed(run, "recovery")).collect();
        }
        before.extend(earlier);
        let mut later = match *kind {
            "improved" => recovered(&name(kind), first + 50, &[250.0, 500.0, 250.0, 750.0, 500.0]),
            "regressed" => recovered(&name(kind), first + 50, &[4_000.0, 4_250.0, 3_750.0, 4_500.0, 4_000.0]),
            "suspect" => recovered(&name(kind), first + 50, &[9_000.0]),
            _ => recovered(&name(kind), first + 50, &USUAL),
        };
        let failing = match *kind {
            "flaky" => 2,
            "excused" | "now-fails" | "still-fails" => 5,
            _ => 0,
        };
        for run in &mut later[..failing] {
            *run = failed(run.clone(), "recovery");
        }
        now.extend(later);
    }
    before.extend(recovered(&name("missing"), 900, &USUAL));
    now.extend(recovered(&name("new"), 950, &USUAL));
    now.last_mut().unwrap().sha256 = "bb".to_owned();
    (before, now)
}

fn comparison(named: &str, accepted: &Accepted) -> Comparison {
    let (before, now) = runs(named);
    compare(&Campaign::of(before), &Campaign::of(now), accepted).unwrap()
}

fn accepted() -> Accepted {
    let text = "
- {experiment: now-fails, assertion: recovery, reason: the pool waits, owner: team-postage, until: 2026-11-29}
- {experiment: regressed, metric: recovery-time, reason: more work, owner: team-postage, until: 2027-01-31}
- {experiment: excused, assertion: '*', reason: the pool waits, owner: team-postage, until: 2027-01-31}
- {experiment: as-before, assertion: recovery, reason: mended, owner: team-postage, until: 2027-01-31}
";
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("accepted.yaml");
    std::fs::write(&file, text).unwrap();
    Accepted::load(&file, jiff::civil::date(2026, 11, 30)).unwrap()
}

/// Without the folder of the test, which is another each time.
fn placeless(text: &str) -> String {
    let words = text.split_inclusive([' ', '\n']);
    let bare = words.map(
        |word| match word.find("/accepted.yaml").or(word.find("/accepted\\.yaml")) {
            Some(at) => format!("accepted.yaml{}", &word[at + "/accepted.yaml".len()..]),
            None => word.to_owned(),
        },
    );
    bare.collect()
}

const UNICODE: Style = Style {
    colour: false,
    unicode: true,
    width: None,
};

#[test]
fn a_comparison_on_a_terminal() {
    let comparison = comparison("", &Accepted::default());
    assert_eq!(comparison.exit_code, 1);
    insta::assert_snapshot!("text", text(&comparison, &UNICODE));
}

#[test]
fn a_comparison_with_accepted_weaknesses_on_a_terminal() {
    let comparison = comparison("", &accepted()).with_unread(vec!["runs/y: half written\n  hint: judge it".to_owned()]);
    insta::assert_snapshot!("text_accepted", placeless(&text(&comparison, &UNICODE)));
}

#[test]
fn what_fails_as_before_or_as_accepted_has_a_sign_of_its_own() {
    let row = |comparison: &Comparison, name: &str| {
        let text = text(comparison, &UNICODE);
        let row = text.lines().find(|line| line.contains(&format!("postage/{name} ")));
        row.unwrap().to_owned()
    };
    let before = row(&comparison("", &Accepted::default()), "still-fails");
    assert!(
        before.starts_with('!') && before.contains("fails as before: recovery"),
        "{before}"
    );
    let excused = row(&comparison("", &accepted()), "excused");
    assert!(excused.starts_with('!'), "{excused}");
    assert!(excused.contains("0 of 5 passed, 5 failed as accepted"), "{excused}");
    assert!(
        excused.ends_with("fails as accepted: * until 2027-01-31 by team-postage"),
        "{excused}"
    );
}

#[test]
fn a_comparison_in_a_comment() {
    insta::assert_snapshot!("markdown", markdown(&comparison("", &Accepted::default())));
}

#[test]
fn a_comparison_for_programs() {
    let json = json(&comparison("", &Accepted::default())).unwrap();
    let value: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!((&value["schema_version"], &value["exit_code"]), (&1.into(), &1.into()));
    let regressed = value["experiments"]
        .as_array()
        .unwrap()
        .iter()
        .find(|one| one["experiment"] == "regressed");
    let time = &regressed.unwrap()["metrics"][0];
    assert_eq!(
        (&time["metric"], &time["change"]),
        (&"recovery-time".into(), &"regressed".into())
    );
    assert_eq!(time["now"]["median"], 4_000.0);
}

#[test]
fn a_line_keeps_to_the_width_of_a_terminal() {
    let style = Style {
        width: Some(60),
        ..UNICODE
    };
    let text = text(&comparison("", &Accepted::default()), &style);
    let rows = text.lines().take_while(|line| !line.starts_with("before and now"));
    assert!(rows.clone().count() > 10);
    for row in rows {
        assert!(console::measure_text_width(row) <= 60, "{row}");
    }
}

#[test]
fn hostile_names_stay_text() {
    const HOSTILE: &str = "<script>|`\x1b[2J\u{202e}\n@all #1";
    let comparison = comparison(HOSTILE, &Accepted::default());
    let (text, page) = (text(&comparison, &UNICODE), markdown(&comparison));
    for rendered in [&text, &page] {
        assert!(
            !rendered
                .chars()
                .any(|c| (c.is_control() && c != '\n') || c == '\u{202e}')
        );
    }
    assert!(!page.contains("<script") && !page.contains(" @all") && !page.contains(" #1"));
    let rows: Vec<&str> = page.lines().filter(|line| line.starts_with('|')).collect();
    let bars: Vec<usize> = rows
        .iter()
        .map(|row| row.replace("\\|", "").matches('|').count())
        .collect();
    assert!(bars.iter().all(|&bars| bars == 7 || bars == 9), "{bars:?}");
}
