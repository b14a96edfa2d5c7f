//! Where clients connect and pushes go: asked for, found, probed.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use common::tasks::Tasks;

use super::Error;
use crate::account::{Role, Watched, listeners};
use crate::plan::{BadPlan, Plan};
use crate::probe;
use crate::publisher::Caller;
use crate::target::{Endpoint, Scheme};
use crate::world::World;

/// A logic node that has just started finds its gateways in this time, and is asked this often.
const LINK_TIME_MAX: Duration = Duration::from_secs(3);
const LINK_LOOK_EVERY: Duration = Duration::from_millis(100);

/// The targets, as they answered.
pub(super) struct Targets {
    pub(super) gateways: Vec<(Endpoint, SocketAddr)>,
    pub(super) logics: Vec<(Endpoint, SocketAddr)>,
    pub(super) names: HashMap<String, u32>,
    pub(super) window: Duration,
    pub(super) notes: Vec<String>,
}

impl Targets {
    /// Finds and probes the targets of a plan.
    pub(super) async fn check(plan: &Plan, tasks: &Tasks) -> Result<Self, Error> {
        let gateways = resolve(&plan.gateways, Scheme::Ws).await?;
        let logics = resolve(&plan.logics, Scheme::Http).await?;
        let world = World::of(plan);
        let mut window = Duration::ZERO;
        for (endpoint, address) in &gateways {
            let hello = probe::gateway(endpoint, *address, &world).await.map_err(Error::Unreachable)?;
            window = window.max(Duration::from_millis(hello.window_ms));
        }
        let (mut names, mut notes) = (HashMap::new(), Vec::new());
        for (endpoint, address) in &logics {
            let mut caller = caller(endpoint, *address, plan, tasks);
            for url in Box::pin(link(&mut caller, endpoint, &gateways, &mut names)).await? {
                notes.push(format!("{} names no gateway at {url}: are they linked?", endpoint.url));
            }
        }
        let window = plan.window.unwrap_or(window);
        Ok(Self { gateways, logics, names, window, notes })
    }

    /// The processes to account for: this one, those that the plan names, and those of targets on this machine.
    pub(super) fn watched(&mut self, plan: &Plan, agents: u32) -> Vec<Watched> {
        // One agent is a part of this process.
        let role = if agents > 1 || plan.remote.is_some() { Role::Coordinator } else { Role::Generator };
        let this = Watched { role, name: "this process".into(), pid: std::process::id() };
        let mut watched = vec![this];
        let target = |role| move |(endpoint, at): &(Endpoint, SocketAddr)| (role, endpoint.url.clone(), *at);
        let targets: Vec<_> = self
            .gateways
            .iter()
            .map(target(Role::Gateway))
            .chain(self.logics.iter().map(target(Role::Logic)))
            .collect();
        for found in plan.watched.iter().cloned().chain(listeners(&targets)) {
            if watched.iter().all(|known| known.pid != found.pid) {
                watched.push(found);
            }
        }
        let has = |role| watched.iter().any(|watched| watched.role == role);
        if !self.logics.is_empty() && has(Role::Gateway) && !has(Role::Logic) {
            let note = "no process is logic alone: what it cost is part of gateway's, or not seen from here";
            self.notes.push(note.into());
        }
        watched
    }
}

/// Asks the logic nodes of a plan where clients connect: to every gateway that one of them has a link to.
pub(super) async fn find_gateways(plan: &Plan, tasks: &Tasks) -> Result<Vec<String>, Error> {
    let advice = "no --gateway was given, so logic is asked for them: does the cluster run (tidegate dev)? Else give --logic http://host:port, or --gateway ws://host:port";
    let failed = |why: String| Error::Unreachable(format!("{why}\n{advice}"));
    let mut urls = Vec::new();
    for (endpoint, address) in resolve(&plan.logics, Scheme::Http).await? {
        let mut caller = caller(&endpoint, address, plan, tasks);
        let open = Box::pin(open_gateways(&mut caller, &endpoint.url)).await.map_err(failed)?;
        for url in open {
            if !urls.contains(&url) {
                urls.push(url);
            }
        }
    }
    if urls.is_empty() {
        return Err(failed(format!("{}: no gateway is linked", plan.logics.join(", "))));
    }
    match urls.iter().find_map(|url| Endpoint::parse(url, Scheme::Ws).err()) {
        Some(why) => Err(failed(format!("a gateway's clientUrl: {why}"))),
        None => Ok(urls),
    }
}

/// The gateways that a logic node has links to, once it has tried all that it knows.
async fn open_gateways(caller: &mut Caller, url: &str) -> Result<Vec<String>, String> {
    let begun = Instant::now();
    let mut look = tokio::time::interval(LINK_LOOK_EVERY);
    loop {
        look.tick().await;
        let known = probe::logic(caller, url).await?;
        let is_settled = known.iter().any(probe::Known::is_open) && !known.iter().any(|known| known.is_new);
        if is_settled || begun.elapsed() > LINK_TIME_MAX {
            let open = known.into_iter().filter(probe::Known::is_open);
            return Ok(open.filter_map(|known| known.url).collect());
        }
    }
}

fn caller(endpoint: &Endpoint, address: SocketAddr, plan: &Plan, tasks: &Tasks) -> Caller {
    Caller::new(endpoint.clone(), address, plan.api_key.as_deref(), tasks.clone())
}

/// Waits until a logic node names all our gateways, as one does soon after its start. Gives those that it
/// does not name even then: behind a proxy that is how it stays.
async fn link(
    caller: &mut Caller,
    endpoint: &Endpoint,
    gateways: &[(Endpoint, SocketAddr)],
    names: &mut HashMap<String, u32>,
) -> Result<Vec<String>, Error> {
    let begun = Instant::now();
    let mut look = tokio::time::interval(LINK_LOOK_EVERY);
    loop {
        look.tick().await;
        let known = probe::logic(caller, &endpoint.url).await.map_err(Error::Unreachable)?;
        let unknown = probe::match_names(&known, gateways, names).await;
        if unknown.is_empty() || begun.elapsed() > LINK_TIME_MAX {
            return Ok(unknown);
        }
    }
}

async fn resolve(urls: &[String], scheme: Scheme) -> Result<Vec<(Endpoint, SocketAddr)>, Error> {
    let mut found = Vec::new();
    for url in urls {
        let endpoint = Endpoint::parse(url, scheme).map_err(|what| Error::Plan(BadPlan(what)))?;
        let address = endpoint.resolve().await.map_err(Error::Unreachable)?;
        found.push((endpoint, address));
    }
    Ok(found)
}
