//! The journals that `device-log` compares: what devices wrote, and what the host has of it, put together by device and
//! number.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;

use super::about::About;
use super::index::KeyHash;
use super::{Breach, Checked};
use crate::history::Item;

/// The sides, by their places in an entry.
pub(super) const JOURNAL: usize = 0;
pub(super) const HOST: usize = 1;

/// Entries of both sides, put together.
#[derive(Default)]
pub(super) struct Journals<'e> {
    /// In the order in which they were first met.
    pub entries: Vec<Entry<'e>>,
    places: HashMap<(u32, i64), u32, KeyHash>,
    devices: Vec<Device<'e>>,
    device_numbers: HashMap<Cow<'e, str>, u32, KeyHash>,
}

/// An entry, as either side has it: first in the journal, then at the host.
pub(super) struct Entry<'e> {
    device: u32,
    sequence: i64,
    /// The number of its element, as it was first met.
    pub number: usize,
    pub items: [Option<&'e Item<'e>>; 2],
    /// How often either side has it.
    pub seen: [u32; 2],
}

/// A device's journal, in so far as its numbers go.
struct Device<'e> {
    name: Cow<'e, str>,
    /// How many different entries there are, and the least and the greatest number.
    count: i64,
    least: i64,
    greatest: i64,
}

/// How messages name an entry.
pub(super) struct EntryName<'a> {
    device: &'a str,
    sequence: i64,
    element: &'a str,
}

impl fmt::Display for EntryName<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "entry {} of {} (`{}`)", self.sequence, self.device, self.element)
    }
}

impl<'e> Journals<'e> {
    /// Enters an item of one side.
    pub(super) fn enter(
        &mut self,
        device: Cow<'e, str>,
        sequence: i64,
        side: usize,
        (number, item): (usize, &'e Item<'e>),
    ) {
        let device = self.device(device);
        let next = self.entries.len() as u32;
        let place = *self.places.entry((device, sequence)).or_insert(next);
        if place == next {
            self.entries.push(Entry {
                device,
                sequence,
                number,
                items: [None; 2],
                seen: [0; 2],
            });
        }
        let entry = &mut self.entries[place as usize];
        entry.items[side].get_or_insert(item);
        entry.seen[side] += 1;
        if side == JOURNAL && entry.seen[side] == 1 {
            self.devices[device as usize].note(sequence);
        }
    }

    /// How many devices have an entry in their journals.
    pub(super) fn device_count(&self) -> usize {
        self.devices.iter().filter(|device| device.count > 0).count()
    }

    fn device(&mut self, name: Cow<'e, str>) -> u32 {
        if let Some(number) = self.device_numbers.get(&name) {
            return *number;
        }
        let number = self.devices.len() as u32;
        self.devices.push(Device {
            name: name.clone(),
            count: 0,
            least: i64::MAX,
            greatest: i64::MIN,
        });
        self.device_numbers.insert(name, number);
        number
    }

    /// An entry, for messages.
    pub(super) fn named<'a>(&'a self, entry: &Entry<'a>) -> EntryName<'a> {
        let item = entry.items[JOURNAL].or(entry.items[HOST]);
        EntryName {
            device: &self.devices[entry.device as usize].name,
            sequence: entry.sequence,
            element: item.map_or("", |item| &item.element),
        }
    }

    /// The numbers of each journal must be 1, 2, 3 and so on. Where all are, nothing is sorted.
    pub(super) fn judge_numbers(&self, checked: &mut Checked) {
        let mut broken: Vec<Option<Vec<i64>>> = self
            .devices
            .iter()
            .map(|device| (!device.is_whole()).then(Vec::new))
            .collect();
        for entry in self.entries.iter().filter(|entry| entry.seen[JOURNAL] > 0) {
            if let Some(sequences) = &mut broken[entry.device as usize] {
                sequences.push(entry.sequence);
            }
        }
        for (device, sequences) in self.devices.iter().zip(broken) {
            let Some(mut sequences) = sequences else { continue };
            sequences.sort_unstable();
            judge_numbers_of(&device.name, &sequences, checked);
        }
    }
}

/// Notes numbers below 1, and gaps: an entry that is not there, or several in a row.
fn judge_numbers_of(device: &str, sequences: &[i64], checked: &mut Checked) {
    let mut expected = 1;
    for sequence in sequences {
        if *sequence < 1 {
            checked.breach(Breach::Numbering, About::default(), || {
                format!("the journal of {device} has an entry {sequence}, and the first is 1")
            });
            continue;
        }
        if *sequence > expected {
            checked.breach(Breach::Numbering, About::default(), || match sequence - expected {
                1 => format!("the journal of {device} has no entry {expected}"),
                _ => format!("the journal of {device} has no entries {expected} to {}", sequence - 1),
            });
        }
        expected = sequence.saturating_add(1);
    }
}

impl Device<'_> {
    fn note(&mut self, sequence: i64) {
        self.count += 1;
        self.least = self.least.min(sequence);
        self.greatest = self.greatest.max(sequence);
    }

    /// Different numbers, the least of them 1 and the greatest as many as there are: there is no gap.
    fn is_whole(&self) -> bool {
        self.count == 0 || (self.least == 1 && self.greatest == self.count)
    }
}
