//! An agent's end of the connection: frames in, frames out, and the end of both.

use std::pin::pin;
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc;

use super::frames::{self, Frame};
use super::message::{Order, Said};

/// Frames that wait in each direction, at most: parts of the ledger are 147 KB each.
const FRAMES_MAX: usize = 8;

/// A coordinator on another machine that is not heard for so long is gone; an agent asks it for the time each second.
const SILENCE_MAX: Duration = Duration::from_secs(120);

/// When all is said, the coordinator closes in this time: it may wait for other agents.
const CLOSE_TIME_MAX: Duration = Duration::from_secs(600);

/// An agent that has lost its coordinator ends in this time.
const END_TIME_MAX: Duration = Duration::from_secs(10);

/// The error of an agent that has nobody to talk to; its connection knows better why.
const GONE: &str = "the coordinator is gone";

/// What comes from the coordinator.
#[derive(Debug)]
pub(super) enum Heard {
    Order(Order),
    Ledger(Vec<u8>),
}

/// What an agent talks through.
#[derive(Debug)]
pub(super) struct Talk {
    say: mpsc::Sender<Bytes>,
    pub(super) heard: mpsc::Receiver<Heard>,
}

impl Talk {
    /// Says something. Fails when the connection is gone.
    pub(super) async fn say(&self, said: &Said) -> Result<(), String> {
        self.say.send(frames::message(said)).await.map_err(|_| GONE.to_owned())
    }

    /// What the coordinator says next.
    pub(super) async fn hear(&mut self) -> Result<Heard, String> {
        self.heard.recv().await.ok_or_else(|| GONE.to_owned())
    }
}

/// Talks over a connection until `agent` ends or the connection does. What was said is written first.
pub(super) async fn talk<F: Future<Output = Result<(), String>>>(
    stream: impl AsyncRead + AsyncWrite,
    may_be_silent: bool,
    agent: impl FnOnce(Talk) -> F,
) -> Result<(), String> {
    let (mut read, mut write) = tokio::io::split(stream);
    let (say, said) = mpsc::channel(FRAMES_MAX);
    let (give, heard) = mpsc::channel(FRAMES_MAX);
    let mut listen = pin!(async move {
        loop {
            let next = frames::read(&mut read);
            let silence = if may_be_silent { Duration::MAX } else { SILENCE_MAX };
            let heard = match tokio::time::timeout(silence, next).await {
                Err(_) => return "the coordinator says nothing any more".to_owned(),
                Ok(Err(error)) => return format!("{GONE}: {error}"),
                Ok(Ok(Frame::Ledger(part))) => Heard::Ledger(part),
                Ok(Ok(Frame::Message(body))) => match frames::parse(&body) {
                    Ok(order) => Heard::Order(order),
                    Err(why) => return format!("the coordinator sent {why}"),
                },
            };
            // Once the agent has ended, what is still said concerns nobody.
            _ = give.send(heard).await;
        }
    });
    let mut work = pin!(async {
        let agent = agent(Talk { say, heard });
        let (ended, written) = tokio::join!(agent, frames::write_all(said, &mut write));
        ended.and(written.map_err(|error| format!("{GONE}: {error}")))
    });
    tokio::select! {
        biased;
        ended = &mut work => {
            // Closed with something unread, the connection would be reset, and the last words be lost.
            _ = tokio::time::timeout(CLOSE_TIME_MAX, listen).await;
            ended
        }
        // What was heard before is taken first: it may say why.
        why = &mut listen => match tokio::time::timeout(END_TIME_MAX, work).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(own)) if own != GONE => Err(own),
            _ => Err(why),
        },
    }
}
