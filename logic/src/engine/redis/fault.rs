//! Why a call of Redis failed, in words for people, and what follows from it.

use redis::{ErrorKind, RedisError};

/// Why a call failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Fault {
    /// Redis has no memory left.
    Full,
    /// The key was used for another call.
    OtherCall,
    /// Another server has it now; nothing was done. Which, if it was said, and whether it is only to be asked.
    Elsewhere { address: Option<String>, ask: bool },
    /// The connection is of no use any more.
    Broken(String),
    /// Something else: why for counters, and for people.
    Away(&'static str, String),
}

impl Fault {
    /// What is said of a server that is no primary.
    pub(super) const REPLICA: &str =
        "this Redis is a replica, which may only be read: name its primary, or the Sentinels that know it";

    /// As counters call it.
    pub(super) fn reason(&self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::OtherCall => "other_call",
            Self::Elsewhere { .. } => "moved",
            Self::Broken(_) => "connection",
            Self::Away(reason, _) => reason,
        }
    }

    /// For people.
    pub(super) fn words(&self) -> String {
        match self {
            Self::Full => "it has no memory left (maxmemory)".to_owned(),
            Self::OtherCall => "the key was used for another call".to_owned(),
            Self::Elsewhere { .. } => "parts of the Cluster are being moved".to_owned(),
            Self::Broken(why) | Self::Away(_, why) => why.clone(),
        }
    }

    /// From what the client library says.
    pub(super) fn of(error: &RedisError) -> Self {
        if error.is_io_error() || matches!(error.kind(), ErrorKind::Client | ErrorKind::Parse) {
            return Self::Broken(format!("the connection to Redis is lost: {}", first_line(error)));
        }
        let is_of_password = error.kind() == ErrorKind::AuthenticationFailed;
        match error.code() {
            Some(code) => Self::of_code(code, error),
            None if is_of_password => Self::away("password", WRONG_PASSWORD),
            None => Self::Away("other", format!("Redis answered: {}", first_line(error))),
        }
    }

    fn of_code(code: &str, error: &RedisError) -> Self {
        let (reason, words) = match code {
            "OOM" => return Self::Full,
            "OTHERCALL" => return Self::OtherCall,
            "MOVED" | "ASK" => {
                let address = error.redirect_node().map(|(address, _)| address.to_owned());
                return Self::Elsewhere { address, ask: code == "ASK" };
            }
            "TRYAGAIN" => return Self::Elsewhere { address: None, ask: false },
            "REPLICA" | "READONLY" => ("readonly", Self::REPLICA),
            "NEWTENURE" => (
                "restarted",
                "Redis was restarted or failed over: nodes compare what it has with what they saw of it",
            ),
            "FENCED" => (
                "fenced",
                "another run of this node's name has taken over: names are unique in a cluster (--name)",
            ),
            "LOADING" => ("loading", "Redis is loading its data"),
            "MISCONF" => ("disk", "Redis takes no writes since it cannot save to its disk (MISCONF)"),
            "NOREPLICAS" => ("replicas", "Redis has fewer replicas than min-replicas-to-write asks for"),
            "CLUSTERDOWN" => ("cluster", "the Redis Cluster is down: some of its slots have no node"),
            "MASTERDOWN" => ("cluster", "this Redis has lost its primary"),
            "BUSY" => ("busy", "Redis is busy with a script of somebody (BUSY)"),
            "NOAUTH" => ("password", "Redis wants a password (--engine-password-file)"),
            "WRONGPASS" => ("password", WRONG_PASSWORD),
            "NOPERM" => {
                return Self::Away(
                    "permission",
                    format!("the Redis user may not do what is needed here: {}", first_line(error)),
                );
            }
            _ => return Self::Away("other", format!("Redis answered: {}", first_line(error))),
        };
        Self::away(reason, words)
    }

    fn away(reason: &'static str, words: &str) -> Self {
        Self::Away(reason, words.to_owned())
    }
}

const WRONG_PASSWORD: &str = "Redis does not accept the user or the password (WRONGPASS)";

/// Errors of scripts go on for lines, and what stands behind the first is where in the script.
fn first_line(error: &RedisError) -> String {
    error.to_string().lines().next().unwrap_or_default().to_owned()
}
