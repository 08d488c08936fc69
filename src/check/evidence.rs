//! A history, made ready for the checkers: every key and every element has a number.
//!
//! Looking up a million keys costs more than all else that checkers do, so it is done once for all of them. What a
//! checker keeps of a key it keeps in a list, at the key's number.

use std::collections::BTreeMap;

use super::about::About;
use super::index::Index;
use crate::history::load::{FinalList, History};
use crate::history::{Heartbeat, Item, Op, Outcome, Sample};
use crate::system::definition::MetricDefinition;

/// A history whose keys and elements are numbered.
pub struct Evidence<'h> {
    pub(super) history: &'h History<'h>,
    /// Every key and element, at its number: keys of operations first, in the order of completion.
    keys: Vec<&'h str>,
    /// The first operation of each key.
    firsts: Vec<First>,
    /// All operations of the keys that more than one operation has.
    repeated: BTreeMap<u32, Vec<u32>>,
    /// Kinds of operations; [`First::kind`] is a place in it.
    kinds: Vec<&'h str>,
    /// Numbers of each final read's elements, in its order.
    elements: BTreeMap<&'h str, Vec<u32>>,
    /// The gauges that the system has, if that is known.
    metrics: Option<&'h BTreeMap<String, MetricDefinition>>,
    /// When the last fault was healed, if all were.
    last_heal_us: Option<u64>,
}

#[derive(Clone, Copy)]
struct First {
    op: u32,
    kind: u16,
    outcome: Outcome,
}

/// Everything is counted in 32 bits: that many lines do not fit in memory.
fn narrow(count: usize) -> u32 {
    u32::try_from(count).expect("fewer than 2^32 lines fit in memory")
}

impl<'h> Evidence<'h> {
    /// Numbers every key and element of a history.
    pub fn gather(history: &'h History<'h>) -> Self {
        let mut evidence = Self {
            history,
            keys: Vec::new(),
            firsts: Vec::with_capacity(history.ops.len()),
            repeated: BTreeMap::new(),
            kinds: Vec::new(),
            elements: BTreeMap::new(),
            metrics: None,
            last_heal_us: None,
        };
        let mut index = Index::with_capacity(history.ops.len());
        let places = 0..narrow(history.ops.len());
        index.add_all(
            places,
            |place| &*history.ops[place as usize].key,
            |place, number, new| evidence.number_op(place, number, new),
        );
        evidence.number_elements(&mut index);
        evidence.keys = index.into_keys();
        evidence
    }

    /// Says which gauges the system has.
    pub fn with_metrics(mut self, metrics: &'h BTreeMap<String, MetricDefinition>) -> Self {
        self.metrics = Some(metrics);
        self
    }

    /// Says when the last fault was healed.
    pub fn with_last_heal(mut self, last_heal_us: Option<u64>) -> Self {
        self.last_heal_us = last_heal_us;
        self
    }

    fn number_op(&mut self, place: u32, number: u32, new: bool) {
        if !new {
            let first = self.firsts[number as usize].op;
            self.repeated.entry(number).or_insert_with(|| vec![first]).push(place);
            return;
        }
        let op = &self.history.ops[place as usize];
        let kind = self.kinds.iter().position(|kind| *kind == op.kind).unwrap_or_else(|| {
            self.kinds.push(&op.kind);
            self.kinds.len() - 1
        });
        self.firsts.push(First {
            op: place,
            kind: u16::try_from(kind).expect("systems have few kinds of operations"),
            outcome: op.outcome,
        });
    }

    /// Most elements are keys of operations: those are looked up on all cores, the rest is added in order.
    fn number_elements(&mut self, index: &mut Index<'h>) {
        const NEW: u32 = u32::MAX;
        let known: &Index<'_> = index;
        let look_up = |list: &FinalList<'_>| -> Vec<u32> {
            let mut numbers = Vec::with_capacity(list.items.len());
            known.find_all(
                &list.items,
                |item| &item.element,
                |number| numbers.push(number.unwrap_or(NEW)),
            );
            numbers
        };
        let lists = self.history.reads.values();
        let looked_up: Vec<Vec<u32>> = match self.is_large() {
            false => lists.map(look_up).collect(),
            true => std::thread::scope(|scope| {
                let threads: Vec<_> = lists.map(|list| scope.spawn(move || look_up(list))).collect();
                let looked_up = threads
                    .into_iter()
                    .map(|thread| thread.join().expect("looking up does not panic"));
                looked_up.collect()
            }),
        };
        for ((read, list), mut numbers) in self.history.reads.iter().zip(looked_up) {
            let places: Vec<usize> = (0..numbers.len()).filter(|place| numbers[*place] == NEW).collect();
            index.add_all(
                places,
                |place| &*list.items[place].element,
                |place, number, _| numbers[place] = number,
            );
            self.elements.insert(read, numbers);
        }
    }

    /// Whether more than one thread is worth its while.
    pub(super) fn is_large(&self) -> bool {
        const LARGE: usize = 10_000;
        let items = self.history.reads.values().map(|list| list.items.len());
        self.history.ops.len() + items.sum::<usize>() >= LARGE
    }

    /// How many numbers there are.
    pub(super) fn len(&self) -> usize {
        self.keys.len()
    }

    /// The key or element of a number.
    pub(super) fn key(&self, number: usize) -> &'h str {
        self.keys[number]
    }

    /// What is known of a number: its operation, or what it is called.
    pub(super) fn about(&self, number: usize) -> About<'h> {
        match self.firsts.get(number) {
            Some(first) => About::op(&self.history.ops[first.op as usize]),
            None => About::element(self.key(number)),
        }
    }

    /// The items of a final read with the numbers of their elements.
    pub(super) fn items(&self, read: &str) -> impl Iterator<Item = (usize, &'h Item<'h>)> {
        let numbers = self.elements.get(read).map_or(&[][..], Vec::as_slice);
        let items = self.history.reads.get(read).map_or(&[][..], |list| &list.items);
        numbers.iter().map(|number| *number as usize).zip(items)
    }

    /// The time between two readings of a gauge in microseconds; none if the system has no such gauge.
    pub(super) fn interval_us(&self, metric: &str) -> Option<u64> {
        Some(self.metrics?.get(metric)?.every.as_us())
    }

    /// Every reading of a gauge, failed ones too.
    pub(super) fn readings(&self, metric: &str) -> impl Iterator<Item = &'h Sample<'h>> {
        self.history
            .samples
            .iter()
            .filter(move |sample| sample.metric == metric)
    }

    /// Every heartbeat of a group.
    pub(super) fn heartbeats(&self, group: &str) -> Vec<&'h Heartbeat<'h>> {
        let all = self.history.heartbeats.iter();
        all.filter(|beat| beat.group == group).collect()
    }

    /// When the last fault was healed; none if there was no fault, or if one was not seen healed.
    pub(super) fn last_heal_us(&self) -> Option<u64> {
        self.last_heal_us
    }

    /// What is known of each number as a key of operations of these kinds; numbers beyond the end are no keys at all.
    pub(super) fn outcomes(&self, kinds: &[String]) -> Vec<Option<Outcome>> {
        let wanted: Vec<bool> = self
            .kinds
            .iter()
            .map(|known| kinds.iter().any(|kind| kind == known))
            .collect();
        let firsts = self.firsts.iter();
        let mut outcomes: Vec<Option<Outcome>> = firsts
            .map(|first| wanted[usize::from(first.kind)].then_some(first.outcome))
            .collect();
        for number in self.repeated.keys() {
            let ops = self.ops(*number as usize, kinds);
            outcomes[*number as usize] = ops.map(|op| op.outcome).reduce(together);
        }
        outcomes
    }

    /// The operation that speaks for a key: the first that is acknowledged, else the first.
    pub(super) fn op(&self, number: usize, kinds: &[String]) -> Option<&'h Op<'h>> {
        if self.repeated.is_empty() {
            return self.ops(number, kinds).next();
        }
        let acknowledged = self.ops(number, kinds).find(|op| op.outcome == Outcome::Ok);
        acknowledged.or_else(|| self.ops(number, kinds).next())
    }

    fn ops(&self, number: usize, kinds: &[String]) -> impl Iterator<Item = &'h Op<'h>> {
        let repeated = u32::try_from(number).ok().and_then(|number| self.repeated.get(&number));
        let first = self
            .firsts
            .get(number)
            .filter(|_| repeated.is_none())
            .map(|first| first.op);
        let places = first.into_iter().chain(repeated.into_iter().flatten().copied());
        let ops = places.map(|place| &self.history.ops[place as usize]);
        ops.filter(move |op| kinds.iter().any(|kind| *kind == op.kind))
    }
}

/// Retries with one key are one operation: `ok` if any was, `fail` only if all were, else `info`.
fn together(one: Outcome, other: Outcome) -> Outcome {
    match (one, other) {
        (Outcome::Ok, _) | (_, Outcome::Ok) => Outcome::Ok,
        (Outcome::Fail, Outcome::Fail) => Outcome::Fail,
        _ => Outcome::Info,
    }
}
