//! What a gateway asks of logic about histories, on the control stream: what came after a place, or where a history
//! stands. Answers are bounded in items and bytes; who wants more asks again from where the answer ends.

use bytes::Bytes;

use super::message::Position;
use crate::names::Kind;

/// Items of one answer at the most.
pub const FETCH_ITEMS_MAX: usize = 1_000;

/// Bytes of the bodies of one answer; one item may be larger by itself.
///
/// 64 KiB fit four times into the outbox of a client, and a link's window carries 30 of them.
pub const FETCH_BYTES_MAX: usize = 64 * 1024;

/// Asks for a part of a history.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Fetch {
    /// Repeated in the answer; never 0.
    #[prost(uint64, tag = "1")]
    pub id: u64,
    /// A room's or a user's.
    #[prost(enumeration = "Kind", tag = "2")]
    pub kind: i32,
    /// Its name.
    #[prost(string, tag = "3")]
    pub name: String,
    /// The last item that is known; without it only the head is wanted.
    #[prost(message, optional, tag = "4")]
    pub since: Option<Position>,
}

/// The answer to a [`Fetch`].
#[derive(Clone, PartialEq, prost::Message)]
pub struct Fetched {
    /// Of the question.
    #[prost(uint64, tag = "1")]
    pub id: u64,
    /// The place of the newest item that there ever was; none if no history is kept of this name.
    #[prost(message, optional, tag = "2")]
    pub head: Option<Position>,
    /// Nothing between the place that was known and the first of these items is missing. If not so, there are none.
    #[prost(bool, tag = "3")]
    pub continues: bool,
    /// The offset up to which this answer goes; items that are not to be sent any more are left out.
    #[prost(fixed64, tag = "4")]
    pub last: u64,
    /// Items in order.
    #[prost(message, repeated, tag = "5")]
    pub items: Vec<KeptItem>,
}

/// An item of a history.
#[derive(Clone, PartialEq, prost::Message)]
pub struct KeptItem {
    /// Its number.
    #[prost(fixed64, tag = "1")]
    pub offset: u64,
    /// Only for connections of this application.
    #[prost(uint32, optional, tag = "2")]
    pub app: Option<u32>,
    /// Not for these connections of the gateway that asks, as the local halves of their ids.
    #[prost(fixed64, repeated, tag = "3")]
    pub except: Vec<u64>,
    /// Its JSON, as in a [`Delivery`](super::message::Delivery).
    #[prost(bytes = "bytes", tag = "4")]
    pub body: Bytes,
    /// Not sent once so many milliseconds have passed since it was asked for; 0: no end.
    #[prost(uint64, tag = "5")]
    pub ttl_ms: u64,
}

/// Where histories stand that were appended to lately, so that a gateway which was not sent the last item asks for it.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Heads {
    /// Of names that the gateway holds.
    #[prost(message, repeated, tag = "1")]
    pub heads: Vec<Head>,
    /// What was appended to before this message is not known: the gateway asks for all its histories.
    #[prost(bool, tag = "2")]
    pub missed: bool,
}

/// Where a history stands.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Head {
    /// A room's or a user's.
    #[prost(enumeration = "Kind", tag = "1")]
    pub kind: i32,
    /// Its name.
    #[prost(string, tag = "2")]
    pub name: String,
    /// Its newest item.
    #[prost(message, optional, tag = "3")]
    pub at: Option<Position>,
}
