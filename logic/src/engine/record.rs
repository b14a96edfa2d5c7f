//! An item of a history as bytes, for stores outside this process's memory.
//!
//! Fields are only ever added, with new numbers: a store outlives releases.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use common::ids::{ClientId, Instance};
use prost::Message;

use super::{Item, Moment};

/// What is stored of an item.
#[derive(Clone, PartialEq, Message)]
struct Record {
    /// Its JSON from `"event"` or `"data"` on.
    #[prost(bytes = "bytes", tag = "1")]
    body: Bytes,
    #[prost(uint32, optional, tag = "2")]
    app: Option<u32>,
    /// Connections that are left out: the runs of their gateways, and their places there.
    #[prost(fixed64, repeated, tag = "3")]
    except: Vec<u64>,
    /// Not to be sent from then on, in milliseconds since 1970; 0: no end.
    #[prost(uint64, tag = "4")]
    expires_ms: u64,
    /// When it was pushed, in milliseconds since 1970.
    #[prost(uint64, tag = "5")]
    at_ms: u64,
}

/// What was read is no item: the store holds something that this release did not write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Damaged;

/// An item as bytes.
pub(crate) fn encode(item: &Item) -> Bytes {
    let lives = item.expires.map(|expires| expires.saturating_duration_since(item.at.mono));
    let lives_ms = lives.map(|lives| u64::try_from(lives.as_millis()).unwrap_or(u64::MAX));
    let record = Record {
        body: item.body.clone(),
        app: item.app,
        except: item.except.iter().flat_map(|client| [client.gateway.0, client.local]).collect(),
        expires_ms: lives_ms.map_or(0, |lives_ms| item.at.unix_ms.saturating_add(lives_ms)),
        at_ms: item.at.unix_ms,
    };
    record.encode_to_vec().into()
}

/// An item from bytes. What was to happen on the clock of people is put on the other one by `now`.
///
/// # Errors
/// [`Damaged`].
pub(crate) fn decode(bytes: Bytes, now: Moment) -> Result<Arc<Item>, Damaged> {
    let record = Record::decode(bytes).map_err(|_| Damaged)?;
    let (clients, rest) = record.except.as_chunks::<2>();
    if !rest.is_empty() {
        return Err(Damaged);
    }
    let except =
        clients.iter().map(|[gateway, local]| ClientId { gateway: Instance(*gateway), local: *local });
    let is_over = |ms: u64| Duration::from_millis(now.unix_ms.saturating_sub(ms));
    let expires = (record.expires_ms > 0).then(|| match record.expires_ms.checked_sub(now.unix_ms) {
        Some(left) => now.mono.checked_add(Duration::from_millis(left)).unwrap_or(now.mono),
        None => now.mono,
    });
    // A machine that has just started has no moment on its own clock for what was before.
    let mono = now.mono.checked_sub(is_over(record.at_ms)).unwrap_or(now.mono);
    Ok(Arc::new(Item {
        body: record.body,
        app: record.app,
        except: except.collect(),
        expires,
        at: Moment { mono, unix_ms: record.at_ms },
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_item_survives_its_bytes_and_garbage_is_none() {
        let now = Moment::now();
        let client = |local| ClientId { gateway: Instance(7), local };
        let item = Item {
            body: Bytes::from_static(b"\"data\":1}"),
            app: Some(0),
            except: [client(1), client(u64::MAX)].into(),
            expires: Some(now.mono + Duration::from_secs(5)),
            at: now,
        };
        let later = Moment { mono: now.mono + Duration::from_secs(2), unix_ms: now.unix_ms + 2_000 };
        let read = decode(encode(&item), later).unwrap();
        assert_eq!((&read.body, read.app, &read.except), (&item.body, item.app, &item.except));
        let left = read.expires.unwrap() - later.mono;
        assert!(left > Duration::from_millis(2_990) && left <= Duration::from_secs(3), "{left:?}");
        assert_eq!((read.at.unix_ms, later.mono - read.at.mono), (now.unix_ms, Duration::from_secs(2)));
        let plain = Item { expires: None, app: None, except: Box::default(), ..item };
        let read = decode(encode(&plain), later).unwrap();
        assert!(read.expires.is_none() && read.app.is_none() && read.except.is_empty());
        assert_eq!(decode(Bytes::from_static(b"\xff\xff\xff"), now).err(), Some(Damaged));
        assert_eq!(
            decode(Bytes::from_static(b"\x1a\x08aaaaaaaa"), now).err(),
            Some(Damaged),
            "half a client"
        );
    }
}
