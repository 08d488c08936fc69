//! Ten thousand random calls while peers misbehave: nothing crashes, nothing stays behind, and another link goes on.

use std::time::Duration;

use bytes::Bytes;
use hyper::Method;
use hyper::header::HeaderMap;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::support::{ANY_PORT, Bench, eventually, proxies};
use crate::control::Asked;
use crate::link::api::answer;
use crate::link::toxic::TYPES;

const CALLS: usize = 10_000;

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_random_calls_among_peers_that_misbehave() {
    let all = proxies();
    let calm = Bench::start().await;
    let mut calm_echo = calm.echoing().await;
    let server = TcpListener::bind(ANY_PORT).await.unwrap();
    let upstream = server.local_addr().unwrap().to_string();
    let serving = tokio::spawn(async move {
        let mut number = 0_u32;
        while let Ok((stream, _from)) = server.accept().await {
            number += 1;
            tokio::spawn(misbehave(stream, number));
        }
    });
    let mut random = StdRng::seed_from_u64(20_261_123);
    let mut statuses = std::collections::BTreeMap::<u16, u32>::new();
    for call in 0..CALLS {
        let (method, path, body) = random_call(&mut random, &upstream);
        let asked = Asked {
            method: method.clone(),
            path: path.clone(),
            headers: HeaderMap::new(),
            body: Ok(Bytes::from(body.clone())),
        };
        let answered = tokio::time::timeout(Duration::from_secs(10), answer(&all, &asked)).await;
        let status = answered
            .unwrap_or_else(|_| panic!("call {call} hangs: {method} {path} {body}"))
            .status;
        *statuses.entry(status.as_u16()).or_default() += 1;
        if call % 10 == 0 {
            let listening: Vec<_> = all
                .all()
                .iter()
                .map(|proxy| proxy.described())
                .filter(|described| described.enabled)
                .collect();
            if let Some(described) = listening.choose(&mut random)
                && let Ok(stream) = TcpStream::connect(&described.listen).await
            {
                tokio::spawn(misbehave(stream, random.random()));
            }
        }
        if call % 1_000 == 0 {
            calm_echo.round_trip().await;
        }
    }
    for status in [200, 201, 204, 400, 404, 409] {
        assert!(statuses.get(&status).is_some_and(|times| *times > 10), "{statuses:?}");
    }
    calm_echo.round_trip().await;
    let links: Vec<_> = all.all().iter().map(|proxy| proxy.link.clone()).collect();
    for proxy in all.all() {
        all.remove(&proxy.name).await;
    }
    eventually(|| links.iter().all(|link| link.live() == 0)).await;
    serving.abort();
}

/// One of the ways in which a peer is no good.
async fn misbehave(mut stream: TcpStream, how: u32) {
    let mut buffer = [0; 1_024];
    match how % 5 {
        0 => {
            let _ = stream.set_zero_linger();
        }
        1 => {
            let _ = stream.shutdown().await;
            while stream.read(&mut buffer).await.is_ok_and(|got| got > 0) {}
        }
        2 => {
            let _ = stream.write_all(&[7; 200_000]).await;
        }
        3 => {
            // Never reads, and is there for a while.
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        _ => {
            let (mut read, mut write) = stream.split();
            let _ = write.write_all(b"hello").await;
            let _ = tokio::io::copy(&mut read, &mut write).await;
        }
    }
}

fn random_call(random: &mut StdRng, upstream: &str) -> (Method, String, String) {
    let proxy = format!("p{}", random.random_range(0..4));
    let toxic = format!("t{}", random.random_range(0..4));
    let pick = |random: &mut StdRng, words: &[&str]| (*words.choose(random).unwrap()).to_owned();
    let path = match random.random_range(0..12) {
        0..3 => "/proxies".to_owned(),
        3 | 4 => format!("/proxies/{proxy}"),
        5..8 => format!("/proxies/{proxy}/toxics"),
        8 | 9 => format!("/proxies/{proxy}/toxics/{toxic}"),
        10 => pick(random, &["/populate", "/reset", "/version", "/metrics"]),
        _ => pick(
            random,
            &[
                "/",
                "",
                "//",
                "/proxies/",
                "/proxies/p%30",
                "/proxies/%",
                "/proxies/p0/toxics/t0/x",
                "/nonsense",
            ],
        ),
    };
    let method = pick(random, &["GET", "POST", "POST", "POST", "PATCH", "DELETE", "PUT"]);
    let mut body = if path.ends_with("toxics") || path.contains("/toxics/") {
        random_toxic(random, &toxic)
    } else {
        let one = json!({"name": proxy, "listen": ANY_PORT, "upstream": upstream, "enabled": random.random_bool(0.9)});
        if path == "/populate" { json!([one]) } else { one }
    }
    .to_string();
    match random.random_range(0..20) {
        0 => body.truncate(body.len() / 2),
        1 => body.clear(),
        2 => body = body.replace(':', ","),
        _ => {}
    }
    (method.parse().unwrap(), path, body)
}

fn random_toxic(random: &mut StdRng, name: &str) -> Value {
    let kind = *TYPES.choose(random).unwrap();
    let mut number = || random.random_range(-2..20);
    let attributes = match kind {
        "latency" => json!({"latency": number(), "jitter": number()}),
        "bandwidth" => json!({"rate": number()}),
        "slow_close" => json!({"delay": number()}),
        "timeout" | "reset_peer" => json!({"timeout": number()}),
        "slicer" => json!({"average_size": number(), "size_variation": number(), "delay": number()}),
        "limit_data" => json!({"bytes": number()}),
        "corrupt" => json!({"probability": 0.5}),
        "stall" => json!({"byte": number(), "duration": number()}),
        _ => json!({}),
    };
    json!({
        "name": name,
        "type": kind,
        "stream": if random.random_bool(0.5) { "upstream" } else { "downstream" },
        "toxicity": if random.random_bool(0.9) { json!(random.random_range(0.0..1.0)) } else { json!(null) },
        "attributes": attributes,
    })
}
