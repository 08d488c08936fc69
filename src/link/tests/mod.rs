//! Links between true sockets on loopback.

mod api;
mod fuzz;
mod support;

use std::io::ErrorKind;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::Instant;

use super::chain::{Direction, Per, Toxic};
use super::toxic::Kind;
use super::toxic::{bandwidth, blackhole, latency, limit_data, reset_peer, timeout};
use support::{Bench, eventually, toxic};

#[tokio::test(flavor = "multi_thread")]
async fn bytes_pass_both_ways_unchanged_and_each_end_closes_for_itself() {
    let bench = Bench::start().await;
    let (mut client, mut server) = bench.connect().await;
    let sent: Vec<u8> = (0..3_000_000_u32).map(|n| (n % 251) as u8).collect();
    let copy = sent.clone();
    let writing = tokio::spawn(async move {
        client.write_all(&copy).await.unwrap();
        client.shutdown().await.unwrap();
        client
    });
    let mut got = Vec::new();
    server.read_to_end(&mut got).await.unwrap();
    assert!(got == sent, "{} of {} bytes", got.len(), sent.len());
    // The client has said all and still listens.
    server.write_all(b"and back").await.unwrap();
    drop(server);
    let mut back = String::new();
    writing.await.unwrap().read_to_string(&mut back).await.unwrap();
    assert_eq!(back, "and back");
    bench.until_none_lives().await;
    assert_eq!(
        bench.proxy.link.traffic(Direction::Upstream).bytes(),
        (3_000_000, 3_000_000)
    );
    assert_eq!(bench.proxy.link.traffic(Direction::Downstream).bytes(), (8, 8));
}

#[tokio::test(flavor = "multi_thread")]
async fn bulk_passes_unchanged_while_toxics_come_and_go() {
    const BYTES: usize = 32 * 1024 * 1024;
    let bench = Bench::start().await;
    let (mut client, mut server) = bench.connect().await;
    // A length that no buffer is a multiple of: what is lost or changes places shows.
    let pattern: Vec<u8> = (0..=250).collect();
    let sent = pattern.repeat(BYTES / pattern.len());
    let copy = sent.clone();
    let sending = tokio::spawn(async move {
        client.write_all(&copy).await.unwrap();
        client.shutdown().await.unwrap();
        client
    });
    let (mut got, mut toxics) = (Vec::new(), 0);
    let late = || {
        let latency = latency::Latency {
            latency: 2,
            ..Default::default()
        };
        toxic("late", Direction::Upstream, latency)
    };
    while server.read_buf(&mut got).await.unwrap() > 0 {
        // Every fourth MiB is late.
        let wanted = (got.len() / (1024 * 1024)).is_multiple_of(4);
        let link = &bench.proxy.link;
        if wanted != link.chain().find("late").is_some() {
            toxics += 1;
            match wanted {
                true => drop(link.add(late()).await.unwrap()),
                false => drop(link.remove("late").await.unwrap()),
            }
        }
    }
    assert!(got == sent, "{} of {} bytes", got.len(), sent.len());
    assert!(toxics > 4, "{toxics} changes");
    drop((server, sending.await.unwrap()));
    bench.until_none_lives().await;
    let all = sent.len() as u64;
    assert_eq!(bench.proxy.link.traffic(Direction::Upstream).bytes(), (all, all));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reset_at_one_end_is_a_reset_at_the_other() {
    let bench = Bench::start().await;
    for client_resets in [true, false] {
        let (client, server) = bench.connect().await;
        let (resets, mut other) = if client_resets {
            (client, server)
        } else {
            (server, client)
        };
        resets.set_zero_linger().unwrap();
        drop(resets);
        let error = other.read_u8().await.unwrap_err();
        assert_eq!(
            error.kind(),
            ErrorKind::ConnectionReset,
            "by the client: {client_resets}"
        );
    }
    bench.until_none_lives().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn where_nobody_listens_the_connection_is_reset() {
    let bench = Bench::start().await;
    let nobody = support::closed_port().await;
    let described = bench.proxy.described();
    bench
        .proxy
        .update(described.listen, nobody.to_string(), true)
        .await
        .unwrap();
    // The reset may come before the client knows that it was accepted.
    let error = match bench.try_dial().await {
        Ok(mut client) => client.read_u8().await.unwrap_err(),
        Err(error) => error,
    };
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    bench.until_none_lives().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_toxic_meets_live_connections_and_new_ones_and_leaves_both() {
    let bench = Bench::start().await;
    let mut live = bench.echoing().await;
    let plain = live.round_trip().await;
    let late = toxic(
        "late",
        Direction::Downstream,
        latency::Latency {
            latency: 80,
            ..Default::default()
        },
    );
    assert_eq!(bench.proxy.link.add(late).await.unwrap().connections, 1);
    let mut new = bench.echoing().await;
    for echo in [&mut live, &mut new] {
        let took = echo.round_trip().await;
        assert!(took >= Duration::from_millis(80), "{took:?} after {plain:?}");
    }
    let removed = bench.proxy.link.remove("late").await.unwrap();
    assert_eq!(removed.affected.counts(), (2, 2));
    for echo in [&mut live, &mut new] {
        let took = echo.fastest_of(5).await;
        assert!(took < Duration::from_millis(80), "{took:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_blackhole_heals_without_closing_anything() {
    let bench = Bench::start().await;
    let (mut client, mut server) = bench.connect().await;
    let hole = || blackhole::Blackhole {};
    bench
        .proxy
        .link
        .add(toxic("up", Direction::Upstream, hole()))
        .await
        .unwrap();
    bench
        .proxy
        .link
        .add(toxic("down", Direction::Downstream, hole()))
        .await
        .unwrap();
    client.write_all(b"question").await.unwrap();
    server.write_all(b"answer").await.unwrap();
    let mut buffer = [0; 8];
    let nothing = tokio::time::timeout(Duration::from_millis(100), server.read(&mut buffer)).await;
    assert!(nothing.is_err(), "{nothing:?}");
    bench.proxy.link.clear().await;
    server.read_exact(&mut buffer).await.unwrap();
    assert_eq!(&buffer, b"question");
    client.read_exact(&mut buffer[..6]).await.unwrap();
    assert_eq!(&buffer[..6], b"answer");
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_hangs_up_within_a_blackhole_is_not_kept_for_ever() {
    let bench = Bench::start().await;
    bench
        .proxy
        .link
        .add(toxic("up", Direction::Upstream, blackhole::Blackhole {}))
        .await
        .unwrap();
    let (client, mut server) = bench.connect().await;
    drop(client);
    drop(bench.connect().await);
    assert_eq!(bench.proxy.link.live(), 2);
    bench.proxy.link.clear().await;
    assert_eq!(server.read(&mut [0]).await.unwrap(), 0);
    drop(server);
    bench.until_none_lives().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_never_reads_holds_up_nobody_else() {
    let bench = Bench::start().await;
    let (mut client, _server) = bench.connect().await;
    let flood = tokio::spawn(async move {
        let chunk = vec![0; 1024 * 1024];
        loop {
            if client.write_all(&chunk).await.is_err() {
                return;
            }
        }
    });
    // The kernel's buffers are full when no more bytes come in.
    let link = bench.proxy.link.clone();
    let mut before = u64::MAX;
    eventually(|| {
        let now = link.traffic(Direction::Upstream).bytes().0;
        let stands = now > 0 && now == before;
        before = now;
        std::thread::sleep(Duration::from_millis(50));
        stands
    })
    .await;
    let mut echo = bench.echoing().await;
    for _ in 0..100 {
        echo.round_trip().await;
    }
    flood.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn closing_toxics_close_and_resetting_ones_reset() {
    let bench = Bench::start().await;
    let (mut client, mut server) = bench.connect().await;
    let limit = toxic("limit", Direction::Upstream, limit_data::LimitData { bytes: 5 });
    bench.proxy.link.add(limit).await.unwrap();
    client.write_all(b"1234567").await.unwrap();
    let mut got = Vec::new();
    server.read_to_end(&mut got).await.unwrap();
    assert_eq!(got, b"12345");
    assert_eq!(client.read(&mut [0]).await.unwrap(), 0);
    bench.proxy.link.clear().await;

    let (mut client, mut server) = bench.connect().await;
    let reset = toxic("reset", Direction::Upstream, reset_peer::ResetPeer::default());
    bench.proxy.link.add(reset).await.unwrap();
    client.write_all(b"x").await.unwrap();
    for end in [&mut client, &mut server] {
        assert_eq!(end.read_u8().await.unwrap_err().kind(), ErrorKind::ConnectionReset);
    }
    bench.proxy.link.clear().await;

    let (mut client, mut server) = bench.connect().await;
    let silence = toxic("silence", Direction::Downstream, timeout::Timeout { timeout: 50 });
    let began = Instant::now();
    bench.proxy.link.add(silence).await.unwrap();
    server.write_all(b"lost").await.unwrap();
    assert_eq!(client.read(&mut [0]).await.unwrap(), 0);
    assert!(began.elapsed() >= Duration::from_millis(50));
    bench.until_none_lives().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trickle_holds_its_sender_up() {
    let bench = Bench::start().await;
    let trickle = toxic("trickle", Direction::Upstream, bandwidth::Bandwidth { rate: 100 });
    bench.proxy.link.add(trickle).await.unwrap();
    let (mut client, mut server) = bench.connect().await;
    let sending = tokio::spawn(async move {
        client.write_all(&[7; 50_000]).await.unwrap();
        client.shutdown().await.unwrap();
    });
    let began = Instant::now();
    let mut got = Vec::new();
    server.read_to_end(&mut got).await.unwrap();
    // At 100 KB/s; that it is not much slower is measured by the benchmark.
    assert!(
        got.len() == 50_000 && began.elapsed() >= Duration::from_millis(490),
        "{:?}",
        began.elapsed()
    );
    sending.await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn toxicity_per_request_meets_a_connection_that_lasts() {
    let bench = Bench::start().await;
    let reset = Toxic {
        toxicity: 0.05,
        per: Per::Request,
        ..toxic("reset", Direction::Upstream, reset_peer::ResetPeer::default())
    };
    bench.proxy.link.add(reset).await.unwrap();
    let mut echo = bench.echoing().await;
    let mut requests = 0;
    while echo.try_round_trip().await.is_ok() {
        requests += 1;
        assert!(requests < 1_000, "a reset was due long ago");
    }
    assert!(
        requests > 0,
        "the first request was met, of a share of 5 %; the seed is fixed"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_taken_down_closes_and_refuses_and_comes_back_with_its_toxics() {
    let bench = Bench::start().await;
    let (mut client, _server) = bench.connect().await;
    let late = toxic(
        "late",
        Direction::Upstream,
        latency::Latency {
            latency: 1,
            ..Default::default()
        },
    );
    bench.proxy.link.add(late).await.unwrap();
    bench.proxy.stop().await;
    assert_eq!(client.read(&mut [0]).await.unwrap(), 0);
    let address = bench.proxy.described().listen;
    let refused = TcpStream::connect(&address).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
    bench.proxy.start().await.unwrap();
    assert_eq!(bench.proxy.described().listen, address);
    bench.echoing().await.round_trip().await;
    assert_eq!(bench.proxy.link.chain().toxics.len(), 1);
    assert!(matches!(
        bench.proxy.link.chain().toxics[0].toxic.kind,
        Kind::Latency(_)
    ));
}
