//! How often somebody may call: each key so often, and whoever shows none that may, each address so often.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use common::limits::addresses::{Addresses, Each, TooMuch};
use common::limits::rate::{Rate, seconds};
use common::problem::Problem;
use http::request::Parts as Head;

use super::{Parts, auth};
use crate::keys::Keys;
use crate::limits::Limit;

/// What is known of those who have called lately.
pub(super) struct Pace {
    since: Instant,
    addresses: Addresses,
}

impl Default for Pace {
    fn default() -> Self {
        Self { since: Instant::now(), addresses: Addresses::default() }
    }
}

/// Decides whether a call is made. It counts for the key with which it is made, and else for the address of its
/// caller: so who guesses keys is slowed down, and who has one is not held up by others behind the same address.
///
/// # Errors
/// 429 when it comes too fast, 401 and 403 as [`auth::check`] says.
pub(super) fn admit(parts: &Parts, keys: Option<&Keys>, head: &Head, peer: IpAddr) -> Result<(), Problem> {
    let refused = match auth::check(keys, head) {
        Ok(Some(key)) => {
            let rate = key.rate(parts.tune.now().limits.calls_per_key);
            let taken = key.usage(&parts.counters.keys).take(rate, || parts.pace.since.elapsed());
            return taken.map_err(|wait| {
                parts.counters.refuse(Limit::CallsPerKey);
                too_fast(&format!("the key {:?}", key.name), rate, wait)
            });
        }
        Ok(None) => None,
        Err((key, problem)) => {
            if let Some(key) = key {
                key.usage(&parts.counters.keys).forbidden.inc();
            }
            Some(problem)
        }
    };
    take_for_address(parts, head, peer)?;
    refused.map_or(Ok(()), Err)
}

/// Takes a call of an address. Trusted proxies themselves are not counted.
fn take_for_address(parts: &Parts, head: &Head, peer: IpAddr) -> Result<(), Problem> {
    let tune = parts.tune.now();
    let each = Each { connections: None, rate: tune.limits.calls_per_ip };
    if each.is_nothing() {
        return Ok(());
    }
    let client = parts.client(peer, head);
    if tune.edge.trusts(client) {
        return Ok(());
    }
    match parts.pace.addresses.come(client, each, parts.pace.since.elapsed()) {
        Ok(_) | Err(TooMuch::Connections) => Ok(()),
        Err(TooMuch::Often(wait)) => {
            parts.counters.refuse(Limit::CallsPerIp);
            Err(too_fast("an address without a key", each.rate, wait))
        }
    }
}

fn too_fast(who: &str, rate: Option<Rate>, wait: Duration) -> Problem {
    let most = rate.map_or(0, |rate| rate.per_second());
    Problem::too_many("too_many_calls", format!("{who} may make {most} calls a second"), seconds(wait))
}
