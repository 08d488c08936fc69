//! What `run`, `prove` and `gate` share: plans from files, one engine, runs on it, the terminal fed with events.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;

use tokio::sync::mpsc;

use super::args::{RunArgs, SelectArgs};
use super::engine::{self, Choice, Chosen};
use super::exit;
use crate::event::{Entry, Events};
use crate::experiment::{self, Overrides};
use crate::kernel::Capabilities;
use crate::plan::Plan;
use crate::report::terminal::{Options, Style, Terminal};
use crate::run::folder::RunFolder;
use crate::run::interrupt::Interrupt;
use crate::run::machine::Loads;
use crate::run::{self, RunOptions};
use crate::system::engine::{Engine, Traits};
use crate::verdict::{Verdict, worst};

/// Loads the experiments that the arguments name, makes the runs that `of` wants for them, one after another until a
/// signal comes or one cannot be made, and lets `show` tell of those made, and of the others by their experiments' files. Gives
/// the signal's exit code, or the worst of that of `show` and of what could not be made.
pub fn make_runs<W>(
    args: &RunArgs,
    of: impl FnOnce(Vec<Plan>) -> Vec<(W, Plan)>,
    show: impl FnOnce(&[(W, Done)], &[PathBuf]) -> u8,
) -> u8 {
    let chosen = match engine::choose(args.select.engine) {
        Ok(Chosen::Elsewhere(code)) | Err(code) => return code,
        Ok(Chosen::Here(chosen)) => chosen,
    };
    let plans = match load_plans(&args.select, chosen.traits()) {
        Ok(plans) => plans,
        Err(code) => return code,
    };
    block_on(async {
        let runner = match Runner::new(&args.out, args.keep, args.release.clone(), chosen).await {
            Ok(runner) => runner,
            Err(code) => return code,
        };
        let make = async |plan: &Plan| runner.run(plan, &Shown::Alone).await;
        let made = in_turn(of(plans), make, || runner.interrupted().is_some()).await;
        let code = worst([show(&made.done, &made.not_made)].into_iter().chain(made.code));
        let code = runner.interrupted().unwrap_or(code);
        match runner.engine.stay(code).await {
            Ok(()) => code,
            Err(error) => {
                eprintln!("error: {error}");
                exit::BROKEN
            }
        }
    })
}

/// What became of runs that were to be made one after another.
struct Made<W, D> {
    /// Those that were made, in their order.
    done: Vec<(W, D)>,
    /// The experiments' files of the others.
    not_made: Vec<PathBuf>,
    /// The exit code of what could not be made.
    code: Option<u8>,
}

/// Makes runs until one cannot be made, or it is over.
async fn in_turn<W, D>(
    wanted: Vec<(W, Plan)>,
    make: impl AsyncFn(&Plan) -> Result<D, u8>,
    is_over: impl Fn() -> bool,
) -> Made<W, D> {
    let mut made = Made {
        done: Vec::new(),
        not_made: Vec::new(),
        code: None,
    };
    let mut waiting = wanted.into_iter();
    for (what, plan) in waiting.by_ref() {
        let one = make(&plan).await;
        match one {
            Ok(one) => made.done.push((what, one)),
            Err(code) => {
                made.code = Some(code);
                made.not_made.push(plan.experiment.path);
            }
        }
        if made.code.is_some() || is_over() {
            break;
        }
    }
    made.not_made.extend(waiting.map(|(_, plan)| plan.experiment.path));
    made
}

/// How a run is shown.
#[derive(Debug, Clone)]
pub enum Shown {
    /// It has the terminal to itself.
    Alone,
    /// Beside others: in plain lines, each of which begins with this.
    Beside(String),
}

/// Loads every experiment that the arguments name. On an error each is printed and the exit code comes back.
pub fn load_plans(select: &SelectArgs, engine: Traits) -> Result<Vec<Plan>, u8> {
    let files = experiment::discover(&select.paths).map_err(|error| {
        eprintln!("{error}");
        exit::INVALID
    })?;
    let overrides = Overrides {
        seed: select.seed,
        vars: select.vars.clone(),
        defects: select.defects.clone(),
    };
    let mut plans = Vec::new();
    let mut invalid = 0;
    for file in &files {
        match experiment::load(file, &overrides, &Capabilities::here(engine)) {
            Ok(plan) => plans.push(plan),
            Err(error) => {
                eprintln!("{error}");
                invalid += 1;
            }
        }
    }
    if invalid == 0 {
        return Ok(plans);
    }
    if files.len() > 1 {
        eprintln!(
            "{invalid} of {} experiments are invalid; nothing was started",
            files.len()
        );
    }
    Err(exit::INVALID)
}

/// What to say of an experiment that can be neither shown to fail nor proven by `nightmail prove`.
pub fn without_control(plan: &Plan) -> Option<&'static str> {
    let is_bare = plan.negative_controls.is_empty();
    is_bare.then_some("no negative control, so nothing shows that it can fail")
}

/// Runs plans on one engine, one after another or at the same time.
pub struct Runner {
    engine: Arc<dyn Engine>,
    because: String,
    interrupt: Interrupt,
    out: PathBuf,
    keep: bool,
    release: String,
    loads: Loads,
}

/// A run that was made and judged.
#[derive(Debug)]
pub struct Done {
    /// The verdict.
    pub verdict: Verdict,
    /// The run's folder.
    pub dir: PathBuf,
}

impl Runner {
    /// Connects to the engine and listens for signals. On an error it is printed and the exit code comes back.
    pub async fn new(out: &Path, keep: bool, release: Option<String>, chosen: Choice) -> Result<Self, u8> {
        let broken = |error: &dyn std::fmt::Display| {
            eprintln!("error: {error}");
            exit::BROKEN
        };
        let interrupt = Interrupt::listen().map_err(|error| broken(&error))?;
        let because = chosen.because.clone();
        let engine = chosen.engine().await.map_err(|error| broken(&error))?;
        Ok(Self {
            engine: engine.into(),
            because,
            interrupt,
            out: out.to_owned(),
            keep,
            release: release.unwrap_or_default(),
            loads: Loads::default(),
        })
    }

    /// The signal's exit code, if one has come.
    pub fn interrupted(&self) -> Option<u8> {
        self.interrupt.seen().map(|signal| signal.exit_code())
    }

    /// Makes one run, shows it, and judges it.
    pub async fn run(&self, plan: &Plan, shown: &Shown) -> Result<Done, u8> {
        let made = RunFolder::create(&self.out, plan).and_then(|folder| {
            let (sender, receiver) = mpsc::unbounded_channel();
            let events = Events::create(&folder.events(), Some(sender))?.redacting(plan.redactor());
            Ok((folder, events, receiver))
        });
        let (folder, events, receiver) = made.map_err(|error| {
            eprintln!(
                "error: the run's folder in {} could not be made: {error}",
                self.out.display()
            );
            exit::BROKEN
        })?;
        let screen = show(folder.plan().clone(), receiver, shown.terminal());
        let options = RunOptions {
            keep: self.keep,
            engine_because: self.because.clone(),
            release: self.release.clone(),
            loads: self.loads.clone(),
        };
        let verdict = run::run(plan, self.engine.as_ref(), &folder, &events, &self.interrupt, &options).await;
        drop(events);
        finish(screen, &verdict, folder.path());
        Ok(Done {
            verdict,
            dir: folder.path().to_owned(),
        })
    }
}

impl Shown {
    fn terminal(&self) -> Terminal {
        let options = Options::detect();
        match self {
            Self::Alone => Terminal::new(options),
            Self::Beside(prefix) => {
                let plain = Options {
                    live: false,
                    progress: Style {
                        width: None,
                        ..options.progress
                    },
                    ..options
                };
                let log = Prefixed {
                    prefix: prefix.clone(),
                    line: Vec::new(),
                    to: io::stderr(),
                };
                Terminal::with_writers(plain, Box::new(log), Box::new(io::stdout()))
            }
        }
    }
}

/// Writes whole lines, each with something before it, so that those of several runs do not run into each other.
struct Prefixed<W> {
    prefix: String,
    line: Vec<u8>,
    to: W,
}

impl<W: Write> Write for Prefixed<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        for part in bytes.split_inclusive(|byte| *byte == b'\n') {
            self.line.extend_from_slice(part);
            if part.ends_with(b"\n") {
                let whole = [self.prefix.as_bytes(), &std::mem::take(&mut self.line)].concat();
                self.to.write_all(&whole)?;
            }
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

/// A thread that shows events until their stream ends, and gives the terminal back.
fn show(plan: Plan, mut events: mpsc::UnboundedReceiver<Entry>, mut terminal: Terminal) -> JoinHandle<Terminal> {
    std::thread::spawn(move || {
        terminal.expect(&plan);
        while let Some(entry) = events.blocking_recv() {
            terminal.handle(&entry);
        }
        terminal
    })
}

fn finish(screen: JoinHandle<Terminal>, verdict: &Verdict, dir: &Path) {
    // A terminal that panicked has said so already; the verdict is on disk and in the exit code.
    if let Ok(mut terminal) = screen.join() {
        terminal.finish(verdict, dir);
    }
}

/// Blocks on a future that gives an exit code.
pub fn block_on(future: impl Future<Output = u8>) -> u8 {
    match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime.block_on(future),
        Err(error) => {
            eprintln!("error: no runtime: {error}");
            exit::BROKEN
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;
    use crate::report::sample;

    #[tokio::test]
    async fn runs_are_made_until_one_cannot_be_or_a_signal_comes_and_the_others_are_named() {
        let wanted = || {
            let plan = |number: usize| {
                let mut plan = sample::plan();
                plan.experiment.path = format!("{number}.yaml").into();
                (number, plan)
            };
            (0..4).map(plan).collect::<Vec<_>>()
        };
        let begun = Cell::new(0);
        let make = async |_: &Plan| {
            begun.set(begun.get() + 1);
            Ok::<_, u8>("made")
        };
        let all = in_turn(wanted(), &make, || false).await;
        assert_eq!((all.done.len(), all.not_made.len(), all.code), (4, 0, None));
        begun.set(0);
        let signalled = in_turn(wanted(), &make, || begun.get() == 2).await;
        assert_eq!(signalled.done, [(0, "made"), (1, "made")]);
        assert_eq!(signalled.not_made, ["2.yaml", "3.yaml"].map(PathBuf::from));
        let breaks = async |plan: &Plan| match plan.experiment.path.ends_with("1.yaml") {
            true => Err(exit::BROKEN),
            false => Ok("made"),
        };
        let broken = in_turn(wanted(), breaks, || false).await;
        assert_eq!((broken.done.len(), broken.code), (1, Some(exit::BROKEN)));
        assert_eq!(broken.not_made, ["1.yaml", "2.yaml", "3.yaml"].map(PathBuf::from));
    }

    #[test]
    fn a_line_is_written_whole_with_its_prefix() {
        let mut prefixed = Prefixed {
            prefix: "one  ".to_owned(),
            line: Vec::new(),
            to: Vec::new(),
        };
        write!(prefixed, "a b").unwrap();
        assert!(prefixed.to.is_empty(), "half a line waits");
        writeln!(prefixed, " c\nd").unwrap();
        assert_eq!(String::from_utf8(prefixed.to).unwrap(), "one  a b c\none  d\n");
    }
}
