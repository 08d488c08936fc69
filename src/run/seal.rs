//! Checksums of a run's evidence, so that nothing is concluded from what is cut, changed or gone.
//!
//! `SHA256SUMS` stands in the run's folder and is written last. It has the format of coreutils: `sha256sum -c SHA256SUMS`
//! checks it without nightmail. It protects against accidents (half a copy, a full disk, a slip of an editor), and not
//! against somebody who computes it anew.

use std::fmt::Write;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use sha2::{Digest, Sha256};

use crate::{event, history, plan, verdict};

/// File of the checksums within a run's folder.
pub const FILE: &str = "SHA256SUMS";

/// The files that are sealed, where they are there.
pub const SEALED: [&str; 4] = [plan::FILE, history::FILE, event::FILE, verdict::FILE];

/// Why a run's files are not what they were.
#[derive(Debug, thiserror::Error)]
pub enum Broken {
    /// A file is another one than when the run ended.
    #[error("{0} is not what it was when the run ended: it was cut or changed since")]
    Changed(String),
    /// A file is gone.
    #[error("{0} is gone: it was there when the run ended")]
    Gone(String),
    /// The checksums, or a file, cannot be read.
    #[error("{file}: {error}")]
    Unreadable {
        /// The file's name.
        file: String,
        /// Why.
        error: io::Error,
    },
}

/// Writes the checksums of what a run left.
pub fn seal(dir: &Path) -> io::Result<()> {
    let mut text = String::new();
    for name in SEALED {
        match sha256(&dir.join(name)) {
            Ok(sum) => {
                let _ = writeln!(text, "{sum}  {name}");
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    crate::report::replace(dir, FILE, text.as_bytes())
}

/// Whether a run's files are what they were when it ended. Says whether it has checksums at all: older runs, and those whose
/// harness was killed, have none.
pub fn verify(dir: &Path) -> Result<bool, Broken> {
    let unreadable = |file: &str, error| Broken::Unreadable {
        file: file.to_owned(),
        error,
    };
    let text = match std::fs::read_to_string(dir.join(FILE)) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(unreadable(FILE, error)),
    };
    if text.is_empty() {
        return Err(Broken::Changed(FILE.to_owned()));
    }
    for line in text.lines() {
        // Whatever else another version seals lies in this folder, too.
        let beside = |name: &str| !name.is_empty() && !name.contains('/');
        let Some((sum, name)) = line.split_once("  ").filter(|(_, name)| beside(name)) else {
            return Err(Broken::Changed(FILE.to_owned()));
        };
        match sha256(&dir.join(name)) {
            Ok(found) if found == sum => {}
            Ok(_) => return Err(Broken::Changed(name.to_owned())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(Broken::Gone(name.to_owned())),
            Err(error) => return Err(unreadable(name, error)),
        }
    }
    Ok(true)
}

/// SHA-256 of a file in hexadecimal, in memory that does not grow with it.
pub fn sha256(path: &Path) -> io::Result<String> {
    const STEP_BYTES: usize = 1 << 18;
    let mut file = File::open(path)?;
    let mut hasher = Sha256::new();
    let mut bytes = vec![0; STEP_BYTES];
    loop {
        match file.read(&mut bytes)? {
            0 => break,
            read => hasher.update(&bytes[..read]),
        }
    }
    Ok(hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::process::Command;

    use super::*;

    fn sealed() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for name in SEALED {
            fs::write(dir.path().join(name), format!("{{\"of\": \"{name}\"}}\n")).unwrap();
        }
        seal(dir.path()).unwrap();
        dir
    }

    #[test]
    fn what_is_as_it_was_is_verified_here_and_by_coreutils() {
        let dir = sealed();
        assert!(verify(dir.path()).unwrap());
        let checked = Command::new("sha256sum")
            .args(["--check", "--strict", "--quiet", FILE])
            .current_dir(dir.path())
            .status()
            .unwrap();
        assert!(checked.success());
    }

    #[test]
    fn what_was_cut_changed_or_taken_away_is_named() {
        for name in SEALED {
            let dir = sealed();
            let file = dir.path().join(name);
            let text = fs::read(&file).unwrap();
            fs::write(&file, &text[..text.len() / 2]).unwrap();
            let cut = verify(dir.path()).unwrap_err().to_string();
            assert!(cut.starts_with(&format!("{name} is not what it was")), "{cut}");
            let mut changed = text.clone();
            changed[3] ^= 1;
            fs::write(&file, changed).unwrap();
            assert!(matches!(verify(dir.path()), Err(Broken::Changed(_))));
            fs::remove_file(&file).unwrap();
            assert!(matches!(verify(dir.path()), Err(Broken::Gone(gone)) if gone == name));
            fs::write(&file, &text).unwrap();
            assert!(verify(dir.path()).unwrap(), "as it was again");
        }
    }

    #[test]
    fn broken_checksums_vouch_for_nothing() {
        let dir = sealed();
        for broken in ["", "garbage", "0123  ../../etc/passwd\n"] {
            fs::write(dir.path().join(FILE), broken).unwrap();
            assert!(
                matches!(verify(dir.path()), Err(Broken::Changed(file)) if file == FILE),
                "{broken}"
            );
        }
        fs::remove_file(dir.path().join(FILE)).unwrap();
        assert!(!verify(dir.path()).unwrap(), "an older run has none");
    }
}
