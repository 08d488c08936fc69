//! Whether this kernel has what network emulation takes: tried in a network namespace that nobody else is in.
//!
//! The namespace goes with the process, and so does whatever was put into it.

use std::net::Ipv4Addr;
use std::process::ExitCode;

use nix::sched::{CloneFlags, unshare};

use super::control::{Rtnetlink, TrafficControl};
use super::impairment::{Combined, Impairment};
use super::tree::Tree;
use super::{Distribution, Latency, NetemError};

/// The exit code of a process that found all of it.
pub const THERE: u8 = 0;
/// The exit code of one that found something missing.
pub const MISSING: u8 = 3;
/// The exit code of one that could not try.
pub const UNTRIED: u8 = 4;

/// Tries it and says what came out, in a process that has no thread but this one: namespaces belong to threads, and only
/// a process with a single one may enter a user namespace.
#[expect(clippy::print_stderr, reason = "its only reader is the process that started it")]
pub fn main() -> ExitCode {
    let untried = |reason: String| {
        eprintln!("{reason}");
        ExitCode::from(UNTRIED)
    };
    // As root of a user namespace where this user may not make others.
    let alone =
        unshare(CloneFlags::CLONE_NEWNET).or_else(|_| unshare(CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNET));
    if let Err(error) = alone {
        return untried(format!("a network namespace cannot be made: {error}"));
    }
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return untried(format!("the event loop did not start: {error}")),
    };
    match runtime.block_on(try_here()) {
        Ok(()) => ExitCode::from(THERE),
        Err(error) if error.is_missing() => {
            eprintln!("{}: {}", error.action, error.reason);
            ExitCode::from(MISSING)
        }
        Err(error) => untried(error.to_string()),
    }
}

/// Builds a whole tree on the loopback interface of this namespace, with all that a fault may ask of netem.
async fn try_here() -> Result<(), NetemError> {
    let control = Rtnetlink::open()?;
    let loopback = control.loopback().await?;
    let latency = Latency {
        latency_ms: 1,
        jitter_ms: 1,
        distribution: Distribution::Normal,
    };
    let combined = [Impairment::Latency(latency), Impairment::Corrupt { percent: 1.0 }]
        .iter()
        .try_fold(Combined::default(), |combined, impairment| combined.with(impairment))
        .unwrap_or_default();
    let wanted = [(Ipv4Addr::LOCALHOST, combined)].into();
    for step in Tree::default().steps(&wanted) {
        control.take(loopback, &step).await?;
    }
    Ok(())
}
