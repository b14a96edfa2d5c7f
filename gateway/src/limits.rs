//! How many at most, and how often: the limits of a gateway, and what an operator is told of them.
//!
//! Those of time and memory stand in [`Settings`](crate::Settings); here are the others, and the list of all.

use std::time::Duration;

use common::limits::rate::Rate;
use common::limits::told::{Figures, Told};
use common::limits::{CLIENT_MESSAGE_BYTES_MAX, HEAD_BYTES_MAX, HEADERS_MAX, ROOMS_PER_CLIENT_MAX};
use common::names::Kind;
use serde_json::Value;

use crate::node::Parts;
use crate::session::BAD_MESSAGES_MAX;

/// Limits of numbers and rates; `None`: there is none.
///
/// What counts addresses and users is off at first: behind one address there may be a proxy, a carrier or a load
/// test, and only an operator knows. What bounds one client holds from the start, far beyond what clients need.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Connections of one address at a time.
    pub connections_per_ip: Option<u32>,
    /// Connections of one user at a time.
    pub connections_per_user: Option<u32>,
    /// Connections that may begin, of all addresses.
    pub handshakes: Option<Rate>,
    /// Connections that may begin, of one address.
    pub handshakes_per_ip: Option<Rate>,
    /// Messages and pings of one client.
    pub commands: Option<Rate>,
    /// Bytes of one client, as they come.
    pub bytes: Option<Rate>,
    /// Rooms that one client may be in.
    pub rooms_per_client: usize,
    /// Names of rooms that have a member here. One costs 161 B and its name, and as much on each logic node: of the
    /// longest names a million take 0.4 GB.
    pub rooms: usize,
}

/// Seconds' worth of messages and bytes that a client may send at once: it joins all its rooms when it connects.
pub const CLIENT_BURST_SECS: u32 = 10;

/// Seconds' worth of connections that may begin at once.
pub const HANDSHAKE_BURST_SECS: u32 = 1;

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections_per_ip: None,
            connections_per_user: None,
            handshakes: None,
            handshakes_per_ip: None,
            commands: Rate::a_second(100, CLIENT_BURST_SECS),
            bytes: Rate::a_second(64 * 1024, CLIENT_BURST_SECS),
            rooms_per_client: ROOMS_PER_CLIENT_MAX,
            rooms: 1_000_000,
        }
    }
}

/// All limits that a client may meet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Limit {
    Connections,
    ConnectionsPerIp,
    ConnectionsPerUser,
    Handshakes,
    HandshakesPerIp,
    HandshakeTime,
    ProxyHeader,
    HeadBytes,
    HeaderFields,
    Commands,
    Bytes,
    MessageBytes,
    MessageTime,
    BadMessages,
    RoomsPerClient,
    Rooms,
    Outbox,
    Silence,
    MergerBytes,
}

impl Limit {
    pub(crate) const ALL: [Self; 19] = [
        Self::Connections,
        Self::ConnectionsPerIp,
        Self::ConnectionsPerUser,
        Self::Handshakes,
        Self::HandshakesPerIp,
        Self::HandshakeTime,
        Self::ProxyHeader,
        Self::HeadBytes,
        Self::HeaderFields,
        Self::Commands,
        Self::Bytes,
        Self::MessageBytes,
        Self::MessageTime,
        Self::BadMessages,
        Self::RoomsPerClient,
        Self::Rooms,
        Self::Outbox,
        Self::Silence,
        Self::MergerBytes,
    ];

    /// Its name, its flag and its answer.
    #[rustfmt::skip]
    pub(crate) fn told(self) -> Told {
        let (name, flag, answer) = match self {
            Self::Connections => ("connections", "max-connections", "503 with Retry-After; past 64 at a time closed without a word"),
            Self::ConnectionsPerIp => ("connections_per_ip", "connections-per-ip", "429 with Retry-After; past 64 at a time closed without a word"),
            Self::ConnectionsPerUser => ("connections_per_user", "connections-per-user", "closed with 4504; login: reply 409"),
            Self::Handshakes => ("handshakes_per_second", "handshakes-per-second", "503 with Retry-After; past 64 at a time closed without a word"),
            Self::HandshakesPerIp => ("handshakes_per_ip", "handshakes-per-ip", "429 with Retry-After; past 64 at a time closed without a word"),
            Self::HandshakeTime => ("handshake_time", "handshake", "408, or closed without a word where HTTP has not begun"),
            Self::ProxyHeader => ("proxy_header", "proxy-protocol", "closed without a word"),
            Self::HeadBytes => ("head_bytes", "", "431"),
            Self::HeaderFields => ("header_fields", "", "431"),
            Self::Commands => ("commands_per_client", "commands-per-client", "reply 429, not done; closed with 4005 after 100 of them"),
            Self::Bytes => ("bytes_per_client", "bytes-per-client", "closed with 4005"),
            Self::MessageBytes => ("message_bytes", "", "closed with 1009"),
            Self::MessageTime => ("message_time", "message-time", "closed with 4004"),
            Self::BadMessages => ("bad_messages", "", "each gets reply 400; closed with 4500 after the last"),
            Self::RoomsPerClient => ("rooms_per_client", "rooms-per-client", "reply 409; closed with 4503 at connect"),
            Self::Rooms => ("rooms", "max-rooms", "reply 503; closed with 1013 at connect"),
            Self::Outbox => ("outbox_bytes", "outbox", "closed with 4002, or gap with --slow drop"),
            Self::Silence => ("silence", "silence", "closed with 4003"),
            Self::MergerBytes => ("merger_bytes", "merger-bytes", "items leave early, links wait"),
        };
        Told { name, flag, answer }
    }

    /// How it stands; times are in milliseconds.
    fn figures(self, parts: &Parts) -> Figures {
        let (settings, door) = (parts.tune.now(), &parts.door);
        let limits = &settings.limits;
        let ms = |time: Duration| Figures::most(time.as_millis());
        let rate = |rate: Option<Rate>| Figures { most: rate.map(|rate| rate.per_second()), used: None };
        let number = |most: Option<u32>| Figures { most: most.map(u64::from), used: None };
        match self {
            Self::Connections => Figures::most(settings.max_connections).used(door.taken()),
            Self::ConnectionsPerIp => Figures {
                used: limits.connections_per_ip.map(|_| door.busiest_address().into()),
                ..number(limits.connections_per_ip)
            },
            Self::ConnectionsPerUser => number(limits.connections_per_user),
            Self::Handshakes => rate(limits.handshakes),
            Self::HandshakesPerIp => rate(limits.handshakes_per_ip),
            Self::HandshakeTime => ms(settings.handshake_time_max),
            Self::ProxyHeader => Figures::most(common::edge::HEADER_BYTES_MAX),
            Self::HeadBytes => Figures::most(HEAD_BYTES_MAX),
            Self::HeaderFields => Figures::most(HEADERS_MAX),
            Self::Commands => rate(limits.commands),
            Self::Bytes => rate(limits.bytes),
            Self::MessageBytes => Figures::most(CLIENT_MESSAGE_BYTES_MAX),
            Self::MessageTime => ms(settings.message_time_max),
            Self::BadMessages => Figures::most(BAD_MESSAGES_MAX),
            Self::RoomsPerClient => Figures::most(limits.rooms_per_client),
            Self::Rooms => Figures::most(limits.rooms).used(parts.registry.directory.size(Kind::Room)),
            Self::Outbox => Figures::most(settings.outbox_bytes_max),
            Self::Silence => ms(settings.silence_max),
            Self::MergerBytes => Figures::most(settings.merger_bytes_max).used(parts.pusher.bytes()),
        }
    }
}

/// All limits as they stand, for `/statusz`.
pub(crate) fn status(parts: &Parts) -> Value {
    parts.counters.limits.status(|place| Limit::ALL[place].figures(parts))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_limit_has_its_place_in_the_list_and_a_name_of_its_own() {
        let mut names: Vec<_> = Limit::ALL.iter().map(|limit| limit.told().name).collect();
        for (place, limit) in Limit::ALL.into_iter().enumerate() {
            assert_eq!(limit as usize, place, "{limit:?}");
        }
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), Limit::ALL.len());
    }
}
