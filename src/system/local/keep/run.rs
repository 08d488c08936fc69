//! A kept run, seen by whoever wants something of it from outside.

use std::ffi::OsString;
use std::io;
use std::net::Ipv4Addr;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::doors::Doors;
use super::wire::{self, Answer, Ask, Listed};
use crate::plan::ReplicaId;
use crate::system::engine::EngineError;
use crate::system::local::pod::{Entry, enter_network};

/// A run whose system is up, and whose harness answers.
#[derive(Debug)]
pub struct KeptRun {
    listed: Listed,
}

fn refused(action: String) -> impl Fn(io::Error) -> EngineError {
    move |error| EngineError::Refused {
        action: action.clone(),
        reason: error.to_string(),
    }
}

impl KeptRun {
    /// All there are of this user's. Of those that have died the traces are removed.
    pub fn all() -> Result<Vec<Self>, EngineError> {
        let refused = refused("looking for kept runs".to_owned());
        let doors = Doors::here().map_err(&refused)?;
        let mut found = Vec::new();
        for run_id in doors.runs().map_err(&refused)? {
            let Some(socket) = doors.enter(&run_id).map_err(&refused)? else {
                continue;
            };
            // One that ends at this very moment is none any more.
            if let Ok((Answer::Listed(listed), _)) = wire::ask(&socket, &Ask::List) {
                found.push(Self { listed });
            }
        }
        Ok(found)
    }

    /// Its id.
    pub fn run_id(&self) -> &str {
        &self.listed.run_id
    }

    /// Its folder.
    pub fn folder(&self) -> &Path {
        &self.listed.folder
    }

    /// Its replicas, and their addresses on the stage.
    pub fn replicas(&self) -> &[(ReplicaId, Ipv4Addr)] {
        &self.listed.replicas
    }

    /// A way into a replica for a command, or for a shell if it is empty. Only for a process that has no other thread.
    pub fn entry(&self, id: &ReplicaId, command: &[OsString]) -> Result<Entry, EngineError> {
        let action = format!("entering {id}");
        let (answer, descriptors) = self.ask(&action, &Ask::Process(id.clone()))?;
        let mut descriptors = descriptors.into_iter();
        match (answer, descriptors.next(), descriptors.next()) {
            (Answer::Process(process), Some(stage), Some(replica)) => {
                Entry::find(&id.to_string(), stage, replica, *process, command)
            }
            (answer, ..) => Err(unexpected(&action, answer)),
        }
    }

    /// Enters the network of the stage with this process, which must have no other thread. Gives a descriptor that can be
    /// read from once the stage is gone.
    pub fn enter_network(&self) -> Result<OwnedFd, EngineError> {
        let action = format!("entering the network of the run {}", self.run_id());
        let (answer, descriptors) = self.ask(&action, &Ask::Network)?;
        match (answer, descriptors.into_iter().next()) {
            (Answer::Network, Some(stage)) => {
                enter_network(&stage)?;
                Ok(stage)
            }
            (answer, _) => Err(unexpected(&action, answer)),
        }
    }

    /// Has it taken down, and waits until it is. Gives what could not be removed, in words.
    fn end(&self) -> Result<Vec<String>, EngineError> {
        let action = format!("taking down the run {}", self.run_id());
        let (_, stage) = self.ask(&action, &Ask::Network)?;
        let leftovers = match self.ask(&action, &Ask::End)?.0 {
            Answer::Ended(leftovers) => leftovers,
            answer => return Err(unexpected(&action, answer)),
        };
        // The stage goes with the last of its runs. If others stay, so does it.
        let shares = Self::all()?.iter().any(|other| other.shares_stage(&stage));
        if let (false, Some(stage)) = (shares, stage.first()) {
            let mut gone = [PollFd::new(stage.as_fd(), PollFlags::POLLIN)];
            poll(&mut gone, PollTimeout::from(ENDS_WITHIN_MS)).map_err(|error| refused(action)(error.into()))?;
        }
        Ok(leftovers)
    }

    fn shares_stage(&self, stage: &[OwnedFd]) -> bool {
        let Ok((_, own)) = self.ask("looking at another run", &Ask::Network) else {
            return false;
        };
        let pid = |stage: &[OwnedFd]| {
            stage
                .first()
                .and_then(|stage| crate::system::local::pod::pid_of(stage).ok())
        };
        pid(&own) == pid(stage)
    }

    fn ask(&self, action: &str, ask: &Ask) -> Result<(Answer, Vec<OwnedFd>), EngineError> {
        let refused = refused(action.to_owned());
        let socket = Doors::here()
            .and_then(|doors| doors.enter(self.run_id()))
            .map_err(&refused)?
            .ok_or_else(|| refused(io::Error::other("it has ended")))?;
        wire::ask(&socket, ask).map_err(refused)
    }
}

/// How long a harness may take to end when its last system is down.
const ENDS_WITHIN_MS: u16 = 10_000;

fn unexpected(action: &str, answer: Answer) -> EngineError {
    EngineError::Refused {
        action: action.to_owned(),
        reason: match answer {
            Answer::Refused(reason) => reason,
            // Not the answer itself, which may hold an environment.
            _ => "the harness answered something else".to_owned(),
        },
    }
}

/// Takes down every kept run of this user's. Gives each that was, with what could not be removed, in words.
pub fn end_all() -> Result<Vec<(String, Vec<String>)>, EngineError> {
    let runs = KeptRun::all()?;
    let ended = runs.iter().map(|run| {
        let leftovers = run.end().unwrap_or_else(|error| vec![error.to_string()]);
        (run.run_id().to_owned(), leftovers)
    });
    Ok(ended.collect())
}
