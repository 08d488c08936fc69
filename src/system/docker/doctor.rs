//! What a run needs of this machine, checked one by one.

use std::path::Path;
use std::process::Command;

use serde::Serialize;

use super::owner::Owner;
use super::{Client, connect_client, gc, labels, network, sweep};
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
    fn new(name: &'static str, required: bool, found: Result<String, String>, hint: &str) -> Self {
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

/// Checks everything.
pub async fn doctor() -> Vec<Check> {
    let mut checks = Vec::new();
    match connect_client().await {
        Ok(client) => {
            checks.push(Check::new("Docker", true, version(&client).await, "start Docker"));
            checks.push(Check::new(
                "network with fixed addresses",
                true,
                make_a_network(&client).await,
                "nightmail makes bridge networks in 10.64.0.0/10 and above; see whether Docker may",
            ));
            checks.push(Check::new(
                "left over from dead runs",
                false,
                left_over(&client).await,
                "nightmail gc",
            ));
        }
        Err(error) => checks.push(Check::new(
            "Docker",
            true,
            Err(error.to_string()),
            "start Docker, or say with DOCKER_HOST where it listens",
        )),
    }
    checks.extend(of_this_machine());
    checks
}

fn of_this_machine() -> Vec<Check> {
    vec![
        Check::new(
            "packet filter (nftables)",
            true,
            match kernel::feature("nf_tables", "CONFIG_NF_TABLES") {
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

async fn version(client: &Client) -> Result<String, String> {
    let version = client.version().await.map_err(|error| labels::words(&error))?;
    let part = |part: Option<String>| part.unwrap_or_else(|| "unknown".to_owned());
    Ok(format!(
        "{}, interface {}, {}",
        part(version.version),
        part(version.api_version),
        part(version.os)
    ))
}

async fn make_a_network(client: &Client) -> Result<String, String> {
    let run_id = format!("doctor-{}", std::process::id());
    let made = network::create(client, &run_id, &Owner::me().to_string()).await;
    let left = sweep::run(client, &run_id).await;
    let network = made.map_err(|error| error.to_string())?;
    match left.is_empty() {
        true => Ok(format!("made and removed, gateway {}", network.gateway())),
        false => Err(format!("made but not removed: {}", left.join(", "))),
    }
}

async fn left_over(client: &Client) -> Result<String, String> {
    let (alive, dead) = gc::count(client).await.map_err(|error| labels::words(&error))?;
    match dead {
        0 => Ok(format!("nothing; {alive} alive or not to be judged from here")),
        dead => Err(format!("{dead} dead")),
    }
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
        Err("none that can be read: the state of a replica is asked of Docker, which is slower".to_owned())
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
    fn a_kernel_with_netem_needs_no_hint() {
        let check = network_emulation(&Netem::There);
        assert!(check.ok && check.hint.is_none());
        assert!(
            !network_emulation(&Netem::Unknown("denied".to_owned())).ok,
            "not seen is not there"
        );
    }
}
