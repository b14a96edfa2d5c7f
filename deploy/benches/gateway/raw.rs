//! Clients by hand, for what the load tool's do not do: send commands, leave and come again.
//!
//! Blocking sockets, one buffer for all: they verify nothing but that the gateway answers.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// No answer of a gateway takes longer.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// Key of the opening handshake: RFC 6455 wants 16 bytes, nobody checks which.
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";

/// A hello fits.
const BUFFER_BYTES: usize = 512;

/// The request of a client.
pub(crate) fn request(address: &str, query: &str) -> String {
    format!(
        "GET /ws?{query} HTTP/1.1\r\nHost: {address}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {KEY}\r\n\r\n"
    )
}

/// One client.
pub(crate) struct Raw {
    stream: BufReader<TcpStream>,
}

impl Raw {
    /// Connects, says who it is and which room it wants, and reads the answer; the hello may still come.
    pub(crate) fn open(address: &str, query: &str) -> Result<Self, String> {
        let failed = |error: std::io::Error| format!("a client at {address}: {error}");
        let stream = TcpStream::connect(address).map_err(failed)?;
        stream.set_nodelay(true).map_err(failed)?;
        stream.set_read_timeout(Some(PATIENCE)).map_err(failed)?;
        let mut stream = BufReader::with_capacity(BUFFER_BYTES, stream);
        stream.get_mut().write_all(request(address, query).as_bytes()).map_err(failed)?;
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if stream.read_line(&mut head).map_err(failed)? == 0 {
                return Err(format!("{address} ended in its answer {head:?}"));
            }
        }
        if head.starts_with("HTTP/1.1 101") {
            Ok(Self { stream })
        } else {
            Err(format!("{address} answered {head}"))
        }
    }

    /// Sends a text of at most 125 bytes, masked with zeros, which leave it as it is.
    pub(crate) fn send(&mut self, text: &str) -> Result<(), String> {
        let length = u8::try_from(text.len()).map_err(|error| error.to_string())?;
        let frame = [&[0x81, 0x80 | length, 0, 0, 0, 0], text.as_bytes()].concat();
        self.stream.get_mut().write_all(&frame).map_err(|error| format!("a client's command: {error}"))
    }

    /// Reads the next frame: its first byte and its payload.
    pub(crate) fn next(&mut self) -> Result<(u8, Vec<u8>), String> {
        let failed = |error: std::io::Error| format!("a client waits for a frame: {error}");
        let mut head = [0; 2];
        self.stream.read_exact(&mut head).map_err(failed)?;
        let length = match head[1] {
            126 => {
                let mut long = [0; 2];
                self.stream.read_exact(&mut long).map_err(failed)?;
                u64::from(u16::from_be_bytes(long))
            }
            127 => {
                let mut long = [0; 8];
                self.stream.read_exact(&mut long).map_err(failed)?;
                u64::from_be_bytes(long)
            }
            short => u64::from(short),
        };
        let mut payload = vec![0; usize::try_from(length).map_err(|error| error.to_string())?];
        self.stream.read_exact(&mut payload).map_err(failed)?;
        Ok((head[0], payload))
    }

    /// Reads until a frame that contains this.
    pub(crate) fn wait_for(&mut self, part: &str) -> Result<(), String> {
        loop {
            let (_, payload) = self.next()?;
            if payload.windows(part.len()).any(|window| window == part.as_bytes()) {
                return Ok(());
            }
        }
    }
}
