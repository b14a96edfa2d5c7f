//! Where a server is: a URL with path and query, of which a client's number may be a part.

use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::mpsc::sync_channel;
use std::time::Duration;

use super::Error;

/// A name that does not resolve in this time is one that does not resolve.
const RESOLVE_TIME_MAX: Duration = Duration::from_secs(5);

/// A URL, taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    /// `host:port`, for the `Host` header.
    pub(super) authority: String,
    /// Path and query, as they were given.
    pub(super) target: String,
}

impl Place {
    /// Takes `scheme://host[:port][/path][?query]` apart.
    pub(super) fn parse(url: &str, scheme: &str) -> Result<Self, Error> {
        let wrong =
            |what: &str| Err(Error::Usage(format!("{url:?} {what}; {scheme}://host:port/path is expected")));
        let Some(rest) = url.strip_prefix(scheme).and_then(|rest| rest.strip_prefix("://")) else {
            return match url.split_once("://") {
                Some(("wss" | "https", _)) => {
                    wrong("speaks TLS, which this tool does not: measure behind the proxy")
                }
                _ => wrong("is not a URL of this kind"),
            };
        };
        let (authority, target) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
        let parsed: http::uri::Authority = match authority.parse() {
            Ok(parsed) => parsed,
            Err(_) => return wrong("has no host"),
        };
        let has_port = authority != parsed.host();
        if parsed.host().is_empty() || authority.contains('@') || (has_port && parsed.port_u16().is_none()) {
            return wrong("has no host, or no port that is a number up to 65535");
        }
        if target.bytes().any(|byte| byte.is_ascii_control() || byte == b' ' || byte >= 0x80) {
            return wrong("has characters that a URL must escape");
        }
        let authority = format!("{}:{}", parsed.host(), parsed.port_u16().unwrap_or(80));
        let slash = if target.starts_with('/') { "" } else { "/" };
        Ok(Self { authority, target: format!("{slash}{target}") })
    }

    /// The first address of the host, IPv4 before others.
    pub(super) fn resolve(&self) -> Result<SocketAddr, Error> {
        let away = |why: String| Error::Unavailable(format!("{}: {why}", self.authority));
        let (give, take) = sync_channel(1);
        let name = self.authority.clone();
        // The resolver of the system knows no deadline; a thread that nobody waits for does.
        std::thread::spawn(move || give.send(name.to_socket_addrs().map(Iterator::collect::<Vec<_>>)));
        let found = take
            .recv_timeout(RESOLVE_TIME_MAX)
            .map_err(|_| away("the name does not resolve in time".into()))?
            .map_err(|error| away(format!("the name does not resolve: {error}")))?;
        let first = found.iter().find(|address| address.is_ipv4()).or(found.first());
        first.copied().ok_or_else(|| away("the name has no address".into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_taken_apart() {
        let place = |url| Place::parse(url, "ws").unwrap();
        assert_eq!(place("ws://h").authority, "h:80");
        assert_eq!(place("ws://h:1?x={client}").target, "/?x={client}");
        assert_eq!(place("ws://[::1]:5/sub/a?b=c").authority, "[::1]:5");
        assert_eq!(place("ws://[::1]:5/sub/a?b=c").target, "/sub/a?b=c");
        for bad in
            ["", "h:1", "ws://", "wss://h", "http://h", "ws://h:99999", "ws://u@h:1", "ws://h:x", "ws://h/ a"]
        {
            assert!(matches!(Place::parse(bad, "ws"), Err(Error::Usage(_))), "{bad:?}");
        }
        assert!(Place::parse("https://h", "http").unwrap_err().to_string().contains("TLS"));
        let nowhere = Place::parse("ws://no-such-host.invalid:1", "ws").unwrap().resolve();
        assert_eq!(nowhere.unwrap_err().exit_code(), 69);
    }
}
