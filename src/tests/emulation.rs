//! The agent's network emulation: with netem where the kernel has it, and what is said where it has not; and the tree
//! around netem with a slow queueing discipline in its place, which most kernels have.

use std::net::Ipv4Addr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use nightmail::agent::api::{Action, Arrival, FaultRequest, TraceRequest, TracedRequest};
use nightmail::agent::netem::control::Rtnetlink;
use nightmail::agent::netem::{Distribution, Emulator, Impairment, Netem};
use nightmail::duration::DurationMs;
use nightmail::fault::packet_corrupt::PacketCorrupt;
use nightmail::fault::packet_duplicate::PacketDuplicate;
use nightmail::fault::packet_latency::PacketLatency;
use nightmail::fault::packet_reorder::PacketReorder;
use nightmail::fault::{Fault, FaultError};
use nightmail::kernel;
use nightmail::plan::Target;
use nix::sys::signal::Signal;
use nlink::netlink::tc::TbfConfig;
use nlink::netlink::{Connection, Route};
use nlink::{Bytes, Rate, TcHandle};

use super::lab::{AgentProcess, HARNESS, Lab, eventually, possible, spawn_agent, targets};

const TTL: Duration = Duration::from_secs(60);
const CORRUPT: Impairment = Impairment::Corrupt { percent: 30.0 };

/// Every fault of network emulation, from the first replica to the second.
fn faults() -> Vec<Box<dyn Fault>> {
    let (from, to) = (targets(&[1]), targets(&[2]));
    let latency = |jitter: Option<u64>, distribution| PacketLatency::<Target> {
        from: from.clone(),
        to: to.clone(),
        both_ways: true,
        latency: DurationMs(60),
        jitter: jitter.map(DurationMs),
        distribution,
    };
    vec![
        Box::new(latency(None, None)),
        Box::new(latency(Some(30), None)),
        Box::new(latency(Some(20), Some(Distribution::Normal))),
        Box::new(latency(Some(20), Some(Distribution::Pareto))),
        Box::new(PacketDuplicate {
            from: from.clone(),
            to: to.clone(),
            both_ways: true,
            percent: 30.0,
        }),
        Box::new(PacketReorder {
            from: from.clone(),
            to: to.clone(),
            both_ways: false,
            percent: 25.0,
            delay: DurationMs(20),
        }),
        Box::new(PacketCorrupt {
            from,
            to,
            both_ways: true,
            percent: 30.0,
        }),
    ]
}

#[tokio::test]
async fn packets_are_spoilt_and_pass_again_or_the_kernel_is_said_to_lack_it() {
    if !possible() {
        return;
    }
    let found = kernel::try_netem(Path::new(env!("CARGO_BIN_EXE_nightmail")));
    let lab = Lab::new(2).await;
    for (id, fault) in (1..).zip(faults()) {
        let context = lab.context(id, TTL);
        let injected = fault.inject(&context).await;
        match &found {
            kernel::Netem::There => {
                let on = injected.unwrap();
                assert!(on.confirmed, "{}: {on:#?}", fault.describe());
                let off = fault.heal(&context).await.unwrap();
                assert!(off.confirmed && !off.lapsed, "{}: {off:#?}", fault.describe());
            }
            kernel::Netem::Missing(said) => {
                let Err(FaultError::Agent { replica, reason }) = injected else {
                    panic!("{} without netem ({said}): {injected:?}", fault.describe());
                };
                assert!(replica == "n-1" || replica == "n-2", "{replica}");
                assert!(reason.contains("`netem`") && reason.contains(said), "{reason}");
                assert!(reason.contains("hint: this kernel lacks it"), "{reason}");
                // As a run does after an error: it undoes what may have been done.
                assert!(fault.heal(&context).await.unwrap().confirmed);
            }
            kernel::Netem::Unknown(reason) => panic!("whoever may run this test may try: {reason}"),
        }
        for agent in &lab.agents {
            assert!(
                agent.client().faults().await.unwrap().is_empty(),
                "{}",
                fault.describe()
            );
            assert_eq!(disciplines(agent).await, Vec::<String>::new(), "{}", fault.describe());
        }
    }
}

/// The queueing disciplines in an agent's namespace that somebody has put there.
async fn disciplines(agent: &AgentProcess) -> Vec<String> {
    let connection = Connection::<Route>::new_in(&agent.namespace).unwrap();
    let disciplines = connection.get_qdiscs().await.unwrap();
    let kinds = disciplines.iter().filter(|found| found.handle_raw() != 0);
    kinds.map(|found| found.kind().unwrap_or_default().to_owned()).collect()
}

/// Emulation in an agent's namespace that sends packets at a megabit a second, whatever it is asked for.
fn slow(agent: &AgentProcess) -> Netem {
    let connection = Connection::<Route>::new_in(&agent.namespace).unwrap();
    Netem::new(Arc::new(Rtnetlink::with_leaf(connection, |_| {
        let mut bucket = TbfConfig::new().rate(Rate::mbit(1)).burst(Bytes::kb(2));
        bucket.limit = Bytes::mb(1);
        Box::new(bucket)
    })))
}

const NONCE: u64 = 7;
const DATAGRAMS: u32 = 60;

/// Sends so many numbered datagrams, without waiting for them.
async fn send(from: &AgentProcess, to: &AgentProcess, nonce: u64) {
    let request = TraceRequest {
        nonce,
        to: to.address,
        first: 0,
        datagrams: DATAGRAMS,
    };
    assert_eq!(from.client().trace(&request).await.unwrap().datagrams, DATAGRAMS);
}

/// Those that have arrived, once all have.
async fn arrived(from: &AgentProcess, to: &AgentProcess, nonce: u64) -> Vec<Arrival> {
    let request = TracedRequest {
        nonce,
        from: from.address,
        skip: 0,
        datagrams: DATAGRAMS,
        wait_ms: 1_000,
    };
    to.client().traced(&request).await.unwrap().arrivals
}

/// How long the last of the datagrams was on its way. At a megabit a second each takes more than four milliseconds, and
/// waits for those before it.
async fn last_transit(from: &AgentProcess, to: &AgentProcess, nonce: u64) -> Duration {
    send(from, to, nonce).await;
    let arrivals = arrived(from, to, nonce).await;
    assert_eq!(arrivals.len(), DATAGRAMS as usize);
    let last = arrivals.iter().map(|arrival| arrival.transit_us).max().unwrap();
    Duration::from_micros(u64::try_from(last).unwrap())
}

#[tokio::test]
async fn only_packets_to_the_named_peers_are_met_and_several_faults_at_once() {
    if !possible() {
        return;
    }
    let lab = Lab::new(4).await;
    let [one, two, three, four] = lab.agents.as_slice() else {
        panic!("four replicas");
    };
    let netem = slow(one);
    netem.put("1", &[two.address], &CORRUPT).await.unwrap();
    let two_ways = Impairment::Duplicate { percent: 1.0 };
    netem.put("2", &[three.address, two.address], &two_ways).await.unwrap();
    let is_slow = |transit: Duration| transit > Duration::from_millis(150);
    assert!(is_slow(last_transit(one, two, 1).await));
    assert!(is_slow(last_transit(one, three, 2).await));
    assert!(!is_slow(last_transit(one, four, 3).await), "nobody named it");
    assert!(!is_slow(last_transit(two, one, 4).await), "the way back is free");

    netem.remove("2").await.unwrap();
    assert!(is_slow(last_transit(one, two, 5).await), "the first is still in force");
    assert!(!is_slow(last_transit(one, three, 6).await));
    netem.remove("1").await.unwrap();
    assert!(!is_slow(last_transit(one, two, 7).await));
    assert_eq!(disciplines(one).await, Vec::<String>::new());
}

#[tokio::test]
async fn packets_that_wait_when_a_fault_ends_are_not_lost() {
    if !possible() {
        return;
    }
    let lab = Lab::new(2).await;
    let (one, two) = (&lab.agents[0], &lab.agents[1]);
    let netem = slow(one);
    netem.put("1", &[two.address], &CORRUPT).await.unwrap();
    send(one, two, NONCE).await;
    netem.remove("1").await.unwrap();
    assert_eq!(arrived(one, two, NONCE).await.len(), DATAGRAMS as usize);
    assert_eq!(disciplines(one).await, Vec::<String>::new());
}

#[tokio::test]
async fn an_agent_clears_what_is_its_kind_and_leaves_the_rest() {
    if !possible() {
        return;
    }
    let mut lab = Lab::new(1).await;
    let peer = Ipv4Addr::new(10, 78, 0, 99);
    let agent = &mut lab.agents[0];
    slow(agent).put("1", &[peer], &CORRUPT).await.unwrap();
    agent.end(Signal::SIGKILL);
    assert_eq!(
        disciplines(agent).await,
        ["htb", "tbf"],
        "unlike the packet filter's table, they stay"
    );

    let mut next = spawn_agent(&agent.namespace, &["--admit", &HARNESS.to_string()]);
    agent.answers().await;
    assert_eq!(
        disciplines(agent).await,
        Vec::<String>::new(),
        "the next agent clears them"
    );
    slow(agent).put("1", &[peer], &CORRUPT).await.unwrap();
    let end = |child: &std::process::Child, signal| {
        let pid = nix::unistd::Pid::from_raw(child.id().try_into().unwrap());
        nix::sys::signal::kill(pid, signal).unwrap();
    };
    end(&next, Signal::SIGTERM);
    assert!(super::wait_for(&mut next).success());
    assert_eq!(
        disciplines(agent).await,
        Vec::<String>::new(),
        "and so does an orderly end"
    );

    let somebodys = Connection::<Route>::new_in(&agent.namespace).unwrap();
    let mut bucket = TbfConfig::new().rate(Rate::mbit(100)).burst(Bytes::kb(20));
    bucket.limit = Bytes::mb(1);
    let handle = Some(TcHandle::major_only(7));
    somebodys
        .add_qdisc_full("eth0", TcHandle::ROOT, handle, bucket)
        .await
        .unwrap();
    let mut next = spawn_agent(&agent.namespace, &["--admit", &HARNESS.to_string()]);
    agent.answers().await;
    let error = slow(agent).put("1", &[peer], &CORRUPT).await.unwrap_err().to_string();
    assert!(error.contains("`htb`"), "{error}");
    end(&next, Signal::SIGTERM);
    assert!(super::wait_for(&mut next).success());
    assert_eq!(
        disciplines(agent).await,
        ["tbf"],
        "somebody else's is in the way, and stays"
    );
}

#[tokio::test]
async fn nonsense_is_refused_before_the_kernel_is_asked() {
    if !possible() {
        return;
    }
    let lab = Lab::new(1).await;
    let request = FaultRequest {
        peers: vec![HARNESS],
        action: Action::Impair(Impairment::Duplicate { percent: 100.0 }),
        ttl_ms: 1_000,
    };
    let error = lab.agents[0].client().put_fault("1", &request).await.unwrap_err();
    assert!(error.to_string().contains("`percent` of `duplicate`"), "{error}");
    eventually("the agent goes on", async || {
        lab.agents[0].client().faults().await.is_ok()
    })
    .await;
}
