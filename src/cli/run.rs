//! `nightmail run`.

use super::args::RunArgs;
use super::runner::{Runner, block_on, load_plans};
use crate::report::table;
use crate::report::terminal::Style;
use crate::verdict::worst;

/// Runs every experiment and returns the worst exit code.
pub fn run(args: &RunArgs) -> u8 {
    let plans = match load_plans(&args.select) {
        Ok(plans) => plans,
        Err(code) => return code,
    };
    block_on(async {
        let runner = match Runner::new(args).await {
            Ok(runner) => runner,
            Err(code) => return code,
        };
        let mut done = Vec::new();
        for plan in &plans {
            match runner.run(plan).await {
                Ok(one) => done.push(one),
                Err(code) => return code,
            }
            if let Some(code) = runner.interrupted() {
                return code;
            }
        }
        if done.len() > 1 {
            let rows: Vec<_> = done.iter().map(|one| (&one.verdict, one.dir.as_path())).collect();
            print!("{}", table::runs(&rows, &Style::of_stdout()));
        }
        worst(done.iter().map(|one| one.verdict.exit_code))
    })
}
