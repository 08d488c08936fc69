//! What `gate` and `merge` make of their runs: the table, the files, what GitHub reads, the exit code.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::args::{Doubt, ReportArgs};
use super::exit;
use crate::campaign::{Campaign, Counted, FILE, Outcome, RunRecord};
use crate::experiment::Positions;
use crate::report::junit::{self, Suite, Unreached};
use crate::report::terminal::Style;
use crate::report::{gate, github, html, summary};
use crate::verdict::{Assertion, Status, worst};

/// Where GitHub Actions wants the summary of a step.
const STEP_SUMMARY: &str = "GITHUB_STEP_SUMMARY";

/// Refuses what this nightmail cannot do, before anything starts.
pub fn check(args: &ReportArgs) -> Result<(), u8> {
    // SEAM: goes when `weigh`, `compare` and `openmetrics` below are joined with what they are for.
    let asked = [
        ("--accept", args.accept.is_some()),
        ("--baseline", args.baseline.is_some()),
        ("--openmetrics", args.openmetrics.is_some()),
    ];
    match asked.into_iter().find(|(_, is_given)| *is_given) {
        None => Ok(()),
        Some((flag, _)) => {
            eprintln!("error: `{flag}` is not part of this nightmail\n  hint: leave it out");
            Err(exit::INVALID)
        }
    }
}

/// SEAM: accepted weaknesses (`args.accept`) speak for a run here, with a note in `because`.
fn weigh(args: &ReportArgs, run: &RunRecord) -> Counted {
    let plain = Counted {
        exit_code: run.verdict.exit_code,
        because: String::new(),
    };
    let is_in_doubt = plain.exit_code == exit::INCONCLUSIVE && run.verdict.status == Status::Completed;
    match args.doubt {
        Doubt::Warn if is_in_doubt => Counted {
            exit_code: exit::PASSED,
            because: "a doubt, which is let pass".to_owned(),
        },
        _ => plain,
    }
}

/// SEAM: the comparison with `args.baseline` is printed here, and gives its exit code.
fn compare(_args: &ReportArgs, _campaign: &Campaign) -> u8 {
    exit::PASSED
}

/// SEAM: the text of `args.openmetrics`.
fn openmetrics(_campaign: &Campaign) -> Option<String> {
    None
}

/// Whether GitHub Actions reads what is written.
pub fn is_github(args: &ReportArgs) -> bool {
    args.github || std::env::var_os("GITHUB_ACTIONS").is_some_and(|is_it| is_it == "true")
}

/// Prints the table, writes everything, and gives the exit code: the worst of the runs, and of what could not be written.
pub fn conclude(args: &ReportArgs, out: &Path, campaign: &Campaign) -> u8 {
    let outcome = Outcome::of(campaign, |run| weigh(args, run));
    print!("\n{}", gate::table(&outcome, &Style::of_stdout()));
    let compared = compare(args, campaign);
    let written = match write(args, out, campaign, &outcome) {
        Ok(()) => {
            let files = [FILE, junit::FILE, summary::FILE].map(|name| out.join(name).display().to_string());
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
    worst([outcome.exit_code, compared, written])
}

/// Each file is tried, whatever became of the others; the first error is returned.
fn write(args: &ReportArgs, out: &Path, campaign: &Campaign, outcome: &Outcome) -> io::Result<()> {
    fs::create_dir_all(out).map_err(|error| at(out, error))?;
    let junit = joined_junit(outcome);
    let summary = gate::summary(outcome, own_summary, gate::SUMMARY_BYTES_MAX);
    let mut written = vec![
        campaign.write(out),
        crate::report::replace(out, junit::FILE, junit.as_bytes()),
        crate::report::replace(out, summary::FILE, summary.as_bytes()),
    ];
    let metrics = openmetrics(campaign);
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
            ..Suite::of_run(&run.verdict, &run.folder, Duration::from_millis(run.took_ms))
        })
        .collect();
    let unreached = outcome.rows.iter().filter(|row| row.run.is_none());
    let unreached: Vec<Unreached<'_>> = unreached
        .map(|row| Unreached {
            name: &row.name,
            file: &row.file,
        })
        .collect();
    junit::render(&suites, &unreached)
}

fn properties(run: &RunRecord) -> Vec<(&'static str, String)> {
    let host = run.host.as_ref();
    vec![
        ("experiment-sha256", run.sha256.clone()),
        ("system", run.system.clone()),
        ("engine", run.engine.clone()),
        ("nightmail", run.nightmail.clone()),
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
        let counted =
            |doubt, verdict: &crate::verdict::Verdict| weigh(&args(doubt), &sample::record(verdict, 1)).exit_code;
        assert_eq!(counted(Doubt::Block, &sample::inconclusive()), 3);
        assert_eq!(counted(Doubt::Warn, &sample::inconclusive()), 0);
        for (verdict, code) in [(sample::failed(), 1), (sample::aborted(), 4), (sample::passed(), 0)] {
            assert_eq!(counted(Doubt::Warn, &verdict), code);
        }
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
            ..args(Doubt::Block)
        };
        let outcome = Outcome::of(&campaign, |run| weigh(&args, run));
        write(&args, &out, &campaign, &outcome).unwrap();
        let read = |path: PathBuf| fs::read_to_string(path).unwrap();
        assert_eq!(Campaign::read(&out).unwrap().planned, campaign.planned);
        let junit = read(out.join(junit::FILE));
        assert_eq!(junit, read(dir.path().join("deep/er/all.xml")));
        assert!(
            junit.contains("not reached") && junit.contains("experiment-sha256"),
            "{junit}"
        );
        assert_eq!(read(out.join(summary::FILE)), read(dir.path().join("all.md")));

        let step = dir.path().join("step.md");
        fs::write(&step, "x".repeat(gate::SUMMARY_BYTES_MAX - 40_000)).unwrap();
        append_summary(&step, &outcome).unwrap();
        let text = read(step);
        assert!(text.len() < gate::SUMMARY_BYTES_MAX, "{}", text.len());
        assert!(text.starts_with("xxx") && text.contains("no-go"));
    }
}
