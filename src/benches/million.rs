//! A history of a million operations, its plan, and how children are measured over it: for the benches that judge and report it.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;
use std::process::{Command, ExitCode};

use nightmail::check::Invariant;
use nightmail::history::{Fields, Item, Op, Outcome, Read, Record, Value};
use nightmail::plan::Plan;
use serde_json::json;

/// How many operations there are.
pub const OPERATIONS: u64 = 1_000_000;
/// How often a child may try: other load on the machine only adds.
const ROUNDS: usize = 3;

/// Whatever went wrong.
pub type Failure = Box<dyn std::error::Error>;

/// Prints a line.
pub fn say(line: &str) {
    // Whoever closed our output does not want the figures.
    let _ = writeln!(std::io::stdout(), "{line}");
}

/// What follows `option` on the command line: this process is a child then.
pub fn asked(option: &str) -> Option<String> {
    std::env::args().skip_while(|argument| argument != option).nth(1)
}

/// Has children measure `path`, until one keeps to the bounds. Each is this program with `option` and the path, so that its
/// peak memory is its own.
pub fn measure(option: &str, path: &Path) -> Result<ExitCode, Failure> {
    for _ in 0..ROUNDS {
        let child = Command::new(std::env::current_exe()?).arg(option).arg(path).status()?;
        if child.success() {
            return Ok(ExitCode::SUCCESS);
        }
    }
    say(&format!("beyond the bounds in each of {ROUNDS} rounds"));
    Ok(ExitCode::FAILURE)
}

/// The exit code of what was done; a failure is told.
pub fn ended(outcome: Result<ExitCode, Failure>) -> ExitCode {
    outcome.unwrap_or_else(|failure| {
        say(&format!("failed: {failure}"));
        ExitCode::FAILURE
    })
}

/// The most memory this process ever held.
pub fn peak_rss_kb() -> Result<u64, Failure> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let number = line.and_then(|line| line.split_whitespace().next()).ok_or("no VmHWM")?;
    Ok(number.parse()?)
}

/// Every checker over the history below, as `system.yaml` would declare them.
pub fn plan() -> Result<Plan, Failure> {
    let invariants = json!({
        "no-order-lost": {"durable-set": {"operations": ["buy-postage"], "read": "orders", "equal": ["amount"]}},
        "every-order-has-one-label": {"exactly-once": {"causes": {"operations": ["buy-postage"]}, "effects": "labels"}},
        "labels-match-orders": {"exactly-once": {"causes": {"read": "orders"}, "effects": "labels"}},
        "balances-add-up": {"ledger": {"entries": "entries", "accounts": "accounts", "operations": ["top-up"]}},
    });
    // Checked by every member: a definition that lost one would be no judgement.
    let typed: std::collections::BTreeMap<String, Invariant> = serde_json::from_value(invariants.clone())?;
    let operations: Vec<&str> = KINDS.iter().map(|(kind, _)| *kind).collect();
    let request = json!({"service": "api", "port": 80, "path": "/"});
    let definition = json!({"request": request, "outcome": {"ok": "status < 300"}});
    let definitions: serde_json::Map<String, serde_json::Value> = operations
        .iter()
        .map(|kind| ((*kind).to_owned(), definition.clone()))
        .collect();
    let probes: Vec<serde_json::Value> = operations
        .iter()
        .map(|kind| {
            let measure = json!({"success_rate": {"operation": kind}});
            json!({"name": kind, "measure": measure, "tolerance": {"compare": ">=", "value": 50.0}})
        })
        .collect();
    Ok(serde_json::from_value(json!({
        "schema_version": nightmail::plan::SCHEMA_VERSION,
        "experiment": {"name": "bench", "title": "", "description": "", "tags": [], "path": "", "sha256": ""},
        "seed": 1,
        "configuration": {},
        "system": {"name": "postage", "title": "", "operations": definitions, "invariants": invariants},
        "system_dir": "/",
        "replicas": {},
        "environment": {},
        "defects": [],
        "workload": {"arrivals": "poisson", "rates": {"buy-postage": 1000.0, "top-up": 500.0, "purchase-history": 500.0}, "in_flight_max": 4000},
        "gate": {"title": "", "warm_up_ms": 0, "window_ms": 10000, "probes": probes},
        "faults": [],
        "during": [],
        "recovery": null,
        "invariants": typed.keys().collect::<Vec<_>>(),
        "tolerate": {"data_loss_operations": 0, "data_loss_time_ms": 0},
        "negative_controls": [],
        "schedule": {"gate_ms": 0, "method_ms": 0, "recovery_ms": 0, "total_ms": 0},
    }))?)
}

/// Kinds of operation, each with its share of a hundred.
const KINDS: [(&str, u64); 3] = [("buy-postage", 50), ("top-up", 25), ("purchase-history", 25)];

struct Writer {
    file: BufWriter<File>,
    items: u64,
    read_items: u64,
}

impl Writer {
    fn record(&mut self, record: &Record<'_>) -> Result<(), Failure> {
        serde_json::to_writer(&mut self.file, record)?;
        Ok(self.file.write_all(b"\n")?)
    }

    fn item(&mut self, read: &str, element: String, fields: Fields<'_>) -> Result<(), Failure> {
        self.read_items += 1;
        self.items += 1;
        self.record(&Record::Item(Item {
            read: read.into(),
            element: element.into(),
            fields,
        }))
    }

    fn end(&mut self, read: &str) -> Result<(), Failure> {
        let items = std::mem::take(&mut self.read_items);
        self.record(&Record::Read(Read {
            read: read.into(),
            at_us: 0,
            items,
            error: None,
        }))
    }
}

fn kind(number: u64) -> &'static str {
    // A stride that visits the shares evenly.
    let mut share = number * 37 % 100;
    for (kind, of_hundred) in KINDS {
        if share < of_hundred {
            return kind;
        }
        share -= of_hundred;
    }
    KINDS[0].0
}

fn outcome(number: u64) -> Outcome {
    match number % 10 {
        0..7 => Outcome::Ok,
        7..9 => Outcome::Info,
        _ => Outcome::Fail,
    }
}

fn key(number: u64) -> String {
    format!("{}-5bf1c2a9-{number}", kind(number))
}

fn account(number: u64) -> String {
    format!("acct-{}", number % ACCOUNTS)
}

fn amount(number: u64) -> i64 {
    (number % 900) as i64 + 100
}

const ACCOUNTS: u64 = 1_000;

fn fields<const N: usize>(pairs: [(&'static str, Value<'static>); N]) -> Fields<'static> {
    pairs.into_iter().map(|(name, value)| (name.into(), value)).collect()
}

/// Half of what is indeterminate happened.
fn happened(number: u64) -> bool {
    match outcome(number) {
        Outcome::Ok => true,
        Outcome::Info => number % 10 == 7,
        Outcome::Fail => false,
    }
}

/// Writes the history to a file. How many items its final reads have.
pub fn write_history(file: &Path) -> Result<u64, Failure> {
    let file = BufWriter::new(File::create(file)?);
    let mut writer = Writer {
        file,
        items: 0,
        read_items: 0,
    };
    for number in 0..OPERATIONS {
        writer.record(&Record::Op(operation(number, &key(number))))?;
    }
    // Final reads come in an order of their own.
    let happened = |of: &'static str| {
        let scattered = (0..OPERATIONS).map(|place| place * 611_953 % OPERATIONS);
        scattered.filter(move |number| kind(*number) == of && happened(*number))
    };
    for number in happened("buy-postage") {
        let fields = fields([
            ("amount", Value::Int(amount(number))),
            ("account", Value::Text(account(number).into())),
        ]);
        writer.item("orders", key(number), fields)?;
    }
    writer.end("orders")?;
    for number in happened("buy-postage") {
        writer.item("labels", key(number), Fields::default())?;
    }
    writer.end("labels")?;
    let mut balances = vec![0; ACCOUNTS as usize];
    for number in happened("top-up") {
        balances[(number % ACCOUNTS) as usize] += amount(number);
        for (account, amount) in [(account(number), amount(number)), ("house".to_owned(), -amount(number))] {
            let fields = fields([("account", Value::Text(account.into())), ("amount", Value::Int(amount))]);
            writer.item("entries", key(number), fields)?;
        }
    }
    writer.end("entries")?;
    for (number, balance) in balances.into_iter().enumerate() {
        let fields = fields([("initial", Value::Int(0)), ("balance", Value::Int(balance))]);
        writer.item("accounts", account(number as u64), fields)?;
    }
    writer.end("accounts")?;
    writer.file.flush()?;
    Ok(writer.items)
}

fn operation(number: u64, key: &str) -> Op<'_> {
    let intended_us = number * 500;
    let outcome = outcome(number);
    Op {
        kind: kind(number).into(),
        key: key.into(),
        intended_us,
        sent_us: Some(intended_us + number % 90),
        done_us: intended_us + 3_000 + number % 7_000,
        outcome,
        attempts: 1 + u32::from(number.is_multiple_of(50)),
        status: (outcome != Outcome::Info).then_some(if outcome == Outcome::Ok { 201 } else { 409 }),
        error: (outcome == Outcome::Info).then(|| "timeout".into()),
        values: fields([
            ("account", Value::Text(account(number).into())),
            ("amount", Value::Int(amount(number))),
        ]),
        forbidden: None,
    }
}
