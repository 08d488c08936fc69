//! Calls of the control interface as bytes, with the statuses, types and bodies of Toxiproxy 2.12.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use serde_json::{Value, json};

use crate::support::{ANY_PORT, Echo, Links, WITHIN, carries, echo_server, eventually};

const JSON: &str = "application/json";
/// Of errors too, although they are JSON.
const TEXT: &str = "text/plain; charset=utf-8";

/// An answer.
#[derive(Debug, PartialEq, Eq)]
pub struct Answer {
    status: u16,
    content_type: Option<String>,
    body: String,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{self:?}: {error}"))
    }
}

fn answered(status: u16, content_type: &str, body: &str) -> Answer {
    Answer {
        status,
        content_type: (!content_type.is_empty()).then(|| content_type.to_owned()),
        body: body.to_owned(),
    }
}

fn error(status: u16, error: &str) -> Answer {
    let body = format!("{}\n", json!({"error": error, "status": status}));
    answered(status, TEXT, &body)
}

fn ask_as(api: SocketAddr, agent: &str, method: &str, path: &str, body: &str) -> Answer {
    let mut stream = TcpStream::connect(api).unwrap();
    stream.set_read_timeout(Some(WITHIN)).unwrap();
    let length = body.len();
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nHost: {api}\r\nUser-Agent: {agent}\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}"
    )
    .unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    let header = |name: &str| {
        let mut fields = head.lines().filter_map(|line| line.split_once(": "));
        fields.find_map(|(field, value)| field.eq_ignore_ascii_case(name).then(|| value.to_owned()))
    };
    Answer {
        status: head.split(' ').nth(1).unwrap().parse().unwrap(),
        content_type: header("content-type"),
        body: body.to_owned(),
    }
}

pub fn ask(api: SocketAddr, method: &str, path: &str, body: &str) -> Answer {
    ask_as(api, "curl/8.0", method, path, body)
}

/// Links with one proxy named `db`.
fn with_db() -> (Links, SocketAddr) {
    let links = Links::start(&["--name", "db", "--listen", ANY_PORT, "--upstream", "127.0.0.1:1"]);
    let api = links.api;
    (links, api)
}

#[test]
fn calls_that_go_well_have_toxiproxys_statuses_and_types() {
    let (_links, api) = with_db();
    let toxics = "/proxies/db/toxics";
    let calls = [
        ("GET", "/proxies", "", 200),
        ("POST", "/proxies", r#"{"name": "new", "upstream": "a:1"}"#, 201),
        ("GET", "/proxies/new", "", 200),
        ("POST", "/proxies/new", r#"{"enabled": false}"#, 200),
        ("PATCH", "/proxies/new", r#"{"enabled": true}"#, 200),
        ("POST", "/populate", r#"[{"name": "new", "upstream": "a:1"}]"#, 201),
        ("GET", toxics, "", 200),
        ("POST", toxics, r#"{"type": "latency"}"#, 200),
        ("GET", "/proxies/db/toxics/latency_downstream", "", 200),
        ("POST", "/proxies/db/toxics/latency_downstream", "{}", 200),
        ("PATCH", "/proxies/db/toxics/latency_downstream", "{}", 200),
    ];
    for (method, path, body, status) in calls {
        let answer = ask(api, method, path, body);
        assert_eq!(answer.status, status, "{method} {path}: {answer:?}");
        assert_eq!(answer.content_type.as_deref(), Some(JSON), "{method} {path}");
        answer.json();
    }
    for (method, path) in [
        ("DELETE", "/proxies/db/toxics/latency_downstream"),
        ("DELETE", "/proxies/new"),
        ("POST", "/reset"),
    ] {
        assert_eq!(ask(api, method, path, ""), answered(204, "", ""), "{method} {path}");
    }
    let version = answered(200, "application/json;charset=utf-8", "{\"version\": \"2.12.0\"}\n");
    assert_eq!(ask(api, "GET", "/version", ""), version);
}

#[test]
fn what_is_missing_or_there_already_is_told_as_by_toxiproxy() {
    let (links, api) = with_db();
    let taken = links.listens("db");
    let proxy = |name: &str, listen: &str| json!({"name": name, "upstream": "a:1", "listen": listen}).to_string();
    let latency = "/proxies/db/toxics/latency_downstream";
    ask(api, "POST", "/proxies/db/toxics", r#"{"type": "latency"}"#);
    let none = "/proxies/none";
    let none_toxics = "/proxies/none/toxics";
    let none_toxic = "/proxies/none/toxics/x";
    let no_toxic = "/proxies/db/toxics/none";
    let in_use = format!("listen tcp {taken}: bind: address already in use");
    for (method, path, body, expected) in [
        ("POST", "/proxies", "{}", error(400, "missing required field: name")),
        ("POST", "/proxies", "null", error(400, "missing required field: name")),
        (
            "POST",
            "/proxies",
            r#"{"name": ""}"#,
            error(400, "missing required field: name"),
        ),
        (
            "POST",
            "/proxies",
            r#"{"name": "x"}"#,
            error(400, "missing required field: upstream"),
        ),
        ("POST", "/proxies", "", error(400, "bad request body: EOF")),
        (
            "POST",
            "/proxies",
            &proxy("db", ANY_PORT),
            error(409, "proxy already exists"),
        ),
        ("POST", "/proxies", &proxy("x", &taken.to_string()), error(500, &in_use)),
        ("GET", none, "", error(404, "proxy not found")),
        ("POST", none, "{}", error(404, "proxy not found")),
        ("PATCH", none, "no JSON", error(404, "proxy not found")),
        ("DELETE", none, "", error(404, "proxy not found")),
        ("GET", none_toxics, "", error(404, "proxy not found")),
        ("POST", none_toxics, "{}", error(404, "proxy not found")),
        ("GET", none_toxic, "", error(404, "proxy not found")),
        ("POST", none_toxic, "{}", error(404, "proxy not found")),
        ("DELETE", none_toxic, "", error(404, "proxy not found")),
        ("GET", no_toxic, "", error(404, "toxic not found")),
        ("PATCH", no_toxic, "no JSON", error(404, "toxic not found")),
        ("DELETE", no_toxic, "", error(404, "toxic not found")),
        ("POST", "/proxies/db/toxics", "", error(400, "bad request body: EOF")),
        ("POST", "/proxies/db/toxics", "{}", error(400, "invalid toxic type")),
        (
            "POST",
            "/proxies/db/toxics",
            r#"{"type": "latency", "stream": "walrus"}"#,
            error(400, "stream was invalid, can be either upstream or downstream"),
        ),
        // What is there already is told before what is wrong with its attributes.
        (
            "POST",
            "/proxies/db/toxics",
            r#"{"type": "latency", "attributes": {"latency": "late"}}"#,
            error(409, "toxic already exists"),
        ),
        (
            "POST",
            "/proxies/db/toxics",
            r#"{"name": "latency_downstream", "type": "slicer"}"#,
            error(409, "toxic already exists"),
        ),
    ] {
        assert_eq!(ask(api, method, path, body), expected, "{method} {path} {body}");
    }
    for (method, path, body) in [
        ("POST", "/proxies", "{"),
        ("POST", "/proxies", "[]"),
        ("POST", "/proxies", r#"{"name": 1}"#),
        ("PATCH", "/proxies/db", r#"{"enabled": "yes"}"#),
        ("PATCH", latency, r#"{"attributes": {"latency": "late"}}"#),
        ("PATCH", latency, r#"{"attributes": {"latency": 1.5}}"#),
        ("PATCH", latency, r#"{"toxicity": "often"}"#),
        // Toxiproxy takes these and does something else than what was meant, or nothing.
        ("PATCH", latency, r#"{"attributes": {"latncy": 5}}"#),
        ("PATCH", latency, r#"{"attributes": {"latency": -5}}"#),
        ("PATCH", latency, r#"{"toxicity": 50}"#),
        ("POST", "/proxies/db/toxics", r#"{"type": "slicer"}"#),
    ] {
        let answer = ask(api, method, path, body);
        assert_eq!(answer.status, 400, "{method} {path} {body}: {answer:?}");
        let told = answer.json();
        assert_eq!(told["status"], 400);
        let told = told["error"].as_str().unwrap();
        assert!(
            told.len() > 25 && told.starts_with("bad request body: "),
            "{path} {body}: {told}"
        );
        assert_eq!(answer.content_type.as_deref(), Some(TEXT));
    }
    let toxic = ask(api, "GET", latency, "").json();
    assert_eq!(
        (&toxic["attributes"]["latency"], &toxic["toxicity"]),
        (&json!(0), &json!(1.0))
    );
}

#[test]
fn paths_that_are_none_are_not_found_and_other_methods_not_allowed() {
    let (_links, api) = with_db();
    let missing = answered(404, TEXT, "404 page not found\n");
    for path in [
        "/",
        "/nonsense",
        "/proxies/",
        "/proxies//toxics",
        "/proxies/db/toxics/x/y",
        "/proxies/db/",
    ] {
        assert_eq!(ask(api, "GET", path, ""), missing, "{path}");
    }
    for (method, path) in [
        ("PUT", "/proxies"),
        ("DELETE", "/proxies"),
        ("GET", "/reset"),
        ("GET", "/populate"),
        ("POST", "/version"),
        ("PUT", "/proxies/db"),
        ("PATCH", "/proxies/db/toxics"),
        ("PUT", "/proxies/db/toxics/x"),
    ] {
        let answer = ask(api, method, path, "");
        assert_eq!((answer.status, &*answer.body), (405, ""), "{method} {path}");
    }
}

#[test]
fn browsers_are_turned_away() {
    let (_links, api) = with_db();
    let browser = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0";
    let refused = answered(403, TEXT, "User agent not allowed\n");
    for (method, path) in [("GET", "/proxies"), ("POST", "/reset"), ("DELETE", "/proxies/db")] {
        assert_eq!(ask_as(api, browser, method, path, ""), refused, "{method} {path}");
    }
    for agent in ["Wget/2.1", "toxiproxy-cli/2.12.0", "my Mozilla/5.0", ""] {
        assert_eq!(ask_as(api, agent, "GET", "/proxies/db", "").status, 200, "{agent}");
    }
}

#[test]
fn a_toxic_has_toxiproxys_defaults_and_changes_only_in_what_is_asked() {
    let (_links, api) = with_db();
    let made = ask(
        api,
        "POST",
        "/proxies/db/toxics",
        r#"{"type": "latency", "attributes": {"latency": 9, "jitter": 3}}"#,
    );
    let toxic = |latency: u32, toxicity: f64| {
        json!({
            "name": "latency_downstream", "type": "latency", "stream": "downstream", "toxicity": toxicity,
            "attributes": {"latency": latency, "jitter": 3},
        })
    };
    assert_eq!(made.json(), toxic(9, 1.0));
    let path = "/proxies/db/toxics/latency_downstream";
    for (method, body, expected) in [
        ("POST", r#"{"attributes": {"latency": 50}}"#, toxic(50, 1.0)),
        ("PATCH", r#"{"toxicity": 0.5}"#, toxic(50, 0.5)),
        (
            "PATCH",
            r#"{"toxicity": 0, "attributes": {"latency": 60}}"#,
            toxic(60, 0.0),
        ),
        (
            "PATCH",
            r#"{"toxicity": null, "attributes": {"latency": null}}"#,
            toxic(60, 0.0),
        ),
        // Neither its name nor its type nor its stream changes.
        (
            "PATCH",
            r#"{"name": "x", "type": "timeout", "stream": "upstream"}"#,
            toxic(60, 0.0),
        ),
    ] {
        assert_eq!(ask(api, method, path, body).json(), expected, "{body}");
        assert_eq!(ask(api, "GET", path, "").json(), expected, "{body}");
    }
    assert_eq!(
        ask(api, "GET", "/proxies/db", "").json()["toxics"],
        json!([toxic(60, 0.0)])
    );
}

#[test]
fn capitals_make_no_difference_in_keys_and_streams() {
    let (_links, api) = with_db();
    // As the client for .NET writes it.
    let slicer = r#"{"Name": null, "Stream": "UpStream", "Type": "slicer", "Toxicity": 1.0,
        "Attributes": {"average_size": 8, "size_variation": 0, "Delay": 5}}"#;
    let made = ask(api, "POST", "/proxies/db/toxics", slicer).json();
    assert_eq!(
        (&made["name"], &made["stream"]),
        (&json!("slicer_UpStream"), &json!("upstream"))
    );
    assert_eq!(made["attributes"]["delay"], 5);
    let changed = ask(api, "POST", "/proxies/db", r#"{"Enabled": false}"#).json();
    assert_eq!(changed["enabled"], false);
}

#[test]
fn a_name_may_hold_what_a_path_must_escape() {
    let (_links, api) = with_db();
    ask(api, "POST", "/proxies", r#"{"name": "my db: 100%", "upstream": "a:1"}"#);
    let path = "/proxies/my%20db%3A%20100%25";
    assert_eq!(ask(api, "GET", path, "").json()["name"], "my db: 100%");
    ask(
        api,
        "POST",
        &format!("{path}/toxics"),
        r#"{"type": "timeout", "name": "a b"}"#,
    );
    assert_eq!(ask(api, "GET", &format!("{path}/toxics/a%20b"), "").status, 200);
    assert_eq!(ask(api, "DELETE", &format!("{path}?now=1"), "").status, 204);
    assert_eq!(ask(api, "GET", path, ""), error(404, "proxy not found"));
}

#[test]
fn populate_tells_what_was_made_and_what_was_not() {
    let (links, api) = with_db();
    let taken = links.listens("db").to_string();
    let empty = json!({"proxies": []});
    for body in ["[]", "null"] {
        let answer = ask(api, "POST", "/populate", body);
        assert_eq!((answer.status, answer.json()), (201, empty.clone()), "{body}");
    }
    for (body, status, told) in [
        (
            r#"[{"name": "a", "upstream": "a:1"}, {"upstream": "a:1"}]"#,
            400,
            "missing required field: name at proxy 2",
        ),
        (r#"[{"name": "a"}]"#, 400, "missing required field: upstream at proxy 1"),
    ] {
        let answer = ask(api, "POST", "/populate", body);
        assert_eq!((answer.status, answer.content_type.as_deref()), (status, Some(JSON)));
        assert_eq!(
            answer.json(),
            json!({"error": told, "status": status, "proxies": []}),
            "{body}"
        );
    }
    let list = json!([{"name": "a", "upstream": "a:1"}, {"name": "b", "upstream": "a:1", "listen": taken}]);
    let answer = ask(api, "POST", "/populate", &list.to_string());
    let told = answer.json();
    assert_eq!(answer.status, 500);
    assert!(
        told["error"]
            .as_str()
            .unwrap()
            .ends_with("bind: address already in use"),
        "{told}"
    );
    assert_eq!(
        (&told["proxies"][0]["name"], &told["proxies"][1]),
        (&json!("a"), &Value::Null)
    );
    assert_eq!(ask(api, "GET", "/proxies/a", "").status, 200);
    assert_eq!(ask(api, "GET", "/proxies/b", "").status, 404);
}

#[test]
fn an_address_by_name_is_the_same_address_and_a_wrong_one_changes_nothing() {
    let links = Links::before(echo_server());
    let (api, listen) = (links.api, links.listens("link"));
    let mut live = Echo::dial(listen);
    live.round_trip(1);
    let by_name = format!(r#"{{"listen": "localhost:{}"}}"#, listen.port());
    let answer = ask(api, "PATCH", "/proxies/link", &by_name).json();
    assert_eq!(answer["listen"], json!(listen.to_string()));
    for wrong in ["nonsense", "127.0.0.1:70000", "0.0.0.0:0"] {
        let answer = ask(api, "PATCH", "/proxies/link", &json!({"listen": wrong}).to_string());
        assert_eq!(answer.status, 500, "{wrong}: {answer:?}");
    }
    live.round_trip(1);
    assert!(carries(listen));
    let moved = ask(api, "PATCH", "/proxies/link", &json!({"listen": ANY_PORT}).to_string()).json();
    assert_eq!(live.rest().0, b"", "another address is another place to connect to");
    assert!(!carries(listen));
    assert!(carries(moved["listen"].as_str().unwrap().parse().unwrap()));
}

#[test]
fn metrics_count_bytes_under_toxiproxys_names() {
    let server = echo_server();
    let links = Links::before(server);
    let listen = links.listens("link");
    Echo::dial(listen).round_trip(1_234);
    let lines = |what: &str| {
        ["upstream", "downstream"].map(|direction| {
            format!(
                "toxiproxy_proxy_{what}_bytes_total{{direction=\"{direction}\",listener=\"{listen}\",proxy=\"link\",upstream=\"{server}\"}} 1234\n"
            )
        })
    };
    let mut metrics = ask(links.api, "GET", "/metrics", "");
    // A byte is counted as sent a moment after it has gone.
    eventually("all bytes are counted", || {
        metrics = ask(links.api, "GET", "/metrics", "");
        let mut lines = ["received", "sent"].into_iter().flat_map(lines);
        lines.all(|line| metrics.body.contains(&line))
    });
    assert_eq!(metrics.status, 200);
    assert_eq!(
        metrics.content_type.as_deref(),
        Some("text/plain; version=0.0.4; charset=utf-8")
    );
    for what in ["received", "sent"] {
        let kind = format!("# TYPE toxiproxy_proxy_{what}_bytes_total counter\n");
        assert!(metrics.body.contains(&kind), "{}", metrics.body);
    }
}
