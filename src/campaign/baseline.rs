//! A campaign fit to be committed, as the baseline of later ones: small, and the same for the same runs.

use std::fmt::Write;
use std::path::PathBuf;

use super::{Campaign, RunRecord};
use crate::verdict::Judgement;

/// Renders `campaign.json` with what comparisons need and no more, a run a line, so that a change of it can be read. Assertions
/// that passed are left out, and so is all evidence, which the run folders keep.
pub fn render(campaign: &Campaign) -> serde_json::Result<String> {
    let mut runs: Vec<RunRecord> = campaign.runs.iter().map(bare).collect();
    let place = |run: &RunRecord| {
        let verdict = &run.verdict;
        (
            run.system.clone(),
            verdict.experiment.clone(),
            run.engine.clone(),
            run.started_unix_ms,
            verdict.run_id.clone(),
        )
    };
    runs.sort_by_cached_key(place);
    let lines: Vec<String> = runs.iter().map(serde_json::to_string).collect::<Result<_, _>>()?;
    let empty = serde_json::to_string(&Campaign {
        runs: Vec::new(),
        ..Campaign::of(Vec::new())
    })?;
    let head = empty.strip_suffix("[]}").unwrap_or(&empty);
    let mut text = String::new();
    let _ = write!(text, "{head}[\n{}\n]}}\n", lines.join(",\n"));
    Ok(text)
}

/// A run without what comparisons do not read.
fn bare(run: &RunRecord) -> RunRecord {
    let mut run = run.clone();
    // Where it lay says something of a machine, and nothing to whoever reads the file.
    run.folder = run.folder.file_name().map(PathBuf::from).unwrap_or_default();
    let verdict = &mut run.verdict;
    verdict
        .assertions
        .retain(|assertion| assertion.finding.verdict != Judgement::Pass);
    for assertion in &mut verdict.assertions {
        assertion.finding.evidence.clear();
    }
    verdict.recovery.degraded.clear();
    run.images.clear();
    for operation in &mut verdict.operations {
        operation.disrupted.clear();
    }
    for fault in &mut verdict.faults {
        fault.injected = None;
        fault.healed = None;
    }
    run
}

/// How many experiments there are runs of.
pub fn experiments(campaign: &Campaign) -> usize {
    let names = campaign.runs.iter().map(|run| (&run.system, &run.verdict.experiment));
    names.collect::<std::collections::BTreeSet<_>>().len()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::campaign::accept::Accepted;
    use crate::campaign::compare::compare;
    use crate::campaign::compare::tests::{failed, recovered, run};

    fn read(text: &str) -> Campaign {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn it_compares_as_the_runs_do() {
        let mut runs = recovered("x", 1, &[1_000.0, 1_250.0, 1_500.0, 1_250.0, 1_000.0]);
        runs.push(failed(run("x", 6), "nobody-charged-twice"));
        let whole = Campaign::of(runs);
        let bare = read(&render(&whole).unwrap());
        let now = Campaign::of(recovered("x", 11, &[4_000.0; 5]));
        let against = |baseline| compare(baseline, &now, &Accepted::default()).unwrap();
        assert_eq!(against(&bare), against(&whole));
    }

    #[test]
    fn it_is_small_a_run_a_line_and_the_same_in_any_order() {
        let mut runs = recovered("b", 1, &[1_000.0; 3]);
        runs.extend(recovered("a", 2, &[1_000.0; 3]));
        let text = render(&Campaign::of(runs.clone())).unwrap();
        runs.reverse();
        assert_eq!(render(&Campaign::of(runs)).unwrap(), text);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 6 + 2);
        assert!(lines[1].contains("\"a-2\"") && lines[6].contains("\"b-3\""));
        assert!(lines.iter().all(|line| line.len() < 2_500), "{}", lines[1]);
        assert_eq!(read(&text).runs[0].folder, PathBuf::from("2-a"));
        assert_eq!(read(&render(&Campaign::of(Vec::new())).unwrap()).runs, []);
    }
}
