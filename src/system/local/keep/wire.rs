//! What passes over the socket of a kept run: a line of JSON asks, a line of JSON answers, descriptors come beside it.

use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::net::Ipv4Addr;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

use nix::sys::socket::{ControlMessage, ControlMessageOwned, MsgFlags, recvmsg, sendmsg};
use serde::{Deserialize, Serialize};

use crate::plan::ReplicaId;
use crate::system::local::pod::spec::Process;

/// What is asked.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Ask {
    /// What is kept.
    List,
    /// A way into a replica.
    Process(ReplicaId),
    /// A way into the network of the stage.
    Network,
    /// Take it down.
    End,
}

/// What is answered.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Answer {
    /// What is kept.
    Listed(Listed),
    /// What a process beside the replica's is like; with the stage's first process, and the replica's.
    Process(Box<Process>),
    /// With the stage's first process.
    Network,
    /// It is down; what could not be removed, in words.
    Ended(Vec<String>),
    /// It cannot be done.
    Refused(String),
}

/// A kept run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listed {
    /// Its id.
    pub run_id: String,
    /// Its folder, which says by its name which experiment it was.
    pub folder: PathBuf,
    /// Its replicas and their addresses on the stage.
    pub replicas: Vec<(ReplicaId, Ipv4Addr)>,
}

/// At most so many descriptors come with an answer.
const DESCRIPTORS_MAX: usize = 2;

pub(super) fn send(socket: &UnixStream, answer: &Answer, descriptors: &[RawFd]) -> io::Result<()> {
    let mut line = serde_json::to_vec(answer)?;
    line.push(b'\n');
    let rights = [ControlMessage::ScmRights(descriptors)];
    let beside = if descriptors.is_empty() { &[] } else { rights.as_slice() };
    let all = [IoSlice::new(&line)];
    let sent = sendmsg::<()>(socket.as_raw_fd(), &all, beside, MsgFlags::MSG_NOSIGNAL, None)?;
    let mut socket = socket;
    socket.write_all(&line[sent..])
}

/// Asks, and waits for the answer.
pub(super) fn ask(socket: &UnixStream, ask: &Ask) -> io::Result<(Answer, Vec<OwnedFd>)> {
    // A harness that has been stopped, or hangs, must not make others hang.
    let within = match ask {
        Ask::End => Duration::from_secs(60),
        _ => Duration::from_secs(5),
    };
    socket.set_read_timeout(Some(within))?;
    socket.set_write_timeout(Some(within))?;
    let mut line = serde_json::to_vec(ask)?;
    line.push(b'\n');
    let mut writer = socket;
    writer.write_all(&line)?;
    let mut text = vec![0; 4096];
    let (bytes, descriptors) = receive(socket, &mut text)?;
    text.truncate(bytes);
    let mut reader = socket;
    while bytes > 0 && !text.ends_with(b"\n") {
        let mut more = [0; 4096];
        match reader.read(&mut more)? {
            0 => break,
            bytes => text.extend_from_slice(&more[..bytes]),
        }
    }
    if text.is_empty() {
        return Err(io::Error::new(
            io::ErrorKind::UnexpectedEof,
            "it ended without an answer",
        ));
    }
    Ok((serde_json::from_slice(&text)?, descriptors))
}

/// The first bytes, and the descriptors that came with them.
fn receive(socket: &UnixStream, bytes: &mut [u8]) -> io::Result<(usize, Vec<OwnedFd>)> {
    let mut space = nix::cmsg_space!([RawFd; DESCRIPTORS_MAX]);
    let mut slices = [IoSliceMut::new(bytes)];
    let got = recvmsg::<()>(
        socket.as_raw_fd(),
        &mut slices,
        Some(&mut space),
        MsgFlags::MSG_CMSG_CLOEXEC,
    )?;
    let mut descriptors = Vec::new();
    for message in got.cmsgs()? {
        if let ControlMessageOwned::ScmRights(came) = message {
            // SAFETY: the kernel has just made these for this process, and nobody else knows of them.
            descriptors.extend(came.into_iter().map(|fd| unsafe { OwnedFd::from_raw_fd(fd) }));
        }
    }
    Ok((got.bytes, descriptors))
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader};

    use super::*;

    #[test]
    fn an_answer_longer_than_a_read_comes_whole_and_with_its_descriptors() {
        let (near, far) = UnixStream::pair().unwrap();
        let words = vec!["left over".to_owned(); 2000];
        let wanted = words.clone();
        let answers = std::thread::spawn(move || {
            let mut line = String::new();
            BufReader::new(&far).read_line(&mut line).unwrap();
            assert_eq!(line, "\"end\"\n");
            send(&far, &Answer::Ended(words), &[far.as_raw_fd()]).unwrap();
        });
        let (answer, descriptors) = ask(&near, &Ask::End).unwrap();
        answers.join().unwrap();
        assert!(matches!(answer, Answer::Ended(words) if words == wanted));
        assert_eq!(descriptors.len(), 1);
    }

    #[test]
    fn whoever_hangs_up_has_not_answered() {
        let (near, far) = UnixStream::pair().unwrap();
        let hangs_up = std::thread::spawn(move || {
            BufReader::new(&far).read_line(&mut String::new()).unwrap();
        });
        let error = ask(&near, &Ask::List).unwrap_err();
        hangs_up.join().unwrap();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    }
}
