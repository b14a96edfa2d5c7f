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
                    // What a stranger has left open would swallow what the proxy adds to its line.
                    Self::Forwarded if !ends_outside_quotes(text) => vec![None],
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

/// Splits at a separator that does not stand in quotes.
fn split(text: &str, separator: char) -> impl Iterator<Item = &str> {
    let mut quotes = Quotes::default();
    text.split(move |c: char| quotes.is_outside(c) && c == separator).map(str::trim)
}

fn ends_outside_quotes(text: &str) -> bool {
    let mut quotes = Quotes::default();
    text.chars().for_each(|c| _ = quotes.is_outside(c));
    !quotes.is_quoted
}

/// Where in quoted strings a text has got to (RFC 9110 §5.6.4).
#[derive(Default)]
struct Quotes {
    is_quoted: bool,
    is_escaped: bool,
}

impl Quotes {
    /// Goes on by a character; whether it stands outside quotes, and is none itself.
    fn is_outside(&mut self, c: char) -> bool {
        match c {
            _ if self.is_escaped => self.is_escaped = false,
            '\\' => self.is_escaped = self.is_quoted,
            '"' => self.is_quoted = !self.is_quoted,
            _ => return !self.is_quoted,
        }
        false
    }
}
