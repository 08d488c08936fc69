//! Whether targets meet: within a fault, and between faults at one time that take hold of the same thing.
//!
//! Where the seed chooses, what it may choose counts, not what it did: whether a file is right must not hang on the seed.

use super::Resolver;
use super::targets::Choice;
use crate::byte_size::ByteSize;
use crate::diagnostic::Diagnostic;
use crate::fault::Hold;
use crate::plan::{PlannedFault, ReplicaId, Target, Trigger};
use crate::system::engine::Disk;
use crate::yaml::place::Place;

/// A target as written, and where.
pub(super) struct Named {
    pub place: Place,
    /// The parameter that lists it, such as `targets`.
    pub list: String,
    pub text: String,
    pub choice: Choice,
}

/// A planned fault with the choices behind its targets.
pub(super) struct Considered {
    pub fault: PlannedFault,
    pub named: Vec<Named>,
}

impl Resolver<'_> {
    /// A replica that one list names twice, or that both lists of a fault may mean.
    pub(super) fn meeting(&self, named: &[Named]) -> Vec<Diagnostic> {
        let mut found = Vec::new();
        for (position, second) in named.iter().enumerate() {
            let meets = |first: &&Named| {
                let is_certain = first.choice.is_certain() && second.choice.is_certain();
                // What certainly is on both sides is for the fault itself to judge.
                meeting(&first.choice, &second.choice).is_some() && !(is_certain && first.list != second.list)
            };
            let Some(first) = named[..position].iter().find(meets) else {
                continue;
            };
            found.push(
                self.document
                    .at_value(
                        &second.place,
                        format!("`{}` and `{}` may be the same replica", first.text, second.text),
                    )
                    .label("meets an earlier target")
                    .allowed("targets that have no replica in common, whatever the seed chooses")
                    .hint("name replicas by number, for example `postage-api-1`, or remove one of the two"),
            );
        }
        found
    }

    /// Two faults that take hold of the same thing cannot act on one replica at one time: healing the first would undo the
    /// second.
    pub(super) fn overlap(&mut self, place: &Place, new: &Considered, earlier: &[Considered]) {
        let Some(hold) = new.hold() else { return };
        let at_the_same_time =
            |other: &&Considered| other.hold().as_ref() == Some(&hold) && same_time(&other.fault, &new.fault);
        for other in earlier.iter().filter(at_the_same_time) {
            let pairs = other.named.iter().flat_map(|a| new.named.iter().map(move |b| (a, b)));
            let Some(replica) = pairs.into_iter().find_map(|(a, b)| meeting(&a.choice, &b.choice)) else {
                continue;
            };
            self.found.push(
                self.document
                    .at_value(
                        &place.key("name"),
                        format!(
                            "`{}` and `{}` may act on {replica} at the same time",
                            other.fault.name, new.fault.name
                        ),
                    )
                    .label("overlaps the earlier step")
                    .allowed(hold.allowed())
                    .hint("start this one after the other has healed, or choose another target"),
            );
        }
    }
}

impl Resolver<'_> {
    /// Two faults of network emulation cannot do the same to the packets from one replica to another: the kernel has one
    /// place for it, and neither could be told from the other.
    pub(super) fn same_emulation(&mut self, place: &Place, new: &Considered, earlier: &[Considered]) {
        for other in earlier.iter().filter(|other| same_time(&other.fault, &new.fault)) {
            let emulated = |considered: &Considered| considered.fault.fault.behaviour().emulated();
            let (Some(one), Some(two)) = (emulated(other), emulated(new)) else {
                continue;
            };
            let ends = |from_meets, to_meets| {
                let from = other.meets("from", new, from_meets)?;
                Some((from, other.meets("to", new, to_meets)?))
            };
            let crosswise = || ends("to", "from").filter(|_| one.both_ways || two.both_ways);
            let Some((from, to)) = ends("from", "to").or_else(crosswise).filter(|_| one.does == two.does) else {
                continue;
            };
            let message = format!(
                "`{}` and `{}` may both {} packets between {from} and {to} at the same time",
                other.fault.name, new.fault.name, one.does
            );
            self.found.push(
                self.document
                    .at_value(&place.key("name"), message)
                    .label("overlaps the earlier step")
                    .allowed("one of a kind at a time on each way; packet-latency and packet-reorder are of one kind")
                    .hint("start this one after the other has healed, or choose another target"),
            );
        }
    }
}

impl Resolver<'_> {
    /// A disk is made when its replica is, and has one size.
    pub(super) fn same_disk(&mut self, place: &Place, new: &Considered, earlier: &[Considered]) {
        let Some(disk) = new.disk() else { return };
        for other in earlier {
            let Some(before) = other
                .disk()
                .filter(|before| before.path == disk.path && *before != disk)
            else {
                continue;
            };
            let common = other.among().find(|id| new.among().any(|other| other == *id));
            let Some(replica) = common else { continue };
            let size = |disk: &Disk| ByteSize(disk.size_bytes);
            let message = format!(
                "`{}` and `{}` give {replica} a disk of two sizes at {}: {} and {}",
                other.fault.name,
                new.fault.name,
                disk.path,
                size(&before),
                size(&disk)
            );
            let at = place.key("inject").key(new.fault.fault.name()).key("size");
            self.found.push(
                self.document
                    .at_value(&at, message)
                    .allowed(format!("one size of a disk, such as {}", size(&before)))
                    .hint("write the same size in both, or choose another path"),
            );
            return;
        }
    }
}

impl Considered {
    /// The disk that its targets must have.
    fn disk(&self) -> Option<Disk> {
        self.fault.fault.behaviour().disk()
    }

    /// Every replica that it may mean.
    fn among(&self) -> impl Iterator<Item = &ReplicaId> {
        self.named.iter().flat_map(|named| &named.choice.among)
    }

    /// What of a replica it takes hold of.
    fn hold(&self) -> Option<Hold> {
        self.fault.fault.behaviour().holds()
    }

    /// A replica that a list of this fault and a list of the other may both mean.
    fn meets(&self, list: &str, other: &Self, other_list: &str) -> Option<String> {
        let ours = self.named.iter().filter(|named| named.list == list);
        let theirs = |named: &Named| {
            let mut others = other.named.iter().filter(|other| other.list == other_list);
            others.find_map(|other| meeting(&named.choice, &other.choice))
        };
        ours.filter_map(theirs).next()
    }
}

fn same_time(a: &PlannedFault, b: &PlannedFault) -> bool {
    match (&a.trigger, &b.trigger) {
        (Trigger::At { at_ms: first }, Trigger::At { at_ms: second }) => {
            *first < second.saturating_add(b.for_ms) && *second < first.saturating_add(a.for_ms)
        }
        // When an event comes is not known; only the same event is known to come at the same time.
        (first, second) => first == second,
    }
}

/// A replica that both may mean.
fn meeting(a: &Choice, b: &Choice) -> Option<String> {
    if let (
        Target::Role { group, role, .. },
        Target::Role {
            group: other_group,
            role: other_role,
            ..
        },
    ) = (&a.target, &b.target)
    {
        // Nobody has both roles.
        if group == other_group && role != other_role {
            return None;
        }
    }
    let common = a.among.iter().find(|replica| b.among.contains(replica));
    common.map(ToString::to_string)
}
