//! `tidegate clients`, `users` and `rooms` as somebody types them, and as a script does.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{Three, three};
use crate::process::{Running, said, tidegate};

/// Rooms that one client may be in.
const ROOMS_EACH: usize = 64;

impl Three {
    /// Exit code and both outputs.
    fn shell(&self, args: &[&str]) -> (i32, String, String) {
        let mut command = tidegate(args);
        command.env("TIDEGATE_URL", self.0.logics[0].http());
        said(command)
    }

    /// The lines of a command that ends well, each an object.
    fn lines(&self, args: &[&str]) -> Vec<Value> {
        let (code, out, err) = self.shell(&[args, &["--json"]].concat());
        assert_eq!(code, 0, "{args:?}: {err}");
        out.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

#[test]
fn lists_go_on_to_their_end() {
    let three = three();
    // More than a page.
    let clients = common::link::ask::PAGE_MAX as usize / ROOMS_EACH + 1;
    let query = |client: usize| -> String {
        (0..ROOMS_EACH).map(|room| format!("&room=r{}", client * ROOMS_EACH + room)).collect()
    };
    let connect = |client: usize| three.client(client % 3, &format!("userId=u{client}{}", query(client)));
    let held: Vec<_> = (0..clients).map(connect).collect();
    let rooms: BTreeSet<_> = three.lines(&["rooms"]).iter().map(Value::to_string).collect();
    assert_eq!(rooms.len(), clients * ROOMS_EACH);
    assert!(rooms.contains(r#"{"clients":1,"room":"r0"}"#), "{rooms:?}");
    assert_eq!(three.lines(&["users", "list"]).len(), held.len());
    assert_eq!(three.lines(&["clients", "--app-id", "7"]).len(), 0);
}

#[test]
fn one_is_shown_and_closed_by_name_and_the_others_stay() {
    let three = three();
    let odd = "a/b ä";
    let mut alice = three.client(0, "userId=a%2Fb%20%C3%A4&appId=7&room=r1");
    let mut bob = three.client(1, "userId=bob&room=r1");
    let (code, out, _) = three.shell(&["clients"]);
    assert!(code == 0 && out.starts_with("CLIENTID") && out.lines().count() == 3, "{out}");
    assert!(out.contains(&alice.id) && out.contains("gw-0") && out.contains("bob"), "{out}");
    let (code, out, _) = three.shell(&["clients", "show", &alice.id]);
    assert!(code == 0 && out.contains("rooms      r1") && out.contains("appId      7"), "{out}");
    assert_eq!(three.lines(&["users", "show", odd])[0]["clientId"], alice.id.as_str());
    assert_eq!(three.lines(&["rooms", "show", "r1"]).len(), 2);
    assert_eq!(three.lines(&["rooms", "show", "r1", "--app-id", "7"]).len(), 1);

    let (code, out, err) = three.shell(&["rooms", "close", "r1"]);
    assert_eq!((code, out.as_str()), (0, "r1: 2 connections taken out\n"), "{err}");
    assert_eq!(three.lines(&["rooms"]).len(), 0);
    let (code, _, err) = three.shell(&["rooms", "show", "r1"]);
    assert!(code == 1 && err.contains("not online"), "{code} {err}");
    assert_eq!(three.lines(&["users", "close", odd])[0]["closed"], 1);
    assert_eq!(alice.closed().0, 4502);
    let (code, out, err) = three.shell(&["clients", "close", &bob.id]);
    assert_eq!((code, out), (0, format!("{}: closed\n", bob.id)), "{err}");
    assert_eq!(bob.closed().0, 4502);
    let (code, _, err) = three.shell(&["clients", "show", &bob.id]);
    assert!(code == 1 && err.contains("404 "), "{code} {err}");
}

#[test]
fn a_key_is_needed_where_there_are_keys_and_nobody_there_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("key");
    std::fs::write(&file, "api-0123456789abcdef\n").unwrap();
    let file = file.to_str().unwrap();
    let any = "127.0.0.1:0";
    let mut logic =
        Running::start(&["logic", "--insecure", "--listen", any, "--ops", any, "--api-key-file", file]);
    logic.line("READY");
    let url = logic.after("API          ");
    let (code, _, err) = said(tidegate(&["users", "--url", &url]));
    assert!(code == 1 && err.contains("401 "), "{code} {err}");
    let with_file = tidegate(&["users", "list", "--url", &url, "--api-key-file", file]);
    let mut with_variable = tidegate(&["rooms", "--url", &url]);
    with_variable.env("TIDEGATE_API_KEY", "api-0123456789abcdef");
    for command in [with_file, with_variable] {
        let (code, _, err) = said(command);
        assert!(code == 1 && err.contains("503 no_gateway"), "past the key: {code} {err}");
    }
    let (code, _, err) = said(tidegate(&["users", "--url", "http://127.0.0.1:1"]));
    assert!(code == 69 && err.contains("--url"), "{code} {err}");
}
