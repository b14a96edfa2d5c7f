//! The cluster: processes, each on a loopback address of its own, and a proxy in every link.
//!
//! | 127.R. | |
//! |---|---|
//! | 1.L | logic node L, API 7100, ops 7109 |
//! | 2.G | gateway G, clients 7200, link 7201, ops 7209 |
//! | 3.1 | Redis, 6379 |
//! | 10.G | proxy between clients and gateway G |
//! | 20+L.G | proxy between logic node L and gateway G |
//! | 4.L | proxy between logic node L and Redis |
//!
//! R is the first of 254 that no other run on this machine has. Where nothing is done to links there are no proxies:
//! a client then costs us one descriptor and not three.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use common::tasks::Tasks;
use tokio::sync::Mutex;

use crate::http::Caller;
use crate::node::{Node, Recipe};
use crate::proxy::Proxy;
use crate::world::RULES;

/// Where a logic node keeps what must outlive it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Engine {
    /// In its memory.
    Embedded,
    /// In a folder.
    DataDir,
    /// In a Redis of the run's own, which writes every command to disk.
    RedisAof,
    /// In one that writes only when it is told to.
    RedisRdb,
    /// Somewhere else: no process of ours, and nothing that is done to it.
    Url(String),
}

impl fmt::Display for Engine {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str(match self {
            Self::Embedded => "embedded",
            Self::DataDir => "data-dir",
            Self::RedisAof => "redis(aof)",
            Self::RedisRdb => "redis(rdb)",
            // It may have a password in it.
            Self::Url(_) => "redis(elsewhere)",
        })
    }
}

/// How many of what.
#[derive(Debug, Clone)]
pub(crate) struct Shape {
    pub(crate) logics: u32,
    pub(crate) gateways: u32,
    pub(crate) engine: Engine,
    pub(crate) window: String,
    /// How long a node may take to go when it is asked.
    pub(crate) drain: String,
    /// Without proxies.
    pub(crate) is_direct: bool,
    pub(crate) program: PathBuf,
}

/// A running cluster.
#[derive(Debug)]
pub(crate) struct Cluster {
    pub(crate) logics: Vec<Mutex<Node>>,
    pub(crate) gateways: Vec<Mutex<Node>>,
    /// If it is ours.
    pub(crate) redis: Option<Mutex<Node>>,
    /// Before each gateway.
    pub(crate) client_links: Vec<Proxy>,
    /// Of each logic node, to each gateway.
    pub(crate) gateway_links: Vec<Vec<Proxy>>,
    /// Of each logic node.
    pub(crate) redis_links: Vec<Proxy>,
    /// Host and port of each API.
    pub(crate) apis: Vec<Caller>,
    /// Of each logic node's operator's port.
    pub(crate) ops: Vec<Caller>,
    /// Of each gateway's.
    pub(crate) gateway_ops: Vec<Caller>,
    pub(crate) redis_address: String,
    /// Where clients connect: the proxies, if there are any.
    pub(crate) doors: Vec<SocketAddr>,
    /// Nobody else takes our addresses while we hold this.
    _place: TcpListener,
}

/// The addresses of a run.
#[derive(Debug, Clone, Copy)]
struct Net(u8);

impl Net {
    /// The first that is free.
    fn take() -> Result<(Self, TcpListener), String> {
        let first = std::process::id();
        (0..254)
            .map(|step| ((first + step) % 254 + 1) as u8)
            .find_map(|net| {
                let guard = TcpListener::bind((Ipv4Addr::new(127, net, 0, 1), 7099)).ok()?;
                // Somebody may listen at every address.
                let probe = |c, port| TcpListener::bind((Ipv4Addr::new(127, net, c, 1), port)).is_ok();
                (probe(1, 7100) && probe(2, 7200) && probe(3, 6379)).then_some((Self(net), guard))
            })
            .ok_or_else(|| "no loopback address has its ports free".to_owned())
    }

    fn at(self, c: u32, d: u32, port: u16) -> SocketAddr {
        // There are at most a hundred of each.
        let [c, d] = [c, d].map(|part| u8::try_from(part).expect("a small number"));
        (Ipv4Addr::new(127, self.0, c, d + 1), port).into()
    }
}

/// How long all links may take to stand.
const LINK_TIME_MAX: Duration = Duration::from_secs(20);

impl Cluster {
    /// Starts everything, and waits until each logic node is linked to each gateway.
    pub(crate) async fn start(shape: &Shape, folder: &Path, tasks: &Tasks) -> Result<Self, String> {
        let (net, place) = Net::take()?;
        let nodes = folder.join("nodes");
        let say = |why: std::io::Error| format!("{}: {why}", folder.display());
        std::fs::create_dir_all(&nodes).map_err(say)?;
        let rules = folder.join("rules.toml");
        std::fs::write(&rules, RULES).map_err(say)?;
        let proxies =
            if shape.is_direct { Proxies::default() } else { Proxies::bind(net, shape, tasks).await? };
        let recipes = Recipes { net, shape, folder, rules: &rules };
        let node = |recipe| Mutex::new(Node::new(recipe, &nodes));
        let caller = |at: SocketAddr| Caller::new(at, tasks);
        let cluster = Self {
            logics: (0..shape.logics).map(|l| node(recipes.logic(l))).collect(),
            gateways: (0..shape.gateways).map(|g| node(recipes.gateway(g))).collect(),
            redis: recipes.redis().map(node),
            client_links: proxies.clients,
            gateway_links: proxies.gateways,
            redis_links: proxies.redis,
            apis: (0..shape.logics).map(|l| caller(net.at(1, l, 7100))).collect(),
            ops: (0..shape.logics).map(|l| caller(net.at(1, l, 7109))).collect(),
            gateway_ops: (0..shape.gateways).map(|g| caller(net.at(2, g, 7209))).collect(),
            redis_address: net.at(3, 0, 6379).to_string(),
            doors: (0..shape.gateways).map(|g| recipes.door(g)).collect(),
            _place: place,
        };
        for node in cluster.redis.iter().chain(&cluster.gateways).chain(&cluster.logics) {
            node.lock().await.start().await?;
        }
        cluster.linked().await?;
        Ok(cluster)
    }

    /// Waits until every logic node is linked to every gateway.
    pub(crate) async fn linked(&self) -> Result<(), String> {
        let until = Instant::now() + LINK_TIME_MAX;
        for (number, api) in self.apis.iter().enumerate() {
            loop {
                let states = api.get("/v1/gateways").await.map(|answer| answer.json());
                let linked =
                    states.as_ref().ok().and_then(|states| states.as_array()).map_or(0, |states| {
                        states.iter().filter(|gateway| gateway["state"] == "linked").count()
                    });
                if linked == self.gateways.len() {
                    break;
                }
                if Instant::now() > until {
                    return Err(format!("logic-{number} is not linked to all gateways: {states:?}"));
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
        Ok(())
    }

    /// All processes.
    pub(crate) fn nodes(&self) -> impl Iterator<Item = &Mutex<Node>> {
        self.redis.iter().chain(&self.gateways).chain(&self.logics)
    }

    /// Ends all of it at once.
    pub(crate) async fn end(&self) {
        for node in self.nodes() {
            node.lock().await.kill().await;
        }
    }
}

/// What stands in each link.
#[derive(Default)]
struct Proxies {
    clients: Vec<Proxy>,
    gateways: Vec<Vec<Proxy>>,
    redis: Vec<Proxy>,
}

impl Proxies {
    async fn bind(net: Net, shape: &Shape, tasks: &Tasks) -> Result<Self, String> {
        let bind = |at, to| Proxy::bind(at, to, tasks);
        let failed = |why: std::io::Error| format!("a proxy cannot listen: {why}");
        let mut proxies = Self::default();
        for g in 0..shape.gateways {
            proxies.clients.push(bind(net.at(10, g, 7200), net.at(2, g, 7200)).await.map_err(failed)?);
        }
        for l in 0..shape.logics {
            let mut links = Vec::new();
            for g in 0..shape.gateways {
                links.push(bind(net.at(20 + l, g, 7201), net.at(2, g, 7201)).await.map_err(failed)?);
            }
            proxies.gateways.push(links);
            proxies.redis.push(bind(net.at(4, l, 6379), net.at(3, 0, 6379)).await.map_err(failed)?);
        }
        Ok(proxies)
    }
}

/// What each process is started with.
struct Recipes<'a> {
    net: Net,
    shape: &'a Shape,
    folder: &'a Path,
    rules: &'a Path,
}

impl Recipes<'_> {
    /// Where clients find a gateway.
    fn door(&self, g: u32) -> SocketAddr {
        self.net.at(if self.shape.is_direct { 2 } else { 10 }, g, 7200)
    }

    /// Where a logic node finds one.
    fn link(&self, l: u32, g: u32) -> SocketAddr {
        self.net.at(if self.shape.is_direct { 2 } else { 20 + l }, g, 7201)
    }

    /// Where it finds Redis.
    fn store(&self, l: u32) -> SocketAddr {
        if self.shape.is_direct { self.net.at(3, 0, 6379) } else { self.net.at(4, l, 6379) }
    }

    fn tidegate(&self, name: String, args: Vec<String>) -> Recipe {
        let drain = &self.shape.drain;
        let common =
            ["--insecure", "--drain", drain, "--log-format", "json", "--end-with-stdin", "--name", &name];
        let args = args.into_iter().chain(common.map(str::to_owned)).collect();
        Recipe { name, program: self.shape.program.clone(), args, redis: None }
    }

    fn gateway(&self, g: u32) -> Recipe {
        let at = |port| self.net.at(2, g, port).to_string();
        let window = &self.shape.window;
        let args = words(&[
            "gateway",
            "--window",
            window,
            "--listen",
            &at(7200),
            "--ingress",
            &at(7201),
            "--ops",
            &at(7209),
        ]);
        self.tidegate(format!("gateway-{g}"), args)
    }

    fn logic(&self, l: u32) -> Recipe {
        let (listen, ops) = (self.net.at(1, l, 7100).to_string(), self.net.at(1, l, 7109).to_string());
        let rules = self.rules.display().to_string();
        let mut args = words(&["logic", "--listen", &listen, "--ops", &ops, "--config", &rules]);
        for g in 0..self.shape.gateways {
            args.extend(["--gateway".to_owned(), self.link(l, g).to_string()]);
        }
        match &self.shape.engine {
            Engine::Embedded => {}
            Engine::DataDir => {
                let folder = self.folder.join(format!("data-{l}")).display().to_string();
                args.extend(["--data-dir".to_owned(), folder]);
            }
            Engine::RedisAof | Engine::RedisRdb => {
                args.extend(["--engine".to_owned(), format!("redis://{}", self.store(l))]);
            }
            Engine::Url(url) => args.extend(["--engine".to_owned(), url.clone()]),
        }
        self.tidegate(format!("logic-{l}"), args)
    }

    fn redis(&self) -> Option<Recipe> {
        let aof = match self.shape.engine {
            Engine::RedisAof => "yes",
            Engine::RedisRdb => "no",
            _ => return None,
        };
        let at = self.net.at(3, 0, 6379);
        let (ip, folder) = (at.ip().to_string(), self.folder.join("redis").display().to_string());
        // The server wants its folder to be there; that it is not says the server.
        _ = std::fs::create_dir_all(&folder);
        let args = words(&[
            "--bind",
            &ip,
            "--port",
            "6379",
            "--dir",
            &folder,
            "--appendonly",
            aof,
            "--appendfsync",
            "always",
            "--save",
            "",
            "--protected-mode",
            "no",
            "--daemonize",
            "no",
        ]);
        Some(Recipe {
            name: "redis".into(),
            program: "redis-server".into(),
            args,
            redis: Some(at.to_string()),
        })
    }
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}
