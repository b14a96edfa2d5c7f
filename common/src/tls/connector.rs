//! Who opens connections, with TLS or without: authorities to trust, a certificate of one's own, and where a URL leads.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::Uri;
use rustls::client::Resumption;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use super::certificate::Certificate;
use super::files::{Named, mismatch};
use super::{Inside, provider};
use crate::fresh::Fresh;
use crate::shutdown::Shutdown;

/// What one who opens connections reads.
#[derive(Debug, Clone)]
pub struct ConnectorFiles {
    /// Authorities that are trusted; `None`: those that this machine trusts.
    pub ca: Option<Named>,
    /// A certificate of one's own and its key, for peers that ask for one.
    pub identity: Option<(Named, Named)>,
    /// What is spoken inside.
    pub inside: Inside,
}

/// Opens connections with TLS, with what stands in its files now. Clones are the same.
#[derive(Debug, Clone)]
pub struct Connector(Arc<Fresh<Known>>);

/// What was read.
struct Known {
    config: Arc<ClientConfig>,
    /// Of one's own.
    certificate: Option<Certificate>,
}

impl Connector {
    /// Reads the files for the first time.
    ///
    /// # Errors
    /// What is wrong with them, and what to change.
    pub fn load(files: ConnectorFiles) -> Result<Self, String> {
        let identity = files.identity.iter().flat_map(|(cert, key)| [cert, key]);
        let follows = files.ca.iter().chain(identity).map(|file| file.path.clone()).collect();
        Fresh::load("TLS authorities", follows, move || known(&files)).map(Self)
    }

    /// Follows the files until the node stops.
    pub async fn follow(self, shutdown: Shutdown) {
        self.0.follow(shutdown).await;
    }

    /// What it shows now to peers that ask for one.
    #[must_use]
    pub fn certificate(&self) -> Option<Certificate> {
        self.0.now().certificate.clone()
    }

    /// Shakes hands with one whose certificate must be for `name`, a DNS name or an IP address.
    ///
    /// # Errors
    /// What the peer showed or said; [`super::explain`] has it in words.
    pub async fn connect(&self, socket: TcpStream, name: &str) -> io::Result<TlsStream<TcpStream>> {
        // The host of a URL has brackets around an IPv6 address (RFC 3986 §3.2.2), a certificate has not.
        let bare = name.trim_matches(['[', ']']).to_owned();
        let name = ServerName::try_from(bare).map_err(|_| {
            io::Error::new(io::ErrorKind::InvalidInput, format!("{name:?} is no name for a certificate"))
        })?;
        // Boxed: the state of a handshake is large, and most connections have none.
        Box::pin(tokio_rustls::TlsConnector::from(self.0.now().config.clone()).connect(name, socket)).await
    }
}

fn known(files: &ConnectorFiles) -> Result<Known, String> {
    let roots = match &files.ca {
        Some(ca) => ca.roots()?,
        None => trusted_here()?,
    };
    let builder = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_root_certificates(roots);
    let mut certificate = None;
    let mut config = match &files.identity {
        None => builder.with_no_client_auth(),
        Some((cert, key)) => {
            let chain = cert.certificates()?;
            certificate = Some(Certificate::first_of(cert, &chain)?);
            builder.with_client_auth_cert(chain, key.key()?).map_err(|error| mismatch(cert, key, &error))?
        }
    };
    config.alpn_protocols = files.inside.protocols();
    // Connections of ours are few and long.
    config.resumption = Resumption::disabled();
    Ok(Known { config: Arc::new(config), certificate })
}

/// The authorities that this machine trusts, as its administrator keeps them (`SSL_CERT_FILE` counts too).
fn trusted_here() -> Result<RootCertStore, String> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    let (known, _) = roots.add_parsable_certificates(found.certs);
    if known > 0 {
        return Ok(roots);
    }
    let why = found.errors.first().map(|error| format!(": {error}")).unwrap_or_default();
    Err(format!(
        "this machine has no list of authorities to trust{why} (Debian: ca-certificates), or name a file"
    ))
}

/// Where a URL leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// Whether TLS is spoken there.
    pub is_tls: bool,
    /// A name or an address, in brackets if IPv6.
    pub host: String,
    /// The port, as it stands in the URL or as its scheme has it.
    pub port: u16,
}

impl Origin {
    /// Takes a URL apart. `plain` is its scheme without TLS, `http` or `ws`; with it an `s` follows.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(url: &str, plain: &str) -> Result<(Uri, Self), String> {
        let uri: Uri = url.parse().map_err(|error| format!("{url:?} is not a URL: {error}"))?;
        let Some(host) = uri.host().filter(|host| !host.is_empty()) else {
            return Err(format!("{url:?} has no host; it looks like {plain}://127.0.0.1:7100"));
        };
        let is_tls = match uri.scheme_str().and_then(|said| said.strip_prefix(plain)) {
            Some("") => false,
            Some("s") => true,
            _ => return Err(format!("{url:?} must begin with {plain}:// or {plain}s://")),
        };
        if uri.authority().is_some_and(|authority| authority.as_str().contains('@')) {
            return Err(format!("{url:?} has a user in it, which nothing here uses"));
        }
        let port = uri.port_u16().unwrap_or(if is_tls { 443 } else { 80 });
        let origin = Self { is_tls, host: host.to_owned(), port };
        Ok((uri, origin))
    }

    /// Whether this is certainly the machine itself.
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        let bare = self.host.trim_matches(['[', ']']);
        bare == "localhost" || bare.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
    }

    /// `host:port`.
    #[must_use]
    pub fn address(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }

    /// Opens a connection. `tls` is needed where TLS is spoken.
    ///
    /// # Errors
    /// Nobody there; a peer that is not who it should be.
    pub async fn dial(&self, tls: Option<&Connector>) -> io::Result<Stream> {
        let bare = self.host.trim_matches(['[', ']']);
        let socket = TcpStream::connect((bare, self.port)).await?;
        socket.set_nodelay(true)?;
        match (self.is_tls, tls) {
            (false, _) => Ok(Stream::Plain(socket)),
            (true, Some(tls)) => Ok(Stream::Tls(Box::new(tls.connect(socket, &self.host).await?))),
            (true, None) => Err(io::Error::new(io::ErrorKind::Unsupported, "no TLS was set up for this")),
        }
    }
}

impl std::fmt::Display for Origin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.address())
    }
}

/// A connection that one of ours has opened.
#[derive(Debug)]
pub enum Stream {
    /// Without TLS.
    Plain(TcpStream),
    /// With it.
    Tls(Box<TlsStream<TcpStream>>),
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Tls(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::Tls(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
            Self::Tls(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Plain(stream) => stream.is_write_vectored(),
            Self::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
