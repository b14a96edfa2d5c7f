//! What a gateway says to a client, as far as a client needs it.

use serde::Deserialize;
use serde_json::value::RawValue;

/// A frame.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Frame<'a> {
    pub(crate) cmd: String,
    pub(crate) seq: Option<String>,
    #[serde(borrow)]
    pub(crate) items: Vec<Item<'a>>,
    #[serde(borrow)]
    pub(crate) data: Option<&'a RawValue>,
    pub(crate) response: Option<Response>,
    pub(crate) room: Option<String>,
    pub(crate) user: bool,
    pub(crate) epoch: Option<String>,
    pub(crate) offset: Option<u64>,
}

/// An item of a push frame.
#[derive(Debug, Deserialize)]
pub(crate) struct Item<'a> {
    #[serde(default)]
    pub(crate) room: Option<String>,
    #[serde(default)]
    pub(crate) user: bool,
    #[serde(default)]
    pub(crate) epoch: Option<String>,
    #[serde(default)]
    pub(crate) offset: Option<u64>,
    #[serde(borrow)]
    pub(crate) data: &'a RawValue,
}

/// The reply to a command.
#[derive(Debug, Deserialize)]
pub(crate) struct Response {
    pub(crate) code: u16,
    #[serde(default)]
    pub(crate) data: Option<Replied>,
}

/// What a reply to `join` or `login` says about a history.
#[derive(Debug, Default, Clone, Deserialize)]
#[serde(default)]
pub(crate) struct Replied {
    pub(crate) recovered: Option<bool>,
    pub(crate) epoch: Option<String>,
    pub(crate) offset: Option<u64>,
}

/// The data of a hello.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Hello {
    pub(crate) positions: Vec<Begin>,
}

/// Where a client begins in a history.
#[derive(Debug, Deserialize)]
pub(crate) struct Begin {
    #[serde(default)]
    pub(crate) room: Option<String>,
    #[serde(default)]
    pub(crate) user: bool,
    pub(crate) epoch: String,
    pub(crate) offset: u64,
}

/// A command, with what a client says of where it is.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Sent {
    pub(crate) seq: String,
    pub(crate) cmd: String,
    pub(crate) data: SentData,
}

/// The data of one.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct SentData {
    pub(crate) room: Option<String>,
    pub(crate) epoch: Option<String>,
}

/// The last item seen of a history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) epoch: String,
    pub(crate) offset: u64,
}

impl Place {
    /// A place out of two members that may be missing.
    pub(crate) fn of(epoch: Option<String>, offset: Option<u64>) -> Option<Self> {
        Some(Self { epoch: epoch?, offset: offset? })
    }
}
