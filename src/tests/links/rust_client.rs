//! The crate `toxiproxy_rust`, each of its calls.

use std::time::Duration;

use nix::sys::signal::Signal;
use toxiproxy_rust::client::Client;
use toxiproxy_rust::proxy::{Proxy, ProxyPack};
use toxiproxy_rust::toxic::ToxicPack;

use crate::support::{ANY_PORT, Echo, Links, carries, echo_server};

const DOWN: &str = "downstream";
const UP: &str = "upstream";

fn pack(name: &str) -> ProxyPack {
    ProxyPack::new(name.to_owned(), ANY_PORT.to_owned(), echo_server().to_string())
}

/// Links, a client of theirs, and a proxy that the client made.
fn with_proxy() -> (Links, Client, Proxy) {
    let links = Links::start(&[]);
    let client = Client::new(links.api);
    let proxy = client.populate(vec![pack("db")]).unwrap().remove(0);
    (links, client, proxy)
}

fn dial(proxy: &Proxy) -> Echo {
    Echo::dial(proxy.proxy_pack.listen.parse().unwrap())
}

fn carries_through(proxy: &Proxy) -> bool {
    carries(proxy.proxy_pack.listen.parse().unwrap())
}

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn only_toxic(proxy: &Proxy) -> ToxicPack {
    let mut toxics = proxy.toxics().unwrap();
    assert_eq!(toxics.len(), 1, "{toxics:?}");
    toxics.remove(0)
}

#[test]
fn proxies_are_populated_found_and_deleted() {
    let links = Links::start(&[]);
    let client = Client::new(links.api);
    assert!(client.all().unwrap().is_empty());
    let made = client.populate(vec![pack("db"), pack("cache")]).unwrap();
    let names: Vec<&str> = made.iter().map(|proxy| &*proxy.proxy_pack.name).collect();
    assert_eq!(names, ["db", "cache"]);
    assert!(made.iter().all(carries_through));
    let all = client.all().unwrap();
    assert_eq!(all.len(), 2);
    let found = client.find_proxy("db").unwrap();
    let (listen, enabled) = (&found.proxy_pack.listen, found.proxy_pack.enabled);
    assert_eq!((listen, enabled), (&made[0].proxy_pack.listen, true));
    assert_eq!(&all["db"].proxy_pack.listen, listen);

    found.delete().unwrap();
    assert!(!carries_through(&found), "nobody listens any more");
    assert!(carries_through(&made[1]), "the other one is left alone");
    assert!(client.find_proxy("db").is_err());
    assert_eq!(client.all().unwrap().len(), 1);
}

#[test]
fn populating_again_replaces_what_differs_and_leaves_the_rest_alone() {
    let (_links, client, proxy) = with_proxy();
    proxy.with_latency(DOWN.to_owned(), 1, 0, 1.0);
    let mut live = dial(&proxy);
    live.round_trip(1);
    let again = |upstream: &str| {
        let (listen, upstream) = (proxy.proxy_pack.listen.clone(), upstream.to_owned());
        let pack = ProxyPack::new("db".to_owned(), listen, upstream);
        client.populate(vec![pack]).unwrap().remove(0)
    };
    let same = again(&proxy.proxy_pack.upstream);
    assert_eq!(same.proxy_pack.toxics.len(), 1);
    live.round_trip(1);
    let other = again(&echo_server().to_string());
    assert!(other.proxy_pack.toxics.is_empty(), "it is another proxy");
    assert_eq!(live.rest().0, b"", "whose connections are its own");
    assert!(carries_through(&other));
}

#[test]
fn the_server_is_said_to_run_and_to_be_toxiproxy() {
    let mut links = Links::start(&[]);
    let client = Client::new(links.api);
    assert!(client.is_running());
    assert_eq!(client.version().unwrap().trim(), r#"{"version": "2.12.0"}"#);
    links.end(Signal::SIGKILL);
    assert!(!client.is_running());
}

#[test]
fn a_proxy_that_is_down_refuses_and_ends_what_it_carried() {
    let (_links, client, proxy) = with_proxy();
    let mut live = dial(&proxy);
    live.round_trip(1);
    let mut refused = false;
    proxy
        .with_down(|| {
            assert_eq!(live.rest().0, b"");
            refused = !carries_through(&proxy);
            assert!(!client.find_proxy("db").unwrap().proxy_pack.enabled);
        })
        .unwrap();
    assert!(refused);
    assert!(carries_through(&proxy), "it is back, on the same port");

    proxy.disable().unwrap();
    assert!(!carries_through(&proxy));
    proxy.enable().unwrap();
    assert!(carries_through(&proxy));
}

#[test]
fn latency_makes_each_way_late_and_is_gone_after_apply() {
    let (_links, _client, proxy) = with_proxy();
    let mut live = dial(&proxy);
    proxy
        .with_latency(DOWN.to_owned(), 120, 0, 1.0)
        .with_latency(UP.to_owned(), 80, 10, 1.0)
        .apply(|| {
            assert!(live.round_trip(1) >= ms(190), "a connection from before");
            assert!(dial(&proxy).round_trip(1) >= ms(190), "a new one");
            let names: Vec<String> = proxy.toxics().unwrap().into_iter().map(|toxic| toxic.name).collect();
            assert_eq!(names, ["latency_upstream", "latency_downstream"]);
        })
        .unwrap();
    assert!(proxy.toxics().unwrap().is_empty());
    assert!(live.fastest(1) < ms(190), "the same connection goes on");
}

#[test]
fn a_toxic_is_told_as_it_was_made() {
    let (_links, client, proxy) = with_proxy();
    proxy.with_slicer(UP.to_owned(), 64, 32, 10, 0.25);
    let toxic = only_toxic(&client.find_proxy("db").unwrap());
    assert_eq!(
        (&*toxic.name, &*toxic.r#type, &*toxic.stream),
        ("slicer_upstream", "slicer", UP)
    );
    assert_eq!(toxic.toxicity, 0.25);
    assert_eq!(toxic.attributes["average_size"], 64);
    assert_eq!(toxic.attributes["size_variation"], 32);
    assert_eq!(toxic.attributes["delay"], 10);
    assert_eq!(only_toxic(&proxy).name, toxic.name);
    proxy.delete_all_toxics().unwrap();
    assert!(proxy.toxics().unwrap().is_empty());
}

#[test]
fn bandwidth_lets_so_much_through_and_none_at_zero() {
    let (_links, _client, proxy) = with_proxy();
    let mut echo = dial(&proxy);
    // 10 KB/s.
    proxy.with_bandwidth(DOWN.to_owned(), 10, 1.0);
    assert!(echo.round_trip(3_000) >= ms(280));
    proxy.delete_all_toxics().unwrap();
    assert!(echo.fastest(3_000) < ms(280));

    // As Testcontainers cut a connection.
    proxy.with_bandwidth(DOWN.to_owned(), 0, 1.0);
    echo.0.set_read_timeout(Some(ms(200))).unwrap();
    let error = echo.try_round_trip(1).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock, "nothing comes: {error}");
    echo.0.set_read_timeout(Some(crate::support::WITHIN)).unwrap();
    proxy.delete_all_toxics().unwrap();
    echo.done();
    assert_eq!(echo.rest().0, [0], "what was held comes when the toxic goes");
}

#[test]
fn slow_close_makes_the_end_late() {
    let (_links, _client, proxy) = with_proxy();
    proxy
        .with_slow_close(DOWN.to_owned(), 150, 1.0)
        .apply(|| {
            let mut echo = dial(&proxy);
            echo.round_trip(1);
            echo.done();
            assert!(echo.rest().1 >= ms(140));
        })
        .unwrap();
    let soonest = (0..5).map(|_| {
        let mut echo = dial(&proxy);
        echo.round_trip(1);
        echo.done();
        echo.rest().1
    });
    assert!(soonest.min().unwrap() < ms(140));
}

#[test]
fn timeout_lets_nothing_through_and_closes() {
    let (_links, _client, proxy) = with_proxy();
    proxy
        .with_timeout(DOWN.to_owned(), 150, 1.0)
        .apply(|| {
            let mut echo = dial(&proxy);
            echo.send(b"lost");
            let (got, took) = echo.rest();
            assert_eq!(got, b"");
            assert!(took >= ms(140), "{took:?}");
        })
        .unwrap();
    assert!(carries_through(&proxy));
}

#[test]
fn a_slicer_sends_small_pieces_with_pauses() {
    let (_links, _client, proxy) = with_proxy();
    // Ten pieces, and 20 ms between them.
    proxy
        .with_slicer(DOWN.to_owned(), 10, 0, 20_000, 1.0)
        .apply(|| assert!(dial(&proxy).round_trip(100) >= ms(170)))
        .unwrap();
    assert!(dial(&proxy).fastest(100) < ms(170));
}

#[test]
fn limit_data_ends_a_connection_after_so_many_bytes() {
    let (_links, _client, proxy) = with_proxy();
    proxy
        .with_limit_data(DOWN.to_owned(), 100, 1.0)
        .apply(|| {
            let mut echo = dial(&proxy);
            echo.send(&[7; 1_000]);
            assert_eq!(echo.rest().0, [7; 100]);
        })
        .unwrap();
    dial(&proxy).round_trip(1_000);
}

#[test]
fn a_toxicity_of_none_meets_nobody() {
    let (_links, _client, proxy) = with_proxy();
    proxy.with_limit_data(DOWN.to_owned(), 0, 0.0);
    for _ in 0..20 {
        assert!(carries_through(&proxy));
    }
    assert_eq!(only_toxic(&proxy).toxicity, 0.0);
}

#[test]
fn resets_bring_everything_back() {
    let (_links, client, proxy) = with_proxy();
    let spoil = || {
        proxy.with_timeout(UP.to_owned(), 0, 1.0);
        proxy.disable().unwrap();
        assert!(!carries_through(&proxy));
    };
    spoil();
    let found = client.find_and_reset_proxy("db").unwrap();
    assert!(found.toxics().unwrap().is_empty());
    assert!(carries_through(&proxy));
    spoil();
    client.reset().unwrap();
    assert!(proxy.toxics().unwrap().is_empty());
    assert!(carries_through(&proxy));
}
