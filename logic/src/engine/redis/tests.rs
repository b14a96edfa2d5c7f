//! The engine on real Redis servers.

#[path = "../../../tests/support/redis.rs"]
mod server;

mod away;
mod lays;
mod model;
mod tenure;

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use common::ids::Epoch;
use common::link::message::Position;
use common::metrics::Metrics;
use common::names::Kind;
use common::shutdown::Shutdown;
use server::Server;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::counters::EngineCounters;
use super::settings::{RedisBeside, RedisSettings};
use super::*;
use crate::engine::{Item, Keep};

const KEEP: Keep = Keep { items: 5, age: Duration::from_secs(60) };

/// An engine with its watcher, as a node has it.
struct Node {
    engine: Arc<Redis>,
    _watch: JoinSet<()>,
}

impl std::ops::Deref for Node {
    type Target = Redis;
    fn deref(&self) -> &Redis {
        &self.engine
    }
}

fn settings(url: &str) -> RedisSettings {
    let beside = RedisBeside { prefix: "tidegate".to_owned(), ..RedisBeside::default() };
    RedisSettings::parse(url, beside).unwrap()
}

fn node_with(settings: RedisSettings, name: &str) -> Node {
    let engine = Arc::new(Redis::new(settings, name, EngineCounters::new(&Metrics::new("test"))));
    let mut watch = JoinSet::new();
    watch.spawn(engine.clone().watch(Shutdown::new()));
    Node { engine, _watch: watch }
}

/// A node that is connected.
async fn node(url: &str, name: &str) -> Node {
    let node = node_with(settings(url), name);
    node.is_well().await;
    node
}

fn item(body: &str) -> Arc<Item> {
    let body = Bytes::copy_from_slice(body.as_bytes());
    Arc::new(Item { body, app: None, except: Box::default(), expires: None, at: Moment::now() })
}

fn whose(name: &str) -> Whose<'_> {
    Whose { kind: Kind::Room, name, keep: KEEP }
}

fn once(key: &str) -> Once<'_> {
    Once { key, print: [7; 16] }
}

impl Node {
    /// Waits until the store can be used; how long that took.
    async fn is_well(&self) -> Duration {
        self.until(|health| health.is_ok()).await
    }

    /// Waits until the store cannot be used for this reason; how long that took.
    async fn is_away(&self, why: &str) -> Duration {
        self.until(|health| health.as_ref().is_err_and(|said| said.contains(why))).await
    }

    async fn until(&self, wanted: impl Fn(&Result<(), String>) -> bool) -> Duration {
        let began = Instant::now();
        while !wanted(&self.health()) {
            assert!(began.elapsed() < Duration::from_secs(20), "it is {:?}", self.health());
            sleep(Duration::from_millis(5)).await;
        }
        began.elapsed()
    }

    async fn try_push(&self, names: &[&str], body: &str) -> Result<Vec<Position>, NotAppended> {
        self.try_push_once(names, body, None).await.map(|appended| match appended {
            Appended::Now(places) | Appended::Before(places) => places,
        })
    }

    async fn try_push_once(
        &self,
        names: &[&str],
        body: &str,
        once: Option<Once<'_>>,
    ) -> Result<Appended<Vec<Position>>, NotAppended> {
        let item = item(body);
        let appends: Vec<_> =
            names.iter().map(|name| Append { whose: whose(name), item: item.clone() }).collect();
        self.append(&appends, once, Moment::now(), |placed| placed.positions.to_vec()).await
    }

    async fn push(&self, name: &str, body: &str) -> Position {
        self.try_push(&[name], body).await.unwrap()[0]
    }

    async fn read_from(&self, name: &str, at: Position) -> Page {
        let since = Some(Since { epoch: Some(Epoch(at.epoch)), offset: at.offset });
        self.read(whose(name), since, Most { items: 100, bytes: 1 << 20 }, Moment::now()).await.unwrap()
    }

    async fn head(&self, name: &str) -> Position {
        let most = Most { items: 0, bytes: 0 };
        self.read(whose(name), None, most, Moment::now()).await.unwrap().head
    }
}

fn bodies(page: &Page) -> Vec<String> {
    page.items.iter().map(|(_, item)| String::from_utf8_lossy(&item.body).into_owned()).collect()
}

#[tokio::test]
async fn two_nodes_append_to_one_room_and_no_offset_is_missing_or_twice() {
    let redis = Server::start(&[]).await;
    let (a, b) = (node(&redis.url(), "a").await, node(&redis.url(), "b").await);
    assert!(a.identity() == b.identity() && a.identity() != 0);
    let all = async |node: &Node| {
        let pushes = (0..100).map(|number| {
            let body = number.to_string();
            async move { node.try_push(&["r"], &body).await.unwrap()[0] }
        });
        futures_util::future::join_all(pushes).await
    };
    let (mut places, more) = tokio::join!(all(&a), all(&b));
    places.extend(more);
    places.sort_unstable_by_key(|at| at.offset);
    assert!(places.iter().zip(1..).all(|(at, offset)| at.offset == offset && at.epoch == places[0].epoch));
    assert_eq!(a.head("r").await, *places.last().unwrap());
}

#[tokio::test]
async fn racing_copies_of_a_call_are_stored_once() {
    let redis = Server::start(&[]).await;
    let nodes = [node(&redis.url(), "a").await, node(&redis.url(), "b").await];
    for number in 0..50 {
        let key = format!("k{number}");
        let copies =
            nodes.iter().chain(&nodes).map(|node| node.try_push_once(&["r", "s"], "x", Some(once(&key))));
        let mut new = 0;
        for copy in futures_util::future::join_all(copies).await {
            let places = match copy.unwrap() {
                Appended::Now(places) => {
                    new += 1;
                    places
                }
                Appended::Before(places) => places,
            };
            assert!(places.iter().all(|at| at.offset == number + 1), "{places:?}");
        }
        assert_eq!(new, 1);
    }
    let other = Once { key: "k0", print: [8; 16] };
    assert_eq!(nodes[1].try_push_once(&["r"], "y", Some(other)).await, Err(NotAppended::OtherCall));
    assert_eq!(nodes[0].head("r").await.offset, 50);
}

#[tokio::test]
async fn calls_that_store_nothing_are_claimed_once_and_answered_again() {
    let redis = Server::start(&[]).await;
    let (a, b) = (node(&redis.url(), "a").await, node(&redis.url(), "b").await);
    let key = once("k");
    assert_eq!(a.claim(key).await, Ok(Claim::New));
    assert_eq!(b.claim(key).await, Ok(Claim::Running));
    a.keep_answer(key, Bytes::from_static(b"done")).await;
    assert_eq!(b.claim(key).await, Ok(Claim::Answered(Bytes::from_static(b"done"))));
    assert_eq!(b.claim(Once { print: [1; 16], ..key }).await, Ok(Claim::OtherCall));
    assert_eq!(b.answer(once("unknown")).await, None);
    assert_eq!(a.claim(once("freed")).await, Ok(Claim::New));
    a.keep_answer(once("freed"), Bytes::new()).await;
    assert_eq!(b.claim(once("freed")).await, Ok(Claim::New), "nothing came of it");
    assert!(
        redis.ask(&["PTTL", "tidegate:{0}:i:k"]).await.starts_with(":1"),
        "it is forgotten after two minutes"
    );
}

#[tokio::test]
async fn changes_are_told_from_a_cursor_on_and_what_was_forgotten_is_said() {
    let redis = Server::start(&[]).await;
    let node = node(&redis.url(), "a").await;
    let told = |changes: &Changes| -> Vec<_> {
        changes.heads.iter().map(|(_, name, at)| (name.to_string(), at.offset)).collect()
    };
    for name in ["a", "b", "a", "c"] {
        node.push(name, "x").await;
    }
    let first = node.changed(&[], 2).await.unwrap();
    assert_eq!(told(&first), [("b".to_owned(), 1), ("a".to_owned(), 2)]);
    assert!(first.more && !first.missed);
    node.push("b", "x").await;
    let rest = node.changed(&first.cursor, 9).await.unwrap();
    assert_eq!(told(&rest), [("c".to_owned(), 1), ("b".to_owned(), 2)]);
    assert!(!rest.more);
    let end = node.changed(&rest.cursor, 9).await.unwrap();
    assert!(end.heads.is_empty() && end.cursor == rest.cursor, "{end:?}");
    redis.ask(&["HSET", "tidegate:{0}:t", "floor", "5"]).await;
    assert!(node.changed(&first.cursor, 9).await.unwrap().missed);
    assert!(!node.changed(&end.cursor, 9).await.unwrap().missed);
    let other = [end.cursor[0] ^ 1, end.cursor[1]];
    let anew = node.changed(&other, 9).await.unwrap();
    assert!(anew.missed && anew.heads.len() == 3, "{anew:?}");
}

#[tokio::test]
async fn a_later_run_of_a_name_takes_over_and_the_earlier_one_stores_nothing_more() {
    let redis = Server::start(&[]).await;
    let earlier = node(&redis.url(), "a").await;
    earlier.push("r", "x").await;
    let later = node(&redis.url(), "a").await;
    assert!(later.fence() > earlier.fence());
    let refused = earlier.try_push(&["r"], "y").await;
    let Err(NotAppended::Away(Away(why))) = refused else { panic!("{refused:?}") };
    assert!(why.contains("another run of this node's name"), "{why}");
    earlier.is_away("another run of this node's name").await;
    assert_eq!(later.push("r", "z").await.offset, 2);
}

#[tokio::test]
async fn gateways_that_announced_themselves_to_one_node_are_told_to_the_others() {
    let redis = Server::start(&[]).await;
    let (a, b) = (node(&redis.url(), "a").await, node(&redis.url(), "b").await);
    let lease = |address: &str, ms| (Arc::from(address), Duration::from_millis(ms));
    a.share_leases(&[lease("g:1", 60_000), lease("g:2", 60_000), lease("g:3", 1)]).await.unwrap();
    sleep(Duration::from_millis(20)).await;
    let mut heard = b.share_leases(&[lease("g:1", 10)]).await.unwrap();
    heard.sort_unstable();
    assert_eq!(heard, ["g:1", "g:2"], "the longer lease counts, and one that is over does not");
    assert_eq!(a.share_leases(&[lease("g:1", 0)]).await.unwrap(), ["g:2"]);
}

#[tokio::test]
async fn what_ages_is_forgotten_and_never_continues() {
    let redis = Server::start(&[]).await;
    let node = node(&redis.url(), "a").await;
    let brief = Whose { keep: Keep { items: 5, age: Duration::from_secs(1) }, ..whose("r") };
    let most = Most { items: 9, bytes: 1 << 20 };
    let read = async |since| node.read(brief, since, most, Moment::now()).await.unwrap();
    let blank = read(None).await.head;
    let append = [Append { whose: brief, item: item("x") }];
    let push =
        async || node.append(&append, None, Moment::now(), |placed| placed.positions[0]).await.unwrap();
    let Appended::Now(first) = push().await else { panic!("it had no key") };
    assert_eq!(
        (first.epoch, first.offset),
        (blank.epoch, 1),
        "who came before the first item misses nothing"
    );
    let since = Some(Since { epoch: Some(Epoch(first.epoch)), offset: 1 });
    sleep(Duration::from_millis(1100)).await;
    let page = read(since).await;
    assert!(page.continues && page.items.is_empty(), "its place outlives its items");
    assert!(!read(Some(Since { epoch: None, offset: 0 })).await.continues);
    assert_eq!(read(None).await.items.len(), 0);
    timeout(Duration::from_secs(5), async {
        while redis.ask(&["EXISTS", "tidegate:{0}:h:rr"]).await.starts_with(":1") {
            sleep(Duration::from_millis(20)).await;
        }
    })
    .await
    .unwrap();
    let page = read(since).await;
    assert!(!page.continues && page.head.offset == 0 && page.head.epoch != first.epoch);
    let Appended::Now(again) = push().await else { panic!("it had no key") };
    assert_eq!((again.epoch, again.offset), (page.head.epoch, 1));
}
