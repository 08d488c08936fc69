//! `nightmail link` as it is typed: what each option does, how mistakes are told, how it ends.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;

use nix::sys::signal::Signal;
use serde_json::json;

use crate::support::{ANY_PORT, Echo, Links, carries, command, echo_server};

/// Where nobody listens, and nobody will as long as the test holds it: bound, and no more.
fn taken() -> (TcpListener, String) {
    let listener = TcpListener::bind(ANY_PORT).unwrap();
    let address = listener.local_addr().unwrap().to_string();
    (listener, address)
}

fn write(folder: &Path, text: &str) -> String {
    let file = folder.join("links.json");
    std::fs::write(&file, text).unwrap();
    file.display().to_string()
}

/// What it says when it does not come to serve, and its exit code.
fn failure(args: &[&str]) -> (Option<i32>, String) {
    let output = command(args).output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.stdout.is_empty(), "{args:?}: {output:?}");
    (output.status.code(), told)
}

#[test]
fn one_link_is_made_by_the_command_line_and_all_it_says_is_true() {
    let server = echo_server().to_string();
    let links = Links::start(&["--listen", ANY_PORT, "--upstream", &server, "--name", "db"]);
    let listen = links.listens("db");
    let [link, api] = &links.said[..] else {
        panic!("{:?}", links.said);
    };
    assert_eq!(*link, format!("link db: {listen} -> {server}"));
    assert_eq!(*api, format!("control interface (Toxiproxy's): http://{}", links.api));
    Echo::dial(listen).round_trip(100_000);
}

#[test]
fn without_a_name_the_link_is_named_link() {
    let links = Links::before(echo_server());
    assert!(carries(links.listens("link")));
}

#[test]
fn an_upstream_may_be_a_name() {
    let upstream = format!("localhost:{}", echo_server().port());
    let links = Links::start(&["--listen", "localhost:0", "--upstream", &upstream]);
    assert!(carries(links.listens("link")));
}

#[test]
fn links_of_a_file_and_of_the_command_line_stand_beside_each_other() {
    let folder = tempfile::tempdir().unwrap();
    let server = echo_server().to_string();
    let file = json!([
        {"name": "one", "listen": ANY_PORT, "upstream": server},
        {"name": "off", "listen": ANY_PORT, "upstream": server, "enabled": false, "toxics": []},
    ]);
    let file = write(folder.path(), &file.to_string());
    let links = Links::start(&["--config", &file, "--listen", ANY_PORT, "--upstream", &server]);
    assert!(carries(links.listens("one")));
    assert!(carries(links.listens("link")));
    assert!(
        links.said.contains(&format!("link off: {ANY_PORT} -> {server}")),
        "{:?}",
        links.said
    );
}

/// Which of twenty connections end at once, where each does with a chance of one half.
fn met(seed: &str) -> Vec<bool> {
    let server = echo_server().to_string();
    let links = Links::start(&["--seed", seed, "--listen", ANY_PORT, "--upstream", &server]);
    let client = toxiproxy_rust::client::Client::new(links.api);
    let proxy = client.find_proxy("link").unwrap();
    proxy.with_limit_data("downstream".to_owned(), 0, 0.5);
    (0..20).map(|_| !carries(links.listens("link"))).collect()
}

#[test]
fn a_seed_fixes_every_draw() {
    let first = met("7");
    assert_eq!(met("7"), first);
    assert_ne!(met("8"), first);
    assert!(first.contains(&true) && first.contains(&false), "{first:?}");
}

#[test]
fn anywhere_lets_links_and_control_interface_listen_beyond_loopback() {
    let server = echo_server().to_string();
    let link = ["--listen", "0.0.0.0:0", "--upstream", &server];
    let links = Links::start_as(&[&["--anywhere", "--api", "0.0.0.0:0"], &link[..]].concat());
    let at_home = |address: SocketAddr| SocketAddr::from(([127, 0, 0, 1], address.port()));
    assert!(links.api.ip().is_unspecified() && links.listens("link").ip().is_unspecified());
    assert!(carries(at_home(links.listens("link"))));
    assert!(TcpStream::connect(at_home(links.api)).is_ok());
}

#[test]
fn what_makes_no_sense_is_exit_code_two_with_a_hint() {
    let server = "127.0.0.1:1";
    for (args, found, hint) in [
        (vec!["--listen", ANY_PORT], "--upstream <ADDRESS>", "--help"),
        (vec!["--upstream", server], "--listen <ADDRESS>", "--help"),
        (vec!["--api", "nonsense"], "'nonsense' for '--api <ADDRESS>'", "--help"),
        (vec!["--seed", "x"], "'x' for '--seed <SEED>'", "--help"),
        (vec!["--threads", "0"], "'0' for '--threads <THREADS>'", "--help"),
        (
            vec!["--api", "0.0.0.0:0"],
            "reachable from other machines",
            "hint: --api 127.0.0.1:0",
        ),
        (
            vec!["--listen", "0.0.0.0:0", "--upstream", server],
            "link `link`: listen 0.0.0.0:0: only loopback addresses are allowed, unless started with --anywhere",
            "hint: for example --listen 127.0.0.1:0",
        ),
        (
            vec!["--listen", "nonsense", "--upstream", server, "--name", "db"],
            "link `db`: listen tcp: address nonsense: ",
            "hint: for example --listen 127.0.0.1:0",
        ),
        (
            vec!["--listen", ANY_PORT, "--upstream", "db.example"],
            "link `link`: upstream db.example: it has no port",
            "--upstream 127.0.0.1:5432",
        ),
    ] {
        let mut all = vec!["--api", ANY_PORT];
        if args.contains(&"--api") {
            all.clear();
        }
        all.extend(&args);
        let (code, told) = failure(&all);
        assert_eq!(code, Some(2), "{args:?}: {told}");
        assert!(
            told.contains("error: ") && told.contains(found) && told.contains(hint),
            "{args:?}: {told}"
        );
    }
}

#[test]
fn a_file_that_holds_no_links_is_exit_code_two_with_the_place_and_an_example() {
    let folder = tempfile::tempdir().unwrap();
    let twice = r#"[{"name": "a", "upstream": "a:1"}, {"name": "a", "upstream": "a:1"}]"#;
    for (text, found) in [
        ("links: none\n", "links.json:1:1"),
        ("[\n  {\"name\": \"a\",}\n]", "links.json:2:16"),
        ("{\"name\": \"a\"}", "links.json:1:1"),
        ("", "no list of links in JSON: EOF"),
        ("[1]", "invalid type: integer `1`"),
        (r#"[{"upstream": "a:1"}]"#, "missing required field: name at proxy 1"),
        (
            r#"[{"name": "a", "upstream": "a:1"}, {"name": "b"}]"#,
            "missing required field: upstream at proxy 2",
        ),
        (
            r#"[{"name": "a", "upstream": "a:1", "enabled": 1}]"#,
            "invalid type: integer `1`",
        ),
        (
            r#"[{"name": "a", "upstream": "a:1", "listen": "nonsense"}]"#,
            "listen tcp: address nonsense: ",
        ),
        (
            r#"[{"name": "a", "upstream": "a:1", "listen": "0.0.0.0:0"}]"#,
            "only loopback addresses are allowed",
        ),
        (twice, "duplicate proxy name \"a\""),
    ] {
        let file = write(folder.path(), text);
        let (code, told) = failure(&["--api", ANY_PORT, "--config", &file]);
        assert_eq!(code, Some(2), "{text}: {told}");
        assert!(told.contains("links.json") && told.contains(found), "{text}: {told}");
        assert!(told.contains(r#"hint: for example [{"name": "db", "#), "{text}: {told}");
    }
    let missing = folder.path().join("missing.json").display().to_string();
    let (code, told) = failure(&["--api", ANY_PORT, "--config", &missing]);
    assert_eq!(code, Some(2), "{told}");
    assert!(
        told.contains("missing.json") && told.contains("cannot be read"),
        "{told}"
    );

    let file = write(folder.path(), r#"[{"name": "db", "upstream": "a:1"}]"#);
    let same = ["--listen", ANY_PORT, "--upstream", "a:1", "--name", "db"];
    let (code, told) = failure(&[&["--api", ANY_PORT, "--config", &file], &same[..]].concat());
    assert_eq!(code, Some(2), "{told}");
    assert!(told.contains("link `db`: proxy already exists"), "{told}");
}

#[test]
fn a_port_in_use_is_exit_code_four_with_a_hint() {
    let folder = tempfile::tempdir().unwrap();
    let (_holder, taken) = taken();
    let file = json!([{"name": "db", "listen": taken, "upstream": "a:1"}]).to_string();
    let file = write(folder.path(), &file);
    for (args, hint) in [
        (vec!["--api", &taken], "hint: choose another with --api"),
        (
            vec!["--api", ANY_PORT, "--listen", &taken, "--upstream", "a:1"],
            "hint: for example --listen 127.0.0.1:0",
        ),
        (
            vec!["--api", ANY_PORT, "--config", &file],
            r#"hint: for example [{"name": "db", "listen": "127.0.0.1:0""#,
        ),
    ] {
        let (code, told) = failure(&args);
        assert_eq!(code, Some(4), "{args:?}: {told}");
        let in_use = told.to_lowercase().contains("address already in use");
        assert!(
            in_use && told.contains(&taken) && told.contains(hint),
            "{args:?}: {told}"
        );
    }
}

#[test]
fn told_to_end_it_closes_what_it_carries_and_passes() {
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let mut links = Links::before(echo_server());
        let listen = links.listens("link");
        let mut live: Vec<Echo> = (0..20).map(|_| Echo::dial(listen)).collect();
        live.iter_mut().for_each(|echo| assert!(echo.try_round_trip(1).is_ok()));
        assert_eq!(links.end(signal).code(), Some(0), "{signal}");
        for echo in &mut live {
            assert_eq!(echo.rest().0, b"", "{signal}");
        }
        assert!(TcpStream::connect(listen).is_err() && TcpStream::connect(links.api).is_err());
    }
}

#[test]
fn it_may_be_ended_as_soon_as_it_has_said_where_it_serves() {
    for _ in 0..10 {
        assert_eq!(Links::start(&[]).end(Signal::SIGTERM).code(), Some(0));
    }
}

#[test]
fn hundreds_of_connections_are_carried_at_once() {
    const CONNECTIONS: usize = 300;
    let links = Links::before(echo_server());
    let listen = links.listens("link");
    let mut all: Vec<Echo> = (0..CONNECTIONS).map(|_| Echo::dial(listen)).collect();
    // All are there while each of them carries.
    for _ in 0..3 {
        for echo in &mut all {
            echo.round_trip(1_000);
        }
    }
    std::thread::scope(|scope| {
        for echo in &mut all[..20] {
            scope.spawn(|| echo.round_trip(200_000));
        }
    });
    all.iter_mut().for_each(Echo::done);
    for echo in &mut all {
        assert_eq!(echo.rest().0, b"");
    }
}
