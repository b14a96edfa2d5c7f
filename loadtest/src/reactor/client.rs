//! What a loop keeps of one client, and how a connection ends.

use std::time::{Duration, Instant};

use mio::net::TcpStream;

use super::Reactor;

/// Where a client is on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Stage {
    /// No connection.
    #[default]
    Away,
    /// The TCP handshake is under way.
    Connecting,
    /// The request is sent, the answer has not come.
    Upgrading,
    /// Agreed; the hello has not come.
    Agreed,
    /// Greeted: items count.
    Greeted,
}

/// One client: 24 bytes with the bytes of a frame that is not whole elsewhere.
#[derive(Debug, Default)]
pub(super) struct Client {
    pub(super) stream: Option<TcpStream>,
    pub(super) stage: Stage,
    /// Has been greeted once.
    pub(super) known: bool,
    /// Messages may be compressed.
    pub(super) deflates: bool,
    /// Attempts so far; part of the handshake's key.
    pub(super) attempts: u32,
    /// Attempts since the last greeting.
    pub(super) failed: u8,
    #[expect(
        clippy::box_collection,
        reason = "8 bytes a client instead of 24; few clients have one at a time"
    )]
    pub(super) part: Option<Box<Vec<u8>>>,
}

/// Why a connection ended.
#[derive(Debug)]
pub(super) enum End {
    /// By a close frame with this code; 1006: by nothing but the end of the stream.
    Closed(u16),
    /// Before or instead of a WebSocket connection.
    Failed(String),
    /// The gateway sent what no gateway may.
    Garbage(&'static str),
}

/// The first wait before the next attempt, and the longest; drawn evenly below, doubled each time.
const RETRY_FIRST: Duration = Duration::from_millis(200);
const RETRY_MOST: Duration = Duration::from_secs(3);

impl Reactor {
    /// Ends a client's connection and decides about the next one.
    pub(super) fn end(&mut self, local: u32, end: End) {
        let (number, gateway) = (self.number(local), self.gateway(local));
        let is_prompt = self.shared.course.world.is_prompt(number);
        let client = &mut self.clients[local as usize];
        let stage = std::mem::take(&mut client.stage);
        client.stream = None;
        client.part = None;
        let now = self.shared.course.ledger.now();
        let code = match &end {
            End::Closed(code) => *code,
            End::Failed(_) | End::Garbage(_) => 1006,
        };
        if let End::Garbage(what) = &end {
            self.tracker.garbage(number, what, now);
        }
        if !is_prompt {
            self.slow.note_close(local, code);
        }
        let connections = if is_prompt { &mut self.connections[gateway] } else { &mut self.slow.connections };
        if stage == Stage::Greeted {
            connections.disconnects += 1;
            *connections.close_codes.entry(code).or_default() += 1;
            self.shared.meter.went();
            self.tracker.went(number, now, false);
            self.churn.forget(local);
        } else {
            connections.failures += 1;
            _ = self.connects.finish(local);
            let why = match end {
                End::Closed(code) => format!("closed before the hello, with code {code}"),
                End::Failed(why) => why,
                End::Garbage(what) => what.to_owned(),
            };
            let url = &self.shared.gateways[gateway].0.url;
            *self.shared.last_failure.lock() = Some(format!("{url}: {why}"));
        }
        // 4500 to 4999 say: do not come back.
        if !(4500..5000).contains(&code) {
            client.failed = client.failed.saturating_add(1);
            let ceiling = (RETRY_FIRST * 2_u32.pow(u32::from(client.failed).min(5))).min(RETRY_MOST);
            let wait = ceiling.mul_f64(0.25 + 0.75 * self.random.f64());
            self.connects.retry(local, Instant::now() + wait);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_is_small() {
        // A million of them are 24 MB; what they have received is in the tracker, 4 B a slot.
        assert_eq!(size_of::<Client>(), 24);
    }
}
