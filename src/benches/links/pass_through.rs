//! What it costs that bytes pass a proxy without toxics.

use std::net::SocketAddr;
use std::time::Duration;

use crate::load::{SMALL, block_on, closed_loop};
use crate::targets::{self, Target};
use crate::{Demand, Failure, least_disturbed, median, quantile, say};

/// Rounds of each, after one that warms up. Many short ones: what else the machine does comes and goes, and
/// two measurements that stand side by side have the same share of it.
const ROUNDS: usize = 50;
/// How long each is measured for, each time.
const TIME: Duration = Duration::from_millis(100);
/// Connections that ask for small answers.
const CONNECTIONS: usize = 16;
/// Connections that ask for big ones.
const BULK_CONNECTIONS: usize = 4;
const BULK: usize = 1024 * 1024;

/// The least requests per second, in HAProxy's.
const REQUESTS_MIN: f64 = 1.0;
/// The most that p99 at one connection may be, in HAProxy's.
const P99_MAX: f64 = 1.0;
/// The least throughput of big answers, in HAProxy's.
const BULK_MIN: f64 = 1.3;

/// What was measured of one target, round by round.
#[derive(Default)]
struct Rounds {
    requests_per_s: Vec<f64>,
    cpu_us_per_request: Vec<f64>,
    p50_us: Vec<f64>,
    p99_us: Vec<f64>,
    bulk_mb_per_s: Vec<f64>,
    cpu_us_per_mb: Vec<f64>,
}

pub fn measure(server: SocketAddr) -> Result<Vec<Demand>, Failure> {
    let folder = tempfile::tempdir()?;
    let mut targets = vec![
        targets::direct(server),
        targets::link(server)?,
        targets::haproxy(server, folder.path())?,
    ];
    targets.extend(targets::toxiproxy(server)?);
    measure_rounds(&targets, 1)?;
    let all = measure_rounds(&targets, ROUNDS)?;
    say(&format!(
        "| no toxic, medians of {ROUNDS} rounds | requests/s, {CONNECTIONS} connections | CPU of each | one connection: p50 | \
         p99 | 1 MiB bodies, {BULK_CONNECTIONS} connections | CPU of each MB |\n| --- | --- | --- | --- | --- | --- | --- |"
    ));
    for (target, rounds) in targets.iter().zip(&all) {
        say(&format!("| {} | {} |", target.name, rounds.in_words()));
    }
    Ok(demands(&all[1], &all[2]))
}

/// Measures every target in turn, one figure after the other, so that nothing stands between those that are compared.
fn measure_rounds(targets: &[Target], count: usize) -> Result<Vec<Rounds>, Failure> {
    let mut all: Vec<Rounds> = targets.iter().map(|_target| Rounds::default()).collect();
    let figures = [Rounds::measure_many, Rounds::measure_one, Rounds::measure_bulk];
    for round in 0..count {
        for measure in figures {
            for turn in 0..targets.len() {
                // Nobody always comes after the same.
                let at = (round + turn) % targets.len();
                measure(&mut all[at], &targets[at])?;
            }
        }
    }
    Ok(all)
}

/// How long answers took, in microseconds, and how long the target's process ran for each.
fn ask(target: &Target, connections: usize, wanted: usize) -> Result<(Vec<f64>, f64), Failure> {
    let before = target.cpu()?;
    let took = block_on(closed_loop(target.address, connections, wanted, TIME))?;
    let cpu_us = (target.cpu()? - before).as_secs_f64() * 1e6;
    let each = cpu_us / took.len() as f64;
    Ok((took, each))
}

impl Rounds {
    fn measure_many(&mut self, target: &Target) -> Result<(), Failure> {
        let (took, cpu_us) = ask(target, CONNECTIONS, SMALL)?;
        self.requests_per_s.push(took.len() as f64 / TIME.as_secs_f64());
        self.cpu_us_per_request.push(cpu_us);
        Ok(())
    }

    fn measure_one(&mut self, target: &Target) -> Result<(), Failure> {
        let (took, _cpu_us) = ask(target, 1, SMALL)?;
        self.p50_us.push(median(&took));
        self.p99_us.push(quantile(took, 0.99));
        Ok(())
    }

    fn measure_bulk(&mut self, target: &Target) -> Result<(), Failure> {
        let (took, cpu_us) = ask(target, BULK_CONNECTIONS, BULK)?;
        let mb = BULK as f64 / 1e6;
        self.bulk_mb_per_s.push(took.len() as f64 * mb / TIME.as_secs_f64());
        self.cpu_us_per_mb.push(cpu_us / mb);
        Ok(())
    }

    fn in_words(&self) -> String {
        format!(
            "{:.0} | {:.1} us | {:.0} us | {:.0} us | {:.0} MB/s | {:.0} us",
            median(&self.requests_per_s),
            median(&self.cpu_us_per_request),
            median(&self.p50_us),
            median(&self.p99_us),
            median(&self.bulk_mb_per_s),
            median(&self.cpu_us_per_mb)
        )
    }
}

/// Rates are compared round by round, and the median of the ratios counts.
fn demands(link: &Rounds, haproxy: &Rounds) -> Vec<Demand> {
    let ratio = |of: fn(&Rounds) -> &[f64]| {
        let ratios: Vec<f64> = of(link)
            .iter()
            .zip(of(haproxy))
            .map(|(link, other)| link / other)
            .collect();
        median(&ratios)
    };
    let p99 = |rounds: &Rounds| least_disturbed(rounds.p99_us.clone());
    vec![
        Demand::at_least(
            "requests/s, in HAProxy's",
            ratio(|rounds| &rounds.requests_per_s),
            REQUESTS_MIN,
        ),
        Demand::at_most("p99 at one connection, in HAProxy's", p99(link) / p99(haproxy), P99_MAX),
        Demand::at_least(
            "throughput of 1 MiB bodies, in HAProxy's",
            ratio(|rounds| &rounds.bulk_mb_per_s),
            BULK_MIN,
        ),
    ]
}
