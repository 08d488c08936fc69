//! What an experiment costs beside its load, images present: the time of the whole command less the time under load.

use super::run::Run;
use super::{DRAIN, Failure, Figures, OVERHEAD, median, ms};

/// Runs; the first is not counted.
const ROUNDS: usize = 3;
/// With a fault of the network, so that agents stand beside its replicas.
const EXPERIMENT: &str = "experiments/postage/provider-cut-off.yaml";

/// In milliseconds, at the median. The drain and the final reads stand by themselves: they wait for the system itself, as
/// long as its labels take to print.
pub fn measure(engine: &str) -> Result<Figures, Failure> {
    let (mut overheads, mut drains) = (Vec::new(), Vec::new());
    for round in 0..=ROUNDS {
        let run = Run::of(EXPERIMENT, engine)?;
        if round > 0 {
            overheads.push(ms(run.before + run.down + run.after));
            drains.push(ms(run.drain));
        }
    }
    let mut figures = Figures::default();
    figures.add(OVERHEAD, median(overheads)?);
    figures.add(DRAIN, median(drains)?);
    Ok(figures)
}
