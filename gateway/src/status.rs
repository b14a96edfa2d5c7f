//! What a gateway says of itself on its ops port.

use std::sync::Arc;

use common::names::Kind;
use common::ops;
use common::token::jwks;
use serde_json::{Value, json};

use crate::limits;
use crate::node::Parts;
use crate::settings::{Settings, WindowMode};
use crate::tune::Tune;

/// Answers `/readyz` and `/statusz`.
pub(crate) struct Status {
    parts: Arc<Parts>,
}

impl Status {
    pub(crate) fn new(parts: Arc<Parts>) -> Self {
        Self { parts }
    }
}

impl Status {
    /// The places where keys of tokens are fetched.
    fn token_keys(&self) -> Vec<Value> {
        let tokens = self.parts.settings.admission.tokens.as_ref().map(|tokens| tokens.now());
        let places = tokens.iter().flat_map(|tokens| &tokens.fetched).map(|place| place.state());
        let shown = |state: jwks::State| {
            let age = state.age.map(|age| age.as_secs());
            json!({"url": state.url, "keys": state.keys, "ageSecs": age, "trouble": state.trouble})
        };
        places.map(shown).collect()
    }
}

impl ops::Status for Status {
    fn unready(&self) -> Vec<String> {
        let parts = &self.parts;
        let mut reasons = Vec::new();
        if parts.shutdown.is_draining() {
            reasons.push("draining: it takes no new clients".to_owned());
        }
        let most = parts.tune.now().max_connections;
        if parts.registry.clients() >= most {
            reasons.push(format!("full: {most} connections"));
        }
        if parts.settings.admission.tokens.as_ref().is_some_and(|tokens| !tokens.now().has_keys()) {
            reasons.push("no keys for tokens: they have not been fetched yet".to_owned());
        }
        if parts.routes.links() == 0 {
            let why = if parts.routes.was_linked() {
                "every logic node is gone"
            } else {
                "no logic node has come yet"
            };
            reasons.push(format!("no link: {why}"));
        }
        reasons
    }

    fn status(&self) -> Value {
        let Parts { name, instance, client_url, settings, counters, registry, .. } = &*self.parts;
        let pace = self.parts.pusher.pace();
        let (known, uncounted) = self.parts.door.addresses();
        json!({
            "role": "gateway",
            "name": name,
            "instance": instance.to_string(),
            "release": env!("CARGO_PKG_VERSION"),
            "clientUrl": client_url,
            "draining": self.parts.shutdown.is_draining(),
            "unready": self.unready(),
            "clients": registry.clients(),
            "users": registry.directory.size(Kind::User),
            "rooms": registry.directory.size(Kind::Room),
            "links": self.parts.routes.links(),
            "tasks": self.parts.tasks.len(),
            "mergerBytes": self.parts.pusher.bytes(),
            "behind": pace.is_behind,
            "windowMs": pace.window.as_millis() as u64,
            "windows": {"ended": counters.windows.get(), "widened": counters.windows_widened.get()},
            "tls": {
                "clients": settings.tls.is_some(),
                "links": settings.link_tls.is_some(),
                "refused": counters.tls_refused.total(),
            },
            "certificates": self.parts.certificates.status(),
            "tokenKeys": self.token_keys(),
            "early": {
                "items": counters.early_items.get(),
                "bytes": counters.early_bytes.get(),
                "leads": counters.early_leads.get(),
                "crowded": counters.early_crowded.get(),
            },
            "frames": {"encoded": counters.frames_encoded.get(), "written": counters.frames.get()},
            "parts": counters.parts.get(),
            "bulkSweeps": counters.bulk_sweeps.get(),
            "linksHeld": counters.links_held.get(),
            "outboxes": counters.outboxes.get(),
            "history": {
                "waited": counters.history.waited.get(),
                "waitingBytes": self.parts.tracks.waiting_bytes(),
                "repaired": counters.history.repaired.get(),
                "doubled": counters.history.doubled.get(),
                "stale": counters.history.stale.get(),
                "left": counters.history.left.get(),
                "resetGroups": counters.history.reset_groups.get(),
            },
            "linksRefused": counters.links_refused.get(),
            "linksReplaced": counters.link_ends.replaced.get(),
            "linksEvicted": counters.link_ends.evicted.get(),
            "items": {
                "matched": counters.law.matched.get(),
                "pending": counters.law.pending.get(),
                "written": counters.written.get(),
                "conflated": counters.conflated.get(),
                "expired": counters.expired.get(),
                "dropped": {"slow": counters.dropped_slow.get(), "gone": counters.dropped_gone.get()},
            },
            "deflate": {
                "handshakes": counters.deflate.handshakes.get(),
                "frames": counters.deflate.frames.get(),
                "bytesBefore": counters.deflate.bytes_before.get(),
                "bytesAfter": counters.deflate.bytes_after.get(),
                "seconds": counters.deflate.seconds.get(),
            },
            "limits": limits::status(&self.parts),
            "addresses": {"known": known, "busiest": self.parts.door.busiest_address(), "uncounted": uncounted},
            "settings": settings_of(settings, &self.parts.tune.now()),
            "configuration": self.parts.reloads.status(),
        })
    }

    fn refresh(&self) {
        let Parts { counters, registry, pusher, .. } = &*self.parts;
        self.parts.certificates.refresh();
        counters.clients.set(registry.clients() as i64);
        counters.users.set(registry.directory.size(Kind::User) as i64);
        counters.rooms.set(registry.directory.size(Kind::Room) as i64);
        counters.links.set(self.parts.routes.links() as i64);
        counters.merger_bytes.set(pusher.bytes() as i64);
        counters.history.waiting_bytes.set(self.parts.tracks.waiting_bytes() as i64);
        counters.window_seconds.set(pusher.pace().window.as_secs_f64());
    }
}

/// What holds of what it was told.
fn settings_of(settings: &Settings, tune: &Tune) -> Value {
    json!({
        "maxConnections": tune.max_connections,
        "outboxBytes": tune.outbox_bytes_max,
        "sendBufferBytes": settings.send_buffer_bytes,
        "mergerBytes": tune.merger_bytes_max,
        "windowMs": settings.window.as_millis() as u64,
        "windowMode": match settings.window_mode {
            WindowMode::Trailing => "trailing",
            WindowMode::Leading => "leading",
        },
        "heartbeatMs": settings.heartbeat.as_millis() as u64,
        "silenceMs": tune.silence_max.as_millis() as u64,
        "messageMs": tune.message_time_max.as_millis() as u64,
        "handshakeMs": tune.handshake_time_max.as_millis() as u64,
        "drainMs": tune.drain.as_millis() as u64,
        "workers": settings.workers,
        "deflateLevel": settings.deflate_level,
        "deflateBytesMin": settings.deflate_bytes_min,
    })
}
