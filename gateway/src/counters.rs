//! What this gateway counts, for `/metrics` and `/statusz`.

use common::limits::told::Refusals;
use common::metrics::{Counter, FloatCounter, FloatGauge, Gauge, Histogram, Metrics, exponential_buckets};
use common::slow::Slow;
use common::tls;

use crate::limits::Limit;

/// The gateway's metrics; each name in `/metrics` begins `tidegate_gateway_`.
#[derive(Debug)]
pub(crate) struct Counters {
    /// Pushes that take too long here.
    pub(crate) slow: Slow,
    pub(crate) clients: Gauge,
    pub(crate) users: Gauge,
    pub(crate) rooms: Gauge,
    pub(crate) links: Gauge,
    pub(crate) accepted: Counter,
    pub(crate) accept_exhausted: Counter,
    /// One for each limit; those that have another name too count in both.
    pub(crate) limits: Refusals,
    pub(crate) handshakes: Counter,
    pub(crate) handshakes_refused: Counter,
    pub(crate) tls_refused: tls::Refusals,
    pub(crate) commands: Counter,
    pub(crate) commands_bad: Counter,
    pub(crate) asks: Counter,
    pub(crate) asks_busy: Counter,
    pub(crate) closed: Closed,
    pub(crate) deliveries: Counter,
    pub(crate) unmatched: Counter,
    pub(crate) law: Law,
    pub(crate) written: Counter,
    pub(crate) conflated: Counter,
    pub(crate) expired: Counter,
    pub(crate) dropped_slow: Counter,
    pub(crate) dropped_gone: Counter,
    pub(crate) frames: Counter,
    pub(crate) frames_encoded: Counter,
    pub(crate) writes: Counter,
    pub(crate) write_bytes: Counter,
    pub(crate) outboxes: Gauge,
    pub(crate) incomplete_bytes: Gauge,
    pub(crate) merger_bytes: Gauge,
    pub(crate) routes_unsettled: Counter,
    pub(crate) links_refused: Counter,
    pub(crate) link_ends: LinkEnds,
    pub(crate) links_held: Counter,
    pub(crate) sweep_seconds: Histogram,
    pub(crate) windows: Counter,
    pub(crate) windows_widened: Counter,
    pub(crate) window_late_seconds: Histogram,
    pub(crate) window_seconds: FloatGauge,
    pub(crate) frame_items: Histogram,
    pub(crate) early_items: Counter,
    pub(crate) early_bytes: Counter,
    pub(crate) early_leads: Counter,
    pub(crate) early_crowded: Counter,
    pub(crate) parts: Counter,
    pub(crate) bulk_sweeps: Counter,
    pub(crate) deflate: Deflate,
    pub(crate) history: History,
}

/// What written, conflated, expired and dropped items add up to, with those that are pending.
#[derive(Debug)]
pub(crate) struct Law {
    pub(crate) matched: Gauge,
    pub(crate) pending: Gauge,
}

impl Law {
    fn new(metrics: &Metrics) -> Self {
        Self {
            matched: metrics.register("items_matched", "Items that left the merger, one for each connection"),
            pending: metrics.register("items_pending", "Those of them that wait for a socket"),
        }
    }

    /// So many more connections, and what became of them is known of so many.
    pub(crate) fn count(&self, matched: u64, done: u64) {
        let signed = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
        self.matched.inc_by(signed(matched));
        self.pending.inc_by(signed(matched) - signed(done));
    }
}

/// What clients that come back to a history cost, and how it went.
#[derive(Debug)]
pub(crate) struct History {
    pub(crate) resumes: Counter,
    pub(crate) resets: Counter,
    pub(crate) resumes_failed: Counter,
    pub(crate) fetches: Counter,
    pub(crate) fetches_failed: Counter,
    pub(crate) repaired: Counter,
    pub(crate) waited: Counter,
    pub(crate) waiting_bytes: Gauge,
    pub(crate) doubled: Counter,
    pub(crate) stale: Counter,
    pub(crate) left: Counter,
    pub(crate) reset_groups: Counter,
}

impl Counters {
    /// With nothing that is slow, for a part under test.
    #[cfg(test)]
    pub(crate) fn new(metrics: &Metrics) -> Self {
        Self::with(metrics, Slow::new(metrics, &crate::tally::STAGES))
    }

    pub(crate) fn with(metrics: &Metrics, slow: Slow) -> Self {
        let counter = |name: &str, help: &str| metrics.register::<Counter>(name, help);
        let gauge = |name: &str, help: &str| metrics.register::<Gauge>(name, help);
        let limits = Refusals::new(metrics, Limit::ALL.map(Limit::told));
        let full = "Connections refused because the gateway was full";
        shared(metrics, &limits, Limit::Connections, "refused_full", full);
        let seconds = || Histogram::new(exponential_buckets(0.001, 2.0, 16));
        let histogram = |name: &str, help: &str, buckets| metrics.register_as(name, help, buckets);
        Self {
            slow,
            clients: gauge("clients", "Registered connections"),
            users: gauge("users", "Users with a connection here"),
            rooms: gauge("rooms", "Rooms with a connection here"),
            links: gauge("links", "Links from logic nodes"),
            accepted: counter("accepted_connections", "TCP connections accepted on the client port"),
            accept_exhausted: counter("accept_exhausted", "Accepts that failed for want of descriptors"),
            handshakes: counter("handshakes", "WebSocket handshakes completed"),
            handshakes_refused: counter("handshakes_refused", "WebSocket handshakes refused"),
            tls_refused: tls::Refusals::new(metrics),
            commands: counter("commands", "Commands of clients carried out"),
            commands_bad: counter("commands_bad", "Messages of clients that could not be understood"),
            asks: counter("asks", "Questions and commands of logic nodes"),
            asks_busy: counter("asks_busy", "Questions refused because too many were in progress"),
            closed: Closed::new(metrics, &limits),
            deliveries: counter("deliveries", "Deliveries taken from links"),
            unmatched: counter("deliveries_unmatched", "Deliveries that matched no connection"),
            law: Law::new(metrics),
            written: counter("items_written", "Items written, one for each connection"),
            conflated: counter("items_conflated", "Items replaced by a newer one with the same key"),
            expired: counter("items_expired", "Items whose time to live ended before they were sent"),
            dropped_slow: counter("items_dropped_slow", "Items dropped because an outbox was full"),
            dropped_gone: counter("items_dropped_gone", "Items dropped because the connection had gone"),
            frames: counter("frames_written", "Push frames written, one for each connection"),
            frames_encoded: counter("frames_encoded", "Push frames encoded, one for all connections"),
            writes: counter("writes", "Write system calls for push frames"),
            write_bytes: counter("write_bytes", "Bytes of push frames given to the kernel"),
            outboxes: gauge("outboxes", "Connections whose outbox waits for the socket"),
            incomplete_bytes: gauge("incomplete_bytes", "Bytes of long messages that are incomplete"),
            merger_bytes: gauge("merger_bytes", "Bytes of items waiting for their window"),
            routes_unsettled: counter("routes_unsettled", "Replies that logic did not confirm in time"),
            links_refused: counter("links_refused", "Links refused: secret, version or protocol"),
            link_ends: LinkEnds::new(metrics),
            links_held: shared(metrics, &limits, Limit::MergerBytes, "links_held", HELD),
            sweep_seconds: histogram("sweep_seconds", "How long a sweep took", seconds()),
            windows: counter("windows", "Windows that ended with something to send"),
            windows_widened: counter("windows_widened", "Windows whose sweep began late, by a tenth or more"),
            window_late_seconds: histogram(
                "window_late_seconds",
                "How much later than its tick a window's sweep began",
                seconds(),
            ),
            window_seconds: metrics.register("window_seconds", "How long items gather at present"),
            frame_items: histogram(
                "frame_items",
                "Items in a frame encoded",
                Histogram::new(exponential_buckets(1.0, 2.0, 11)),
            ),
            early_items: counter("early_items", "Targets that left early, with as many items as a frame has"),
            early_bytes: counter("early_bytes", "Targets that left early, with as many bytes as a frame has"),
            early_leads: counter("early_leads", "Targets that left early, after a quiet window"),
            early_crowded: counter("early_crowded", "Targets that left early because the merger was full"),
            parts: counter(
                "parts",
                "Times that a sweep took only the first part of what a target had gathered",
            ),
            bulk_sweeps: counter("bulk_sweeps", "Sweeps of targets so large that they are written apart"),
            deflate: Deflate::new(metrics),
            history: History::new(metrics),
            limits,
        }
    }

    /// Counts one who was over a limit.
    pub(crate) fn refuse(&self, limit: Limit) {
        self.limits.of(limit as usize).inc();
    }
}

const HELD: &str = "Times that a link waited because the merger was full";

/// The counter of a limit, under a name of its own too.
fn shared(metrics: &Metrics, limits: &Refusals, limit: Limit, name: &str, help: &str) -> Counter {
    metrics.register_as(name, help, limits.of(limit as usize).clone())
}

/// Connections that the gateway closed, by reason.
#[derive(Debug)]
pub(crate) struct Closed {
    pub(crate) slow: Counter,
    pub(crate) silent: Counter,
    pub(crate) late: Counter,
    pub(crate) expired: Counter,
    pub(crate) bad: Counter,
    pub(crate) drain: Counter,
    pub(crate) aged: Counter,
    pub(crate) operator: Counter,
}

impl Closed {
    fn new(metrics: &Metrics, limits: &Refusals) -> Self {
        let counter = |name: &str, help: &str| metrics.register::<Counter>(name, help);
        let limit = |limit, name: &str, help: &str| shared(metrics, limits, limit, name, help);
        Self {
            slow: limit(Limit::Outbox, "closed_slow", "Connections closed with 4002, slow consumer"),
            silent: limit(Limit::Silence, "closed_silent", "Connections closed with 4003, no heartbeat"),
            late: limit(
                Limit::MessageTime,
                "closed_late",
                "Connections closed with 4004, a message not ended in time",
            ),
            expired: counter("closed_expired", "Connections closed because their token had expired"),
            bad: counter("closed_bad", "Connections closed for what they sent"),
            drain: counter("closed_drain", "Connections closed with 1012 by a drain"),
            aged: counter("closed_aged", "Connections closed with 1012 by --max-connection-age"),
            operator: counter("closed_operator", "Connections closed with 4502 by an operator"),
        }
    }
}

/// Links that the gateway ended to make room for others.
#[derive(Debug)]
pub(crate) struct LinkEnds {
    pub(crate) replaced: Counter,
    pub(crate) evicted: Counter,
}

impl LinkEnds {
    fn new(metrics: &Metrics) -> Self {
        let counter = |name: &str, help: &str| metrics.register::<Counter>(name, help);
        Self {
            replaced: counter("links_replaced", "Links ended because a newer run of their node came"),
            evicted: counter("links_evicted", "Links ended before they said who they are, to make room"),
        }
    }
}

impl History {
    fn new(metrics: &Metrics) -> Self {
        let counter = |name: &str, help: &str| metrics.register::<Counter>(name, help);
        Self {
            resumes: counter("history_resumes", "Clients that were brought all they had missed"),
            resets: counter("history_resets", "Clients that came back to a history that could not continue"),
            resumes_failed: counter("history_resumes_failed", "Clients that were told to try again"),
            fetches: counter("history_fetches", "Parts of histories asked of logic"),
            fetches_failed: counter("history_fetches_failed", "Those of them that were not answered"),
            repaired: counter("history_repaired", "Items that no link brought and that were fetched"),
            waited: counter("history_waited", "Items that came before others of their history, and waited"),
            waiting_bytes: metrics
                .register("history_waiting_bytes", "Bytes of the items that wait for others"),
            doubled: counter("history_doubled", "Items that came when history had brought them"),
            stale: counter("history_stale", "Items of a life of their history that was over"),
            left: counter("history_left", "Items left to history because too many waited"),
            reset_groups: counter("history_reset_groups", "Rooms and users whose members were all reset"),
        }
    }
}

/// What permessage-deflate brings and costs.
#[derive(Debug)]
pub(crate) struct Deflate {
    pub(crate) handshakes: Counter,
    pub(crate) frames: Counter,
    pub(crate) bytes_before: Counter,
    pub(crate) bytes_after: Counter,
    pub(crate) seconds: FloatCounter,
}

impl Deflate {
    fn new(metrics: &Metrics) -> Self {
        let counter = |name: &str, help: &str| metrics.register::<Counter>(name, help);
        Self {
            handshakes: counter("handshakes_deflate", "Handshakes that agreed on permessage-deflate"),
            frames: counter("frames_compressed", "Push frames compressed, one for all connections"),
            bytes_before: counter("deflate_bytes_before", "Bytes of those frames, plain"),
            bytes_after: counter("deflate_bytes_after", "Bytes of those frames as they are sent"),
            seconds: metrics.register("deflate_seconds", "Time that compressing took, of all threads"),
        }
    }
}
