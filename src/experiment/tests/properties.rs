//! Properties that hold whatever the file.

use std::path::Path;

use proptest::prelude::*;

use super::{CAPABLE, FOLDER, from_document, seeded};
use crate::diagnostic::Diagnostics;
use crate::plan::Plan;
use crate::yaml::Document;
use crate::yaml::node::{Node, Value};

fn load_bytes(bytes: &[u8]) -> Result<Plan, Diagnostics> {
    // The name of a file beside which the tests' systems are found.
    let path = Path::new(FOLDER).join("good/generated.yaml");
    from_document(Document::parse(&path, bytes)?, &seeded(1), &CAPABLE)
}

fn everything() -> String {
    std::fs::read_to_string(Path::new(FOLDER).join("good/everything.yaml")).unwrap()
}

/// Where each key stands whose name nightmail defines, or that refers to something. Names that people choose freely
/// (environment variables, contributions) can be renamed without harm.
fn keys(node: &Node, above: &[&str], found: &mut Vec<std::ops::Range<usize>>) {
    match &node.value {
        Value::Map(entries) => {
            for entry in entries {
                let is_free = above == ["contributions"]
                    || above.len() == 2 && above[0] == "environment"
                    || above.len() > 2 && above[above.len() - 2] == "environment";
                if !is_free {
                    found.push(entry.key_span.clone());
                }
                let mut path = above.to_vec();
                path.push(&entry.key);
                keys(&entry.node, &path, found);
            }
        }
        Value::List(elements) => elements.iter().for_each(|element| keys(element, above, found)),
        Value::Null | Value::Scalar(_) => {}
    }
}

#[test]
fn a_renamed_key_is_named_in_a_message() {
    let text = everything();
    let document = Document::parse(Path::new("any.yaml"), text.as_bytes()).unwrap();
    let mut spans = Vec::new();
    keys(&document.root, &[], &mut spans);
    assert!(spans.len() > 80, "{}", spans.len());
    for suffix in ["x", "-of"] {
        for span in &spans {
            let renamed = format!("{}{suffix}", &text[span.clone()]);
            let mut changed = text.clone();
            changed.replace_range(span.clone(), &renamed);
            let diagnostics = load_bytes(changed.as_bytes()).expect_err(&renamed).to_string();
            assert!(diagnostics.contains(&renamed), "{renamed}:\n{diagnostics}");
        }
    }
}

prop_compose! {
    fn duration(range: std::ops::Range<u64>)(ms in range, unit in 0..3) -> (u64, String) {
        match unit {
            0 => (ms, format!("{ms}ms")),
            1 => (ms / 100 * 100, format!("{}s", (ms / 100) as f64 / 10.0)),
            _ => (ms, format!("\"{ms}ms\"")),
        }
    }
}

fn fault() -> impl Strategy<Value = String> {
    let process_target = prop::sample::select(vec![
        "worker",
        "worker-1",
        "api:one",
        "api:minority",
        "api:majority",
        "api:all",
        "api-2",
        "twins:one",
        "db:primary",
        "db:standby",
        "plain:all",
    ]);
    prop_oneof![
        (prop::sample::select(vec!["kill", "stop", "pause"]), process_target)
            .prop_map(|(kind, target)| format!("{{{kind}: {{targets: [\"{target}\"]}}}}")),
        (any::<bool>(), prop::sample::select(vec!["api", "api:one", "twins"]))
            .prop_map(|(both, from)| format!("{{partition: {{from: [\"{from}\"], to: [worker], both-ways: {both}}}}}")),
        (1u32..999).prop_map(|tenths| format!(
            "{{loss: {{from: [worker], to: [\"db:primary\"], percent: {}}}}}",
            f64::from(tenths) / 10.0
        )),
    ]
}

prop_compose! {
    fn experiment()(
        rate in 1u32..2_000,
        per in prop::sample::select(vec!["s", "m", "h"]),
        percent in 1u32..1_000,
        faults in prop::collection::vec((fault(), duration(100..5_000), any::<bool>()), 1..5),
        within in duration(100..30_000),
        both_invariants in any::<bool>(),
        with_during in any::<bool>(),
    ) -> (String, u64) {
        let mut text = format!(
            "title: Anything\nsystem: shop\nworkload: {{operations: {{buy: {{rate: {rate}/{per}}}}}}}\n\
             steady-state-hypothesis:\n  title: Works\n  probes:\n    - name: works\n      metric: success-rate\n      \
             operation: buy\n      tolerance: \">= {}%\"\nrecovery: {{within: {}}}\nmethod:\n",
            f64::from(percent) / 10.0, within.1,
        );
        let mut at_ms = 0;
        for (index, (fault, (for_ms, for_text), by_event)) in faults.iter().enumerate() {
            // One after the other, so that none overlap.
            let trigger = if *by_event {
                format!("on: {{operation: buy, nth: {}, by: {at_ms}ms}}", index + 1)
            } else {
                format!("at: {at_ms}ms")
            };
            text += &format!("  - name: fault {index}\n    {trigger}\n    for: {for_text}\n    inject: {fault}\n");
            at_ms += for_ms;
        }
        text += if both_invariants { "invariants: [orders-kept, one-parcel-each]\n" } else { "invariants: [orders-kept]\n" };
        if with_during {
            text += "during:\n  - {operation: buy, p99: \"<= 2s\"}\n  - {of: queue-length, min: \">= 0\", fault: fault 0}\n";
            text += "afterwards:\n  - {of: queue-length, max: \"<= 5\", after: 1s}\n";
        }
        (text, at_ms)
    }
}

/// Changes to a text: where (as a share of its length), how much is taken away, and what is put there.
fn edits() -> impl Strategy<Value = Vec<(f64, usize, Vec<u8>)>> {
    let piece = prop_oneof![
        prop::collection::vec(any::<u8>(), 0..4),
        prop::sample::select(vec![
            "{", "}", "[", "]", ":", "- ", "\n", "\t", "\"", "'", "${", "*a", "&a ", "!!str ", "---\n", "|", "#",
            "\u{feff}", "é", "null", "~", "true", "1e999", "<<: ", "%",
        ])
        .prop_map(|piece| piece.as_bytes().to_vec()),
    ];
    prop::collection::vec((0.0..1.0, 0usize..12, piece), 1..6)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_valid_experiment_loads((text, method_ms) in experiment()) {
        let plan = load_bytes(text.as_bytes()).map_err(|diagnostics| TestCaseError::fail(diagnostics.to_string()))?;
        prop_assert_eq!(plan.schedule.method_ms, method_ms);
        let told = crate::plan::describe::render(&plan);
        prop_assert!(told.contains("fault 0"));
        let variant = plan.without_method();
        prop_assert_eq!(variant.schedule.total_ms, plan.schedule.total_ms);
    }

    #[test]
    fn an_edited_file_never_panics(edits in edits()) {
        let mut bytes = everything().into_bytes();
        for (share, taken, put) in edits {
            let at = (share * bytes.len() as f64) as usize;
            let end = (at + taken).min(bytes.len());
            bytes.splice(at..end, put);
        }
        match load_bytes(&bytes) {
            Ok(plan) => prop_assert!(!crate::plan::describe::render(&plan).is_empty()),
            Err(diagnostics) => prop_assert!(diagnostics.to_string().contains("error: ")),
        }
    }

    #[test]
    fn any_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), text in "[ -~\n]{0,200}") {
        for bytes in [bytes, text.into_bytes()] {
            if let Err(diagnostics) = load_bytes(&bytes) {
                prop_assert!(diagnostics.render(true).contains("error"));
            }
        }
    }
}
