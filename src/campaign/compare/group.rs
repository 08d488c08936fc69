//! Runs of one experiment on one system and one engine, of either side.

use std::collections::{BTreeMap, BTreeSet};

use super::{NotComparable, is_comparable};
use crate::campaign::RunRecord;

/// The runs of one experiment on one system and one engine.
#[derive(Debug)]
pub(super) struct Group<'a> {
    pub system: &'a str,
    pub experiment: &'a str,
    pub engine: &'a str,
    pub baseline: Vec<&'a RunRecord>,
    pub now: Vec<&'a RunRecord>,
}

/// Groups the runs that can be compared, by system, experiment and engine.
pub(super) fn groups<'a>(baseline: &'a [RunRecord], now: &'a [RunRecord]) -> Vec<Group<'a>> {
    let mut groups: BTreeMap<(&str, &str, &str), Group<'a>> = BTreeMap::new();
    let sides = [(baseline, false), (now, true)];
    let runs = || {
        let of_side = |(runs, is_now): (&'a [RunRecord], bool)| runs.iter().map(move |run| (run, is_now));
        sides
            .into_iter()
            .flat_map(of_side)
            .filter(|(run, _)| is_comparable(run))
    };
    // A run that broke before it had an engine belongs to those that had one.
    let (with_engine, without): (Vec<_>, Vec<_>) = runs().partition(|(run, _)| !run.engine.is_empty());
    for (run, is_now) in with_engine.into_iter().chain(without) {
        let (system, experiment) = (run.system.as_str(), run.verdict.experiment.as_str());
        let engine = match run.engine.as_str() {
            "" => engine_of(&groups, system, experiment),
            engine => engine,
        };
        let group = groups.entry((system, experiment, engine)).or_insert_with(|| Group {
            system,
            experiment,
            engine,
            baseline: Vec::new(),
            now: Vec::new(),
        });
        match is_now {
            true => group.now.push(run),
            false => group.baseline.push(run),
        }
    }
    groups.into_values().collect()
}

fn engine_of<'a>(groups: &BTreeMap<(&str, &str, &'a str), Group<'a>>, system: &str, experiment: &str) -> &'a str {
    let mut of_it = groups.keys().filter(|key| (key.0, key.1) == (system, experiment));
    of_it.next().map_or("", |key| key.2)
}

/// Refuses campaigns that have nothing in common.
pub(super) fn refuse_strangers(groups: &[Group<'_>]) -> Result<(), NotComparable> {
    let refuse = |found: String, hint| Err(NotComparable { found, hint });
    let mut sides = [BTreeSet::new(), BTreeSet::new()];
    for group in groups {
        for (side, runs) in sides.iter_mut().zip([&group.baseline, &group.now]) {
            if !runs.is_empty() {
                side.insert((group.system, group.experiment, group.engine));
            }
        }
    }
    let [before, now] = &sides;
    for (side, whose) in [(before, "the baseline"), (now, "what is to be compared")] {
        if side.is_empty() {
            return refuse(
                format!("{whose} holds no run that can be compared"),
                "runs of `prove`, runs with a defect switched on and interrupted runs are left out; make others",
            );
        }
    }
    if before.intersection(now).next().is_some() {
        return Ok(());
    }
    let names = |side: &BTreeSet<(&str, &str, &str)>, of: fn(&(&str, &str, &str)) -> String| {
        side.iter().map(of).collect::<BTreeSet<String>>()
    };
    let listed = |names: BTreeSet<String>| names.into_iter().collect::<Vec<_>>().join(", ");
    let system = |key: &(&str, &str, &str)| key.0.to_owned();
    let (of_before, of_now) = (names(before, system), names(now, system));
    if of_before.is_disjoint(&of_now) {
        return refuse(
            format!(
                "the baseline is of another system: it has runs of {}, and these are of {}",
                listed(of_before),
                listed(of_now)
            ),
            "give the baseline of the same system, or make one: `nightmail baseline RUNS... --out FILE`",
        );
    }
    let experiment = |key: &(&str, &str, &str)| format!("{}/{}", key.0, key.1);
    let (of_before, of_now) = (names(before, experiment), names(now, experiment));
    if of_before.is_disjoint(&of_now) {
        return refuse(
            "no experiment of the baseline is among these runs".to_owned(),
            "give runs of the same experiments, or make a new baseline: `nightmail baseline RUNS... --out FILE`",
        );
    }
    let engine = |key: &(&str, &str, &str)| if key.2.is_empty() { "none" } else { key.2 }.to_owned();
    refuse(
        format!(
            "the baseline was made on another engine: on {}, and these runs on {}",
            listed(names(before, engine)),
            listed(names(now, engine))
        ),
        "times of one engine say nothing of another's: make runs or a baseline with the same `--engine`",
    )
}
