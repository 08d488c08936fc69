//! Images as the porter makes them: asked for within a stage, made outside of it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::sync::Mutex;

use crate::event::{Event, Events};
use crate::system::engine::EngineError;
use crate::system::image::Settings;

/// A line to the porter.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Wanted {
    /// The Compose file all of whose images are wanted.
    pub(super) compose: PathBuf,
    /// Names of others.
    pub(super) others: Vec<String>,
}

/// A line of the porter's.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Told {
    /// An image is being made.
    Started {
        /// Its name.
        image: String,
        /// How.
        step: String,
    },
    /// An image is there.
    Ready {
        /// Its name.
        image: String,
        /// The same with a hash of its content.
        reference: String,
        /// How long that took.
        took_ms: u64,
    },
    /// Something for the reader.
    Notice(String),
    /// All are there.
    Done(Images),
    /// One could not be made.
    Failed {
        /// Which.
        image: String,
        /// Why.
        reason: String,
        /// The last lines of what was tried.
        log: Vec<String>,
    },
    /// The Compose file cannot be used.
    Invalid(String),
}

/// The images of a Compose file.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Images {
    /// By service.
    pub(super) services: BTreeMap<String, Unpacked>,
    /// Those that have a name, by that.
    pub(super) named: BTreeMap<String, Unpacked>,
}

/// An image as a folder.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Unpacked {
    /// Its files.
    pub(super) root: PathBuf,
    /// How it runs.
    pub(super) settings: Settings,
}

/// The way to the porter.
#[derive(Debug)]
pub(super) struct Porter {
    socket: Mutex<Option<BufReader<UnixStream>>>,
}

impl Porter {
    /// Speaks through that socket.
    pub(super) fn new(socket: std::os::unix::net::UnixStream) -> std::io::Result<Self> {
        socket.set_nonblocking(true)?;
        Ok(Self {
            socket: Mutex::new(Some(BufReader::new(UnixStream::from_std(socket)?))),
        })
    }

    /// Has every image of a Compose file made or found, and those of these names beside them; tells `events` of each.
    pub(super) async fn prepare(
        &self,
        compose: PathBuf,
        others: &[String],
        events: &Events,
    ) -> Result<Images, EngineError> {
        let mut held = self.socket.lock().await;
        // Whoever drops this on the way leaves answers unread, which nobody may take for those to another question.
        let mut socket = held.take().ok_or_else(|| gone("it was left in the middle of a word"))?;
        let others = others.to_vec();
        let done = ask(&mut socket, &Wanted { compose, others }, events).await?;
        *held = Some(socket);
        done
    }
}

async fn ask(
    socket: &mut BufReader<UnixStream>,
    wanted: &Wanted,
    events: &Events,
) -> Result<Result<Images, EngineError>, EngineError> {
    let mut line = serde_json::to_string(wanted).map_err(gone)?;
    line.push('\n');
    socket.write_all(line.as_bytes()).await.map_err(gone)?;
    loop {
        line.clear();
        if socket.read_line(&mut line).await.map_err(gone)? == 0 {
            return Err(gone("it has ended"));
        }
        // An events file that cannot be written is found out by whoever owns it.
        match serde_json::from_str(&line).map_err(gone)? {
            Told::Started { image, step } => {
                let _ = events.emit(Event::ImageStarted { image, step });
            }
            Told::Ready {
                image,
                reference,
                took_ms,
            } => {
                let _ = events.emit(Event::ImageReady {
                    image,
                    reference,
                    took_ms,
                });
            }
            Told::Notice(notice) => events.notice(notice),
            Told::Done(images) => return Ok(Ok(images)),
            Told::Failed { image, reason, log } => return Ok(Err(EngineError::Image { image, reason, log })),
            Told::Invalid(reason) => return Ok(Err(EngineError::Compose(reason))),
        }
    }
}

fn gone(reason: impl std::fmt::Display) -> EngineError {
    EngineError::Refused {
        action: "asking the porter for images".to_owned(),
        reason: reason.to_string(),
    }
}

/// Finding out takes no longer than this without a word to the reader.
pub(super) const QUIET: Duration = Duration::from_millis(700);
