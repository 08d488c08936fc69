//! Whether the machine was so pressed that what took too long may have taken so long for that reason.
//!
//! The generator's own lag tells of itself alone: it needs little, and a kernel that shares processors fairly runs it soon
//! however many others wait. A system that needs more waits longer, and then recovers too late through no fault of its own.
//! So failures of what is measured in time become doubts where one of these bounds was broken while the load lasted:
//!
//! - A thread that was due ran later than a bin of recovery lasts ([`LATE_MAX_US`]): the machine stood still.
//! - The hypervisor gave so much of the processors' time to others ([`STOLEN_MAX_PERCENT`]).
//! - Something waited for a processor nearly all the time ([`WAITING_MAX_PERCENT`]), either before the gate, when nothing
//!   was broken yet, or while loads of other runs of the same command were under way. At other times it may be the system's
//!   own doing: a storm of retries looks like that, and must be found to fail.
//!
//! Passes stay passes: pressure makes nothing quicker. Safety does not depend on time.

use std::ops::Range;

use super::bins::BIN_US;
use crate::event::MachineSeconds;

/// How late a thread that was due may have run.
pub(super) const LATE_MAX_US: u64 = BIN_US;

/// Bounds below are on the mean of so many seconds in a row: starting a container or a database takes all processors for a
/// moment.
const STRETCH_S: usize = 10;

/// Share of the processors' time that a hypervisor may give to others, in percent.
const STOLEN_MAX_PERCENT: f64 = 20.0;

/// Share of the time in which something may have waited for a processor, in percent. Measured over 25 minutes: with two runs
/// at a time of the experiments that come along, on two processors and beside a compiler of the lowest priority, half of all
/// stretches are above 42 %, one of a hundred is above 80 %, none is above 87 %, and every run passed.
const WAITING_MAX_PERCENT: f64 = 90.0;

/// Why a failure in time is not to be believed, if it is not.
pub(super) fn doubt(seen: &MachineSeconds, gate_us: u64) -> Option<String> {
    held_up(seen)
        .or_else(|| stolen(seen))
        .or_else(|| overloaded(seen, gate_us))
}

fn held_up(seen: &MachineSeconds) -> Option<String> {
    let late_us = seen
        .late_max_us
        .iter()
        .copied()
        .max()
        .filter(|late_us| *late_us > LATE_MAX_US)?;
    let (late_ms, max_ms) = (late_us / 1_000, LATE_MAX_US / 1_000);
    Some(format!(
        "the machine itself was held up: a thread of the harness that was due ran {late_ms} ms late, above {max_ms} ms"
    ))
}

fn stolen(seen: &MachineSeconds) -> Option<String> {
    let worst = worst(&seen.stolen_percent, |_| true).filter(|worst| worst.mean > STOLEN_MAX_PERCENT)?;
    Some(format!(
        "the machine was short of processors: the hypervisor gave {:.0} % of their time to others {}, above \
         {STOLEN_MAX_PERCENT} %",
        worst.mean,
        worst.when()
    ))
}

fn overloaded(seen: &MachineSeconds, gate_us: u64) -> Option<String> {
    let said = |when: &str, worst: &Worst| {
        format!(
            "the machine was overloaded {when}: something waited for a processor {:.0} % of the time {}, above \
             {WAITING_MAX_PERCENT} %",
            worst.mean,
            worst.when()
        )
    };
    let is_above = |worst: &Worst| worst.mean > WAITING_MAX_PERCENT;
    let gate = (gate_us / 1_000_000) as usize;
    let before = seen.waiting_percent.get(..gate).unwrap_or(&seen.waiting_percent);
    if let Some(worst) = worst(before, |_| true).filter(is_above) {
        return Some(said("before anything was broken", &worst));
    }
    let beside = |seconds: Range<usize>| {
        seen.beside
            .get(seconds)
            .unwrap_or_default()
            .iter()
            .copied()
            .max()
            .unwrap_or(0)
    };
    let worst = worst(&seen.waiting_percent, |seconds| beside(seconds) > 0).filter(is_above)?;
    let others = match beside(worst.seconds.clone()) {
        1 => "while another run was under way".to_owned(),
        others => format!("while {others} other runs were under way"),
    };
    Some(said(&others, &worst))
}

/// For how much of the load something waited for a processor, in percent; none if nobody knows.
pub(super) fn waiting_percent(seen: &MachineSeconds) -> Option<f64> {
    mean(&seen.waiting_percent)
}

/// The stretch with the greatest mean.
struct Worst {
    seconds: Range<usize>,
    mean: f64,
}

impl Worst {
    fn when(&self) -> String {
        format!("from {} s to {} s", self.seconds.start, self.seconds.end)
    }
}

/// The worst stretch of those that count; all there is, if that is shorter than a stretch.
fn worst(percent: &[f64], counts: impl Fn(Range<usize>) -> bool) -> Option<Worst> {
    let length = percent.len().min(STRETCH_S);
    let starts = 0..=percent.len() - length;
    let stretches = starts
        .map(|start| start..start + length)
        .filter(|seconds| counts(seconds.clone()));
    let means = stretches.filter_map(|seconds| {
        let mean = mean(&percent[seconds.clone()])?;
        Some(Worst { seconds, mean })
    });
    means.max_by(|one, other| one.mean.total_cmp(&other.mean))
}

fn mean(numbers: &[f64]) -> Option<f64> {
    (!numbers.is_empty()).then(|| numbers.iter().sum::<f64>() / numbers.len() as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GATE_US: u64 = 6_000_000;

    fn calm() -> MachineSeconds {
        MachineSeconds {
            late_max_us: vec![4_000; 20],
            waiting_percent: vec![40.0; 20],
            stolen_percent: vec![0.0; 20],
            beside: vec![0; 20],
        }
    }

    fn with(change: impl FnOnce(&mut MachineSeconds)) -> Option<String> {
        let mut seen = calm();
        change(&mut seen);
        doubt(&seen, GATE_US)
    }

    #[test]
    fn a_calm_machine_and_one_of_which_nothing_is_known_leave_no_doubt() {
        assert_eq!(doubt(&calm(), GATE_US), None);
        assert_eq!(doubt(&MachineSeconds::default(), GATE_US), None);
        assert_eq!(waiting_percent(&MachineSeconds::default()), None);
        assert_eq!(waiting_percent(&calm()), Some(40.0));
    }

    #[test]
    fn a_machine_that_stood_still_is_a_doubt_whenever_it_did() {
        assert_eq!(with(|seen| seen.late_max_us[17] = LATE_MAX_US), None);
        let said = with(|seen| seen.late_max_us[17] = 312_400).unwrap();
        assert_eq!(
            said,
            "the machine itself was held up: a thread of the harness that was due ran 312 ms late, above 250 ms"
        );
    }

    #[test]
    fn stolen_time_is_a_doubt_whenever_it_was() {
        assert_eq!(with(|seen| seen.stolen_percent[3] = 90.0), None, "a moment");
        let said = with(|seen| seen.stolen_percent[3..13].fill(35.0)).unwrap();
        assert_eq!(
            said,
            "the machine was short of processors: the hypervisor gave 35 % of their time to others from 3 s to 13 s, above 20 %"
        );
    }

    #[test]
    fn an_overload_before_the_gate_is_a_doubt_and_a_later_one_is_the_systems_own() {
        let said = with(|seen| seen.waiting_percent[..6].fill(97.0)).unwrap();
        assert_eq!(
            said,
            "the machine was overloaded before anything was broken: something waited for a processor 97 % of the time \
             from 0 s to 6 s, above 90 %"
        );
        assert_eq!(with(|seen| seen.waiting_percent[6..].fill(100.0)), None);
        assert_eq!(with(|seen| seen.waiting_percent[..2].fill(100.0)), None, "a moment");
    }

    #[test]
    fn an_overload_beside_other_runs_is_a_doubt_whoever_made_it() {
        let beside = |others: u32| {
            with(|seen| {
                seen.waiting_percent[8..].fill(98.0);
                seen.beside[12..16].fill(others);
            })
        };
        assert_eq!(beside(0), None);
        assert!(
            beside(1)
                .unwrap()
                .contains("overloaded while another run was under way")
        );
        assert!(
            beside(3)
                .unwrap()
                .contains("overloaded while 3 other runs were under way")
        );
        let elsewhere = with(|seen| {
            seen.waiting_percent[10..].fill(98.0);
            seen.beside[..6].fill(1);
        });
        assert_eq!(elsewhere, None, "the other run had ended");
    }

    #[test]
    fn a_load_that_is_shorter_than_a_stretch_is_judged_as_a_whole() {
        let seen = MachineSeconds {
            late_max_us: vec![0; 3],
            waiting_percent: vec![95.0; 3],
            stolen_percent: Vec::new(),
            beside: vec![1; 3],
        };
        assert!(doubt(&seen, 2_000_000).is_some());
    }
}
