//! What the engine without Docker needs of this machine: tried on a stage, one thing after another.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::ExitCode;

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use serde::{Deserialize, Serialize};
use tokio::process::Command;

use super::ground::Ground;
use super::pod::spec::{Agent, Hold, Spec};
use super::process::Launcher;
use super::{replica, stage};
use crate::system::doctor::Check;

/// What was found on the stage.
#[derive(Debug, Serialize, Deserialize)]
struct Found {
    /// A user's ids.
    users: String,
    /// A bridge, a wire and a fixed address.
    network: Result<String, String>,
    /// An agent with its packet filter.
    agent: Result<String, String>,
    /// One file system over another.
    overlay: Result<String, String>,
}

/// Checks everything.
pub async fn doctor() -> Vec<Check> {
    const STAGE: &str = "engine local: namespaces";
    let refused = "without it only Docker runs systems; the lines above name what forbids it";
    let found = match look().await {
        Ok(found) => found,
        Err(reason) => return vec![Check::new(STAGE, true, Err(reason), refused)],
    };
    vec![
        Check::new(STAGE, true, Ok(found.users), refused),
        Check::new(
            "engine local: network",
            true,
            found.network,
            "bridges and virtual interfaces are needed: try `modprobe bridge veth`",
        ),
        Check::new(
            "engine local: agent",
            false,
            found.agent,
            "faults of the network need it: try `modprobe nf_tables`",
        ),
        Check::new(
            "engine local: overlay",
            false,
            found.overlay,
            "images are copied for each replica instead, which takes longer and more memory",
        ),
    ]
}

/// Looks on a stage of a process of its own: this one has threads.
async fn look() -> Result<Found, String> {
    let own = std::env::current_exe().map_err(|error| error.to_string())?;
    let output = Command::new(&own)
        .arg("stage")
        .arg(&own)
        .arg("probe-stage")
        .output()
        .await
        .map_err(|error| error.to_string())?;
    serde_json::from_slice(&output.stdout).map_err(|_| {
        let said = String::from_utf8_lossy(&output.stderr);
        said.trim().trim_start_matches("error: ").to_owned()
    })
}

/// Tries everything on the stage that this process runs on (`nightmail probe-stage`), and says what came of it as JSON.
#[expect(clippy::print_stdout, reason = "its only reader is the process that started it")]
pub fn probe() -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let (Some(inside), Ok(runtime)) = (stage::Inside::take(), runtime) else {
        return ExitCode::from(4);
    };
    let found = runtime.block_on(try_all(&inside));
    println!("{}", serde_json::to_string(&found).unwrap_or_default());
    ExitCode::SUCCESS
}

async fn try_all(inside: &stage::Inside) -> Found {
    let users = match stage::all_users_exist() {
        true => "there, as root: every user id of an image is its own".to_owned(),
        false => "there, without root: each replica sees one user, its image's".to_owned(),
    };
    let laid = Ground::lay(&inside.dir, "doctor").map_err(|error| error.to_string());
    let (network, agent) = match &laid {
        Ok(ground) => try_network(inside, ground).await,
        Err(reason) => (Err(reason.clone()), Err("there is no network to try it on".to_owned())),
    };
    if let Ok(ground) = &laid {
        ground.clear().await;
    }
    Found {
        users,
        network,
        agent,
        overlay: try_overlay(&inside.dir),
    }
}

async fn try_network(inside: &stage::Inside, ground: &Ground) -> (Result<String, String>, Result<String, String>) {
    if let Err(error) = ground.network.make().await {
        return (
            Err(error.to_string()),
            Err("there is no network to try it on".to_owned()),
        );
    }
    (try_pod(inside, ground, 0, None).await, try_agent(inside, ground).await)
}

async fn try_pod(inside: &stage::Inside, ground: &Ground, index: u16, agent: Option<Agent>) -> Result<String, String> {
    let hold = Hold {
        bridge: ground.network.bridge.clone(),
        wire: ground.network.wire(index),
        address: ground.network.address(index),
        sysctls: BTreeMap::new(),
        agent,
        empty: ground.folder("empty").map_err(|error| error.to_string())?,
    };
    let address = hold.address;
    let (reader, writer) = replica::words()?;
    let words = std::sync::Arc::default();
    let listening = tokio::spawn(replica::keep_words(reader, std::sync::Arc::clone(&words)));
    let launcher = Launcher::new(&inside.nightmail).map_err(|error| error.to_string())?;
    let held = launcher.hold(Spec::Hold(hold), writer).await?;
    let Some(agent) = &held.agent else {
        return Ok(format!("a bridge, and a pod at {address}"));
    };
    ground.add(agent);
    let control = crate::system::start::agent_address(address);
    let answers = async {
        while tokio::net::TcpStream::connect(control).await.is_err() {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    };
    tokio::select! {
        () = answers => Ok(format!("answers, with a packet filter, at {control}")),
        _ = agent.ended() => {
            let _ = listening.await;
            Err(words.lock().expect("no holder panics").join("; "))
        }
    }
}

async fn try_agent(inside: &stage::Inside, ground: &Ground) -> Result<String, String> {
    let admit = ground.network.gateway().to_string();
    let agent = Agent {
        words: vec!["--admit".to_owned(), admit],
        filters: true,
        disks: Vec::new(),
    };
    try_pod(inside, ground, 1, Some(agent)).await
}

fn try_overlay(dir: &Path) -> Result<String, String> {
    let folder = |name: &str| dir.join("overlay").join(name);
    for name in ["lower", "upper", "work", "merged"] {
        std::fs::create_dir_all(folder(name)).map_err(|error| error.to_string())?;
    }
    let options = format!(
        "lowerdir={},upperdir={},workdir={},userxattr",
        folder("lower").display(),
        folder("upper").display(),
        folder("work").display()
    );
    let merged = folder("merged");
    mount(
        Some("overlay"),
        &merged,
        Some("overlay"),
        MsFlags::empty(),
        Some(options.as_str()),
    )
    .map_err(|error| error.to_string())?;
    let _ = umount2(&merged, MntFlags::MNT_DETACH);
    Ok("images are laid below each replica's changes".to_owned())
}
