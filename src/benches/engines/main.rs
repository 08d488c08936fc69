//! Both engines on the same system, in one run: how soon it is up and down, how soon faults bite, what an experiment costs
//! beside its load, how long a country of post offices takes; and, without Docker, many replicas at once, and what is left
//! after a kill.
//!
//! `cargo bench --bench engines` prints a table, and fails if the engine without Docker is beyond a bound. It needs Docker
//! for the comparison (`-- local` leaves it out), and touches only what it made itself.

use std::io::Write;
use std::process::{Command, ExitCode};
use std::time::Duration;

use serde::{Deserialize, Serialize};

mod branches;
mod crowd;
mod experiment;
mod killed;
#[path = "../run.rs"]
mod run;
mod system;

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Names of figures, with the most that each may be on the engine without Docker.
const BOUNDS: [(&str, f64); 10] = [
    (UP, 800.0),
    (DOWN, 100.0),
    (KILL, 5.0),
    (PARTITION, 5.0),
    (OVERHEAD, 1_500.0),
    // They wait for the system's own labels.
    (DRAIN, f64::INFINITY),
    (CROWD, 6_000.0),
    (BRANCHES, 12_000.0),
    (BRANCH_MEMORY, 12.0),
    (LEFT, 0.0),
];
const UP: &str = "system up (ms)";
const DOWN: &str = "system down (ms)";
const KILL: &str = "kill, onset at the median (ms)";
const PARTITION: &str = "partition, onset at the median (ms)";
const OVERHEAD: &str = "an experiment beside its load (ms)";
const DRAIN: &str = "its drain and final reads (ms)";
const CROWD: &str = "60 replicas up (ms)";
const BRANCHES: &str = "30 branches and their host up (ms)";
const BRANCH_MEMORY: &str = "the largest of 30 idle branches (MB resident)";
const LEFT: &str = "of 100 kills, runs with anything left after 1 s";

/// Figures by name.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Figures(Vec<(String, f64)>);

impl Figures {
    fn add(&mut self, name: &str, value: f64) {
        self.0.push((name.to_owned(), value));
    }

    fn get(&self, name: &str) -> Option<f64> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| *value)
    }
}

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let done = match words.iter().position(|word| word == "within") {
        Some(at) => within(&words[at + 1..]),
        None => compare(&words),
    };
    done.unwrap_or_else(|failure| {
        say(&format!("failed: {failure}"));
        ExitCode::FAILURE
    })
}

fn say(line: &str) {
    // Whoever closed our output does not want the figures.
    let _ = writeln!(std::io::stdout(), "{line}");
}

/// What is measured by the engine itself, in a process of its own: on a stage, for the engine that needs one.
fn within(words: &[String]) -> Result<ExitCode, Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let figures = match words {
        [what, engine] if what == "system" => runtime.block_on(system::measure(engine))?,
        [what, engine] if what == "branches" => runtime.block_on(branches::measure(engine))?,
        [what, folder] if what == "crowd" => runtime.block_on(crowd::measure(folder.as_ref()))?,
        _ => return Err(format!("nothing is measured by {words:?}").into()),
    };
    say(&serde_json::to_string(&figures)?);
    Ok(ExitCode::SUCCESS)
}

/// Runs this program again to measure within an engine.
fn measured(engine: &str, words: &[&str]) -> Result<Figures, Failure> {
    let own = std::env::current_exe()?;
    let mut command = match engine {
        "local" => {
            let mut command = Command::new(env!("CARGO_BIN_EXE_nightmail"));
            command.arg("stage").arg(own);
            command
        }
        _ => Command::new(own),
    };
    let (name, value) = branches::VARIABLE;
    let output = command.arg("within").args(words).env(name, value).output()?;
    let said = String::from_utf8_lossy(&output.stdout);
    let last = said.lines().last().unwrap_or_default();
    serde_json::from_str(last)
        .map_err(|_| format!("{engine}: {words:?}: {said}{}", String::from_utf8_lossy(&output.stderr)).into())
}

/// Measures what was asked for (`system`, `experiment`, `branches`, `crowd`, `killed`; all unless said), and prints the table.
fn compare(words: &[String]) -> Result<ExitCode, Failure> {
    let has = |word: &str| words.iter().any(|known| known == word);
    let parts = ["system", "experiment", "branches", "crowd", "killed"];
    let is_wanted = |part: &str| has(part) || !parts.into_iter().any(has);
    let engines: &[&str] = if has("local") { &["local"] } else { &["docker", "local"] };
    let mut columns = Vec::new();
    for engine in engines {
        let mut figures = Figures::default();
        if is_wanted("system") {
            figures.0.extend(measured(engine, &["system", engine])?.0);
        }
        if is_wanted("experiment") {
            figures.0.extend(experiment::measure(engine)?.0);
        }
        if is_wanted("branches") {
            figures.0.extend(measured(engine, &["branches", engine])?.0);
        }
        if *engine == "local" && is_wanted("crowd") {
            let folder = crowd::folder()?;
            let path = folder.path().display().to_string();
            figures.0.extend(measured(engine, &["crowd", &path])?.0);
        }
        if *engine == "local" && is_wanted("killed") {
            figures.add(LEFT, killed::left_behind()?);
        }
        say(&format!("{engine}: {:?}", figures.0));
        columns.push(figures);
    }
    say(&format!(
        "| | bound | {} |\n| --- | --- |{}",
        engines.join(" | "),
        " --- |".repeat(engines.len())
    ));
    let mut within = true;
    for (name, most) in BOUNDS {
        let cells = columns.iter().map(|figures| {
            let value = figures.get(name);
            value.map_or_else(|| "-".to_owned(), |value| format!("{value:.1}"))
        });
        say(&format!(
            "| {name} | <= {most} | {} |",
            cells.collect::<Vec<_>>().join(" | ")
        ));
        let of_local = columns.last().and_then(|figures| figures.get(name));
        within &= of_local.is_none_or(|value| value <= most);
    }
    Ok(if within { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1_000.0
}

/// The middle one.
fn median(mut all: Vec<f64>) -> Result<f64, Failure> {
    all.sort_by(f64::total_cmp);
    all.get(all.len() / 2)
        .copied()
        .ok_or_else(|| "nothing was measured".into())
}
