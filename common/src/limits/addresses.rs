//! What is known of the addresses that connect: how many connections each has, and how often it comes.
//!
//! One who has an IPv6 address has at least the 2⁶⁴ of its network (RFC 6177), so these count as one.
//!
//! The table is bounded by [`ADDRESSES_MAX`]: memory usage will be 2¹⁸ * (8 + 16 + 1) B = 6.6 MB at the most, and
//! half as much again while it grows. An address without connections whose bucket is full is as good as one that
//! never came, and such ones are forgotten when the table is full. If it is full of others, newcomers are let in
//! without being counted by address (and this is counted): to refuse them would let whoever has many addresses shut
//! out everyone. What bounds the whole node still holds then.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::IpAddr;
use std::num::NonZeroU64;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;

use super::rate::{Rate, Spent};

/// Addresses that are remembered at a time: what a table of 2¹⁸ places holds before it doubles.
pub const ADDRESSES_MAX: usize = (1 << 18) / 8 * 7;

/// A full table is searched for what can be forgotten at most this often: it takes about a millisecond.
const SWEEP_EVERY: Duration = Duration::from_secs(1);

/// An address, or the network of an IPv6 address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Key(NonZeroU64);

impl From<IpAddr> for Key {
    fn from(address: IpAddr) -> Self {
        let number = match address.to_canonical() {
            // Behind 2³² there is only what is reserved: 0:1::/32 and its like are no networks (RFC 4291 §2.4).
            IpAddr::V4(v4) => 1 << 32 | u64::from(v4.to_bits()),
            IpAddr::V6(v6) => (v6.to_bits() >> 64) as u64,
        };
        Self(NonZeroU64::new(number).unwrap_or(NonZeroU64::MIN))
    }
}

/// Why an address must wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TooMuch {
    /// It has as many connections as it may.
    Connections,
    /// It came too often; this long from now it may come again.
    Often(Duration),
}

#[derive(Debug, Clone, Copy, Default)]
struct Known {
    spent: Spent,
    connections: u32,
}

#[derive(Debug, Default)]
struct Table {
    known: HashMap<Key, Known>,
    swept: Option<Duration>,
}

/// What one address may; both may change between two calls.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Each {
    /// Connections at a time.
    pub connections: Option<u32>,
    /// How often it may come.
    pub rate: Option<Rate>,
}

impl Each {
    /// Whether nothing is limited.
    #[must_use]
    pub fn is_nothing(&self) -> bool {
        self.connections.is_none() && self.rate.is_none()
    }
}

/// The addresses that one port knows. While nothing is limited it is empty, and takes no memory.
#[derive(Debug, Default)]
pub struct Addresses {
    table: Mutex<Table>,
    uncounted: AtomicU64,
}

impl Addresses {
    /// An address comes, with a connection if these are limited: then it has it until [`Addresses::go`] is called
    /// with the key. `None`: it is not counted, as those are not that came while nothing was limited.
    ///
    /// # Errors
    /// [`TooMuch`]; nothing was counted, except that it came.
    pub fn come(&self, address: IpAddr, each: Each, now: Duration) -> Result<Option<Key>, TooMuch> {
        if each.is_nothing() {
            return Ok(None);
        }
        let key = Key::from(address);
        let mut table = self.table.lock();
        if table.known.len() >= ADDRESSES_MAX && !table.known.contains_key(&key) && !table.sweep(now) {
            self.uncounted.fetch_add(1, Ordering::Relaxed);
            return Ok(None);
        }
        let known = table.known.entry(key).or_default();
        if let Some(rate) = &each.rate {
            rate.take(&mut known.spent, now, 1).map_err(TooMuch::Often)?;
        }
        let Some(most) = each.connections else { return Ok(None) };
        if known.connections >= most {
            return Err(TooMuch::Connections);
        }
        known.connections += 1;
        Ok(Some(key))
    }

    /// A connection of an address has gone. It is forgotten with its last one, unless it matters how often it came.
    pub fn go(&self, key: Key, each: Each) {
        let mut table = self.table.lock();
        if let Entry::Occupied(mut known) = table.known.entry(key) {
            let left = known.get().connections.saturating_sub(1);
            known.get_mut().connections = left;
            if left == 0 && each.rate.is_none() {
                known.remove();
            }
        }
    }

    /// The most connections that any address has.
    #[must_use]
    pub fn busiest(&self) -> u32 {
        self.table.lock().known.values().map(|known| known.connections).max().unwrap_or(0)
    }

    /// How many addresses are remembered.
    #[must_use]
    pub fn len(&self) -> usize {
        self.table.lock().known.len()
    }

    /// Whether none is remembered.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How often somebody was let in uncounted, for want of a place in the table.
    #[must_use]
    pub fn uncounted(&self) -> u64 {
        self.uncounted.load(Ordering::Relaxed)
    }
}

impl Table {
    /// Forgets what need not be known; whether there is a place then.
    fn sweep(&mut self, now: Duration) -> bool {
        if self.swept.is_some_and(|swept| now < swept + SWEEP_EVERY) {
            return false;
        }
        self.swept = Some(now);
        self.known.retain(|_, known| known.connections > 0 || !known.spent.is_nothing(now));
        self.known.len() < ADDRESSES_MAX
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use super::*;

    const NOW: Duration = Duration::from_secs(100);

    fn v4(number: u32) -> IpAddr {
        Ipv4Addr::from(number).into()
    }

    #[test]
    fn addresses_are_counted_apart_and_networks_of_ipv6_together() {
        let parse = |text: &str| Key::from(text.parse::<IpAddr>().unwrap());
        let network = |text: &str| Key::from(IpAddr::V6(text.parse::<Ipv6Addr>().unwrap()));
        assert_ne!(parse("203.0.113.1"), parse("203.0.113.2"));
        assert_eq!(parse("203.0.113.1"), network("::ffff:203.0.113.1"));
        assert_eq!(network("2001:db8:1:2::1"), network("2001:db8:1:2:ffff::9"));
        assert_ne!(network("2001:db8:1:2::1"), network("2001:db8:1:3::1"));
        assert_ne!(network("::1"), parse("0.0.0.0"));
        assert_eq!(size_of::<Option<Key>>(), 8);
        assert_eq!(size_of::<(Key, Known)>(), 24, "as the arithmetic above says");
    }

    #[test]
    fn just_below_a_limit_passes_and_just_above_does_not() {
        let (addresses, each) = (Addresses::default(), Each { connections: Some(3), rate: None });
        let come = |address| addresses.come(address, each, NOW);
        let keys: Vec<_> = (0..3).map(|_| come(v4(1)).unwrap().unwrap()).collect();
        assert_eq!(come(v4(1)), Err(TooMuch::Connections));
        assert!(come(v4(2)).is_ok());
        assert_eq!((addresses.busiest(), addresses.len()), (3, 2));
        addresses.go(keys[0], each);
        assert!(come(v4(1)).is_ok());
        assert_eq!(come(v4(1)), Err(TooMuch::Connections));

        let (addresses, each) =
            (Addresses::default(), Each { connections: None, rate: Rate::a_second(1, 2) });
        let come = |address, now| addresses.come(address, each, now);
        assert_eq!((come(v4(1), NOW), come(v4(1), NOW)), (Ok(None), Ok(None)));
        assert_eq!(come(v4(1), NOW), Err(TooMuch::Often(Duration::from_secs(1))));
        assert_eq!(come(v4(2), NOW), Ok(None), "another's bucket is another");
        assert_eq!(come(v4(1), NOW + Duration::from_secs(1)), Ok(None));
    }

    #[test]
    fn limits_that_change_hold_for_those_who_come_next() {
        let addresses = Addresses::default();
        let most = |connections| Each { connections, rate: None };
        assert_eq!(addresses.come(v4(1), most(None), NOW), Ok(None));
        assert!(addresses.is_empty(), "while nothing is limited nothing is remembered");
        let keys: Vec<_> =
            (0..3).map(|_| addresses.come(v4(1), most(Some(3)), NOW).unwrap().unwrap()).collect();
        assert_eq!(addresses.come(v4(1), most(Some(1)), NOW), Err(TooMuch::Connections));
        assert_eq!(addresses.busiest(), 3, "those who are here stay");
        keys.into_iter().for_each(|key| addresses.go(key, most(None)));
        assert!(addresses.is_empty());
    }

    #[test]
    fn one_who_has_gone_is_forgotten() {
        let (addresses, each) = (Addresses::default(), Each { connections: Some(1), rate: None });
        let key = addresses.come(v4(1), each, NOW).unwrap().unwrap();
        addresses.go(key, each);
        assert!(addresses.is_empty());
        // Where it matters how often one came, that is known a while longer.
        let each = Each { rate: Rate::a_second(1, 1), ..each };
        let key = addresses.come(v4(1), each, NOW).unwrap().unwrap();
        addresses.go(key, each);
        assert_eq!(addresses.len(), 1);
    }

    #[test]
    fn a_full_table_forgets_the_idle_and_lets_others_in_uncounted() {
        let addresses = Addresses::default();
        let each = Each { connections: Some(1), rate: Rate::a_second(1, 1) };
        let come = |address, now| addresses.come(address, each, now);
        let keys: Vec<_> =
            (0..ADDRESSES_MAX as u32).map(|number| come(v4(number), NOW).unwrap().unwrap()).collect();
        let newcomer = v4(u32::MAX);
        assert_eq!(come(newcomer, NOW), Ok(None), "all others are connected");
        assert_eq!((addresses.uncounted(), addresses.len()), (1, ADDRESSES_MAX));
        assert_eq!(come(v4(0), NOW), Err(TooMuch::Often(Duration::from_secs(1))), "and still limited");
        keys[1..].iter().for_each(|key| addresses.go(*key, each));
        let later = NOW + SWEEP_EVERY;
        assert!(come(newcomer, later).unwrap().is_some());
        assert_eq!(addresses.len(), 2, "the newcomer and the one who stayed");
        assert_eq!(come(v4(0), later), Err(TooMuch::Connections));
    }
}
