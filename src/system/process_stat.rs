//! What the kernel says of a process in one line, enough to tell it from a later one of the same id.

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
}
