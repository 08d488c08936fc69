//! A small server for the tests of the engine: it says what it sees from within a container.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, ToSocketAddrs};
use std::process::Command;
use std::sync::Mutex;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.first().map(String::as_str) {
        Some("serve") => serve(),
        Some("serve-until-asked") => {
            end_when_asked();
            serve();
        }
        Some("fail") => {
            println!("first words");
            eprintln!("last words: password is {}", std::env::var("DB_PASSWORD").unwrap_or_default());
            std::process::exit(3);
        }
        Some("job") => println!("job done"),
        Some("idle") => idle(),
        Some("late") => {
            std::thread::sleep(Duration::from_millis(500));
            std::fs::write("/there", "").expect("a file");
            serve();
        }
        Some("facts") => facts(),
        Some("check") => check(&arguments[1]),
        Some("orphan") => {
            // Nobody waits for it but whoever inherits it.
            Command::new("/proc/self/exe").arg("job").spawn().expect("a process");
        }
        other => panic!("no such mode: {other:?}"),
    }
}

/// Says what it was born with.
fn facts() {
    println!("descriptors {}", list("/proc/self/fd").expect("a folder"));
    println!("standard input {}", std::fs::read_link("/proc/self/fd/0").expect("a descriptor").display());
    let status = std::fs::read_to_string("/proc/self/status").expect("a file");
    for (name, field) in [("ignored", "SigIgn:"), ("blocked", "SigBlk:")] {
        let line = status.lines().find_map(|line| line.strip_prefix(field)).expect("a line");
        println!("{name} {}", line.trim());
    }
}

/// Says that it is there, and does nothing more.
fn idle() {
    println!("idle as {}", std::env::var("HOSTNAME").unwrap_or_default());
    loop {
        std::thread::sleep(Duration::from_secs(3600));
    }
}

/// Ends well if that file is there, and says why not.
fn check(path: &str) {
    if let Err(error) = std::fs::metadata(path) {
        eprintln!("{path}: {error}");
        std::process::exit(1);
    }
}

/// The first process of a container gets no signal that it has no handler for.
fn end_when_asked() {
    unsafe extern "C" {
        fn signal(number: i32, handler: extern "C" fn(i32)) -> usize;
        fn write(file: i32, bytes: *const u8, count: usize) -> isize;
        fn _exit(code: i32) -> !;
    }
    // Only what a handler may do, and so no `println!`.
    extern "C" fn asked(number: i32) {
        let line: &[u8] = if number == 2 { b"asked by SIGINT\n" } else { b"asked by another signal\n" };
        // SAFETY: both are safe in a handler, and the line is as long as it says.
        unsafe {
            write(1, line.as_ptr(), line.len());
            _exit(0);
        }
    }
    for number in [2, 15] {
        // SAFETY: the handler has the form that C asks for, and lasts as long as the program.
        unsafe { signal(number, asked) };
    }
}

fn serve() {
    let listener = TcpListener::bind("0.0.0.0:8080").expect("the port is free");
    println!("listening as {}", std::fs::read_to_string("/etc/hostname").unwrap_or_default().trim());
    for stream in listener.incoming() {
        let mut stream = stream.expect("a connection");
        let mut line = String::new();
        let mut reader = BufReader::new(stream.try_clone().expect("a descriptor"));
        reader.read_line(&mut line).expect("a request");
        // The rest of the request, so that closing does not reset the connection.
        let mut length = 0;
        loop {
            let mut header = String::new();
            if reader.read_line(&mut header).unwrap_or(0) <= 2 {
                break;
            }
            if let Some(value) = header.to_ascii_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().expect("a number");
            }
        }
        let mut sent = vec![0; length];
        reader.read_exact(&mut sent).expect("the rest of a request");
        let path = line.split(' ').nth(1).unwrap_or("/").to_owned();
        println!("asked for {path}");
        let body = match path.as_str() {
            "/clock" => clock(&String::from_utf8_lossy(&sent)),
            path => answer(path),
        };
        let _ = write!(stream, "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len());
    }
}

fn answer(path: &str) -> String {
    let (what, argument) = path[1..].split_once('/').unwrap_or((&path[1..], ""));
    match what {
        "env" => std::env::var(argument).unwrap_or_else(|_| "unset".to_owned()),
        "resolve" => match (argument, 0).to_socket_addrs() {
            Ok(found) => found.map(|address| address.ip().to_string()).collect::<Vec<_>>().join(" "),
            Err(error) => error.to_string(),
        },
        "fetch" => fetch(argument).unwrap_or_else(|error| error.to_string()),
        "status" => std::fs::read_to_string("/proc/self/status").unwrap_or_default(),
        "write" => match std::fs::write(format!("/{argument}/file"), "x") {
            Ok(()) => "written".to_owned(),
            Err(error) => error.to_string(),
        },
        "put" => match std::fs::write(format!("/{argument}"), "x") {
            Ok(()) => "written".to_owned(),
            Err(error) => error.to_string(),
        },
        "read" => match std::fs::read(format!("/{argument}")) {
            Ok(found) => String::from_utf8_lossy(&found).replace('\0', "\n"),
            Err(error) => error.to_string(),
        },
        "list" => list(&format!("/{argument}")).unwrap_or_else(|error| error.to_string()),
        "link" => match std::fs::read_link(format!("/{argument}")) {
            Ok(target) => target.display().to_string(),
            Err(error) => error.to_string(),
        },
        "connect" => connect(argument).unwrap_or_else(|error| error.to_string()),
        "orphan" => orphan().unwrap_or_else(|error| error.to_string()),
        "exit" => std::process::exit(argument.parse().unwrap_or(7)),
        _ => "ok".to_owned(),
    }
}

/// The shift of this program's clock, and when it ends.
static SHIFT: Mutex<Option<(i64, Instant)>> = Mutex::new(None);

/// Tells the time, and lets its clock be shifted: unless it is `deaf`, and for as long as said unless it is `stubborn`.
fn clock(told: &str) -> String {
    let manner = std::env::var("CLOCK").unwrap_or_default();
    let number = |name: &str| -> Option<i64> {
        let (_, rest) = told.split_once(&format!("\"{name}\":"))?;
        let end = rest.find(|c: char| !(c.is_ascii_digit() || c == '-')).unwrap_or(rest.len());
        rest[..end].parse().ok()
    };
    let mut shift = SHIFT.lock().expect("no holder panics");
    if let (Some(offset_ms), Some(ttl_ms)) = (number("offset_ms"), number("ttl_ms"))
        && manner != "deaf"
    {
        let ttl_ms = if manner == "stubborn" { 3_600_000 } else { ttl_ms };
        *shift = Some((offset_ms, Instant::now() + Duration::from_millis(ttl_ms as u64)));
    }
    let offset_ms = match *shift {
        Some((offset_ms, until)) if Instant::now() < until => offset_ms,
        _ => 0,
    };
    let now_ms = SystemTime::now().duration_since(UNIX_EPOCH).expect("a time").as_millis() as i64 + offset_ms;
    format!("{{\"now_ms\":{now_ms},\"offset_ms\":{offset_ms}}}")
}

/// Names, in order.
fn list(folder: &str) -> std::io::Result<String> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        names.push(entry?.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    Ok(names.join(" "))
}

fn connect(address: &str) -> std::io::Result<String> {
    let address: SocketAddr = address.parse().map_err(std::io::Error::other)?;
    TcpStream::connect_timeout(&address, Duration::from_secs(2)).map(|_| "connected".to_owned())
}

/// Starts a process that starts another and ends before that does.
fn orphan() -> std::io::Result<String> {
    Command::new("/proc/self/exe").arg("orphan").status().map(|status| status.to_string())
}

fn fetch(host: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect((host, 8080))?;
    write!(stream, "GET /env/HOSTNAME HTTP/1.0\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}
