//! Which server has which part: one address for each. A single server has the one part there is, the primary that
//! Sentinels name too; the parts of a Cluster are where its slots are.

use std::collections::HashMap;
use std::sync::Arc;

use futures_util::future::join_all;
use redis::Value;
use tokio::time::{Duration, timeout};

use super::fault::Fault;
use super::keys::slot;
use super::settings::{Lay, RedisSettings};
use super::wire::{self, Shared};

/// For a question to a Sentinel or a server of a Cluster over a connection that stands.
const ASK_TIME_MAX: Duration = Duration::from_millis(300);

/// The address of each part.
pub(super) type Places = Vec<Arc<str>>;

/// Asks where the parts are.
pub(super) async fn find(
    settings: &RedisSettings,
    shards: u32,
    wires: &HashMap<Arc<str>, Shared>,
) -> Result<Places, String> {
    match &settings.lay {
        Lay::Single(address) => Ok(vec![address.clone()]),
        Lay::Sentinel(sentinels, service) => {
            let asked = sentinels.iter().map(|address| primary(settings, address, service));
            most_said(join_all(asked).await)
        }
        Lay::Cluster(_) => of_cluster(settings, shards, wires).await,
    }
}

/// What one Sentinel says.
async fn primary(settings: &RedisSettings, sentinel: &str, service: &str) -> Result<Arc<str>, String> {
    let wire = wire::dial_sentinel(settings, sentinel).await?;
    let command = redis::cmd("SENTINEL").arg("GET-MASTER-ADDR-BY-NAME").arg(service).take();
    let answer = timeout(ASK_TIME_MAX, wire.command(command)).await;
    let say = |why: &str| Err(format!("the Sentinel at {sentinel}: {why}"));
    match answer {
        Ok(Ok(Value::Array(found))) => match &found[..] {
            [Value::BulkString(host), Value::BulkString(port)] => Ok(joined(host, port)),
            _ => say("it says no address"),
        },
        Ok(Ok(_)) => say(&format!("it knows no service {service:?}")),
        Ok(Err(fault)) => say(&fault.words()),
        Err(_) => say("no answer in time"),
    }
}

fn joined(host: &[u8], port: &[u8]) -> Arc<str> {
    let (host, port) = (String::from_utf8_lossy(host), String::from_utf8_lossy(port));
    if host.contains(':') { format!("[{host}]:{port}").into() } else { format!("{host}:{port}").into() }
}

/// What most Sentinels say: in a failover one may be behind.
fn most_said(answers: Vec<Result<Arc<str>, String>>) -> Result<Places, String> {
    let (mut said, mut why) = (Vec::<(Arc<str>, usize)>::new(), None);
    for answer in answers {
        match answer {
            Ok(address) => match said.iter_mut().find(|(known, _)| *known == address) {
                Some((_, times)) => *times += 1,
                None => said.push((address, 1)),
            },
            Err(fault) => _ = why.get_or_insert(fault),
        }
    }
    let most = said.into_iter().max_by_key(|(_, times)| *times);
    most.map(|(address, _)| vec![address]).ok_or_else(|| why.unwrap_or_default())
}

async fn of_cluster(
    settings: &RedisSettings,
    shards: u32,
    wires: &HashMap<Arc<str>, Shared>,
) -> Result<Places, String> {
    let mut why = String::new();
    for (address, wire) in wires {
        match slots(wire, address, shards).await {
            Ok(places) => return Ok(places),
            Err(fault) => why = fault,
        }
    }
    let dialled = settings.seeds().iter().map(async |address| (address, wire::dial(settings, address).await));
    for (address, wire) in join_all(dialled).await {
        let found = match &wire {
            Ok(wire) => slots(wire, address, shards).await,
            Err(why) => Err(why.clone()),
        };
        match found {
            Ok(places) => return Ok(places),
            Err(fault) => why = fault,
        }
    }
    Err(why)
}

/// What one server says of the slots.
async fn slots(wire: &wire::Wire, address: &str, shards: u32) -> Result<Places, String> {
    let command = redis::cmd("CLUSTER").arg("SLOTS").take();
    let say = |why: String| format!("{address}: {why}");
    let answer = timeout(ASK_TIME_MAX, wire.command(command)).await;
    let answer = answer.unwrap_or_else(|_| Err(Fault::Broken("no answer in time".to_owned())));
    let Value::Array(ranges) = answer.map_err(|fault| say(fault.words()))? else {
        return Err(say("it does not say where slots are".to_owned()));
    };
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    let ranges: Vec<_> = ranges.iter().filter_map(|range| in_range(range, host)).collect();
    let place = |shard: u32| {
        let slot = i64::from(slot(shard));
        let range = ranges.iter().find(|(first, last, _)| (*first..=*last).contains(&slot));
        range.map(|(_, _, address)| address.clone())
    };
    (0..shards)
        .map(place)
        .collect::<Option<_>>()
        .ok_or_else(|| say("some slots of the Cluster have no server".to_owned()))
}

/// A range of slots: its first, its last, and the address of its primary, which stands before its replicas.
fn in_range(range: &Value, asked: &str) -> Option<(i64, i64, Arc<str>)> {
    let Value::Array(range) = range else { return None };
    let [Value::Int(first), Value::Int(last), Value::Array(primary), ..] = &range[..] else { return None };
    let [host, Value::Int(port), ..] = &primary[..] else { return None };
    let address = match host {
        Value::BulkString(host) if !host.is_empty() && host != b"?" => {
            joined(host, port.to_string().as_bytes())
        }
        // A server that does not know its own address is the one that was asked.
        _ => format!("{asked}:{port}").into(),
    };
    Some((*first, *last, address))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sentinel_that_is_behind_is_outvoted() {
        let said = |address: &str| Ok(Arc::from(address));
        let answers = vec![said("a:1"), Err("down".to_owned()), said("b:1"), said("b:1")];
        assert_eq!(most_said(answers), Ok(vec![Arc::from("b:1")]));
        assert_eq!(most_said(vec![Err("down".to_owned())]), Err("down".to_owned()));
    }
}
