//! A cluster that starts without `--insecure`: a link secret, API keys, tokens, through the program alone.

use std::path::Path;
use std::process::Command;

use crate::process::{Running, http, run, said, tidegate};

const ANY: &str = "127.0.0.1:0";

/// Writes a file of secrets and gives its path.
fn write(folder: &Path, name: &str, text: &str) -> String {
    let path = folder.join(name);
    std::fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

/// A gateway and a logic node with these files, and where their clients and callers go.
struct Secured {
    _gateway: Running,
    logic: Running,
    clients: String,
    url: String,
}

fn start(link: &str, api: &str, token_key: &str) -> Secured {
    let ports =
        ["gateway", "--listen", ANY, "--ingress", ANY, "--ops", ANY, "--window", "100ms", "--drain", "0s"];
    let keys = ["--link-secret-file", link, "--token-key-file", token_key, "--open-room", "lobby"];
    let mut gateway = Running::start(&[&ports[..], &keys].concat());
    gateway.line("READY");
    let ingress = gateway.after("link         ");
    let clients = gateway.after("clients      ").trim_end_matches("/ws").to_owned();
    let ports = ["logic", "--listen", ANY, "--ops", ANY, "--gateway", &ingress, "--drain", "1s"];
    let keys = ["--link-secret-file", link, "--api-key-file", api];
    let mut logic = Running::start(&[&ports[..], &keys].concat());
    logic.line("READY");
    let url = logic.after("API          ").trim_end_matches('/').to_owned();
    Secured { _gateway: gateway, logic, clients, url }
}

#[test]
fn a_secured_cluster_pushes_from_a_key_to_a_token_and_says_no_to_others() {
    let folder = tempfile::tempdir().unwrap();
    let link = write(folder.path(), "link", "0123456789abcdef\n");
    let api = write(folder.path(), "api", "api-0123456789abcdef\n");
    let token_key = write(folder.path(), "token", "0123456789abcdef0123456789abcdef\n");
    let Secured { _gateway, mut logic, clients, url } = start(&link, &api, &token_key);
    let address = url.strip_prefix("http://").unwrap();

    let token =
        run(&["token", "--key-file", &token_key, "--user", "alice", "--room", "news.*", "--ttl", "60s"]);
    let token = String::from_utf8(token.stdout).unwrap();
    let tail = |rooms: &[&str], token: Option<&str>| -> Command {
        let mut command = tidegate(&["tail", "--url", &clients, "--count", "1"]);
        command
            .args(rooms.iter().flat_map(|room| ["--room", room]))
            .args(token.iter().flat_map(|token| ["--token", token]));
        command
    };
    let mut listens = Running::start_command(tail(&["news.eu", "lobby"], Some(token.trim())));
    listens.line("alice");
    for (command, words) in
        [(tail(&["lobby"], None), "a token is needed"), (tail(&["secret"], Some(token.trim())), "\"secret\"")]
    {
        let (code, out, err) = said(command);
        assert!(code != 0 && (out + &err).contains(words), "{words}: {err}");
    }

    let push = |key: Option<&str>| {
        let mut command = tidegate(&["push", "--url", &url, "--room", "news.eu", "--data", "{\"n\":1}"]);
        command.args(key.iter().flat_map(|key| ["--api-key-file", key]));
        said(command)
    };
    let (code, _, err) = push(None);
    assert!(code == 1 && err.contains("needs an API key"), "{code}: {err}");
    let (code, out, err) = push(Some(&api));
    assert!(code == 0 && out.contains("\"matched\":1"), "{code}: {out} {err}");
    listens.line("\"n\":1");
    let refused = http(address, "GET /v1/gateways HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", "");
    assert!(refused.starts_with("HTTP/1.1 401"), "{refused}");

    // Keys change under the running node.
    std::fs::write(folder.path().join("api"), "new-0123456789abcdef\n").unwrap();
    logic.signal("HUP");
    logic.line("read again");
    assert!(push(Some(&api)).0 == 0, "the file holds the new key by now");
    let old = write(folder.path(), "old", "api-0123456789abcdef\n");
    assert!(push(Some(&old)).2.contains("not known"));
    // A file that holds no key changes nothing.
    std::fs::write(folder.path().join("api"), "").unwrap();
    logic.signal("HUP");
    logic.line("stays in force");
}
