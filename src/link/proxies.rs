//! All proxies of one process.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::carrier::Carrier;
use super::proxy::{Proxy, Reach};
use super::random::Purpose;

/// The most proxies at once.
const PROXIES_MAX: usize = 1_024;

/// Proxies, by name.
#[derive(Debug)]
pub struct Proxies {
    by_name: Mutex<BTreeMap<String, Arc<Proxy>>>,
    carrier: Carrier,
    purpose: Purpose,
    reach: Reach,
}

/// Why a proxy was not added.
#[derive(Debug, thiserror::Error)]
pub enum AddError {
    /// The name is taken.
    #[error("proxy already exists")]
    Exists,
    /// There are too many.
    #[error("there are {PROXIES_MAX} proxies, which is the most")]
    TooMany,
    /// It cannot listen.
    #[error("{0}")]
    Io(#[from] io::Error),
}

impl Proxies {
    /// None yet. All draws come from `seed`.
    pub fn new(carrier: Carrier, seed: u64, reach: Reach) -> Arc<Self> {
        Arc::new(Self {
            by_name: Mutex::default(),
            carrier,
            purpose: Purpose::new(seed),
            reach,
        })
    }

    fn by_name(&self) -> MutexGuard<'_, BTreeMap<String, Arc<Proxy>>> {
        self.by_name.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All of them, by name.
    pub fn all(&self) -> Vec<Arc<Proxy>> {
        self.by_name().values().cloned().collect()
    }

    /// The one of that name.
    pub fn get(&self, name: &str) -> Option<Arc<Proxy>> {
        self.by_name().get(name).cloned()
    }

    /// Adds a proxy, and lets it listen if it is to.
    pub async fn add(
        &self,
        name: String,
        listen: String,
        upstream: String,
        enabled: bool,
    ) -> Result<Arc<Proxy>, AddError> {
        let proxy = Proxy::new(
            name.clone(),
            listen,
            upstream,
            self.purpose,
            self.carrier.clone(),
            self.reach,
        );
        {
            let mut by_name = self.by_name();
            if by_name.contains_key(&name) {
                return Err(AddError::Exists);
            }
            if by_name.len() >= PROXIES_MAX {
                return Err(AddError::TooMany);
            }
            // Its name is taken from here on, so that nobody else listens in its place.
            by_name.insert(name.clone(), proxy.clone());
        }
        if enabled && let Err(error) = proxy.start().await {
            self.by_name().remove(&name);
            return Err(error.into());
        }
        Ok(proxy)
    }

    /// Adds a proxy that is handed its connections; one of the same name is replaced.
    pub fn add_redirected(&self, name: String, upstream: String) -> Arc<Proxy> {
        let proxy = Proxy::redirected(name.clone(), upstream, self.purpose, self.carrier.clone());
        self.by_name().insert(name, proxy.clone());
        proxy
    }

    /// Takes a proxy away with all its connections. Whether there was one.
    pub async fn remove(&self, name: &str) -> bool {
        let removed = self.by_name().remove(name);
        match removed {
            Some(proxy) => {
                proxy.stop().await;
                true
            }
            None => false,
        }
    }
}
