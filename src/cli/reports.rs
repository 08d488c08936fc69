//! What `gate` and `merge` make of their runs: the table, the files, what GitHub reads, the exit code.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::args::{Doubt, ReportArgs};
use super::exit;
use super::page::accepted;
use crate::campaign::accept::Accepted;
use crate::campaign::compare::{NotComparable, compare};
use crate::campaign::{Campaign, Counted, FILE, Outcome, RunRecord};
use crate::experiment::Positions;
use crate::report::junit::{self, Suite, Unreached};
use crate::report::terminal::{Style, campaign_lines};
use crate::report::{campaign as page, comparison, gate, github, html, openmetrics, summary};
use crate::verdict::{Assertion, Status, worst};

/// Where GitHub Actions wants the summary of a step.
const STEP_SUMMARY: &str = "GITHUB_STEP_SUMMARY";

/// What the runs are held against.
#[derive(Debug, Clone, Default)]
pub struct Weights {
    accepted: Accepted,
    /// Runs of an earlier release, and where they were read.
    baseline: Option<(PathBuf, Campaign)>,
}

impl Weights {
    /// Reads what the arguments name, before anything starts. On an error it is printed and the exit code comes back.
    pub fn load(args: &ReportArgs) -> Result<Self, u8> {
        let invalid = |message: String| {
            eprintln!("{message}");
            exit::INVALID
        };
        let read = |path: &PathBuf| -> Result<(PathBuf, Campaign), u8> {
            let campaign = Campaign::read(path).map_err(|error| invalid(format!("error: {error}")))?;
            Ok((path.clone(), campaign))
        };
        Ok(Self {
            accepted: accepted(args.accept.as_deref())?,
            baseline: args.baseline.as_ref().map(read).transpose()?,
        })
    }

    /// What a run counts as: accepted weaknesses speak for it, and so does the wish that doubts be let pass.
    fn weigh(&self, doubt: Doubt, run: &RunRecord) -> Counted {
        let weighed = self.accepted.weigh(run);
        let is_in_doubt = weighed.exit_code == exit::INCONCLUSIVE && run.verdict.status == Status::Completed;
        let is_doubt_let_pass = doubt == Doubt::Warn && is_in_doubt;
        Counted {
            exit_code: match is_doubt_let_pass {
                true => exit::PASSED,
                false => weighed.exit_code,
            },
            accepted: weighed.accepted,
            expired: weighed.expired,
            is_doubt_let_pass,
        }
    }

    /// Weighs all runs, and compares them with the baseline. That there are too few runs to tell closes no gate: a gate runs
    /// each experiment once, and what has failed has failed without any comparison. Why it cannot be compared is told apart.
    fn outcome(&self, doubt: Doubt, campaign: &Campaign, gaps: &Gaps) -> (Outcome, Option<NotComparable>) {
        let outcome = Outcome::of(campaign, |run| self.weigh(doubt, run));
        let outcome = outcome.with_problems(gaps.problems.clone(), &gaps.lost);
        // Without a run there is nothing to compare.
        let baseline = self.baseline.as_ref().filter(|_| !campaign.runs.is_empty());
        match baseline.map(|(_, baseline)| compare(baseline, campaign, &self.accepted)) {
            None => (outcome, None),
            Some(Ok(comparison)) => (outcome.compared(comparison), None),
            Some(Err(error)) => {
                let problem = format!("not compared with the baseline: {}", error.found);
                (outcome.with_problems(vec![problem], &gaps.lost), Some(error))
            }
        }
    }

    /// Prints what became of the runs since the baseline, or, without one, which acceptances accept nothing.
    fn tell_comparison(&self, campaign: &Campaign, outcome: &Outcome) {
        match (&self.baseline, &outcome.comparison) {
            (Some((path, _)), Some(comparison)) => {
                let told = comparison::text_of_gate(comparison, &Style::of_stdout());
                print!("\ncompared with {}:\n{told}", path.display());
            }
            _ => {
                for unmatched in self.accepted.unmatched(&campaign.runs) {
                    eprintln!("warning: {unmatched}");
                }
            }
        }
    }
}

/// What is known of runs beyond what they left.
#[derive(Debug, Default)]
pub struct Gaps {
    /// Why they are no whole, a line each.
    pub problems: Vec<String>,
    /// Experiments whose results are lost, by their files, each with why.
    pub lost: BTreeMap<PathBuf, String>,
    /// The exit code that this asks for, whatever the runs came to.
    pub exit_code: Option<u8>,
    /// The worst exit code of what became no run.
    pub worst_besides: u8,
}

/// Whether GitHub Actions reads what is written.
pub fn is_github(args: &ReportArgs) -> bool {
    args.github || std::env::var_os("GITHUB_ACTIONS").is_some_and(|is_it| is_it == "true")
}

/// Prints the table, writes everything, and gives the exit code: the worst of the runs, and of what could not be written.
pub fn conclude(args: &ReportArgs, mut weights: Weights, out: &Path, campaign: &Campaign, gaps: &Gaps) -> u8 {
    if campaign.shard.is_some() {
        weights.accepted = weights.accepted.about(&campaign.runs);
    }
    let (outcome, not_comparable) = weights.outcome(args.doubt, campaign, gaps);
    if let Some(error) = &not_comparable {
        eprintln!("error: {error}");
    }
    print!("\n{}", gate::table(&outcome, &Style::of_stdout()));
    weights.tell_comparison(campaign, &outcome);
    // What has failed has failed, whatever it could not be compared with.
    let compared = |code: u8| match not_comparable {
        Some(_) if code != exit::FAILED => exit::INVALID,
        _ => code,
    };
    let code = worst([outcome.exit_code, gaps.worst_besides]);
    let code = |written| gaps.exit_code.unwrap_or(compared(worst([code, written])));
    let written = match write(args, &weights, out, campaign, &outcome, gaps, code(exit::PASSED)) {
        Ok(()) => {
            let files = [FILE, page::FILE, junit::FILE, summary::FILE].into_iter();
            // A page that says nothing would say that nothing is proven.
            let files = files.filter(|&name| name != page::FILE || !outcome.is_idle());
            let files: Vec<String> = files.map(|name| out.join(name).display().to_string()).collect();
            println!("written: {}", files.join(", "));
            exit::PASSED
        }
        Err(error) => {
            eprintln!("error: the reports could not be written: {error}");
            exit::BROKEN
        }
    };
    if is_github(args) {
        tell_github(&outcome);
    }
    code(written)
}

/// Each file is tried, whatever became of the others; the first error is returned.
fn write(
    args: &ReportArgs,
    weights: &Weights,
    out: &Path,
    campaign: &Campaign,
    outcome: &Outcome,
    gaps: &Gaps,
    exit_code: u8,
) -> io::Result<()> {
    fs::create_dir_all(out).map_err(|error| at(out, error))?;
    let junit = joined_junit(outcome);
    let summary = gate::summary(outcome, own_summary, gate::SUMMARY_BYTES_MAX);
    let mut written = vec![
        campaign.write(out),
        crate::report::replace(out, junit::FILE, junit.as_bytes()),
        crate::report::replace(out, summary::FILE, summary.as_bytes()),
    ];
    let file = out.join(page::FILE);
    let options = page::Options {
        accepted: weights.accepted.clone(),
        besides: besides(outcome, gaps),
        ..page::Options::now()
    };
    if !outcome.is_idle() {
        let page = page::write(&file, campaign, &[], &options);
        // It also holds the business services against their tolerances, which closes no gate and must not be overlooked.
        written.push(page.map(|page| print!("{}", campaign_lines(&page, &file, &Style::of_stdout()))));
    }
    let figures = openmetrics::Gate {
        exit_code,
        not_reached: outcome.count(|row| row.run.is_none()),
    };
    let metrics = args
        .openmetrics
        .as_ref()
        .map(|_| openmetrics::render(campaign, Some(&figures)));
    let copies = [
        (&args.junit, Some(junit)),
        (&args.markdown, Some(summary)),
        (&args.openmetrics, metrics),
    ];
    for (path, text) in copies {
        if let (Some(path), Some(text)) = (path, text) {
            written.push(write_to(path, &text));
        }
    }
    written.into_iter().collect()
}

fn write_to(path: &Path, text: &str) -> io::Result<()> {
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty());
    if let Some(dir) = dir {
        fs::create_dir_all(dir).map_err(|error| at(dir, error))?;
    }
    fs::write(path, text).map_err(|error| at(path, error))
}

fn at(path: &Path, error: io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

/// The summary that a run has in its folder.
fn own_summary(run: &RunRecord) -> Option<String> {
    fs::read_to_string(run.folder.join(summary::FILE)).ok()
}

fn joined_junit(outcome: &Outcome) -> String {
    let runs = outcome.rows.iter().filter_map(|row| Some((row, row.run.as_ref()?)));
    let suites: Vec<Suite<'_>> = runs
        .map(|(row, run)| Suite {
            name: row.name.clone(),
            file: &row.file,
            properties: properties(run),
            attachment: attachment(&run.folder),
            counted: Some(&row.counted),
            ..Suite::of_run(&run.verdict, &run.folder, Duration::from_millis(run.took_ms))
        })
        .collect();
    let unreached = outcome.rows.iter().filter(|row| row.run.is_none());
    let unreached = unreached.map(|row| Unreached {
        name: &row.name,
        file: &row.file,
        lost: row.lost.as_deref(),
    });
    let besides = junit::Besides {
        unreached: unreached.collect(),
        comparison: outcome.comparison.as_ref(),
        problems: &outcome.problems,
    };
    junit::render(&suites, &besides)
}

/// What the page says beside its runs.
fn besides(outcome: &Outcome, gaps: &Gaps) -> page::Besides {
    let sentence = |line: &String| {
        let mut chars = line.chars();
        let first = chars.next().map(char::to_uppercase).into_iter().flatten();
        format!("{}.", first.chain(chars).collect::<String>())
    };
    let doubts = outcome.count(|row| row.counted.is_doubt_let_pass);
    page::Besides {
        against: gate::regressions(outcome).iter().map(sentence).collect(),
        doubts: outcome.problems.iter().map(sentence).collect(),
        notes: match doubts {
            0 => Vec::new(),
            _ => vec!["The gate was told to let runs pass that are inconclusive; this page does not.".to_owned()],
        },
        lost: gaps.lost.clone(),
    }
}

fn properties(run: &RunRecord) -> Vec<(&'static str, String)> {
    let host = run.host.as_ref();
    vec![
        ("experiment-sha256", run.sha256.clone()),
        ("system", run.system.clone()),
        ("engine", run.engine.clone()),
        ("nightmail", run.nightmail.clone()),
        ("release", run.release.clone()),
        ("images", run.images.join(", ")),
        (
            "host",
            host.map_or_else(String::new, |host| {
                format!("{}, {}, {} processors", host.kernel, host.architecture, host.processors)
            }),
        ),
    ]
}

/// The page of a run, if it is here: as seen from where the pipeline runs, as far as it lies below.
fn attachment(folder: &Path) -> Option<String> {
    let page = folder.join(html::FILE).canonicalize().ok()?;
    let here = std::env::current_dir().and_then(|here| here.canonicalize()).ok();
    let below = here.and_then(|here| Some(page.strip_prefix(here).ok()?.to_owned()));
    Some(below.unwrap_or(page).display().to_string())
}

fn tell_github(outcome: &Outcome) {
    let runs = outcome.rows.iter().filter_map(|row| row.run.as_ref());
    let known: BTreeMap<PathBuf, Positions> = runs
        .map(|run| (run.file.clone(), Positions::of(&run.file, &run.sha256)))
        .collect();
    let line_of = |run: &RunRecord, assertion: Option<&Assertion>| {
        let found = assertion.and_then(|assertion| Some(known.get(&run.file)?.line(assertion)));
        found.unwrap_or(1)
    };
    for command in github::annotations(outcome, line_of) {
        println!("{command}");
    }
    let Some(path) = std::env::var_os(STEP_SUMMARY).filter(|path| !path.is_empty()) else {
        return;
    };
    if let Err(error) = append_summary(Path::new(&path), outcome) {
        eprintln!("warning: the summary of this step could not be written: {error}");
    }
}

/// Others may have written into it, and all of it together must not be too long.
fn append_summary(path: &Path, outcome: &Outcome) -> io::Result<()> {
    let mut file = File::options()
        .create(true)
        .append(true)
        .open(path)
        .map_err(|error| at(path, error))?;
    let taken = file.metadata()?.len() as usize;
    let text = gate::summary(outcome, own_summary, gate::SUMMARY_BYTES_MAX.saturating_sub(taken));
    file.write_all(text.as_bytes()).map_err(|error| at(path, error))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::sample;

    fn args(doubt: Doubt) -> ReportArgs {
        ReportArgs {
            doubt,
            baseline: None,
            accept: None,
            junit: None,
            markdown: None,
            openmetrics: None,
            github: false,
        }
    }

    #[test]
    fn doubts_are_let_pass_where_that_is_asked_for_and_nothing_else_is() {
        let counted = |doubt, verdict: &crate::verdict::Verdict| {
            Weights::default().weigh(doubt, &sample::record(verdict, 1)).exit_code
        };
        assert_eq!(counted(Doubt::Block, &sample::inconclusive()), 3);
        assert_eq!(counted(Doubt::Warn, &sample::inconclusive()), 0);
        for (verdict, code) in [(sample::failed(), 1), (sample::aborted(), 4), (sample::passed(), 0)] {
            assert_eq!(counted(Doubt::Warn, &verdict), code);
        }
    }

    #[test]
    fn an_accepted_weakness_lets_a_run_pass_until_its_day_and_not_after() {
        let dir = tempfile::tempdir().unwrap();
        let mut verdict = sample::failed();
        // A doubt stays one, whatever is accepted.
        let in_doubt = |assertion: &Assertion| assertion.finding.verdict == crate::verdict::Judgement::Inconclusive;
        verdict.assertions.retain(|assertion| !in_doubt(assertion));
        let failed: Vec<&str> = verdict
            .assertions
            .iter()
            .filter(|assertion| assertion.finding.verdict == crate::verdict::Judgement::Fail)
            .map(|assertion| assertion.name.as_str())
            .collect();
        let weights = |until: &str| {
            let entry = |name: &&str| {
                format!(
                    "- {{experiment: answers-lost, assertion: {name:?}, reason: known, owner: Ada, until: {until}}}\n"
                )
            };
            let path = dir.path().join("accepted.yaml");
            fs::write(&path, failed.iter().map(entry).collect::<String>()).unwrap();
            let accept = Some(path);
            Weights::load(&ReportArgs {
                accept,
                ..args(Doubt::Block)
            })
            .unwrap()
        };
        let counted = |until: &str| weights(until).weigh(Doubt::Block, &sample::record(&verdict, 1));
        let (later, past) = (counted("2999-01-31"), counted("2020-01-31"));
        assert_eq!((later.exit_code, later.expired.len()), (0, 0), "{later:?}");
        assert_eq!(later.accepted.len(), failed.len(), "{later:?}");
        assert!(
            later.accepted.iter().all(|weakness| weakness.owner == "Ada"),
            "{later:?}"
        );
        assert_eq!((past.exit_code, past.accepted.len()), (1, 0), "{past:?}");
        assert_eq!(past.expired.len(), failed.len(), "{past:?}");
    }

    #[test]
    fn a_baseline_that_cannot_be_read_or_is_another_systems_is_bad_usage() {
        let dir = tempfile::tempdir().unwrap();
        let baseline = |path: PathBuf| ReportArgs {
            baseline: Some(path),
            ..args(Doubt::Block)
        };
        let missing = Weights::load(&baseline(dir.path().join("none.json")));
        assert_eq!(missing.map(|_| ()), Err(exit::INVALID));
        let run = sample::record(&sample::passed(), 30_000);
        let other = RunRecord {
            system: "another".to_owned(),
            ..run.clone()
        };
        Campaign::of(vec![other]).write(dir.path()).unwrap();
        let weights = Weights::load(&baseline(dir.path().join(FILE))).unwrap();
        let campaign = Campaign::of(vec![run]);
        let (outcome, error) = weights.outcome(Doubt::Block, &campaign, &Gaps::default());
        assert!(error.is_some_and(|error| error.found.contains("another system")));
        assert!(
            outcome.problems[0].starts_with("not compared with the baseline: "),
            "{outcome:?}"
        );
        let conclude = |campaign: &Campaign| {
            let out = dir.path().join("out");
            conclude(&args(Doubt::Block), weights.clone(), &out, campaign, &Gaps::default())
        };
        assert_eq!(conclude(&campaign), exit::INVALID);
        let failed = Campaign::of(vec![sample::record(&sample::failed(), 30_000)]);
        assert_eq!(conclude(&failed), exit::FAILED, "what has failed has failed");
    }

    #[test]
    fn a_shard_with_nothing_to_do_says_that_and_no_more() {
        let dir = tempfile::tempdir().unwrap();
        let idle = Campaign {
            shard: Some(crate::campaign::Shard {
                number: 2,
                of: 2,
                whole: String::new(),
                all: vec!["one.yaml".into()],
            }),
            ..Campaign::of(Vec::new())
        };
        let code = conclude(
            &args(Doubt::Block),
            Weights::default(),
            dir.path(),
            &idle,
            &Gaps::default(),
        );
        assert_eq!(code, exit::PASSED);
        let summary = fs::read_to_string(dir.path().join(summary::FILE)).unwrap();
        assert_eq!(summary, "# nothing to run on this shard (2 of 2)\n\n");
        assert_eq!(Campaign::read(dir.path()).unwrap(), idle, "it can be joined");
        assert!(
            !dir.path().join(page::FILE).exists(),
            "a page without a run would say that nothing is proven"
        );
    }

    #[test]
    fn a_shard_knows_nothing_of_acceptances_for_experiments_of_others() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("accepted.yaml");
        let entry =
            |name: &str| format!("- {{experiment: {name}, assertion: x, reason: y, owner: z, until: 2999-01-31}}\n");
        fs::write(&path, entry("answers-lost") + &entry("elsewhere")).unwrap();
        let weights = Weights::load(&ReportArgs {
            accept: Some(path),
            ..args(Doubt::Block)
        })
        .unwrap();
        let runs = [sample::record(&sample::passed(), 1)];
        assert_eq!(weights.accepted.unmatched(&runs).len(), 2);
        let left = weights.accepted.about(&runs).unmatched(&runs);
        assert!(left.len() == 1 && left[0].contains("answers-lost"), "{left:?}");
    }

    #[test]
    fn everything_is_written_and_a_step_summary_keeps_what_others_wrote() {
        let dir = tempfile::tempdir().unwrap();
        let out = dir.path().join("out");
        let campaign = Campaign {
            planned: vec!["experiments/postage/answers-lost.yaml".into(), "late.yaml".into()],
            ..Campaign::of(vec![sample::record(&sample::failed(), 30_000)])
        };
        let args = ReportArgs {
            junit: Some(dir.path().join("deep/er/all.xml")),
            markdown: Some(dir.path().join("all.md")),
            openmetrics: Some(dir.path().join("all.prom")),
            ..args(Doubt::Block)
        };
        let outcome = Outcome::of(&campaign, |run| Weights::default().weigh(args.doubt, run));
        write(
            &args,
            &Weights::default(),
            &out,
            &campaign,
            &outcome,
            &Gaps::default(),
            1,
        )
        .unwrap();
        let read = |path: PathBuf| fs::read_to_string(path).unwrap();
        assert_eq!(Campaign::read(&out).unwrap().planned, campaign.planned);
        let junit = read(out.join(junit::FILE));
        assert_eq!(junit, read(dir.path().join("deep/er/all.xml")));
        assert!(
            junit.contains("not reached") && junit.contains("experiment-sha256"),
            "{junit}"
        );
        assert_eq!(read(out.join(summary::FILE)), read(dir.path().join("all.md")));
        let metrics = read(dir.path().join("all.prom"));
        assert!(
            metrics.ends_with("# EOF\n") && metrics.contains("\nnightmail_gate_exit_code 1\n"),
            "{metrics}"
        );
        assert!(metrics.contains("\nnightmail_gate_not_reached 1\n"), "{metrics}");

        let step = dir.path().join("step.md");
        fs::write(&step, "x".repeat(gate::SUMMARY_BYTES_MAX - 40_000)).unwrap();
        append_summary(&step, &outcome).unwrap();
        let text = read(step);
        assert!(text.len() < gate::SUMMARY_BYTES_MAX, "{}", text.len());
        assert!(text.starts_with("xxx") && text.contains("no-go"));
    }
}
