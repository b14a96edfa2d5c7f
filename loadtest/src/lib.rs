//! Clients and publishers that verify every item at every client: an honest outsider of the cluster.
//!
//! [`run`] opens the clients of a [`Plan`] on event loops of its own (`reactor`: no task and no
//! buffer a client), in one process or in many ([`agent`]), publishes on an open schedule, and judges against a
//! ledger: what was accepted with
//! 202 must arrive at each client that should get it, once, in the order of the 202s of its stream, byte
//! for byte. The [`Report`] says what did not, and how long what did took.
//!
//! Nothing here knows how a node works inside; all it uses of `common` is the vocabulary that any client has.

mod account;
pub mod agent;
pub mod any;
mod clock;
pub mod cluster;
mod compare;
mod exact;
mod figure;
pub mod floor;
mod handshake;
mod inflate;
mod judge;
mod kernel;
mod latency;
pub mod layout;
mod ledger;
pub mod limits;
mod machine;
pub mod model;
mod payload;
pub mod peers;
mod plan;
mod probe;
mod progress;
mod publisher;
mod reactor;
mod report;
mod run;
mod scan;
mod schedule;
pub mod stage;
mod table;
mod target;
mod threshold;
mod timeline;
mod tracker;
mod wire;
mod world;

pub use account::{Cpu, Ended, Memory, Role, RoleUse, Usage, Watched};
pub use compare::{Change, Comparison, Row};
pub use figure::{Better, Figure, Unit};
pub use kernel::{KernelCounters, cpu_of};
pub use machine::Machine;
pub use plan::{BadPlan, Event, Events, Mix, Order, Plan, Remote, Verify};
pub use progress::{Phase, Progress};
pub use report::{
    AgentReport, ClosedLoop, Cost, Counts, FloorReport, Frames, GatewayReport, Generator, Kernel, Latencies,
    Lateness, LogicReport, Measured, Origin, Percentiles, PlanSummary, Pushes, Ramp, Rates, Report,
    RoleReport, SCHEMA, SlowReport, Verdict, Whole, floor_plan, growth,
};
pub use run::{Error, run, run_with};
pub use table::table;
pub use threshold::{Judged, Threshold};
pub use timeline::Point;
