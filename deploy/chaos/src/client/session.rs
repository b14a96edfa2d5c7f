//! One connection of a client, from the handshake to its end.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::Duration;

use fastrand::Rng;
use futures_util::{SinkExt, StreamExt};
use serde_json::json;
use serde_json::value::RawValue;
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{WebSocketStream, client_async};

use super::Client;
use crate::log::ClientLine;
use crate::wire::{Frame, Hello, Item, Place, Replied, Response};

/// A handshake and the hello come within this, or it is tried elsewhere.
const HELLO_TIME_MAX: Duration = Duration::from_secs(3);

/// A command is answered within this, or the connection counts as lost.
const REPLY_TIME_MAX: Duration = Duration::from_secs(4);

/// Without a sound for so long it asks whether the gateway is there,
const QUIET_TIME_MAX: Duration = Duration::from_secs(2);

/// and hears within this, or the connection counts as lost.
const PONG_TIME_MAX: Duration = Duration::from_secs(2);

/// What could not be done just now is tried again within this.
const AGAIN_TIME_MAX: Duration = Duration::from_millis(400);

/// How a session ended.
pub(super) struct Ended {
    pub(super) why: String,
    pub(super) was_greeted: bool,
    /// The client left by itself.
    pub(super) left: bool,
}

type Socket = WebSocketStream<TcpStream>;

/// Connects, joins and follows, until the connection is lost, or `stay` is over.
pub(super) async fn run(client: &Client, door: SocketAddr, mut rng: Rng, stay: Option<Duration>) -> Ended {
    let lost = |why: String| Ended { why, was_greeted: false, left: false };
    let asked = question(client, &mut rng);
    let connecting = async {
        let stream = TcpStream::connect(door).await.map_err(|why| why.to_string())?;
        // It matters to nobody but the times.
        _ = stream.set_nodelay(true);
        let url = format!("ws://{door}/ws?{}", asked.query);
        client_async(url, stream).await.map(|(socket, _)| socket).map_err(|why| why.to_string())
    };
    let socket = match timeout(HELLO_TIME_MAX, Box::pin(connecting)).await {
        Ok(Ok(socket)) => socket,
        Ok(Err(why)) => return lost(why),
        Err(_) => return lost("no answer to the handshake in time".to_owned()),
    };
    let mut session = Session {
        client,
        socket,
        rng,
        asked: asked.histories,
        seq: 0,
        pending: HashMap::new(),
        again: Vec::new(),
        heard: Instant::now(),
        pinged: None,
        is_greeted: false,
    };
    let leaves = stay.map(|stay| Instant::now() + stay);
    let (why, left) = session.follow(leaves).await;
    Ended { why, was_greeted: session.is_greeted, left }
}

/// What the handshake asks for.
struct Asked {
    query: String,
    /// Histories that it begins, without a place.
    histories: Vec<String>,
}

/// Whatever has no place yet may be asked for in the address, as browsers do; the rest is joined with its place.
fn question(client: &Client, rng: &mut Rng) -> Asked {
    let (world, number) = (&client.world, client.number);
    let mut query = format!("room={}", world.plain_room_of(number));
    let mut histories = Vec::new();
    for history in world.histories_of(number) {
        if client.progress.place(&history).is_some() || rng.bool() {
            continue;
        }
        match history.strip_prefix('@') {
            Some(user) => query.push_str(&format!("&userId={user}")),
            None => query.push_str(&format!("&room={history}")),
        }
        histories.push(history);
    }
    Asked { query, histories }
}

struct Session<'a> {
    client: &'a Client,
    socket: Socket,
    rng: Rng,
    asked: Vec<String>,
    seq: u64,
    /// Commands without reply: which history, and until when it is waited for.
    pending: HashMap<String, (String, Instant)>,
    /// Histories that are asked for again, and when.
    again: Vec<(Instant, String)>,
    heard: Instant,
    pinged: Option<Instant>,
    is_greeted: bool,
}

impl Session<'_> {
    /// Takes what comes until the connection ends; why it ended, and whether the client left by itself.
    async fn follow(&mut self, mut leaves: Option<Instant>) -> (String, bool) {
        loop {
            leaves = leaves.filter(|_| !self.client.restless.is_draining());
            let wake = self.wakes().min(leaves.unwrap_or_else(|| self.wakes()));
            tokio::select! {
                message = self.socket.next() => {
                    self.heard = Instant::now();
                    self.pinged = None;
                    let took = match message {
                        Some(Ok(Message::Text(text))) => self.take(&text).await,
                        Some(Ok(Message::Close(frame))) => {
                            Err(frame.map_or("closed".to_owned(), |frame| format!("closed {}: {}", frame.code, frame.reason)))
                        }
                        Some(Ok(_)) => Ok(()),
                        Some(Err(why)) => Err(why.to_string()),
                        None => Err("ended".to_owned()),
                    };
                    if let Err(why) = took { return (why, false) }
                }
                () = sleep_until(wake) => {
                    if leaves.is_some_and(|leaves| leaves <= Instant::now()) {
                        // Half of them say good-bye.
                        if self.rng.bool() { _ = timeout(AGAIN_TIME_MAX, self.socket.close(None)).await; }
                        return ("left".to_owned(), true);
                    }
                    if let Err(why) = self.on_time().await { return (why, false) }
                }
            }
        }
    }

    /// When there is something to do although nothing comes.
    fn wakes(&self) -> Instant {
        let silence = self.pinged.map_or(self.heard + QUIET_TIME_MAX, |at| at + PONG_TIME_MAX);
        let greeted = if self.is_greeted { silence } else { self.heard + HELLO_TIME_MAX };
        let replies = self.pending.values().map(|(_, until)| *until);
        let again = self.again.iter().map(|(at, _)| *at);
        replies.chain(again).chain([silence, greeted]).min().unwrap_or(silence)
    }

    async fn on_time(&mut self) -> Result<(), String> {
        let now = Instant::now();
        if !self.is_greeted && now >= self.heard + HELLO_TIME_MAX {
            return Err("no hello in time".to_owned());
        }
        if self.pending.values().any(|(_, until)| *until <= now) {
            return Err("no reply in time".to_owned());
        }
        match self.pinged {
            Some(at) if now >= at + PONG_TIME_MAX => return Err("the gateway is silent".to_owned()),
            None if now >= self.heard + QUIET_TIME_MAX => {
                self.pinged = Some(now);
                self.send("ping".to_owned()).await?;
            }
            _ => {}
        }
        let due: Vec<String> =
            self.again.iter().filter(|(at, _)| *at <= now).map(|(_, history)| history.clone()).collect();
        self.again.retain(|(at, _)| *at > now);
        for history in due {
            self.ask(&history).await?;
        }
        Ok(())
    }

    /// Joins a history, or logs in to it; from the last place seen on if there is one.
    async fn ask(&mut self, history: &str) -> Result<(), String> {
        self.seq += 1;
        let seq = self.seq.to_string();
        let (cmd, name, value) = match history.strip_prefix('@') {
            Some(user) => ("login", "userId", user),
            None => ("join", "room", history),
        };
        let mut data = json!({ name: value });
        if let Some(Place { epoch, offset }) = self.client.progress.place(history) {
            data["epoch"] = epoch.into();
            data["offset"] = offset.into();
        }
        let text = json!({"seq": seq, "cmd": cmd, "data": data}).to_string();
        if let Ok(sent) = serde_json::from_str::<&RawValue>(&text) {
            let t = self.client.clock.now();
            self.client.log.line(&ClientLine { t, sent: Some(sent), ..ClientLine::default() });
        }
        self.pending.insert(seq, (history.to_owned(), Instant::now() + REPLY_TIME_MAX));
        self.send(text).await
    }

    async fn send(&mut self, text: String) -> Result<(), String> {
        match timeout(REPLY_TIME_MAX, self.socket.send(Message::text(text))).await {
            Ok(sent) => sent.map_err(|why| why.to_string()),
            Err(_) => Err("it takes nothing".to_owned()),
        }
    }

    /// A history as logs name it: a client is of one user all its life.
    fn history(&self, room: Option<String>, is_inbox: bool) -> Option<String> {
        if is_inbox {
            self.client.world.user_of(self.client.number).map(|user| format!("@{user}"))
        } else {
            room
        }
    }

    /// Takes one text message.
    async fn take(&mut self, text: &str) -> Result<(), String> {
        if text == "pong" {
            return Ok(());
        }
        let t = self.client.clock.now();
        let Ok(frame) = serde_json::from_str::<Frame<'_>>(text) else {
            self.client.log.line(&ClientLine { t, garbage: Some(text.to_owned()), ..ClientLine::default() });
            return Ok(());
        };
        if let Ok(got) = serde_json::from_str::<&RawValue>(text) {
            self.client.log.line(&ClientLine { t, got: Some(got), ..ClientLine::default() });
        }
        if let (Some(seq), Some(response)) = (&frame.seq, frame.response) {
            self.answered(seq, response);
            return Ok(());
        }
        match frame.cmd.as_str() {
            "hello" => return self.greeted(frame.data).await,
            "push" => frame.items.iter().for_each(|item| self.deliver(item)),
            "reset" => {
                let history = self.history(frame.room, frame.user);
                if let (Some(history), Some(at)) = (history, Place::of(frame.epoch, frame.offset)) {
                    self.client.progress.moves(&history, at);
                }
            }
            _ => {}
        }
        Ok(())
    }

    async fn greeted(&mut self, hello: Option<&RawValue>) -> Result<(), String> {
        self.is_greeted = true;
        let hello: Hello = hello.and_then(|data| serde_json::from_str(data.get()).ok()).unwrap_or_default();
        for begin in hello.positions {
            let Some(history) = self.history(begin.room, begin.user) else { continue };
            if self.client.progress.place(&history).is_none() {
                self.client.progress.moves(&history, Place { epoch: begin.epoch, offset: begin.offset });
            }
        }
        for history in self.client.world.histories_of(self.client.number) {
            // Whoever was told no place asks for it.
            if self.asked.contains(&history) && self.client.progress.place(&history).is_some() {
                self.client.progress.joins(&history);
            } else {
                self.ask(&history).await?;
            }
        }
        Ok(())
    }

    fn answered(&mut self, seq: &str, response: Response) {
        let Some((history, _)) = self.pending.remove(seq) else { return };
        if response.code != 200 {
            let wait = AGAIN_TIME_MAX.mul_f64(0.2 + 0.8 * self.rng.f64());
            self.again.push((Instant::now() + wait, history));
            return;
        }
        let Replied { epoch, offset, .. } = response.data.unwrap_or_default();
        // After a recovery the items, maybe still on their way, say how far it is.
        if let (None, Some(at)) = (self.client.progress.place(&history), Place::of(epoch, offset)) {
            self.client.progress.moves(&history, at);
        }
        self.client.progress.joins(&history);
    }

    fn deliver(&self, item: &Item<'_>) {
        let history = self.history(item.room.clone(), item.user);
        let (Some(history), Some(at)) = (history, Place::of(item.epoch.clone(), item.offset)) else { return };
        let known = self.client.progress.place(&history);
        if known.is_none_or(|known| known.epoch != at.epoch || known.offset < at.offset) {
            self.client.progress.moves(&history, at);
        }
    }
}
