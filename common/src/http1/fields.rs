//! Values of fields that a request is refused for: `Host` and `Transfer-Encoding`. Pure.

use http::header::HeaderValue;
use http::{HeaderMap, header};

/// What the codings of a body come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Coding {
    /// Chunked, once.
    Chunked,
    /// Chunked more than once, or nothing at all.
    Faulty,
    /// One that is not known here.
    Unknown,
}

/// What `Transfer-Encoding` says, in all its lines (RFC 9112 §6.1 and §7).
pub(super) fn transfer_coding(headers: &HeaderMap) -> Coding {
    let mut chunked = 0;
    for value in headers.get_all(header::TRANSFER_ENCODING) {
        let Ok(list) = value.to_str() else { return Coding::Unknown };
        // A list may have empty elements (RFC 9110 §5.6.1).
        for coding in list.split(',').map(str::trim).filter(|coding| !coding.is_empty()) {
            if !coding.eq_ignore_ascii_case("chunked") {
                return Coding::Unknown;
            }
            chunked += 1;
        }
    }
    if chunked == 1 { Coding::Chunked } else { Coding::Faulty }
}

/// Whether a `Host` is a host and perhaps a port (RFC 9110 §7.2, RFC 3986 §3.2.2): no user, no path, no list. An empty
/// one says that there is no authority, which `http` and `https` always have.
pub(super) fn is_host(value: &HeaderValue) -> bool {
    let value = value.as_bytes();
    let is_port = |rest: &[u8]| match rest {
        [] => true,
        [b':', port @ ..] => port.iter().all(u8::is_ascii_digit),
        _ => false,
    };
    if let Some(literal) = value.strip_prefix(b"[") {
        let Some(end) = literal.iter().position(|byte| *byte == b']') else { return false };
        let (address, port) = (&literal[..end], &literal[end + 1..]);
        let address = std::str::from_utf8(address).ok();
        return address.is_some_and(|text| text.parse::<std::net::Ipv6Addr>().is_ok()) && is_port(port);
    }
    let end = value.iter().position(|byte| *byte == b':').unwrap_or(value.len());
    let (name, port) = value.split_at(end);
    !name.is_empty() && is_registered_name(name) && is_port(port)
}

fn is_registered_name(mut name: &[u8]) -> bool {
    while let [first, rest @ ..] = name {
        name = match (first, rest) {
            (b'%', [high, low, rest @ ..]) if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => rest,
            (byte, rest) if byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=".contains(byte) => rest,
            _ => return false,
        };
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_a_host_and_perhaps_a_port() {
        for good in [
            "a",
            "a.example",
            "a:80",
            "a:",
            "127.0.0.1:7100",
            "[::1]",
            "[::1]:80",
            "a_b",
            "x%2f",
            "xn--a",
            "a,b",
        ] {
            assert!(is_host(&HeaderValue::from_static(good)), "{good}");
        }
        for bad in [
            "",
            ":80",
            "a:b",
            "a:80:80",
            "u@a",
            "u:p@a",
            "a/b",
            "a?b",
            "a#b",
            "http://a",
            "a, b",
            "a b",
            "[::1",
            "[::1]a",
            "[x]",
            "[127.0.0.1]",
            "::1",
            "a%2",
            "a\\b",
            "<a>",
            "a\"",
        ] {
            assert!(!is_host(&HeaderValue::from_static(bad)), "{bad}");
        }
        assert!(!is_host(&HeaderValue::from_bytes("ä".as_bytes()).unwrap()));
    }

    #[test]
    fn chunked_once_is_what_is_taken() {
        let coding = |lines: &[&'static str]| {
            let mut headers = HeaderMap::new();
            for line in lines {
                headers.append(header::TRANSFER_ENCODING, HeaderValue::from_static(line));
            }
            transfer_coding(&headers)
        };
        for good in [&["chunked"][..], &["Chunked"], &[", chunked,"], &["", "chunked"]] {
            assert_eq!(coding(good), Coding::Chunked, "{good:?}");
        }
        for faulty in [&[""][..], &[","], &["chunked, chunked"], &["chunked", "chunked"]] {
            assert_eq!(coding(faulty), Coding::Faulty, "{faulty:?}");
        }
        for unknown in [
            &["gzip, chunked"][..],
            &["identity", "chunked"],
            &["xchunked"],
            &["chunked;a=b"],
            &["chunked, gzip"],
        ] {
            assert_eq!(coding(unknown), Coding::Unknown, "{unknown:?}");
        }
    }
}
