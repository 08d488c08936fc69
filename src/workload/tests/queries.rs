//! Metrics and final reads by SQL, against real servers.

use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::stub::Bench;
use crate::event::{Event, Events};
use crate::history::load::History;
use crate::system::definition::{SqlQuery, SystemDefinition};
use crate::system::postgres::scratch::{PATIENCE, Postgres};
use crate::workload::client::Client;
use crate::workload::gauge::Gauge;
use crate::workload::sql::Query;
use crate::workload::{Addresses, problems, reads};

/// A primary with a table of three orders, and its standby, which has all of it.
struct Cluster {
    primary: Postgres,
    standby: Postgres,
}

impl Cluster {
    async fn start() -> Self {
        let primary = Postgres::start();
        let table = "create table orders (key text, amount bigint, paid boolean, price numeric, note text)";
        let rows = "insert into orders values ('a', 250, true, 2.50, 'first'), ('b', -1, false, 3, null), ('c', 0, true, 1, '')";
        primary.execute(&[table, rows]).await;
        let standby = primary.standby();
        Self { primary, standby }
    }

    fn addresses(&self) -> Addresses {
        let servers = [("db-a", &self.primary), ("db-b", &self.standby)];
        servers
            .map(|(name, server)| (name.to_owned(), vec![server.address]))
            .into()
    }

    /// A system with these metrics and final reads.
    fn system(&self, members: Value) -> SystemDefinition {
        let mut system = json!({
            "name": "shop", "title": "A shop", "operations": {},
            "groups": {"database": {"services": ["db-a", "db-b"], "roles": self.primary.roles()}},
        });
        let members = members.as_object().unwrap().clone();
        system.as_object_mut().unwrap().extend(members);
        serde_json::from_value(system).unwrap()
    }

    /// The number that a query gives of a member.
    async fn number(&self, role: Value, query: &str) -> Result<f64, String> {
        let sql = json!({"group": "database", "role": role, "query": query, "timeout": "2s"});
        let sql: SqlQuery = serde_json::from_value(sql).unwrap();
        let query = Query::compile(&sql, "metrics.orders.sql", &self.system(json!({}))).unwrap();
        let client = Client::new(&self.addresses());
        query.number(|service| client.addresses(service)).await
    }

    /// The items that a query gives, and why they are not all.
    async fn read(&self, query: &str) -> (Value, Option<String>) {
        let sql = json!({"group": "database", "query": query, "timeout": "20s"});
        let system = self.system(json!({"final-reads": {"orders": {"sql": sql}}}));
        assert_eq!(problems(&system, &Default::default()), []);
        let bench = Bench::new();
        let patience = std::time::Duration::from_millis(300);
        let outcomes = reads::run(&system, &self.addresses(), bench.epoch, &bench.recorder, patience).await;
        let outcome = outcomes.unwrap().remove(0);
        let text = bench.history().await;
        let history = History::parse(&text).unwrap();
        let list = &history.reads["orders"];
        assert_eq!(list.complete, outcome.error.is_none());
        assert_eq!(list.items.len() as u64, outcome.items);
        let items = list.items.iter().map(|item| json!([item.element, item.fields]));
        (items.collect(), outcome.error)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_metric_is_a_number_of_the_member_that_is_meant() {
    let cluster = Cluster::start().await;
    let replayed = "select count(*) from pg_stat_replication where replay_lsn = pg_current_wal_lsn()";
    let start = std::time::Instant::now();
    while cluster.primary.number(replayed).await == 0 {
        assert!(start.elapsed() < PATIENCE, "the standby does not follow");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    let standby = "select case when pg_is_in_recovery() then 1 else 0 end";
    assert_eq!(cluster.number(json!("primary"), standby).await, Ok(0.0));
    assert_eq!(cluster.number(json!("standby"), standby).await, Ok(1.0));
    assert_eq!(cluster.number(json!({"member": "db-a"}), standby).await, Ok(0.0));
    assert_eq!(cluster.number(json!({"member": "db-b"}), standby).await, Ok(1.0));
    let of_standby = cluster.number(json!("standby"), "select count(*) from orders;").await;
    assert_eq!(of_standby, Ok(3.0));
    for (query, number) in [
        ("select sum(price) from orders", 6.5),
        ("select avg(amount)::float8 from orders", 83.0),
        ("select min(amount) from orders", -1.0),
        ("values (7)", 7.0),
    ] {
        assert_eq!(cluster.number(json!("primary"), query).await, Ok(number), "{query}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_hangs_holds_up_no_other() {
    let cluster = Cluster::start().await;
    cluster.standby.hang();
    assert_eq!(cluster.number(json!("primary"), "select 1").await, Ok(1.0));
    let error = cluster.number(json!("standby"), "select 1").await.unwrap_err();
    assert_eq!(error, "no answer within 4000 ms");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_that_gives_no_number_says_why_and_changes_nothing() {
    let cluster = Cluster::start().await;
    for (query, reason) in [
        (
            "delete from orders returning 1",
            "cannot execute DELETE in a read-only transaction",
        ),
        (
            "with gone as (delete from orders returning 1) select count(*) from gone",
            "read-only transaction",
        ),
        (
            "select 1; delete from orders",
            "cannot insert multiple commands into a prepared statement",
        ),
        (
            "commit; delete from orders",
            "cannot insert multiple commands into a prepared statement",
        ),
        ("delete from orders", "the query gives no rows: it must be a SELECT"),
        ("commit", "the query gives no rows: it must be a SELECT"),
        (
            "select set_config('transaction_read_only', 'off', false)::int",
            "transaction read-write mode must be set before any query",
        ),
        (
            "select count(*) from nothing",
            "db-a-1: db error: ERROR: relation \"nothing\" does not exist",
        ),
        ("select pg_sleep(30), 1", "canceling statement due to statement timeout"),
        (
            "select 1 where false",
            "the query gives no row of 1 columns, not one number",
        ),
        (
            "select amount from orders",
            "the query gives more than one row of 1 columns",
        ),
        ("select 1, 2", "the query gives one row of 2 columns"),
        (
            "select max(note) from orders",
            "the query's `max` is no number but `first`, of the type text",
        ),
        (
            "select '12'::text as twelve",
            "the query's `twelve` is no number but `12`, of the type text",
        ),
        ("select null::int as none", "the query's `none` is NULL"),
        (
            "select 'NaN'::float8 as odd",
            "the query's `odd` is no number but `NaN`, of the type float8",
        ),
        ("select $1::int", "the query has parameters"),
    ] {
        let error = cluster.number(json!("primary"), query).await.unwrap_err();
        assert!(error.contains(reason), "{query}: {error}");
    }
    assert_eq!(
        cluster.number(json!("primary"), "select count(*) from orders").await,
        Ok(3.0)
    );
    cluster.standby.promote();
    let error = cluster.number(json!("primary"), "select 1").await.unwrap_err();
    assert_eq!(
        error,
        "there is more than one primary: db-a-1 is a primary; db-b-1 is a primary"
    );
    let error = cluster.number(json!("standby"), "select 1").await.unwrap_err();
    assert!(error.starts_with("there is no standby: "), "{error}");
    // Each can still be asked by its name.
    assert_eq!(cluster.number(json!({"member": "db-b"}), "select 1").await, Ok(1.0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reading_that_fails_is_a_gap_and_its_reason_is_told_once() {
    let cluster = Cluster::start().await;
    let bad = json!({"group": "database", "query": "select nothing"});
    let good = json!({"group": "database", "query": "select count(*) from orders"});
    let system = cluster.system(json!({"metrics": {"bad": {"sql": bad}, "good": {"sql": good}}}));
    assert_eq!(problems(&system, &Default::default()), []);
    let bench = Bench::new();
    let (listener, mut heard) = mpsc::unbounded_channel();
    let events = Events::unsaved(Some(listener));
    let client = Client::new(&cluster.addresses());
    for (name, value) in [("bad", None), ("good", Some(3.0)), ("bad", None)] {
        let gauge = Gauge::compile(name, &system.metrics[name], &system).unwrap();
        for _ in 0..2 {
            assert_eq!(
                gauge.sample(&client, bench.epoch, &bench.recorder, &events).await,
                value
            );
        }
    }
    let text = bench.history().await;
    let history = History::parse(&text).unwrap();
    let values: Vec<Option<f64>> = history.samples.iter().map(|sample| sample.value).collect();
    assert_eq!(values, [None, None, Some(3.0), Some(3.0), None, None]);
    let mut notices = Vec::new();
    while let Ok(entry) = heard.try_recv() {
        if let Event::Notice { text } = entry.event {
            notices.push(text);
        }
    }
    let told = "the metric `bad` could not be read: db-a-1: db error: ERROR: column \"nothing\" does not exist";
    // Once for each of the two gauges.
    assert_eq!(notices, [told, told]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_rows_of_a_query_are_the_items_of_a_final_read() {
    let cluster = Cluster::start().await;
    let (items, error) = cluster
        .read("select amount, key as element, paid, price, note from orders order by key")
        .await;
    assert_eq!(error, None);
    assert_eq!(
        items,
        json!([
            ["a", {"amount": 250, "paid": true, "price": "2.50", "note": "first"}],
            ["b", {"amount": -1, "paid": false, "price": "3", "note": null}],
            ["c", {"amount": 0, "paid": true, "price": "1", "note": ""}],
        ])
    );
    let (items, error) = cluster
        .read("select amount as element from orders where amount > 0")
        .await;
    assert_eq!((items, error), (json!([["250", {}]]), None));
    let (items, error) = cluster.read("select key as element from orders where false").await;
    assert_eq!((items, error), (json!([]), None));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_final_read_that_is_no_list_of_items_is_incomplete() {
    let cluster = Cluster::start().await;
    for (query, reason) in [
        (
            "select key, amount from orders",
            "no column of the query is named `element`; there are `key`, `amount`",
        ),
        ("select note as element from orders", "the `element` of a row is NULL"),
        (
            "select generate_series(1, 1000001) as element",
            "the query gives more than 1000000 rows",
        ),
    ] {
        let (items, error) = cluster.read(query).await;
        assert_eq!((items, error.as_deref()), (json!([]), Some(reason)), "{query}");
    }
    let (items, error) = cluster.read("delete from orders returning key as element").await;
    assert_eq!(items, json!([]));
    let error = error.unwrap();
    assert!(
        error.starts_with("after ") && error.ends_with("cannot execute DELETE in a read-only transaction"),
        "{error}"
    );
}
