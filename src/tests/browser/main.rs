//! The pages as readers have them: opened from `file://` in Chromium by `check_pages.py` beside this file.
//!
//! Every page that nightmail makes of the sample run goes below one folder, and every check looks at each of them: nothing said to
//! the console, nothing asked for, links that lead somewhere, the keyboard, axe-core's rules on contrast and landmarks (light,
//! dark, narrow, printed), no scrolling sideways, A4. That the checks find something is shown on pages that are bad on purpose.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use serde::Deserialize;

mod bad;
#[path = "../python/mod.rs"]
mod python;

use python::{Python, is_left_out, said};

/// The sample run of the library's own tests of reports, which finds here what it names: `report` about itself, and the rest of
/// the library below the root.
#[path = "../../report"]
mod report {
    #[path = "../tests/browser/pages.rs"]
    pub mod pages;
    #[allow(dead_code)]
    mod sample;
}
use report::pages;

#[allow(unused_imports)]
use nightmail::{campaign, event, fault, history, plan, system, verdict};

/// Leaves the tests out where there is no Chromium or no Python. Only on purpose.
const SKIP: &str = "NIGHTMAIL_SKIP_BROWSER_TESTS";
/// Says which Chromium, where it has another name than these.
const CHROMIUM: &str = "NIGHTMAIL_CHROMIUM";
const NAMES: [&str; 4] = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"];
const REQUIREMENTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/src/tests/browser/requirements.txt");
const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/src/tests/browser/check_pages.py");

/// What is wrong with a page.
#[derive(Debug, Deserialize)]
struct Finding {
    page: String,
    check: String,
    found: String,
}

/// What the script says in its last line.
#[derive(Deserialize)]
struct Done {
    pages: usize,
}

#[test]
fn every_page_can_be_read_by_everybody() {
    if is_left_out(SKIP, "every_page_can_be_read_by_everybody") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let made = pages::make(dir.path());
    let (looked_at, findings) = look_at(dir.path());
    assert_eq!(looked_at, made, "all pages were looked at");
    let wrong: Vec<String> = findings
        .iter()
        .map(|finding| format!("{} [{}] {}", finding.page, finding.check, finding.found))
        .collect();
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn every_check_finds_what_it_is_for() {
    if is_left_out(SKIP, "every_check_finds_what_it_is_for") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("good.html"), bad::GOOD).unwrap();
    for mistake in &bad::MISTAKES {
        std::fs::write(dir.path().join(mistake.file()), mistake.page()).unwrap();
    }
    let (_, findings) = look_at(dir.path());
    let good: Vec<&Finding> = findings.iter().filter(|finding| finding.page == "good.html").collect();
    assert!(good.is_empty(), "a good page is bad: {good:?}");
    for mistake in &bad::MISTAKES {
        let of_it: Vec<&Finding> = findings
            .iter()
            .filter(|finding| finding.page == mistake.file())
            .collect();
        let is_found = of_it
            .iter()
            .any(|finding| finding.check == mistake.check && finding.found.contains(mistake.found));
        assert!(is_found, "{} is not found: {of_it:?}", mistake.name);
        // What cannot be loaded is told to the console, too.
        let other = of_it
            .iter()
            .find(|finding| finding.check != mistake.check && finding.check != "console");
        assert!(
            other.is_none(),
            "{} is found by another check, too: {other:?}",
            mistake.name
        );
    }
}

/// Has every page below a folder looked at. How many there were, and what is wrong with them.
fn look_at(folder: &Path) -> (usize, Vec<Finding>) {
    let mut script = Command::new(interpreter());
    // Neither the environment nor the user's own packages have a say; the script's folder does.
    script.args(["-E", "-s", "-B", SCRIPT]).arg(chromium()).arg(folder);
    if let Some(pictures) = std::env::var_os("NIGHTMAIL_BROWSER_PICTURES") {
        script.arg(pictures);
    }
    let output = script.output().expect("Python of the virtual environment");
    assert!(output.status.success(), "{}", said(&output));
    let text = String::from_utf8_lossy(&output.stdout);
    let lines: Vec<&str> = text.lines().collect();
    let (last, findings) = lines.split_last().expect("the script says how many pages there were");
    let done: Done = serde_json::from_str(last).unwrap();
    let findings = findings.iter().map(|line| serde_json::from_str(line).unwrap());
    (done.pages, findings.collect())
}

/// Made once, whichever test comes first.
fn interpreter() -> &'static Path {
    static INTERPRETER: OnceLock<PathBuf> = OnceLock::new();
    INTERPRETER.get_or_init(|| {
        Python {
            name: "browser-python",
            requirements: REQUIREMENTS,
            with_dependencies: false,
            module: "pypdf",
            skip: SKIP,
        }
        .interpreter()
    })
}

fn chromium() -> PathBuf {
    if let Some(given) = std::env::var_os(CHROMIUM) {
        return given.into();
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders: Vec<PathBuf> = std::env::split_paths(&path).collect();
    let found = NAMES
        .iter()
        .flat_map(|name| folders.iter().map(move |folder| folder.join(name)))
        .find(|program| program.is_file());
    found.unwrap_or_else(|| {
        panic!(
            "this test needs Chromium, and PATH has none of {}\n  hint: install it (Debian's chromium), name it in \
             {CHROMIUM}, or leave the tests out with {SKIP}=1",
            NAMES.join(", ")
        )
    })
}
