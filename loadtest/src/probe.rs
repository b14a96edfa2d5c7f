//! Before anything starts: is each target what it should be, and does this machine allow the run?
//!
//! A target that refuses, resets, answers errors, closes, sends garbage or hangs is found here, by one
//! connection each with a deadline, and not by ten thousand.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::Duration;

use common::client::{Hello, Incoming};
use common::descriptors::{self, Descriptors, RESERVED};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::protocol::frame::coding::Control;

use crate::handshake;
use crate::inflate::Inflater;
use crate::plan::Plan;
use crate::publisher::Caller;
use crate::target::{Endpoint, Scheme};
use crate::wire::{self, Kind, Next};
use crate::world::World;

/// A target that says nothing for so long hangs.
const PROBE_TIME_MAX: Duration = Duration::from_secs(5);

/// Descriptors of an agent's own beside its clients and the usual ones: its connection, event loops.
const AGENT_DESCRIPTORS: u64 = 32;

/// Checks the limits of a process and this machine against a plan, and gives how many processes hold the clients.
///
/// # Errors
/// What does not suffice, and what to change.
pub(crate) fn limits(plan: &Plan) -> Result<u32, String> {
    let Descriptors { limit, .. } =
        descriptors::raise().map_err(|error| format!("cannot read the limit of open files: {error}"))?;
    let publishers = (plan.logics.len() * plan.publisher_connections) as u64;
    if plan.remote.is_some() {
        return Ok(0);
    }
    let processes = processes(plan, limit, publishers);
    // One process is this one, and publishes as well.
    let others = if processes == 1 { publishers } else { AGENT_DESCRIPTORS } + RESERVED;
    let needed = u64::from(plan.clients.div_ceil(processes)) + others;
    if needed > limit {
        let most = limit.saturating_sub(others) * u64::from(processes);
        return Err(format!(
            "{needed} descriptors are needed and {limit} allowed: at most --clients {most}, more --processes, or raise the hard limit (ulimit -Hn)"
        ));
    }
    let ports = u64::from(ports());
    let (sources, per) = match plan.source_addresses {
        // Then they are found as they are needed.
        0 => return Ok(processes),
        // A port that is bound is taken for all destinations.
        sources => (u64::from(sources), u64::from(plan.clients)),
    };
    if per > ports * sources {
        let wanted = u64::from(plan.clients).div_ceil(ports);
        return Err(format!(
            "{per} connections need a local port each, and {sources} source address(es) have {ports} each: --source-addresses {wanted}"
        ));
    }
    Ok(processes)
}

/// How many processes hold the clients: as asked for, else as few as descriptors allow. Rather as many as there are
/// gateways than a few less, for then each has the clients of one gateway, and knows its first receipts.
fn processes(plan: &Plan, limit: u64, publishers: u64) -> u32 {
    let clients = u64::from(plan.clients);
    if plan.processes > 0 {
        return plan.processes;
    }
    if clients + publishers + RESERVED <= limit {
        return 1;
    }
    let each = limit.saturating_sub(RESERVED + AGENT_DESCRIPTORS).max(1);
    let fewest = u32::try_from(clients.div_ceil(each)).unwrap_or(u32::MAX).max(2);
    let gateways = plan.gateways.len() as u32;
    if gateways >= fewest && gateways / 2 <= fewest { gateways } else { fewest }
}

/// How many local ports connections may use, for each source and destination.
pub(crate) fn ports() -> u32 {
    let text = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap_or_default();
    let mut numbers = text.split_whitespace().filter_map(|number| number.parse::<u16>().ok());
    // The kernel's own default where the file is not there.
    let (first, last) = numbers.next().zip(numbers.next()).unwrap_or((32_768, 60_999));
    u32::from(last.saturating_sub(first)) + 1
}

/// Opens one connection to a gateway as a client would, and gives its hello.
pub(crate) async fn gateway(
    endpoint: &Endpoint,
    address: SocketAddr,
    world: &World,
) -> Result<Hello, String> {
    let greeted = tokio::time::timeout(PROBE_TIME_MAX, Box::pin(greet(endpoint, address, world))).await;
    let greeted = greeted.unwrap_or_else(|_| Err("it says nothing within 5 s".into()));
    greeted.map_err(|why| format!("gateway {}: {why}", endpoint.url))
}

async fn greet(endpoint: &Endpoint, address: SocketAddr, world: &World) -> Result<Hello, String> {
    let broken = |error: std::io::Error| format!("the connection broke: {error}");
    let mut stream = TcpStream::connect(address).await.map_err(|error| format!("cannot connect: {error}"))?;
    let request = handshake::request(endpoint, world, 0, 0);
    stream.write_all(request.as_bytes()).await.map_err(broken)?;
    let mut bytes = Vec::new();
    let (mut agreed, mut deflates) = (None, false);
    let (mut inflater, mut inflated) = (Inflater::new(), Vec::new());
    loop {
        let start = match agreed {
            Some(start) => start,
            None => handshake::answer(&bytes, world, 0, 0)?.map_or(0, |answer| {
                (agreed, deflates) = (Some(answer.head), answer.deflates);
                answer.head
            }),
        };
        if agreed.is_some() {
            match wire::next(&bytes[start..], deflates) {
                Next::Frame(kind @ (Kind::Text | Kind::Deflated), payload, _) => {
                    let text = if kind == Kind::Text {
                        payload
                    } else {
                        inflater
                            .inflate(payload, &mut inflated)
                            .map_err(|_| "a compressed hello that is broken")?;
                        &inflated
                    };
                    let hello = read_hello(text)?;
                    let close = wire::control(Control::Close, &1000_u16.to_be_bytes(), [1, 2, 3, 4]);
                    // Best effort: it is only good manners.
                    _ = stream.write_all(&close).await;
                    return Ok(hello);
                }
                Next::Frame(Kind::Close, code, _) => {
                    return Err(format!(
                        "it closed after the handshake, with code {}",
                        wire::close_code(code)
                    ));
                }
                Next::Frame(_, _, length) => agreed = Some(start + length),
                Next::Wrong(what) => return Err(format!("it sent {what}")),
                Next::Part => {}
            }
        }
        if stream.read_buf(&mut bytes).await.map_err(broken)? == 0 {
            let when =
                if agreed.is_some() { "after the handshake" } else { "without an answer to the handshake" };
            return Err(format!("it closed {when}"));
        }
    }
}

fn read_hello(text: &[u8]) -> Result<Hello, String> {
    let hello = serde_json::from_slice::<Incoming<'_>>(text).ok().filter(|message| message.cmd == "hello");
    let data = hello.and_then(|message| message.data);
    data.and_then(|data| serde_json::from_str(data.get()).ok()).ok_or_else(|| {
        let start: String =
            String::from_utf8_lossy(text).chars().filter(|c| !c.is_control()).take(80).collect();
        format!("its first message is no hello: {start:?}")
    })
}

/// A gateway as a logic node knows it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Known {
    name: String,
    /// Where clients reach it, if the node was told so.
    pub(crate) url: Option<String>,
    is_linked: bool,
    is_draining: bool,
    /// The node has not yet found out whether it is there.
    pub(crate) is_new: bool,
}

impl Known {
    /// Whether clients may connect to it and are then reached.
    pub(crate) fn is_open(&self) -> bool {
        self.url.is_some() && self.is_linked && !self.is_draining
    }
}

/// Asks a logic node for the gateways it knows.
pub(crate) async fn logic(caller: &mut Caller, url: &str) -> Result<Vec<Known>, String> {
    let asked = tokio::time::timeout(PROBE_TIME_MAX, Box::pin(caller.read("/v1/gateways"))).await;
    let body = asked.unwrap_or_else(|_| Err("it says nothing within 5 s".into()));
    let body = body.map_err(|why| format!("logic {url}: {why}"))?;
    let body: Value = serde_json::from_slice(&body)
        .map_err(|error| format!("logic {url}: GET /v1/gateways is not JSON: {error}"))?;
    let mut found = Vec::new();
    collect_gateways(&body, &mut found);
    Ok(found)
}

/// Objects with a `clientUrl` and a name, wherever they stand.
fn collect_gateways(value: &Value, found: &mut Vec<Known>) {
    match value {
        Value::Array(values) => values.iter().for_each(|value| collect_gateways(value, found)),
        Value::Object(members) => {
            let text = |name: &str| members.get(name).and_then(Value::as_str).map(str::to_owned);
            let name = text("name").or_else(|| text("gateway")).or_else(|| text("id"));
            let state = text("state");
            match name {
                Some(name) if members.contains_key("clientUrl") => found.push(Known {
                    name,
                    url: text("clientUrl"),
                    is_linked: state.as_deref() == Some("linked"),
                    is_draining: members.get("draining") == Some(&Value::Bool(true)),
                    is_new: state.as_deref() == Some("connecting"),
                }),
                _ => members.values().for_each(|value| collect_gateways(value, found)),
            }
        }
        _ => {}
    }
}

/// Which of our gateways has which name, and our gateways that a logic node does not know.
pub(crate) async fn match_names(
    known: &[Known],
    gateways: &[(Endpoint, SocketAddr)],
    names: &mut HashMap<String, u32>,
) -> Vec<String> {
    let mut unknown: Vec<&Endpoint> = gateways.iter().map(|(endpoint, _)| endpoint).collect();
    for Known { name, url, .. } in known {
        let Some(url) = url else { continue };
        let Ok(endpoint) = Endpoint::parse(url, Scheme::Ws) else { continue };
        let Ok(address) = endpoint.resolve().await else { continue };
        if let Some(at) = gateways.iter().position(|(_, ours)| *ours == address) {
            names.insert(name.clone(), at as u32);
            unknown.retain(|endpoint| *endpoint != &gateways[at].0);
        }
    }
    unknown.into_iter().map(|endpoint| endpoint.url.clone()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_that_do_not_suffice_are_named_with_a_remedy() {
        let gateways = vec!["ws://127.0.0.1:1".to_owned()];
        let few = Plan { clients: 100, gateways, ..Plan::default() };
        assert_eq!(limits(&few), Ok(1));
        assert_eq!(limits(&Plan { processes: 4, ..few.clone() }), Ok(4));
        let many = Plan { clients: 3_000_000, source_addresses: 2, ..few };
        assert!(limits(&many).unwrap_err().contains("--"), "descriptors or ports");
        assert!(
            limits(&Plan { processes: 1, source_addresses: 0, ..many })
                .is_err_and(|why| why.contains("--processes"))
        );
    }

    #[test]
    fn processes_are_as_many_as_descriptors_demand_or_as_there_are_gateways() {
        let wanted = |clients, gateways| {
            processes(
                &Plan { clients, gateways: vec![String::new(); gateways], ..Plan::default() },
                20_000,
                16,
            )
        };
        assert_eq!((wanted(19_000, 4), wanted(20_000, 1), wanted(40_000, 4)), (1, 2, 4));
        assert_eq!((wanted(1_000_000, 52), wanted(1_000_000, 60), wanted(1_000_000, 3)), (52, 60, 51));
        assert_eq!(wanted(40_000, 50), 3, "many more gateways than processes are needed");
    }

    #[test]
    fn gateways_are_found_in_any_list() {
        let text = r#"{"gateways":[{"name":"gw-1","clientUrl":"ws://a:1","state":"linked","x":{}},{"clientUrl":7},
            {"gateway":"gw-2","clientUrl":"ws://a:2","state":"linked","draining":true},
            {"gateway":"a:3","clientUrl":null,"state":"connecting"}]}"#;
        let mut found = Vec::new();
        collect_gateways(&serde_json::from_str(text).unwrap(), &mut found);
        let found: Vec<_> = found
            .iter()
            .map(|known| (&*known.name, known.url.as_deref(), known.is_open(), known.is_new))
            .collect();
        let wanted = [
            ("gw-1", Some("ws://a:1"), true, false),
            ("gw-2", Some("ws://a:2"), false, false),
            ("a:3", None, false, true),
        ];
        assert_eq!(found, wanted);
    }
}
