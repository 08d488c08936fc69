//! Phases of a request, and what its failure in each may have done, against servers on loopback.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream as StdTcpStream};
use std::sync::mpsc;
use std::thread;

use hyper::{HeaderMap, Method};

use super::*;

const TIMEOUT: Duration = Duration::from_secs(30);

fn request() -> Rendered {
    Rendered {
        replica: None,
        method: Method::GET,
        uri: "/".parse().unwrap(),
        headers: HeaderMap::new(),
        body: Bytes::new(),
    }
}

fn client() -> Client {
    Client::new(&Addresses::from([("api".to_owned(), vec![Ipv4Addr::LOCALHOST])]))
}

/// Answers one request on a connection, as if more were welcome.
fn answer_once(listener: &TcpListener, answer: &str) -> StdTcpStream {
    let (mut stream, _) = listener.accept().unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        head.push(byte[0]);
    }
    stream.write_all(answer.as_bytes()).unwrap();
    stream
}

/// Starts a server that does `script`; gives its address.
fn server(script: impl FnOnce(TcpListener) + Send + 'static) -> SocketAddrV4 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || script(listener));
    SocketAddrV4::new(Ipv4Addr::LOCALHOST, port)
}

const ANSWER: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi";

#[tokio::test]
async fn a_request_never_written_to_a_closed_connection_goes_out_on_a_fresh_one() {
    let (closed_tx, closed) = mpsc::channel();
    let (close, may_close) = mpsc::channel();
    let (mut signal, signal_sent) = tokio::net::UnixStream::pair().unwrap();
    let mut signal_sent = signal_sent.into_std().unwrap();
    let address = server(move |listener| {
        let first = answer_once(&listener, ANSWER);
        may_close.recv().unwrap();
        drop(first);
        signal_sent.write_all(b"x").unwrap();
        closed_tx.send(()).unwrap();
        answer_once(&listener, ANSWER);
    });
    let client = client();
    client.attempt(address, &request(), TIMEOUT).await.unwrap();
    let kept_ready = || client.shared.idle.lock().unwrap()[&address][0].sender.is_ready();
    while !kept_ready() {
        tokio::task::yield_now().await;
    }
    // Both the end of the connection and the signal are there when the runtime looks, and it turns to this task
    // first: the connection is chosen although its end is already known.
    close.send(()).unwrap();
    closed.recv().unwrap();
    tokio::io::AsyncReadExt::read_u8(&mut signal).await.unwrap();
    assert!(kept_ready());
    let answer = client.attempt(address, &request(), TIMEOUT).await.unwrap();
    assert_eq!(answer.body, "hi");
}

#[tokio::test]
async fn connections_are_used_again_and_replicas_in_turn() {
    let (accepted_tx, accepted) = mpsc::channel();
    let address = server(move |listener| {
        let mut stream = answer_once(&listener, ANSWER);
        accepted_tx.send(stream.peer_addr().unwrap()).unwrap();
        let mut rest = [0; 1024];
        while stream.read(&mut rest).unwrap() > 0 {
            stream.write_all(ANSWER.as_bytes()).unwrap();
        }
    });
    let client = client();
    for _ in 0..5 {
        client.attempt(address, &request(), TIMEOUT).await.unwrap();
        while !client.shared.idle.lock().unwrap()[&address][0].sender.is_ready() {
            tokio::task::yield_now().await;
        }
    }
    assert_eq!(accepted.try_iter().count(), 1);
    let [one, two] = [Ipv4Addr::new(127, 0, 0, 1), Ipv4Addr::new(127, 0, 0, 2)];
    let client = Client::new(&Addresses::from([("api".to_owned(), vec![one, two])]));
    let first_addresses = (0..4).map(|_| *client.turn("api", 80, None).unwrap().address(0).ip());
    assert_eq!(first_addresses.collect::<Vec<_>>(), [one, two, one, two]);
    let turn = client.turn("api", 80, None).unwrap();
    let attempts: Vec<_> = (0..3).map(|attempt| *turn.address(attempt).ip()).collect();
    assert_eq!(attempts, [one, two, one]);
}

#[test]
fn a_replica_that_is_named_is_the_only_one_tried() {
    let [one, two] = [Ipv4Addr::new(127, 0, 0, 1), Ipv4Addr::new(127, 0, 0, 2)];
    let client = Client::new(&Addresses::from([
        ("api".to_owned(), vec![one, two]),
        ("gone".to_owned(), vec![]),
    ]));
    assert_eq!(client.numbers("api"), 1..=2);
    for (number, address) in [(1, one), (2, two)] {
        let turn = client.turn("api", 80, Some(number)).unwrap();
        assert!((0..3).all(|attempt| *turn.address(attempt).ip() == address));
    }
    for number in [0, 3, u32::MAX] {
        let error = client.turn("api", 80, Some(number)).unwrap_err();
        assert_eq!(error, format!("`api` has no replica {number}, but 1 to 2"));
    }
    for service in ["gone", "unknown"] {
        let none = client.turn(service, 80, None).unwrap_err();
        assert_eq!(none, format!("`{service}` has no replica"));
        assert!(client.numbers(service).is_empty());
    }
}

#[tokio::test]
async fn what_breaks_after_the_first_byte_may_have_happened() {
    for (answer, error) in [
        ("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhi", "closed"),
        ("", "closed"),
        ("SSH-2.0-OpenSSH\r\n\r\n", "not HTTP"),
    ] {
        let address = server(move |listener| drop(answer_once(&listener, answer)));
        let broken = client().attempt(address, &request(), TIMEOUT).await.unwrap_err();
        assert_eq!(broken, Broken::new(error, Effect::Unknown), "after {answer:?}");
    }
}

#[tokio::test]
async fn an_answer_cut_off_by_the_time_out_is_a_time_out() {
    let (end, ended) = mpsc::channel::<()>();
    let address = server(move |listener| {
        let _open = answer_once(&listener, "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhi");
        let _ = ended.recv();
    });
    let broken = client().attempt(address, &request(), Duration::from_millis(100)).await;
    assert_eq!(broken.unwrap_err(), Broken::new("timeout", Effect::Unknown));
    drop(end);
}

#[test]
fn only_connections_that_certainly_failed_had_no_effect() {
    for (code, error, effect) in [
        (libc::ECONNREFUSED, "refused", Effect::None),
        (libc::EHOSTUNREACH, "unreachable", Effect::None),
        (libc::ENETUNREACH, "unreachable", Effect::None),
        (libc::EMFILE, "no local resources", Effect::NoneLocal),
        (libc::EADDRNOTAVAIL, "no local resources", Effect::NoneLocal),
        (libc::ETIMEDOUT, "connect timeout", Effect::Unknown),
        (libc::ECONNRESET, "reset", Effect::Unknown),
        (libc::EACCES, "connect failed", Effect::Unknown),
    ] {
        let broken = connect_error(&io::Error::from_raw_os_error(code));
        assert_eq!(broken, Broken::new(error, effect), "errno {code}");
    }
}
