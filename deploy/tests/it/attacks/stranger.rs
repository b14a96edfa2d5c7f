//! One who attacks: a socket, and nothing that checks what goes through it.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Far beyond what is needed.
pub(super) const PATIENCE: Duration = Duration::from_secs(20);

/// How a connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum End {
    /// With a close frame of this code.
    Code(u16),
    /// With an answer of this status in place of an upgrade.
    Status(u16),
    /// Without a word.
    Closed,
    /// It had not ended when it was enough.
    Open,
}

/// An attacker has a machine of its own; here it gets what the others leave. For this thread, and those that it starts.
pub(super) fn yields_to_others() {
    let thread = std::fs::read_link("/proc/thread-self").unwrap();
    let number = thread.file_name().unwrap().to_str().unwrap();
    // Without the program the attackers only have more of the machine.
    let mut renice = Command::new("renice");
    let _ = renice.args(["-n", "19", "-p", number]).stdout(Stdio::null()).stderr(Stdio::null()).status();
}

/// How many connections this process may have for an attack, at most so many.
pub(super) fn at_most(connections: usize) -> usize {
    let limit = common::descriptors::raise().map_or(1024, |raised| raised.limit);
    connections.min(usize::try_from(limit).unwrap_or(connections).saturating_sub(900))
}

/// The head of a handshake for this query, with headers of its own.
pub(super) fn head(query: &str, headers: &str) -> String {
    format!(
        "GET /ws?{query} HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{headers}\r\n"
    )
}

/// A client that compresses.
pub(super) const DEFLATE: &str = "Sec-WebSocket-Extensions: permessage-deflate\r\n";

/// Connects; what is not read and written in time is an error.
pub(super) fn connect(address: &str) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// Connects and asks for the upgrade, without waiting for it.
pub(super) fn upgrade(address: &str, query: &str, headers: &str) -> TcpStream {
    let mut stream = connect(address);
    stream.write_all(head(query, headers).as_bytes()).unwrap();
    stream
}

/// A frame with a mask of zeros.
pub(super) fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = claim(first, payload.len() as u64);
    bytes.extend_from_slice(payload);
    bytes
}

/// The header of a frame that says how long its payload is.
pub(super) fn claim(first: u8, length: u64) -> Vec<u8> {
    let mut bytes = vec![first];
    match length {
        0..126 => bytes.push(0x80 | length as u8),
        126..65536 => {
            bytes.push(0x80 | 126);
            bytes.extend_from_slice(&(length as u16).to_be_bytes());
        }
        _ => {
            bytes.push(0x80 | 127);
            bytes.extend_from_slice(&length.to_be_bytes());
        }
    }
    bytes.extend_from_slice(&[0; 4]);
    bytes
}

/// What a server said, whether it has ended, and where in it one has read to: looked at without waiting.
pub(super) struct Listener {
    stream: TcpStream,
    said: Vec<u8>,
    is_past_head: bool,
    /// What was answered instead of an upgrade.
    refused: Option<u16>,
}

impl Listener {
    /// Listens to an upgraded connection from its head on.
    pub(super) fn new(stream: TcpStream) -> Self {
        stream.set_nonblocking(true).unwrap();
        Self { stream, said: Vec::new(), is_past_head: false, refused: None }
    }

    /// Writes what fits; whether the peer still takes anything.
    pub(super) fn try_say(&mut self, bytes: &[u8]) -> bool {
        match self.stream.write(bytes) {
            Ok(written) => written > 0,
            Err(error) => error.kind() == ErrorKind::WouldBlock,
        }
    }

    /// How it has ended, if it has.
    pub(super) fn end(&mut self) -> Option<End> {
        let mut chunk = [0; 16 * 1024];
        loop {
            match self.stream.read(&mut chunk) {
                Ok(0) => return Some(self.last()),
                Ok(read) => {
                    self.said.extend_from_slice(&chunk[..read]);
                    if let Some(code) = self.close_code() {
                        return Some(End::Code(code));
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return None,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return Some(self.last()),
            }
        }
    }

    fn last(&mut self) -> End {
        let code = self.close_code().map(End::Code);
        code.or(self.refused.map(End::Status)).unwrap_or(End::Closed)
    }

    /// The code of a close frame among the frames so far; frames before it are forgotten.
    fn close_code(&mut self) -> Option<u16> {
        if !self.is_past_head {
            let end = self.said.windows(4).position(|four| four == b"\r\n\r\n")?;
            // `HTTP/1.1 101 …`
            let status =
                self.said.get(9..12).and_then(|digits| std::str::from_utf8(digits).ok()?.parse().ok());
            self.refused = status.filter(|status| *status != 101);
            self.said.drain(..end + 4);
            self.is_past_head = true;
        }
        if self.refused.is_some() {
            return None;
        }
        let mut used = 0;
        let code = loop {
            let rest = &self.said[used..];
            let (header, length) = match rest {
                [_, 126, high, low, ..] => (4, usize::from(u16::from_be_bytes([*high, *low]))),
                [_, short @ 0..126, ..] => (2, usize::from(*short)),
                _ => break None,
            };
            let Some(payload) = rest.get(header..header + length) else { break None };
            if rest[0] == 0x88 {
                break payload.first_chunk().map(|code| u16::from_be_bytes(*code));
            }
            used += header + length;
        };
        self.said.drain(..used);
        code
    }
}

/// Waits until all have ended, or it is enough, and says how. Whoever has not is told `drip` now and then.
pub(super) fn ends(strangers: Vec<TcpStream>, drip: &[u8], patience: Duration) -> Vec<(End, Duration)> {
    let began = Instant::now();
    let mut left: Vec<Listener> = strangers.into_iter().map(Listener::new).collect();
    let mut ends = Vec::with_capacity(left.len());
    while !left.is_empty() && began.elapsed() < patience {
        left.retain_mut(|listener| {
            let mut end = listener.end();
            if end.is_none() && !drip.is_empty() && !listener.try_say(drip) {
                end = listener.end().or(Some(End::Closed));
            }
            ends.extend(end.map(|end| (end, began.elapsed())));
            end.is_none()
        });
        // Many take some time to look at, and a few are looked at soon.
        std::thread::park_timeout(Duration::from_millis(if left.len() > 100 { 100 } else { 5 }));
    }
    ends.extend(left.iter().map(|_| (End::Open, began.elapsed())));
    ends
}

/// All have ended, with one of these.
pub(super) fn assert_ends(ends: &[(End, Duration)], expected: &[End]) {
    let other = ends.iter().filter(|(end, _)| !expected.contains(end)).collect::<Vec<_>>();
    assert!(other.is_empty(), "{} of {} ended otherwise: {:?}", other.len(), ends.len(), other[0]);
}

/// All that is answered to these bytes, up to the end of the connection.
pub(super) fn answer(address: &str, bytes: &[u8]) -> String {
    let mut stream = connect(address);
    // What is refused early is not read to its end.
    let _ = stream.write_all(bytes);
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}
