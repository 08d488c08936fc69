//! `disk-full`: a folder of the targets is a file system of its own, of a stated size, and it is filled to the last block.
//!
//! The replica has it from the start, with what its image has there, and the agent beside the replica has it as well. The agent
//! fills it with a file that has no name, and keeps the time; it is full when the kernel says that nothing is free and refuses a
//! block to the agent, too. What the replica itself frees meanwhile it may use.

use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::join_all;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, sleep};

use super::measured::{Measured, after, nothing_to_heal, receipt};
use super::path::Station;
use super::process::TARGETS;
use super::{Fault, FaultContext, FaultError, Hold, Problem, Receipt, target};
use crate::agent::api::{DiskStatus, FillRequest, Tried, TryRequest};
use crate::byte_size::ByteSize;
use crate::plan::Target;
use crate::system::compose::ComposeFile;
use crate::system::definition::SystemDefinition;
use crate::system::engine::Disk;

/// The least size: what is smaller is full of what the replica itself begins with.
const SIZE_MIN: ByteSize = ByteSize(1_000_000);
/// The greatest: it is memory, and all of it is taken while the fault lasts.
const SIZE_MAX: ByteSize = ByteSize(1_000_000_000);
/// Folders that are the kernel's.
const OF_THE_KERNEL: [&str; 3] = ["/proc", "/sys", "/dev"];
/// The pause between two looks.
const PAUSE: Duration = Duration::from_millis(5);

/// Parameters of `disk-full`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct DiskFull<T> {
    /// The replicas.
    pub targets: Vec<T>,
    /// The folder, an absolute path: from the start it is a file system of its own.
    pub path: String,
    /// How much fits: from `1MB` to `1GB`, in memory.
    pub size: ByteSize,
}

impl<T> DiskFull<T> {
    pub(super) fn map_targets<U, E>(&self, map: &mut dyn FnMut(&str, &T) -> Result<U, E>) -> Result<DiskFull<U>, E> {
        Ok(DiskFull {
            targets: super::map_list(TARGETS, &self.targets, map)?,
            path: self.path.clone(),
            size: self.size,
        })
    }
}

#[async_trait]
impl Fault for DiskFull<Target> {
    fn targets(&self) -> Vec<&Target> {
        self.targets.iter().collect()
    }

    fn disk(&self) -> Option<Disk> {
        Some(Disk {
            path: self.path.clone(),
            size_bytes: self.size.0,
        })
    }

    fn holds(&self) -> Option<Hold> {
        Some(Hold::Disk(self.path.clone()))
    }

    fn describe(&self) -> String {
        format!("fill {} ({}) of {}", self.path, self.size, target::names(&self.targets))
    }

    fn problems(&self) -> Vec<Problem> {
        let mut problems: Vec<Problem> = target::empty_list(TARGETS, &self.targets).into_iter().collect();
        if let Some(message) = wrong_with(&self.path) {
            problems.push(Problem {
                path: "path".to_owned(),
                message,
                hint: "name a folder that the service writes to, for example `/var/journal`".to_owned(),
            });
        }
        if !(SIZE_MIN..=SIZE_MAX).contains(&self.size) {
            problems.push(Problem {
                path: "size".to_owned(),
                message: format!("must be from {SIZE_MIN} to {SIZE_MAX}, is {}", self.size),
                hint: "it is this machine's memory, all of it taken while the fault lasts; 16MB is plenty".to_owned(),
            });
        }
        problems
    }

    fn problems_in(&self, _definition: &SystemDefinition, compose: &ComposeFile) -> Vec<Problem> {
        let is_here = |path: &String| path.trim_end_matches('/') == self.path;
        let mounted = |target: &Target| {
            let (Target::Replicas(ids) | Target::Role { members: ids, .. }) = target;
            let services = ids.iter().filter_map(|id| compose.services.get(&id.service));
            let mut others = services.filter(|service| {
                let mut mounts = service.mounts.iter().map(|mount| &mount.target);
                mounts.any(is_here) || service.tmpfs.keys().any(is_here)
            });
            others.next()
        };
        let service = self.targets.iter().find_map(mounted);
        let problem = |name: &str| Problem {
            path: "path".to_owned(),
            message: format!("is mounted for `{name}` by the Compose file already"),
            hint: "fill a folder below it or another one, or leave that mount out of the Compose file".to_owned(),
        };
        service.map(|service| problem(&service.name)).into_iter().collect()
    }

    async fn inject(&self, context: &FaultContext) -> Result<Receipt, FaultError> {
        let start = Instant::now();
        let replicas = target::resolve(&*context.system, &self.targets).await?;
        let stations = Station::of_all(&*context.system, &replicas)?;
        context.acted.remember(TARGETS, &replicas);
        let filled = join_all(stations.values().map(async |station| {
            let (path, size) = (&self.path, self.size);
            OnDisk { station, path, size }.fill(context, start).await
        }));
        let filled = filled.await.into_iter().collect::<Result<_, _>>()?;
        Ok(receipt(&replicas, filled))
    }

    async fn heal(&self, context: &FaultContext) -> Result<Receipt, FaultError> {
        let replicas = context.acted.list(TARGETS);
        if replicas.is_empty() {
            return Ok(nothing_to_heal());
        }
        let start = Instant::now();
        let stations = Station::of_all(&*context.system, &replicas)?;
        // Every agent is asked, whatever the others answer.
        let emptied = join_all(stations.values().map(async |station| {
            let (path, size) = (&self.path, self.size);
            OnDisk { station, path, size }.empty(context, start).await
        }));
        let emptied: Vec<(bool, Measured)> = emptied.await.into_iter().collect::<Result<_, _>>()?;
        let lapsed = emptied.iter().any(|(lapsed, _)| *lapsed);
        Ok(Receipt {
            lapsed,
            ..receipt(&replicas, emptied.into_iter().map(|(_, measured)| measured).collect())
        })
    }
}

/// Why that path cannot be a file system of its own, if it cannot.
fn wrong_with(path: &str) -> Option<String> {
    if !path.starts_with('/') {
        return Some(format!("must be absolute, is `{path}`"));
    }
    if path == "/" {
        return Some("cannot be the root, without which there is no replica".to_owned());
    }
    let is_plain = |step: &str| !matches!(step, "" | "." | "..") && !step.contains(char::is_control);
    if !path[1..].split('/').all(is_plain) {
        return Some(format!("must have neither empty steps nor `.` and `..`, is `{path}`"));
    }
    let is_in = |folder: &&&str| {
        path.strip_prefix(**folder)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    let of_the_kernel = OF_THE_KERNEL.iter().find(is_in)?;
    Some(format!("cannot be in {of_the_kernel}, which is the kernel's"))
}

/// The disk of one replica.
struct OnDisk<'a> {
    station: &'a Station,
    path: &'a str,
    size: ByteSize,
}

/// What was seen of it at one time.
struct Look {
    status: DiskStatus,
    tried: Tried,
}

impl Look {
    fn is_full(&self) -> bool {
        self.status.free_bytes < self.status.block_bytes && self.tried == Tried::Full
    }

    fn has_space(&self) -> bool {
        self.status.free_bytes >= self.status.block_bytes && self.tried == Tried::Written
    }

    /// `0 of 16003072 bytes free, and a block was refused (ENOSPC)`.
    fn words(&self) -> String {
        let tried = match &self.tried {
            Tried::Written => "was written".to_owned(),
            Tried::Full => "was refused (ENOSPC)".to_owned(),
            Tried::Refused(reason) => format!("was not written ({reason})"),
        };
        let DiskStatus {
            free_bytes,
            total_bytes,
            ..
        } = self.status;
        format!("{free_bytes} of {total_bytes} bytes free, and a block {tried}")
    }
}

impl OnDisk<'_> {
    async fn fill(&self, context: &FaultContext, start: Instant) -> Result<Measured, FaultError> {
        let name = self.name();
        let before = self.look().await?;
        if !before.has_space() {
            let line = format!("{name}: before, {}; nothing was done to it", before.words());
            return Ok(Measured::new(None, line));
        }
        // Without its limit it is the host's own, which nobody asked to fill. A limit is rounded up to a block.
        if before.status.total_bytes > self.size.0.saturating_add(before.status.block_bytes) {
            let line = format!(
                "{name}: before, {}, so that it is not limited to {} on this host; nothing was done to it",
                before.words(),
                self.size
            );
            return Ok(Measured::new(None, line));
        }
        let request = FillRequest {
            path: self.path.to_owned(),
            ttl_ms: context.ttl.as_millis().try_into().unwrap_or(u64::MAX),
        };
        let (id, told) = (context.id.to_string(), Instant::now());
        let mut measured = loop {
            let filled = self.station.agent.fill(&id, &request).await;
            filled.map_err(|error| self.station.failed(error))?;
            let looked = self.look().await?;
            if looked.is_full() || told.elapsed() >= context.patience.cut {
                let onset = looked.is_full().then(|| start.elapsed());
                break Measured::new(onset, format!("{name}: {}{}", looked.words(), after(onset)));
            }
            sleep(PAUSE).await;
        };
        measured.evidence.push(format!("{name}: before, {}", before.words()));
        Ok(measured)
    }

    /// Gives the space back, and looks until it is there; whether that had happened before.
    async fn empty(&self, context: &FaultContext, start: Instant) -> Result<(bool, Measured), FaultError> {
        let name = self.name();
        let emptied = self.station.agent.empty(&context.id.to_string()).await;
        let emptied = emptied.map_err(|error| self.station.failed(error))?;
        let mut measured = loop {
            let looked = self.look().await?;
            if looked.has_space() || start.elapsed() >= context.patience.open {
                let onset = looked.has_space().then(|| start.elapsed());
                break Measured::new(onset, format!("{name}: {}{}", looked.words(), after(onset)));
            }
            sleep(PAUSE).await;
        };
        if !emptied.existed {
            let line = format!(
                "{name}: it was not filled any more before the heal: its time-to-live had passed, or somebody emptied it"
            );
            measured.evidence.insert(0, line);
        }
        Ok((!emptied.existed, measured))
    }

    async fn look(&self) -> Result<Look, FaultError> {
        let station = self.station;
        let path = self.path.to_owned();
        let tried = station.agent.try_block(&TryRequest { path }).await;
        let tried = tried.map_err(|error| station.failed(error))?;
        let disks = station.agent.disks().await.map_err(|error| station.failed(error))?;
        let status = disks.into_iter().find(|disk| disk.path == self.path);
        let status = status.ok_or_else(|| FaultError::Agent {
            replica: station.id.to_string(),
            reason: format!("it has no disk at {}", self.path),
        })?;
        Ok(Look { status, tried })
    }

    /// `api-1:/var/journal`.
    fn name(&self) -> String {
        format!("{}:{}", self.station.id, self.path)
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;
    use std::sync::Arc;

    use super::*;
    use crate::agent::client::{Client, ClientError};
    use crate::agent::disks::space::tests::MemorySpace;
    use crate::agent::disks::{Disks, space::Space};
    use crate::agent::{CONTROL_PORT, server};
    use crate::fault::test_double::{self, Disobedience, FakeSystem, targets};

    const PATH: &str = "/var/journal";

    /// A system whose first replica has this disk, with a true agent's server beside it.
    async fn first() -> (Arc<MemorySpace>, Arc<FakeSystem>) {
        let mut replicas = test_double::addresses();
        let (address, agent) = &mut replicas[0];
        *agent = Some(SocketAddr::from((*address, CONTROL_PORT)));
        let space = Arc::new(MemorySpace::default());
        let shared: Arc<dyn Space> = space.clone();
        let control = server::bind_control(*address).await.unwrap();
        let disks = Disks::new([(PATH.to_owned(), shared)]);
        tokio::spawn(async move { server::serve_disks(&control, std::net::Ipv4Addr::LOCALHOST, disks).await });
        (space, FakeSystem::new(Disobedience::default(), replicas))
    }

    fn disk_full(path: &str, size: u64) -> DiskFull<Target> {
        DiskFull {
            targets: targets(&[1]),
            path: path.to_owned(),
            size: ByteSize(size),
        }
    }

    #[tokio::test]
    async fn a_disk_that_fills_and_empties_is_confirmed_on_and_off() {
        let (space, system) = first().await;
        let (fault, context) = (disk_full(PATH, 16_000_000), system.context());
        let on = fault.inject(&context).await.unwrap();
        assert!(on.confirmed && on.onset_us.is_some(), "{on:?}");
        assert_eq!(space.bytes().unwrap().free, 0);
        assert!(
            on.evidence[0].contains("0 of 65536 bytes free, and a block was refused (ENOSPC)"),
            "{on:?}"
        );
        assert!(
            on.evidence[1].contains("before, 65536 of 65536 bytes free, and a block was written"),
            "{on:?}"
        );
        let off = fault.heal(&context).await.unwrap();
        assert!(off.confirmed && !off.lapsed, "{off:?}");
        assert_eq!(space.bytes().unwrap().free, 65_536);
    }

    #[tokio::test]
    async fn a_disk_that_was_full_before_proves_nothing() {
        let (space, system) = first().await;
        space.fill().unwrap();
        let on = disk_full(PATH, 16_000_000).inject(&system.context()).await.unwrap();
        assert!(
            !on.confirmed && on.evidence[0].contains("nothing was done to it"),
            "{on:?}"
        );
    }

    #[tokio::test]
    async fn one_that_this_host_does_not_limit_is_not_filled() {
        let (space, system) = first().await;
        let on = disk_full(PATH, 61_439).inject(&system.context()).await.unwrap();
        let because = "is not limited to 61.439KB on this host; nothing was done to it";
        assert!(!on.confirmed && on.evidence[0].contains(because), "{on:?}");
        assert_eq!(space.bytes().unwrap().free, 65_536);
        // Its limit is rounded up to a block.
        assert!(
            disk_full(PATH, 61_440)
                .inject(&system.context())
                .await
                .unwrap()
                .confirmed
        );
    }

    #[tokio::test]
    async fn a_disk_that_does_not_fill_or_stays_full_is_not_confirmed() {
        let (space, system) = first().await;
        let (fault, context) = (disk_full(PATH, 16_000_000), system.context());
        space.leave_some(true);
        let on = fault.inject(&context).await.unwrap();
        assert!(
            !on.confirmed && on.evidence[0].contains("a block was written"),
            "{on:?}"
        );
        assert!(fault.heal(&context).await.unwrap().confirmed);

        space.leave_some(false);
        assert!(fault.inject(&context).await.unwrap().confirmed);
        space.stay_full();
        let off = fault.heal(&context).await.unwrap();
        assert!(
            !off.confirmed && off.evidence[0].contains("a block was refused"),
            "{off:?}"
        );
    }

    #[tokio::test]
    async fn a_heal_after_the_end_of_its_time_says_so() {
        let (space, system) = first().await;
        let context = FaultContext {
            ttl: Duration::from_millis(50),
            ..system.context()
        };
        let fault = disk_full(PATH, 16_000_000);
        assert!(fault.inject(&context).await.unwrap().confirmed);
        while space.bytes().unwrap().free == 0 {
            sleep(PAUSE).await;
        }
        let off = fault.heal(&context).await.unwrap();
        assert!(off.confirmed && off.lapsed, "{off:?}");
        assert!(off.evidence[0].contains("time-to-live had passed"), "{off:?}");
    }

    #[tokio::test]
    async fn without_an_agent_or_a_disk_it_cannot_act() {
        let (_space, system) = first().await;
        let context = system.context();
        let elsewhere = disk_full("/tmp", 16_000_000).inject(&context).await.unwrap_err();
        assert!(
            elsewhere.to_string().contains("there is no disk at /tmp"),
            "{elsewhere}"
        );
        let second = DiskFull {
            targets: targets(&[2]),
            ..disk_full(PATH, 16_000_000)
        };
        let error = second.inject(&system.context()).await.unwrap_err();
        assert!(
            matches!(&error, FaultError::Agent { replica, .. } if replica == "api-2"),
            "{error}"
        );
    }

    #[tokio::test]
    async fn only_whoever_is_admitted_may_ask() {
        let (address, _) = test_double::addresses()[0];
        let control = server::bind_control(address).await.unwrap();
        let nobody_here = std::net::Ipv4Addr::new(10, 64, 0, 1);
        tokio::spawn(async move { server::serve_disks(&control, nobody_here, Disks::default()).await });
        let asked = Client::new(SocketAddr::from((address, CONTROL_PORT))).disks().await;
        assert!(matches!(asked, Err(ClientError::Connection(_))), "{asked:?}");
    }

    #[test]
    fn paths_and_sizes_that_cannot_be_are_problems() {
        for path in [
            "journal",
            "/",
            "/var/",
            "/var//journal",
            "/var/../etc",
            "/proc",
            "/dev/shm",
            "/sys/fs",
        ] {
            assert_eq!(disk_full(path, 16_000_000).problems()[0].path, "path", "{path}");
        }
        for size in [999_999, 1_000_000_001] {
            assert_eq!(disk_full(PATH, size).problems()[0].path, "size");
        }
        for path in [PATH, "/processes", "/device"] {
            assert_eq!(disk_full(path, 1_000_000).problems(), [], "{path}");
        }
    }
}
