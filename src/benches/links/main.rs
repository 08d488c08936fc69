//! What a link costs: `nightmail link` against HAProxy in TCP mode and against no proxy at all, how exactly its toxics
//! delay and throttle, and what idle connections and changes cost.
//!
//! `cargo bench --bench links` prints tables of medians, and fails beyond a bound. Everything is on loopback. One
//! generator and one server, threads of this process, serve all targets; each round measures every target in turn, so
//! that what else the machine does falls on all alike. Bounds are on medians, and for p99 on the quarter of the rounds
//! that was disturbed least. Words after `--` choose parts: `pass-through`, `toxics`, `cost`.
//!
//! HAProxy (Debian's package `haproxy`) is started here as a process of its own with the least that it needs: `mode tcp`,
//! one frontend and one backend of one server without checks, its timeouts, and `maxconn`; threads, buffers and socket
//! options are as it has them by default, and nothing is logged. A real Toxiproxy is measured too, without a bound, where
//! the environment variable `TOXIPROXY_SERVER` names its binary.

mod cost;
mod load;
mod pass_through;
mod targets;
mod toxics;

use std::io::Write;
use std::process::ExitCode;

use nix::sys::resource::{Resource, getrlimit, setrlimit};

type Failure = Box<dyn std::error::Error>;

fn main() -> ExitCode {
    measure().unwrap_or_else(|failure| {
        say(&format!("failed: {failure}"));
        ExitCode::FAILURE
    })
}

fn say(line: &str) {
    // Whoever closed our output does not want the figures.
    let _ = writeln!(std::io::stdout(), "{line}");
}

fn measure() -> Result<ExitCode, Failure> {
    // Both ends of all connections are in this process. The proxies inherit it.
    let (_soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?;
    // Cargo adds words of its own, which begin with a dash.
    let words: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with('-')).collect();
    let wanted = |part: &str| words.is_empty() || words.iter().any(|word| word == part);
    let server = load::serve()?;
    let mut demands = Vec::new();
    if wanted("pass-through") {
        demands.extend(pass_through::measure(server)?);
    }
    if wanted("toxics") {
        demands.extend(toxics::measure(server)?);
    }
    if wanted("cost") {
        demands.extend(cost::measure(server)?);
    }
    if demands.is_empty() {
        return Err(format!("{words:?} measures nothing: there are pass-through, toxics and cost").into());
    }
    say("");
    for demand in &demands {
        say(&format!(
            "{} {}",
            if demand.met { "met   " } else { "MISSED" },
            demand.what
        ));
    }
    let met = demands.iter().all(|demand| demand.met);
    Ok(if met { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// A bound, and whether it was kept.
struct Demand {
    what: String,
    met: bool,
}

impl Demand {
    fn at_least(what: &str, value: f64, bound: f64) -> Self {
        Self {
            what: format!("{what}: {value:.2}, at least {bound}"),
            met: value >= bound,
        }
    }

    fn at_most(what: &str, value: f64, bound: f64) -> Self {
        Self {
            what: format!("{what}: {value:.2}, at most {bound}"),
            met: value <= bound,
        }
    }
}

/// The value below which that share of all lies.
fn quantile(mut values: Vec<f64>, share: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    let last = values.len().saturating_sub(1);
    values.get((last as f64 * share) as usize).copied().unwrap_or(f64::NAN)
}

fn median(values: &[f64]) -> f64 {
    quantile(values.to_vec(), 0.5)
}

/// A p99 is made of the worst of a hundred, and on a machine that is shared most of those are others' doing. Of the p99s of
/// many rounds this is the one that a quarter of them keeps below.
fn least_disturbed(p99s: Vec<f64>) -> f64 {
    quantile(p99s, 0.25)
}
