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
use crate::report::{campaign as page, comparison, gate, github, openmetrics, summary};
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
            exit_code: match (is_doubt_let_pass, run.verdict.leftovers.is_empty()) {
                (true, true) => exit::PASSED,
                (true, false) => exit::LEFTOVERS,
                (false, _) => weighed.exit_code,
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
fn is_github(args: &ReportArgs) -> bool {
    args.github || std::env::var_os("GITHUB_ACTIONS").is_some_and(|is_it| is_it == "true")
}

/// While it lasts GitHub takes no commands from what is printed: neither what comes from a system under test nor a name of an
/// experiment may give any.
#[derive(Debug, Default)]
pub struct Muted {
    /// What ends it; absent where GitHub does not read.
    word: Option<String>,
}

impl Muted {
    /// Begins, where GitHub reads.
    pub fn begin(args: &ReportArgs) -> Self {
        let word = is_github(args).then(|| format!("{:032x}", rand::random::<u128>()));
        if let Some(word) = &word {
            println!("{}", github::stop_commands(word));
        }
        Self { word }
    }

    /// Has GitHub take commands again.
    pub fn end(self) {
        if let Some(word) = self.word {
            println!("{}", github::resume_commands(&word));
        }
    }
}

/// Prints the table, writes everything, and gives the exit code: the worst of the runs, and of what could not be written.
/// GitHub is `muted` until it is told what is in the way.
pub fn conclude(
    args: &ReportArgs,
    mut weights: Weights,
    out: &Path,
    campaign: &Campaign,
    gaps: &Gaps,
    muted: Muted,
) -> u8 {
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
    muted.end();
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
        crate::report::replace(out, junit::FILE, junit.as_bytes()),
        crate::report::replace(out, summary::FILE, summary.as_bytes()),
    ];
    let file = out.join(page::FILE);
    let options = page::Options {
        accepted: weights.accepted.clone(),
        besides: besides(outcome, gaps),
        ..page::Options::now()
    };
    let mut concluded = campaign.clone();
    if !outcome.is_idle() {
        let page = page::write(&file, campaign, &[], &options);
        // It also holds the business services against their tolerances, which closes no gate and must not be overlooked.
        written.push(page.map(|page| {
            print!("{}", campaign_lines(&page, &file, &Style::of_stdout()));
            concluded.concluded = Some(page.conclusion());
        }));
    }
    written.push(concluded.write(out));
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
            attachment: junit::attachment(&run.folder),
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
    let let_pass = (doubts > 0)
        .then(|| "The gate was told to let runs pass that are inconclusive; this page does not.".to_owned());
    let alone = outcome.alone().map(|(number, of)| {
        format!("This is shard {number} of {of} alone: it says nothing of what the others were to run.")
    });
    page::Besides {
        against: gate::regressions(outcome).iter().map(sentence).collect(),
        doubts: outcome.problems.iter().map(sentence).collect(),
        notes: alone.into_iter().chain(let_pass).collect(),
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
mod tests;
