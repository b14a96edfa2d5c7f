//! Gateways that announced themselves to another logic node: nodes on one Redis tell each other.
//!
//! While Redis is away everybody who was heard of stays: it takes no gateway with it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use common::link::announce::LEASE;
use tokio::time::{MissedTickBehavior, interval};

use super::{Fleet, Source};
use crate::engine::redis::Redis;

/// How often nodes tell and hear.
const SHARE_EVERY: Duration = Duration::from_secs(2);

/// An address, and for how long its gateway is to be believed.
type Leased = (Arc<str>, Duration);

impl Fleet {
    /// Tells the other nodes who has announced itself here, and hears from them, until the node stops.
    pub(crate) async fn share(self: Arc<Self>, redis: Arc<Redis>) {
        let mut every = interval(SHARE_EVERY);
        every.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while self.shared.shutdown.or_stopped(every.tick()).await.is_some() {
            let (mine, gone) = self.announced(Instant::now());
            match redis.share_leases(&mine).await {
                Ok(heard) => self.hear(&heard, Instant::now()),
                Err(_) => {
                    // Who goes is said again.
                    self.going.lock().extend(gone);
                    self.keep_heard(Instant::now());
                }
            }
        }
    }

    /// Who has announced itself here, and for how long yet; those who go have no time left, and are said apart too.
    fn announced(&self, now: Instant) -> (Vec<Leased>, Vec<Arc<str>>) {
        let gone = std::mem::take(&mut *self.going.lock());
        let members = self.members.lock();
        let left = members.iter().filter_map(|(address, member)| {
            let left = member.leased_until?.checked_duration_since(now)?;
            Some((address.clone(), left))
        });
        let mut announced: Vec<_> = left.collect();
        let is_here = |address: &Arc<str>| announced.iter().any(|(known, _)| known == address);
        let gone: Vec<_> = gone.into_iter().filter(|address| !is_here(address)).collect();
        announced.extend(gone.iter().map(|address| (address.clone(), Duration::ZERO)));
        (announced, gone)
    }

    fn hear(self: &Arc<Self>, heard: &[String], now: Instant) {
        for address in heard.iter().filter(|address| super::check(address).is_ok()) {
            self.name(address, &Source::Heard(now + LEASE));
        }
    }

    fn keep_heard(&self, now: Instant) {
        for member in self.members.lock().values_mut() {
            if member.heard_until.is_some() {
                member.heard_until = Some(now + LEASE);
            }
        }
    }
}
