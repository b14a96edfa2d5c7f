//! What a delivered frame costs the gateway, as a ratio of what a bare `send` of as many bytes costs.
//!
//! Most clients only count, as the floor's readers do, and some are those of the load tool, which verify: in the
//! same rooms, and what all read together is to the byte what the gateway wrote. The cost is what the gateway's
//! threads spend from the first push until all has arrived (kernel included), less what the same connections
//! cost idle just before: links, merging, encoding, receipts and all. The floor has as many connections, frames
//! as long, as often.

use std::time::{Duration, Instant};

use loadtest::{KernelCounters, floor};

use crate::counted::{Connected, Counted, Size, verifiers};
use crate::load::{Generator, Load, Outcome, Stage};
use crate::process::{Cluster, Node, pause};
use crate::table::{Bound, Row, median, number};
use crate::{Bench, Case};

/// How often the end of a run is looked for: what is spent after it, up to this, counts too much.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// A gateway that has written nothing for so long, after the last push, has written all: workers count at the end of
/// each bucket, and take less for one.
const QUIET: Duration = Duration::from_millis(100);
const QUIET_TIME_MAX: Duration = Duration::from_secs(20);

/// After the last greeting, before what idle clients cost is measured.
const CALM: Duration = Duration::from_millis(300);

/// A size beyond one process: 16,666 clients for each of six gateways and six generators.
const MANY: u32 = 100_000;
const MANY_PROCESSES: u32 = 6;

/// From the last greeting of one generator to its first push: meanwhile the others connect theirs.
const MANY_SETTLE: Duration = Duration::from_secs(5);

/// A round of these takes more than a minute.
const MANY_ROUNDS_MAX: usize = 3;

/// Who gets what.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Shape {
    /// All in one room, so many items a frame.
    Broadcast(u32),
    /// So many rooms, an item for each room a window.
    Rooms(u32),
    /// An item to one user at a time.
    Unicast,
}

/// What a run of the gateway found.
pub(crate) struct Cost {
    /// µs a frame, less the idle cost.
    pub(crate) net: f64,
    /// µs a frame, all of it.
    pub(crate) gross: f64,
    pub(crate) frames: f64,
    pub(crate) items: f64,
    pub(crate) writes: f64,
    pub(crate) bytes: f64,
    pub(crate) secs: f64,
    pub(crate) faults: Vec<String>,
}

/// Counters of push frames: frames, items, writes, bytes.
pub(crate) struct Marks(pub(crate) [f64; 4]);

impl Marks {
    pub(crate) fn of(gateway: &Node) -> Result<Self, String> {
        let metrics = gateway.metrics()?;
        let names = ["frames_written_total", "items_written_total", "writes_total", "write_bytes_total"];
        Ok(Self(names.map(|name| metrics.get(name).copied().unwrap_or(f64::NAN))))
    }
}

/// One run on a cluster of its own.
pub(crate) fn run(flags: &[&str], load: impl Fn(&Cluster) -> Load) -> Result<(Cost, Outcome), String> {
    run_then(flags, load, |_| Ok(()))
}

/// The same, with a last look at the cluster.
pub(crate) fn run_then(
    flags: &[&str],
    load: impl Fn(&Cluster) -> Load,
    look: impl FnOnce(&Cluster) -> Result<(), String>,
) -> Result<(Cost, Outcome), String> {
    let cluster = Cluster::start(flags)?;
    let mut generator = Generator::start(&load(&cluster))?;
    let cost = watch(&cluster.gateway, &mut generator)?;
    let outcome = generator.outcome()?;
    look(&cluster)?;
    let faults = [outcome.faults(), cost.faults.clone()].concat();
    Ok((Cost { faults, ..cost }, outcome))
}

/// Watches a gateway through the run of a generator.
pub(crate) fn watch(gateway: &Node, generator: &mut Generator) -> Result<Cost, String> {
    generator.reached(Stage::Connected)?;
    pause(CALM);
    let kernel = KernelCounters::now();
    let before = Marks::of(gateway)?;
    let (idle, idle_since) = (gateway.cpu_us()?, Instant::now());
    generator.reached(Stage::Publishing)?;
    let (busy, busy_since) = (gateway.cpu_us()?, Instant::now());
    let idle = (busy - idle) / (busy_since - idle_since).as_secs_f64();
    generator.reached(Stage::Draining)?;
    let mut end = (gateway.cpu_us()?, Instant::now());
    generator.watching(Stage::Judging, LOOK_EVERY, |_| {
        end = (gateway.cpu_us()?, Instant::now());
        Ok(())
    })?;
    let after = quiet(gateway, &mut end)?;
    let secs = (end.1 - busy_since).as_secs_f64();
    let faults = KernelCounters::now().since(kernel).faults();
    let [frames, items, writes, bytes] = std::array::from_fn(|at| after.0[at] - before.0[at]);
    let gross = end.0 - busy;
    let net = gross - idle * secs;
    Ok(Cost { net: net / frames, gross: gross / frames, frames, items, writes, bytes, secs, faults })
}

/// What a gateway has counted once it writes no more, and when it had ceased to: those whom its last frames are for
/// may be others than those who say that all has arrived.
fn quiet(gateway: &Node, end: &mut (f64, Instant)) -> Result<Marks, String> {
    let mut marks = Marks::of(gateway)?;
    let begun = Instant::now();
    loop {
        let now = (gateway.cpu_us()?, Instant::now());
        pause(QUIET);
        let after = Marks::of(gateway)?;
        if after.0 == marks.0 {
            return Ok(marks);
        }
        if begun.elapsed() > QUIET_TIME_MAX {
            return Err("a gateway that was given no more does not cease to write".into());
        }
        (*end, marks) = (now, after);
    }
}

impl Shape {
    /// Rooms that there are.
    pub(crate) fn rooms(self) -> u32 {
        if let Self::Rooms(rooms) = self { rooms } else { 1 }
    }

    fn name(self) -> String {
        match self {
            Self::Broadcast(items) => format!("one room ×{items}"),
            Self::Rooms(rooms) => format!("{} rooms", number(f64::from(rooms))),
            Self::Unicast => "unicast".into(),
        }
    }

    /// The row of it, and who read.
    fn row(self, clients: u32, processes: u32, rounds: &[(Cost, floor::Report)]) -> Row {
        let row = row(&self.name(), clients, rounds);
        if matches!(self, Self::Unicast) {
            return row;
        }
        let verify = verifiers(clients / processes) * processes;
        let count = number(f64::from(clients - verify));
        let note = format!("{count} count, {} verify; {}", number(f64::from(verify)), row.note);
        row.note(note)
    }

    /// The load of it, when a window is so long.
    pub(crate) fn load(self, cluster: &Cluster, clients: u32, window: Duration, publish: Duration) -> Load {
        let base = Load { publish, ..Load::on(cluster, clients) };
        let a_window = 1.0 / window.as_secs_f64();
        match self {
            // One item a frame: the next comes when the window of the last is surely over.
            Self::Broadcast(1) => Load { rate: a_window / 1.25, ..base },
            Self::Broadcast(items) => Load { rate: a_window * f64::from(items), ..base },
            Self::Rooms(rooms) => Load { rooms, in_turn: true, rate: a_window * f64::from(rooms), ..base },
            Self::Unicast => Load { mix: "user=1".into(), in_turn: true, rate: UNICAST_RATE, ..base },
        }
    }
}

/// Pushes a second to one user each: what logic and load tool manage beside the gateway on two cores.
const UNICAST_RATE: f64 = 4_000.0;

/// Fewer clients than this get more frames each.
const FEW_CLIENTS: u32 = 5_000;

/// As many as the floor's: one a core.
fn threads() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

impl Size {
    /// Of one cluster with so many clients.
    fn of(bench: &Bench, clients: u32) -> Self {
        let (window, publish) = match (bench.full, clients) {
            // Few clients get as many frames in all as many do, or a run is over before it says something.
            (_, ..FEW_CLIENTS) => (Duration::from_millis(100), Duration::from_millis(2_500)),
            (false, _) => (Duration::from_millis(250), Duration::from_millis(1_300)),
            (true, _) => (Duration::from_secs(1), Duration::from_secs(10)),
        };
        Self { window, publish, settle: Duration::from_millis(800), threads: threads() }
    }
}

/// One run of a shape.
fn one(shape: Shape, clients: u32, size: &Size) -> Result<Cost, String> {
    if matches!(shape, Shape::Unicast) {
        let window = humantime::format_duration(size.window).to_string();
        let load = |cluster: &Cluster| shape.load(cluster, clients, size.window, size.publish);
        return run(&["--window", &window], load).map(|(cost, _)| cost);
    }
    let mut counted = Connected::start(shape, clients, size, 0)?.verified()?;
    let cost = counted.watch()?;
    let faults = counted.faults(&cost)?;
    Ok(Cost { faults, ..cost })
}

/// The rows of one number of connections: in each round each shape once, each with a floor of its own length.
pub(crate) fn rows(bench: &Bench, clients: u32, shapes: &[Shape]) -> Result<Vec<Row>, String> {
    let size = Size::of(bench, clients);
    let mut rounds: Vec<Vec<(Cost, floor::Report)>> = shapes.iter().map(|_| Vec::new()).collect();
    // Those that the others are compared with get more.
    let is_main = clients >= FEW_CLIENTS && matches!(shapes, [Shape::Broadcast(1)]);
    let several = if is_main { bench.rounds } else { bench.few };
    for _ in 0..several {
        for (shape, rounds) in shapes.iter().zip(&mut rounds) {
            let cost = one(*shape, clients, &size)?;
            let floor = floor::run(&like(&cost, clients)).map_err(|error| error.to_string())?;
            bench.say(&format!(
                "{} {}: {:.2} µs ({:.2} gross), floor {:.2}, receive {:.2}; {} frames, {:.1} items each, {} B, {} writes, {:.1} s",
                clients, shape.name(), cost.net, cost.gross, floor.send_cpu_us, floor.receive_cpu_us, cost.frames,
                cost.items / cost.frames, (cost.bytes / cost.frames).round(), cost.writes, cost.secs
            ));
            rounds.push((cost, floor));
        }
    }
    Ok(shapes.iter().zip(rounds).map(|(shape, rounds)| shape.row(clients, 1, &rounds)).collect())
}

/// Connections that no single process may hold, on several gateways at once, each with a generator of its own.
fn many(bench: &Bench) -> Result<Vec<Row>, String> {
    let size = Size {
        window: Duration::from_secs(2),
        publish: Duration::from_secs(20),
        settle: MANY_SETTLE,
        threads: threads().div_ceil(MANY_PROCESSES as usize),
    };
    let each = MANY / MANY_PROCESSES;
    let shape = Shape::Broadcast(1);
    let mut rounds = Vec::new();
    for _ in 0..bench.rounds.min(MANY_ROUNDS_MAX) {
        let connected: Result<Vec<Connected<'_>>, String> =
            (0..MANY_PROCESSES).map(|process| Connected::start(shape, each, &size, process as u8)).collect();
        let counted: Result<Vec<Counted>, String> = connected?.into_iter().map(Connected::verified).collect();
        let mut counted = counted?;
        // Each is watched by a thread: they come to their stages at the same time.
        let costs: Result<Vec<Cost>, String> = std::thread::scope(|scope| {
            let watches: Vec<_> = counted.iter_mut().map(|counted| scope.spawn(|| counted.watch())).collect();
            watches.into_iter().map(|watch| watch.join().map_err(|_| "a watch panicked")?).collect()
        });
        let mut costs = costs?;
        for (counted, cost) in counted.into_iter().zip(&mut costs) {
            cost.faults = counted.faults(cost)?;
        }
        let cost = together(&costs);
        let floor = floor::run(&like(&cost, each * MANY_PROCESSES));
        rounds.push((cost, floor.map_err(|error| error.to_string())?));
    }
    Ok(vec![shape.row(MANY, MANY_PROCESSES, &rounds)])
}

/// What several gateways cost together.
fn together(costs: &[Cost]) -> Cost {
    let sum = |of: fn(&Cost) -> f64| costs.iter().map(of).sum::<f64>();
    let frames = sum(|cost| cost.frames);
    Cost {
        net: sum(|cost| cost.net * cost.frames) / frames,
        gross: sum(|cost| cost.gross * cost.frames) / frames,
        frames,
        items: sum(|cost| cost.items),
        writes: sum(|cost| cost.writes),
        bytes: sum(|cost| cost.bytes),
        secs: costs.iter().map(|cost| cost.secs).fold(0.0, f64::max),
        faults: costs.iter().flat_map(|cost| cost.faults.clone()).collect(),
    }
}

/// The floor that a run is compared with: as many connections, frames as long, as often.
pub(crate) fn like(cost: &Cost, clients: u32) -> floor::Plan {
    let rounds = (cost.frames / f64::from(clients)).round().max(1.0);
    floor::Plan {
        connections: clients,
        bytes: (cost.bytes / cost.frames).round() as usize,
        rounds: rounds as u32,
        every: Duration::from_secs_f64(cost.secs / rounds),
        ..floor::Plan::default()
    }
}

/// Why a floor may not be quoted.
pub(crate) fn floor_faults(floor: &floor::Report) -> Vec<String> {
    floor.invalid.iter().map(|why| format!("floor: {why}")).collect()
}

pub(crate) fn row(name: &str, clients: u32, rounds: &[(Cost, floor::Report)]) -> Row {
    let of = |figure: fn(&(Cost, floor::Report)) -> f64| median(rounds.iter().map(figure));
    let ratio = of(|(cost, floor)| cost.net / floor.send_cpu_us);
    let ratios: Vec<_> =
        rounds.iter().map(|(cost, floor)| format!("{:.2}", cost.net / floor.send_cpu_us)).collect();
    let note = format!(
        "{:.1} items and {} bytes a frame, {:.2} frames a write; idle cost not subtracted {} µs a frame; rounds {}",
        of(|(cost, _)| cost.items / cost.frames),
        number(of(|(cost, _)| cost.bytes / cost.frames).round()),
        of(|(cost, _)| cost.frames / cost.writes),
        number(of(|(cost, _)| cost.gross)),
        ratios.join(" "),
    );
    let faults =
        rounds.iter().flat_map(|(cost, floor)| cost.faults.iter().cloned().chain(floor_faults(floor)));
    Row::ratio(
        format!("gateway CPU a frame, {} connections, {}", number(f64::from(clients)), name),
        Bound::AtMost(1.08, 1.20),
        (of(|(cost, _)| cost.net), of(|(_, floor)| floor.send_cpu_us)),
        ratio,
        "µs",
    )
    .note(note)
    .faults(faults.collect())
}

/// The cases of this file.
pub(crate) fn cases() -> Vec<Case> {
    use Shape::{Broadcast, Rooms, Unicast};
    let all = [Broadcast(1), Rooms(1_000), Unicast, Broadcast(10), Broadcast(100)];
    let case = |name: &str, full_only: bool, clients: u32, shapes: Vec<Shape>| {
        Case::new(name, full_only, move |bench| rows(bench, clients, &shapes))
    };
    let mut cases = vec![case("cpu-1k-broadcast", false, 1_000, vec![Broadcast(1)])];
    for (name, shape) in ["broadcast", "rooms", "unicast", "x10", "x100"].iter().zip(all) {
        // One call an item costs more than the frame: batches stand for it in the quick table. And what holds
        // for one item a frame and for a hundred holds for ten.
        let full_only = matches!(shape, Unicast | Broadcast(10));
        cases.push(case(&format!("cpu-10k-{name}"), full_only, 10_000, vec![shape]));
        cases.push(case(&format!("cpu-19k-{name}"), true, 19_000, vec![shape]));
    }
    cases.push(Case::new("cpu-100k-broadcast", true, many));
    cases
}
