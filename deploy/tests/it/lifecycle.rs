//! Descriptors, drains, and what a frame carries, with real processes.

use std::io::Write;
use std::net::TcpStream;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::process::Command;
use std::time::{Duration, Instant};

use crate::cluster::{Discovery, cluster};
use crate::process::{Running, http, tidegate};

fn ticks(pid: u32) -> u64 {
    // utime and stime, in clock ticks (proc_pid_stat(5), fields 14 and 15).
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}

#[test]
fn a_gateway_out_of_descriptors_does_not_spin_and_recovers() {
    let any = "127.0.0.1:0";
    let mut command = Command::new("sh");
    let program = tidegate(&[]).get_program().to_str().unwrap().to_owned();
    let script = format!(
        "ulimit -n 64; exec {program} gateway --insecure --listen {any} --ingress {any} --ops {any} --max-connections 1000"
    );
    command.args(["-c", &script]);
    let mut gateway = Running::start_command(command);
    gateway.line("READY");
    let clients = gateway.after("clients      ws://");
    let clients = clients.trim_end_matches("/ws").to_owned();
    let mut held: Vec<TcpStream> = (0..100).map(|_| TcpStream::connect(&clients).unwrap()).collect();
    gateway.line("out of descriptors");
    let (before, began) = (ticks(gateway.pid()), Instant::now());
    std::thread::park_timeout(Duration::from_millis(1500));
    let used = Duration::from_millis(10 * (ticks(gateway.pid()) - before));
    assert!(used < began.elapsed() / 5, "waiting for descriptors used {used:?} of {:?}", began.elapsed());
    held.clear();
    let url = format!("ws://{clients}");
    let mut tail = Running::start(&["tail", "--url", &url, "--room", "r"]);
    tail.line("connected to");
}

#[test]
fn a_supervisor_is_told_that_a_node_is_ready_lives_and_ends() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("notify");
    let any = "127.0.0.1:0";
    let abstract_name = format!("@tidegate-test-{}", std::process::id());
    let by_path = UnixDatagram::bind(&path).unwrap();
    let by_name = SocketAddr::from_abstract_name(&abstract_name[1..]).unwrap();
    let by_name = UnixDatagram::bind_addr(&by_name).unwrap();
    for (socket, name) in [(by_path, path.to_str().unwrap()), (by_name, &*abstract_name)] {
        socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let mut command = tidegate(&["logic", "--insecure", "--listen", any, "--ops", any, "--drain", "0s"]);
        command.env("NOTIFY_SOCKET", name).env("WATCHDOG_USEC", "90000");
        let mut node = Running::start_command(command);
        let said = || {
            let mut bytes = [0; 256];
            let length = socket.recv(&mut bytes).unwrap();
            String::from_utf8_lossy(&bytes[..length]).into_owned()
        };
        let mut heard = vec![said()];
        while heard.iter().filter(|said| *said == "WATCHDOG=1").count() < 3 {
            heard.push(said());
        }
        assert!(heard.iter().any(|said| said.starts_with("READY=1\n")), "{heard:?}");
        node.signal("TERM");
        while !heard.last().unwrap().starts_with("STOPPING=1") {
            heard.push(said());
        }
        assert!(node.ended().success());
    }
}

#[test]
fn ten_pushes_of_one_window_are_one_frame_at_clients_of_both_gateways() {
    let cluster = cluster().gateways(2).window("1s").start();
    let mut tails = [0, 1].map(|gateway: usize| {
        let url = cluster.gateways[gateway].ws();
        let mut tail = Running::start(&["tail", "--url", &url, "--room", "r", "--frames"]);
        tail.line("connected to");
        tail
    });
    for n in 0..10 {
        let (status, answer) = cluster.logics[0].push(&format!(r#"{{"to":{{"room":"r"}},"data":{n}}}"#));
        assert_eq!((status, &answer["matched"]), (202, &2.into()), "{answer}");
    }
    for tail in &mut tails {
        tail.line(r#"{"frame":{"items":10,"#);
    }
}

#[test]
fn a_drain_sends_what_was_accepted_before_it_says_good_bye() {
    let mut cluster = cluster().window("30s").start();
    let url = cluster.gateways[0].ws();
    let mut tail = Running::start(&["tail", "--url", &url, "--room", "r"]);
    tail.line("connected to");
    assert_eq!(cluster.logics[0].push(r#"{"to":{"room":"r"},"data":"kept"}"#).0, 202);
    cluster.gateways[0].signal("TERM");
    tail.line("kept");
    // What is read and what is remarked come on two outputs, in any order.
    if !tail.text().contains("1012") {
        tail.line("1012");
    }
    assert_eq!(cluster.gateways[0].ended(), Some(0));
}

#[test]
fn readiness_follows_the_links() {
    let mut cluster = cluster().start();
    let ready = |address: &str| http(address, "GET /readyz", "").starts_with("HTTP/1.1 200 ");
    assert!(ready(&cluster.logics[0].ops) && ready(&cluster.gateways[0].ops));
    cluster.gateways[0].kill();
    cluster.wait_for_linked(0, 0);
    assert!(!ready(&cluster.logics[0].ops), "no gateway is linked");
    let answer = http(&cluster.logics[0].ops, "GET /healthz", "");
    assert!(answer.starts_with("HTTP/1.1 200 "), "alive all the same: {answer}");
}

#[test]
fn a_drain_longer_than_a_lease_keeps_its_link_to_the_end() {
    let mut cluster = cluster().found_by(Discovery::Announce).drain("12s").start();
    let address = &cluster.gateways[0].main;
    // Sixty clients: over twelve seconds, five are told each second.
    let held: Vec<TcpStream> = (0..60)
        .map(|_| {
            let mut stream = TcpStream::connect(address).unwrap();
            let head = "GET /ws?room=r HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                        Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
            stream.write_all(head.as_bytes()).unwrap();
            stream
        })
        .collect();
    let clients =
        |cluster: &crate::cluster::Cluster| cluster.gateways[0].statusz()["clients"].as_u64().unwrap();
    while clients(&cluster) < 60 {
        std::thread::yield_now();
    }
    cluster.gateways[0].signal("TERM");
    let began = Instant::now();
    while began.elapsed() < Duration::from_millis(11_000) {
        let (status, answer) = cluster.logics[0].push(r#"{"to":{"room":"r"},"data":1}"#);
        assert_eq!(
            (status, &answer["gateways"]["accepted"]),
            (202, &1.into()),
            "{:?}: {answer}",
            began.elapsed()
        );
        std::thread::park_timeout(Duration::from_millis(100));
    }
    drop(held);
    assert_eq!(cluster.gateways[0].ended(), Some(0));
}
