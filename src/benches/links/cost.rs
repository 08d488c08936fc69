//! What idle connections cost, and changes while there are many.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use crate::load::{Connection, SMALL, block_on, open};
use crate::targets::{self, Target};
use crate::{Demand, Failure, median, quantile, say};

/// Idle connections.
const IDLE: usize = 5_000;
/// The most memory of the link's process for each of them.
const IDLE_KB_MAX: f64 = 40.0;

/// Connections that a toxic is put on.
const LIVE: usize = 1_000;
/// How often it is; the first time is not counted.
const CHANGES: usize = 20;
/// The most that it may take at the median, as whoever asks for it sees it.
const CHANGE_MS_MAX: f64 = 10.0;
/// What the toxic delays.
const DELAY_MS: u64 = 50;

pub fn measure(server: SocketAddr) -> Result<Vec<Demand>, Failure> {
    let kb = idle(&targets::link(server)?)?;
    let (added, removed) = changes(&targets::link(server)?)?;
    let [added_ms, most_ms] = [0.5, 1.0].map(|share| quantile(added.clone(), share));
    say(&format!(
        "\n| cost | measured |\n| --- | --- |\n\
         | each of {IDLE} idle connections | {kb:.1} KB of the process; the kernel's buffers are not counted |\n\
         | a toxic added to {LIVE} live connections | {added_ms:.2} ms, at most {most_ms:.2} ms of {CHANGES} |\n\
         | and taken away | {:.2} ms |",
        median(&removed)
    ));
    Ok(vec![
        Demand::at_most("each idle connection, KB", kb, IDLE_KB_MAX),
        Demand::at_most("adding a toxic to live connections, ms", added_ms, CHANGE_MS_MAX),
    ])
}

fn idle(link: &Target) -> Result<f64, Failure> {
    block_on(async {
        // What is there once, however many connections there are, is no cost of theirs.
        drop(open(link.address, 16).await?);
        let before = link.resident_kb()?;
        let connections = open(link.address, IDLE).await?;
        let after = link.resident_kb()?;
        Ok(after.saturating_sub(before) as f64 / connections.len() as f64)
    })
}

/// How long it took to add a toxic, and to take it away, in milliseconds.
fn changes(link: &Target) -> Result<(Vec<f64>, Vec<f64>), Failure> {
    block_on(async {
        let mut connections = open(link.address, LIVE).await?;
        let (mut added, mut removed) = (Vec::new(), Vec::new());
        for round in 0..=CHANGES {
            let began = Instant::now();
            link.add_toxic("latency", &format!(r#"{{"latency": {DELAY_MS}}}"#))?;
            let adding = began.elapsed();
            if round == 0 {
                connections = all_are_late(connections).await?;
            }
            let began = Instant::now();
            link.remove_toxic()?;
            if round > 0 {
                added.push(adding.as_secs_f64() * 1e3);
                removed.push(began.elapsed().as_secs_f64() * 1e3);
            }
        }
        Ok((added, removed))
    })
}

/// Fails unless the toxic acts on every connection.
async fn all_are_late(connections: Vec<Connection>) -> Result<Vec<Connection>, Failure> {
    let mut asking = JoinSet::new();
    for mut connection in connections {
        asking.spawn(async move { (connection.ask(SMALL).await, connection) });
    }
    let mut connections = Vec::with_capacity(LIVE);
    while let Some(asked) = asking.join_next().await {
        let (took, connection) = asked?;
        let took = took?;
        if took < Duration::from_millis(DELAY_MS) {
            return Err(format!("an answer came after {took:?}: its connection has no toxic of {DELAY_MS} ms").into());
        }
        connections.push(connection);
    }
    Ok(connections)
}
