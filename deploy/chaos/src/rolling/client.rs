//! A client of a rolling restart, as `tidegate.js` would do it: told its turn it goes then, told good-bye it goes at once
//! and comes back at a random moment; elsewhere it goes on behind the last item that it has.

mod session;

use std::sync::Arc;
use std::time::Duration;

use fastrand::Rng;
use tokio::time::sleep;

use super::crowd::{Crowd, Departure, How, count};
use session::Session;

/// Behind a good-bye or a loss, and behind a command that was put off, it tries again at a random time up to this, as the
/// library does,
const BACKOFF_MIN: Duration = Duration::from_secs(1);

/// and each attempt that comes to nothing doubles that up to this.
const BACKOFF_MAX: Duration = Duration::from_secs(8);

/// Between two looks whether any gateway is ready.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Runs for ever.
pub(super) async fn live(crowd: Arc<Crowd>, client: u32) {
    let mut rng = Rng::with_seed(crowd.plan.seed ^ (u64::from(client) << 32));
    let mut departure: Option<Departure> = None;
    let mut failures = 0;
    loop {
        let left = departure.as_ref().map(|departure| departure.gateway);
        let Some(gateway) = crowd.balancer.pick(&mut rng, left) else {
            sleep(LOOK_EVERY).await;
            continue;
        };
        match Box::pin(Session::open(&crowd, client, gateway)).await {
            Ok(session) => {
                failures = 0;
                let next = Box::pin(session.follow(&mut departure, &mut rng)).await;
                crowd.is_in(client, false);
                if next.how == How::Cut {
                    crowd.example(|| format!("client {client} lost gateway-{gateway} at step {}", next.step));
                }
                let how = next.how;
                if let Some(never_back) = departure.replace(next) {
                    crowd.departs(never_back);
                }
                if how != How::Turn {
                    sleep(backoff(0, &mut rng)).await;
                }
            }
            Err(_) => {
                // The balancer did not know yet.
                count(&crowd.counts.refused);
                sleep(backoff(failures, &mut rng)).await;
                failures += 1;
            }
        }
    }
}

/// When to try again after so many failures in a row.
fn backoff(failures: u32, rng: &mut Rng) -> Duration {
    BACKOFF_MAX.min(BACKOFF_MIN * (1 << failures.min(8))).mul_f64(rng.f64())
}
