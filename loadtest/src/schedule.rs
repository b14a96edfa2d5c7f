//! What is pushed, and when: drawn from the seed before the run, so that every part of it knows the same.

use serde::{Deserialize, Serialize};

use crate::plan::{Mix, Order, Plan};
use crate::world::{Part, Stream, Target, World};

/// One push: its stream and its place there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Planned {
    /// Number of the stream.
    pub(crate) stream: u32,
    /// Counts up from 0 in the stream.
    pub(crate) seq: u32,
}

/// What pushes are drawn from, beside the world and its seed.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Draw {
    pub(crate) items: u32,
    pub(crate) mix: Mix,
    pub(crate) order: Order,
    #[serde(with = "crate::exact")]
    pub(crate) urgent_share: f64,
}

impl Draw {
    /// Without a logic node nothing is pushed.
    pub(crate) fn of(plan: &Plan) -> Self {
        let items = if plan.logics.is_empty() { 0 } else { plan.items() as u32 };
        Self { items, mix: plan.mix, order: plan.order, urgent_share: plan.urgent_share }
    }
}

/// All pushes of a run, in the order of their intended times, or those of them that concern a part of the clients.
#[derive(Debug, Default)]
pub(crate) struct Schedule {
    pub(crate) items: Vec<Planned>,
    /// Of each stream that is used, the places of its items in order.
    pub(crate) streams: std::collections::HashMap<u32, Vec<u32>>,
    /// The numbers of the items, where they are not all items.
    numbers: Option<Vec<u32>>,
}

impl Schedule {
    /// Draws the pushes. They go to the logic nodes in turn.
    pub(crate) fn draw(draw: &Draw, world: &World) -> Self {
        let mut schedule = Self::default();
        draw_all(draw, world, |_, stream| schedule.push(world, stream));
        schedule
    }

    /// Draws them all, and keeps those that concern a part of the clients: what an agent knows of a run takes no more
    /// memory than what its clients may receive.
    pub(crate) fn draw_part(draw: &Draw, world: &World, part: &Part) -> Self {
        let mut schedule = Self { numbers: Some(Vec::new()), ..Self::default() };
        draw_all(draw, world, |item, stream| {
            if part.concerns(world, stream.target) {
                schedule.push(world, stream);
                schedule.numbers.get_or_insert_default().push(item);
            }
        });
        if schedule.items.len() == draw.items as usize {
            schedule.numbers = None;
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

    /// The number of the item at a place.
    pub(crate) fn number(&self, place: u32) -> u32 {
        self.numbers.as_ref().map_or(place, |numbers| numbers[place as usize])
    }

    /// The place of the item with a number, if it is here.
    pub(crate) fn place(&self, item: u32) -> Option<u32> {
        match &self.numbers {
            None => ((item as usize) < self.items.len()).then_some(item),
            Some(numbers) => numbers.binary_search(&item).ok().map(|place| place as u32),
        }
    }
}

/// Draws one push after the other.
fn draw_all(draw: &Draw, world: &World, mut each: impl FnMut(u32, Stream)) {
    let mut random = fastrand::Rng::with_seed(world.seed);
    let mut turns = [0; 4];
    for item in 0..draw.items {
        // In turn targets would meet the same logic node each time if their number fits: each lap begins
        // with another one.
        let mut logic = item;
        let target = draw_target(draw, world, &mut random, |random, kind, size| match draw.order {
            Order::Random => random.u32(0..size),
            Order::Turn => {
                let turn: u32 = turns[kind as usize];
                turns[kind as usize] += 1;
                logic = turn % size + turn / size;
                turn % size
            }
        });
        let urgent = random.f64() < draw.urgent_share;
        each(item, Stream { target, logic: logic % world.logics, urgent });
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
    draw: &Draw,
    world: &World,
    random: &mut fastrand::Rng,
    mut choose: impl FnMut(&mut fastrand::Rng, Kind, u32) -> u32,
) -> Target {
    let mut drawn = random.u64(0..draw.mix.total());
    let mut falls = |weight: u32| {
        let here = drawn < u64::from(weight);
        drawn = drawn.wrapping_sub(u64::from(weight));
        here
    };
    if falls(draw.mix.all) {
        Target::All
    } else if falls(draw.mix.room) {
        Target::Room(choose(random, Kind::Room, world.rooms))
    } else if falls(draw.mix.user) {
        Target::User(choose(random, Kind::User, world.users()))
    } else if falls(draw.mix.client) {
        let step = world.client_step();
        Target::Client(choose(random, Kind::Client, world.clients.div_ceil(step)) * step)
    } else {
        Target::Set(world.set_of(choose(random, Kind::Set, world.rooms)))
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::world::tests::small;

    /// Items to all clients through one logic node, and of them those that are wanted.
    pub(crate) fn to_all_clients(items: u32, wanted: impl Fn(u32) -> bool) -> Schedule {
        let world = small();
        let mut schedule = Schedule::default();
        (0..items)
            .for_each(|_| schedule.push(&world, Stream { target: Target::All, logic: 0, urgent: false }));
        let numbers: Vec<u32> = (0..items).filter(|&item| wanted(item)).collect();
        let items = numbers.iter().map(|&item| schedule.items[item as usize]).collect();
        Schedule { items, numbers: Some(numbers), ..schedule }
    }

    #[test]
    fn each_part_has_the_items_that_concern_its_clients() {
        let plan = Plan { rate: 500.0, logics: vec![String::new(); 2], ..Plan::default() };
        let world = World { clients_per_user: 1, ..small() };
        let draw = Draw::of(&plan);
        let whole = Schedule::draw(&draw, &world);
        for agent in 0..10 {
            let part = Part::new(&world, agent, 10);
            let schedule = Schedule::draw_part(&draw, &world, &part);
            let mut place = 0;
            for (item, planned) in whole.items.iter().enumerate() {
                let stream = world.stream(planned.stream);
                let mut mine = (agent..world.clients).step_by(10);
                let concerned = mine.any(|client| world.slot(client, stream).is_some());
                assert_eq!(schedule.place(item as u32), concerned.then_some(place), "item {item} {stream:?}");
                if concerned {
                    assert_eq!(
                        (schedule.items[place as usize], schedule.number(place)),
                        (*planned, item as u32)
                    );
                    assert_eq!(schedule.streams[&planned.stream][planned.seq as usize], place);
                    place += 1;
                }
            }
            assert!(place as usize == schedule.items.len() && (place as usize) < whole.items.len());
        }
    }

    #[test]
    fn the_mix_is_drawn_and_streams_count_up() {
        let plan = Plan {
            rate: 1_000.0,
            gateways: vec![String::new()],
            logics: vec![String::new()],
            ..Plan::default()
        };
        let world = World::of(&plan);
        let schedule = Schedule::draw(&Draw::of(&plan), &world);
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
            let schedule = Schedule::draw(&Draw::of(&plan), &world);
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
            logics: vec![String::new()],
            ..Plan::default()
        };
        let world = World::of(&plan);
        let schedule = Schedule::draw(&Draw::of(&plan), &world);
        let users = schedule.items.iter().map(|item| world.stream(item.stream).target);
        assert!(users.eq((0..500).map(Target::User)));
    }
}
