//! The command line as typed.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::num::NonZero;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;

use super::exit;
use crate::duration::DurationMs;

/// Chaos experiments against containerised systems, with verdicts that can be trusted.
#[derive(Debug, Parser)]
#[command(name = "nightmail", version, max_term_width = 100, after_help = exit::TABLE, disable_help_subcommand = true)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run experiments and judge them
    #[command(after_help = exit::TABLE)]
    Run(RunArgs),
    /// Check experiment files without running anything; needs no Docker
    Validate(SelectArgs),
    /// Show what an experiment would do: timeline, targets, blast radius, total time; needs no Docker
    Plan(SelectArgs),
    /// Show that experiments can fail: the fault-free control, the experiment, and each negative control with and
    /// without the method
    #[command(after_help = exit::TABLE)]
    Prove(RunArgs),
    /// Decide whether a change may pass: run experiments, each once, and give one table, one set of reports, one exit code
    #[command(after_help = exit::TABLE)]
    Gate(GateArgs),
    /// Join what the shards of a gate left; fails if one is missing
    #[command(after_help = exit::TABLE)]
    Merge(MergeArgs),
    /// Judge a saved run again, offline
    Check {
        /// The run's folder
        run_dir: PathBuf,
    },
    /// Compare runs with those of a baseline: what regressed, what fails, what cannot be told
    #[command(after_help = exit::DIFF_TABLE)]
    Diff(DiffArgs),
    /// Write runs as a campaign.json that is fit to be committed, for later ones to be compared with
    Baseline(BaselineArgs),
    /// Make one page of runs, for whoever decides: go, no-go or not proven, what customers would have noticed, every
    /// experiment, what was tried, and the evidence
    Report(PageArgs),
    /// Make a static site of many runs: every experiment with its latest run, worst first, its history, and the page of each run
    Site(SiteArgs),
    /// Carry TCP connections and spoil them, by themselves: links with Toxiproxy's toxics and HTTP API
    Link(LinkArgs),
    /// Open a shell in a replica of a system that `run --keep` left up, or run a command there
    Shell(ShellArgs),
    /// Carry connections from this machine to a service of a system that `run --keep` left up
    Forward(ForwardArgs),
    /// Take down kept systems and remove what dead runs left behind; runs under way are spared
    Gc {
        /// Also remove images of nightmail that no current system uses
        #[arg(long)]
        images: bool,
    },
    /// Say what this machine can and cannot do
    Doctor,
    /// Print a JSON Schema for editors
    Schema {
        /// Of which file
        #[arg(value_enum, default_value_t = SchemaOf::Experiment)]
        of: SchemaOf,
    },
    /// Print shell completions
    Completions {
        /// For which shell
        shell: Shell,
    },
    /// The agent beside a replica
    #[command(hide = true)]
    Agent(PassedOn),
    /// The process that undoes what a dead harness left
    #[command(hide = true)]
    Reaper(PassedOn),
    /// The process that makes images for a run on the engine without Docker
    #[command(hide = true)]
    Porter,
    /// A process that puts a replica into its namespaces
    #[command(hide = true)]
    Pod,
    /// Runs a command that finishes an image
    #[command(hide = true)]
    Finish,
    /// Says, on a stage, what can be had there
    #[command(hide = true)]
    ProbeStage,
    /// Runs a program on a stage: in namespaces of its own
    #[command(hide = true)]
    Stage(PassedOn),
}

/// What `schema` can describe.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum SchemaOf {
    /// An experiment file
    Experiment,
    /// `system.yaml`
    System,
    /// `verdict.json`
    Verdict,
    /// `accepted.yaml`
    Accepted,
}

/// Which engine runs systems.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum EngineChoice {
    /// Docker where it answers, local otherwise
    #[default]
    Auto,
    /// Containers by Docker
    Docker,
    /// Namespaces of this kernel, as an ordinary user; Linux only
    Local,
}

/// Arguments that another part reads.
#[derive(Debug, Args)]
pub struct PassedOn {
    /// As given.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    pub args: Vec<OsString>,
}

/// Arguments of `link`.
#[derive(Debug, Clone, Args)]
pub struct LinkArgs {
    /// Where the first link listens, such as 127.0.0.1:6000; more are made over the control interface
    #[arg(long, value_name = "ADDRESS", requires = "upstream")]
    pub listen: Option<String>,
    /// Where its connections go to, such as 127.0.0.1:5432
    #[arg(long, value_name = "ADDRESS", requires = "listen")]
    pub upstream: Option<String>,
    /// Its name
    #[arg(long, default_value = "link")]
    pub name: String,
    /// Where the control interface listens
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8474")]
    pub api: SocketAddr,
    /// A JSON list of links to begin with, as Toxiproxy's `-config` takes it
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Fix every draw of the toxics
    #[arg(long)]
    pub seed: Option<u64>,
    /// Threads that carry; as many as there are processors unless given
    #[arg(long)]
    pub threads: Option<NonZero<usize>>,
    /// Let links and control interface listen beyond loopback, for everybody who can reach this machine
    #[arg(long)]
    pub anywhere: bool,
}

/// Which experiments, and how they are resolved.
#[derive(Debug, Clone, Args)]
pub struct SelectArgs {
    /// Experiment files, or folders of them
    #[arg(required = true)]
    pub paths: Vec<PathBuf>,
    /// Fix every random choice of plan and workload
    #[arg(long)]
    pub seed: Option<u64>,
    /// Set a value of the experiment's configuration; may be repeated
    #[arg(long = "var", value_name = "NAME=VALUE", value_parser = name_and_value)]
    pub vars: Vec<(String, String)>,
    /// Switch on a defect of the system; may be repeated
    #[arg(long = "defect", value_name = "NAME")]
    pub defects: Vec<String>,
    /// What runs the system: Docker, or namespaces of this kernel (local), which need neither Docker nor root
    #[arg(long, value_enum, env = "NIGHTMAIL_ENGINE", default_value_t)]
    pub engine: EngineChoice,
}

/// Arguments of commands that run experiments.
#[derive(Debug, Clone, Args)]
pub struct RunArgs {
    /// Which experiments.
    #[command(flatten)]
    pub select: SelectArgs,
    /// Where run folders go
    #[arg(long, default_value = "runs")]
    pub out: PathBuf,
    /// Leave the system up afterwards and say how to reach it
    #[arg(long)]
    pub keep: bool,
    /// What is under test, such as v2.3 or a commit; reports and sites tell their runs by it
    #[arg(long, value_name = "NAME", env = "NIGHTMAIL_RELEASE", value_parser = release)]
    pub release: Option<String>,
}

/// Arguments of `gate`.
#[derive(Debug, Clone, Args)]
pub struct GateArgs {
    /// Which experiments.
    #[command(flatten)]
    pub select: SelectArgs,
    /// Where run folders and the reports of all of them go
    #[arg(long, value_name = "DIR", default_value = "runs")]
    pub out: PathBuf,
    /// Run this part of the experiments only: I from 1, of N machines that are given the same
    #[arg(long, value_name = "I/N")]
    pub shard: Option<ShardChoice>,
    /// How long experiments took, from an earlier campaign.json: shards then take equally long
    #[arg(long, value_name = "FILE")]
    pub durations: Option<PathBuf>,
    /// So many experiments at the same time
    #[arg(long, value_name = "N", default_value = "1", value_parser = jobs)]
    pub jobs: usize,
    /// Begin no experiment that would not end within this time; those that were not reached leave the gate not proven
    #[arg(long, value_name = "TIME")]
    pub time_limit: Option<DurationMs>,
    /// What is under test, such as v2.3 or a commit; reports and sites tell their runs by it
    #[arg(long, value_name = "NAME", env = "NIGHTMAIL_RELEASE", value_parser = release)]
    pub release: Option<String>,
    /// What is made of the runs.
    #[command(flatten)]
    pub reports: ReportArgs,
}

/// Arguments of `merge`.
#[derive(Debug, Clone, Args)]
pub struct MergeArgs {
    /// What the shards left: their folders, or the campaign.json in each
    #[arg(required = true, value_name = "SHARD")]
    pub shards: Vec<PathBuf>,
    /// Where the reports of all of them go
    #[arg(long, value_name = "DIR", default_value = "runs")]
    pub out: PathBuf,
    /// How many shards there must be; as many as they say themselves unless given
    #[arg(long, value_name = "N")]
    pub expect: Option<u32>,
    /// What is made of the runs.
    #[command(flatten)]
    pub reports: ReportArgs,
}

/// What `gate` and `merge` make of the runs.
#[derive(Debug, Clone, Args)]
pub struct ReportArgs {
    /// What an inconclusive run does
    #[arg(long, value_enum, default_value_t)]
    pub doubt: Doubt,
    /// Compare with the runs of this campaign.json, such as those of the last release
    #[arg(long, value_name = "FILE")]
    pub baseline: Option<PathBuf>,
    /// Weaknesses that are accepted until a date
    #[arg(long, value_name = "FILE")]
    pub accept: Option<PathBuf>,
    /// Write junit.xml here as well
    #[arg(long, value_name = "FILE")]
    pub junit: Option<PathBuf>,
    /// Write summary.md here as well
    #[arg(long, value_name = "FILE")]
    pub markdown: Option<PathBuf>,
    /// Write the figures as OpenMetrics text
    #[arg(long, value_name = "FILE")]
    pub openmetrics: Option<PathBuf>,
    /// Write the step summary and annotations of GitHub Actions; unless given, if GITHUB_ACTIONS is `true`
    #[arg(long)]
    pub github: bool,
}

/// What an inconclusive run does to a gate.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum Doubt {
    /// It closes the gate, with exit code 3
    #[default]
    Block,
    /// It is told and counts as passed
    Warn,
}

/// Which shard of how many.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ShardChoice {
    /// From 1.
    pub number: u32,
    /// Of how many.
    pub of: NonZero<u32>,
}

impl FromStr for ShardChoice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parts = text.split_once('/').and_then(|(number, of)| {
            let (number, of) = (number.trim().parse().ok()?, of.trim().parse().ok()?);
            Some(Self { number, of })
        });
        match parts {
            Some(shard) if (1..=shard.of.get()).contains(&shard.number) => Ok(shard),
            Some(Self { number, of }) => Err(format!(
                "there is no shard {number} of {of}; shards are 1/{of} to {of}/{of}"
            )),
            None => Err(format!(
                "`{text}` is not I/N; write for example `2/3` for the second of three"
            )),
        }
    }
}

/// A name that fits a table. An empty one, as pipelines set variables, is none.
fn release(text: &str) -> Result<String, String> {
    const CHARS_MAX: usize = 100;
    let text = text.trim();
    match text.chars().count() {
        ..=CHARS_MAX if !text.chars().any(char::is_control) => Ok(text.to_owned()),
        ..=CHARS_MAX => Err("a release is named in one line".to_owned()),
        chars => Err(format!("{chars} characters are too many for a name; {CHARS_MAX} fit")),
    }
}

fn jobs(text: &str) -> Result<usize, String> {
    const MOST: usize = 64;
    match text.parse() {
        Ok(jobs @ 1..=MOST) => Ok(jobs),
        _ => Err(format!("`{text}` is not a number from 1 to {MOST}")),
    }
}

/// Arguments of `report`.
#[derive(Debug, Clone, Args)]
pub struct PageArgs {
    /// Folders of runs, folders of such folders, or campaign.json files
    #[arg(required = true)]
    pub runs: Vec<PathBuf>,
    /// The file to write
    #[arg(long, value_name = "FILE", default_value = "page.html")]
    pub out: PathBuf,
    /// Tell a run to be old when it is older than this, such as 30d or 12h
    #[arg(long, value_name = "AGE", default_value = "30d", value_parser = age)]
    pub stale_after: Duration,
    /// Weaknesses that are accepted until a date
    #[arg(long, value_name = "FILE")]
    pub accept: Option<PathBuf>,
}

/// Arguments of `site`.
#[derive(Debug, Clone, Args)]
pub struct SiteArgs {
    /// Folders of runs, folders of such folders, or campaign.json files
    #[arg(required = true)]
    pub runs: Vec<PathBuf>,
    /// The folder to write; a site that is there is replaced
    #[arg(long, value_name = "FOLDER", default_value = "public")]
    pub out: PathBuf,
    /// Tell a run to be old when it is older than this, such as 30d or 12h
    #[arg(long, value_name = "AGE", default_value = "30d", value_parser = age)]
    pub stale_after: Duration,
}

/// Arguments of `shell`.
#[derive(Debug, Clone, Args)]
pub struct ShellArgs {
    /// A service, of which the first replica is meant, or a replica, such as postage-api-2
    #[arg(value_name = "SERVICE|REPLICA")]
    pub target: String,
    /// Which kept run, if there are several
    #[arg(long, value_name = "ID")]
    pub run: Option<String>,
    /// What to run there; /bin/sh unless given. What the image does not have is the host's, if the image has no shell either
    #[arg(last = true, value_name = "COMMAND")]
    pub command: Vec<OsString>,
}

/// Arguments of `forward`.
#[derive(Debug, Clone, Args)]
pub struct ForwardArgs {
    /// A service, whose replicas take turns, or a replica; and its port, such as database-1:5432
    #[arg(value_name = "SERVICE:PORT")]
    pub target: String,
    /// Where to listen, on loopback; on the same port unless given, or on any if that one is taken
    #[arg(long, value_name = "ADDRESS")]
    pub listen: Option<SocketAddr>,
    /// Which kept run, if there are several
    #[arg(long, value_name = "ID")]
    pub run: Option<String>,
}

/// Arguments of `diff`.
#[derive(Debug, Clone, Args)]
pub struct DiffArgs {
    /// What to compare with: a campaign.json, or a folder of run folders
    pub baseline: PathBuf,
    /// What to compare: run folders, folders of run folders, or campaign.json files
    #[arg(required = true)]
    pub runs: Vec<PathBuf>,
    /// Weaknesses that are accepted until a day (accepted.yaml)
    #[arg(long, value_name = "FILE")]
    pub accept: Option<PathBuf>,
    /// How to show it
    #[arg(long, value_enum, default_value_t)]
    pub format: DiffFormat,
    /// Write it into a file; the text is shown all the same
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
}

/// How a comparison is shown.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum DiffFormat {
    /// Tables for a terminal
    #[default]
    Text,
    /// For a comment on a change
    Markdown,
    /// For other programs
    Json,
}

/// Arguments of `baseline`.
#[derive(Debug, Clone, Args)]
pub struct BaselineArgs {
    /// Run folders, folders of run folders, or campaign.json files; five runs of each experiment or more
    #[arg(required = true)]
    pub runs: Vec<PathBuf>,
    /// Where to write it
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
}

/// An age in whole hours, days or weeks.
fn age(text: &str) -> Result<Duration, String> {
    let wrong = || format!("`{text}` is no age; the units are h, d and w, for example `12h`, `30d` or `2w`");
    let (number, unit) = text.split_at_checked(text.len().saturating_sub(1)).ok_or_else(wrong)?;
    let hours: u64 = match unit {
        "h" => 1,
        "d" => 24,
        "w" => 7 * 24,
        _ => return Err(wrong()),
    };
    const HOURS_MAX: u64 = 100 * 365 * 24;
    let number: u64 = number.parse().map_err(|_| wrong())?;
    match number.checked_mul(hours) {
        Some(hours @ ..=HOURS_MAX) => Ok(Duration::from_hours(hours)),
        _ => Err(format!("`{text}` is beyond a hundred years")),
    }
}

fn name_and_value(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err(format!("`{text}` is not NAME=VALUE; write for example `cut=30s`")),
    }
}

#[cfg(test)]
mod tests;
