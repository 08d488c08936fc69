use std::sync::{Arc, Mutex};

use hyper::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::*;
use crate::control;
use crate::fault::test_double::{self, Disobedience, FakeSystem, targets};

/// Where the service answers.
const PORT: u16 = 15_434;

/// A service with a switch, and what is wrong with it.
#[derive(Debug, Default)]
struct Service {
    on: bool,
    /// It says that it did, and goes on as before.
    is_deaf: bool,
    /// So many requests are refused first.
    refuses: u32,
    /// It shows nothing that could be judged.
    shows_nothing: bool,
    put: Vec<Value>,
}

fn answer(service: &mut Service, asked: &control::Asked) -> control::Answer {
    let mut status = StatusCode::OK;
    if asked.method == Method::PUT {
        let body: Value = serde_json::from_slice(asked.body.as_ref().unwrap()).unwrap();
        service.put.push(body.clone());
        if service.refuses > 0 {
            service.refuses -= 1;
            status = StatusCode::SERVICE_UNAVAILABLE;
        } else if !service.is_deaf {
            service.on = body["on"].as_bool().unwrap();
        }
    }
    let body = match service.shows_nothing {
        true => json!({}),
        false => json!({"on": service.on}),
    };
    control::Answer {
        status,
        content_type: control::JSON,
        body: body.to_string().into(),
    }
}

/// A system whose first replica is this service.
async fn first(service: Service) -> (Arc<Mutex<Service>>, Arc<FakeSystem>) {
    let addresses = test_double::addresses();
    let listener = TcpListener::bind((addresses[0].0, PORT)).await.unwrap();
    let service = Arc::new(Mutex::new(service));
    let shared = service.clone();
    tokio::spawn(async move {
        let answer = move |asked: control::Asked| {
            let service = shared.clone();
            async move { answer(&mut service.lock().unwrap(), &asked) }
        };
        control::serve(&listener, answer).await;
    });
    (service, FakeSystem::new(Disobedience::default(), addresses))
}

fn request(index: u32) -> Request<Target> {
    let sent = |on: bool| Sent {
        method: "PUT".to_owned(),
        path: "/maintenance".to_owned(),
        json: Some(json!({"on": on})),
    };
    Request {
        targets: targets(&[index]),
        port: PORT,
        send: sent(true),
        undo: Some(sent(false)),
        seen: Seen {
            path: "/maintenance".to_owned(),
            when: "body.on".to_owned(),
        },
    }
}

#[tokio::test]
async fn what_is_seen_and_seen_no_more_is_confirmed_on_and_off() {
    let (service, system) = first(Service::default()).await;
    let context = system.context();
    let on = request(1).inject(&context).await.unwrap();
    assert!(on.confirmed && on.onset_us.is_some(), "{on:?}");
    assert!(
        on.evidence[0].contains("PUT /maintenance was answered by 200"),
        "{on:?}"
    );
    let off = request(1).heal(&context).await.unwrap();
    assert!(off.confirmed && !off.lapsed, "{off:?}");
    assert_eq!(service.lock().unwrap().put, [json!({"on": true}), json!({"on": false})]);
    // Whoever keeps the deadline is told before the service is.
    assert_eq!(system.asked(), ["call 7 PUT /maintenance 60s", "disarm 7"]);
}

#[tokio::test]
async fn what_is_refused_at_first_is_sent_again() {
    let (service, system) = first(Service {
        refuses: 1,
        ..Service::default()
    })
    .await;
    let mut context = system.context();
    context.patience.granted = std::time::Duration::from_secs(5);
    let on = request(1).inject(&context).await.unwrap();
    assert!(on.confirmed, "{on:?}");
    assert_eq!(service.lock().unwrap().put.len(), 2);
}

#[tokio::test]
async fn what_must_not_be_repeated_is_not() {
    let (service, system) = first(Service {
        refuses: 1,
        ..Service::default()
    })
    .await;
    let mut once = request(1);
    once.send.method = "PATCH".to_owned();
    let mut context = system.context();
    context.patience.granted = std::time::Duration::from_millis(500);
    let on = once.inject(&context).await.unwrap();
    assert!(!on.confirmed && on.evidence[0].contains("says 200"), "{on:?}");
    assert_eq!(service.lock().unwrap().put, Vec::<Value>::new());
}

#[tokio::test]
async fn a_service_that_only_says_so_is_not_confirmed() {
    let (_service, system) = first(Service {
        is_deaf: true,
        ..Service::default()
    })
    .await;
    let on = request(1).inject(&system.context()).await.unwrap();
    assert!(!on.confirmed && on.onset_us.is_none(), "{on:?}");
    assert!(on.evidence[0].contains(r#"says 200 {"on":false}"#), "{on:?}");
}

#[tokio::test]
async fn what_was_in_force_before_proves_nothing() {
    let (service, system) = first(Service {
        on: true,
        ..Service::default()
    })
    .await;
    let on = request(1).inject(&system.context()).await.unwrap();
    assert!(
        !on.confirmed && on.evidence[0].contains("was in force before"),
        "{on:?}"
    );
    assert!(service.lock().unwrap().put.is_empty() && system.asked().is_empty());
}

#[tokio::test]
async fn an_answer_that_cannot_be_judged_is_neither_on_nor_off() {
    let (service, system) = first(Service {
        shows_nothing: true,
        ..Service::default()
    })
    .await;
    let context = system.context();
    let on = request(1).inject(&context).await.unwrap();
    assert!(!on.confirmed && on.evidence[0].contains("nothing was sent"), "{on:?}");
    service.lock().unwrap().shows_nothing = false;
    assert!(request(1).inject(&context).await.unwrap().confirmed);
    service.lock().unwrap().shows_nothing = true;
    let off = request(1).heal(&context).await.unwrap();
    assert!(!off.confirmed && !off.lapsed, "{off:?}");
}

#[tokio::test]
async fn what_was_taken_back_before_the_heal_has_lapsed() {
    let (service, system) = first(Service::default()).await;
    let context = system.context();
    request(1).inject(&context).await.unwrap();
    service.lock().unwrap().on = false;
    let off = request(1).heal(&context).await.unwrap();
    assert!(off.confirmed && off.lapsed, "{off:?}");
    assert!(off.evidence[0].contains("before the heal"), "{off:?}");
}

#[tokio::test]
async fn what_cannot_be_taken_back_is_not_confirmed_and_its_deadline_stays_armed() {
    let (service, system) = first(Service::default()).await;
    let context = system.context();
    request(1).inject(&context).await.unwrap();
    service.lock().unwrap().is_deaf = true;
    let off = request(1).heal(&context).await.unwrap();
    assert!(!off.confirmed && !off.lapsed, "{off:?}");
    assert_eq!(system.asked(), ["call 7 PUT /maintenance 60s"]);
}

#[tokio::test]
async fn without_an_undo_nothing_is_taken_back() {
    let (service, system) = first(Service::default()).await;
    let context = system.context();
    let request = Request {
        undo: None,
        ..request(1)
    };
    assert!(!request.is_undone());
    assert!(request.inject(&context).await.unwrap().confirmed);
    let off = request.heal(&context).await.unwrap();
    assert!(off.confirmed && off.evidence[0].contains("still in force"), "{off:?}");
    service.lock().unwrap().on = false;
    let off = request.heal(&context).await.unwrap();
    assert!(
        !off.confirmed && off.evidence[0].contains("in force no more"),
        "{off:?}"
    );
    assert!(system.asked().is_empty());
}

#[tokio::test]
async fn a_service_that_does_not_answer_is_not_confirmed() {
    let (_service, system) = first(Service::default()).await;
    let on = request(2).inject(&system.context()).await.unwrap();
    assert!(!on.confirmed && on.evidence[0].starts_with("api-2: before: "), "{on:?}");
}

#[test]
fn what_cannot_be_sent_or_judged_is_a_problem() {
    let mut wrong = request(1);
    wrong.port = 0;
    wrong.send.method = "GET".to_owned();
    wrong.undo.as_mut().unwrap().path = "maintenance".to_owned();
    wrong.seen.path = "/main tenance".to_owned();
    wrong.seen.when = "answer.on".to_owned();
    let paths: Vec<String> = wrong.problems().into_iter().map(|problem| problem.path).collect();
    assert_eq!(paths, ["port", "send.method", "undo.path", "seen.path", "seen.when"]);
    assert_eq!(request(1).problems(), []);
}
