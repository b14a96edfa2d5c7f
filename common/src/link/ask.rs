//! What logic asks of a gateway on the control stream, and what it is answered: lists, counts, and changes to
//! connections that are already there.
//!
//! Each [`Ask`] has an id that its [`Answer`] repeats; answers come in whatever order. Every answer is bounded: a
//! list comes in pages, and a page may have fewer entries than were asked for and still not be the last.

use crate::names::Kind;

/// Most entries of a page.
pub const PAGE_MAX: u32 = 1_000;

/// Questions of one link that a gateway answers at a time; more are answered `busy`.
pub const ASKS_MAX: usize = 64;

/// A question or a command.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Ask {
    /// Repeated in the answer; never 0.
    #[prost(uint64, tag = "1")]
    pub id: u64,
    /// What it is.
    #[prost(oneof = "ask::Body", tags = "2, 3, 4, 5, 6")]
    pub body: Option<ask::Body>,
}

/// What an [`Ask`] is.
#[allow(clippy::module_inception, reason = "prost's derive wants a oneof beside its message's name")]
pub mod ask {
    /// What it is.
    #[derive(Clone, PartialEq, prost::Oneof)]
    pub enum Body {
        /// A page of connections; with their rooms if the scope is one connection.
        #[prost(message, tag = "2")]
        Clients(super::ListClients),
        /// A page of names of groups, each with how many connections it has.
        #[prost(message, tag = "3")]
        Names(super::ListNames),
        /// How many connections there are.
        #[prost(message, tag = "4")]
        Count(super::Scope),
        /// Change connections. Answered once a push that is accepted from then on finds them changed.
        #[prost(message, tag = "5")]
        Change(super::Change),
        /// Take no new clients, say good-bye to those here, and go.
        #[prost(message, tag = "6")]
        Drain(super::Drain),
    }
}

/// Which connections are meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, prost::Enumeration)]
#[repr(i32)]
pub enum Whose {
    /// All.
    All = 0,
    /// Those in the room `name`.
    Room = 1,
    /// Those of the user `name`.
    User = 2,
    /// The one with the id `local`.
    Client = 3,
}

/// A set of connections of one gateway.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Scope {
    /// Which.
    #[prost(enumeration = "Whose", tag = "1")]
    pub whose: i32,
    /// The room or the user.
    #[prost(string, tag = "2")]
    pub name: String,
    /// The local half of the connection's id.
    #[prost(fixed64, tag = "3")]
    pub local: u64,
    /// Only those of this application.
    #[prost(uint32, optional, tag = "4")]
    pub app: Option<u32>,
}

impl Scope {
    /// All connections.
    #[must_use]
    pub fn all(app: Option<u32>) -> Self {
        Self { app, ..Self::default() }
    }

    /// The members of a room.
    #[must_use]
    pub fn room(name: &str, app: Option<u32>) -> Self {
        Self { whose: Whose::Room as i32, name: name.to_owned(), local: 0, app }
    }

    /// The connections of a user.
    #[must_use]
    pub fn user(name: &str, app: Option<u32>) -> Self {
        Self { whose: Whose::User as i32, name: name.to_owned(), local: 0, app }
    }

    /// One connection.
    #[must_use]
    pub fn client(local: u64) -> Self {
        Self { whose: Whose::Client as i32, name: String::new(), local, app: None }
    }
}

/// Asks for a page of connections.
#[derive(Clone, PartialEq, prost::Message)]
pub struct ListClients {
    /// Of which.
    #[prost(message, required, tag = "1")]
    pub scope: Scope,
    /// Where to go on, as the page before said; 0: at the beginning.
    #[prost(fixed64, tag = "2")]
    pub from: u64,
    /// Most entries, up to [`PAGE_MAX`].
    #[prost(uint32, tag = "3")]
    pub limit: u32,
}

/// Asks for a page of names.
#[derive(Clone, PartialEq, prost::Message)]
pub struct ListNames {
    /// Of rooms, users or applications.
    #[prost(enumeration = "Kind", tag = "1")]
    pub kind: i32,
    /// Only names with connections of this application, and only those are counted.
    #[prost(uint32, optional, tag = "2")]
    pub app: Option<u32>,
    /// Behind this place; none: from the beginning.
    #[prost(message, optional, tag = "3")]
    pub after: Option<NamePlace>,
    /// Most entries, up to [`PAGE_MAX`].
    #[prost(uint32, tag = "4")]
    pub limit: u32,
}

/// A place in the order of names, which is the same at all nodes: by [`crate::names::order`], then by the name.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, prost::Message)]
pub struct NamePlace {
    /// [`crate::names::order`] of the name.
    #[prost(fixed64, tag = "1")]
    pub order: u64,
    /// The name.
    #[prost(string, tag = "2")]
    pub name: String,
}

impl NamePlace {
    /// The place of a name.
    #[must_use]
    pub fn of(name: &str) -> Self {
        Self { order: crate::names::order(name), name: name.to_owned() }
    }
}

/// What is done to connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, prost::Enumeration)]
#[repr(i32)]
pub enum Act {
    /// Nothing; not to be sent.
    None = 0,
    /// Close with 4502 and `name` as the words.
    Close = 1,
    /// Make them the user `name`'s, and the application's `app` if one is given.
    Bind = 2,
    /// Make them nobody's; the application stays.
    Unbind = 3,
    /// Join the room `name`.
    Join = 4,
    /// Leave the room `name`.
    Leave = 5,
}

/// A change to connections.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Change {
    /// Of which.
    #[prost(message, required, tag = "1")]
    pub scope: Scope,
    /// What.
    #[prost(enumeration = "Act", tag = "2")]
    pub act: i32,
    /// A room, a user or words.
    #[prost(string, tag = "3")]
    pub name: String,
    /// An application.
    #[prost(uint32, optional, tag = "4")]
    pub app: Option<u32>,
}

/// Asks a gateway to go.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Drain {}

/// An answer.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Answer {
    /// Of the question.
    #[prost(uint64, tag = "1")]
    pub id: u64,
    /// What it is.
    #[prost(oneof = "answer::Body", tags = "2, 3, 4, 5, 6")]
    pub body: Option<answer::Body>,
}

/// What an [`Answer`] is.
pub mod answer {
    /// What it is.
    #[derive(Clone, PartialEq, prost::Oneof)]
    pub enum Body {
        /// To `Clients`.
        #[prost(message, tag = "2")]
        Clients(super::Clients),
        /// To `Names`.
        #[prost(message, tag = "3")]
        Names(super::Names),
        /// To `Count`: connections.
        #[prost(uint64, tag = "4")]
        Count(u64),
        /// To `Change` and `Drain`.
        #[prost(message, tag = "5")]
        Changed(super::Changed),
        /// There is no answer.
        #[prost(message, tag = "6")]
        Failed(super::Failed),
    }
}

/// A page of connections.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Clients {
    /// At most as many as were asked for.
    #[prost(message, repeated, tag = "1")]
    pub clients: Vec<Client>,
    /// Where the next page begins; none: this was the last.
    #[prost(fixed64, optional, tag = "2")]
    pub next: Option<u64>,
}

/// One connection.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Client {
    /// The local half of its id.
    #[prost(fixed64, tag = "1")]
    pub local: u64,
    /// Its user.
    #[prost(string, optional, tag = "2")]
    pub user: Option<String>,
    /// Its application.
    #[prost(uint32, optional, tag = "3")]
    pub app: Option<u32>,
    /// When it connected, in milliseconds since 1970 by the gateway's clock, to the second.
    #[prost(uint64, tag = "4")]
    pub since_ms: u64,
    /// Its rooms, if they were asked for.
    #[prost(string, repeated, tag = "5")]
    pub rooms: Vec<String>,
}

/// A page of names.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Names {
    /// In the order of [`NamePlace`], behind the place asked for.
    #[prost(message, repeated, tag = "1")]
    pub names: Vec<Name>,
    /// The page holds everything up to and with this place; none: everything there is.
    #[prost(message, optional, tag = "2")]
    pub upto: Option<NamePlace>,
}

/// A name and its connections at one gateway.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Name {
    /// The name.
    #[prost(string, tag = "1")]
    pub name: String,
    /// How many connections it has there; at least one.
    #[prost(uint64, tag = "2")]
    pub clients: u64,
}

/// What a change did.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct Changed {
    /// Connections that were meant.
    #[prost(uint64, tag = "1")]
    pub matched: u64,
    /// Of them, those that are now other than they were.
    #[prost(uint64, tag = "2")]
    pub changed: u64,
    /// Of them, those that could not be changed: they are in as many rooms as a client may be.
    #[prost(uint64, tag = "3")]
    pub refused: u64,
}

/// Why there is no answer.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Failed {
    /// A word for programs: `busy`, `unsupported`.
    #[prost(string, tag = "1")]
    pub code: String,
}
