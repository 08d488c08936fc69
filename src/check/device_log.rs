//! `device-log`: what devices wrote into their own journals has come to the host, all of it, once, and as it was written.
//!
//! An entry is known by its device and its number there. Invalid if an entry is missing at the host, is there twice on
//! either side, is at the host but in no journal, is not the same on both sides, or if a journal's numbers are not 1, 2, 3
//! and so on. What was acknowledged to customers is the business of `durable-set` and `exactly-once`. No entry at all, or a
//! read that is not complete: inconclusive. O(n) where journals are whole.

use std::borrow::Cow;
use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::about::About;
use super::filter::Filter;
use super::journals::{EntryName, HOST, JOURNAL, Journals};
use super::{Breach, Checked, Checker, Evidence, Mistake, Names};
use crate::history::{Item, Value};

/// Parameters of `device-log`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct DeviceLog {
    /// The final read that lists the entries of all devices' journals; an item's element is the key of its operation.
    pub journal: String,
    /// The final read that lists what the host has of them, likewise.
    pub host: String,
    /// The field that names the device.
    pub device: String,
    /// The field that numbers a device's entries, from 1.
    pub sequence: String,
    /// Fields that must be equal on both sides, besides the element.
    #[serde(default)]
    pub equal: Vec<String>,
    /// Only items whose fields have these values count, on either side.
    #[serde(default, rename = "where")]
    pub filter: BTreeMap<String, serde_json::Value>,
}

impl Checker for DeviceLog {
    fn names(&self) -> Names<'_> {
        Names {
            reads: vec![("journal".to_owned(), &self.journal), ("host".to_owned(), &self.host)],
            ..Names::default()
        }
    }

    fn mistakes(&self) -> Vec<Mistake> {
        let mut found = Vec::new();
        if self.host == self.journal {
            found.push(Mistake {
                at: "host",
                message: format!("`{}` is compared with itself", self.host),
                allowed: "the read of the host, which is not that of the journals",
                hint: "read what the host has, and what the devices have, each where it is",
            });
        }
        if self.sequence == self.device {
            found.push(Mistake {
                at: "sequence",
                message: format!("`{}` cannot both name the device and number its entries", self.sequence),
                allowed: "a field of whole numbers, counted from 1 on each device",
                hint: "name another field of the reads",
            });
        }
        found
    }

    fn check(&self, evidence: &Evidence<'_>) -> Checked {
        let mut checked = Checked::default();
        let journal = checked.complete(evidence, &self.journal);
        let host = checked.complete(evidence, &self.host);
        let (Some(()), Some(())) = (journal, host) else {
            return checked;
        };
        let mut journals = Journals::default();
        let filter = Filter::new(&self.filter);
        let mut counts = [0; 2];
        for (side, read) in [(JOURNAL, &self.journal), (HOST, &self.host)] {
            let items = filter.apply(evidence, read, &mut checked);
            counts[side] = items.len();
            for (number, item) in items {
                if self.enter(&mut journals, side, (number, item)).is_none() {
                    // An entry that cannot be placed makes others look missing: nothing more can be said.
                    let mut unreadable = Checked::default();
                    unreadable.doubt(|| self.unreadable(read, item));
                    return unreadable;
                }
            }
        }
        self.say_what_was_there(&journals, counts, &mut checked);
        self.judge(evidence, &journals, &mut checked);
        journals.judge_numbers(&mut checked);
        checked
    }
}

impl DeviceLog {
    fn enter<'e>(&self, journals: &mut Journals<'e>, side: usize, numbered: (usize, &'e Item<'e>)) -> Option<()> {
        let (_, item) = numbered;
        let device = match item.fields.get(&self.device)? {
            Value::Text(name) => name,
            Value::Int(number) => Cow::Owned(number.to_string()),
            _ => return None,
        };
        let sequence = item.fields.get(&self.sequence)?.as_int()?;
        journals.enter(device, sequence, side, numbered);
        Some(())
    }

    fn unreadable(&self, read: &str, item: &Item<'_>) -> String {
        let (device, sequence) = (&self.device, &self.sequence);
        format!(
            "`{}` of the final read `{read}` has no `{device}` or no whole number `{sequence}`",
            item.element
        )
    }

    fn say_what_was_there(&self, journals: &Journals<'_>, [journal, host]: [usize; 2], checked: &mut Checked) {
        let devices = journals.device_count();
        checked.looked_at(
            journal + host,
            format!("{journal} entries in the journals of {devices} devices, {host} at the host"),
        );
        if journal == 0 {
            checked.doubt(|| "the journals have no entries, so nothing was put to the test".to_owned());
        }
    }

    fn judge(&self, evidence: &Evidence<'_>, journals: &Journals<'_>, checked: &mut Checked) {
        const SIDES: [&str; 2] = ["in the journal", "at the host"];
        for entry in &journals.entries {
            let about = evidence.about(entry.number);
            for (seen, side) in entry.seen.iter().zip(SIDES) {
                if *seen > 1 {
                    checked.breach(Breach::Duplicated, about, || {
                        format!("{} is {side} {seen} times", journals.named(entry))
                    });
                }
            }
            match entry.items {
                [Some(_), None] => checked.breach(Breach::NotAtHost, about, || {
                    format!("{} is not at the host", journals.named(entry))
                }),
                [None, Some(_)] => checked.breach(Breach::InNoJournal, about, || {
                    format!("{} is at the host, but in no journal", journals.named(entry))
                }),
                [Some(journal), Some(host)] => self.compare(&journals.named(entry), about, [journal, host], checked),
                [None, None] => {}
            }
        }
    }

    fn compare(&self, named: &EntryName<'_>, about: About<'_>, [journal, host]: [&Item<'_>; 2], checked: &mut Checked) {
        if journal.element != host.element {
            checked.breach(Breach::NotTheSame, about, || {
                format!("{named} is `{}` at the host", host.element)
            });
        }
        for name in &self.equal {
            match (journal.fields.get(name), host.fields.get(name)) {
                (Some(written), Some(found)) if written.same(&found) => {}
                (Some(written), Some(found)) => checked.breach(Breach::NotTheSame, about, || {
                    format!("{named} has {name} {found} at the host, but {written} in the journal")
                }),
                (written, _) => {
                    let side = if written.is_none() { "the journal" } else { "the host" };
                    checked.doubt(|| format!("{named}: {side} has no `{name}` to compare"));
                }
            }
        }
    }
}
