//! `published`: what a system publishes about itself is true, or becomes so soon.
//!
//! A claim (a gauge, such as how many branches a status board calls open) is false at a time when its latest reading makes
//! it and the latest reading of the truth (another gauge) denies it. A false claim lasts from the first reading of either
//! gauge that shows it to the last one on end: no longer than was seen, so that readings which come seldom make it shorter
//! and never longer. A reading that failed, or none for several intervals, is no evidence of anything: it ends a false
//! claim. Invalid if one lasts longer than the lag. How long what was true went unpublished is measured likewise, and is
//! invalid where it is bounded. A gauge without readings, or a claim that was never made: inconclusive.
//! O(n).

use std::ops::Range;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::about::About;
use super::{Breach, Checked, Checker, Evidence, Names, StatedBound};
use crate::duration::DurationMs;
use crate::plan::{Bound, BoundUnit};

/// For so many of its intervals a reading counts as the latest.
const FRESH_INTERVALS: u64 = 4;

/// Parameters of `published`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Published {
    /// What is published.
    pub claim: Statement,
    /// What must be so where it is.
    pub true_when: Statement,
    /// How long what is published may be false on end.
    pub lag: DurationMs,
    /// How long what is true may go unpublished on end; any time unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub told_within: Option<DurationMs>,
}

/// A statement about a gauge: its reading keeps a bound.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Statement {
    /// The gauge, a key of `metrics`.
    pub metric: String,
    /// The bound: `">= 1"`, or `"<= 2s"` for a metric in milliseconds.
    pub is: String,
}

impl Checker for Published {
    fn names(&self) -> Names<'_> {
        let (claim, truth) = (&self.claim, &self.true_when);
        Names {
            metrics: vec![
                ("claim.metric".to_owned(), &claim.metric),
                ("true-when.metric".to_owned(), &truth.metric),
            ],
            bounds: vec![claim.bound("claim.is"), truth.bound("true-when.is")],
            ..Names::default()
        }
    }

    fn check(&self, evidence: &Evidence<'_>) -> Checked {
        let mut checked = Checked::default();
        let claim = self.claim.read(evidence, &mut checked);
        let truth = self.true_when.read(evidence, &mut checked);
        let (Some(claim), Some(truth)) = (claim, truth) else {
            return checked;
        };
        let course = Course::follow(&claim, &truth);
        checked.looked_at(claim.count() + truth.count(), self.summary(&course, claim.count()));
        self.doubt_unmade(&course, &mut checked);
        let (claim, truth) = (&self.claim, &self.true_when);
        for stretch in longer(&course.false_us, self.lag) {
            let about = About::reading(&claim.metric, stretch.start);
            checked.breach(Breach::FalselyPublished, about, || claim.without(truth, stretch));
        }
        for stretch in self
            .told_within
            .iter()
            .flat_map(|most| longer(&course.untold_us, *most))
        {
            let about = About::reading(&truth.metric, stretch.start);
            checked.breach(Breach::NotPublished, about, || truth.without(claim, stretch));
        }
        checked
    }
}

impl Published {
    fn summary(&self, course: &Course, readings: usize) -> String {
        let longest_false = match longest(&course.false_us) {
            Some(stretch) => format!("the longest false claim was seen {}", told(stretch)),
            None => "no false claim was seen".to_owned(),
        };
        let untold = match (longest(&course.untold_us), self.told_within) {
            (Some(stretch), None) => format!("; true and not published {}", told(stretch)),
            (Some(stretch), Some(most)) => format!("; true and not published {}, {most} allowed", told(stretch)),
            (None, _) => String::new(),
        };
        let (lag, metric, is) = (self.lag, &self.claim.metric, &self.claim.is);
        let (claims, compared) = (course.claims, course.compared);
        format!(
            "{longest_false}, {lag} allowed{untold}; {claims} of {readings} readings of `{metric}` are {is}, {compared} of them compared"
        )
    }

    fn doubt_unmade(&self, course: &Course, checked: &mut Checked) {
        let (claim, truth) = (&self.claim, &self.true_when);
        if course.claims == 0 {
            checked.doubt(|| format!("`{}` never was {}, so nothing was claimed", claim.metric, claim.is));
        } else if course.compared == 0 {
            checked.doubt(|| {
                format!(
                    "whenever `{}` was {}, there was no reading of `{}` to compare",
                    claim.metric, claim.is, truth.metric
                )
            });
        }
    }
}

/// `for 1250 ms, from 12.000 s to 13.250 s`.
fn told(stretch_us: &Range<u64>) -> String {
    let second = |us: u64| us as f64 / 1e6;
    let (from, to) = (second(stretch_us.start), second(stretch_us.end));
    let lasted_ms = lasted_us(stretch_us).div_ceil(1_000);
    format!("for {lasted_ms} ms, from {from:.3} s to {to:.3} s")
}

/// The longest. Of several that lasted as long it is the first.
fn longest(stretches_us: &[Range<u64>]) -> Option<&Range<u64>> {
    stretches_us.iter().rev().max_by_key(|stretch| lasted_us(stretch))
}

fn longer(stretches_us: &[Range<u64>], most: DurationMs) -> impl Iterator<Item = &Range<u64>> {
    stretches_us
        .iter()
        .filter(move |stretch| lasted_us(stretch) > most.as_us())
}

fn lasted_us(stretch_us: &Range<u64>) -> u64 {
    stretch_us.end - stretch_us.start
}

impl Statement {
    /// That it was so for a time in which another was not.
    fn without(&self, other: &Self, stretch_us: &Range<u64>) -> String {
        let told = told(stretch_us);
        format!(
            "`{}` was {} {told}, but `{}` was not {}",
            self.metric, self.is, other.metric, other.is
        )
    }

    fn bound(&self, at: &'static str) -> StatedBound<'_> {
        StatedBound {
            at,
            metric: &self.metric,
            text: &self.is,
        }
    }

    /// Every reading, as whether it keeps the bound. Without any there is doubt.
    fn read(&self, evidence: &Evidence<'_>, checked: &mut Checked) -> Option<Told> {
        let (metric, is) = (&self.metric, &self.is);
        let Ok(bound) = Bound::parse(is, BoundUnit::of(is)) else {
            checked.doubt(|| format!("`{is}` is no bound"));
            return None;
        };
        let Some(interval_us) = evidence.interval_us(metric) else {
            checked.doubt(|| format!("the system has no metric `{metric}`"));
            return None;
        };
        let readings = evidence.readings(metric);
        let mut readings: Vec<(u64, Option<bool>)> = readings
            .map(|sample| (sample.at_us, sample.value.map(|value| bound.holds(value))))
            .collect();
        readings.sort_by_key(|(at_us, _)| *at_us);
        let told = Told {
            readings,
            fresh_us: interval_us.saturating_mul(FRESH_INTERVALS),
        };
        if told.count() == 0 {
            checked.doubt(|| format!("there is no reading of `{metric}`"));
            return None;
        }
        Some(told)
    }
}

/// What a gauge tells of its statement, in the order of time. A reading that failed tells nothing.
struct Told {
    readings: Vec<(u64, Option<bool>)>,
    fresh_us: u64,
}

impl Told {
    fn count(&self) -> usize {
        self.readings.iter().filter(|(_, holds)| holds.is_some()).count()
    }
}

/// How a claim fared.
#[derive(Default)]
struct Course {
    /// False claims, each from the first reading that shows it to the last.
    false_us: Vec<Range<u64>>,
    /// Times in which what was true was not claimed, likewise.
    untold_us: Vec<Range<u64>>,
    /// Readings that make the claim.
    claims: usize,
    /// Those of them beside which the truth was known.
    compared: usize,
}

impl Course {
    fn follow(claim: &Told, truth: &Told) -> Self {
        let mut course = Self::default();
        let (mut claim, mut truth) = (Latest::of(claim), Latest::of(truth));
        let (mut falsely, mut untold) = (Stretches::default(), Stretches::default());
        while let Some(now_us) = [claim.next_us(), truth.next_us()].into_iter().flatten().min() {
            let before_us = now_us.saturating_sub(1);
            let was_known = claim.at(before_us).is_some() && truth.at(before_us).is_some();
            let is_claim_read = claim.read_up_to(now_us);
            truth.read_up_to(now_us);
            let (claimed, is_true) = (claim.at(now_us), truth.at(now_us));
            if claimed == Some(true) && is_claim_read {
                course.claims += 1;
                course.compared += usize::from(is_true.is_some());
            }
            let both = (claimed, is_true);
            falsely.see(now_us, both == (Some(true), Some(false)), was_known);
            untold.see(now_us, both == (Some(false), Some(true)), was_known);
        }
        course.false_us = falsely.ended();
        course.untold_us = untold.ended();
        course
    }
}

/// Times in which something was seen on end.
#[derive(Default)]
struct Stretches {
    over: Vec<Range<u64>>,
    lasting: Option<Range<u64>>,
}

impl Stretches {
    /// Whether it was seen at a time. Where the time before was not known, a stretch does not reach over it.
    fn see(&mut self, now_us: u64, is_seen: bool, was_known: bool) {
        self.over.extend(self.lasting.take_if(|_| !was_known || !is_seen));
        if is_seen {
            self.lasting.get_or_insert(now_us..now_us).end = now_us;
        }
    }

    fn ended(mut self) -> Vec<Range<u64>> {
        self.over.extend(self.lasting);
        self.over
    }
}

/// The latest reading of a gauge, as time goes on.
struct Latest<'t> {
    told: &'t Told,
    next: usize,
}

impl<'t> Latest<'t> {
    fn of(told: &'t Told) -> Self {
        Self { told, next: 0 }
    }

    fn next_us(&self) -> Option<u64> {
        self.told.readings.get(self.next).map(|(at_us, _)| *at_us)
    }

    /// Passes on to the last reading up to a time. Whether there was one.
    fn read_up_to(&mut self, now_us: u64) -> bool {
        let before = self.next;
        while self.next_us().is_some_and(|at_us| at_us <= now_us) {
            self.next += 1;
        }
        self.next > before
    }

    /// What it tells, unless it is too old.
    fn at(&self, now_us: u64) -> Option<bool> {
        let (at_us, holds) = self.told.readings.get(self.next.checked_sub(1)?)?;
        holds.filter(|_| now_us.saturating_sub(*at_us) <= self.told.fresh_us)
    }
}
