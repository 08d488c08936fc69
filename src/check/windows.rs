//! Over which part of a run's time `during` and `afterwards` are judged.

use std::ops::Range;

use super::timeline::Timeline;
use crate::duration::DurationMs;
use crate::plan::{Plan, WindowedProbe};

/// The time over which a bound is judged, in microseconds since the load started.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Judged {
    /// Its parts.
    pub windows_us: Vec<Range<u64>>,
    /// Why this is less than was asked about. Without any part, why nothing can be said at all.
    pub doubt: Option<String>,
}

impl Judged {
    fn nothing(doubt: String) -> Self {
        Self {
            windows_us: Vec::new(),
            doubt: Some(doubt),
        }
    }
}

fn after_us(asked: &WindowedProbe) -> u64 {
    asked.after_ms.saturating_mul(1_000)
}

/// The time of all faults together, or of one alone, but the first part of each. Without a fault, all the time in which
/// there might have been one.
pub(super) fn of_faults(plan: &Plan, timeline: &Timeline<'_>, asked: &WindowedProbe) -> Judged {
    let after_us = after_us(asked);
    if plan.faults.is_empty() {
        let gate_us = timeline.gate.map_or(0, |(at_us, ..)| at_us);
        return Judged {
            windows_us: vec![gate_us.saturating_add(after_us)..timeline.load_end_us],
            doubt: None,
        };
    }
    let faults = plan.faults.iter().zip(&timeline.faults);
    let chosen = faults.filter(|(fault, _)| asked.fault.is_none_or(|id| id == fault.id));
    let seen: Vec<(&str, Range<u64>)> = chosen
        .filter_map(|(fault, seen)| Some((fault.name.as_str(), timeline.fault_window_us(seen)?)))
        .collect();
    if seen.is_empty() {
        let named = plan.faults.iter().find(|fault| asked.fault == Some(fault.id));
        let none = named.map_or("no fault was".to_owned(), |fault| format!("`{}` was not", fault.name));
        return Judged::nothing(format!("{none} seen in effect, so there is no time to judge"));
    }
    let lasted_us = |time: &Range<u64>| time.end.saturating_sub(time.start);
    let too_short = seen
        .iter()
        .find(|(_, time)| after_us > 0 && lasted_us(time) <= after_us)
        .map(|(name, time)| {
            let (lasted_s, after) = (lasted_us(time) as f64 / 1e6, DurationMs(asked.after_ms));
            format!("`{name}` lasted {lasted_s:.3} s, of which the first {after} are not judged")
        });
    let settling: Vec<Range<u64>> = seen
        .iter()
        .map(|(_, time)| time.start..time.start.saturating_add(after_us))
        .collect();
    let windows_us: Vec<Range<u64>> = seen
        .into_iter()
        .flat_map(|(_, time)| without(time, &settling))
        .collect();
    match (windows_us.is_empty(), too_short) {
        (true, None) => Judged::nothing("of no fault's time anything is left to judge".to_owned()),
        (_, doubt) => Judged { windows_us, doubt },
    }
}

/// The time from the last heal to the end of the load, but its first part.
pub(super) fn afterwards(timeline: &Timeline<'_>, asked: &WindowedProbe) -> Judged {
    let Some(healed_us) = timeline.last_heal_us() else {
        return Judged::nothing("no last heal was seen, so there is no time after it to judge".to_owned());
    };
    let (start_us, end_us) = (healed_us.saturating_add(after_us(asked)), timeline.load_end_us);
    if start_us >= end_us {
        let lasted_s = end_us.saturating_sub(healed_us) as f64 / 1e6;
        let after = DurationMs(asked.after_ms);
        return Judged::nothing(format!(
            "the load went on for {lasted_s:.3} s after the last heal, of which the first {after} are not judged"
        ));
    }
    Judged {
        windows_us: vec![start_us..end_us],
        doubt: None,
    }
}

/// What is left of a time without the parts that are not judged.
fn without(time: Range<u64>, not_judged: &[Range<u64>]) -> Vec<Range<u64>> {
    let mut left = vec![time];
    for cut in not_judged.iter().filter(|cut| !cut.is_empty()) {
        let parts = left
            .into_iter()
            .flat_map(|part| [part.start..part.end.min(cut.start), part.start.max(cut.end)..part.end]);
        left = parts.filter(|part| !part.is_empty()).collect();
    }
    left
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_judged_is_cut_out() {
        assert_eq!(without(10..20, &[]), [10..20]);
        assert_eq!(without(10..20, &[10..13]), [13..20]);
        assert_eq!(without(10..20, &[10..13, 15..18]), [13..15, 18..20]);
        assert_eq!(without(10..20, &[10..16, 15..18]), [18..20]);
        assert_eq!(without(10..20, &[10..20]), [0..0; 0]);
        assert_eq!(without(10..20, &[20..25, 5..10]), [10..20]);
        assert_eq!(without(10..20, &[15..15]), [10..20], "nothing is cut");
    }
}
