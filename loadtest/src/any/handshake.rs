//! The opening handshake with any server, in bytes (RFC 6455 §4.1).

use std::fmt::Write;

use data_encoding::BASE64;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use super::dialect::for_client;
use super::place::Place;
use crate::handshake::Head;
use crate::world::mix;

/// The `Sec-WebSocket-Key` of a client's attempt: computed again when the answer comes, so never stored.
fn key(client: u32, attempt: u8) -> String {
    let one = mix(u64::from(client) << 8 | u64::from(attempt));
    BASE64.encode(&[one.to_be_bytes(), mix(one).to_be_bytes()].concat())
}

/// The request of a client.
pub(super) fn request(
    place: &Place,
    headers: &[String],
    protocol: Option<&str>,
    client: (u32, u8),
) -> String {
    let mut text =
        format!("GET {} HTTP/1.1\r\nHost: {}\r\n", for_client(&place.target, client.0), place.authority);
    for header in headers {
        write!(text, "{}\r\n", for_client(header, client.0)).expect("a String takes all");
    }
    if let Some(protocol) = protocol {
        write!(text, "Sec-WebSocket-Protocol: {protocol}\r\n").expect("a String takes all");
    }
    let key = key(client.0, client.1);
    text.push_str("Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n");
    write!(text, "Sec-WebSocket-Key: {key}\r\n\r\n").expect("a String takes all");
    text
}

/// Reads the answer to a client's request: where frames begin. `Ok(None)`: it is not whole yet.
pub(super) fn answer(bytes: &[u8], client: (u32, u8)) -> Result<Option<usize>, String> {
    let Some(head) = Head::read(bytes)? else { return Ok(None) };
    let (end, field) = (head.end, |wanted: &str| head.field(wanted));
    let accept = derive_accept_key(key(client.0, client.1).as_bytes());
    if field("sec-websocket-accept") != Some(&accept) {
        return Err("101 with a wrong Sec-WebSocket-Accept".into());
    }
    match field("sec-websocket-extensions") {
        Some(extensions) if !extensions.is_empty() => {
            Err(format!("101 with an extension that was not offered: {extensions:?}"))
        }
        _ => Ok(Some(end + 4)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_says_what_was_asked_of_it_and_its_answer_is_read() {
        let place = Place::parse("ws://h:1/sub/{client}", "ws").unwrap();
        let text = request(&place, &["X-Token: t{client}".into()], Some("v1"), (7, 1));
        assert!(text.starts_with("GET /sub/7 HTTP/1.1\r\nHost: h:1\r\nX-Token: t7\r\n"), "{text}");
        assert!(
            text.contains("\r\nSec-WebSocket-Protocol: v1\r\n") && text.ends_with("==\r\n\r\n"),
            "{text}"
        );
        let accept = derive_accept_key(key(7, 1).as_bytes());
        let good = format!("HTTP/1.1 101 x\r\nsec-websocket-ACCEPT: {accept}\r\n\r\n");
        assert_eq!(answer(format!("{good}\x01").as_bytes(), (7, 1)), Ok(Some(good.len())));
        assert_eq!(answer(&good.as_bytes()[..40], (7, 1)), Ok(None));
        let bad = |text: &str| answer(text.as_bytes(), (7, 1)).unwrap_err();
        assert!(answer(good.as_bytes(), (7, 2)).is_err());
        assert!(bad("SSH-2").contains("HTTP"));
        assert!(bad("HTTP/1.1 404 No\r\n\r\ngo away").contains("go away"));
        assert!(
            bad(&good.replace("101 x\r\n", "101 x\r\nSec-WebSocket-Extensions: y\r\n")).contains("extension")
        );
    }
}
