//! A storm of arrivals: 19,000 clients at once on one gateway, while others are connected and get pushes.

use std::time::Duration;

use loadtest::{KernelCounters, floor};

use crate::load::{Generator, Load, Stage};
use crate::process::Cluster;
use crate::table::{Bound, Row, median, number};
use crate::{Bench, Case};

const CLIENTS: u32 = 19_000;

/// Clients that were there before.
const RESIDENTS: u32 = 500;

/// Handshakes under way at once: below the backlog that kernels grant by default (4,096), for a connection that
/// overflows it waits a second, and the kernel would be measured.
const IN_FLIGHT: u32 = 1_024;

/// What one storm was like.
struct Storm {
    /// Greeted clients a second, and the floor's connects a second.
    rate: f64,
    floor: f64,
    /// p99 of the residents' urgent pushes, in ms.
    calm_p99: f64,
    storm_p99: f64,
    faults: Vec<String>,
}

fn storm() -> Result<Storm, String> {
    let cluster = Cluster::start(&[])?;
    let residents = Load {
        urgent_share: 1.0,
        rate: 2.0,
        publish: Duration::from_millis(1_500),
        settle: Duration::from_millis(300),
        ..Load::on(&cluster, RESIDENTS)
    };
    let calm = Generator::start(&residents)?.outcome()?;
    let mut there = Generator::start(&Load { publish: Duration::from_secs(3), ..residents })?;
    there.reached(Stage::Publishing)?;
    let kernel = KernelCounters::now();
    let arriving = Load {
        prefix: "storm-".into(),
        rate: 0.0,
        rooms: 1_000,
        settle: Duration::from_millis(100),
        connect_rate: 0,
        connects_in_flight: IN_FLIGHT,
        ..Load::on(&cluster, CLIENTS)
    };
    let mut arriving = Generator::start(&arriving)?;
    arriving.reached(Stage::Connected)?;
    let mut faults = KernelCounters::now().since(kernel).faults();
    let arrived = arriving.outcome()?;
    let there = there.outcome()?;
    for outcome in [&calm, &arrived, &there] {
        faults.extend(outcome.faults());
    }
    drop(cluster);
    let plan = floor::Plan { connections: CLIENTS, rounds: 1, ..floor::Plan::default() };
    let floor = floor::run(&plan).map_err(|error| error.to_string())?;
    Ok(Storm {
        rate: arrived.number("/ramp/connectsPerSec"),
        floor: floor.connects_per_second,
        calm_p99: calm.number("/latency/urgentTotal/p99Ms"),
        storm_p99: there.number("/latency/urgentTotal/p99Ms"),
        faults,
    })
}

fn rows(bench: &Bench) -> Result<Vec<Row>, String> {
    let mut storms = Vec::new();
    for _ in 0..if bench.full { bench.rounds } else { 2 } {
        let storm = storm()?;
        bench.say(&format!(
            "{} arrivals a second, floor {}; p99 {} ms, before {} ms",
            number(storm.rate),
            number(storm.floor),
            number(storm.storm_p99),
            number(storm.calm_p99)
        ));
        storms.push(storm);
    }
    let of = |figure: fn(&Storm) -> f64| median(storms.iter().map(figure));
    let faults: Vec<_> = storms.iter().flat_map(|storm| storm.faults.clone()).collect();
    let clients = number(f64::from(CLIENTS));
    Ok(vec![
        Row::ratio(
            format!("handshakes a second, {clients} clients at once, clients included"),
            Bound::AtLeast(0.5, 0.25),
            (of(|storm| storm.rate), of(|storm| storm.floor)),
            of(|storm| storm.rate / storm.floor),
            "/s",
        )
        .note(format!("{} under way at once; the floor: bare connects a second", number(IN_FLIGHT.into())))
        .faults(faults.clone()),
        Row::plain(
            format!("p99 of an urgent push to {RESIDENTS} others meanwhile"),
            // Beyond a window those connected would notice the storm.
            Bound::AtMost(500.0, 1_000.0),
            of(|storm| storm.storm_p99),
            "ms",
        )
        .note(format!(
            "{} ms before the storm; nothing lost. Target and limit: half a window, a window",
            number(of(|storm| storm.calm_p99))
        ))
        .faults(faults),
    ])
}

/// The case of this file.
pub(crate) fn cases() -> Vec<Case> {
    vec![Case::new("arrivals", false, rows)]
}
