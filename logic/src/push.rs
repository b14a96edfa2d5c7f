//! What a push is, once it is parsed and checked. It borrows the caller's bytes: `data` is never copied
//! before it is put into a link message.

use common::ids::ClientId;
use common::names::Kind;
use common::trace::Trace;

/// One push, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Push<'a> {
    /// Whom it is for.
    pub(crate) to: Target,
    /// Only connections of this application.
    pub(crate) app: Option<u32>,
    /// Not these connections.
    pub(crate) except: Vec<ClientId>,
    /// The event's name as the caller wrote it, a JSON string with its quotes.
    pub(crate) event: Option<&'a str>,
    /// The data as the caller wrote it, byte for byte.
    pub(crate) data: &'a str,
    /// Within a window only the newest item with this key is sent; empty: none.
    pub(crate) key: String,
    /// Does not wait for the window.
    pub(crate) urgent: bool,
    /// Not sent once so many milliseconds old; 0: no end.
    pub(crate) ttl_ms: u64,
    /// When the caller wants the answer.
    pub(crate) wait: Wait,
    /// The trace that its call belongs to.
    pub(crate) trace: Option<Trace>,
}

impl Push<'_> {
    /// Whom it is for, in a few words for the log.
    pub(crate) fn whom(&self) -> String {
        match &self.to {
            Target::All => "all".to_owned(),
            Target::Names(kind, names) => {
                let of = if *kind == Kind::User { "user" } else { "room" };
                let first = names.first().map_or("", String::as_str);
                match names.len() {
                    0 | 1 => format!("{of} {first}"),
                    several => format!("{of} {first} and {} more", several - 1),
                }
            }
            Target::Clients(clients) => format!("{} clients", clients.len()),
        }
    }
}

/// Whom a push is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Target {
    /// Every connection.
    All,
    /// Rooms or users: at least one, none twice.
    Names(Kind, Vec<String>),
    /// Connections: at least one, none twice.
    Clients(Vec<ClientId>),
}

/// When a push is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wait {
    /// Once the gateways have taken it.
    Accepted,
    /// Once nothing of it is pending.
    Written,
}
