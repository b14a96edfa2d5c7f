//! What a cluster needs for so many clients that get so many items each: a model, not a measurement.
//!
//! It multiplies costs that were measured (`model/constants.toml`, each with the command that measured it), and
//! finds which of CPU, memory, network and connections a gateway runs out of first. It says what it assumes, and
//! where it stops to hold. Pure arithmetic: the same question has the same answer.

mod constants;
mod reckon;
mod text;

use std::time::Duration;

use serde::Serialize;

pub use constants::{Constant, Constants};

use crate::plan::BadPlan;

/// What is asked. Built from [`Question::default`] by changing fields.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Question {
    /// Clients connected at once.
    pub clients: u64,
    /// Items that each client gets a second.
    pub items_per_second: f64,
    /// Bytes of an item's data.
    pub size: u64,
    /// Clients that one item reaches; 0: all of them.
    pub audience: u64,
    /// The merge window.
    pub window: Duration,
    /// Cores, memory (bytes) and network (bits a second) of a node.
    pub cores_per_node: f64,
    /// Bytes.
    pub memory_per_node: u64,
    /// Bits a second.
    pub network_per_node: f64,
    /// Connections that a gateway takes (`--max-connections`).
    pub connections_per_node: u64,
    /// Part of a node's CPU, memory and network that is planned with; the rest is for peaks and for a node that dies.
    pub used: f64,
}

impl Default for Question {
    fn default() -> Self {
        Self {
            clients: 1_000_000,
            items_per_second: 1.0,
            size: 200,
            audience: 0,
            window: Duration::from_secs(1),
            cores_per_node: 16.0,
            memory_per_node: 64 << 30,
            network_per_node: 25e9,
            connections_per_node: 1_000_000,
            used: 0.6,
        }
    }
}

impl Question {
    /// Checks the numbers.
    ///
    /// # Errors
    /// The first that makes no sense.
    pub fn check(&self) -> Result<(), BadPlan> {
        let positive = |value: f64| value.is_finite() && value > 0.0;
        let checks = [
            ((1..=100_000_000_000).contains(&self.clients), "clients: 1 to 100 billion"),
            (
                self.items_per_second.is_finite() && (0.0..=1e6).contains(&self.items_per_second),
                "items a second: 0 to a million",
            ),
            ((1..=65_536).contains(&self.size), "size of an item: 1 B to 64 KiB"),
            (self.audience <= self.clients, "an item cannot reach more clients than there are"),
            (self.window <= Duration::from_secs(60), "the window is at most 60 s"),
            (positive(self.cores_per_node), "cores of a node: more than none"),
            (self.memory_per_node >= 1 << 28, "memory of a node: at least 256 MiB"),
            (positive(self.network_per_node), "network of a node: more than none"),
            (self.connections_per_node >= 1, "connections of a node: at least one"),
            (self.used > 0.0 && self.used <= 1.0, "the part of a node that is used: above 0, at most 1"),
        ];
        match checks.into_iter().find(|(good, _)| !good) {
            Some((_, wrong)) => Err(BadPlan(wrong.into())),
            None => Ok(()),
        }
    }
}

/// What a gateway runs out of first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Bound {
    /// CPU time: frames, mostly.
    Cpu,
    /// Memory, the kernel's included.
    Memory,
    /// Bytes out.
    Network,
    /// The most connections that it takes.
    Connections,
}

/// What each client gets.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Stream {
    /// Frames a second.
    pub frames_per_second: f64,
    /// Items in one.
    pub items_per_frame: f64,
    /// Bytes of one, without what carries it.
    pub frame_bytes: f64,
    /// From one to the next, at the least the window.
    pub window_secs: f64,
}

/// A cluster of fewer gateways: the window widens by itself until frames fit.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Widened {
    /// Gateways.
    pub gateways: u64,
    /// Frames a second, all of them together.
    pub frames_per_second: f64,
    /// What each client gets then; none: not even the bytes fit.
    pub stream: Option<Stream>,
}

/// What is needed.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Answer {
    /// What was asked.
    pub question: Question,
    /// What each client gets.
    pub stream: Stream,
    /// Gateways.
    pub gateways: u64,
    /// Clients of each.
    pub clients_per_gateway: u64,
    /// What decides how many there are.
    pub bound: Bound,
    /// Cores that the gateways use, all together.
    pub gateway_cores: f64,
    /// Bytes of memory, all together, the kernel's included.
    pub gateway_memory: f64,
    /// Bits a second to clients, all together.
    pub client_bandwidth: f64,
    /// Pushes a second that backends make.
    pub pushes_per_second: f64,
    /// Logic nodes; two at the least, so that one may die.
    pub logic_nodes: u64,
    /// Cores that they use, all together.
    pub logic_cores: f64,
    /// Links between logic nodes and gateways.
    pub links: u64,
    /// Bits a second on links, all together.
    pub link_bandwidth: f64,
    /// Part of the one thread that takes what comes by links, at each gateway.
    pub link_thread: f64,
    /// The same with fewer gateways.
    pub fewer: Vec<Widened>,
    /// Where this answer should not be believed.
    pub doubts: Vec<String>,
    /// What it reckons with.
    pub constants: Constants,
}

impl Answer {
    /// The answer as JSON.
    ///
    /// # Panics
    /// Never: it is structs of numbers and text.
    #[must_use]
    pub fn json(&self) -> String {
        serde_json::to_string_pretty(self).expect("structs of numbers and text are JSON")
    }
}

/// Answers a question.
///
/// # Errors
/// Numbers that make no sense.
pub fn answer(question: &Question, constants: &Constants) -> Result<Answer, BadPlan> {
    question.check()?;
    Ok(reckon::answer(question, constants))
}
