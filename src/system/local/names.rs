//! Names of replicas, for programs that ask a name server and do not look into a hosts file: a small server at the
//! harness's own address on the run's network. It knows the run's replicas and nobody else.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use simple_dns::rdata::{A, RData};
use simple_dns::{CLASS, Packet, PacketFlag, QTYPE, RCODE, ResourceRecord, TYPE};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::task::JoinHandle;

/// The port of name servers.
const PORT: u16 = 53;
/// How long an answer may be kept: addresses stay the same as long as a run lasts.
const TTL_S: u32 = 600;
/// What is waited where the system is out of something.
const BREATH: Duration = Duration::from_millis(10);
/// The longest question over UDP.
const QUESTION_MAX: usize = 1_232;

/// Who can be found, by which names: an address may have several, and a name several addresses.
#[derive(Debug, Default)]
pub(super) struct Names {
    entries: Vec<(Ipv4Addr, Vec<String>)>,
    /// Answers begin with another address each time, so that those who take the first do not all take the same.
    turn: AtomicUsize,
}

impl Names {
    pub(super) fn new(entries: Vec<(Ipv4Addr, Vec<String>)>) -> Self {
        Self {
            entries,
            turn: AtomicUsize::new(0),
        }
    }

    /// Addresses and their names.
    pub(super) fn entries(&self) -> &[(Ipv4Addr, Vec<String>)] {
        &self.entries
    }

    fn addresses(&self, name: &str) -> Vec<Ipv4Addr> {
        let is_of = |names: &[String]| names.iter().any(|known| known.eq_ignore_ascii_case(name));
        let mut found: Vec<Ipv4Addr> = self
            .entries
            .iter()
            .filter(|(_, names)| is_of(names))
            .map(|(address, _)| *address)
            .collect();
        if !found.is_empty() {
            let turn = self.turn.fetch_add(1, Ordering::Relaxed) % found.len();
            found.rotate_left(turn);
        }
        found
    }

    /// The answer to a question; none to what is no question.
    fn answer(&self, question: &[u8]) -> Option<Vec<u8>> {
        let asked = Packet::parse(question).ok()?;
        if asked.has_flags(PacketFlag::RESPONSE) {
            return None;
        }
        let mut answer = Packet::new_reply(asked.id());
        answer.set_flags(PacketFlag::AUTHORITATIVE_ANSWER | PacketFlag::RECURSION_AVAILABLE);
        if asked.has_flags(PacketFlag::RECURSION_DESIRED) {
            answer.set_flags(PacketFlag::RECURSION_DESIRED);
        }
        for one in &asked.questions {
            let found = self.addresses(&one.qname.to_string());
            if found.is_empty() {
                *answer.rcode_mut() = RCODE::NameError;
            }
            // There are no others, and a name without one of them is still a name.
            if matches!(one.qtype, QTYPE::TYPE(TYPE::A) | QTYPE::ANY) {
                answer.answers.extend(found.into_iter().map(|address| {
                    let data = RData::A(A {
                        address: address.to_bits(),
                    });
                    ResourceRecord::new(one.qname.clone(), CLASS::IN, TTL_S, data)
                }));
            }
            answer.questions.push(one.clone());
        }
        answer.build_bytes_vec().ok()
    }
}

/// Answers at that address until the task is ended.
pub(super) async fn serve(address: Ipv4Addr, names: Arc<Names>) -> std::io::Result<JoinHandle<()>> {
    let datagrams = UdpSocket::bind((address, PORT)).await?;
    let connections = TcpListener::bind((address, PORT)).await?;
    Ok(tokio::spawn(async move {
        tokio::join!(by_datagram(&datagrams, &names), by_connection(&connections, &names));
    }))
}

async fn by_datagram(socket: &UdpSocket, names: &Names) {
    let mut question = [0; QUESTION_MAX];
    loop {
        // An error is one sender's, who is gone.
        let Ok((bytes, sender)) = socket.recv_from(&mut question).await else {
            tokio::time::sleep(BREATH).await;
            continue;
        };
        if let Some(answer) = names.answer(&question[..bytes]) {
            let _ = socket.send_to(&answer, sender).await;
        }
    }
}

async fn by_connection(listener: &TcpListener, names: &Arc<Names>) {
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(BREATH).await;
            continue;
        };
        let names = names.clone();
        tokio::spawn(async move { converse(stream, &names).await });
    }
}

/// Questions and answers with their lengths before them, until the asker has gone.
async fn converse(mut stream: TcpStream, names: &Names) -> std::io::Result<()> {
    loop {
        let mut question = vec![0; usize::from(stream.read_u16().await?)];
        stream.read_exact(&mut question).await?;
        let Some(answer) = names.answer(&question) else {
            return Ok(());
        };
        let Ok(length) = u16::try_from(answer.len()) else {
            return Ok(());
        };
        stream.write_all(&[&length.to_be_bytes(), &answer[..]].concat()).await?;
    }
}

#[cfg(test)]
mod tests {
    use simple_dns::{Name, QCLASS, Question};

    use super::*;

    fn names() -> Names {
        let name = |name: &str| name.to_owned();
        Names::new(vec![
            (Ipv4Addr::new(10, 64, 0, 2), vec![name("api"), name("api-1")]),
            (Ipv4Addr::new(10, 64, 0, 3), vec![name("api"), name("api-2")]),
        ])
    }

    /// The code of the answer and its addresses.
    fn asked(names: &Names, name: &str, of: TYPE) -> (RCODE, Vec<Ipv4Addr>) {
        let mut query = Packet::new_query(7);
        let name = Name::new_unchecked(name);
        query
            .questions
            .push(Question::new(name, QTYPE::TYPE(of), QCLASS::CLASS(CLASS::IN), false));
        let answer = names.answer(&query.build_bytes_vec().unwrap()).unwrap();
        let answer = Packet::parse(&answer).unwrap();
        assert_eq!(answer.id(), 7);
        let addresses = answer.answers.iter().map(|record| match &record.rdata {
            RData::A(a) => Ipv4Addr::from_bits(a.address),
            other => panic!("{other:?}"),
        });
        (answer.rcode(), addresses.collect())
    }

    #[test]
    fn a_service_has_the_addresses_of_all_its_replicas_and_takes_turns() {
        let names = names();
        let (first, second) = (Ipv4Addr::new(10, 64, 0, 2), Ipv4Addr::new(10, 64, 0, 3));
        assert_eq!(asked(&names, "api", TYPE::A), (RCODE::NoError, vec![first, second]));
        assert_eq!(asked(&names, "API", TYPE::A), (RCODE::NoError, vec![second, first]));
        assert_eq!(asked(&names, "api-2", TYPE::A), (RCODE::NoError, vec![second]));
    }

    #[test]
    fn a_name_without_an_address_of_that_kind_is_told_from_no_name() {
        let names = names();
        assert_eq!(asked(&names, "api", TYPE::AAAA), (RCODE::NoError, vec![]));
        assert_eq!(asked(&names, "example.com", TYPE::A), (RCODE::NameError, vec![]));
    }

    #[test]
    fn what_is_no_question_is_not_answered() {
        let names = names();
        assert_eq!(names.answer(b"nonsense"), None);
        let reply = Packet::new_reply(1).build_bytes_vec().unwrap();
        assert_eq!(names.answer(&reply), None, "or two servers would talk for ever");
    }
}
