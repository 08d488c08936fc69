//! What the kernel says of a process in one line, enough to tell it from a later one of the same id.

use std::collections::BTreeMap;
use std::fs;

/// A line of `/proc/<pid>/stat`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stat {
    state: char,
    /// When the process started, in the kernel's ticks.
    pub(crate) started: u64,
}

impl Stat {
    /// That of a process; none if it is not there.
    pub(crate) fn read(pid: u32) -> Option<Self> {
        Self::parse(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
    }

    fn parse(line: &str) -> Option<Self> {
        // The second field is the program's name in brackets, and may hold blanks and brackets itself.
        let fields: Vec<&str> = line.rsplit_once(')')?.1.split_whitespace().collect();
        Some(Self {
            state: fields.first()?.chars().next()?,
            started: fields.get(19)?.parse().ok()?,
        })
    }

    /// A zombie runs no more, it only has not been asked for its exit code.
    pub(crate) fn is_gone(&self) -> bool {
        matches!(self.state, 'Z' | 'X')
    }

    /// Whether it stands still until it is told to go on.
    pub(crate) fn is_stopped(&self) -> bool {
        matches!(self.state, 'T' | 't')
    }
}

/// The environment that a process was started with; none if it cannot be read, or if the process has written something
/// else in its place, as programs do that change their title.
pub(crate) fn environment(pid: u32) -> Option<BTreeMap<String, String>> {
    parse_environment(&fs::read(format!("/proc/{pid}/environ")).ok()?)
}

fn parse_environment(bytes: &[u8]) -> Option<BTreeMap<String, String>> {
    let variables = bytes.split(|byte| *byte == 0).filter(|variable| !variable.is_empty());
    let read = variables.map(|variable| {
        let variable = String::from_utf8_lossy(variable);
        let (name, value) = variable.split_once('=')?;
        Some((name.to_owned(), value.to_owned()))
    });
    let environment: BTreeMap<String, String> = read.collect::<Option<_>>()?;
    // Every engine sets it.
    environment.contains_key("PATH").then_some(environment)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_brackets_does_not_shift_the_fields() {
        let fields: Vec<String> = (4..=52).map(|n| n.to_string()).collect();
        let stat = Stat::parse(&format!("1 (a) b (c)) Z {}", fields.join(" "))).unwrap();
        assert!(stat.is_gone());
        assert_eq!(stat.started, 22);
    }

    #[test]
    fn an_environment_is_read_unless_something_else_stands_there() {
        let read = parse_environment(b"PATH=/bin\0RELEASE=a=b\0").unwrap();
        assert_eq!(read["RELEASE"], "a=b");
        for overwritten in [&b"r process nginx\0\0"[..], b"", b"RELEASE=1\0", b"PATH=/bin\0worker\0"] {
            assert_eq!(parse_environment(overwritten), None);
        }
        let own = environment(std::process::id()).unwrap();
        assert_eq!(own.get("PATH").cloned(), std::env::var("PATH").ok());
    }
}
