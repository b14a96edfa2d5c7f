//! The machine that a figure was measured on: part of every figure that is quoted.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What a reader must know of the machine before a figure means anything.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Machine {
    /// Cores that this process may use.
    pub cores: usize,
    /// The processor, as it names itself.
    pub processor: String,
    /// Release of the kernel.
    pub kernel: String,
    /// Memory, in bytes.
    pub memory_bytes: u64,
}

impl Machine {
    /// This machine. What cannot be read is empty or 0.
    #[must_use]
    pub fn this() -> Self {
        let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        let field = |text: &str, name: &str| {
            let line = text.lines().find(|line| line.starts_with(name));
            line.and_then(|line| line.split_once(':'))
                .map_or(String::new(), |(_, value)| value.trim().to_owned())
        };
        let memory = field(&read("/proc/meminfo"), "MemTotal");
        let kib: u64 = memory.split(' ').next().and_then(|number| number.parse().ok()).unwrap_or(0);
        Self {
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            processor: field(&read("/proc/cpuinfo"), "model name"),
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            memory_bytes: kib * 1024,
        }
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { cores, processor, kernel, memory_bytes } = self;
        let gib = *memory_bytes as f64 / f64::from(1 << 30);
        write!(f, "{cores} cores of {processor}, {gib:.0} GiB, Linux {kernel}")
    }
}
