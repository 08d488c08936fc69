//! The program under test, servers behind it, and connections through it.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// How long anything that must come may take.
pub const WITHIN: Duration = Duration::from_secs(20);
/// Any port of loopback.
pub const ANY_PORT: &str = "127.0.0.1:0";

/// `nightmail link`, with those arguments.
pub fn command(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_nightmail"));
    command.arg("link").args(args).env("NO_COLOR", "1");
    command
}

/// `nightmail link` at work. It is killed when the test is done with it.
pub struct Links {
    child: Child,
    /// What it said when it began, a line each.
    pub said: Vec<String>,
    /// Its control interface.
    pub api: SocketAddr,
}

impl Links {
    /// Starts it with a control interface at any port, and returns once it has said where.
    pub fn start(args: &[&str]) -> Self {
        Self::start_as(&[&["--api", ANY_PORT], args].concat())
    }

    /// Does so with those arguments and no others.
    pub fn start_as(args: &[&str]) -> Self {
        let mut child = command(args).stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut said = Vec::new();
        let api = loop {
            let Some(line) = lines.next() else {
                panic!("{args:?}: it ended with {:?}, having said {said:?}", child.wait());
            };
            let line = line.unwrap();
            let api = line.rsplit_once("http://").map(|(_, api)| api.parse().unwrap());
            said.push(line);
            if let Some(api) = api {
                break api;
            }
        };
        Self { child, said, api }
    }

    /// With one link to a server.
    pub fn before(server: SocketAddr) -> Self {
        Self::start(&["--listen", ANY_PORT, "--upstream", &server.to_string()])
    }

    /// Where it said that a link listens.
    pub fn listens(&self, name: &str) -> SocketAddr {
        let start = format!("link {name}: ");
        let line = self.said.iter().find_map(|line| line.strip_prefix(&start));
        let (listen, _upstream) = line.unwrap().split_once(" -> ").unwrap();
        listen.parse().unwrap()
    }

    /// Sends a signal and waits for the end.
    pub fn end(&mut self, signal: Signal) -> ExitStatus {
        let pid = Pid::from_raw(self.child.id().try_into().unwrap());
        kill(pid, signal).unwrap();
        self.ended()
    }

    fn ended(&mut self) -> ExitStatus {
        let mut status = None;
        eventually("it ends", || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        status.unwrap()
    }
}

impl Drop for Links {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A server that sends back what it gets, and ends a connection when its client has said all. It ends with the test.
pub fn echo_server() -> SocketAddr {
    let listener = TcpListener::bind(ANY_PORT).unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || {
                let _ = stream.set_nodelay(true);
                let _ = std::io::copy(&mut &stream, &mut &stream);
            });
        }
    });
    address
}

/// A connection to an echo server, by way of a link.
pub struct Echo(pub TcpStream);

impl Echo {
    pub fn dial(link: SocketAddr) -> Self {
        Self::try_dial(link).unwrap()
    }

    pub fn try_dial(link: SocketAddr) -> std::io::Result<Self> {
        let stream = TcpStream::connect(link)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(WITHIN))?;
        Ok(Self(stream))
    }

    pub fn send(&mut self, bytes: &[u8]) {
        self.0.write_all(bytes).unwrap();
    }

    /// Sends so many bytes and gets them back. How long that took.
    pub fn round_trip(&mut self, bytes: usize) -> Duration {
        self.try_round_trip(bytes).unwrap()
    }

    pub fn try_round_trip(&mut self, bytes: usize) -> std::io::Result<Duration> {
        let sent: Vec<u8> = (0..bytes).map(|at| (at % 251) as u8).collect();
        let began = Instant::now();
        self.0.write_all(&sent)?;
        let mut got = vec![0; bytes];
        self.0.read_exact(&mut got)?;
        assert!(got == sent, "what came back is not what was sent");
        Ok(began.elapsed())
    }

    /// The fastest of several round trips: what else runs on the machine makes some slow.
    pub fn fastest(&mut self, bytes: usize) -> Duration {
        (0..10).map(|_| self.round_trip(bytes)).min().unwrap()
    }

    /// Says that there is no more.
    pub fn done(&mut self) {
        self.0.shutdown(Shutdown::Write).unwrap();
    }

    /// What comes until the other end has said all, and how long that takes. A reset is an end, too.
    pub fn rest(&mut self) -> (Vec<u8>, Duration) {
        let began = Instant::now();
        let mut got = Vec::new();
        match self.0.read_to_end(&mut got) {
            Ok(_) => {}
            Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset),
        }
        (got, began.elapsed())
    }
}

/// Whether a connection through a link comes about and carries: a link that is down refuses it.
pub fn carries(link: SocketAddr) -> bool {
    Echo::try_dial(link).and_then(|mut echo| echo.try_round_trip(1)).is_ok()
}

/// Returns when the condition holds; panics when it never does.
pub fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < WITHIN, "not within {WITHIN:?}: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}
