//! Writes the history while the run lasts.
//!
//! A thread of its own owns the file, so that no operation ever waits for the disk. The first error is kept: a history
//! with a gap is no evidence, and a run whose recorder has a problem must end as aborted.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread;
use std::time::Duration;

use tokio::sync::{oneshot, watch};

use super::Record;
use crate::redact::Redactor;

/// Silence after which buffered lines go to the file, so that a run that is killed leaves nearly everything behind.
const IDLE: Duration = Duration::from_millis(100);

/// Lines are handed to the operating system in pieces of this size.
const BUFFER_BYTES: usize = 256 * 1024;

/// Records a run's history. Cheap to clone; when the last clone is gone the file is complete.
#[derive(Clone, Debug)]
pub struct Recorder {
    lines: Sender<Message>,
    problem: watch::Receiver<Option<String>>,
    redactor: Arc<Redactor>,
}

enum Message {
    Line(Vec<u8>),
    Flush(oneshot::Sender<()>),
}

impl Recorder {
    /// Makes a new file at `path`; one that is there already is an error, since it is another run's evidence.
    pub fn create(path: &Path) -> io::Result<Self> {
        Self::writing(File::options().create_new(true).append(true).open(path)?)
    }

    /// Writes to an open file.
    pub fn writing(file: File) -> io::Result<Self> {
        let (lines, received) = mpsc::channel();
        let (problem_tx, problem) = watch::channel(None);
        thread::Builder::new()
            .name("history".to_owned())
            .spawn(move || Writer::new(file, problem_tx).run(&received))?;
        let redactor = Arc::default();
        Ok(Self {
            lines,
            problem,
            redactor,
        })
    }

    /// Keeps these secrets out of every line from now on.
    pub fn redacting(self, redactor: Redactor) -> Self {
        Self {
            redactor: Arc::new(redactor),
            ..self
        }
    }

    /// Records a line. Never waits; whether it reached the disk is what [`Recorder::flush`] and
    /// [`Recorder::problem`] tell.
    pub fn record(&self, record: &Record<'_>) {
        let mut line = match serde_json::to_vec(record) {
            Ok(line) => line,
            Err(err) => unreachable!("records hold only names, texts and numbers: {err}"),
        };
        if let Some(redacted) = self.redactor.json(&line) {
            line = redacted;
        }
        line.push(b'\n');
        // The writer outlives every handle, unless it panicked, and then `flush` reports it.
        let _ = self.lines.send(Message::Line(line));
    }

    /// Waits until everything recorded so far is in the file and on the disk.
    pub async fn flush(&self) -> Result<(), String> {
        let (done, flushed) = oneshot::channel();
        let asked = self.lines.send(Message::Flush(done)).is_ok();
        if !asked || flushed.await.is_err() {
            return Err("the thread that writes the history has ended".to_owned());
        }
        match self.problem() {
            Some(problem) => Err(problem),
            None => Ok(()),
        }
    }

    /// What went wrong first, if anything did. A history with a problem is incomplete.
    pub fn problem(&self) -> Option<String> {
        self.problem.borrow().clone()
    }

    /// Waits for a problem; never returns if none comes.
    pub async fn failed(&self) -> String {
        let mut problem = self.problem.clone();
        let seen = problem.wait_for(Option::is_some).await.map(|text| text.clone());
        match seen {
            Ok(text) => text.unwrap_or_default(),
            Err(_) => std::future::pending().await,
        }
    }
}

struct Writer {
    file: BufWriter<File>,
    problem: watch::Sender<Option<String>>,
    unflushed: bool,
}

impl Writer {
    fn new(file: File, problem: watch::Sender<Option<String>>) -> Self {
        Self {
            file: BufWriter::with_capacity(BUFFER_BYTES, file),
            problem,
            unflushed: false,
        }
    }

    fn run(mut self, messages: &Receiver<Message>) {
        loop {
            match messages.recv_timeout(IDLE) {
                Ok(Message::Line(line)) => {
                    self.unflushed = true;
                    self.attempt(|file| file.write_all(&line));
                }
                Ok(Message::Flush(done)) => {
                    self.attempt(BufWriter::flush);
                    self.attempt(|file| sync(file.get_ref()));
                    // Whoever asked may have given up waiting.
                    let _ = done.send(());
                }
                Err(RecvTimeoutError::Timeout) if self.unflushed => {
                    self.attempt(BufWriter::flush);
                    self.unflushed = false;
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => {
                    self.attempt(BufWriter::flush);
                    return;
                }
            }
        }
    }

    /// After the first error nothing is written any more: what follows a gap would look like a complete history.
    fn attempt(&mut self, action: impl FnOnce(&mut BufWriter<File>) -> io::Result<()>) {
        if self.problem.borrow().is_some() {
            return;
        }
        if let Err(err) = action(&mut self.file) {
            self.problem
                .send_replace(Some(format!("cannot write the history: {err}")));
        }
    }
}

/// Some disks report that they are full only here. What is no regular file need not support it.
fn sync(file: &File) -> io::Result<()> {
    match file.sync_data() {
        Err(err) if err.kind() == io::ErrorKind::InvalidInput => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::Sample;

    fn sample(at_us: u64) -> Record<'static> {
        Record::Sample(Sample {
            metric: "queue".into(),
            at_us,
            value: None,
        })
    }

    #[tokio::test]
    async fn a_flush_makes_everything_readable() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("history.jsonl");
        let recorder = Recorder::create(&path).unwrap();
        let clone = recorder.clone();
        for at_us in 0..10_000 {
            clone.record(&sample(at_us));
        }
        recorder.flush().await.unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        let times: Vec<u64> = text
            .lines()
            .map(|line| match serde_json::from_str(line).unwrap() {
                Record::Sample(sample) => sample.at_us,
                other => panic!("{other:?} was never recorded"),
            })
            .collect();
        assert_eq!(times, (0..10_000).collect::<Vec<_>>());
        assert_eq!(recorder.problem(), None);
    }

    #[test]
    fn an_existing_history_is_not_touched() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("history.jsonl");
        std::fs::write(&path, "evidence").unwrap();
        assert_eq!(
            Recorder::create(&path).unwrap_err().kind(),
            io::ErrorKind::AlreadyExists
        );
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "evidence");
    }

    #[tokio::test]
    async fn a_full_disk_is_reported() {
        let full = File::options().write(true).open("/dev/full").unwrap();
        let recorder = Recorder::writing(full).unwrap();
        recorder.record(&sample(1));
        let problem = recorder.flush().await.unwrap_err();
        assert!(problem.contains("No space left"), "{problem}");
        assert_eq!(recorder.problem(), Some(problem.clone()));
        assert_eq!(recorder.failed().await, problem);
    }

    #[tokio::test]
    async fn a_full_disk_is_noticed_without_a_flush() {
        let full = File::options().write(true).open("/dev/full").unwrap();
        let recorder = Recorder::writing(full).unwrap();
        recorder.record(&sample(1));
        assert!(recorder.failed().await.contains("No space left"));
    }
}
