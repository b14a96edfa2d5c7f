//! The hops of a request that proxies have written into its head: `X-Forwarded-For`, or `Forwarded` (RFC 7239).
//!
//! One of the two is read and never both: a proxy adds to the one that it knows and passes the other on as a
//! stranger wrote it.

use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use http::HeaderMap;

/// Which header the trusted proxies write.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Field {
    /// `X-Forwarded-For: client, proxy`, which nearly all proxies know.
    #[default]
    XForwardedFor,
    /// `Forwarded: for=client, for=proxy` (RFC 7239).
    Forwarded,
}

impl Field {
    /// The addresses of the hops, nearest first; `None` for one that cannot be read or does not say who it is.
    pub(super) fn hops(self, headers: &HeaderMap) -> impl Iterator<Item = Option<IpAddr>> {
        let name = match self {
            Self::XForwardedFor => "x-forwarded-for",
            Self::Forwarded => "forwarded",
        };
        // A second line continues the first (RFC 9110 §5.3).
        let lines: Vec<_> = headers.get_all(name).iter().collect();
        lines.into_iter().rev().flat_map(move |line| match line.to_str() {
            // Not text, so nobody knows where one hop ends and the next begins.
            Err(_) => vec![None],
            Ok(text) => {
                let mut hops: Vec<_> = match self {
                    Self::XForwardedFor => text.split(',').map(|hop| address(hop.trim())).collect(),
                    Self::Forwarded => split(text, ',').map(node).collect(),
                };
                hops.reverse();
                hops
            }
        })
    }
}

/// The address of one element of `Forwarded`.
fn node(element: &str) -> Option<IpAddr> {
    let value = split(element, ';').find_map(|pair| {
        let (name, value) = pair.split_once('=')?;
        name.trim().eq_ignore_ascii_case("for").then(|| value.trim())
    })?;
    match value.strip_prefix('"') {
        // Inside quotes a backslash says nothing that an address has; one that has it is none.
        Some(quoted) => address(quoted.strip_suffix('"')?),
        None => address(value),
    }
}

/// An address, with or without a port: `192.0.2.1`, `192.0.2.1:80`, `2001:db8::1`, `[2001:db8::1]`, `[2001:db8::1]:80`.
fn address(text: &str) -> Option<IpAddr> {
    let bare = || IpAddr::from_str(text).ok();
    let with_port = || SocketAddr::from_str(text).ok().map(|address| address.ip());
    let in_brackets = || text.strip_prefix('[')?.strip_suffix(']')?.parse().ok().map(IpAddr::V6);
    bare().or_else(with_port).or_else(in_brackets)
}

/// Splits at a separator that does not stand in quotes. A quote that does not end reaches to the end.
fn split(text: &str, separator: char) -> impl Iterator<Item = &str> {
    let mut is_quoted = false;
    let mut is_escaped = false;
    text.split(move |c: char| {
        match c {
            _ if is_escaped => is_escaped = false,
            '\\' => is_escaped = is_quoted,
            '"' => is_quoted = !is_quoted,
            _ => return c == separator && !is_quoted,
        }
        false
    })
    .map(str::trim)
}
