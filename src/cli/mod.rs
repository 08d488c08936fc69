//! The command line: from arguments to calls, from answers to exit codes. The only place that prints to standard output.

use std::process::ExitCode;

use clap::{CommandFactory, Parser};

// First, since its macros reach only what stands below it.
#[macro_use]
mod out;

pub mod args;
mod diff;
mod engine;
pub mod exit;
mod forward;
mod gate;
mod kept;
mod link;
mod machine;
mod merge;
mod offline;
mod page;
mod prove;
mod reports;
mod run;
mod runner;
mod site;

use args::{Cli, Command};

/// Reads the command line, does what it says, and gives the process its exit code. A panic is exit code 4.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let command = match cli.command {
        Command::Agent(passed) => return crate::agent::main(passed.args),
        Command::Reaper(passed) => return crate::reaper::main(passed.args),
        Command::Porter => return crate::system::local::porter(),
        Command::Pod => return crate::system::local::pod(),
        Command::Finish => return crate::system::local::finish(),
        Command::ProbeStage => return crate::system::local::probe(),
        Command::Stage(passed) => return ExitCode::from(engine::on_stage(&passed.args)),
        command => command,
    };
    let code = std::panic::catch_unwind(|| dispatch(command)).unwrap_or(exit::BROKEN);
    ExitCode::from(code)
}

fn dispatch(command: Command) -> u8 {
    match command {
        Command::Run(args) => run::run(&args),
        Command::Prove(args) => prove::prove(&args),
        Command::Validate(args) => offline::validate(&args),
        Command::Plan(args) => offline::plan(&args),
        Command::Gate(args) => gate::gate(&args),
        Command::Merge(args) => merge::merge(&args),
        Command::Check { run_dir } => offline::check(&run_dir),
        Command::Report(args) => page::page(&args),
        Command::Site(args) => site::site(&args),
        Command::Schema { of } => offline::schema(of),
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "nightmail", &mut script);
            print!("{}", String::from_utf8_lossy(&script));
            exit::PASSED
        }
        Command::Diff(args) => diff::diff(&args),
        Command::Baseline(args) => diff::baseline(&args),
        Command::Link(args) => link::link(&args),
        Command::Shell(args) => kept::shell(&args),
        Command::Forward(args) => forward::forward(&args),
        Command::Gc { images } => machine::gc(images),
        Command::Doctor => machine::doctor(),
        Command::Agent(_)
        | Command::Reaper(_)
        | Command::Porter
        | Command::Pod
        | Command::Finish
        | Command::ProbeStage
        | Command::Stage(_) => {
            unreachable!("handed on in main")
        }
    }
}
