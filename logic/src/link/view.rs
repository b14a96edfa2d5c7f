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
    is_leaving: bool,
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
            is_leaving: false,
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
        (seen.hello, seen.stats) = (Some(hello), Stats::default());
    }

    /// The gateway said what it holds.
    pub(crate) fn holds(&self, stats: Stats) {
        let mut seen = self.0.lock();
        seen.stats = stats;
        if let Some((_, last)) = &mut seen.up {
            *last = Instant::now();
        }
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
        self.0.lock().is_leaving = is_leaving;
    }

    /// Whether the gateway goes: its link is used to its end and not opened again.
    pub(crate) fn is_leaving(&self) -> bool {
        self.0.lock().is_leaving
    }

    /// Whether the link came up since `since` and then was well for some time.
    pub(crate) fn was_up_since(&self, since: Instant, least: Duration) -> bool {
        let seen = self.0.lock();
        seen.up.is_some_and(|(from, last)| from >= since && last.duration_since(from) >= least)
    }
}
