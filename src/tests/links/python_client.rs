//! The Python client `toxiproxy-python`, driven by `toxiproxy_python.py` beside this file.

use std::process::Command;

use crate::python::{Python, is_left_out, said};
use crate::support::Links;

/// Leaves the test out where there is no Python. Only on purpose.
const SKIP: &str = "NIGHTMAIL_SKIP_PYTHON_TESTS";
const REQUIREMENTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/src/tests/links/requirements.txt");
const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/src/tests/links/toxiproxy_python.py");

#[test]
fn the_python_client_works_unchanged() {
    if is_left_out(SKIP, "the_python_client_works_unchanged") {
        return;
    }
    let python = Python {
        name: "toxiproxy-python",
        requirements: REQUIREMENTS,
        with_dependencies: true,
        module: "toxiproxy",
        skip: SKIP,
    }
    .interpreter();
    let links = Links::start(&[]);
    let (host, port) = (links.api.ip().to_string(), links.api.port().to_string());
    let mut script = Command::new(python);
    script.args(["-I", SCRIPT, &host, &port]);
    // A proxy that is set up for the world outside is none for loopback.
    script.env("NO_PROXY", "*");
    let output = script.output().expect("Python of the virtual environment");
    assert!(output.status.success(), "{}", said(&output));
    let steps = String::from_utf8_lossy(&output.stdout)
        .lines()
        .filter(|line| line.starts_with("ok: "))
        .count();
    assert_eq!(steps, 6, "{}", said(&output));
}
