//! Why an entry accepts nothing of the runs that there are.

use super::{ANY, Entry, What, names, names_assertion};
use crate::campaign::RunRecord;
use crate::diagnostic::did_you_mean;
use crate::verdict::{Assertion, Judgement};

/// Why an entry on an assertion accepts nothing of these runs, if so.
pub(super) fn why_unmatched(entry: &Entry, runs: &[RunRecord]) -> Option<String> {
    let (_, experiment, what) = names(entry);
    let of_it: Vec<&RunRecord> = runs.iter().filter(|run| entry.is_of_run(run)).collect();
    if of_it.is_empty() {
        let known = runs.iter().map(|run| run.verdict.experiment.as_str()).collect();
        let meant = meant(known, experiment);
        return Some(format!("no run of the experiment `{experiment}` is among these{meant}"));
    }
    match what {
        What::Assertion(name) => why_no_assertion(experiment, name, &of_it),
        What::BusinessService(name) => why_no_service(experiment, name, &of_it),
        What::Metric(_) | What::Nothing => None,
    }
}

fn meant(known: Vec<&str>, wanted: &str) -> String {
    let meant = did_you_mean(wanted, known);
    meant.map_or_else(String::new, |name| format!("; did you mean `{name}`?"))
}

fn why_no_assertion(experiment: &str, what: &str, runs: &[&RunRecord]) -> Option<String> {
    let assertions: Vec<&Assertion> = runs.iter().flat_map(|run| &run.verdict.assertions).collect();
    let is_named = |assertion: &&&Assertion| names_assertion(what, assertion);
    let mut named = assertions.iter().filter(is_named).peekable();
    if named.peek().is_none() && what != ANY {
        let known = assertions.iter().map(|assertion| assertion.name.as_str()).collect();
        let meant = meant(known, what);
        return Some(format!("`{experiment}` has no assertion `{what}`{meant}"));
    }
    let fails = named.any(|assertion| assertion.finding.verdict == Judgement::Fail);
    (!fails).then(|| format!("`{what}` of `{experiment}` did not fail: if it is mended, remove this"))
}

fn why_no_service(experiment: &str, what: &str, runs: &[&RunRecord]) -> Option<String> {
    let services = || runs.iter().flat_map(|run| &run.verdict.services);
    let mut named = services().filter(|impact| impact.service == what).peekable();
    if named.peek().is_none() {
        let meant = meant(services().map(|impact| impact.service.as_str()).collect(), what);
        return Some(format!(
            "no business service `{what}` was part of `{experiment}`{meant}"
        ));
    }
    let exceeds = named.any(|impact| impact.verdict == Judgement::Fail);
    let kept = format!(
        "the business service `{what}` kept its impact tolerance in `{experiment}`: if it is mended, remove this"
    );
    (!exceeds).then_some(kept)
}
