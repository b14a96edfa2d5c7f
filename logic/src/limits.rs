//! How many at most, and how often: the limits of a logic node, and what an operator is told of them.

use std::time::Duration;

use common::http1::Bounds;
use common::limits::rate::Rate;
use common::limits::told::{Figures, Told};
use common::limits::{BODY_TIME_MAX, DATA_BYTES_MAX, JSON_DEPTH_MAX, PUSH_BODY_BYTES_MAX};

use crate::api::PUSHES_MAX;
use crate::settings::Settings;

/// Limits of calls; `None`: there is none.
///
/// How often somebody calls is not limited at first: behind one address there may be a proxy, and what a key is for
/// only its owner knows. Sizes and times are, as they must be where a stranger may send anything.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Calls with one key; the file of keys may say another number for a key.
    pub calls_per_key: Option<Rate>,
    /// Calls of one address that show no key which may make them.
    pub calls_per_ip: Option<Rate>,
    /// The head of a request.
    pub head: Bounds,
    /// Longest body of a push or a batch, in bytes.
    pub body_bytes_max: usize,
    /// A body must be complete in this time, counted from the end of its head.
    pub body_time_max: Duration,
    /// What is bounded inside a body.
    pub sizes: Sizes,
}

/// Bounds inside a body. Gateways rely on the defaults, so they may only be lower.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sizes {
    /// Longest `data` of a push, in bytes as it was sent.
    pub data_bytes_max: usize,
    /// How deep arrays and objects may nest.
    pub json_depth_max: usize,
}

/// Seconds' worth of calls that may be made at once.
pub const CALL_BURST_SECS: u32 = 1;

impl Default for Limits {
    fn default() -> Self {
        Self {
            calls_per_key: None,
            calls_per_ip: None,
            head: Bounds::default(),
            body_bytes_max: PUSH_BODY_BYTES_MAX,
            body_time_max: BODY_TIME_MAX,
            sizes: Sizes::default(),
        }
    }
}

impl Default for Sizes {
    fn default() -> Self {
        Self { data_bytes_max: DATA_BYTES_MAX, json_depth_max: JSON_DEPTH_MAX }
    }
}

/// All limits that a caller may meet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Limit {
    Connections,
    CallsPerKey,
    CallsPerIp,
    ProxyHeader,
    HeadBytes,
    HeaderFields,
    HeadTime,
    BodyBytes,
    BodyTime,
    DataBytes,
    BatchPushes,
    JsonDepth,
    LinkQueue,
}

/// What tells how limits are used.
pub(crate) struct Use<'a> {
    pub(crate) settings: &'a Settings,
    /// Those that hold now.
    pub(crate) limits: &'a Limits,
    /// Connections of callers, and calls that outlive them.
    pub(crate) callers: usize,
    /// Bytes in the fullest queue of a link.
    pub(crate) queue_bytes: usize,
}

impl Limit {
    pub(crate) const ALL: [Self; 13] = [
        Self::Connections,
        Self::CallsPerKey,
        Self::CallsPerIp,
        Self::ProxyHeader,
        Self::HeadBytes,
        Self::HeaderFields,
        Self::HeadTime,
        Self::BodyBytes,
        Self::BodyTime,
        Self::DataBytes,
        Self::BatchPushes,
        Self::JsonDepth,
        Self::LinkQueue,
    ];

    /// Its name, its flag and its answer.
    #[rustfmt::skip]
    pub(crate) fn told(self) -> Told {
        let (name, flag, answer) = match self {
            Self::Connections => ("connections", "max-connections", "none: more wait in the backlog"),
            Self::CallsPerKey => ("calls_per_key", "calls-per-key", "429 with Retry-After"),
            Self::CallsPerIp => ("calls_per_ip", "calls-per-ip", "429 with Retry-After"),
            Self::ProxyHeader => ("proxy_header", "proxy-protocol", "closed without a word"),
            Self::HeadBytes => ("head_bytes", "head-bytes", "431"),
            Self::HeaderFields => ("header_fields", "header-fields", "431"),
            Self::HeadTime => ("head_time", "head-time", "408"),
            Self::BodyBytes => ("body_bytes", "body-bytes", "413"),
            Self::BodyTime => ("body_time", "body-time", "408"),
            Self::DataBytes => ("data_bytes", "data-bytes", "413"),
            Self::BatchPushes => ("batch_pushes", "", "413"),
            Self::JsonDepth => ("json_depth", "json-depth", "400, json_too_deep"),
            Self::LinkQueue => ("link_queue_bytes", "", "503 with Retry-After, nothing sent"),
        };
        Told { name, flag, answer }
    }

    /// The limit that a problem is about.
    pub(crate) fn of(code: &str) -> Option<Self> {
        Some(match code {
            "body_too_large" => Self::BodyBytes,
            "body_timeout" => Self::BodyTime,
            "data_too_large" => Self::DataBytes,
            "batch_too_large" => Self::BatchPushes,
            "json_too_deep" => Self::JsonDepth,
            "overloaded" => Self::LinkQueue,
            _ => return None,
        })
    }

    /// How it stands; times are in milliseconds.
    pub(crate) fn figures(self, now: &Use<'_>) -> Figures {
        let limits = now.limits;
        let ms = |time: Duration| Figures::most(time.as_millis());
        let rate = |rate: Option<Rate>| Figures { most: rate.map(|rate| rate.per_second()), used: None };
        match self {
            Self::Connections => Figures::most(now.settings.connections_max).used(now.callers),
            Self::CallsPerKey => rate(limits.calls_per_key),
            Self::CallsPerIp => rate(limits.calls_per_ip),
            Self::ProxyHeader => Figures::most(common::edge::HEADER_BYTES_MAX),
            Self::HeadBytes => Figures::most(limits.head.head_bytes_max),
            Self::HeaderFields => Figures::most(limits.head.headers_max),
            Self::HeadTime => ms(limits.head.head_time_max),
            Self::BodyBytes => Figures::most(limits.body_bytes_max),
            Self::BodyTime => ms(limits.body_time_max),
            Self::DataBytes => Figures::most(limits.sizes.data_bytes_max),
            Self::BatchPushes => Figures::most(PUSHES_MAX),
            Self::JsonDepth => Figures::most(limits.sizes.json_depth_max),
            Self::LinkQueue => Figures::most(now.settings.link_queue_bytes_max).used(now.queue_bytes),
        }
    }
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
