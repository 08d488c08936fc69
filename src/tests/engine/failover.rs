//! `failover` on real PostgreSQL: by an operator, of a primary that dies, freezes or is cut off, and how it comes back.

use nightmail::fault::failover::{By, Failover, How, Returns};
use nightmail::fault::{Fault, Receipt};
use nightmail::plan::{Role, Target};

use crate::faults::{confirmed, context, databases, down, of, query, role, unconfirmed};
use crate::support::{Under, events, replica};

on_both_engines!(
    an_old_primary_that_was_killed_follows_the_new_one,
    a_primary_that_is_cut_off_stays_one_unless_it_is_restarted,
    a_frozen_primary_comes_back_as_a_second_one,
    nobody_takes_over_where_no_manager_is,
);

const IN_RECOVERY: &str = "select pg_is_in_recovery()";

fn failover(how: How) -> Failover<Target> {
    Failover {
        targets: role(Role::Primary),
        how,
        from: match how {
            How::CutOff => role(Role::Standby),
            How::Kill | How::Pause => Vec::new(),
        },
        by: By::Operator,
        promote_after: None,
        within: None,
        returns: Returns::AsItWas,
    }
}

fn says(receipt: &Receipt, words: &str) {
    assert!(receipt.evidence.iter().any(|line| line.contains(words)), "{receipt:#?}");
}

async fn an_old_primary_that_was_killed_follows_the_new_one(engine: Under) {
    let request = databases("failed-over");
    let system = engine.up(&request, &events()).await.unwrap();
    query(&system, "database-1", "create table orders as select 1 as it").await;
    let (fault, first) = (failover(How::Kill), context(&system, 0));
    let on = fault.inject(&first).await.unwrap();
    confirmed(&on, &["database-1-1"]);
    says(&on, "database-2-1 took over from database-1-1: detection after ");
    query(&system, "database-2", "insert into orders values (2)").await;
    let off = fault.heal(&first).await.unwrap();
    confirmed(&off, &["database-1-1"]);
    assert!(!off.lapsed, "{off:#?}");
    says(&off, "database-1-1: follows database-2");
    assert_eq!(query(&system, "database-1", IN_RECOVERY).await, "t");

    // And back again.
    let second = context(&system, 1);
    let back = fault.inject(&second).await.unwrap();
    confirmed(&back, &["database-2-1"]);
    says(&back, "database-1-1 took over from database-2-1");
    assert_eq!(query(&system, "database-1", "select count(*) from orders").await, "2");
    let off = fault.heal(&second).await.unwrap();
    confirmed(&off, &["database-2-1"]);
    says(&off, "database-2-1: follows database-1");
    down(&engine, &system, &request.run_id).await;
}

async fn a_primary_that_is_cut_off_stays_one_unless_it_is_restarted(engine: Under) {
    let mut request = databases("failed-over-cut-off");
    request.agents = vec![replica("database-1", 1), replica("database-2", 1)];
    let system = engine.up(&request, &events()).await.unwrap();
    query(&system, "database-1", "create table orders as select 1 as it").await;
    let (fault, first) = (
        Failover {
            returns: Returns::Restarted,
            ..failover(How::CutOff)
        },
        context(&system, 0),
    );
    let on = fault.inject(&first).await.unwrap();
    assert!(on.confirmed, "{on:#?}");
    says(&on, "database-2-1 took over from database-1-1");
    // It is still written to by whoever reaches it, and so are both.
    query(&system, "database-1", "insert into orders values (2)").await;
    query(&system, "database-2", "insert into orders values (3)").await;
    let off = fault.heal(&first).await.unwrap();
    confirmed(&off, &["database-1-1"]);
    says(&off, "database-1-1: follows database-2");
    assert_eq!(query(&system, "database-1", "select sum(it) from orders").await, "4");
    down(&engine, &system, &request.run_id).await;
}

async fn a_frozen_primary_comes_back_as_a_second_one(engine: Under) {
    let request = databases("failed-over-frozen");
    let system = engine.up(&request, &events()).await.unwrap();
    let (fault, first) = (failover(How::Pause), context(&system, 0));
    confirmed(&fault.inject(&first).await.unwrap(), &["database-1-1"]);
    let off = fault.heal(&first).await.unwrap();
    confirmed(&off, &["database-1-1"]);
    says(&off, "database-1-1: is not in recovery: a second primary");
    for service in ["database-1", "database-2"] {
        assert_eq!(query(&system, service, IN_RECOVERY).await, "f");
    }
    // Of two nobody can say which to replace.
    let again = Failover {
        targets: of("database-1"),
        ..fault
    };
    unconfirmed(
        &again.inject(&context(&system, 1)).await.unwrap(),
        "database-2-1 was a primary, too; nothing was done to it",
    );
    down(&engine, &system, &request.run_id).await;
}

async fn nobody_takes_over_where_no_manager_is(engine: Under) {
    let request = databases("failed-over-not");
    let system = engine.up(&request, &events()).await.unwrap();
    let fault = Failover {
        by: By::Manager,
        within: Some("1s".parse().unwrap()),
        ..failover(How::Kill)
    };
    let first = context(&system, 0);
    unconfirmed(
        &fault.inject(&first).await.unwrap(),
        "nobody took over: database-2-1: still in recovery",
    );
    confirmed(&fault.heal(&first).await.unwrap(), &["database-1-1"]);
    assert_eq!(query(&system, "database-1", IN_RECOVERY).await, "f");
    down(&engine, &system, &request.run_id).await;
}
