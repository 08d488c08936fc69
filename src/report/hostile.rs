//! That nothing which comes out of a system under test is ever more than text, whatever it says.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;

use super::sample;
use super::table::{self, Expected, ProofRow, Twin};
use super::terminal::{Options, Style, Terminal, verdict_block};
use super::tests::Shared;
use super::{campaign, html, junit, summary};
use crate::event::{Entry, Event};
use crate::history::load::History;
use crate::plan::Plan;
use crate::verdict::Verdict;

const HOSTILE: &str = "<script>alert(1)</script> ]]> \x1b[2J\x1b]0;owned\x07 \u{202e} | `x` \" onload=\"y' & --> </style> \r @all #1\n- two";

/// Keys whose strings are words of a format, not data.
const WORDS: [&str; 10] = [
    "answer",
    "unit",
    "kind",
    "status",
    "phase",
    "verdict",
    "signal_name",
    "compare",
    "arrivals",
    "outcome",
];

/// Every piece of data made hostile.
fn poison(value: &mut Value) {
    match value {
        Value::String(text) => *text = format!("{text}{HOSTILE}"),
        Value::Array(items) => items.iter_mut().for_each(poison),
        Value::Object(members) => {
            for (_, value) in members.iter_mut().filter(|(key, _)| !WORDS.contains(&key.as_str())) {
                poison(value);
            }
        }
        _ => {}
    }
}

fn poisoned_verdict(verdict: &Verdict) -> Verdict {
    let mut value = serde_json::to_value(verdict).unwrap();
    poison(&mut value);
    serde_json::from_value(value).unwrap()
}

fn poisoned_events() -> Vec<Entry> {
    let poisoned = |entry: &Entry| {
        let mut value = serde_json::to_value(entry).unwrap();
        poison(&mut value);
        serde_json::from_value(value).unwrap()
    };
    sample::events().iter().map(poisoned).collect()
}

fn poisoned_plan() -> Plan {
    let mut plan = sample::plan();
    let hostile = |text: &str| format!("{text}{HOSTILE}");
    let info = &mut plan.experiment;
    info.title = hostile(&info.title);
    info.description = hostile(&info.description);
    info.tags = vec![hostile("tag")];
    info.path = PathBuf::from(hostile("path"));
    info.sha256 = hostile("hash");
    plan.system.title = hostile("system");
    plan.gate.title = hostile("gate");
    plan.configuration = [(hostile("name"), hostile("value"))].into();
    plan.replicas = [(hostile("service"), 1)].into();
    plan.invariants = vec![hostile("invariant")];
    let windowed = plan.during.iter_mut().chain(&mut plan.afterwards);
    for probe in plan
        .gate
        .probes
        .iter_mut()
        .chain(windowed.map(|windowed| &mut windowed.probe))
    {
        probe.name = hostile(&probe.name);
    }
    for fault in &mut plan.faults {
        fault.name = hostile(&fault.name);
    }
    for control in &mut plan.negative_controls {
        control.name = hostile(&control.name);
        control.fails = vec![hostile(&control.fails[0])];
    }
    plan.system
        .defects
        .iter_mut()
        .for_each(|(_, defect)| defect.title = hostile(&defect.title));
    plan.system
        .operations
        .iter_mut()
        .for_each(|(_, operation)| operation.title = hostile("operation"));
    plan.system
        .metrics
        .iter_mut()
        .for_each(|(_, metric)| metric.title = hostile("metric"));
    plan.workload.rates = [(hostile("buy-postage"), 40.0.into())].into();
    plan
}

fn poisoned_history() -> History<'static> {
    let mut history = sample::history();
    for op in &mut history.ops {
        op.kind = format!("{}{HOSTILE}", op.kind).into();
    }
    for sample in &mut history.samples {
        sample.metric = format!("{}{HOSTILE}", sample.metric).into();
    }
    history
}

fn run_dir() -> PathBuf {
    PathBuf::from(format!("runs/{HOSTILE}"))
}

/// No control character but the end of a line, and none that turns the writing.
fn assert_harmless(text: &str) {
    let harmful = text
        .chars()
        .find(|c| (c.is_control() && *c != '\n') || *c == '\u{202e}');
    assert_eq!(harmful, None);
}

#[test]
fn the_page_shows_it_as_text() {
    let verdicts = [sample::failed(), sample::inconclusive(), sample::aborted()];
    for verdict in &verdicts {
        let page = html::render(
            &poisoned_plan(),
            &poisoned_verdict(verdict),
            &poisoned_history(),
            &poisoned_events(),
        );
        assert_harmless(&page);
        assert!(page.contains("&lt;script&gt;alert(1)"));
        assert!(!page.contains("<script") && !page.contains("\" onload=\""));
        assert_eq!(page.matches("</style>").count(), 1, "its own");
    }
}

#[test]
fn the_page_of_a_campaign_shows_it_as_text() {
    let mut value = serde_json::to_value(campaign::sample_page()).unwrap();
    poison(&mut value);
    let page = campaign::render(&serde_json::from_value(value).unwrap());
    assert_harmless(&page);
    assert!(page.contains("&lt;script&gt;alert(1)"));
    assert!(!page.contains("<script") && !page.contains("\" onload=\""));
    assert_eq!(page.matches("</style>").count(), 1, "its own");
}

#[test]
fn junit_stays_well_formed() {
    let verdict = poisoned_verdict(&sample::failed());
    let dir = run_dir();
    let suite = junit::Suite {
        file: Path::new(HOSTILE),
        properties: vec![("experiment-sha256", HOSTILE.to_owned())],
        attachment: Some(HOSTILE.to_owned()),
        ..junit::Suite::of_run(&verdict, &dir, Duration::from_secs(1))
    };
    let xml = junit::render(&[suite], &junit::Besides::default());
    assert_harmless(&xml);
    assert!(!xml.contains("]]>") && !xml.contains("<script"));
    let report = quick_junit::Report::deserialize_from_str(&xml).unwrap();
    let suite = &report.test_suites[0];
    assert!(
        suite.name.as_str().contains("<script>alert(1)</script> ]]>"),
        "it is told all the same"
    );
    assert_eq!(report.tests, 13);
}

#[test]
fn the_summary_keeps_its_tables() {
    for verdict in [sample::failed(), sample::inconclusive(), sample::aborted()] {
        let page = summary::render(&poisoned_plan(), &poisoned_verdict(&verdict));
        assert_harmless(&page);
        let outside_code: Vec<&str> = page.split("```").step_by(2).collect();
        for text in &outside_code {
            assert!(
                !text.contains("<script") && !text.contains(" @all") && !text.contains(" #1"),
                "{text}"
            );
        }
        let rows: Vec<&str> = page.lines().filter(|line| line.starts_with('|')).collect();
        let mut columns = 0;
        for (index, row) in rows.iter().enumerate() {
            let bars = row.replace("\\|", "").matches('|').count();
            // A row has as many columns as its head; a head is followed by its rule.
            let is_head = rows.get(index + 1).is_some_and(|next| next.starts_with("|---"));
            columns = if is_head { bars } else { columns };
            assert_eq!(bars, columns, "{row}");
        }
    }
}

#[test]
fn the_terminal_is_not_driven_by_it() {
    let (log, result) = (Shared::default(), Shared::default());
    let mut terminal = Terminal::with_writers(Options::default(), Box::new(log.clone()), Box::new(result.clone()));
    for entry in poisoned_events() {
        let lines = log.text().lines().count();
        terminal.handle(&entry);
        let lines_max = match &entry.event {
            Event::Progress(progress) => progress.operations.len(),
            _ => 1,
        };
        let told = log.text().lines().count() - lines;
        assert!(told <= lines_max, "one line an event, or one an operation");
    }
    let verdict = poisoned_verdict(&sample::failed());
    terminal.finish(&verdict, &run_dir());
    assert_harmless(&log.text());
    assert_harmless(&result.text());

    let coloured = Style {
        colour: true,
        unicode: true,
        width: Some(80),
    };
    let block = verdict_block(&verdict, &run_dir(), &coloured);
    assert_harmless(&console::strip_ansi_codes(&block));
    assert!(!block.contains("\x1b[2J") && !block.contains("\x1b]"), "colours only");
}

#[test]
fn tables_keep_their_rows() {
    let verdict = poisoned_verdict(&sample::failed());
    let runs = table::runs(&[(&verdict, Path::new(HOSTILE))], &Style::default());
    assert_harmless(&runs);
    assert_eq!(runs.lines().count(), 2);
    let row = ProofRow {
        twin: Twin::NegativeControl {
            name: HOSTILE.to_owned(),
            method: true,
        },
        expected: Expected::FailBy(vec![HOSTILE.to_owned()]),
        verdict: &verdict,
        as_it_should_be: true,
    };
    let proof = table::proof(&[row], &Style::default());
    assert_harmless(&proof);
    assert_eq!(proof.lines().count(), 3);
}
