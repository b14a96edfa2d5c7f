//! SIGHUP: what can change while a node runs does, what cannot is named, and what is wrong changes nothing.

use std::net::TcpStream;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::{self, Message, WebSocket};

use crate::cluster::{Node, cluster};
use crate::history::parsed;
use crate::process::{Running, http, tidegate};

const PATIENCE: Duration = Duration::from_secs(20);

/// A client that gives commands.
struct Client(WebSocket<TcpStream>);

impl Client {
    fn connect(address: &str) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let (socket, _) = tungstenite::client(format!("ws://{address}/ws"), stream).unwrap();
        let mut client = Self(socket);
        client.hear("hello");
        client
    }

    fn hear(&mut self, cmd: &str) -> Value {
        loop {
            if let Message::Text(text) = self.0.read().unwrap() {
                let message: Value = serde_json::from_str(&text).unwrap();
                if message["cmd"] == cmd {
                    return message;
                }
            }
        }
    }

    /// The response to joining a room.
    fn join(&mut self, room: &str) -> Value {
        let command = json!({"seq": "1", "cmd": "join", "data": {"room": room}});
        self.0.send(Message::text(command.to_string())).unwrap();
        self.hear("join")["response"].clone()
    }
}

/// A cluster in one process with this file, and where its API, its ops port and its clients' port are.
fn dev(text: &str, flags: &[&str]) -> (Running, tempfile::NamedTempFile, [String; 3]) {
    let file = tempfile::NamedTempFile::with_suffix(".toml").unwrap();
    std::fs::write(file.path(), text).unwrap();
    let config = ["dev", "--port-base", "0", "--gateways", "1", "--drain", "0s", "--config"];
    let args: Vec<&str> =
        config.into_iter().chain([file.path().to_str().unwrap()]).chain(flags.iter().copied()).collect();
    let mut dev = Running::start(&args);
    dev.line("READY");
    let addresses = [dev.after("API http://"), dev.after("ops http://"), dev.after("clients ws://")];
    let [api, ops, clients] = addresses.map(|address| address.trim_end_matches("/ws").to_owned());
    (dev, file, [api, ops, clients])
}

/// Writes the file anew, and waits for what the log says then.
fn reload(node: &mut Running, file: &Path, text: &str, said: &str) -> String {
    std::fs::write(file, text).unwrap();
    node.signal("HUP");
    node.line(said)
}

fn statusz(ops: &str) -> Value {
    parsed(&http(ops, "GET /statusz", ""))
}

#[test]
fn a_limit_that_is_lowered_keeps_newcomers_out_and_nobody_has_to_go() {
    let limit =
        |rooms: u32, bytes: &str| format!("[dev]\nrooms-per-client = {rooms}\ndata-bytes = {bytes:?}\n");
    let (mut dev, file, [api, ops, clients]) = dev(&limit(1, "1KiB"), &[]);
    let mut client = Client::connect(&clients);
    let push = |chars: usize| {
        let body = format!(r#"{{"to":{{"room":"a"}},"data":"{}"}}"#, "x".repeat(chars));
        http(&api, "POST /v1/push", &body)[9..12].to_owned()
    };
    assert_eq!((&client.join("a")["code"], &client.join("b")["code"]), (&json!(200), &json!(409)));
    assert_eq!(push(2_000), "413");
    let line = reload(&mut dev, file.path(), &limit(2, "4KiB"), "\"reloaded\"");
    assert!(line.contains("rooms-per-client: 1 -> 2") && line.contains("data-bytes: 1KiB -> 4KiB"), "{line}");
    assert_eq!(client.join("b")["code"], 200);
    assert_eq!(push(2_000), "202");
    reload(&mut dev, file.path(), &limit(1, "4KiB"), "\"reloaded\"");
    let refused = client.join("c");
    assert_eq!(refused["code"], 409, "{refused}");
    assert_eq!(parsed(&http(&api, "GET /v1/rooms/b", ""))["clients"], 1, "who is in a room stays");
    let status = statusz(&ops);
    assert_eq!(status["configuration"]["inForce"]["data-bytes"], "4KiB", "{}", status["configuration"]);
    assert_eq!(status["configuration"]["lastReload"]["outcome"], "changed");
    let metrics = http(&ops, "GET /metrics", "");
    let counted = ["logic_reloads_total{outcome=\"changed\"} 2", "logic_last_reload_timestamp_seconds 1"];
    assert!(counted.iter().all(|line| metrics.contains(line)), "{metrics}");
}

#[test]
fn a_file_with_a_fault_changes_nothing_and_says_where_it_is() {
    let (mut dev, file, [_, ops, clients]) = dev("[dev]\nrooms-per-client = 1\n", &[]);
    let mut client = Client::connect(&clients);
    assert_eq!(client.join("a")["code"], 200);
    for (text, said) in [
        ("[dev]\nrooms-per-client = 5\n\nrooms-per-clint = 5\n", ".toml:4: [dev]: unknown key"),
        ("[dev]\nrooms-per-client = 5\ndata-bytes = \"1TiB\"\n", ".toml:3: [dev]: invalid value '1TiB'"),
        ("[dev]\nrooms-per-client = 5\nsilence = \"10s\"\n", "--silence must be longer than --heartbeat"),
        ("[dev]\nrooms-per-client = 5\nlog = \"x=y=z\"\n", "log filter"),
        (
            "[dev]\nrooms-per-client = 5\n[[rooms]]\nmatch = \"a\"\n",
            ".toml:3: [[rooms]] 1: \\\"ttl\\\" is missing",
        ),
        ("[dev]\nrooms-per-client = \n", ".toml:2: "),
    ] {
        let line = reload(&mut dev, file.path(), text, "the configuration is refused");
        assert!(line.contains(said) && line.contains("ERROR"), "{said}: {line}");
        assert_eq!(client.join("b")["code"], 409, "{text}");
    }
    std::fs::remove_file(file.path()).unwrap();
    dev.signal("HUP");
    dev.line("No such file");
    let status = statusz(&ops);
    assert_eq!(status["configuration"]["lastReload"]["outcome"], "refused", "{status}");
    assert_eq!(status["configuration"]["inForce"]["rooms-per-client"], "1");
    assert!(http(&ops, "GET /metrics", "").contains("reloads_total{outcome=\"refused\"} 7"));
    let line = reload(&mut dev, file.path(), "[dev]\nrooms-per-client = 2\n", "\"reloaded\"");
    assert!(line.contains("1 -> 2"), "{line}");
    assert_eq!(client.join("b")["code"], 200);
}

#[test]
fn what_needs_a_restart_is_named_and_flags_go_before_the_file() {
    let (mut dev, file, [_, ops, clients]) = dev("[dev]\nwindow = \"1s\"\n", &["--rooms-per-client", "1"]);
    let text = "[dev]\nwindow = \"2s\"\nlisten-host = \"127.0.0.2\"\nrooms-per-client = 9\n";
    let line = reload(&mut dev, file.path(), text, "nothing that can change has changed");
    assert!(line.contains("\"over_the_file\":\"--rooms-per-client\""), "{line}");
    dev.line("listen-host: 127.0.0.1 -> 127.0.0.2 needs a restart; the old value stays");
    dev.line("window: 1s -> 2s needs a restart; the old value stays");
    let mut client = Client::connect(&clients);
    assert_eq!((&client.join("a")["code"], &client.join("b")["code"]), (&json!(200), &json!(409)));
    let status = statusz(&ops);
    let configuration = &status["configuration"];
    assert_eq!(configuration["lastReload"]["outcome"], "unchanged", "{configuration}");
    assert_eq!(configuration["lastReload"]["said"].as_array().unwrap().len(), 2, "{configuration}");
    assert_eq!(configuration["inForce"]["window"], "1s");
}

#[test]
fn the_log_changes_by_sighup() {
    let (mut dev, file, [_, ops, _]) = dev("[dev]\nlog = \"error\"\n", &[]);
    let line = reload(&mut dev, file.path(), "[dev]\nlog = \"info\"\n", "\"reloaded\"");
    assert!(line.contains("log: error -> info"), "{line}");
    // Its own line is the first that is missing then.
    std::fs::write(file.path(), "[dev]\nlog = \"error\"\n").unwrap();
    dev.signal("HUP");
    let until = Instant::now() + PATIENCE;
    while statusz(&ops)["configuration"]["inForce"]["log"] != "error" {
        assert!(Instant::now() < until, "{}", statusz(&ops)["configuration"]);
    }
    dev.catch_up();
    assert!(!dev.text().contains("info -> error"));
}

/// Asks again and again, since a rule takes its way over the link.
fn until_joined(node: &Node, room: &str, has_place: bool) {
    let until = Instant::now() + PATIENCE;
    loop {
        let joined = Client::connect(&node.main).join(room);
        if joined["data"]["epoch"].is_string() == has_place {
            return;
        }
        assert!(Instant::now() < until, "{joined}");
    }
}

#[test]
fn rules_come_and_go_while_clients_stay_and_links_stay() {
    let file = tempfile::NamedTempFile::with_suffix(".toml").unwrap();
    let rule = |history: u32| format!("[[rooms]]\nmatch = \"chat.*\"\nhistory = {history}\nttl = \"1h\"\n");
    let mut cluster = cluster().logic_flags(&["--config", file.path().to_str().unwrap()]).start();
    let push = |node: &Node, number: u32| {
        node.push(&format!(r#"{{"to":{{"room":"chat.1"}},"data":{number}}}"#)).1["rooms"][0]["offset"].clone()
    };
    let mut stays = Client::connect(&cluster.gateways[0].main);
    assert_eq!(stays.join("chat.1")["code"], 200);
    assert_eq!(push(&cluster.logics[0], 0), Value::Null);
    assert_eq!(stays.hear("push")["items"][0]["data"], 0);
    std::fs::write(file.path(), rule(2)).unwrap();
    cluster.logics[0].signal("HUP");
    let line = cluster.logics[0].line("\"reloaded\"");
    assert!(line.contains("other rules of histories: 1 for rooms, 0 for users"), "{line}");
    until_joined(&cluster.gateways[0], "chat.1", true);
    for number in 1..=3 {
        assert_eq!(push(&cluster.logics[0], number), number);
    }
    let mut heard = Vec::new();
    while heard.len() < 3 {
        let items = stays.hear("push")["items"].as_array().unwrap().clone();
        heard.extend(items.iter().map(|item| item["data"].clone()));
    }
    assert_eq!(heard, [1, 2, 3], "who was in the room before gets each once");
    let kept = cluster.logics[0].get("/v1/rooms/chat.1/history").1;
    assert_eq!(kept["items"].as_array().map(Vec::len), Some(2), "{kept}");
    std::fs::write(file.path(), "").unwrap();
    cluster.logics[0].signal("HUP");
    cluster.logics[0].line("other rules of histories: 0 for rooms");
    until_joined(&cluster.gateways[0], "chat.1", false);
    assert_eq!(push(&cluster.logics[0], 4), Value::Null);
    assert_eq!(stays.hear("push")["items"][0]["data"], 4);
    assert_eq!(cluster.logics[0].get("/v1/rooms/chat.1/history").0, 404);
    assert_eq!(cluster.gateways[0].output().matches("a link is up").count(), 1, "no link was opened again");
}

#[test]
fn a_supervisor_hears_of_a_reload() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let any = "127.0.0.1:0";
    let mut command = tidegate(&["logic", "--insecure", "--listen", any, "--ops", any, "--drain", "0s"]);
    command.env("NOTIFY_SOCKET", &path);
    let node = Running::start_command(command);
    let said = || {
        let mut bytes = [0; 256];
        let length = socket.recv(&mut bytes).unwrap();
        String::from_utf8_lossy(&bytes[..length]).into_owned()
    };
    assert!(said().starts_with("READY=1\n"));
    node.signal("HUP");
    assert!(said().starts_with("RELOADING=1\n"));
    assert!(said().starts_with("READY=1\n"));
}
