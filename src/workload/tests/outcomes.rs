//! How attempts add up to outcomes.

use std::sync::Arc;

use serde_json::{Value, json};

use super::stub::{Reply, Seen, Stub, buy, replicas, system};
use crate::history::Outcome;
use crate::workload::client::Client;
use crate::workload::operation::{Course, Operation};

struct Ended {
    outcome: Outcome,
    course: Course,
    seen: Vec<Seen>,
}

/// Performs one operation against a stub that gives `replies` in turn, the last one for ever.
async fn perform(fields: Value, replicas_used: &[u8], replies: &[Reply]) -> Ended {
    let replies: Arc<[Reply]> = replies.into();
    let stub = Stub::start(move |_, before| replies[before.min(replies.len() - 1)].clone()).await;
    let system = system(stub.port, buy(fields));
    let operation = Operation::compile("buy", &system.operations["buy"]).unwrap();
    let client = Client::new(&replicas(replicas_used));
    let rendered = operation.render("key-1", &[json!("acct-1"), json!(85)]).unwrap();
    let mut course = Course::default();
    let turn = operation.turn(&client, &rendered).unwrap();
    let outcome = operation.perform(&client, &turn, &rendered, &mut course).await;
    Ended {
        outcome,
        course,
        seen: stub.seen(),
    }
}

fn ok() -> Reply {
    Reply::Answer(200, "{}".to_owned())
}

fn status(status: u16) -> Reply {
    Reply::Answer(status, String::new())
}

fn retry(attempts: u32) -> Value {
    json!({"attempts": attempts, "backoff": "1ms"})
}

#[tokio::test]
async fn an_acknowledgement_is_ok() {
    let ended = perform(json!({}), &[1], &[ok()]).await;
    assert_eq!((ended.outcome, ended.course.attempts), (Outcome::Ok, 1));
    assert_eq!((ended.course.status, ended.course.error), (Some(200), None));
    let body: Value = serde_json::from_str(&ended.seen[0].body).unwrap();
    assert_eq!(body, json!({"account": "acct-1", "amount": 85}));
}

#[tokio::test]
async fn a_refused_connection_is_fail() {
    let ended = perform(json!({}), &[2], &[ok()]).await;
    assert_eq!(ended.outcome, Outcome::Fail);
    assert_eq!(ended.course.error.as_deref(), Some("refused"));
    assert_eq!(ended.seen, []);
}

#[tokio::test]
async fn a_time_out_is_info() {
    let ended = perform(json!({"timeout": "100ms"}), &[1], &[Reply::Never]).await;
    assert_eq!((ended.outcome, ended.course.status), (Outcome::Info, None));
    assert_eq!(ended.course.error.as_deref(), Some("timeout"));
    assert_eq!(ended.seen.len(), 1);
}

#[tokio::test]
async fn a_broken_connection_is_info_and_nothing_is_sent_twice() {
    let ended = perform(json!({}), &[1], &[Reply::Close]).await;
    assert_eq!(ended.outcome, Outcome::Info);
    assert_eq!(ended.course.error.as_deref(), Some("closed"));
    assert_eq!(ended.seen.len(), 1);
}

#[tokio::test]
async fn an_answer_that_neither_rule_knows_is_info() {
    let ended = perform(json!({}), &[1], &[status(500)]).await;
    assert_eq!((ended.outcome, ended.course.status), (Outcome::Info, Some(500)));
    assert_eq!((ended.course.attempts, ended.course.error), (1, None));
}

#[tokio::test]
async fn redirects_are_not_followed() {
    let ended = perform(json!({}), &[1], &[Reply::Redirect("/elsewhere"), ok()]).await;
    assert_eq!((ended.outcome, ended.course.status), (Outcome::Info, Some(302)));
    assert_eq!(ended.seen.len(), 1);
}

#[tokio::test]
async fn ok_after_a_retry_is_ok_and_every_attempt_is_the_same_request() {
    let ended = perform(json!({"retry": retry(3)}), &[1], &[status(503), Reply::Close, ok()]).await;
    assert_eq!((ended.outcome, ended.course.attempts), (Outcome::Ok, 3));
    assert_eq!(ended.course.error, None);
    assert_eq!(ended.seen[0].key, "key-1");
    assert_eq!(ended.seen, vec![ended.seen[0].clone(); 3]);
}

#[tokio::test]
async fn a_retry_goes_to_the_next_replica() {
    let ended = perform(json!({"retry": retry(2)}), &[2, 1], &[ok()]).await;
    assert_eq!((ended.outcome, ended.course.attempts), (Outcome::Ok, 2));
}

#[tokio::test]
async fn a_time_out_followed_by_a_refused_retry_is_info() {
    let fields = json!({"timeout": "100ms", "retry": retry(2)});
    let ended = perform(fields, &[1, 2], &[Reply::Never]).await;
    assert_eq!((ended.outcome, ended.course.attempts), (Outcome::Info, 2));
    assert_eq!(ended.course.error.as_deref(), Some("refused"));
}

#[tokio::test]
async fn fail_needs_every_attempt_to_fail() {
    let refused_then_refusal = json!({"retry": retry(2)});
    let ended = perform(refused_then_refusal.clone(), &[2, 1], &[status(422)]).await;
    assert_eq!((ended.outcome, ended.course.attempts), (Outcome::Fail, 2));
    let ended = perform(refused_then_refusal, &[2, 1], &[status(500)]).await;
    assert_eq!((ended.outcome, ended.course.attempts), (Outcome::Info, 2));
}

#[tokio::test]
async fn the_definition_says_which_answers_are_retried() {
    let ended = perform(json!({"retry": retry(3)}), &[1], &[status(422), ok()]).await;
    assert_eq!((ended.outcome, ended.course.attempts), (Outcome::Fail, 1));
    let when = json!({"retry": {"attempts": 3, "backoff": "1ms", "when": "status == 422"}});
    let ended = perform(when, &[1], &[status(422), ok()]).await;
    assert_eq!((ended.outcome, ended.course.attempts), (Outcome::Ok, 2));
}

#[tokio::test]
async fn a_rule_that_cannot_be_evaluated_does_not_hold() {
    let fields = json!({"outcome": {"ok": "body.state == 'paid'"}});
    let paid = Reply::json(200, &json!({"state": "paid"}));
    assert_eq!(perform(fields.clone(), &[1], &[paid]).await.outcome, Outcome::Ok);
    let ended = perform(fields, &[1], &[Reply::json(200, &json!({}))]).await;
    assert_eq!(ended.outcome, Outcome::Info);
    assert!(ended.course.error.unwrap().starts_with("rule: "));
}
