//! The Python client `toxiproxy-python`, driven by `toxiproxy_python.py` beside this file.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::support::{Links, say};

/// Leaves the test out where there is no Python. Only on purpose: it says so past the runner's capture.
const SKIP: &str = "NIGHTMAIL_SKIP_PYTHON_TESTS";
const REQUIREMENTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/src/tests/links/requirements.txt");
const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/src/tests/links/toxiproxy_python.py");

#[test]
fn the_python_client_works_unchanged() {
    if std::env::var_os(SKIP).is_some_and(|value| value == "1") {
        say(&format!("SKIPPED, since {SKIP}=1: the_python_client_works_unchanged\n"));
        return;
    }
    let python = python();
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

/// Python with the client in a virtual environment, which is made if it is not there yet.
fn python() -> PathBuf {
    let requirements = std::fs::read_to_string(REQUIREMENTS).unwrap();
    let home = Path::new(env!("CARGO_TARGET_TMPDIR")).join("toxiproxy-python");
    let python = home.join("bin/python");
    // Written last, so that what was begun and not finished is begun anew.
    let complete = home.join("complete.txt");
    if std::fs::read_to_string(&complete).is_ok_and(|installed| installed == requirements) && runs(&python) {
        return python;
    }
    must_succeed(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&home));
    must_succeed(Command::new(&python).args([
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
        "--requirement",
        REQUIREMENTS,
    ]));
    std::fs::write(complete, requirements).unwrap();
    python
}

/// Whether the interpreter is still there: that of the virtual environment is a link to the one it was made with.
fn runs(python: &Path) -> bool {
    let asked = Command::new(python).args(["-c", "import toxiproxy"]).output();
    asked.is_ok_and(|output| output.status.success())
}

fn must_succeed(command: &mut Command) {
    let what = format!("{command:?}");
    let why = match command.output() {
        Ok(output) if output.status.success() => return,
        Ok(output) => said(&output),
        Err(error) => error.to_string(),
    };
    panic!(
        "this test needs Python 3 with venv, and pip with an index that it reaches; {what} says:\n{why}\n  hint: install \
         them (Debian's python3 and python3-venv), or leave the test out with {SKIP}=1"
    );
}

fn said(output: &Output) -> String {
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}
