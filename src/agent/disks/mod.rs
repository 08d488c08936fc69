//! File systems that the agent shares with its replica: filled to the last block for a time, and given back.
//!
//! What a disk is [`space`] knows; here is what fills it by which name, and the end that each filling has by itself.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::api::{DiskStatus, Emptied, FillRequest, TTL_MAX_MS, Tried};

pub mod space;

use space::Space;

/// The pause before another try, where a disk would not be emptied when its time had passed.
const RETRY: Duration = Duration::from_millis(100);

/// A file system: where the replica has it, and where the agent has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mounted {
    /// By this path it is known.
    pub path: String,
    /// The agent's own folder.
    pub folder: PathBuf,
}

impl FromStr for Mounted {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.rsplit_once('=') {
            Some((path, folder)) if path.starts_with('/') && folder.starts_with('/') => Ok(Self {
                path: path.to_owned(),
                folder: folder.into(),
            }),
            _ => Err(format!("`{text}` is no disk; write for example `/var/journal=/disk/0`")),
        }
    }
}

/// Why a disk was not filled, emptied or looked at.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// The request makes no sense.
    #[error("{0}")]
    Request(String),
    /// The kernel would not.
    #[error("the file system at {path}: {source}")]
    Space {
        /// Where the replica has it.
        path: String,
        /// What the kernel said.
        source: std::io::Error,
    },
}

/// The disks.
#[derive(Default)]
pub struct Disks {
    disks: BTreeMap<String, Arc<Disk>>,
}

struct Disk {
    path: String,
    space: Arc<dyn Space>,
    held: Mutex<Held>,
}

#[derive(Default)]
struct Held {
    filling: Option<Filling>,
    /// Tells a filling from an earlier one of the same id, whose time may be up at this very moment.
    generation: u64,
}

struct Filling {
    id: String,
    generation: u64,
    until: Instant,
    expiry: JoinHandle<()>,
}

impl Drop for Filling {
    fn drop(&mut self) {
        self.expiry.abort();
    }
}

impl Disks {
    /// These, by the paths where the replica has them. None is filled.
    pub fn new(spaces: impl IntoIterator<Item = (String, Arc<dyn Space>)>) -> Self {
        let disk = |(path, space): (String, _)| {
            let held = Mutex::default();
            (path.clone(), Arc::new(Disk { path, space, held }))
        };
        Self {
            disks: spaces.into_iter().map(disk).collect(),
        }
    }

    /// Fills a disk to the last block. Whoever filled it already may do so again: for what has been freed since, and for a new
    /// time.
    pub async fn fill(&self, id: &str, request: &FillRequest) -> Result<DiskStatus, Refused> {
        let disk = self.of(&request.path)?;
        if request.ttl_ms == 0 || request.ttl_ms > TTL_MAX_MS {
            return Err(Refused::Request(format!(
                "`ttl_ms` must be from 1 to {TTL_MAX_MS}, is {}",
                request.ttl_ms
            )));
        }
        let mut held = disk.held.lock().await;
        if let Some(other) = held.filling.as_ref().filter(|filling| filling.id != id) {
            return Err(Refused::Request(format!(
                "{} is filled already, by {}",
                disk.path, other.id
            )));
        }
        held.generation += 1;
        let generation = held.generation;
        let until = Instant::now() + Duration::from_millis(request.ttl_ms);
        // The end is arranged before the beginning: whoever asked may be gone before it has been filled.
        held.filling = Some(Filling {
            id: id.to_owned(),
            generation,
            until,
            expiry: tokio::spawn(expire(disk.clone(), generation, until)),
        });
        if let Err(error) = disk.blocking(|space| space.fill()).await {
            disk.blocking(|space| space.empty()).await?;
            held.filling = None;
            return Err(error);
        }
        disk.status(&held)
    }

    /// Gives back what that id has filled, wherever that is.
    pub async fn empty(&self, id: &str) -> Result<Emptied, Refused> {
        for disk in self.disks.values() {
            let mut held = disk.held.lock().await;
            if held.filling.as_ref().is_some_and(|filling| filling.id == id) {
                disk.blocking(|space| space.empty()).await?;
                held.filling = None;
                return Ok(Emptied { existed: true });
            }
        }
        Ok(Emptied { existed: false })
    }

    /// How they are.
    pub async fn list(&self) -> Result<Vec<DiskStatus>, Refused> {
        let mut list = Vec::new();
        for disk in self.disks.values() {
            list.push(disk.status(&*disk.held.lock().await)?);
        }
        Ok(list)
    }

    /// Writes a block, and takes it back.
    pub async fn try_block(&self, path: &str) -> Result<Tried, Refused> {
        let disk = self.of(path)?;
        let _held = disk.held.lock().await;
        Ok(match disk.space.try_block() {
            Ok(()) => Tried::Written,
            Err(error) if error.kind() == std::io::ErrorKind::StorageFull => Tried::Full,
            Err(error) => Tried::Refused(error.to_string()),
        })
    }

    fn of(&self, path: &str) -> Result<&Arc<Disk>, Refused> {
        self.disks
            .get(path)
            .ok_or_else(|| Refused::Request(format!("there is no disk at {path}")))
    }
}

impl Disk {
    /// Does what takes its time without holding everything else up.
    async fn blocking(
        &self,
        act: impl FnOnce(&dyn Space) -> std::io::Result<()> + Send + 'static,
    ) -> Result<(), Refused> {
        let space = self.space.clone();
        let done = tokio::task::spawn_blocking(move || act(&*space)).await;
        done.unwrap_or_else(|error| Err(std::io::Error::other(error)))
            .map_err(|source| self.refused(source))
    }

    fn status(&self, held: &Held) -> Result<DiskStatus, Refused> {
        let bytes = self.space.bytes().map_err(|source| self.refused(source))?;
        let left = |filling: &Filling| filling.until.saturating_duration_since(Instant::now());
        Ok(DiskStatus {
            path: self.path.clone(),
            total_bytes: bytes.total,
            free_bytes: bytes.free,
            block_bytes: bytes.block,
            filled_by: held.filling.as_ref().map(|filling| filling.id.clone()),
            ttl_left_ms: held
                .filling
                .as_ref()
                .map(|filling| left(filling).as_millis().try_into().unwrap_or(u64::MAX)),
        })
    }

    fn refused(&self, source: std::io::Error) -> Refused {
        Refused::Space {
            path: self.path.clone(),
            source,
        }
    }
}

/// Empties a disk when its time has passed.
async fn expire(disk: Arc<Disk>, generation: u64, until: Instant) {
    tokio::time::sleep_until(until).await;
    loop {
        let mut held = disk.held.lock().await;
        if held
            .filling
            .as_ref()
            .is_none_or(|filling| filling.generation != generation)
        {
            return;
        }
        if disk.blocking(|space| space.empty()).await.is_ok() {
            held.filling = None;
            return;
        }
        drop(held);
        tokio::time::sleep(RETRY).await;
    }
}

#[cfg(test)]
mod tests {
    use super::space::tests::MemorySpace;
    use super::*;

    fn disks() -> (Disks, Arc<MemorySpace>) {
        let space = Arc::new(MemorySpace::default());
        let shared: Arc<dyn Space> = space.clone();
        (Disks::new([("/var/journal".to_owned(), shared)]), space)
    }

    fn request(ttl_ms: u64) -> FillRequest {
        FillRequest {
            path: "/var/journal".to_owned(),
            ttl_ms,
        }
    }

    #[tokio::test]
    async fn a_disk_is_full_until_it_is_emptied() {
        let (disks, _space) = disks();
        assert_eq!(disks.try_block("/var/journal").await.unwrap(), Tried::Written);
        let filled = disks.fill("3", &request(60_000)).await.unwrap();
        assert_eq!((filled.free_bytes, filled.filled_by.as_deref()), (0, Some("3")));
        assert_eq!(disks.try_block("/var/journal").await.unwrap(), Tried::Full);
        assert!(!disks.empty("4").await.unwrap().existed, "another's");
        assert!(disks.empty("3").await.unwrap().existed);
        assert!(!disks.empty("3").await.unwrap().existed, "once");
        assert_eq!(disks.try_block("/var/journal").await.unwrap(), Tried::Written);
        let status = &disks.list().await.unwrap()[0];
        assert_eq!((status.free_bytes, &status.filled_by), (status.total_bytes, &None));
    }

    #[tokio::test]
    async fn a_filling_ends_with_its_time_and_a_later_one_of_the_same_id_has_a_new_one() {
        let (disks, space) = disks();
        let began = Instant::now();
        disks.fill("3", &request(20)).await.unwrap();
        disks.fill("3", &request(200)).await.unwrap();
        while disks.list().await.unwrap()[0].filled_by.is_some() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        assert!(began.elapsed() >= Duration::from_millis(200), "{:?}", began.elapsed());
        assert!(space.bytes().unwrap().free > 0);
        assert!(!disks.empty("3").await.unwrap().existed);
    }

    #[tokio::test]
    async fn what_makes_no_sense_is_refused_and_what_fails_is_given_back() {
        let (disks, space) = disks();
        let elsewhere = FillRequest {
            path: "/var".to_owned(),
            ..request(1_000)
        };
        for wrong in [request(0), request(TTL_MAX_MS + 1), elsewhere] {
            let refused = disks.fill("3", &wrong).await;
            assert!(matches!(refused, Err(Refused::Request(_))), "{wrong:?}");
        }
        disks.fill("3", &request(1_000)).await.unwrap();
        let refused = disks.fill("4", &request(1_000)).await.unwrap_err().to_string();
        assert_eq!(refused, "/var/journal is filled already, by 3");
        disks.empty("3").await.unwrap();
        space.fail();
        let failed = disks.fill("3", &request(1_000)).await.unwrap_err().to_string();
        assert!(failed.starts_with("the file system at /var/journal: "), "{failed}");
        assert_eq!(disks.list().await.unwrap()[0].filled_by, None);
        assert!(space.bytes().unwrap().free > 0);
    }

    #[test]
    fn a_disk_is_told_by_both_of_its_places() {
        let mounted: Mounted = "/var/a=b=/disk/0".parse().unwrap();
        assert_eq!((mounted.path.as_str(), mounted.folder), ("/var/a=b", "/disk/0".into()));
        for wrong in ["/var/journal", "journal=/disk/0", "/var/journal=0"] {
            assert!(wrong.parse::<Mounted>().is_err(), "{wrong}");
        }
    }
}
