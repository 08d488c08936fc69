//! Where a replica's log goes, from its first line and across restarts: to a file, and to whoever listens.

use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use regex::Regex;
use tokio::fs::File;
use tokio::io::{AsyncWriteExt, BufWriter};
use tokio::sync::broadcast;

use super::Member;
use crate::plan::ReplicaId;
use crate::redact::Redactor;
use crate::system::definition::Ready;
use crate::system::engine::{EngineError, LogLine};

/// Log lines that a slow listener may lag behind.
const LINES_BUFFERED: usize = 8_192;
/// Lines that are kept to say what a replica's last words were.
const TAIL_LINES: usize = 20;

/// The log of one replica. An engine feeds it lines, from wherever it gets them.
#[derive(Debug)]
pub struct LogSink {
    replica: ReplicaId,
    path: PathBuf,
    redactor: Redactor,
    listeners: broadcast::Sender<LogLine>,
    /// A line that makes the replica ready, if the log says so.
    ready: Option<Regex>,
    /// The log has shown the line since the last start.
    seen_ready: AtomicBool,
    file: tokio::sync::Mutex<Option<BufWriter<File>>>,
    tail: Mutex<VecDeque<Arc<str>>>,
}

/// Where the lines of all logs are told.
pub(super) fn listeners() -> broadcast::Sender<LogLine> {
    broadcast::Sender::new(LINES_BUFFERED)
}

impl LogSink {
    /// A log of that replica's as `<replica>.log` in `dir`.
    pub(super) fn new(
        member: &Member,
        dir: &Path,
        redactor: Redactor,
        listeners: broadcast::Sender<LogLine>,
    ) -> Result<Self, EngineError> {
        let regex = |matches: &String| {
            Regex::new(matches).map_err(|error| EngineError::NotReady {
                replica: member.id.to_string(),
                reason: format!("cannot be seen to be ready: `{matches}` is not a regular expression: {error}"),
                log: Vec::new(),
            })
        };
        let ready = match &member.ready {
            Some(Ready::Log { matches }) => Some(regex(matches)?),
            _ => None,
        };
        Ok(Self {
            replica: member.id.clone(),
            path: dir.join(format!("{}.log", member.id)),
            redactor,
            listeners,
            ready,
            seen_ready: AtomicBool::new(false),
            file: tokio::sync::Mutex::default(),
            tail: Mutex::default(),
        })
    }

    /// Makes the file, empty. Without it lines are only told and kept.
    pub async fn open(&self) -> io::Result<()> {
        let file = File::create(&self.path).await?;
        *self.file.lock().await = Some(BufWriter::new(file));
        Ok(())
    }

    /// Takes a line, without its end. One that was written before the replica's last start does not make it ready:
    /// `since_start` says whether it was not. The file has it after [`LogSink::flush`].
    pub async fn line(&self, line: &str, since_start: bool) {
        let line = self.redactor.text(line);
        if since_start && self.ready.as_ref().is_some_and(|ready| ready.is_match(&line)) {
            self.seen_ready.store(true, Ordering::Release);
        }
        if let Some(file) = self.file.lock().await.as_mut() {
            // What was lost shows when it is flushed.
            let _ = file.write_all(line.as_bytes()).await;
            let _ = file.write_all(b"\n").await;
        }
        let line: Arc<str> = line.into();
        self.keep(line.clone());
        // Nobody may be listening.
        let _ = self.listeners.send(LogLine {
            replica: self.replica.clone(),
            line,
        });
    }

    fn keep(&self, line: Arc<str>) {
        let mut tail = self.tail.lock().expect("no holder panics");
        if tail.len() == TAIL_LINES {
            tail.pop_front();
        }
        tail.push_back(line);
    }

    /// Writes what the file does not have yet. Lines that came together are best flushed together.
    pub async fn flush(&self) -> io::Result<()> {
        match self.file.lock().await.as_mut() {
            Some(file) => file.flush().await,
            None => Ok(()),
        }
    }

    /// Whether the log has shown since the last start that the replica is ready.
    pub fn has_seen_ready(&self) -> bool {
        self.seen_ready.load(Ordering::Acquire)
    }

    /// The replica is about to be started again: it has to show anew that it is ready.
    pub fn forget_ready(&self) {
        self.seen_ready.store(false, Ordering::Release);
    }

    /// What keeps secrets out of this log.
    pub fn redactor(&self) -> &Redactor {
        &self.redactor
    }

    /// The last lines, 20 at most.
    pub fn tail(&self) -> Vec<String> {
        let tail = self.tail.lock().expect("no holder panics");
        tail.iter().map(|line| line.to_string()).collect()
    }
}
