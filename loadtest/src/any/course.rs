//! The course of a measurement: connect, rest, rehearse, publish, wait, judge.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use super::dialect::{Dialect, Publishing};
use super::place::Place;
use super::publisher::Publisher;
use super::readers::{self, COUNTED, REHEARSAL, Running, Seen, Shared};
use super::report::Measured;
use super::usage::Usage;
use super::{Error, Load};
use crate::kernel::{self, KernelCounters};
use crate::payload::{Format, Label};
use crate::report::Percentiles;

/// How often is looked whether what is waited for has come.
const LOOK: Duration = Duration::from_millis(2);

/// An item of the rehearsal that is not everywhere after this time is sent again, so many times.
const REHEARSAL_TIME_MAX: Duration = Duration::from_secs(10);
const REHEARSALS: u32 = 2;

/// Beside what the rate takes, all clients are subscribed after this time.
const CONNECT_TIME_MAX: Duration = Duration::from_secs(60);

/// A server that takes none of so many publishes in a row takes no more.
const REFUSALS_MAX: usize = 3;

/// What has not come so long after the last publish does not come in a time that anybody would wait.
const DRAIN_TIME_MAX: Duration = Duration::from_secs(60);

/// Loops of the clients, at most.
const THREADS_MAX: usize = 4;

/// A measurement under way. Dropped, its loops end.
struct Course<'a> {
    load: &'a Load,
    roots: &'a [u32],
    stop: &'a AtomicBool,
    shared: Arc<Shared>,
    loops: Vec<Running>,
}

/// What was published, and what it cost.
struct Published {
    accepted: Vec<bool>,
    refusal: Option<String>,
    cpu: Duration,
    generator_cpu: f64,
    took: Duration,
}

/// Measures a server. `roots`: its processes, as far as they run on this machine. `stop`: asks for the end.
///
/// # Errors
/// [`Error`] when nothing could be measured; what was lost is in what was measured.
pub fn measure(
    dialect: &Dialect,
    publishing: &Publishing,
    load: &Load,
    roots: &[u32],
    stop: &AtomicBool,
) -> Result<Measured, Error> {
    load.check()?;
    let mut publisher = Publisher::open(publishing)?;
    let course = Course::start(dialect, load, roots, stop)?;
    let counters = KernelCounters::now();
    let empty = Usage::of(roots);
    let begun = Instant::now();
    course.connect()?;
    let connect_secs = begun.elapsed().as_secs_f64();
    course.pause(load.rest)?;
    let idle = Usage::of(roots);
    course.rehearse(&mut publisher)?;
    let published = course.publish(&mut publisher)?;
    course.pause(load.rest)?;
    let after = Usage::of(roots);
    let gone = course.shared.gone.load(Relaxed);
    let seen = course.end()?;
    let per_client = |usage: Usage| (usage.pss as f64 - empty.pss as f64) / f64::from(load.clients);
    Ok(Measured {
        connect_secs,
        disconnects: gone,
        processes: after.processes,
        memory_bytes: empty.pss,
        memory_per_client_idle: per_client(idle),
        memory_per_client_after: per_client(after),
        kernel: KernelCounters::now().since(counters),
        ..judge(load, &published, seen)
    })
}

fn judge(load: &Load, published: &Published, seen: Seen) -> Measured {
    let accepted = published.accepted.iter().filter(|taken| **taken).count() as u32;
    let taken = published.accepted.iter().zip(&seen.missing).filter(|(taken, _)| **taken);
    let all = u64::from(load.clients);
    let each = |secs: f64, count: u64| secs * 1e6 / count.max(1) as f64;
    let cores = std::thread::available_parallelism().map_or(1, usize::from) as f64;
    let delivered = seen.missing.iter().map(|missing| all - u64::from(*missing)).sum();
    let cpu = published.cpu.as_secs_f64();
    Measured {
        clients: load.clients,
        publishes: load.publishes,
        accepted,
        size: load.size,
        every_ms: load.every.as_millis() as u64,
        expected: u64::from(accepted) * all,
        delivered,
        lost: taken.map(|(_, missing)| u64::from(*missing)).sum(),
        duplicated: seen.again,
        reordered: seen.late,
        corrupted: seen.corrupted,
        frames: seen.frames,
        frame_bytes: seen.bytes,
        latency: Percentiles::of(seen.latency.histogram()),
        server_cpu_secs: cpu,
        cpu_us_per_frame: each(cpu, seen.frames),
        cpu_us_per_item: each(cpu, delivered),
        reader_cpu_us_per_frame: each(published.generator_cpu, seen.frames),
        machine_busy: (cpu + published.generator_cpu) / published.took.as_secs_f64().max(1e-3) / cores,
        examples: seen.examples.into_iter().chain(published.refusal.clone()).collect(),
        ..Measured::default()
    }
}

impl<'a> Course<'a> {
    fn start(
        dialect: &Dialect,
        load: &'a Load,
        roots: &'a [u32],
        stop: &'a AtomicBool,
    ) -> Result<Self, Error> {
        let place = Place::parse(&dialect.url, "ws")?;
        let threads = std::thread::available_parallelism().map_or(1, usize::from).min(THREADS_MAX) as u32;
        let threads = threads.min(load.clients);
        let shared = Arc::new(Shared {
            dialect: dialect.clone(),
            address: place.resolve()?,
            place,
            format: Format::new(fastrand::u64(..), load.size),
            clients: load.clients,
            items: load.publishes,
            begun: Instant::now(),
            connect_rate: f64::from(load.connect_rate) / f64::from(threads),
            stop: AtomicBool::new(false),
            subscribed: AtomicU64::new(0),
            rehearsed: AtomicU64::new(0),
            gone: AtomicU64::new(0),
            received: AtomicU64::new(0),
            failure: parking_lot::Mutex::new(None),
        });
        let loops = readers::start(&shared, threads)
            .map_err(|error| Error::Broken(format!("no thread could be started: {error}")))?;
        Ok(Self { load, roots, stop, shared, loops })
    }

    /// Whether it can go on.
    fn look(&self) -> Result<(), Error> {
        if self.stop.load(Relaxed) {
            return Err(Error::Interrupted);
        }
        match self.shared.failure.lock().clone() {
            Some(why) => Err(Error::Unavailable(why)),
            None => Ok(()),
        }
    }

    fn pause(&self, time: Duration) -> Result<(), Error> {
        let until = Instant::now() + time;
        while Instant::now() < until {
            self.look()?;
            std::thread::park_timeout(LOOK.min(until.saturating_duration_since(Instant::now())));
        }
        Ok(())
    }

    /// Waits until a counter has got there; `false`: not in time.
    fn wait(&self, counter: &AtomicU64, wanted: u64, time: Duration) -> Result<bool, Error> {
        let until = Instant::now() + time;
        while counter.load(Relaxed) < wanted {
            self.look()?;
            if Instant::now() >= until {
                return Ok(false);
            }
            std::thread::park_timeout(LOOK);
        }
        Ok(true)
    }

    fn connect(&self) -> Result<(), Error> {
        let Load { clients, connect_rate, .. } = self.load;
        let paced = Duration::from_secs_f64(f64::from(*clients) / f64::from((*connect_rate).max(500)));
        if self.wait(&self.shared.subscribed, (*clients).into(), CONNECT_TIME_MAX + paced)? {
            return Ok(());
        }
        let subscribed = self.shared.subscribed.load(Relaxed);
        Err(Error::Unavailable(format!(
            "{subscribed} of {clients} clients are subscribed after a minute, and no more"
        )))
    }

    fn item(&self, stream: u32, seq: u32, at: u64) -> String {
        let mut bytes = Vec::with_capacity(self.load.size);
        self.shared.format.write(Label { item: seq, stream, seq, at }, &mut bytes);
        String::from_utf8(bytes).expect("payloads are ASCII")
    }

    /// An item that does not count shows that every client is reached, and wakes what sleeps.
    fn rehearse(&self, publisher: &mut Publisher) -> Result<(), Error> {
        for seq in 0..REHEARSALS {
            publisher.publish(&self.item(REHEARSAL, seq, 0)).map_err(Error::Unavailable)?;
            if self.wait(&self.shared.rehearsed, self.load.clients.into(), REHEARSAL_TIME_MAX)? {
                return self.pause(Duration::from_millis(200));
            }
        }
        match self.shared.rehearsed.load(Relaxed) {
            0 => Err(Error::Unavailable(format!(
                "the first item came to 0 of {} clients: what subscribes them, or where an item is, is not what was said",
                self.load.clients
            ))),
            // A server that does not reach all of them loses items, and that is what is counted.
            _some => Ok(()),
        }
    }

    fn publish(&self, publisher: &mut Publisher) -> Result<Published, Error> {
        let (before, generator) = (Usage::of(self.roots), kernel::cpu_secs());
        let (begun, first) = (Instant::now(), self.shared.now());
        let (mut accepted, mut refusal) = (Vec::new(), None);
        for seq in 0..self.load.publishes {
            if accepted.len() >= REFUSALS_MAX && !accepted[accepted.len() - REFUSALS_MAX..].contains(&true) {
                break;
            }
            let due = self.load.every * seq;
            self.pause(due.saturating_sub(begun.elapsed()))?;
            let taken = publisher.publish(&self.item(COUNTED, seq, first + due.as_micros() as u64));
            accepted.push(taken.is_ok());
            refusal = refusal.or(taken.err());
        }
        let wanted = accepted.iter().filter(|taken| **taken).count() as u64 * u64::from(self.load.clients);
        // As long as anything comes, more may come.
        let (mut had, until) = (u64::MAX, Instant::now() + DRAIN_TIME_MAX);
        while self.shared.received.load(Relaxed) != had && Instant::now() < until {
            had = self.shared.received.load(Relaxed);
            if self.wait(&self.shared.received, wanted, self.load.drain)? {
                break;
            }
        }
        let took = begun.elapsed();
        let cpu = Usage::of(self.roots).cpu.saturating_sub(before.cpu);
        Ok(Published { accepted, refusal, cpu, generator_cpu: kernel::cpu_secs() - generator, took })
    }

    fn end(mut self) -> Result<Seen, Error> {
        self.shared.stop.store(true, Relaxed);
        let mut seen = Seen::default();
        for each in std::mem::take(&mut self.loops) {
            seen.add(&each.join().map_err(|_| Error::Broken("a loop of clients panicked".into()))?);
        }
        Ok(seen)
    }
}

impl Drop for Course<'_> {
    fn drop(&mut self) {
        self.shared.stop.store(true, Relaxed);
    }
}
