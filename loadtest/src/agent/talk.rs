//! An agent's end of the connection: frames in, frames out, and the end of both.

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
        self.say.send(frames::message(said)).await.map_err(|_| "the coordinator is gone".to_owned())
    }

    /// What the coordinator says next.
    pub(super) async fn hear(&mut self) -> Result<Heard, String> {
        self.heard.recv().await.ok_or_else(|| "the coordinator is gone".to_owned())
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
    let listen = async {
        loop {
            let next = frames::read(&mut read);
            let silence = if may_be_silent { Duration::MAX } else { SILENCE_MAX };
            let frame = match tokio::time::timeout(silence, next).await {
                Ok(frame) => frame.map_err(|error| format!("the coordinator is gone: {error}"))?,
                Err(_) => return Err("the coordinator says nothing any more".to_owned()),
            };
            let heard = match frame {
                Frame::Message(body) => Heard::Order(frames::parse(&body)?),
                Frame::Ledger(part) => Heard::Ledger(part),
            };
            if give.send(heard).await.is_err() {
                // It has ended: what is still said concerns nobody.
                std::future::pending::<()>().await;
            }
        }
    };
    let work = async {
        let agent = agent(Talk { say, heard });
        let (ended, written) = tokio::join!(agent, frames::write_all(said, &mut write));
        ended.and(written.map_err(|error| format!("the coordinator is gone: {error}")))
    };
    tokio::select! {
        biased;
        ended = work => ended,
        ended = listen => ended,
    }
}
