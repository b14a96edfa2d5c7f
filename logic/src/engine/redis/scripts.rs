//! The scripts that run inside Redis, one after the other and each whole: what is one step for all nodes is one script.

/// One of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Script {
    /// Appends the items of a call.
    Append,
    /// Reads a part of a history.
    Read,
    /// What was appended to lately.
    Changed,
    /// A node lives, and says how far it saw the store come.
    Attend,
    /// A node takes its name.
    Take,
    /// Calls that store no item, and answers.
    Once,
    /// Which gateways have announced themselves.
    Share,
}

impl Script {
    /// All, in the order of their numbers.
    pub(super) const ALL: [Self; 7] =
        [Self::Append, Self::Read, Self::Changed, Self::Attend, Self::Take, Self::Once, Self::Share];

    /// As Redis is given it.
    pub(super) fn text(self) -> &'static str {
        macro_rules! with_common {
            ($file:literal) => {
                concat!(include_str!("scripts/common.lua"), include_str!($file))
            };
        }
        match self {
            Self::Append => with_common!("scripts/append.lua"),
            Self::Read => with_common!("scripts/read.lua"),
            Self::Changed => with_common!("scripts/changed.lua"),
            Self::Attend => with_common!("scripts/attend.lua"),
            Self::Take => with_common!("scripts/take.lua"),
            Self::Once => include_str!("scripts/once.lua"),
            Self::Share => with_common!("scripts/share.lua"),
        }
    }

    /// As counters call it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Append => "append",
            Self::Read => "read",
            Self::Changed => "changed",
            Self::Attend => "attend",
            Self::Take => "take",
            Self::Once => "once",
            Self::Share => "share",
        }
    }
}

/// The keys and arguments of a script.
#[derive(Debug, Default)]
pub(super) struct Call {
    pub(super) keys: Vec<Vec<u8>>,
    pub(super) args: Vec<Vec<u8>>,
}

impl Call {
    /// Without any yet.
    pub(super) fn new() -> Self {
        Self::default()
    }

    /// One more key.
    pub(super) fn key(&mut self, key: impl Into<Vec<u8>>) -> &mut Self {
        self.keys.push(key.into());
        self
    }

    /// One more argument.
    pub(super) fn arg(&mut self, arg: impl AsRef<[u8]>) -> &mut Self {
        self.args.push(arg.as_ref().to_vec());
        self
    }

    /// One more argument, a number.
    pub(super) fn number(&mut self, number: impl std::fmt::Display) -> &mut Self {
        self.arg(number.to_string())
    }
}
