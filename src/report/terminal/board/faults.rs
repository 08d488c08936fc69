//! Faults on the time axis: planned, in force, over.

use std::collections::BTreeMap;

use console::measure_text_width;

use super::axis::Axis;
use super::spark;
use crate::event::Event;
use crate::plan::{Plan, Trigger};
use crate::report::terminal::style::{Paint, Style};
use crate::report::text::clean;

/// The faults of a method, by position.
#[derive(Debug, Default)]
pub(super) struct Faults {
    known: BTreeMap<u32, Fault>,
    /// The gate passes at this time, or is planned to.
    gate_us: i64,
}

#[derive(Debug)]
struct Fault {
    name: String,
    /// From the gate on; absent where something else than a time triggers it.
    planned_us: Option<i64>,
    for_us: i64,
    state: State,
    /// From when to when it was in effect.
    effect_us: (Option<i64>, Option<i64>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Planned,
    BeingInjected,
    InForce,
    NotSeen,
    BeingHealed,
    Healed,
    Missed,
    NotHealed,
}

/// How a fault is shown.
pub(super) struct Shown {
    /// Its number and its name.
    pub label: String,
    /// What it does now, in ten columns at most.
    pub state: String,
    /// A cell a column.
    pub cells: String,
}

impl Faults {
    /// Learns what is planned.
    pub fn expect(&mut self, plan: &Plan) {
        let us = |ms: u64| i64::try_from(ms).unwrap_or(i64::MAX / 1_000) * 1_000;
        self.gate_us = us(plan.schedule.gate_ms);
        let planned = plan.faults.iter().map(|fault| {
            let planned_us = match &fault.trigger {
                Trigger::At { at_ms } => Some(us(*at_ms)),
                Trigger::OnOperation { .. } | Trigger::OnLog { .. } => None,
            };
            let mut shown = Fault::named(&fault.name);
            (shown.planned_us, shown.for_us) = (planned_us, us(fault.for_ms));
            (fault.id, shown)
        });
        self.known = planned.collect();
    }

    /// Takes an event in.
    pub fn apply(&mut self, at_us: i64, event: &Event) {
        match event {
            Event::Gate { passed: true, .. } => self.gate_us = at_us,
            Event::FaultIntent { fault, name, .. } => {
                let known = self.known.entry(*fault).or_insert_with(|| Fault::named(name));
                known.state = State::BeingInjected;
            }
            Event::FaultInjected {
                fault, effective_us, ..
            } => self.change(*fault, |known| {
                known.effect_us.0 = *effective_us;
                known.state = match effective_us {
                    Some(_) => State::InForce,
                    None => State::NotSeen,
                };
            }),
            Event::HealIntent { fault } => self.change(*fault, |known| known.state = State::BeingHealed),
            Event::FaultMissed { fault, .. } => self.change(*fault, |known| known.state = State::Missed),
            Event::HealFailed { fault, .. } => self.change(*fault, |known| known.state = State::NotHealed),
            Event::FaultHealed { fault, healed_us, .. } => self.change(*fault, |known| {
                known.effect_us.1 = *healed_us;
                known.state = match healed_us {
                    Some(_) => State::Healed,
                    None => State::NotHealed,
                };
            }),
            _ => {}
        }
    }

    fn change(&mut self, fault: u32, change: impl FnOnce(&mut Fault)) {
        if let Some(known) = self.known.get_mut(&fault) {
            change(known);
        }
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.known.len()
    }

    /// Columns of the widest label.
    pub fn label_width(&self) -> usize {
        let label = |(number, fault): (&u32, &Fault)| measure_text_width(&fault.label(*number, &Style::default()));
        // The bolt is two columns wide where there is one.
        self.known.iter().map(label).max().map_or(0, |width| width + 1)
    }

    /// So many of them at most: those that are not over first, in the order of the method.
    pub fn shown(&self, at_us: i64, axis: Axis, rows_max: usize, style: &Style) -> Vec<Shown> {
        let mut chosen: Vec<(&u32, &Fault)> = self.known.iter().collect();
        chosen.sort_by_key(|(number, fault)| (fault.is_over(), **number));
        chosen.truncate(rows_max);
        chosen.sort_by_key(|(number, _)| **number);
        let show = |(number, fault): (&u32, &Fault)| Shown {
            label: fault.label(*number, style),
            state: fault.state_in_words(at_us),
            cells: fault.cells(at_us, self.gate_us, axis, style),
        };
        chosen.into_iter().map(show).collect()
    }
}

impl Fault {
    fn named(name: &str) -> Self {
        Self {
            name: clean(name),
            planned_us: None,
            for_us: 0,
            state: State::Planned,
            effect_us: (None, None),
        }
    }

    fn label(&self, number: u32, style: &Style) -> String {
        let bolt = if style.unicode { "⚡" } else { "!" };
        format!("{bolt} F{} {}", number + 1, self.name)
    }

    fn is_over(&self) -> bool {
        matches!(self.state, State::Healed | State::Missed)
    }

    fn state_in_words(&self, at_us: i64) -> String {
        match self.state {
            State::Planned => "planned".to_owned(),
            State::BeingInjected => "injecting".to_owned(),
            State::InForce => {
                let elapsed_us = self.effect_us.0.map_or(0, |effective_us| at_us - effective_us);
                let seconds = |us: i64| us.max(0) as f64 / 1e6;
                match self.for_us {
                    0 => format!("for {:.1} s", seconds(elapsed_us)),
                    for_us => format!("{:.1} s left", seconds(for_us - elapsed_us)),
                }
            }
            State::NotSeen => "not seen".to_owned(),
            State::BeingHealed => "healing".to_owned(),
            State::Healed => "healed".to_owned(),
            State::Missed => "missed".to_owned(),
            State::NotHealed => "not healed".to_owned(),
        }
    }

    fn cells(&self, at_us: i64, gate_us: i64, axis: Axis, style: &Style) -> String {
        let (in_force, planned) = if style.unicode { ('▓', '░') } else { ('=', '-') };
        let effect_us = self
            .effect_us
            .0
            .map(|from_us| (from_us, self.effect_us.1.unwrap_or(at_us)));
        let is_ahead = matches!(self.state, State::Planned | State::BeingInjected);
        let planned_us = self
            .planned_us
            .filter(|_| is_ahead)
            .map(|planned_us| (gate_us + planned_us, gate_us + planned_us + self.for_us));
        // At least the column of its beginning, however short it is.
        let is_in = |span: Option<(i64, i64)>, (from_us, to_us): (i64, i64)| {
            span.is_some_and(|(start_us, end_us)| start_us < to_us && end_us.max(start_us + 1) > from_us)
        };
        let cell = |span| match (is_in(effect_us, span), is_in(planned_us, span)) {
            (true, _) => (Some(Paint::Fault), in_force),
            (false, true) => (Some(Paint::Dim), planned),
            (false, false) => (None, ' '),
        };
        spark::painted(axis.spans_us().map(cell), style)
    }
}
