//! The faults in force, and the end that each of them has by itself.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::api::{Action, FaultRequest, FaultStatus, PEERS_MAX, PeerCount, Removed, Spoil, TTL_MAX_MS};
use super::links::Links;
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
    links: Arc<Links>,
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
    request: FaultRequest,
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
    pub fn new(filter: Arc<dyn PacketFilter>, links: Arc<Links>) -> Arc<Self> {
        Self::of(filter, links, None)
    }

    /// None yet, of any kind.
    pub fn with_emulator(filter: Arc<dyn PacketFilter>, links: Arc<Links>, emulator: Arc<dyn Emulator>) -> Arc<Self> {
        Self::of(filter, links, Some(emulator))
    }

    fn of(filter: Arc<dyn PacketFilter>, links: Arc<Links>, emulator: Option<Arc<dyn Emulator>>) -> Arc<Self> {
        Arc::new(Self {
            filter,
            links,
            emulator,
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
        if let Some(before) = held.faults.get(id)
            && enforcer(&before.request) != enforcer(&request)
        {
            return Err(Refused::Request(format!("fault {id} is of another kind; end it first")));
        }
        held.generation += 1;
        let generation = held.generation;
        let until = Instant::now() + Duration::from_millis(request.ttl_ms);
        // The end is arranged before the beginning: whoever asked may be gone before anything has taken hold.
        let expiry = tokio::spawn(self.clone().expire(id.to_owned(), generation, until));
        let replaced = held.faults.insert(
            id.to_owned(),
            Fault {
                generation,
                request: request.clone(),
                until,
                expiry,
            },
        );
        if let Err(error) = self
            .begin(id, &request, replaced.map(|fault| fault.request.clone()))
            .await
        {
            held.faults.remove(id);
            self.end(id, &request).await?;
            return Err(error);
        }
        drop(held);
        Ok(FaultStatus {
            id: id.to_owned(),
            peers: self.met(id, &request).await?,
            action: request.action,
            ttl_left_ms: left_ms(until),
        })
    }

    async fn begin(&self, id: &str, request: &FaultRequest, replaced: Option<FaultRequest>) -> Result<(), Refused> {
        let peers = request.peers.clone();
        match &request.action {
            Action::Discard { percent } => {
                let discard = Discard {
                    peers,
                    percent: *percent,
                };
                Ok(self.filter.put(id, &discard).await?)
            }
            Action::Impair(impairment) => match &self.emulator {
                Some(emulator) => Ok(emulator.put(id, &peers, impairment).await?),
                None => Err(Refused::Request("this agent has no network emulation".to_owned())),
            },
            Action::Refuse => {
                self.filter.refuse(id, &peers).await?;
                self.links.close_connections(&peers);
                Ok(())
            }
            Action::Spoil(spoil) => {
                let others: Vec<_> = replaced.into_iter().flat_map(|replaced| replaced.peers).collect();
                let gone: Vec<_> = others.into_iter().filter(|peer| !peers.contains(peer)).collect();
                self.links.restore(&toxic_name(id), &gone).await;
                let spoiled = self.links.spoil(&toxic_name(id), &peers, spoil).await;
                spoiled.map_err(Refused::Request)
            }
        }
    }

    /// What a fault of a link had met, if there was one: packets are counted by the filter, as long as the rule stands.
    async fn end(&self, id: &str, request: &FaultRequest) -> Result<Option<Vec<PeerCount>>, Refused> {
        match request.action {
            Action::Impair(_) => {
                if let Some(emulator) = &self.emulator {
                    emulator.remove(id).await?;
                }
                Ok(None)
            }
            Action::Spoil(_) => Ok(Some(self.links.restore(&toxic_name(id), &request.peers).await)),
            Action::Discard { .. } | Action::Refuse => {
                self.filter.remove(id).await?;
                Ok(None)
            }
        }
    }

    /// What a fault has met.
    async fn met(&self, id: &str, request: &FaultRequest) -> Result<Vec<PeerCount>, FilterError> {
        match request.action {
            Action::Spoil(_) => Ok(self.links.counts(&toxic_name(id))),
            Action::Impair(_) => Ok(uncounted(&request.peers)),
            Action::Discard { .. } | Action::Refuse => self.counters_of(id).await,
        }
    }

    /// Ends a fault.
    pub async fn remove(&self, id: &str) -> Result<Removed, Refused> {
        let mut held = self.held.lock().await;
        let Some(request) = held.faults.get(id).map(|fault| fault.request.clone()) else {
            // A rule that nobody here knows of has no end of its own.
            self.filter.remove(id).await?;
            return Ok(Removed {
                existed: false,
                peers: Vec::new(),
            });
        };
        let counted = self.met(id, &request).await?;
        let ended = self.end(id, &request).await?;
        held.faults.remove(id);
        Ok(Removed {
            // Somebody may have taken the toxic away by hand.
            existed: ended.as_ref().is_none_or(|ended| ended.len() == request.peers.len()),
            peers: ended.unwrap_or(counted),
        })
    }

    /// Those in force.
    pub async fn list(&self) -> Result<Vec<FaultStatus>, Refused> {
        let held = self.held.lock().await;
        let mut counters = self.filter.counters().await?;
        let status = |(id, fault): (&String, &Fault)| FaultStatus {
            id: id.clone(),
            action: fault.request.action.clone(),
            ttl_left_ms: left_ms(fault.until),
            peers: match fault.request.action {
                Action::Spoil(_) => self.links.counts(&toxic_name(id)),
                Action::Impair(_) => uncounted(&fault.request.peers),
                _ => counters.remove(id).unwrap_or_default(),
            },
        };
        Ok(held.faults.iter().map(status).collect())
    }

    /// What the filter has counted for a fault; empty if there is none.
    pub async fn counters_of(&self, id: &str) -> Result<Vec<PeerCount>, FilterError> {
        Ok(self.filter.counters().await?.remove(id).unwrap_or_default())
    }

    async fn expire(self: Arc<Self>, id: String, generation: u64, until: Instant) {
        tokio::time::sleep_until(until).await;
        loop {
            let mut held = self.held.lock().await;
            let Some(fault) = held.faults.get(&id).filter(|fault| fault.generation == generation) else {
                return;
            };
            let request = fault.request.clone();
            if self.end(&id, &request).await.is_ok() {
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
        Action::Spoil(spoil) => check_spoil(spoil),
        Action::Impair(impairment) => impairment.problem().map_or(Ok(()), refuse),
        Action::Discard { .. } | Action::Refuse => Ok(()),
    }
}

fn check_spoil(spoil: &Spoil) -> Result<(), Refused> {
    if !(0.0..=1.0).contains(&spoil.toxicity) {
        return Err(Refused::Request(format!(
            "`toxicity` must be from 0 to 1, is {}",
            spoil.toxicity
        )));
    }
    match spoil.toxic.behaviour().problem() {
        Some(problem) => Err(Refused::Request(problem.to_string())),
        None => Ok(()),
    }
}

/// Who puts a fault in force. One cannot replace what another holds.
#[derive(PartialEq)]
enum Enforcer {
    Filter,
    Emulator,
    Links,
}

fn enforcer(request: &FaultRequest) -> Enforcer {
    match request.action {
        Action::Discard { .. } | Action::Refuse => Enforcer::Filter,
        Action::Impair(_) => Enforcer::Emulator,
        Action::Spoil(_) => Enforcer::Links,
    }
}

/// Of packets that are impaired nothing is counted.
fn uncounted(peers: &[std::net::Ipv4Addr]) -> Vec<PeerCount> {
    peers.iter().copied().map(PeerCount::none).collect()
}

/// Under this name a fault's toxic is seen on its links.
fn toxic_name(id: &str) -> String {
    format!("fault-{id}")
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
    use std::net::Ipv4Addr;

    use super::*;
    use crate::agent::netem::tests::{MemoryEmulator, Recorder};
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

    fn faults(filter: Arc<MemoryFilter>) -> Arc<Faults> {
        Faults::new(filter, Links::new(&[], 1).unwrap())
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
        let faults = faults(filter.clone());
        faults.put("1", request(100)).await.unwrap();
        assert!(gone(&filter, "1").await >= Duration::from_millis(90));
        assert!(faults.list().await.unwrap().is_empty());
    }

    #[tokio::test]
    async fn a_repeated_put_counts_its_time_anew() {
        let filter = MemoryFilter::shared();
        let faults = faults(filter.clone());
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
        let faults = faults(filter.clone());
        filter.refuse_removals(2);
        faults.put("1", request(50)).await.unwrap();
        assert!(gone(&filter, "1").await >= Duration::from_millis(50) + 2 * RETRY - Duration::from_millis(10));
    }

    #[tokio::test]
    async fn removing_is_idempotent() {
        let faults = faults(MemoryFilter::shared());
        faults.put("1", request(60_000)).await.unwrap();
        assert!(faults.remove("1").await.unwrap().existed);
        assert!(!faults.remove("1").await.unwrap().existed);
    }

    #[tokio::test]
    async fn nonsense_is_refused() {
        let faults = faults(MemoryFilter::shared());
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

    fn emulating(emulator: Arc<dyn Emulator>) -> Arc<Faults> {
        Faults::with_emulator(MemoryFilter::shared(), Links::new(&[], 1).unwrap(), emulator)
    }

    #[tokio::test]
    async fn a_fault_of_another_kind_does_not_take_the_place_of_one_with_its_id() {
        let emulator = MemoryEmulator::shared();
        let faults = emulating(emulator.clone());
        faults.put("1", request(60_000)).await.unwrap();
        let error = faults.put("1", corrupt(60_000)).await.unwrap_err().to_string();
        assert!(error.contains("of another kind"), "{error}");
        assert!(!emulator.holds("1"));
        assert!(faults.remove("1").await.unwrap().existed);
        let status = faults.put("1", corrupt(60_000)).await.unwrap();
        assert_eq!(status.peers[0].address, PEER);
        assert!(emulator.holds("1"));
    }

    #[tokio::test]
    async fn what_is_impaired_ends_by_itself_or_by_a_removal() {
        let emulator = MemoryEmulator::shared();
        let faults = emulating(emulator.clone());
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
        let faults = emulating(Arc::new(Netem::new(Recorder::without_netem())));
        let error = faults.put("1", corrupt(60_000)).await.unwrap_err();
        assert!(matches!(error, Refused::Netem(_)), "{error}");
        assert!(faults.list().await.unwrap().is_empty());
    }

    #[tokio::test]
    async fn an_agent_without_emulation_refuses_to_impair() {
        let faults = faults(MemoryFilter::shared());
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
