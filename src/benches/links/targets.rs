//! What is measured: nothing between, `nightmail link`, HAProxy, and Toxiproxy where there is one. The proxies are processes
//! of their own, which end with their value.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::Failure;

/// How long a process may take to listen.
const READY_WITHIN: Duration = Duration::from_secs(10);
/// Names the binary of a real Toxiproxy.
const TOXIPROXY: &str = "TOXIPROXY_SERVER";
/// Where Debian's package puts HAProxy, which is not in everybody's path.
const SBIN: &str = "/usr/sbin";

/// A way to the server.
pub struct Target {
    pub name: &'static str,
    pub address: SocketAddr,
    process: Option<Process>,
    /// Toxiproxy's interface.
    api: Option<SocketAddr>,
}

/// Ends with its value.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself, which whoever needed it has noticed.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

pub fn direct(server: SocketAddr) -> Target {
    Target {
        name: "direct",
        address: server,
        process: None,
        api: None,
    }
}

pub fn link(server: SocketAddr) -> Result<Target, Failure> {
    let mut child = Command::new(env!("CARGO_BIN_EXE_nightmail"))
        .args(["link", "--listen", "127.0.0.1:0", "--api", "127.0.0.1:0", "--seed", "1"])
        .args(["--upstream", &server.to_string()])
        .stdout(Stdio::piped())
        .spawn()?;
    let stdout = child.stdout.take().ok_or("the link has no output")?;
    let process = Process(child);
    let mut lines = BufReader::new(stdout).lines();
    let mut next = |what: &str| lines.next().ok_or_else(|| format!("the link did not say {what}"));
    // link NAME: LISTEN -> UPSTREAM
    let listens = next("where it listens")??;
    let address = listens.split(' ').nth(2).ok_or("no address")?.parse()?;
    let controlled = next("where it is controlled")??;
    let api = controlled.rsplit('/').next().ok_or("no address")?.parse()?;
    Ok(Target {
        name: "nightmail link",
        address,
        process: Some(process),
        api: Some(api),
    })
}

/// HAProxy with a configuration in a folder that outlives it.
pub fn haproxy(server: SocketAddr, folder: &Path) -> Result<Target, Failure> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let binary = std::env::split_paths(&path)
        .chain([SBIN.into()])
        .map(|folder| folder.join("haproxy"))
        .find(|binary| binary.is_file())
        .ok_or(
            "HAProxy is missing, which the link is measured against\n  \
             hint: apt-get install -y --no-install-recommends haproxy",
        )?;
    let address = free_address()?;
    let file = folder.join("haproxy.cfg");
    std::fs::write(
        &file,
        format!(
            "global\n    maxconn 2000\n\
             defaults\n    mode tcp\n    timeout connect 5s\n    timeout client 60s\n    timeout server 60s\n\
             frontend front\n    bind {address}\n    default_backend back\n\
             backend back\n    server server {server}\n"
        ),
    )?;
    let child = Command::new(binary).arg("-db").arg("-f").arg(&file).spawn()?;
    let process = Some(Process(child));
    ready(address, "HAProxy")?;
    Ok(Target {
        name: "HAProxy",
        address,
        process,
        api: None,
    })
}

/// Toxiproxy, if there is one.
pub fn toxiproxy(server: SocketAddr) -> Result<Option<Target>, Failure> {
    let Some(binary) = std::env::var_os(TOXIPROXY) else {
        return Ok(None);
    };
    let (address, api) = (free_address()?, free_address()?);
    let child = Command::new(binary)
        .args(["-host", &api.ip().to_string(), "-port", &api.port().to_string()])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    let process = Some(Process(child));
    ready(api, "Toxiproxy")?;
    let target = Target {
        name: "Toxiproxy",
        address,
        process,
        api: Some(api),
    };
    let body = format!(r#"{{"name": "link", "listen": "{address}", "upstream": "{server}"}}"#);
    target.control("POST", "/proxies", &body)?;
    Ok(Some(target))
}

fn free_address() -> Result<SocketAddr, Failure> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?)
}

fn ready(address: SocketAddr, who: &str) -> Result<(), Failure> {
    let began = Instant::now();
    while TcpStream::connect(address).is_err() {
        if began.elapsed() > READY_WITHIN {
            return Err(format!("{who} does not listen at {address} after {READY_WITHIN:?}").into());
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    Ok(())
}

impl Target {
    /// Asks its control interface for something, and fails unless that succeeds.
    pub fn control(&self, method: &str, path: &str, body: &str) -> Result<(), Failure> {
        let mut stream = TcpStream::connect(self.api.ok_or("it has no control interface")?)?;
        let length = body.len();
        stream.write_all(
            format!(
                "{method} {path} HTTP/1.1\r\nhost: link\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}"
            )
            .as_bytes(),
        )?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        match answer.starts_with("HTTP/1.1 2") {
            true => Ok(()),
            false => Err(format!("{method} {path}: {answer}").into()),
        }
    }

    /// Puts a toxic on its link, on the way back.
    pub fn add_toxic(&self, kind: &str, attributes: &str) -> Result<(), Failure> {
        let body = format!(r#"{{"name": "toxic", "type": "{kind}", "attributes": {attributes}}}"#);
        self.control("POST", "/proxies/link/toxics", &body)
    }

    /// Takes it away.
    pub fn remove_toxic(&self) -> Result<(), Failure> {
        self.control("DELETE", "/proxies/link/toxics/toxic", "")
    }

    /// Time that its process has had of processors; none if there is no process.
    pub fn cpu(&self) -> Result<Duration, Failure> {
        let Some(Process(child)) = &self.process else {
            return Ok(Duration::ZERO);
        };
        let mut cpu = Duration::ZERO;
        for task in std::fs::read_dir(format!("/proc/{}/task", child.id()))? {
            let times = std::fs::read_to_string(task?.path().join("schedstat"))?;
            let ran_ns = times.split(' ').next().ok_or("an empty schedstat")?;
            cpu += Duration::from_nanos(ran_ns.parse()?);
        }
        Ok(cpu)
    }

    /// Memory of its process that is in use, in KB. What the kernel holds for its sockets is no part of it.
    pub fn resident_kb(&self) -> Result<u64, Failure> {
        let pid = self.process.as_ref().ok_or("it has no process")?.0.id();
        let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        Ok(line.ok_or("no VmRSS")?.trim().trim_end_matches(" kB").parse()?)
    }
}
