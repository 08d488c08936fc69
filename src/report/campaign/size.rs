//! That the page of many experiments stays small.

use std::fs;

use super::tests::{Saved, options};
use super::write;
use crate::campaign::Campaign;
use crate::history::load::History;
use crate::history::{Op, Outcome, Sample};
use crate::report::sample;

/// A run with the load, the gauges and the assertions of our largest system, no two bins alike.
fn large(number: usize) -> Saved {
    let mut saved = Saved::of(&format!("experiment-{number}"), sample::passed());
    let (request, gauge) = (
        saved.plan.system.operations["buy-postage"].clone(),
        saved.plan.system.metrics["paid-without-label"].clone(),
    );
    saved.plan.system.operations.clear();
    saved.plan.workload.rates.clear();
    saved.history = History::default();
    let mut noise = 12_345_u64 + number as u64;
    let mut next = move || {
        noise = noise
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        noise >> 33
    };
    for kind in 0..12 {
        let name = format!("operation-with-a-name-{kind}");
        saved.plan.system.operations.insert(name.clone(), request.clone());
        saved.plan.workload.rates.insert(name.clone(), 40.0.into());
        for index in 0..32_u64 * 40 {
            let outcome = if next() % 9 == 0 { Outcome::Info } else { Outcome::Ok };
            saved.history.ops.push(Op {
                kind: name.clone().into(),
                key: format!("{kind}-{index}").into(),
                intended_us: index * 25_000,
                sent_us: Some(index * 25_000),
                done_us: index * 25_000 + 1_000 + next() % 900_000,
                outcome,
                attempts: 1,
                status: None,
                error: None,
                values: Default::default(),
                forbidden: None,
            });
        }
    }
    for metric in 0..10 {
        let name = format!("gauge-with-a-name-{metric}");
        saved.plan.system.metrics.insert(name.clone(), gauge.clone());
        for index in 0..128_u64 {
            saved.history.samples.push(Sample {
                metric: name.clone().into(),
                at_us: index * 250_000,
                value: Some((next() % 500) as f64),
            });
        }
    }
    let assertions = saved.verdict.assertions.clone();
    saved.verdict.assertions = assertions.iter().cycle().take(40).cloned().collect();
    saved
}

#[test]
fn twenty_experiments_fit_into_a_mebibyte() {
    let folder = tempfile::tempdir().unwrap();
    for number in 0..20 {
        large(number).write(folder.path());
    }
    let (campaign, wrong) = Campaign::gather(&[folder.path().to_owned()]);
    assert!(wrong.is_empty());
    let file = folder.path().join("page.html");
    let model = write(&file, &campaign, &[], &options()).unwrap();
    assert_eq!(model.experiments.len(), 20);
    let bytes = fs::metadata(&file).unwrap().len();
    assert!(bytes <= 1 << 20, "{bytes} bytes");
}
