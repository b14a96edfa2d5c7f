//! The course of a floor: start the processes, connect, send, judge.

use std::path::Path;
use std::time::{Duration, Instant};

use common::descriptors;

use super::child::Process;
use super::clock::Clock;
use super::message::{Order, Received, Role, Said, Sent, Share, Span};
use super::{Error, Plan, Report};
use crate::kernel::{Kernel, KernelCounters};
use crate::latency::Times;
use crate::machine::Machine;
use crate::probe;
use crate::report::Percentiles;

/// A pair of processes.
struct Pair {
    sender: Process,
    receiver: Process,
}

/// CPU time of all senders and of all receivers.
#[derive(Clone, Copy)]
struct Cpu {
    senders: Duration,
    receivers: Duration,
}

/// What a floor was seen to be.
struct Seen {
    connected: Span,
    connect_cpu: Cpu,
    /// Each round, over all pairs.
    rounds: Vec<(Sent, Received)>,
    send_cpu: Cpu,
    kernel: Kernel,
    clock_was_set: bool,
}

pub(super) fn run(plan: &Plan) -> Result<Report, Error> {
    let broken = |error: std::io::Error| Error::Broken(format!("cannot measure here: {error}"));
    let limit = descriptors::raise().map_err(broken)?;
    let shares = plan.split(limit.connections(), probe::ports()).map_err(Error::Plan)?;
    let program = match &plan.program {
        Some(program) => program.clone(),
        None => std::env::current_exe().map_err(broken)?,
    };
    let until = Instant::now() + plan.time_max();
    let clock = Clock::start();
    let before = KernelCounters::now();
    let (mut pairs, addresses) = start(&program, &shares, until)?;
    let idle = cpu(&pairs);
    let connected = connect(&mut pairs, &addresses, until)?;
    let ready = cpu(&pairs);
    let rounds = send(plan, &mut pairs, until)?;
    let done = cpu(&pairs);
    let seen = Seen {
        connected,
        connect_cpu: ready.since(idle),
        rounds,
        send_cpu: done.since(ready),
        kernel: KernelCounters::now().since(before),
        clock_was_set: clock.was_set(),
    };
    // Readers first: they close by a reset, so that no port waits.
    pairs.iter_mut().for_each(|pair| pair.receiver.end());
    Ok(report(plan, &shares, &seen))
}

/// Where senders listen: by pair, by thread.
type Addresses = Vec<Vec<Vec<std::net::SocketAddr>>>;

fn start(program: &Path, shares: &[Share], until: Instant) -> Result<(Vec<Pair>, Addresses), Error> {
    let (mut pairs, mut addresses) = (Vec::new(), Vec::new());
    for share in shares {
        let sender = Process::start(program, &Role::Sender(share.clone()))?;
        let receiver = Process::start(program, &Role::Receiver(share.clone()))?;
        pairs.push(Pair { sender, receiver });
    }
    for pair in &pairs {
        match pair.sender.hear(until)? {
            Said::Listening(at) => addresses.push(at),
            other => return Err(unexpected(&other)),
        }
    }
    Ok((pairs, addresses))
}

fn connect(pairs: &mut [Pair], addresses: &Addresses, until: Instant) -> Result<Span, Error> {
    for (pair, addresses) in pairs.iter_mut().zip(addresses) {
        pair.receiver.order(&Order::Connect(addresses.clone()))?;
    }
    let mut span = Span::NONE;
    for process in pairs.iter().flat_map(|pair| [&pair.sender, &pair.receiver]) {
        match process.hear(until)? {
            Said::Connected(part) => span = span.join(part),
            other => return Err(unexpected(&other)),
        }
    }
    Ok(span)
}

fn send(plan: &Plan, pairs: &mut [Pair], until: Instant) -> Result<Vec<(Sent, Received)>, Error> {
    let wanted = u64::from(plan.connections) * plan.bytes as u64;
    let mut rounds = Vec::new();
    let begun = Instant::now();
    for round in 0..plan.rounds {
        // Readers wait for it as clients do, before it begins.
        pairs.iter_mut().try_for_each(|pair| pair.receiver.order(&Order::Read))?;
        wait_until(begun + plan.every * round);
        pairs.iter_mut().try_for_each(|pair| pair.sender.order(&Order::Send))?;
        let (mut sent, mut received) = (Sent::NONE, Received::default());
        for pair in pairs.iter() {
            match pair.sender.hear(until)? {
                Said::Sent(part) => sent = sent.join(part),
                other => return Err(unexpected(&other)),
            }
            match pair.receiver.hear(until)? {
                Said::Received(part) => received = received.join(part),
                other => return Err(unexpected(&other)),
            }
        }
        rounds.push((sent, received));
        if received.bytes != wanted {
            break;
        }
    }
    Ok(rounds)
}

fn wait_until(time: Instant) {
    loop {
        let left = time.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return;
        }
        std::thread::park_timeout(left);
    }
}

fn unexpected(said: &Said) -> Error {
    Error::Broken(format!("a process said what was not asked: {said:?}"))
}

fn cpu(pairs: &[Pair]) -> Cpu {
    Cpu {
        senders: pairs.iter().map(|pair| pair.sender.cpu()).sum(),
        receivers: pairs.iter().map(|pair| pair.receiver.cpu()).sum(),
    }
}

impl Cpu {
    fn since(self, before: Self) -> Self {
        Self {
            senders: self.senders.saturating_sub(before.senders),
            receivers: self.receivers.saturating_sub(before.receivers),
        }
    }
}

fn report(plan: &Plan, shares: &[Share], seen: &Seen) -> Report {
    let sends = u64::from(plan.connections) * u64::from(plan.rounds);
    let each = |cpu: Duration, count: u64| cpu.as_secs_f64() * 1e6 / count as f64;
    let frames = seen.rounds.iter().map(|(_, received)| received.bytes).sum::<u64>() / plan.bytes as u64;
    let blocked: u64 = seen.rounds.iter().map(|(sent, _)| sent.blocked).sum();
    let (send_times, whole_times, busy) = times(&seen.rounds);
    let per_second = |count: u64, micros: u64| count as f64 / (micros.max(1) as f64 / 1e6);
    let mut report = Report {
        connections: plan.connections,
        bytes: plan.bytes,
        rounds: plan.rounds,
        every_ms: plan.every.as_millis() as u64,
        pairs: shares.len(),
        threads: shares.first().map_or(0, |share| share.threads as usize),
        sends,
        send_cpu_us: each(seen.send_cpu.senders, sends),
        receive_cpu_us: each(seen.send_cpu.receivers, sends),
        sends_per_second: per_second(sends, busy),
        connects_per_second: per_second(plan.connections.into(), seen.connected.micros()),
        accept_cpu_us: each(seen.connect_cpu.senders, plan.connections.into()),
        connect_cpu_us: each(seen.connect_cpu.receivers, plan.connections.into()),
        round_send_ms: Percentiles::of(send_times.histogram()),
        round_ms: Percentiles::of(whole_times.histogram()),
        blocked,
        missing: sends.saturating_sub(frames),
        machine: Machine::this(),
        kernel: seen.kernel,
        invalid: Vec::new(),
    };
    report.invalid = faults(&report, seen.clock_was_set);
    report
}

/// Times of the rounds' sends, of whole rounds, and how many µs these are together.
fn times(rounds: &[(Sent, Received)]) -> (Times, Times, u64) {
    let (mut sends, mut wholes) = (Times::default(), Times::default());
    let mut busy = 0;
    for (sent, received) in rounds {
        let whole = received.end.max(sent.span.last).saturating_sub(sent.span.first);
        sends.record(sent.span.micros());
        wholes.record(whole);
        busy += whole;
    }
    (sends, wholes, busy)
}

/// Why a floor is none.
fn faults(report: &Report, clock_was_set: bool) -> Vec<String> {
    let mut faults = report.kernel.faults();
    if report.blocked > 0 {
        faults.push(format!("{} sends found a full socket: readers were too slow", report.blocked));
    }
    if report.missing > 0 {
        faults.push(format!("{} of {} frames did not arrive whole", report.missing, report.sends));
    }
    if clock_was_set {
        faults.push("the clock of the machine was set meanwhile: times of rounds are wrong".into());
    }
    faults
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two rounds of 100 connections.
    fn seen() -> Seen {
        let round = |first, last, end| {
            let sent = Sent { span: Span { first, last }, blocked: 0 };
            (sent, Received { end, bytes: 20_000 })
        };
        let cpu = |senders, receivers| Cpu {
            senders: Duration::from_micros(senders),
            receivers: Duration::from_micros(receivers),
        };
        Seen {
            connected: Span { first: 500, last: 10_500 },
            connect_cpu: cpu(1_000, 2_000),
            rounds: vec![round(1_000, 2_000, 3_000), round(1_001_000, 1_003_000, 1_005_000)],
            send_cpu: cpu(1_400, 600),
            kernel: Kernel::default(),
            clock_was_set: false,
        }
    }

    fn judged(seen: &Seen) -> Report {
        let plan = Plan { connections: 100, rounds: 2, threads: 2, ..Plan::default() };
        report(&plan, &plan.split(50, 28_232).unwrap(), seen)
    }

    #[test]
    fn costs_and_rates_are_by_frame_and_by_connection() {
        let report = judged(&seen());
        let near = |value: f64, wanted: f64| (value / wanted - 1.0).abs() < 1e-3;
        assert_eq!((report.sends, report.pairs, report.threads), (200, 2, 1));
        assert!(near(report.send_cpu_us, 7.0) && near(report.receive_cpu_us, 3.0), "{report}");
        assert!(near(report.accept_cpu_us, 10.0) && near(report.connect_cpu_us, 20.0), "{report}");
        assert!(near(report.connects_per_second, 10_000.0), "{report}");
        // 2 ms of the first round and 4 ms of the second: the time between them does not count.
        assert!(near(report.sends_per_second, 200.0 / 0.006), "{report}");
        assert!(near(report.round_ms.max_ms, 4.0) && near(report.round_send_ms.max_ms, 2.0), "{report}");
        assert!(report.is_valid() && report.exit_code() == 0, "{:?}", report.invalid);
    }

    #[test]
    fn a_run_with_drops_losses_or_slow_readers_is_no_result() {
        let mut planted = [seen(), seen(), seen(), seen(), seen(), seen()];
        planted[0].kernel.retransmits = 3;
        planted[1].kernel.listen_overflows = 3;
        planted[2].kernel.softnet_drops = 3;
        planted[3].rounds[0].0.blocked = 3;
        planted[4].rounds[1].1.bytes -= 401;
        planted[5].clock_was_set = true;
        for (seen, said) in planted.iter().zip(["3 TCP", "3 conn", "3 pack", "3 sends", "3 of 200", "clock"])
        {
            let report = judged(seen);
            assert!(!report.is_valid() && report.exit_code() == 1, "{said}");
            assert!(report.invalid.len() == 1 && report.invalid[0].contains(said), "{:?}", report.invalid);
            assert!(report.to_string().contains("INVALID"), "{report}");
        }
    }
}
