//! The workload engine against a stub server, 2,000 operations a second for ten seconds.
//!
//! 1. A server that answers at once: the history is complete, and the generator's own lag stays under 5 ms at p99.
//! 2. A server that stalls once for 1.4 s: counted from the intended times, p99 is more than 1 s.
//!
//! Prints the figures; ends with status 1 if one is missed.

#![allow(clippy::print_stdout, reason = "a benchmark's figures are its output")]

use std::collections::{BTreeMap, HashSet};
use std::convert::Infallible;
use std::net::{Ipv4Addr, TcpListener};
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use nightmail::event::{Events, LoadSummary};
use nightmail::history::record::Recorder;
use nightmail::history::{Op, Outcome, Record};
use nightmail::plan::{Arrivals, WorkloadPlan};
use nightmail::system::definition::SystemDefinition;
use nightmail::workload::{Load, LoadRequest, Schedule};
use serde_json::json;

const RATE: f64 = 2_000.0;
const LOAD: Duration = Duration::from_secs(10);
const IN_FLIGHT_MAX: usize = 4_000;
const SEED: u64 = 42;
const STALL: Duration = Duration::from_millis(1_400);
const STALL_AT: Duration = Duration::from_secs(4);

const LAG_P99_MS_MAX: f64 = 5.0;
const STALLED_P99_MS_MIN: f64 = 1_000.0;

fn main() -> ExitCode {
    let steady = measure(None);
    println!("steady:  {steady}");
    let stalled = measure(Some(STALL_AT));
    println!("stalled: {stalled}");
    let demands = [
        ("steady: the history is complete", steady.complete),
        ("steady: every operation is acknowledged", steady.ok == steady.recorded),
        ("steady: lag p99 under 5 ms", steady.lag_p99_ms < LAG_P99_MS_MAX),
        ("stalled: the history is complete", stalled.complete),
        ("stalled: p99 over 1 s", stalled.p99_ms > STALLED_P99_MS_MIN),
    ];
    let mut code = ExitCode::SUCCESS;
    for (demand, met) in demands {
        println!("{} {demand}", if met { "met   " } else { "MISSED" });
        if !met {
            code = ExitCode::FAILURE;
        }
    }
    code
}

struct Figures {
    recorded: usize,
    complete: bool,
    ok: usize,
    dropped: u64,
    p50_ms: f64,
    p99_ms: f64,
    lag_p99_ms: f64,
    lag_max_ms: f64,
}

impl std::fmt::Display for Figures {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{} operations ({:.0}/s), {} ok, {} dropped, latency p50 {:.2} ms, p99 {:.2} ms, lag p99 {:.2} ms, max {:.2} ms",
            self.recorded,
            self.recorded as f64 / LOAD.as_secs_f64(),
            self.ok,
            self.dropped,
            self.p50_ms,
            self.p99_ms,
            self.lag_p99_ms,
            self.lag_max_ms,
        )
    }
}

fn measure(stall_at: Option<Duration>) -> Figures {
    let epoch = Instant::now() + Duration::from_millis(200);
    let port = serve(stall_at.map(|at| epoch + at));
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("history.jsonl");
    let recorder = Recorder::create(&path).expect("a new file");
    let rates = BTreeMap::from([("buy".to_owned(), RATE.into())]);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let (summary, end_us) = runtime.expect("a runtime").block_on(async {
        let load = Load::start(&LoadRequest {
            system: &system(port),
            workload: &WorkloadPlan {
                arrivals: Arrivals::Poisson,
                rates: rates.clone(),
                in_flight_max: IN_FLIGHT_MAX,
            },
            seed: SEED,
            addresses: &BTreeMap::from([("stub".to_owned(), vec![Ipv4Addr::LOCALHOST])]),
            epoch,
            run_part: "bench",
            recorder: &recorder,
            events: &Events::unsaved(None),
        })
        .expect("the load starts");
        tokio::time::sleep_until((epoch + LOAD).into()).await;
        let end_us = load.end_arrivals();
        let summary = load.finish(Duration::from_secs(10)).await.expect("the load ends");
        recorder.flush().await.expect("the history is written");
        load.stop_gauges().await;
        (summary, end_us)
    });
    let history = std::fs::read_to_string(&path).expect("the history is readable");
    let scheduled = Schedule::new(Arrivals::Poisson, &rates, SEED)
        .map(|arrival| arrival.intended_us)
        .take_while(|intended_us| *intended_us <= end_us);
    figures(&history, scheduled.collect(), &summary)
}

fn figures(history: &str, scheduled: Vec<u64>, summary: &LoadSummary) -> Figures {
    let ops: Vec<Op<'_>> = history
        .lines()
        .map(|line| match serde_json::from_str(line) {
            Ok(Record::Op(op)) => op,
            other => panic!("{other:?} was never recorded"),
        })
        .collect();
    let mut intended: Vec<_> = ops.iter().map(|op| op.intended_us).collect();
    intended.sort_unstable();
    let keys: HashSet<_> = ops.iter().map(|op| &*op.key).collect();
    let mut latencies: Vec<_> = ops.iter().map(Op::latency_us).collect();
    latencies.sort_unstable();
    let quantile_ms = |share: f64| latencies[((latencies.len() - 1) as f64 * share) as usize] as f64 / 1_000.0;
    Figures {
        recorded: ops.len(),
        complete: intended == scheduled && keys.len() == ops.len(),
        ok: ops.iter().filter(|op| op.outcome == Outcome::Ok).count(),
        dropped: summary.dropped,
        p50_ms: quantile_ms(0.5),
        p99_ms: quantile_ms(0.99),
        lag_p99_ms: summary.lag_p99_us as f64 / 1_000.0,
        lag_max_ms: summary.lag_max_us as f64 / 1_000.0,
    }
}

/// An operation as systems have them: a JSON body, a key, a rule over the answer's body.
fn system(port: u16) -> SystemDefinition {
    let definition = json!({
        "name": "stub", "title": "Stub",
        "pools": {"accounts": {"sequence": {"prefix": "acct-", "count": 1000}}},
        "operations": {"buy": {
            "values": {"account": {"one-of": "accounts"}, "amount": {"range": {"min": 1, "max": 500}}},
            "record": ["account", "amount"],
            "request": {
                "service": "stub", "port": port, "method": "POST", "path": "/orders", "timeout": "5s",
                "headers": {"idempotency-key": "{{ key }}"},
                "json": {"account": "{{ account }}", "amount": "{{ amount }}"}
            },
            "outcome": {"ok": "status == 201 && body.state == 'paid'", "fail": "status == 422"}
        }}
    });
    serde_json::from_value(definition).expect("a definition")
}

/// Serves on a thread of its own until the process ends; answers nothing for [`STALL`] from `stall` on.
fn serve(stall: Option<Instant>) -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    let port = listener.local_addr().expect("bound").port();
    listener.set_nonblocking(true).expect("a socket");
    thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.expect("a runtime").block_on(async move {
            let listener = tokio::net::TcpListener::from_std(listener).expect("a socket");
            loop {
                let (stream, _) = listener.accept().await.expect("a connection");
                tokio::spawn(async move {
                    let service = service_fn(move |request| answer(request, stall));
                    let connection = hyper::server::conn::http1::Builder::new();
                    // The load closes connections as it likes.
                    let _ = connection.serve_connection(TokioIo::new(stream), service).await;
                });
            }
        });
    });
    port
}

async fn answer(
    request: hyper::Request<Incoming>,
    stall: Option<Instant>,
) -> Result<hyper::Response<Full<Bytes>>, Infallible> {
    // A body cut short is the load's own doing.
    let _ = request.into_body().collect().await;
    if let Some(from) = stall
        && (from..from + STALL).contains(&Instant::now())
    {
        tokio::time::sleep_until((from + STALL).into()).await;
    }
    let mut response = hyper::Response::new(Full::from(r#"{"state": "paid", "order": 17, "balance": 4200}"#));
    *response.status_mut() = hyper::StatusCode::CREATED;
    Ok(response)
}
