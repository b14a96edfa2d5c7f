//! What a logic node counts. Labels are outcomes and gateways, never names of rooms or users.

use std::sync::atomic::AtomicU64;

use common::limits::told::Refusals;
use common::metrics::{Counter, Family, Gauge, Metrics};
use common::tls;

use crate::keys::usage::Usages;
use crate::ledger::Tally;
use crate::limits::Limit;

/// One label and its value.
pub(crate) type Label = [(&'static str, String); 1];

/// All counters of a node; clones count together.
#[derive(Debug, Clone)]
pub(crate) struct Counters {
    /// Pushes by outcome.
    pub(crate) accepted: Counter,
    pub(crate) overloaded: Counter,
    pub(crate) no_gateway: Counter,
    pub(crate) gateways_failed: Counter,
    pub(crate) history_full: Counter,
    /// Nothing was stored, as far as is known: the store did not answer.
    pub(crate) engine_away: Counter,
    pub(crate) invalid: Counter,
    /// One for each limit.
    pub(crate) limits: Refusals,
    /// TLS handshakes on the port of the API.
    pub(crate) tls_refused: tls::Refusals,
    /// What API keys are used for.
    pub(crate) keys: Usages,
    items: ItemCounters,
    pub(crate) routes: Family<Label, Gauge>,
    pub(crate) ledger: Gauge,
    pub(crate) histories: Gauge,
    pub(crate) history_items: Gauge,
    pub(crate) history_bytes: Gauge,
    pub(crate) history_reads: Counter,
    pub(crate) links: LinkCounters,
}

#[derive(Debug, Clone)]
struct ItemCounters {
    matched: Gauge,
    pending: Gauge,
    written: Counter,
    conflated: Counter,
    expired: Counter,
    slow: Counter,
    gone: Counter,
    gateway_lost: Counter,
}

/// What is counted for each gateway; the label is its link address.
#[derive(Debug, Clone)]
pub(crate) struct LinkCounters {
    pub(crate) up: Family<Label, Gauge>,
    pub(crate) connects: Family<Label, Counter>,
    pub(crate) sent: Family<Label, Counter>,
    pub(crate) received: Family<Label, Counter>,
    pub(crate) queue_bytes: Family<Label, Gauge>,
    pub(crate) queue_deliveries: Family<Label, Gauge>,
}

/// The label of a gateway.
pub(crate) fn gateway(address: &str) -> Label {
    [("gateway", address.to_owned())]
}

impl Counters {
    /// Registers everything.
    pub(crate) fn new(metrics: &Metrics) -> Self {
        let pushes: Family<Label, Counter<u64, AtomicU64>> =
            metrics.register("pushes", "Pushes, by what became of the call");
        let pushed = |outcome: &str| pushes.get_or_create_owned(&[("outcome", outcome.to_owned())]);
        let dropped: Family<Label, Counter> =
            metrics.register("items_dropped", "Items that were dropped, by reason");
        let dropped = |reason: &str| dropped.get_or_create_owned(&[("reason", reason.to_owned())]);
        let items = ItemCounters {
            matched: metrics.register("items_matched", "Connections that pushes have matched, summed up"),
            pending: metrics
                .register("items_pending", "Items of which nobody has said yet what became of them"),
            written: metrics.register("items_written", "Items that gateways have written"),
            conflated: metrics.register("items_conflated", "Items that newer ones of the same key replaced"),
            expired: metrics.register("items_expired", "Items that were too old when their turn came"),
            slow: dropped("slow"),
            gone: dropped("gone"),
            gateway_lost: dropped("gateway_lost"),
        };
        Self {
            accepted: pushed("accepted"),
            overloaded: pushed("overloaded"),
            no_gateway: pushed("no_gateway"),
            gateways_failed: pushed("gateways_failed"),
            history_full: pushed("history_full"),
            engine_away: pushed("engine_unavailable"),
            invalid: pushed("invalid"),
            limits: Refusals::new(metrics, Limit::ALL.map(Limit::told)),
            tls_refused: tls::Refusals::new(metrics),
            keys: Usages::new(metrics),
            items,
            routes: metrics.register("routes", "Names in the routing table, by kind"),
            ledger: metrics.register("ledger_entries", "Pushes whose counts are kept"),
            histories: metrics.register("histories", "Rooms and users of which a history is kept"),
            history_items: metrics.register("history_items", "Items in histories"),
            history_bytes: metrics.register("history_bytes", "Bytes of histories, overhead included"),
            history_reads: metrics.register("history_reads", "Histories read for gateways and callers"),
            links: LinkCounters {
                up: metrics.register("link_up", "Whether the link to a gateway is up"),
                connects: metrics.register("link_connects", "Attempts to open a link"),
                sent: metrics.register("link_sent_bytes", "Bytes of deliveries handed to a link"),
                received: metrics.register("link_received_bytes", "Bytes of receipts from a link"),
                queue_bytes: metrics.register("link_queue_bytes", "Bytes that wait for a link"),
                queue_deliveries: metrics
                    .register("link_queue_deliveries", "Deliveries that wait for a link"),
            },
        }
    }

    /// Counts one who was over a limit.
    pub(crate) fn refuse(&self, limit: Limit) {
        self.limits.of(limit as usize).inc();
    }

    /// Adds what gateways have said.
    pub(crate) fn add(&self, news: &Tally) {
        let items = &self.items;
        // A gauge, for what connections matched is corrected in both directions.
        items.matched.inc_by(news.matched);
        items.pending.inc_by(news.matched.saturating_sub(i64::try_from(news.done()).unwrap_or(i64::MAX)));
        items.written.inc_by(news.written);
        items.conflated.inc_by(news.conflated);
        items.expired.inc_by(news.expired);
        items.slow.inc_by(news.slow);
        items.gone.inc_by(news.gone);
        items.gateway_lost.inc_by(news.gateway_lost);
    }
}

impl LinkCounters {
    /// A gateway is known no more: its series end.
    pub(crate) fn forget(&self, address: &str) {
        let label = gateway(address);
        self.up.remove(&label);
        self.connects.remove(&label);
        self.sent.remove(&label);
        self.received.remove(&label);
        self.queue_bytes.remove(&label);
        self.queue_deliveries.remove(&label);
    }
}
