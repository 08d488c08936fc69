//! The health check of a replica that the Compose file has one for, run beside it.

use std::time::{Duration, Instant};

use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::unix::pipe::Receiver;

use super::super::pod::spec::{Beside, Process, Spec};
use super::super::process::{Child, Ended};
use super::{Body, words};
use crate::system::compose::Healthcheck;

/// A health check is run so often at most, and may take so long unless it says how long.
const HEALTH_EVERY: Duration = Duration::from_millis(100);
const HEALTH_WITHIN: Duration = Duration::from_secs(30);

/// A health check that is given up does not go on.
struct KilledWhenDropped(Child);

impl Drop for KilledWhenDropped {
    fn drop(&mut self) {
        let _ = self.0.kill();
    }
}

impl Body {
    /// Runs its health check, or says what came of it a moment ago.
    pub(super) async fn try_health(&self, check: &Healthcheck) -> Result<(), String> {
        // Asked first: what it said when it lived is of no use.
        let pid = self.pid().ok_or("its process does not run")?;
        let known = self.health.lock().expect("no holder panics").clone();
        if let Some((at, result)) = known
            && at.elapsed() < HEALTH_EVERY
        {
            return result;
        }
        let within = check.timeout.unwrap_or(HEALTH_WITHIN);
        let result = match tokio::time::timeout(within, self.check_health(pid, check)).await {
            Ok(result) => result,
            Err(_) => Err(format!("its health check took longer than {} s", within.as_secs_f32())),
        };
        *self.health.lock().expect("no holder panics") = Some((Instant::now(), result.clone()));
        result
    }

    async fn check_health(&self, pid: i32, check: &Healthcheck) -> Result<(), String> {
        let command: Vec<String> = match check.test.split_first() {
            Some((how, rest)) if how == "CMD-SHELL" => {
                vec!["/bin/sh".to_owned(), "-c".to_owned(), rest.join(" ")]
            }
            Some((_, rest)) => rest.to_vec(),
            None => return Ok(()),
        };
        let process = Process {
            words: command,
            ..self.plan().program.process.clone()
        };
        let (reader, writer) = words()?;
        let launcher = self.launcher.clone();
        let check = async move { launcher.program(Spec::Beside(Beside { pid, process }), writer).await };
        let child = self.ground.launch(check).await?;
        let killed_with_this = KilledWhenDropped(child.clone());
        let said = last_line(reader).await;
        let ended = child.ended().await;
        drop(killed_with_this);
        match ended {
            Ended::Code(0) => Ok(()),
            ended => Err(format!("its health check ended with exit code {}{said}", ended.code())),
        }
    }
}

/// The last line of what was written, as the end of a sentence.
async fn last_line(reader: Receiver) -> String {
    let mut lines = BufReader::new(reader).lines();
    let mut last = String::new();
    while let Ok(Some(line)) = lines.next_line().await {
        last = line;
    }
    match last.trim() {
        "" => String::new(),
        said => format!(": {said}"),
    }
}
