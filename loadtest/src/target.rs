//! Where a gateway or a logic node is: the URLs that people give, and the addresses they mean.

use std::net::SocketAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A name that does not resolve in this time is one that does not resolve.
const RESOLVE_TIME_MAX: Duration = Duration::from_secs(5);

/// What an endpoint speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scheme {
    /// WebSocket, on a gateway.
    Ws,
    /// HTTP/1, on a logic node.
    Http,
}

/// A URL, taken apart.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Endpoint {
    /// As it was given.
    pub(crate) url: String,
    /// `host:port`, for the `Host` header.
    pub(crate) authority: String,
    /// The path of client connections; empty for a logic node.
    pub(crate) path: String,
}

impl Endpoint {
    /// Takes `ws://host:port[/path]` or `http://host:port` apart.
    pub(crate) fn parse(url: &str, scheme: Scheme) -> Result<Self, String> {
        let (prefix, tls, port, form) = match scheme {
            Scheme::Ws => ("ws", "wss", 80, "ws://host:port"),
            Scheme::Http => ("http", "https", 80, "http://host:port"),
        };
        let uri: http::Uri = url.parse().map_err(|_| format!("{url:?} is not a URL; {form} is expected"))?;
        match uri.scheme_str() {
            Some(given) if given == prefix => {}
            Some(given) if given == tls => {
                return Err(format!("{url:?}: {tls} is not supported; use {form} behind the TLS proxy"));
            }
            _ => return Err(format!("{url:?} is not a URL of this kind; {form} is expected")),
        }
        let host = uri.host().filter(|host| !host.is_empty());
        let host = host.ok_or_else(|| format!("{url:?} has no host; {form} is expected"))?;
        // What stands beside the host is a port that is a number, and no name of a user.
        let beside =
            uri.authority().map_or("", |authority| authority.as_str().strip_prefix(host).unwrap_or("?"));
        if !beside.is_empty() && uri.port().map(|port| format!(":{port}")).as_deref() != Some(beside) {
            return Err(format!("{url:?} has no port that is a number up to 65535; {form} is expected"));
        }
        if uri.query().is_some() || (scheme == Scheme::Http && uri.path() != "/") {
            return Err(format!("{url:?} has more than host and port; {form} is expected"));
        }
        let path = match (scheme, uri.path()) {
            (Scheme::Http, _) => String::new(),
            (Scheme::Ws, "/") => "/ws".to_owned(),
            (Scheme::Ws, path) => path.to_owned(),
        };
        let authority = format!("{host}:{}", uri.port_u16().unwrap_or(port));
        Ok(Self { url: url.to_owned(), authority, path })
    }

    /// The first address of the host; IPv4 before others, for source addresses are IPv4.
    pub(crate) async fn resolve(&self) -> Result<SocketAddr, String> {
        let lookup = tokio::time::timeout(RESOLVE_TIME_MAX, tokio::net::lookup_host(&self.authority));
        let found: Vec<_> = match lookup.await {
            Ok(Ok(found)) => found.collect(),
            Ok(Err(error)) => return Err(format!("{}: the name does not resolve: {error}", self.url)),
            Err(_) => return Err(format!("{}: the name does not resolve in time", self.url)),
        };
        let first = found.iter().find(|address| address.is_ipv4()).or(found.first());
        first.copied().ok_or_else(|| format!("{}: the name has no address", self.url))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_taken_apart() {
        let ws = Endpoint::parse("ws://h:7200", Scheme::Ws).unwrap();
        assert_eq!((ws.authority.as_str(), ws.path.as_str()), ("h:7200", "/ws"));
        assert_eq!(Endpoint::parse("ws://h/x", Scheme::Ws).unwrap().path, "/x");
        assert_eq!(Endpoint::parse("http://[::1]:5", Scheme::Http).unwrap().authority, "[::1]:5");
        for bad in [
            "",
            "h:1",
            "ws://",
            "wss://h:1",
            "http://h:1",
            "ws://h:99999",
            "ws://u@h:1",
            "ws://h:x",
            "ws://h:1?x=y",
        ] {
            assert!(Endpoint::parse(bad, Scheme::Ws).is_err(), "{bad:?}");
        }
        assert!(Endpoint::parse("http://h:1/v1/push", Scheme::Http).is_err());
    }
}
