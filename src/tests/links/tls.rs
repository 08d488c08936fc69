//! What a link does not look into: TLS and any other bytes pass as they are.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use toxiproxy_rust::client::Client;

use crate::support::{ANY_PORT, Echo, Links, WITHIN};

#[test]
fn random_bytes_pass_both_ways_at_once_as_they_are() {
    const BYTES: usize = 8_000_000;
    let listener = TcpListener::bind(ANY_PORT).unwrap();
    let links = Links::before(listener.local_addr().unwrap());
    let client = Echo::dial(links.listens("link")).0;
    let server = listener.accept().unwrap().0;
    server.set_read_timeout(Some(WITHIN)).unwrap();
    let random = |seed| {
        let mut bytes = vec![0; BYTES];
        StdRng::seed_from_u64(seed).fill_bytes(&mut bytes);
        bytes
    };
    let (up, down) = (random(1), random(2));
    std::thread::scope(|scope| {
        for (mut from, mut to, bytes) in [(&client, &server, &up), (&server, &client, &down)] {
            scope.spawn(move || from.write_all(bytes).unwrap());
            scope.spawn(move || {
                let mut got = vec![0; BYTES];
                to.read_exact(&mut got).unwrap();
                assert!(got == *bytes, "what came is not what was sent");
            });
        }
    });
}

/// OpenSSL's program, with arguments.
fn openssl(folder: &Path, args: &str) -> Command {
    let mut command = Command::new("openssl");
    command.args(args.split(' ')).current_dir(folder);
    command
}

/// A server that speaks TLS as `localhost`, and sends back each line that it gets, the other way round.
struct Server {
    child: Child,
    address: SocketAddr,
}

impl Server {
    fn start(folder: &Path) -> Self {
        let key = "req -x509 -newkey rsa:2048 -nodes -keyout key.pem -out certificate.pem -days 2 -subj /CN=localhost \
                   -addext subjectAltName=DNS:localhost";
        let made = openssl(folder, key).output();
        let made = made.unwrap_or_else(|error| {
            panic!("this test needs OpenSSL's program: {error}\n  hint: install it (Debian's openssl)")
        });
        assert!(made.status.success(), "{made:?}");
        let mut child = openssl(
            folder,
            "s_server -accept 127.0.0.1:0 -key key.pem -cert certificate.pem -rev",
        )
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let address = lines.find_map(|line| line.unwrap().strip_prefix("ACCEPT ")?.parse().ok());
        // What it says of connections is of no interest, and must not fill the pipe.
        std::thread::spawn(move || lines.for_each(drop));
        Self {
            child,
            address: address.expect("the server says where it listens"),
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A line sent over TLS to whoever is `localhost` by our certificate, and what came of it.
fn talk(folder: &Path, link: SocketAddr) -> Output {
    let args = format!(
        "s_client -quiet -connect {link} -servername localhost -verify_hostname localhost -verify_return_error -CAfile \
         certificate.pem"
    );
    let mut child = openssl(folder, &args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // Where the handshake fails nobody reads it.
    let _ = child
        .stdin
        .as_mut()
        .unwrap()
        .write_all(b"does the mail get through\nQ\n");
    let mut first = String::new();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    stdout.read_line(&mut first).unwrap();
    let _ = child.kill();
    Output {
        stdout: first.into_bytes(),
        ..child.wait_with_output().unwrap()
    }
}

#[test]
fn tls_is_agreed_on_through_a_link_and_not_through_one_that_corrupts() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path());
    let links = Links::before(server.address);
    let listen = links.listens("link");
    let through = |listen| talk(folder.path(), listen);
    let said = through(listen);
    assert_eq!(
        String::from_utf8_lossy(&said.stdout),
        "hguorht teg liam eht seod\n",
        "{said:?}"
    );

    let client = Client::new(links.api);
    let proxy = client.find_proxy("link").unwrap();
    // A handshake cut into small pieces that come late is one all the same.
    proxy.with_slicer("downstream".to_owned(), 100, 50, 100, 1.0);
    proxy.with_latency("upstream".to_owned(), 20, 10, 1.0);
    let said = through(listen);
    assert_eq!(
        String::from_utf8_lossy(&said.stdout),
        "hguorht teg liam eht seod\n",
        "{said:?}"
    );
    proxy.delete_all_toxics().unwrap();

    crate::http::ask(
        links.api,
        "POST",
        "/proxies/link/toxics",
        r#"{"type": "corrupt", "attributes": {"probability": 0.05}}"#,
    );
    assert_eq!(through(listen).stdout, b"");
}
