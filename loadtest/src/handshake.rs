//! The opening handshake of a client, in bytes (RFC 6455 §4.1).

use std::fmt::Write;

use data_encoding::BASE64;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use crate::target::Endpoint;
use crate::world::{World, mix};

/// Longest answer to a handshake that is read.
const HEAD_BYTES_MAX: usize = 16 * 1024;

/// The `Sec-WebSocket-Key` of a client's attempt: computed again when the answer comes, so never stored.
fn key(seed: u64, client: u32, attempt: u32) -> String {
    let one = mix(seed ^ (u64::from(client) << 32 | u64::from(attempt)));
    BASE64.encode(&[one.to_be_bytes(), mix(one).to_be_bytes()].concat())
}

/// What a client offers: each message compressed by itself (RFC 7692 §7.1.1), so that neither side keeps a
/// window of 32 KiB a connection.
const OFFER: &str = "Sec-WebSocket-Extensions: permessage-deflate; server_no_context_takeover; \
                     client_no_context_takeover\r\n";

/// The request of a client: who it is and which rooms it joins stand in the query.
pub(crate) fn request(endpoint: &Endpoint, world: &World, client: u32, attempt: u32) -> String {
    let Endpoint { authority, path, .. } = endpoint;
    let prefix = &world.prefix;
    let mut text = format!("GET {path}?userId={prefix}u{}", world.user(client));
    for room in world.rooms_of(client) {
        write!(text, "&room={prefix}r{room}").expect("a String takes all");
    }
    let key = key(world.seed, client, attempt);
    let offer = if world.offers_deflate(client) { OFFER } else { "" };
    write!(
        text,
        " HTTP/1.1\r\nHost: {authority}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Version: 13\r\n{offer}Sec-WebSocket-Key: {key}\r\n\r\n"
    )
    .expect("a String takes all");
    text
}

/// What both sides agreed to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Agreed {
    /// Frames begin after so many bytes.
    pub(crate) head: usize,
    /// Messages may be compressed.
    pub(crate) deflates: bool,
}

/// The head of an answer that agrees to a handshake.
pub(crate) struct Head<'a> {
    /// Where the empty line begins that ends it: four bytes before the first frame.
    pub(crate) end: usize,
    fields: &'a str,
}

impl<'a> Head<'a> {
    /// Reads it. `Ok(None)`: it is not whole yet.
    ///
    /// # Errors
    /// What came instead of a 101.
    pub(crate) fn read(bytes: &'a [u8]) -> Result<Option<Self>, String> {
        let start = &bytes[..bytes.len().min(7)];
        if !b"HTTP/1.".starts_with(start) {
            return Err("what answers does not speak HTTP".into());
        }
        let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else {
            return if bytes.len() < HEAD_BYTES_MAX { Ok(None) } else { Err("a head without an end".into()) };
        };
        let head = std::str::from_utf8(&bytes[..end]).map_err(|_| "a head that is not text")?;
        let (status, fields) = head.split_once("\r\n").unwrap_or((head, ""));
        if status.split(' ').nth(1) != Some("101") {
            let body = String::from_utf8_lossy(&bytes[end + 4..]);
            let body: String = body.chars().filter(|c| !c.is_control()).take(300).collect();
            return Err(format!("the handshake was answered {status:?} {body}").trim_end().to_owned());
        }
        Ok(Some(Self { end, fields }))
    }

    /// The value of a field, by its name in lower case.
    pub(crate) fn field(&self, wanted: &str) -> Option<&'a str> {
        let mut fields = self.fields.split("\r\n").filter_map(|line| line.split_once(':'));
        fields.find(|(name, _)| name.trim().eq_ignore_ascii_case(wanted)).map(|(_, value)| value.trim())
    }
}

/// Reads the answer to a client's request. `Ok(None)`: it is not whole yet.
pub(crate) fn answer(
    bytes: &[u8],
    world: &World,
    client: u32,
    attempt: u32,
) -> Result<Option<Agreed>, String> {
    let Some(head) = Head::read(bytes)? else { return Ok(None) };
    let (end, field) = (head.end, |wanted: &str| head.field(wanted));
    if !field("upgrade").is_some_and(|value| value.eq_ignore_ascii_case("websocket")) {
        return Err("101 without Upgrade: websocket".into());
    }
    let accept = derive_accept_key(key(world.seed, client, attempt).as_bytes());
    if field("sec-websocket-accept") != Some(&accept) {
        return Err("101 with a wrong Sec-WebSocket-Accept".into());
    }
    let deflates = match field("sec-websocket-extensions") {
        None => false,
        Some(_) if !world.offers_deflate(client) => {
            return Err("101 with an extension that was not offered".into());
        }
        Some(extensions) => {
            check_deflate(extensions).map_err(|why| format!("101 with {extensions:?}: {why}"))?;
            true
        }
    };
    Ok(Some(Agreed { head: end + 4, deflates }))
}

/// Checks an answer to our offer of permessage-deflate (RFC 7692 §7.1).
fn check_deflate(extensions: &str) -> Result<(), &'static str> {
    let mut parts = extensions.split(';').map(str::trim);
    if parts.next() != Some("permessage-deflate") {
        return Err("another extension than the one that was offered");
    }
    let mut seen = Vec::new();
    for part in parts {
        let (name, value) = match part.split_once('=') {
            Some((name, value)) => (name.trim(), Some(value.trim().trim_matches('"'))),
            None => (part, None),
        };
        match (name, value) {
            ("server_no_context_takeover" | "client_no_context_takeover", None) => {}
            ("server_max_window_bits", Some(bits))
                if bits.parse().is_ok_and(|bits| (8..=15).contains(&bits)) => {}
            ("client_max_window_bits", _) => return Err("client_max_window_bits was not offered"),
            _ => return Err("a parameter that it may not have"),
        }
        if seen.contains(&name) {
            return Err("a parameter twice");
        }
        seen.push(name);
    }
    // §7.1.1.1: who accepts an offer with this parameter says so.
    if !seen.contains(&"server_no_context_takeover") {
        return Err("server_no_context_takeover was asked for, and is not there");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::target::Scheme;
    use crate::world::tests::small;

    fn agreed() -> String {
        let accept = derive_accept_key(key(5, 7, 0).as_bytes());
        format!(
            "HTTP/1.1 101 x\r\nUPGRADE: WebSocket\r\nConnection: upgrade\r\nsec-websocket-accept: {accept}\r\n\r\n"
        )
    }

    #[test]
    fn a_request_names_the_user_and_its_rooms() {
        let world = small();
        let endpoint = Endpoint::parse("ws://h:1", Scheme::Ws).unwrap();
        let text = request(&endpoint, &world, 7, 0);
        assert!(text.starts_with("GET /ws?userId=u3&room=r"), "{text}");
        assert!(text.contains("\r\nHost: h:1\r\n") && text.ends_with("==\r\n\r\n"), "{text}");
        assert_ne!(text, request(&endpoint, &world, 7, 1));
    }

    #[test]
    fn an_agreement_is_read_and_its_parts_wait() {
        let head = agreed();
        let bytes = [head.as_bytes(), b"\x81\x00"].concat();
        let agreed = Agreed { head: head.len(), deflates: false };
        assert_eq!(answer(&bytes, &small(), 7, 0), Ok(Some(agreed)));
        for end in 0..head.len() {
            assert_eq!(answer(&bytes[..end], &small(), 7, 0), Ok(None), "cut at {end}");
        }
    }

    #[test]
    fn compression_is_offered_and_only_valid_answers_are_taken() {
        let world = World { deflate_share: 1.0, prefix: "p1-".into(), ..small() };
        let endpoint = Endpoint::parse("ws://h:1", Scheme::Ws).unwrap();
        let text = request(&endpoint, &world, 7, 0);
        assert!(text.contains("\r\nSec-WebSocket-Extensions: permessage-deflate; server_no"), "{text}");
        assert!(text.starts_with("GET /ws?userId=p1-u3&room=p1-r"), "{text}");
        let answered = |extensions: &str| {
            let field = format!("Sec-WebSocket-Extensions: {extensions}\r\nConnection");
            answer(agreed().replace("Connection", &field).as_bytes(), &world, 7, 0)
        };
        for good in [
            "",
            "; client_no_context_takeover",
            "; server_max_window_bits=15",
            "; server_max_window_bits=\"9\"",
        ] {
            let agreed = answered(&format!("permessage-deflate; server_no_context_takeover{good}"));
            assert!(agreed.clone().unwrap().unwrap().deflates, "{good}: {agreed:?}");
        }
        for bad in [
            "permessage-deflate",
            "permessage-deflate; server_no_context_takeover=1",
            "permessage-deflate; server_no_context_takeover; server_no_context_takeover",
            "permessage-deflate; server_no_context_takeover; server_max_window_bits=16",
            "permessage-deflate; server_no_context_takeover; client_max_window_bits=15",
            "permessage-deflate; server_no_context_takeover; x",
            "x-webkit-deflate-frame",
        ] {
            assert!(answered(bad).is_err(), "{bad}");
        }
        let declined = answer(agreed().as_bytes(), &world, 7, 0).unwrap().unwrap();
        assert!(!declined.deflates, "a server may decline");
    }

    #[test]
    fn other_answers_are_told_apart() {
        let bad = |text: &str| answer(text.as_bytes(), &small(), 7, 0).unwrap_err();
        assert!(bad("SSH-2.0-x\r\n").contains("HTTP"));
        assert!(bad("HTTP/1.1 503 Busy\r\n\r\n{\"code\":\"full\"}").contains("full"));
        assert!(bad(&agreed().replace("UPGRADE", "x")).contains("Upgrade"));
        assert!(bad(&agreed().replace("accept: ", "accept: A")).contains("Accept"));
        assert!(answer(agreed().as_bytes(), &small(), 7, 1).is_err());
        assert!(
            bad(&agreed().replace("Connection", "Sec-WebSocket-Extensions: x\r\nConnection"))
                .contains("extension")
        );
        assert!(bad(&format!("HTTP/1.1 101 x\r\n{}", "a: b\r\n".repeat(3_000))).contains("end"));
    }
}
