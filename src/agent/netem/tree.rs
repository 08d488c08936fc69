//! The tree of queueing disciplines on one interface, and the steps from one tree to another.
//!
//! ```text
//! interface -- htb, passes on at once what no filter chooses
//!                |-- class 1 -- netem     all peers that suffer the same share one class
//!                `-- class 2 -- netem
//! filters: packets for 10.64.0.3 to class 1, for 10.64.0.4 to class 1, for 10.64.0.5 to class 2
//! ```
//!
//! No netem is ever changed: peers whose faults change are led to another class, so that the packets that wait in theirs
//! leave it in their time. One class for all that suffer the same, since recent kernels allow a netem that duplicates no
//! other netem beside it.
//!
//! Architecture invariant: nothing here talks to the kernel.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use super::impairment::Combined;

/// The number of a class: the minor half of its handle.
pub type Class = u16;
/// The priority of a filter, by which it is told from the others.
pub type Slot = u16;

/// What is asked of the kernel, one thing at a time.
#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    /// Put the tree's root in place.
    AddRoot,
    /// Add a class.
    AddClass(Class),
    /// Put a netem below a class.
    AddNetem(Class, Combined),
    /// Lead a peer's packets to a class.
    AddFilter(Slot, Ipv4Addr, Class),
    /// Lead them there no longer.
    DropFilter(Slot),
    /// Wait until the packets in a class have left, for a while.
    Drain(Class),
    /// Remove a class with what is below it.
    DropClass(Class),
    /// Remove the tree.
    DropRoot,
}

/// The tree as far as it stands.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Tree {
    has_root: bool,
    /// A class whose netem has not been added has none.
    classes: BTreeMap<Class, Option<Combined>>,
    filters: BTreeMap<Slot, (Ipv4Addr, Class)>,
}

impl Tree {
    /// Whether nothing is in the kernel.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// What leads from here to a tree that does to each peer's packets what is wanted, and nothing to others'. At every
    /// moment in between a peer suffers either what it did or what it will.
    pub fn steps(&self, wanted: &BTreeMap<Ipv4Addr, Combined>) -> Vec<Step> {
        let mut next = self.clone();
        let mut steps = Vec::new();
        let mut take = |next: &mut Self, step: Step| {
            next.record(&step);
            steps.push(step);
        };
        if !wanted.is_empty() && !next.has_root {
            take(&mut next, Step::AddRoot);
        }
        let mut kept: Vec<Slot> = Vec::new();
        for (peer, combined) in wanted {
            let class = match next.class_of(combined) {
                Some(class) => class,
                None => {
                    let class = free(&next.classes);
                    take(&mut next, Step::AddClass(class));
                    take(&mut next, Step::AddNetem(class, *combined));
                    class
                }
            };
            let slot = match next.slot_of(*peer, class) {
                Some(slot) => slot,
                None => {
                    let slot = free(&next.filters);
                    take(&mut next, Step::AddFilter(slot, *peer, class));
                    slot
                }
            };
            kept.push(slot);
        }
        let stale: Vec<Slot> = next
            .filters
            .keys()
            .copied()
            .filter(|slot| !kept.contains(slot))
            .collect();
        for slot in stale {
            take(&mut next, Step::DropFilter(slot));
        }
        let is_used = |class: &Class| next.filters.values().any(|(_, used)| used == class);
        let unused: Vec<Class> = next.classes.keys().copied().filter(|class| !is_used(class)).collect();
        for class in unused {
            take(&mut next, Step::Drain(class));
            take(&mut next, Step::DropClass(class));
        }
        if wanted.is_empty() && next.has_root {
            take(&mut next, Step::DropRoot);
        }
        steps
    }

    /// Notes that a step was taken.
    pub fn record(&mut self, step: &Step) {
        match *step {
            Step::AddRoot => self.has_root = true,
            Step::AddClass(class) => {
                self.classes.insert(class, None);
            }
            Step::AddNetem(class, combined) => {
                self.classes.insert(class, Some(combined));
            }
            Step::AddFilter(slot, peer, class) => {
                self.filters.insert(slot, (peer, class));
            }
            Step::DropFilter(slot) => {
                self.filters.remove(&slot);
            }
            Step::Drain(_) => {}
            Step::DropClass(class) => {
                self.classes.remove(&class);
            }
            Step::DropRoot => *self = Self::default(),
        }
    }

    fn class_of(&self, combined: &Combined) -> Option<Class> {
        let mut classes = self.classes.iter();
        classes.find_map(|(class, held)| (held.as_ref() == Some(combined)).then_some(*class))
    }

    fn slot_of(&self, peer: Ipv4Addr, class: Class) -> Option<Slot> {
        let mut filters = self.filters.iter();
        filters.find_map(|(slot, led)| (*led == (peer, class)).then_some(*slot))
    }
}

/// The least number from 1 that is not taken. There are fewer of them than faults and peers can be.
fn free<V>(taken: &BTreeMap<u16, V>) -> u16 {
    (1..u16::MAX)
        .find(|number| !taken.contains_key(number))
        .unwrap_or(u16::MAX)
}

#[cfg(test)]
mod tests {
    use super::super::impairment::Impairment;
    use super::*;

    const ONE: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
    const TWO: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 2);

    fn corrupt(percent: f64) -> Combined {
        Combined::default().with(&Impairment::Corrupt { percent }).unwrap()
    }

    fn wanted(peers: &[(Ipv4Addr, f64)]) -> BTreeMap<Ipv4Addr, Combined> {
        peers.iter().map(|(peer, percent)| (*peer, corrupt(*percent))).collect()
    }

    /// Goes there, and says by what steps.
    fn go(tree: &mut Tree, peers: &[(Ipv4Addr, f64)]) -> Vec<Step> {
        let steps = tree.steps(&wanted(peers));
        steps.iter().for_each(|step| tree.record(step));
        assert_eq!(tree.steps(&wanted(peers)), [], "there is nothing left to do");
        steps
    }

    #[test]
    fn peers_that_suffer_the_same_share_a_netem() {
        let mut tree = Tree::default();
        let steps = go(&mut tree, &[(ONE, 1.0), (TWO, 1.0)]);
        assert_eq!(
            steps,
            [
                Step::AddRoot,
                Step::AddClass(1),
                Step::AddNetem(1, corrupt(1.0)),
                Step::AddFilter(1, ONE, 1),
                Step::AddFilter(2, TWO, 1),
            ]
        );
    }

    #[test]
    fn a_peer_is_led_elsewhere_before_its_old_way_is_closed() {
        let mut tree = Tree::default();
        go(&mut tree, &[(ONE, 1.0), (TWO, 1.0)]);
        let steps = go(&mut tree, &[(ONE, 2.0), (TWO, 1.0)]);
        assert_eq!(
            steps,
            [
                Step::AddClass(2),
                Step::AddNetem(2, corrupt(2.0)),
                Step::AddFilter(3, ONE, 2),
                Step::DropFilter(1),
            ],
            "the other peer is left alone, and so is its class"
        );
    }

    #[test]
    fn nothing_is_left_once_nothing_is_wanted() {
        let mut tree = Tree::default();
        go(&mut tree, &[(ONE, 1.0), (TWO, 2.0)]);
        let steps = go(&mut tree, &[]);
        assert_eq!(
            steps,
            [
                Step::DropFilter(1),
                Step::DropFilter(2),
                Step::Drain(1),
                Step::DropClass(1),
                Step::Drain(2),
                Step::DropClass(2),
                Step::DropRoot,
            ],
            "packets pass freely before those that wait are let go"
        );
        assert!(tree.is_empty());
    }

    #[test]
    fn what_was_half_built_is_taken_down_again() {
        let mut tree = Tree::default();
        tree.record(&Step::AddRoot);
        tree.record(&Step::AddClass(1));
        assert_eq!(go(&mut tree, &[]), [Step::Drain(1), Step::DropClass(1), Step::DropRoot]);
        assert!(tree.is_empty());
    }
}
