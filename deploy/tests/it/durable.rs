//! `--data-dir` with real processes: what was acknowledged outlives a kill, and a directory that cannot be used is
//! refused before anything starts.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rlimit::Resource;
use serde_json::json;

use crate::cluster::cluster;
use crate::history::{Client, parsed};
use crate::process::{Running, http, said, tidegate};

const PATIENCE: Duration = Duration::from_secs(30);

const RULES: &str = "[[rooms]]\nmatch = \"chat.*\"\nhistory = 1000\nttl = \"1h\"\n";

/// A call that may find nobody there; the whole answer, if one came.
fn try_push(api: &str, key: &str, body: &str) -> Option<String> {
    let mut stream = TcpStream::connect(api).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).ok()?;
    let request = format!(
        "POST /v1/push HTTP/1.1\r\nHost: {api}\r\nConnection: close\r\nContent-Type: application/json\r\n\
         Idempotency-Key: {key}\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    answer.contains("\r\n\r\n").then_some(answer)
}

/// Pushes numbers, each until it is taken: its offset is then the number itself, however often it was tried.
fn push_all(api: &str, room: &str, numbers: std::ops::RangeInclusive<u64>, taken: &AtomicU64) {
    for number in numbers {
        let body = format!(r#"{{"to":{{"room":"{room}"}},"data":{number}}}"#);
        let until = Instant::now() + PATIENCE;
        loop {
            let answer = try_push(api, &format!("{room}-{number}"), &body).unwrap_or_default();
            if answer.starts_with("HTTP/1.1 202 ") {
                assert_eq!(parsed(&answer)["rooms"][0]["offset"], number, "{answer}");
                break;
            }
            assert!(Instant::now() < until, "{room} {number}: {answer}");
            std::thread::yield_now();
        }
        taken.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn a_logic_node_that_is_killed_under_load_loses_nothing_and_resets_nobody() {
    const ITEMS: u64 = 400;
    let dir = tempfile::tempdir().unwrap();
    let rules = dir.path().join("rules.toml");
    fs::write(&rules, RULES).unwrap();
    let data = dir.path().join("data");
    let flags = ["--config", rules.to_str().unwrap(), "--data-dir", data.to_str().unwrap()];
    let mut cluster = cluster().gateways(2).window("20ms").logic_flags(&flags).start();
    let rooms = ["chat.1", "chat.2", "chat.3"];
    let mut clients: Vec<_> = (0..2)
        .flat_map(|gateway| rooms.map(|room| (gateway, room)))
        .map(|(gateway, room)| Client::connect(&cluster.gateways[gateway].main, &format!("room={room}")))
        .collect();
    let (api, taken) = (cluster.logics[0].main.clone(), AtomicU64::new(0));
    std::thread::scope(|scope| {
        for room in rooms {
            let (api, taken) = (&api, &taken);
            scope.spawn(move || push_all(api, room, 1..=ITEMS, taken));
        }
        for kill in 1..=4 {
            while taken.load(Ordering::Relaxed) < kill * 3 * ITEMS / 5 {
                std::thread::yield_now();
            }
            cluster.logics[0].kill();
            cluster.logics[0].start();
        }
    });
    for client in &mut clients {
        client.until(ITEMS);
        assert_eq!(client.resets, 0, "everything was there again");
    }
    let kept = parsed(&http(&api, "GET /v1/rooms/chat.1/history?limit=1000", ""));
    let items = kept["items"].as_array().unwrap();
    assert_eq!(items.len() as u64, ITEMS);
    assert!(items.iter().all(|item| item["offset"] == item["data"]), "{kept}");
}

#[test]
fn a_directory_that_cannot_be_used_is_refused_with_what_to_change() {
    let dir = tempfile::tempdir().unwrap();
    let any = ["--insecure", "--listen", "127.0.0.1:0", "--ops", "127.0.0.1:0"];
    let logic = |data: &std::path::Path| {
        [&["logic"], &any[..], &["--data-dir", data.to_str().unwrap()]].concat().join(" ")
    };
    let start = |data: &std::path::Path| said(tidegate(&logic(data).split(' ').collect::<Vec<_>>()));
    let data = dir.path().join("data");
    let mut running = Running::start(&logic(&data).split(' ').collect::<Vec<_>>());
    running.line("READY");
    let (code, _, err) = start(&data);
    assert_eq!(code, 69, "{err}");
    assert!(err.contains("another process uses it"), "{err}");
    drop(running);

    let file = dir.path().join("file");
    fs::write(&file, "x").unwrap();
    let garbage = dir.path().join("garbage");
    fs::create_dir(&garbage).unwrap();
    fs::write(garbage.join("histories.redb"), vec![b'x'; 100_000]).unwrap();
    // What a file system gives back that has lost the end.
    let cut = dir.path().join("cut");
    fs::create_dir(&cut).unwrap();
    let whole = fs::read(data.join("histories.redb")).unwrap();
    fs::write(cut.join("histories.redb"), &whole[..whole.len() / 2]).unwrap();
    let empty = dir.path().join("empty");
    fs::create_dir(&empty).unwrap();
    fs::write(empty.join("histories.redb"), "").unwrap();
    let nowhere = std::path::Path::new("/proc/nowhere");
    for (place, words) in [
        (&*file, "is no directory"),
        (&*garbage, "left as it is"),
        (&*cut, "left as it is"),
        (&*empty, "it is empty; it was left as it is"),
        (nowhere, "--data-dir"),
    ] {
        let (code, _, err) = start(place);
        assert_eq!(code, 78, "{}: {err}", place.display());
        assert!(err.contains(words) && !err.contains("panicked"), "{err}");
    }
    let config = dir.path().join("tidegate.toml");
    fs::write(&config, format!("[logic]\ninsecure = true\ndata-dir = {:?}\n", file.to_str().unwrap()))
        .unwrap();
    let (code, _, err) = said(tidegate(&["check-config", config.to_str().unwrap()]));
    assert_eq!(code, 78, "{err}");
    assert!(err.contains("is no directory"), "{err}");
}

#[test]
fn a_full_disk_is_answered_with_words_and_loses_nothing_that_was_acknowledged() {
    let dir = tempfile::tempdir().unwrap();
    let rules = dir.path().join("rules.toml");
    fs::write(&rules, RULES).unwrap();
    let data = dir.path().join("data");
    // A write past the limit of a file ends a process that does not ignore the signal; ignored, it fails as on a disk
    // that is full.
    let program = tidegate(&[]).get_program().to_str().unwrap().to_owned();
    let any = "127.0.0.1:0";
    let script = format!(
        "trap '' XFSZ; exec {program} logic --insecure --listen {any} --ops {any} --config {} --data-dir {}",
        rules.display(),
        data.display()
    );
    let start = || {
        let mut command = Command::new("sh");
        command.args(["-c", &script]);
        let mut logic = Running::start_command(command);
        logic.line("READY");
        let api = logic.after("API          http://").trim_end_matches('/').to_owned();
        let ops = logic.after("ops          http://").trim_end_matches("/statusz").to_owned();
        (logic, api, ops)
    };
    let (logic, api, ops) = start();
    let pid = i32::try_from(logic.pid()).unwrap();
    let limit = |soft: u64| rlimit::prlimit(pid, Resource::FSIZE, Some((soft, u64::MAX)), None).unwrap();
    limit(fs::metadata(data.join("histories.redb")).unwrap().len());
    let large = "x".repeat(20_000);
    let call = |body: &str| {
        let answer = http(&api, "POST /v1/push", body);
        (answer[9..12].to_owned(), parsed(&answer))
    };
    let push = |number: u64| call(&format!(r#"{{"to":{{"room":"chat.1"}},"data":[{number},"{large}"]}}"#));
    let mut taken = 0;
    let refused = loop {
        let (status, answer) = push(taken + 1);
        if status != "202" {
            assert_eq!(status, "503", "{answer}");
            break answer;
        }
        taken += 1;
        assert!(taken < 1_000);
    };
    assert_eq!((&refused["code"], &refused["retryable"]), (&json!("engine_unavailable"), &json!(true)));
    assert!(refused["detail"].as_str().unwrap().contains("the disk is full"), "{refused}");
    let ready = http(&ops, "GET /readyz", "");
    assert!(ready.starts_with("HTTP/1.1 503 ") && ready.contains("engine: the disk is full"), "{ready}");
    let (_, plain) = call(r#"{"to":{"room":"plain"},"data":1}"#);
    assert_eq!(plain["code"], "no_gateway", "plain rooms have nothing to do with it: {plain}");
    limit(u64::MAX);
    let until = Instant::now() + PATIENCE;
    let answer = loop {
        let (status, answer) = push(taken + 1);
        if status == "202" {
            break answer;
        }
        assert!(Instant::now() < until, "{answer}");
    };
    let last = answer["rooms"][0]["offset"].as_u64().unwrap();
    drop(logic);
    let (_logic, api, _) = start();
    let mut offsets = Vec::new();
    while offsets.last() != Some(&last) {
        let since = offsets.last().copied().unwrap_or(0);
        let kept = parsed(&http(&api, &format!("GET /v1/rooms/chat.1/history?limit=1000&since={since}"), ""));
        assert_eq!(kept["offset"], last, "{kept}");
        offsets.extend(kept["items"].as_array().unwrap().iter().map(|item| item["offset"].as_u64().unwrap()));
    }
    assert_eq!(offsets, (1..=last).collect::<Vec<_>>());
    assert!(last > taken, "{last} after {taken}");
}
