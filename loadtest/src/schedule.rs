//! What is pushed, and when: drawn from the seed before the run, so that every part of it knows the same.

use crate::plan::{Order, Plan};
use crate::world::{Stream, Target, World};

/// One push: its stream and its place there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Planned {
    /// Number of the stream.
    pub(crate) stream: u32,
    /// Counts up from 0 in the stream.
    pub(crate) seq: u32,
}

/// All pushes of a run, in the order of their intended times.
#[derive(Debug, Default)]
pub(crate) struct Schedule {
    pub(crate) items: Vec<Planned>,
    /// Of each stream that is used, the numbers of its items in order.
    pub(crate) streams: std::collections::HashMap<u32, Vec<u32>>,
}

impl Schedule {
    /// Draws the pushes of a plan. They go to the logic nodes in turn.
    pub(crate) fn draw(plan: &Plan, world: &World) -> Self {
        let mut random = fastrand::Rng::with_seed(plan.seed);
        let mut schedule = Self::default();
        let mut turns = [0; 4];
        for item in 0..plan.items() as u32 {
            // In turn targets would meet the same logic node each time if their number fits: each lap begins
            // with another one.
            let mut logic = item;
            let target = draw_target(plan, world, &mut random, |random, kind, size| match plan.order {
                Order::Random => random.u32(0..size),
                Order::Turn => {
                    let turn: u32 = turns[kind as usize];
                    turns[kind as usize] += 1;
                    logic = turn % size + turn / size;
                    turn % size
                }
            });
            let urgent = random.f64() < plan.urgent_share;
            schedule.push(world, Stream { target, logic: logic % world.logics, urgent });
        }
        schedule
    }

    /// Adds a push at the end.
    pub(crate) fn push(&mut self, world: &World, stream: Stream) {
        let number = world.number(stream);
        let of_stream = self.streams.entry(number).or_default();
        of_stream.push(self.items.len() as u32);
        self.items.push(Planned { stream: number, seq: of_stream.len() as u32 - 1 });
    }
}

/// Kinds of target that have members to choose from.
#[derive(Debug, Clone, Copy)]
enum Kind {
    Room,
    User,
    Client,
    Set,
}

/// Draws a kind, and lets `choose` say which of so many of it.
fn draw_target(
    plan: &Plan,
    world: &World,
    random: &mut fastrand::Rng,
    mut choose: impl FnMut(&mut fastrand::Rng, Kind, u32) -> u32,
) -> Target {
    let mut drawn = random.u64(0..plan.mix.total());
    let mut falls = |weight: u32| {
        let here = drawn < u64::from(weight);
        drawn = drawn.wrapping_sub(u64::from(weight));
        here
    };
    if falls(plan.mix.all) {
        Target::All
    } else if falls(plan.mix.room) {
        Target::Room(choose(random, Kind::Room, world.rooms))
    } else if falls(plan.mix.user) {
        Target::User(choose(random, Kind::User, world.users()))
    } else if falls(plan.mix.client) {
        let step = world.client_step();
        Target::Client(choose(random, Kind::Client, world.clients.div_ceil(step)) * step)
    } else {
        Target::Set(world.set_of(choose(random, Kind::Set, world.rooms)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mix_is_drawn_and_streams_count_up() {
        let plan = Plan { rate: 1_000.0, gateways: vec![String::new()], ..Plan::default() };
        let world = World::of(&plan);
        let schedule = Schedule::draw(&plan, &world);
        assert_eq!(schedule.items.len(), 10_000);
        let count = |want: fn(Target) -> bool| {
            schedule.items.iter().filter(|item| want(world.stream(item.stream).target)).count()
        };
        for (count, percent) in [
            (count(|target| matches!(target, Target::All)), 1),
            (count(|target| matches!(target, Target::Room(_))), 60),
            (count(|target| matches!(target, Target::User(_))), 25),
            (count(|target| matches!(target, Target::Client(_))), 10),
            (count(|target| matches!(target, Target::Set(_))), 4),
        ] {
            assert!(count > percent * 70 && count < percent * 140, "{count} is not {percent} %");
        }
        for (stream, items) in &schedule.streams {
            for (seq, &item) in items.iter().enumerate() {
                let expected = Planned { stream: *stream, seq: seq as u32 };
                assert_eq!(schedule.items[item as usize], expected);
            }
        }
    }

    #[test]
    fn targets_in_turn_get_their_exact_share_through_every_logic_node() {
        for (rooms, logics) in [(4, 2), (5, 2), (6, 3), (1, 2)] {
            let plan = Plan {
                rooms,
                rooms_per_client: 1,
                rate: f64::from(rooms * 30),
                duration: std::time::Duration::from_secs(1),
                mix: "room=1".parse().unwrap(),
                order: Order::Turn,
                urgent_share: 0.0,
                gateways: vec![String::new()],
                logics: vec![String::new(); logics],
                ..Plan::default()
            };
            let world = World::of(&plan);
            let schedule = Schedule::draw(&plan, &world);
            for (at, item) in schedule.items.iter().enumerate() {
                assert_eq!(world.stream(item.stream).target, Target::Room(at as u32 % rooms));
            }
            for room in 0..rooms {
                for logic in 0..logics as u32 {
                    let stream = Stream { target: Target::Room(room), logic, urgent: false };
                    let items = schedule.streams.get(&world.number(stream)).map_or(0, Vec::len);
                    assert_eq!(
                        items,
                        30 / logics,
                        "room {room} of {rooms} through logic {logic} of {logics}"
                    );
                }
            }
        }
    }

    #[test]
    fn users_in_turn_each_get_one_item() {
        let plan = Plan {
            clients: 500,
            clients_per_user: 1,
            rate: 500.0,
            duration: std::time::Duration::from_secs(1),
            mix: "user=1".parse().unwrap(),
            order: Order::Turn,
            gateways: vec![String::new()],
            ..Plan::default()
        };
        let world = World::of(&plan);
        let schedule = Schedule::draw(&plan, &world);
        let users = schedule.items.iter().map(|item| world.stream(item.stream).target);
        assert!(users.eq((0..500).map(Target::User)));
    }
}
