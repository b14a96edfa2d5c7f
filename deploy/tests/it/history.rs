//! Histories through real processes: what is pushed while a client is away is there when it comes back.

use std::collections::VecDeque;
use std::io::Write;
use std::net::TcpStream;
use std::time::Duration;

use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::{self, Message, WebSocket};

use crate::cluster::{Cluster, cluster};
use crate::process::{Running, http, said, tidegate};

/// Far beyond what is needed.
const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) fn parsed(answer: &str) -> Value {
    let (_, body) = answer.split_once("\r\n\r\n").unwrap();
    serde_json::from_str(body).unwrap()
}

#[test]
fn dev_keeps_a_hundred_items_of_every_room_and_user() {
    let mut dev = Running::start(&["dev", "--port-base", "0", "--drain", "0s"]);
    dev.line("READY");
    let api = dev.after("API http://");
    let mut last = Value::Null;
    for number in 1..=120 {
        let body = format!(r#"{{"to":{{"room":"any"}},"data":{number}}}"#);
        last = parsed(&http(&api, "POST /v1/push", &body));
    }
    assert_eq!(last["rooms"][0]["offset"], 120, "{last}");
    let kept = parsed(&http(&api, "GET /v1/rooms/any/history?limit=1000", ""));
    assert_eq!((&kept["offset"], &kept["items"][0]["offset"]), (&json!(120), &json!(21)));
    let body = r#"{"to":{"users":["u","v"]},"data":{"n":1e400}}"#;
    let said = parsed(&http(&api, "POST /v1/push", body));
    assert_eq!((&said["users"][1]["user"], &said["users"][1]["offset"]), (&json!("v"), &json!(1)));
    let kept = http(&api, "GET /v1/users/u/history", "");
    assert!(kept.contains(r#""data":{"n":1e400}"#), "byte for byte: {kept}");
}

#[test]
fn rules_stand_in_the_file_and_are_checked_before_anything_starts() {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    let rules = "[[rooms]]\nmatch = \"chat.*\"\nhistory = 2\nttl = \"1h\"\n[[users]]\nmatch = \"*\"\nhistory = 1\nttl = \"1m\"\n";
    file.write_all(rules.as_bytes()).unwrap();
    let path = file.path().to_str().unwrap().to_owned();
    let path = path.as_str();
    let (code, _, err) = said(tidegate(&["check-config", path]));
    assert_eq!(code, 0, "{err}");
    let mut dev = Running::start(&["dev", "--port-base", "0", "--drain", "0s", "--config", path]);
    dev.line("READY");
    let api = dev.after("API http://");
    let pushed = |room: &str| {
        parsed(&http(&api, "POST /v1/push", &format!(r#"{{"to":{{"room":"{room}"}},"data":1}}"#)))
    };
    assert_eq!(pushed("chat.1")["rooms"][0]["offset"], 1);
    assert_eq!(pushed("news").get("rooms"), None);
    assert!(http(&api, "GET /v1/rooms/news/history", "").starts_with("HTTP/1.1 404 "));

    file.write_all(b"[[rooms]]\nmatch = \"x\"\nhistory = 0\nttl = \"1h\"\n[[rooms]]\nhistroy = 1\n").unwrap();
    let (code, _, err) = said(tidegate(&["check-config", path]));
    assert_eq!(code, 78, "{err}");
    for fault in
        ["[[rooms]] 2: \"history\" is a number", "[[rooms]] 3: unknown key \"histroy\"; did you mean"]
    {
        assert!(err.contains(fault), "{err}");
    }
}

/// A cluster that keeps a history of `chat.*` and of all users.
fn with_history(gateways: usize, window: &'static str) -> (Cluster, tempfile::NamedTempFile) {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    let rules = "[[rooms]]\nmatch = \"chat.*\"\nhistory = 1000\nttl = \"1h\"\n[[users]]\nmatch = \"*\"\nhistory = 100\nttl = \"1h\"\n";
    file.write_all(rules.as_bytes()).unwrap();
    let flags = ["--config", file.path().to_str().unwrap()];
    (cluster().gateways(gateways).window(window).logic_flags(&flags).start(), file)
}

/// A client that remembers where it is in one history, and checks everything that it is told.
pub(crate) struct Client {
    socket: WebSocket<TcpStream>,
    at: Option<(String, u64)>,
    pub(crate) resets: usize,
    replies: VecDeque<Value>,
}

impl Client {
    pub(crate) fn connect(address: &str, query: &str) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let (socket, _) = tungstenite::client(format!("ws://{address}/ws?{query}"), stream).unwrap();
        let mut client = Self { socket, at: None, resets: 0, replies: VecDeque::new() };
        let hello = client.hear();
        let begins = &hello["data"]["positions"][0];
        client.at = begins.is_object().then(|| place(begins));
        client
    }

    /// The same client on another connection.
    fn comes_back(self, address: &str) -> Self {
        Self { at: self.at, resets: self.resets, ..Self::connect(address, "") }
    }

    fn hear(&mut self) -> Value {
        loop {
            match self.socket.read().unwrap() {
                Message::Text(text) => return serde_json::from_str(&text).unwrap(),
                Message::Ping(_) | Message::Pong(_) => {}
                other => panic!("{other:?}"),
            }
        }
    }

    /// Takes one message.
    fn take(&mut self) {
        let message = self.hear();
        match message["cmd"].as_str().unwrap() {
            "push" => {
                for item in message["items"].as_array().unwrap() {
                    let (epoch, offset) = place(item);
                    let known = self.at.as_ref().unwrap_or_else(|| panic!("told no place before {item}"));
                    assert_eq!((&epoch, offset), (&known.0, known.1 + 1), "{item}");
                    assert_eq!(item["data"], offset, "what was pushed at that place");
                    self.at = Some((epoch, offset));
                }
            }
            "reset" => {
                self.resets += 1;
                self.at = Some(place(&message));
            }
            _ => self.replies.push_back(message),
        }
    }

    /// Takes messages until it is at this offset.
    pub(crate) fn until(&mut self, offset: u64) {
        while self.at.as_ref().is_none_or(|(_, at)| *at != offset) {
            self.take();
        }
    }

    /// Gives a command with its place, and takes messages until the reply has come.
    fn resume(&mut self, cmd: &str, (name, value): (&str, &str)) -> Value {
        let (epoch, offset) = self.at.clone().unwrap();
        let command =
            json!({"seq": "1", "cmd": cmd, "data": {name: value, "epoch": epoch, "offset": offset}});
        self.socket.send(Message::text(command.to_string())).unwrap();
        loop {
            if let Some(reply) = self.replies.pop_front() {
                assert_eq!(reply["response"]["code"], 200, "{reply}");
                return reply["response"]["data"].clone();
            }
            self.take();
        }
    }
}

fn place(of: &Value) -> (String, u64) {
    (of["epoch"].as_str().unwrap().to_owned(), of["offset"].as_u64().unwrap())
}

/// Pushes numbers that are their own offsets, as long as nothing else is pushed.
fn push(cluster: &Cluster, to: &str, numbers: std::ops::RangeInclusive<u64>) {
    push_to(&cluster.logics[0].main, to, numbers);
}

fn push_to(api: &str, to: &str, numbers: std::ops::RangeInclusive<u64>) {
    for number in numbers {
        let answer = http(api, "POST /v1/push", &format!(r#"{{"to":{to},"data":{number}}}"#));
        assert!(answer.starts_with("HTTP/1.1 202 "), "{answer}");
    }
}

#[test]
fn who_comes_back_gets_what_it_missed_once_and_in_order() {
    let (cluster, _file) = with_history(2, "50ms");
    let room = r#"{"room":"chat.1"}"#;
    let mut stays = Client::connect(&cluster.gateways[0].main, "room=chat.1");
    let mut away = Client::connect(&cluster.gateways[0].main, "room=chat.1");
    push(&cluster, room, 1..=10);
    away.until(10);
    let gone = away.at.clone();
    drop(away.socket.close(None));
    push(&cluster, room, 11..=300);
    // To another gateway, which has never held the room, while more is pushed.
    let mut back = away.comes_back(&cluster.gateways[1].main);
    assert_eq!(back.at, gone);
    let api = &cluster.logics[0].main;
    std::thread::scope(|scope| {
        scope.spawn(|| push_to(api, room, 301..=600));
        let data = back.resume("join", ("room", "chat.1"));
        assert_eq!(data["recovered"], true, "{data}");
        back.until(600);
    });
    stays.until(600);
    assert_eq!((stays.resets, back.resets), (0, 0));
}

#[test]
fn a_user_who_was_away_finds_what_was_pushed_to_him_on_each_device() {
    let (cluster, _file) = with_history(1, "50ms");
    let address = &cluster.gateways[0].main;
    let user = r#"{"user":"u"}"#;
    let mut devices = [0, 1].map(|_| Client::connect(address, "userId=u"));
    push(&cluster, user, 1..=3);
    devices.iter_mut().for_each(|device| device.until(3));
    let [mut one, two] = devices;
    drop(two.socket);
    push(&cluster, user, 4..=5);
    one.until(5);
    drop(one.socket);
    push(&cluster, user, 6..=7);
    for (at, resets) in [(two.at, two.resets), (one.at, one.resets)] {
        let mut device = Client { at, resets, ..Client::connect(address, "") };
        assert_eq!(device.resume("login", ("userId", "u"))["recovered"], true);
        device.until(7);
        assert_eq!(device.resets, 0);
    }
}

#[test]
fn a_gateway_that_is_killed_costs_its_clients_nothing() {
    let (mut cluster, _file) = with_history(2, "50ms");
    let room = r#"{"room":"chat.1"}"#;
    let mut clients: Vec<_> =
        (0..20).map(|_| Client::connect(&cluster.gateways[0].main, "room=chat.1")).collect();
    push(&cluster, room, 1..=20);
    clients.iter_mut().for_each(|client| client.until(20));
    push(&cluster, room, 21..=22);
    cluster.gateways[0].kill();
    push(&cluster, room, 23..=40);
    let mut back = Vec::new();
    for client in clients {
        let mut client = client.comes_back(&cluster.gateways[1].main);
        assert_eq!(client.resume("join", ("room", "chat.1"))["recovered"], true);
        client.until(40);
        assert_eq!(client.resets, 0);
        // They stay: a room that all have left is another room.
        back.push(client);
    }
    let reads = metric(&cluster.logics[0].ops, "tidegate_logic_history_reads_total");
    assert!(reads < 10, "one read serves all who want the same: {reads}");
}

pub(crate) fn metric(ops: &str, name: &str) -> u64 {
    let text = http(ops, "GET /metrics", "");
    let line = text.lines().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("{text}"));
    line.split(' ').next_back().unwrap().parse().unwrap()
}

#[test]
fn a_logic_node_that_has_forgotten_everything_resets_those_who_stayed_and_those_who_come_back() {
    let (mut cluster, _file) = with_history(1, "50ms");
    let room = r#"{"room":"chat.1"}"#;
    let mut stays = Client::connect(&cluster.gateways[0].main, "room=chat.1");
    let mut away = Client::connect(&cluster.gateways[0].main, "room=chat.1");
    push(&cluster, room, 1..=5);
    stays.until(5);
    away.until(5);
    drop(away.socket.close(None));
    cluster.logics[0].kill();
    cluster.logics[0].start();
    cluster.wait_for_linked(0, 1);
    let mut back = away.comes_back(&cluster.gateways[0].main);
    let data = back.resume("join", ("room", "chat.1"));
    assert_eq!((&data["recovered"], &data["offset"], back.resets), (&json!(false), &json!(0), 1));
    push(&cluster, room, 1..=3);
    stays.until(3);
    back.until(3);
    assert_eq!((stays.resets, back.resets), (1, 1));
}
