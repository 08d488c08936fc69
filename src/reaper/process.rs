//! The reaper's own process.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::fd::AsFd;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::net::unix::pipe::Receiver;
use tokio::time::Instant;

use super::order::Order;
use crate::control::client;
use crate::system::docker::{Policy, connect_client, restore_and_start, sweep, unpause};
use crate::system::engine::{Call, Undo};

#[derive(Debug, Parser)]
#[command(name = "nightmail reaper", about = "Cleans up after a run whose harness has died")]
struct Arguments {
    /// The run.
    #[arg(long)]
    run: String,
}

/// Runs the reaper of a run until the harness has ended, one way or the other. `args` are what stands after
/// `nightmail reaper`; orders come on standard input.
pub fn main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let Ok(arguments) = Arguments::try_parse_from(std::iter::once("nightmail reaper".into()).chain(args)) else {
        return ExitCode::from(2);
    };
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else {
        return ExitCode::from(4);
    };
    runtime.block_on(watch(&arguments.run))
}

/// A fault that must end.
struct Deadline {
    at: Instant,
    deed: Deed,
}

/// How it is ended.
enum Deed {
    Process {
        undo: Undo,
        container: String,
        holder: String,
        policy: Policy,
    },
    Call(Call),
}

async fn watch(run_id: &str) -> ExitCode {
    // Anything but a pipe would never say that its writer has died.
    let Ok(pipe) = std::io::stdin()
        .as_fd()
        .try_clone_to_owned()
        .and_then(|stdin| Receiver::from_file(stdin.into()))
    else {
        return ExitCode::from(2);
    };
    let mut orders = BufReader::new(pipe).lines();
    let mut deadlines: BTreeMap<u32, Vec<Deadline>> = BTreeMap::new();
    loop {
        match next(&mut orders, &deadlines).await {
            Next::Order(Order::Arm {
                fault,
                undo,
                container,
                holder,
                policy,
                ttl,
            }) => deadlines.entry(fault).or_default().push(Deadline {
                at: Instant::now() + ttl,
                deed: Deed::Process {
                    undo,
                    container,
                    holder,
                    policy,
                },
            }),
            Next::Order(Order::Call { fault, call, ttl }) => deadlines.entry(fault).or_default().push(Deadline {
                at: Instant::now() + ttl,
                deed: Deed::Call(call),
            }),
            Next::Order(Order::Disarm { fault }) => {
                deadlines.remove(&fault);
            }
            Next::Order(Order::Done) => return ExitCode::SUCCESS,
            Next::Nothing => {}
            Next::Due => undo_what_is_due(&mut deadlines).await,
            Next::Death => {
                for deadline in deadlines.into_values().flatten() {
                    // Containers are removed whatever was done to them; what stands elsewhere stays.
                    if let Deed::Call(call) = &deadline.deed {
                        client::make(call).await;
                    }
                }
                clean(run_id).await;
                return ExitCode::SUCCESS;
            }
        }
    }
}

/// What happens next.
enum Next {
    Order(Order),
    /// A line that is no order.
    Nothing,
    /// A deadline has come.
    Due,
    /// The pipe has closed.
    Death,
}

async fn next(orders: &mut Lines<BufReader<Receiver>>, deadlines: &BTreeMap<u32, Vec<Deadline>>) -> Next {
    const FAR: Duration = Duration::from_secs(3_600);
    let first = deadlines.values().flatten().map(|deadline| deadline.at).min();
    tokio::select! {
        line = orders.next_line() => match line {
            Ok(Some(line)) => Order::parse(&line).map_or(Next::Nothing, Next::Order),
            Ok(None) | Err(_) => Next::Death,
        },
        () = tokio::time::sleep_until(first.unwrap_or_else(|| Instant::now() + FAR)) => Next::Due,
    }
}

async fn undo_what_is_due(deadlines: &mut BTreeMap<u32, Vec<Deadline>>) {
    let now = Instant::now();
    let mut due = Vec::new();
    for armed in deadlines.values_mut() {
        due.extend(armed.extract_if(.., |deadline| deadline.at <= now));
    }
    deadlines.retain(|_, armed| !armed.is_empty());
    for deadline in due {
        undo(&deadline.deed).await;
    }
}

/// The harness measures whether it has healed; here it is only done.
async fn undo(deed: &Deed) {
    match deed {
        Deed::Call(call) => client::make(call).await,
        Deed::Process {
            undo,
            container,
            holder,
            policy,
        } => {
            let Ok(client) = connect_client().await else { return };
            let _ = match undo {
                Undo::Start => restore_and_start(&client, container, holder, *policy).await,
                Undo::Unpause => unpause(&client, container).await,
            };
        }
    }
}

/// Cleans up, however long Docker takes to answer.
async fn clean(run_id: &str) {
    const ATTEMPTS: u32 = 60;
    for _ in 0..ATTEMPTS {
        if let Ok(client) = connect_client().await {
            sweep::after_death(&client, run_id).await;
            return;
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}
