//! The control interface, call by call.

use bytes::Bytes;
use hyper::header::{HeaderMap, HeaderValue, USER_AGENT};
use hyper::{Method, StatusCode};
use serde_json::{Value, json};

use super::support::{ANY_PORT, proxies};
use crate::control::Asked;
use crate::link::api::answer;
use crate::link::proxies::Proxies;

async fn ask(proxies: &Proxies, method: &str, path: &str, body: &str) -> (u16, Value) {
    let asked = Asked {
        method: method.parse::<Method>().unwrap(),
        path: path.to_owned(),
        headers: HeaderMap::new(),
        body: Ok(Bytes::copy_from_slice(body.as_bytes())),
    };
    let answer = answer(proxies, &asked).await;
    let text = String::from_utf8(answer.body.to_vec()).unwrap();
    (
        answer.status.as_u16(),
        serde_json::from_str(&text).unwrap_or(Value::String(text)),
    )
}

fn error(status: u16, error: &str) -> (u16, Value) {
    (status, json!({"error": error, "status": status}))
}

#[tokio::test]
async fn a_proxy_comes_changes_and_goes() {
    let all = &proxies();
    let body = json!({"name": "db", "listen": ANY_PORT, "upstream": "127.0.0.1:5432"}).to_string();
    let (status, made) = ask(all, "POST", "/proxies", &body).await;
    assert_eq!(status, 201);
    assert_eq!((&made["enabled"], &made["toxics"]), (&json!(true), &json!([])));
    let listen = made["listen"].as_str().unwrap().to_owned();
    assert!(!listen.ends_with(":0"), "{listen}: the port that it got");
    assert_eq!(ask(all, "GET", "/proxies/db", "").await, (200, made.clone()));
    assert_eq!(ask(all, "GET", "/proxies", "").await, (200, json!({"db": made})));
    assert_eq!(
        ask(all, "POST", "/proxies", &body).await,
        error(409, "proxy already exists")
    );
    for method in ["POST", "PATCH"] {
        let (status, changed) = ask(all, method, "/proxies/db", r#"{"enabled": false}"#).await;
        assert_eq!(
            (status, &changed["enabled"], &changed["listen"]),
            (200, &json!(false), &json!(listen))
        );
    }
    assert_eq!(ask(all, "POST", "/reset", "").await.0, 204);
    assert_eq!(ask(all, "GET", "/proxies/db", "").await.1["enabled"], true);
    assert_eq!(ask(all, "DELETE", "/proxies/db", "").await.0, 204);
    for (method, path) in [
        ("GET", "/proxies/db"),
        ("POST", "/proxies/db"),
        ("DELETE", "/proxies/db"),
        ("GET", "/proxies/db/toxics"),
    ] {
        assert_eq!(
            ask(all, method, path, "{}").await,
            error(404, "proxy not found"),
            "{method} {path}"
        );
    }
}

#[tokio::test]
async fn toxics_come_change_and_go() {
    let all = &proxies();
    ask(all, "POST", "/proxies", r#"{"name": "db", "upstream": "127.0.0.1:1"}"#).await;
    let toxics = "/proxies/db/toxics";
    let (status, made) = ask(
        all,
        "POST",
        toxics,
        r#"{"type": "latency", "attributes": {"latency": 50}}"#,
    )
    .await;
    let whole = json!({
        "name": "latency_downstream", "type": "latency", "stream": "downstream", "toxicity": 1.0,
        "attributes": {"latency": 50, "jitter": 0},
    });
    assert_eq!((status, &made), (200, &whole));
    assert_eq!(
        ask(all, "POST", toxics, r#"{"type": "latency", "attributes": {}}"#).await,
        error(409, "toxic already exists")
    );
    let slicer =
        r#"{"name": "s", "type": "slicer", "stream": "upstream", "toxicity": 0.5, "attributes": {"average_size": 9}}"#;
    assert_eq!(ask(all, "POST", toxics, slicer).await.0, 200);
    let (_, listed) = ask(all, "GET", toxics, "").await;
    assert_eq!(
        (&listed[0]["name"], &listed[1]),
        (&json!("s"), &whole),
        "upstream first"
    );
    let (status, changed) = ask(all, "PATCH", "/proxies/db/toxics/s", r#"{"attributes": {"delay": 7}}"#).await;
    assert_eq!(
        (status, &changed["attributes"], &changed["toxicity"]),
        (
            200,
            &json!({"average_size": 9, "size_variation": 0, "delay": 7}),
            &json!(0.5)
        )
    );
    assert_eq!(ask(all, "GET", "/proxies/db/toxics/s", "").await, (200, changed));
    assert_eq!(ask(all, "DELETE", "/proxies/db/toxics/s", "").await.0, 204);
    for method in ["GET", "POST", "DELETE"] {
        assert_eq!(
            ask(all, method, "/proxies/db/toxics/s", "{}").await,
            error(404, "toxic not found"),
            "{method}"
        );
    }
    ask(all, "POST", "/reset", "").await;
    assert_eq!(ask(all, "GET", toxics, "").await, (200, json!([])));
}

#[tokio::test]
async fn what_is_malformed_gets_toxiproxys_status_and_words() {
    let all = &proxies();
    ask(all, "POST", "/proxies", r#"{"name": "db", "upstream": "127.0.0.1:1"}"#).await;
    for (path, body, status, message) in [
        ("/proxies", "", 400, "bad request body: EOF"),
        ("/proxies", "{", 400, "bad request body: "),
        ("/proxies", "[]", 400, "bad request body: "),
        (
            "/proxies",
            r#"{"upstream": "x:1"}"#,
            400,
            "missing required field: name",
        ),
        (
            "/proxies",
            r#"{"name": "", "upstream": "x:1"}"#,
            400,
            "missing required field: name",
        ),
        ("/proxies", r#"{"name": "x"}"#, 400, "missing required field: upstream"),
        (
            "/proxies",
            r#"{"name": "x", "upstream": "x:1", "listen": "nonsense"}"#,
            500,
            "",
        ),
        (
            "/proxies",
            r#"{"name": "x", "upstream": "x:1", "listen": "0.0.0.0:0"}"#,
            500,
            "listen 0.0.0.0:0: only loopback",
        ),
        (
            "/populate",
            r#"[{"name": "x"}]"#,
            400,
            "missing required field: upstream at proxy 1",
        ),
        (
            "/populate",
            r#"[{"name": "x", "upstream": "y:1"}, {"name": "x", "upstream": "y:1"}]"#,
            500,
            "duplicate proxy name \"x\"",
        ),
        ("/proxies/db/toxics", "", 400, "bad request body: EOF"),
        (
            "/proxies/db/toxics",
            r#"{"type": "nonsense"}"#,
            400,
            "invalid toxic type",
        ),
        ("/proxies/db/toxics", "{}", 400, "invalid toxic type"),
        (
            "/proxies/db/toxics",
            r#"{"type": "latency", "stream": "up"}"#,
            400,
            "stream was invalid, can be either upstream or downstream",
        ),
        (
            "/proxies/db/toxics",
            r#"{"type": "latency", "attributes": {"latency": "x"}}"#,
            400,
            "bad request body: ",
        ),
        (
            "/proxies/db/toxics",
            r#"{"type": "latency", "attributes": {"latency": -1}}"#,
            400,
            "bad request body: `latency` must be",
        ),
        (
            "/proxies/db/toxics",
            r#"{"type": "latency", "toxicity": 2}"#,
            400,
            "bad request body: `toxicity` must be",
        ),
    ] {
        let (got, answer) = ask(all, "POST", path, body).await;
        assert_eq!(
            (got, &answer["status"]),
            (status, &json!(status)),
            "{path} {body}: {answer}"
        );
        assert!(
            answer["error"].as_str().unwrap().starts_with(message),
            "{path} {body}: {answer}"
        );
    }
    assert_eq!(ask(all, "GET", "/nonsense", "").await.0, 404);
    assert_eq!(ask(all, "PUT", "/proxies", "").await.0, 405);
    assert_eq!(all.all().len(), 1, "nothing of it came to be");
}

#[tokio::test]
async fn populate_makes_and_changes() {
    let all = &proxies();
    let body =
        r#"[{"name": "a", "upstream": "127.0.0.1:1"}, {"name": "b", "upstream": "127.0.0.1:2", "enabled": false}]"#;
    let (status, made) = ask(all, "POST", "/populate", body).await;
    assert_eq!((status, made["proxies"].as_array().unwrap().len()), (201, 2));
    let (status, made) = ask(
        all,
        "POST",
        "/populate",
        r#"[{"name": "b", "upstream": "127.0.0.1:3"}]"#,
    )
    .await;
    assert_eq!((status, &made["proxies"][0]["upstream"]), (201, &json!("127.0.0.1:3")));
    assert!(all.all().iter().all(|proxy| proxy.described().enabled));
}

#[tokio::test]
async fn version_and_metrics_are_told_and_browsers_are_not() {
    let all = &proxies();
    ask(all, "POST", "/proxies", r#"{"name": "db", "upstream": "127.0.0.1:1"}"#).await;
    let (status, version) = ask(all, "GET", "/version", "").await;
    assert!(
        status == 200 && version["version"].as_str().unwrap().starts_with("2."),
        "{version}"
    );
    let (status, metrics) = ask(all, "GET", "/metrics", "").await;
    let text = metrics.as_str().unwrap();
    assert_eq!(status, 200);
    assert!(
        text.contains("# TYPE toxiproxy_proxy_received_bytes_total counter\n"),
        "{text}"
    );
    assert!(
        text.contains("toxiproxy_proxy_sent_bytes_total{direction=\"downstream\",listener=\"127.0.0.1:"),
        "{text}"
    );
    let mut headers = HeaderMap::new();
    headers.insert(USER_AGENT, HeaderValue::from_static("Mozilla/5.0 (X11)"));
    let asked = Asked {
        method: Method::GET,
        path: "/version".to_owned(),
        headers,
        body: Ok(Bytes::new()),
    };
    assert_eq!(answer(all, &asked).await.status, StatusCode::FORBIDDEN);
}
