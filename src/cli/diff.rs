//! `nightmail diff` and `nightmail baseline`: runs compared with those of the last release, and what to compare the next
//! ones with.

use std::fs;
use std::path::{Path, PathBuf};

use super::args::{BaselineArgs, DiffArgs, DiffFormat};
use super::exit;
use crate::campaign::accept::Accepted;
use crate::campaign::compare::{Comparison, compare};
use crate::campaign::{Campaign, baseline};
use crate::report::comparison;
use crate::report::terminal::Style;

/// Compares runs with a baseline.
pub fn diff(args: &DiffArgs) -> u8 {
    match compared(args) {
        Ok(comparison) => show(args, &comparison),
        Err(message) => {
            eprintln!("{message}");
            exit::INVALID
        }
    }
}

fn compared(args: &DiffArgs) -> Result<Comparison, String> {
    let accepted = match &args.accept {
        Some(path) => Accepted::load(path, today()).map_err(|wrong| wrong.to_string())?,
        None => Accepted::default(),
    };
    let (baseline, mut unread) = gather(std::slice::from_ref(&args.baseline))?;
    let (now, unread_now) = gather(&args.runs)?;
    unread.extend(unread_now);
    let comparison = compare(&baseline, &now, &accepted).map_err(|why| format!("error: {why}"))?;
    Ok(comparison.with_unread(unread))
}

fn show(args: &DiffArgs, comparison: &Comparison) -> u8 {
    for unread in &comparison.unread {
        eprintln!("error: {unread}");
    }
    let style = Style::of_stdout();
    let rendered = match args.format {
        DiffFormat::Text => Ok(comparison::text(comparison, &style)),
        DiffFormat::Markdown => Ok(comparison::markdown(comparison)),
        DiffFormat::Json => comparison::json(comparison),
    };
    let rendered = match rendered {
        Ok(rendered) => rendered,
        Err(error) => {
            eprintln!("error: the comparison could not be rendered: {error}");
            return exit::BROKEN;
        }
    };
    let Some(out) = &args.out else {
        print!("{rendered}");
        return comparison.exit_code;
    };
    // Who keeps the comparison in a file still sees it in the pipeline's log.
    print!("{}", comparison::text(comparison, &style));
    match write(out, &rendered) {
        Ok(()) => comparison.exit_code,
        Err(code) => code,
    }
}

/// Writes runs as the baseline of later ones.
pub fn baseline(args: &BaselineArgs) -> u8 {
    let (campaign, unread) = match gather(&args.runs) {
        Ok(gathered) => gathered,
        Err(message) => {
            eprintln!("{message}");
            return exit::INVALID;
        }
    };
    for unread in &unread {
        eprintln!("error: {unread}");
    }
    let text = match baseline::render(&campaign) {
        Ok(text) => text,
        Err(error) => {
            eprintln!("error: the baseline could not be rendered: {error}");
            return exit::BROKEN;
        }
    };
    if let Err(code) = write(&args.out, &text) {
        return code;
    }
    println!(
        "{}: {} runs of {}, {} bytes",
        args.out.display(),
        campaign.runs.len(),
        match baseline::experiments(&campaign) {
            1 => "1 experiment".to_owned(),
            number => format!("{number} experiments"),
        },
        text.len()
    );
    match unread.is_empty() {
        true => exit::PASSED,
        false => exit::BROKEN,
    }
}

/// The runs at these paths, and why others cannot be read. Nothing to read at all is an error.
fn gather(paths: &[PathBuf]) -> Result<(Campaign, Vec<String>), String> {
    for path in paths {
        if !path.exists() {
            return Err(format!(
                "error: {}: there is no such file or folder\n  hint: give the folder of a run, a folder of such folders, or a \
                 campaign.json",
                path.display()
            ));
        }
    }
    let (campaign, wrong) = Campaign::gather(paths);
    let wrong: Vec<String> = wrong.iter().map(ToString::to_string).collect();
    match campaign.runs.is_empty() {
        true if wrong.is_empty() => Err(format!(
            "error: {}: no run is in it\n  hint: give the folder of a run, a folder of such folders, or a campaign.json with runs",
            paths[0].display()
        )),
        true => Err(format!("error: {}", wrong.join("\nerror: "))),
        false => Ok((campaign, wrong)),
    }
}

/// Writes a file, and the folder that it is to be in.
fn write(path: &Path, text: &str) -> Result<(), u8> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let made = folder.map_or(Ok(()), fs::create_dir_all);
    made.and_then(|()| fs::write(path, text)).map_err(|error| {
        eprintln!("error: {} could not be written: {error}", path.display());
        exit::BROKEN
    })
}

/// Today, the same everywhere.
pub fn today() -> jiff::civil::Date {
    jiff::Timestamp::now().to_zoned(jiff::tz::TimeZone::UTC).date()
}
