//! A place of keys that answers as a test wants it to.

use std::net::SocketAddr;

use rcgen::{KeyPair, PKCS_ED25519};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use super::*;
use crate::token::{Claims, SigningKey, Verifier, sign};

/// A set of one Ed25519 key by this name, and a key that signs for it.
fn pair(name: &str) -> (String, SigningKey) {
    let pair = KeyPair::generate_for(&PKCS_ED25519).unwrap();
    let x = data_encoding::BASE64URL_NOPAD.encode(pair.public_key_raw());
    let set = format!(r#"{{"keys":[{{"kty":"OKP","crv":"Ed25519","kid":"{name}","x":"{x}"}}]}}"#);
    (set, SigningKey::read(&pair.serialize_pem(), Some(name.into())).unwrap())
}

/// Answers each connection with the text that stands in the lock; counts them.
async fn place(answer: Arc<RwLock<String>>) -> (SocketAddr, Arc<RwLock<usize>>, JoinSet<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (count, mut tasks) = (Arc::new(RwLock::new(0)), JoinSet::new());
    let counts = count.clone();
    tasks.spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            *counts.write() += 1;
            let text = answer.read().clone();
            let mut head = [0; 4096];
            let _ = stream.read(&mut head).await;
            let _ = stream.write_all(text.as_bytes()).await;
        }
    });
    (address, count, tasks)
}

fn ok(body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}", body.len())
}

#[tokio::test]
async fn keys_are_fetched_changed_and_kept_when_the_place_is_away() {
    let ((first, signs_first), (second, signs_second)) = (pair("one"), pair("two"));
    let answer = Arc::new(RwLock::new(ok(&first)));
    let (address, fetched, _tasks) = place(answer.clone()).await;
    let jwks = Jwks::new(&format!("http://{address}/keys"), None, Duration::from_secs(300)).unwrap();
    let verifier = Verifier { fetched: vec![jwks.clone()], ..Verifier::default() };
    assert!(!verifier.has_keys());
    let is_taken = |key: &SigningKey| {
        verifier.check(&sign(&Claims::default(), None, key).unwrap(), std::time::SystemTime::now()).is_ok()
    };
    assert!(!is_taken(&signs_first));
    assert_eq!(*fetched.read(), 0, "a token makes nobody fetch");
    assert!(jwks.refresh().await && verifier.has_keys());
    assert!(is_taken(&signs_first) && !is_taken(&signs_second));
    *answer.write() = ok(&second);
    assert!(jwks.refresh().await);
    assert!(!is_taken(&signs_first) && is_taken(&signs_second));
    assert_eq!(jwks.state().trouble, None);

    let secret = r#"{"keys":[{"kty":"oct","k":"MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY"}]}"#;
    for (bad, words) in [
        (
            "HTTP/1.1 302 Found\r\nlocation: http://evil.org/\r\ncontent-length: 0\r\n\r\n".to_owned(),
            "redirects",
        ),
        ("HTTP/1.1 500 Oh\r\ncontent-length: 0\r\n\r\n".to_owned(), "answered 500"),
        (ok("{\"keys\":[]}"), "none of the keys"),
        (ok("not json"), "no JSON Web Key"),
        (ok(secret), "are secrets"),
        (ok(&"x".repeat(300 * 1024)), "too long"),
        ("garbage".to_owned(), "no HTTP answer"),
        (String::new(), "no HTTP answer"),
        (ok(&second).replace("content-length: ", "content-length: 9"), "broke off"),
    ] {
        *answer.write() = bad;
        assert!(!jwks.refresh().await, "{words}");
        let state = jwks.state();
        assert!(state.trouble.as_ref().is_some_and(|why| why.contains(words)), "{words}: {state:?}");
        assert!(is_taken(&signs_second), "the last good ones stay: {words}");
        assert!(state.keys == 1 && state.age.is_some());
    }
    *answer.write() = ok(&first);
    assert!(jwks.refresh().await && is_taken(&signs_first));
    assert_eq!(jwks.state().trouble, None);
}

#[tokio::test]
async fn they_are_fetched_by_the_clock() {
    let (address, fetched, _tasks) = place(Arc::new(RwLock::new(ok(&pair("one").0)))).await;
    let every = Duration::from_millis(20);
    let jwks = Jwks::new(&format!("http://{address}/keys"), None, every).unwrap();
    let shutdown = Shutdown::new();
    let tasks = crate::tasks::Tasks::new(shutdown.clone());
    tasks.spawn(jwks.clone().follow(shutdown.clone()));
    let often = async {
        while *fetched.read() < 3 {
            sleep(every).await;
        }
    };
    timeout(Duration::from_secs(10), often).await.expect("three times");
    assert_eq!(jwks.now().len(), 1);
    shutdown.stop();
    tasks.ended().await;
}
