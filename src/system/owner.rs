//! Whose a thing made by an engine is: a label that tells, later and to any process, whether the process that made it still lives.

use std::fmt;
use std::fs;
use std::os::unix::fs::MetadataExt;

use sha2::{Digest, Sha256};

use crate::system::cache;

/// A process, named so that no other is ever taken for it: its machine, that machine's boot, its process namespace, its
/// id and when it started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Owner {
    machine: String,
    boot: String,
    namespace: u64,
    pid: u32,
    started: u64,
}

/// Whether an owner lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Life {
    Alive,
    Dead,
    /// It is another machine's, or of a namespace that cannot be seen from here.
    Unknown,
}

impl Owner {
    /// This process.
    pub(crate) fn me() -> Self {
        let pid = std::process::id();
        Self {
            machine: fingerprint("/etc/machine-id"),
            boot: fingerprint("/proc/sys/kernel/random/boot_id"),
            namespace: fs::metadata("/proc/self/ns/pid").map_or(0, |meta| meta.ino()),
            pid,
            started: started(pid).unwrap_or(0),
        }
    }

    /// Reads a label.
    pub(crate) fn parse(label: &str) -> Option<Self> {
        let mut parts = label.split('/');
        let owner = Self {
            machine: parts.next()?.to_owned(),
            boot: parts.next()?.to_owned(),
            namespace: parts.next()?.parse().ok()?,
            pid: parts.next()?.parse().ok()?,
            started: parts.next()?.parse().ok()?,
        };
        parts.next().is_none().then_some(owner)
    }

    /// Whether it lives, as far as this process can see.
    pub(crate) fn life(&self) -> Life {
        let me = Self::me();
        if self.machine != me.machine {
            Life::Unknown
        } else if self.boot != me.boot {
            Life::Dead
        } else if self.namespace != me.namespace {
            Life::Unknown
        } else if started(self.pid) == Some(self.started) {
            Life::Alive
        } else {
            Life::Dead
        }
    }
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            machine,
            boot,
            namespace,
            pid,
            started,
        } = self;
        write!(f, "{machine}/{boot}/{namespace}/{pid}/{started}")
    }
}

/// Identifiers of a machine are not for passing on: a digest serves to compare them.
fn fingerprint(path: &str) -> String {
    let text = fs::read_to_string(path).unwrap_or_default();
    cache::hex(&Sha256::digest(text.trim().as_bytes())[..6])
}

/// When a process started, in the kernel's ticks; none if it is not there or is a zombie.
fn started(pid: u32) -> Option<u64> {
    let stat = super::process_stat::Stat::read(pid)?;
    (!stat.is_gone()).then_some(stat.started)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_told_from_its_successor_and_from_other_machines() {
        let me = Owner::me();
        assert_eq!(Owner::parse(&me.to_string()), Some(me.clone()));
        assert_eq!(me.life(), Life::Alive);
        let successor = Owner {
            started: me.started + 1,
            ..me.clone()
        };
        assert_eq!(successor.life(), Life::Dead);
        let elsewhere = Owner {
            machine: "other".to_owned(),
            ..me.clone()
        };
        assert_eq!(elsewhere.life(), Life::Unknown);
        let before = Owner {
            boot: "earlier".to_owned(),
            ..me
        };
        assert_eq!(before.life(), Life::Dead);
        assert_eq!(Owner::parse("1/2/3"), None);
    }
}
