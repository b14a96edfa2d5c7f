//! Does to the cluster what a schedule says, each fault in its own time, and writes down when.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep, sleep_until};

use crate::cluster::Cluster;
use crate::log::{Clock, FaultLine, Log};
use crate::node::Node;
use crate::proxy::{Flow, Proxy, Weather};
use crate::schedule::{Act, Fault, Target, Ways};

/// How often it is looked whether a process ended by itself.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// Does faults to a cluster.
#[derive(Debug, Clone)]
pub(crate) struct Faults {
    pub(crate) cluster: Arc<Cluster>,
    pub(crate) log: Log,
    pub(crate) clock: Clock,
}

impl Faults {
    /// Everything that may have a fault: all nodes and links of these roles.
    pub(crate) fn targets(&self, roles: &[String]) -> Vec<Target> {
        let count = |of: usize| 0..of as u32;
        let (logics, gateways) = (self.cluster.logics.len(), self.cluster.gateways.len());
        let mut all: Vec<Target> =
            count(gateways).flat_map(|g| [Target::Gateway(g), Target::ClientLink(g)]).collect();
        for l in count(logics) {
            all.push(Target::Logic(l));
            all.extend(count(gateways).map(|g| Target::GatewayLink(l, g)));
            if self.cluster.redis.is_some() {
                all.push(Target::RedisLink(l));
            }
        }
        all.extend(self.cluster.redis.iter().map(|_| Target::Redis));
        all.retain(|target| roles.iter().any(|role| role == target.role()));
        all
    }

    /// Runs a schedule to its end, while nobody's end is overlooked.
    pub(crate) async fn run(&self, schedule: &[Fault]) -> Result<(), String> {
        let begun = Instant::now();
        let each = schedule.iter().map(|fault| async move {
            sleep_until(begun + fault.at).await;
            self.one(fault).await
        });
        let all = Box::pin(join_all(each));
        tokio::select! {
            ended = all => ended.into_iter().collect(),
            () = self.watch() => Ok(()),
        }
    }

    /// One fault, from its beginning to its end.
    pub(crate) async fn one(&self, fault: &Fault) -> Result<(), String> {
        match fault.target {
            Target::Gateway(g) => self.to_node(&self.cluster.gateways[g as usize], fault).await,
            Target::Logic(l) => self.to_node(&self.cluster.logics[l as usize], fault).await,
            Target::Redis => match &self.cluster.redis {
                Some(redis) => self.to_node(redis, fault).await,
                None => Ok(()),
            },
            Target::ClientLink(g) => self.to_link(&self.cluster.client_links[g as usize], fault).await,
            Target::GatewayLink(l, g) => {
                self.to_link(&self.cluster.gateway_links[l as usize][g as usize], fault).await
            }
            Target::RedisLink(l) => self.to_link(&self.cluster.redis_links[l as usize], fault).await,
        }
    }

    async fn to_node(&self, node: &Mutex<Node>, fault: &Fault) -> Result<(), String> {
        // Held for the whole fault: whoever looks at the node waits until it is itself again.
        let mut node = node.lock().await;
        self.look(&mut node, fault.target.role());
        self.note(fault, false);
        let done = if fault.act == Act::Kill {
            node.kill().await;
            sleep(fault.lasts).await;
            node.start().await
        } else {
            node.pause(true).await;
            sleep(fault.lasts).await;
            node.pause(false).await;
            Ok(())
        };
        self.note(fault, true);
        done
    }

    async fn to_link(&self, link: &Proxy, fault: &Fault) -> Result<(), String> {
        self.note(fault, false);
        let flow = |ways: Ways, flow| ways.map(|is_hit| if is_hit { flow } else { Flow::Pass });
        link.change(|weather| {
            let fair = Weather { cuts: weather.cuts, ..Weather::default() };
            *weather = match fault.act {
                Act::Cut => Weather { is_shut: true, cuts: weather.cuts + 1, ..fair },
                Act::Hold(ways) => Weather { flow: flow(ways, Flow::Hold), ..fair },
                Act::Swallow(ways) => Weather { flow: flow(ways, Flow::Swallow), ..fair },
                Act::Slow { latency, jitter } => Weather { latency, jitter, ..fair },
                Act::Slice(slice) => Weather { slice, ..fair },
                Act::Narrow(rate) => Weather { rate, ..fair },
                Act::Kill | Act::Pause => fair,
            };
        });
        sleep(fault.lasts).await;
        link.calm();
        self.note(fault, true);
        Ok(())
    }

    fn note(&self, fault: &Fault, lifted: bool) {
        self.log.line(&FaultLine {
            t: self.clock.now(),
            what: fault.act.name().to_owned(),
            role: fault.target.role().to_owned(),
            name: fault.target.to_string(),
            lifted,
        });
    }

    /// Looks again and again whether a process has ended by itself. Never ends.
    pub(crate) async fn watch(&self) {
        loop {
            sleep(LOOK_EVERY).await;
            self.look_at_all();
        }
    }

    /// Looks once at those that have no fault now.
    pub(crate) fn look_at_all(&self) {
        for node in self.cluster.nodes() {
            if let Ok(mut node) = node.try_lock() {
                self.look(&mut node, "node");
            }
        }
    }

    fn look(&self, node: &mut Node, role: &str) {
        if let Some(how) = node.fell() {
            self.log.line(&FaultLine {
                t: self.clock.now(),
                what: "crashed".to_owned(),
                role: role.to_owned(),
                name: format!("{}: {how}", node.recipe.name),
                lifted: true,
            });
        }
    }
}
