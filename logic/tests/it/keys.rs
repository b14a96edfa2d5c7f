//! Who may call: API keys from outside.

use common::fresh::Fresh;
use logic::{Keys, Settings};

use crate::rig::{Rig, quick, with};

const PUSHER: &str = "pusher-0123456789";
const DESK: &str = "desk-0123456789abc";

fn keys(pusher: &str) -> Keys {
    let entry = |name: &str, scopes: &str, key: &str| {
        format!("[[key]]\nname = \"{name}\"\nscopes = [{scopes}]\nkey = \"{key}\"\n")
    };
    Keys::parse(&(entry("shop", "\"push\"", pusher) + &entry("desk", "\"read\", \"manage\"", DESK))).unwrap()
}

async fn guarded() -> (Rig, std::sync::Arc<Fresh<Keys>>) {
    let keys = Fresh::fixed("keys", keys(PUSHER));
    (with(Settings { api_keys: Some(keys.clone()), ..quick() }).await, keys)
}

fn bearer(key: &str) -> String {
    format!("authorization: Bearer {key}\r\n")
}

const PUSH: &str = r#"{"to":{"all":true},"data":1}"#;

#[tokio::test]
async fn a_call_without_a_key_that_may_it_is_refused_with_the_reason() {
    let (rig, _) = guarded().await;
    for (header, status, code, words) in [
        (String::new(), 401, "unauthorized", "needs an API key"),
        ("authorization: Basic eDp5\r\n".into(), 401, "unauthorized", "not `Bearer KEY`"),
        (bearer("wrong-0123456789"), 401, "unauthorized", "not known"),
        (bearer(&format!("\"{PUSHER}\"")), 401, "unauthorized", "quotes or spaces"),
        (bearer(DESK), 403, "insufficient_scope", "scope push"),
        // Nobody is there to push to: that is another matter.
        (bearer(PUSHER), 503, "no_gateway", ""),
    ] {
        let answer = rig.post("/v1/push", &header, PUSH).await;
        answer.expect(status, code);
        assert!(answer.body.contains(words), "{answer:?}");
        assert_eq!(
            answer.head.to_lowercase().contains("www-authenticate: bearer"),
            status != 503,
            "{answer:?}"
        );
        assert!(!answer.body.contains("0123456789"), "no key is said again");
    }
    // What is not there is not told to strangers.
    rig.get_with("/v1/nothing", "").await.expect(401, "unauthorized");
    rig.get_with("/v1/nothing", &bearer(DESK)).await.expect(404, "not_found");
    assert_eq!(rig.get_with("/v1/gateways", &bearer(DESK)).await.status, 200);
    rig.get_with("/v1/gateways", &bearer(PUSHER)).await.expect(403, "insufficient_scope");
    assert_eq!(rig.get_with("/", "").await.status, 200, "the page is public");
}

#[tokio::test]
async fn keys_are_changed_without_a_restart() {
    let (rig, keys_now) = guarded().await;
    rig.post("/v1/push", &bearer(PUSHER), PUSH).await.expect(503, "no_gateway");
    keys_now.set(keys("another-0123456789"));
    rig.post("/v1/push", &bearer(PUSHER), PUSH).await.expect(401, "unauthorized");
    rig.post("/v1/push", &bearer("another-0123456789"), PUSH).await.expect(503, "no_gateway");
}
