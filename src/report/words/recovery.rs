//! Recovery in words: a clause, figures with their meanings, cells of a table.

use std::borrow::Cow;

use crate::check::BIN_US;
use crate::report::text::{count, duration, plural};
use crate::verdict::{Recovery, Verdict};

/// How an answer ends.
pub(super) fn recovery_clause(verdict: &Verdict) -> String {
    if verdict.faults.is_empty() {
        return ", without any fault".to_owned();
    }
    let recovery = &verdict.recovery;
    match (recovery.disruption_ms, recovery.recovery_time_ms) {
        (Some(disruption), Some(_)) if disruption > 0.0 && back_before_heal_ms(verdict).is_some() => format!(
            "; service was disrupted for {}, and was back before the last heal",
            duration(disruption)
        ),
        (Some(disruption), Some(time)) if disruption > 0.0 => format!(
            "; service was disrupted for {}, and was back {} after the last fault had healed",
            duration(disruption),
            duration(time)
        ),
        (Some(_), _) => "; service was not seen degraded".to_owned(),
        _ => "; recovery was not measured".to_owned(),
    }
}

/// How long after the first effect of a fault good service was back, where that was before the last heal.
pub(in crate::report) fn back_before_heal_ms(verdict: &Verdict) -> Option<f64> {
    // Good time begins with a bin: that of the heal itself is not before it.
    const BIN_MS: f64 = BIN_US as f64 / 1e3;
    let recovery = &verdict.recovery;
    let disruption_ms = recovery.disruption_ms.filter(|ms| *ms > 0.0)?;
    let effective = verdict.faults.iter().filter_map(|fault| fault.effective_ms);
    let healed = verdict.faults.iter().filter_map(|fault| fault.healed_ms);
    let (first_ms, last_ms) = (effective.reduce(f64::min)?, healed.reduce(f64::max)?);
    let is_before = recovery.recovery_time_ms == Some(0.0) && first_ms + disruption_ms + BIN_MS <= last_ms;
    is_before.then_some(disruption_ms)
}

/// A figure with its meaning.
pub(in crate::report) struct Figure {
    /// Its name in `verdict.json`'s terms.
    pub name: &'static str,
    /// The number with its unit.
    pub value: String,
    /// How it is counted.
    pub meaning: Cow<'static, str>,
}

/// The recovery figures, or nothing where no fault was planned.
pub(in crate::report) fn recovery_figures(verdict: &Verdict) -> Vec<Figure> {
    if verdict.faults.is_empty() {
        return Vec::new();
    }
    let recovery = &verdict.recovery;
    let time = |measured: Option<f64>, none: &str| match (measured, recovery.censored) {
        (Some(ms), false) => duration(ms),
        (Some(ms), true) => format!("more than {}", duration(ms)),
        (None, true) => "not over when the load ended".to_owned(),
        (None, false) => none.to_owned(),
    };
    let recovered = match back_before_heal_ms(verdict) {
        Some(ms) => Figure {
            name: "recovery time",
            value: "before the last heal".to_owned(),
            meaning: format!(
                "good time began {} after the first effect of a fault, and lasted",
                duration(ms)
            )
            .into(),
        },
        None => Figure {
            name: "recovery time",
            value: time(recovery.recovery_time_ms, "not measured"),
            meaning: "from the last heal to the start of the good time that then lasted".into(),
        },
    };
    let mut figures = vec![
        recovered,
        Figure {
            name: "disruption",
            value: time(recovery.disruption_ms, "not measured"),
            meaning: "from the first effect of a fault to the same moment; none if service was not seen degraded"
                .into(),
        },
        Figure {
            name: "data loss",
            value: data_loss(verdict),
            meaning: "operations that were acknowledged and are gone".into(),
        },
    ];
    if let Some(drained) = recovery.backlog_drained_ms {
        figures.push(Figure {
            name: "backlog drained",
            value: duration(drained),
            meaning: "from the last heal to the moment piled-up work was worked off".into(),
        });
    }
    if recovery.metastable {
        figures.push(Figure {
            name: "metastable",
            value: "yes".to_owned(),
            meaning: "still degraded to the end, at a load no higher than before, though every fault had healed".into(),
        });
    }
    figures
}

/// Recovery time, disruption and operations lost, each in as few words as a table has room for.
pub(in crate::report) fn recovery_in_brief(recovery: &Recovery, had_faults: bool) -> [String; 3] {
    let nothing = if had_faults { "not measured" } else { "no fault" };
    let time = |measured: Option<f64>| match (measured, recovery.censored) {
        (Some(ms), false) => duration(ms),
        (Some(ms), true) => format!("> {}", duration(ms)),
        (None, true) => "not over".to_owned(),
        (None, false) => nothing.to_owned(),
    };
    let lost = recovery.data_loss_operations.map_or_else(|| nothing.to_owned(), count);
    [time(recovery.recovery_time_ms), time(recovery.disruption_ms), lost]
}

fn data_loss(verdict: &Verdict) -> String {
    let recovery = &verdict.recovery;
    let Some(lost) = recovery.data_loss_operations else {
        return "not measured".to_owned();
    };
    let operations = plural(lost, "operation");
    match recovery.data_loss_time_ms {
        Some(age) if lost > 0 => format!(
            "{operations}, the oldest {} old when the fault took effect",
            duration(age)
        ),
        _ => operations,
    }
}
