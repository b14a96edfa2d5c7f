//! One connection of such a client, from the handshake until it leaves.

use std::sync::Arc;
use std::time::Duration;

use fastrand::Rng;
use futures_util::{SinkExt, StreamExt};
use serde::Deserialize;
use serde_json::json;
use serde_json::value::RawValue;
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::{WebSocketStream, client_async_with_config};

use super::super::crowd::{Crowd, Departure, How, count};
use super::super::plan::ROOMS_A_CLIENT;
use super::backoff;
use crate::wire::{Frame, Hello, Place, Response};
use crate::world::room;

/// A handshake with its hello, and the replies to commands, come within this, as in the library.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(10);

/// A good-bye is said so long at the most.
const GOOD_BYE_TIME_MAX: Duration = Duration::from_millis(200);

/// 4 KiB for each of ten thousand: tungstenite takes 128.
const BUFFER_BYTES: usize = 4 * 1024;

type Socket = WebSocketStream<TcpStream>;

/// What `reconnect` says.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Turn {
    after_ms: u64,
}

/// How a client is in a room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Joined {
    /// It asks for it at this moment.
    At(Instant),
    /// It was asked for, and the reply comes by this moment.
    Asked(Instant),
    In,
}

/// A connection that was greeted.
pub(super) struct Session<'a> {
    crowd: &'a Arc<Crowd>,
    client: u32,
    gateway: usize,
    socket: Socket,
    joined: [Joined; ROOMS_A_CLIENT],
    /// Commands that were put off, one after the other.
    put_off: u32,
    /// When it was told its turn, and when that is.
    turn: Option<(Instant, Instant)>,
}

impl<'a> Session<'a> {
    /// Connects and waits for the hello. Whoever was nowhere yet names its rooms in the address.
    pub(super) async fn open(crowd: &'a Arc<Crowd>, client: u32, gateway: usize) -> Result<Self, String> {
        let door = crowd.balancer.door(gateway);
        let rooms = crowd.plan.rooms_of(client);
        let asked: Vec<usize> = (0..ROOMS_A_CLIENT).filter(|at| crowd.place(client, *at).is_none()).collect();
        let query: Vec<String> = asked.iter().map(|at| format!("room={}", room(rooms[*at]))).collect();
        let opening = async {
            let stream = TcpStream::connect(door).await.map_err(|why| why.to_string())?;
            // It matters to nobody but the times.
            _ = stream.set_nodelay(true);
            let url = format!("ws://{door}/ws?{}", query.join("&"));
            let config = WebSocketConfig::default().read_buffer_size(BUFFER_BYTES);
            let opened = client_async_with_config(url, stream, Some(config)).await;
            let (mut socket, _) = opened.map_err(|why| why.to_string())?;
            let hello = hello(&mut socket).await?;
            Ok::<_, String>((socket, hello))
        };
        let (socket, hello) = timeout(ANSWER_TIME_MAX, Box::pin(opening))
            .await
            .map_err(|_| "no hello in time".to_owned())??;
        for begin in hello.positions {
            let at = rooms.iter().position(|number| Some(room(*number)) == begin.room);
            if let Some(at) = at {
                crowd.begins(client, at, Place { epoch: begin.epoch, offset: begin.offset });
            }
        }
        let mut joined = [Joined::At(Instant::now()); ROOMS_A_CLIENT];
        for at in asked.into_iter().filter(|at| crowd.place(client, *at).is_some()) {
            joined[at] = Joined::In;
        }
        Ok(Self { crowd, client, gateway, socket, joined, put_off: 0, turn: None })
    }

    /// Joins and follows until the client leaves. Once it is in all its rooms, the departure before is told.
    pub(super) async fn follow(mut self, before: &mut Option<Departure>, rng: &mut Rng) -> Departure {
        let how = loop {
            if let Err(how) = self.join().await {
                break how;
            }
            self.is_back(before);
            let wakes = self.wakes();
            tokio::select! {
                message = self.socket.next() => {
                    if let Err(how) = self.hears(message.and_then(Result::ok), rng) { break how }
                }
                () = sleep_until(wakes.unwrap_or_else(Instant::now)), if wakes.is_some() => {
                    let now = Instant::now();
                    if self.turn.is_some_and(|(_, turn)| turn <= now) { break How::Turn }
                    if self.joined.iter().any(|joined| matches!(joined, Joined::Asked(until) if *until <= now)) {
                        break How::Cut;
                    }
                }
            }
        };
        let left = Instant::now();
        if how == How::Turn {
            // The gateway may be gone already.
            _ = timeout(GOOD_BYE_TIME_MAX, self.socket.close(None)).await;
        }
        Departure {
            client: self.client,
            step: self.crowd.step(),
            gateway: self.gateway,
            how,
            told: self.turn.map(|(told, _)| told),
            left,
            back: None,
        }
    }

    /// It is in all its rooms, perhaps since now.
    fn is_back(&self, before: &mut Option<Departure>) {
        if self.joined == [Joined::In; ROOMS_A_CLIENT] {
            self.crowd.is_in(self.client, true);
            if let Some(mut departure) = before.take() {
                departure.back = Some(departure.left.elapsed());
                self.crowd.departs(departure);
            }
        }
    }

    /// When there is something to do although nothing comes.
    fn wakes(&self) -> Option<Instant> {
        let rooms = self.joined.iter().filter_map(|joined| match joined {
            Joined::At(at) | Joined::Asked(at) => Some(*at),
            Joined::In => None,
        });
        rooms.chain(self.turn.map(|(_, turn)| turn)).min()
    }

    /// Asks for the rooms whose time it is, from the last place seen on if there is one.
    async fn join(&mut self) -> Result<(), How> {
        let now = Instant::now();
        for at in 0..ROOMS_A_CLIENT {
            if !matches!(self.joined[at], Joined::At(when) if when <= now) {
                continue;
            }
            let mut data = json!({ "room": room(self.crowd.plan.rooms_of(self.client)[at]) });
            if let Some(Place { epoch, offset }) = self.crowd.place(self.client, at) {
                data["epoch"] = epoch.into();
                data["offset"] = offset.into();
            }
            let text = json!({"seq": at.to_string(), "cmd": "join", "data": data}).to_string();
            self.joined[at] = Joined::Asked(now + ANSWER_TIME_MAX);
            match timeout(ANSWER_TIME_MAX, self.socket.send(Message::text(text))).await {
                Ok(Ok(())) => {}
                // The reason, if it was told one, is to be read.
                Ok(Err(_)) => break,
                Err(_) => return Err(How::Cut),
            }
        }
        Ok(())
    }

    /// Takes what came; nothing: the connection broke.
    fn hears(&mut self, message: Option<Message>, rng: &mut Rng) -> Result<(), How> {
        match message {
            Some(Message::Text(text)) => self.reads(&text, rng),
            Some(Message::Close(Some(frame))) if frame.code == CloseCode::Restart => {
                return Err(How::GoodBye);
            }
            Some(Message::Close(frame)) => {
                self.crowd.example(|| format!("client {} was closed: {frame:?}", self.client));
                return Err(How::Cut);
            }
            Some(_) => {}
            None => return Err(How::Cut),
        }
        Ok(())
    }

    fn reads(&mut self, text: &str, rng: &mut Rng) {
        let counts = &self.crowd.counts;
        let Ok(frame) = serde_json::from_str::<Frame<'_>>(text) else {
            count(&counts.wrong);
            self.crowd.example(|| format!("client {} got {text:?}", self.client));
            return;
        };
        if let (Some(seq), Some(response)) = (&frame.seq, frame.response) {
            self.answered(seq, response, rng);
            return;
        }
        match frame.cmd.as_str() {
            "push" => frame.items.iter().for_each(|item| self.crowd.takes(self.client, item)),
            "reconnect" => self.is_told(frame.data),
            "gap" => count(&counts.gaps),
            "reset" => {
                let rooms = self.crowd.plan.rooms_of(self.client);
                let at = rooms.iter().position(|number| frame.room == Some(room(*number)));
                if let (Some(at), Some(place)) = (at, Place::of(frame.epoch, frame.offset)) {
                    self.crowd.resets(self.client, at, place);
                }
            }
            _ => {}
        }
    }

    /// It is told when its turn will be.
    fn is_told(&mut self, data: Option<&RawValue>) {
        let Some(Turn { after_ms }) = data.and_then(|data| serde_json::from_str(data.get()).ok()) else {
            count(&self.crowd.counts.wrong);
            return;
        };
        if !self.crowd.plan.is_deaf(self.client) {
            let now = Instant::now();
            self.turn = Some((now, now + Duration::from_millis(after_ms)));
        }
    }

    fn answered(&mut self, seq: &str, response: Response, rng: &mut Rng) {
        let Some(at) = seq.parse().ok().filter(|at: &usize| *at < ROOMS_A_CLIENT) else { return };
        if response.code != 200 {
            count(&self.crowd.counts.put_off);
            self.joined[at] = Joined::At(Instant::now() + backoff(self.put_off, rng));
            self.put_off += 1;
            return;
        }
        let replied = response.data.unwrap_or_default();
        if let Some(place) = Place::of(replied.epoch, replied.offset) {
            self.crowd.begins(self.client, at, place);
        }
        self.put_off = 0;
        self.joined[at] = Joined::In;
    }
}

/// The first message that is one.
async fn hello(socket: &mut Socket) -> Result<Hello, String> {
    loop {
        match socket.next().await {
            Some(Ok(Message::Text(text))) => {
                let frame: Frame<'_> = serde_json::from_str(&text).map_err(|why| why.to_string())?;
                let data = frame.data.filter(|_| frame.cmd == "hello").ok_or("no hello")?;
                return serde_json::from_str(data.get()).map_err(|why| why.to_string());
            }
            Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
            Some(Ok(other)) => return Err(format!("{other:?}")),
            Some(Err(why)) => return Err(why.to_string()),
            None => return Err("it ended".to_owned()),
        }
    }
}
