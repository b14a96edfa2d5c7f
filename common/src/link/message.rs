//! The messages of the link, as protobuf by way of prost's derive: no schema file, no compiler.
//!
//! Fields are only ever added, with new numbers, and a reader passes over what it does not know: nodes of
//! two releases work together. What a release cannot do without raises [`super::VERSION`].

use bytes::Bytes;

use super::ask::{Answer, Ask};
use super::history::{Fetch, Fetched, Heads};
use crate::names::Kind;
use crate::trace::Context;

/// From logic, on the control stream.
#[derive(Clone, PartialEq, prost::Message)]
pub struct ControlDown {
    /// What it is.
    #[prost(oneof = "control_down::Body", tags = "1, 2, 3, 10, 11, 12")]
    pub body: Option<control_down::Body>,
}

/// What a [`ControlDown`] is.
pub mod control_down {
    /// What it is.
    #[derive(Clone, PartialEq, prost::Oneof)]
    pub enum Body {
        /// The first message.
        #[prost(message, tag = "1")]
        Hello(super::LogicHello),
        /// Routes up to a serial number are in the routing table.
        #[prost(message, tag = "2")]
        RoutesTaken(super::RoutesTaken),
        /// Said once a second, so that silence means death.
        #[prost(message, tag = "3")]
        Alive(super::Alive),
        /// A question or a command.
        #[prost(message, tag = "10")]
        Ask(super::Ask),
        /// A part of a history that the gateway asked for.
        #[prost(message, tag = "11")]
        Fetched(super::Fetched),
        /// Where histories stand that were appended to.
        #[prost(message, tag = "12")]
        Heads(super::Heads),
    }
}

/// From a gateway, on the control stream.
#[derive(Clone, PartialEq, prost::Message)]
pub struct ControlUp {
    /// What it is.
    #[prost(oneof = "control_up::Body", tags = "1, 2, 3, 4, 10, 11")]
    pub body: Option<control_up::Body>,
}

/// What a [`ControlUp`] is.
pub mod control_up {
    /// What it is.
    #[derive(Clone, PartialEq, prost::Oneof)]
    pub enum Body {
        /// The first message.
        #[prost(message, tag = "1")]
        Hello(super::GatewayHello),
        /// Names that the gateway has begun or ceased to hold.
        #[prost(message, tag = "2")]
        Routes(super::Routes),
        /// Said once a second, so that silence means death.
        #[prost(message, tag = "3")]
        Stats(super::Stats),
        /// The link is refused; the gateway closes it after this.
        #[prost(message, tag = "4")]
        Refused(super::Refused),
        /// The answer to a question.
        #[prost(message, tag = "10")]
        Answer(super::Answer),
        /// Asks for a part of a history.
        #[prost(message, tag = "11")]
        Fetch(super::Fetch),
    }
}

/// Who a logic node is.
#[derive(Clone, PartialEq, prost::Message)]
pub struct LogicHello {
    /// [`super::VERSION`] of the sender.
    #[prost(uint32, tag = "1")]
    pub version: u32,
    /// What people call the node.
    #[prost(string, tag = "2")]
    pub name: String,
    /// The run of the node.
    #[prost(fixed64, tag = "3")]
    pub instance: u64,
    /// Patterns of the rooms whose history is kept.
    #[prost(string, repeated, tag = "4")]
    pub history_rooms: Vec<String>,
    /// Patterns of the users whose history is kept.
    #[prost(string, repeated, tag = "5")]
    pub history_users: Vec<String>,
    /// Which engine keeps them: nodes that name another have other histories of the same names. 0: none.
    #[prost(fixed64, tag = "6")]
    pub engine: u64,
    /// Counts up with each start of a node of this name: of two links with the same name, the one with the lower
    /// number is of a run that was replaced, and is ended. 0: not known.
    #[prost(fixed64, tag = "7")]
    pub fence: u64,
}

/// Who a gateway is.
#[derive(Clone, PartialEq, prost::Message)]
pub struct GatewayHello {
    /// [`super::VERSION`] of the sender.
    #[prost(uint32, tag = "1")]
    pub version: u32,
    /// What people call the node; unique in a cluster.
    #[prost(string, tag = "2")]
    pub name: String,
    /// The run of the node; its clients' ids begin with it.
    #[prost(fixed64, tag = "3")]
    pub instance: u64,
    /// Where clients reach it: `ws://host:port`.
    #[prost(string, tag = "4")]
    pub client_url: String,
    /// The release, for people.
    #[prost(string, tag = "5")]
    pub release: String,
}

/// Why a gateway does not want this link.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Refused {
    /// For people: what to change.
    #[prost(string, tag = "1")]
    pub reason: String,
}

/// Names that a gateway has begun or ceased to hold. In order on one link; a later word on a name replaces
/// an earlier one.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Routes {
    /// Counts up from 1 on each link; answered by [`RoutesTaken`].
    #[prost(uint64, tag = "1")]
    pub serial: u64,
    /// Names that have at least one connection now.
    #[prost(message, repeated, tag = "2")]
    pub begun: Vec<Route>,
    /// Names that have none any more.
    #[prost(message, repeated, tag = "3")]
    pub ceased: Vec<Route>,
    /// The snapshot that a link begins with is complete with this message: from now on, a name that was not
    /// said to have begun is not held.
    #[prost(bool, tag = "4")]
    pub complete: bool,
}

/// One name.
#[derive(Clone, PartialEq, Eq, Hash, prost::Message)]
pub struct Route {
    /// The kind of group.
    #[prost(enumeration = "Kind", tag = "1")]
    pub kind: i32,
    /// Its name.
    #[prost(string, tag = "2")]
    pub name: String,
}

/// Routes up to and with `serial` are in the routing table.
#[derive(Clone, PartialEq, prost::Message)]
pub struct RoutesTaken {
    /// Of the last [`Routes`] taken.
    #[prost(uint64, tag = "1")]
    pub serial: u64,
}

/// A sign of life.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Alive {
    /// Counts up from 1.
    #[prost(uint64, tag = "1")]
    pub beat: u64,
}

/// What a gateway holds now.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Stats {
    /// Registered connections.
    #[prost(uint64, tag = "1")]
    pub clients: u64,
    /// Users with at least one connection here.
    #[prost(uint64, tag = "2")]
    pub users: u64,
    /// Rooms with at least one connection here.
    #[prost(uint64, tag = "3")]
    pub rooms: u64,
    /// The gateway takes no new clients and will go.
    #[prost(bool, tag = "4")]
    pub draining: bool,
    /// The farthest marks that came with deliveries, one for each part of the store.
    #[prost(message, repeated, tag = "5")]
    pub marks: Vec<Mark>,
}

/// From logic, on the data stream.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Down {
    /// What it is.
    #[prost(oneof = "down::Body", tags = "1")]
    pub body: Option<down::Body>,
}

/// What a [`Down`] is.
pub mod down {
    /// What it is.
    #[derive(Clone, PartialEq, prost::Oneof)]
    pub enum Body {
        /// A push, or the part of it that concerns this gateway.
        #[prost(message, tag = "1")]
        Delivery(super::Delivery),
    }
}

/// Whom a delivery is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, prost::Enumeration)]
#[repr(i32)]
pub enum To {
    /// Every connection (of the application, if one is given).
    All = 0,
    /// The rooms in `names`.
    Rooms = 1,
    /// The users in `names`.
    Users = 2,
    /// The connections in `clients`.
    Clients = 3,
}

/// A place in a history.
#[derive(Clone, Copy, PartialEq, Eq, Hash, prost::Message)]
pub struct Position {
    /// Which life of the history ([`Epoch`](crate::ids::Epoch)); 0: none.
    #[prost(fixed64, tag = "1")]
    pub epoch: u64,
    /// The item's number in it, from 1; 0: before the first.
    #[prost(fixed64, tag = "2")]
    pub offset: u64,
}

/// A push, or the part of it that concerns one gateway.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Delivery {
    /// The push's serial number at this logic run; counts up on each link.
    #[prost(uint64, tag = "1")]
    pub serial: u64,
    /// Whom it is for.
    #[prost(enumeration = "To", tag = "2")]
    pub to: i32,
    /// Rooms or users.
    #[prost(string, repeated, tag = "3")]
    pub names: Vec<String>,
    /// Connections, as the local halves of their ids.
    #[prost(fixed64, repeated, tag = "4")]
    pub clients: Vec<u64>,
    /// Only connections of this application.
    #[prost(uint32, optional, tag = "5")]
    pub app: Option<u32>,
    /// Not these connections, as the local halves of their ids; those of other gateways are left out.
    #[prost(fixed64, repeated, tag = "6")]
    pub except: Vec<u64>,
    /// Within a window only the newest item with this key is sent; empty: none.
    #[prost(string, tag = "7")]
    pub key: String,
    /// Does not wait for the window.
    #[prost(bool, tag = "8")]
    pub urgent: bool,
    /// Not sent once so many milliseconds have passed since it came; 0: no end.
    #[prost(uint64, tag = "9")]
    pub ttl_ms: u64,
    /// The item's JSON from its `"event"` or `"data"` member on, closing brace included:
    /// `"event":"price","data":{…}}`. The gateway puts `{"room":"…",` and the like before it.
    #[prost(bytes = "bytes", tag = "10")]
    pub body: Bytes,
    /// The place of the item in the history of each of `names`, in their order; none at all if none of them keeps
    /// one, and epoch 0 for each that does not.
    #[prost(message, repeated, tag = "11")]
    pub positions: Vec<Position>,
    /// How far the store had come when it took the item, for each part of it that did.
    #[prost(message, repeated, tag = "12")]
    pub marks: Vec<Mark>,
    /// The trace that its call belongs to; none for most.
    #[prost(message, optional, tag = "13")]
    pub trace: Option<Context>,
}

/// How far one part of a store had come: what is beyond it was not there yet, and all before it was.
///
/// A store that comes back with less than its marks say has lost something that was acknowledged.
#[derive(Clone, Copy, PartialEq, Eq, Hash, prost::Message)]
pub struct Mark {
    /// Which part of the store.
    #[prost(uint32, tag = "1")]
    pub shard: u32,
    /// Between two restarts of the store: random, so that what was lost and what came in its place differ.
    #[prost(fixed64, tag = "2")]
    pub term: u64,
    /// Counts up with each append to the part, over all terms.
    #[prost(uint64, tag = "3")]
    pub seq: u64,
}

/// From a gateway, on the data stream.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Up {
    /// What it is.
    #[prost(oneof = "up::Body", tags = "1")]
    pub body: Option<up::Body>,
}

/// What an [`Up`] is.
pub mod up {
    /// What it is.
    #[derive(Clone, PartialEq, prost::Oneof)]
    pub enum Body {
        /// What became of deliveries.
        #[prost(message, tag = "1")]
        Receipts(super::Receipts),
    }
}

/// What became of some deliveries.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Receipts {
    /// Deliveries that were taken into the merger, in the order in which they came.
    #[prost(message, repeated, tag = "1")]
    pub taken: Vec<Taken>,
    /// Counts of what happened to them since; may come several times for one delivery, and add up.
    #[prost(message, repeated, tag = "2")]
    pub counts: Vec<Counts>,
}

/// A delivery was taken.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Taken {
    /// Of the delivery.
    #[prost(uint64, tag = "1")]
    pub serial: u64,
    /// Connections that it matched when it came.
    #[prost(uint64, tag = "2")]
    pub matched: u64,
}

/// What happened to a delivery. `matched` is counted anew when it is written, for connections come and go
/// in a window: matched = written + conflated + expired + dropped + still pending, at any moment.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Counts {
    /// Of the delivery.
    #[prost(uint64, tag = "1")]
    pub serial: u64,
    /// By how much the number of matched connections differs from what was said before.
    #[prost(sint64, tag = "2")]
    pub matched_delta: i64,
    /// Written to the kernel.
    #[prost(uint64, tag = "3")]
    pub written: u64,
    /// Replaced by a newer item with the same key.
    #[prost(uint64, tag = "4")]
    pub conflated: u64,
    /// Older than its time to live when its turn came.
    #[prost(uint64, tag = "5")]
    pub expired: u64,
    /// Dropped because the connection's outbox was full.
    #[prost(uint64, tag = "6")]
    pub dropped_slow: u64,
    /// Dropped because the connection went while it waited in its outbox.
    #[prost(uint64, tag = "7")]
    pub dropped_gone: u64,
    /// Nothing is pending any more: the last word on this delivery.
    #[prost(bool, tag = "8")]
    pub settled: bool,
}
