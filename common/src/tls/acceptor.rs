//! Who takes connections with TLS: a certificate and its key from files, and the handshake.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs::Ticketer;
use rustls::server::{NoServerSessionStorage, ProducesTickets, WebPkiClientVerifier};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::certificate::Certificate;
use super::files::{Named, mismatch};
use super::{Inside, TlsStream, explain, provider};
use crate::fresh::Fresh;
use crate::ids::Instance;
use crate::problem::Problem;
use crate::shutdown::Shutdown;

/// After the answer to one who speaks no TLS, so much is read of what it still sends, for so long: a socket that is
/// closed with unread bytes in it is reset, and the answer with it.
const LINGER_TIME_MAX: Duration = Duration::from_millis(200);
const LINGER_BYTES_MAX: usize = 64 * 1024;

/// What one who takes connections reads.
#[derive(Debug, Clone)]
pub struct AcceptorFiles {
    /// The certificate, with those between it and the authority behind it.
    pub cert: Named,
    /// Its key.
    pub key: Named,
    /// Authorities of peers, each of which must show a certificate; `None`: none is asked for.
    pub client_ca: Option<Named>,
    /// What is spoken inside.
    pub inside: Inside,
}

/// Takes connections with TLS, with the certificate that stands in its files now. Clones are the same.
#[derive(Debug, Clone)]
pub struct Acceptor {
    shown: Arc<Fresh<Shown>>,
    inside: Inside,
}

/// What was read.
struct Shown {
    config: Arc<ServerConfig>,
    certificate: Certificate,
}

/// Why a connection did not become one with TLS.
#[derive(Debug)]
pub enum Refused {
    /// The peer speaks something else, and was told.
    Plaintext,
    /// The handshake failed, or the connection.
    Failed(io::Error),
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Plaintext => f.write_str("it came without TLS"),
            Self::Failed(error) => write!(f, "the TLS handshake failed: {}", explain(error)),
        }
    }
}

impl std::error::Error for Refused {}

impl Acceptor {
    /// Reads the files for the first time.
    ///
    /// # Errors
    /// What is wrong with them, and what to change.
    pub fn load(files: AcceptorFiles) -> Result<Self, String> {
        let inside = files.inside;
        let mut follows = vec![files.cert.path.clone(), files.key.path.clone()];
        follows.extend(files.client_ca.as_ref().map(|ca| ca.path.clone()));
        // Made once: with another one after each reading, what clients have been given would be worth nothing.
        let tickets = Ticketer::new().map_err(|error| format!("no keys for TLS tickets: {error}"))?;
        let read = move || shown(&files, &tickets);
        let shown = Fresh::load("TLS certificate", follows, read)?;
        Ok(Self { shown, inside })
    }

    /// Follows the files until the node stops; those connected stay as they are.
    pub async fn follow(self, shutdown: Shutdown) {
        self.shown.follow(shutdown).await;
    }

    /// Reads the files again; whether that went well. What is wrong stands in the log.
    #[must_use]
    pub fn reload(&self) -> bool {
        self.shown.reload()
    }

    /// What it shows now.
    #[must_use]
    pub fn certificate(&self) -> Certificate {
        self.shown.now().certificate.clone()
    }

    /// Shakes hands. Takes as long as the peer does: whoever calls has a deadline.
    ///
    /// # Errors
    /// [`Refused`].
    pub async fn accept(&self, socket: TcpStream) -> Result<TlsStream, Refused> {
        let mut stream = TlsStream::new(socket, self.shown.now().config.clone()).map_err(Refused::Failed)?;
        let looks = |first: &[u8]| match speaks_http(first) {
            true => Err(io::ErrorKind::Unsupported.into()),
            false => Ok(()),
        };
        match stream.shake(looks).await {
            Ok(()) => Ok(stream),
            Err(error) if error.kind() == io::ErrorKind::Unsupported => {
                // Boxed: it is large, and for few.
                Box::pin(tell_plaintext(stream.into_socket(), self.inside)).await;
                Err(Refused::Plaintext)
            }
            Err(error) => Err(Refused::Failed(error)),
        }
    }
}

fn shown(files: &AcceptorFiles, tickets: &Arc<dyn ProducesTickets>) -> Result<Shown, String> {
    let (chain, key) = (files.cert.certificates()?, files.key.key()?);
    let certificate = Certificate::first_of(&files.cert, &chain)?;
    let builder = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?;
    let builder = match &files.client_ca {
        None => builder.with_no_client_auth(),
        Some(ca) => {
            let verifier =
                WebPkiClientVerifier::builder_with_provider(Arc::new(ca.roots()?), provider()).build();
            builder.with_client_cert_verifier(verifier.map_err(|error| format!("{ca}: {error}"))?)
        }
    };
    let mut config =
        builder.with_single_cert(chain, key).map_err(|error| mismatch(&files.cert, &files.key, &error))?;
    config.alpn_protocols = files.inside.protocols();
    match files.inside {
        // Clients that come again do so without a signature of ours, and nothing is kept for them.
        Inside::Http1 => config.ticketer = tickets.clone(),
        // Links are few, and one that is resumed would not show its certificate again.
        Inside::Http2 | Inside::Redis => {
            config.session_storage = Arc::new(NoServerSessionStorage {});
            config.send_tls13_tickets = 0;
        }
    }
    Ok(Shown { config: Arc::new(config), certificate })
}

/// Whether a peer began with a method of HTTP; TLS begins with a byte that is no letter (22, RFC 8446 §5.1).
fn speaks_http(first: &[u8]) -> bool {
    first.first().is_some_and(u8::is_ascii_uppercase)
}

/// Tells one who speaks HTTP that TLS is spoken here, in its own words.
async fn tell_plaintext(mut socket: TcpStream, inside: Inside) {
    let answer = match inside {
        Inside::Http1 => http1_answer(),
        Inside::Http2 | Inside::Redis => http2_answer(),
    };
    let told = async {
        socket.write_all(&answer).await?;
        socket.shutdown().await?;
        let (mut scrap, mut left) = ([0; 1024], LINGER_BYTES_MAX);
        while left > 0 {
            match socket.read(&mut scrap).await? {
                0 => break,
                read => left = left.saturating_sub(read),
            }
        }
        io::Result::Ok(())
    };
    let _ = tokio::time::timeout(LINGER_TIME_MAX, told).await;
}

const WORDS: &str = "TLS is spoken on this port: use https:// or wss://";

fn http1_answer() -> Vec<u8> {
    let problem = Problem::new(http::StatusCode::BAD_REQUEST, "tls_needed", WORDS);
    let body = problem.body(&Instance::random().to_string());
    let mut answer = format!(
        "HTTP/1.1 400 Bad Request\r\ncontent-type: application/problem+json\r\nconnection: close\r\n\
         content-length: {}\r\n\r\n",
        body.len()
    )
    .into_bytes();
    answer.extend_from_slice(&body);
    answer
}

/// Empty SETTINGS, then GOAWAY with INADEQUATE_SECURITY (RFC 9113 §6.5, §6.8, §7).
fn http2_answer() -> Vec<u8> {
    let mut answer = vec![0, 0, 0, 4, 0, 0, 0, 0, 0];
    let length = (8 + WORDS.len()) as u8;
    answer.extend_from_slice(&[0, 0, length, 7, 0, 0, 0, 0, 0]);
    answer.extend_from_slice(&[0, 0, 0, 0, 0, 0, 0, 12]);
    answer.extend_from_slice(WORDS.as_bytes());
    answer
}
