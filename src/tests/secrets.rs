//! A value that an experiment takes from an environment variable reaches the system, and no file and no terminal. A whole
//! run on real containers, with the guestbook.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

const SECRET: &str = "sk_live_9f\"8e7d";

/// The secret is the book's setting, part of a title, and asked for back by nobody.
const EXPERIMENT: &str = "
title: The book is signed with ${token}
configuration: {token: {type: env, key: NIGHTMAIL_TEST_TOKEN}}
system: SYSTEM
environment: {book: {GREETING: '${token}'}}
workload: {arrivals: constant, operations: {sign: {rate: 5/s}}, for: 1s}
gate: {warm-up: 1s, window: 1s}
steady-state-hypothesis:
  title: Visitors can sign, with ${token} or without
  probes: [{name: 'signing succeeds with ${token}', metric: success-rate, operation: sign, tolerance: '>= 50%'}]
invariants: [every-visitor-stands-in-the-book-once]
negative-controls:
  - {name: 'knows nobody by ${token}', defect: asks-again-signs-again, fails: 'signing succeeds with ${token}'}
";

fn nightmail(args: &[&str], folder: &Path) -> Output {
    Command::new(env!("CARGO_BIN_EXE_nightmail"))
        .args(args)
        .current_dir(folder)
        .env("NIGHTMAIL_TEST_TOKEN", SECRET)
        .env("NIGHTMAIL_TEST_ARRIVALS", "constant")
        .output()
        .expect("nightmail")
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries
        .flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] })
        .collect()
}

/// As it is, and as JSON, HTML and XML write it.
fn forms() -> [String; 3] {
    let escaped = |quote: &str| SECRET.replace('"', quote);
    [SECRET.to_owned(), escaped("\\\""), escaped("&quot;")]
}

fn assert_without_secret(what: &str, text: &str) {
    for form in forms() {
        assert!(!text.contains(&form), "{what} holds the secret:\n{text}");
    }
}

/// A folder with the experiment as `signed.yaml`, one thing changed.
fn folder(from: &str, to: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    assert!(EXPERIMENT.contains(from), "{from}");
    let experiment = EXPERIMENT
        .replace(from, to)
        .replace("SYSTEM", concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/guestbook"));
    std::fs::write(folder.path().join("signed.yaml"), experiment).unwrap();
    folder
}

#[test]
fn a_value_in_the_wrong_place_is_not_in_the_message() {
    let folder = folder("for: 1s", "for: '${token}'");
    let validate = nightmail(&["validate", "signed.yaml"], folder.path());
    let said = String::from_utf8_lossy(&validate.stderr);
    assert_eq!(validate.status.code(), Some(2), "{said}");
    assert!(said.contains("***") && said.contains("signed.yaml:6:"), "{said}");
    assert_without_secret("the message", &said);
}

#[test]
fn a_value_that_is_a_word_of_plans_is_no_secret() {
    let declared = "configuration: {arrivals: {type: env, key: NIGHTMAIL_TEST_ARRIVALS}, ";
    let folder = folder("configuration: {", declared);
    let file = folder.path().join("signed.yaml");
    let experiment = std::fs::read_to_string(&file).unwrap();
    std::fs::write(
        file,
        experiment.replace("arrivals: constant", "arrivals: '${arrivals}'"),
    )
    .unwrap();
    let plan = nightmail(&["plan", "signed.yaml"], folder.path());
    let shown = String::from_utf8_lossy(&plan.stdout);
    assert_eq!(plan.status.code(), Some(0), "{}", String::from_utf8_lossy(&plan.stderr));
    assert!(shown.contains("constant") && shown.contains("GREETING=***"), "{shown}");
    assert_without_secret("the plan shown", &shown);
}

#[test]
fn a_value_from_the_environment_stands_nowhere() {
    let folder = folder("signing succeeds", "signing succeeds");

    let plan = nightmail(&["plan", "signed.yaml"], folder.path());
    let shown = String::from_utf8_lossy(&plan.stdout).into_owned();
    assert!(shown.contains("GREETING=***"), "the setting is shown, masked:\n{shown}");
    assert_without_secret("the plan shown", &shown);

    let run = nightmail(&["run", "signed.yaml", "--out", "runs"], folder.path());
    let said = format!(
        "{}{}",
        String::from_utf8_lossy(&run.stdout),
        String::from_utf8_lossy(&run.stderr)
    );
    assert_eq!(run.status.code(), Some(0), "{said}");
    assert!(said.contains("The book is signed with ***"), "{said}");
    assert_without_secret("the terminal", &said);

    let written = files(&folder.path().join("runs"));
    for name in [
        "plan.json",
        "history.jsonl",
        "events.jsonl",
        "verdict.json",
        "junit.xml",
        "summary.md",
        "report.html",
        "book-1.log",
    ] {
        assert!(
            written.iter().any(|path| path.ends_with(name)),
            "{name} is missing from {written:?}"
        );
    }
    for path in &written {
        let text = String::from_utf8_lossy(&std::fs::read(path).unwrap()).into_owned();
        assert_without_secret(&path.display().to_string(), &text);
    }

    let dir = written[0]
        .ancestors()
        .find(|path| path.join("plan.json").is_file())
        .unwrap();
    let again = nightmail(&["check", dir.to_str().unwrap()], folder.path());
    assert_eq!(
        again.status.code(),
        Some(0),
        "{}",
        String::from_utf8_lossy(&again.stderr)
    );
    assert_without_secret("the check", &String::from_utf8_lossy(&again.stdout));
}

#[test]
fn a_proof_holds_no_value_from_the_environment_either() {
    let folder = folder("signing succeeds", "signing succeeds");
    let prove = nightmail(&["prove", "signed.yaml", "--out", "runs"], folder.path());
    let said = String::from_utf8_lossy(&prove.stdout).into_owned() + &String::from_utf8_lossy(&prove.stderr);
    // Nothing is broken, so that the control fails by nothing.
    assert_eq!(prove.status.code(), Some(1), "{said}");
    assert!(said.contains("knows nobody by ***"), "{said}");
    assert_without_secret("the terminal", &said);
    let written = files(&folder.path().join("runs"));
    assert!(written.iter().any(|path| path.ends_with("proof.json")), "{written:?}");
    for path in &written {
        let text = String::from_utf8_lossy(&std::fs::read(path).unwrap()).into_owned();
        assert_without_secret(&path.display().to_string(), &text);
    }
}
