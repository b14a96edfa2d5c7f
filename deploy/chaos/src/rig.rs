//! A run on its way: the cluster, its clients and producers, and their logs, from the start to the last page.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use common::shutdown::Shutdown;
use common::tasks::Tasks;
use serde_json::value::RawValue;
use tokio::time::{Instant, sleep};

use crate::client::{Client, Progress};
use crate::cluster::{Cluster, Shape};
use crate::faults::Faults;
use crate::log::{Clock, FinalLine, Log, Note, Page};
use crate::producer::{PRODUCERS, Producers, plain};
use crate::wire::Place;
use crate::world::{World, history_path};

/// Clients are all in their rooms within this at the start.
const JOIN_TIME_MAX: Duration = Duration::from_secs(30);

/// Between two looks at where clients are, and two questions where histories are.
const LOOK_EVERY: Duration = Duration::from_millis(20);
const ASK_EVERY: Duration = Duration::from_millis(500);

/// A page at the end is read within this.
const PAGE_TIME_MAX: Duration = Duration::from_secs(15);

/// What a run begins with.
#[derive(Debug)]
pub(crate) struct Setup {
    pub(crate) world: World,
    pub(crate) shape: Shape,
    pub(crate) folder: PathBuf,
    pub(crate) copies: u32,
    /// How long a client stays on average before it goes away by itself.
    pub(crate) stays: Option<Duration>,
}

/// A run on its way.
pub(crate) struct Rig {
    pub(crate) world: Arc<World>,
    pub(crate) cluster: Arc<Cluster>,
    pub(crate) producers: Producers,
    pub(crate) faults: Faults,
    /// Clients do not go away by themselves after this.
    pub(crate) restless: Shutdown,
    pub(crate) clients: Vec<Arc<Progress>>,
    /// Ends clients.
    shutdown: Shutdown,
    tasks: Tasks,
    client_tasks: Tasks,
    logs: Vec<Log>,
    folder: PathBuf,
}

impl Rig {
    /// Starts the cluster and its clients, and waits until they are in.
    pub(crate) async fn start(setup: Setup) -> Result<Self, String> {
        let Setup { world, shape, folder, copies, stays } = setup;
        let say = |why: std::io::Error| format!("{}: {why}", folder.display());
        std::fs::create_dir_all(&folder).map_err(say)?;
        let text = serde_json::to_string_pretty(&world).map_err(|why| why.to_string())?;
        std::fs::write(folder.join("run.json"), text).map_err(say)?;
        let (shutdown, clock, world) = (Shutdown::new(), Clock::start(), Arc::new(world));
        let (tasks, client_tasks) = (Tasks::new(shutdown.clone()), Tasks::new(shutdown.clone()));
        let cluster = Arc::new(Cluster::start(&shape, &folder, &tasks).await?);
        let log = |name: String| Log::create(&folder.join(name)).map_err(say);
        let faults = Faults { cluster: cluster.clone(), log: log("faults.jsonl".to_owned())?, clock };
        let producers = PRODUCERS + plain::lanes(world.plain_rooms(), world.logics);
        let producer_logs = (0..producers)
            .map(|number| log(format!("producer-{number}.jsonl")))
            .collect::<Result<Vec<_>, _>>()?;
        let mut logs = producer_logs.clone();
        logs.push(faults.log.clone());
        let (doors, restless) = (Arc::from(cluster.doors.clone()), Shutdown::new());
        let mut clients = Vec::new();
        for number in 0..world.clients {
            let (log, progress) = (log(format!("client-{number}.jsonl"))?, Arc::new(Progress::default()));
            logs.push(log.clone());
            clients.push(progress.clone());
            let (world, doors, restless) = (world.clone(), Arc::clone(&doors), restless.clone());
            let client = Client { number, world, doors, log, clock, progress, stays, restless };
            client_tasks.spawn(client.run(shutdown.clone()));
        }
        let producers = Producers {
            world: world.clone(),
            apis: cluster.apis.clone(),
            logs: producer_logs,
            clock,
            tasks: tasks.clone(),
            copies,
            shutdown: Shutdown::new(),
        };
        let rig = Self {
            world,
            cluster,
            producers,
            faults,
            restless,
            clients,
            shutdown,
            tasks,
            client_tasks,
            logs,
            folder,
        };
        rig.joined().await?;
        Ok(rig)
    }

    /// Waits until every client is in its histories.
    async fn joined(&self) -> Result<(), String> {
        let until = Instant::now() + JOIN_TIME_MAX;
        for (number, client) in (0..).zip(&self.clients) {
            let histories = self.world.histories_of(number);
            while !client.is_in(&histories) {
                if Instant::now() > until {
                    return Err(format!("client {number} is not in its rooms after {JOIN_TIME_MAX:?}"));
                }
                sleep(LOOK_EVERY).await;
            }
        }
        Ok(())
    }

    /// Where each history is, in the order of [`World::histories`]; `None`: nobody answers.
    pub(crate) async fn heads(&self) -> Option<Vec<(String, Place)>> {
        let asked = self.world.histories().into_iter().map(|name| async move {
            let path = format!("{}?since=0&limit=1", history_path(&name));
            let answer = self.ask(&path).await?;
            let page: Page<'_> = serde_json::from_slice(&answer).ok()?;
            Some((name, Place { epoch: page.epoch, offset: page.offset }))
        });
        let mut heads = Vec::new();
        for asked in asked {
            heads.push(asked.await?);
        }
        Some(heads)
    }

    /// An answer of whichever logic node gives one.
    async fn ask(&self, path: &str) -> Option<bytes::Bytes> {
        for api in &self.cluster.apis {
            if let Ok(answer) = api.get(path).await
                && answer.status == 200
            {
                return Some(answer.body);
            }
        }
        None
    }

    /// Waits until every client is where the histories are; whether that was so in time.
    pub(crate) async fn settled(&self, within: Duration) -> bool {
        let until = Instant::now() + within;
        while Instant::now() < until {
            if let Some(heads) = self.heads().await {
                let asked = Instant::now();
                while asked.elapsed() < ASK_EVERY {
                    if self.are_at(&heads) {
                        return true;
                    }
                    sleep(LOOK_EVERY).await;
                }
            }
            sleep(LOOK_EVERY).await;
        }
        false
    }

    fn are_at(&self, heads: &[(String, Place)]) -> bool {
        let heads: std::collections::HashMap<_, _> =
            heads.iter().map(|(name, head)| (name.as_str(), head)).collect();
        (0..).zip(&self.clients).all(|(number, client)| {
            let histories = self.world.histories_of(number);
            client.is_in(&histories)
                && histories
                    .iter()
                    .all(|name| client.place(name).as_ref() == heads.get(name.as_str()).copied())
        })
    }

    /// Reads all histories, ends clients and cluster, and closes the logs.
    pub(crate) async fn finish(self, notes: &[Note]) -> Result<PathBuf, String> {
        let finals = self.read_all().await;
        self.faults.look_at_all();
        self.shutdown.stop();
        self.client_tasks.ended().await;
        self.cluster.end().await;
        let say = |why: std::io::Error| format!("{}: {why}", self.folder.display());
        let text = serde_json::to_string_pretty(notes).map_err(|why| why.to_string())?;
        std::fs::write(self.folder.join("notes.json"), text).map_err(say)?;
        for log in self.logs.iter().chain([&finals?]) {
            log.flush().map_err(say)?;
        }
        // What is left are proxies and connections, which the runtime's end ends.
        drop(self.tasks);
        Ok(self.folder)
    }

    async fn read_all(&self) -> Result<Log, String> {
        let log = Log::create(&self.folder.join("final.jsonl")).map_err(|why| why.to_string())?;
        for history in self.world.histories() {
            let mut since = 0;
            let until = Instant::now() + PAGE_TIME_MAX;
            loop {
                let path = format!("{}?since={since}&limit=1000", history_path(&history));
                let answer = self.ask(&path).await;
                let read = answer.as_ref().and_then(|answer| {
                    let raw: &RawValue = serde_json::from_slice(answer).ok()?;
                    Some((raw, serde_json::from_str::<Page<'_>>(raw.get()).ok()?))
                });
                let Some((raw, page)) = read else {
                    // The checker says that it was not read.
                    if Instant::now() > until {
                        break;
                    }
                    sleep(LOOK_EVERY).await;
                    continue;
                };
                log.line(&FinalLine { history: history.clone(), page: raw });
                if !page.more {
                    break;
                }
                since = page.items.last().map_or(since, |item| item.offset);
            }
        }
        Ok(log)
    }
}

/// A folder for a run that was not given one.
pub(crate) fn new_folder(under: &Path, name: &str, seed: u64) -> PathBuf {
    under.join(format!("{name}-{seed}-{}", std::process::id()))
}
