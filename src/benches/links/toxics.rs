//! How exactly toxics delay and throttle.

use std::net::SocketAddr;
use std::time::Duration;

use crate::load::{Connection, block_on, paced};
use crate::targets;
use crate::{Demand, Failure, least_disturbed, median, quantile, say};

/// Connections that are delayed at once.
const CONNECTIONS: usize = 100;
/// Each asks so often, so many times a round: 2,000 requests a second in all, far from what the link can carry.
const EVERY: Duration = Duration::from_millis(50);
const TIMES: u32 = 10;
const ROUNDS: usize = 16;
const DELAY_MS: f64 = 20.0;
/// Between these the delay must be at the median.
const MEDIAN_MS: (f64, f64) = (19.5, 21.5);
const P99_MS_MAX: f64 = 24.0;

/// A rate in KB/s, and how many bytes are sent at it.
const RATE_KB_PER_S: f64 = 1_000.0;
const BYTES: usize = 2_000_000;
const BANDWIDTH_ROUNDS: usize = 3;
/// How far the rate may stray.
const STRAY_PERCENT_MAX: f64 = 3.0;

pub fn measure(server: SocketAddr) -> Result<Vec<Demand>, Failure> {
    let link = targets::link(server)?;
    let ask = || block_on(paced(link.address, CONNECTIONS, EVERY, TIMES));
    let (mut plain_us, mut added) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let plain = median(&ask()?);
        link.add_toxic("latency", &format!(r#"{{"latency": {DELAY_MS}}}"#))?;
        added.push(ask()?.iter().map(|us| (us - plain) / 1e3).collect::<Vec<_>>());
        link.remove_toxic()?;
        plain_us.push(plain);
    }

    link.add_toxic("bandwidth", &format!(r#"{{"rate": {RATE_KB_PER_S}}}"#))?;
    let mut rates = Vec::new();
    for _ in 0..BANDWIDTH_ROUNDS {
        let took = block_on(async { Ok(Connection::open(link.address).await?.ask(BYTES).await?) })?;
        rates.push(BYTES as f64 / took.as_secs_f64() / 1e3);
    }
    let stray = (median(&rates) / RATE_KB_PER_S - 1.0).abs() * 100.0;
    let of_rounds = |share| {
        added
            .iter()
            .map(|round| quantile(round.clone(), share))
            .collect::<Vec<_>>()
    };
    let [p1, p50, p99] = [0.01, 0.5, 0.99].map(|share| median(&of_rounds(share)));
    say(&format!(
        "\n| toxic | medians of {ROUNDS} rounds |\n| --- | --- |\n\
         | `latency` {DELAY_MS} ms, {CONNECTIONS} connections | p1 {p1:.2} ms, p50 {p50:.2} ms, p99 {p99:.2} ms added to \
         {:.2} ms |\n\
         | `bandwidth` {RATE_KB_PER_S} KB/s | {:.1} KB/s, {stray:.2} % off ({BANDWIDTH_ROUNDS} rounds) |",
        median(&plain_us) / 1e3,
        median(&rates)
    ));
    Ok(vec![
        Demand::at_least("added latency at the median, ms", p50, MEDIAN_MS.0),
        Demand::at_most("added latency at the median, ms", p50, MEDIAN_MS.1),
        Demand::at_most("added latency at p99, ms", least_disturbed(of_rounds(0.99)), P99_MS_MAX),
        Demand::at_most("rate off by, %", stray, STRAY_PERCENT_MAX),
    ])
}
