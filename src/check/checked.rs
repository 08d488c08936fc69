//! What a checker found, before it is known what loss is tolerated.

use std::collections::BTreeMap;
use std::fmt;

use super::Evidence;
use super::about::{About, First};
use super::attempts::{Attempt, Attempts};
use crate::verdict::{Finding, Judgement};

/// A way in which an invariant is broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Breach {
    /// A cause without the effect it must have, where no customer's operation is the cause.
    Missing,
    /// There more often than it may be.
    Duplicated,
    /// There, but refused.
    Refused,
    /// There, but never attempted.
    Unattempted,
    /// There, but not as it was asked for.
    Differs,
    /// A transfer of which one leg alone is there.
    OneLeg,
    /// A transfer that comes from and goes to the same account.
    SameAccount,
    /// A transfer whose legs do not sum to zero.
    Unbalanced,
    /// All entries together do not sum to zero.
    Total,
    /// A balance below zero.
    Negative,
    /// A balance that is not its initial value plus its entries.
    BalanceOff,
    /// In a device's journal, but not at the host.
    NotAtHost,
    /// At the host, but in no device's journal.
    InNoJournal,
    /// A device's journal whose numbers are not 1, 2, 3 and so on.
    Numbering,
    /// Not at the host as in the journal.
    NotTheSame,
    /// There, and must not be.
    Forbidden,
    /// Given an answer that nobody must get.
    Answered,
    /// More than may be.
    AboveLimit,
    /// Published for longer than may be though it was false.
    FalselyPublished,
    /// True for longer than it may be without being published.
    NotPublished,
    /// Two members that acknowledged writes at one time.
    TwoWriters,
    /// On one side, and not on the other.
    NotCopied,
    /// Not on one side as on the other.
    CopyDiffers,
    /// A reading that lacks what was acknowledged long enough before.
    Stale,
}

impl fmt::Display for Breach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Missing => "without effect",
            Self::Duplicated => "duplicated",
            Self::Refused => "there though refused",
            Self::Unattempted => "never attempted",
            Self::Differs => "not as asked for",
            Self::OneLeg => "with one leg",
            Self::SameAccount => "from and to one account",
            Self::Unbalanced => "unbalanced",
            Self::Total => "total not zero",
            Self::Negative => "negative",
            Self::BalanceOff => "not its initial value plus its entries",
            Self::NotAtHost => "not at the host",
            Self::InNoJournal => "in no journal",
            Self::Numbering => "out of number",
            Self::NotTheSame => "not the same at the host",
            Self::Forbidden => "there and must not be",
            Self::Answered => "answered as nobody must be",
            Self::AboveLimit => "above the limit",
            Self::NotPublished => "true for too long and not published",
            Self::FalselyPublished => "published though false",
            Self::TwoWriters => "with two writers at once",
            Self::NotCopied => "not copied",
            Self::CopyDiffers => "not the same on both sides",
            Self::Stale => "read too stale",
        })
    }
}

/// An acknowledged operation that is gone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lost {
    /// The operation.
    pub kind: String,
    /// Its key.
    pub key: String,
    /// When its customer arrived.
    pub intended_us: u64,
}

impl Lost {
    fn about(&self) -> About<'_> {
        About::lost(self)
    }

    fn line(&self) -> String {
        let at_s = self.intended_us as f64 / 1e6;
        format!(
            "{} `{}` of {at_s:.3} s was acknowledged and is lost",
            self.kind, self.key
        )
    }
}

/// What a checker found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Checked {
    /// Acknowledged operations that are gone. A violation unless so much is tolerated.
    pub lost: Vec<Lost>,
    /// How often each breach was found.
    pub breaches: BTreeMap<Breach, u64>,
    /// Why it cannot be said for sure.
    pub doubts: u64,
    /// How many operations and items were looked at.
    pub samples: u64,
    /// What was looked at, in one line.
    summary: String,
    breach_lines: Vec<String>,
    doubt_lines: Vec<String>,
    first: Option<First>,
}

impl Checked {
    /// A breach; the line is only made if it will be shown, or if none came before it in time.
    pub(super) fn breach(&mut self, breach: Breach, about: About<'_>, line: impl FnOnce() -> String) {
        *self.breaches.entry(breach).or_default() += 1;
        let is_shown = self.breach_lines.len() < Finding::EVIDENCE_MAX;
        let is_first = self.first.as_ref().is_none_or(|first| about.is_before(first));
        if !is_shown && !is_first {
            return;
        }
        let line = line();
        if is_first {
            self.first = Some(about.first(line.clone()));
        }
        if is_shown {
            self.breach_lines.push(line);
        }
    }

    /// A reason for which it cannot be said.
    pub(super) fn doubt(&mut self, line: impl FnOnce() -> String) {
        self.doubts += 1;
        if self.doubt_lines.len() < Finding::EVIDENCE_MAX {
            self.doubt_lines.push(line());
        }
    }

    /// Acknowledged operations are gone.
    pub(super) fn lose(&mut self, attempts: &Attempts<'_>, gone: impl Iterator<Item = Attempt>) {
        let lost = gone.filter_map(|attempt| attempts.op(attempt)).map(|op| Lost {
            kind: op.kind.to_string(),
            key: op.key.to_string(),
            intended_us: op.intended_us,
        });
        self.lost.extend(lost);
    }

    /// Something is there that nobody attempted. If the history's end was cut off, the attempt may have been in it.
    pub(super) fn unattempted(&mut self, evidence: &Evidence<'_>, about: About<'_>, line: impl FnOnce() -> String) {
        if evidence.history.truncated.is_some() {
            self.doubt(line);
        } else {
            self.breach(Breach::Unattempted, about, line);
        }
    }

    /// Whether a final read is complete; without it there is doubt.
    pub(super) fn complete(&mut self, evidence: &Evidence<'_>, read: &str) -> Option<()> {
        match evidence.history.reads.get(read) {
            Some(list) if list.complete => return Some(()),
            Some(list) => {
                let problem = list.problem.as_deref().unwrap_or("nobody knows why");
                self.doubt(|| format!("the final read `{read}` is not complete: {problem}"));
            }
            None => self.doubt(|| format!("the final read `{read}` was not made")),
        }
        None
    }

    /// Says what was looked at. Nothing acknowledged proves nothing.
    pub(super) fn rest_on(&mut self, attempts: &Attempts<'_>, items: usize, what: &str) {
        let (acknowledged, count) = (attempts.acknowledged, attempts.count);
        self.looked_at(
            count + items,
            format!("{acknowledged} acknowledged of {count} {what}, {items} items"),
        );
        if acknowledged == 0 {
            self.doubt(|| format!("none of the {what} was acknowledged, so nothing was put to the test"));
        }
    }

    /// Says what was looked at, where no operation is part of it.
    pub(super) fn looked_at(&mut self, samples: usize, summary: String) {
        self.samples = samples as u64;
        self.summary = summary;
    }

    /// The judgement. `tolerated` says in words why the loss is tolerated, if it is.
    pub fn finding(&self, tolerated: Option<&str>) -> Finding {
        let lost_counts = !self.lost.is_empty() && tolerated.is_none();
        let verdict = match (lost_counts || !self.breaches.is_empty(), self.doubts) {
            (true, _) => Judgement::Fail,
            (false, 0) => Judgement::Pass,
            (false, _) => Judgement::Inconclusive,
        };
        Finding {
            verdict,
            detail: self.detail(tolerated),
            evidence: self.evidence(),
            samples: self.samples,
            first: self.first(lost_counts).map(Into::into),
        }
    }

    /// The first violation, what is lost included if that is one.
    fn first(&self, lost_counts: bool) -> Option<First> {
        let oldest = self.lost.iter().min_by_key(|lost| lost.intended_us);
        let oldest = oldest.filter(|_| lost_counts);
        match (oldest, &self.first) {
            (Some(oldest), Some(first)) if !oldest.about().is_before(first) => Some(first.clone()),
            (Some(oldest), _) => Some(oldest.about().first(oldest.line())),
            (None, first) => first.clone(),
        }
    }

    fn detail(&self, tolerated: Option<&str>) -> String {
        let mut parts = Vec::new();
        if !self.lost.is_empty() {
            let tolerated = tolerated.map(|why| format!(" ({why})")).unwrap_or_default();
            parts.push(format!("{} lost{tolerated}", self.lost.len()));
        }
        parts.extend(self.breaches.iter().map(|(breach, count)| format!("{count} {breach}")));
        if parts.is_empty() {
            parts.extend(self.doubt_lines.first().cloned());
        }
        let found = match parts.is_empty() {
            true => "all as it must be".to_owned(),
            false => parts.join(", "),
        };
        match self.summary.is_empty() {
            true => found,
            false => format!("{found}; {}", self.summary),
        }
    }

    fn evidence(&self) -> Vec<String> {
        let lost = self.lost.iter().map(Lost::line);
        let lines = lost
            .chain(self.breach_lines.iter().cloned())
            .chain(self.doubt_lines.iter().cloned());
        lines.take(Finding::EVIDENCE_MAX).collect()
    }
}
