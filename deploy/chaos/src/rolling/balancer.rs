//! What stands before gateways: it asks each whether it is ready, and sends clients to those that are.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use fastrand::Rng;
use tokio::time::sleep;

use crate::http::Caller;

/// How often each gateway is asked.
const ASK_EVERY: Duration = Duration::from_millis(250);

/// The gateways, and which of them take clients.
#[derive(Debug)]
pub(super) struct Balancer {
    doors: Vec<SocketAddr>,
    ready: Vec<AtomicBool>,
}

impl Balancer {
    /// Before these gateways, which are ready.
    pub(super) fn new(doors: &[SocketAddr]) -> Self {
        Self { doors: doors.to_vec(), ready: doors.iter().map(|_| AtomicBool::new(true)).collect() }
    }

    /// Asks a gateway again and again.
    pub(super) async fn watch(&self, gateway: usize, ops: &Caller) {
        loop {
            let is_ready = ops.get("/readyz").await.is_ok_and(|answer| answer.status == 200);
            self.ready[gateway].store(is_ready, Ordering::Relaxed);
            sleep(ASK_EVERY).await;
        }
    }

    /// One that is ready, if possible another than `left`.
    pub(super) fn pick(&self, rng: &mut Rng, left: Option<usize>) -> Option<usize> {
        let is_ready = |gateway: &usize| self.ready[*gateway].load(Ordering::Relaxed);
        let ready: Vec<usize> = (0..self.doors.len()).filter(is_ready).collect();
        let others: Vec<usize> = ready.iter().copied().filter(|gateway| Some(*gateway) != left).collect();
        rng.choice(others).or_else(|| rng.choice(ready))
    }

    /// Where one is.
    pub(super) fn door(&self, gateway: usize) -> SocketAddr {
        self.doors[gateway]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_is_sent_to_one_that_is_not_ready_nor_back_where_it_came_from() {
        let doors = [1, 2, 3].map(|port| SocketAddr::from(([127, 0, 0, 1], port)));
        let (balancer, mut rng) = (Balancer::new(&doors), Rng::with_seed(1));
        balancer.ready[0].store(false, Ordering::Relaxed);
        assert!((0..100).all(|_| balancer.pick(&mut rng, Some(1)) == Some(2)));
        balancer.ready[2].store(false, Ordering::Relaxed);
        assert_eq!(balancer.pick(&mut rng, Some(1)), Some(1), "there is no other");
        balancer.ready[1].store(false, Ordering::Relaxed);
        assert_eq!(balancer.pick(&mut rng, None), None);
    }
}
