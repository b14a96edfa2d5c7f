//! The tracks of all groups whose history is kept.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use hashbrown::HashMap;
use parking_lot::Mutex;

use super::Track;
use crate::directory::Group;

/// Tracks are spread over so many locks: 64 × 56 B = 3.6 KB.
const SHARDS: usize = 64;

/// Fewer tracks than this in a shard are not worth looking through for those whose group has gone.
const CLEAN_MIN: usize = 64;

/// The tracks of all groups whose history is kept. About 500 B each.
#[derive(Debug)]
pub(crate) struct Tracks {
    shards: Box<[Mutex<Shard>]>,
    /// Bytes of the items that wait for others, of all tracks.
    waiting_bytes: Arc<AtomicUsize>,
}

#[derive(Debug)]
struct Shard {
    /// By the address of the group, which its track holds.
    tracks: HashMap<usize, Arc<Track>>,
    /// At so many, those whose group has gone are looked for.
    clean_at: usize,
}

impl Default for Tracks {
    fn default() -> Self {
        let shard = || Mutex::new(Shard { tracks: HashMap::new(), clean_at: CLEAN_MIN });
        Self { shards: (0..SHARDS).map(|_| shard()).collect(), waiting_bytes: Arc::default() }
    }
}

impl Tracks {
    fn shard(&self, group: &Arc<Group>) -> (usize, &Mutex<Shard>) {
        let address = Arc::as_ptr(group).addr();
        // Groups lie on multiples of what the allocator aligns by.
        (address, &self.shards[address / align_of::<Group>() / 8 % SHARDS])
    }

    /// The track of a group, made if need be.
    pub(crate) fn of(&self, group: &Arc<Group>) -> Arc<Track> {
        let (address, shard) = self.shard(group);
        let mut shard = shard.lock();
        if shard.tracks.len() >= shard.clean_at {
            let is_used = |track: &Arc<Track>| Arc::strong_count(track) > 1 || track.group.buckets() != 0;
            shard.tracks.retain(|_, track| is_used(track));
            shard.clean_at = (2 * shard.tracks.len()).max(CLEAN_MIN);
        }
        let made = || Arc::new(Track::new(group.clone(), self.waiting_bytes.clone()));
        shard.tracks.entry(address).or_insert_with(made).clone()
    }

    /// The track of a group that has one.
    pub(crate) fn find(&self, group: &Arc<Group>) -> Option<Arc<Track>> {
        let (address, shard) = self.shard(group);
        shard.lock().tracks.get(&address).cloned()
    }

    /// Those of groups that are still there, a shard at a time.
    pub(crate) fn all(&self) -> impl Iterator<Item = Vec<Arc<Track>>> {
        self.shards.iter().map(|shard| shard.lock().tracks.values().cloned().collect())
    }

    /// Bytes of the items that wait for others.
    pub(crate) fn waiting_bytes(&self) -> usize {
        self.waiting_bytes.load(std::sync::atomic::Ordering::Relaxed)
    }
}
