//! What this machine's kernel can do, as far as kernels differ in what experiments need.
//!
//! It is found out by trying, once in a process and only if somebody asks. Whatever judges an experiment is given
//! [`Capabilities`] instead of asking, so that its judgement can be tested for a kernel that is not there.

use std::io;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use crate::agent::netem::trial;
use crate::system::engine::Traits;

/// What a kernel can do, and the engine that works on it. Nothing is tried before it is asked for.
#[derive(Debug, Clone, Copy)]
pub struct Capabilities {
    /// Whether the kernel has network emulation.
    pub netem: fn() -> Netem,
    /// Whether it has a packet filter, nftables.
    pub packet_filter: fn() -> Feature,
    /// What the engine can do.
    pub engine: Traits,
}

impl Capabilities {
    /// Those of the kernel below this process, which is the one that replicas run on, and of an engine.
    pub const fn here(engine: Traits) -> Self {
        Self {
            netem: || netem().clone(),
            packet_filter,
            engine,
        }
    }
}

/// Whether the kernel has network emulation, the queueing discipline netem.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Netem {
    /// It was seen.
    There,
    /// It was asked for and is not there; with what was said.
    Missing(String),
    /// It could not be found out; with the reason. Whoever needs it has to try.
    Unknown(String),
}

/// Whether this kernel has a packet filter, nftables.
pub fn packet_filter() -> Feature {
    feature("nf_tables", "CONFIG_NF_TABLES")
}

/// Whether this kernel has network emulation.
pub fn netem() -> &'static Netem {
    static FOUND: OnceLock<Netem> = OnceLock::new();
    FOUND.get_or_init(|| {
        let tried = match std::env::current_exe() {
            Ok(executable) => try_netem(&executable),
            Err(error) => Netem::Unknown(error.to_string()),
        };
        match tried {
            // What the kernel was built with is known even where nothing can be tried.
            Netem::Unknown(reason) => match feature("sch_netem", "CONFIG_NET_SCH_NETEM") {
                Feature::LeftOut(found) => Netem::Missing(found),
                Feature::There(found) | Feature::Unheard(found) => Netem::Unknown(format!("{reason}; {found}")),
            },
            found => found,
        }
    })
}

/// Lets that executable of nightmail try it, in a process and a network namespace of its own.
pub fn try_netem(executable: &Path) -> Netem {
    let tried = Command::new(executable)
        .args(["agent", "--try-netem"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .output();
    said(tried.map(|output| {
        (
            output.status.code(),
            String::from_utf8_lossy(&output.stderr).trim().to_owned(),
        )
    }))
}

/// What the exit code and the last words of the trial mean.
fn said(tried: io::Result<(Option<i32>, String)>) -> Netem {
    match tried {
        Ok((Some(code), _)) if code == i32::from(trial::THERE) => Netem::There,
        Ok((Some(code), words)) if code == i32::from(trial::MISSING) => Netem::Missing(words),
        Ok((Some(code), words)) if code == i32::from(trial::UNTRIED) => Netem::Unknown(words),
        Ok((code, _)) => Netem::Unknown(format!("the trial ended with {code:?}")),
        Err(error) => Netem::Unknown(format!("the trial did not start: {error}")),
    }
}

/// What the kernel's own files say of one of its parts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Feature {
    /// Built in, loaded, or a module that can be loaded.
    There(String),
    /// The kernel was built without it.
    LeftOut(String),
    /// No file says anything.
    Unheard(String),
}

/// Whether the kernel has a part: its module's name, and the option that it is built by.
pub fn feature(module: &str, option: &str) -> Feature {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let release = release.trim();
    let modules = std::fs::read_to_string("/proc/modules").unwrap_or_default();
    if modules.lines().any(|line| line.split(' ').next() == Some(module)) {
        return Feature::There(format!("loaded (kernel {release})"));
    }
    let built_in = format!("/lib/modules/{release}/modules.builtin");
    let listed = |path: &str, name: &str| std::fs::read_to_string(path).is_ok_and(|text| text.contains(name));
    if Path::new("/sys/module").join(module).is_dir() || listed(&built_in, &format!("/{module}.ko")) {
        return Feature::There(format!("built in (kernel {release})"));
    }
    if let Some(value) = configured(release, option) {
        return match value.as_str() {
            "y" => Feature::There(format!("built in (kernel {release})")),
            "m" => Feature::There(format!("a module that can be loaded (kernel {release})")),
            _ => Feature::LeftOut(format!("kernel {release} was built without it")),
        };
    }
    if listed(&format!("/lib/modules/{release}/modules.dep"), &format!("/{module}.ko")) {
        return Feature::There(format!("a module that can be loaded (kernel {release})"));
    }
    Feature::Unheard(format!("not found in kernel {release}"))
}

/// The value of an option of the kernel's configuration; `n` if it is left out there, none if nobody knows.
fn configured(release: &str, option: &str) -> Option<String> {
    let unpacked = Command::new("zcat")
        .arg("/proc/config.gz")
        .stderr(Stdio::null())
        .output();
    let text = match unpacked {
        Ok(output) if output.status.success() => String::from_utf8_lossy(&output.stdout).into_owned(),
        _ => std::fs::read_to_string(format!("/boot/config-{release}")).ok()?,
    };
    let value = text
        .lines()
        .find_map(|line| line.strip_prefix(option)?.strip_prefix('='));
    Some(value.unwrap_or("n").to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trial_says_what_it_found_by_its_exit_code() {
        let ended = |code: u8, words: &str| said(Ok((Some(code.into()), words.to_owned())));
        assert_eq!(ended(trial::THERE, ""), Netem::There);
        assert_eq!(ended(trial::MISSING, "unknown"), Netem::Missing("unknown".to_owned()));
        assert_eq!(ended(trial::UNTRIED, "denied"), Netem::Unknown("denied".to_owned()));
    }

    #[test]
    fn whatever_else_a_trial_ends_by_proves_nothing() {
        for tried in [
            Ok((Some(101), String::new())),
            Ok((None, String::new())),
            Err(io::ErrorKind::NotFound.into()),
        ] {
            assert!(matches!(said(tried), Netem::Unknown(_)));
        }
    }

    #[test]
    fn a_part_that_no_kernel_has_is_not_there() {
        let found = feature("nightmail_sched", "CONFIG_NIGHTMAIL_SCHED");
        assert!(!matches!(found, Feature::There(_)), "{found:?}");
    }
}
