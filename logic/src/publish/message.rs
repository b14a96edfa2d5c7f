//! A delivery as it stands on the link, in two parts: the *rest*, encoded before a push has its number and
//! shared by all links that get the same, and the *head* with the number, written when it is sent. So the
//! sequencer's lock is not held while bytes are copied.
//!
//! Both together are what prost makes of a [`Down`](common::link::message::Down): fields of a protobuf
//! message may come in any order, and here they come in that of their numbers.

use bytes::{BufMut, Bytes, BytesMut};
use common::link::codec::Outbound;
use common::link::message::Delivery;
use prost::Message;
use prost::encoding::{WireType, encode_key, encode_varint, encoded_len_varint};

use crate::push::Push;

/// Numbers of the fields that are written here by hand; a test holds them to the definition.
const DOWN_DELIVERY: u32 = 1;
const DELIVERY_SERIAL: u32 = 1;
const DELIVERY_BODY: u32 = 10;

/// Three varints of at most ten bytes and two keys of one.
const HEAD_BYTES_MAX: usize = 32;

/// Encodes all of a delivery but its serial number. `delivery` comes without serial and body.
pub(crate) fn rest(delivery: &Delivery, push: &Push<'_>) -> Bytes {
    let length = body_bytes(push);
    let mut rest = BytesMut::with_capacity(delivery.encoded_len() + 11 + length);
    delivery.encode_raw(&mut rest);
    encode_key(DELIVERY_BODY, WireType::LengthDelimited, &mut rest);
    encode_varint(length as u64, &mut rest);
    put_body(push, &mut rest);
    rest.freeze()
}

/// The item's JSON from its `"event"` or `"data"` member on, by itself.
pub(crate) fn body(push: &Push<'_>) -> Bytes {
    let mut body = BytesMut::with_capacity(body_bytes(push));
    put_body(push, &mut body);
    body.freeze()
}

fn put_body(push: &Push<'_>, into: &mut BytesMut) {
    if let Some(event) = push.event {
        into.put_slice(b"\"event\":");
        into.put_slice(event.as_bytes());
        into.put_u8(b',');
    }
    into.put_slice(b"\"data\":");
    into.put_slice(push.data.as_bytes());
    into.put_u8(b'}');
}

/// How long the item's JSON is from its `"event"` or `"data"` member on.
pub(crate) fn body_bytes(push: &Push<'_>) -> usize {
    push.event.map_or(0, |event| "\"event\":,".len() + event.len()) + "\"data\":}".len() + push.data.len()
}

/// Writes a whole message.
pub(crate) fn put(outbound: &mut Outbound, serial: u64, rest: &[u8]) {
    let delivery = 1 + encoded_len_varint(serial) + rest.len();
    let down = 1 + encoded_len_varint(delivery as u64) + delivery;
    let mut space = [0_u8; HEAD_BYTES_MAX];
    let mut head = &mut space[..];
    encode_varint(down as u64, &mut head);
    encode_key(DOWN_DELIVERY, WireType::LengthDelimited, &mut head);
    encode_varint(delivery as u64, &mut head);
    encode_key(DELIVERY_SERIAL, WireType::Varint, &mut head);
    encode_varint(serial, &mut head);
    let used = HEAD_BYTES_MAX - head.len();
    outbound.put_encoded(&space[..used]);
    outbound.put_encoded(rest);
}

#[cfg(test)]
mod tests {
    use common::link::codec::{Inbound, encoded};
    use common::link::message::{Down, To, down};

    use super::*;
    use crate::push::{Target, Wait};

    #[test]
    fn both_parts_together_are_what_prost_makes() {
        let push = Push {
            to: Target::All,
            app: None,
            except: Vec::new(),
            event: Some("\"price\""),
            data: r#"{"z":1e400,"a":18446744073709551616}"#,
            key: String::new(),
            urgent: true,
            ttl_ms: 0,
            wait: Wait::Accepted,
            trace: None,
        };
        let delivery = Delivery {
            to: To::Rooms as i32,
            names: vec!["r1".into(), "r2".into()],
            except: vec![7],
            app: Some(101),
            key: "BTC".into(),
            urgent: true,
            ttl_ms: 300,
            ..Delivery::default()
        };
        for serial in [1, 127, 128, 70_000, u64::MAX] {
            let mut outbound = Outbound::default();
            put(&mut outbound, serial, &rest(&delivery, &push));
            let body = Bytes::from_static(br#""event":"price","data":{"z":1e400,"a":18446744073709551616}}"#);
            let whole =
                Down { body: Some(down::Body::Delivery(Delivery { serial, body, ..delivery.clone() })) };
            let expected = encoded(&whole);
            let sent = outbound.take().unwrap();
            assert_eq!(sent[..expected.len()], expected[..]);
            let mut inbound = Inbound::default();
            inbound.put(&sent);
            assert_eq!(inbound.next_message::<Down>().unwrap(), Some(whole));
        }
    }
}
