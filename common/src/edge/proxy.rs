//! The PROXY protocol, versions 1 and 2, as HAProxy describes it (proxy-protocol.txt). Pure: bytes in, an address out.

use std::fmt;
use std::net::{IpAddr, SocketAddr, SocketAddrV4, SocketAddrV6};

/// What a header of version 2 begins with (§2.2).
const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";

/// What a header of version 1 begins with (§2.1).
const V1: &[u8] = b"PROXY ";

/// Longest header of version 1, line end included (§2.1).
const V1_BYTES_MAX: usize = 107;

/// No header is shorter: `PROXY UNKNOWN` and a line end, of which the last byte may still come.
pub(super) const PREFIX_BYTES: usize = 14;

/// Signature, command, family and length of version 2.
const V2_BYTES: usize = 16;

/// Longest header that is read. Addresses take 216 B at the most; what follows is for certificates and tags, of which
/// nothing is used here. The protocol allows 64 KiB, which nobody needs and a stranger behind a proxy might fill.
pub const HEADER_BYTES_MAX: usize = 4 * 1024;

/// Why a connection of a trusted proxy is of no use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BadHeader {
    /// It begins with something else.
    Missing,
    /// It is one, and wrong in this way.
    Malformed(&'static str),
    /// It is longer than [`HEADER_BYTES_MAX`].
    TooLong,
    /// The connection ended in the middle of it.
    BrokenOff,
    /// It did not come in time.
    Late,
}

impl fmt::Display for BadHeader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => f.write_str("the connection does not begin with a PROXY header"),
            Self::Malformed(what) => write!(f, "the PROXY header is wrong: {what}"),
            Self::TooLong => write!(f, "the PROXY header is longer than {HEADER_BYTES_MAX} bytes"),
            Self::BrokenOff => f.write_str("the connection ended inside its PROXY header"),
            Self::Late => f.write_str("no PROXY header came in time"),
        }
    }
}

impl std::error::Error for BadHeader {}

/// What the first bytes of a connection are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Parsed {
    /// A header; it names who connected, or nobody.
    Whole(Option<SocketAddr>),
    /// The beginning of one, which has at least so many more bytes.
    Needs(usize),
}

/// Looks at the first bytes of a connection, all of which must belong to the header.
///
/// # Errors
/// [`BadHeader`], when no further bytes make it a header.
pub fn parse(bytes: &[u8]) -> Result<Parsed, BadHeader> {
    if let Some(line) = bytes.strip_prefix(V1) {
        return v1(line);
    }
    if V1.starts_with(bytes) {
        return Ok(Parsed::Needs(PREFIX_BYTES - bytes.len()));
    }
    let known = bytes.len().min(SIGNATURE.len());
    if bytes[..known] != SIGNATURE[..known] {
        return Err(BadHeader::Missing);
    }
    let Some((head, body)) = bytes.split_at_checked(V2_BYTES) else {
        return Ok(Parsed::Needs(V2_BYTES - bytes.len()));
    };
    let length = usize::from(u16::from_be_bytes([head[14], head[15]]));
    if V2_BYTES + length > HEADER_BYTES_MAX {
        return Err(BadHeader::TooLong);
    }
    if body.len() < length {
        return Ok(Parsed::Needs(length - body.len()));
    }
    v2(head[12], head[13], body).map(Parsed::Whole)
}

/// The rest of a line of version 1. It may be any length, so it is asked for byte by byte: who speaks version 1 is
/// rare and sends fifty of them.
fn v1(line: &[u8]) -> Result<Parsed, BadHeader> {
    let Some(text) = line.strip_suffix(b"\r\n") else {
        let is_too_long = V1.len() + line.len() >= V1_BYTES_MAX;
        let is_broken = line.contains(&b'\n');
        return match (is_too_long, is_broken) {
            (false, false) => Ok(Parsed::Needs(1)),
            _ => Err(BadHeader::Malformed("a line of version 1 has at most 107 bytes and ends in CR LF")),
        };
    };
    let text = std::str::from_utf8(text).map_err(|_| BadHeader::Malformed("it is not text"))?;
    let words: Vec<&str> = text.split(' ').collect();
    match words[..] {
        // The rest of the line is not looked at (§2.1).
        ["UNKNOWN", ..] => Ok(Parsed::Whole(None)),
        [family @ ("TCP4" | "TCP6"), source, target, source_port, target_port] => {
            let address =
                |text: &str| text.parse().ok().filter(|ip: &IpAddr| ip.is_ipv4() == (family == "TCP4"));
            let port = |digits: &str| {
                let is_number = digits.bytes().all(|byte| byte.is_ascii_digit());
                digits.parse::<u16>().ok().filter(|_| is_number)
            };
            match (address(source), address(target), port(source_port), port(target_port)) {
                (Some(ip), Some(_), Some(port), Some(_)) => {
                    Ok(Parsed::Whole(Some(SocketAddr::new(ip, port))))
                }
                _ => Err(BadHeader::Malformed("an address or a port of its line is none")),
            }
        }
        _ => Err(BadHeader::Malformed("its line is not TCP4, TCP6 or UNKNOWN with two addresses and ports")),
    }
}

/// The addresses of version 2 and what follows them.
fn v2(version_command: u8, family: u8, body: &[u8]) -> Result<Option<SocketAddr>, BadHeader> {
    let is_local = match version_command {
        // A check of the proxy's own (§2.2): it speaks for itself.
        0x20 => true,
        0x21 => false,
        _ => return Err(BadHeader::Malformed("neither LOCAL nor PROXY of version 2")),
    };
    let malformed = || BadHeader::Malformed("shorter than the addresses of its family");
    let (source, rest) = match family {
        0x00 => (None, &[][..]),
        0x11 => {
            let (addresses, rest) = body.split_first_chunk::<12>().ok_or_else(malformed)?;
            let [a, b, c, d, .., high, low, _, _] = *addresses;
            let source = SocketAddrV4::new([a, b, c, d].into(), u16::from_be_bytes([high, low]));
            (Some(SocketAddr::V4(source)), rest)
        }
        0x21 => {
            let (addresses, rest) = body.split_first_chunk::<36>().ok_or_else(malformed)?;
            let (source, _) = addresses.split_first_chunk::<16>().ok_or_else(malformed)?;
            let port = u16::from_be_bytes([addresses[32], addresses[33]]);
            (Some(SocketAddr::V6(SocketAddrV6::new((*source).into(), port, 0, 0))), rest)
        }
        // A client of the proxy's own machine has no address.
        0x31 => (None, body.split_at_checked(216).ok_or_else(malformed)?.1),
        // A check may leave what it likes there (§2.2).
        _ if is_local => (None, &[][..]),
        _ => return Err(BadHeader::Malformed("a family that is not TCP")),
    };
    if is_local {
        return Ok(None);
    }
    check_tlvs(rest)?;
    Ok(source)
}

/// Whether what follows the addresses is a row of types, lengths and values (§2.2). None of them is used.
fn check_tlvs(mut rest: &[u8]) -> Result<(), BadHeader> {
    while let [_, high, low, values @ ..] = rest {
        let length = usize::from(u16::from_be_bytes([*high, *low]));
        rest = values.get(length..).ok_or(BadHeader::Malformed("a value that reaches behind its end"))?;
    }
    if rest.is_empty() { Ok(()) } else { Err(BadHeader::Malformed("a value that is cut off")) }
}
