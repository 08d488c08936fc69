//! What a whole run costs beside its load: the time of `nightmail run` less the time under load, images present, against
//! the plain container starts and stops of the same system.
//!
//! `cargo bench --bench overhead` runs both in turn, so that what else the machine does falls on both alike, and prints
//! medians. It needs Docker, and touches only containers and networks of its own. Fails beyond either bound.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

#[path = "run.rs"]
mod run;

use run::Run;

/// Runs of each; the first makes what images are missing and is not counted.
const ROUNDS: usize = 5;
/// The most that a run may cost beside its load, at the median.
const OVERHEAD_MAX: Duration = Duration::from_secs(6);
/// The most that bringing the system up and taking it down may cost, in plain starts and stops of the same containers. The
/// drain and the final reads are no part of it: they wait for the system itself, as long as its labels take to print.
const PLAIN_MAX: f64 = 1.3;
/// With faults of the network, so that agents stand beside three replicas.
const EXPERIMENT: &str = "experiments/postage/provider-cut-off.yaml";

type Failure = Box<dyn std::error::Error + Send + Sync>;

fn main() -> ExitCode {
    measure().unwrap_or_else(|failure| {
        say(&format!("failed: {failure}"));
        ExitCode::FAILURE
    })
}

fn say(line: &str) {
    // Whoever closed our output does not want the figures.
    let _ = writeln!(std::io::stdout(), "{line}");
}

fn measure() -> Result<ExitCode, Failure> {
    let mut runs: Vec<Run> = Vec::new();
    let mut plain_starts = Vec::new();
    for round in 0..=ROUNDS {
        let run = Run::of(EXPERIMENT, "docker")?;
        let (up, down) = plain();
        if round > 0 {
            runs.push(run);
            plain_starts.push((up, down));
        }
    }
    say("| | median | all |\n| --- | --- | --- |");
    let column = |name: &str, of: &dyn Fn(&Run) -> Duration| row(name, runs.iter().map(of).collect());
    column("to the load: images found, system up", &|run| run.before);
    column("after the load: drain, final reads", &|run| run.drain);
    column("down", &|run| run.down);
    column("judging, reports, end", &|run| run.after);
    let overhead = column("nightmail, all beside the load", &|run| {
        run.before + run.drain + run.down + run.after
    });
    row("plain: up", plain_starts.iter().map(|(up, _)| *up).collect());
    row("plain: down", plain_starts.iter().map(|(_, down)| *down).collect());
    let plain = row(
        "plain, both",
        plain_starts.iter().map(|(up, down)| *up + *down).collect(),
    );
    let up_and_down = column("nightmail, up and down alone", &|run| run.before + run.down);
    let (whole, engine) = (ratio(overhead, plain), ratio(up_and_down, plain));
    say(&format!(
        "\noverhead {overhead:.2?} (at most {OVERHEAD_MAX:?}); up and down {engine:.2} of plain starts and stops (at most \
         {PLAIN_MAX}), {whole:.2} with drain, final reads and judging"
    ));
    let within = overhead <= OVERHEAD_MAX && engine <= PLAIN_MAX;
    Ok(if within { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn ratio(one: Duration, other: Duration) -> f64 {
    one.as_secs_f64() / other.as_secs_f64()
}

/// Prints a row of the table; gives the median.
fn row(name: &str, mut times: Vec<Duration>) -> Duration {
    times.sort();
    let median = times[times.len() / 2];
    say(&format!("| {name} | {median:.2?} | {times:.2?} |"));
    median
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
