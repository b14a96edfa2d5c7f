//! Values of flags: durations, sizes, addresses. What is impossible is refused with a reason.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::time::Duration;

use common::edge::Cidr;
use common::limits::{CLIENT_MESSAGE_BYTES_MAX, DATA_BYTES_MAX, HEAD_BYTES_MAX};
use common::patterns::Pattern;
use common::tls::Origin;

const fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

/// A merge window: none, or at most a minute; a client that waits longer is not being pushed to.
pub(super) fn window(text: &str) -> Result<Duration, String> {
    within(text, Duration::ZERO..=secs(60))
}

/// Time for a drain: at most an hour, or a supervisor's patience ends first.
pub(super) fn drain(text: &str) -> Result<Duration, String> {
    within(text, Duration::ZERO..=secs(3600))
}

/// A period of heartbeats: often enough for the idle timeouts of proxies, not so often that it is traffic.
pub(super) fn heartbeat(text: &str) -> Result<Duration, String> {
    within(text, Duration::from_millis(100)..=secs(600))
}

/// How long a client may stay: long enough that reconnecting is not what gateways are busy with.
pub(super) fn stay(text: &str) -> Result<Duration, String> {
    within(text, secs(10)..=secs(30 * 24 * 3600))
}

/// How long somebody may be silent, or take for a handshake.
pub(super) fn patience(text: &str) -> Result<Duration, String> {
    within(text, Duration::from_millis(100)..=secs(3600))
}

/// A trace context as it stands in a header.
pub(super) fn traceparent(text: &str) -> Result<String, String> {
    let expected =
        "it is 00-TRACE-SPAN-FLAGS: 32, 16 and 2 lower-case hexadecimal digits, TRACE and SPAN not all zeros";
    common::trace::Trace::parse(text).map(|_| text.to_owned()).ok_or_else(|| expected.to_owned())
}

/// How long a push is worth sending.
pub(super) fn ttl(text: &str) -> Result<Duration, String> {
    within(text, Duration::from_millis(1)..=secs(24 * 3600))
}

/// For how long something is kept: a second at least.
pub(super) fn age(text: &str, most: Duration) -> Result<Duration, String> {
    within(text, secs(1)..=most)
}

fn within(text: &str, range: RangeInclusive<Duration>) -> Result<Duration, String> {
    let duration = if text == "0" {
        Duration::ZERO
    } else {
        humantime::parse_duration(text)
            .map_err(|error| format!("{error}; durations are written 250ms, 30s, 5m"))?
    };
    if range.contains(&duration) {
        return Ok(duration);
    }
    let shown = humantime::format_duration;
    Err(format!("it must be from {} to {}", shown(*range.start()), shown(*range.end())))
}

/// A size in bytes, 1 KiB to 1 GiB.
pub(super) fn size(text: &str) -> Result<usize, String> {
    bytes(text, 1024..=0x4000_0000)
        .ok_or_else(|| "it must be from 1KiB to 1GiB, written 64KiB, 1MiB".to_owned())
}

/// A part of the machine's memory, 1 MiB to 1 TiB.
pub(super) fn memory(text: &str) -> Result<usize, String> {
    bytes(text, 0x10_0000..=0x100_0000_0000)
        .ok_or_else(|| "it must be from 1MiB to 1TiB, written 512MiB, 4GiB".to_owned())
}

/// The length of a message, 0 to 1 MiB.
pub(super) fn short(text: &str) -> Result<usize, String> {
    bytes(text, 0..=0x10_0000).ok_or_else(|| "it must be from 0 to 1MiB, written 256B, 4KiB".to_owned())
}

/// The longest body of a call, 1 KiB to 64 MiB: it is held whole while it is parsed.
pub(super) fn body(text: &str) -> Result<usize, String> {
    bytes(text, 1024..=0x400_0000).ok_or_else(|| "it must be from 1KiB to 64MiB".to_owned())
}

/// The longest data of a push: gateways count on the default, so it may only be lower.
pub(super) fn data(text: &str) -> Result<usize, String> {
    bytes(text, 1..=DATA_BYTES_MAX).ok_or_else(|| "it must be from 1B to 64KiB".to_owned())
}

/// The longest head of a request: from what the HTTP library needs to what is looked at.
pub(super) fn head(text: &str) -> Result<usize, String> {
    bytes(text, 8 * 1024..=2 * HEAD_BYTES_MAX).ok_or_else(|| "it must be from 8KiB to 32KiB".to_owned())
}

/// Bytes of a client a second: none, or at least so many that the longest message fits into what may come at once.
pub(super) fn client_bytes(text: &str) -> Result<u32, String> {
    let least = CLIENT_MESSAGE_BYTES_MAX / ::gateway::CLIENT_BURST_SECS as usize;
    let fits = |size: &usize| *size == 0 || *size > least;
    let size = bytes(text, 0..=0x4000_0000).filter(fits).and_then(|size| u32::try_from(size).ok());
    size.ok_or_else(|| "it must be 0, or from 7KiB to 1GiB".to_owned())
}

/// A range of addresses.
pub(super) fn cidr(text: &str) -> Result<Cidr, String> {
    text.parse().map_err(|bad: common::edge::BadCidr| bad.to_string())
}

fn bytes(text: &str, range: RangeInclusive<usize>) -> Option<usize> {
    let size: bytesize::ByteSize = text.parse().ok()?;
    usize::try_from(size.as_u64()).ok().filter(|size| range.contains(size))
}

/// An address to listen on, `address:port`.
pub(super) fn listen(text: &str) -> Result<SocketAddr, String> {
    let text = text.strip_prefix("localhost:").map_or(text.to_owned(), |port| format!("127.0.0.1:{port}"));
    text.parse().map_err(|_| "it must be address:port, such as 0.0.0.0:7200 or [::]:7200".to_owned())
}

/// An address without a port, to listen on.
pub(super) fn host(text: &str) -> Result<IpAddr, String> {
    if text == "localhost" {
        return Ok(Ipv4Addr::LOCALHOST.into());
    }
    text.parse().map_err(|_| "it must be an IP address, such as 127.0.0.1 or 0.0.0.0".to_owned())
}

/// `host:port` of somebody else.
pub(super) fn host_port(text: &str) -> Result<String, String> {
    let expected = || "it must be host:port, such as 10.0.0.5:7201 or gateway-1:7201".to_owned();
    let (host, port) = text.rsplit_once(':').ok_or_else(expected)?;
    let authority: http::uri::Authority = text.parse().map_err(|_| expected())?;
    let is_port = port.parse::<u16>().is_ok_and(|port| port != 0);
    if host.is_empty() || !is_port || authority.as_str().contains('@') {
        Err(expected())
    } else {
        Ok(text.to_owned())
    }
}

/// The URL of a logic node: `http://host:port` or `https://host:port`.
pub(super) fn logic_url(text: &str) -> Result<String, String> {
    origin(text, &["http", "https"], "https://10.0.0.5:7100 or http://10.0.0.5:7100")
}

/// A name that a certificate may be for.
pub(super) fn server_name(text: &str) -> Result<String, String> {
    let is_one = text.parse::<IpAddr>().is_ok() || (!text.is_empty() && text.bytes().all(is_of_a_name));
    if is_one { Ok(text.to_owned()) } else { Err("it must be a name, such as gateway.internal".to_owned()) }
}

fn is_of_a_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_')
}

/// A URL where JSON Web Keys are: over TLS, or on this machine. Whoever can change what comes from there can sign any
/// token.
pub(super) fn keys_url(text: &str) -> Result<String, String> {
    let (_, origin) = Origin::parse(text, "http")?;
    if origin.is_tls || origin.is_loopback() {
        Ok(text.to_owned())
    } else {
        Err("keys come over https://, or from this machine".to_owned())
    }
}

/// How often something is fetched.
pub(super) fn every(text: &str) -> Result<Duration, String> {
    within(text, secs(1)..=secs(24 * 3600))
}

/// The URL under which clients reach a gateway: `ws://` or `wss://`.
pub(super) fn client_url(text: &str) -> Result<String, String> {
    origin(text, &["ws", "wss"], "wss://push.example.com")
}

fn origin(text: &str, schemes: &[&str], example: &str) -> Result<String, String> {
    let expected = || format!("it must be a URL without a path, such as {example}");
    let uri: http::Uri = text.parse().map_err(|_| expected())?;
    let is_origin = uri.scheme_str().is_some_and(|scheme| schemes.contains(&scheme))
        && uri.host().is_some_and(|host| !host.is_empty())
        && matches!(uri.path(), "" | "/")
        && uri.query().is_none();
    if is_origin { Ok(text.trim_end_matches('/').to_owned()) } else { Err(expected()) }
}

/// What a node, room, user, event or key may be called.
pub(super) fn name(text: &str) -> Result<String, String> {
    common::names::check(text).map(|()| text.to_owned()).map_err(|bad| format!("it {bad}"))
}

/// A pattern of names.
pub(super) fn pattern(text: &str) -> Result<Pattern, String> {
    Pattern::parse(text).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn possible_values_are_read() {
        assert_eq!(window("0"), Ok(Duration::ZERO));
        assert_eq!(window("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(drain("5m"), Ok(secs(300)));
        assert_eq!(size("64KiB"), Ok(65_536));
        assert_eq!((short("256B"), short("0"), short("1000")), (Ok(256), Ok(0), Ok(1000)));
        assert_eq!((client_bytes("0"), client_bytes("7KiB")), (Ok(0), Ok(7168)));
        assert_eq!((head("8KiB"), data("64KiB"), body("64MiB")), (Ok(8192), Ok(65_536), Ok(0x400_0000)));
        assert_eq!(cidr("10.0.0.0/8").map(|range| range.to_string()).as_deref(), Ok("10.0.0.0/8"));
        assert_eq!(listen("localhost:1"), Ok(SocketAddr::from(([127, 0, 0, 1], 1))));
        assert_eq!(client_url("wss://a.b/").as_deref(), Ok("wss://a.b"));
        assert_eq!(host_port("[::1]:7201").as_deref(), Ok("[::1]:7201"));
        assert!(logic_url("https://a:1").is_ok() && server_name("gw.internal").is_ok());
        assert!(keys_url("https://a/keys.json").is_ok() && keys_url("http://127.0.0.1:8/k").is_ok());
    }

    #[test]
    fn impossible_values_are_refused_with_a_reason() {
        let refused = [
            (window("61s").unwrap_err(), "to 1m"),
            (window("1").unwrap_err(), "250ms"),
            (window("-1s").unwrap_err(), "250ms"),
            (heartbeat("0").unwrap_err(), "from 100ms"),
            (size("0").unwrap_err(), "from 1KiB"),
            (size("many").unwrap_err(), "64KiB"),
            (short("2MiB").unwrap_err(), "to 1MiB"),
            (client_bytes("6KiB").unwrap_err(), "from 7KiB"),
            (head("64KiB").unwrap_err(), "to 32KiB"),
            (data("65KiB").unwrap_err(), "to 64KiB"),
            (body("1B").unwrap_err(), "from 1KiB"),
            (cidr("10.0.0.1/8").unwrap_err(), "10.0.0.0/8"),
            (listen("7200").unwrap_err(), "address:port"),
            (host("example.com").unwrap_err(), "IP address"),
            (host_port("gw").unwrap_err(), "host:port"),
            (host_port("gw:0").unwrap_err(), "host:port"),
            (logic_url("10.0.0.5:7100").unwrap_err(), "http://"),
            (logic_url("http://a:1/v1").unwrap_err(), "without a path"),
            (keys_url("http://a/keys.json").unwrap_err(), "https://"),
            (keys_url("ftp://a/keys.json").unwrap_err(), "must begin with"),
            (server_name("a b").unwrap_err(), "must be a name"),
            (client_url("http://a").unwrap_err(), "wss://"),
            (name("").unwrap_err(), "is empty"),
        ];
        for (said, reason) in refused {
            assert!(said.contains(reason), "{said}");
        }
    }
}
