//! `one-writer`: at any instant at most one member of a group acknowledges writes, by the heartbeats of the group. What a
//! server says of its role is not looked at.
//!
//! An acknowledged heartbeat was accepted at an instant that nobody knows, between its begin and its end. In a row of
//! acknowledged ones of a member, without any other end in between, all were accepted on one connection to a server that
//! went on running; it was writable from the first of these instants to the last. So **a member is taken to be writable
//! from the end of the row's first acknowledged heartbeat to the begin of its last**, which is never longer than it was: a
//! time-out, a broken connection, a refusal or a number that is missing ends the row. A row of one proves only that there
//! was an instant in between.
//!
//! Two members were writable at once if that follows wherever the instants were: if the first of each row ended before the
//! last of the other began. That lasted at least from the later one of the two ends to the earlier one of the two begins,
//! or for an instant where a row of one lies within the other member's row.
//!
//! Invalid if any two members were. No acknowledged heartbeat at all, none that was begun after the last fault was healed,
//! a member that never answered one, be it with a refusal, or one to which nightmail itself sent none for half a second:
//! inconclusive. That a second writer was there for less than the time between two heartbeats may go unseen. O(n log n).
//!
//! The detail tells who took over from whom and for how long nobody wrote, and how many acknowledged heartbeats are not in
//! the table of the member that is primary at the end. They are customers' writes in miniature, but no customer's: losing
//! them breaks nothing, and they are in no other count of what was lost.

use std::collections::{BTreeMap, HashSet};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::about::About;
use super::writers::{Overlap, Takeover, overlaps, rows, takeovers};
use super::{Breach, Checked, Checker, Evidence, Names};
use crate::history::{Heartbeat, Outcome};

/// So many takeovers are told one by one.
const TOLD_MAX: usize = 3;
/// So long a member may go without a heartbeat under way: ten at the longest interval.
const SILENCE_MAX_US: u64 = 500_000;

/// Parameters of `one-writer`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct OneWriter {
    /// The group, a key of `heartbeats`.
    pub group: String,
}

impl Checker for OneWriter {
    fn names(&self) -> Names<'_> {
        Names {
            heartbeats: vec![("group".to_owned(), &self.group)],
            ..Names::default()
        }
    }

    fn check(&self, evidence: &Evidence<'_>) -> Checked {
        let mut checked = Checked::default();
        let all = evidence.heartbeats(&self.group);
        let rows = rows(&all);
        let takeovers = takeovers(&rows);
        let overlaps = overlaps(&rows);
        for overlap in &overlaps {
            checked.breach(Breach::TwoWriters, About::instant(overlap.from_us), || {
                overlap.to_string()
            });
        }
        let acknowledged: Vec<&Heartbeat<'_>> =
            all.iter().filter(|beat| beat.outcome == Outcome::Ok).copied().collect();
        self.doubt_unseen(evidence, &acknowledged, &mut checked);
        doubt_silent(&all, &mut checked);
        doubt_late(&all, &mut checked);
        let mut parts = vec![counted(all.len(), &acknowledged)];
        parts.extend(together(&overlaps));
        parts.extend(told(&takeovers));
        if !acknowledged.is_empty() {
            parts.push(self.lost(evidence, &acknowledged, &takeovers));
        }
        checked.looked_at(all.len(), parts.join("; "));
        checked
    }
}

impl OneWriter {
    fn doubt_unseen(&self, evidence: &Evidence<'_>, acknowledged: &[&Heartbeat<'_>], checked: &mut Checked) {
        let group = &self.group;
        if acknowledged.is_empty() {
            checked.doubt(|| format!("no heartbeat of `{group}` was acknowledged, so nothing was put to the test"));
        } else if let Some(healed_us) = evidence.last_heal_us()
            && acknowledged.iter().all(|beat| beat.sent_us < healed_us)
        {
            let healed_s = healed_us as f64 / 1e6;
            checked.doubt(|| {
                format!("no heartbeat of `{group}` was acknowledged after the last heal, which was at {healed_s:.3} s")
            });
        }
    }

    /// What of the acknowledged heartbeats is not in the last primary's table. The age of the oldest counts back from the
    /// last one that was acknowledged before the next takeover.
    fn lost(&self, evidence: &Evidence<'_>, acknowledged: &[&Heartbeat<'_>], takeovers: &[Takeover<'_>]) -> String {
        let read = Heartbeat::read_of(&self.group);
        let list = evidence.history.reads.get(&read);
        let Some(list) = list.filter(|list| list.complete) else {
            let problem = list.and_then(|list| list.problem.as_deref());
            let problem = problem.unwrap_or("the table was not read at the end");
            return format!("how many of them are lost is not known: {problem}");
        };
        let kept: HashSet<&str> = list.items.iter().map(|item| &*item.element).collect();
        let is_kept = |beat: &Heartbeat<'_>| kept.contains(&*format!("{}/{}", beat.member, beat.number));
        let lost: Vec<&Heartbeat<'_>> = acknowledged.iter().copied().filter(|beat| !is_kept(beat)).collect();
        let Some(oldest) = lost.iter().min_by_key(|beat| beat.done_us) else {
            return "none of them is lost".to_owned();
        };
        let next = takeovers
            .iter()
            .find(|takeover| takeover.old == oldest.member && takeover.old_last_us >= oldest.done_us);
        let mut of_member = acknowledged.iter().filter(|beat| beat.member == oldest.member);
        let last_us = next.map(|takeover| takeover.old_last_us);
        let last_us = last_us.or_else(|| of_member.next_back().map(|beat| beat.done_us));
        let age_ms = last_us
            .unwrap_or_default()
            .saturating_sub(oldest.done_us)
            .div_ceil(1_000);
        let (count, member) = (lost.len(), &oldest.member);
        format!("{count} of them lost, the oldest acknowledged {age_ms} ms before the last write of {member}")
    }
}

/// Of a member that never answered nothing is known: perhaps it could not be reached, and others could.
fn doubt_silent(all: &[&Heartbeat<'_>], checked: &mut Checked) {
    let mut answered: BTreeMap<&str, bool> = BTreeMap::new();
    for beat in all {
        *answered.entry(&beat.member).or_default() |= beat.outcome != Outcome::Info;
    }
    for (member, _) in answered.into_iter().filter(|(_, answered)| !answered) {
        let last = all.iter().rev().find(|beat| beat.member == member);
        let error = last.and_then(|beat| beat.error.as_deref()).unwrap_or("no answer");
        checked.doubt(|| format!("{member} never answered a heartbeat ({error}), so nothing is known of it"));
    }
}

/// Where nightmail itself was late, a second writer may have come and gone. It was nobody else: the next heartbeat is due when
/// the one before it has ended, if only by its time-out.
fn doubt_late(all: &[&Heartbeat<'_>], checked: &mut Checked) {
    let mut in_order = all.to_vec();
    in_order.sort_by_key(|beat| (&*beat.member, beat.number));
    for pair in in_order.windows(2).filter(|pair| pair[0].member == pair[1].member) {
        let (member, from_us) = (&pair[0].member, pair[0].done_us);
        let silence_us = pair[1].sent_us.saturating_sub(from_us);
        if silence_us > SILENCE_MAX_US {
            let (from_s, silence_ms) = (from_us as f64 / 1e6, silence_us / 1_000);
            checked.doubt(|| {
                format!(
                    "nightmail itself was late: it sent {member} no heartbeat for {silence_ms} ms, from {from_s:.3} s"
                )
            });
        }
    }
}

/// `two writers for at least 5210 ms in all, from 4.210 s to 12.900 s`, where there is more than one such time.
fn together(overlaps: &[Overlap<'_>]) -> Option<String> {
    overlaps.get(1)?;
    // Of three members two pairs may overlap at one time. They come in no certain order.
    let mut in_order: Vec<_> = overlaps
        .iter()
        .map(|overlap| (overlap.from_us, overlap.to_us))
        .collect();
    in_order.sort_unstable();
    let (mut all_us, mut until_us) = (0, in_order[0].0);
    for (from_us, to_us) in &in_order {
        all_us += to_us.saturating_sub(until_us.max(*from_us));
        until_us = until_us.max(*to_us);
    }
    let (from_s, until_s) = (in_order[0].0 as f64 / 1e6, until_us as f64 / 1e6);
    let all_ms = all_us / 1_000;
    Some(format!(
        "two writers for at least {all_ms} ms in all, from {from_s:.3} s to {until_s:.3} s"
    ))
}

/// `812 of 1600 heartbeats acknowledged (database-1-1 500, database-2-1 312)`.
fn counted(all: usize, acknowledged: &[&Heartbeat<'_>]) -> String {
    let mut by_member: BTreeMap<&str, usize> = BTreeMap::new();
    for beat in acknowledged {
        *by_member.entry(&beat.member).or_default() += 1;
    }
    let members: Vec<String> = by_member
        .iter()
        .map(|(member, count)| format!("{member} {count}"))
        .collect();
    let members = match members.is_empty() {
        true => String::new(),
        false => format!(" ({})", members.join(", ")),
    };
    format!("{} of {all} heartbeats acknowledged{members}", acknowledged.len())
}

fn told(takeovers: &[Takeover<'_>]) -> Vec<String> {
    let mut told: Vec<String> = takeovers.iter().take(TOLD_MAX).map(ToString::to_string).collect();
    if let Some(more) = takeovers.len().checked_sub(TOLD_MAX).filter(|more| *more > 0) {
        told.push(format!("and {more} more takeovers"));
    }
    if takeovers.is_empty() {
        told.push("nobody took over".to_owned());
    }
    told
}
