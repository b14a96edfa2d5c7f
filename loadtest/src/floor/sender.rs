//! The process that takes connections and sends: a loop of bare `send` calls, and nothing else.

use std::io::{ErrorKind, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use socket2::{Domain, Socket, Type};

use super::child;
use super::clock::Clock;
use super::message::{Order, Said, Sent, Share, Span};

/// The longest backlog; the kernel takes as much of it as `net.core.somaxconn` allows.
const BACKLOG: i32 = 65_535;

/// Each so-manieth connection is told that it is taken, and the other end waits for that: no backlog overflows.
/// It costs one byte in as many connections.
pub(super) const TURN: u32 = 512;

/// A socket that is full for so long has no reader any more.
const FULL_TIME_MAX: Duration = Duration::from_secs(10);

/// One thread.
struct Worker {
    share: Share,
    thread: u32,
    listeners: Vec<TcpListener>,
    clock: Clock,
    tell: SyncSender<Said>,
    go: Receiver<()>,
}

/// The threads of the process, as their process sees them.
struct Workers {
    go: Vec<SyncSender<()>>,
    told: Receiver<Said>,
    end: Instant,
}

/// Plays the part until the run ends it.
pub(super) fn play(share: &Share) -> Result<(), String> {
    let orders = child::orders();
    let failed = |error: std::io::Error| format!("a sender cannot listen: {error}");
    common::descriptors::raise().map_err(failed)?;
    let gone = |error: std::io::Error| format!("the run is gone: {error}");
    let mut workers = Workers::start(share)?;
    let span = workers.hear(Span::NONE, |span, said| match said {
        Said::Connected(part) => Some(span.join(part)),
        _ => None,
    })?;
    child::say(&Said::Connected(span)).map_err(gone)?;
    while let Ok(order) = orders.recv_timeout(workers.left()) {
        let Order::Send = order else { return Err("an order that is none for a sender".into()) };
        // A worker that is gone has said why.
        workers.go.iter().for_each(|go| _ = go.send(()));
        let sent = workers.hear(Sent::NONE, |sent, said| match said {
            Said::Sent(part) => Some(sent.join(part)),
            _ => None,
        })?;
        child::say(&Said::Sent(sent)).map_err(gone)?;
    }
    Err("a sender had nothing to do for too long".into())
}

impl Workers {
    /// Binds all listeners, says where they are, and starts the threads.
    fn start(share: &Share) -> Result<Self, String> {
        let failed = |error: std::io::Error| format!("a sender cannot listen: {error}");
        let clock = Clock::start();
        let (tell, told) = sync_channel(share.threads as usize);
        let (mut addresses, mut go) = (Vec::new(), Vec::new());
        for thread in 0..share.threads {
            let (give, take) = sync_channel(1);
            go.push(give);
            let listeners: Result<Vec<_>, _> = (0..share.listeners).map(|_| listen()).collect();
            let listeners = listeners.map_err(failed)?;
            let each: Result<Vec<_>, _> = listeners.iter().map(TcpListener::local_addr).collect();
            addresses.push(each.map_err(failed)?);
            let (share, tell) = (share.clone(), tell.clone());
            let worker = Worker { share, thread, listeners, clock, tell, go: take };
            child::work(move || worker.run())?;
        }
        child::say(&Said::Listening(addresses)).map_err(failed)?;
        Ok(Self { go, told, end: Instant::now() + share.time_max })
    }

    fn left(&self) -> Duration {
        self.end.saturating_duration_since(Instant::now())
    }

    /// Joins what each of the threads says.
    fn hear<T>(&mut self, none: T, join: impl Fn(T, Said) -> Option<T>) -> Result<T, String> {
        self.go.iter().try_fold(none, |joined, _| match self.told.recv_timeout(self.left()) {
            Ok(Said::Failed(why)) => Err(why),
            Ok(said) => join(joined, said).ok_or_else(|| "a thread said what was not asked".into()),
            Err(_) => Err("a sender was not done in time".into()),
        })
    }
}

fn listen() -> std::io::Result<TcpListener> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    // Accepted sockets inherit it: a frame leaves when it is sent, as a gateway's does.
    socket.set_tcp_nodelay(true)?;
    socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

impl Worker {
    fn run(self) {
        let failed = |error: std::io::Error| Said::Failed(format!("a sender failed: {error}"));
        let (sockets, said) = match self.accept() {
            Ok((sockets, span)) => (sockets, Said::Connected(span)),
            Err(error) => (Vec::new(), failed(error)),
        };
        let frame = frame(self.share.bytes);
        // A run that is gone ends the process: nothing is told then.
        _ = self.tell.send(said);
        while self.go.recv().is_ok() {
            _ = self.tell.send(self.send(&sockets, &frame).map_or_else(failed, Said::Sent));
        }
    }

    fn accept(&self) -> std::io::Result<(Vec<TcpStream>, Span)> {
        let mut sockets = Vec::with_capacity(self.share.of_thread(self.thread) as usize);
        let mut span = Span::NONE;
        for (listener, index) in self.listeners.iter().zip(0..) {
            for turn in 1..=self.share.of_listener(self.thread, index) {
                let socket = listener.accept()?.0;
                if span.first == u64::MAX {
                    span.first = self.clock.now();
                }
                if turn % TURN == 0 {
                    // An empty socket takes a byte.
                    (&socket).write_all(b"t")?;
                }
                sockets.push(socket);
            }
        }
        span.last = self.clock.now();
        sockets.iter().try_for_each(|socket| socket.set_nonblocking(true))?;
        Ok((sockets, span))
    }

    fn send(&self, sockets: &[TcpStream], frame: &[u8]) -> std::io::Result<Sent> {
        let (first, mut blocked) = (self.clock.now(), 0);
        for socket in sockets {
            send_one(socket, frame, &mut blocked)?;
        }
        Ok(Sent { span: Span { first, last: self.clock.now() }, blocked })
    }
}

fn send_one(mut socket: &TcpStream, frame: &[u8], blocked: &mut u64) -> std::io::Result<()> {
    // `write` of a std socket is one send(2).
    match socket.write(frame) {
        Ok(written) if written == frame.len() => return Ok(()),
        Ok(written) => send_rest(socket, &frame[written..])?,
        Err(error) if error.kind() == ErrorKind::WouldBlock => send_rest(socket, frame)?,
        Err(error) => return Err(error),
    }
    *blocked += 1;
    Ok(())
}

/// Sends what an unread socket did not take: the run is none any more, but it shall say how far it came.
#[cold]
fn send_rest(mut socket: &TcpStream, mut rest: &[u8]) -> std::io::Result<()> {
    let begun = Instant::now();
    while !rest.is_empty() {
        match socket.write(rest) {
            Ok(written) => rest = &rest[written..],
            Err(error) if error.kind() == ErrorKind::WouldBlock && begun.elapsed() < FULL_TIME_MAX => {
                std::thread::park_timeout(Duration::from_millis(1));
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// A text frame of a server as long as asked (RFC 6455 §5.2). Readers only count it.
fn frame(bytes: usize) -> Vec<u8> {
    let mut frame = vec![0x81];
    match bytes {
        0..=127 => frame.push(bytes.saturating_sub(2) as u8),
        _ => {
            frame.push(126);
            frame.extend((bytes.saturating_sub(4) as u16).to_be_bytes());
        }
    }
    frame.resize(bytes, b'x');
    frame
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{Kind, Next, next};

    #[test]
    fn a_frame_is_one_of_a_server_and_as_long_as_asked() {
        for bytes in [4, 127, 200, 4_096, 65_536] {
            let frame = frame(bytes);
            let Next::Frame(Kind::Text, _, length) = next(&frame, false) else { panic!("{bytes}: no frame") };
            assert_eq!((length, frame.len()), (bytes, bytes));
        }
    }
}
