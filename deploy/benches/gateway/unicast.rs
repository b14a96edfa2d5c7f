//! One item to each user, pushed in batches: what a frame costs when each has its own, and items come together.
//!
//! The load tool pushes one item a call, and then each item wakes the gateway's link (the row *unicast*). Here
//! callers of their own push batches; that each user got all of his is seen in the gateway's counters, and that
//! nobody lost a connection by the load tool, whose clients these are.

use std::time::{Duration, Instant};

use loadtest::{KernelCounters, floor};

use crate::cpu::{self, Cost, Marks};
use crate::link;
use crate::load::{Generator, Load, Stage};
use crate::process::{Cluster, pause};
use crate::table::Row;
use crate::{Bench, Case};

const CLIENTS: u32 = 10_000;

/// Rounds of one item to each, a window apart.
const ITEMS_EACH: u32 = 6;
const WINDOW: Duration = Duration::from_millis(250);

/// Long enough for the idle cost, the rounds, and a machine that others use too.
const HOLD: Duration = Duration::from_secs(3);

fn run() -> Result<Cost, String> {
    let cluster = Cluster::start(&["--window", &humantime::format_duration(WINDOW).to_string()])?;
    let load = Load { rate: 0.0, settle: HOLD, shared: true, ..Load::on(&cluster, CLIENTS) };
    let mut generator = Generator::start(&load)?;
    generator.reached(Stage::Connected)?;
    pause(WINDOW);
    let gateway = &cluster.gateway;
    let (kernel, before) = (KernelCounters::now(), Marks::of(gateway)?);
    let (idle, since) = (gateway.cpu_us()?, Instant::now());
    pause(WINDOW * 2);
    let busy = gateway.cpu_us()?;
    let idle = (busy - idle) / since.elapsed().as_secs_f64();
    let begun = Instant::now();
    for round in 0..ITEMS_EACH {
        link::call_all(&cluster.logic.main, CLIENTS / link::BATCH, |item| {
            format!(r#"{{"user":"u{item}"}}"#)
        })?;
        pause((WINDOW * (round + 1)).saturating_sub(begun.elapsed()));
    }
    let wanted = f64::from(CLIENTS * ITEMS_EACH);
    while Marks::of(gateway)?.0[1] - before.0[1] < wanted {
        if begun.elapsed() > HOLD {
            return Err("items that were accepted did not reach their users".into());
        }
        pause(Duration::from_millis(20));
    }
    let (secs, gross) = (begun.elapsed().as_secs_f64(), gateway.cpu_us()? - busy);
    let mut faults = KernelCounters::now().since(kernel).faults();
    let after = Marks::of(gateway)?;
    let [frames, items, writes, bytes] = std::array::from_fn(|at| after.0[at] - before.0[at]);
    faults.extend(generator.outcome()?.faults());
    let net = gross - idle * secs;
    Ok(Cost { net: net / frames, gross: gross / frames, frames, items, writes, bytes, secs, faults })
}

fn rows(bench: &Bench) -> Result<Vec<Row>, String> {
    let mut rounds = Vec::new();
    for _ in 0..bench.few {
        let cost = run()?;
        let floor = floor::run(&cpu::like(&cost, CLIENTS)).map_err(|error| error.to_string())?;
        bench.say(&format!(
            "{CLIENTS} unicast in batches: {:.2} µs, floor {:.2}",
            cost.net, floor.send_cpu_us
        ));
        rounds.push((cost, floor));
    }
    Ok(vec![cpu::row("unicast in batches", CLIENTS, &rounds)])
}

/// The case of this file.
pub(crate) fn cases() -> Vec<Case> {
    vec![Case::new("cpu-10k-unicast-batches", false, rows)]
}
