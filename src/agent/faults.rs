//! The faults in force, and the end that each of them has by itself.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::api::{Action, FaultRequest, FaultStatus, PEERS_MAX, PeerCount, Removed, TTL_MAX_MS};
use super::netem::{Emulator, NetemError};
use super::rules::{Discard, FilterError, PacketFilter};

/// The most faults in force at once.
const FAULTS_MAX: usize = 64;
/// The pause before another try, where the filter would not let go of a fault whose time has passed.
const RETRY: Duration = Duration::from_millis(100);

/// Why a fault was not put in force, or not removed.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// The request makes no sense.
    #[error("{0}")]
    Request(String),
    /// The filter would not.
    #[error(transparent)]
    Filter(#[from] FilterError),
    /// Network emulation would not.
    #[error(transparent)]
    Netem(#[from] NetemError),
}

/// The faults in force.
pub struct Faults {
    filter: Arc<dyn PacketFilter>,
    emulator: Option<Arc<dyn Emulator>>,
    held: Mutex<Held>,
}

#[derive(Default)]
struct Held {
    faults: BTreeMap<String, Fault>,
    /// Tells a fault from an earlier one of the same id, whose time may be up at this very moment.
    generation: u64,
}

struct Fault {
    generation: u64,
    action: Action,
    peers: Vec<Ipv4Addr>,
    until: Instant,
    expiry: JoinHandle<()>,
}

impl Drop for Fault {
    fn drop(&mut self) {
        self.expiry.abort();
    }
}

impl Faults {
    /// None yet. Those that impair packets are refused.
    pub fn new(filter: Arc<dyn PacketFilter>) -> Arc<Self> {
        Arc::new(Self {
            filter,
            emulator: None,
            held: Mutex::default(),
        })
    }

    /// None yet, of any kind.
    pub fn with_emulator(filter: Arc<dyn PacketFilter>, emulator: Arc<dyn Emulator>) -> Arc<Self> {
        Arc::new(Self {
            filter,
            emulator: Some(emulator),
            held: Mutex::default(),
        })
    }

    /// Puts a fault in force; one of the same id is replaced.
    pub async fn put(self: &Arc<Self>, id: &str, request: FaultRequest) -> Result<FaultStatus, Refused> {
        check(id, &request)?;
        let mut held = self.held.lock().await;
        if held.faults.len() >= FAULTS_MAX && !held.faults.contains_key(id) {
            return Err(Refused::Request(format!(
                "{FAULTS_MAX} faults are in force, which is the most"
            )));
        }
        held.generation += 1;
        let generation = held.generation;
        let until = Instant::now() + Duration::from_millis(request.ttl_ms);
        // The end is arranged before the beginning: whoever asked may be gone before the filter has answered.
        let expiry = tokio::spawn(self.clone().expire(id.to_owned(), generation, until));
        held.faults.insert(
            id.to_owned(),
            Fault {
                generation,
                action: request.action.clone(),
                peers: request.peers.clone(),
                until,
                expiry,
            },
        );
        if let Err(error) = self.begin(id, &request).await {
            held.faults.remove(id);
            self.end(id).await?;
            return Err(error);
        }
        drop(held);
        let counted = self.counters_of(id).await?;
        Ok(FaultStatus {
            id: id.to_owned(),
            action: request.action,
            ttl_left_ms: left_ms(until),
            peers: or_uncounted(counted, &request.peers),
        })
    }

    /// Whoever is not to act on it lets go of what had the same id.
    async fn begin(&self, id: &str, request: &FaultRequest) -> Result<(), Refused> {
        match (&request.action, &self.emulator) {
            (Action::Discard { percent }, emulator) => {
                if let Some(emulator) = emulator {
                    emulator.remove(id).await?;
                }
                let discard = Discard {
                    peers: request.peers.clone(),
                    percent: *percent,
                };
                self.filter.put(id, &discard).await?;
            }
            (Action::Impair(impairment), Some(emulator)) => {
                self.filter.remove(id).await?;
                emulator.put(id, &request.peers, impairment).await?;
            }
            (Action::Impair(_), None) => {
                return Err(Refused::Request("this agent has no network emulation".to_owned()));
            }
        }
        Ok(())
    }

    /// Nothing acts on it any longer; each is asked, whatever the other answers.
    async fn end(&self, id: &str) -> Result<(), Refused> {
        let dropped = self.filter.remove(id).await;
        if let Some(emulator) = &self.emulator {
            emulator.remove(id).await?;
        }
        Ok(dropped?)
    }

    /// Lets packets pass again.
    pub async fn remove(&self, id: &str) -> Result<Removed, Refused> {
        let mut held = self.held.lock().await;
        let peers = self.counters_of(id).await?;
        self.end(id).await?;
        Ok(Removed {
            existed: held.faults.remove(id).is_some(),
            peers,
        })
    }

    /// Those in force.
    pub async fn list(&self) -> Result<Vec<FaultStatus>, Refused> {
        let held = self.held.lock().await;
        let mut counters = self.filter.counters().await?;
        let status = |(id, fault): (&String, &Fault)| FaultStatus {
            id: id.clone(),
            action: fault.action.clone(),
            ttl_left_ms: left_ms(fault.until),
            peers: or_uncounted(counters.remove(id).unwrap_or_default(), &fault.peers),
        };
        Ok(held.faults.iter().map(status).collect())
    }

    /// What has been counted for a fault; empty if there is none.
    pub async fn counters_of(&self, id: &str) -> Result<Vec<PeerCount>, FilterError> {
        Ok(self.filter.counters().await?.remove(id).unwrap_or_default())
    }

    async fn expire(self: Arc<Self>, id: String, generation: u64, until: Instant) {
        tokio::time::sleep_until(until).await;
        loop {
            let mut held = self.held.lock().await;
            if held.faults.get(&id).is_none_or(|fault| fault.generation != generation) {
                return;
            }
            if self.end(&id).await.is_ok() {
                held.faults.remove(&id);
                return;
            }
            drop(held);
            tokio::time::sleep(RETRY).await;
        }
    }
}

fn check(id: &str, request: &FaultRequest) -> Result<(), Refused> {
    let refuse = |reason: String| Err(Refused::Request(reason));
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if id.is_empty() || id.len() > 64 || !id.chars().all(plain) {
        return refuse("an id is 1 to 64 lower-case letters, digits and hyphens".to_owned());
    }
    if request.peers.is_empty() || request.peers.len() > PEERS_MAX {
        return refuse(format!(
            "`peers` must name 1 to {PEERS_MAX} addresses, names {}",
            request.peers.len()
        ));
    }
    if request.ttl_ms == 0 || request.ttl_ms > TTL_MAX_MS {
        return refuse(format!(
            "`ttl_ms` must be from 1 to {TTL_MAX_MS}, is {}",
            request.ttl_ms
        ));
    }
    match &request.action {
        Action::Discard { percent: Some(percent) } if !(*percent > 0.0 && *percent < 100.0) => refuse(format!(
            "`percent` must be more than 0 and less than 100, is {percent}; leave it out for all packets"
        )),
        Action::Discard { .. } => Ok(()),
        Action::Impair(impairment) => impairment.problem().map_or(Ok(()), refuse),
    }
}

/// What was counted; or the peers of a fault that nothing is counted of.
fn or_uncounted(counted: Vec<PeerCount>, peers: &[Ipv4Addr]) -> Vec<PeerCount> {
    if !counted.is_empty() {
        return counted;
    }
    let uncounted = |address: &Ipv4Addr| PeerCount {
        address: *address,
        probes_seen: 0,
        dropped: 0,
    };
    peers.iter().map(uncounted).collect()
}

fn left_ms(until: Instant) -> u64 {
    until
        .saturating_duration_since(Instant::now())
        .as_millis()
        .try_into()
        .unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::netem::tests::MemoryEmulator;
    use crate::agent::netem::{Impairment, Netem};
    use crate::agent::rules::tests::MemoryFilter;

    const PEER: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 2);

    fn request(ttl_ms: u64) -> FaultRequest {
        FaultRequest {
            peers: vec![PEER],
            action: Action::Discard { percent: None },
            ttl_ms,
        }
    }

    /// Waits until the filter has let go, and says how long that took.
    async fn gone(filter: &MemoryFilter, id: &str) -> Duration {
        let start = Instant::now();
        while filter.holds(id) {
            assert!(start.elapsed() < Duration::from_secs(10), "the fault never ended");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        start.elapsed()
    }

    #[tokio::test]
    async fn a_fault_ends_by_itself() {
        let filter = MemoryFilter::shared();
        let faults = Faults::new(filter.clone());
        faults.put("1", request(100)).await.unwrap();
        assert!(gone(&filter, "1").await >= Duration::from_millis(90));
        assert!(faults.list().await.unwrap().is_empty());
    }

    #[tokio::test]
    async fn a_repeated_put_counts_its_time_anew() {
        let filter = MemoryFilter::shared();
        let faults = Faults::new(filter.clone());
        faults.put("1", request(50)).await.unwrap();
        faults.put("1", request(300)).await.unwrap();
        assert!(
            gone(&filter, "1").await >= Duration::from_millis(290),
            "the first one's end must not end the second"
        );
    }

    #[tokio::test]
    async fn a_filter_that_will_not_let_go_is_asked_again() {
        let filter = MemoryFilter::shared();
        let faults = Faults::new(filter.clone());
        filter.refuse_removals(2);
        faults.put("1", request(50)).await.unwrap();
        assert!(gone(&filter, "1").await >= Duration::from_millis(50) + 2 * RETRY - Duration::from_millis(10));
    }

    #[tokio::test]
    async fn removing_is_idempotent() {
        let faults = Faults::new(MemoryFilter::shared());
        faults.put("1", request(60_000)).await.unwrap();
        assert!(faults.remove("1").await.unwrap().existed);
        assert!(!faults.remove("1").await.unwrap().existed);
    }

    #[tokio::test]
    async fn nonsense_is_refused() {
        let faults = Faults::new(MemoryFilter::shared());
        let refused = async |id: &str, request| faults.put(id, request).await.unwrap_err().to_string();
        assert!(refused("Not an id", request(1)).await.contains("lower-case"));
        assert!(refused("1", request(0)).await.contains("ttl_ms"));
        assert!(
            refused(
                "1",
                FaultRequest {
                    peers: Vec::new(),
                    ..request(1)
                }
            )
            .await
            .contains("peers")
        );
        assert!(
            refused(
                "1",
                FaultRequest {
                    action: Action::Discard { percent: Some(100.0) },
                    ..request(1)
                }
            )
            .await
            .contains("percent")
        );
        assert!(
            refused(
                "1",
                FaultRequest {
                    action: Action::Discard {
                        percent: Some(f64::NAN)
                    },
                    ..request(1)
                }
            )
            .await
            .contains("percent")
        );
        assert!(faults.list().await.unwrap().is_empty());
    }

    fn corrupt(ttl_ms: u64) -> FaultRequest {
        FaultRequest {
            action: Action::Impair(Impairment::Corrupt { percent: 30.0 }),
            ..request(ttl_ms)
        }
    }

    #[tokio::test]
    async fn a_fault_of_the_other_kind_takes_the_place_of_one_with_its_id() {
        let (filter, emulator) = (MemoryFilter::shared(), MemoryEmulator::shared());
        let faults = Faults::with_emulator(filter.clone(), emulator.clone());
        faults.put("1", request(60_000)).await.unwrap();
        let status = faults.put("1", corrupt(60_000)).await.unwrap();
        assert_eq!(status.peers[0].address, PEER);
        assert!(emulator.holds("1") && !filter.holds("1"));
        faults.put("1", request(60_000)).await.unwrap();
        assert!(filter.holds("1") && !emulator.holds("1"));
        assert_eq!(faults.list().await.unwrap().len(), 1);
    }

    #[tokio::test]
    async fn what_is_impaired_ends_by_itself_or_by_a_removal() {
        let emulator = MemoryEmulator::shared();
        let faults = Faults::with_emulator(MemoryFilter::shared(), emulator.clone());
        faults.put("1", corrupt(50)).await.unwrap();
        faults.put("2", corrupt(60_000)).await.unwrap();
        let start = Instant::now();
        while emulator.holds("1") {
            assert!(start.elapsed() < Duration::from_secs(10), "the fault never ended");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        assert!(emulator.holds("2"));
        assert!(faults.remove("2").await.unwrap().existed);
        assert!(!emulator.holds("2"));
    }

    #[tokio::test]
    async fn a_kernel_that_refuses_leaves_no_fault_behind() {
        let faults = Faults::with_emulator(
            MemoryFilter::shared(),
            Arc::new(Netem::new(crate::agent::netem::tests::Recorder::without_netem())),
        );
        let error = faults.put("1", corrupt(60_000)).await.unwrap_err();
        assert!(matches!(error, Refused::Netem(_)), "{error}");
        assert!(faults.list().await.unwrap().is_empty());
    }

    #[tokio::test]
    async fn an_agent_without_emulation_refuses_to_impair() {
        let faults = Faults::new(MemoryFilter::shared());
        let error = faults.put("1", corrupt(1)).await.unwrap_err().to_string();
        assert!(error.contains("no network emulation"), "{error}");
        let nonsense = FaultRequest {
            action: Action::Impair(Impairment::Corrupt { percent: 100.0 }),
            ..request(1)
        };
        let error = faults.put("1", nonsense).await.unwrap_err().to_string();
        assert!(error.contains("`percent` of `corrupt`"), "{error}");
        assert!(faults.list().await.unwrap().is_empty());
    }
}
