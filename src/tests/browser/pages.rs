//! The pages to look at: everything that nightmail makes of sample runs, as it makes it for users.

use std::path::Path;

use nightmail::history::load::History;
use nightmail::plan::Plan;
use nightmail::report::{html, write_all};
use nightmail::verdict::Verdict;

use super::sample;

/// Text that is no markup, and words that are as wide as a page.
const HOSTILE: &str = "<script>alert(1)</script> \" onload=\"y' & --> </style> \u{202e} <img src=x onerror=alert(2)> \
                       wwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwww";

/// Makes all pages below a folder. How many they are.
pub fn make(dir: &Path) -> usize {
    let runs = [
        ("failed", sample::plan(), sample::failed(), sample::history()),
        ("passed", sample::plan(), sample::passed(), sample::history()),
        (
            "inconclusive",
            sample::plan(),
            sample::inconclusive(),
            sample::history(),
        ),
        ("aborted", sample::plan(), sample::aborted(), History::default()),
        ("hostile", hostile_plan(), hostile_verdict(), sample::history()),
    ];
    for (name, plan, verdict, history) in &runs {
        let folder = dir.join(name);
        std::fs::create_dir(&folder).unwrap();
        write_all(&folder, plan, verdict, history, &sample::events()).unwrap();
        assert!(folder.join(html::FILE).is_file());
    }
    runs.len()
}

fn hostile_plan() -> Plan {
    let mut plan = sample::plan();
    let texts = [
        &mut plan.experiment.title,
        &mut plan.experiment.description,
        &mut plan.system.title,
        &mut plan.gate.title,
        &mut plan.faults[0].name,
    ];
    texts.into_iter().for_each(|text| text.push_str(HOSTILE));
    plan.configuration = [(HOSTILE.to_owned(), HOSTILE.to_owned())].into();
    plan
}

fn hostile_verdict() -> Verdict {
    let mut verdict = sample::failed();
    verdict.problem = Some(HOSTILE.to_owned());
    verdict.leftovers = vec![HOSTILE.to_owned()];
    verdict.defects = vec![HOSTILE.to_owned()];
    let of_assertions = verdict.assertions.iter_mut().flat_map(|assertion| {
        let finding = &mut assertion.finding;
        [&mut assertion.name, &mut finding.detail]
            .into_iter()
            .chain(&mut finding.evidence)
    });
    let of_faults = verdict
        .faults
        .iter_mut()
        .flat_map(|fault| [&mut fault.name, &mut fault.describe]);
    let of_degraded = verdict
        .recovery
        .degraded
        .iter_mut()
        .map(|stretch| &mut stretch.operation);
    of_assertions
        .chain(of_faults)
        .chain(of_degraded)
        .chain([&mut verdict.title, &mut verdict.experiment, &mut verdict.again])
        .for_each(|text| text.push_str(HOSTILE));
    verdict
}
