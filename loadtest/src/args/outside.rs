//! The command line of `peers`, `any` and `plan`: other servers, measured from outside, and what is worked out.

use std::path::PathBuf;
use std::time::Duration;

use clap::ValueEnum;
use loadtest::any::{self, Dialect, Pattern, Publishing, Reply, unescape};
use loadtest::model::Question;
use loadtest::peers::{self, Discipline};

use super::{JsonOutput, read_size};

const PEERS: &str = "Examples:
  deploy/peers/install                                   # what Debian and npm have of them
  tidegate-loadtest peers --markdown
  tidegate-loadtest peers --clients 200 --publishes 10 --only tidegate,nchan
  unshare -n sh -c 'ip link set lo up && tidegate-loadtest peers'   # with the kernel's counters for itself

A peer is a folder with a peer.toml (deploy/peers/NAME): one more folder is one more row.";

#[derive(Debug, clap::Args)]
#[command(after_help = PEERS)]
pub(crate) struct PeersArgs {
    /// Clients of each server
    #[arg(long, default_value_t = 10_000)]
    clients: u32,
    /// Publishes when one is one message to each client (F)
    #[arg(long, default_value_t = 30)]
    publishes: u32,
    /// From one of them to the next
    #[arg(long, default_value = "1s", value_parser = humantime::parse_duration)]
    every: Duration,
    /// Size of an item: bytes, or as in 4KiB
    #[arg(long, default_value = "200", value_parser = read_size)]
    size: usize,
    /// Items a second when a server may merge (M)
    #[arg(long, default_value_t = 5.0)]
    item_rate: f64,
    /// For how long
    #[arg(long, default_value = "10s", value_parser = humantime::parse_duration)]
    merged_for: Duration,
    /// F: one publish is one message; M: merged, counted in items
    #[arg(long, value_delimiter = ',', default_value = "F,M")]
    discipline: Vec<How>,
    /// Only these peers, by the names of their folders
    #[arg(long, value_delimiter = ',', value_name = "NAME")]
    only: Vec<String>,
    /// Where the folders of peers are [default: deploy/peers, here or where this program was built]
    #[arg(long, value_name = "FOLDER")]
    peers: Option<PathBuf>,
    /// The program tidegate [default: the one beside this program]
    #[arg(long, value_name = "FILE")]
    tidegate: Option<PathBuf>,
    /// Connects a second
    #[arg(long, default_value_t = 2_000)]
    connect_rate: u32,
    /// How long a server rests before its memory is read
    #[arg(long, default_value = "3s", value_parser = humantime::parse_duration)]
    rest: Duration,
    /// Print the tables as Markdown
    #[arg(long)]
    pub(crate) markdown: bool,
    /// Write what was found of Tidegate as constants for `plan --constants`
    #[arg(long, value_name = "FILE")]
    pub(crate) constants: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) output: JsonOutput,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum How {
    #[value(name = "F", alias = "f")]
    Frames,
    #[value(name = "M", alias = "m")]
    Merged,
}

impl PeersArgs {
    pub(crate) fn plan(&self) -> peers::Plan {
        let disciplines = self.discipline.iter().map(|how| match how {
            How::Frames => Discipline::Frames,
            How::Merged => Discipline::Merged,
        });
        peers::Plan {
            clients: self.clients,
            publishes: self.publishes,
            every: self.every,
            size: self.size,
            connect_rate: self.connect_rate,
            item_rate: self.item_rate,
            merged_for: self.merged_for,
            disciplines: disciplines.collect(),
            only: self.only.clone(),
            folder: self.peers.clone(),
            tidegate: self.tidegate.clone(),
            rest: self.rest,
        }
    }
}

const ANY: &str = r#"In what is sent, {client} is a client's number, {item} the item (a JSON object), {string} the same
inside a JSON string, {bytes} its length; \r \n \t \0 \\ are what they are in most languages.

Examples:
  # A server that passes on what is posted to it, as it is
  tidegate-loadtest any --url ws://127.0.0.1:8000/sub --publish-url http://127.0.0.1:8000/pub
  # One that wants to be told the room, and wraps items into JSON
  tidegate-loadtest any --url ws://127.0.0.1:8000/ws --header 'Authorization: Bearer KEY' \
      --subscribe '{"join":"room","as":"{client}"}' --ready '"joined"' --item-pattern 'json:/items/*/data' \
      --publish-url http://127.0.0.1:8000/publish --publish-body '{"room":"room","data":{item}}'
  # One with a protocol of its own, published to over WebSocket, that pings with a message (Engine.IO)
  tidegate-loadtest any --url 'ws://127.0.0.1:8000/io/?EIO=4&transport=websocket' --subscribe 40 \
      --ready 40 --reply 2=3 --item-pattern 'after:42["item",' --pid 4711 \
      --publish-url 'ws://127.0.0.1:8000/io/?EIO=4&transport=websocket' --publish-first 40 --publish-body '42["publish",{item}]'"#;

#[derive(Debug, clap::Args)]
#[command(after_help = ANY)]
pub(crate) struct AnyArgs {
    /// Where clients connect; may contain {client}
    #[arg(long, value_name = "ws://URL")]
    url: String,
    /// One more field of the request, NAME: VALUE; may contain {client}; repeatable
    #[arg(long = "header", value_name = "FIELD")]
    headers: Vec<String>,
    /// A subprotocol to ask for
    #[arg(long, value_name = "NAME")]
    protocol: Option<String>,
    /// What a client sends once it is connected; may contain {client}; repeatable
    #[arg(long, value_name = "MESSAGE")]
    subscribe: Vec<String>,
    /// Part of the message that says that a client is subscribed [default: it is once all of that is sent]
    #[arg(long, value_name = "TEXT")]
    ready: Option<String>,
    /// Answer messages that begin with ASKED, as pings of a server's own; repeatable
    #[arg(long = "reply", value_name = "ASKED=ANSWER")]
    replies: Vec<String>,
    /// Where in a message an item is: anywhere, after:TEXT, json:/pointer (* is every member)
    #[arg(long, value_name = "PATTERN", default_value_t = Pattern::Anywhere)]
    item_pattern: Pattern,
    /// Clients and publisher send binary messages
    #[arg(long)]
    binary: bool,
    /// Messages are a stream: an item may be split over them
    #[arg(long)]
    streamed: bool,
    /// Where items are published: http:// a request each, ws:// a message each
    #[arg(long, value_name = "URL")]
    publish_url: String,
    /// Body of the request, or the message
    #[arg(long, value_name = "TEXT", default_value = "{item}")]
    publish_body: String,
    /// Method of the request
    #[arg(long, value_name = "METHOD", default_value = "POST")]
    publish_method: String,
    /// One more field of the request; repeatable
    #[arg(long = "publish-header", value_name = "FIELD")]
    publish_headers: Vec<String>,
    /// What is sent first on the publisher's WebSocket; repeatable
    #[arg(long, value_name = "MESSAGE")]
    publish_first: Vec<String>,
    /// A process of the server, if it runs here: its CPU time and memory are taken, with all that it started; repeatable
    #[arg(long = "pid", value_name = "PID")]
    pids: Vec<u32>,
    /// Clients
    #[arg(long, default_value_t = 1_000)]
    clients: u32,
    /// Items
    #[arg(long, default_value_t = 30)]
    publishes: u32,
    /// From one to the next
    #[arg(long, default_value = "500ms", value_parser = humantime::parse_duration)]
    every: Duration,
    /// Size of an item: bytes, or as in 4KiB
    #[arg(long, default_value = "200", value_parser = read_size)]
    size: usize,
    /// Connects a second, at most; 0: as fast as they succeed
    #[arg(long, default_value_t = 2_000)]
    connect_rate: u32,
    /// How long the server rests before its memory is read
    #[arg(long, default_value = "3s", value_parser = humantime::parse_duration)]
    rest: Duration,
    /// How long nothing may come before what has not come counts as lost
    #[arg(long, default_value = "5s", value_parser = humantime::parse_duration)]
    drain: Duration,
    #[command(flatten)]
    pub(crate) output: JsonOutput,
}

/// What is asked of `any`.
pub(crate) struct Asked {
    pub(crate) dialect: Dialect,
    pub(crate) publishing: Publishing,
    pub(crate) load: any::Load,
    pub(crate) pids: Vec<u32>,
}

impl AnyArgs {
    pub(crate) fn split(self) -> Result<(Asked, JsonOutput), String> {
        let plain = |all: &[String]| all.iter().map(|one| unescape(one)).collect::<Vec<_>>();
        let replies =
            plain(&self.replies).iter().map(|one| one.parse()).collect::<Result<Vec<Reply>, _>>()?;
        let dialect = Dialect {
            url: self.url,
            headers: self.headers,
            protocol: self.protocol,
            binary: self.binary,
            subscribe: plain(&self.subscribe),
            ready: self.ready.as_deref().map(unescape),
            replies: replies.clone(),
            pattern: self.item_pattern,
            streamed: self.streamed,
        };
        let publishing = Publishing {
            url: self.publish_url,
            method: self.publish_method,
            headers: self.publish_headers,
            body: unescape(&self.publish_body),
            binary: self.binary,
            first: plain(&self.publish_first),
            replies,
        };
        let load = any::Load {
            clients: self.clients,
            publishes: self.publishes,
            every: self.every,
            size: self.size,
            connect_rate: self.connect_rate,
            rest: self.rest,
            drain: self.drain,
        };
        Ok((Asked { dialect, publishing, load, pids: self.pids }, self.output))
    }
}

const PLAN: &str = "Examples:
  tidegate-loadtest plan --clients 50m --items 10/s
  tidegate-loadtest plan --clients 200k --items 0.2/s --audience 1 --cores-per-node 4 --memory-per-node 16GiB
  tidegate-loadtest peers --only tidegate --constants mine.toml && tidegate-loadtest plan --clients 1m --constants mine.toml";

#[derive(Debug, clap::Args)]
#[command(after_help = PLAN)]
pub(crate) struct PlanArgs {
    /// Clients connected at once, as in 50m, 200k
    #[arg(long, value_parser = read_count)]
    clients: u64,
    /// Items that each client gets, as in 10/s
    #[arg(long, default_value = "1/s", value_parser = read_rate)]
    items: f64,
    /// Size of an item: bytes, or as in 4KiB
    #[arg(long, default_value = "200", value_parser = read_size)]
    size: usize,
    /// Clients that one item reaches, as a room has members; 0: all of them
    #[arg(long, default_value = "0", value_parser = read_count)]
    audience: u64,
    /// The merge window of the gateways
    #[arg(long, default_value = "1s", value_parser = humantime::parse_duration)]
    window: Duration,
    /// Cores of a node
    #[arg(long, default_value_t = 16.0)]
    cores_per_node: f64,
    /// Memory of a node
    #[arg(long, default_value = "64GiB", value_parser = read_size)]
    memory_per_node: usize,
    /// Network of a node, in Gbit/s
    #[arg(long, default_value_t = 25.0)]
    gigabits_per_node: f64,
    /// Connections that a gateway takes
    #[arg(long, default_value = "1m", value_parser = read_count)]
    connections_per_node: u64,
    /// Part of a node that is planned with; the rest is for peaks, and for a node that dies
    #[arg(long, default_value_t = 0.6)]
    used: f64,
    /// What it reckons with, as `peers --constants` writes it [default: what is measured in this repository]
    #[arg(long, value_name = "FILE")]
    pub(crate) constants: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) output: JsonOutput,
}

impl PlanArgs {
    pub(crate) fn question(&self) -> Question {
        Question {
            clients: self.clients,
            items_per_second: self.items,
            size: self.size as u64,
            audience: self.audience,
            window: self.window,
            cores_per_node: self.cores_per_node,
            memory_per_node: self.memory_per_node as u64,
            network_per_node: self.gigabits_per_node * 1e9,
            connections_per_node: self.connections_per_node,
            used: self.used,
        }
    }
}

/// A number as people write large ones.
fn read_count(text: &str) -> Result<u64, String> {
    let wrong = || "numbers are written 1000000, 200k, 1.5m, 2g".to_owned();
    let lower = text.to_ascii_lowercase();
    let (digits, unit) = match lower.strip_suffix(['k', 'm', 'g']) {
        Some(digits) if lower.ends_with('k') => (digits, 1e3),
        Some(digits) if lower.ends_with('m') => (digits, 1e6),
        Some(digits) => (digits, 1e9),
        None => (&*lower, 1.0),
    };
    let number: f64 = digits.parse().map_err(|_| wrong())?;
    let whole = (number * unit).round();
    if number.is_finite() && (0.0..=1e15).contains(&whole) { Ok(whole as u64) } else { Err(wrong()) }
}

/// So many a second, `/s` or not, or a minute.
fn read_rate(text: &str) -> Result<f64, String> {
    let (number, per) = match text.split_once('/') {
        None | Some((_, "s")) => (text.trim_end_matches("/s"), 1.0),
        Some((number, "m" | "min")) => (number, 60.0),
        Some(_) => return Err("rates are written 10/s, 0.5/s, 3/min".into()),
    };
    let number: f64 = number.parse().map_err(|_| "rates are written 10/s, 0.5/s, 3/min".to_owned())?;
    Ok(number / per)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::super::{Args, Command};
    use super::*;

    #[test]
    fn defaults_are_those_of_the_library() {
        let Command::Peers(asked) = Args::parse_from(["x", "peers"]).command else { panic!("peers") };
        assert_eq!(format!("{:?}", asked.plan()), format!("{:?}", peers::Plan::default()));
        let Command::Any(asked) = Args::parse_from(["x", "any", "--url", "a", "--publish-url", "b"]).command
        else {
            panic!("any")
        };
        assert_eq!(format!("{:?}", asked.split().unwrap().0.load), format!("{:?}", any::Load::default()));
        let Command::Plan(asked) = Args::parse_from(["x", "plan", "--clients", "1m"]).command else {
            panic!("plan")
        };
        assert_eq!(asked.question(), Question::default());
    }

    #[test]
    fn numbers_and_rates_are_read_as_they_are_written() {
        for (text, count) in [("7", 7), ("50m", 50_000_000), ("1.5K", 1_500), ("2g", 2_000_000_000)] {
            assert_eq!(read_count(text), Ok(count), "{text}");
        }
        for (text, rate) in [("10/s", 10.0), ("0.5", 0.5), ("30/min", 0.5)] {
            assert_eq!(read_rate(text), Ok(rate), "{text}");
        }
        for bad in ["", "m", "-1", "1x", "nan"] {
            assert!(read_count(bad).is_err(), "{bad:?}");
        }
        assert!(read_rate("1/h").is_err() && read_rate("x/s").is_err());
    }
}
