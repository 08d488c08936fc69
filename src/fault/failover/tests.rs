//! `failover` on doubles of servers that obey, or do not.

use std::sync::{Arc, Mutex};

use super::*;
use crate::fault::postgres::double::{self, Double, Refusal, State};
use crate::fault::test_double::{self, Disobedience, FakeSystem, id, targets};

const STANDBY: State = State {
    in_recovery: true,
    stays: false,
    refuses: false,
    only_reads: false,
};
const PRIMARY: State = State {
    in_recovery: false,
    ..STANDBY
};

type Server = Arc<Mutex<State>>;

/// A group of these two.
async fn pair(first: State, second: State) -> ([Server; 2], Arc<FakeSystem>) {
    let addresses = test_double::addresses();
    let servers = [
        double::listen(addresses[0].0, first).await,
        double::listen(addresses[1].0, second).await,
    ];
    (servers, FakeSystem::new(Disobedience::default(), addresses))
}

fn failover(by: By) -> Failover<Target> {
    Failover {
        targets: by_role(Role::Primary),
        how: How::Kill,
        from: Vec::new(),
        by,
        promote_after: None,
        within: None,
        returns: Returns::AsItWas,
    }
}

/// One whose takeover is waited for: the double takes its time to answer.
fn patient(by: By) -> Failover<Target> {
    Failover {
        within: Some(DurationMs(60_000)),
        ..failover(by)
    }
}

fn by_role(role: Role) -> Vec<Target> {
    vec![Target::Role {
        group: "database".to_owned(),
        role,
        members: vec![id(1), id(2)],
    }]
}

fn last(receipt: &Receipt) -> &str {
    receipt.evidence.last().map_or("", String::as_str)
}

#[tokio::test]
async fn the_operator_promotes_the_standby_of_a_primary_that_is_dead() {
    for how in [How::Kill, How::Pause] {
        let ([_, second], system) = pair(PRIMARY, STANDBY).await;
        let context = system.context();
        let failover = Failover {
            how,
            promote_after: Some(DurationMs(20)),
            ..patient(By::Operator)
        };
        let on = failover.inject(&context).await.unwrap();
        assert!(on.confirmed && on.replicas == ["api-1"], "{on:?}");
        assert!(
            last(&on).starts_with("api-2 took over from api-1: detection after "),
            "{on:?}"
        );
        assert!(!second.lock().unwrap().in_recovery);
        // The effect was there before the promotion was due.
        assert!(on.onset_us.is_some_and(|onset_us| onset_us > 0), "{on:?}");
        let off = failover.heal(&context).await.unwrap();
        assert!(off.confirmed && !off.lapsed, "{off:?}");
        assert!(
            off.evidence
                .contains(&"api-1: is not in recovery: a second primary, unless somebody stops it".to_owned()),
            "{off:?}"
        );
        assert!(last(&off).starts_with("api-2: no promotion is undone"), "{off:?}");
    }
}

#[tokio::test]
async fn a_promotion_that_does_not_come_about_is_not_confirmed_and_the_old_primary_comes_back() {
    let stays = State { stays: true, ..STANDBY };
    let refuses = State {
        refuses: true,
        ..STANDBY
    };
    for (by, second, because) in [
        (By::Operator, stays, "nobody took over: api-2: still in recovery"),
        (By::Operator, refuses, "permission denied for function pg_promote"),
        (By::Manager, STANDBY, "nobody took over: api-2: still in recovery"),
    ] {
        let (_servers, system) = pair(PRIMARY, second).await;
        let context = system.context();
        let on = failover(by).inject(&context).await.unwrap();
        assert!(!on.confirmed && on.onset_us.is_none(), "{on:?}");
        assert!(last(&on).contains(because), "{on:?}");
        assert!(failover(by).heal(&context).await.unwrap().confirmed);
        assert!(system.asked().contains(&"start api-1".to_owned()));
    }
}

#[tokio::test]
async fn where_somebody_takes_over_too_late_the_old_primary_does_not_come_back_beside_it() {
    let ([_, second], system) = pair(PRIMARY, STANDBY).await;
    let context = system.context();
    let failover = Failover {
        returns: Returns::Never,
        ..failover(By::Manager)
    };
    assert!(!failover.inject(&context).await.unwrap().confirmed);
    second.lock().unwrap().in_recovery = false;
    let off = failover.heal(&context).await.unwrap();
    assert!(
        off.evidence
            .contains(&"api-2: has taken over since, too late".to_owned()),
        "{off:?}"
    );
    assert!(
        !system.asked().contains(&"start api-1".to_owned()),
        "{:?}",
        system.asked()
    );
}

#[tokio::test]
async fn nothing_is_done_where_nobody_could_take_over() {
    for (first, second, because) in [
        (PRIMARY, PRIMARY, "api-2 was a primary, too"),
        (STANDBY, STANDBY, "it was no primary"),
    ] {
        let (_servers, system) = pair(first, second).await;
        let context = system.context();
        let named = Failover {
            targets: targets(&[1]),
            ..failover(By::Operator)
        };
        let on = named.inject(&context).await.unwrap();
        assert!(!on.confirmed && last(&on).contains(because), "{on:?}");
        assert_eq!(system.asked(), [""; 0]);
        assert!(named.heal(&context).await.unwrap().confirmed);
    }
    let addresses = test_double::addresses();
    let _first = double::listen(addresses[0].0, PRIMARY).await;
    let system = FakeSystem::new(Disobedience::default(), addresses);
    let on = failover(By::Manager).inject(&system.context()).await.unwrap();
    assert!(
        !on.confirmed && last(&on).contains("no standby of its group answered"),
        "{on:?}"
    );
    assert_eq!(system.asked(), [""; 0]);
}

#[tokio::test]
async fn a_managers_promotion_is_seen_from_its_begin_to_the_first_write() {
    let ([_, second], system) = pair(PRIMARY, STANDBY).await;
    let context = system.context();
    let failover = patient(By::Manager);
    let manager = async {
        while !system.asked().contains(&"kill api-1".to_owned()) {
            sleep(Duration::from_millis(1)).await;
        }
        system.says(&id(1), "LOG:  received promote request");
        system.says(&id(2), "2026-11-30 LOG:  received promote request");
        second.lock().unwrap().in_recovery = false;
    };
    let (on, ()) = tokio::join!(failover.inject(&context), manager);
    let on = on.unwrap();
    assert!(
        on.confirmed && last(&on).contains("took over from api-1: detection after "),
        "{on:?}"
    );
}

#[tokio::test]
async fn a_promotion_that_no_log_tells_of_has_no_time_of_detection() {
    let ([_, second], system) = pair(PRIMARY, STANDBY).await;
    let context = system.context();
    let manager = async {
        while !system.asked().contains(&"kill api-1".to_owned()) {
            sleep(Duration::from_millis(1)).await;
        }
        second.lock().unwrap().in_recovery = false;
    };
    let failover = patient(By::Manager);
    let (on, ()) = tokio::join!(failover.inject(&context), manager);
    let on = on.unwrap();
    assert!(on.confirmed && last(&on).contains("detection not observable"), "{on:?}");
}

#[tokio::test]
async fn a_primary_that_does_not_return_stays_dead() {
    let (_servers, system) = pair(PRIMARY, STANDBY).await;
    let context = system.context();
    let failover = Failover {
        returns: Returns::Never,
        ..patient(By::Operator)
    };
    failover.inject(&context).await.unwrap();
    let off = failover.heal(&context).await.unwrap();
    assert!(off.confirmed && !off.lapsed, "{off:?}");
    assert_eq!(system.asked(), ["arm 7 Start api-1 60s", "kill api-1", "disarm 7"]);
    system.set(&id(1), crate::system::engine::ProcessState::Running);
    assert!(failover.heal(&context).await.unwrap().lapsed);
}

#[tokio::test]
async fn a_new_primary_that_stops_accepting_writes_is_not_healed() {
    let ([_, second], system) = pair(PRIMARY, STANDBY).await;
    let context = system.context();
    let failover = patient(By::Operator);
    assert!(failover.inject(&context).await.unwrap().confirmed);
    second.lock().unwrap().in_recovery = true;
    let off = failover.heal(&context).await.unwrap();
    assert!(
        !off.confirmed && last(&off).contains("api-2: does not accept writes"),
        "{off:?}"
    );
}

/// An old primary that somebody makes a standby, once it has been asked a few times.
struct Rejoins {
    asked: u32,
    after: u32,
}

impl Double for Rejoins {
    fn answer(&mut self, _session: i32, query: &str) -> Result<Vec<String>, Refusal> {
        Ok(match query {
            "select pg_is_in_recovery()" => {
                self.asked += 1;
                vec![if self.asked > self.after { "t" } else { "f" }.to_owned()]
            }
            query if query.contains("pg_stat_wal_receiver") => vec!["api-2".to_owned()],
            _ => vec![String::new()],
        })
    }
}

#[tokio::test]
async fn what_the_old_primary_is_in_the_end_is_told() {
    // Nothing is waited for that has been seen; only the last is waited for in vain.
    const LONG: Duration = Duration::from_secs(60);
    const SHORT: Duration = Duration::from_millis(200);
    for (by, after, patience, said) in [
        (By::Operator, 0, LONG, "api-1: follows api-2"),
        (By::Operator, 1, LONG, "api-1: is not in recovery: a second primary"),
        (By::Manager, 3, LONG, "api-1: follows api-2"),
        (
            By::Manager,
            u32::MAX,
            SHORT,
            "api-1: is not in recovery: a second primary",
        ),
    ] {
        let addresses = test_double::addresses();
        let _server = double::listen(addresses[0].0, Rejoins { asked: 0, after }).await;
        let system = FakeSystem::new(Disobedience::default(), addresses);
        let member = Member::of(&system.context(), &id(1)).unwrap();
        let told = old::whereabouts(&member, by, Instant::now(), patience).await;
        assert!(told.starts_with(said), "{told}");
    }
}

#[test]
fn parameters_that_do_not_go_together_are_problems() {
    let is = |failover: Failover<Target>| -> Vec<String> {
        failover.problems().into_iter().map(|problem| problem.path).collect()
    };
    let operator = || failover(By::Operator);
    assert_eq!(is(operator()), [""; 0]);
    assert_eq!(
        is(Failover {
            targets: by_role(Role::Standby),
            ..operator()
        }),
        ["targets[0]"]
    );
    assert_eq!(
        is(Failover {
            targets: targets(&[1, 2]),
            ..operator()
        }),
        ["targets"]
    );
    assert_eq!(
        is(Failover {
            targets: Vec::new(),
            ..operator()
        }),
        ["targets"]
    );
    assert_eq!(
        is(Failover {
            from: by_role(Role::Standby),
            ..operator()
        }),
        ["from"]
    );
    assert_eq!(
        is(Failover {
            returns: Returns::Restarted,
            ..operator()
        }),
        ["returns"]
    );
    assert_eq!(
        is(Failover {
            how: How::Pause,
            returns: Returns::Never,
            ..operator()
        }),
        ["returns"]
    );
    assert_eq!(
        is(Failover {
            within: Some(DurationMs(10)),
            ..operator()
        }),
        ["within"]
    );
    let manager = failover(By::Manager);
    assert_eq!(
        is(Failover {
            promote_after: Some(DurationMs(1)),
            ..manager
        }),
        ["promote-after"]
    );
    let cut_off = Failover {
        how: How::CutOff,
        ..operator()
    };
    assert_eq!(is(cut_off.clone()), ["from"]);
    assert_eq!(
        is(Failover {
            from: by_role(Role::Standby),
            returns: Returns::Restarted,
            ..cut_off
        }),
        [""; 0]
    );
}
