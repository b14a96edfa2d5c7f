//! What a client offers in `Sec-WebSocket-Extensions`, and what is answered (RFC 6455 §9.1, RFC 7692 §5.1 and §7.1).
//!
//! Nothing here fails a handshake: who offers nothing that can be done, or nonsense, is sent plain frames.

use http::HeaderValue;

use super::Window;

/// The one extension that is known.
const EXTENSION: &str = "permessage-deflate";

/// An offer that was accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Agreed {
    /// With what the client's frames are compressed.
    pub(crate) window: Window,
    /// The bound that the client asked for, which the answer repeats: some clients take no other.
    server_max_window_bits: Option<u8>,
}

impl Agreed {
    /// The value of the answer's `Sec-WebSocket-Extensions`.
    ///
    /// A server may say both `no_context_takeover` unasked (RFC 7692 §7.1.1). `client_max_window_bits` is not
    /// answered, which allows 32 KiB (§7.1.2.2): a window lives for one message here, its size is no burden.
    pub(crate) fn answer(self) -> HeaderValue {
        let mut answer = format!("{EXTENSION}; server_no_context_takeover; client_no_context_takeover");
        if let Some(bits) = self.server_max_window_bits {
            answer += &format!("; server_max_window_bits={bits}");
        }
        HeaderValue::try_from(answer).expect("these words are a header value")
    }
}

/// Chooses the first offer that can be accepted, from the values of all headers in order.
pub(crate) fn negotiate<'a>(headers: impl Iterator<Item = &'a [u8]>) -> Option<Agreed> {
    let mut chosen = None;
    for header in headers {
        // Several headers are one list; a list that is not well-formed offers nothing.
        for offer in Offers(header) {
            let offer = offer?;
            chosen = chosen.or_else(|| offer.accept());
        }
    }
    chosen
}

/// One element of the list.
struct Offer<'a> {
    name: &'a str,
    params: Vec<(&'a str, Option<String>)>,
}

impl Offer<'_> {
    fn accept(&self) -> Option<Agreed> {
        if self.name != EXTENSION {
            return None;
        }
        let mut server_max_window_bits = None;
        for (index, (name, value)) in self.params.iter().enumerate() {
            if self.params[..index].iter().any(|(earlier, _)| earlier == name) {
                return None;
            }
            match (*name, value) {
                ("server_no_context_takeover" | "client_no_context_takeover", None)
                | ("client_max_window_bits", None) => {}
                ("client_max_window_bits", Some(value)) => _ = window_bits(value)?,
                ("server_max_window_bits", Some(value)) => server_max_window_bits = Some(window_bits(value)?),
                _ => return None,
            }
        }
        // 8 is declined: zlib makes no raw stream with a window of 256 bytes.
        let window = Window::within(server_max_window_bits.unwrap_or(15))?;
        Some(Agreed { window, server_max_window_bits })
    }
}

/// A number of window bits: 8 to 15, without leading zeros (RFC 7692 §7.1.2).
fn window_bits(value: &str) -> Option<u8> {
    let bits = value.parse().ok().filter(|bits| (8..=15).contains(bits))?;
    (!value.starts_with(['0', '+'])).then_some(bits)
}

/// The elements of one header's list; `None` for what is not well-formed, and nothing after it.
struct Offers<'a>(&'a [u8]);

impl<'a> Iterator for Offers<'a> {
    type Item = Option<Offer<'a>>;

    fn next(&mut self) -> Option<Self::Item> {
        // A list may have empty elements (RFC 9110 §5.6.1).
        self.blank();
        while self.eat(b',') {
            self.blank();
        }
        if self.0.is_empty() {
            return None;
        }
        let offer = self.offer();
        if offer.is_none() {
            self.0 = &[];
        }
        Some(offer)
    }
}

impl<'a> Offers<'a> {
    fn offer(&mut self) -> Option<Offer<'a>> {
        let name = self.token()?;
        let mut params = Vec::new();
        self.blank();
        while self.eat(b';') {
            self.blank();
            let name = self.token()?;
            self.blank();
            let mut value = None;
            if self.eat(b'=') {
                self.blank();
                value = Some(self.value()?);
                self.blank();
            }
            params.push((name, value));
        }
        (self.0.is_empty() || self.0[0] == b',').then_some(Offer { name, params })
    }

    fn blank(&mut self) {
        self.0 = self.0.trim_ascii_start();
    }

    fn eat(&mut self, byte: u8) -> bool {
        let rest = self.0.strip_prefix(&[byte]);
        self.0 = rest.unwrap_or(self.0);
        rest.is_some()
    }

    fn token(&mut self) -> Option<&'a str> {
        let end = self.0.iter().position(|byte| !is_token(*byte)).unwrap_or(self.0.len());
        let (token, rest) = self.0.split_at(end);
        self.0 = rest;
        if token.is_empty() { None } else { std::str::from_utf8(token).ok() }
    }

    /// A token, or a quoted one.
    fn value(&mut self) -> Option<String> {
        if !self.eat(b'"') {
            return self.token().map(str::to_owned);
        }
        let mut value = String::new();
        while !self.eat(b'"') {
            self.eat(b'\\');
            let (first, rest) = self.0.split_first()?;
            // What a quoted value says must be a token (RFC 6455 §9.1).
            if !is_token(*first) {
                return None;
            }
            value.push(char::from(*first));
            self.0 = rest;
        }
        (!value.is_empty()).then_some(value)
    }
}

/// RFC 9110 §5.6.2.
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const PLAIN: &str = "permessage-deflate; server_no_context_takeover; client_no_context_takeover";

    fn answer(headers: &[&str]) -> Option<String> {
        negotiate(headers.iter().map(|header| header.as_bytes()))
            .map(|agreed| agreed.answer().to_str().unwrap().to_owned())
    }

    #[test]
    fn offers_that_can_be_accepted_are() {
        for headers in [
            &["permessage-deflate"][..],
            &["  permessage-deflate\t"],
            &["permessage-deflate; client_max_window_bits"],
            &["permessage-deflate; client_max_window_bits=8"],
            &["permessage-deflate; client_max_window_bits=15"],
            &["permessage-deflate; client_max_window_bits=\"10\""],
            &["permessage-deflate;server_no_context_takeover"],
            &["permessage-deflate ; client_no_context_takeover ; server_no_context_takeover"],
            &["x-webkit-deflate-frame, permessage-deflate"],
            &["foo; a=1; b=\"2\"; c, permessage-deflate"],
            &["permessage-deflate, foo"],
            &["permessage-deflate", "foo"],
            &["foo", "bar; x", "permessage-deflate"],
            &["", "permessage-deflate"],
            &[", ,permessage-deflate,,"],
            &["permessage-deflate; magic, permessage-deflate"],
            &["permessage-deflate; server_max_window_bits=8, permessage-deflate"],
            &["permessage-deflate; server_max_window_bits=16", "permessage-deflate"],
            &["permessage-deflate, permessage-deflate; server_max_window_bits=10"],
        ] {
            assert_eq!(answer(headers).as_deref(), Some(PLAIN), "{headers:?}");
        }
    }

    #[test]
    fn a_bound_is_kept_and_repeated() {
        for bits in 9..=15 {
            for offer in [
                format!("permessage-deflate; server_max_window_bits={bits}; client_max_window_bits=9"),
                format!("permessage-deflate; client_max_window_bits; server_max_window_bits = \"{bits}\""),
                format!("permessage-deflate; server_max_window_bits=\"\\{bits}\""),
                format!(
                    "permessage-deflate; server_max_window_bits=8, permessage-deflate; server_max_window_bits={bits}"
                ),
            ] {
                let agreed = negotiate([offer.as_bytes()].into_iter()).expect(&offer);
                assert_eq!(agreed.answer(), format!("{PLAIN}; server_max_window_bits={bits}"), "{offer}");
                assert!(agreed.window.bits() <= bits, "{offer}");
            }
        }
        let unbounded = negotiate([b"permessage-deflate".as_slice()].into_iter()).unwrap();
        assert_eq!(unbounded.window, Window::Four);
    }

    #[test]
    fn what_cannot_be_accepted_is_declined() {
        for headers in [
            &[][..],
            &[""],
            &["foo"],
            &["permessage-deflate2"],
            &["Permessage-Deflate"],
            &["permessage-bzip2"],
            &["x; permessage-deflate"],
            // Parameters that are unknown, doubled, or have a value that they may not have.
            &["permessage-deflate; magic"],
            &["permessage-deflate; magic=1"],
            &["permessage-deflate; server_no_context_takeover; server_no_context_takeover"],
            &["permessage-deflate; client_max_window_bits; client_max_window_bits=10"],
            &["permessage-deflate; server_no_context_takeover=1"],
            &["permessage-deflate; client_no_context_takeover=true"],
            &["permessage-deflate; server_max_window_bits"],
            &["permessage-deflate; server_max_window_bits=7"],
            &["permessage-deflate; server_max_window_bits=8"],
            &["permessage-deflate; server_max_window_bits=16"],
            &["permessage-deflate; server_max_window_bits=010"],
            &["permessage-deflate; server_max_window_bits=+10"],
            &["permessage-deflate; server_max_window_bits=ten"],
            &["permessage-deflate; server_max_window_bits=4294967306"],
            &["permessage-deflate; client_max_window_bits=7"],
            &["permessage-deflate; client_max_window_bits=16"],
            &["permessage-deflate; client_max_window_bits=09"],
            &["permessage-deflate; Server_Max_Window_Bits=10"],
            // Lists that are not well-formed.
            &["permessage-deflate;"],
            &["permessage-deflate; ; server_no_context_takeover"],
            &["permessage-deflate server_no_context_takeover"],
            &["permessage-deflate; server_max_window_bits="],
            &["permessage-deflate; server_max_window_bits=\"\""],
            &["permessage-deflate; server_max_window_bits=\"10"],
            &["permessage-deflate; server_max_window_bits=\"1 0\""],
            &["permessage-deflate; server_max_window_bits=\"10\"x"],
            &["permessage-deflate; =10"],
            &["permessage-deflate, foo bar"],
            &["permessage-deflate", "foo; ="],
            &["perm\u{e9}ssage-deflate, permessage-deflate"],
        ] {
            assert_eq!(answer(headers), None, "{headers:?}");
        }
    }

    proptest! {
        #[test]
        fn nonsense_is_never_a_panic(header in "[permsag\\-dflt;,=\" \\\\019\\PC]{0,60}") {
            let _ = answer(&[&header]);
        }
    }
}
