//! How hard the machine is pressed while a load lasts, and by whom beside the run.
//!
//! A thread of its own asks to be woken every 10 ms and looks how late it comes, and what the kernel says of everybody
//! else: a generator that is punctual says nothing of a system that waits for a processor.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::event::MachineSeconds;

/// Between two looks.
const TICK: Duration = Duration::from_millis(10);
/// Of these, every how many-th looks at `/proc/stat` where the kernel does not count who waits.
const STAT_EVERY: u32 = 5;
const SECOND: Duration = Duration::from_secs(1);
/// A part of a second that is shorter than this at the end says nothing.
const PART_MIN: Duration = Duration::from_millis(250);

/// The loads that are under way in this process. Cheap to clone; clones count together.
#[derive(Debug, Clone, Default)]
pub struct Loads(Arc<AtomicU32>);

impl Loads {
    fn begin(&self) -> UnderWay {
        self.0.fetch_add(1, Ordering::SeqCst);
        UnderWay(self.clone())
    }

    /// How many there are beside one.
    fn beside_one(&self) -> u32 {
        self.0.load(Ordering::SeqCst).saturating_sub(1)
    }
}

/// A load that is under way, until this is dropped.
#[derive(Debug)]
struct UnderWay(Loads);

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Watches the machine from now on. One that is dropped ends.
#[derive(Debug)]
pub(super) struct Watch {
    ends: Arc<AtomicBool>,
    thread: Option<JoinHandle<MachineSeconds>>,
}

impl Watch {
    pub(super) fn start(loads: &Loads) -> std::io::Result<Self> {
        let ends = Arc::new(AtomicBool::new(false));
        let (under_way, seen) = (loads.begin(), ends.clone());
        let thread = thread::Builder::new()
            .name("machine".to_owned())
            .spawn(move || look_on(&under_way, &seen))?;
        Ok(Self {
            ends,
            thread: Some(thread),
        })
    }

    /// Ends it and says what was seen.
    pub(super) fn end(mut self) -> MachineSeconds {
        self.stop().unwrap_or_default()
    }

    fn stop(&mut self) -> Option<MachineSeconds> {
        let thread = self.thread.take()?;
        self.ends.store(true, Ordering::SeqCst);
        thread.thread().unpark();
        // What it saw is lost with a panic of its own, and nothing else.
        thread.join().ok()
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.stop();
    }
}

fn look_on(under_way: &UnderWay, ends: &AtomicBool) -> MachineSeconds {
    let mut seen = MachineSeconds::default();
    let mut now = Instant::now();
    let mut second = Second::begin(now);
    let mut due = now + TICK;
    loop {
        while now < due && !ends.load(Ordering::SeqCst) {
            thread::park_timeout(due - now);
            now = Instant::now();
        }
        if ends.load(Ordering::SeqCst) {
            break;
        }
        second.look(now - due, under_way.0.beside_one());
        if now - second.began >= SECOND {
            std::mem::replace(&mut second, Second::begin(now)).end(now, &mut seen);
        }
        // Looks that were missed are one that was very late.
        due = now.max(due) + TICK;
    }
    if now - second.began >= PART_MIN {
        second.end(now, &mut seen);
    }
    seen
}

/// What is known of a second so far.
struct Second {
    began: Instant,
    late_max: Duration,
    beside: u32,
    looks: u32,
    counters: Counters,
    /// Looks at `/proc/stat`, and those of them that saw somebody wait.
    waits: (u32, u32),
}

impl Second {
    fn begin(now: Instant) -> Self {
        Self {
            began: now,
            late_max: Duration::ZERO,
            beside: 0,
            looks: 0,
            counters: Counters::read(),
            waits: (0, 0),
        }
    }

    fn look(&mut self, late: Duration, beside: u32) {
        self.late_max = self.late_max.max(late);
        self.beside = self.beside.max(beside);
        self.looks += 1;
        if self.counters.waited_us.is_none() && self.looks.is_multiple_of(STAT_EVERY) {
            let stat = fs::read_to_string("/proc/stat").unwrap_or_default();
            if let Some(waits) = Stat::of(&stat).and_then(|stat| stat.somebody_waits()) {
                self.waits.0 += 1;
                self.waits.1 += u32::from(waits);
            }
        }
    }

    fn end(self, now: Instant, seen: &mut MachineSeconds) {
        let counters = Counters::read();
        seen.late_max_us.push(self.late_max.as_micros() as u64);
        seen.beside.push(self.beside);
        let waiting = match (self.counters.waited_us, counters.waited_us) {
            (Some(before), Some(after)) => {
                Some(after.saturating_sub(before) as f64 / (now - self.began).as_micros() as f64)
            }
            _ if self.waits.0 > 0 => Some(f64::from(self.waits.1) / f64::from(self.waits.0)),
            _ => None,
        };
        seen.waiting_percent.extend(waiting.map(percent));
        let stolen = self
            .counters
            .ticks
            .zip(counters.ticks)
            .map(|(before, after)| after.stolen_since(before));
        seen.stolen_percent.extend(stolen.map(percent));
    }
}

/// In percent, to a tenth: counters are read at slightly different instants.
fn percent(share: f64) -> f64 {
    (share.clamp(0.0, 1.0) * 1_000.0).round() / 10.0
}

/// What the kernel counts.
#[derive(Debug, Clone, Copy)]
struct Counters {
    /// For how long somebody has waited for a processor, since the start of the machine.
    waited_us: Option<u64>,
    ticks: Option<Ticks>,
}

impl Counters {
    fn read() -> Self {
        let pressure = fs::read_to_string("/proc/pressure/cpu").unwrap_or_default();
        let stat = fs::read_to_string("/proc/stat").unwrap_or_default();
        Self {
            waited_us: waited_us(&pressure),
            ticks: Stat::of(&stat).map(|stat| stat.ticks),
        }
    }
}

/// `some avg10=0.00 avg60=0.00 avg300=0.00 total=123`, the first line of `/proc/pressure/cpu`.
fn waited_us(pressure: &str) -> Option<u64> {
    let some = pressure.lines().find(|line| line.starts_with("some "))?;
    some.rsplit_once("total=")?.1.trim().parse().ok()
}

/// Time of all processors together, since the start of the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Ticks {
    all: u64,
    stolen: u64,
}

impl Ticks {
    fn stolen_since(self, before: Self) -> f64 {
        let all = self.all.saturating_sub(before.all).max(1);
        self.stolen.saturating_sub(before.stolen) as f64 / all as f64
    }
}

/// What is of use in `/proc/stat`, see proc_stat(5).
#[derive(Debug, PartialEq, Eq)]
struct Stat {
    ticks: Ticks,
    processors: u32,
    /// What runs or could run.
    running: Option<u32>,
}

impl Stat {
    fn of(text: &str) -> Option<Self> {
        let all = text.lines().find_map(|line| line.strip_prefix("cpu "))?;
        // user, nice, system, idle, iowait, irq, softirq, steal; what follows is part of the first two.
        let times: Vec<u64> = all
            .split_whitespace()
            .take(8)
            .map(|time| time.parse().unwrap_or(0))
            .collect();
        let is_processor = |line: &&str| {
            line.strip_prefix("cpu")
                .is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
        };
        let running = text.lines().find_map(|line| line.strip_prefix("procs_running "));
        Some(Self {
            ticks: Ticks {
                all: times.iter().sum(),
                stolen: times.get(7).copied().unwrap_or(0),
            },
            processors: text.lines().filter(is_processor).count() as u32,
            running: running.and_then(|running| running.trim().parse().ok()),
        })
    }

    fn somebody_waits(&self) -> Option<bool> {
        (self.processors > 0).then_some(self.running? > self.processors)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_kernel_counts_is_read() {
        let pressure = "some avg10=38.61 avg60=32.84 avg300=35.10 total=913527456\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=7\n";
        assert_eq!(waited_us(pressure), Some(913_527_456));
        assert_eq!(waited_us(""), None);
        let stat = "cpu  100 20 30 800 10 0 15 25 0 0\ncpu0 50 10 15 400 5 0 7 12 0 0\ncpu1 50 10 15 400 5 0 8 13 0 0\nintr 1 2\nprocs_running 3\n";
        let found = Stat::of(stat).unwrap();
        let ticks = Ticks { all: 1_000, stolen: 25 };
        assert_eq!((found.ticks, found.processors, found.running), (ticks, 2, Some(3)));
        assert_eq!(found.somebody_waits(), Some(true));
        let later = Ticks { all: 1_200, stolen: 75 };
        assert_eq!(later.stolen_since(ticks), 0.25);
        assert_eq!(Stat::of("intr 1 2\n"), None);
        assert_eq!(Stat::of("cpu  1 2\n").unwrap().somebody_waits(), None);
    }

    #[test]
    fn a_watch_sees_whole_seconds_and_who_is_beside() {
        let loads = Loads::default();
        let watch = Watch::start(&loads).unwrap();
        let other = loads.begin();
        let began = Instant::now();
        while began.elapsed() < SECOND + PART_MIN + TICK * 10 {
            thread::park_timeout(TICK);
        }
        let seen = watch.end();
        assert!(seen.late_max_us.len() >= 2, "{seen:?}");
        assert_eq!(seen.beside.len(), seen.late_max_us.len());
        assert!(seen.beside.iter().all(|beside| *beside == 1), "{seen:?}");
        for column in [&seen.waiting_percent, &seen.stolen_percent] {
            assert!(column.is_empty() || column.len() == seen.beside.len(), "{seen:?}");
            assert!(column.iter().all(|percent| (0.0..=100.0).contains(percent)), "{seen:?}");
        }
        assert_eq!(loads.beside_one(), 0, "its own load has ended");
        drop(other);
        assert_eq!(loads.0.load(Ordering::SeqCst), 0);
    }
}
