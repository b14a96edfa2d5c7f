//! A node with a directory of data: what the next run of it knows.

use std::path::Path;
use std::time::Duration;

use common::names::Kind;
use common::patterns::Pattern;
use logic::{HistoryRule, HistoryRules, Settings};
use serde_json::{Value, json};

use crate::fake::{Fake, Manner};
use crate::rig::{Answer, Rig, get, quick, with};

fn settings(dir: &Path, gateways: &[&str]) -> Settings {
    let matches = Pattern::parse("chat.*").unwrap();
    let rule = HistoryRule { matches, items: 5, age: Duration::from_secs(60) };
    Settings {
        history: HistoryRules { rooms: vec![rule], users: Vec::new() },
        gateways: gateways.iter().map(|address| (*address).to_owned()).collect(),
        data_dir: Some(dir.to_owned()),
        drain: Duration::ZERO,
        ..quick()
    }
}

async fn keyed(logic: &Rig, key: &str, body: &str) -> Answer {
    logic.post("/v1/push", &format!("idempotency-key: {key}\r\n"), body).await
}

async fn end(mut logic: Rig) {
    logic.shutdown.start_drain();
    logic.ended().await.unwrap();
}

const STORED: &str = r#"{"to":{"room":"chat.1"},"data":1}"#;
const PLAIN: &str = r#"{"to":{"room":"plain"},"data":1}"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_next_run_knows_histories_and_the_calls_that_had_a_key() {
    let dir = tempfile::tempdir().unwrap();
    let held = vec![(Kind::Room, "chat.1"), (Kind::Room, "plain")];
    let mut gateway = Fake::start(Manner { holds: Some(held), ..Manner::default() }).await;
    let logic = with(settings(dir.path(), &[])).await;
    keyed(&logic, "plain", PLAIN).await.expect(503, "no_gateway");
    let first = keyed(&logic, "stored", STORED).await.json();
    assert_eq!((&first["rooms"][0]["offset"], &first["replayed"]), (&json!(1), &json!(false)));
    end(logic).await;

    let logic = with(settings(dir.path(), &[&gateway.address])).await;
    gateway.linked().await;
    let again = keyed(&logic, "stored", STORED).await.json();
    assert_eq!((&again["id"], &again["replayed"]), (&first["id"], &json!(true)), "the answer itself");
    assert_eq!(again["rooms"], first["rooms"]);
    keyed(&logic, "stored", PLAIN).await.expect(422, "idempotency_mismatch");
    let plain = keyed(&logic, "plain", PLAIN).await.json();
    assert_eq!(
        (&plain["matched"], &plain["replayed"]),
        (&json!(1), &json!(false)),
        "what was refused was freed"
    );
    assert_eq!(gateway.delivery().await.names, ["plain"], "and what was made before is not sent again");
    let said = logic.push(STORED).await.json();
    assert_eq!(said["rooms"][0]["offset"], 2);
    end(logic).await;

    let logic = with(settings(dir.path(), &[&gateway.address])).await;
    gateway.linked().await;
    let again = keyed(&logic, "plain", PLAIN).await.json();
    assert_eq!(
        (&again["id"], &again["matched"], &again["replayed"]),
        (&plain["id"], &json!(1), &json!(true))
    );
    let kept = logic.get("/v1/rooms/chat.1/history").await.json();
    assert_eq!((&kept["offset"], &kept["epoch"]), (&json!(2), &first["rooms"][0]["epoch"]));
    let status: Value = get(logic.ops, "/statusz").await.json();
    assert_eq!(
        (&status["engine"]["kind"], &status["engine"]["health"]),
        (&json!("embedded, with a disk"), &json!("ok"))
    );
    let offsets = gateway.heads().await;
    assert_eq!(offsets.heads[0].at.unwrap().offset, 2, "a gateway that stayed is told");
    end(logic).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn copies_of_a_call_that_race_are_stored_once() {
    let dir = tempfile::tempdir().unwrap();
    let logic = with(settings(dir.path(), &[])).await;
    for number in 0..20 {
        let key = format!("k{number}");
        let (one, two, three) = tokio::join!(
            keyed(&logic, &key, STORED),
            keyed(&logic, &key, STORED),
            keyed(&logic, &key, STORED)
        );
        let taken: Vec<_> = [one, two, three].into_iter().filter(|answer| answer.status == 202).collect();
        assert!(!taken.is_empty());
        assert!(taken.iter().all(|answer| answer.json()["rooms"][0]["offset"] == number + 1), "{taken:?}");
    }
    end(logic).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_that_is_put_back_goes_on_in_epochs_of_its_own() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("histories.redb");
    let run = async |pushes: usize| {
        let logic = with(settings(dir.path(), &[])).await;
        for _ in 0..pushes {
            assert_eq!(logic.push(STORED).await.status, 202);
        }
        let kept = logic.get("/v1/rooms/chat.1/history").await.json();
        let never = logic.get("/v1/rooms/chat.never/history").await.json();
        end(logic).await;
        (kept, never["epoch"].clone())
    };
    let epochs = |(kept, never): &(Value, Value)| (kept["epoch"].clone(), never.clone());
    let before = run(3).await;
    let copy = std::fs::read(&file).unwrap();
    let later = run(2).await;
    assert_eq!(
        (&later.0["offset"], epochs(&later)),
        (&json!(5), epochs(&before)),
        "another run, the same store"
    );
    // What was acknowledged since is not in it: the same offsets will be other items.
    std::fs::remove_file(&file).unwrap();
    std::fs::write(&file, copy).unwrap();
    let restored = run(0).await;
    assert_eq!((&restored.0["offset"], &restored.0["items"]), (&json!(3), &before.0["items"]));
    assert!(restored.0["epoch"] != before.0["epoch"] && restored.1 != before.1, "{restored:?}");
    assert_eq!(epochs(&run(1).await), epochs(&restored), "it has settled there");
}
