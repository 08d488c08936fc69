//! What a site says of runs, and how it comes to where it goes.

use std::fs;
use std::path::{Path, PathBuf};

use super::model::{Experiment, Site};
use super::{CAMPAIGNS, INDEX, RUNS_MAX, Refused, history, index, write};
use crate::campaign::{Answer, Campaign, Conclusion, Kept, RunRecord};
use crate::report::{html, sample};
use crate::verdict::{Judgement, Verdict};

const DAY_MS: i64 = 86_400_000;
/// A month after the first run.
const MADE_UNIX_MS: i64 = 1_795_382_943_000 + 30 * DAY_MS;

/// A run that began so many days before the site was made.
fn run(experiment: &str, verdict: Verdict, days_ago: i64) -> RunRecord {
    let mut verdict = verdict;
    verdict.experiment = experiment.to_owned();
    verdict.run_id = format!("{experiment}-{days_ago}");
    verdict.defects.clear();
    let mut record = RunRecord::of(Path::new("nowhere"), &sample::plan(), &sample::events(), verdict);
    record.started_unix_ms = MADE_UNIX_MS - days_ago * DAY_MS;
    record
}

fn site(runs: Vec<RunRecord>) -> Site {
    Site::of(&Campaign::of(runs), &[], &[], MADE_UNIX_MS, 14 * DAY_MS)
}

fn names(site: &Site) -> Vec<&str> {
    site.experiments
        .iter()
        .map(|experiment| experiment.name.as_str())
        .collect()
}

#[test]
fn the_worst_comes_first_by_the_latest_run_and_the_oldest_of_equals() {
    let site = site(vec![
        run("good-again", sample::failed(), 9),
        run("good-again", sample::passed(), 2),
        run("good-long-ago", sample::passed(), 20),
        run("bad-now", sample::passed(), 8),
        run("bad-now", sample::failed(), 1),
        run("cut-short", sample::aborted(), 3),
        run("in-doubt", sample::inconclusive(), 4),
    ]);
    assert_eq!(
        names(&site),
        ["bad-now", "in-doubt", "cut-short", "good-long-ago", "good-again"]
    );
    let stale: Vec<bool> = site
        .experiments
        .iter()
        .map(|experiment| site.is_stale(experiment.latest()))
        .collect();
    assert_eq!(stale, [false, false, false, true, false]);
    let counts = [Judgement::Fail, Judgement::Inconclusive, Judgement::Pass].map(|judgement| site.count(judgement));
    assert_eq!(counts, [1, 2, 2]);
    let page = index::render(&site);
    assert!(
        page.contains("5 experiments: 1 fail, 2 inconclusive, 2 pass."),
        "{page}"
    );
    assert!(page.contains("1 experiment last ran longer ago than 14 days"), "{page}");
    assert!(page.contains("20 days ago: old"));
    assert!(page.contains(r#"aria-label="fail, pass""#), "the newest right");
}

#[test]
fn runs_that_say_nothing_of_the_system_as_it_is_are_counted_and_not_shown() {
    let mut twin = run("answers-lost", sample::failed(), 1);
    twin.is_twin = true;
    let mut defect = run("answers-lost", sample::failed(), 2);
    defect.verdict.defects = vec!["payment-retried-with-new-key".to_owned()];
    let site = site(vec![twin.clone(), defect, run("answers-lost", sample::passed(), 3)]);
    let Experiment { runs, aside, .. } = &site.experiments[0];
    assert_eq!((runs.len(), *aside, runs[0].judgement), (1, 2, Judgement::Pass));
    assert!(history::render(&site, &site.experiments[0]).contains("2 runs with something made unsafe"));
    twin.verdict.run_id = "alone".to_owned();
    let alone = super::tests::site(vec![twin]);
    assert!(alone.experiments.is_empty());
    assert!(index::render(&alone).contains("No run says anything"));
}

#[test]
fn an_experiment_shows_its_newest_runs_and_where_its_file_changed() {
    let mut runs: Vec<RunRecord> = (0..250)
        .map(|days| run("answers-lost", sample::passed(), days))
        .collect();
    runs[..10].iter_mut().for_each(|run| run.sha256 = "another".to_owned());
    let site = site(runs);
    let experiment = &site.experiments[0];
    assert_eq!((experiment.runs.len(), experiment.older), (RUNS_MAX, 50));
    let changed: Vec<usize> = (0..RUNS_MAX)
        .filter(|&index| experiment.runs[index].is_changed)
        .collect();
    assert_eq!(changed, [9], "the first run of the new file");
    let page = history::render(&site, experiment);
    assert!(page.contains("50 older runs not shown.") && page.contains("200 runs: 200 pass."));
    assert!(page.len() < 200_000, "{} bytes", page.len());
}

#[test]
fn an_experiment_tells_what_each_release_came_to() {
    let of = |release: &str, verdict: Verdict, days_ago| RunRecord {
        release: release.to_owned(),
        ..run("answers-lost", verdict, days_ago)
    };
    let recovered = |ms| {
        let mut verdict = sample::passed();
        verdict.recovery.recovery_time_ms = Some(ms);
        verdict
    };
    let mut not_over = sample::passed();
    not_over.recovery.censored = true;
    let site = site(vec![
        of("v1", recovered(2_000.0), 9),
        of("v1", recovered(3_000.0), 8),
        of("v1", recovered(7_000.0), 7),
        of("v2 & more", sample::failed(), 3),
        of("v2 & more", not_over, 2),
        of("v1", recovered(4_000.0), 1),
    ]);
    let experiment = &site.experiments[0];
    let releases: Vec<(&str, usize)> = experiment
        .releases()
        .into_iter()
        .map(|(name, runs)| (name, runs.len()))
        .collect();
    assert_eq!(releases, [("v1", 4), ("v2 & more", 2)], "that of the latest run first");
    let page = history::render(&site, experiment);
    assert!(page.contains("<td>3 s (2 s to 7 s)</td>"), "{page}");
    assert!(
        page.contains("to not over)") && page.contains("v2 &amp; more"),
        "{page}"
    );
    assert!(
        page.contains("4 runs: 4 pass.") && page.contains("2 runs: 1 fail, 1 pass."),
        "{page}"
    );
    assert_eq!(
        page.matches("class=\"release\"").count(),
        2,
        "where v2 begins, and where v1 does again"
    );
    let unnamed = super::tests::site(vec![run("answers-lost", sample::passed(), 1)]);
    assert!(history::render(&unnamed, &unnamed.experiments[0]).contains("No run names what was under test"));
}

#[test]
fn what_was_not_over_is_a_bound_from_below() {
    let mut censored = sample::passed();
    censored.recovery.censored = true;
    let site = site(vec![
        run("answers-lost", censored, 0),
        run("answers-lost", sample::passed(), 1),
    ]);
    let page = history::render(&site, &site.experiments[0]);
    assert!(page.contains("&gt; 2.2 s") && page.contains("<td>2.2 s</td>"), "{page}");
    let marks = |shape: &str| page.matches(shape).count();
    assert_eq!(
        (marks("<path class=\"p50-mark\""), marks("<circle class=\"p50-mark\"")),
        (1, 1)
    );
}

#[test]
fn data_is_text_and_never_markup() {
    let hostile = "<script>alert(1)</script> \" onload=\"y' </style> \u{202e} \x1b[2J";
    let mut verdict = sample::failed();
    verdict.title = hostile.to_owned();
    verdict.problem = Some(hostile.to_owned());
    verdict.assertions[0].name = hostile.to_owned();
    let mut record = run(hostile, verdict, 0);
    for text in [&mut record.system, &mut record.engine, &mut record.nightmail] {
        text.push_str(hostile);
    }
    let site = Site::of(
        &Campaign::of(vec![record]),
        &[],
        &[hostile.to_owned()],
        MADE_UNIX_MS,
        DAY_MS,
    );
    for page in [index::render(&site), history::render(&site, &site.experiments[0])] {
        assert!(page.contains("&lt;script&gt;alert(1)"));
        assert!(!page.contains("<script") && !page.contains("\" onload=\""));
        assert_eq!(page.matches("</style>").count(), 1, "its own");
        assert!(!page.contains(['\u{202e}', '\x1b']));
        assert!(page.contains(r#"content="default-src 'none'; style-src 'unsafe-inline'""#));
    }
}

/// A campaign that came to that answer so many days before the site was made, with a page.
fn campaign(dir: &Path, name: &str, answer: Answer, days_ago: i64) -> PathBuf {
    let folder = dir.join(name);
    fs::create_dir(&folder).unwrap();
    fs::write(
        folder.join(crate::report::campaign::FILE),
        format!("the page of {name}"),
    )
    .unwrap();
    let mut run = run("answers-lost", sample::passed(), days_ago);
    run.release = "v2 & more".to_owned();
    let concluded = Conclusion {
        answer,
        because: "All 1 runs <passed>.".to_owned(),
        at_unix_ms: MADE_UNIX_MS - days_ago * DAY_MS,
    };
    let campaign = Campaign {
        concluded: Some(concluded),
        ..Campaign::of(vec![run])
    };
    campaign.write(&folder).unwrap();
    folder
}

#[test]
fn campaigns_stand_with_their_answers_newest_first_and_link_to_their_pages() {
    let dir = tempfile::tempdir().unwrap();
    let paths = [
        campaign(dir.path(), "before", Answer::Go, 9),
        campaign(dir.path(), "now", Answer::NoGo, 1),
        campaign(dir.path(), "without-page", Answer::NotProven, 20),
    ];
    fs::remove_file(paths[2].join(crate::report::campaign::FILE)).unwrap();
    // A folder of runs that no gate made, and one that is named twice.
    fs::create_dir(dir.path().join("runs")).unwrap();
    let named = [&paths[..], &[dir.path().join("runs"), paths[0].join("campaign.json")]].concat();
    let (gathered, _) = Campaign::gather(&paths);
    let kept = Kept::at(&named);
    let site = Site::of(&gathered, &kept, &[], MADE_UNIX_MS, DAY_MS);
    let answers: Vec<Answer> = site.campaigns.iter().map(|one| one.conclusion.answer).collect();
    assert_eq!(answers, [Answer::NoGo, Answer::Go, Answer::NotProven]);
    let out = dir.path().join("public");
    assert!(write(&site, &out).unwrap().not_copied.is_empty());
    let pages: Vec<String> = files(&out.join(CAMPAIGNS));
    let index = fs::read_to_string(out.join(INDEX)).unwrap();
    assert_eq!(
        (pages.len(), index.matches("href=\"campaigns/").count()),
        (2, 2),
        "{pages:?}"
    );
    for page in &pages {
        assert!(index.contains(&format!("href=\"campaigns/{page}\"")), "{page}");
    }
    assert!(
        index.contains("no-go") && index.contains("v2 &amp; more") && index.contains("&lt;passed&gt;"),
        "{index}"
    );
    let newest = site.campaigns[0].slug.as_deref().unwrap();
    assert_eq!(
        fs::read_to_string(out.join(CAMPAIGNS).join(format!("{newest}.html"))).unwrap(),
        "the page of now"
    );
}

#[test]
fn a_broken_campaign_beside_its_runs_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let folder = [campaign(dir.path(), "one", Answer::Go, 1)];
    fs::write(folder[0].join("campaign.json"), "{").unwrap();
    assert_eq!(Campaign::gather(&folder).1.len(), 1);
    fs::create_dir(folder[0].join("run")).unwrap();
    fs::write(folder[0].join("run").join("plan.json"), "{}").unwrap();
    let told = Campaign::gather(&folder).1;
    let told: Vec<String> = told.iter().map(|error| error.reason()).collect();
    assert!(told.len() == 2 && told[1].contains("campaign.json"), "{told:?}");
    assert!(Kept::at(&folder).is_empty());
}

/// Runs of which one has a page.
fn with_a_page(dir: &Path) -> Site {
    let folder = dir.join("run");
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join(html::FILE), "the page of a run").unwrap();
    let mut with_page = run("answers-lost", sample::passed(), 0);
    with_page.folder = folder;
    site(vec![
        with_page,
        run("answers-lost", sample::failed(), 1),
        run("other", sample::failed(), 2),
    ])
}

fn files(dir: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut folders = vec![PathBuf::new()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(dir.join(&folder)).unwrap() {
            let path = folder.join(entry.unwrap().file_name());
            match dir.join(&path).is_dir() {
                true => folders.push(path),
                false => found.push(path.display().to_string()),
            }
        }
    }
    found.sort();
    found
}

#[test]
fn a_site_is_put_in_the_place_of_an_earlier_one() {
    let dir = tempfile::tempdir().unwrap();
    let (site, out) = (with_a_page(dir.path()), dir.path().join("public"));
    for _ in 0..2 {
        let written = write(&site, &out).unwrap();
        assert!(written.not_copied.is_empty());
        assert_eq!(
            files(&out),
            [
                ".nightmail-site",
                "experiments/postage-answers-lost-docker.html",
                "experiments/postage-other-docker.html",
                "index.html",
                "runs/run-answers-lost-0.html"
            ]
        );
        // The next one is without it.
        fs::write(out.join("old.html"), "of the site before").unwrap();
    }
    assert_eq!(
        fs::read_to_string(out.join("runs/run-answers-lost-0.html")).unwrap(),
        "the page of a run"
    );
    let index = fs::read_to_string(out.join(INDEX)).unwrap();
    assert_eq!(
        index.matches("href=\"runs/").count(),
        1,
        "no link to a page that is not there"
    );
    let mut beside = fs::read_dir(dir.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name());
    assert!(
        beside.all(|name| name == "run" || name == "public"),
        "nothing is left beside it"
    );
}

#[test]
fn a_page_that_goes_away_meanwhile_is_told_and_not_linked() {
    let dir = tempfile::tempdir().unwrap();
    let (site, out) = (with_a_page(dir.path()), dir.path().join("public"));
    fs::remove_file(dir.path().join("run").join(html::FILE)).unwrap();
    let written = write(&site, &out).unwrap();
    assert_eq!(written.not_copied.len(), 1, "{:?}", written.not_copied);
    assert!(!fs::read_to_string(out.join(INDEX)).unwrap().contains("href=\"runs/"));
}

#[test]
fn what_is_somebody_elses_stays() {
    let dir = tempfile::tempdir().unwrap();
    let site = with_a_page(dir.path());
    let (folder, file) = (dir.path().join("documents"), dir.path().join("file"));
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("thesis.txt"), "years").unwrap();
    fs::write(&file, "years").unwrap();
    for taken in [&folder, &file] {
        let error = write(&site, taken).unwrap_err();
        assert!(matches!(error, Refused::Taken(_)), "{error}");
        assert!(error.to_string().contains("no site of nightmail's"), "{error}");
    }
    assert_eq!(files(&folder), ["thesis.txt"]);
    let error = write(&site, &file.join("public")).unwrap_err();
    assert!(
        matches!(error, Refused::Io { .. }) && error.to_string().contains("could not be written"),
        "{error}"
    );
    fs::create_dir(dir.path().join("empty")).unwrap();
    assert!(write(&site, &dir.path().join("empty")).is_ok());
}
