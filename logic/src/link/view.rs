//! What is known of a gateway, for those who ask: `GET /v1/gateways` and `/statusz`.

use std::time::{Duration, Instant};

use common::link::message::{GatewayHello, Stats};
use parking_lot::Mutex;

/// How a link is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    /// Being opened for the first time.
    Connecting,
    /// Up.
    Linked,
    /// Lost or unreachable; tried again.
    Lost,
    /// The gateway does not want us, or we do not understand it.
    Refused,
    /// Another address leads to the same gateway.
    Duplicate,
}

impl State {
    /// As it stands in answers.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Connecting => "connecting",
            Self::Linked => "linked",
            Self::Lost => "lost",
            Self::Refused => "refused",
            Self::Duplicate => "duplicate",
        }
    }
}

/// What is known of one gateway.
#[derive(Debug)]
pub(crate) struct View(Mutex<Seen>);

/// The same, at one moment.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    /// How its link is.
    pub(crate) state: State,
    /// Since when.
    pub(crate) since: Instant,
    /// Why there is no link.
    pub(crate) reason: Option<String>,
    /// What it said of itself last.
    pub(crate) hello: Option<GatewayHello>,
    /// What it holds.
    pub(crate) stats: Stats,
    up: Option<(Instant, Instant)>,
    said_leaving: bool,
}

impl Seen {
    /// Whether the gateway goes: it said so, or drains.
    pub(crate) fn is_leaving(&self) -> bool {
        self.said_leaving || self.stats.draining
    }
}

impl View {
    /// A gateway of which only the address is known.
    pub(crate) fn new() -> Self {
        Self(Mutex::new(Seen {
            state: State::Connecting,
            since: Instant::now(),
            reason: None,
            hello: None,
            stats: Stats::default(),
            up: None,
            said_leaving: false,
        }))
    }

    /// What is known now.
    pub(crate) fn seen(&self) -> Seen {
        self.0.lock().clone()
    }

    /// The link is up.
    pub(crate) fn is_up(&self, hello: GatewayHello) {
        let mut seen = self.0.lock();
        let now = Instant::now();
        (seen.state, seen.since, seen.reason, seen.up) = (State::Linked, now, None, Some((now, now)));
        (seen.hello, seen.stats, seen.said_leaving) = (Some(hello), Stats::default(), false);
    }

    /// The gateway said what it holds.
    pub(crate) fn holds(&self, stats: Stats) {
        let mut seen = self.0.lock();
        seen.stats = stats;
        if let Some((_, last)) = &mut seen.up {
            *last = Instant::now();
        }
    }

    /// The link ends; why is told later. Whether the gateway had said that it goes.
    ///
    /// One that drains has gone if it `hung_up`; one that only became silent may still have clients.
    pub(crate) fn ends(&self, hung_up: bool) -> bool {
        let mut seen = self.0.lock();
        seen.said_leaving |= hung_up && seen.stats.draining;
        (seen.state, seen.since, seen.reason) = (State::Lost, Instant::now(), None);
        seen.stats = Stats::default();
        seen.said_leaving
    }

    /// There is no link. Whether that, or its reason, is news.
    pub(crate) fn is_down(&self, state: State, reason: &str) -> bool {
        let mut seen = self.0.lock();
        let is_news = seen.state != state || seen.reason.as_deref() != Some(reason);
        if seen.state != state {
            seen.since = Instant::now();
        }
        seen.state = state;
        seen.reason = Some(reason.to_owned());
        seen.stats = Stats::default();
        is_news
    }

    /// The gateway said that it goes, or that it stays after all.
    pub(crate) fn leaves(&self, is_leaving: bool) {
        self.0.lock().said_leaving = is_leaving;
    }

    /// Whether the link came up since `since` and then was well for some time.
    pub(crate) fn was_up_since(&self, since: Instant, least: Duration) -> bool {
        let seen = self.0.lock();
        seen.up.is_some_and(|(from, last)| from >= since && last.duration_since(from) >= least)
    }
}
