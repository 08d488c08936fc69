//! `nightmail link`: links by themselves, as engineers use Toxiproxy.

use std::net::SocketAddr;
use std::num::NonZero;
use std::path::Path;
use std::sync::Arc;

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tokio::net::TcpListener;

use super::args::LinkArgs;
use super::exit;
use crate::control;
use crate::link::api;
use crate::link::carrier::Carrier;
use crate::link::proxies::Proxies;
use crate::link::proxy::Reach;

/// Serves until it is told to end.
pub fn link(args: &LinkArgs) -> u8 {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return broken(&format!("starting the event loop: {error}")),
    };
    allow_descriptors();
    match runtime.block_on(serve(args)) {
        Ok(()) => exit::PASSED,
        Err(problem) => broken(&problem),
    }
}

/// Lets as many connections be open as the system allows: each takes a descriptor for either end, and one for a timer.
fn allow_descriptors() {
    if let Ok((_soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) {
        // Where that is refused, fewer fit.
        let _ = setrlimit(Resource::RLIMIT_NOFILE, hard, hard);
    }
}

fn broken(problem: &str) -> u8 {
    eprintln!("error: {problem}");
    exit::BROKEN
}

async fn serve(args: &LinkArgs) -> Result<(), String> {
    let control = listen(args).await?;
    let threads = args
        .threads
        .unwrap_or_else(|| std::thread::available_parallelism().unwrap_or(NonZero::<usize>::MIN));
    let carrier = Carrier::on_threads(threads.get()).map_err(|error| format!("starting the threads: {error}"))?;
    let reach = match args.anywhere {
        true => Reach::Anywhere,
        false => Reach::Loopback,
    };
    let proxies = Proxies::new(carrier, args.seed.unwrap_or_else(rand::random), reach);
    if let Some(file) = &args.config {
        populate(&proxies, file).await?;
    }
    if let (Some(listen), Some(upstream)) = (&args.listen, &args.upstream) {
        proxies
            .add(args.name.clone(), listen.clone(), upstream.clone(), true)
            .await
            .map_err(|error| format!("listening on {listen}: {error}"))?;
    }
    for proxy in proxies.all() {
        let described = proxy.described();
        println!("link {}: {} -> {}", proxy.name, described.listen, described.upstream);
    }
    if let Ok(address) = control.local_addr() {
        println!("control interface (Toxiproxy's): http://{address}");
    }
    let answering = proxies.clone();
    let answer = move |asked| {
        let proxies = answering.clone();
        async move { api::answer(&proxies, &asked).await }
    };
    tokio::select! {
        () = control::serve(&control, answer) => {}
        () = told_to_end() => {}
    }
    for proxy in proxies.all() {
        proxy.stop().await;
    }
    Ok(())
}

async fn listen(args: &LinkArgs) -> Result<TcpListener, String> {
    let address: SocketAddr = args.api;
    if !address.ip().is_loopback() && !args.anywhere {
        return Err(format!(
            "--api {address} would be reachable from other machines\n  hint: use a loopback address, or say --anywhere"
        ));
    }
    TcpListener::bind(address).await.map_err(|error| {
        format!("listening on {address}: {error}\n  hint: choose another with --api, for example --api 127.0.0.1:0")
    })
}

/// Reads a file as Toxiproxy's `-config` takes it, which is the body of `POST /populate`.
async fn populate(proxies: &Arc<Proxies>, file: &Path) -> Result<(), String> {
    let text = std::fs::read(file).map_err(|error| format!("{}: {error}", file.display()))?;
    api::populate_from(proxies, &text)
        .await
        .map_err(|error| format!("{}: {error}", file.display()))
}

async fn told_to_end() {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut terminate), Ok(mut interrupt)) = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
    else {
        // Without handlers the kernel ends the process all the same.
        return std::future::pending().await;
    };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
}
