//! How many at most: the limits that hold on both sides of the link, with their arithmetic.
//!
//! A limit that only one crate knows stays there. What is settable has its default here and its flag in
//! the node's settings. How limits are kept stands beneath: how often something may happen, what is known of each
//! address, and how an operator is told of them.

pub mod addresses;
pub mod rate;
pub mod told;

use std::time::Duration;

/// Longest name of a room or user, and longest event name or conflation key, in bytes of UTF-8.
pub const NAME_BYTES_MAX: usize = 256;

/// Longest body of `POST /v1/push` and `/v1/push/batch`, in bytes.
pub const PUSH_BODY_BYTES_MAX: usize = 1024 * 1024;

/// Longest `data` of one push, in bytes as it was sent.
pub const DATA_BYTES_MAX: usize = 64 * 1024;

/// Most names in one target, most ids in `exceptClients`, most pushes in one batch.
///
/// A push to 10,000 rooms becomes at most 10,000 × (256 + 24) B = 2.8 MB of link messages for one gateway.
pub const NAMES_PER_PUSH_MAX: usize = 10_000;

/// How deep arrays and objects may nest in any JSON that we read.
pub const JSON_DEPTH_MAX: usize = 64;

/// Longest message of a client to a gateway, in bytes.
pub const CLIENT_MESSAGE_BYTES_MAX: usize = 64 * 1024;

/// Rooms that one client may be in.
pub const ROOMS_PER_CLIENT_MAX: usize = 64;

/// Longest HTTP/1 request head that any of our servers reads, in bytes.
pub const HEAD_BYTES_MAX: usize = 16 * 1024;

/// Most header fields in an HTTP/1 request.
pub const HEADERS_MAX: usize = 64;

/// A request's head must be complete in this time, counted from the first byte or the connection's start.
pub const HEAD_TIME_MAX: Duration = Duration::from_secs(5);

/// A request's body must be complete in this time, counted from the end of its head.
pub const BODY_TIME_MAX: Duration = Duration::from_secs(10);

/// Longest message on the link: a delivery of the longest push to the most names, and some room.
///
/// 64 KiB of data + 10,000 names × (256 + 4) B + 10,000 excepted ids × 10 B < 4 MiB.
pub const LINK_MESSAGE_BYTES_MAX: usize = 4 * 1024 * 1024;

/// HTTP/2 window of each stream on the link, half of the connection's: what may be in flight unread.
///
/// At 200 B an item, 2 MiB is 10,000 items: 10 ms at a million items a second.
pub const LINK_WINDOW_BYTES: u32 = 2 * 1024 * 1024;
