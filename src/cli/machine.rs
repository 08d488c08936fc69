//! Commands about this machine: `gc` and `doctor`.

use super::exit;
use super::runner::block_on;
use crate::system::docker;

/// Removes what dead runs left.
pub fn gc(images: bool) -> u8 {
    block_on(async {
        match docker::gc(images).await {
            Ok(report) => {
                println!("{report}");
                exit::PASSED
            }
            Err(error) => {
                eprintln!("error: {error}");
                exit::BROKEN
            }
        }
    })
}

/// Says what this machine can do.
pub fn doctor() -> u8 {
    block_on(async {
        let checks = docker::doctor().await;
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
