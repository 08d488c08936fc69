//! The page as values: everything that it says, and nothing of how that looks.
//!
//! What came from a system or an experiment stands here as it was; whoever renders it makes it safe to show.

use serde::{Deserialize, Serialize};

use super::course::Course;
use crate::campaign::accept::Weakness;
use crate::campaign::{Answer, Conclusion};
use crate::event::Host;
use crate::verdict::{AssertionKind, FailoverTimes, Judgement, Status, Violation};

/// The page of a campaign.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Page {
    /// The version of nightmail that made the page.
    pub nightmail: String,
    /// When it was made, in milliseconds since 1970-01-01 UTC.
    pub made_unix_ms: i64,
    /// A pass that is older than this is told to be old.
    pub stale_after_ms: u64,
    /// The answer, with its reasons.
    pub decision: Decision,
    /// Business services against their impact tolerances, the worst first.
    pub services: Vec<ServiceRow>,
    /// Weaknesses that somebody accepted, in the order of their file.
    pub accepted: Vec<AcceptedRow>,
    /// What must be zero.
    pub zeros: Zeros,
    /// What customers would have noticed.
    pub noticed: Notice,
    /// The runs that count, in the order in which they began.
    pub experiments: Vec<Experiment>,
    /// What was tried on what, by system.
    pub coverage: Vec<SystemCoverage>,
    /// Every run, those that do not count included.
    pub evidence: Vec<RunEvidence>,
    /// Experiments that were to be run and were not reached, by their files.
    pub not_run: Vec<String>,
    /// What could not be read, each with its reason.
    pub not_read: Vec<String>,
}

impl Page {
    /// What is kept of it beside the runs.
    pub fn conclusion(&self) -> Conclusion {
        Conclusion {
            answer: self.decision.answer,
            because: self.decision.reasons.first().cloned().unwrap_or_default(),
            at_unix_ms: self.made_unix_ms,
        }
    }
}

/// The answer and why it is that.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decision {
    /// The answer.
    pub answer: Answer,
    /// What decided it, a sentence each, the gravest first.
    pub reasons: Vec<String>,
    /// What whoever signs should know and what decides nothing, a sentence each.
    pub open: Vec<String>,
}

/// A run of the page, as sentences and tables point to it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunRef {
    /// Its number on the page, from 1.
    pub number: usize,
    /// Its experiment's name.
    pub experiment: String,
}

/// A business service over all runs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ServiceRow {
    /// Its system's name.
    pub system: String,
    /// Its key in `system.business-services`.
    pub service: String,
    /// What people call it.
    pub title: String,
    /// The worst of all runs.
    pub verdict: Judgement,
    /// Runs in which it exceeded its tolerance, and that is accepted.
    pub accepted: Vec<RunRef>,
    /// For how long it may be disrupted in one run, in milliseconds; that of the worst run, should it have changed.
    pub tolerated_ms: u64,
    /// Who is served later than this, in milliseconds, counts as not served, likewise; absent where waiting does not count.
    pub served_within_ms: Option<u64>,
    /// How many of its acknowledged operations may be lost in one run, likewise.
    pub tolerated_lost: u64,
    /// The longest disruption that was measured; absent if none could be.
    pub disrupted: Option<Worst<f64>>,
    /// The greatest loss that was found; absent if nothing can be said of any run.
    pub lost: Option<Worst<u64>>,
    /// Runs whose load it was part of.
    pub runs: u64,
    /// Those of them of which it cannot be said whether it stayed within its tolerance, with the reason.
    pub untold: Vec<(RunRef, String)>,
}

/// A weakness that somebody accepted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AcceptedRow {
    /// What, why, by whom and until when.
    pub weakness: Weakness,
    /// Whether its day has passed, so that it accepts nothing any more.
    pub is_expired: bool,
    /// The runs in which it was met.
    pub runs: Vec<RunRef>,
}

/// The worst of several runs: disruption in milliseconds, or operations lost.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Worst<T> {
    /// How bad it was.
    pub value: T,
    /// Where.
    pub run: RunRef,
    /// Whether that run passed: its experiment tolerates so much, whether or not the service does.
    pub has_passed: bool,
}

/// The three numbers that must be zero, over all runs that count.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Zeros {
    /// Operations that were acknowledged and are gone.
    pub lost: Zero,
    /// Effects that are there more often than they may be.
    pub twice: Zero,
    /// Differences of ledgers, journals and copies.
    pub ledger_differences: Zero,
}

/// A number that must be zero.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Zero {
    /// The sum over the runs of which it can be said; absent if it can be of none.
    pub sum: Option<u64>,
    /// Runs of which it can be said.
    pub told: u64,
    /// Runs of which it cannot.
    pub untold: u64,
    /// Runs that did not put it to the test: none of their invariants would have found it.
    pub untested: u64,
    /// Runs in which it was not zero.
    pub found_in: Vec<RunRef>,
}

/// What customers would have noticed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notice {
    /// Runs in which an operation was disrupted or waited for, each in sentences.
    pub noticed: Vec<Noticed>,
    /// Runs in which none was, as far as it can be told.
    pub unnoticed: Vec<Unnoticed>,
    /// Runs of which it cannot be told of any operation.
    pub untold: Vec<RunRef>,
}

/// A run in which customers would have noticed nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unnoticed {
    /// The run.
    pub run: RunRef,
    /// Sentences on what that leaves open: operations of which it cannot be told, and what failed all the same.
    pub but: Vec<String>,
}

/// What customers would have noticed of a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Noticed {
    /// The run.
    pub run: RunRef,
    /// What was broken, in a few words; empty if nothing was.
    pub broken: String,
    /// A sentence for each operation that was disrupted or waited for.
    pub disrupted: Vec<String>,
    /// Sentences on what went on, what piled up, when it was over, and what harm was done.
    pub besides: Vec<String>,
}

/// A run that counts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Experiment {
    /// Its number on the page, from 1.
    pub number: usize,
    /// The experiment's name.
    pub name: String,
    /// Its title, a claim.
    pub title: String,
    /// The judgement.
    pub verdict: Judgement,
    /// How far it got.
    pub status: Status,
    /// `pass`, `fail`, `inconclusive`, `aborted` or `interrupted`.
    pub outcome: String,
    /// The answer to the claim, in one sentence.
    pub answer: String,
    /// Why it did not complete; absent when it did.
    pub problem: Option<String>,
    /// What clean-up could not remove.
    pub leftovers: Vec<String>,
    /// When it began, in milliseconds since 1970-01-01 UTC.
    pub started_unix_ms: i64,
    /// How long it took.
    pub took_ms: u64,
    /// The engine; empty if it did not get that far.
    pub engine: String,
    /// Figures of disruption and recovery, each with its meaning.
    pub figures: Vec<Figure>,
    /// Changes of primaries.
    pub failovers: Vec<FailoverTimes>,
    /// The faults, with what they did to whom.
    pub faults: Vec<FaultLine>,
    /// Everything that was judged, the gravest first.
    pub assertions: Vec<AssertionLine>,
    /// How it went over time; absent where there was no load, or where nothing of it is left.
    pub course: Option<Course>,
    /// Why there is no course.
    pub no_course: Option<String>,
    /// The command that runs it again.
    pub again: String,
}

/// A figure with its meaning.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Figure {
    /// Its name.
    pub name: String,
    /// The number with its unit.
    pub value: String,
    /// How it is counted.
    pub meaning: String,
}

/// A fault of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FaultLine {
    /// From 1, as the pictures count.
    pub number: usize,
    /// Its name.
    pub name: String,
    /// Its kind.
    pub kind: String,
    /// What it did, to whom.
    pub describe: String,
    /// When its effect was first measured, in milliseconds since the load started.
    pub effective_ms: Option<f64>,
    /// When its absence was.
    pub healed_ms: Option<f64>,
    /// Why it was not injected, or did not heal.
    pub problem: Option<String>,
}

/// An assertion of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AssertionLine {
    /// The probe's, invariant's or fault's name.
    pub name: String,
    /// What kind.
    pub kind: AssertionKind,
    /// The judgement.
    pub verdict: Judgement,
    /// The numbers behind it.
    pub detail: String,
    /// The first lines of its evidence, unless it passed.
    pub evidence: Vec<String>,
    /// Lines of evidence that are left out here.
    pub evidence_more: usize,
    /// The first violation, if it failed and one can be named.
    pub first: Option<FirstViolation>,
    /// Whose acceptance its failure falls under; absent if it did not fail, or nobody accepted that, or no longer.
    pub accepted: Option<Weakness>,
}

/// The first violation of an assertion, and what went on then.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FirstViolation {
    /// What it was.
    pub violation: Violation,
    /// The faults in force at that time, by their numbers; absent if it has no time.
    pub in_force: Option<Vec<usize>>,
    /// Lines of the replicas' logs around it.
    pub log: Vec<LogLine>,
    /// What those lines were found by, or why there are none.
    pub log_note: String,
}

/// A line of a replica's log.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LogLine {
    /// The replica.
    pub replica: String,
    /// When it was written, in milliseconds since the load started, as the line itself says; absent if it does not.
    pub at_ms: Option<f64>,
    /// The line, cut where it is long.
    pub text: String,
}

/// What was tried on a system.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SystemCoverage {
    /// Its name.
    pub system: String,
    /// What it is.
    pub title: String,
    /// Kinds of faults that were tried on it: the columns.
    pub kinds: Vec<String>,
    /// Kinds that nightmail has and that were not.
    pub untried_kinds: Vec<String>,
    /// Business services, against faults anywhere in the system while they were part of the load.
    pub business: Vec<CoverageRow>,
    /// Compose services, against faults that act on them or lie between.
    pub services: Vec<CoverageRow>,
}

/// A row of what was tried.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CoverageRow {
    /// The service's key.
    pub service: String,
    /// What people call it; empty for Compose services.
    pub title: String,
    /// A cell for each kind of fault; absent where that was never tried.
    pub cells: Vec<Option<CoverageCell>>,
}

/// A kind of fault on a service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CoverageCell {
    /// The worst of the runs.
    pub verdict: Judgement,
    /// How many there are.
    pub runs: u64,
    /// When the last of them began, in milliseconds since 1970-01-01 UTC.
    pub last_unix_ms: i64,
    /// Whether that is longer ago than the page allows.
    pub is_stale: bool,
    /// Experiments among them that are not shown to be able to fail.
    pub unproven: Vec<String>,
    /// Runs among them that failed by something else than this business service, which held.
    pub held_in_failed: u64,
}

/// What a run's results rest on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunEvidence {
    /// The experiment's name.
    pub experiment: String,
    /// Its number on the page; absent if it does not count.
    pub number: Option<usize>,
    /// Why it does not count; absent if it does.
    pub aside: Option<String>,
    /// `pass`, `fail`, `inconclusive`, `aborted` or `interrupted`.
    pub outcome: String,
    /// The judgement.
    pub verdict: Judgement,
    /// The run's id.
    pub run_id: String,
    /// When it began, in milliseconds since 1970-01-01 UTC.
    pub started_unix_ms: i64,
    /// The seed.
    pub seed: u64,
    /// Its folder.
    pub folder: String,
    /// The experiment's file.
    pub file: String,
    /// SHA-256 of it.
    pub file_sha256: String,
    /// The system.
    pub system: String,
    /// The version of nightmail that made the run; empty if it did not say.
    pub nightmail: String,
    /// What was under test, as whoever started the run named it; empty if nobody did.
    pub release: String,
    /// The engine; empty if it did not get that far.
    pub engine: String,
    /// The machine, if the run says.
    pub host: Option<Host>,
    /// Images, each with the hash of its content where the run tells it.
    pub images: Vec<String>,
    /// Defects that were switched on.
    pub defects: Vec<String>,
    /// Whether the experiment is shown to be able to fail: `proven`, `not proven`, or absent if nobody tried.
    pub proof: Option<bool>,
    /// The files, in the run's folder, as they are now.
    pub files: Vec<FileSum>,
}

/// A file and its checksum.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileSum {
    /// Its name.
    pub name: String,
    /// Its size.
    pub bytes: u64,
    /// SHA-256 in hexadecimal, or why there is none.
    pub sha256: Result<String, String>,
}
