//! What the reports look like, as snapshots (`INSTA_UPDATE=always cargo test report` accepts a change), and that a report
//! that cannot be written hides nothing.

use std::io;
use std::sync::{Arc, Mutex};

use super::table::{Expected, ProofRow, Twin};
use super::terminal::{Options, Style, Terminal, verdict_block};
use super::*;
use crate::event::Event;

/// A writer that a test can read.
#[derive(Clone, Default)]
pub(super) struct Shared(Arc<Mutex<Vec<u8>>>);

impl Shared {
    pub(super) fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl Write for Shared {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

const UNICODE: Style = Style {
    colour: false,
    unicode: true,
    width: None,
};

fn run_dir() -> &'static Path {
    Path::new("runs/20261122-212903-answers-lost")
}

#[test]
fn off_a_terminal_events_are_plain_lines() {
    let (log, result) = (Shared::default(), Shared::default());
    let mut terminal = Terminal::with_writers(Options::default(), Box::new(log.clone()), Box::new(result.clone()));
    for entry in sample::events() {
        terminal.handle(&entry);
    }
    assert_eq!(result.text(), "", "nothing but the verdict goes to the result");
    terminal.finish(&sample::failed(), run_dir());
    assert!(result.text().contains("x FAIL  answers-lost"));
    insta::assert_snapshot!("plain_log", log.text());
}

#[test]
fn progress_is_told_every_five_seconds_at_most() {
    let log = Shared::default();
    let mut terminal = Terminal::with_writers(Options::default(), Box::new(log.clone()), Box::new(io::sink()));
    let mut told = Vec::new();
    for entry in sample::events() {
        let before = log.text().len();
        terminal.handle(&entry);
        if matches!(entry.event, Event::Progress(_)) && log.text().len() > before {
            told.push(entry.unix_ms);
        }
    }
    let gaps: Vec<i64> = told.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert_eq!(gaps, [5_000; 6]);
}

#[test]
fn a_failed_run_is_shown_with_its_evidence() {
    insta::assert_snapshot!("block_failed", verdict_block(&sample::failed(), run_dir(), &UNICODE));
}

#[test]
fn an_inconclusive_run_is_shown_on_a_narrow_terminal_without_unicode() {
    let style = Style {
        width: Some(60),
        ..Style::default()
    };
    insta::assert_snapshot!(
        "block_inconclusive_narrow",
        verdict_block(&sample::inconclusive(), run_dir(), &style)
    );
}

#[test]
fn passed_and_aborted_runs_are_shown() {
    insta::assert_snapshot!("block_passed", verdict_block(&sample::passed(), run_dir(), &UNICODE));
    insta::assert_snapshot!("block_aborted", verdict_block(&sample::aborted(), run_dir(), &UNICODE));
}

#[test]
fn colour_is_the_only_difference_that_colour_makes() {
    let coloured = verdict_block(
        &sample::failed(),
        run_dir(),
        &Style {
            colour: true,
            ..UNICODE
        },
    );
    assert!(coloured.contains("\x1b[1;31m✗ FAIL\x1b[0m"));
    let stripped = console::strip_ansi_codes(&coloured).into_owned();
    assert_eq!(stripped, verdict_block(&sample::failed(), run_dir(), &UNICODE));
}

#[test]
fn junit_has_a_suite_a_run_and_a_case_an_assertion() {
    let (failed, aborted) = (sample::failed(), sample::aborted());
    let suite = |verdict| junit::Suite::of_run(verdict, run_dir(), took(&sample::events()));
    let xml = junit::render(&[suite(&failed), suite(&aborted)], &junit::Besides::default());
    let report = quick_junit::Report::deserialize_from_str(&xml).unwrap();
    assert_eq!((report.tests, report.failures, report.errors), (14, 1, 2));
    assert_eq!(report.time, Some(Duration::from_millis(2 * 36_700)));
    insta::assert_snapshot!("junit", xml);
}

#[test]
fn in_junit_no_run_passes_that_did_not() {
    let mut interrupted = sample::passed();
    interrupted.status = verdict::Status::Interrupted;
    let mut dirty = sample::passed();
    dirty.leftovers = vec!["a network".to_owned()];
    let mut unexplained = sample::passed();
    unexplained.verdict = verdict::Judgement::Fail;
    for verdict in [
        interrupted,
        dirty,
        unexplained,
        sample::inconclusive(),
        sample::aborted(),
    ] {
        let suite = junit::Suite::of_run(&verdict, run_dir(), Duration::ZERO);
        let report =
            quick_junit::Report::deserialize_from_str(&junit::render(&[suite], &junit::Besides::default())).unwrap();
        assert!(report.failures + report.errors > 0, "{verdict:?}");
    }
}

#[test]
fn the_summary_is_a_comment_on_a_change() {
    insta::assert_snapshot!("summary_failed", summary::render(&sample::plan(), &sample::failed()));
    insta::assert_snapshot!("summary_aborted", summary::render(&sample::plan(), &sample::aborted()));
}

#[test]
fn tables_say_what_ran_and_whether_it_is_as_it_should_be() {
    let (passed, failed, inconclusive) = (sample::passed(), sample::failed(), sample::inconclusive());
    let runs = table::runs(
        &[
            (&passed, Path::new("runs/1")),
            (&failed, Path::new("runs/2")),
            (&inconclusive, Path::new("runs/3")),
        ],
        &UNICODE,
    );
    insta::assert_snapshot!("table_runs", runs);
    let unsafe_twin = |method| Twin::NegativeControl {
        name: "payment-retried-with-new-key".to_owned(),
        method,
    };
    let row = |twin, expected, verdict, as_it_should_be| ProofRow {
        twin,
        expected,
        verdict,
        as_it_should_be,
    };
    let rows = [
        row(Twin::Control, Expected::Pass, &passed, true),
        row(Twin::Experiment, Expected::Pass, &inconclusive, false),
        row(
            unsafe_twin(true),
            Expected::FailBy(vec!["nobody-charged-twice".to_owned()]),
            &failed,
            true,
        ),
        row(unsafe_twin(false), Expected::Pass, &passed, true),
    ];
    insta::assert_snapshot!("table_proof", table::proof(&rows, &UNICODE));
    let narrow = Style {
        width: Some(50),
        ..UNICODE
    };
    assert!(table::proof(&rows, &narrow).lines().next().unwrap().chars().count() <= 50);
    assert!(table::proof(&[], &UNICODE).contains("nothing is proven"));
}

#[test]
fn every_report_is_written_whole() {
    let dir = tempfile::tempdir().unwrap();
    let (plan, verdict) = (sample::plan(), sample::failed());
    write_all(dir.path(), &plan, &verdict, &sample::history(), &sample::events()).unwrap();
    let mut names: Vec<String> = fs::read_dir(dir.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert_eq!(names, ["junit.xml", "report.html", "summary.md", "verdict.json"]);
    let read: Verdict = serde_json::from_slice(&fs::read(dir.path().join(verdict::FILE)).unwrap()).unwrap();
    assert_eq!(read, verdict);
    let junit = fs::read_to_string(dir.path().join(junit::FILE)).unwrap();
    let page = dir.path().canonicalize().unwrap().join(html::FILE);
    assert!(junit.contains(&format!("[[ATTACHMENT|{}]]", page.display())), "{junit}");
}

#[test]
fn a_report_that_cannot_be_written_hides_neither_the_verdict_nor_the_others() {
    let dir = tempfile::tempdir().unwrap();
    // A folder in its place cannot be replaced by a file.
    fs::create_dir(dir.path().join(junit::FILE)).unwrap();
    let error = write_all(
        dir.path(),
        &sample::plan(),
        &sample::failed(),
        &sample::history(),
        &sample::events(),
    )
    .unwrap_err();
    assert!(error.to_string().contains("junit.xml"), "{error}");
    for name in [verdict::FILE, summary::FILE, html::FILE] {
        assert!(dir.path().join(name).is_file(), "{name}");
    }
    let mut names = fs::read_dir(dir.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name());
    assert!(!names.any(|name| name.to_string_lossy().contains("unfinished")));
}

#[test]
fn the_page_answers_for_every_kind_of_run() {
    let page =
        |verdict: &Verdict, history: &History<'_>| html::render(&sample::plan(), verdict, history, &sample::events());
    let failed = page(&sample::failed(), &sample::history());
    assert!(failed.contains("No: 1 of 13 assertions did not hold (nobody-charged-twice); 1 could not be judged."));
    assert!(failed.contains("Defects switched on:"));
    let passed = page(&sample::passed(), &sample::history());
    assert!(passed.contains(
        "Yes: all 13 assertions held; service was disrupted for 10.2 s, and was back 2.2 s after the last fault had healed."
    ));
    let inconclusive = page(&sample::inconclusive(), &sample::history());
    assert!(inconclusive.contains("It cannot be said: 3 of 13 assertions could not be judged"));
    assert!(
        inconclusive.contains("more than 22 s"),
        "the open bracket has a lower bound"
    );
    let aborted = page(&sample::aborted(), &History::default());
    assert!(
        aborted
            .contains("Not answered: the run was aborted: postage-api-1 ended with exit code 1 before it was ready.")
    );
    assert!(aborted.contains("nothing to draw"));
}

#[test]
fn the_page_says_over_which_part_of_the_time_was_asked() {
    let mut plan = sample::plan();
    (plan.during[0].after_ms, plan.during[0].fault) = (1_000, Some(0));
    let page = html::render(&plan, &sample::passed(), &sample::history(), &sample::events());
    for said in [
        "history stays readable: success rate of purchase-history ≥ 99.5 %, while `lose the provider's answers` lasts, \
         from 1s after its effect</li>",
        "After the last heal:",
        "labels are few again: maximum of paid-without-label ≤ 20, from 3s after the last heal</li>",
        "afterwards: kept after the last heal",
    ] {
        assert!(page.contains(said), "{said}");
    }
}

#[test]
fn the_page_needs_nothing_else() {
    let page = html::render(
        &sample::plan(),
        &sample::failed(),
        &sample::history(),
        &sample::events(),
    );
    assert!(page.contains(r#"content="default-src 'none'; style-src 'unsafe-inline'""#));
    for foreign in [
        "<script", "<link", "<img", "<iframe", "src=", "href=", "@import", "http://", "https://",
    ] {
        assert!(!page.contains(foreign), "{foreign}");
    }
    let references = page.matches("url(").count();
    assert_eq!(references, page.matches("url(#").count(), "only to the page itself");
}
