//! The timeline of a plan, drawn with characters.

use std::fmt::Write as _;

use super::{Plan, Trigger};
use crate::duration::DurationMs;

/// Columns of the time axis.
const COLUMNS: u64 = 60;

/// Columns for names.
const NAME_COLUMNS: usize = 24;

/// Steps between marks of the axis, in milliseconds: the first that leaves at most eight marks is taken.
const STEPS_MS: [u64; 12] = [
    1_000, 2_000, 5_000, 10_000, 15_000, 30_000, 60_000, 120_000, 300_000, 600_000, 1_800_000, 3_600_000,
];

/// A row of the timeline for each phase and each fault, several lines. Times count from the start of the load.
pub(super) fn timeline(plan: &Plan) -> String {
    let schedule = &plan.schedule;
    let scale = Scale {
        total_ms: schedule.total_ms.max(1),
    };
    let healed_ms = schedule.gate_ms + schedule.method_ms;
    let mut text = String::new();
    row(&mut text, "", &scale.axis());
    row(&mut text, "warm-up", &scale.bar(&[(0, plan.gate.warm_up_ms, '-')]));
    row(
        &mut text,
        "gate",
        &scale.bar(&[(plan.gate.warm_up_ms, schedule.gate_ms, '=')]),
    );
    if plan.faults.is_empty() {
        row(&mut text, "load", &scale.bar(&[(schedule.gate_ms, healed_ms, '-')]));
    }
    for fault in &plan.faults {
        let latest_ms = schedule.gate_ms + fault.trigger.latest_ms();
        let end_ms = latest_ms + fault.for_ms;
        let bar = match fault.trigger {
            Trigger::At { .. } => scale.bar(&[(latest_ms, end_ms, '#')]),
            // It may start at any time until then.
            _ => scale.bar(&[(schedule.gate_ms, latest_ms, '.'), (latest_ms, end_ms, '#')]),
        };
        row(&mut text, &fault.name, &bar);
    }
    if plan.recovery.is_some() {
        row(
            &mut text,
            "recovery",
            &scale.bar(&[(healed_ms, schedule.total_ms, '-')]),
        );
    }
    let _ = writeln!(
        text,
        "  {} at most, without bringing the system up and down",
        DurationMs(schedule.total_ms)
    );
    text
}

fn row(text: &mut String, name: &str, bar: &str) {
    let mut shown: String = name.chars().take(NAME_COLUMNS).collect();
    if name.chars().count() > NAME_COLUMNS {
        shown = shown.chars().take(NAME_COLUMNS - 3).chain("...".chars()).collect();
    }
    let _ = writeln!(text, "{}", format!("  {shown:NAME_COLUMNS$} {bar}").trim_end());
}

struct Scale {
    total_ms: u64,
}

impl Scale {
    fn column(&self, ms: u64) -> usize {
        (u128::from(ms) * u128::from(COLUMNS) / u128::from(self.total_ms)) as usize
    }

    /// Every bar that lasts has at least one column.
    fn bar(&self, parts: &[(u64, u64, char)]) -> String {
        let mut columns = vec![' '; COLUMNS as usize + 1];
        for (from_ms, to_ms, mark) in parts.iter().filter(|(from_ms, to_ms, _)| from_ms < to_ms) {
            let from = self.column(*from_ms);
            let to = self.column(*to_ms).max(from + 1).min(columns.len());
            columns[from.min(to - 1)..to].fill(*mark);
        }
        columns.into_iter().collect()
    }

    fn axis(&self) -> String {
        let step_ms = STEPS_MS
            .into_iter()
            .find(|step_ms| self.total_ms / step_ms <= 8)
            .unwrap_or_else(|| self.total_ms.div_ceil(8).max(1));
        let mut axis = String::new();
        for mark in 0..=self.total_ms / step_ms {
            let at = self.column(mark * step_ms);
            let label = DurationMs(mark * step_ms).to_string();
            let label = if mark == 0 { "0s".to_owned() } else { label };
            if at >= axis.len() {
                axis = format!("{:at$}{label} ", axis.trim_end());
            }
        }
        axis
    }
}
