//! Clients that only count what they read, as the floor's readers do: this program again, in a role of its own.
//!
//! A client that verifies reads more slowly, fills caches and lets sockets pile up, and then the kernel charges
//! the sender for it. So where a frame's cost is compared with the floor, most clients are these.

use std::fmt::Display;
use std::io::{self, BufRead, BufReader, ErrorKind, Lines, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitCode, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::sync_channel;
use std::time::Duration;

use mio::{Events, Interest, Poll, Token};
use serde::{Deserialize, Serialize};
use socket2::{Domain, Socket, Type};

use crate::raw;

/// The first argument of a process that counts.
const ROLE: &str = "bench-counter";

/// The read buffer of a thread, as long as that of the floor's readers.
const BUFFER_BYTES: usize = 64 * 1024;

/// Events taken at a time.
const EVENTS: usize = 1_024;

/// Connections from one source address: connect(2) searches long when half of the ports of a pair are taken.
const PER_SOURCE: u32 = 8_000;

/// An answer to a handshake, and its hello, fit.
const HELLO_BYTES_MAX: usize = 2 * 1024;

/// What one such process is to be.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Share {
    pub(crate) gateway: String,
    pub(crate) rooms: u32,
    pub(crate) clients: u32,
    pub(crate) threads: u32,
    /// Which of the processes it is: each has source addresses of its own.
    pub(crate) process: u8,
}

/// If this process was started to count: does its work.
pub(crate) fn role() -> Option<ExitCode> {
    let mut args = std::env::args().skip(1);
    if args.next()? != ROLE {
        return None;
    }
    let share = serde_json::from_str(&args.next().unwrap_or_default());
    let played = share.map_err(|error| error.to_string()).and_then(|share| play(&share));
    if let Err(why) = played {
        say(&why);
        return Some(ExitCode::FAILURE);
    }
    Some(ExitCode::SUCCESS)
}

/// A line: a number, or what went wrong.
fn say(what: &impl Display) {
    let mut out = io::stdout().lock();
    // Nobody to hear it: the run is of no use any more.
    if writeln!(out, "{what}").and_then(|()| out.flush()).is_err() {
        std::process::exit(1);
    }
}

/// Connects, says so, and then says how many bytes came whenever it is asked.
fn play(share: &Share) -> Result<(), String> {
    common::descriptors::raise().map_err(|error| error.to_string())?;
    let address: SocketAddr = share.gateway.parse().map_err(|_| format!("no address: {}", share.gateway))?;
    let bytes = Arc::<AtomicU64>::default();
    let (tell, told) = sync_channel(1);
    for thread in 0..share.threads {
        let (share, bytes, tell) = (share.clone(), bytes.clone(), tell.clone());
        std::thread::spawn(move || {
            let readers = Readers::connect(&share, address, thread, &bytes);
            _ = tell.send(readers.as_ref().map(drop).map_err(ToString::to_string));
            let ended = readers.and_then(|mut readers| readers.read(&bytes));
            say(&format!("a client that counts: {ended:?}"));
            std::process::exit(1);
        });
        // One thread after the other: so clients that a gateway keeps together are read by one thread, as the
        // floor's are. Those of two in turn wake each reader for each frame.
        told.recv().map_err(|_| "a thread is gone")??;
    }
    say(&bytes.load(Ordering::Relaxed));
    for _ in io::stdin().lock().lines().map_while(Result::ok) {
        say(&bytes.load(Ordering::Relaxed));
    }
    Ok(())
}

/// The connections of a thread.
struct Readers {
    poll: Poll,
    sockets: Vec<mio::net::TcpStream>,
    buffer: Vec<u8>,
}

impl Readers {
    /// One after the other, each until it is greeted.
    fn connect(share: &Share, address: SocketAddr, thread: u32, bytes: &AtomicU64) -> io::Result<Self> {
        let poll = Poll::new()?;
        let mut sockets = Vec::new();
        let first =
            |thread| share.clients / share.threads * thread + (share.clients % share.threads).min(thread);
        for client in first(thread)..first(thread + 1) {
            let (socket, more) = greeted(share, address, client)?;
            bytes.fetch_add(more, Ordering::Relaxed);
            let mut socket = mio::net::TcpStream::from_std(socket);
            poll.registry().register(&mut socket, Token(sockets.len()), Interest::READABLE)?;
            sockets.push(socket);
        }
        Ok(Self { poll, sockets, buffer: vec![0; BUFFER_BYTES] })
    }

    /// Reads and counts for ever.
    fn read(&mut self, bytes: &AtomicU64) -> io::Result<()> {
        let mut events = Events::with_capacity(EVENTS);
        loop {
            match self.poll.poll(&mut events, None) {
                Err(error) if error.kind() != ErrorKind::Interrupted => return Err(error),
                _ => {}
            }
            let mut read = 0;
            for event in &events {
                read += drain(&mut self.sockets[event.token().0], &mut self.buffer)?;
            }
            bytes.fetch_add(read, Ordering::Relaxed);
        }
    }
}

/// A connection whose hello is read, and how many bytes came behind it.
fn greeted(share: &Share, address: SocketAddr, client: u32) -> io::Result<(TcpStream, u64)> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    let source = u8::try_from(client / PER_SOURCE + 1).map_err(io::Error::other)?;
    let source = Ipv4Addr::new(127, 1, share.process, source);
    socket.bind(&SocketAddr::from((source, 0)).into())?;
    socket.connect(&address.into())?;
    // Closed by a reset: no port waits for minutes, and the next run finds the same machine.
    socket.set_linger(Some(Duration::ZERO))?;
    socket.set_read_timeout(Some(raw::PATIENCE))?;
    let mut stream = TcpStream::from(socket);
    let query = format!("userId=c{client}&room=r{}", client % share.rooms);
    stream.write_all(raw::request(&share.gateway, &query).as_bytes())?;
    let mut buffer = [0; HELLO_BYTES_MAX];
    let mut filled = 0;
    let end = loop {
        if let Some(end) = hello_end(&buffer[..filled]).filter(|end| *end <= filled) {
            break end;
        }
        match stream.read(&mut buffer[filled..])? {
            0 => return Err(io::Error::other(String::from_utf8_lossy(&buffer[..filled]))),
            read => filled += read,
        }
    };
    stream.set_nonblocking(true)?;
    Ok((stream, (filled - end) as u64))
}

/// Where the first frame behind the answer ends, once its header is there.
fn hello_end(bytes: &[u8]) -> Option<usize> {
    let frame = bytes.windows(4).position(|four| four == b"\r\n\r\n")? + 4;
    let length = usize::from(*bytes.get(frame + 1)?);
    if length < 126 {
        return Some(frame + 2 + length);
    }
    // A hello is never so long that it has the other long length.
    let long = [*bytes.get(frame + 2)?, *bytes.get(frame + 3)?];
    Some(frame + 4 + usize::from(u16::from_be_bytes(long)))
}

/// Reads what a socket has.
fn drain(socket: &mut mio::net::TcpStream, buffer: &mut [u8]) -> io::Result<u64> {
    let mut bytes = 0;
    loop {
        match socket.read(buffer) {
            Ok(0) => return Err(io::Error::other("the gateway closed a connection")),
            Ok(read) => {
                bytes += (read - pings(&buffer[..read])) as u64;
                // Edge-triggered: a short read of a stream has emptied it, epoll(7).
                if read < buffer.len() {
                    return Ok(bytes);
                }
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(bytes),
            Err(error) => return Err(error),
        }
    }
}

/// A ping without a payload, as gateways send it.
const PING: &[u8] = &[0x89, 0];

/// Bytes of pings, which count as nothing: alone, or before or behind frames: those begin otherwise, and text has no zeros.
fn pings(read: &[u8]) -> usize {
    let before = read.strip_prefix(PING);
    let behind = before.unwrap_or(read).ends_with(PING);
    PING.len() * (usize::from(before.is_some()) + usize::from(behind))
}

/// A process that counts, all its clients greeted. Dropped, it is killed.
pub(crate) struct Counters {
    child: Child,
    ask: ChildStdin,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Counters {
    /// Starts it and waits until all its clients are greeted.
    pub(crate) fn start(share: &Share) -> Result<Self, String> {
        let this = std::env::current_exe().map_err(|error| error.to_string())?;
        let share = serde_json::to_string(share).expect("words and numbers are JSON");
        let mut command = Command::new(this);
        command.args([ROLE, &share]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().map_err(|error| format!("cannot start a counter: {error}"))?;
        let ask = child.stdin.take().expect("it is piped");
        let lines = BufReader::new(child.stdout.take().expect("it is piped")).lines();
        let mut counters = Self { child, ask, lines };
        counters.heard()?;
        Ok(counters)
    }

    /// Bytes that its clients have read, without handshakes and hellos.
    pub(crate) fn bytes(&mut self) -> Result<f64, String> {
        writeln!(self.ask).map_err(|error| format!("a counter is gone: {error}"))?;
        self.heard()
    }

    fn heard(&mut self) -> Result<f64, String> {
        let line = self.lines.next().ok_or("a counter ended")?.map_err(|error| error.to_string())?;
        line.parse().map_err(|_| line)
    }
}

impl Drop for Counters {
    fn drop(&mut self) {
        // An error says that it has ended already.
        _ = self.child.kill();
        _ = self.child.wait();
    }
}
