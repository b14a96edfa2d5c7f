//! `tidegate dev` from its start to its end, with the shell tools as its clients.

use crate::process::{Running, http, said, tidegate};

fn dev(more: &[&str]) -> Running {
    let args = [&["dev", "--port-base", "0"], more].concat();
    let mut dev = Running::start(&args);
    dev.line("READY");
    dev
}

/// A tail that the gateway has greeted.
fn tail(gateway: &str, more: &[&str]) -> Running {
    let url = format!("ws://{gateway}");
    let mut tail = Running::start(&[&["tail", "--url", &url], more].concat());
    tail.line("connected to");
    tail
}

fn push(api: &str, flags: &[&str]) -> (i32, serde_json::Value, String) {
    let url = format!("http://{api}");
    let (code, out, err) = said(tidegate(&[&["push", "--url", &url], flags].concat()));
    (code, serde_json::from_str(&out).unwrap_or_default(), err)
}

#[test]
fn a_push_reaches_tails_on_both_gateways_and_the_cluster_drains() {
    let mut dev = dev(&["--drain", "1s", "--window", "50ms"]);
    let api = dev.after("API http://");
    let gateways = [dev.after("gateway-1    clients ws://"), dev.after("gateway-2    clients ws://")];
    let gateways = gateways.map(|url| url.trim_end_matches("/ws").to_owned());
    let mut tails = gateways.each_ref().map(|gateway| tail(gateway, &["--room", "r1", "--count", "2"]));

    let data = r#"{"b":1,"a":18446744073709551616}"#;
    let (code, answer, err) =
        push(&api, &["--room", "r1", "--event", "e", "--data", data, "--wait", "written"]);
    assert_eq!(code, 0, "{err}");
    assert_eq!((&answer["matched"], &answer["written"]), (&2.into(), &2.into()), "{answer}");
    let answer = http(&api, "POST /v1/push", r#"{"to":{"room":"r1"},"data":"from curl"}"#);
    assert!(answer.starts_with("HTTP/1.1 202 "), "{answer}");

    for tail in &mut tails {
        let first = tail.line("\"room\":\"r1\"");
        assert!(first.contains(&format!(r#""data":{data}"#)), "byte for byte: {first}");
        assert!(tail.line("from curl").starts_with('{'));
        assert!(tail.ended().success(), "--count ends it");
    }

    dev.signal("TERM");
    dev.line("a second signal ends at once");
    assert_eq!(dev.ended().code(), Some(0), "{}", dev.text());
}

#[test]
fn limits_are_those_of_a_flag_a_variable_or_the_file_in_this_order() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("tidegate.toml");
    std::fs::write(&file, "[dev]\nrooms-per-client = 1\ndata-bytes = \"1KiB\"\nmax-rooms = 7\n").unwrap();
    let mut command =
        tidegate(&["dev", "--port-base", "0", "--data-bytes", "10B", "--config", file.to_str().unwrap()]);
    command.env("TIDEGATE_ROOMS_PER_CLIENT", "2");
    let mut dev = Running::start_command(command);
    dev.line("READY");
    let gateway = dev.after("gateway-1    clients ws://");
    let url = format!("ws://{}", gateway.trim_end_matches("/ws"));
    let mut listens = Running::start(&["tail", "--url", &url, "--room", "a", "--room", "b"]);
    listens.line("connected to");
    let (code, out, err) =
        said(tidegate(&["tail", "--url", &url, "--room", "a", "--room", "b", "--room", "c"]));
    assert!(code != 0 && (out + &err).contains("4503"), "{code} {err}");
    let api = dev.after("API http://");
    assert_eq!(push(&api, &["--all", "--data", "12345678"]).0, 0);
    let (code, _, err) = push(&api, &["--all", "--data", "12345678901"]);
    assert!(code == 1 && err.contains("413 "), "{code} {err}");
    let text = dev.text();
    let (_, behind) = text.split_once("gateway-1    clients").unwrap();
    let ops = behind.split("ops http://").nth(1).unwrap().lines().next().unwrap();
    let answer = http(ops, "GET /statusz", "");
    assert!(answer.contains("\"flag\":\"--max-rooms\",\"max\":7,"), "{answer}");
}

#[test]
fn the_second_signal_ends_at_once() {
    let mut dev = dev(&["--drain", "10m"]);
    let gateway = dev.after("gateway-1    clients ws://");
    // Two clients: over ten minutes, the second is told to leave after the first.
    let _tails = [0, 1].map(|_| tail(gateway.trim_end_matches("/ws"), &["--room", "r1"]));
    dev.signal("TERM");
    dev.line("a second signal ends at once");
    dev.signal("TERM");
    assert_eq!(dev.ended().code(), Some(143), "{}", dev.text());
}

#[test]
fn a_drain_told_to_tails_makes_them_come_again() {
    let mut dev = dev(&["--drain", "1s"]);
    let gateway = dev.after("gateway-1    clients ws://");
    let mut tail = tail(gateway.trim_end_matches("/ws"), &["--room", "r1"]);
    dev.signal("INT");
    assert_eq!(dev.ended().code(), Some(0), "{}", dev.text());
    assert!(tail.line("connecting again").contains("closed with 1012"));
}

#[test]
fn frames_tell_how_many_items_they_carried() {
    let dev = dev(&["--window", "400ms"]);
    let gateway = dev.after("gateway-1    clients ws://");
    let mut tail = tail(gateway.trim_end_matches("/ws"), &["--room", "r1", "--frames"]);
    let api = dev.after("API http://");
    let batch: Vec<_> = (0..10).map(|n| format!(r#"{{"to":{{"room":"r1"}},"data":{n}}}"#)).collect();
    let answer = http(&api, "POST /v1/push/batch", &format!("[{}]", batch.join(",")));
    assert!(answer.starts_with("HTTP/1.1 202 "), "{answer}");
    tail.line(r#"{"frame":{"items":10,"#);
    (0..10).for_each(|n| _ = tail.line(&format!("\"data\":{n}}}")));
}

#[test]
fn a_refused_push_says_what_is_wrong() {
    let dev = dev(&[]);
    let api = dev.after("API http://");
    let (code, _, err) = push(&api, &["--client", "nobody", "--data", "1"]);
    assert_eq!(code, 1, "{err}");
    assert!(err.contains("400 ") && err.contains("/to/client"), "{err}");
    let (code, answer, err) = push(&api, &["--all", "--data", "1", "--dry-run"]);
    assert_eq!((code, &answer["dryRun"]), (0, &true.into()), "{answer} {err}");
}

#[test]
fn an_insecure_node_says_so_and_a_cluster_of_processes_links_by_announcement() {
    let logic = ["logic", "--insecure", "--listen", "127.0.0.1:0", "--ops", "127.0.0.1:0"];
    let mut logic = Running::start(&logic);
    logic.line("READY");
    logic.line("INSECURE");
    let announce = format!("--announce=http://{}", logic.after("API          http://").trim_end_matches('/'));
    let any = "127.0.0.1:0";
    let args =
        ["gateway", "--insecure", "--listen", any, "--ingress", any, "--ops", any, &announce, "--name=g1"];
    let mut gateway = Running::start(&args);
    gateway.line("READY");
    gateway.line("announced");
    logic.line("linked");
    logic.signal("TERM");
    assert!(logic.ended().success());
    gateway.signal("TERM");
    assert!(gateway.ended().success());
}
