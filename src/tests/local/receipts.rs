//! Whole runs whose fault does not hold: they prove nothing, and say by which receipt.

use std::time::Duration;

use nix::sys::signal::{Signal, kill};

use crate::support::{BREAKS, Parlour, alone, each_way};

/// An experiment of the page with a fault, and no other end of the load.
fn with_fault(parlour: &Parlour) {
    parlour.edit("look.yaml", "  for: 1500ms\n", "");
    let experiment = std::fs::read_to_string(parlour.path("look.yaml")).unwrap();
    parlour.write("look.yaml", &format!("{experiment}{BREAKS}"));
}

#[test]
fn a_freeze_that_somebody_undoes_midway_proves_nothing() {
    each_way(|parlour| {
        let _alone = alone();
        with_fault(parlour);
        let mut run = parlour.start();
        run.wait_until("fault", |parlour| {
            parlour.events().iter().any(|event| !event["fault_injected"].is_null())
        });
        let page = parlour.processes("httpd");
        assert!(!page.is_empty(), "the page must be seen: {:#?}", parlour.left());
        for process in page {
            kill(process, Signal::SIGCONT).unwrap();
        }
        assert_eq!(run.exit_code(), Some(3));
        let verdict = parlour.verdict();
        assert_eq!(verdict["verdict"], "inconclusive");
        let assertions = verdict["assertions"].as_array().unwrap();
        let receipt = assertions
            .iter()
            .find(|one| one["kind"] == "receipt")
            .expect("a receipt");
        assert_eq!(receipt["verdict"], "inconclusive", "{receipt:#}");
        assert_eq!(receipt["detail"], "it had ended before its heal");
        parlour.assert_nothing_left(Duration::ZERO);
    });
}
