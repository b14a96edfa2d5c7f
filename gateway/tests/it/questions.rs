//! What a logic node asks of a gateway on the control stream.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use common::link::ask::answer::Body as Said;
use common::link::ask::ask::Body as Asked;
use common::link::ask::{
    ASKS_MAX, Act, Change, Changed, Client as Listed, Drain, ListClients, ListNames, NamePlace, Scope,
};
use common::names::Kind;
use gateway::Settings;

use crate::clients::{Client, connect};
use crate::logic::{Logic, link, to_all, to_room, to_user};
use crate::node::{Gateway, settings, start};

async fn gateway() -> (Gateway, Logic) {
    let gateway = start(Settings { window: Duration::ZERO, ..settings() }).await;
    let logic = link(gateway.ingress).await;
    (gateway, logic)
}

/// All pages of so many.
async fn list(logic: &mut Logic, scope: Scope, limit: u32) -> Vec<Listed> {
    let (mut from, mut all) = (0, Vec::new());
    loop {
        let asked = ListClients { scope: scope.clone(), from, limit };
        let Said::Clients(page) = logic.ask(Asked::Clients(asked)).await else { panic!("a page") };
        assert!(page.clients.len() <= limit as usize);
        all.extend(page.clients);
        match page.next {
            Some(next) => from = next,
            None => return all,
        }
    }
}

async fn names(logic: &mut Logic, kind: Kind, app: Option<u32>, limit: u32) -> BTreeMap<String, u64> {
    let (mut after, mut all) = (None, BTreeMap::new());
    loop {
        let asked = ListNames { kind: kind as i32, app, after, limit };
        let Said::Names(page) = logic.ask(Asked::Names(asked)).await else { panic!("a page") };
        assert!(page.names.is_sorted_by_key(|name| NamePlace::of(&name.name)));
        for name in page.names {
            assert_eq!(all.insert(name.name, name.clients), None, "once");
        }
        match page.upto {
            Some(upto) => after = Some(upto),
            None => return all,
        }
    }
}

async fn count(logic: &mut Logic, scope: Scope) -> u64 {
    let Said::Count(count) = logic.ask(Asked::Count(scope)).await else { panic!("a count") };
    count
}

async fn change(logic: &mut Logic, scope: Scope, act: Act, name: &str, app: Option<u32>) -> (u64, u64, u64) {
    let asked = Change { scope, act: act as i32, name: name.into(), app };
    match logic.ask(Asked::Change(asked)).await {
        Said::Changed(Changed { matched, changed, refused }) => (matched, changed, refused),
        other => panic!("{other:?}"),
    }
}

fn one(client: &Client) -> Scope {
    Scope::client(client.id().local)
}

fn counts(of: &[(&str, u64)]) -> BTreeMap<String, u64> {
    of.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect()
}

#[tokio::test]
async fn clients_are_listed_and_counted_by_room_user_and_application() {
    let (gateway, mut logic) = gateway().await;
    let alice = connect(gateway.clients, "userId=alice&appId=1&room=r&room=s").await;
    let phone = connect(gateway.clients, "userId=alice&appId=2&room=r").await;
    let bob = connect(gateway.clients, "userId=bob&appId=1&room=r").await;
    let nobody = connect(gateway.clients, "").await;
    let locals = |clients: &[&Client]| {
        let mut locals: Vec<_> = clients.iter().map(|client| client.id().local).collect();
        locals.sort_unstable();
        locals
    };
    let everyone = [&alice, &phone, &bob, &nobody];
    let scopes: [(Scope, &[&Client]); 8] = [
        (Scope::all(None), &everyone),
        (Scope::all(Some(1)), &[&alice, &bob]),
        (Scope::all(Some(9)), &[]),
        (Scope::room("r", None), &[&alice, &phone, &bob]),
        (Scope::room("r", Some(2)), &[&phone]),
        (Scope::room("nowhere", None), &[]),
        (Scope::user("alice", None), &[&alice, &phone]),
        (one(&bob), &[&bob]),
    ];
    for (scope, wanted) in scopes {
        for limit in [1, 2, 1000] {
            let mut found: Vec<_> =
                list(&mut logic, scope.clone(), limit).await.iter().map(|client| client.local).collect();
            found.sort_unstable();
            assert_eq!(found, locals(wanted), "{scope:?} by {limit}");
        }
        assert_eq!(count(&mut logic, scope.clone()).await, wanted.len() as u64, "{scope:?}");
    }
    let [found] = &list(&mut logic, one(&alice), 1).await[..] else { panic!("one") };
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as u64;
    assert!(found.since_ms <= now && found.since_ms + 60_000 > now, "{} at {now}", found.since_ms);
    assert_eq!((found.user.as_deref(), found.app), (Some("alice"), Some(1)));
    assert_eq!(found.rooms, ["r", "s"]);
    for limit in [1, 1000] {
        assert_eq!(names(&mut logic, Kind::User, None, limit).await, counts(&[("alice", 2), ("bob", 1)]));
        assert_eq!(names(&mut logic, Kind::User, Some(2), limit).await, counts(&[("alice", 1)]));
        assert_eq!(names(&mut logic, Kind::Room, None, limit).await, counts(&[("r", 3), ("s", 1)]));
        assert_eq!(names(&mut logic, Kind::App, None, limit).await, counts(&[("1", 2), ("2", 1)]));
    }
}

#[tokio::test]
async fn a_client_that_is_closed_is_told_why_and_is_gone_at_once() {
    let (gateway, mut logic) = gateway().await;
    let mut alice = connect(gateway.clients, "userId=alice&room=r").await;
    let mut other = connect(gateway.clients, "room=r").await;
    let scope = Scope::user("alice", None);
    assert_eq!(change(&mut logic, scope.clone(), Act::Close, "bye", None).await, (1, 1, 0));
    // Before it has answered, nobody finds it any more.
    assert_eq!(count(&mut logic, Scope::all(None)).await, 1);
    assert_eq!(change(&mut logic, scope, Act::Close, "bye", None).await, (0, 0, 0), "it is gone");
    assert_eq!(change(&mut logic, one(&alice), Act::Join, "r", None).await, (0, 0, 0), "by its id too");
    let serial = logic.push(to_room("r"), "1").await;
    let fate = logic.fate(serial).await;
    assert_eq!((fate.matched, fate.written), (1, 1));
    assert_eq!(alice.closed().await, (4502, "bye".into()));
    assert_eq!(other.items().await, [1]);
    gateway.wait_for("/clients", 1).await;
}

#[tokio::test]
async fn a_client_that_does_not_answer_its_close_is_cut() {
    let (gateway, mut logic) = gateway().await;
    let deaf = crate::clients::connect_unheard(gateway.clients, "userId=u").await;
    assert_eq!(change(&mut logic, Scope::user("u", None), Act::Close, "", None).await, (1, 1, 0));
    let tasks = gateway.status("/tasks").await;
    let fewer = async { while gateway.status("/tasks").await >= tasks {} };
    tokio::time::timeout(Duration::from_secs(20), fewer).await.expect("its session ends");
    drop(deaf);
}

#[tokio::test]
async fn users_are_bound_and_unbound_and_rooms_joined_and_left() {
    let (gateway, mut logic) = gateway().await;
    let mut client = connect(gateway.clients, "appId=1").await;
    let id = one(&client);
    assert_eq!(change(&mut logic, id.clone(), Act::Bind, "u", None).await, (1, 1, 0));
    assert_eq!(change(&mut logic, id.clone(), Act::Bind, "u", None).await, (1, 0, 0), "already");
    let begun = logic.routes().await.0;
    assert!(begun.iter().any(|route| route.name == "1"), "{begun:?}");
    logic.push(to_user("u"), "1").await;
    assert_eq!(client.items().await, [1]);
    assert_eq!(count(&mut logic, Scope::user("u", Some(1))).await, 1, "the application stays");
    assert_eq!(change(&mut logic, id.clone(), Act::Bind, "v", Some(2)).await, (1, 1, 0));
    assert_eq!(count(&mut logic, Scope::user("u", None)).await, 0);
    assert_eq!(count(&mut logic, Scope::user("v", Some(2))).await, 1);

    let user = Scope::user("v", None);
    assert_eq!(change(&mut logic, user.clone(), Act::Join, "r", None).await, (1, 1, 0));
    assert_eq!(change(&mut logic, id.clone(), Act::Join, "r", None).await, (1, 0, 0));
    logic.push(to_room("r"), "2").await;
    assert_eq!(client.items().await, [2]);
    assert_eq!(change(&mut logic, user, Act::Leave, "r", None).await, (1, 1, 0));
    assert_eq!(change(&mut logic, id.clone(), Act::Leave, "r", None).await, (1, 0, 0));
    assert_eq!(change(&mut logic, id.clone(), Act::Unbind, "", None).await, (1, 1, 0));
    assert_eq!(change(&mut logic, id.clone(), Act::Unbind, "", None).await, (1, 0, 0));
    for room in 0..64 {
        assert_eq!(change(&mut logic, id.clone(), Act::Join, &format!("r{room}"), None).await, (1, 1, 0));
    }
    assert_eq!(change(&mut logic, id.clone(), Act::Join, "r64", None).await, (1, 0, 1), "too many rooms");
}

#[tokio::test]
async fn a_room_is_dissolved_and_its_members_stay() {
    let (gateway, mut logic) = gateway().await;
    let mut members = Vec::new();
    for number in 0..300 {
        members.push(connect(gateway.clients, &format!("room=r&room=s&appId={}", 1 + number % 2)).await);
    }
    let scope = Scope::room("r", Some(1));
    assert_eq!(change(&mut logic, scope, Act::Leave, "r", None).await, (150, 150, 0));
    let scope = Scope::room("r", None);
    assert_eq!(change(&mut logic, scope.clone(), Act::Leave, "r", None).await, (150, 150, 0));
    assert_eq!(change(&mut logic, scope, Act::Leave, "r", None).await, (0, 0, 0));
    assert_eq!(names(&mut logic, Kind::Room, None, 10).await, counts(&[("s", 300)]));
    let serial = logic.push(to_all(), "1").await;
    assert_eq!(logic.fate(serial).await.written, 300);
}

#[tokio::test]
async fn too_many_questions_and_unknown_ones_have_their_answer_too() {
    let (gateway, mut logic) = gateway().await;
    for _ in 0..ASKS_MAX + 20 {
        logic.put(Some(Asked::Count(Scope::all(None)))).await;
    }
    for _ in 0..ASKS_MAX + 20 {
        match logic.answer().await.body.unwrap() {
            Said::Count(0) => {}
            Said::Failed(failed) => assert_eq!(failed.code, "busy"),
            other => panic!("{other:?}"),
        }
    }
    let unknown = Scope { whose: 99, ..Scope::default() };
    for asked in [
        None,
        Some(Asked::Count(unknown)),
        Some(Asked::Names(ListNames { kind: 99, ..ListNames::default() })),
        Some(Asked::Change(Change { act: 99, ..Change::default() })),
        Some(Asked::Change(Change { act: Act::Join as i32, name: "a\0b".into(), ..Change::default() })),
    ] {
        logic.put(asked).await;
        let Some(Said::Failed(failed)) = logic.answer().await.body else { panic!("a failure") };
        assert_eq!(failed.code, "unsupported");
    }
    // Places of nobody are the end of a list, not the end of the gateway.
    for from in [u64::MAX, 63 << 32 | 0xffff_ffff, 64 << 32] {
        let asked = ListClients { scope: Scope::all(None), from, limit: 0 };
        assert!(matches!(logic.ask(Asked::Clients(asked)).await, Said::Clients(page) if page.next.is_none()));
    }
    drop(gateway);
}

#[tokio::test]
async fn a_gateway_that_is_told_to_drain_goes() {
    let (gateway, mut logic) = gateway().await;
    let mut client = connect(gateway.clients, "").await;
    let Said::Changed(done) = logic.ask(Asked::Drain(Drain {})).await else { panic!("done") };
    assert_eq!((done.matched, done.changed), (1, 1));
    assert_eq!(client.closed().await.0, 1012);
    drop(client);
    assert_eq!(gateway.end().await.cut, 0);
}
