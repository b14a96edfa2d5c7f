//! How many processes, addresses and bytes a run takes on this machine, and whether there are so many.
//!
//! Pure: from what is asked and the [`Limits`], so that a test can plan for machines that it is not on. Everything that
//! is knowable before the start is found here, and not by the client that no longer fits.

mod needs;

use std::fmt;

use common::descriptors::RESERVED;
use serde::Serialize;

pub use crate::limits::finding::{Finding, Verdict};

use crate::limits::Limits;
use crate::limits::finding::{count, memory};
use crate::reactor::SOURCES_MAX;

/// Descriptors of a process where they cannot be read: the kernel's own default of the hard limit (`INR_OPEN_MAX`).
const DESCRIPTORS_USUAL: u64 = 4_096;

/// Of each process's descriptors one in so many stays free: a client that comes back is there before its old socket has
/// gone.
const SPARE_PART: u64 = 50;

/// A gateway takes no more, whatever its descriptors allow, unless it is told to.
const GATEWAY_CLIENTS_MAX: u64 = 1_000_000;

/// Local ports where they cannot be read: the kernel's default range, 32768 to 60999.
pub(crate) const PORTS_USUAL: u64 = 28_232;

/// What a run asks of the machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// Clients, all of them on this machine.
    pub clients: u32,
    /// Where the gateways are.
    pub gateways: Gateways,
    /// Processes that hold the clients, at least; 0: as few as the limits demand.
    pub agents: u32,
    /// Connections to logic nodes.
    pub publishers: u32,
    /// Connects under way at once, at most.
    pub connects_in_flight: u32,
}

/// Where the gateways of a run are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gateways {
    /// On this machine, started for the run: at least so many, and as many more as the limits demand.
    Here(u32),
    /// Somewhere, and so many; 0: as many as logic nodes will name.
    Elsewhere(u32),
}

/// The parts of a run on this machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Layout {
    /// Clients asked for.
    pub clients: u32,
    /// Whether the gateways are started here.
    pub local: bool,
    /// Gateways, here or elsewhere; 0: as many as logic nodes will name.
    pub gateways: u32,
    /// Clients of a gateway, at most.
    pub clients_per_gateway: u32,
    /// Processes that hold the clients.
    pub agents: u32,
    /// Clients of one of them, at most.
    pub clients_per_agent: u32,
    /// Source addresses 127.0.0.2 and up; 0: the operating system's choice suffices.
    pub source_addresses: u32,
    /// What it all takes.
    pub memory: Memory,
    /// Every limit that was looked at.
    pub findings: Vec<Finding>,
}

/// Memory of a run while clients are idle, in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Memory {
    /// The kernel's, for both ends of each connection that is here.
    pub kernel: u64,
    /// Gateways.
    pub gateways: u64,
    /// Processes that hold the clients.
    pub agents: u64,
}

impl Memory {
    /// All of it.
    #[must_use]
    pub fn total(self) -> u64 {
        self.kernel + self.gateways + self.agents
    }
}

impl Layout {
    /// Plans a run that fits.
    ///
    /// # Errors
    /// What does not suffice, each with what to change.
    pub fn plan(asked: &Asked, limits: &Limits) -> Result<Self, Vec<Finding>> {
        let layout = Self::draw(asked, limits);
        if layout.fits() {
            return Ok(layout);
        }
        Err(layout.findings.into_iter().filter(|finding| finding.verdict == Verdict::Fail).collect())
    }

    /// Plans a run whether it fits or not.
    #[must_use]
    pub fn draw(asked: &Asked, limits: &Limits) -> Self {
        let clients = u64::from(asked.clients);
        let a_process = clients_of_a_process(limits);
        let (local, gateways) = match asked.gateways {
            Gateways::Here(least) => {
                let demanded = clients.div_ceil(a_process.min(GATEWAY_CLIENTS_MAX));
                (true, demanded.max(u64::from(least)).max(1))
            }
            Gateways::Elsewhere(many) => (false, u64::from(many)),
        };
        let demanded = clients.div_ceil(a_process).max(1).max(u64::from(asked.agents));
        // One process knows all first receipts. Of many, each knows those of one gateway if they are as many.
        let is_paired = local && demanded > 1 && gateways >= demanded && gateways / 2 <= demanded;
        let agents = if is_paired { gateways } else { demanded };
        let narrow = |wide: u64| u32::try_from(wide).unwrap_or(u32::MAX);
        let ports = narrow(limits.ports.unwrap_or(PORTS_USUAL));
        let mut layout = Self {
            clients: asked.clients,
            local,
            gateways: narrow(gateways),
            clients_per_gateway: narrow(clients.div_ceil(gateways.max(1))),
            agents: narrow(agents),
            clients_per_agent: narrow(clients.div_ceil(agents)),
            source_addresses: sources(asked.clients, narrow(gateways), ports),
            memory: Memory::default(),
            findings: Vec::new(),
        };
        layout.memory = needs::memory(&layout);
        layout.findings = needs::findings(&layout, asked, limits);
        layout
    }

    /// Whether nothing would fail.
    #[must_use]
    pub fn fits(&self) -> bool {
        self.findings.iter().all(|finding| finding.verdict != Verdict::Fail)
    }

    /// How many clients would fit, if those asked for do not; 0: none.
    #[must_use]
    pub fn most(asked: &Asked, limits: &Limits) -> u32 {
        let fits = |clients| Self::draw(&Asked { clients, ..asked.clone() }, limits).fits();
        let (mut good, mut bad) = (0, asked.clients);
        if fits(bad) {
            return bad;
        }
        while bad - good > 1 {
            let middle = good + (bad - good) / 2;
            *(if fits(middle) { &mut good } else { &mut bad }) = middle;
        }
        good
    }
}

/// Clients that one process, of either end, may hold.
fn clients_of_a_process(limits: &Limits) -> u64 {
    let free = limits.descriptors.unwrap_or(DESCRIPTORS_USUAL).saturating_sub(RESERVED);
    (free - free / SPARE_PART).max(1)
}

/// How many source addresses clients should have; 0: one will do. The kernel looks for a local port among every other
/// one of the range first: when those are taken, a connect costs it 300 µs instead of 14.
fn sources(clients: u32, gateways: u32, ports: u32) -> u32 {
    let crowded = ports / 5 * 2;
    if clients / gateways.max(1) <= crowded {
        return 0;
    }
    // A port that is bound is taken for all destinations.
    clients.div_ceil(crowded.max(1)).min(SOURCES_MAX)
}

impl fmt::Display for Layout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let many = |number: u32, one: &str, many: &str| {
            format!("{} {}", count(number.into()), if number == 1 { one } else { many })
        };
        let clients = |most: u32| many(most, "client each at most", "clients each at most");
        writeln!(f, "the plan for {} connections:", count(self.clients.into()))?;
        let gateways = many(self.gateways, "process", "processes");
        let each = clients(self.clients_per_gateway);
        match (self.local, self.gateways) {
            (true, _) => writeln!(f, "  gateways  {gateways}, {each}")?,
            (false, 0) => writeln!(f, "  gateways  elsewhere, those that logic names")?,
            (false, many) => writeln!(f, "  gateways  {} elsewhere, {each}", count(many.into()))?,
        }
        let agents = many(self.agents, "process", "processes");
        writeln!(f, "  clients   {agents}, {}", clients(self.clients_per_agent))?;
        match self.source_addresses {
            0 => writeln!(f, "  sources   one address")?,
            sources => writeln!(f, "  sources   {sources} addresses, 127.0.0.2 and up")?,
        }
        let Memory { kernel, gateways, agents } = self.memory;
        let parts = [("kernel", kernel), ("gateways", gateways), ("clients", agents)];
        let parts: Vec<_> = parts.iter().map(|(name, bytes)| format!("{name} {}", memory(*bytes))).collect();
        write!(f, "  memory    {}: {}", memory(self.memory.total()), parts.join(", "))
    }
}

#[cfg(test)]
#[path = "layout/tests.rs"]
mod tests;
