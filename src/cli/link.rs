//! `nightmail link`: links by themselves, as engineers use Toxiproxy.

use std::net::SocketAddr;
use std::num::NonZero;
use std::path::Path;
use std::sync::Arc;

use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::args::LinkArgs;
use super::exit;
use crate::control;
use crate::diagnostic::{Diagnostic, colour_on_stderr};
use crate::link::api::{self, ApiError, FileError};
use crate::link::carrier::{Carrier, allow_descriptors};
use crate::link::proxies::Proxies;
use crate::link::proxy::Reach;

/// Why there are no links: an exit code, and what is said.
struct Failure(u8, Diagnostic);

/// What was asked for makes no sense.
fn invalid(diagnostic: Diagnostic) -> Failure {
    Failure(exit::INVALID, diagnostic)
}

/// This machine refuses what was asked for.
fn broken(diagnostic: Diagnostic) -> Failure {
    Failure(exit::BROKEN, diagnostic)
}

/// Serves until it is told to end.
pub fn link(args: &LinkArgs) -> u8 {
    allow_descriptors();
    let served = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime.block_on(serve(args)),
        Err(error) => Err(broken(Diagnostic::new(format!("starting the event loop: {error}")))),
    };
    match served {
        Ok(()) => exit::PASSED,
        Err(Failure(code, diagnostic)) => {
            eprintln!("{}", diagnostic.render(colour_on_stderr()));
            code
        }
    }
}

async fn serve(args: &LinkArgs) -> Result<(), Failure> {
    // Before anybody is told that it serves, so that whoever then ends it finds it ready to be ended.
    let ends = Ends::new().map_err(|error| broken(Diagnostic::new(format!("waiting for signals: {error}"))))?;
    let control = listen(args).await?;
    let threads = args
        .threads
        .unwrap_or_else(|| std::thread::available_parallelism().unwrap_or(NonZero::<usize>::MIN));
    let carrier = Carrier::on_threads(threads.get())
        .map_err(|error| broken(Diagnostic::new(format!("starting {threads} threads: {error}"))))?;
    let reach = match args.anywhere {
        true => Reach::Anywhere,
        false => Reach::Loopback,
    };
    let proxies = Proxies::new(carrier, args.seed.unwrap_or_else(rand::random), reach);
    if let Some(file) = &args.config {
        populate(&proxies, file).await?;
    }
    if let (Some(listen), Some(upstream)) = (&args.listen, &args.upstream) {
        add(&proxies, &args.name, listen, upstream).await?;
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
        () = ends.asked() => {}
    }
    for proxy in proxies.all() {
        proxy.stop().await;
    }
    Ok(())
}

async fn listen(args: &LinkArgs) -> Result<TcpListener, Failure> {
    let address: SocketAddr = args.api;
    if !address.ip().is_loopback() && !args.anywhere {
        return Err(invalid(
            Diagnostic::new(format!("--api {address} would be reachable from other machines"))
                .allowed("loopback addresses, unless --anywhere is given")
                .hint(format!("--api 127.0.0.1:{}", address.port())),
        ));
    }
    TcpListener::bind(address).await.map_err(|error| {
        broken(
            Diagnostic::new(format!("--api {address}: {error}"))
                .hint("choose another with --api, for example --api 127.0.0.1:0 for any port that is free"),
        )
    })
}

/// The link of the command line.
async fn add(proxies: &Proxies, name: &str, listen: &str, upstream: &str) -> Result<(), Failure> {
    let told = |problem: &str| {
        Diagnostic::new(format!("link `{name}`: {problem}"))
            .hint("for example --listen 127.0.0.1:0 --upstream 127.0.0.1:5432; --name sets the name")
    };
    let port = upstream
        .rsplit_once(':')
        .and_then(|(_host, port)| port.parse::<u16>().ok());
    if port.is_none() {
        return Err(invalid(told(&format!("upstream {upstream}: it has no port"))));
    }
    let added = proxies
        .add(name.to_owned(), listen.to_owned(), upstream.to_owned(), true)
        .await;
    match added.map_err(ApiError::from) {
        Ok(_proxy) => Ok(()),
        Err(error) => Err(refused(&error, told(&error.error))),
    }
}

/// Reads a file as Toxiproxy's `-config` takes it, which is the body of `POST /populate`.
async fn populate(proxies: &Arc<Proxies>, file: &Path) -> Result<(), Failure> {
    let told = |diagnostic: Diagnostic| {
        diagnostic
            .allowed("a list of links, as Toxiproxy's -config takes it")
            .hint(r#"for example [{"name": "db", "listen": "127.0.0.1:0", "upstream": "127.0.0.1:5432"}]"#)
    };
    let text = std::fs::read(file).map_err(|error| {
        invalid(told(Diagnostic::in_file(
            file,
            format!("links cannot be read: {error}"),
        )))
    })?;
    match api::populate_from(proxies, &text).await {
        Ok(()) => Ok(()),
        Err(FileError::Json(error)) => {
            let text: Arc<str> = String::from_utf8_lossy(&text).into();
            let at = offset(&text, error.line(), error.column());
            let message = format!("no list of links in JSON: {error}");
            Err(invalid(told(Diagnostic::at(file, &text, at..at + 1, message))))
        }
        Err(FileError::Proxy(error)) => Err(refused(&error, told(Diagnostic::in_file(file, error.error.clone())))),
    }
}

fn refused(error: &ApiError, diagnostic: Diagnostic) -> Failure {
    match error.by_machine {
        true => broken(diagnostic),
        false => invalid(diagnostic),
    }
}

/// The byte at a line and column, both from 1.
fn offset(text: &str, line: usize, column: usize) -> usize {
    let before: usize = text
        .split_inclusive('\n')
        .take(line.saturating_sub(1))
        .map(str::len)
        .sum();
    before + column.saturating_sub(1)
}

/// The signals that end it.
struct Ends {
    terminate: Signal,
    interrupt: Signal,
}

impl Ends {
    fn new() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    async fn asked(mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
