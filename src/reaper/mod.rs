//! The reaper: a small process that outlives the harness by as long as it takes to clean up after it.
//!
//! It is this same binary (`nightmail reaper`), in a session of its own, so that neither Ctrl-C nor a kill of the harness's
//! process group reaches it. It holds the reading end of a pipe. When the pipe closes without a word, the harness has
//! died, and the reaper removes everything that carries the run's label. Until then it sees to it that faults end in time whose
//! place keeps no time itself: those of processes, and those of a Toxiproxy.
//!
//! [`Reaper`] is the harness's end, [`main`] the other; [`order`] is what passes between them.

use std::io::{self, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use crate::system::docker::Policy;
use crate::system::engine::{Call, Undo};
use order::Order;

mod order;
mod process;

pub use process::main;

/// The harness's end. Dropped without [`Reaper::done`] or [`Reaper::keep`], it lets the reaper clean up.
#[derive(Debug)]
pub struct Reaper {
    pipe: Mutex<Option<ChildStdin>>,
    child: Mutex<Child>,
}

impl Reaper {
    /// Starts `executable`, which is nightmail itself, as the reaper of a run.
    pub fn spawn(executable: &Path, run_id: &str) -> io::Result<Self> {
        let mut command = Command::new(executable);
        command
            .args(["reaper", "--run", run_id])
            // Only the pipe: whoever waits for the end of the harness's output does not wait for the reaper.
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .current_dir("/");
        // SAFETY: between fork and exec only async-signal-safe system calls are made.
        unsafe {
            command.pre_exec(detach);
        }
        let mut child = command.spawn()?;
        Ok(Self {
            pipe: Mutex::new(child.stdin.take()),
            child: Mutex::new(child),
        })
    }

    /// Ends a process fault at a deadline, unless it is disarmed before.
    pub(crate) fn arm(
        &self,
        fault: u32,
        undo: Undo,
        container: &str,
        holder: &str,
        policy: Policy,
        ttl: Duration,
    ) -> io::Result<()> {
        self.send(&Order::Arm {
            fault,
            undo,
            container: container.to_owned(),
            holder: holder.to_owned(),
            policy,
            ttl,
        })
    }

    /// Makes a call at a deadline, or when the harness has died, unless it is disarmed before.
    pub(crate) fn arm_call(&self, fault: u32, call: &Call, ttl: Duration) -> io::Result<()> {
        self.send(&Order::Call {
            fault,
            call: call.clone(),
            ttl,
        })
    }

    /// The fault has ended in time.
    pub(crate) fn disarm(&self, fault: u32) -> io::Result<()> {
        self.send(&Order::Disarm { fault })
    }

    /// Spares what there is of the run, and ends the reaper.
    pub(crate) fn keep(&self) {
        self.end();
    }

    /// Everything is gone already: ends the reaper.
    pub(crate) fn done(&self) {
        self.end();
    }

    /// Gives up: the reaper does what it can, from now on and without us.
    pub(crate) fn let_go(&self) {
        *self.pipe.lock().expect("no holder panics") = None;
    }

    fn end(&self) {
        const ENDS_WITHIN: Duration = Duration::from_millis(500);
        // A reaper that is gone cannot be told, and need not be.
        let _ = self.send(&Order::Done);
        self.let_go();
        let mut child = self.child.lock().expect("no holder panics");
        let began = Instant::now();
        // It has nothing left to do but to exit; this only collects its exit code.
        while matches!(child.try_wait(), Ok(None)) && began.elapsed() < ENDS_WITHIN {
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    fn send(&self, order: &Order) -> io::Result<()> {
        let mut pipe = self.pipe.lock().expect("no holder panics");
        let pipe = pipe
            .as_mut()
            .ok_or_else(|| io::Error::other("the reaper has been let go"))?;
        writeln!(pipe, "{order}")
    }
}

/// Leaves the harness's session, and every file that is not ours: a pipe inherited from a shell, kept open, would keep
/// its other end waiting.
fn detach() -> io::Result<()> {
    nix::unistd::setsid()?;
    // SAFETY: the call only marks descriptors to be closed at exec; an older kernel refuses it, and then those that Rust
    // opened are marked in any case.
    unsafe {
        libc::syscall(libc::SYS_close_range, 3, libc::c_uint::MAX, libc::CLOSE_RANGE_CLOEXEC);
    }
    Ok(())
}
