//! `promote` on real PostgreSQL.

use nightmail::fault::Fault;
use nightmail::fault::kill::Kill;
use nightmail::fault::promote::Promote;
use nightmail::plan::Role;

use crate::faults::{confirmed, context, databases, down, impatient, of, query, role, unconfirmed};
use crate::support::{Under, events, replica};

on_both_engines!(
    a_standby_takes_over_from_a_primary_that_is_dead,
    what_is_no_standby_or_does_not_answer_is_not_promoted,
);

async fn a_standby_takes_over_from_a_primary_that_is_dead(engine: Under) {
    let request = databases("promoted");
    let system = engine.up(&request, &events()).await.unwrap();
    let kill = Kill {
        targets: role(Role::Primary),
    };
    let killed = context(&system, 0);
    confirmed(&kill.inject(&killed).await.unwrap(), &["database-1-1"]);
    assert_eq!(query(&system, "database-2", "select pg_is_in_recovery()").await, "t");

    let promote = Promote {
        targets: role(Role::Standby),
    };
    let promoted = context(&system, 1);
    let receipt = promote.inject(&promoted).await.unwrap();
    confirmed(&receipt, &["database-2-1"]);
    assert_eq!(query(&system, "database-2", "select pg_is_in_recovery()").await, "f");
    let transactions = "select count(*) from pg_stat_activity where state like 'idle in transaction%'";
    assert_eq!(
        query(&system, "database-2", transactions).await,
        "0",
        "nothing is left open"
    );
    let tables = "select count(*) from pg_stat_user_tables";
    assert_eq!(
        query(&system, "database-2", tables).await,
        "0",
        "nothing is left behind"
    );

    // The one that was dead comes back, and the other goes on as a primary.
    confirmed(&kill.heal(&killed).await.unwrap(), &["database-1-1"]);
    let healed = promote.heal(&promoted).await.unwrap();
    confirmed(&healed, &["database-2-1"]);
    assert!(!healed.lapsed, "{healed:#?}");
    query(&system, "database-2", "create table written (it int)").await;
    down(&engine, &system, &request.run_id).await;
}

async fn what_is_no_standby_or_does_not_answer_is_not_promoted(engine: Under) {
    let request = databases("promoted-not");
    let system = engine.up(&request, &events()).await.unwrap();
    let somebody_else = engine.somebody_else(&system, &request.run_id);
    let primary = Promote {
        targets: of("database-1"),
    };
    let receipt = primary.inject(&impatient(&system, 0)).await.unwrap();
    unconfirmed(&receipt, "database-1-1: was no standby before");

    somebody_else.does("pause", &replica("database-2", 1)).await;
    let frozen = Promote {
        targets: of("database-2"),
    };
    let context = impatient(&system, 1);
    unconfirmed(
        &frozen.inject(&context).await.unwrap(),
        "database-2-1: no answer within",
    );
    somebody_else.does("unpause", &replica("database-2", 1)).await;
    // It was never asked, and is what it was.
    unconfirmed(&frozen.heal(&context).await.unwrap(), "still in recovery");
    assert_eq!(query(&system, "database-2", "select pg_is_in_recovery()").await, "t");
    down(&engine, &system, &request.run_id).await;
}
