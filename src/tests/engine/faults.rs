//! Faults of the online postage system on real containers: `stop`, `loss`, and targets found by their role.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use nightmail::agent::api::{CountRequest, FaultRequest, SendRequest};
use nightmail::agent::client::Client;
use nightmail::fault::loss::Loss;
use nightmail::fault::pause::Pause;
use nightmail::fault::stop::Stop;
use nightmail::fault::{Fault, FaultContext};
use nightmail::plan::{ReplicaId, Role, Target};
use nightmail::system::engine::{Engine, Replica, SystemRequest};

use crate::support::{engine, events, left_of, replica, run_id};

const TTL: Duration = Duration::from_secs(60);
/// Datagrams of one measurement, in waves that fit into a socket's buffer.
const WAVES: u32 = 5;
const WAVE: u32 = 60;

fn postage(agents: Vec<ReplicaId>) -> SystemRequest {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/postage");
    let text = std::fs::read_to_string(dir.join("system.yaml")).unwrap();
    let run_id = run_id("faults");
    SystemRequest {
        logs_dir: Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("logs-{run_id}")),
        run_id,
        definition: serde_saphyr::from_str(&text).unwrap(),
        dir,
        environment: Default::default(),
        agents,
        redactor: Default::default(),
    }
}

fn in_the_role(role: Role) -> Vec<Target> {
    let group = "database".to_owned();
    let members = vec![replica("database-1", 1), replica("database-2", 1)];
    vec![Target::Role { group, role, members }]
}

/// `exited 0`, asked past the code under test.
fn state(run_id: &str, replica: &str) -> String {
    let docker = |args: &[&str]| {
        let output = Command::new("docker").args(args).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    };
    let labels = [
        format!("label=nightmail.run={run_id}"),
        format!("label=nightmail.replica={replica}"),
        "label=nightmail.part=replica".to_owned(),
    ];
    let mut list = vec!["ps", "-aq"];
    labels.iter().for_each(|label| list.extend(["--filter", label]));
    let container = docker(&list);
    docker(&["inspect", "-f", "{{.State.Status}} {{.State.ExitCode}}", &container])
}

#[tokio::test(flavor = "multi_thread")]
async fn roles_are_found_and_a_stop_is_an_orderly_end() {
    let request = postage(Vec::new());
    let system = engine()
        .await
        .up(&request, &events())
        .await
        .unwrap_or_else(|error| panic!("{error}"));
    let context = |id| FaultContext::new(system.clone(), id, TTL, 1);

    let freeze = Pause {
        targets: in_the_role(Role::Primary),
    };
    let on = context(0);
    let receipt = freeze.inject(&on).await.unwrap();
    assert!(receipt.confirmed, "{receipt:?}");
    assert_eq!(receipt.replicas, ["database-1-1"]);
    assert_eq!(state(&request.run_id, "database-1-1"), "paused 0");
    assert_eq!(state(&request.run_id, "database-2-1"), "running 0");
    // Frozen, it cannot say that it is the primary, and nobody else does.
    let error = freeze.inject(&context(1)).await.unwrap_err().to_string();
    assert!(
        error.starts_with("no primary among database-1-1, database-2-1"),
        "{error}"
    );
    assert!(freeze.heal(&on).await.unwrap().confirmed);
    assert_eq!(state(&request.run_id, "database-1-1"), "running 0");

    let stop = Stop {
        targets: in_the_role(Role::Standby),
    };
    let on = context(2);
    let receipt = stop.inject(&on).await.unwrap();
    assert!(receipt.confirmed, "{receipt:?}");
    assert_eq!(receipt.replicas, ["database-2-1"]);
    // Its own stop signal was heeded: SIGKILL would have given 137.
    assert_eq!(state(&request.run_id, "database-2-1"), "exited 0");
    let again = Stop {
        targets: vec![Target::Replicas(vec![replica("database-2", 1)])],
    };
    let twice = context(3);
    let receipt = again.inject(&twice).await.unwrap();
    assert!(
        !receipt.confirmed,
        "what has ended already was not stopped by this: {receipt:?}"
    );
    let receipt = stop.heal(&on).await.unwrap();
    assert!(receipt.confirmed, "{receipt:?}");
    assert!(system.is_ready(&replica("database-2", 1)).await.unwrap());

    assert_eq!(system.down().await, Vec::<String>::new());
    assert_eq!(left_of(&request.run_id), Vec::<String>::new());
    let log = std::fs::read_to_string(request.logs_dir.join("database-2-1.log")).unwrap();
    assert!(log.contains("database system is shut down"), "{log}");
}

/// How many of [`WAVES`] times [`WAVE`] datagrams arrive.
async fn arrive(from: &Replica, to: &Replica) -> u32 {
    let client = |replica: &Replica| Client::new(replica.agent.expect("an agent"));
    let (sender, counter) = (client(from), client(to));
    let mut arrived = 0;
    for _ in 0..WAVES {
        let nonce = rand::random();
        let send = SendRequest {
            nonce,
            to: to.address,
            datagrams: WAVE,
        };
        assert_eq!(sender.send(&send).await.unwrap().datagrams, WAVE);
        let count = CountRequest {
            nonce,
            from: from.address,
            datagrams: WAVE,
            rule: None,
            wait_ms: 200,
        };
        arrived += counter.count(&count).await.unwrap().datagrams;
    }
    arrived
}

#[tokio::test(flavor = "multi_thread")]
async fn a_loss_takes_its_share_one_way() {
    let (provider, api) = (replica("payment-provider", 1), replica("postage-api", 1));
    let request = postage(vec![provider.clone(), api.clone()]);
    let system = engine()
        .await
        .up(&request, &events())
        .await
        .unwrap_or_else(|error| panic!("{error}"));
    let context = |id| FaultContext::new(system.clone(), id, TTL, 1);
    let of = |id| system.replica(id).unwrap();
    let (from, to) = (of(&provider), of(&api));
    let loss = Loss {
        from: vec![Target::Replicas(vec![provider.clone()])],
        to: vec![Target::Replicas(vec![api.clone()])],
        both_ways: false,
        percent: 30.0,
    };

    let on = context(0);
    let receipt = loss.inject(&on).await.unwrap();
    assert!(receipt.confirmed, "{receipt:?}");
    let arrived = arrive(from, to).await;
    // 210 of 300 are expected; six standard deviations are 48.
    assert!((162..=258).contains(&arrived), "{arrived} of 300 arrived: {receipt:?}");
    assert_eq!(arrive(to, from).await, WAVES * WAVE, "the other direction is untouched");
    let receipt = loss.heal(&on).await.unwrap();
    assert!(receipt.confirmed, "{receipt:?}");
    assert_eq!(arrive(from, to).await, WAVES * WAVE);

    // Where another cut stands already, nothing shows that this fault did anything.
    let cut = Client::new(to.agent.unwrap());
    let other = FaultRequest {
        peers: vec![from.address],
        percent: None,
        ttl_ms: 60_000,
    };
    cut.put_fault("other", &other).await.unwrap();
    let on = context(1);
    let receipt = loss.inject(&on).await.unwrap();
    assert!(!receipt.confirmed, "{receipt:?}");
    cut.remove_fault("other").await.unwrap();
    assert!(loss.heal(&on).await.unwrap().confirmed);

    assert_eq!(system.down().await, Vec::<String>::new());
    assert_eq!(left_of(&request.run_id), Vec::<String>::new());
}
