//! What a run needs of this machine, whatever the engine, checked one by one.

use std::path::Path;
use std::process::Command;

use serde::Serialize;

use crate::kernel::{self, Feature, Netem};

/// One thing that was checked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Check {
    /// What.
    pub name: &'static str,
    /// Whether it is as it should be.
    pub ok: bool,
    /// Whether runs are impossible without it.
    pub required: bool,
    /// What was found.
    pub detail: String,
    /// What to do if it is not.
    pub hint: Option<String>,
}

impl Check {
    /// A check that found what it should, or else the reason why not, and then a hint.
    pub(crate) fn new(name: &'static str, required: bool, found: Result<String, String>, hint: &str) -> Self {
        let ok = found.is_ok();
        Self {
            name,
            ok,
            required,
            detail: found.unwrap_or_else(|reason| reason),
            hint: (!ok).then(|| hint.to_owned()),
        }
    }
}

/// Checks what every engine needs.
pub fn of_this_machine() -> Vec<Check> {
    vec![
        Check::new(
            "packet filter (nftables)",
            true,
            match kernel::packet_filter() {
                Feature::There(found) => Ok(found),
                Feature::LeftOut(found) | Feature::Unheard(found) => Err(found),
            },
            "partition and loss need a kernel with nf_tables; try `modprobe nf_tables`",
        ),
        network_emulation(kernel::netem()),
        Check::new(
            "PostgreSQL for replicas",
            false,
            postgres(),
            "apt-get install postgresql; without it Debian's packages are fetched, or the official image is pulled",
        ),
        Check::new(
            "Cargo",
            true,
            output("cargo", &["--version"]),
            "install Rust from https://rustup.rs",
        ),
        Check::new(
            "control groups",
            false,
            control_groups(),
            "mount a control group file system at /sys/fs/cgroup",
        ),
    ]
}

fn network_emulation(netem: &Netem) -> Check {
    let found = match netem {
        Netem::There => Ok("tried, and there".to_owned()),
        Netem::Missing(said) => Err(said.clone()),
        Netem::Unknown(reason) => Err(format!("could not be tried: {reason}")),
    };
    Check::new(
        "network emulation (netem)",
        false,
        found,
        "only the faults `packet-...` need it: try `modprobe sch_netem`; without it `partition` and `loss` drop packets by \
         the packet filter, and `latency`, `bandwidth`, `reset-peer` and the other faults of links spoil TCP",
    )
}

fn postgres() -> Result<String, String> {
    let installed = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut versions: Vec<String> = installed
        .filter(|entry| entry.path().join("bin/postgres").is_file())
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    versions.sort();
    match versions.is_empty() {
        false => Ok(format!("version {} of this host", versions.join(", "))),
        true => output("postgres", &["--version"]).map_err(|_| "this host has no server".to_owned()),
    }
}

fn control_groups() -> Result<String, String> {
    if Path::new("/sys/fs/cgroup/cgroup.controllers").exists() {
        Ok("version 2".to_owned())
    } else if Path::new("/sys/fs/cgroup/freezer").exists() {
        Ok("version 1".to_owned())
    } else {
        Err("none that can be read: Docker is asked for the state of a replica, which is slower".to_owned())
    }
}

fn output(program: &str, args: &[&str]) -> Result<String, String> {
    let output = Command::new(program)
        .args(args)
        .output()
        .map_err(|error| format!("{program} cannot be run: {error}"))?;
    match output.status.success() {
        true => Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned()),
        false => Err(format!("{program}: {}", output.status)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kernel_without_netem_is_told_with_what_to_use_instead() {
        let check = network_emulation(&Netem::Missing("Specified qdisc kind is unknown".to_owned()));
        assert!(!check.ok && !check.required, "runs are possible without it");
        assert_eq!(check.detail, "Specified qdisc kind is unknown");
        let hint = check.hint.unwrap();
        for instead in ["packet-", "modprobe sch_netem", "`partition`", "`loss`", "`latency`"] {
            assert!(hint.contains(instead), "{instead}: {hint}");
        }
    }

    #[test]
    fn a_check_has_a_hint_exactly_if_it_failed() {
        let checks = of_this_machine();
        let cargo = checks.iter().find(|check| check.name == "Cargo").unwrap();
        assert!(cargo.ok && cargo.detail.starts_with("cargo "), "{cargo:?}");
        for check in &checks {
            assert_eq!(check.ok, check.hint.is_none(), "{check:?}");
            assert!(!check.detail.is_empty(), "{check:?}");
        }
    }

    #[test]
    fn a_kernel_with_netem_needs_no_hint() {
        let check = network_emulation(&Netem::There);
        assert!(check.ok && check.hint.is_none());
        assert!(
            !network_emulation(&Netem::Unknown("denied".to_owned())).ok,
            "not seen is not there"
        );
    }
}
