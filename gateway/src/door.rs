//! The door of the client port: how many may be inside, how many of one address, and how quickly they may come.
//!
//! Each connection has a [`Place`] from its accept to its end. Which address it counts for is known from the socket,
//! from a PROXY header, or only from the head of its request: the place is told when it is. Trusted proxies
//! themselves count for no address.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use common::limits::addresses::{Addresses, Key, TooMuch};
use common::limits::rate::{self, Spent};
use common::live::Live;
use common::problem::Problem;
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::counters::Counters;
use crate::limits::Limit;
use crate::tune::Tune;

/// Connections that are told why they are refused at a time; beyond it they are closed without a word.
const REFUSALS_MAX: usize = 64;

/// When one who found no place may try again.
const FULL_RETRY_SECS: u32 = 5;

/// What a gateway knows of those who are inside.
#[derive(Debug)]
pub(crate) struct Door {
    tune: Arc<Live<Tune>>,
    taken: AtomicUsize,
    spent: Mutex<Spent>,
    addresses: Addresses,
    refusals: Arc<Semaphore>,
    since: Instant,
}

/// One connection inside. Dropped: it has gone.
#[derive(Debug)]
pub(crate) struct Place {
    door: Arc<Door>,
    address: Option<Key>,
}

/// Why one is not let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shut {
    /// There are as many connections as there may be.
    Full,
    /// Too many have come just now.
    Often(Duration),
    /// There are as many connections of its address as there may be.
    AddressFull,
    /// Its address has come too often.
    AddressOften(Duration),
}

/// How a connection is taken.
#[derive(Debug)]
pub(crate) enum Entry {
    /// It may shake hands.
    Place(Place),
    /// It is told why not, while others wait to be told.
    Refused(Shut, OwnedSemaphorePermit),
}

impl Door {
    pub(crate) fn new(tune: Arc<Live<Tune>>) -> Arc<Self> {
        Arc::new(Self {
            tune,
            taken: AtomicUsize::new(0),
            spent: Mutex::default(),
            addresses: Addresses::default(),
            refusals: Arc::new(Semaphore::new(REFUSALS_MAX)),
            since: Instant::now(),
        })
    }

    /// How many are inside.
    pub(crate) fn taken(&self) -> usize {
        self.taken.load(Ordering::Relaxed)
    }

    /// The most connections that one address has, if that is counted.
    pub(crate) fn busiest_address(&self) -> u32 {
        self.addresses.busiest()
    }

    /// How many addresses are remembered, and how often one found no room to be.
    pub(crate) fn addresses(&self) -> (usize, u64) {
        (self.addresses.len(), self.addresses.uncounted())
    }

    /// Takes a place for one who has come.
    pub(crate) fn enter(self: &Arc<Self>) -> Result<Place, Shut> {
        let tune = self.tune.now();
        if let Some(rate) = &tune.limits.handshakes {
            rate.take(&mut self.spent.lock(), self.since.elapsed(), 1).map_err(Shut::Often)?;
        }
        let one_more = |taken| (taken < tune.max_connections).then_some(taken + 1);
        let counted = self.taken.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more);
        counted.map(|_| Place { door: self.clone(), address: None }).map_err(|_| Shut::Full)
    }

    /// What becomes of one who came; `None`: it is closed without a word, since so many are being told already.
    pub(crate) fn entry(&self, entered: Result<Place, Shut>, counters: &Counters) -> Option<Entry> {
        match entered {
            Ok(place) => Some(Entry::Place(place)),
            Err(shut) => {
                counters.refuse(shut.limit());
                let permit = self.refusals.clone().try_acquire_owned().ok()?;
                Some(Entry::Refused(shut, permit))
            }
        }
    }
}

impl Place {
    /// Counts the connection for an address, unless it counts for one.
    pub(crate) fn count_for(&mut self, address: IpAddr) -> Result<(), Shut> {
        if self.address.is_some() {
            return Ok(());
        }
        let each = self.door.tune.now().each_address();
        let come = self.door.addresses.come(address, each, self.door.since.elapsed());
        self.address = come.map_err(|too_much| match too_much {
            TooMuch::Connections => Shut::AddressFull,
            TooMuch::Often(wait) => Shut::AddressOften(wait),
        })?;
        Ok(())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.door.taken.fetch_sub(1, Ordering::Relaxed);
        if let Some(key) = self.address {
            self.door.addresses.go(key, self.door.tune.now().each_address());
        }
    }
}

impl Shut {
    /// Which limit it was.
    pub(crate) fn limit(self) -> Limit {
        match self {
            Self::Full => Limit::Connections,
            Self::Often(_) => Limit::Handshakes,
            Self::AddressFull => Limit::ConnectionsPerIp,
            Self::AddressOften(_) => Limit::HandshakesPerIp,
        }
    }

    /// The answer: 503 where the gateway has enough, 429 where the caller has.
    pub(crate) fn problem(self) -> Problem {
        match self {
            Self::Full => {
                let detail = "this gateway has as many connections as it may; try another or later";
                Problem::unavailable("full", detail, FULL_RETRY_SECS)
            }
            Self::Often(wait) => {
                let detail = "too many connections begin just now; try another gateway or later";
                Problem::unavailable("busy", detail, rate::seconds(wait))
            }
            Self::AddressFull => {
                let detail = "your address has as many connections as one address may have here";
                Problem::too_many("too_many_connections", detail, FULL_RETRY_SECS)
            }
            Self::AddressOften(wait) => {
                let detail = "your address begins connections more often than one address may";
                Problem::too_many("too_often", detail, rate::seconds(wait))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use common::limits::rate::Rate;

    use super::*;
    use crate::limits::Limits;
    use crate::settings::Settings;

    fn door(max_connections: usize, limits: Limits) -> Arc<Door> {
        Door::new(Tune::live(&Settings { max_connections, limits, ..Settings::default() }))
    }

    #[test]
    fn places_are_counted_in_all_and_by_address_and_given_back() {
        let door = door(3, Limits { connections_per_ip: Some(2), ..Limits::default() });
        let here: IpAddr = "203.0.113.7".parse().unwrap();
        let mut places: Vec<_> = (0..3).map(|_| door.enter().unwrap()).collect();
        assert_eq!(door.enter().unwrap_err(), Shut::Full);
        assert_eq!(places[0].count_for(here), Ok(()));
        assert_eq!(places[0].count_for(here), Ok(()), "it counts once");
        assert_eq!(places[1].count_for(here), Ok(()));
        assert_eq!(places[2].count_for(here), Err(Shut::AddressFull));
        assert_eq!((door.taken(), door.busiest_address()), (3, 2));
        drop(places.swap_remove(0));
        assert_eq!((door.taken(), door.busiest_address()), (2, 1));
        assert_eq!(door.enter().unwrap().count_for(here), Ok(()));
        drop(places);
        assert_eq!((door.taken(), door.addresses()), (0, (0, 0)));
    }

    #[test]
    fn so_many_begin_at_once_and_no_more() {
        let handshakes = Rate::new(1, Duration::from_secs(3600), 2);
        let door = door(9, Limits { handshakes, ..Limits::default() });
        assert!(door.enter().is_ok() && door.enter().is_ok());
        assert!(matches!(door.enter(), Err(Shut::Often(wait)) if wait > Duration::from_secs(3500)));
        assert_eq!(door.taken(), 0, "who is refused takes no place, and the others have gone");
    }

    #[test]
    fn fewer_places_keep_newcomers_out_and_nobody_has_to_go() {
        let before = Settings { max_connections: 3, ..Settings::default() };
        let tune = Tune::live(&before);
        let door = Door::new(tune.clone());
        let mut places: Vec<_> = (0..3).map(|_| door.enter().unwrap()).collect();
        tune.set((&Settings { max_connections: 1, ..before }).into());
        assert_eq!((door.enter().unwrap_err(), door.taken()), (Shut::Full, 3));
        places.truncate(1);
        assert_eq!(door.enter().unwrap_err(), Shut::Full);
        drop(places);
        assert!(door.enter().is_ok());
    }
}
