//! How entering a room or becoming a user's went.

use crate::limits::Limit;

/// How joining a room went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Join {
    Joined,
    Already,
    /// The client is in as many rooms as it may be.
    TooMany,
    /// There are as many rooms here as there may be.
    Full,
}

/// What keeps a connection out of a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Overflow {
    /// The user has as many connections as it may.
    User,
    /// There are as many rooms here as there may be.
    Rooms,
}

impl Overflow {
    /// Which limit it is.
    pub(crate) fn limit(self) -> Limit {
        match self {
            Self::User => Limit::ConnectionsPerUser,
            Self::Rooms => Limit::Rooms,
        }
    }

    /// The same in words.
    pub(crate) fn words(self) -> &'static str {
        match self {
            Self::User => "this user has as many connections as one user may have here",
            Self::Rooms => "this gateway has as many rooms as it may; try another or later",
        }
    }
}
