//! The server's half of one TLS connection as bytes in and bytes out: no socket, no clock, and no buffer while it idles.
//!
//! Over rustls' unbuffered interface, because the buffered one keeps 4 KiB for what comes in, as long as the
//! connection lives. Here records are decrypted where they were read; only what is not a whole record, was not taken
//! yet, or did not fit into the socket is kept, for as long as that lasts.

use std::sync::Arc;

use rustls::server::{ServerConnectionData, UnbufferedServerConnection};
use rustls::unbuffered::{ConnectionState, EncodeError, EncryptError, UnbufferedStatus, WriteTraffic};
use rustls::{Error, ServerConfig};

/// Most ciphertext that is kept because it is not whole: the longest handshake message that rustls takes (64 KiB), and a
/// record (16 KiB and what may be added to it, RFC 8446 §5.2).
const INCOMPLETE_BYTES_MAX: usize = 64 * 1024 + 17 * 1024;

/// Bytes of which the first have gone.
#[derive(Debug, Default)]
pub(super) struct Rest {
    bytes: Vec<u8>,
    gone: usize,
}

impl Rest {
    pub(super) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    pub(super) fn left(&self) -> &[u8] {
        &self.bytes[self.gone..]
    }

    /// Lets the first go; of what is all gone no memory is kept.
    pub(super) fn go(&mut self, count: usize) {
        self.gone += count;
        if self.gone >= self.bytes.len() {
            *self = Self::default();
        }
    }

    pub(super) fn put(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }
}

/// Ciphertext that is being made, in memory that is used again.
#[derive(Debug, Default)]
pub(super) struct Sealed {
    room: Vec<u8>,
    len: usize,
}

/// Why something was not put.
enum NotPut {
    /// There is too little room; it takes so much.
    Room(usize),
    Error(Error),
}

impl Sealed {
    pub(super) fn bytes(&self) -> &[u8] {
        &self.room[..self.len]
    }

    pub(super) fn clear(&mut self) {
        self.len = 0;
    }

    fn put(&mut self, mut put: impl FnMut(&mut [u8]) -> Result<usize, NotPut>) -> Result<(), Error> {
        loop {
            match put(&mut self.room[self.len..]) {
                Ok(written) => {
                    self.len += written;
                    return Ok(());
                }
                Err(NotPut::Room(needs)) => self.room.resize(self.len + needs, 0),
                Err(NotPut::Error(error)) => return Err(error),
            }
        }
    }
}

/// A connection that may write.
type Traffic<'a> = WriteTraffic<'a, ServerConnectionData>;

/// The server's half of one TLS connection.
pub(super) struct Session {
    connection: UnbufferedServerConnection,
    /// What came and makes no whole record yet, or is a part of a handshake message.
    incomplete: Vec<u8>,
    /// Plaintext that nobody has taken.
    pub(super) heard: Rest,
    /// Ciphertext that the socket has not taken. While there is any, nothing more is encrypted.
    pub(super) unsent: Rest,
    /// The peer has said that nothing more comes (`close_notify`).
    pub(super) is_over: bool,
    /// And so have we.
    said_over: bool,
    /// Something was wrong; rustls is not asked again.
    is_broken: bool,
}

/// What rustls had to say.
enum Turn {
    /// It may have more.
    More,
    /// It waits for what comes, and is ready to write or not.
    Done { writes: bool },
}

impl Session {
    pub(super) fn new(config: Arc<ServerConfig>) -> Result<Self, Error> {
        Ok(Self {
            connection: UnbufferedServerConnection::new(config)?,
            incomplete: Vec::new(),
            heard: Rest::default(),
            unsent: Rest::default(),
            is_over: false,
            said_over: false,
            is_broken: false,
        })
    }

    pub(super) fn is_handshaking(&self) -> bool {
        self.connection.is_handshaking()
    }

    /// Hears ciphertext that was read: what it said stands in `heard`, what is to be answered in `unsent`.
    ///
    /// # Errors
    /// The connection is of no use any more; an alert that says why stands in `unsent`.
    pub(super) fn hear(&mut self, fresh: &mut [u8]) -> Result<(), Error> {
        if self.incomplete.is_empty() {
            let used = self.process(fresh)?;
            self.incomplete = fresh[used..].to_vec();
            return Ok(());
        }
        let mut bytes = std::mem::take(&mut self.incomplete);
        bytes.extend_from_slice(fresh);
        let used = self.process(&mut bytes)?;
        if bytes.len() - used > INCOMPLETE_BYTES_MAX {
            return self.fail(Error::General("a message that does not end".into()));
        }
        if used < bytes.len() {
            bytes.drain(..used);
            self.incomplete = bytes;
        }
        Ok(())
    }

    /// Encrypts `plaintext` behind whatever is to be said before it.
    ///
    /// # Errors
    /// Nothing can be said any more.
    pub(super) fn say(&mut self, plaintext: &[u8], into: &mut Sealed) -> Result<(), Error> {
        self.write(into, |traffic, room| traffic.encrypt(plaintext, room))
    }

    /// Says once that nothing more comes.
    ///
    /// # Errors
    /// Nothing can be said any more.
    pub(super) fn say_over(&mut self, into: &mut Sealed) -> Result<(), Error> {
        if std::mem::replace(&mut self.said_over, true) {
            return Ok(());
        }
        self.write(into, |traffic, room| traffic.queue_close_notify(room))
    }

    fn write(
        &mut self,
        into: &mut Sealed,
        mut put: impl FnMut(&mut Traffic<'_>, &mut [u8]) -> Result<usize, EncryptError>,
    ) -> Result<(), Error> {
        if self.is_broken {
            return Err(Error::EncryptError);
        }
        // The same bytes as before, though nothing in them is whole: rustls remembers what it has seen of them.
        let mut bytes = std::mem::take(&mut self.incomplete);
        let mut used = 0;
        let written = loop {
            let writes = |traffic: &mut Traffic<'_>, into: &mut Sealed| {
                into.put(|room| put(traffic, room).map_err(NotPut::from))
            };
            match self.turn(&mut bytes, &mut used, into, writes) {
                Ok(Turn::More) => {}
                Ok(Turn::Done { writes: true }) => break Ok(()),
                Ok(Turn::Done { writes: false }) => break Err(Error::HandshakeNotComplete),
                Err(error) => break self.fail(error),
            }
        };
        bytes.drain(..used);
        self.incomplete = bytes;
        written
    }

    /// Lets rustls do all that it can with these bytes; says how many it is done with.
    fn process(&mut self, bytes: &mut [u8]) -> Result<usize, Error> {
        if self.is_broken {
            return Err(Error::DecryptError);
        }
        let (mut answer, mut used) = (Sealed::default(), 0);
        let nothing = |_: &mut Traffic<'_>, _: &mut Sealed| Ok(());
        let done = loop {
            match self.turn(bytes, &mut used, &mut answer, nothing) {
                Ok(Turn::More) => {}
                Ok(Turn::Done { .. }) => break Ok(used),
                Err(error) => {
                    // The alert that tells the peer comes as other messages do; the same error again ends it.
                    while let Ok(Turn::More) = self.turn(bytes, &mut used, &mut answer, nothing) {}
                    break self.fail(error).map(|()| used);
                }
            }
        };
        self.unsent.put(answer.bytes());
        done
    }

    /// One turn of rustls. `write` is called if the connection may write now.
    fn turn(
        &mut self,
        bytes: &mut [u8],
        used: &mut usize,
        into: &mut Sealed,
        write: impl FnOnce(&mut Traffic<'_>, &mut Sealed) -> Result<(), Error>,
    ) -> Result<Turn, Error> {
        let UnbufferedStatus { mut discard, state } =
            self.connection.process_tls_records(&mut bytes[*used..]);
        let turn = match state {
            Err(error) => Err(error),
            Ok(ConnectionState::ReadTraffic(mut traffic)) => {
                let mut turn = Ok(Turn::More);
                while let Some(record) = traffic.next_record() {
                    match record {
                        Ok(record) => {
                            discard += record.discard;
                            self.heard.put(record.payload);
                        }
                        Err(error) => turn = Err(error),
                    }
                }
                turn
            }
            Ok(ConnectionState::EncodeTlsData(mut data)) => {
                into.put(|room| data.encode(room).map_err(NotPut::from)).map(|()| Turn::More)
            }
            Ok(ConnectionState::TransmitTlsData(data)) => {
                // Sending it is the caller's, before anything else.
                data.done();
                Ok(Turn::More)
            }
            Ok(ConnectionState::PeerClosed) => {
                self.is_over = true;
                Ok(Turn::More)
            }
            Ok(ConnectionState::WriteTraffic(mut traffic)) => {
                write(&mut traffic, into).map(|()| Turn::Done { writes: true })
            }
            Ok(ConnectionState::BlockedHandshake | ConnectionState::Closed) => {
                Ok(Turn::Done { writes: false })
            }
            // Early data, which no configuration of ours allows.
            Ok(_) => Err(Error::General("TLS in a state that is not known here".into())),
        };
        *used += discard;
        turn
    }

    fn fail(&mut self, error: Error) -> Result<(), Error> {
        self.is_broken = true;
        Err(error)
    }
}

impl From<EncryptError> for NotPut {
    fn from(error: EncryptError) -> Self {
        match error {
            EncryptError::InsufficientSize(needs) => Self::Room(needs.required_size),
            EncryptError::EncryptExhausted => Self::Error(Error::EncryptError),
        }
    }
}

impl From<EncodeError> for NotPut {
    fn from(error: EncodeError) -> Self {
        match error {
            EncodeError::InsufficientSize(needs) => Self::Room(needs.required_size),
            EncodeError::AlreadyEncoded => Self::Error(Error::General(error.to_string())),
        }
    }
}
