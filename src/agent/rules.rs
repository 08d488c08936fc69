//! The kernel's packet filter, as far as the agent uses it.
//!
//! Everything is in one table of our own, owned by the agent's netlink socket, so that the kernel removes it when the
//! agent dies in whatever way. Each fault is a base chain at raw priority: before connection tracking, so that
//! established connections are cut like new ones, and before address translation, so that a peer's packets carry its own
//! address. It is put in force, replaced and removed in one transaction.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use async_trait::async_trait;
use nlink::netlink::nftables::{
    BaseChain, ByteorderOp, Chain, CmpOp, Expr, Family, FilterHook, NFT_REJECT_TCP_RST, NFT_TABLE_F_OWNER, NatHook,
    NumgenKind, Policy, Priority, Register, Rule, RuleExpr, Transaction, Verdict,
};
use nlink::netlink::{Connection, Nftables as Protocol};
use tokio::sync::Mutex;

use super::api::PeerCount;
use super::links::MARK;

const TABLE: &str = "nightmail";
const FAMILY: Family = Family::Ip;
/// Chain that guards the control interface.
const GUARD: &str = "guard";
/// Chain that hands connections to the links.
const LINKS: &str = "links";
/// Before Docker's own chain at this hook, which answers for its resolver.
const LINKS_PRIORITY: i32 = -101;
const TCP: u8 = 6;
/// `numgen` draws from so many numbers: a share is exact to a ten-thousandth of a percent.
const SHARES: u32 = 1_000_000;

/// The packet filter refused.
#[derive(Debug, thiserror::Error)]
#[error("{action}: {reason}")]
pub struct FilterError {
    /// What was asked.
    action: &'static str,
    /// What the kernel said.
    reason: String,
}

impl FilterError {
    /// An action and what was said to it.
    pub fn new(action: &'static str, reason: impl ToString) -> Self {
        Self {
            action,
            reason: reason.to_string(),
        }
    }
}

/// Which packets a fault drops.
#[derive(Debug, Clone, PartialEq)]
pub struct Discard {
    /// Whose.
    pub peers: Vec<Ipv4Addr>,
    /// The share of them; absent means all.
    pub percent: Option<f64>,
}

/// Something that drops packets.
#[async_trait]
pub trait PacketFilter: Send + Sync {
    /// Puts a fault in force; one of the same id is replaced in the same instant, and its counters start again.
    async fn put(&self, id: &str, discard: &Discard) -> Result<(), FilterError>;

    /// Refuses TCP connections that this namespace opens to these peers, but for those with the links' mark, and ends those
    /// that it has; a fault of the same id is replaced.
    async fn refuse(&self, id: &str, peers: &[Ipv4Addr]) -> Result<(), FilterError>;

    /// Lets the packets pass again. Nothing happens if there is no such fault.
    async fn remove(&self, id: &str) -> Result<(), FilterError>;

    /// What has been counted, by fault.
    async fn counters(&self) -> Result<BTreeMap<String, Vec<PeerCount>>, FilterError>;
}

/// The kernel's nf_tables, by netlink.
pub struct Nftables {
    connection: Mutex<Connection<Protocol>>,
    probe_port: u16,
}

impl Nftables {
    /// Makes the table, and lets nobody but `admit` reach TCP port `control_port`. What an earlier agent left in this
    /// namespace is replaced.
    pub async fn install(admit: Ipv4Addr, control_port: u16, probe_port: u16) -> Result<Self, FilterError> {
        let connection = Connection::<Protocol>::new().map_err(|error| FilterError::new("opening netlink", error))?;
        connection
            .del_table_if_exists(TABLE, FAMILY)
            .await
            .map_err(|error| FilterError::new("removing an old table", error))?;
        let guard = chain(GUARD, FilterHook::Input, Priority::Raw)?;
        connection
            .transaction()
            .add_table_with_flags(TABLE, FAMILY, NFT_TABLE_F_OWNER)
            .add_chain(guard)
            // The replica shares this namespace: what it sends to any address of its own comes in by `lo`.
            .add_rule(
                rule(GUARD)
                    .match_iif("lo")
                    .match_tcp_dport(control_port)
                    .counter()
                    .drop(),
            )
            .add_rule(
                rule(GUARD)
                    .match_saddr_v4_not(admit, 32)
                    .match_tcp_dport(control_port)
                    .counter()
                    .drop(),
            )
            .commit(&connection)
            .await
            .map_err(|error| FilterError::new("guarding the control interface", error))?;
        Ok(Self {
            connection: Mutex::new(connection),
            probe_port,
        })
    }

    /// Hands every TCP connection that this namespace opens to one of these peers from now on to that port of its own, but
    /// for those with the links' mark. To be called once.
    pub async fn redirect(&self, peers: &[Ipv4Addr], port: u16) -> Result<(), FilterError> {
        let connection = self.connection.lock().await;
        let hook = BaseChain::nat(NatHook::Output, Priority::Custom(LINKS_PRIORITY)).policy(Policy::Accept);
        let mut transaction = connection.transaction().add_chain(named(LINKS)?.base(hook));
        for peer in peers {
            let redirected = rule(LINKS)
                .match_mark_not(MARK)
                .match_daddr_v4(*peer, 32)
                .match_l4proto(TCP)
                .redirect(Some(port));
            transaction = transaction.add_rule(redirected);
        }
        transaction
            .commit(&connection)
            .await
            .map_err(|error| FilterError::new("handing connections to the links", error))
    }

    /// Removes the table with everything in it.
    pub async fn uninstall(&self) -> Result<(), FilterError> {
        let connection = self.connection.lock().await;
        let removed = connection.del_table_if_exists(TABLE, FAMILY).await;
        removed
            .map(|_existed| ())
            .map_err(|error| FilterError::new("removing the table", error))
    }
}

#[async_trait]
impl PacketFilter for Nftables {
    async fn put(&self, id: &str, discard: &Discard) -> Result<(), FilterError> {
        let connection = self.connection.lock().await;
        let name = chain_name(id);
        // Faults that drop everything come first, so that a share counts what is left to it.
        let priority = match discard.percent {
            None => Priority::Raw,
            Some(_) => Priority::Custom(Priority::Raw.to_i32() + 1),
        };
        let mut transaction = without(&connection, &name).await?;
        transaction = transaction.add_chain(chain(&name, FilterHook::Prerouting, priority)?);
        for peer in &discard.peers {
            let tag = peer.to_string();
            let from_peer = || rule(&name).match_saddr_v4(*peer, 32).comment(&tag);
            transaction = transaction.add_rule(from_peer().match_udp_dport(self.probe_port).counter());
            let chosen = match discard.percent {
                None => from_peer(),
                Some(percent) => drawn(from_peer(), percent),
            };
            transaction = transaction.add_rule(chosen.counter().drop());
        }
        transaction
            .commit(&connection)
            .await
            .map_err(|error| FilterError::new("adding a fault", error))
    }

    async fn refuse(&self, id: &str, peers: &[Ipv4Addr]) -> Result<(), FilterError> {
        let connection = self.connection.lock().await;
        let name = chain_name(id);
        let mut transaction = without(&connection, &name).await?;
        // Before addresses are translated, so that connections through a link are met as well.
        transaction = transaction.add_chain(chain(&name, FilterHook::Output, Priority::Raw)?);
        for peer in peers {
            let refused = rule(&name)
                .match_mark_not(MARK)
                .match_daddr_v4(*peer, 32)
                .match_l4proto(TCP)
                .comment(&peer.to_string())
                .counter()
                .expr(Expr::Reject {
                    reject_type: NFT_REJECT_TCP_RST,
                    icmp_code: 0,
                });
            transaction = transaction.add_rule(refused);
        }
        transaction
            .commit(&connection)
            .await
            .map_err(|error| FilterError::new("adding a fault", error))
    }

    async fn remove(&self, id: &str) -> Result<(), FilterError> {
        let connection = self.connection.lock().await;
        let name = chain_name(id);
        if !has_chain(&connection, &name).await? {
            return Ok(());
        }
        without(&connection, &name)
            .await?
            .commit(&connection)
            .await
            .map_err(|error| FilterError::new("removing a fault", error))
    }

    async fn counters(&self) -> Result<BTreeMap<String, Vec<PeerCount>>, FilterError> {
        let connection = self.connection.lock().await;
        let rules = connection
            .list_rules(TABLE, FAMILY)
            .await
            .map_err(|error| FilterError::new("reading the counters", error))?;
        let mut faults: BTreeMap<String, Vec<PeerCount>> = BTreeMap::new();
        for rule in rules {
            let Some(id) = rule.chain.strip_prefix(CHAIN_PREFIX) else {
                continue;
            };
            let Some(address) = rule.comment_text.as_deref().and_then(|text| text.parse().ok()) else {
                continue;
            };
            let Some((packets, _bytes)) = rule.counter() else {
                continue;
            };
            let counts = faults.entry(id.to_owned()).or_default();
            let stops = rule
                .expressions()
                .iter()
                .any(|part| matches!(part, RuleExpr::Verdict(Verdict::Drop) | RuleExpr::Reject { .. }));
            let position = counts.iter().position(|count| count.address == address);
            let at = position.unwrap_or_else(|| {
                counts.push(PeerCount::none(address));
                counts.len() - 1
            });
            match stops {
                true => counts[at].dropped = packets,
                false => counts[at].probes_seen = packets,
            }
        }
        Ok(faults)
    }
}

const CHAIN_PREFIX: &str = "fault-";

fn chain_name(id: &str) -> String {
    format!("{CHAIN_PREFIX}{id}")
}

fn chain(name: &str, hook: FilterHook, priority: Priority) -> Result<Chain, FilterError> {
    Ok(named(name)?.base(BaseChain::filter(hook, priority).policy(Policy::Accept)))
}

fn named(name: &str) -> Result<Chain, FilterError> {
    let chain = Chain::new(TABLE, name).map_err(|error| FilterError::new("naming a chain", error))?;
    Ok(chain.family(FAMILY))
}

/// A transaction that begins by removing the chain of that name, if there is one.
async fn without(connection: &Connection<Protocol>, name: &str) -> Result<Transaction, FilterError> {
    let transaction = connection.transaction();
    Ok(match has_chain(connection, name).await? {
        true => transaction
            .flush_chain(TABLE, name, FAMILY)
            .del_chain(TABLE, name, FAMILY),
        false => transaction,
    })
}

fn rule(chain: &str) -> Rule {
    Rule::new(TABLE, chain).family(FAMILY)
}

/// The rule goes on for that share of packets: a random number, compared big-endian as the kernel compares.
fn drawn(rule: Rule, percent: f64) -> Rule {
    rule.expr(Expr::Numgen {
        dreg: Register::R0,
        kind: NumgenKind::Random,
        modulus: SHARES,
        offset: 0,
    })
    .expr(Expr::Byteorder {
        sreg: Register::R0,
        dreg: Register::R0,
        op: ByteorderOp::Hton,
        len: 4,
        size: 4,
    })
    .expr(Expr::Cmp {
        sreg: Register::R0,
        op: CmpOp::Lt,
        data: threshold(percent).to_be_bytes().to_vec(),
    })
}

fn threshold(percent: f64) -> u32 {
    // In range by the clamp; rounded so that 0.1 % is 1,000 of a million and not 999.
    (percent.clamp(0.0, 100.0) / 100.0 * f64::from(SHARES)).round() as u32
}

async fn has_chain(connection: &Connection<Protocol>, name: &str) -> Result<bool, FilterError> {
    let chains = connection
        .list_chains_in(TABLE, FAMILY)
        .await
        .map_err(|error| FilterError::new("listing the faults", error))?;
    Ok(chains.iter().any(|chain| chain.name == name))
}

#[cfg(test)]
pub(crate) mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::sync::{Arc, Mutex};

    use super::*;

    /// A filter that remembers what it was told and drops nothing.
    #[derive(Default)]
    pub(crate) struct MemoryFilter {
        faults: Mutex<BTreeMap<String, Discard>>,
        removals_refused: AtomicU32,
    }

    impl MemoryFilter {
        pub(crate) fn shared() -> Arc<Self> {
            Arc::default()
        }

        pub(crate) fn holds(&self, id: &str) -> bool {
            self.faults.lock().unwrap().contains_key(id)
        }

        /// Refuses the next so many removals.
        pub(crate) fn refuse_removals(&self, times: u32) {
            self.removals_refused.store(times, Ordering::Relaxed);
        }
    }

    #[async_trait]
    impl PacketFilter for MemoryFilter {
        async fn put(&self, id: &str, discard: &Discard) -> Result<(), FilterError> {
            self.faults.lock().unwrap().insert(id.to_owned(), discard.clone());
            Ok(())
        }

        async fn refuse(&self, id: &str, peers: &[Ipv4Addr]) -> Result<(), FilterError> {
            let discard = Discard {
                peers: peers.to_vec(),
                percent: None,
            };
            self.put(id, &discard).await
        }

        async fn remove(&self, id: &str) -> Result<(), FilterError> {
            let left = self.removals_refused.load(Ordering::Relaxed);
            if left > 0 {
                self.removals_refused.store(left - 1, Ordering::Relaxed);
                return Err(FilterError::new("removing a fault", "busy"));
            }
            self.faults.lock().unwrap().remove(id);
            Ok(())
        }

        async fn counters(&self) -> Result<BTreeMap<String, Vec<PeerCount>>, FilterError> {
            let faults = self.faults.lock().unwrap();
            let none = |discard: &Discard| discard.peers.iter().copied().map(PeerCount::none).collect();
            Ok(faults.iter().map(|(id, discard)| (id.clone(), none(discard))).collect())
        }
    }

    #[test]
    fn shares_are_rounded_not_cut() {
        assert_eq!(threshold(0.1), 1_000);
        assert_eq!(threshold(30.0), 300_000);
        assert_eq!(threshold(99.9), 999_000);
    }

    #[test]
    fn a_share_is_written_as_nft_writes_it() {
        let rule = drawn(rule("fault-1").match_saddr_v4(Ipv4Addr::new(10, 0, 0, 2), 32), 30.0)
            .counter()
            .drop();
        assert_eq!(
            rule.nft_syntax().as_deref(),
            Some("ip saddr 10.0.0.2 numgen random mod 1000000 < 300000 counter packets 0 bytes 0 drop")
        );
    }
}
