//! The store on a disk that loses power at any moment, tears what was not synced, and fills up; beside what a naive
//! reader has seen and what was answered. Seeds are printed with a failure.

use std::collections::{BTreeMap, HashMap};

use futures_util::future::join_all;
use redb::StorageBackend;

use super::*;
use crate::engine::{Item, Keep};
use common::link::message::Position;
use common::names::Kind;

const KEEP: Keep = Keep { items: 6, age: Duration::from_secs(60) };
const ROOMS: [&str; 3] = ["a", "b", "c"];

/// A disk in memory.
#[derive(Debug, Clone, Default)]
struct Disk(Arc<Mutex<Platter>>);

#[derive(Debug, Default)]
struct Platter {
    /// As programs see it.
    now: Vec<u8>,
    /// What surely survives.
    synced: Vec<u8>,
    /// What may survive, in part.
    since: Vec<Change>,
    /// Changes until the power fails.
    left: Option<usize>,
    bytes_max: Option<usize>,
}

#[derive(Debug, Clone)]
enum Change {
    Length(usize),
    Bytes(usize, Vec<u8>),
}

impl Change {
    fn apply(&self, to: &mut Vec<u8>) {
        match self {
            Self::Length(length) => to.resize(*length, 0),
            Self::Bytes(at, bytes) => {
                to.resize(to.len().max(at + bytes.len()), 0);
                to[*at..at + bytes.len()].copy_from_slice(bytes);
            }
        }
    }
}

impl Platter {
    fn power(&mut self) -> io::Result<()> {
        match &mut self.left {
            Some(0) => return Err(io::Error::other("no power")),
            Some(left) => *left -= 1,
            None => {}
        }
        Ok(())
    }

    fn change(&mut self, change: Change, end: usize) -> io::Result<()> {
        self.power()?;
        if end > self.now.len() && self.bytes_max.is_some_and(|most| end > most) {
            return Err(ErrorKind::StorageFull.into());
        }
        change.apply(&mut self.now);
        self.since.push(change);
        Ok(())
    }
}

impl StorageBackend for Disk {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.lock().now.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let (platter, at) = (self.0.lock(), offset as usize);
        let bytes = platter.now.get(at..at + out.len()).ok_or(ErrorKind::UnexpectedEof)?;
        out.copy_from_slice(bytes);
        Ok(())
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        self.0.lock().change(Change::Length(length as usize), length as usize)
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut platter = self.0.lock();
        platter.power()?;
        platter.synced = platter.now.clone();
        platter.since.clear();
        Ok(())
    }

    fn write(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let at = offset as usize;
        self.0.lock().change(Change::Bytes(at, bytes.to_vec()), at + bytes.len())
    }
}

impl Disk {
    /// The power comes back: of what was not synced anything may be there, sector by sector.
    fn comes_back(&self, random: &mut fastrand::Rng) {
        let mut platter = self.0.lock();
        let mut there = platter.synced.clone();
        for change in std::mem::take(&mut platter.since) {
            match (random.u8(0..3), change) {
                (0, _) => {}
                (1, Change::Bytes(at, mut bytes)) => {
                    bytes.truncate(512 * random.usize(0..=bytes.len() / 512));
                    Change::Bytes(at, bytes).apply(&mut there);
                }
                (_, whole) => whole.apply(&mut there),
            }
        }
        platter.synced.clone_from(&there);
        (platter.now, platter.left) = (there, None);
    }

    fn open(&self, now: Moment) -> Result<Durable, Fault> {
        let disk = self.clone();
        let open = move || {
            let mut builder = Database::builder();
            builder.set_cache_size(1 << 20).set_check_integrity_on_open(true);
            builder.create_with_backend(disk.clone())
        };
        Durable::opened(Box::new(open), || Ok(1), 1 << 20, now)
    }
}

/// What was answered and seen.
#[derive(Default)]
struct Naive {
    number: u64,
    /// By room, epoch and offset: which item that is, for ever.
    seen: BTreeMap<(usize, u64, u64), u64>,
    /// Where each item is.
    places: HashMap<u64, (usize, Position)>,
    /// Items of which no answer came.
    unknown: Vec<(usize, u64)>,
    answered: usize,
}

fn whose(room: usize) -> Whose<'static> {
    Whose { kind: Kind::Room, name: ROOMS[room], keep: KEEP }
}

fn item(number: u64, at: Moment) -> Arc<Item> {
    let body = Bytes::from(number.to_string());
    Arc::new(Item { body, app: None, except: Box::default(), expires: None, at })
}

impl Naive {
    fn saw(&mut self, room: usize, at: Position, number: u64) {
        let before = self.seen.insert((room, at.epoch, at.offset), number);
        assert!(before.is_none_or(|before| before == number), "two items at one place");
        let before = self.places.insert(number, (room, at));
        assert!(before.is_none_or(|before| before == (room, at)), "one item at two places");
    }

    /// Makes calls side by side, each with a key; those of which no answer came before are made again.
    async fn append(&mut self, store: &Durable, count: usize, random: &mut fastrand::Rng) {
        let mut calls = std::mem::take(&mut self.unknown);
        for _ in 0..count {
            self.number += 1;
            calls.push((random.usize(0..ROOMS.len()), self.number));
        }
        let now = Moment::now();
        let made = calls.iter().map(async |(room, number)| {
            let key = number.to_string();
            let append = Append { whose: whose(*room), item: item(*number, now) };
            let once = Once { key: &key, print: [7; 16] };
            store.append(&[append], Some(once), now, |placed| placed.positions.to_vec()).await
        });
        for ((room, number), said) in calls.iter().zip(join_all(made).await) {
            match said {
                Ok(Appended::Now(at) | Appended::Before(at)) => {
                    self.saw(*room, at[0], *number);
                    self.answered += 1;
                }
                Err(NotAppended::Away(_)) => self.unknown.push((*room, *number)),
                Err(other) => panic!("{other:?}"),
            }
        }
    }

    /// Reads all histories: what was answered is there, until it is pushed out by newer items.
    async fn read(&mut self, store: &Durable) {
        let most = Most { items: 100, bytes: usize::MAX };
        for room in 0..ROOMS.len() {
            let page = store.read(whose(room), None, most, Moment::now()).await.unwrap();
            for (offset, item) in &page.items {
                let number = std::str::from_utf8(&item.body).unwrap().parse().unwrap();
                self.saw(room, Position { epoch: page.head.epoch, offset: *offset }, number);
            }
            let last = self.seen.range((room, 0, 0)..(room + 1, 0, 0)).next_back();
            let Some(((_, epoch, offset), _)) = last else { continue };
            assert_eq!(*epoch, page.head.epoch, "nothing was forgotten");
            assert_eq!(*offset, page.head.offset, "nothing that was answered or seen is gone");
            assert_eq!(page.items.len(), KEEP.items.min(*offset as usize));
        }
    }
}

async fn run(seed: u64) -> Naive {
    let mut random = fastrand::Rng::with_seed(seed);
    let (disk, mut naive) = (Disk::default(), Naive::default());
    let mut store = disk.open(Moment::now()).unwrap();
    let (identity, mut fence) = (store.identity(), store.fence());
    for _ in 0..12 {
        match random.u8(0..4) {
            0 => disk.0.lock().left = Some(random.usize(0..60)),
            1 => {
                let mut platter = disk.0.lock();
                platter.bytes_max = Some(platter.now.len());
            }
            _ => {}
        }
        for _ in 0..random.usize(1..8) {
            let count = random.usize(1..20);
            naive.append(&store, count, &mut random).await;
            naive.read(&store).await;
        }
        // Whatever state it is in: the process is killed, or ends, and the power may have gone.
        disk.0.lock().left = Some(random.usize(0..4));
        drop(store);
        disk.comes_back(&mut random);
        disk.0.lock().bytes_max = None;
        store = disk.open(Moment::now()).unwrap();
        assert!(store.identity() == identity && store.fence() > fence);
        fence = store.fence();
        naive.read(&store).await;
    }
    naive.append(&store, 1, &mut random).await;
    assert!(naive.unknown.is_empty(), "a store that was opened again takes everything");
    naive.read(&store).await;
    naive
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn what_was_answered_survives_kills_and_torn_writes_and_stands_in_one_place() {
    let first = fastrand::u64(..1 << 32);
    let mut answered = 0;
    for seed in first..first + 30 {
        println!("seed {seed}");
        answered += run(seed).await.answered;
    }
    assert!(answered > 3_000, "{answered}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_full_disk_refuses_with_words_and_goes_on_when_there_is_room() {
    let (disk, mut naive) = (Disk::default(), Naive::default());
    let store = disk.open(Moment::now()).unwrap();
    let mut random = fastrand::Rng::with_seed(1);
    {
        let mut platter = disk.0.lock();
        platter.bytes_max = Some(platter.now.len());
    }
    let large = Bytes::from(vec![b'x'; 64 * 1024]);
    let now = Moment::now();
    let away = loop {
        let body = large.clone();
        let item = Arc::new(Item { body, app: None, except: Box::default(), expires: None, at: now });
        let name = random.u64(..).to_string();
        let whose = Whose { kind: Kind::User, name: &name, keep: KEEP };
        let append = Append { whose, item };
        match store.append(&[append], None, now, |_| ()).await {
            Ok(_) => {}
            Err(NotAppended::Full) => panic!("the memory is full first"),
            Err(other) => break other,
        }
    };
    let NotAppended::Away(Away(why)) = away else { panic!("{away:?}") };
    assert!(why.starts_with("the disk is full"), "{why}");
    assert!(store.health().is_err_and(|why| why.starts_with("the disk is full")));
    disk.0.lock().bytes_max = None;
    let until = Instant::now() + Duration::from_secs(10);
    while store.health().is_err() {
        assert!(Instant::now() < until);
        store.tidy(Moment::now()).await;
    }
    naive.append(&store, 5, &mut random).await;
    assert_eq!(naive.answered, 5);
    naive.read(&store).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn ages_go_on_over_a_restart_and_what_was_forgotten_never_continues() {
    let disk = Disk::default();
    let begin = Moment::now();
    let after = |secs: u64| Moment {
        mono: begin.mono + Duration::from_secs(secs),
        unix_ms: begin.unix_ms + 1_000 * secs,
    };
    let most = Most { items: 9, bytes: 99 };
    let store = disk.open(begin).unwrap();
    let blank = store.read(whose(0), None, most, begin).await.unwrap().head;
    let append = [Append { whose: whose(0), item: item(1, begin) }];
    let said = store.append(&append, None, begin, |placed| placed.positions[0]).await;
    let Ok(Appended::Now(first)) = said else { panic!("{said:?}") };
    assert_eq!(
        (first.epoch, first.offset),
        (blank.epoch, 1),
        "who came before the first item misses nothing"
    );
    let other = store.read(whose(1), None, most, begin).await.unwrap().head;
    drop(store);

    let store = disk.open(after(59)).unwrap();
    let page = store.read(whose(0), None, most, after(59)).await.unwrap();
    assert_eq!((page.head, page.items.len()), (first, 1));
    assert_eq!(
        store.read(whose(1), None, most, after(59)).await.unwrap().head,
        other,
        "also where nothing is"
    );
    store.tidy(after(60)).await;
    let page = store.read(whose(0), None, most, after(60)).await.unwrap();
    assert_eq!((page.head, page.items.len()), (first, 0), "its place outlives its items");
    drop(store);

    let store = disk.open(after(61)).unwrap();
    assert_eq!(store.read(whose(0), None, most, after(61)).await.unwrap().head, first);
    store.tidy(after(120)).await;
    drop(store);
    let store = disk.open(after(121)).unwrap();
    assert_eq!(store.holdings(), Holdings::default());
    let since = Some(super::Since { epoch: Some(common::ids::Epoch(first.epoch)), offset: 1 });
    let page = store.read(whose(0), since, most, after(121)).await.unwrap();
    assert!(!page.continues && page.head.epoch != first.epoch && page.head.offset == 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn calls_are_known_to_the_next_run() {
    let (disk, now) = (Disk::default(), Moment::now());
    let once = |key| Once { key, print: [1; 16] };
    let other = |key| Once { key, print: [2; 16] };
    let store = disk.open(now).unwrap();
    assert_eq!(store.claim(once("made")).await, Ok(Claim::New));
    assert_eq!(store.claim(once("freed")).await, Ok(Claim::New));
    assert_eq!(store.claim(once("died")).await, Ok(Claim::New));
    store.keep_answer(once("made"), Bytes::from_static(b"said")).await;
    store.keep_answer(once("freed"), Bytes::new()).await;
    let append = [Append { whose: whose(0), item: item(1, now) }];
    let said = store.append(&append, Some(once("stored")), now, |placed| placed.positions.to_vec()).await;
    let Ok(Appended::Now(places)) = said else { panic!("{said:?}") };
    store.keep_answer(once("stored"), Bytes::from_static(b"at 1")).await;
    drop(store);

    let store = disk.open(now).unwrap();
    assert_eq!(store.claim(once("made")).await, Ok(Claim::Answered(Bytes::from_static(b"said"))));
    assert_eq!(store.claim(other("made")).await, Ok(Claim::OtherCall));
    assert_eq!(store.claim(once("died")).await, Ok(Claim::Running));
    assert_eq!(store.claim(once("freed")).await, Ok(Claim::New));
    let said = store.append(&append, Some(once("stored")), now, |_| panic!("it is not sent again")).await;
    assert_eq!(said.map(|said: Appended<()>| said), Ok(Appended::Before(places)));
    assert_eq!(store.answer(once("stored")).await, Some(Bytes::from_static(b"at 1")));
    assert_eq!(store.answer(other("stored")).await, None);
    let said = store.append(&append, Some(other("stored")), now, |_| ()).await;
    assert_eq!(said, Err(NotAppended::OtherCall));
}
