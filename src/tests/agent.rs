//! The agent as a process, in network namespaces that the tests make: what it drops, what it lets pass, what it admits.

mod emulation;
#[allow(dead_code, reason = "each test that has a lab uses another part of it")]
mod lab;

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::time::Duration;

use lab::{HARNESS, Lab, WITHIN, eventually, possible, spawn_agent, targets, wait_for};
use nightmail::agent::CONTROL_PORT;
use nightmail::agent::api::{Action, CountRequest, FaultRequest, SendRequest};
use nightmail::agent::client::Client;
use nightmail::fault::loss::Loss;
use nightmail::fault::partition::Partition;
use nightmail::fault::{Fault, FaultContext, Patience};
use nightmail::plan::Target;
use nix::sys::signal::Signal;
use nlink::netlink::nftables::{BaseChain, Chain, Family, FilterHook, Policy, Priority, Rule};
use nlink::netlink::{Connection, Nftables, namespace};

const TTL: Duration = Duration::from_secs(60);
const SHORT: Duration = Duration::from_millis(300);

fn cut(from: u32, to: u32, both_ways: bool) -> Partition<Target> {
    Partition {
        from: targets(&[from]),
        to: targets(&[to]),
        both_ways,
    }
}

/// How many of 20 datagrams arrive.
async fn arrive(lab: &Lab, from: usize, to: usize) -> u32 {
    let (from, to) = (&lab.agents[from - 1], &lab.agents[to - 1]);
    let nonce = rand::random();
    let sent = from
        .client()
        .send(&SendRequest {
            nonce,
            to: to.address,
            datagrams: 20,
        })
        .await
        .unwrap();
    assert_eq!(sent.datagrams, 20);
    let count = CountRequest {
        nonce,
        from: from.address,
        datagrams: 20,
        rule: None,
        wait_ms: 300,
    };
    to.client().count(&count).await.unwrap().datagrams
}

async fn rules_of(namespace: &str) -> Connection<Nftables> {
    Connection::new_in(namespace).unwrap()
}

async fn has_table(namespace: &str) -> bool {
    let tables = rules_of(namespace).await.list_tables().await.unwrap();
    tables.iter().any(|table| table.name == "nightmail")
}

#[tokio::test]
async fn a_cut_one_way_drops_one_direction_of_one_pair() {
    if !possible() {
        return;
    }
    let lab = Lab::new(3).await;
    let context = lab.context(1, TTL);
    let fault = cut(1, 2, false);
    let on = fault.inject(&context).await.unwrap();
    assert!(on.confirmed, "{on:#?}");
    assert_eq!(on.replicas, ["n-1", "n-2"]);
    assert_eq!(arrive(&lab, 1, 2).await, 0);
    assert_eq!(arrive(&lab, 2, 1).await, 20);
    assert_eq!(arrive(&lab, 3, 2).await, 20);
    assert_eq!(arrive(&lab, 1, 3).await, 20);

    let held = lab.agents[1].client().faults().await.unwrap();
    assert_eq!((held.len(), held[0].id.as_str()), (1, "1"));
    assert_eq!(held[0].peers[0].address, lab.agents[0].address);
    assert_eq!(
        (held[0].peers[0].probes_seen, held[0].peers[0].dropped),
        (25, 25),
        "5 of the receipt and 20 of ours"
    );
    assert!(lab.agents[0].client().faults().await.unwrap().is_empty());

    let off = fault.heal(&context).await.unwrap();
    assert!(off.confirmed, "{off:#?}");
    assert_eq!(arrive(&lab, 1, 2).await, 20);
    assert!(
        fault.heal(&context).await.unwrap().confirmed,
        "a second heal finds everything well"
    );
}

#[tokio::test]
async fn a_cut_both_ways_drops_both_directions() {
    if !possible() {
        return;
    }
    let lab = Lab::new(3).await;
    let context = lab.context(1, TTL);
    let fault = Partition {
        from: targets(&[1]),
        to: targets(&[2, 3]),
        both_ways: true,
    };
    let on = fault.inject(&context).await.unwrap();
    assert!(on.confirmed, "{on:#?}");
    for (from, to, expected) in [(1, 2, 0), (2, 1, 0), (1, 3, 0), (3, 1, 0), (2, 3, 20), (3, 2, 20)] {
        assert_eq!(arrive(&lab, from, to).await, expected, "{from} -> {to}");
    }
    let off = fault.heal(&context).await.unwrap();
    assert!(off.confirmed, "{off:#?}");
    assert_eq!(off.evidence.len(), 4, "each direction of each pair: {off:#?}");
    assert_eq!(arrive(&lab, 1, 2).await + arrive(&lab, 3, 1).await, 40);
}

#[tokio::test]
async fn a_loss_drops_about_its_share() {
    if !possible() {
        return;
    }
    let lab = Lab::new(2).await;
    for percent in [0.5, 30.0, 95.0] {
        let context = lab.context(1, TTL);
        let fault = Loss {
            from: targets(&[1]),
            to: targets(&[2]),
            both_ways: true,
            percent,
        };
        let on = fault.inject(&context).await.unwrap();
        assert!(on.confirmed, "{percent} %: {on:#?}");
        let off = fault.heal(&context).await.unwrap();
        assert!(off.confirmed, "{percent} %: {off:#?}");
    }
}

#[tokio::test]
async fn an_established_connection_is_cut_and_goes_on_after_the_heal() {
    if !possible() {
        return;
    }
    let lab = Lab::new(2).await;
    let (mut client, mut server) = connection(&lab);
    let mut byte = [0];
    client.write_all(b"a").unwrap();
    server.read_exact(&mut byte).unwrap();

    let context = lab.context(1, TTL);
    let fault = cut(1, 2, false);
    assert!(fault.inject(&context).await.unwrap().confirmed);
    client.write_all(b"b").unwrap();
    server.set_read_timeout(Some(SHORT)).unwrap();
    let starved = server.read_exact(&mut byte).unwrap_err();
    assert!(
        matches!(starved.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut),
        "{starved}"
    );

    assert!(fault.heal(&context).await.unwrap().confirmed);
    // TCP sends it again when its own timer says so.
    server.set_read_timeout(Some(WITHIN)).unwrap();
    server.read_exact(&mut byte).unwrap();
    assert_eq!(&byte, b"b");
}

/// A TCP connection from the first replica to the second.
fn connection(lab: &Lab) -> (TcpStream, TcpStream) {
    let (one, two) = (&lab.agents[0], &lab.agents[1]);
    let listener = namespace::execute_in(&two.namespace, || TcpListener::bind((two.address, 0)))
        .unwrap()
        .unwrap();
    let address = listener.local_addr().unwrap();
    let client = namespace::execute_in(&one.namespace, || TcpStream::connect_timeout(&address, WITHIN)).unwrap();
    (client.unwrap(), listener.accept().unwrap().0)
}

#[tokio::test]
async fn a_fault_ends_by_itself_after_its_client_was_killed() {
    if !possible() {
        return;
    }
    let lab = Lab::new(2).await;
    let mut client = Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "a_client_that_is_to_be_killed"])
        .env("NIGHTMAIL_TEST_AGENT", lab.agents[1].control().to_string())
        .env("NIGHTMAIL_TEST_PEER", lab.agents[0].address.to_string())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let agent = lab.agents[1].client();
    eventually("the fault is in force", async || {
        !agent.faults().await.unwrap().is_empty()
    })
    .await;
    client.kill().unwrap();
    client.wait().unwrap();
    assert_eq!(arrive(&lab, 1, 2).await, 0, "the death of its client ends nothing");
    eventually("the fault has ended", async || agent.faults().await.unwrap().is_empty()).await;
    assert_eq!(arrive(&lab, 1, 2).await, 20);
}

/// Not a test: the process that the test above starts and kills.
#[tokio::test]
#[ignore = "started by another test"]
async fn a_client_that_is_to_be_killed() {
    let Ok(agent) = std::env::var("NIGHTMAIL_TEST_AGENT") else {
        return;
    };
    let peer: Ipv4Addr = std::env::var("NIGHTMAIL_TEST_PEER").unwrap().parse().unwrap();
    let client = Client::new(agent.parse().unwrap());
    let request = FaultRequest {
        peers: vec![peer],
        action: Action::Discard { percent: None },
        ttl_ms: 1_500,
    };
    client.put_fault("1", &request).await.unwrap();
    tokio::time::sleep(WITHIN).await;
}

#[tokio::test]
async fn a_fault_put_again_is_replaced() {
    if !possible() {
        return;
    }
    let lab = Lab::new(3).await;
    let agent = lab.agents[1].client();
    let from = |index: usize| FaultRequest {
        peers: vec![lab.agents[index - 1].address],
        action: Action::Discard { percent: None },
        ttl_ms: 60_000,
    };
    agent.put_fault("1", &from(1)).await.unwrap();
    assert_eq!((arrive(&lab, 1, 2).await, arrive(&lab, 3, 2).await), (0, 20));
    agent.put_fault("1", &from(3)).await.unwrap();
    assert_eq!((arrive(&lab, 1, 2).await, arrive(&lab, 3, 2).await), (20, 0));
    assert_eq!(agent.faults().await.unwrap().len(), 1);
    let removed = agent.remove_fault("1").await.unwrap();
    assert_eq!((removed.existed, removed.peers[0].dropped), (true, 20));
    assert!(!agent.remove_fault("1").await.unwrap().existed);
    assert_eq!(arrive(&lab, 3, 2).await, 20);
}

#[tokio::test]
async fn a_path_that_something_else_closed_is_not_confirmed() {
    if !possible() {
        return;
    }
    let lab = Lab::new(2).await;
    let patience = Patience {
        open: SHORT,
        ..Patience::default()
    };
    let context = FaultContext {
        patience,
        ..lab.context(1, TTL)
    };
    let fault = cut(1, 2, false);
    assert!(fault.inject(&context).await.unwrap().confirmed);
    drop_everything_from(&lab.agents[1].namespace, lab.agents[0].address).await;
    let off = fault.heal(&context).await.unwrap();
    assert!(!off.confirmed && off.onset_us.is_none(), "{off:#?}");

    let again = FaultContext {
        patience,
        ..lab.context(2, TTL)
    };
    let on = fault.inject(&again).await.unwrap();
    assert!(!on.confirmed, "it was closed before: {on:#?}");
}

/// As an administrator's own rule would.
async fn drop_everything_from(namespace: &str, peer: Ipv4Addr) {
    let rules = rules_of(namespace).await;
    let chain = Chain::new("other", "in").unwrap().family(Family::Ip);
    let base = BaseChain::filter(FilterHook::Input, Priority::Filter).policy(Policy::Accept);
    rules.add_table("other", Family::Ip).await.unwrap();
    rules.add_chain(chain.base(base)).await.unwrap();
    let rule = Rule::new("other", "in")
        .family(Family::Ip)
        .match_saddr_v4(peer, 32)
        .drop();
    rules.add_rule(rule).await.unwrap();
}

#[tokio::test]
async fn of_two_faults_on_a_path_each_heals_by_itself() {
    if !possible() {
        return;
    }
    let lab = Lab::new(2).await;
    let (first, second) = (lab.context(1, TTL), lab.context(2, TTL));
    let loss = Loss {
        from: targets(&[1]),
        to: targets(&[2]),
        both_ways: false,
        percent: 30.0,
    };
    assert!(loss.inject(&first).await.unwrap().confirmed);
    let on = cut(1, 2, false).inject(&second).await.unwrap();
    assert!(on.confirmed, "what a loss has left is cut: {on:#?}");
    let off = loss.heal(&first).await.unwrap();
    assert!(
        off.confirmed && off.evidence[0].contains("still held by fault 2"),
        "{off:#?}"
    );
    assert_eq!(arrive(&lab, 1, 2).await, 0);
    assert!(cut(1, 2, false).heal(&second).await.unwrap().confirmed);
    assert_eq!(arrive(&lab, 1, 2).await, 20);
}

#[tokio::test]
async fn the_control_interface_admits_one_address_only() {
    if !possible() {
        return;
    }
    let lab = Lab::new(2).await;
    let (one, two) = (&lab.agents[0], &lab.agents[1]);
    let refused = |from: &str, to: SocketAddr| {
        let connected = namespace::execute_in(from, || TcpStream::connect_timeout(&to, SHORT)).unwrap();
        connected.expect_err("nobody else may connect").kind() == ErrorKind::TimedOut
    };
    assert!(refused(&two.namespace, one.control()), "a neighbour");
    assert!(
        refused(&one.namespace, one.control()),
        "the replica itself, by its address"
    );
    assert!(
        refused(&one.namespace, SocketAddr::from((Ipv4Addr::LOCALHOST, CONTROL_PORT))),
        "the replica itself"
    );
    assert!(
        one.client().faults().await.is_ok(),
        "whoever runs the experiment, at {HARNESS}"
    );

    let rules = rules_of(&one.namespace)
        .await
        .list_rules("nightmail", Family::Ip)
        .await
        .unwrap();
    let guards: Vec<u64> = rules.iter().filter_map(|rule| Some(rule.counter()?.0)).collect();
    assert_eq!(guards.len(), 2);
    assert!(
        guards.iter().all(|packets| *packets > 0),
        "each rule has dropped its own: {guards:?}"
    );
}

#[tokio::test]
async fn nothing_is_left_in_the_kernel_when_the_agent_ends() {
    if !possible() {
        return;
    }
    let mut lab = Lab::new(2).await;
    let elsewhere = FaultRequest {
        peers: vec![Ipv4Addr::new(10, 78, 0, 99)],
        action: Action::Discard { percent: Some(50.0) },
        ttl_ms: 60_000,
    };
    for (agent, signal) in lab.agents.iter_mut().zip([Signal::SIGTERM, Signal::SIGKILL]) {
        agent.client().put_fault("1", &elsewhere).await.unwrap();
        assert!(has_table(&agent.namespace).await);
        let (status, took) = agent.end(signal);
        if signal == Signal::SIGTERM {
            assert!(status.success(), "{status}");
            assert!(took < Duration::from_secs(5), "{took:?}");
        }
        let namespace = agent.namespace.clone();
        eventually("the table is gone", async || !has_table(&namespace).await).await;
    }
}

#[tokio::test]
async fn nonsense_is_refused_with_a_reason() {
    if !possible() {
        return;
    }
    let lab = Lab::new(1).await;
    let agent = lab.agents[0].client();
    let request = FaultRequest {
        peers: Vec::new(),
        action: Action::Discard { percent: None },
        ttl_ms: 1_000,
    };
    assert!(
        agent
            .put_fault("1", &request)
            .await
            .unwrap_err()
            .to_string()
            .contains("peers")
    );
    let request = FaultRequest {
        peers: vec![HARNESS],
        action: Action::Discard { percent: None },
        ttl_ms: 1_000,
    };
    assert!(agent.put_fault("../1", &request).await.is_err());
    assert!(agent.faults().await.unwrap().is_empty());
}

#[tokio::test]
async fn a_holder_holds_until_it_is_told_to_end() {
    let mut holder = Command::new(env!("CARGO_BIN_EXE_nightmail"))
        .args(["agent", "--hold"])
        .spawn()
        .unwrap();
    let status = format!("/proc/{}/status", holder.id());
    // Bit 14 is SIGTERM: it is caught, as the first process of a container must.
    eventually("it listens for SIGTERM", async || {
        caught_signals(&status) & (1 << 14) != 0
    })
    .await;
    assert!(holder.try_wait().unwrap().is_none());
    let pid = nix::unistd::Pid::from_raw(holder.id().try_into().unwrap());
    nix::sys::signal::kill(pid, Signal::SIGTERM).unwrap();
    assert!(wait_for(&mut holder).success());
}

fn caught_signals(status: &str) -> u64 {
    let status = std::fs::read_to_string(status).unwrap();
    let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:")).unwrap();
    u64::from_str_radix(caught.trim(), 16).unwrap()
}

#[tokio::test]
async fn an_agent_without_orders_says_what_it_needs() {
    let output = Command::new(env!("CARGO_BIN_EXE_nightmail"))
        .arg("agent")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("--admit"));
}

#[tokio::test]
async fn an_agent_whose_port_is_taken_says_so() {
    if !possible() {
        return;
    }
    let lab = Lab::new(1).await;
    let mut second = spawn_agent(&lab.agents[0].namespace, &["--admit", &HARNESS.to_string()]);
    assert_eq!(wait_for(&mut second).code(), Some(4));
    assert!(lab.agents[0].client().faults().await.is_ok(), "the first goes on");
}
