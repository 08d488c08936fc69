//! A replica's network namespace: a wire to the run's bridge, its fixed address, and the agent.

use std::ffi::OsString;
use std::fs;
use std::path::Path;
use std::process::ExitCode;

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nlink::netlink::addr::Ipv4Address;
use nlink::netlink::link::VethLink;
use nlink::netlink::{Connection, Route};

use super::spec::{Agent, Hold, Said};
use super::{Line, PodError, Tried, clone_aside, process, root};

/// The interface's name within.
const INTERFACE: &str = "eth0";
/// Bits of the run's subnet.
const PREFIX: u8 = 24;

/// Makes the namespace, tells its process, and stays in it until the engine has opened it, or for as long as the agent
/// lives.
pub(super) fn start(line: &Line, hold: &Hold) -> Result<(), PodError> {
    network(hold)?;
    set(&hold.sysctls)?;
    let Some(agent) = &hold.agent else {
        line.say(&Said::Holds(std::process::id() as i32));
        line.wait();
        return Ok(());
    };
    unshare(CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWPID | CloneFlags::CLONE_NEWIPC | CloneFlags::CLONE_NEWUTS)
        .tried(|| "making the agent's namespaces".to_owned())?;
    match clone_aside().tried(|| "starting the agent".to_owned())? {
        Some(pid) => {
            line.say(&Said::Holds(pid.as_raw()));
            Ok(())
        }
        None => {
            let code = match shut_in(&hold.empty, agent) {
                Ok(()) => run(&agent.words),
                Err(error) => {
                    complain(&error);
                    4
                }
            };
            std::process::exit(code)
        }
    }
}

/// The agent's last words, where its own would be.
#[expect(clippy::print_stderr, reason = "whoever watches the agent reads what it writes")]
fn complain(error: &PodError) {
    eprintln!("{error}");
}

fn run(agent: &[String]) -> i32 {
    let ended = crate::agent::main(agent.iter().map(OsString::from));
    i32::from(ended != ExitCode::SUCCESS)
}

/// Makes a wire to the bridge and gives it the address.
fn network(hold: &Hold) -> Result<(), PodError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .tried(|| "starting the event loop".to_owned())?;
    runtime.block_on(async {
        let bridge_side = Connection::<Route>::new().tried(|| "opening netlink".to_owned())?;
        let outside =
            crate::system::local::stage::namespace("net").tried(|| "opening the bridge's network".to_owned())?;
        unshare(CloneFlags::CLONE_NEWNET).tried(|| "making a network namespace".to_owned())?;
        let inside = Connection::<Route>::new().tried(|| "opening netlink".to_owned())?;
        inside.set_link_up("lo").await.tried(|| "setting lo up".to_owned())?;
        inside
            .add_link(VethLink::new(INTERFACE, &hold.wire).peer_netns_fd(&outside))
            .await
            .tried(|| format!("making the wire {}", hold.wire))?;
        // Nobody speaks it here, and looking for duplicate addresses takes a second.
        let _ = fs::write(format!("/proc/sys/net/ipv6/conf/{INTERFACE}/disable_ipv6"), "1");
        inside
            .add_address(Ipv4Address::new(INTERFACE, hold.address, PREFIX))
            .await
            .tried(|| format!("giving it the address {}", hold.address))?;
        inside
            .set_link_up(INTERFACE)
            .await
            .tried(|| format!("setting {INTERFACE} up"))?;
        bridge_side
            .enslave(hold.wire.as_str(), hold.bridge.as_str())
            .await
            .tried(|| format!("joining the bridge {}", hold.bridge))?;
        bridge_side
            .set_link_up(hold.wire.as_str())
            .await
            .tried(|| format!("setting {} up", hold.wire))
    })
}

/// Kernel parameters that belong to a namespace; all others are the whole machine's. As Docker has them.
fn is_of_a_namespace(name: &str) -> bool {
    ["net.", "kernel.msg", "kernel.shm", "fs.mqueue."]
        .iter()
        .any(|prefix| name.starts_with(prefix))
        || name == "kernel.sem"
}

/// Sets kernel parameters, those of this process's namespaces.
pub(super) fn set(sysctls: &std::collections::BTreeMap<String, String>) -> Result<(), PodError> {
    for (name, value) in sysctls {
        if !is_of_a_namespace(name) || name.contains('/') {
            return Err(PodError::new(format!(
                "the kernel parameter {name} is the whole machine's, and not a replica's to set\n  hint: leave it out of `sysctls`"
            )));
        }
        let path = Path::new("/proc/sys").join(name.replace('.', "/"));
        fs::write(&path, value).tried(|| format!("setting the kernel parameter {name} to {value}"))?;
    }
    Ok(())
}

/// Leaves nothing to see but an empty folder with the disks, and no capability but `NET_ADMIN`, if it filters packets.
fn shut_in(empty: &Path, agent: &Agent) -> Result<(), PodError> {
    let none: Option<&str> = None;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).tried(|| "making mounts private".to_owned())?;
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    mount(
        Some("nightmail"),
        empty,
        Some("tmpfs"),
        flags,
        Some("size=64k,mode=0555"),
    )
    .tried(|| "mounting an empty root".to_owned())?;
    for (disk, within) in &agent.disks {
        root::mount_within(empty, disk, within)?;
    }
    root::enter(empty)?;
    process::keep_only(match agent.filters {
        true => &[caps::Capability::CAP_NET_ADMIN],
        false => &[],
    })
}
