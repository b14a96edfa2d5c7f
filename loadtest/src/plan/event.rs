//! What is to happen while a run goes, and who takes part in it from elsewhere.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::sync::mpsc::Sender;

/// What happens to the cluster. The run only says when: whoever started the cluster makes it happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// The gateway at this place among the plan's is killed.
    KillGateway(usize),
    /// It is started again.
    StartGateway(usize),
}

/// Events by their time since publishing began, and where they are announced.
#[derive(Debug, Clone, Default)]
pub struct Events {
    /// In any order.
    pub at: Vec<(Duration, Event)>,
    /// Takes each one at its time. An event that finds it full is not announced, and the report says so.
    pub to: Option<Sender<Event>>,
}

/// Agents on other machines.
#[derive(Debug, Clone)]
pub struct Remote {
    /// Where they join.
    pub listen: SocketAddr,
    /// How many of them the run waits for.
    pub agents: u32,
    /// What each of them must say.
    pub secret: String,
}
