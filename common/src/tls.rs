//! TLS (1.2 and 1.3) for everything that leaves the machine: certificates from files that are read again when they
//! change, the server's end of a connection, the client's.
//!
//! rustls over aws-lc-rs, which the tokens need anyway. The server's end is [`TlsStream`], over the part of rustls
//! that keeps no buffers: a gateway pays for it a million times. The client's end is tokio-rustls'.

mod acceptor;
mod certificate;
mod connector;
mod expiry;
mod files;
mod refusals;
mod session;
mod stream;

use std::io;
use std::sync::{Arc, LazyLock};

use rustls::crypto::CryptoProvider;
use rustls::{AlertDescription, CertificateError, Error};

pub use acceptor::{Acceptor, AcceptorFiles, Refused};
pub use certificate::Certificate;
pub use connector::{Connector, ConnectorFiles, Origin, Stream};
pub use expiry::{Expiries, Shows};
pub use files::Named;
pub use refusals::{Reason, Refusals};
pub use stream::{TlsStream, read_socket};

/// What is spoken inside, said in the handshake (ALPN, RFC 7301).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Inside {
    /// HTTP/1.1: the API, clients.
    Http1,
    /// HTTP/2: the link.
    Http2,
    /// Redis, which has no name in ALPN: only connections that we open.
    Redis,
}

impl Inside {
    fn protocols(self) -> Vec<Vec<u8>> {
        match self {
            Self::Http1 => vec![b"http/1.1".to_vec()],
            Self::Http2 => vec![b"h2".to_vec()],
            Self::Redis => Vec::new(),
        }
    }
}

/// The cryptography of all connections.
static PROVIDER: LazyLock<Arc<CryptoProvider>> =
    LazyLock::new(|| Arc::new(rustls::crypto::aws_lc_rs::default_provider()));

fn provider() -> Arc<CryptoProvider> {
    PROVIDER.clone()
}

/// Why a connection with TLS failed, for people: what to change where that can be said, and else the error's own words.
#[must_use]
pub fn explain(error: &io::Error) -> String {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>()).cloned();
    let said = error.to_string();
    // HTTP/2 gives the text of an error on, and not the error.
    let alert = inner
        .or_else(|| ALERTS.into_iter().map(Error::AlertReceived).find(|known| said == known.to_string()));
    alert.as_ref().and_then(in_words).map_or(said, str::to_owned)
}

/// What a peer says of our certificate when the handshake is over for us: with TLS 1.3 that is before it has looked.
const ALERTS: [AlertDescription; 6] = [
    AlertDescription::CertificateRequired,
    AlertDescription::UnknownCA,
    AlertDescription::BadCertificate,
    AlertDescription::CertificateUnknown,
    AlertDescription::CertificateExpired,
    AlertDescription::DecryptError,
];

fn in_words(error: &Error) -> Option<&'static str> {
    Some(match error {
        Error::InvalidCertificate(bad) => match bad {
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                "its certificate has expired"
            }
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                "its certificate is not valid yet: is the clock right?"
            }
            CertificateError::UnknownIssuer | CertificateError::BadSignature => {
                "its certificate is not signed by an authority that is trusted here"
            }
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                "its certificate is for another name"
            }
            _ => return None,
        },
        Error::NoCertificatesPresented => "it showed no certificate, and one is needed here",
        Error::AlertReceived(AlertDescription::CertificateRequired) => {
            "it wants a certificate of ours, and we have none"
        }
        Error::AlertReceived(
            AlertDescription::UnknownCA
            | AlertDescription::BadCertificate
            | AlertDescription::CertificateUnknown
            | AlertDescription::CertificateExpired
            | AlertDescription::DecryptError,
        ) => "it does not accept our certificate, or we not its own",
        Error::AlertReceived(AlertDescription::NoApplicationProtocol) => {
            "it speaks another protocol inside TLS: is this the right port?"
        }
        Error::InvalidMessage(rustls::InvalidMessage::InvalidContentType) => "it speaks no TLS on this port",
        _ => return None,
    })
}

#[cfg(test)]
#[path = "../tests/support/authority.rs"]
mod authority;

#[cfg(test)]
mod tests;
