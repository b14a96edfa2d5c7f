//! What is to happen to the cluster at its time: said to whoever can make it happen.

use std::time::Duration;

use crate::plan::{Event, Events};

/// Announces events at their time, until `work` ends. Gives a note for each that could not be announced.
pub(super) async fn announce(events: &Events, work: impl Future<Output = ()>) -> Vec<String> {
    let Some(to) = &events.to else {
        work.await;
        return events
            .at
            .iter()
            .map(|(_, event)| format!("nobody was there to make {event:?} happen"))
            .collect();
    };
    let mut notes = Vec::new();
    let begun = tokio::time::Instant::now();
    let mut at: Vec<(Duration, Event)> = events.at.clone();
    at.sort_by_key(|(time, _)| *time);
    let announcing = async {
        for (time, event) in at {
            tokio::time::sleep_until(begun + time).await;
            if to.try_send(event).is_err() {
                notes.push(format!("nobody took {event:?}, at {:.1} s", time.as_secs_f64()));
            }
        }
        std::future::pending::<()>().await;
    };
    tokio::select! {
        () = work => {}
        () = announcing => {}
    }
    notes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn events_come_in_order_and_at_their_time() {
        let (to, mut heard) = tokio::sync::mpsc::channel(1);
        let secs = Duration::from_secs;
        let at = vec![
            (secs(5), Event::StartGateway(1)),
            (secs(2), Event::KillGateway(1)),
            (secs(3), Event::KillGateway(2)),
            (secs(90), Event::KillGateway(3)),
        ];
        let begun = tokio::time::Instant::now();
        let hear = async {
            tokio::time::sleep(secs(4)).await;
            let mut all = Vec::new();
            while let Some(event) = heard.recv().await {
                all.push((begun.elapsed().as_secs(), event));
            }
            all
        };
        let say = async {
            let events = Events { at, to: Some(to) };
            announce(&events, tokio::time::sleep(secs(10))).await
        };
        let (all, notes) = tokio::join!(hear, say);
        assert_eq!(all, [(4, Event::KillGateway(1)), (5, Event::StartGateway(1))]);
        assert_eq!(notes, ["nobody took KillGateway(2), at 3.0 s"]);
    }
}
