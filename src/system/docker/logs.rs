//! Follows every replica's log, from its first line and across restarts, for as long as its container is there.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::StreamExt;
use testcontainers::bollard::container::LogOutput;
use testcontainers::bollard::query_parameters::LogsOptionsBuilder;
use tokio::sync::Notify;

use super::{Client, lifecycle};
use crate::redact::Redactor;
use crate::system::start::LogSink;

/// Follows one replica's log.
pub(super) struct Follower {
    client: Client,
    container: String,
    sink: Arc<LogSink>,
    shared: Arc<Shared>,
}

/// What a follower and its replica tell each other.
#[derive(Debug, Default)]
pub(super) struct Shared {
    /// The container was started again.
    pub(super) started: Notify,
    /// The container is about to be removed: the end of its log is the end.
    pub(super) ending: AtomicBool,
    /// When the container was started last, as the log's own clock says: earlier lines do not make it ready.
    pub(super) ready_after: Mutex<String>,
}

impl Follower {
    /// Follows the log of a container, and what it and its replica tell each other.
    pub(super) fn of(client: &Client, container: &str, sink: &Arc<LogSink>) -> (Self, Arc<Shared>) {
        let shared = Arc::new(Shared::default());
        let follower = Self {
            client: client.clone(),
            container: container.to_owned(),
            sink: sink.clone(),
            shared: shared.clone(),
        };
        (follower, shared)
    }

    /// Follows until the container is about to be removed. A log that cannot be written does not end a run.
    pub(super) async fn follow(self) {
        if self.sink.open().await.is_ok() {
            self.follow_on().await;
        }
    }

    /// The same for a log that an earlier container of the replica has begun.
    pub(super) async fn follow_on(self) {
        // Docker repeats the whole log whenever it is followed anew.
        let mut last = String::new();
        loop {
            self.read(&mut last).await;
            if self.sink.flush().await.is_err() || self.shared.ending.load(Ordering::Acquire) {
                return;
            }
            if !self.wait_for_start().await {
                return;
            }
        }
    }

    /// Reads until the container's process ends.
    async fn read(&self, last: &mut String) {
        let options = LogsOptionsBuilder::new()
            .follow(true)
            .stdout(true)
            .stderr(true)
            .timestamps(true)
            .build();
        let mut frames = self.client.logs(&self.container, Some(options)).ready_chunks(64);
        let mut partial = (String::new(), String::new());
        // Two streams are stamped apart, so lines may come a little out of order: only the repetition is skipped.
        let repeated_until = last.clone();
        while let Some(chunk) = frames.next().await {
            for frame in chunk.into_iter().flatten() {
                let (buffer, message) = match &frame {
                    LogOutput::StdErr { message } => (&mut partial.1, message),
                    LogOutput::StdOut { message } | LogOutput::Console { message } | LogOutput::StdIn { message } => {
                        (&mut partial.0, message)
                    }
                };
                let text = String::from_utf8_lossy(message);
                let (stamp, text) = text.split_once(' ').unwrap_or(("", &text));
                if !stamp.is_empty() && stamp <= repeated_until.as_str() {
                    continue;
                }
                if stamp > last.as_str() {
                    stamp.clone_into(last);
                }
                // Docker splits long lines; only the last piece has the line's end.
                buffer.push_str(text);
                if buffer.ends_with('\n') {
                    let line = std::mem::take(buffer);
                    self.line(stamp, line.trim_end_matches(['\n', '\r'])).await;
                }
            }
            // Lines that came together are written together, and none waits for the next.
            let _ = self.sink.flush().await;
        }
        for (buffer, stamp) in [(partial.0, &*last), (partial.1, &*last)] {
            if !buffer.is_empty() {
                self.line(stamp, &buffer).await;
            }
        }
    }

    async fn line(&self, stamp: &str, line: &str) {
        let since_start = stamp > self.shared.ready_after.lock().expect("no holder panics").as_str();
        self.sink.line(line, since_start).await;
    }

    /// Waits until the container runs again, by our doing or by Docker's. False when it never will.
    async fn wait_for_start(&self) -> bool {
        const POLL: Duration = Duration::from_millis(100);
        loop {
            // Either way the state decides.
            let _ = tokio::time::timeout(POLL, self.shared.started.notified()).await;
            if self.shared.ending.load(Ordering::Acquire) {
                return false;
            }
            match lifecycle::inspect(&self.client, &self.container).await {
                Ok(state) if state.running.unwrap_or(false) => return true,
                Ok(_) => {}
                Err(_) => return false,
            }
        }
    }
}

/// Now, in the form of Docker's stamps, so that texts compare as times do.
pub(super) fn stamp_now() -> String {
    format!("{:.9}", jiff::Timestamp::now())
}

/// The last lines that a container has written.
pub(super) async fn tail(client: &Client, container: &str, redactor: &Redactor) -> Vec<String> {
    const LINES: &str = "20";
    let options = LogsOptionsBuilder::new().stdout(true).stderr(true).tail(LINES).build();
    let mut frames = client.logs(container, Some(options));
    let mut text = String::new();
    while let Some(Ok(frame)) = frames.next().await {
        text.push_str(&String::from_utf8_lossy(&frame.into_bytes()));
    }
    text.lines().map(|line| redactor.text(line.trim_end())).collect()
}
