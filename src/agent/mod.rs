//! The agent: a small server beside a replica, in the replica's network namespace, that drops packets, spoils connections,
//! measures paths, and fills disks.
//!
//! It is this same binary (`nightmail agent`), the first process of a container made from nothing, with `NET_ADMIN` as
//! its only capability, or none at all where it has only disks. It speaks JSON over HTTP with whoever runs the experiment and with nobody else, and counts probe
//! datagrams from other agents. Every fault it holds has a time-to-live that it enforces itself, and everything it has
//! put into the kernel goes when it goes.
//!
//! [`api`] is what is said, [`server`] answers, [`client`] asks, [`rules`] is the kernel's packet filter, [`netem`] its
//! network emulation, [`faults`] are those in force, [`links`] carry the replica's connections; [`probe`] measures by
//! datagrams, `exchange` by connections; [`disks`] are file systems that it shares with the replica.
//!
//! Architecture invariant: the agent knows nothing of experiments, replicas or engines: only of addresses.

use std::net::{Ipv4Addr, SocketAddr};
use std::process::ExitCode;
use std::sync::Arc;

use clap::Parser;
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};

pub mod api;
pub mod client;
pub mod disks;
pub(crate) mod exchange;
pub mod faults;
pub mod links;
pub mod netem;
pub mod probe;
pub mod rules;
pub mod server;

/// TCP port of the control interface.
pub const CONTROL_PORT: u16 = 8474;
/// UDP port that counts probe datagrams, and TCP port that answers probe connections.
pub const PROBE_PORT: u16 = 8475;
/// TCP port, of the replica's own `lo` only, that the replica's connections to a peer with a link are handed to.
pub const LINK_PORT: u16 = 8476;

/// Why the agent gave up.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// The kernel's packet filter refused.
    #[error(
        "the packet filter refused: {0}\n  hint: the agent needs the capability NET_ADMIN in its network namespace, and a \
         kernel with nf_tables"
    )]
    Filter(#[from] rules::FilterError),
    /// The kernel's traffic control refused to let go of what an earlier agent left, or of the agent's own.
    #[error(transparent)]
    Netem(#[from] netem::NetemError),
    /// A socket or a file could not be had.
    #[error("{what}: {source}")]
    Socket {
        /// What was tried, such as `listening on 0.0.0.0:8474`.
        what: String,
        /// What the kernel said.
        source: std::io::Error,
    },
}

#[derive(Debug, Parser)]
#[command(
    name = "nightmail agent",
    about = "Drops packets, spoils connections and measures paths in this network namespace"
)]
struct Arguments {
    /// The only address that may use the control interface: that of whoever runs the experiment.
    #[arg(
        long,
        value_name = "ADDRESS",
        required_unless_present_any = ["hold", "try_netem"],
        conflicts_with_all = ["hold", "try_netem"]
    )]
    admit: Option<Ipv4Addr>,
    /// Hold the network namespace and do nothing else.
    #[arg(long)]
    hold: bool,
    /// A file system that is the replica's at one path and the agent's at another; may be given several times.
    #[arg(long, value_name = "PATH=FOLDER", conflicts_with = "hold")]
    disk: Vec<disks::Mounted>,
    /// Leave the network alone, and serve disks only.
    #[arg(long, requires = "disk", conflicts_with = "link")]
    no_network: bool,
    /// Carry the replica's connections to this peer, so that they can be spoiled; may be given several times.
    #[arg(long, value_name = "NAME=ADDRESS", conflicts_with = "hold")]
    link: Vec<links::Peer>,
    /// Fixes every draw of the links.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Say by the exit code whether this kernel has network emulation, and do nothing else.
    #[arg(long, conflicts_with = "hold")]
    try_netem: bool,
}

/// Runs the agent until it is told to end. `args` are what stands after `nightmail agent`.
pub fn main(args: impl IntoIterator<Item = std::ffi::OsString>) -> ExitCode {
    let words = std::iter::once("nightmail agent".into()).chain(args);
    let arguments = match Arguments::try_parse_from(words) {
        Ok(arguments) => arguments,
        Err(error) => {
            let asked_for_help = !error.use_stderr();
            // Where even the terminal is gone there is nobody left to tell.
            let _ = error.print();
            return if asked_for_help {
                ExitCode::SUCCESS
            } else {
                ExitCode::from(2)
            };
        }
    };
    if arguments.try_netem {
        return netem::trial::main();
    }
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&error);
            ExitCode::from(4)
        }
    }
}

/// The agent's last words go to its container's log.
#[expect(
    clippy::print_stderr,
    reason = "the agent has no other consumer of events than its container's log"
)]
fn complain(error: &AgentError) {
    eprintln!("nightmail agent: {error}");
}

fn run(arguments: &Arguments) -> Result<(), AgentError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|source| AgentError::Socket {
            what: "starting the event loop".to_owned(),
            source,
        })?;
    runtime.block_on(async {
        // Asked for first: the kernel drops signals that the first process of a container does not handle.
        let mut end = Ending::listen()?;
        match arguments.admit {
            None => end.wait().await,
            Some(admit) if arguments.no_network => serve_disks_until(admit, arguments, &mut end).await?,
            Some(admit) => serve_until(admit, arguments, &mut end).await?,
        }
        Ok(())
    })
}

/// The disks, opened while everybody may write in them.
fn open_disks(arguments: &Arguments) -> Result<disks::Disks, AgentError> {
    let opened = arguments.disk.iter().map(|mounted| {
        let folder = disks::space::Folder::open(&mounted.folder).map_err(|source| AgentError::Socket {
            what: format!("opening a file in {}", mounted.folder.display()),
            source,
        })?;
        let space: Arc<dyn disks::space::Space> = Arc::new(folder);
        Ok((mounted.path.clone(), space))
    });
    Ok(disks::Disks::new(opened.collect::<Result<Vec<_>, AgentError>>()?))
}

async fn serve_disks_until(admit: Ipv4Addr, arguments: &Arguments, end: &mut Ending) -> Result<(), AgentError> {
    let disks = open_disks(arguments)?;
    // Last: whoever finds the control interface open finds the disks in place.
    let control = server::bind_control(Ipv4Addr::UNSPECIFIED).await?;
    tokio::select! {
        () = server::serve_disks(&control, admit, disks) => {}
        () = end.wait() => {}
    }
    Ok(())
}

async fn serve_until(admit: Ipv4Addr, arguments: &Arguments, end: &mut Ending) -> Result<(), AgentError> {
    let disks = open_disks(arguments)?;
    let filter = Arc::new(rules::Nftables::install(admit, CONTROL_PORT, PROBE_PORT).await?);
    let socket = |what: String| move |source| AgentError::Socket { what, source };
    let netem = Arc::new(netem::Netem::install().await?);
    let links = links::Links::new(&arguments.link, arguments.seed).map_err(socket("starting the links".to_owned()))?;
    let local = SocketAddr::from((Ipv4Addr::LOCALHOST, LINK_PORT));
    let handed_over = TcpListener::bind(local)
        .await
        .map_err(socket(format!("listening on TCP {local}")))?;
    if !arguments.link.is_empty() {
        let peers: Vec<Ipv4Addr> = arguments.link.iter().map(|peer| peer.address).collect();
        filter.redirect(&peers, LINK_PORT).await?;
    }
    let faults = faults::Faults::with_emulator(filter.clone(), links.clone(), netem.clone());
    // Last: whoever finds the control interface open finds the links in place.
    let agent = server::Agent::bind_with(Ipv4Addr::UNSPECIFIED, faults, links.clone(), disks).await?;
    tokio::select! {
        () = agent.serve() => {}
        () = links.serve(&handed_over) => {}
        () = end.wait() => {}
    }
    // The filter goes even where the emulation will not: its rules also guard the control interface.
    let cleared = netem.clear().await;
    filter.uninstall().await?;
    Ok(cleared?)
}

/// SIGTERM, or SIGINT from a terminal.
struct Ending {
    terminate: Signal,
    interrupt: Signal,
}

impl Ending {
    fn listen() -> Result<Self, AgentError> {
        let listen = |kind| {
            signal(kind).map_err(|source| AgentError::Socket {
                what: "listening for signals".to_owned(),
                source,
            })
        };
        Ok(Self {
            terminate: listen(SignalKind::terminate())?,
            interrupt: listen(SignalKind::interrupt())?,
        })
    }

    async fn wait(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
