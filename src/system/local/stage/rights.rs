//! By what right namespaces are made here: root's own, or that of an ordinary user in a user namespace; and why not, where
//! the kernel refuses.

use std::fs;

use caps::{CapSet, Capability};
use nix::errno::Errno;
use nix::unistd::{Gid, Uid, getegid, geteuid};

/// By what right namespaces are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rights {
    /// Root's own. Every user id can be used.
    Root,
    /// An ordinary user's, as root of a user namespace in which nobody else exists.
    User {
        /// Who that is outside.
        uid: Uid,
        /// And of which group.
        gid: Gid,
    },
}

impl Rights {
    /// Those of this process. Root without the capabilities that this takes, as in many containers, is an ordinary user.
    pub fn here() -> Self {
        let needed = [
            Capability::CAP_SYS_ADMIN,
            Capability::CAP_NET_ADMIN,
            Capability::CAP_SETUID,
            Capability::CAP_SETGID,
            Capability::CAP_CHOWN,
            // To see and to end processes of replicas, whoever they run as.
            Capability::CAP_SYS_PTRACE,
            Capability::CAP_KILL,
        ];
        let has = |capability| caps::has_cap(None, CapSet::Effective, capability).unwrap_or(false);
        if geteuid().is_root() && needed.into_iter().all(has) && all_users_exist() {
            return Self::Root;
        }
        Self::User {
            uid: geteuid(),
            gid: getegid(),
        }
    }
}

/// Whether every user id means something here. In a user namespace of an ordinary user there is only one.
pub fn all_users_exist() -> bool {
    let Ok(map) = fs::read_to_string("/proc/self/uid_map") else {
        return true;
    };
    let fewest = 65_536;
    map.lines()
        .filter_map(|line| line.split_whitespace().nth(2)?.parse::<u64>().ok())
        .sum::<u64>()
        >= fewest
}

/// Why an ordinary user may not make namespaces here: what the kernel said, what it was told, and the ways out.
pub fn refused(step: &str, error: Errno) -> String {
    let told = settings()
        .into_iter()
        .map(|(path, value, meaning)| format!("\n  {path} is {value}: {meaning}"))
        .collect::<String>();
    format!(
        "the kernel does not let this user make namespaces of its own: {step}: {error}{told}\n  hint: run nightmail as root, \
         or use Docker (`--engine docker`); whoever administers this machine can allow it{}",
        remedy()
    )
}

/// Settings of this kernel that forbid user namespaces, as they are found.
fn settings() -> Vec<(&'static str, String, &'static str)> {
    FORBIDDING
        .iter()
        .filter_map(|(path, forbidding, meaning, _)| {
            let value = fs::read_to_string(path).ok()?.trim().to_owned();
            (value == *forbidding).then_some((*path, value, *meaning))
        })
        .collect()
}

/// Path, the value that forbids, what that means, and the command that allows it.
const FORBIDDING: [(&str, &str, &str, &str); 3] = [
    (
        "/proc/sys/kernel/apparmor_restrict_unprivileged_userns",
        "1",
        "AppArmor takes every right away from user namespaces of programs that it has no profile for",
        "sysctl kernel.apparmor_restrict_unprivileged_userns=0",
    ),
    (
        "/proc/sys/kernel/unprivileged_userns_clone",
        "0",
        "only root may make user namespaces",
        "sysctl kernel.unprivileged_userns_clone=1",
    ),
    (
        "/proc/sys/user/max_user_namespaces",
        "0",
        "nobody may make user namespaces",
        "sysctl user.max_user_namespaces=15000",
    ),
];

fn remedy() -> String {
    let found = settings();
    FORBIDDING
        .iter()
        .filter(|(path, ..)| found.iter().any(|(known, ..)| known == path))
        .map(|(.., command)| format!(": `{command}`"))
        .next()
        .unwrap_or_default()
}
