//! Tables of PROXY headers and of hops, good and bad, byte by byte.

use std::net::Ipv4Addr;

use http::HeaderValue;
use tokio::io::AsyncWriteExt;

use super::*;

const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
const PROXY: [u8; 4] = [10, 0, 0, 9];

fn edge() -> Edge {
    let trusted = vec!["10.0.0.0/8".parse().unwrap(), "fd00::/8".parse().unwrap()];
    Edge { trusted, proxy_protocol: true, field: Field::default() }
}

fn peer(ip: impl Into<IpAddr>) -> SocketAddr {
    SocketAddr::new(ip.into(), 4711)
}

/// A header of version 2.
fn v2(command: u8, family: u8, body: &[u8]) -> Vec<u8> {
    let length = (body.len() as u16).to_be_bytes();
    [SIGNATURE, &[command, family], &length, body].concat()
}

fn v4_addresses() -> Vec<u8> {
    [&[203, 0, 113, 7][..], &PROXY, &50_000_u16.to_be_bytes(), &443_u16.to_be_bytes()].concat()
}

fn v6_addresses() -> Vec<u8> {
    let ip = "2001:db8::7".parse::<std::net::Ipv6Addr>().unwrap().octets();
    [&ip[..], &ip, &50_000_u16.to_be_bytes(), &443_u16.to_be_bytes()].concat()
}

fn tlv(kind: u8, length: usize) -> Vec<u8> {
    [&[kind][..], &(length as u16).to_be_bytes(), &vec![0xab; length]].concat()
}

/// Who connected, if these bytes come from that peer and the connection then ends, and what is left to read.
async fn said(bytes: &[u8], from: SocketAddr) -> (Result<SocketAddr, BadHeader>, Vec<u8>) {
    let (mut near, mut far) = tokio::io::duplex(bytes.len().max(1));
    near.write_all(bytes).await.unwrap();
    drop(near);
    let origin = edge().origin(&mut far, from, Duration::from_secs(5)).await;
    let mut rest = Vec::new();
    far.read_to_end(&mut rest).await.unwrap();
    (origin, rest)
}

#[tokio::test]
async fn good_headers_name_who_connected_and_nothing_behind_them_is_read() {
    let proxy = peer(PROXY);
    let (v4, v6) = ("203.0.113.7:50000".parse().unwrap(), "[2001:db8::7]:50000".parse().unwrap());
    let mapped = {
        let ip = Ipv4Addr::new(203, 0, 113, 7).to_ipv6_mapped().octets();
        [&ip[..], &ip, &50_000_u16.to_be_bytes(), &443_u16.to_be_bytes()].concat()
    };
    let largest = HEADER_BYTES_MAX - 16 - 12 - 3;
    for (name, header, origin) in [
        ("v2 over IPv4", v2(0x21, 0x11, &v4_addresses()), v4),
        ("v2 over IPv6", v2(0x21, 0x21, &v6_addresses()), v6),
        ("v2, mapped", v2(0x21, 0x21, &mapped), v4),
        ("v2, tags", v2(0x21, 0x11, &[v4_addresses(), tlv(1, 5), tlv(4, 0), tlv(0xea, 300)].concat()), v4),
        ("v2, as long as may be", v2(0x21, 0x11, &[v4_addresses(), tlv(0xe0, largest)].concat()), v4),
        ("v2, LOCAL", v2(0x20, 0x00, &[]), proxy),
        ("v2, LOCAL with addresses", v2(0x20, 0x11, &v4_addresses()), proxy),
        ("v2, LOCAL with rubbish", v2(0x20, 0x7f, b"anything"), proxy),
        ("v2, unspecified", v2(0x21, 0x00, b"anything"), proxy),
        ("v2, a Unix socket", v2(0x21, 0x31, &[0; 216]), proxy),
        ("v1 over IPv4", b"PROXY TCP4 203.0.113.7 10.0.0.9 50000 443\r\n".to_vec(), v4),
        ("v1 over IPv6", b"PROXY TCP6 2001:db8::7 fd00::9 50000 443\r\n".to_vec(), v6),
        ("v1, unknown", b"PROXY UNKNOWN\r\n".to_vec(), proxy),
        ("v1, unknown with words", b"PROXY UNKNOWN ffff::1 ffff::2 65535 65535\r\n".to_vec(), proxy),
    ] {
        let (found, rest) = said(&[&header[..], b"GET / HTTP/1.1\r\n"].concat(), proxy).await;
        assert_eq!(found, Ok(origin), "{name}");
        assert_eq!(rest, b"GET / HTTP/1.1\r\n", "{name}");
    }
}

#[tokio::test]
async fn bad_headers_of_a_trusted_proxy_are_refused() {
    use BadHeader::{BrokenOff, Malformed, Missing, TooLong};
    let good = v2(0x21, 0x11, &v4_addresses());
    let claims = |length: u16| [SIGNATURE, &[0x21, 0x11], &length.to_be_bytes()].concat();
    let long_line = format!("PROXY UNKNOWN {}\r\n", "x".repeat(92));
    for (name, header, bad) in [
        ("plain HTTP", b"GET / HTTP/1.1\r\nHost: x\r\n\r\n".to_vec(), Missing),
        ("TLS", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\0\0\0\0".to_vec(), Missing),
        ("nothing", Vec::new(), BrokenOff),
        ("half a signature", good[..7].to_vec(), BrokenOff),
        ("no length", good[..14].to_vec(), BrokenOff),
        ("no addresses", good[..16].to_vec(), BrokenOff),
        ("half of the addresses", good[..27].to_vec(), BrokenOff),
        ("a tag that does not come", [claims(12 + 100), v4_addresses()].concat(), BrokenOff),
        ("tags of 64 KiB", [claims(u16::MAX), vec![0; 65_535]].concat(), TooLong),
        ("one byte too long", claims((HEADER_BYTES_MAX - 15) as u16), TooLong),
        ("version 1 in a header of 2", v2(0x11, 0x11, &v4_addresses()), Malformed("")),
        ("a command that there is not", v2(0x22, 0x11, &v4_addresses()), Malformed("")),
        ("UDP", v2(0x21, 0x12, &v4_addresses()), Malformed("")),
        ("a family that there is not", v2(0x21, 0x41, &v4_addresses()), Malformed("")),
        ("IPv4 too short", v2(0x21, 0x11, &v4_addresses()[..11]), Malformed("")),
        ("IPv6 too short", v2(0x21, 0x21, &v4_addresses()), Malformed("")),
        ("Unix too short", v2(0x21, 0x31, &[0; 215]), Malformed("")),
        ("a tag past the end", v2(0x21, 0x11, &[v4_addresses(), vec![1, 0, 9, 0]].concat()), Malformed("")),
        ("half a tag", v2(0x21, 0x11, &[v4_addresses(), vec![1, 0]].concat()), Malformed("")),
        ("v1, no line end", b"PROXY TCP4 203.0.113.7 10".to_vec(), BrokenOff),
        ("v1, LF alone", b"PROXY TCP4 1.2.3.4 1.2.3.5 1 2\nGET /".to_vec(), Malformed("")),
        ("v1, too long", long_line.into_bytes(), Malformed("")),
        ("v1, words", b"PROXY TCP4 one two three four\r\n".to_vec(), Malformed("")),
        ("v1, mixed families", b"PROXY TCP4 2001:db8::7 10.0.0.9 1 2\r\n".to_vec(), Malformed("")),
        ("v1, a port too high", b"PROXY TCP4 1.2.3.4 1.2.3.5 65536 2\r\n".to_vec(), Malformed("")),
        ("v1, a port with a sign", b"PROXY TCP4 1.2.3.4 1.2.3.5 +1 2\r\n".to_vec(), Malformed("")),
        ("v1, two spaces", b"PROXY TCP4  1.2.3.4 1.2.3.5 1 2\r\n".to_vec(), Malformed("")),
        ("v1, UDP", b"PROXY UDP4 1.2.3.4 1.2.3.5 1 2\r\n".to_vec(), Malformed("")),
    ] {
        let found = said(&header, peer(PROXY)).await.0.unwrap_err();
        let same = std::mem::discriminant(&found) == std::mem::discriminant(&bad);
        assert!(same, "{name}: {found:?}, not {bad:?}");
    }
}

#[tokio::test]
async fn from_a_stranger_no_header_is_read_and_none_that_comes_counts() {
    let stranger = peer([203, 0, 113, 66]);
    let header = v2(0x21, 0x11, &v4_addresses());
    assert_eq!(said(&header, stranger).await, (Ok(stranger), header), "its bytes are what they are");
    let edge = Edge { proxy_protocol: false, ..edge() };
    let origin = edge.origin(&mut tokio::io::empty(), peer(PROXY), Duration::ZERO).await;
    assert_eq!(origin, Ok(peer(PROXY)), "nobody was told to send one");
}

#[tokio::test(start_paused = true)]
async fn a_header_that_never_comes_or_never_ends_is_waited_for_only_so_long() {
    let header = v2(0x21, 0x11, &v4_addresses());
    for part in [0, 5, 14, 16, 20] {
        let (mut near, mut far) = tokio::io::duplex(64);
        near.write_all(&header[..part]).await.unwrap();
        let began = tokio::time::Instant::now();
        let origin = edge().origin(&mut far, peer(PROXY), Duration::from_secs(5)).await;
        assert_eq!((origin, began.elapsed()), (Err(BadHeader::Late), Duration::from_secs(5)), "{part}");
    }
}

#[tokio::test]
async fn a_header_may_come_byte_by_byte() {
    let header = v2(0x21, 0x21, &[v6_addresses(), tlv(1, 3)].concat());
    let (mut near, mut far) = tokio::io::duplex(1);
    let sends = async { near.write_all(&header).await.unwrap() };
    let edge = edge();
    let ((), origin) = tokio::join!(sends, edge.origin(&mut far, peer(PROXY), Duration::from_secs(5)));
    assert_eq!(origin, Ok("[2001:db8::7]:50000".parse().unwrap()));
}

proptest::proptest! {
    #[test]
    fn no_bytes_make_it_panic_or_ask_for_more_than_a_header_has(
        bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..200),
        begin in 0..3_usize,
    ) {
        let begins: [&[u8]; 3] = [b"", SIGNATURE, b"PROXY TCP4 "];
        let bytes = [begins[begin], &bytes].concat();
        if let Ok(Parsed::Needs(more)) = parse(&bytes) {
            assert!(more > 0 && bytes.len() + more <= HEADER_BYTES_MAX + 16);
        }
    }
}

#[test]
fn the_nearest_address_that_is_not_trusted_is_the_clients() {
    let client: IpAddr = "203.0.113.7".parse().unwrap();
    let v6: IpAddr = "2001:db8::7".parse().unwrap();
    let proxy: IpAddr = PROXY.into();
    let other: IpAddr = "10.0.0.1".parse().unwrap();
    let stranger: IpAddr = "198.51.100.1".parse().unwrap();
    for (field, from, lines, found) in [
        ("x-forwarded-for", proxy, &["203.0.113.7"][..], client),
        ("x-forwarded-for", proxy, &["1.1.1.1, 203.0.113.7"], client),
        ("x-forwarded-for", proxy, &["1.1.1.1,203.0.113.7 , 10.0.0.1"], client),
        ("x-forwarded-for", proxy, &["1.1.1.1, 203.0.113.7", "10.0.0.1"], client),
        ("x-forwarded-for", proxy, &["203.0.113.7:50000"], client),
        ("x-forwarded-for", proxy, &["2001:db8::7"], v6),
        ("x-forwarded-for", proxy, &["[2001:db8::7]"], v6),
        ("x-forwarded-for", proxy, &["[2001:db8::7]:50000"], v6),
        ("x-forwarded-for", proxy, &["::ffff:203.0.113.7"], client),
        ("x-forwarded-for", proxy, &[], proxy),
        ("x-forwarded-for", proxy, &[""], proxy),
        ("x-forwarded-for", proxy, &["unknown"], proxy),
        ("x-forwarded-for", proxy, &["203.0.113.7, unknown"], proxy),
        ("x-forwarded-for", proxy, &["203.0.113.7, \"x, 10.0.0.1"], other),
        ("x-forwarded-for", proxy, &["10.0.0.1"], other),
        ("x-forwarded-for", stranger, &["203.0.113.7"], stranger),
        ("x-forwarded-for", stranger, &["10.0.0.1"], stranger),
        ("forwarded", proxy, &["for=203.0.113.7"], client),
        ("forwarded", proxy, &["proto=https;For=\"203.0.113.7:50000\";by=10.0.0.9"], client),
        ("forwarded", proxy, &["for=1.1.1.1, for=203.0.113.7, FOR=10.0.0.1"], client),
        ("forwarded", proxy, &["for=\"[2001:db8::7]:50000\""], v6),
        ("forwarded", proxy, &["for=\"[2001:db8::7]\""], v6),
        ("forwarded", proxy, &["for=203.0.113.7;host=\"a,b;for=1.1.1.1\""], client),
        ("forwarded", proxy, &["for=203.0.113.7, for=_hidden"], proxy),
        ("forwarded", proxy, &["for=203.0.113.7, proto=https"], proxy),
        ("forwarded", proxy, &["for=203.0.113.7, for=\"1.1.1.1"], proxy),
        // A stranger left a quote open, and the proxy wrote behind it.
        ("forwarded", proxy, &["for=1.1.1.1;x=\", for=203.0.113.7"], proxy),
        ("forwarded", proxy, &["for=1.1.1.1;x=\", for=\"[2001:db8::7]\""], proxy),
        ("forwarded", proxy, &["for=1.1.1.1;x=\"", "for=203.0.113.7"], client),
        // The other header is a stranger's, whatever it says.
        ("x-real-ip", proxy, &["203.0.113.7"], proxy),
    ] {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(field, HeaderValue::from_str(line).unwrap());
        }
        let read = if field == "forwarded" { Field::Forwarded } else { Field::XForwardedFor };
        assert_eq!(Edge { field: read, ..edge() }.client(from, &headers), found, "{field} {from} {lines:?}");
        let unread = if field == "forwarded" { Field::XForwardedFor } else { Field::Forwarded };
        let passed_over = Edge { field: unread, ..edge() }.client(from, &headers);
        assert_eq!(passed_over, from, "the header that is not read: {field} {lines:?}");
    }
    let mut headers = HeaderMap::new();
    headers.append("x-forwarded-for", HeaderValue::from_bytes(b"203.0.113.7, \xff").unwrap());
    assert_eq!(edge().client(proxy, &headers), proxy, "bytes that are no text");
}
