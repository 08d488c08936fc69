//! Migrations on a real server.

use std::time::Duration;

use super::*;
use crate::fault::test_double::{FakeSystem, id, targets};
use crate::fault::{FaultSpec, Patience};
use crate::system::postgres::scratch::{PATIENCE, Postgres};

const IN_BATCHES: &str = "alter table orders add zone text;
    -- nightmail: repeat until no rows, pause 150ms
    update orders set zone = 'inland' where id in (select id from orders where zone is null limit 10);
    create index orders_of_zone on orders (zone);";

fn migrate(script: &str) -> Migrate<Target> {
    Migrate {
        targets: targets(&[1]),
        script: Some(SqlFile::new("change.sql", script)),
        command: Vec::new(),
        transaction: true,
        lock_timeout: DurationMs(0),
        statement_timeout: DurationMs(0),
        retries: 0,
        retry_every: DurationMs(50),
        killed_after: None,
        then: Then::Nothing,
        resume_after: DurationMs(0),
        rollback: None,
    }
}

/// A migration in batches that is killed among them.
fn killed(then: Then) -> Migrate<Target> {
    Migrate {
        transaction: false,
        killed_after: Some(DurationMs(500)),
        then,
        rollback: (then == Then::RollBack).then(|| SqlFile::new("undo.sql", "alter table orders drop zone")),
        ..migrate(IN_BATCHES)
    }
}

/// A server with a table of 100 rows.
async fn server() -> Postgres {
    let server = Postgres::start();
    server
        .execute(&["create table orders as select id, 5 as amount from generate_series(1, 100) as id"])
        .await;
    server
}

fn context(server: &Postgres, id: u32) -> FaultContext {
    FaultContext {
        id,
        patience: Patience {
            granted: PATIENCE,
            ..Patience::default()
        },
        ..FakeSystem::of_server(server).context()
    }
}

fn says(receipt: &Receipt, words: &str) {
    assert!(
        receipt.evidence.iter().any(|line| line.contains(words)),
        "{words}: {receipt:#?}"
    );
}

/// Waits until it has ended by itself, and heals it.
async fn to_its_end(migrate: &Migrate<Target>, context: &FaultContext, server: &Postgres) -> Receipt {
    let on = migrate.inject(context).await.unwrap();
    assert!(on.confirmed && on.onset_us.is_some(), "{on:#?}");
    ended(context, server).await;
    migrate.heal(context).await.unwrap()
}

/// The same of one that cannot be run as asked, which may be seen at once.
async fn wrong(migrate: &Migrate<Target>, context: &FaultContext, server: &Postgres) -> Receipt {
    migrate.inject(context).await.unwrap();
    ended(context, server).await;
    let healed = migrate.heal(context).await.unwrap();
    assert!(!healed.confirmed && healed.failed.is_none(), "{healed:#?}");
    healed
}

/// It has come to an end, whichever, and its session is gone. One that nobody holds any more ends by its session alone.
async fn ended(context: &FaultContext, server: &Postgres) {
    let left = format!(
        "select count(*) from pg_stat_activity where application_name = '{}'",
        application(context)
    );
    let start = Instant::now();
    while !has_ended(context) || server.number(&left).await > 0 {
        assert!(start.elapsed() < PATIENCE, "it does not end");
        sleep(Duration::from_millis(10)).await;
    }
}

fn has_ended(context: &FaultContext) -> bool {
    let Some(held) = context.acted.let_go(&id(1)) else {
        return true;
    };
    let has_ended = held
        .downcast_ref::<Migrating>()
        .is_none_or(|migrating| state::lock(&migrating.state).ended.is_some());
    context.acted.hold(&id(1), held);
    has_ended
}

#[tokio::test]
async fn a_migration_is_applied_whole_or_not_at_all() {
    let server = server().await;
    let whole = migrate("alter table orders add note text; update orders set note = 'none';");
    let healed = to_its_end(&whole, &context(&server, 1), &server).await;
    assert!(
        healed.confirmed && healed.failed.is_none() && !healed.lapsed,
        "{healed:#?}"
    );
    says(&healed, "2 of 2 statements, 100 rows touched");
    says(&healed, "strongest locks seen: AccessExclusiveLock on orders");
    assert_eq!(
        server.number("select count(*) from orders where note = 'none'").await,
        100
    );

    // The second statement cannot be run, and so the first one is not.
    let halved = migrate("alter table orders drop note; update orders set amount = amount / 0;");
    let healed = to_its_end(&halved, &context(&server, 2), &server).await;
    let failed = healed.failed.as_deref().unwrap_or_default();
    assert!(
        healed.confirmed && failed.contains("the transaction was refused: db error: ERROR: division by zero"),
        "{healed:#?}"
    );
    assert_eq!(server.number("select count(note) from orders").await, 100);
}

#[tokio::test]
async fn one_that_makes_no_sense_is_not_confirmed() {
    let server = server().await;
    for (id, script, said) in [
        (1, "alter tabel orders add note text", "syntax error"),
        (2, "alter table nobodys add note text", "does not exist"),
    ] {
        // On a busy machine it may be seen at work before the server has refused it.
        says(&wrong(&migrate(script), &context(&server, id), &server).await, said);
    }
    // Over before anybody could kill it.
    let quick = Migrate {
        killed_after: Some(DurationMs(2_000)),
        ..migrate("alter table orders add note text")
    };
    let healed = wrong(&quick, &context(&server, 3), &server).await;
    says(&healed, "over before it could be killed");
}

#[tokio::test]
async fn a_lock_that_is_not_granted_in_time_is_tried_for_again_and_who_waits_is_told() {
    let server = server().await;
    let long = server.client().await;
    long.batch_execute("begin; lock table orders in access share mode")
        .await
        .unwrap();
    let impatient = Migrate {
        lock_timeout: DurationMs(200),
        ..migrate("alter table orders add note text")
    };
    let healed = to_its_end(&impatient, &context(&server, 1), &server).await;
    let failed = healed.failed.as_deref().unwrap_or_default();
    assert!(
        healed.confirmed && failed.contains("due to lock timeout"),
        "{healed:#?}"
    );

    let persistent = Migrate {
        retries: 1_000,
        ..impatient
    };
    let second = context(&server, 2);
    let on = persistent.inject(&second).await.unwrap();
    assert!(on.confirmed, "{on:#?}");
    // Sooner or later a customer comes behind the migration, which waits for the long transaction, for several looks.
    let (customer, began) = (server.client().await, Instant::now());
    loop {
        let asked = Instant::now();
        customer.batch_execute("select count(*) from orders").await.unwrap();
        if asked.elapsed() > Duration::from_millis(100) {
            break;
        }
        assert!(began.elapsed() < PATIENCE, "no customer waits");
    }
    long.batch_execute("commit").await.unwrap();
    ended(&second, &server).await;
    let healed = persistent.heal(&second).await.unwrap();
    assert!(healed.confirmed && healed.failed.is_none(), "{healed:#?}");
    says(&healed, "applied within");
    says(
        &healed,
        "the transaction was refused: db error: ERROR: canceling statement due to lock timeout",
    );
    says(&healed, "AccessExclusiveLock on orders");
    says(&healed, "at most 1 other sessions waited for it at the same time");
}

#[tokio::test]
async fn one_that_is_killed_midway_is_left_gone_on_with_begun_again_or_rolled_back() {
    let server = server().await;
    let without_zone = "select count(*) from orders where zone is null";

    let left = to_its_end(&killed(Then::Nothing), &context(&server, 1), &server).await;
    assert!(left.confirmed && left.failed.is_none(), "{left:#?}");
    says(&left, "killed and left so");
    says(&left, "pg_terminate_backend ended its session");
    let undone = server.number(without_zone).await;
    assert!((1..100).contains(&undone), "{undone} rows are left");
    server.execute(&["alter table orders drop zone"]).await;

    let resumed = to_its_end(&killed(Then::Resume), &context(&server, 2), &server).await;
    assert!(resumed.confirmed && resumed.failed.is_none(), "{resumed:#?}");
    says(&resumed, "3 of 3 statements, 100 rows touched");
    says(&resumed, "AccessExclusiveLock on orders");
    assert_eq!(server.number(without_zone).await, 0);
    server.execute(&["alter table orders drop zone"]).await;

    // Its first statement cannot be run twice, which is what the kill was there to find out.
    let again = to_its_end(&killed(Then::StartOver), &context(&server, 3), &server).await;
    let failed = again.failed.as_deref().unwrap_or_default();
    let because =
        "statement 1 (line 1) was refused: db error: ERROR: column \"zone\" of relation \"orders\" already exists";
    assert!(again.confirmed && failed.contains(because), "{again:#?}");
    server.execute(&["alter table orders drop zone"]).await;

    let undone = to_its_end(&killed(Then::RollBack), &context(&server, 4), &server).await;
    assert!(undone.confirmed && undone.failed.is_none(), "{undone:#?}");
    says(&undone, "rolled back");
    let columns = "select count(*) from information_schema.columns where column_name = 'zone'";
    assert_eq!(server.number(columns).await, 0);
}

#[tokio::test]
async fn one_that_does_not_end_is_ended_and_ends_with_whoever_runs_it() {
    let server = server().await;
    let endless = migrate("lock table orders; select pg_sleep(600)");
    let first = context(&server, 1);
    let on = endless.inject(&first).await.unwrap();
    assert!(on.confirmed, "{on:#?}");
    let healed = endless.heal(&first).await.unwrap();
    let failed = healed.failed.as_deref().unwrap_or_default();
    assert!(
        healed.confirmed && failed.contains("it had not ended, but was at statement"),
        "{healed:#?}"
    );
    server.execute(&["insert into orders values (101, 5)"]).await;
    assert!(endless.heal(&first).await.unwrap().confirmed);

    let dies = context(&server, 2);
    assert!(endless.inject(&dies).await.unwrap().confirmed);
    let name = dies.clone();
    drop(dies);
    drop(name.acted.let_go(&id(1)));
    // The server looks every second whether its client is still there.
    ended(&name, &server).await;
    server.execute(&["insert into orders values (102, 5)"]).await;
}

/// A tool that needs nothing but a shell and `psql`.
fn tool(script: &str) -> Migrate<Target> {
    Migrate {
        script: None,
        command: ["sh", "-c", script].map(str::to_owned).to_vec(),
        ..migrate("select 1")
    }
}

#[tokio::test]
async fn a_tool_of_the_users_finds_the_server_and_is_tried_again_and_killed_with_its_session() {
    let server = server().await;
    let adds = Migrate {
        statement_timeout: DurationMs(5_000),
        ..tool(
            "psql -qc 'alter table orders add note text' -c 'select pg_sleep(0.3)' && psql -Atqc 'show statement_timeout' | grep -qx 5s",
        )
    };
    let healed = to_its_end(&adds, &context(&server, 1), &server).await;
    assert!(healed.confirmed && healed.failed.is_none(), "{healed:#?}");
    assert_eq!(
        server.number("select count(*) from orders where note is null").await,
        100
    );

    let fails = Migrate {
        retries: 2,
        ..tool("psql -qc 'select pg_sleep(0.2)'; echo no luck >&2; exit 3")
    };
    let healed = to_its_end(&fails, &context(&server, 2), &server).await;
    let failed = healed.failed.as_deref().unwrap_or_default();
    assert!(
        healed.confirmed && failed.contains("the command was refused 3 times: exit status: 3: no luck"),
        "{healed:#?}"
    );

    let killed = Migrate {
        killed_after: Some(DurationMs(400)),
        ..tool("psql -qc 'lock table orders; select pg_sleep(600)'")
    };
    let healed = to_its_end(&killed, &context(&server, 3), &server).await;
    assert!(healed.confirmed && healed.failed.is_none(), "{healed:#?}");
    says(&healed, "killed in the command");

    let endless = tool("psql -qc 'lock table orders; select pg_sleep(600)'");
    let last = context(&server, 4);
    assert!(endless.inject(&last).await.unwrap().confirmed);
    let healed = endless.heal(&last).await.unwrap();
    assert!(healed.confirmed && healed.failed.is_some(), "{healed:#?}");
    server.execute(&["insert into orders values (101, 5)"]).await;

    let missing = Migrate {
        command: vec!["nobodys-migration-tool".to_owned()],
        ..tool("")
    };
    let last = context(&server, 5);
    let on = missing.inject(&last).await.unwrap();
    assert!(!on.confirmed && on.onset_us.is_none(), "{on:#?}");
    says(&on, "cannot be run: No such file");
    let healed = missing.heal(&last).await.unwrap();
    assert!(!healed.confirmed && healed.failed.is_none(), "{healed:#?}");
}

/// What is wrong with it, by the parameter.
fn problems(migrate: Migrate<Target>) -> Vec<(String, String)> {
    let problems = FaultSpec::Migrate(migrate).problems();
    problems
        .into_iter()
        .map(|problem| (problem.path, problem.message))
        .collect()
}

#[test]
fn what_cannot_be_run_is_a_problem() {
    assert_eq!(problems(migrate("select 1")), []);
    let two = Migrate {
        targets: targets(&[1, 2]),
        ..migrate("select 1")
    };
    assert_eq!(problems(two)[0].0, "targets");
    let standby = Migrate {
        targets: vec![Target::Role {
            group: "database".to_owned(),
            role: Role::Standby,
            members: Vec::new(),
        }],
        ..migrate("select 1")
    };
    assert_eq!(problems(standby)[0].0, "targets[0]");
    for script in [
        "select 'a",
        "create index concurrently a on b (c)",
        "-- nightmail: repeat until no rows\ndelete from t",
    ] {
        assert_eq!(problems(migrate(script))[0].0, "script", "{script}");
    }
    let both = Migrate {
        command: vec!["true".to_owned()],
        ..migrate("select 1")
    };
    let neither = Migrate {
        script: None,
        ..migrate("select 1")
    };
    for neither_or_both in [both, neither] {
        assert_eq!(problems(neither_or_both)[0].0, "script");
    }
    assert_eq!(problems(tool("true")), []);
    let outside = Migrate {
        transaction: false,
        ..migrate("create index concurrently a on b (c)")
    };
    assert_eq!(problems(outside), []);
}

#[test]
fn what_follows_on_no_kill_and_a_script_that_is_never_run_are_problems() {
    let of = |killed_after: Option<u64>, then: Then, rollback: Option<&str>| {
        problems(Migrate {
            killed_after: killed_after.map(DurationMs),
            then,
            rollback: rollback.map(|text| SqlFile::new("undo.sql", text)),
            ..migrate("select 1")
        })
    };
    assert_eq!(of(None, Then::Resume, None)[0].0, "then");
    assert_eq!(of(Some(5), Then::RollBack, None)[0].0, "then");
    assert_eq!(of(Some(5), Then::Resume, Some("select 1"))[0].0, "rollback");
    assert_eq!(of(Some(5), Then::RollBack, Some("select '"))[0].0, "rollback");
    assert_eq!(of(Some(5), Then::RollBack, Some("select 1")), []);
}
