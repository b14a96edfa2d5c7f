//! What a measurement found.

use std::fmt;

use serde::Serialize;

use crate::kernel::Kernel;
use crate::report::Percentiles;

/// What a measurement found. CPU time and memory are the server's, 0 when its processes are not known.
#[derive(Debug, Clone, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Measured {
    /// Clients.
    pub clients: u32,
    /// Items that were to be published.
    pub publishes: u32,
    /// Those that the server took.
    pub accepted: u32,
    /// Bytes of an item.
    pub size: usize,
    /// From one publish to the next.
    pub every_ms: u64,
    /// Items taken, times clients.
    pub expected: u64,
    /// Items at clients, each once.
    pub delivered: u64,
    /// Taken, and not at a client.
    pub lost: u64,
    /// At a client more than once.
    pub duplicated: u64,
    /// At a client after a later one.
    pub reordered: u64,
    /// Not as they were published.
    pub corrupted: u64,
    /// Messages that carried items.
    pub frames: u64,
    /// Bytes of these messages.
    pub frame_bytes: u64,
    /// Clients whose connection was lost.
    pub disconnects: u64,
    /// From the first connect until all were subscribed.
    pub connect_secs: f64,
    /// From an item's intended time to its receipt.
    pub latency: Percentiles,
    /// Processes of the server.
    pub processes: usize,
    /// CPU time of the server from the first publish until all was delivered.
    pub server_cpu_secs: f64,
    /// The same a message that was delivered, µs.
    pub cpu_us_per_frame: f64,
    /// The same an item that was delivered, µs.
    pub cpu_us_per_item: f64,
    /// Memory of the server without clients, in bytes.
    pub memory_bytes: u64,
    /// Memory a client that has not been sent anything: (with − without) ÷ clients, in bytes.
    pub memory_per_client_idle: f64,
    /// The same after the last item.
    pub memory_per_client_after: f64,
    /// CPU time of this tool meanwhile, a message, µs.
    pub reader_cpu_us_per_frame: f64,
    /// Part of the machine's cores that both used together, from the first publish until all was delivered.
    pub machine_busy: f64,
    /// What the kernel dropped meanwhile.
    pub kernel: Kernel,
    /// The first few things that went wrong.
    pub examples: Vec<String>,
}

impl Measured {
    /// What was lost, doubled, disordered, changed or refused; empty: nothing was.
    #[must_use]
    pub fn faults(&self) -> Vec<String> {
        let refused = u64::from(self.publishes - self.accepted);
        let counts = [
            (refused, "publishes refused"),
            (self.lost, "lost"),
            (self.duplicated, "duplicated"),
            (self.reordered, "reordered"),
            (self.corrupted, "corrupted"),
            (self.disconnects, "clients lost"),
        ];
        counts.iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!("{count} {what}")).collect()
    }

    /// The report as JSON.
    ///
    /// # Panics
    /// Never: it is structs of numbers and text.
    #[must_use]
    pub fn json(&self) -> String {
        serde_json::to_string_pretty(self).expect("structs of numbers and text are JSON")
    }
}

impl fmt::Display for Measured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { clients, publishes, accepted, size, every_ms, connect_secs, .. } = self;
        writeln!(
            f,
            "load      {clients} clients in {connect_secs:.1} s; {publishes} publishes of {size} B every {every_ms} ms, {accepted} taken"
        )?;
        let per_frame = self.delivered as f64 / self.frames.max(1) as f64;
        writeln!(
            f,
            "items     {} of {} delivered, in {} messages ({per_frame:.2} a message)",
            self.delivered, self.expected, self.frames
        )?;
        let Percentiles { p50_ms, p90_ms, p99_ms, max_ms, .. } = self.latency;
        writeln!(
            f,
            "latency   p50 {p50_ms:.1} ms, p90 {p90_ms:.1}, p99 {p99_ms:.1}, max {max_ms:.1} (from the intended time)"
        )?;
        if self.processes > 0 {
            writeln!(
                f,
                "server    {} processes: {:.2} µs of CPU a message, {:.2} an item; {:.2} KiB a client idle, {:.2} after",
                self.processes,
                self.cpu_us_per_frame,
                self.cpu_us_per_item,
                self.memory_per_client_idle / 1024.0,
                self.memory_per_client_after / 1024.0
            )?;
        }
        let busy = self.machine_busy * 100.0;
        writeln!(
            f,
            "generator {:.2} µs of CPU a message; both kept this machine {busy:.0} % busy",
            self.reader_cpu_us_per_frame
        )?;
        for fault in self.kernel.faults() {
            writeln!(f, "INVALID   {fault}")?;
        }
        match self.faults() {
            faults if faults.is_empty() => {
                writeln!(f, "PASS: every item at every client, once, in order, whole")?
            }
            faults => writeln!(f, "FAIL: {}", faults.join(", "))?,
        }
        self.examples.iter().try_for_each(|example| writeln!(f, "  {example}"))
    }
}
