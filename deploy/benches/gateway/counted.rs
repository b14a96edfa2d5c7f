//! A gateway whose clients mostly count and partly verify, and the proof that all of them got all.
//!
//! Those that verify are the load tool's, in the same rooms as the others, and check each item. For the others it
//! is enough that what all read together is, to the byte, what the gateway wrote.

use std::time::{Duration, Instant};

use crate::count::{Counters, Share};
use crate::cpu::{self, Cost, Shape};
use crate::load::{Generator, Load};
use crate::process::{Cluster, pause};

/// One client of so many verifies, but a good number does in any case: the others only count.
const VERIFIES_ONE_OF: u32 = 20;
const VERIFY_MIN: u32 = 200;

/// After the last push, and a window, generators stay so long for each client: others may still read.
const HOLD_EACH: Duration = Duration::from_micros(20);

/// What was read is known at the latest so long after all was written.
const READ_MAX: Duration = Duration::from_secs(2);

/// How often counters are asked.
const ASK_EVERY: Duration = Duration::from_millis(10);

/// Hardly a ping comes between the frames that are counted.
const NO_PINGS: [&str; 4] = ["--heartbeat", "10m", "--silence", "20m"];

/// How many of these clients verify.
pub(crate) fn verifiers(clients: u32) -> u32 {
    (clients / VERIFIES_ONE_OF).max(VERIFY_MIN).min(clients)
}

/// A gateway, with clients that count connected and a generator for those that verify.
pub(crate) struct Counted {
    generator: Generator,
    // Goes before the cluster does, or it would say that the gateway closed its connections.
    counters: Counters,
    cluster: Cluster,
}

/// How a size of these is run.
pub(crate) struct Size {
    pub(crate) window: Duration,
    pub(crate) publish: Duration,
    pub(crate) settle: Duration,
    /// Threads of the clients that count.
    pub(crate) threads: usize,
}

/// A gateway whose clients that count are there, but not yet those that verify.
pub(crate) struct Connected<'a> {
    counters: Counters,
    cluster: Cluster,
    shape: Shape,
    clients: u32,
    size: &'a Size,
}

impl<'a> Connected<'a> {
    pub(crate) fn start(shape: Shape, clients: u32, size: &'a Size, process: u8) -> Result<Self, String> {
        let window = humantime::format_duration(size.window).to_string();
        let cluster = Cluster::start(&[&["--window", &window], &NO_PINGS[..]].concat())?;
        let counters = Counters::start(&Share {
            gateway: cluster.gateway.main.clone(),
            rooms: shape.rooms(),
            clients: clients - verifiers(clients),
            threads: size.threads as u32,
            process,
        })?;
        Ok(Self { counters, cluster, shape, clients, size })
    }

    /// Starts those that verify, and publish.
    pub(crate) fn verified(self) -> Result<Counted, String> {
        let Self { counters, cluster, shape, clients, size } = self;
        let load = shape.load(&cluster, verifiers(clients), size.window, size.publish);
        let hold = size.window + HOLD_EACH * clients;
        let generator = Generator::start(&Load { hold, settle: size.settle, ..load })?;
        Ok(Counted { generator, counters, cluster })
    }
}

impl Counted {
    /// Watches the gateway through the run.
    pub(crate) fn watch(&mut self) -> Result<Cost, String> {
        cpu::watch(&self.cluster.gateway, &mut self.generator)
    }

    /// What was wrong: with the frames of those who verify, or with the bytes of all.
    pub(crate) fn faults(mut self, cost: &Cost) -> Result<Vec<String>, String> {
        let outcome = self.generator.outcome()?;
        let mut faults = [outcome.faults(), cost.faults.clone()].concat();
        let [frames, payloads] = ["/frames/messages", "/frames/wireBytes"].map(|path| outcome.number(path));
        let begun = Instant::now();
        loop {
            let missing = cost.bytes - self.counters.bytes()? - payloads;
            if are_headers(missing, frames, cost.bytes / cost.frames) {
                return Ok(faults);
            }
            if begun.elapsed() > READ_MAX {
                faults.push(format!("{} bytes did not arrive", missing - frames * HEADER_BYTES));
                return Ok(faults);
            }
            pause(ASK_EVERY);
        }
    }
}

/// Header of a frame whose payload is 126 bytes to 64 KiB, and what a longer one has more (RFC 6455 §5.2).
const HEADER_BYTES: f64 = 4.0;
const LONG_HEADER_BYTES: f64 = 6.0;

/// Whether so many bytes are the headers of so many frames, of this mean length: some may be long ones, where
/// frames come near that.
fn are_headers(bytes: f64, frames: f64, mean: f64) -> bool {
    let more = bytes - frames * HEADER_BYTES;
    let some_long = mean > 16_384.0 && more > 0.0 && more <= frames * LONG_HEADER_BYTES;
    more == 0.0 || (some_long && more % LONG_HEADER_BYTES == 0.0)
}
