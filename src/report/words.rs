//! What the reports say, said once: names of kinds, the answer in one sentence, the recovery figures.

use super::text::{clean, count, duration, list, plural};
use crate::campaign::Answer;
use crate::campaign::accept::Weakness;
use crate::event::Phase;
use crate::verdict::{Assertion, AssertionKind, Judgement, Status, Verdict};

mod planned;
mod recovery;

pub(super) use planned::{arrivals, bound, control, measure, rate, trigger};
use recovery::recovery_clause;
pub(super) use recovery::{Figure, back_before_heal_ms, recovery_figures, recovery_in_brief};

/// Said wherever the command that runs an experiment again is shown.
pub(super) const SEED_FIXES: &str = "The seed fixes the plan and the load, not the timing of the system under test: a race may need several runs to show again.";

/// How the operations are counted, said under the figures.
pub(super) const HOW_COUNTED: &str = "Every operation belongs to the instant at which its customer arrived (its intended time), and its latency counts from \
     there, retries and waiting included. Only ok is success: info (nobody knows whether it happened) and fail (proven \
     to have had no effect, dropped arrivals included) count against it.";

/// Who counts as waiting, as [`super::campaign::waits::Waits`] defines it.
pub(super) const WHO_WAITS: &str = "Somebody had to wait who was served after a second or more, and after ten times what was usual or more: the median before \
     the first fault took effect. That is told of the bins of the pictures below in which one in ten or more of those who came had to. \
     Times are those at which customers came.";

/// When a business service is disrupted.
pub(super) const DISRUPTED_SERVICE: &str = "A service is disrupted while fewer of its customers are served than its tolerance says, over a rolling second, from the \
     moment at which the steady state was found. Who is served later than the tolerance says counts as not served; where it says \
     nothing of that, waiting is not counted, and who is served late is served.";

/// What disruption a business service has, and what an experiment.
pub(super) const TWO_DISRUPTIONS: &str = "The disruption of an experiment is another measure: the whole time from the first effect of a fault until its own steady \
     state, with its latencies and backlogs, was back to stay.";

/// Whether waiting counts for a business service: `served within 5 s`.
pub(super) fn served_within(ms: Option<u64>) -> String {
    match ms {
        Some(ms) => format!("served within {}", duration(ms as f64)),
        None => "waiting not counted".to_owned(),
    }
}

/// Said of a loss that an experiment lets pass and the business service does not.
pub(super) fn tolerated_elsewhere(has_passed: bool, lost: u64, tolerated: u64) -> Option<&'static str> {
    (has_passed && lost > tolerated).then_some("tolerated by the experiment, not by the service")
}

/// Said of what a gate's time did not suffice for.
pub(super) const NOT_REACHED: &str = "not reached";
/// What an experiment without a run is: not reached, or its result is lost.
pub(super) fn without_run(lost: Option<&str>) -> &'static str {
    match lost {
        Some(_) => "no result",
        None => NOT_REACHED,
    }
}

/// Said of an assertion in doubt where doubts are let pass.
pub(super) const DOUBT_LET_PASS: &str = "a doubt, let pass";

/// Until when, by whom and why a weakness is accepted.
pub(super) fn accepted(weakness: &Weakness) -> String {
    let Weakness {
        until, owner, reason, ..
    } = weakness;
    clean(&format!("accepted until {until} by {owner}: {reason}"))
}

/// What a judgement means, said under every table of runs.
pub(super) const HOW_JUDGED: &str = "Pass: everything that was promised held. Fail: something did not. Inconclusive, aborted, interrupted: it cannot be said, \
     which is neither. A run counts for what it was, and none is averaged into a score.";

/// `local (Docker does not answer)`.
pub(super) fn engine(name: &str, because: &str) -> String {
    match because {
        "" => clean(name),
        because => format!("{}: {}", clean(name), clean(because)),
    }
}

/// `pass`, `fail`, `inconclusive`.
pub(super) fn judgement(judgement: Judgement) -> &'static str {
    match judgement {
        Judgement::Pass => "pass",
        Judgement::Inconclusive => "inconclusive",
        Judgement::Fail => "fail",
    }
}

/// What a run came to: its judgement, or why there is none.
pub(super) fn outcome(verdict: &Verdict) -> &'static str {
    match (verdict.status, verdict.verdict) {
        (Status::Completed, judged) | (_, judged @ Judgement::Fail) => judgement(judged),
        (Status::Aborted, _) => "aborted",
        (Status::Interrupted, _) => "interrupted",
    }
}

/// The answer of a campaign, as it stands on top of its page.
pub(super) fn campaign_answer(answer: Answer) -> &'static str {
    match answer {
        Answer::Go => "Go",
        Answer::NotProven => "Not proven",
        Answer::NoGo => "No-go",
    }
}

/// The judgement that an answer looks like.
pub(super) fn campaign_judgement(answer: Answer) -> Judgement {
    match answer {
        Answer::Go => Judgement::Pass,
        Answer::NotProven => Judgement::Inconclusive,
        Answer::NoGo => Judgement::Fail,
    }
}

/// What a business service's judgement means.
pub(super) fn tolerance(judgement: Judgement) -> &'static str {
    match judgement {
        Judgement::Pass => "within",
        Judgement::Inconclusive => "cannot be said",
        Judgement::Fail => "exceeded",
    }
}

/// What a run or several of them came to, in a table of what was tried.
pub(super) fn tried(judgement: Judgement) -> &'static str {
    match judgement {
        Judgement::Pass => "passed",
        Judgement::Inconclusive => "inconclusive",
        Judgement::Fail => "failed",
    }
}

/// A title within a sentence.
pub(super) fn quoted(title: &str) -> String {
    format!("“{}”", clean(title))
}

/// What kind of assertion it is, in two words at most.
pub(super) fn kind(kind: AssertionKind) -> &'static str {
    match kind {
        AssertionKind::Gate => "gate",
        AssertionKind::SteadyStateAfter => "steady after",
        AssertionKind::During => "during",
        AssertionKind::Afterwards => "afterwards",
        AssertionKind::Recovery => "recovery",
        AssertionKind::Backlog => "backlog",
        AssertionKind::Invariant => "invariant",
        AssertionKind::NonVacuous => "non-vacuous",
        AssertionKind::Receipt => "receipt",
        AssertionKind::Generator => "generator",
    }
}

/// What such an assertion asks, for readers who see it for the first time.
pub(super) fn kind_meaning(kind: AssertionKind) -> &'static str {
    match kind {
        AssertionKind::Gate => "normal before the first fault",
        AssertionKind::SteadyStateAfter => "normal again after recovery",
        AssertionKind::During => "kept while faults lasted",
        AssertionKind::Afterwards => "kept after the last heal",
        AssertionKind::Recovery => "recovered within its time",
        AssertionKind::Backlog => "piled-up work was worked off",
        AssertionKind::Invariant => "safety, over every operation and the final reads",
        AssertionKind::NonVacuous => "every kind of operation succeeded at least once",
        AssertionKind::Receipt => "the fault was seen to bite and seen to heal",
        AssertionKind::Generator => "the load kept its schedule",
    }
}

/// A phase, in a few words.
pub(super) fn phase(phase: Phase) -> &'static str {
    match phase {
        Phase::Images => "images",
        Phase::Up => "system up",
        Phase::Gate => "gate: load, is it steady?",
        Phase::Method => "method: load, faults act",
        Phase::Recovery => "recovery: load, no faults",
        Phase::Drain => "drain: load has ended",
        Phase::Reads => "final reads",
        Phase::Down => "system down",
        Phase::Judge => "judging the history",
    }
}

/// A phase in one word.
pub(super) fn phase_name(phase: Phase) -> &'static str {
    match phase {
        Phase::Images => "images",
        Phase::Up => "up",
        Phase::Gate => "gate",
        Phase::Method => "method",
        Phase::Recovery => "recovery",
        Phase::Drain => "drain",
        Phase::Reads => "reads",
        Phase::Down => "down",
        Phase::Judge => "judge",
    }
}

/// The answer to the experiment's claim, in one sentence.
pub(super) fn answer(verdict: &Verdict) -> String {
    let total = verdict.assertions.len() as u64;
    match outcome(verdict) {
        "aborted" => format!("Not answered: the run was aborted{}.", because(verdict)),
        "interrupted" => format!("Not answered: the run was interrupted{}.", because(verdict)),
        "pass" => format!("Yes: {} held{}.", all(total), recovery_clause(verdict)),
        "fail" => format!(
            "No: {}{}.",
            named(verdict, Judgement::Fail, "did not hold"),
            in_doubt(verdict)
        ),
        _ => match verdict
            .assertions
            .iter()
            .any(|a| a.finding.verdict == Judgement::Inconclusive)
        {
            true => format!(
                "It cannot be said: {}.",
                named(verdict, Judgement::Inconclusive, "could not be judged")
            ),
            false => format!("It cannot be said{}.", because(verdict)),
        },
    }
}

fn all(total: u64) -> String {
    match total {
        1 => "the one assertion".to_owned(),
        total => format!("all {} assertions", count(total)),
    }
}

fn in_doubt(verdict: &Verdict) -> String {
    let is_doubt = |assertion: &&Assertion| assertion.finding.verdict == Judgement::Inconclusive;
    match verdict.assertions.iter().filter(is_doubt).count() as u64 {
        0 => String::new(),
        number => format!("; {} could not be judged", count(number)),
    }
}

fn because(verdict: &Verdict) -> String {
    let first_line = verdict.problem.as_deref().and_then(|problem| problem.lines().next());
    first_line.map_or_else(String::new, |line| format!(": {}", clean(line).trim_end_matches('.')))
}

fn named(verdict: &Verdict, judged: Judgement, what: &str) -> String {
    const NAMES_MAX: usize = 4;
    let mut names: Vec<String> = Vec::new();
    let mut number = 0;
    for assertion in verdict.assertions.iter().filter(|a| a.finding.verdict == judged) {
        number += 1;
        let name = clean(&assertion.name);
        if names.len() < NAMES_MAX && !names.contains(&name) {
            names.push(name);
        }
    }
    if number == 0 {
        return format!("the run as a whole {what}{}", because(verdict));
    }
    let total = plural(verdict.assertions.len() as u64, "assertion");
    let more = if number > names.len() { " among them" } else { "" };
    format!("{} of {total} {what} ({}{more})", count(number as u64), list(&names))
}

/// An age, in the greatest unit that it is one of: `5 min`, `7 h`, `12 days`.
pub(super) fn age(ms: i64) -> String {
    let minutes = ms.max(0) / 60_000;
    match minutes {
        0..60 => format!("{minutes} min"),
        60..2_880 => format!("{} h", minutes / 60),
        _ => plural(minutes as u64 / 1_440, "day"),
    }
}

/// Assertions as a reader wants them: what failed, what is in doubt, what held.
pub(super) fn by_gravity(assertions: &[Assertion]) -> Vec<&Assertion> {
    let mut sorted: Vec<&Assertion> = assertions.iter().collect();
    sorted.sort_by_key(|assertion| std::cmp::Reverse(assertion.finding.verdict));
    sorted
}

/// Evidence to show, and how many lines are left out.
pub(super) fn evidence(assertion: &Assertion, lines_max: usize) -> (Vec<String>, usize) {
    let all = &assertion.finding.evidence;
    let shown = all.iter().take(lines_max).map(|line| clean(line)).collect();
    (shown, all.len().saturating_sub(lines_max))
}

/// The glyph of a judgement, and its stand-in where the terminal knows no Unicode.
pub(super) fn glyph(judgement: Judgement, unicode: bool) -> &'static str {
    match (judgement, unicode) {
        (Judgement::Pass, true) => "✓",
        (Judgement::Fail, true) => "✗",
        (Judgement::Pass, false) => "+",
        (Judgement::Fail, false) => "x",
        (Judgement::Inconclusive, _) => "?",
    }
}
