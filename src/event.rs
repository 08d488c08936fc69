//! The one stream of events of a run: `events.jsonl`, the terminal and the reports are its consumers.
//!
//! Nothing prints from the middle of a run: whoever has something to say emits an event. The intent to inject a fault is
//! on disk (fsync) before the fault is injected.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

use crate::fault::Receipt;
use crate::redact::Redactor;
use crate::verdict::Assertion;

/// File of the events within a run's folder.
pub const FILE: &str = "events.jsonl";

/// An event and its time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// Microseconds since the run's epoch, the instant the load started; negative before it.
    pub at_us: i64,
    /// The same instant by the wall clock, in milliseconds since 1970-01-01 UTC.
    pub unix_ms: i64,
    /// What happened.
    pub event: Event,
}

/// The machine of a run.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Host {
    /// Kernel and its release, such as `Linux 6.1.0`.
    pub kernel: String,
    /// Its architecture, such as `x86_64`.
    pub architecture: String,
    /// Processors that this process may use.
    pub processors: u32,
    /// Memory, in bytes; 0 if it cannot be told.
    pub memory_bytes: u64,
}

impl Host {
    /// This machine.
    pub fn here() -> Self {
        let uname = nix::sys::utsname::uname().ok();
        let of = |part: fn(&nix::sys::utsname::UtsName) -> &std::ffi::OsStr| {
            uname.as_ref().map(|uname| part(uname).to_string_lossy().into_owned())
        };
        let (name, release) = (of(|uname| uname.sysname()), of(|uname| uname.release()));
        Self {
            kernel: format!("{} {}", name.unwrap_or_default(), release.unwrap_or_default()),
            architecture: std::env::consts::ARCH.to_owned(),
            processors: std::thread::available_parallelism().map_or(0, |count| count.get() as u32),
            memory_bytes: memory_bytes().unwrap_or(0),
        }
    }
}

fn memory_bytes() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1_024)
}

/// The phases of a run, in their order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// Images are made or found.
    Images,
    /// Replicas start and get ready; set-up requests are made.
    Up,
    /// Load, and the steady state is judged.
    Gate,
    /// Load, and faults act.
    Method,
    /// Load, and the system recovers.
    Recovery,
    /// The load has ended: operations in flight end, backlogs drain.
    Drain,
    /// Final reads.
    Reads,
    /// Everything is taken down.
    Down,
    /// The history is judged.
    Judge,
}

/// What can happen in a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    /// The run began.
    Started {
        /// Unique on this machine.
        run_id: String,
        /// The experiment's name.
        experiment: String,
        /// Its title.
        title: String,
        /// The seed.
        seed: u64,
        /// The engine.
        engine: String,
        /// Why it is this one, in a few words.
        #[serde(default)]
        because: String,
        /// The version of nightmail.
        #[serde(default)]
        nightmail: String,
        /// What is under test, as whoever started the run named it; empty if nobody did.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        release: String,
        /// The machine.
        #[serde(default)]
        host: Option<Host>,
    },
    /// A phase began.
    Phase {
        /// Which.
        phase: Phase,
        /// How long it lasts at most, where known.
        budget_ms: Option<u64>,
    },
    /// An image is being made.
    ImageStarted {
        /// Which.
        image: String,
        /// What is done, in a few words.
        step: String,
    },
    /// An image is there.
    ImageReady {
        /// Which.
        image: String,
        /// Its name with its content: those that nightmail makes bear a hash of it in their tag. Empty if it is not told.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        reference: String,
        /// How long it took; 0 if it was there.
        took_ms: u64,
    },
    /// A replica is ready.
    ReplicaReady {
        /// Which.
        replica: String,
        /// From its start.
        took_ms: u64,
    },
    /// The steady state was judged.
    Gate {
        /// Whether every probe held. The method's times count from this entry's time.
        passed: bool,
        /// Each probe, judged over the window that ends at this entry's time.
        assertions: Vec<Assertion>,
    },
    /// A fault is about to be injected. On disk before it is.
    FaultIntent {
        /// Position in the method.
        fault: u32,
        /// Its name.
        name: String,
        /// What it does, to whom.
        describe: String,
        /// Planned start after the gate, where a time was planned.
        planned_ms: Option<u64>,
    },
    /// A fault was injected.
    FaultInjected {
        /// Position in the method.
        fault: u32,
        /// What was measured; its effect was first seen at this entry's time less (command's duration less onset).
        receipt: Receipt,
        /// When the effect was first seen, microseconds since the epoch.
        effective_us: Option<i64>,
    },
    /// A fault could not be injected, or its trigger never came.
    FaultMissed {
        /// Position in the method.
        fault: u32,
        /// Why.
        reason: String,
    },
    /// A fault is about to be healed.
    HealIntent {
        /// Position in the method.
        fault: u32,
    },
    /// A fault was healed.
    FaultHealed {
        /// Position in the method.
        fault: u32,
        /// What was measured.
        receipt: Receipt,
        /// When its absence was first seen, microseconds since the epoch.
        healed_us: Option<i64>,
    },
    /// A fault did not heal.
    HealFailed {
        /// Position in the method.
        fault: u32,
        /// Why.
        reason: String,
    },
    /// How the load is going; for the terminal, and not written to disk.
    Progress(Progress),
    /// A backlog drained, or did not in its time.
    Drained {
        /// The gauge.
        metric: String,
        /// Whether it reached zero.
        drained: bool,
        /// The last reading.
        last: Option<f64>,
        /// How long it took.
        took_ms: u64,
    },
    /// The load has ended.
    LoadEnded(LoadSummary),
    /// A replica stopped or started by itself, or anything else a reader should know.
    Notice {
        /// One line.
        text: String,
    },
    /// The run was interrupted by a signal; everything is being undone.
    Interrupted {
        /// `SIGINT` or `SIGTERM`.
        signal: String,
    },
    /// The harness or its set-up broke: the run was aborted.
    Broken {
        /// What happened, for the reader; may have several lines.
        problem: String,
    },
    /// Everything is down, or was left up on purpose.
    Down {
        /// What could not be removed.
        leftovers: Vec<String>,
        /// The system was left up on purpose.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        kept: bool,
    },
    /// The verdict was reached.
    Judged {
        /// `pass`, `fail` or `inconclusive`.
        verdict: String,
        /// The exit code.
        exit_code: u8,
    },
}

/// A moment of the load.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    /// By operation.
    pub operations: Vec<OperationProgress>,
    /// Operations in flight.
    pub in_flight: usize,
}

/// How an operation is going.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct OperationProgress {
    /// The operation.
    pub operation: String,
    /// Ended `ok` so far.
    pub ok: u64,
    /// Ended `fail` so far, dropped arrivals included.
    pub fail: u64,
    /// Ended `info` so far.
    pub info: u64,
    /// Ended `ok` in the last second, in percent of all that ended in it; absent if none ended.
    pub ok_percent: Option<f64>,
    /// Median latency of the last second.
    pub p50_ms: Option<f64>,
    /// 99th percentile of the last second.
    pub p99_ms: Option<f64>,
}

/// What the generator says of itself.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct LoadSummary {
    /// Operations that arrived.
    pub arrivals: u64,
    /// Arrivals that found the in-flight cap full.
    pub dropped: u64,
    /// The generator's own lag, 99th percentile, in microseconds.
    pub lag_p99_us: u64,
    /// The generator's own lag at its worst.
    pub lag_max_us: u64,
    /// How hard the machine was pressed meanwhile; absent if nobody looked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub machine: Option<MachineSeconds>,
}

/// How hard the machine was pressed, second by second from the start of the load; the last one may be cut short.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct MachineSeconds {
    /// By how much a thread of the harness that sleeps and is due every 10 ms ran too late, at worst, in microseconds.
    pub late_max_us: Vec<u64>,
    /// Share of the time in which something on this machine could have run and waited for a processor, in percent, as the
    /// kernel counts it (`some` of `/proc/pressure/cpu`). Where it does not: the share of looks at `/proc/stat`, one every
    /// 50 ms, at which more could run than there are processors. Empty where neither is there.
    pub waiting_percent: Vec<f64>,
    /// Share of the processors' time that the hypervisor gave to others, in percent (`steal` of `/proc/stat`). Empty where
    /// that is not there.
    pub stolen_percent: Vec<f64>,
    /// How many loads of other runs of the same command were under way, at most.
    pub beside: Vec<u32>,
}

/// Where events go. Cheap to clone.
#[derive(Clone)]
pub struct Events {
    shared: Arc<Shared>,
}

struct Shared {
    epoch: Mutex<Instant>,
    file: Mutex<Option<File>>,
    redactor: Mutex<Redactor>,
    listener: Option<mpsc::UnboundedSender<Entry>>,
}

impl Events {
    /// Writes to `path` and tells `listener`. The epoch is now until [`Events::set_epoch`].
    ///
    /// The file is locked (`flock`) until the last clone is dropped or the process ends, however it ends: so that
    /// [`crate::run::folder::is_under_way`] tells a run from one whose harness was killed. A file system that knows no locks does
    /// without.
    pub fn create(path: &Path, listener: Option<mpsc::UnboundedSender<Entry>>) -> std::io::Result<Self> {
        let file = File::options().create_new(true).append(true).open(path)?;
        let _ = file.try_lock();
        Ok(Self::with(Some(file), listener))
    }

    /// Tells `listener` only: for commands that have no run folder.
    pub fn unsaved(listener: Option<mpsc::UnboundedSender<Entry>>) -> Self {
        Self::with(None, listener)
    }

    fn with(file: Option<File>, listener: Option<mpsc::UnboundedSender<Entry>>) -> Self {
        Self {
            shared: Arc::new(Shared {
                epoch: Mutex::new(Instant::now()),
                file: Mutex::new(file),
                redactor: Mutex::default(),
                listener,
            }),
        }
    }

    /// Keeps these secrets out of every event from now on.
    pub fn redacting(self, redactor: Redactor) -> Self {
        *self.shared.redactor.lock().expect("no holder panics") = redactor;
        self
    }

    /// Sets the instant from which times count.
    pub fn set_epoch(&self, epoch: Instant) {
        *self.shared.epoch.lock().expect("no holder panics") = epoch;
    }

    /// Microseconds from the epoch to `instant`, negative before it.
    pub fn since_epoch_us(&self, instant: Instant) -> i64 {
        let epoch = *self.shared.epoch.lock().expect("no holder panics");
        match instant.checked_duration_since(epoch) {
            Some(after) => after.as_micros() as i64,
            None => -(epoch.duration_since(instant).as_micros() as i64),
        }
    }

    /// Records an event. [`Event::FaultIntent`] and [`Event::HealIntent`] are on disk when this returns.
    pub fn emit(&self, event: Event) -> std::io::Result<()> {
        let at_us = self.since_epoch_us(Instant::now());
        let mut entry = Entry {
            at_us,
            unix_ms: jiff::Timestamp::now().as_millisecond(),
            event,
        };
        let written = match entry.event {
            Event::Progress(_) => Ok(()),
            _ => self.write(&mut entry),
        };
        if let Some(listener) = &self.shared.listener {
            // The listener may have gone: a terminal that was closed must not end a run.
            let _ = listener.send(entry);
        }
        written
    }

    /// Records a notice. An event file that cannot be written any more is not worth ending a run for a notice.
    pub fn notice(&self, text: impl Into<String>) {
        let _ = self.emit(Event::Notice { text: text.into() });
    }

    /// Writes the entry, and leaves it without secrets.
    fn write(&self, entry: &mut Entry) -> std::io::Result<()> {
        let mut line = serde_json::to_vec(entry)?;
        let redactor = self.shared.redactor.lock().expect("no holder panics");
        if redactor.is_in_json(&line) {
            *entry = redactor.readable(serde_json::to_value(&*entry)?, Redactor::value)?;
            line = serde_json::to_vec(entry)?;
        }
        drop(redactor);
        let mut file = self.shared.file.lock().expect("no holder panics");
        let Some(file) = file.as_mut() else { return Ok(()) };
        line.push(b'\n');
        file.write_all(&line)?;
        if matches!(entry.event, Event::FaultIntent { .. } | Event::HealIntent { .. }) {
            file.sync_data()?;
        }
        Ok(())
    }
}
