//! The load tool as a whole, against small fakes that do one thing wrong each.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says where")]

mod agents;
mod any;
mod clients;
mod fake;
mod faults;
mod floor;
mod peers;
mod program;
mod reports;
mod stage;
mod targets;

use std::time::Duration;

use loadtest::{Mix, Plan};

use fake::{Fake, Fault};

/// A small, quick plan against a fake.
fn plan(fake: &Fake) -> Plan {
    Plan {
        clients: 60,
        gateways: fake.gateways.clone(),
        logics: fake.logics.clone(),
        rooms: 12,
        rooms_per_client: 3,
        rate: 400.0,
        duration: Duration::from_millis(500),
        mix: Mix { all: 10, room: 40, user: 20, client: 10, rooms: 20 },
        settle: Duration::ZERO,
        threads: 2,
        ..Plan::default()
    }
}

async fn report(fault: Fault, change: impl FnOnce(&mut Plan)) -> loadtest::Report {
    let fake = Fake::start(2, fault).await;
    let mut plan = plan(&fake);
    change(&mut plan);
    loadtest::run(plan).await.unwrap()
}
