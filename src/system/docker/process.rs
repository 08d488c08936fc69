//! A container's main process, seen through `/proc` where the container runs on this machine: a hundred times quicker
//! than asking Docker, and the thing itself rather than what Docker has noticed of it.

use std::fs;
use std::path::PathBuf;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::system::engine::ProcessState;
use crate::system::process_stat::Stat;

/// A container's main process.
#[derive(Debug, Clone)]
pub(super) struct Process {
    pid: u32,
    started: u64,
    freezer: Option<Freezer>,
}

/// Where the kernel says whether the container is frozen.
#[derive(Debug, Clone)]
enum Freezer {
    /// Control groups, version 1.
    State(PathBuf),
    /// Version 2.
    Events(PathBuf),
}

impl Process {
    /// The process of that id, if it can be seen from here and belongs to the container.
    pub(super) fn find(pid: i64, container_id: &str) -> Option<Self> {
        let pid = u32::try_from(pid).ok().filter(|pid| *pid != 0)?;
        let groups = fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?;
        if !groups.contains(container_id) {
            return None;
        }
        let stat = Stat::read(pid)?;
        Some(Self {
            pid,
            started: stat.started,
            freezer: freezer(&groups),
        })
    }

    /// Whether it runs no more.
    pub(super) fn is_gone(&self) -> bool {
        match Stat::read(self.pid) {
            Some(stat) => stat.is_gone() || stat.started != self.started,
            None => true,
        }
    }

    /// What it is doing; none if that cannot be told from here.
    pub(super) fn state(&self) -> Option<ProcessState> {
        if self.is_gone() {
            return Some(ProcessState::Exited);
        }
        let frozen = match self.freezer.as_ref()? {
            Freezer::State(path) => fs::read_to_string(path).ok()?.trim() == "FROZEN",
            Freezer::Events(path) => fs::read_to_string(path).ok()?.lines().any(|line| line == "frozen 1"),
        };
        Some(if frozen {
            ProcessState::Paused
        } else {
            ProcessState::Running
        })
    }

    /// Sends SIGKILL, which ends every process of the container. False if that is not allowed from here.
    pub(super) fn kill(&self) -> bool {
        if self.is_gone() {
            return true;
        }
        let Ok(pid) = i32::try_from(self.pid) else { return false };
        kill(Pid::from_raw(pid), Signal::SIGKILL).is_ok()
    }
}

fn freezer(groups: &str) -> Option<Freezer> {
    let group = |controllers: &str| {
        groups.lines().find_map(|line| {
            let mut parts = line.splitn(3, ':');
            let (_, found, path) = (parts.next()?, parts.next()?, parts.next()?);
            found.split(',').any(|name| name == controllers).then_some(path)
        })
    };
    let candidates = [
        group("freezer")
            .map(|path| Freezer::State(PathBuf::from(format!("/sys/fs/cgroup/freezer{path}/freezer.state")))),
        group("").map(|path| Freezer::Events(PathBuf::from(format!("/sys/fs/cgroup{path}/cgroup.events")))),
    ];
    candidates.into_iter().flatten().find(|freezer| match freezer {
        Freezer::State(path) | Freezer::Events(path) => path.exists(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_of_another_container_is_not_taken() {
        assert!(Process::find(i64::from(std::process::id()), "0123456789abcdef").is_none());
        assert!(Process::find(0, "").is_none());
    }
}
