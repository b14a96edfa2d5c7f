//! Which gateways there are: a list that never changes, DNS names that are looked up again and again, and
//! gateways that announce themselves for the time of a lease.
//!
//! A gateway is known by the address of its link port, and for as long as any of the three names it. Each has
//! one task that keeps its link.

mod shared;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use common::link::announce::{Announcement, LEASE};
use parking_lot::Mutex;
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;

use crate::counters::gateway;
use crate::link::outbox::Outbox;
use crate::link::view::{State, View};
use crate::link::{Link, Shared};

/// Most gateways; each costs a task, a queue and a connection. A strange announcer cannot make more.
const GATEWAYS_MAX: usize = 1024;

/// How often DNS names are looked up, and how long a look-up may take.
const RESOLVE_EVERY: Duration = Duration::from_secs(5);
const RESOLVE_TIME_MAX: Duration = Duration::from_secs(3);

/// How often leases are looked at.
const SWEEP_EVERY: Duration = Duration::from_millis(500);

/// The gateways that are known.
#[derive(Debug)]
pub(crate) struct Fleet {
    shared: Arc<Shared>,
    members: Mutex<BTreeMap<Arc<str>, Member>>,
    /// Those who said here that they go, until the other nodes know; there are no more than announced themselves.
    going: Mutex<BTreeSet<Arc<str>>>,
}

/// A gateway, and who names it.
#[derive(Debug)]
struct Member {
    view: Arc<View>,
    forgotten: CancellationToken,
    is_listed: bool,
    /// DNS names that resolve to it.
    resolved: BTreeSet<String>,
    leased_until: Option<Instant>,
    /// Another node says that it announced itself there.
    heard_until: Option<Instant>,
}

impl Member {
    fn is_named(&self, now: Instant) -> bool {
        let seen = self.view.seen();
        let is_announced = if seen.is_leaving() {
            // It said that it goes: it is forgotten once its link ends.
            seen.state == State::Linked
        } else {
            [self.leased_until, self.heard_until].iter().flatten().any(|until| *until > now)
        };
        self.is_listed || !self.resolved.is_empty() || is_announced
    }
}

/// Why an announcement is not taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum NotTaken {
    /// What it says is wrong: at which member, and what.
    Bad(&'static str, String),
    /// There are too many gateways.
    Full,
}

/// Who names a gateway.
enum Source<'a> {
    List,
    Dns(&'a str),
    Lease(Instant),
    Heard(Instant),
}

impl Fleet {
    /// A fleet of nobody.
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { shared, members: Mutex::default(), going: Mutex::default() }
    }

    /// Adds the gateways of the list, which stay.
    pub(crate) fn list(self: &Arc<Self>, addresses: &[String]) {
        for address in addresses {
            self.name(address, &Source::List);
        }
    }

    /// Takes an announcement from `peer`.
    ///
    /// # Errors
    /// [`NotTaken`].
    pub(crate) fn announce(self: &Arc<Self>, said: &Announcement, peer: SocketAddr) -> Result<(), NotTaken> {
        common::names::check(&said.name).map_err(|bad| NotTaken::Bad("/name", bad.to_string()))?;
        let address = reachable(&said.ingress, peer.ip()).map_err(|bad| NotTaken::Bad("/ingress", bad))?;
        if said.leaving {
            if let Some(member) = self.members.lock().get_mut(&*address) {
                member.leased_until = None;
                member.heard_until = None;
                member.view.leaves(true);
                self.going.lock().insert(Arc::from(&*address));
            }
            self.sweep(Instant::now());
            return Ok(());
        }
        if self.name(&address, &Source::Lease(Instant::now() + LEASE)) { Ok(()) } else { Err(NotTaken::Full) }
    }

    /// All gateways, by address.
    pub(crate) fn views(&self) -> Vec<(Arc<str>, Arc<View>)> {
        self.members.lock().iter().map(|(address, member)| (address.clone(), member.view.clone())).collect()
    }

    /// The addresses of gateways that said good-bye and went: nobody is there.
    pub(crate) fn left(&self) -> Vec<Arc<str>> {
        let has_left = |member: &Member| {
            let seen = member.view.seen();
            seen.state != State::Linked && seen.is_leaving()
        };
        let members = self.members.lock();
        members.iter().filter(|(_, member)| has_left(member)).map(|(address, _)| address.clone()).collect()
    }

    /// The queues of all links that are up.
    pub(crate) fn outboxes(&self) -> Vec<(Arc<str>, Option<Arc<Outbox>>)> {
        self.shared.publisher.with_roster(|roster| {
            let outbox = |known: &crate::roster::Known| known.link.as_ref().ok().map(|l| l.outbox.clone());
            roster.known.iter().map(|known| (known.address.clone(), outbox(known))).collect()
        })
    }

    /// Ends leases that were not renewed.
    pub(crate) async fn keep_leases(self: Arc<Self>) {
        let mut every = interval(SWEEP_EVERY);
        every.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while self.shared.shutdown.or_stopped(every.tick()).await.is_some() {
            self.sweep(Instant::now());
        }
    }

    /// Looks DNS names up again and again.
    pub(crate) async fn resolve(self: Arc<Self>, names: Vec<String>) {
        let mut every = interval(RESOLVE_EVERY);
        every.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while self.shared.shutdown.or_stopped(every.tick()).await.is_some() {
            for name in &names {
                // One name after the other, each with a deadline: there are few.
                match timeout(RESOLVE_TIME_MAX, tokio::net::lookup_host(name)).await {
                    Ok(Ok(found)) => self.resolved(name, &found.collect()),
                    // What was found before stays: a name server that is away takes no gateway with it.
                    Ok(Err(error)) => {
                        tracing::warn!(%name, %error, "cannot look up a name of --gateway-dns: gateways that were found before stay, and it is tried again")
                    }
                    Err(_) => {
                        tracing::warn!(%name, "looking up a name of --gateway-dns takes too long: gateways that were found before stay, and it is tried again")
                    }
                }
            }
        }
    }

    fn resolved(self: &Arc<Self>, name: &str, found: &BTreeSet<SocketAddr>) {
        let found: BTreeSet<String> = found.iter().map(SocketAddr::to_string).collect();
        for (address, member) in &mut *self.members.lock() {
            if !found.contains(&**address) {
                member.resolved.remove(name);
            }
        }
        for address in &found {
            self.name(address, &Source::Dns(name));
        }
        self.sweep(Instant::now());
    }

    /// Somebody names a gateway; whether there was a place for it.
    fn name(self: &Arc<Self>, address: &str, source: &Source<'_>) -> bool {
        let mut members = self.members.lock();
        let is_new = !members.contains_key(address);
        if is_new && members.len() >= GATEWAYS_MAX {
            return false;
        }
        let member = members.entry(Arc::from(address)).or_insert_with(|| Member {
            view: Arc::new(View::new()),
            forgotten: CancellationToken::new(),
            is_listed: false,
            resolved: BTreeSet::new(),
            leased_until: None,
            heard_until: None,
        });
        match source {
            Source::List => member.is_listed = true,
            Source::Dns(name) => _ = member.resolved.insert((*name).to_owned()),
            Source::Lease(until) => {
                member.leased_until = Some(*until);
                member.view.leaves(false);
            }
            Source::Heard(until) => member.heard_until = Some(*until),
        }
        if is_new {
            let link = Link {
                address: Arc::from(address),
                view: member.view.clone(),
                shared: self.shared.clone(),
                fleet: self.clone(),
                forgotten: member.forgotten.clone(),
            };
            // Under the lock of the members, so that the roster knows what they know.
            self.shared.publisher.change_roster(|roster| roster.know(&link.address));
            self.shared.tasks.spawn(link.run());
        }
        true
    }

    /// A link ends. If its gateway said that it goes, it is forgotten before a push can find it without one.
    pub(crate) fn link_ends(&self, view: &View, hung_up: bool) {
        if view.ends(hung_up) {
            self.sweep(Instant::now());
        }
    }

    /// Forgets the gateways that nobody names any more.
    fn sweep(&self, now: Instant) {
        let mut members = self.members.lock();
        members.retain(|address, member| {
            let stays = member.is_named(now);
            if !stays {
                tracing::info!(gateway = %address, "forgotten");
                self.shared.publisher.change_roster(|roster| roster.forget(address));
                self.shared.counters.forget(address);
                member.forgotten.cancel();
            }
            stays
        });
    }

    /// Brings the gauges of the links up to date.
    pub(crate) fn refresh(&self) {
        let counters = &self.shared.counters;
        for (address, outbox) in self.outboxes() {
            let label = gateway(&address);
            let (bytes, deliveries) = outbox.as_ref().map_or((0, 0), |outbox| outbox.depth());
            counters.up.get_or_create(&label).set(i64::from(outbox.is_some()));
            counters.queue_bytes.get_or_create(&label).set(i64::try_from(bytes).unwrap_or(i64::MAX));
            counters
                .queue_deliveries
                .get_or_create(&label)
                .set(i64::try_from(deliveries).unwrap_or(i64::MAX));
        }
    }
}

/// The address to connect to: what was announced, with the caller's own address for "any".
fn reachable(ingress: &str, peer: IpAddr) -> Result<String, String> {
    if let Ok(address) = ingress.parse::<SocketAddr>() {
        let ip = if address.ip().is_unspecified() { peer } else { address.ip() };
        return port(address.port()).map(|port| SocketAddr::new(ip.to_canonical(), port).to_string());
    }
    check(ingress).map(|()| ingress.to_owned())
}

/// Checks a `host:port` as it is written in settings and announcements.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn check(address: &str) -> Result<(), String> {
    let expected = || format!("{address:?} is not host:port");
    let (host, number) = address.rsplit_once(':').ok_or_else(expected)?;
    port(number.parse().map_err(|_| expected())?)?;
    let authority: http::uri::Authority = address.parse().map_err(|_| expected())?;
    if host.is_empty() || authority.as_str().contains('@') { Err(expected()) } else { Ok(()) }
}

fn port(port: u16) -> Result<u16, String> {
    if port == 0 { Err("the port is 0".into()) } else { Ok(port) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_announced_address_is_made_reachable_or_refused() {
        let peer: IpAddr = "127.0.0.9".parse().unwrap();
        let good = [
            ("10.0.0.1:7201", "10.0.0.1:7201"),
            ("0.0.0.0:7201", "127.0.0.9:7201"),
            ("[::]:7201", "127.0.0.9:7201"),
            ("[::1]:7201", "[::1]:7201"),
            ("gw-7.internal:7201", "gw-7.internal:7201"),
        ];
        for (said, address) in good {
            assert_eq!(reachable(said, peer).as_deref(), Ok(address), "{said}");
        }
        for bad in [
            "",
            "gw",
            "gw:",
            ":7201",
            "gw:0",
            "0.0.0.0:0",
            "gw:99999",
            "http://gw:1",
            "a b:1",
            "u@gw:1",
            "gw:7201/x",
        ] {
            assert!(reachable(bad, peer).is_err(), "{bad}");
        }
    }
}
