//! Locks of rows on a real server.

use std::time::{Duration, Instant};

use crate::fault::lock::{Lock, Mode};
use crate::fault::postgres::table::TableName;
use crate::fault::test_double::{FakeSystem, targets};
use crate::fault::{Fault, FaultContext, Receipt};
use crate::plan::Target;
use crate::system::postgres::scratch::{PATIENCE, Postgres};

fn lock(rows: &str) -> Lock<Target> {
    Lock {
        targets: targets(&[1]),
        table: TableName("accounts".to_owned()),
        mode: Mode::default(),
        rows: Some(rows.to_owned()),
    }
}

fn says(receipt: &Receipt, words: &str) {
    assert!(receipt.evidence.iter().any(|line| line.contains(words)), "{receipt:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_writes_the_rows_waits_and_nobody_else_does() {
    let server = Postgres::start();
    let table = "create table accounts as select id, 100 as balance from generate_series(1, 9) id";
    server.execute(&[table]).await;
    let system = FakeSystem::databases(&server.roles(), [server.address, server.address]);
    let context = FaultContext::new(system, 7, Duration::from_secs(60), 1);
    let fault = lock("id <= 3");
    assert_eq!(fault.problems(), []);
    let on = fault.inject(&context).await.unwrap();
    assert!(on.confirmed, "{on:#?}");
    says(
        &on,
        "WHERE id <= 3 FOR UPDATE NOWAIT of another session is refused (55P03)",
    );

    let pay = |id: u32| format!("update accounts set balance = balance - 1 where id = {id}");
    server.execute(&[&pay(4), "select sum(balance) from accounts"]).await;
    let mut waiting = Vec::new();
    for _ in 0..2 {
        let customer = server.client().await;
        let pay = pay(2);
        waiting.push(tokio::spawn(async move { customer.batch_execute(&pay).await }));
    }
    let start = Instant::now();
    while server.number("select count(*) from pg_locks where not granted").await < 2 {
        assert!(start.elapsed() < PATIENCE, "nobody waits");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let off = fault.heal(&context).await.unwrap();
    assert!(off.confirmed && !off.lapsed, "{off:#?}");
    says(&off, "at most 2 other sessions waited");
    for customer in waiting {
        customer.await.unwrap().unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn where_no_row_is_meant_none_is_locked() {
    let server = Postgres::start();
    server.execute(&["create table accounts (id int)"]).await;
    let system = FakeSystem::databases(&server.roles(), [server.address, server.address]);
    for (rows, because) in [
        ("id = 1", "no row of accounts meets `id = 1`"),
        ("it = 1", "column \"it\" does not exist"),
    ] {
        let context = FaultContext::new(system.clone(), 7, Duration::from_secs(60), 1);
        let on = lock(rows).inject(&context).await.unwrap();
        assert!(!on.confirmed, "{on:#?}");
        says(&on, because);
        assert!(lock(rows).heal(&context).await.is_ok());
    }
}

#[test]
fn a_condition_says_something_and_a_mode_is_a_tables() {
    let paths =
        |lock: &Lock<Target>| -> Vec<String> { lock.problems().into_iter().map(|problem| problem.path).collect() };
    assert_eq!(paths(&lock(" ")), ["rows"]);
    let both = Lock {
        mode: Mode::Share,
        ..lock("id = 1")
    };
    assert_eq!(paths(&both), ["mode"]);
}
