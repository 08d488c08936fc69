//! Faults of the database itself on real PostgreSQL: that they bite and heal, that they end with their time or with whoever
//! holds them, and that receipts of those that do not bite say so.

use std::sync::Arc;
use std::time::{Duration, Instant};

use nightmail::duration::DurationMs;
use nightmail::fault::exhaust_connections::ExhaustConnections;
use nightmail::fault::lock::{Lock, Mode};
use nightmail::fault::long_transaction::{Isolation, LongTransaction};
use nightmail::fault::read_only::ReadOnly;
use nightmail::fault::replication_lag::ReplicationLag;
use nightmail::fault::slow_queries::SlowQueries;
use nightmail::fault::{Fault, FaultContext, Receipt, TableName};
use nightmail::plan::{Role, Target};
use nightmail::system::engine::RunningSystem;
use tokio_postgres::{Client, Error, NoTls, SimpleQueryMessage};

use crate::faults::{WITHIN, confirmed, context, databases, down, lapsed, of, query, role, unconfirmed};
use crate::support::{Under, address, events};

on_both_engines!(
    a_locked_table_keeps_others_waiting_until_the_heal,
    a_long_transaction_holds_its_snapshot_until_the_heal,
    connections_are_exhausted_until_the_heal,
    a_standby_lags_until_the_heal,
    a_read_only_server_refuses_writes_until_the_heal,
    writes_to_a_table_are_slow_until_the_heal,
);

const PRIMARY: &str = "database-1";
const STANDBY: &str = "database-2";
const BRIEF: Duration = Duration::from_secs(3);

async fn connect(system: &Arc<dyn RunningSystem>, service: &str, user: &str) -> Result<Client, Error> {
    let address = address(&**system, service);
    let config = format!("host={address} user={user} dbname=postgres connect_timeout=5");
    let (client, connection) = tokio_postgres::connect(&config, NoTls).await?;
    tokio::spawn(connection);
    Ok(client)
}

/// The SQLSTATE of a refusal.
fn state<T>(tried: Result<T, Error>) -> Result<T, String> {
    tried.map_err(|error| {
        error
            .code()
            .map_or_else(|| error.to_string(), |state| state.code().to_owned())
    })
}

/// What comes of a statement in a fresh session, or its SQLSTATE.
async fn tried(system: &Arc<dyn RunningSystem>, service: &str, sql: &str) -> Result<String, String> {
    let client = state(connect(system, service, "postgres").await)?;
    let answer = state(client.simple_query(sql).await)?;
    let row = answer.iter().find_map(|message| match message {
        SimpleQueryMessage::Row(row) => row.get(0),
        _ => None,
    });
    Ok(row.unwrap_or_default().to_owned())
}

async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let began = Instant::now();
    while !holds().await {
        assert!(began.elapsed() < WITHIN, "{what}: not within {WITHIN:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// A context whose fault's time is soon over.
fn brief(system: &Arc<dyn RunningSystem>, fault: u32) -> FaultContext {
    FaultContext {
        ttl: BRIEF,
        ..context(system, fault)
    }
}

/// A fault ends when its time is over, and when whoever holds it is gone; then nothing of it is left.
async fn ends_by_itself(
    system: &Arc<dyn RunningSystem>,
    service: &str,
    fault: &dyn Fault,
    because: &str,
    mut is_over: impl AsyncFnMut() -> bool,
) {
    let id = format!("{service}-1");
    let over = brief(system, 98);
    confirmed(&fault.inject(&over).await.unwrap(), &[&id]);
    until("its time is over", &mut is_over).await;
    lapsed(&fault.heal(&over).await.unwrap(), &[&id], because);

    let dies = context(system, 99);
    confirmed(&fault.inject(&dies).await.unwrap(), &[&id]);
    assert!(!is_over().await, "it lasts");
    drop(dies);
    until("it ends with its holder", &mut is_over).await;
    none_left(system, service).await;
}

fn says(receipt: &Receipt, words: &str) {
    assert!(receipt.evidence.iter().any(|line| line.contains(words)), "{receipt:#?}");
}

/// The sessions of any fault, those of the harness's own questions left out.
async fn none_left(system: &Arc<dyn RunningSystem>, service: &str) {
    let sql = "select count(*) from pg_stat_activity where application_name like 'nightmail fault %'";
    until("no session of a fault is left", async || {
        tried(system, service, sql).await.as_deref() == Ok("0")
    })
    .await;
}

const READ: &str = "set lock_timeout = 100; select count(*) from orders";
const LOCKED: &str = "55P03";

async fn a_locked_table_keeps_others_waiting_until_the_heal(engine: Under) {
    let request = databases("locked");
    let system = engine.up(&request, &events()).await.unwrap();
    query(&system, PRIMARY, "create table orders (it int)").await;
    let lock = |targets: Vec<Target>, mode: Mode| Lock {
        targets,
        table: TableName("orders".to_owned()),
        mode,
        rows: None,
    };
    let whole = lock(role(Role::Primary), Mode::AccessExclusive);
    let first = context(&system, 0);
    confirmed(&whole.inject(&first).await.unwrap(), &["database-1-1"]);
    assert_eq!(tried(&system, PRIMARY, READ).await, Err(LOCKED.to_owned()));
    let waits = tokio::spawn({
        let system = system.clone();
        async move { tried(&system, PRIMARY, "insert into orders values (1)").await }
    });
    let waiting = "select count(*) from pg_locks where not granted";
    until("somebody waits", async || query(&system, PRIMARY, waiting).await == "1").await;
    // It is locked for somebody else, too: that it was done again could not be told.
    unconfirmed(
        &whole.inject(&context(&system, 1)).await.unwrap(),
        "nothing was done to it",
    );
    let healed = whole.heal(&first).await.unwrap();
    confirmed(&healed, &["database-1-1"]);
    assert!(!healed.lapsed, "{healed:#?}");
    says(&healed, "at most 1 other sessions waited");
    waits.await.unwrap().unwrap();

    // Whoever only reads is not concerned by a weaker lock.
    for (number, mode) in (2..).zip([Mode::Share, Mode::ShareRowExclusive, Mode::Exclusive]) {
        let (weak, context) = (lock(of(PRIMARY), mode), context(&system, number));
        confirmed(&weak.inject(&context).await.unwrap(), &["database-1-1"]);
        assert_eq!(tried(&system, PRIMARY, READ).await.as_deref(), Ok("1"));
        let write = "set lock_timeout = 100; insert into orders values (2)";
        assert_eq!(tried(&system, PRIMARY, write).await, Err(LOCKED.to_owned()));
        confirmed(&weak.heal(&context).await.unwrap(), &["database-1-1"]);
    }

    let on_standby = lock(of(STANDBY), Mode::AccessExclusive)
        .inject(&context(&system, 6))
        .await;
    unconfirmed(&on_standby.unwrap(), "cannot execute LOCK TABLE during recovery");
    let missing = Lock {
        table: TableName("nobodys".to_owned()),
        ..whole.clone()
    };
    unconfirmed(&missing.inject(&context(&system, 7)).await.unwrap(), "does not exist");

    let is_over = async || tried(&system, PRIMARY, READ).await.is_ok();
    ends_by_itself(&system, PRIMARY, &whole, "gone before the heal", is_over).await;
    down(&engine, &system, &request.run_id).await;
}

async fn a_long_transaction_holds_its_snapshot_until_the_heal(engine: Under) {
    let request = databases("long-transaction");
    let system = engine.up(&request, &events()).await.unwrap();
    query(
        &system,
        PRIMARY,
        "create table orders as select generate_series(1, 100) as it",
    )
    .await;
    let open = |targets: Vec<Target>, isolation: Isolation| LongTransaction {
        targets,
        isolation,
        reads: Some(TableName("orders".to_owned())),
    };
    // Those of autovacuum come and go.
    let snapshots = "select count(*) from pg_stat_activity where backend_xmin is not null
        and backend_type = 'client backend' and pid <> pg_backend_pid()";
    for (number, isolation) in (0..).zip([Isolation::RepeatableRead, Isolation::Serializable]) {
        let (fault, context) = (open(role(Role::Primary), isolation), context(&system, number));
        confirmed(&fault.inject(&context).await.unwrap(), &["database-1-1"]);
        assert_eq!(query(&system, PRIMARY, snapshots).await, "1");
        query(&system, PRIMARY, "update orders set it = it + 1").await;
        let healed = fault.heal(&context).await.unwrap();
        confirmed(&healed, &["database-1-1"]);
        says(&healed, "age 1");
        assert_eq!(query(&system, PRIMARY, snapshots).await, "0");
    }
    let (standby, first) = (
        open(role(Role::Standby), Isolation::RepeatableRead),
        context(&system, 2),
    );
    confirmed(&standby.inject(&first).await.unwrap(), &["database-2-1"]);
    confirmed(&standby.heal(&first).await.unwrap(), &["database-2-1"]);
    let none = open(of(STANDBY), Isolation::Serializable)
        .inject(&context(&system, 3))
        .await;
    unconfirmed(&none.unwrap(), "cannot use serializable mode in a hot standby");

    let fault = open(of(PRIMARY), Isolation::RepeatableRead);
    let is_over = async || query(&system, PRIMARY, snapshots).await == "0";
    ends_by_itself(&system, PRIMARY, &fault, "gone before the heal", is_over).await;
    down(&engine, &system, &request.run_id).await;
}

const FULL: &str = "53300";

async fn connections_are_exhausted_until_the_heal(engine: Under) {
    let request = databases("exhausted");
    let system = engine.up(&request, &events()).await.unwrap();
    query(&system, PRIMARY, "create role customer login").await;
    let connects = async |user: &str| state(connect(&system, PRIMARY, user).await);
    let exhaust = |leave: u32, take_reserved: bool| ExhaustConnections {
        targets: role(Role::Primary),
        leave,
        take_reserved,
    };

    // Nothing is left for a customer, and superusers still have theirs.
    let (ordinary, first) = (exhaust(0, false), context(&system, 0));
    let on = exhausted(&ordinary, &first).await;
    says(&on, "a superuser, still has these");
    assert_eq!(connects("customer").await.err().as_deref(), Some(FULL));
    drop(connects("postgres").await.unwrap());
    let healed = freed(&ordinary, &first).await;
    assert!(!healed.lapsed, "{healed:#?}");
    drop(connects("customer").await.unwrap());
    none_left(&system, PRIMARY).await;

    // Two are left, and no third.
    let (two, second) = (exhaust(2, false), context(&system, 1));
    exhausted(&two, &second).await;
    let customers = [connects("customer").await.unwrap(), connects("customer").await.unwrap()];
    assert_eq!(connects("customer").await.err().as_deref(), Some(FULL));
    confirmed(&two.heal(&second).await.unwrap(), &["database-1-1"]);
    drop(customers);
    none_left(&system, PRIMARY).await;

    // Nobody has any.
    let (all, third) = (exhaust(0, true), context(&system, 2));
    let on = exhausted(&all, &third).await;
    says(&on, "a fresh connection as `postgres` is refused (53300)");
    assert_eq!(connects("postgres").await.err().as_deref(), Some(FULL));
    nobody_finds_the_primary(&all, &context(&system, 3)).await;
    freed(&all, &third).await;

    let is_over = async || lets_customers_in(&system).await;
    ends_by_itself(&system, PRIMARY, &all, "gone before the heal", is_over).await;
    down(&engine, &system, &request.run_id).await;
}

/// Waits until nobody has a connection: a server notices later that one was closed, and counts it until then.
async fn nobody_is_connected(system: &Arc<dyn RunningSystem>) {
    let sql = "select count(*) from pg_stat_activity
        where backend_type = 'client backend' and pid <> pg_backend_pid()";
    until("nobody is connected", async || {
        tried(system, PRIMARY, sql).await.as_deref() == Ok("0")
    })
    .await;
}

async fn exhausted(fault: &ExhaustConnections<Target>, context: &FaultContext) -> Receipt {
    nobody_is_connected(&context.system).await;
    let on = fault.inject(context).await.unwrap();
    confirmed(&on, &["database-1-1"]);
    on
}

async fn freed(fault: &ExhaustConnections<Target>, context: &FaultContext) -> Receipt {
    let healed = fault.heal(context).await.unwrap();
    confirmed(&healed, &["database-1-1"]);
    nobody_is_connected(&context.system).await;
    healed
}

/// Whether they are let in; if so, nobody is connected afterwards.
async fn lets_customers_in(system: &Arc<dyn RunningSystem>) -> bool {
    let is_let_in = connect(system, PRIMARY, "customer").await.map(drop).is_ok();
    if is_let_in {
        nobody_is_connected(system).await;
    }
    is_let_in
}

/// Who asks a server that lets nobody in does not learn that it is the primary.
async fn nobody_finds_the_primary(fault: &ExhaustConnections<Target>, context: &FaultContext) {
    let refused = fault.inject(context).await.unwrap_err().to_string();
    assert!(refused.contains("too many clients"), "{refused}");
}

async fn a_standby_lags_until_the_heal(engine: Under) {
    let request = databases("lags");
    let system = engine.up(&request, &events()).await.unwrap();
    query(&system, PRIMARY, "create table orders (it int)").await;
    let there = "select to_regclass('later') is not null";
    let paused = async || {
        tried(&system, STANDBY, "select pg_is_wal_replay_paused()")
            .await
            .as_deref()
            == Ok("t")
    };
    let lag = ReplicationLag {
        targets: role(Role::Standby),
    };
    let first = context(&system, 0);
    confirmed(&lag.inject(&first).await.unwrap(), &["database-2-1"]);
    query(&system, PRIMARY, "create table later (it int)").await;
    assert_eq!(query(&system, STANDBY, there).await, "f");
    // It does not follow already.
    unconfirmed(
        &lag.inject(&context(&system, 1)).await.unwrap(),
        "its replay was paused",
    );
    let healed = lag.heal(&first).await.unwrap();
    confirmed(&healed, &["database-2-1"]);
    assert!(!healed.lapsed, "{healed:#?}");
    until("it has caught up", async || query(&system, STANDBY, there).await == "t").await;
    none_left(&system, STANDBY).await;

    let primary = ReplicationLag { targets: of(PRIMARY) };
    unconfirmed(
        &primary.inject(&context(&system, 2)).await.unwrap(),
        "it was no standby",
    );

    let is_over = async || !paused().await;
    ends_by_itself(&system, STANDBY, &lag, "before the heal it was not paused", is_over).await;

    // A promotion ends the pause, too.
    let promoted = context(&system, 5);
    confirmed(&lag.inject(&promoted).await.unwrap(), &["database-2-1"]);
    query(&system, STANDBY, "select pg_promote()").await;
    lapsed(
        &lag.heal(&promoted).await.unwrap(),
        &["database-2-1"],
        "no standby any more",
    );
    none_left(&system, STANDBY).await;
    down(&engine, &system, &request.run_id).await;
}

const READ_ONLY: &str = "25006";

async fn a_read_only_server_refuses_writes_until_the_heal(engine: Under) {
    let request = databases("read-only");
    let system = engine.up(&request, &events()).await.unwrap();
    query(&system, PRIMARY, "create table orders (it int)").await;
    let old = connect(&system, PRIMARY, "postgres").await.unwrap();
    let write = "insert into orders values (1)";
    let writes = async || tried(&system, PRIMARY, write).await.map(drop);
    let set = "select count(*) from pg_file_settings where name = 'default_transaction_read_only'";
    let fence = ReadOnly {
        targets: role(Role::Primary),
    };
    let first = context(&system, 0);
    confirmed(&fence.inject(&first).await.unwrap(), &["database-1-1"]);
    assert_eq!(writes().await, Err(READ_ONLY.to_owned()));
    assert_eq!(state(old.simple_query(write).await).unwrap_err(), READ_ONLY);
    // By then it is set already, and another heal would lose that.
    unconfirmed(
        &fence.inject(&context(&system, 1)).await.unwrap(),
        "nothing was done to it",
    );
    let healed = fence.heal(&first).await.unwrap();
    confirmed(&healed, &["database-1-1"]);
    assert!(!healed.lapsed, "{healed:#?}");
    assert_eq!(writes().await, Ok(()));
    old.simple_query(write).await.unwrap();
    assert_eq!(query(&system, PRIMARY, set).await, "0");
    none_left(&system, PRIMARY).await;

    let standby = ReadOnly { targets: of(STANDBY) };
    unconfirmed(
        &standby.inject(&context(&system, 2)).await.unwrap(),
        "nothing was done to it",
    );

    let is_over = async || writes().await.is_ok();
    ends_by_itself(&system, PRIMARY, &fence, "before the heal", is_over).await;
    assert_eq!(query(&system, PRIMARY, set).await, "0");
    down(&engine, &system, &request.run_id).await;
}

fn slow(targets: Vec<Target>, table: &str) -> SlowQueries<Target> {
    SlowQueries {
        targets,
        table: TableName(table.to_owned()),
        by: DurationMs(300),
    }
}

async fn writes_to_a_table_are_slow_until_the_heal(engine: Under) {
    let request = databases("slow");
    let system = engine.up(&request, &events()).await.unwrap();
    query(&system, PRIMARY, "create table orders (it int)").await;
    query(&system, PRIMARY, "create table others (it int)").await;
    // With a time-out of less than it is slowed by, a statement that sleeps is ended.
    let of_table = async |sql: &str| tried(&system, PRIMARY, &format!("set statement_timeout = 250; {sql}")).await;
    let ended = Err("57014".to_owned());
    let (orders, first) = (slow(role(Role::Primary), "orders"), context(&system, 0));
    confirmed(&orders.inject(&first).await.unwrap(), &["database-1-1"]);
    for write in [
        "insert into orders values (1)",
        "update orders set it = 2",
        "delete from orders",
    ] {
        assert_eq!(of_table(write).await, ended, "{write}");
    }
    assert!(of_table("select count(*) from orders").await.is_ok());
    assert!(of_table("insert into others values (1)").await.is_ok());
    unconfirmed(
        &orders.inject(&context(&system, 1)).await.unwrap(),
        "already; nothing was done to it",
    );
    let healed = orders.heal(&first).await.unwrap();
    confirmed(&healed, &["database-1-1"]);
    assert!(!healed.lapsed, "{healed:#?}");
    assert_eq!(query(&system, PRIMARY, SLOWING).await, "0");
    assert!(of_table("insert into orders values (1)").await.is_ok());
    none_left(&system, PRIMARY).await;

    cannot_be_slowed(&system).await;

    let is_over = async || of_table("delete from orders").await.is_ok();
    ends_by_itself(&system, PRIMARY, &orders, "before the heal", is_over).await;
    down(&engine, &system, &request.run_id).await;
}

const SLOWING: &str = "select count(*) from pg_trigger where tgname like 'nightmail%'";

async fn cannot_be_slowed(system: &Arc<dyn RunningSystem>) {
    let on_standby = slow(of(STANDBY), "orders").inject(&context(system, 2)).await;
    unconfirmed(&on_standby.unwrap(), "nothing was done to it");
    let missing = slow(of(PRIMARY), "nobodys").inject(&context(system, 3)).await;
    unconfirmed(&missing.unwrap(), "does not exist");

    // Whoever has written and not ended keeps the trigger from being made.
    let client = connect(system, PRIMARY, "postgres").await.unwrap();
    let writes = "set idle_in_transaction_session_timeout = 0; begin; insert into orders values (1)";
    client.simple_query(writes).await.unwrap();
    let busy = slow(of(PRIMARY), "orders").inject(&context(system, 4)).await.unwrap();
    unconfirmed(&busy, "could not be slowed");
    client.simple_query("rollback").await.unwrap();
    assert_eq!(query(system, PRIMARY, SLOWING).await, "0");
}
