//! Systems that stay up when their runs are over.
//!
//! The harness lives on with them, in the background, as their supervisor. For each there is a socket in the cache, a
//! *door*, on which it says what there is, passes on descriptors of processes by which others enter its namespaces
//! (`Keeper` is this side, [`KeptRun`] the other), and takes the system down.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::UnixListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

mod doors;
mod run;
mod wire;

pub use run::{KeptRun, end_all};

use super::pod::open_process;
use super::running::RunningLocal;
use super::stage;
use crate::system::engine::{EngineError, RunningSystem};
use doors::Doors;
use wire::{Answer, Ask, Listed};

/// Whoever asks does so within this.
const ASKED_WITHIN: Duration = Duration::from_secs(5);

/// The systems that are to stay up.
#[derive(Default)]
pub(super) struct Keeper {
    kept: Mutex<Vec<Arc<RunningLocal>>>,
}

impl Keeper {
    /// This one is to stay.
    pub(super) fn keep(&self, system: Arc<RunningLocal>) {
        self.kept.lock().expect("no holder panics").push(system);
    }

    /// Lets the command end with that exit code, and lives on until all are taken down. Returns at once if there are none.
    pub(super) async fn stay(&self, outside: &stage::Outside, exit_code: u8) -> Result<(), EngineError> {
        let kept = std::mem::take(&mut *self.kept.lock().expect("no holder panics"));
        if kept.is_empty() {
            return Ok(());
        }
        let refused = |error: io::Error| EngineError::Refused {
            action: "keeping the system up".to_owned(),
            reason: error.to_string(),
        };
        let doors = Arc::new(Doors::here().map_err(refused)?);
        let mut terminated = signal(SignalKind::terminate()).map_err(refused)?;
        let mut standing = JoinSet::new();
        for system in &kept {
            let listener = listen(&doors, &system.run_id).map_err(refused)?;
            standing.spawn(stand(listener, system.clone(), doors.clone()));
        }
        outside.leave(exit_code).map_err(refused)?;
        tokio::select! {
            () = async { while standing.join_next().await.is_some() {} } => {}
            _ = terminated.recv() => {
                standing.shutdown().await;
                for system in kept {
                    doors.close(&system.run_id);
                    system.down().await;
                }
            }
        }
        Ok(())
    }
}

fn listen(doors: &Doors, run_id: &str) -> io::Result<UnixListener> {
    let listener = doors.open(run_id)?;
    listener.set_nonblocking(true)?;
    UnixListener::from_std(listener)
}

/// Stands at the door of one system until somebody has it taken down.
async fn stand(listener: UnixListener, system: Arc<RunningLocal>, doors: Arc<Doors>) {
    let (ends, mut ended) = mpsc::unbounded_channel();
    let mut attending = JoinSet::new();
    let asked_to_end = loop {
        tokio::select! {
            accepted = listener.accept() => {
                if let Ok((socket, _)) = accepted {
                    attending.spawn(attend(socket, system.clone(), ends.clone()));
                }
            }
            Some(_) = attending.join_next() => {}
            Some(socket) = ended.recv() => break socket,
        }
    };
    doors.close(&system.run_id);
    let leftovers = system.down().await;
    // Whoever has gone away need not be told.
    let _ = tell(&asked_to_end, &Answer::Ended(leftovers), &[]);
}

/// Answers one question. Whoever wants the end is handed on.
async fn attend(socket: tokio::net::UnixStream, system: Arc<RunningLocal>, ends: mpsc::UnboundedSender<UnixStream>) {
    let mut reader = BufReader::new(socket);
    let mut line = String::new();
    let read = tokio::time::timeout(ASKED_WITHIN, reader.read_line(&mut line)).await;
    let (Ok(Ok(1..)), Ok(socket)) = (read, reader.into_inner().into_std()) else {
        return;
    };
    let (answer, descriptors) = match serde_json::from_str(&line) {
        Ok(Ask::End) => {
            let _ = ends.send(socket);
            return;
        }
        Ok(ask) => answer(&system, &ask).unwrap_or_else(|reason| (Answer::Refused(reason), Vec::new())),
        Err(error) => (Answer::Refused(format!("`{}`: {error}", line.trim())), Vec::new()),
    };
    let _ = tell(&socket, &answer, &descriptors);
}

fn tell(socket: &UnixStream, answer: &Answer, descriptors: &[OwnedFd]) -> io::Result<()> {
    socket.set_nonblocking(false)?;
    socket.set_write_timeout(Some(ASKED_WITHIN))?;
    let numbers: Vec<_> = descriptors.iter().map(AsRawFd::as_raw_fd).collect();
    wire::send(socket, answer, &numbers)
}

fn answer(system: &RunningLocal, ask: &Ask) -> Result<(Answer, Vec<OwnedFd>), String> {
    let opened = |pid| open_process(pid).map_err(|error| format!("opening the process {pid}: {error}"));
    match ask {
        Ask::List => Ok((Answer::Listed(listed(system)), Vec::new())),
        Ask::Network => Ok((Answer::Network, vec![opened(STAGE)?])),
        Ask::Process(id) => {
            let body = system.body(id).map_err(|error| error.to_string())?;
            let pid = body.pid().ok_or("it does not run at the moment")?;
            let process = body.plan().program.process.clone();
            Ok((Answer::Process(Box::new(process)), vec![opened(STAGE)?, opened(pid)?]))
        }
        Ask::End => Err("it is being taken down already".to_owned()),
    }
}

/// The first process of the stage: when it has ended, everything on the stage has.
const STAGE: i32 = 1;

fn listed(system: &RunningLocal) -> Listed {
    Listed {
        run_id: system.run_id.clone(),
        folder: system.folder.clone(),
        replicas: system
            .replicas
            .iter()
            .map(|replica| (replica.id.clone(), replica.address))
            .collect(),
    }
}
