//! Tables of good and bad pushes.

use common::limits::DATA_BYTES_MAX;

use super::*;

const ID: &str = "00000000000000000000000002";

fn one(body: &[u8]) -> Result<Push<'_>, Problem> {
    super::one(body, Sizes::default())
}

#[test]
fn every_option_is_read_and_data_stays_as_it_is() {
    let data = "{ \"z\": 1e400,\n\"a\":18446744073709551616, \"a\":\"\\ud800\\u0041\" }";
    let body = format!(
        "{{\"to\":{{\"rooms\":[\"r1\",\"r\\u0032\",\"r1\"]}},\"appId\":101,\"exceptClients\":[\"{ID}\"],\
         \"event\":\"pr\\u0069ce\",\"data\" : {data} ,\"key\":\"BTC\",\"urgent\":true,\"ttlMs\":30000,\"wait\":\"written\"}}"
    );
    let push = one(body.as_bytes()).unwrap();
    assert_eq!(push.to, Target::Names(Kind::Room, vec!["r1".into(), "r2".into()]), "deduplicated");
    assert_eq!(push.data, data);
    assert_eq!((push.app, push.event, &*push.key), (Some(101), Some("\"pr\\u0069ce\""), "BTC"));
    assert_eq!(push.except, vec![ID.parse().unwrap()]);
    assert_eq!((push.urgent, push.ttl_ms, push.wait), (true, 30_000, Wait::Written));
}

#[test]
fn every_target_is_read() {
    let id: ClientId = ID.parse().unwrap();
    let cases = [
        (r#"{"all":true}"#.to_owned(), Target::All),
        (r#"{"room":"r"}"#.to_owned(), Target::Names(Kind::Room, vec!["r".into()])),
        (r#"{"user":"u"}"#.to_owned(), Target::Names(Kind::User, vec!["u".into()])),
        (r#"{"users":["u","v"]}"#.to_owned(), Target::Names(Kind::User, vec!["u".into(), "v".into()])),
        (format!(r#"{{"client":"{ID}"}}"#), Target::Clients(vec![id])),
        (format!(r#"{{"clients":["{ID}","{ID}"]}}"#), Target::Clients(vec![id])),
    ];
    for (to, target) in cases {
        let body = format!(r#"{{"data":null,"to":{to}}}"#);
        assert_eq!(one(body.as_bytes()).unwrap().to, target, "{to}");
    }
}

#[test]
fn what_is_wrong_is_said_at_its_place() {
    let names = format!("[{}]", vec!["\"r\""; NAMES_PER_PUSH_MAX + 1].join(","));
    let cases = [
        (r#"{"data":1}"#.to_owned(), "/to", "is missing"),
        (r#"{"to":{"all":true}}"#.to_owned(), "/data", "is missing"),
        (r#"{"to":"all","data":1}"#.to_owned(), "/to", "not a string"),
        (r#"{"to":{},"data":1}"#.to_owned(), "/to", "exactly one"),
        (r#"{"to":{"all":true,"room":"r"},"data":1}"#.to_owned(), "/to", "exactly one"),
        (r#"{"to":{"room":"r","room":"s"},"data":1}"#.to_owned(), "/to", "comes twice"),
        (r#"{"to":{"roms":["r"]},"data":1}"#.to_owned(), "/to/roms", "did you mean \"rooms\"?"),
        (r#"{"to":{"all":false},"data":1}"#.to_owned(), "/to/all", "must be true"),
        (r#"{"to":{"room":""},"data":1}"#.to_owned(), "/to/room", "is empty"),
        (r#"{"to":{"room":7},"data":1}"#.to_owned(), "/to/room", "not a number"),
        (r#"{"to":{"room":"a\u0000b"},"data":1}"#.to_owned(), "/to/room", "control character"),
        (r#"{"to":{"room":"\ud800"},"data":1}"#.to_owned(), "/to/room", "is not text"),
        (format!(r#"{{"to":{{"user":"{}"}},"data":1}}"#, "x".repeat(257)), "/to/user", "257 bytes"),
        (r#"{"to":{"rooms":[]},"data":1}"#.to_owned(), "/to/rooms", "is empty"),
        (r#"{"to":{"rooms":["a",""]},"data":1}"#.to_owned(), "/to/rooms/1", "is empty"),
        (format!(r#"{{"to":{{"rooms":{names}}},"data":1}}"#), "/to/rooms", "at most 10000"),
        (r#"{"to":{"client":"x"},"data":1}"#.to_owned(), "/to/client", "not an id"),
        (r#"{"to":{"all":true},"data":1,"ugrent":true}"#.to_owned(), "/ugrent", "did you mean \"urgent\"?"),
        (r#"{"to":{"all":true},"data":1,"a/b~":1}"#.to_owned(), "/a~1b~0", "is unknown"),
        (r#"{"to":{"all":true},"data":1,"appId":0}"#.to_owned(), "/appId", "whole number"),
        (r#"{"to":{"all":true},"data":1,"appId":4294967296}"#.to_owned(), "/appId", "whole number"),
        (r#"{"to":{"all":true},"data":1,"ttlMs":1.5}"#.to_owned(), "/ttlMs", "not 1.5"),
        (r#"{"to":{"all":true},"data":1,"ttlMs":0}"#.to_owned(), "/ttlMs", "not 0"),
        (r#"{"to":{"all":true},"data":1,"ttlMs":-1}"#.to_owned(), "/ttlMs", "not -1"),
        (format!(r#"{{"to":{{"all":true}},"data":1,"ttlMs":{}}}"#, "9".repeat(99)), "/ttlMs", "this number"),
        (r#"{"to":{"all":true},"data":1,"ttlMs":"1"}"#.to_owned(), "/ttlMs", "not a string"),
        (r#"{"to":{"all":true},"data":1,"ttlMs":86400001}"#.to_owned(), "/ttlMs", "to 86400000"),
        (r#"{"to":{"all":true},"data":1,"urgent":1}"#.to_owned(), "/urgent", "true or false"),
        (r#"{"to":{"all":true},"data":1,"wait":"done"}"#.to_owned(), "/wait", "\"accepted\""),
        (r#"{"to":{"all":true},"data":1,"event":null}"#.to_owned(), "/event", "not null"),
        (r#"{"to":{"all":true},"data":1,"exceptClients":["x"]}"#.to_owned(), "/exceptClients/0", "not an id"),
        ("[]".to_owned(), "", "expected an object"),
        (r#"[{"to":{"all":true},"data":1}]"#.to_owned(), "", "/v1/push/batch"),
    ];
    for (body, pointer, words) in cases {
        let problem = one(body.as_bytes()).unwrap_err();
        let fault = &problem.errors[0];
        let head: String = body.chars().take(80).collect();
        assert_eq!(
            (problem.status.as_u16(), problem.code, &*fault.pointer),
            (400, "invalid_request", pointer),
            "{head}"
        );
        assert!(fault.detail.contains(words), "{head}: {}", fault.detail);
    }
}

#[test]
fn what_is_no_json_has_codes_of_its_own() {
    let deep = format!(r#"{{"to":{{"all":true}},"data":{}1{}}}"#, "[".repeat(64), "]".repeat(64));
    let cases: [(&[u8], &str); 8] = [
        (b"", "invalid_json"),
        (b"{", "invalid_json"),
        (br#"{"to":{"all":true},"data":01}"#, "invalid_json"),
        (br#"{"to":{"all":true},"data":1} x"#, "invalid_json"),
        (br#"{"to":{"all":true},"data":"a	b"}"#, "invalid_json"),
        (br#"{"to":{"all":true},"data":NaN}"#, "invalid_json"),
        (b"{\"to\":{\"all\":true},\"data\":\"\xff\"}", "invalid_utf8"),
        (deep.as_bytes(), "json_too_deep"),
    ];
    for (body, code) in cases {
        let problem = one(body).unwrap_err();
        assert_eq!(
            (problem.status.as_u16(), problem.code),
            (400, code),
            "{:?}",
            String::from_utf8_lossy(body)
        );
    }
}

#[test]
fn data_has_a_limit_and_many_faults_are_told_at_once() {
    let body = |bytes: usize| format!(r#"{{"to":{{"all":true}},"data":"{}"}}"#, "x".repeat(bytes - 2));
    assert!(one(body(DATA_BYTES_MAX).as_bytes()).is_ok());
    let problem = one(body(DATA_BYTES_MAX + 1).as_bytes()).unwrap_err();
    assert_eq!((problem.status.as_u16(), problem.code), (413, "data_too_large"));
    let problem = one(br#"{"to":{"room":""},"urgent":1,"ttlMs":0}"#).unwrap_err();
    let pointers: Vec<_> = problem.errors.iter().map(|fault| &*fault.pointer).collect();
    assert_eq!(pointers, ["/urgent", "/ttlMs", "/to/room", "/data"]);
}
