//! Any bytes as what stands in front of a request where proxies are trusted: a PROXY header, and the hops in a head.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::LazyLock;
use std::time::Duration;

use common::edge::{Edge, Field, HEADER_BYTES_MAX, Parsed, parse};
use http::{HeaderMap, HeaderValue};
use tokio::runtime::{Builder, Runtime};

/// The trusted proxy that speaks here; whoever is not in 10.0.0.0/8 or fd00::/8 is a stranger.
const PROXY: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 9));

/// For the deadline of a read; nothing here ever waits.
static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| {
    Builder::new_current_thread().enable_time().build().expect("a runtime of one thread can be had")
});

/// Any bytes from a proxy. The first one says what of it is any bytes.
///
/// # Panics
/// If a PROXY header is read otherwise than it is written, one byte too far or otherwise in pieces, or if a stranger
/// can say whose request it is.
pub fn edge(data: &[u8]) {
    let Some((kind, rest)) = data.split_first() else { return };
    match kind % 4 {
        0 => header(rest),
        1 => written(rest),
        2 => hops(Field::XForwardedFor, "x-forwarded-for", rest),
        _ => hops(Field::Forwarded, "forwarded", rest),
    }
}

fn edge_of(field: Field) -> Edge {
    let trusted = ["10.0.0.0/8", "fd00::/8"].map(|range| range.parse().expect("a range"));
    Edge { trusted: trusted.into(), proxy_protocol: true, field }
}

/// Any bytes as a header, and what follows it.
fn header(bytes: &[u8]) {
    let mut unread = bytes;
    let peer = SocketAddr::new(PROXY, 4711);
    let edge = edge_of(Field::default());
    let origin = RUNTIME.block_on(edge.origin(&mut unread, peer, Duration::from_secs(5)));
    let used = &bytes[..bytes.len() - unread.len()];
    let Ok(origin) = origin else { return };
    assert!(used.len() <= HEADER_BYTES_MAX);
    let Ok(Parsed::Whole(named)) = parse(used) else { panic!("it was whole: {used:?}") };
    let canonical = |named: SocketAddr| SocketAddr::new(named.ip().to_canonical(), named.port());
    assert_eq!(origin, named.map_or(peer, canonical));
    match (used.strip_prefix(b"PROXY "), named) {
        (Some(line), named) => assert_line(line, named),
        (None, Some(named)) => assert_binary(used, named),
        (None, None) => assert!(matches!(used[12..14], [0x20, _] | [0x21, 0x00 | 0x31]), "nobody: {used:?}"),
    }
    // However it is cut, it says that more is to come, and never more than there is.
    for known in 0..used.len() {
        match parse(&used[..known]) {
            Ok(Parsed::Needs(more)) => assert!((1..=used.len() - known).contains(&more), "{more} at {known}"),
            other => panic!("{other:?} at {known} of {used:?}"),
        }
    }
}

/// What a line of version 1 says, word by word.
fn assert_line(line: &[u8], named: Option<SocketAddr>) {
    let text = std::str::from_utf8(line).expect("it was read as text");
    let words: Vec<_> = text.strip_suffix("\r\n").expect("it has an end").split(' ').collect();
    let Some(named) = named else { return assert_eq!(words[0], "UNKNOWN") };
    assert_eq!(words[0], if named.is_ipv4() { "TCP4" } else { "TCP6" });
    assert_eq!((words.len(), words[1].parse()), (5, Ok(named.ip())));
    assert_eq!(words[3].trim_start_matches('0'), named.port().to_string().trim_start_matches('0'));
}

/// What a header of version 2 says, byte by byte (§2.2).
fn assert_binary(used: &[u8], named: SocketAddr) {
    let (family, length, port) = match named.ip() {
        IpAddr::V4(ip) => (0x11, assert_address(used, &ip.octets()), 24),
        IpAddr::V6(ip) => (0x21, assert_address(used, &ip.octets()), 48),
    };
    assert_eq!(used[12..14], [0x21, family]);
    assert!(used.len() >= 16 + 2 * length + 4);
    assert_eq!(used[port..port + 2], named.port().to_be_bytes());
}

fn assert_address(used: &[u8], octets: &[u8]) -> usize {
    assert_eq!(used[16..16 + octets.len()], *octets);
    octets.len()
}

/// Any address in a header of ours, with any bytes behind it.
fn written(bytes: &[u8]) {
    let Some((fixed, behind)) = bytes.split_first_chunk::<20>() else { return };
    let (&octets, [high, low, tag, version]) = fixed.split_first_chunk::<16>().expect("it has 20") else {
        return;
    };
    let port = u16::from_be_bytes([*high, *low]);
    let ip = match version & 1 {
        0 => IpAddr::from(octets),
        _ => IpAddr::from([octets[0], octets[1], octets[2], octets[3]]),
    };
    let header = if version & 2 == 0 { line(ip, port) } else { binary(ip, port, usize::from(*tag)) };
    assert_eq!(parse(&header), Ok(Parsed::Whole(Some(SocketAddr::new(ip, port)))), "{header:?}");
    let all = [&header[..], behind].concat();
    let mut unread = &all[..];
    let edge = edge_of(Field::default());
    let origin = edge.origin(&mut unread, SocketAddr::new(PROXY, 4711), Duration::from_secs(5));
    assert_eq!(RUNTIME.block_on(origin), Ok(SocketAddr::new(ip.to_canonical(), port)));
    assert_eq!(unread, behind);
}

fn line(ip: IpAddr, port: u16) -> Vec<u8> {
    let family = if ip.is_ipv4() { "TCP4" } else { "TCP6" };
    format!("PROXY {family} {ip} {ip} {port} 443\r\n").into_bytes()
}

fn binary(ip: IpAddr, port: u16, tag: usize) -> Vec<u8> {
    let (family, octets) = match ip {
        IpAddr::V4(ip) => (0x11, ip.octets().to_vec()),
        IpAddr::V6(ip) => (0x21, ip.octets().to_vec()),
    };
    let ports = [port.to_be_bytes(), 443_u16.to_be_bytes()].concat();
    let tag = [&[0xe0, 0, tag as u8][..], &vec![7; tag]].concat();
    let body = [&octets[..], &octets, &ports, &tag].concat();
    let length = (body.len() as u16).to_be_bytes();
    [b"\r\n\r\n\0\r\nQUIT\n\x21", &[family][..], &length, &body].concat()
}

/// Any bytes as what a stranger wrote into a head before the trusted proxy wrote into it who the stranger is. Lines
/// are header lines.
fn hops(field: Field, name: &'static str, bytes: &[u8]) {
    let Some((kind, text)) = bytes.split_first() else { return };
    let mut lines: Vec<_> = text.split(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect();
    if lines.iter().any(|line| HeaderValue::from_bytes(line).is_err()) {
        return;
    }
    let edge = edge_of(field);
    let client = |from, lines: &[Vec<u8>]| {
        let values = lines.iter().map(|line| HeaderValue::from_bytes(line).expect("it was looked at"));
        let mut headers = HeaderMap::new();
        values.for_each(|value| _ = headers.append(name, value));
        edge.client(from, &headers)
    };
    let stranger: IpAddr = if kind & 1 == 0 { "203.0.113.7" } else { "2001:db8::7" }.parse().expect("one");
    assert_eq!(client(stranger, &lines), stranger, "who is not trusted is not asked");
    let named = lines.concat();
    let hop = match (field, stranger) {
        (Field::XForwardedFor, ip) => ip.to_string(),
        (Field::Forwarded, IpAddr::V4(ip)) => format!("for={ip}"),
        (Field::Forwarded, IpAddr::V6(ip)) => format!("for=\"[{ip}]\""),
    };
    // In a line of its own, or behind what the stranger wrote. There it may have left a quote open: then nobody knows
    // who it is, and it is the proxy's.
    let is_apart = kind & 2 == 0;
    match lines.last_mut() {
        Some(last) if !is_apart => last.extend_from_slice(format!(", {hop}").as_bytes()),
        _ => lines.push(hop.into_bytes()),
    }
    let found = client(PROXY, &lines);
    let may_be_unknown = !is_apart && !named.is_ascii() || field == Field::Forwarded && named.contains(&b'"');
    assert!(found == stranger || may_be_unknown && found == PROXY, "{found} said so: {lines:?}");
    // A second proxy of ours says of the first who it is.
    lines.push(if field == Field::Forwarded { "for=10.0.0.1".into() } else { "10.0.0.1".into() });
    let behind_two = client(PROXY, &lines);
    assert!(
        behind_two == stranger || may_be_unknown && behind_two == IpAddr::from([10, 0, 0, 1]),
        "{behind_two}"
    );
}
