//! `nightmail run`.

use std::path::{Path, PathBuf};

use super::args::RunArgs;
use super::page;
use super::runner::{Done, make_runs};
use crate::report::table;
use crate::report::terminal::Style;
use crate::verdict::worst;

/// Runs every experiment and returns the worst exit code.
pub fn run(args: &RunArgs) -> u8 {
    make_runs(args, |plans| plans.into_iter().map(|plan| ((), plan)).collect(), show)
}

fn show(done: &[((), Done)], not_made: &[PathBuf]) -> u8 {
    let rows: Vec<_> = done.iter().map(|(_, one)| (&one.verdict, one.dir.as_path())).collect();
    if rows.len() > 1 {
        print!("{}", table::runs(&rows, &Style::of_stdout()));
    }
    let dirs: Vec<&Path> = rows.iter().map(|(_, dir)| *dir).collect();
    page::of_runs(&dirs, not_made, "run.html");
    worst(done.iter().map(|(_, one)| one.verdict.exit_code))
}
