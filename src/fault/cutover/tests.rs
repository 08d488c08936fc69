//! Moves between real servers.

use std::time::Duration;

use tokio_postgres::error::SqlState;

use super::*;
use crate::fault::test_double::{FakeSystem, targets};
use crate::system::postgres::scratch::Postgres;

/// An old server with three orders, and a new one with the same tables that nobody may write to.
struct Servers {
    old: Postgres,
    new: Postgres,
    context: FaultContext,
}

const TABLES: [&str; 3] = [
    "create table customers (name text primary key)",
    "create table orders (id bigserial primary key, customer text references customers, amount bigint not null)",
    "create schema other create table \"Odd name\" (id int primary key)",
];
const ORDER: &str = "insert into orders (customer, amount) values ('ada', 5)";
const ORDERS: &str = "select count(*) from orders";
const CLOSE: [&str; 2] = [
    "alter system set default_transaction_read_only = on",
    "select pg_reload_conf()",
];

const ALL_THE_SAME: &str = "set default_transaction_read_only = off";

impl Servers {
    async fn start() -> Self {
        let old = Postgres::start();
        let new = old.another();
        old.execute(&TABLES).await;
        old.execute(&["insert into customers values ('ada')", ORDER, ORDER, ORDER])
            .await;
        new.execute(&TABLES).await;
        new.execute(&CLOSE).await;
        while refused(&new, ORDER).await != Some(SqlState::READ_ONLY_SQL_TRANSACTION) {
            sleep(Duration::from_millis(5)).await;
        }
        let system = FakeSystem::databases(&old.roles(), [old.address, new.address]);
        let context = FaultContext::new(system, 7, Duration::from_secs(60), 1);
        Self { old, new, context }
    }

    /// Nothing of the replication is left on either side.
    async fn none_left(&self) {
        for server in [&self.old, &self.new] {
            for what in ["pg_subscription", "pg_publication", "pg_replication_slots"] {
                let count = format!("select count(*) from {what}");
                assert_eq!(server.number(&count).await, 0, "{what}");
            }
        }
    }
}

fn cutover(skip: Skip) -> Cutover<Target> {
    Cutover {
        from: targets(&[1]),
        to: targets(&[2]),
        follow: DurationMs(0),
        skip,
        stays: false,
    }
}

/// The SQLSTATE by which a statement is refused in a fresh session, if it is.
async fn refused(server: &Postgres, sql: &str) -> Option<SqlState> {
    let client = server.client().await;
    client.batch_execute(sql).await.err()?.code().cloned()
}

fn says(receipt: &Receipt, words: &str) {
    assert!(receipt.evidence.iter().any(|line| line.contains(words)), "{receipt:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn all_that_there_is_moves_and_comes_back() {
    let servers = Servers::start().await;
    let Servers { old, new, context } = &servers;
    let from_before = old.client().await;
    let on = cutover(Skip::Nothing).inject(context).await.unwrap();
    assert!(on.confirmed, "{on:#?}");
    says(&on, "4 rows in 3 tables, as many and with the same checksums");
    says(&on, "public.orders_id_seq at 3");
    says(&on, "sessions from before are gone");
    assert_eq!(refused(old, ORDER).await, Some(SqlState::READ_ONLY_SQL_TRANSACTION));
    assert!(from_before.batch_execute("select 1").await.is_err());
    assert_eq!(refused(new, ORDER).await, None);
    assert_eq!(new.number("select max(id) from orders").await, 4);

    let off = cutover(Skip::Nothing).heal(context).await.unwrap();
    assert!(off.confirmed && !off.lapsed, "{off:#?}");
    assert_eq!(refused(new, ORDER).await, Some(SqlState::READ_ONLY_SQL_TRANSACTION));
    assert_eq!(refused(old, ORDER).await, None);
    assert_eq!(old.number("select max(id) from orders").await, 5);
    servers.none_left().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_move_for_good_stays() {
    let servers = Servers::start().await;
    let Servers { old, new, context } = &servers;
    let stays = Cutover {
        stays: true,
        ..cutover(Skip::Nothing)
    };
    assert!(!stays.is_undone());
    let on = stays.inject(context).await.unwrap();
    assert!(on.confirmed, "{on:#?}");
    let off = stays.heal(context).await.unwrap();
    assert!(off.confirmed, "{off:#?}");
    assert_eq!(refused(new, ORDER).await, None);
    assert_eq!(refused(old, ORDER).await, Some(SqlState::READ_ONLY_SQL_TRANSACTION));
    servers.none_left().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sequences_that_are_left_out_begin_anew_and_do_not_come_back() {
    let servers = Servers::start().await;
    let Servers { old, new, context } = &servers;
    let on = cutover(Skip::Sequences).inject(context).await.unwrap();
    assert!(on.confirmed, "{on:#?}");
    says(&on, "public.orders_id_seq at 3; at api-2, no sequence was used");
    assert_eq!(refused(new, ORDER).await, Some(SqlState::UNIQUE_VIOLATION));
    let off = cutover(Skip::Sequences).heal(context).await.unwrap();
    assert!(off.confirmed, "{off:#?}");
    assert_eq!(refused(old, ORDER).await, None);
    servers.none_left().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_fence_both_accept_writes() {
    let servers = Servers::start().await;
    let Servers { old, new, context } = &servers;
    let on = cutover(Skip::Fence).inject(context).await.unwrap();
    assert!(on.confirmed, "{on:#?}");
    says(&on, "api-1 was never closed");
    for server in [old, new] {
        assert_eq!(refused(server, ORDER).await, None);
    }
    let off = cutover(Skip::Fence).heal(context).await.unwrap();
    assert!(off.confirmed, "{off:#?}");
    assert_eq!(refused(new, ORDER).await, Some(SqlState::READ_ONLY_SQL_TRANSACTION));
    servers.none_left().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_do_not_come_along_are_counted() {
    let servers = Servers::start().await;
    let Servers { old, new, context } = &servers;
    let fault = Cutover {
        follow: DurationMs(1_000),
        ..cutover(Skip::Rows)
    };
    // Orders come in for as long as they are taken.
    let customer = old.client().await;
    let customers = tokio::spawn(async move {
        while customer.batch_execute(ORDER).await.is_ok() {
            sleep(Duration::from_millis(20)).await;
        }
    });
    let on = fault.inject(context).await.unwrap();
    customers.await.unwrap();
    assert!(on.confirmed, "{on:#?}");
    let (all, came) = (old.number(ORDERS).await, new.number(ORDERS).await);
    assert!(came < all, "{came} of {all}");
    says(&on, &format!("public.orders {all} rows and {came}"));
    let off = fault.heal(context).await.unwrap();
    assert!(off.confirmed, "{off:#?}");
    servers.none_left().await;

    let servers = Servers::start().await;
    let Servers { old, new, context } = &servers;
    let on = cutover(Skip::RowsBack).inject(context).await.unwrap();
    assert!(on.confirmed, "{on:#?}");
    new.execute(&[ORDER]).await;
    let off = cutover(Skip::RowsBack).heal(context).await.unwrap();
    assert!(off.confirmed, "{off:#?}");
    says(&off, "public.orders 3 rows and 4");
    assert_eq!(old.number(ORDERS).await, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_moved_is_left_alone() {
    let servers = Servers::start().await;
    let Servers { old, new, context } = &servers;
    let refuses = async |words: &str| {
        let on = cutover(Skip::Nothing).inject(context).await.unwrap();
        assert!(!on.confirmed && on.evidence[0].ends_with("nothing was done"), "{on:#?}");
        says(&on, words);
        let off = cutover(Skip::Nothing).heal(context).await.unwrap();
        assert!(off.confirmed, "{off:#?}");
        assert_eq!(refused(old, ORDER).await, None);
    };
    old.execute(&["create table labels (label text)"]).await;
    refuses("lacks tables that api-1 has: public.labels").await;
    new.execute(&[ALL_THE_SAME, "create table labels (label text)"]).await;
    refuses("rows of public.labels have no primary key").await;
    old.execute(&["alter table labels add primary key (label)"]).await;
    new.execute(&[ALL_THE_SAME, "insert into customers values ('bob')"])
        .await;
    refuses("there are rows already in public.customers").await;
    old.execute(&CLOSE).await;
    let on = cutover(Skip::Nothing).inject(context).await.unwrap();
    assert!(!on.confirmed, "{on:#?}");
    says(&on, "read-only transaction");
    servers.none_left().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_move_that_breaks_off_is_given_up() {
    let mut servers = Servers::start().await;
    // A row that the copy trips over: the new server is stricter.
    let strict = "alter table orders add check (amount > 5)";
    servers.new.execute(&[ALL_THE_SAME, strict]).await;
    let patience = crate::fault::Patience {
        ready: Duration::from_secs(3),
        ..crate::fault::Patience::default()
    };
    servers.context = FaultContext {
        patience,
        ..servers.context
    };
    let Servers { old, new, context } = &servers;
    let on = cutover(Skip::Nothing).inject(context).await.unwrap();
    assert!(!on.confirmed, "{on:#?}");
    says(&on, "not every table is copied");
    let off = cutover(Skip::Nothing).heal(context).await.unwrap();
    assert!(off.confirmed, "{off:#?}");
    says(&off, "the move is given up");
    assert_eq!(refused(old, ORDER).await, None);
    assert_eq!(refused(new, ORDER).await, Some(SqlState::READ_ONLY_SQL_TRANSACTION));
    servers.none_left().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_server_that_somebody_closes_has_lapsed() {
    let servers = Servers::start().await;
    let Servers { new, context, .. } = &servers;
    assert!(cutover(Skip::Nothing).inject(context).await.unwrap().confirmed);
    new.execute(&CLOSE).await;
    let off = cutover(Skip::Nothing).heal(context).await.unwrap();
    assert!(off.confirmed && off.lapsed, "{off:#?}");
}

#[test]
fn a_move_has_one_server_at_either_end_and_a_way_back_to_leave_something_out_of() {
    let wrong = Cutover {
        from: targets(&[1, 2]),
        to: vec![Target::Role {
            group: "database".to_owned(),
            role: Role::Standby,
            members: Vec::new(),
        }],
        follow: DurationMs(0),
        skip: Skip::RowsBack,
        stays: true,
    };
    let paths: Vec<String> = wrong.problems().into_iter().map(|problem| problem.path).collect();
    assert_eq!(paths, ["from", "to[0]", "skip"]);
    let itself = Cutover {
        to: targets(&[1]),
        ..cutover(Skip::Nothing)
    };
    assert_eq!(itself.problems()[0].path, "to[0]");
    assert_eq!(cutover(Skip::Nothing).problems(), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn on_the_way_back_the_old_server_stays_closed_while_the_new_one_cannot_be_closed() {
    let servers = Servers::start().await;
    let Servers { old, new, context } = &servers;
    let on = cutover(Skip::Nothing).inject(context).await.unwrap();
    assert!(on.confirmed, "{on:#?}");
    // Where the server would write its settings, there is a folder.
    let row = new.client().await.query_one("show data_directory", &[]).await.unwrap();
    let in_the_way = std::path::Path::new(row.get::<_, &str>(0)).join("postgresql.auto.conf.tmp");
    std::fs::create_dir(&in_the_way).unwrap();
    let off = cutover(Skip::Nothing).heal(context).await.unwrap();
    assert!(!off.confirmed, "{off:#?}");
    says(&off, "still open, so that api-1 stays closed");
    assert_eq!(refused(old, ORDER).await, Some(SqlState::READ_ONLY_SQL_TRANSACTION));
    assert_eq!(refused(new, ORDER).await, None);

    // Healed again, once that is out of the way, it goes back with all that came meanwhile.
    std::fs::remove_dir(&in_the_way).unwrap();
    let again = cutover(Skip::Nothing).heal(context).await.unwrap();
    assert!(again.confirmed, "{again:#?}");
    assert_eq!(refused(old, ORDER).await, None);
    assert_eq!(refused(new, ORDER).await, Some(SqlState::READ_ONLY_SQL_TRANSACTION));
    servers.none_left().await;
}
