//! Commands about this machine: `gc` and `doctor`.

use super::exit;
use super::runner::block_on;
use crate::system::docker::{self, GcReport};
use crate::system::doctor::of_this_machine;

/// Removes what dead runs left.
pub fn gc(images: bool) -> u8 {
    block_on(async {
        match docker::gc(images).await {
            Ok(report) => {
                print!("{}", told(&report));
                if report.leftovers.is_empty() {
                    exit::PASSED
                } else {
                    exit::LEFTOVERS
                }
            }
            Err(error) => {
                eprintln!("error: {error}");
                exit::BROKEN
            }
        }
    })
}

fn told(report: &GcReport) -> String {
    let mut lines = String::new();
    let mut list = |what: &str, names: &[String]| {
        if !names.is_empty() {
            lines.push_str(&format!("{what}: {}\n", names.join(", ")));
        }
    };
    list("removed what dead runs left", &report.removed_runs);
    list("spared, alive", &report.spared_runs);
    list("spared, of unknown state", &report.unknown_runs);
    list("removed images", &report.removed_images);
    list("images were not looked at", report.images_spared.as_slice());
    list("could not be removed", &report.leftovers);
    if lines.is_empty() {
        "nothing to remove\n".to_owned()
    } else {
        lines
    }
}

/// Says what this machine can do.
pub fn doctor() -> u8 {
    block_on(async {
        let mut checks = docker::doctor().await;
        checks.extend(of_this_machine());
        for check in &checks {
            println!(
                "{} {}: {}",
                if check.ok { "ok     " } else { "missing" },
                check.name,
                check.detail
            );
            if let (false, Some(hint)) = (check.ok, &check.hint) {
                println!("          hint: {hint}");
            }
        }
        if checks.iter().all(|check| check.ok || !check.required) {
            exit::PASSED
        } else {
            exit::BROKEN
        }
    })
}
