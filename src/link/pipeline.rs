//! The toxics of one direction of one connection, in order, with what waits before each of them. It does no input or
//! output and has no clock, so that every toxic can be tested to the nanosecond.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use tokio::time::Instant;

use super::chain::{Applied, Direction, Per};
use super::random::Purpose;
use super::toxic::{Head, Ruling, Stage};

/// Something on its way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Item {
    /// Bytes, never none.
    Data(Bytes),
    /// The end of the stream.
    End,
    /// The connection is to be closed, both ways.
    Close,
    /// The connection is to be reset, or has been by its sender.
    Reset,
}

#[derive(Debug)]
struct Queued {
    item: Item,
    /// When it came to where it waits.
    entered: Instant,
    request: u64,
}

/// The toxics of one direction of one connection.
pub struct Pipeline {
    slots: Vec<Slot>,
    /// What has passed all of them.
    out: VecDeque<Queued>,
    /// Of the connection: what a toxic's draws are for.
    purpose: Purpose,
    /// Bytes that wait anywhere.
    waiting: usize,
}

struct Slot {
    applied: Arc<Applied>,
    stage: Box<dyn Stage>,
    queue: VecDeque<Queued>,
    /// Draws whether it acts, on this connection or on each of its requests.
    purpose: Purpose,
    /// Whether it has acted on this connection yet.
    touched: bool,
}

impl Slot {
    fn new(applied: Arc<Applied>, purpose: Purpose, now: Instant) -> Self {
        let purpose = purpose.named(&applied.toxic.name);
        Self {
            stage: applied.toxic.kind.behaviour().stage(now, purpose.part(0).random()),
            applied,
            queue: VecDeque::new(),
            purpose: purpose.part(1),
            touched: false,
        }
    }

    fn acts_on(&self, request: u64) -> bool {
        let toxicity = self.applied.toxic.toxicity;
        match self.applied.toxic.per {
            Per::Connection => self.purpose.chance(toxicity),
            Per::Request => self.purpose.part(request).chance(toxicity),
        }
    }

    fn push(&mut self, queued: Queued) {
        if self.acts_on(queued.request) {
            if !self.touched {
                self.touched = true;
                self.applied.affected.connection();
            }
            if let Item::Data(bytes) = &queued.item {
                self.applied.affected.bytes(bytes.len());
            }
        }
        self.queue.push_back(queued);
    }
}

/// What there is to do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Something may pass at that time.
    At(Instant),
    /// Nothing will, before something comes or the toxics change.
    Nothing,
}

impl Pipeline {
    /// No toxic yet.
    pub fn new(purpose: Purpose) -> Self {
        Self {
            slots: Vec::new(),
            out: VecDeque::new(),
            purpose,
            waiting: 0,
        }
    }

    /// Replaces the toxics. Those that are there already go on with what they hold; what others held comes to whatever is
    /// next in their place.
    pub fn apply(&mut self, toxics: &[Arc<Applied>], direction: Direction, now: Instant) {
        let wanted: Vec<&Arc<Applied>> = toxics
            .iter()
            .filter(|applied| applied.toxic.stream == direction)
            .collect();
        let mut old: VecDeque<Slot> = std::mem::take(&mut self.slots).into();
        for applied in wanted {
            // Toxics keep their order: those before this one that are not wanted any more have been taken away or changed.
            if let Some(at) = old
                .iter()
                .position(|slot| slot.applied.toxic.name == applied.toxic.name)
            {
                let gone: Vec<Slot> = old.drain(..at).collect();
                let slot = old.pop_front().expect("it is at the front now");
                let slot = match Arc::ptr_eq(&slot.applied, applied) {
                    true => slot,
                    false => {
                        let mut new = Slot::new(applied.clone(), self.purpose, now);
                        new.queue = slot.queue;
                        new
                    }
                };
                self.slots.push(slot);
                let at = self.slots.len() - 1;
                for slot in gone.into_iter().rev() {
                    self.release(slot, at, now);
                }
            } else {
                self.slots.push(Slot::new(applied.clone(), self.purpose, now));
            }
        }
        let end = self.slots.len();
        for slot in old.into_iter().rev() {
            self.release(slot, end, now);
        }
    }

    /// Puts what a toxic that is gone held before what waits at the next.
    fn release(&mut self, slot: Slot, at: usize, now: Instant) {
        let closes = slot.stage.closes_when_removed() && slot.touched_or_acts();
        let queue = match self.slots.get_mut(at) {
            Some(next) => &mut next.queue,
            None => &mut self.out,
        };
        // What has passed it earlier stands before what it held.
        for mut queued in slot.queue {
            queued.entered = now;
            queue.push_back(queued);
        }
        if closes {
            queue.push_back(Queued {
                item: Item::Close,
                entered: now,
                request: 0,
            });
        }
    }

    /// Whether it neither changes nor holds anything: what comes may go straight on.
    pub fn is_idle(&self) -> bool {
        self.slots.is_empty() && self.out.is_empty()
    }

    /// Whether there is room for more.
    pub fn has_room(&self) -> bool {
        let room = self.slots.iter().map(|slot| slot.stage.room()).min();
        self.waiting < room.unwrap_or(64 * 1024)
    }

    /// Takes in what has come.
    pub fn push(&mut self, item: Item, request: u64, now: Instant) {
        if let Item::Data(bytes) = &item {
            self.waiting += bytes.len();
        }
        let queued = Queued {
            item,
            entered: now,
            request,
        };
        match self.slots.first_mut() {
            Some(slot) => slot.push(queued),
            None => self.out.push_back(queued),
        }
    }

    /// Moves on what may move by now.
    pub fn advance(&mut self, now: Instant) -> Next {
        let mut next: Option<Instant> = None;
        for at in 0..self.slots.len() {
            if let Some(due) = self.advance_slot(at, now) {
                next = Some(next.map_or(due, |earliest| earliest.min(due)));
            }
        }
        next.map_or(Next::Nothing, Next::At)
    }

    /// Moves on what may pass one toxic. When to ask again, if not only when something changes.
    fn advance_slot(&mut self, at: usize, now: Instant) -> Option<Instant> {
        loop {
            let slot = &mut self.slots[at];
            let Some(head) = slot.queue.front() else {
                if !slot.touched_or_acts() {
                    return None;
                }
                return match slot.stage.idle(now) {
                    Ruling::Close => {
                        self.cut(at, Item::Close, now);
                        None
                    }
                    Ruling::HoldUntil(due) => Some(due),
                    _ => None,
                };
            };
            let request = head.request;
            let data = match &head.item {
                Item::Data(bytes) => Some(bytes),
                // However it ends: a network that loses everything loses that too.
                Item::End | Item::Close | Item::Reset => None,
            };
            if !slot.acts_on(request) {
                self.pass(at, now);
                continue;
            }
            let judged = Head {
                data,
                entered: head.entered,
                request,
            };
            match slot.stage.judge(now, &judged) {
                Ruling::Pass => self.pass(at, now),
                Ruling::Split(bytes) => self.split(at, bytes, now),
                Ruling::Replace(bytes) => {
                    slot.queue.front_mut().expect("there is a head").item = Item::Data(bytes);
                    self.pass(at, now);
                }
                Ruling::Discard => {
                    let gone = slot.queue.pop_front().expect("there is a head");
                    self.forget(&gone);
                }
                Ruling::HoldUntil(due) => return Some(due),
                Ruling::Hold => return None,
                Ruling::Close => {
                    self.cut(at, Item::Close, now);
                    return None;
                }
                Ruling::Reset => {
                    self.cut(at, Item::Reset, now);
                    return None;
                }
            }
        }
    }

    fn forget(&mut self, gone: &Queued) {
        if let Item::Data(bytes) = &gone.item {
            self.waiting -= bytes.len();
        }
    }

    /// The head goes on to the next.
    fn pass(&mut self, at: usize, now: Instant) {
        let mut queued = self.slots[at].queue.pop_front().expect("there is a head");
        queued.entered = now;
        self.enter(at + 1, queued);
    }

    fn enter(&mut self, at: usize, queued: Queued) {
        match self.slots.get_mut(at) {
            Some(slot) => slot.push(queued),
            None => self.out.push_back(queued),
        }
    }

    fn split(&mut self, at: usize, bytes: usize, now: Instant) {
        let head = self.slots[at].queue.front_mut().expect("there is a head");
        let request = head.request;
        if let Item::Data(data) = &mut head.item {
            let first = data.split_to(bytes.min(data.len()));
            self.enter(
                at + 1,
                Queued {
                    item: Item::Data(first),
                    entered: now,
                    request,
                },
            );
        }
    }

    /// Nothing comes after this; what waits is lost.
    fn cut(&mut self, at: usize, item: Item, now: Instant) {
        for slot in 0..=at {
            for gone in std::mem::take(&mut self.slots[slot].queue) {
                self.forget(&gone);
            }
        }
        self.enter(
            at + 1,
            Queued {
                item,
                entered: now,
                request: 0,
            },
        );
    }

    /// What has passed all toxics, in order.
    pub fn pop(&mut self) -> Option<Item> {
        let queued = self.out.pop_front()?;
        self.forget(&queued);
        Some(queued.item)
    }
}

impl Slot {
    /// Whether it acts on this connection as such, whatever its requests.
    fn touched_or_acts(&self) -> bool {
        match self.applied.toxic.per {
            Per::Connection => self.acts_on(0),
            Per::Request => self.touched,
        }
    }
}

#[cfg(test)]
mod tests;
