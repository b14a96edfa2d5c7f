//! The feed: tells each gateway where the histories stand that were appended to, if it holds their names.
//!
//! One reader of the store for the whole node. What a link has lost, or another node has appended and could not send,
//! a gateway hears of here, and asks for it; so what that costs follows what is pushed, not how many rooms there are.

use std::sync::Arc;
use std::time::Duration;

use common::backoff::Backoff;
use common::shutdown::Shutdown;
use tokio::time::sleep;

use super::Publisher;
use crate::engine::{Away, Changes, Engine};
use crate::link::heads::{Stage, Waiting};
use crate::routing::LinkId;

/// How often the store is asked.
const FEED_EVERY: Duration = Duration::from_millis(500);

/// Waits while it does not answer.
const AWAY_WAIT_MOST: Duration = Duration::from_secs(2);

/// Names that are asked for at once; they are looked up under one lock, in about 0.2 ms.
const PAGE: usize = 1_000;

/// Links, and what waits for them.
type Told = Vec<(LinkId, Arc<Waiting>)>;

impl Publisher {
    /// Follows the store until the node stops.
    pub(crate) async fn feed(&self, shutdown: Shutdown) {
        let mut random = fastrand::Rng::new();
        let mut backoff = Backoff::new(FEED_EVERY, AWAY_WAIT_MOST);
        let mut cursor = Vec::new();
        loop {
            // Rules may come while the node runs; without any there is nothing to follow.
            let fed = if self.histories.are_kept() { self.feed_all(&mut cursor).await } else { Ok(()) };
            let pause = async {
                if fed.is_err() {
                    return sleep(backoff.next(&mut random)).await;
                }
                backoff.reset();
                tokio::select! {
                    () = sleep(FEED_EVERY) => {}
                    () = self.newcomer.notified() => {}
                }
            };
            if shutdown.or_stopped(pause).await.is_none() {
                return;
            }
        }
    }

    /// A gateway has said what it holds.
    pub(crate) fn holds_all(&self, heads: &Waiting) {
        if heads.begin() {
            self.newcomer.notify_one();
        }
    }

    /// Tells newcomers all that the store knows, and then everybody what is new.
    async fn feed_all(&self, cursor: &mut Vec<u64>) -> Result<(), Away> {
        let fresh = self.links_at(Stage::Fresh);
        if !fresh.is_empty() {
            self.tell(&mut Vec::new(), &fresh).await?;
            fresh.iter().for_each(|(_, waiting)| waiting.open());
        }
        self.tell(cursor, &self.links_at(Stage::Open)).await
    }

    fn links_at(&self, stage: Stage) -> Told {
        self.with_roster(|roster| {
            let links = roster.known.iter().filter_map(|known| known.link.as_ref().ok());
            let links = links.filter(|linked| linked.heads.stage() == stage);
            links.map(|linked| (linked.id, linked.heads.clone())).collect()
        })
    }

    /// Tells these links what comes after the cursor, and moves it.
    async fn tell(&self, cursor: &mut Vec<u64>, to: &Told) -> Result<(), Away> {
        loop {
            let changes = self.histories.engine.changed(cursor, PAGE).await?;
            self.spread(&changes, to);
            *cursor = changes.cursor;
            if !changes.more {
                return Ok(());
            }
            tokio::task::yield_now().await;
        }
    }

    fn spread(&self, changes: &Changes, to: &Told) {
        let mut holders = Vec::new();
        self.with_roster(|roster| {
            for (kind, name, at) in &changes.heads {
                roster.routing.holders(*kind, name, &mut holders);
                let held = |(link, _): &&(LinkId, Arc<Waiting>)| holders.binary_search(link).is_ok();
                to.iter().filter(held).for_each(|(_, waiting)| waiting.put(*kind, name, *at));
            }
        });
        for (_, waiting) in to {
            if changes.missed {
                waiting.missed();
            }
            waiting.wake();
        }
    }
}
