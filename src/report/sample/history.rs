//! What customers did in the run.

use std::collections::BTreeMap;

use super::{EFFECTIVE_MS, END_MS, HEALED_MS, is_out};
use crate::history::load::History;
use crate::history::{Op, Outcome, Sample};

fn buy(index: u64) -> Op<'static> {
    let intended_us = index * 25_000;
    let at_ms = intended_us as f64 / 1_000.0;
    // A spread that repeats, so that quantiles are known: 12 to 21 ms, every hundredth 120 ms.
    let usual_us = if index.is_multiple_of(100) {
        120_000
    } else {
        12_000 + index % 10 * 1_000
    };
    let (outcome, latency_us, error) = match is_out(at_ms) {
        false => (Outcome::Ok, usual_us, None),
        true if index.is_multiple_of(5) => (Outcome::Ok, usual_us + 800_000, None),
        true if index.is_multiple_of(7) => (Outcome::Fail, 0, Some(Op::DROPPED)),
        true => (Outcome::Info, 2_000_000, Some("timeout")),
    };
    let is_dropped = error == Some(Op::DROPPED);
    Op {
        kind: "buy-postage".into(),
        key: format!("buy-{index}").into(),
        intended_us,
        sent_us: (!is_dropped).then_some(intended_us + 300),
        done_us: intended_us + latency_us,
        outcome,
        attempts: u32::from(!is_dropped),
        status: (outcome == Outcome::Ok).then_some(200),
        error: error.map(Into::into),
        values: Default::default(),
        forbidden: None,
    }
}

fn look(index: u64) -> Op<'static> {
    let intended_us = index * 100_000;
    Op {
        kind: "purchase-history".into(),
        key: format!("look-{index}").into(),
        intended_us,
        sent_us: Some(intended_us + 200),
        done_us: intended_us + 4_000 + index % 7 * 500,
        outcome: Outcome::Ok,
        attempts: 1,
        status: Some(200),
        error: None,
        values: Default::default(),
        forbidden: None,
    }
}

/// The history of the run: 40 purchases and 10 looks at the purchase history a second, and a gauge four times a second.
pub(in crate::report) fn history() -> History<'static> {
    let mut ops: Vec<Op<'static>> = (0..END_MS * 40 / 1_000).map(buy).collect();
    ops.extend((0..END_MS * 10 / 1_000).map(look));
    ops.sort_by_key(|op| op.done_us);
    let samples = (0..END_MS / 250)
        .map(|index| {
            let at_ms = (index * 250) as f64;
            let backlog = match at_ms {
                at_ms if at_ms < EFFECTIVE_MS => 1.0,
                at_ms if at_ms < HEALED_MS => 1.0 + ((at_ms - EFFECTIVE_MS) / 125.0).floor(),
                at_ms => (65.0 - ((at_ms - HEALED_MS) / 60.0).floor()).max(1.0),
            };
            Sample {
                metric: "paid-without-label".into(),
                at_us: index * 250_000,
                // The gauge could not be read for a second.
                value: (!(48..52).contains(&index)).then_some(backlog),
            }
        })
        .collect();
    History {
        ops,
        samples,
        heartbeats: Vec::new(),
        reads: BTreeMap::new(),
        truncated: None,
    }
}
