//! Who was writable when, as far as heartbeats prove it; see [`super::one_writer`] for what is proven and why.

use std::fmt;

use crate::history::{Heartbeat, Outcome};

/// Heartbeats of a member that were acknowledged one after the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Row<'h> {
    pub member: &'h str,
    /// When the first of them ended.
    pub first_done_us: u64,
    /// When the last of them began: before `first_done_us` where there is only one.
    pub last_sent_us: u64,
    /// When the last of them ended.
    pub last_done_us: u64,
}

/// Every row, in the order in which their first heartbeats ended.
pub(super) fn rows<'h>(heartbeats: &[&'h Heartbeat<'h>]) -> Vec<Row<'h>> {
    let mut in_order = heartbeats.to_vec();
    in_order.sort_by_key(|beat| (&*beat.member, beat.number));
    let mut rows: Vec<Row<'h>> = Vec::new();
    let mut last: Option<(&str, u64)> = None;
    for beat in in_order {
        let follows = beat.number.checked_sub(1).map(|before| (&*beat.member, before));
        if beat.outcome != Outcome::Ok {
            last = None;
            continue;
        }
        match rows.last_mut().filter(|_| last.is_some() && last == follows) {
            Some(row) => (row.last_sent_us, row.last_done_us) = (beat.sent_us, beat.done_us),
            None => rows.push(Row {
                member: &beat.member,
                first_done_us: beat.done_us,
                last_sent_us: beat.sent_us,
                last_done_us: beat.done_us,
            }),
        }
        last = Some((&beat.member, beat.number));
    }
    rows.sort_by_key(|row| (row.first_done_us, row.member));
    rows
}

/// A time at which two members were writable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Overlap<'h> {
    pub members: [&'h str; 2],
    pub from_us: u64,
    /// No earlier than `from_us`.
    pub to_us: u64,
}

/// Every time at which two members were writable, of rows in their order.
pub(super) fn overlaps<'h>(rows: &[Row<'h>]) -> Vec<Overlap<'h>> {
    let mut found = Vec::new();
    for (index, one) in rows.iter().enumerate() {
        let later = rows[index + 1..].iter();
        for other in later.take_while(|other| other.first_done_us <= one.last_sent_us) {
            // The other may be a row of one, which began before it ended.
            if other.member != one.member && one.first_done_us <= other.last_sent_us {
                let from_us = other.first_done_us;
                found.push(Overlap {
                    members: [one.member, other.member],
                    from_us,
                    to_us: one.last_sent_us.min(other.last_sent_us).max(from_us),
                });
            }
        }
    }
    found
}

impl fmt::Display for Overlap<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [one, other] = self.members;
        let (from_s, to_s) = (second(self.from_us), second(self.to_us));
        match (self.to_us - self.from_us) / 1_000 {
            0 => write!(f, "{one} and {other} both acknowledged writes at {from_s:.3} s"),
            lasted_ms => write!(
                f,
                "{one} and {other} both acknowledged writes for at least {lasted_ms} ms, from {from_s:.3} s to {to_s:.3} s"
            ),
        }
    }
}

/// A member that began to acknowledge writes where another had, and had not itself since that other one began.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Takeover<'h> {
    pub old: &'h str,
    pub new: &'h str,
    /// When the old one's last write of that row was acknowledged: after `new_first_us` where it goes on.
    pub old_last_us: u64,
    /// When the new one's first was.
    pub new_first_us: u64,
}

/// Every takeover, of rows in their order.
pub(super) fn takeovers<'h>(rows: &[Row<'h>]) -> Vec<Takeover<'h>> {
    let mut found: Vec<Takeover<'h>> = Vec::new();
    for (index, row) in rows.iter().enumerate() {
        let before = &rows[..index];
        let Some(other) = before.iter().rev().find(|other| other.member != row.member) else {
            continue;
        };
        let own = before.iter().rev().find(|own| own.member == row.member);
        // A writer that failed for a moment while another had begun has taken over from nobody.
        if own.is_none_or(|own| own.last_done_us < other.first_done_us) {
            found.push(Takeover {
                old: other.member,
                new: row.member,
                old_last_us: other.last_done_us,
                new_first_us: row.first_done_us,
            });
        }
    }
    found
}

impl fmt::Display for Takeover<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { old, new, .. } = self;
        let (last_s, first_s) = (second(self.old_last_us), second(self.new_first_us));
        write!(f, "{new} took over from {old}: ")?;
        match self.new_first_us.checked_sub(self.old_last_us) {
            Some(gap_us) => write!(
                f,
                "last write of the old at {last_s:.3} s, first of the new at {first_s:.3} s, a gap of {} ms",
                (gap_us + 5_000) / 10_000 * 10
            ),
            None => write!(
                f,
                "first write of the new at {first_s:.3} s, and the old went on until {last_s:.3} s, no gap"
            ),
        }
    }
}

fn second(us: u64) -> f64 {
    us as f64 / 1e6
}
