//! Redis comes back: with all it had, with less, or as somebody else.

use std::path::Path;

use super::*;

const AOF: [&str; 4] = ["--appendonly", "yes", "--appendfsync", "always"];

/// Takes a snapshot that a restart begins with.
async fn snapshot(redis: &Server) {
    assert!(redis.ask(&["SAVE"]).await.starts_with("+OK"));
    assert!(Path::new(&redis.dir().join("dump.rdb")).exists());
}

/// Kills it and starts it anew; nodes must have noticed.
async fn restart(redis: &mut Server, nodes: &[&Node]) {
    redis.kill();
    for node in nodes {
        node.is_away("").await;
    }
    redis.again().await;
}

#[tokio::test]
async fn a_restart_that_lost_nothing_resets_nobody_and_is_over_in_two_seconds() {
    let mut redis = Server::start(&AOF).await;
    let (a, b) = (node(&redis.url(), "a").await, node(&redis.url(), "b").await);
    let first = a.push("r", "1").await;
    a.push("r", "2").await;
    restart(&mut redis, &[&a, &b]).await;
    let took = a.is_well().await.max(b.is_well().await);
    assert!(took < Duration::from_secs(2), "{took:?}");
    assert_eq!(a.push("r", "3").await, Position { offset: 3, ..first });
    let page = b.read_from("r", first).await;
    assert!(page.continues);
    assert_eq!(bodies(&page), ["2", "3"]);
}

#[tokio::test]
async fn a_restart_that_lost_something_begins_every_history_anew() {
    for trial in 0..5 {
        let mut redis = Server::start(&[]).await;
        let (a, b) = (node(&redis.url(), "a").await, node(&redis.url(), "b").await);
        let quiet = a.push("quiet", "1").await;
        let kept = a.push("r", "1").await;
        snapshot(&redis).await;
        let lost = a.push("r", "2").await;
        restart(&mut redis, &[&a, &b]).await;
        a.is_well().await;
        b.is_well().await;
        let next = b.push("r", "3").await;
        assert_ne!(next.epoch, kept.epoch, "trial {trial}");
        for (name, at) in [("quiet", quiet), ("r", kept), ("r", lost)] {
            assert!(!a.read_from(name, at).await.continues, "{name}");
        }
        assert_eq!(
            bodies(&a.read(whose("r"), None, Most { items: 9, bytes: 999 }, Moment::now()).await.unwrap()),
            ["1", "3"]
        );
        assert!(b.read_from("r", next).await.continues);
    }
}

#[tokio::test]
async fn a_gateway_that_saw_more_than_is_there_is_believed_even_late() {
    let mut redis = Server::start(&[]).await;
    let writer = node(&redis.url(), "a").await;
    let at = writer.push("r", "1").await;
    snapshot(&redis).await;
    // What only a gateway remembers: its writer dies with the store.
    let appends = [Append { whose: whose("r"), item: item("2") }];
    let sent = writer.append(&appends, None, Moment::now(), |placed| placed.marks.to_vec()).await.unwrap();
    let Appended::Now(marks) = sent else { panic!("it had no key") };
    drop(writer);
    redis.kill();
    redis.again().await;
    let vouches = node_with(settings(&redis.url()), "b");
    vouches.witness(&[Mark { seq: marks[0].seq - 1, ..marks[0] }]);
    vouches.is_well().await;
    assert!(vouches.read_from("r", at).await.continues, "as far as it knows nothing is missing");
    let before = vouches.push("r", "other 2").await;
    vouches.witness(&marks);
    let began = Instant::now();
    while vouches.head("r").await.epoch == before.epoch {
        assert!(began.elapsed() < Duration::from_secs(2));
        sleep(Duration::from_millis(10)).await;
    }
    let now = vouches.head("r").await;
    assert_eq!(now.offset, 2);
    // The gateway goes on saying it: once was enough.
    vouches.witness(&marks);
    sleep(Duration::from_millis(600)).await;
    assert_eq!(vouches.head("r").await, now);
}

#[tokio::test]
async fn where_nobody_remembers_anything_everything_begins_anew() {
    let mut redis = Server::start(&AOF).await;
    let at = node(&redis.url(), "a").await.push("r", "1").await;
    redis.kill();
    redis.again().await;
    let late = node(&redis.url(), "a").await;
    assert!(!late.read_from("r", at).await.continues);
    let emptied = late.push("r", "2").await;
    redis.ask(&["FLUSHALL"]).await;
    let began = Instant::now();
    let first = loop {
        if let Ok(places) = late.try_push(&["r"], "1").await {
            break places[0];
        }
        assert!(began.elapsed() < Duration::from_secs(2));
        sleep(Duration::from_millis(10)).await;
    };
    assert!(first.offset == 1 && first.epoch != emptied.epoch);
    assert!(!late.read_from("r", emptied).await.continues);
}

#[tokio::test]
async fn a_cursor_from_before_a_loss_is_told_to_ask_for_everything() {
    let mut redis = Server::start(&[]).await;
    let node = node(&redis.url(), "a").await;
    node.push("r", "1").await;
    snapshot(&redis).await;
    node.push("r", "2").await;
    let cursor = node.changed(&[], 9).await.unwrap().cursor;
    restart(&mut redis, &[&node]).await;
    node.is_well().await;
    let changes = node.changed(&cursor, 9).await.unwrap();
    assert!(changes.missed && changes.heads.len() == 1, "{changes:?}");
}
