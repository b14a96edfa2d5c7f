//! Ports that somebody else has opened: systemd's own tool, and a parent that keeps the socket while nodes come and go.

use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::authority::{Authority, Kind};
use crate::process::{Running, http, said, tidegate};

const ANY: &str = "127.0.0.1:0";

const HANDSHAKE: &str = "GET /ws?room=r HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

fn gateway(more: &str) -> String {
    format!("gateway --insecure --ingress {ANY} --ops {ANY} --drain 0s {more}")
}

/// A node to which a socket is passed, as sd_listen_fds(3) says it: descriptor 3 and, if there are more names, the same again.
fn passing(socket: impl Into<OwnedFd>, names: &str, args: &str) -> Command {
    let program = tidegate(&[]).get_program().to_str().unwrap().to_owned();
    let count = names.split(':').count();
    let script = format!(
        "exec 3<&0 4<&0 </dev/null; LISTEN_PID=$$ LISTEN_FDS={count} LISTEN_FDNAMES={names} exec {program} {args}"
    );
    let mut command = Command::new("sh");
    command.args(["-c", &script]).stdin(Stdio::from(socket.into()));
    command
}

fn started(listener: &TcpListener, name: &str, args: &str) -> Running {
    let mut node = Running::start_command(passing(listener.try_clone().unwrap(), name, args));
    node.line("READY");
    node
}

/// Connects and asks for a WebSocket.
fn knock(listener: &TcpListener, before: &str) -> TcpStream {
    let mut stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    stream.write_all(format!("{before}{HANDSHAKE}").as_bytes()).unwrap();
    stream
}

fn is_let_in(mut stream: TcpStream) {
    stream.set_nonblocking(false).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"HTTP/1.1 101");
}

#[test]
fn systemds_own_tool_passes_the_client_port() {
    // It takes an address and no port 0.
    let address = TcpListener::bind(ANY).unwrap().local_addr().unwrap().to_string();
    let program = tidegate(&[]).get_program().to_str().unwrap().to_owned();
    let mut command = Command::new("systemd-socket-activate");
    command.args(["--fdname=clients", "--listen", &address, &program]);
    // It holds the port in another process than the one that is asked for it here.
    command.args(gateway("--listen 127.0.0.1:1").split_whitespace()).stdin(Stdio::null());
    assert!(
        Command::new("systemd-socket-activate").arg("--version").output().is_ok(),
        "no systemd-socket-activate here: install the Debian package systemd, as deploy/test does"
    );
    let mut gateway = Running::start_command(command);
    gateway.line("Listening on");
    // The tool starts the gateway for its first connection, which is a client's.
    let mut tail = Running::start(&["tail", "--url", &format!("ws://{address}"), "--room", "r"]);
    let taken = gateway.line("socket that was passed");
    assert!(taken.contains(&address), "{taken}");
    let warning = gateway.line("another address than --listen");
    assert!(warning.contains("127.0.0.1:1") && warning.to_lowercase().contains("warn"), "{warning}");
    gateway.line("READY");
    assert_eq!(gateway.after("clients      ws://"), format!("{address}/ws"));
    tail.line("connected to");
    gateway.signal("TERM");
    assert!(gateway.ended().success());
}

#[test]
fn who_connects_while_a_gateway_is_started_anew_waits_and_is_let_in() {
    let listener = TcpListener::bind(ANY).unwrap();
    let mut first = started(&listener, "clients", &gateway(""));
    is_let_in(knock(&listener, ""));
    first.signal("TERM");
    assert!(first.ended().success());

    let waiting: Vec<_> = (0..20).map(|_| knock(&listener, "")).collect();
    let mut tail = Running::start(&[
        "tail",
        "--url",
        &format!("ws://{}", listener.local_addr().unwrap()),
        "--room",
        "r",
    ]);
    waiting[0].set_nonblocking(true).unwrap();
    let nothing = (&waiting[0]).read(&mut [0; 1]).unwrap_err();
    assert_eq!(nothing.kind(), ErrorKind::WouldBlock, "nobody is there yet, and nobody refuses");

    let second = started(&listener, "clients", &gateway(""));
    waiting.into_iter().for_each(is_let_in);
    tail.line("connected to");
    drop(second);
    // Killed, too: the port is its owner's.
    let waits = knock(&listener, "");
    let _third = started(&listener, "clients", &gateway(""));
    is_let_in(waits);
}

#[test]
fn a_passed_port_speaks_tls_and_hears_of_proxies_as_any_other() {
    let listener = TcpListener::bind(ANY).unwrap();
    let behind = gateway("--trusted-proxy 127.0.0.0/8 --proxy-protocol");
    let gateway = started(&listener, "tidegate-gateway.socket", &behind);
    is_let_in(knock(&listener, "PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n"));
    drop(gateway);

    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new();
    authority.write(folder.path(), "ca");
    authority.sign(folder.path(), "node", Kind::Good);
    let file = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (certificate, key) = (file("node.pem"), file("node.key"));
    let logic = format!("logic --insecure --ops {ANY} --tls-cert {certificate} --tls-key {key}");
    let _logic = started(&listener, "api", &logic);
    let address = listener.local_addr().unwrap();
    let mut curl = Command::new("curl");
    let url = format!("https://{address}/openapi.json");
    curl.args(["-sS", "--max-time", "20", "--cacert", &file("ca.pem"), &url]);
    let (code, out, err) = said(curl);
    assert!(code == 0 && out.contains("\"openapi\""), "{out} {err}");
    assert!(http(&address.to_string(), "GET /v1/stats", "").contains("TLS is spoken on this port"));
}

#[test]
fn a_socket_that_is_no_port_is_refused_with_words() {
    let refused = |command: Command, expected: &str| {
        let (code, _, err) = said(command);
        assert!(code == 78 && err.contains(expected), "{code}: {err}");
    };
    let listener = || TcpListener::bind(ANY).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let unix = UnixListener::bind(folder.path().join("socket")).unwrap();
    let held = listener();
    let connection = TcpStream::connect(held.local_addr().unwrap()).unwrap();
    refused(passing(UdpSocket::bind(ANY).unwrap(), "clients", &gateway("")), "UDP");
    refused(passing(unix, "clients", &gateway("")), "Unix socket");
    refused(passing(connection, "clients", &gateway("")), "does not listen");
    let file = std::fs::File::open("/dev/null").unwrap();
    refused(passing(file, "clients", &gateway("")), "not a socket");
    refused(passing(listener(), "ops", &gateway("")), "\"ops\"");
    refused(passing(listener(), "clients:link", &gateway("")), "\"link\"");
    refused(passing(listener(), "api:api", &format!("logic --insecure --ops {ANY}")), "2 sockets");
}
