//! What a run needs of this machine, checked one by one.

use std::path::Path;
use std::process::Command;

use serde::Serialize;

use super::owner::Owner;
use super::{Client, connect_client, gc, labels, network, sweep};

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
            kernel_feature("nf_tables", "CONFIG_NF_TABLES"),
            "partition and loss need a kernel with nf_tables; try `modprobe nf_tables`",
        ),
        Check::new(
            "network emulation (netem)",
            false,
            kernel_feature("sch_netem", "CONFIG_NET_SCH_NETEM"),
            "nothing needs it: packet loss is made by the packet filter",
        ),
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

/// Whether the kernel has a feature: built in or loaded, or as a module that can be loaded.
fn kernel_feature(module: &str, option: &str) -> Result<String, String> {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let release = release.trim();
    let modules = std::fs::read_to_string("/proc/modules").unwrap_or_default();
    if modules.lines().any(|line| line.split(' ').next() == Some(module)) {
        return Ok(format!("loaded (kernel {release})"));
    }
    let built_in = format!("/lib/modules/{release}/modules.builtin");
    let listed = |path: &str, name: &str| std::fs::read_to_string(path).is_ok_and(|text| text.contains(name));
    if Path::new("/sys/module").join(module).is_dir() || listed(&built_in, &format!("/{module}.ko")) {
        return Ok(format!("built in (kernel {release})"));
    }
    if let Some(value) = configured(release, option) {
        return match value.as_str() {
            "y" => Ok(format!("built in (kernel {release})")),
            "m" => Ok(format!("a module that can be loaded (kernel {release})")),
            _ => Err(format!("kernel {release} was built without it")),
        };
    }
    if listed(&format!("/lib/modules/{release}/modules.dep"), &format!("/{module}.ko")) {
        return Ok(format!("a module that can be loaded (kernel {release})"));
    }
    Err(format!("not found in kernel {release}"))
}

/// The value of an option of the kernel's configuration; `n` if it is left out there, none if nobody knows.
fn configured(release: &str, option: &str) -> Option<String> {
    let text = match output("zcat", &["/proc/config.gz"]) {
        Ok(text) => text,
        Err(_) => std::fs::read_to_string(format!("/boot/config-{release}")).ok()?,
    };
    let value = text
        .lines()
        .find_map(|line| line.strip_prefix(option)?.strip_prefix('='));
    Some(value.unwrap_or("n").to_owned())
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
