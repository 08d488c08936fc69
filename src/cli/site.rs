//! `nightmail site`: a static site of many runs.

use super::args::SiteArgs;
use super::exit;
use crate::campaign::{Campaign, Kept};
use crate::report::site::{self, Refused, Site};

/// Makes the site of some runs. What cannot be read is told, is named on the site, and makes the exit code 4.
pub fn site(args: &SiteArgs) -> u8 {
    let (campaign, wrong) = Campaign::gather(&args.runs);
    let kept = Kept::at(&args.runs);
    for error in &wrong {
        eprintln!("error: {error}");
    }
    if campaign.runs.is_empty() {
        eprintln!(
            "error: there is no run to make a site of; {} is as it was",
            args.out.display()
        );
        return exit::BROKEN;
    }
    let not_read: Vec<String> = wrong.iter().map(ToString::to_string).collect();
    let now_unix_ms = jiff::Timestamp::now().as_millisecond();
    let stale_after_ms = i64::try_from(args.stale_after.as_millis()).unwrap_or(i64::MAX);
    let site = Site::of(&campaign, &kept, &not_read, now_unix_ms, stale_after_ms);
    match site::write(&site, &args.out) {
        Ok(written) => {
            for line in &written.not_copied {
                eprintln!("error: a page could not be copied: {line}");
            }
            let runs: u64 = site
                .experiments
                .iter()
                .map(|experiment| experiment.runs.len() as u64)
                .sum();
            println!(
                "{}: {} of experiments, {} of runs, {} of campaigns",
                written.index.display(),
                pages(site.experiments.len() as u64),
                pages(runs),
                pages(site.campaigns.len() as u64)
            );
            match wrong.is_empty() && written.not_copied.is_empty() {
                true => exit::PASSED,
                false => exit::BROKEN,
            }
        }
        Err(error @ Refused::Taken(_)) => {
            eprintln!("error: {error}");
            exit::INVALID
        }
        Err(error @ Refused::Io { .. }) => {
            eprintln!("error: {error}");
            exit::BROKEN
        }
    }
}

fn pages(number: u64) -> String {
    format!("{number} page{}", if number == 1 { "" } else { "s" })
}
