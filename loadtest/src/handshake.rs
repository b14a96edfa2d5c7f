//! The opening handshake of a client, in bytes (RFC 6455 §4.1).

use std::fmt::Write;

use data_encoding::BASE64;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use crate::target::Endpoint;
use crate::world::{World, mix};

/// Longest answer to a handshake that is read.
pub(crate) const HEAD_BYTES_MAX: usize = 16 * 1024;

/// The `Sec-WebSocket-Key` of a client's attempt: computed again when the answer comes, so never stored.
fn key(seed: u64, client: u32, attempt: u32) -> String {
    let one = mix(seed ^ (u64::from(client) << 32 | u64::from(attempt)));
    BASE64.encode(&[one.to_be_bytes(), mix(one).to_be_bytes()].concat())
}

/// The request of a client: who it is and which rooms it joins stand in the query.
pub(crate) fn request(endpoint: &Endpoint, world: &World, client: u32, attempt: u32) -> String {
    let Endpoint { authority, path, .. } = endpoint;
    let mut text = format!("GET {path}?userId=u{}", world.user(client));
    for room in world.rooms_of(client) {
        write!(text, "&room=r{room}").expect("a String takes all");
    }
    let key = key(world.seed, client, attempt);
    write!(
        text,
        " HTTP/1.1\r\nHost: {authority}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n\r\n"
    )
    .expect("a String takes all");
    text
}

/// Reads the answer to a client's request.
///
/// `Ok(None)`: it is not whole yet. `Ok(Some(n))`: agreed, frames begin after `n` bytes.
pub(crate) fn answer(bytes: &[u8], seed: u64, client: u32, attempt: u32) -> Result<Option<usize>, String> {
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
    let field = |wanted: &str| {
        let mut fields = fields.split("\r\n").filter_map(|line| line.split_once(':'));
        fields.find(|(name, _)| name.trim().eq_ignore_ascii_case(wanted)).map(|(_, value)| value.trim())
    };
    if !field("upgrade").is_some_and(|value| value.eq_ignore_ascii_case("websocket")) {
        return Err("101 without Upgrade: websocket".into());
    }
    if field("sec-websocket-accept") != Some(&derive_accept_key(key(seed, client, attempt).as_bytes())) {
        return Err("101 with a wrong Sec-WebSocket-Accept".into());
    }
    if field("sec-websocket-extensions").is_some() {
        return Err("101 with an extension that was not offered".into());
    }
    Ok(Some(end + 4))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::target::Scheme;

    fn agreed() -> String {
        let accept = derive_accept_key(key(5, 7, 0).as_bytes());
        format!(
            "HTTP/1.1 101 x\r\nUPGRADE: WebSocket\r\nConnection: upgrade\r\nsec-websocket-accept: {accept}\r\n\r\n"
        )
    }

    #[test]
    fn a_request_names_the_user_and_its_rooms() {
        let world = crate::world::tests::small();
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
        assert_eq!(answer(&bytes, 5, 7, 0), Ok(Some(head.len())));
        for end in 0..head.len() {
            assert_eq!(answer(&bytes[..end], 5, 7, 0), Ok(None), "cut at {end}");
        }
    }

    #[test]
    fn other_answers_are_told_apart() {
        let bad = |text: &str| answer(text.as_bytes(), 5, 7, 0).unwrap_err();
        assert!(bad("SSH-2.0-x\r\n").contains("HTTP"));
        assert!(bad("HTTP/1.1 503 Busy\r\n\r\n{\"code\":\"full\"}").contains("full"));
        assert!(bad(&agreed().replace("UPGRADE", "x")).contains("Upgrade"));
        assert!(bad(&agreed().replace("accept: ", "accept: A")).contains("Accept"));
        assert!(answer(agreed().as_bytes(), 5, 7, 1).is_err());
        assert!(
            bad(&agreed().replace("Connection", "Sec-WebSocket-Extensions: x\r\nConnection"))
                .contains("extension")
        );
        assert!(bad(&format!("HTTP/1.1 101 x\r\n{}", "a: b\r\n".repeat(3_000))).contains("end"));
    }
}
