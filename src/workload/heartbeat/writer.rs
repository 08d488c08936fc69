//! Writes to one member, one write after the other.

use std::borrow::Cow;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;
use tokio_postgres::NoTls;

use super::table;
use crate::history::record::Recorder;
use crate::history::{Heartbeat, Outcome, Record};
use crate::system::definition::HeartbeatDefinition;
use crate::workload::members::Member;
use crate::workload::session::{Answer, Session};

/// Writes to one member, and records every attempt.
#[derive(Debug)]
pub(super) struct Writer {
    group: String,
    member: Member,
    every: Duration,
    timeout: Duration,
    run: String,
    epoch: Instant,
    recorder: Recorder,
    /// The number of the last write.
    number: u64,
    session: Option<Session>,
    cancels: JoinSet<()>,
}

impl Writer {
    pub(super) fn new(
        group: &str,
        member: Member,
        definition: &HeartbeatDefinition,
        run: &str,
        epoch: Instant,
        recorder: Recorder,
    ) -> Self {
        Self {
            group: group.to_owned(),
            member,
            // An interval of nothing would be a load of its own.
            every: definition.every.as_duration().max(Duration::from_millis(10)),
            timeout: definition.timeout.as_duration(),
            run: run.to_owned(),
            epoch,
            recorder,
            number: 0,
            session: None,
            cancels: JoinSet::new(),
        }
    }

    /// Writes at the interval until it is told to stop; a write that is under way then still ends.
    pub(super) async fn write_until(mut self, mut stopped: watch::Receiver<bool>) {
        let mut ticks = tokio::time::interval_at(self.epoch.into(), self.every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        loop {
            tokio::select! {
                biased;
                // Without a sender there is nobody left to write for.
                _ = stopped.wait_for(|stopped| *stopped) => break,
                _ = ticks.tick() => {}
            }
            self.write().await;
        }
        // The server must not be left with a statement that nobody waits for.
        while self.cancels.join_next().await.is_some() {}
    }

    async fn write(&mut self) {
        self.number += 1;
        let sent_us = self.now_us();
        let answer = match tokio::time::timeout(self.timeout, self.attempt()).await {
            Ok(answer) => answer,
            Err(_) => {
                self.cancel();
                Answer::Failed("timeout".to_owned())
            }
        };
        let done_us = self.now_us();
        let (outcome, error) = match answer {
            Answer::Acknowledged => (Outcome::Ok, None),
            Answer::OnlyReads(error) => (Outcome::Fail, Some(error)),
            Answer::Failed(error) => {
                self.session = None;
                (Outcome::Info, Some(error))
            }
        };
        self.recorder.record(&Record::Heartbeat(Heartbeat {
            group: Cow::Borrowed(&self.group),
            member: Cow::Borrowed(&self.member.name),
            number: self.number,
            sent_us,
            done_us,
            outcome,
            error: error.map(Cow::Owned),
        }));
    }

    async fn attempt(&mut self) -> Answer {
        let session = match &mut self.session {
            Some(session) => session,
            none => match Session::open(&self.member.config).await {
                Ok(session) => none.insert(session),
                Err(error) => return Answer::Failed(error),
            },
        };
        session
            .write(&table::insert(&self.run, &self.member.name, self.number))
            .await
    }

    /// Tells the server that nobody waits for the write any more: one that waits for a synchronous standby does not notice
    /// that the connection is gone, and would keep its place among the server's connections, as all after it.
    fn cancel(&mut self) {
        while self.cancels.try_join_next().is_some() {}
        if let Some(session) = self.session.take() {
            let (token, limit) = (session.cancel_token(), self.timeout);
            self.cancels.spawn(async move {
                // A server that cannot be reached cannot be told.
                drop(tokio::time::timeout(limit, token.cancel_query(NoTls)).await);
            });
        }
    }

    fn now_us(&self) -> u64 {
        self.epoch.elapsed().as_micros() as u64
    }
}
