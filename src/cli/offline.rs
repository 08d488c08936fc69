//! Commands that need neither Docker nor a network: `validate`, `plan`, `check`, `schema`.

use std::path::Path;

use super::args::{SchemaOf, SelectArgs};
use super::runner::{load_plans, without_control};
use super::{engine, exit};
use crate::report::terminal::{Options, Terminal};
use crate::run::folder::{is_under_way, read_plan};
use crate::run::seal;
use crate::{check, experiment, plan, run};

/// Says of each experiment that it is valid, or what is wrong with it.
pub fn validate(args: &SelectArgs) -> u8 {
    match load_plans(args, engine::traits(args.engine)) {
        Ok(plans) => {
            for plan in &plans {
                println!("{}: valid", plan.experiment.path.display());
                for changing in plan::describe::changing_rates(plan) {
                    println!("  load: {changing}");
                }
                if let Some(note) = without_control(plan) {
                    println!("  note: {note}");
                }
            }
            exit::PASSED
        }
        Err(code) => code,
    }
}

/// Prints what each experiment would do.
pub fn plan(args: &SelectArgs) -> u8 {
    match load_plans(args, engine::traits(args.engine)) {
        Ok(plans) => {
            for plan in &plans {
                println!("{}", plan::describe::render(&plan.redacted()));
            }
            exit::PASSED
        }
        Err(code) => code,
    }
}

/// Judges a saved run again and writes its reports anew.
pub fn check(dir: &Path) -> u8 {
    if let Err(broken) = seal::verify(dir) {
        eprintln!(
            "error: {}: {broken}\n  hint: copy the run again from where it was made; without {} it is judged as it is",
            dir.display(),
            seal::FILE
        );
        return exit::BROKEN;
    }
    if is_under_way(dir) {
        eprintln!(
            "error: {}: this run is under way\n  hint: wait until it has ended: it is judged then",
            dir.display()
        );
        return exit::BROKEN;
    }
    let verdict = match check::judge_folder(dir) {
        Ok(verdict) => verdict,
        Err(error) => {
            eprintln!(
                "error: {error}\n  hint: give the folder of a run, which holds plan.json, history.jsonl and events.jsonl"
            );
            return exit::INVALID;
        }
    };
    let written = read_plan(dir).and_then(|plan| run::write_reports(dir, &plan, &verdict));
    if let Err(error) = written {
        eprintln!("warning: the reports could not be written: {error}");
    } else if let Err(error) = seal::seal(dir) {
        eprintln!("warning: the checksums could not be written: {error}");
    }
    Terminal::new(Options::detect()).finish(&verdict, dir);
    verdict.exit_code
}

/// Prints a JSON Schema.
pub fn schema(of: SchemaOf) -> u8 {
    let schema = match of {
        SchemaOf::Experiment => experiment::schema(),
        SchemaOf::System => experiment::system_schema(),
        SchemaOf::Accepted => crate::campaign::accept::schema(),
        SchemaOf::Verdict => schemars::schema_for!(crate::verdict::Verdict).to_value(),
    };
    println!("{schema:#}");
    exit::PASSED
}
