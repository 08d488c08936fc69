//! Faults on real replicas: what they do, what their receipts say, and that a receipt of one that does not bite says so.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use nightmail::agent::api::{Action, CountRequest, FaultRequest, SendRequest};
use nightmail::agent::client::Client;
use nightmail::fault::kill::Kill;
use nightmail::fault::loss::Loss;
use nightmail::fault::pause::Pause;
use nightmail::fault::stop::Stop;
use nightmail::fault::{Fault, FaultContext, Patience, Receipt};
use nightmail::plan::{Role, Target};
use nightmail::system::definition::SystemDefinition;
use nightmail::system::engine::{ProcessState, RunningSystem, SystemRequest};
use serde_json::{Value, json};

use crate::support::{Under, ask, events, eventually, folder, replica, request, request_of, until_logged, write};

on_both_engines!(
    a_stop_is_a_signal_of_the_replicas_own_and_lasts_until_the_heal,
    a_stop_that_stops_nobody_is_not_confirmed,
    a_process_fault_that_somebody_undoes_has_lapsed,
    a_loss_takes_its_share_in_its_direction_until_the_heal,
    a_loss_whose_rules_are_gone_is_not_confirmed,
    a_role_is_whichever_database_has_it_when_the_fault_comes,
    a_standby_that_was_frozen_already_proves_nothing,
);

const TTL: Duration = Duration::from_secs(60);
/// How long anything that must come may take.
pub const WITHIN: Duration = Duration::from_secs(10);
/// Long enough to look for an effect that must not be there.
const SHORT: Duration = Duration::from_millis(500);

pub fn of(service: &str) -> Vec<Target> {
    vec![Target::Replicas(vec![replica(service, 1)])]
}

pub fn context(system: &Arc<dyn RunningSystem>, fault: u32) -> FaultContext {
    FaultContext::new(system.clone(), fault, TTL, 1)
}

/// The same for a fault that is not expected to be seen.
pub fn impatient(system: &Arc<dyn RunningSystem>, fault: u32) -> FaultContext {
    let patience = Patience {
        halted: SHORT,
        stopped: SHORT,
        ready: SHORT,
        ..Patience::default()
    };
    FaultContext {
        patience,
        ..context(system, fault)
    }
}

/// The same fault with the patience that it has in a run.
fn patient(context: &FaultContext) -> FaultContext {
    FaultContext {
        patience: Patience::default(),
        ..context.clone()
    }
}

pub fn confirmed(receipt: &Receipt, replicas: &[&str]) {
    assert!(receipt.confirmed && receipt.onset_us.is_some(), "{receipt:#?}");
    assert_eq!(receipt.replicas, replicas);
}

/// Healed, but not by the heal alone.
pub fn lapsed(receipt: &Receipt, replicas: &[&str], because: &str) {
    confirmed(receipt, replicas);
    assert!(receipt.lapsed && receipt.evidence[0].contains(because), "{receipt:#?}");
}

pub fn unconfirmed(receipt: &Receipt, because: &str) {
    assert!(!receipt.confirmed && receipt.onset_us.is_none(), "{receipt:#?}");
    assert!(
        receipt.evidence.iter().any(|line| line.contains(because)),
        "{receipt:#?}"
    );
}

pub async fn down(engine: &Under, system: &Arc<dyn RunningSystem>, run_id: &str) {
    assert_eq!(system.down().await, Vec::<String>::new());
    assert_eq!(engine.left_of(run_id), Vec::<String>::new());
}

/// Whether a replica that ends by itself is brought back.
async fn comes_back(system: &Arc<dyn RunningSystem>, service: &str) {
    let address = system.replica(&replica(service, 1)).unwrap().address;
    let _ = ask(address, "/exit");
    eventually("its restart policy brought it back", WITHIN, || {
        ask(address, "/").is_ok()
    })
    .await;
}

const STOPPABLE: &str = "
services:
  polite: {image: probe, command: serve-until-asked, restart: always, stop_signal: SIGINT}
  twin: {image: probe, command: serve, restart: always}
  deaf: {image: probe, command: serve, stop_grace_period: 1s}
";

async fn a_stop_is_a_signal_of_the_replicas_own_and_lasts_until_the_heal(engine: Under) {
    let request = request("fault-stop", STOPPABLE, &["polite", "twin", "deaf"]);
    let system = engine.up(&request, &events()).await.unwrap();
    let polite = replica("polite", 1);
    let address = |id| system.replica(id).unwrap().address;
    let stop = Stop { targets: of("polite") };
    let context = context(&system, 0);
    confirmed(&stop.inject(&context).await.unwrap(), &["polite-1"]);

    // A twin of the same policy that ends by itself is brought back; by then this one would have been brought back too.
    comes_back(&system, "twin").await;
    assert_eq!(system.state(&polite).await.unwrap(), ProcessState::Exited);
    assert!(ask(address(&polite), "/").is_err(), "nobody is there");

    let healed = stop.heal(&context).await.unwrap();
    confirmed(&healed, &["polite-1"]);
    assert!(!healed.lapsed, "{healed:#?}");
    assert_eq!(ask(address(&polite), "/").unwrap(), "ok");
    comes_back(&system, "polite").await;
    until_logged(&request, "polite-1", "listening as polite-1", 3).await;
    down(&engine, &system, &request.run_id).await;
    let log = std::fs::read_to_string(request.logs_dir.join("polite-1.log")).unwrap();
    let said: Vec<&str> = log.lines().filter(|line| !line.starts_with("asked for")).collect();
    assert_eq!(
        said[..3],
        ["listening as polite-1", "asked by SIGINT", "listening as polite-1"]
    );
}

async fn a_stop_that_stops_nobody_is_not_confirmed(engine: Under) {
    let request = request("fault-stop-not", STOPPABLE, &["polite", "twin", "deaf"]);
    let system = engine.up(&request, &events()).await.unwrap();
    let polite = replica("polite", 1);
    let somebody_else = engine.somebody_else(&system, &request.run_id);

    // The signal is lost on it: it is still there when patience is at its end, and is killed only later.
    let deaf = Stop { targets: of("deaf") };
    let context = impatient(&system, 0);
    unconfirmed(&deaf.inject(&context).await.unwrap(), "deaf-1: still running");
    confirmed(&deaf.heal(&patient(&context)).await.unwrap(), &["deaf-1"]);

    // Somebody else stopped it.
    somebody_else.does("stop", &polite).await;
    let stop = Stop { targets: of("polite") };
    let context = impatient(&system, 1);
    unconfirmed(&stop.inject(&context).await.unwrap(), "polite-1: was gone before");

    // Somebody else starts it and freezes it: it is not as it was before, and no heal.
    somebody_else.does("start", &polite).await;
    somebody_else.does("pause", &polite).await;
    let looks_longer = FaultContext {
        patience: Patience {
            ready: Duration::from_secs(3),
            ..context.patience
        },
        ..context.clone()
    };
    unconfirmed(&stop.heal(&looks_longer).await.unwrap(), "polite-1: frozen");
    somebody_else.does("unpause", &polite).await;
    confirmed(&stop.heal(&patient(&context)).await.unwrap(), &["polite-1"]);
    down(&engine, &system, &request.run_id).await;
}

async fn a_process_fault_that_somebody_undoes_has_lapsed(engine: Under) {
    let request = request("fault-undone", STOPPABLE, &["polite", "twin", "deaf"]);
    let system = engine.up(&request, &events()).await.unwrap();
    let polite = replica("polite", 1);
    let somebody_else = engine.somebody_else(&system, &request.run_id);
    let faults: [(Box<dyn Fault>, &str); 3] = [
        (Box::new(Kill { targets: of("polite") }), "start"),
        (Box::new(Stop { targets: of("polite") }), "start"),
        (Box::new(Pause { targets: of("polite") }), "unpause"),
    ];
    for (number, (fault, undo)) in (0..).zip(faults) {
        let context = context(&system, number);
        confirmed(&fault.inject(&context).await.unwrap(), &["polite-1"]);
        somebody_else.does(undo, &polite).await;
        let healed = fault.heal(&context).await.unwrap();
        lapsed(&healed, &["polite-1"], "polite-1: was running before the heal");
        comes_back(&system, "polite").await;
    }
    down(&engine, &system, &request.run_id).await;
}

const PAIR: &str = "
services:
  front: {image: probe, command: serve}
  back: {image: probe, command: serve}
";

/// Datagrams of a measurement of the tests' own.
const SENT: u32 = 1_000;
/// So many at once fit any receive buffer.
const AT_ONCE: u32 = 50;

/// The agent beside the first replica of a service.
pub fn agent(system: &Arc<dyn RunningSystem>, service: &str) -> Client {
    let replica = system.replica(&replica(service, 1)).unwrap();
    Client::new(replica.agent.expect("it was asked for"))
}

/// How many of [`SENT`] datagrams arrive.
async fn arrive(system: &Arc<dyn RunningSystem>, from: &str, to: &str) -> u32 {
    let address = |service| system.replica(&replica(service, 1)).unwrap().address;
    let (sender, receiver) = (agent(system, from), agent(system, to));
    let mut arrived = 0;
    for _ in 0..SENT / AT_ONCE {
        let nonce = rand::random();
        let send = SendRequest {
            nonce,
            to: address(to),
            datagrams: AT_ONCE,
        };
        assert_eq!(sender.send(&send).await.unwrap().datagrams, AT_ONCE);
        let count = CountRequest {
            nonce,
            from: address(from),
            datagrams: AT_ONCE,
            rule: None,
            wait_ms: 50,
        };
        arrived += receiver.count(&count).await.unwrap().datagrams;
    }
    arrived
}

fn loss(percent: f64) -> Loss<Target> {
    Loss {
        from: of("front"),
        to: of("back"),
        both_ways: false,
        percent,
    }
}

async fn pair(engine: &Under, name: &str) -> (SystemRequest, Arc<dyn RunningSystem>) {
    let mut request = request(name, PAIR, &["front", "back"]);
    request.agents = vec![replica("front", 1), replica("back", 1)];
    let system = engine.up(&request, &events()).await.unwrap();
    (request, system)
}

async fn a_loss_takes_its_share_in_its_direction_until_the_heal(engine: Under) {
    let (request, system) = pair(&engine, "fault-loss").await;
    let (loss, context) = (loss(30.0), context(&system, 0));
    confirmed(&loss.inject(&context).await.unwrap(), &["back-1", "front-1"]);

    let counted = async || agent(&system, "back").faults().await.unwrap()[0].peers[0];
    let before = counted().await;
    let arrived = arrive(&system, "front", "back").await;
    // More than six standard deviations either way.
    assert!((600..=800).contains(&arrived), "{arrived} of {SENT} arrived");
    let after = counted().await;
    assert_eq!(after.probes_seen - before.probes_seen, u64::from(SENT));
    assert_eq!(
        after.dropped - before.dropped,
        u64::from(SENT - arrived),
        "the kernel dropped those and no others"
    );
    assert_eq!(arrive(&system, "back", "front").await, SENT, "the other direction");

    confirmed(&loss.heal(&context).await.unwrap(), &["back-1", "front-1"]);
    assert_eq!(arrive(&system, "front", "back").await, SENT);
    down(&engine, &system, &request.run_id).await;
}

async fn a_loss_whose_rules_are_gone_is_not_confirmed(engine: Under) {
    let (request, system) = pair(&engine, "fault-loss-not").await;
    // Its time is over long before so small a share could be measured.
    let over = FaultContext {
        ttl: Duration::from_millis(1),
        ..context(&system, 0)
    };
    let small = loss(0.5);
    unconfirmed(&small.inject(&over).await.unwrap(), "which does not fit 0.5 %");
    lapsed(
        &small.heal(&over).await.unwrap(),
        &["back-1", "front-1"],
        "time-to-live had passed",
    );

    // Where another fault has closed the path already, nothing shows that this one did anything.
    let address = system.replica(&replica("front", 1)).unwrap().address;
    let other = FaultRequest {
        peers: vec![address],
        action: Action::Discard { percent: None },
        ttl_ms: 60_000,
    };
    agent(&system, "back").put_fault("other", &other).await.unwrap();
    let (closed, quarter) = (context(&system, 2), loss(25.0));
    unconfirmed(
        &quarter.inject(&closed).await.unwrap(),
        "before, 0 of 5 datagrams arrived",
    );
    agent(&system, "back").remove_fault("other").await.unwrap();
    confirmed(&quarter.heal(&closed).await.unwrap(), &["back-1", "front-1"]);

    // Rules that somebody else removed while the fault lasted: the heal finds none of its own.
    let (half, context) = (loss(50.0), context(&system, 1));
    confirmed(&half.inject(&context).await.unwrap(), &["back-1", "front-1"]);
    assert!(agent(&system, "back").remove_fault("1").await.unwrap().existed);
    assert_eq!(arrive(&system, "front", "back").await, SENT);
    lapsed(
        &half.heal(&context).await.unwrap(),
        &["back-1", "front-1"],
        "before the heal",
    );
    down(&engine, &system, &request.run_id).await;
}

/// The database of the postage fixture, and nothing else of it.
pub fn databases(name: &str) -> SystemRequest {
    let postage = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/postage");
    let read = |file: &str| -> Value {
        serde_saphyr::from_str(&std::fs::read_to_string(postage.join(file)).unwrap()).unwrap()
    };
    let only = |map: &Value, prefix: &str| -> Value {
        let entries = map.as_object().unwrap().iter();
        let kept = entries.filter(|(name, _)| name.starts_with(prefix));
        kept.map(|(name, entry)| (name.clone(), entry.clone())).collect()
    };
    let (compose, system) = (read("compose.yaml"), read("system.yaml"));
    let dir = folder(name);
    let cut = json!({
        "name": "postage",
        "x-nightmail": {"images": only(&compose["x-nightmail"]["images"], "nightmail/postgres")},
        "services": only(&compose["services"], "database-"),
    });
    // JSON is YAML.
    write(&dir.join("compose.yaml"), &cut.to_string());
    let definition: SystemDefinition = serde_json::from_value(json!({
        "name": name,
        "title": "A primary and its standby",
        "groups": system["groups"],
        "services": only(&system["services"], "database-"),
        "operations": {},
    }))
    .unwrap();
    request_of(name, dir, definition)
}

pub fn role(role: Role) -> Vec<Target> {
    vec![Target::Role {
        group: "database".to_owned(),
        role,
        members: vec![replica("database-1", 1), replica("database-2", 1)],
    }]
}

/// What a database answers, asked past the code under test.
pub async fn query(system: &Arc<dyn RunningSystem>, service: &str, sql: &str) -> String {
    let address = system.replica(&replica(service, 1)).unwrap().address;
    let config = format!("host={address} user=postgres dbname=postgres connect_timeout=5");
    let (client, connection) = tokio_postgres::connect(&config, tokio_postgres::NoTls).await.unwrap();
    let connection = tokio::spawn(connection);
    let answer = client.simple_query(sql).await.unwrap();
    connection.abort();
    let row = answer.iter().find_map(|message| match message {
        tokio_postgres::SimpleQueryMessage::Row(row) => row.get(0),
        _ => None,
    });
    row.unwrap_or_default().to_owned()
}

async fn a_role_is_whichever_database_has_it_when_the_fault_comes(engine: Under) {
    let mut request = databases("fault-roles");
    // An old primary comes back as what it was.
    let as_it_was = BTreeMap::from([("REJOIN".to_owned(), String::new())]);
    request.environment.insert("database-1".to_owned(), as_it_was);
    let system = engine.up(&request, &events()).await.unwrap();
    let somebody_else = engine.somebody_else(&system, &request.run_id);
    let state = |service: &str| somebody_else.sees(&replica(service, 1));
    let primary = || role(Role::Primary);

    let freeze = Pause {
        targets: role(Role::Standby),
    };
    let frozen = context(&system, 0);
    confirmed(&freeze.inject(&frozen).await.unwrap(), &["database-2-1"]);
    assert_eq!(
        (state("database-1"), state("database-2")),
        ("running".into(), "paused".into())
    );
    confirmed(&freeze.heal(&frozen).await.unwrap(), &["database-2-1"]);

    let kill = Kill { targets: primary() };
    let killed = context(&system, 1);
    confirmed(&kill.inject(&killed).await.unwrap(), &["database-1-1"]);
    // Docker hears of an end later than the kernel.
    eventually("the primary is seen to be dead", WITHIN, || {
        state("database-1") == "exited"
    })
    .await;
    assert_eq!(state("database-2"), "running");

    // Nobody has the role: nothing is done to anybody.
    let nobody = Pause { targets: primary() }.inject(&context(&system, 2)).await;
    let refusal = nobody.unwrap_err().to_string();
    assert!(
        refusal.starts_with("no primary among database-1-1, database-2-1: database-1-1 did not answer"),
        "{refusal}"
    );
    assert_eq!(state("database-2"), "running");

    // The role moves, and with it whom a fault means.
    assert_eq!(query(&system, "database-2", "select pg_promote()").await, "t");
    let freeze = Pause { targets: primary() };
    let frozen = context(&system, 3);
    confirmed(&freeze.inject(&frozen).await.unwrap(), &["database-2-1"]);
    assert_eq!(state("database-2"), "paused");
    confirmed(&freeze.heal(&frozen).await.unwrap(), &["database-2-1"]);

    // The kill is healed where it was done, though that is not the primary any more; then there are two.
    confirmed(&kill.heal(&killed).await.unwrap(), &["database-1-1"]);
    for service in ["database-1", "database-2"] {
        assert_eq!(query(&system, service, "select pg_is_in_recovery()").await, "f");
    }
    let refusal = kill.inject(&context(&system, 4)).await.unwrap_err().to_string();
    assert!(refusal.contains("there is more than one"), "{refusal}");
    assert_eq!(
        (state("database-1"), state("database-2")),
        ("running".into(), "running".into())
    );
    down(&engine, &system, &request.run_id).await;
}

async fn a_standby_that_was_frozen_already_proves_nothing(engine: Under) {
    let request = databases("fault-roles-not");
    let system = engine.up(&request, &events()).await.unwrap();
    let standby = replica("database-2", 1);
    let somebody_else = engine.somebody_else(&system, &request.run_id);
    let freeze = Pause {
        targets: vec![Target::Replicas(vec![replica("database-2", 1)])],
    };
    somebody_else.does("pause", &standby).await;
    unconfirmed(
        &freeze.inject(&impatient(&system, 0)).await.unwrap(),
        "was frozen before",
    );
    // Asked for its role, it does not answer, and so it is no target.
    let by_role = Pause {
        targets: role(Role::Standby),
    };
    let refusal = by_role.inject(&impatient(&system, 1)).await.unwrap_err().to_string();
    assert!(
        refusal.contains("database-2-1 did not answer (nothing within"),
        "{refusal}"
    );
    somebody_else.does("unpause", &standby).await;
    down(&engine, &system, &request.run_id).await;
}
