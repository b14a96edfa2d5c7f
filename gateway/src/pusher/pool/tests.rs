//! Who gives way to whom, and how a sweep ends that cannot be finished.

use std::iter;

use common::names::Kind;

use super::super::sweep::CHUNK;
use super::super::sweep::tests::World;
use super::*;
use crate::merger::Target;

/// What must not happen has so long to do so.
const A_WHILE: Duration = Duration::from_millis(20);

#[tokio::test]
async fn an_urgent_push_waits_for_a_chunk_and_not_for_a_bucket() {
    let (world, pool) = (World::new(), Pool::default());
    world.crowd(0, 20 * CHUNK);
    let room = ["small".to_owned()];
    let _members: Vec<_> = (0..8).map(|_| world.register(&room)).collect();
    let bulk = pool.begin(&world.plan(iter::once(Target::All)), Rank::Bulk);
    while pool.take().expect("bucket 0 is among them").1 != 0 {}
    let small = world.registry.directory.find(Kind::Room, "small").unwrap();
    let urgent = pool.begin(&world.plan(iter::once(Target::Group(small))), Rank::Urgent);
    pool.write(&bulk, 0, &world.registry, &mut Default::default());
    assert_eq!(urgent.state.lock().left, 0, "all of it was written between two chunks");
}

#[tokio::test]
async fn every_sweep_behind_the_first_has_its_turns() {
    let (world, pool) = (World::new(), Pool::default());
    let jobs = [Rank::Urgent, Rank::UrgentBulk, Rank::Bulk]
        .map(|rank| pool.begin(&world.plan(iter::once(Target::All)), rank));
    (0..64).for_each(|_| _ = pool.take().expect("there are more"));
    assert_eq!(jobs.map(|job| job.state.lock().next), [56, 4, 4]);
}

#[tokio::test]
async fn a_forced_end_waits_for_the_buckets_that_are_being_written() {
    let (world, pool) = (World::new(), Arc::new(Pool::default()));
    let sweep = world.plan(iter::once(Target::All));
    let held: Vec<_> = sweep.buckets().iter().map(|bucket| world.registry.bucket(*bucket).write()).collect();
    std::thread::scope(|threads| {
        threads.spawn(|| pool.work(&world.registry));
        let run = threads.spawn(|| pool.run(&sweep, Rank::Merged));
        let is_taken = || pool.work.lock().sweeps.first().is_some_and(|job| job.state.lock().next > 0);
        while !is_taken() {
            std::thread::yield_now();
        }
        let job = pool.work.lock().sweeps[0].clone();
        pool.end();
        // The rest is given up, and after that nothing may happen for a while.
        let mut until = Instant::now() + A_WHILE;
        while Instant::now() < until {
            assert!(!run.is_finished(), "it waits for the one that was taken");
            if job.state.lock().left > 1 {
                until = Instant::now() + A_WHILE;
            }
            std::thread::yield_now();
        }
        drop(held);
        run.join().unwrap();
        assert_eq!(job.state.lock().left, 0, "what was taken is finished, the rest given up");
    });
}
