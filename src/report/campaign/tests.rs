//! The page's model as a snapshot, from runs as they lie on disk; what decides; that the page needs nothing else.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::model::{Notice, Page};
use super::{Besides, Options, page, render};
use crate::campaign::accept::Accepted;
use crate::campaign::{Answer, Campaign, Proof, ProofRow, RunRecord};
use crate::history::load::History;
use crate::history::{Outcome, Record};
use crate::plan::Plan;
use crate::report::sample;
use crate::report::series::{self, Timeline};
use crate::verdict::{Assertion, AssertionKind, Judgement, Status, Verdict, Violation};

mod beside;
mod customers;
mod decides;
mod gathered;

/// Ten days after the sample began.
const NOW: i64 = 1_795_382_943_000 + 10 * 86_400_000;

pub(in crate::report) fn options() -> Options {
    Options {
        now_unix_ms: NOW,
        stale_after_ms: super::STALE_AFTER_MS,
        accepted: Accepted::default(),
        besides: Besides::default(),
    }
}

/// A run as it lies on disk.
pub(super) struct Saved {
    pub plan: Plan,
    pub verdict: Verdict,
    pub history: History<'static>,
    logs: Vec<(&'static str, String)>,
}

impl Saved {
    pub fn of(name: &str, mut verdict: Verdict) -> Self {
        let mut plan = sample::plan();
        name.clone_into(&mut plan.experiment.name);
        plan.experiment.path = PathBuf::from(format!("experiments/postage/{name}.yaml"));
        plan.experiment.sha256 = format!("{name:0>64}");
        name.clone_into(&mut verdict.experiment);
        verdict.run_id = format!("run-of-{name}");
        verdict.again = format!("nightmail run experiments/postage/{name}.yaml --seed 42");
        Self {
            plan,
            verdict,
            history: sample::history(),
            logs: Vec::new(),
        }
    }

    pub fn write(&self, out: &Path) -> PathBuf {
        let dir = out.join(&self.plan.experiment.name);
        fs::create_dir_all(dir.join("logs")).unwrap();
        let json = |name: &str, value: Value| fs::write(dir.join(name), value.to_string()).unwrap();
        json("plan.json", serde_json::to_value(&self.plan).unwrap());
        json("verdict.json", serde_json::to_value(&self.verdict).unwrap());
        let lines = |lines: Vec<String>| lines.into_iter().map(|line| line + "\n").collect::<String>();
        let event = |entry| serde_json::to_string(entry).unwrap();
        let written = sample::events()
            .iter()
            .filter(|entry| !entry.is_progress())
            .map(event)
            .collect();
        fs::write(dir.join("events.jsonl"), lines(written)).unwrap();
        let ops = self.history.ops.iter().cloned().map(Record::Op);
        let samples = self.history.samples.iter().cloned().map(Record::Sample);
        let records = ops.chain(samples).map(|record| serde_json::to_string(&record).unwrap());
        fs::write(dir.join("history.jsonl"), lines(records.collect())).unwrap();
        for (replica, log) in &self.logs {
            fs::write(dir.join("logs").join(format!("{replica}.log")), log).unwrap();
        }
        dir
    }
}

impl crate::event::Entry {
    fn is_progress(&self) -> bool {
        matches!(self.event, crate::event::Event::Progress(_))
    }
}

/// The failure of the sample on the system as it is, with its first violation.
fn failed() -> Verdict {
    let mut verdict = sample::failed();
    verdict.defects.clear();
    let charged = |assertion: &&mut Assertion| assertion.name == "nobody-charged-twice";
    let assertion = verdict.assertions.iter_mut().find(charged).unwrap();
    assertion.finding.first = Some(Violation {
        at_ms: Some(10_150.0),
        operation: Some("buy-postage".to_owned()),
        key: Some("buy-406".to_owned()),
        text: "`buy-406` has more than one effect".to_owned(),
    });
    verdict
}

fn proof_of(sha256: &str, proven: bool) -> Proof {
    Proof {
        schema_version: Proof::SCHEMA_VERSION,
        experiment: "answers-lost".to_owned(),
        sha256: sha256.to_owned(),
        proven_unix_ms: NOW,
        proven,
        rows: vec![ProofRow {
            control: Some("payment-retried-with-new-key".to_owned()),
            faults: true,
            fails: vec!["nobody-charged-twice".to_owned()],
            run: "20261122T213000Z-answers-lost".into(),
            status: Status::Completed,
            verdict: Judgement::Fail,
            as_it_should_be: proven,
        }],
    }
}

/// A campaign with one run of each kind, and a path that is none.
pub(in crate::report) fn sample_page() -> Page {
    let folder = tempfile::tempdir().unwrap();
    let passed = Saved::of("answers-slow", sample::passed());
    let dir = passed.write(folder.path());
    proof_of(&passed.plan.experiment.sha256, true).write(&dir).unwrap();
    let mut charged = Saved::of("charged-twice", failed());
    charged.logs = vec![
        (
            "postage-api-1",
            "listening\npaid buy-406 540 pence\npaid buy-4061 100 pence\n".to_owned(),
        ),
        (
            "database-1-1",
            "2026-11-22 21:29:13.200 GMT [1] LOG:  checkpoint starting\n".to_owned(),
        ),
    ];
    charged.write(folder.path());
    Saved::of("heal-not-seen", sample::inconclusive()).write(folder.path());
    let mut broken = Saved::of("never-up", sample::aborted());
    broken.history = History::default();
    broken.write(folder.path());
    let mut twin = Saved::of("unsafe-twin", sample::failed());
    twin.plan.is_twin = true;
    twin.write(folder.path());
    let (campaign, wrong) = Campaign::gather(&[folder.path().to_owned(), folder.path().join("nowhere")]);
    let not_read: Vec<String> = wrong.iter().map(|error| error.reason()).collect();
    let model = page(&campaign, &not_read, &options());
    let json = serde_json::to_string(&model).unwrap();
    // Folders are made for each test anew.
    serde_json::from_str(&json.replace(&folder.path().display().to_string(), "runs")).unwrap()
}

/// Pretty JSON with lists of numbers on one line each, and without checksums, which change with every field of a plan.
fn told(page: &Page) -> String {
    fn joined(value: &mut Value) {
        match value {
            Value::Array(items) if items.len() > 3 && items.iter().all(|item| item.is_number() || item.is_null()) => {
                let numbers: Vec<String> = items.iter().map(|item| item.to_string().replace("null", "-")).collect();
                *value = Value::String(numbers.join(" "));
            }
            Value::Array(items) => items.iter_mut().for_each(joined),
            Value::Object(members) => {
                if members.contains_key("bytes") {
                    members.insert("bytes".to_owned(), "as many as there are".into());
                    members.insert("sha256".to_owned(), "of them".into());
                }
                members.iter_mut().for_each(|(_, member)| joined(member));
            }
            _ => {}
        }
    }
    let mut value = serde_json::to_value(page).unwrap();
    joined(&mut value);
    serde_json::to_string_pretty(&value).unwrap()
}

#[test]
fn a_campaign_with_every_kind_of_run() {
    insta::assert_snapshot!("campaign", told(&sample_page()));
}

/// Records of runs, by themselves.
fn records(verdicts: Vec<Verdict>) -> Campaign {
    let record = |(number, verdict): (usize, Verdict)| {
        let saved = Saved::of(&format!("run-{number}"), verdict);
        RunRecord::of(Path::new("gone"), &saved.plan, &sample::events(), saved.verdict)
    };
    Campaign::of(verdicts.into_iter().enumerate().map(record).collect())
}

fn answer(campaign: &Campaign) -> (Answer, Vec<String>) {
    let decision = page(campaign, &[], &options()).decision;
    (decision.answer, decision.reasons)
}

#[test]
fn what_is_made_unsafe_does_not_count_and_what_is_missing_does() {
    // The failure of the sample has a defect switched on.
    let mut campaign = records(vec![sample::passed(), sample::failed(), failed()]);
    campaign.runs[2].is_twin = true;
    let model = page(&campaign, &[], &options());
    assert_eq!(model.decision.answer, Answer::Go);
    assert_eq!((model.experiments.len(), model.evidence.len()), (1, 3));
    let aside: Vec<Option<&str>> = model.evidence.iter().map(|run| run.aside.as_deref()).collect();
    assert_eq!(
        aside,
        [
            None,
            Some("defects switched on: payment-retried-with-new-key"),
            Some("a twin of `prove`")
        ]
    );

    campaign.planned = vec![
        campaign.runs[0].file.clone(),
        "experiments/postage/forgotten.yaml".into(),
    ];
    // A twin is no run of what was planned.
    campaign.runs[2].file.clone_from(&campaign.planned[1]);
    let model = page(&campaign, &["runs/half: broken".to_owned()], &options());
    assert_eq!(model.decision.answer, Answer::NotProven);
    assert_eq!(model.not_run, ["experiments/postage/forgotten.yaml"]);
    assert_eq!(
        model.decision.reasons,
        [
            "1 experiment that was planned was not run.",
            "1 path could not be read; it is named below.",
        ]
    );
}

#[test]
fn numbers_that_must_be_zero_are_summed_and_doubt_is_kept_apart() {
    let model = page(
        &records(vec![failed(), sample::passed(), sample::aborted()]),
        &[],
        &options(),
    );
    let zeros = &model.zeros;
    assert_eq!((zeros.twice.sum, zeros.twice.told, zeros.twice.untold), (Some(3), 2, 1));
    assert_eq!(zeros.twice.found_in[0].experiment, "run-0");
    assert_eq!(
        (zeros.ledger_differences.sum, zeros.ledger_differences.told),
        (Some(0), 1)
    );
    let nothing = page(&records(vec![sample::aborted()]), &[], &options()).zeros;
    assert_eq!((nothing.lost.sum, nothing.lost.untold), (None, 1));
}

#[test]
fn coverage_tells_what_is_old_unproven_or_never_tried() {
    let mut campaign = records(vec![sample::passed(), sample::passed()]);
    let sha256 = campaign.runs[0].sha256.clone();
    campaign.runs[0].proof = Some(proof_of(&sha256, true));
    // A proof of the file as it was before it changed.
    campaign.runs[1].proof = Some(proof_of("of another file", true));
    campaign.runs[1].scope.faults = BTreeMap::from([("kill".to_owned(), BTreeSet::from(["postage-api".to_owned()]))]);
    campaign.runs[1].scope.services.insert("label-printer".to_owned());
    let old = Options {
        stale_after_ms: 9 * 86_400_000,
        ..options()
    };
    let fresh = page(&campaign, &[], &options());
    let coverage = &page(&campaign, &[], &old).coverage[0];
    assert_eq!(coverage.kinds, ["kill", "partition"]);
    assert!(
        !coverage
            .untried_kinds
            .iter()
            .any(|kind| kind == "kill" || kind == "partition")
    );
    let rows: Vec<(&str, Vec<bool>)> = coverage
        .services
        .iter()
        .map(|row| (row.service.as_str(), row.cells.iter().map(Option::is_some).collect()))
        .collect();
    assert_eq!(
        rows,
        [
            ("label-printer", vec![false, false]),
            ("payment-provider", vec![false, true]),
            ("postage-api", vec![true, true]),
        ]
    );
    let business = &coverage.business[0];
    let [killed, cut] = business.cells.as_slice() else {
        panic!("two kinds")
    };
    let (killed, cut) = (killed.as_ref().unwrap(), cut.as_ref().unwrap());
    assert_eq!(killed.unproven, ["run-1"]);
    assert!(cut.unproven.is_empty());
    assert!(killed.is_stale && cut.is_stale);
    assert!(!fresh.coverage[0].business[0].cells[0].as_ref().unwrap().is_stale);
}

#[test]
fn a_pass_over_the_history_counts_what_the_runs_own_page_counts() {
    let folder = tempfile::tempdir().unwrap();
    let saved = Saved::of("answers-lost", sample::failed());
    let dir = saved.write(folder.path());
    let source = super::source::read(&dir, true).unwrap();
    let course = source
        .gathering
        .unwrap()
        .course(&saved.plan, &saved.verdict, &source.events);
    let timeline = Timeline::new(&saved.plan, &saved.verdict, &saved.history, &sample::events());
    assert_eq!(course.timeline, timeline);
    let whole = series::operations(&saved.plan, &saved.history, &timeline);
    for (course, series) in course.operations.iter().zip(&whole) {
        assert_eq!(course.operation, series.operation);
        assert_eq!(course.arrived.iter().sum::<u64>(), series.whole.counts.total());
        assert_eq!(course.ok.iter().sum::<u64>(), series.whole.counts.ok);
    }
    let buy = &course.operations[0];
    assert_eq!((buy.bin_ms, buy.arrived.len()), (500, 64));
    // Of 20 operations of 12 to 21 ms and one of 120 ms in 500 ms.
    assert!(
        buy.p50_ms[0].is_some_and(|ms| (16.0..17.5).contains(&ms)),
        "{:?}",
        buy.p50_ms[0]
    );
    assert!(
        buy.p99_ms[0].is_some_and(|ms| (118.0..122.0).contains(&ms)),
        "{:?}",
        buy.p99_ms[0]
    );
    assert_eq!(buy.ok_percent(25), Some(20.0));
    assert_eq!(buy.p50_ms[25], None, "most were not served");
    assert_eq!(course.gauges[0].peak(), Some(64.0));
    assert_eq!(course.gauges[0].greatest[24..26], [None, None], "readings that failed");
}

#[test]
fn a_campaign_file_tells_what_its_records_hold_when_the_folders_are_gone() {
    let folder = tempfile::tempdir().unwrap();
    let runs = folder.path().join("runs");
    let dir = Saved::of("answers-lost", failed()).write(&runs);
    let (mut campaign, wrong) = Campaign::gather(std::slice::from_ref(&runs));
    assert!(wrong.is_empty());
    campaign.runs[0].folder = "runs/answers-lost".into();
    let file = folder.path().join("campaign.json");
    fs::write(&file, serde_json::to_vec(&campaign).unwrap()).unwrap();
    let (in_folder, _) = Campaign::gather(&[folder.path().to_owned()]);
    assert_eq!(
        in_folder.runs.len(),
        1,
        "a folder with nothing but that file is as good"
    );
    let read = || {
        let (campaign, wrong) = Campaign::gather(std::slice::from_ref(&file));
        assert!(wrong.is_empty(), "{wrong:?}");
        page(&campaign, &[], &options())
    };
    let there = read();
    assert!(
        there.experiments[0].course.is_some(),
        "found beside the campaign's file"
    );
    assert_eq!(there.evidence[0].files.len(), 4);
    fs::remove_dir_all(dir).unwrap();
    let gone = read();
    assert_eq!(gone.experiments[0].course, None);
    assert_eq!(
        (gone.decision.answer, &gone.decision.reasons),
        (there.decision.answer, &there.decision.reasons)
    );
    let unproven = "Nothing shows that 1 of 1 experiment can fail: answers-lost.".to_owned();
    assert_eq!(there.decision.open, std::slice::from_ref(&unproven));
    let evidence = "The evidence of 1 run is not there: answers-lost (1).".to_owned();
    assert_eq!(gone.decision.open, [unproven, evidence]);
    assert!(gone.evidence[0].files.is_empty());
    assert!(render(&gone).contains("folder is not there any more"));
}

#[test]
fn the_page_needs_nothing_else_and_every_name_on_it_is_one_of_a_kind() {
    let page = render(&sample_page());
    assert!(page.contains(r#"content="default-src 'none'; style-src 'unsafe-inline'""#));
    for foreign in [
        "<script", "<link", "<img", "<iframe", "src=", "@import", "http://", "https://", "style=\"",
    ] {
        assert!(!page.contains(foreign), "{foreign}");
    }
    let values = |attribute: &str| -> Vec<String> {
        let opening = format!(" {attribute}=\"");
        let parts = page.split(&opening).skip(1);
        parts.map(|part| part[..part.find('"').unwrap()].to_owned()).collect()
    };
    let ids = values("id");
    let unique: BTreeSet<&String> = ids.iter().collect();
    assert_eq!(unique.len(), ids.len());
    for target in values("href") {
        let id = target.strip_prefix('#').expect("a place on the page").to_owned();
        assert!(unique.contains(&id), "{target}");
    }
    let references = page.matches("url(").count();
    assert_eq!(references, page.matches("url(#").count(), "only to the page itself");
    assert_eq!(page.matches("role=\"img\"").count(), page.matches("<desc").count());
}

#[test]
fn a_service_that_held_in_a_run_that_failed_by_something_else_has_not_failed() {
    let judged = |campaign: &Campaign| {
        let model = page(campaign, &[], &options());
        let coverage = &model.coverage[0];
        let cell = coverage.business[0].cells[0].clone().unwrap();
        assert_eq!(
            coverage.services[0].cells[0].as_ref().unwrap().verdict,
            campaign.runs[0].verdict.verdict
        );
        (cell.verdict, cell.held_in_failed)
    };
    let failing = |name: &str| {
        let mut verdict = sample::passed();
        verdict.verdict = Judgement::Fail;
        let named = |assertion: &&mut Assertion| assertion.name == name;
        for assertion in verdict.assertions.iter_mut().filter(named) {
            assertion.finding.verdict = Judgement::Fail;
        }
        records(vec![verdict])
    };
    // The history is no part of the business service, and labels are a metric.
    for other in ["history stays readable", "labels are few again"] {
        assert_eq!(judged(&failing(other)), (Judgement::Pass, 1), "{other}");
    }
    for own in ["buying succeeds", "recovery"] {
        let mut campaign = failing(own);
        for assertion in &mut campaign.runs[0].verdict.assertions {
            if assertion.kind == AssertionKind::Gate {
                assertion.finding.verdict = Judgement::Pass;
            }
        }
        assert_eq!(judged(&campaign), (Judgement::Fail, 0), "{own}");
    }
    // A fault that was not proven proves nothing of the service; a record that does not say what its assertions are about may
    // mean any.
    let mut doubtful = failing("history stays readable");
    let assertions = &mut doubtful.runs[0].verdict.assertions;
    let receipt = assertions
        .iter_mut()
        .find(|assertion| assertion.kind == AssertionKind::Receipt);
    receipt.unwrap().finding.verdict = Judgement::Inconclusive;
    assert_eq!(judged(&doubtful), (Judgement::Inconclusive, 0));
    let mut old = failing("history stays readable");
    old.runs[0].scope.concerns = None;
    assert_eq!(judged(&old), (Judgement::Fail, 0));
    // Nor is its own tolerance forgotten.
    let mut exceeded = failing("history stays readable");
    exceeded.runs[0].verdict.services[0].verdict = Judgement::Fail;
    assert_eq!(judged(&exceeded), (Judgement::Fail, 0));
}
