//! Bad input over raw TCP: each has its exact status and code, and the node lives on.

use crate::fake::{Fake, Manner};
use crate::rig::{Rig, call, logic};

const JSON: &str = "content-type: application/json\r\n";
const ALL: &str = r#"{"to":{"all":true},"data":1}"#;

async fn rig() -> (Rig, Fake) {
    let mut gateway = Fake::start(Manner::default()).await;
    let logic = logic(&[&gateway.address]).await;
    gateway.linked().await;
    (logic, gateway)
}

#[tokio::test]
async fn bad_bodies() {
    let (logic, mut gateway) = rig().await;
    let deep = format!(r#"{{"to":{{"all":true}},"data":{}{}}}"#, "[".repeat(100_000), "]".repeat(100_000));
    let large = format!(r#"{{"to":{{"all":true}},"data":"{}"}}"#, "x".repeat(65 * 1024));
    let huge = " ".repeat(1024 * 1024 + 1);
    let cases: Vec<(&str, String, u16, &str)> = vec![
        ("/v1/push", String::new(), 400, "invalid_json"),
        ("/v1/push", "{".into(), 400, "invalid_json"),
        ("/v1/push", r#"{"to":{"all":true},"data":"#.into(), 400, "invalid_json"),
        ("/v1/push", format!("{ALL}{ALL}"), 400, "invalid_json"),
        ("/v1/push", deep, 400, "json_too_deep"),
        ("/v1/push", r#"{"to":{"all":true},"data":1,"data":2}"#.into(), 400, "invalid_request"),
        ("/v1/push", r#"{"to":{"all":true},"dta":1}"#.into(), 400, "invalid_request"),
        ("/v1/push", r#"{"to":{"room":""},"data":1}"#.into(), 400, "invalid_request"),
        (
            "/v1/push",
            format!(r#"{{"to":{{"room":"{}"}},"data":1}}"#, "r".repeat(257)),
            400,
            "invalid_request",
        ),
        ("/v1/push", r#"{"to":{"room":"\u0000"},"data":1}"#.into(), 400, "invalid_request"),
        ("/v1/push", r#"{"to":[],"data":1}"#.into(), 400, "invalid_request"),
        ("/v1/push", "null".into(), 400, "invalid_request"),
        ("/v1/push", large, 413, "data_too_large"),
        ("/v1/push", huge.clone(), 413, "body_too_large"),
        ("/v1/push?dryrun=true", ALL.into(), 400, "invalid_query"),
        ("/v1/push?dryRun=yes", ALL.into(), 400, "invalid_query"),
        ("/v1/push?dryRun=true&dryRun=true", ALL.into(), 400, "invalid_query"),
        ("/v1/push/batch?x=1", ALL.into(), 400, "invalid_query"),
        ("/v1/push/batch", ALL.into(), 400, "invalid_request"),
        ("/v1/push/batch", "[]".into(), 400, "invalid_request"),
        ("/v1/push/batch", "[1]".into(), 400, "invalid_request"),
        ("/v1/push/batch", format!("[{ALL}"), 400, "invalid_json"),
        ("/v1/push/batch", format!("[{}]", vec![ALL; 1001].join(",")), 413, "batch_too_large"),
        ("/v1/push/batch", huge, 413, "body_too_large"),
    ];
    for (path, body, status, code) in cases {
        logic.post(path, "", &body).await.expect(status, code);
    }
    let mut raw =
        format!("POST /v1/push HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{JSON}content-length: 4\r\n\r\n")
            .into_bytes();
    raw.extend_from_slice(b"\"\xff\xfe\"");
    call(logic.api, &raw).await.expect(400, "invalid_utf8");
    assert!(!gateway.has_delivery(), "nothing of all this was sent");
    assert_eq!(logic.push(ALL).await.status, 202, "and the node lives on");
}

#[tokio::test]
async fn bad_requests() {
    let (logic, _gateway) = rig().await;
    let length = ALL.len();
    let post = |more: &str| {
        format!(
            "POST /v1/push HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{more}content-length: {length}\r\n\r\n{ALL}"
        )
    };
    let plain = |line: &str| format!("{line} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    let cases: Vec<(String, u16, &str)> = vec![
        (plain("GET /v1/push"), 405, "method_not_allowed"),
        (plain("GET /v1/push/batch"), 405, "method_not_allowed"),
        (plain("GET /v1/link/announce"), 405, "method_not_allowed"),
        (plain("DELETE /v1/gateways"), 405, "method_not_allowed"),
        (plain("DELETE /v1/pushes/x"), 405, "method_not_allowed"),
        (plain("POST /"), 405, "method_not_allowed"),
        (plain("GET /v1/pushes/"), 404, "not_found"),
        (plain("GET /v1/pushes/x/y"), 404, "not_found"),
        (plain("GET /v1"), 404, "not_found"),
        (plain("GET /page/../Cargo.toml"), 404, "not_found"),
        (plain("GET /v1/gateways?x"), 400, "invalid_query"),
        (post(""), 415, "unsupported_media_type"),
        (post("content-type: text/plain\r\n"), 415, "unsupported_media_type"),
        (post("content-type: application/json; charset=latin1\r\n"), 415, "unsupported_media_type"),
        (post("content-type: application/x-ndjson\r\n"), 415, "unsupported_media_type"),
        (post(&format!("{JSON}content-encoding: gzip\r\n")), 415, "unsupported_media_type"),
        (post(&format!("{JSON}host: y\r\n")), 400, "host_repeated"),
        (post(&format!("{JSON}transfer-encoding: chunked\r\n")), 400, "ambiguous_length"),
        (post(&format!("{JSON}idempotency-key: {}\r\n", "k".repeat(257))), 400, "invalid_idempotency_key"),
        (
            format!("POST /v1/push HTTP/1.1\r\nconnection: close\r\n{JSON}content-length: 2\r\n\r\n{{}}"),
            400,
            "host_missing",
        ),
    ];
    for (raw, status, code) in cases {
        let answer = call(logic.api, raw.as_bytes()).await;
        answer.expect(status, code);
        assert_eq!(status == 405, answer.head.contains("\r\nallow: "), "{answer:?}");
        assert!(answer.head.contains("x-request-id: "), "{answer:?}");
    }
    let answer = logic.post("/v1/push/batch", "content-type: text/plain\r\n", ALL).await;
    answer.expect(415, "unsupported_media_type");
    for flag in ["-H 'content-type: application/json'", "-H 'content-type: application/x-ndjson'"] {
        assert!(answer.body.contains(flag), "{flag} can be pasted: {answer:?}");
    }
    for good in ["application/json;charset=UTF-8", "Application/JSON ; charset=\"utf-8\""] {
        assert_eq!(
            call(logic.api, post(&format!("content-type: {good}\r\n")).as_bytes()).await.status,
            202,
            "{good}"
        );
    }
}

#[tokio::test]
async fn the_page_is_served() {
    let (logic, _gateway) = rig().await;
    for (path, media_type) in
        [("/", "text/html"), ("/page/page.js", "text/javascript"), ("/page/page.css", "text/css")]
    {
        let answer = logic.get(path).await;
        assert!(
            answer.status == 200 && answer.head.contains(media_type) && !answer.body.is_empty(),
            "{path}"
        );
    }
}
