//! Python for tests that drive what others wrote in it: a virtual environment below the target folder, made once.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// What a test needs of Python.
pub struct Python<'a> {
    /// Name of the virtual environment's folder.
    pub name: &'a str,
    /// What pip is to install: a requirements file.
    pub requirements: &'a str,
    /// Whether what it needs itself is installed too.
    pub with_dependencies: bool,
    /// A module that is there once it is installed.
    pub module: &'a str,
    /// The variable by which the test can be left out, told to whoever has no Python.
    pub skip: &'a str,
}

impl Python<'_> {
    /// The interpreter of the virtual environment, which is made if it is not there yet.
    ///
    /// # Panics
    ///
    /// If it cannot be made, with what is missing.
    pub fn interpreter(&self) -> PathBuf {
        let requirements = std::fs::read_to_string(self.requirements).unwrap();
        let home = Path::new(env!("CARGO_TARGET_TMPDIR")).join(self.name);
        let python = home.join("bin/python");
        // Written last, so that what was begun and not finished is begun anew.
        let complete = home.join("complete.txt");
        if std::fs::read_to_string(&complete).is_ok_and(|installed| installed == requirements) && self.runs(&python) {
            return python;
        }
        self.must_succeed(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&home));
        let mut install = Command::new(&python);
        install.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]);
        if !self.with_dependencies {
            install.arg("--no-deps");
        }
        self.must_succeed(install.args(["--requirement", self.requirements]));
        std::fs::write(complete, requirements).unwrap();
        python
    }

    /// Whether the interpreter is still there: that of the virtual environment is a link to the one it was made with.
    fn runs(&self, python: &Path) -> bool {
        let found = format!(
            "import importlib.util, sys; sys.exit(importlib.util.find_spec('{}') is None)",
            self.module
        );
        let asked = Command::new(python).args(["-c", &found]).output();
        asked.is_ok_and(|output| output.status.success())
    }

    fn must_succeed(&self, command: &mut Command) {
        let what = format!("{command:?}");
        let why = match command.output() {
            Ok(output) if output.status.success() => return,
            Ok(output) => said(&output),
            Err(error) => error.to_string(),
        };
        panic!(
            "this test needs Python 3 with venv, and pip with an index that it reaches; {what} says:\n{why}\n  hint: \
             install them (Debian's python3 and python3-venv), or leave the test out with {}=1",
            self.skip
        );
    }
}

/// Whether the test is left out on purpose. It is said past the runner's capture.
pub fn is_left_out(skip: &str, test: &str) -> bool {
    let is_left_out = std::env::var_os(skip).is_some_and(|value| value == "1");
    if is_left_out {
        let _ = std::io::stderr().write_all(format!("SKIPPED, since {skip}=1: {test}\n").as_bytes());
    }
    is_left_out
}

/// All that a program said.
pub fn said(output: &Output) -> String {
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}
