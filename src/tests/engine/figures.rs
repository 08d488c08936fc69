//! Measures what the engine costs on the postage system, against plain container starts and stops of the same system.
//! Run by `cargo test --test engine figures -- --ignored --nocapture`.

#![expect(clippy::print_stdout, reason = "a measurement is printed")]

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use nightmail::plan::ReplicaId;
use nightmail::system::engine::{Engine, ProcessState, RunningSystem, SystemRequest};

use crate::support::{engine, events, left_of, replica, run_id};

const ROUNDS: usize = 5;

fn postage(agents: Vec<ReplicaId>) -> SystemRequest {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/postage");
    let text = std::fs::read_to_string(dir.join("system.yaml")).unwrap();
    let run_id = run_id("figures");
    SystemRequest {
        logs_dir: Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("logs-{run_id}")),
        run_id,
        definition: serde_saphyr::from_str(&text).unwrap(),
        dir,
        environment: Default::default(),
        agents,
    }
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement"]
async fn up_and_down_against_plain_containers() {
    let engine = engine().await;
    let none = events();
    let began = Instant::now();
    engine.prepare(&postage(Vec::new()), &none).await.unwrap();
    println!("images, made if need be: {:?}", began.elapsed());
    let began = Instant::now();
    engine.prepare(&postage(Vec::new()), &none).await.unwrap();
    println!("images, found: {:?}", began.elapsed());
    let with_agents = vec![
        replica("postage-api", 1),
        replica("postage-api", 2),
        replica("payment-provider", 1),
    ];
    let mut figures: [(&str, Vec<Duration>, Vec<Duration>); 3] = Default::default();
    // In turn, so that what else the machine does at the time falls on all alike.
    for _ in 0..ROUNDS {
        for (index, agents) in [Vec::new(), with_agents.clone()].into_iter().enumerate() {
            let request = postage(agents);
            let began = Instant::now();
            let system = engine
                .up(&request, &none)
                .await
                .unwrap_or_else(|error| panic!("{error}"));
            figures[index].1.push(began.elapsed());
            let began = Instant::now();
            assert_eq!(system.down().await, Vec::<String>::new());
            figures[index].2.push(began.elapsed());
            assert_eq!(left_of(&request.run_id), Vec::<String>::new());
        }
        let (up, down) = tokio::task::spawn_blocking(plain).await.unwrap();
        figures[2].1.push(up);
        figures[2].2.push(down);
    }
    for (name, (_, ups, downs)) in ["without agents", "with three agents", "plain"].iter().zip(figures) {
        println!("{name}: up {ups:.1?}, down {downs:.1?}");
        let (up, down) = (median(ups), median(downs));
        println!("  medians: up {up:.2?}, down {down:.2?}, together {:.2?}", up + down);
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement"]
async fn onset_and_heal_of_process_faults() {
    let request = postage(Vec::new());
    let system = engine()
        .await
        .up(&request, &events())
        .await
        .unwrap_or_else(|error| panic!("{error}"));
    for id in [replica("postage-worker", 1), replica("database-1", 1)] {
        let (mut kills, mut heals, mut pauses, mut thaws) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for _ in 0..2 * ROUNDS {
            pauses.push(timed(&*system, &id, ProcessState::Paused, system.pause(&id)).await);
            thaws.push(timed(&*system, &id, ProcessState::Running, system.unpause(&id)).await);
            kills.push(timed(&*system, &id, ProcessState::Exited, system.kill(&id)).await);
            heals.push(timed(&*system, &id, ProcessState::Running, system.start(&id)).await);
        }
        let [kill, heal, pause, thaw] = [kills, heals, pauses, thaws].map(median);
        println!("{id}: kill {kill:?}, start {heal:?}, pause {pause:?}, thaw {thaw:?}");
    }
    assert_eq!(system.down().await, Vec::<String>::new());
}

async fn timed(
    system: &dyn RunningSystem,
    id: &ReplicaId,
    state: ProcessState,
    action: impl Future<Output = Result<(), nightmail::system::engine::EngineError>>,
) -> Duration {
    let began = Instant::now();
    action.await.unwrap();
    while system.state(id).await.unwrap() != state {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    began.elapsed()
}

/// What a script would do: `docker run` and `docker rm`, in parallel where the order allows.
fn plain() -> (Duration, Duration) {
    let network = format!("nightmail-plain-{}", std::process::id());
    let (replicas, postgres) = (newest("nightmail/replicas"), newest("nightmail/postgres"));
    let began = Instant::now();
    docker(&["network", "create", &network]);
    let name = |service: &str| format!("{network}-{service}");
    let run = |service: &str, alias: &str, ready: &str, image: &str, environment: &[&str], command: &[&str]| {
        let name = name(service);
        let mut words = vec![
            "run",
            "-d",
            "--name",
            &name,
            "--network",
            &network,
            "--network-alias",
            alias,
        ];
        for variable in environment {
            words.extend(["-e", variable]);
        }
        words.push(image);
        words.extend(command);
        docker(&words);
        let format = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}";
        let address = docker(&["inspect", "-f", format, &name]);
        let address: Ipv4Addr = address.trim().parse().unwrap();
        while !is_ready(address, ready) {
            std::thread::sleep(Duration::from_millis(10));
        }
    };
    let to_the_database = [
        "DATABASE_HOSTS=database-1,database-2",
        "PAYMENT_PROVIDER=payment-provider:8080",
    ];
    let worker = [
        to_the_database[0],
        to_the_database[1],
        "LABEL_PRINTER=label-printer:8080",
    ];
    std::thread::scope(|scope| {
        scope.spawn(|| run("database-1", "database-1", "", &postgres, &[], &["start-postgres"]));
        scope.spawn(|| {
            let environment = ["CALLBACK_TO=postage-api:8080", "LEDGER=/tmp/ledger.jsonl"];
            run(
                "provider",
                "payment-provider",
                "/health",
                &replicas,
                &environment,
                &["payment-provider"],
            );
        });
        scope.spawn(|| {
            run(
                "printer",
                "label-printer",
                "/health",
                &replicas,
                &["JOURNAL=/tmp/journal.jsonl"],
                &["label-printer"],
            );
        });
    });
    std::thread::scope(|scope| {
        scope.spawn(|| {
            run(
                "database-2",
                "database-2",
                "",
                &postgres,
                &["STANDBY_OF=database-1"],
                &["start-postgres"],
            )
        });
        for service in ["api-1", "api-2"] {
            let (run, replicas, to_the_database) = (&run, &replicas, &to_the_database);
            scope.spawn(move || {
                run(
                    service,
                    "postage-api",
                    "/ready",
                    replicas,
                    to_the_database,
                    &["postage-api"],
                )
            });
        }
        scope.spawn(|| {
            run(
                "worker",
                "postage-worker",
                "/ready",
                &replicas,
                &worker,
                &["postage-worker"],
            )
        });
    });
    let up = began.elapsed();
    let began = Instant::now();
    let names = [
        "database-1",
        "database-2",
        "provider",
        "printer",
        "api-1",
        "api-2",
        "worker",
    ]
    .map(name);
    std::thread::scope(|scope| {
        for name in &names {
            scope.spawn(move || docker(&["rm", "-f", "-v", name]));
        }
    });
    docker(&["network", "rm", &network]);
    (up, began.elapsed())
}

/// The same conditions as nightmail's: an answer at a path, or of PostgreSQL to a query.
fn is_ready(address: Ipv4Addr, path: &str) -> bool {
    if path.is_empty() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let mut config = tokio_postgres::Config::new();
        config.host(address.to_string()).user("postgres").dbname("postgres");
        return runtime.block_on(async {
            let Ok((client, connection)) = config.connect(tokio_postgres::NoTls).await else {
                return false;
            };
            tokio::spawn(connection);
            client.simple_query("SELECT 1").await.is_ok()
        });
    }
    let asked = || -> std::io::Result<[u8; 12]> {
        let mut stream = TcpStream::connect((address, 8080))?;
        write!(
            stream,
            "GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n"
        )?;
        let mut start = [0; 12];
        stream.read_exact(&mut start)?;
        Ok(start)
    };
    asked().is_ok_and(|start| start.ends_with(b" 200"))
}

fn newest(name: &str) -> String {
    let found = docker(&["images", "--format", "{{.Repository}}:{{.Tag}}", name]);
    found.lines().next().expect("the images were made").to_owned()
}

fn docker(words: &[&str]) -> String {
    let output = Command::new("docker").args(words).output().unwrap();
    assert!(
        output.status.success(),
        "docker {words:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}
