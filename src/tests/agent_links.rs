//! Links beside a replica, in network namespaces that the tests make: what the kernel hands to the agent, what each fault
//! does to it, and how that is seen.

#[allow(dead_code, reason = "each test that has a lab uses another part of it")]
mod lab;

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use lab::{Lab, WITHIN, eventually, possible, targets};
use nightmail::agent::LINK_PORT;
use nightmail::agent::api::{Action, FaultRequest, Spoil};
use nightmail::fault::blackhole::Blackhole;
use nightmail::fault::latency::Latency;
use nightmail::fault::link_down::LinkDown;
use nightmail::fault::partition::Partition;
use nightmail::fault::{Fault, FaultContext, FaultSpec, Patience};
use nightmail::link::chain::{Direction, Per};
use nightmail::link::toxic::{Kind, latency};
use nightmail::plan::Target;
use nlink::netlink::namespace;
use serde_json::json;

const TTL: Duration = Duration::from_secs(60);
const SHORT: Duration = Duration::from_millis(300);

/// A fault as a plan has it, from the first replica to the second.
fn fault(key: &str, parameters: serde_json::Value) -> FaultSpec<Target> {
    let mut parameters = parameters;
    parameters["from"] = json!(targets(&[1]));
    parameters["to"] = json!(targets(&[2]));
    let fault: FaultSpec<Target> = serde_json::from_value(json!({ key: parameters })).unwrap();
    assert_eq!(fault.problems(), [], "{key}");
    fault
}

fn delay(ms: u64) -> Latency<Target> {
    match fault("latency", json!({"latency": format!("{ms}ms")})) {
        FaultSpec::Latency(latency) => latency,
        other => panic!("{other:?}"),
    }
}

/// A program of the second replica's that answers with what it is sent, on as many connections as come.
fn echo(lab: &Lab) -> SocketAddr {
    let two = &lab.agents[1];
    let listener = namespace::execute_in(&two.namespace, || TcpListener::bind((two.address, 0)))
        .unwrap()
        .unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            std::thread::spawn(move || {
                let mut buffer = [0; 1_024];
                while let Ok(got @ 1..) = stream.read(&mut buffer) {
                    if stream.write_all(&buffer[..got]).is_err() {
                        return;
                    }
                }
            });
        }
    });
    address
}

/// A connection of a program of the first replica's.
fn dial(lab: &Lab, to: SocketAddr) -> std::io::Result<TcpStream> {
    let stream =
        namespace::execute_in(&lab.agents[0].namespace, || TcpStream::connect_timeout(&to, WITHIN)).unwrap()?;
    stream.set_read_timeout(Some(WITHIN))?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

fn round_trip(stream: &mut TcpStream) -> std::io::Result<Duration> {
    let began = Instant::now();
    stream.write_all(b"there and back")?;
    let mut back = [0; 14];
    stream.read_exact(&mut back)?;
    assert_eq!(&back, b"there and back");
    Ok(began.elapsed())
}

/// The fastest of some, so that what a busy machine adds does not count.
fn fastest(stream: &mut TcpStream) -> Duration {
    (0..5).map(|_| round_trip(stream).unwrap()).min().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_fault_of_links_is_seen_and_seen_healed() {
    if !possible() {
        return;
    }
    let lab = Lab::with_links(2, &[(1, 2)]).await;
    let faults = [
        ("latency", json!({"latency": "50ms", "jitter": "10ms"})),
        (
            "latency",
            json!({"latency": "30ms", "jitter": "20ms", "distribution": "pareto", "stream": "upstream"}),
        ),
        ("bandwidth", json!({"rate": "100KB/s"})),
        ("slow-close", json!({"delay": "200ms"})),
        ("timeout", json!({"timeout": "100ms"})),
        ("timeout", json!({"timeout": "0ms", "stream": "upstream"})),
        ("reset-peer", json!({"timeout": "20ms"})),
        (
            "reset-peer",
            json!({"toxicity": 0.05, "per": "request", "stream": "upstream"}),
        ),
        (
            "slicer",
            json!({"average-size": 100, "size-variation": 10, "delay": "10ms"}),
        ),
        ("slicer", json!({"average-size": 100})),
        ("limit-data", json!({"bytes": 1000})),
        ("blackhole", json!({})),
        ("blackhole", json!({"toxicity": 0.3})),
        ("corrupt", json!({"probability": 0.01})),
        ("stall", json!({"byte": 10, "duration": "100ms", "stream": "upstream"})),
        ("stall", json!({"byte": 10})),
        ("link-down", json!({})),
    ];
    for (number, (key, parameters)) in (1..).zip(faults) {
        let fault = fault(key, parameters.clone());
        let context = lab.context(number, TTL);
        let on = fault.behaviour().inject(&context).await.unwrap();
        assert!(on.confirmed, "{key} {parameters}: {on:#?}");
        assert_eq!(on.replicas, ["n-1", "n-2"]);
        let off = fault.behaviour().heal(&context).await.unwrap();
        assert!(off.confirmed && !off.lapsed, "{key} {parameters}: {off:#?}");
    }
    assert!(lab.agents[0].client().faults().await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_made_before_the_fault_are_met_as_new_ones_are_and_outlive_it() {
    if !possible() {
        return;
    }
    let lab = Lab::with_links(3, &[(1, 2)]).await;
    let address = echo(&lab);
    let mut old = dial(&lab, address).unwrap();
    fastest(&mut old);
    let context = lab.context(1, TTL);
    let fault = delay(80);
    assert!(fault.inject(&context).await.unwrap().confirmed);
    let mut new = dial(&lab, address).unwrap();
    for stream in [&mut old, &mut new] {
        let took = fastest(stream);
        assert!(took >= Duration::from_millis(80), "{took:?}");
    }
    let off = fault.heal(&context).await.unwrap();
    assert!(off.confirmed, "{off:#?}");
    assert!(off.evidence[1].contains("had acted on"), "{off:#?}");
    for stream in [&mut old, &mut new] {
        let took = fastest(stream);
        assert!(took < Duration::from_millis(80), "{took:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_sees_the_replicas_own_address_and_other_ways_are_left_alone() {
    if !possible() {
        return;
    }
    let lab = Lab::with_links(3, &[(1, 2)]).await;
    let (one, two, three) = (&lab.agents[0], &lab.agents[1], &lab.agents[2]);
    let listener = namespace::execute_in(&two.namespace, || TcpListener::bind((two.address, 0)))
        .unwrap()
        .unwrap();
    let to = listener.local_addr().unwrap();
    let from_one = dial(&lab, to).unwrap();
    let (_accepted, seen) = listener.accept().unwrap();
    assert_eq!(seen.ip(), one.address);
    // What the replica believes it is connected to is the peer, too.
    assert_eq!(from_one.peer_addr().unwrap(), to);

    let context = lab.context(1, TTL);
    assert!(delay(200).inject(&context).await.unwrap().confirmed);
    let address = echo(&lab);
    let from_three = namespace::execute_in(&three.namespace, || TcpStream::connect_timeout(&address, WITHIN)).unwrap();
    let took = fastest(&mut from_three.unwrap());
    assert!(
        took < Duration::from_millis(200),
        "the third replica has no link: {took:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_blackhole_heals_without_closing_and_loses_nothing() {
    if !possible() {
        return;
    }
    let lab = Lab::with_links(2, &[(1, 2)]).await;
    let mut stream = dial(&lab, echo(&lab)).unwrap();
    fastest(&mut stream);
    let context = lab.context(1, TTL);
    let FaultSpec::Blackhole(fault) = fault("blackhole", json!({})) else {
        panic!("it is a blackhole");
    };
    let fault: Blackhole<Target> = fault;
    assert!(fault.inject(&context).await.unwrap().confirmed);
    stream.set_read_timeout(Some(SHORT)).unwrap();
    let starved = round_trip(&mut stream).unwrap_err();
    assert!(
        matches!(starved.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut),
        "{starved}"
    );
    assert!(fault.heal(&context).await.unwrap().confirmed);
    stream.set_read_timeout(Some(WITHIN)).unwrap();
    let mut late = [0; 14];
    stream.read_exact(&mut late).unwrap();
    assert_eq!(&late, b"there and back");
    round_trip(&mut stream).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_taken_down_refuses_and_ends_what_there_is() {
    if !possible() {
        return;
    }
    let lab = Lab::with_links(2, &[(1, 2)]).await;
    let address = echo(&lab);
    let mut stream = dial(&lab, address).unwrap();
    fastest(&mut stream);
    let context = lab.context(1, TTL);
    let fault = LinkDown {
        from: targets(&[1]),
        to: targets(&[2]),
    };
    let on = fault.inject(&context).await.unwrap();
    assert!(on.confirmed, "{on:#?}");
    assert_eq!(dial(&lab, address).unwrap_err().kind(), ErrorKind::ConnectionRefused);
    assert!(
        matches!(stream.read(&mut [0]), Ok(0) | Err(_)),
        "it was ended while it was idle"
    );
    assert!(fault.heal(&context).await.unwrap().confirmed);
    round_trip(&mut dial(&lab, address).unwrap()).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn toxics_and_partitions_compose() {
    if !possible() {
        return;
    }
    let lab = Lab::with_links(2, &[(1, 2)]).await;
    let address = echo(&lab);
    let mut stream = dial(&lab, address).unwrap();
    fastest(&mut stream);
    let (late, cut) = (lab.context(1, TTL), lab.context(2, TTL));
    let slow = delay(60);
    let partition = Partition {
        from: targets(&[1]),
        to: targets(&[2]),
        both_ways: true,
    };
    assert!(slow.inject(&late).await.unwrap().confirmed);
    let on = partition.inject(&cut).await.unwrap();
    assert!(on.confirmed, "{on:#?}");
    stream.set_read_timeout(Some(SHORT)).unwrap();
    round_trip(&mut stream).unwrap_err();
    let off = partition.heal(&cut).await.unwrap();
    assert!(off.confirmed, "a toxic on the link does not hold packets: {off:#?}");
    stream.set_read_timeout(Some(WITHIN)).unwrap();
    stream.read_exact(&mut [0; 14]).unwrap();
    let took = fastest(&mut stream);
    assert!(took >= Duration::from_millis(60), "the toxic is still there: {took:?}");

    // Healed while the other is in force: whole as far as this fault goes.
    assert!(partition.inject(&cut).await.unwrap().confirmed);
    let off = slow.heal(&late).await.unwrap();
    assert!(
        off.confirmed && off.evidence.iter().any(|line| line.contains("still held by fault 2")),
        "{off:#?}"
    );
    assert!(partition.heal(&cut).await.unwrap().confirmed);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_toxics_on_a_link_each_heals_by_itself() {
    if !possible() {
        return;
    }
    let lab = Lab::with_links(2, &[(1, 2)]).await;
    let (first, second) = (lab.context(1, TTL), lab.context(2, TTL));
    let slow = delay(40);
    let resets = fault(
        "reset-peer",
        json!({"toxicity": 0.02, "per": "request", "stream": "upstream"}),
    );
    assert!(slow.inject(&first).await.unwrap().confirmed);
    let on = resets.behaviour().inject(&second).await.unwrap();
    assert!(on.confirmed, "{on:#?}");
    let off = resets.behaviour().heal(&second).await.unwrap();
    assert!(off.confirmed, "{off:#?}");
    let off = slow.heal(&first).await.unwrap();
    assert!(off.confirmed, "{off:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_toxic_ends_by_itself_and_its_heal_says_so() {
    if !possible() {
        return;
    }
    let lab = Lab::with_links(2, &[(1, 2)]).await;
    let context = lab.context(1, Duration::from_secs(3));
    let fault = delay(30);
    assert!(fault.inject(&context).await.unwrap().confirmed);
    let agent = lab.agents[0].client();
    eventually("the fault has ended", async || agent.faults().await.unwrap().is_empty()).await;
    let off = fault.heal(&context).await.unwrap();
    assert!(off.confirmed && off.lapsed, "{off:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_toxic_that_somebody_takes_away_does_not_pass_for_healed_in_its_time() {
    if !possible() {
        return;
    }
    let lab = Lab::with_links(2, &[(1, 2)]).await;
    let context = lab.context(1, TTL);
    let fault = delay(30);
    assert!(fault.inject(&context).await.unwrap().confirmed);
    // By Toxiproxy's own interface, which the agent serves.
    let answer = ask(lab.agents[0].control(), "DELETE /proxies/n-2/toxics/fault-1", "");
    assert!(answer.starts_with("HTTP/1.1 204"), "{answer}");
    let off = fault.heal(&context).await.unwrap();
    assert!(off.lapsed, "{off:#?}");
    let shown = ask(lab.agents[0].control(), "GET /proxies", "");
    assert!(shown.contains(r#""upstream":"10.78.0.3""#), "{shown}");
    let refused = ask(lab.agents[0].control(), "DELETE /proxies/n-2", "");
    assert!(refused.starts_with("HTTP/1.1 400"), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_show_is_not_confirmed() {
    if !possible() {
        return;
    }
    let lab = Lab::with_links(2, &[(1, 2)]).await;
    let patience = Patience {
        cut: SHORT,
        open: SHORT,
        ..Patience::default()
    };
    let context = |number| FaultContext {
        patience,
        ..lab.context(number, TTL)
    };
    // A link that holds everything back already shows nothing of a delay.
    let hole = fault("blackhole", json!({}));
    let first = context(1);
    assert!(hole.behaviour().inject(&first).await.unwrap().confirmed);
    let second = context(2);
    let on = delay(30).inject(&second).await.unwrap();
    assert!(!on.confirmed && on.onset_us.is_none(), "{on:#?}");
    delay(30).heal(&second).await.unwrap();
    hole.behaviour().heal(&first).await.unwrap();

    // A toxic of somebody else's that comes in between keeps a link from being seen whole.
    let third = context(3);
    assert!(delay(30).inject(&third).await.unwrap().confirmed);
    let toxic = r#"{"name": "by hand", "type": "timeout", "attributes": {"timeout": 0}}"#;
    let added = ask(lab.agents[0].control(), "POST /proxies/n-2/toxics", toxic);
    assert!(added.starts_with("HTTP/1.1 200"), "{added}");
    let off = delay(30).heal(&third).await.unwrap();
    assert!(!off.confirmed && off.onset_us.is_none(), "{off:#?}");
}

fn ask(control: SocketAddr, what: &str, body: &str) -> String {
    let mut stream = TcpStream::connect_timeout(&control, WITHIN).unwrap();
    let length = body.len();
    write!(
        stream,
        "{what} HTTP/1.1\r\nhost: agent\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}"
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_link_nothing_can_be_spoiled() {
    if !possible() {
        return;
    }
    let lab = Lab::with_links(2, &[(1, 2)]).await;
    let spoil = Spoil {
        toxic: Kind::Latency(latency::Latency {
            latency: 10,
            ..latency::Latency::default()
        }),
        stream: Direction::Downstream,
        toxicity: 1.0,
        per: Per::Connection,
    };
    let request = |spoil: &Spoil, peer: Ipv4Addr| FaultRequest {
        peers: vec![peer],
        action: Action::Spoil(spoil.clone()),
        ttl_ms: 1_000,
    };
    let agent = lab.agents[0].client();
    let refused = agent.put_fault("1", &request(&spoil, lab.agents[0].address)).await;
    assert!(refused.unwrap_err().to_string().contains("there is no link to"));
    let wrong = Spoil { toxicity: 2.0, ..spoil };
    let refused = agent.put_fault("1", &request(&wrong, lab.agents[1].address)).await;
    assert!(refused.unwrap_err().to_string().contains("`toxicity` must be"));
    assert!(agent.faults().await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_connects_to_the_listener_itself_is_turned_away() {
    if !possible() {
        return;
    }
    let lab = Lab::with_links(2, &[(1, 2)]).await;
    let own = SocketAddr::from((Ipv4Addr::LOCALHOST, LINK_PORT));
    let mut stream = dial(&lab, own).unwrap();
    assert!(matches!(stream.read(&mut [0]), Ok(0) | Err(_)));
    // From outside it is not there.
    let outside = SocketAddr::from((lab.agents[0].address, LINK_PORT));
    let refused = TcpStream::connect_timeout(&outside, WITHIN).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
}
