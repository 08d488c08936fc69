//! The pages to look at: everything that nightmail makes of sample runs, as it makes it for users.

use std::fs;
use std::path::Path;

use nightmail::campaign::{Campaign, Kept};
use nightmail::event::{self, Entry};
use nightmail::history::load::History;
use nightmail::history::{self, Record};
use nightmail::plan::{self, Plan};
use nightmail::report::campaign as campaign_page;
use nightmail::report::site::{self, Site};
use nightmail::report::{write_all, write_verdict};
use nightmail::verdict::Verdict;

use super::sample;

/// Text that is no markup, and words that are as wide as a page.
const HOSTILE: &str = "<script>alert(1)</script> \" onload=\"y' & --> </style> \u{202e} <img src=x onerror=alert(2)> \
                       wwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwww";
const DAY_MS: i64 = 86_400_000;

/// Makes all pages below a folder. How many they are.
pub fn make(dir: &Path) -> usize {
    let runs = dir.join("runs");
    fs::create_dir(&runs).unwrap();
    runs_with_pages(&runs);
    runs_without_pages(&runs);
    let unreadable = runs.join("half-written");
    fs::create_dir(&unreadable).unwrap();
    fs::write(unreadable.join(plan::FILE), "{\"schema_version\": 1, \"exper").unwrap();

    let (mut campaign, wrong) = Campaign::gather(&[runs]);
    assert_eq!(wrong.len(), 1, "{wrong:?}");
    let not_read: Vec<String> = wrong.iter().map(ToString::to_string).collect();
    let latest_unix_ms = campaign.runs.iter().map(|run| run.started_unix_ms).max().unwrap();
    let page = dir.join("campaign").join(campaign_page::FILE);
    let written = campaign_page::write(&page, &campaign, &not_read, &campaign_page::Options::now()).unwrap();
    campaign.concluded = Some(written.conclusion());
    campaign.write(&dir.join("campaign")).unwrap();
    let kept = Kept::at(&[dir.join("campaign")]);
    let site = Site::of(&campaign, &kept, &not_read, latest_unix_ms + DAY_MS, 30 * DAY_MS);
    assert_eq!(site.campaigns.len(), 1);
    site::write(&site, &dir.join("site")).unwrap();
    pages_below(dir)
}

/// A run of each kind, whole.
fn runs_with_pages(runs: &Path) {
    let made = [
        ("failed", sample::plan(), sample::failed(), sample::history()),
        ("passed", sample::plan(), sample::passed(), sample::history()),
        (
            "inconclusive",
            sample::plan(),
            sample::inconclusive(),
            sample::history(),
        ),
        ("aborted", sample::plan(), sample::aborted(), History::default()),
        ("hostile", hostile_plan(), hostile_verdict(), sample::history()),
    ];
    for (name, plan, mut verdict, history) in made {
        verdict.run_id = format!("run-{name}");
        if name == "hostile" {
            // With defects it would not be among the runs of the site.
            verdict.defects.clear();
        }
        let folder = runs.join(name);
        let events = folder_of(&folder, &plan, 0);
        write_history(&folder, &history);
        write_all(&folder, &plan, &verdict, &history, &events).unwrap();
    }
}

/// Runs over some weeks, for the history of an experiment: their pages are gone.
fn runs_without_pages(runs: &Path) {
    let kinds = [sample::passed, sample::failed, sample::inconclusive, sample::aborted];
    for day in 1..=40 {
        let mut verdict = kinds[[0, 0, 0, 1, 0, 0, 2, 0, 0, 3][day as usize % 10]]();
        verdict.defects.clear();
        verdict.run_id = format!("run-of-day-{day}");
        verdict.recovery.recovery_time_ms = verdict
            .recovery
            .recovery_time_ms
            .map(|ms| ms + 150.0 * (day % 7) as f64);
        let folder = runs.join(format!("day-{day}"));
        folder_of(&folder, &sample::plan(), day);
        write_verdict(&folder, &verdict).unwrap();
    }
}

/// Makes a run's folder, of a run so many days ago. What it told.
fn folder_of(folder: &Path, plan: &Plan, days_ago: i64) -> Vec<Entry> {
    fs::create_dir(folder).unwrap();
    fs::write(folder.join(plan::FILE), serde_json::to_vec(plan).unwrap()).unwrap();
    let mut events = sample::events();
    let mut lines = String::new();
    for entry in &mut events {
        entry.unix_ms -= days_ago * DAY_MS;
        lines += &format!("{}\n", serde_json::to_string(entry).unwrap());
    }
    fs::write(folder.join(event::FILE), lines).unwrap();
    events
}

fn write_history(folder: &Path, saved: &History<'_>) {
    let ops = saved.ops.iter().cloned().map(Record::Op);
    let samples = saved.samples.iter().cloned().map(Record::Sample);
    let lines: Vec<String> = ops
        .chain(samples)
        .map(|record| serde_json::to_string(&record).unwrap())
        .collect();
    fs::write(folder.join(history::FILE), lines.join("\n") + "\n").unwrap();
}

fn pages_below(dir: &Path) -> usize {
    let entries = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    entries
        .map(|path| match path.is_dir() {
            true => pages_below(&path),
            false => usize::from(path.extension().is_some_and(|extension| extension == "html")),
        })
        .sum()
}

fn hostile_plan() -> Plan {
    let mut plan = sample::plan();
    let texts = [
        &mut plan.experiment.title,
        &mut plan.experiment.description,
        &mut plan.system.title,
        &mut plan.gate.title,
        &mut plan.faults[0].name,
    ];
    texts.into_iter().for_each(|text| text.push_str(HOSTILE));
    plan.configuration = [(HOSTILE.to_owned(), HOSTILE.to_owned())].into();
    plan
}

fn hostile_verdict() -> Verdict {
    let mut verdict = sample::failed();
    verdict.problem = Some(HOSTILE.to_owned());
    verdict.leftovers = vec![HOSTILE.to_owned()];
    verdict.defects = vec![HOSTILE.to_owned()];
    let of_assertions = verdict.assertions.iter_mut().flat_map(|assertion| {
        let finding = &mut assertion.finding;
        [&mut assertion.name, &mut finding.detail]
            .into_iter()
            .chain(&mut finding.evidence)
    });
    let of_faults = verdict
        .faults
        .iter_mut()
        .flat_map(|fault| [&mut fault.name, &mut fault.describe]);
    let of_degraded = verdict
        .recovery
        .degraded
        .iter_mut()
        .map(|stretch| &mut stretch.operation);
    of_assertions
        .chain(of_faults)
        .chain(of_degraded)
        .chain([&mut verdict.title, &mut verdict.experiment, &mut verdict.again])
        .for_each(|text| text.push_str(HOSTILE));
    verdict
}
