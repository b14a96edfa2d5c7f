//! Users, with connections at several gateways and of several applications.

use super::{ids, three, wait_until};

#[test]
fn the_clients_of_a_user_are_listed_with_their_applications() {
    let three = three();
    let [phone, desk, web] = [1, 2, 3].map(|app| three.client(app - 1, &format!("userId=alice&appId={app}")));
    let _bob = three.client(0, "userId=bob");
    let alice = three.get("/v1/users/alice");
    assert_eq!(
        (&alice["userId"], &alice["online"], &alice["total"]),
        (&"alice".into(), &true.into(), &3.into())
    );
    assert_eq!(three.all("/v1/users/alice", "clients", "clientId"), ids(&[&phone, &desk, &web]));
    assert_eq!(three.all("/v1/users/alice", "clients", "appId"), [1, 2, 3]);
    assert_eq!(three.all("/v1/users/alice?appId=2", "clients", "clientId"), ids(&[&desk]));
}

#[test]
fn online_users_are_counted_each_once() {
    let three = three();
    let _alice =
        [0, 1, 2].map(|gateway| three.client(gateway, &format!("userId=alice&appId={}", 1 + gateway)));
    let _bob = three.client(1, "userId=bob&appId=1");
    let _nobody = three.client(1, "");
    assert_eq!((&three.get("/v1/stats")["users"], &three.get("/v1/users")["total"]), (&2.into(), &2.into()));
    assert_eq!(
        (&three.get("/v1/stats?appId=1")["users"], &three.get("/v1/stats?appId=2")["users"]),
        (&2.into(), &1.into())
    );
}

#[test]
fn online_users_are_listed_each_once_and_by_application() {
    let three = three();
    let _alice =
        [0, 1, 2].map(|gateway| three.client(gateway, &format!("userId=alice&appId={}", 1 + gateway)));
    let _others = ["bob", "carol", "dave"].map(|user| three.client(1, &format!("userId={user}&appId=1")));
    assert_eq!(three.all("/v1/users", "users", "userId"), ["alice", "bob", "carol", "dave"]);
    assert_eq!(three.all("/v1/users", "users", "clients"), [1, 1, 1, 3]);
    assert_eq!(three.all("/v1/users?appId=3", "users", "userId"), ["alice"]);
}

#[test]
fn a_push_to_a_user_reaches_all_its_connections_or_those_of_one_application() {
    let three = three();
    let mut alice =
        [0, 1, 2].map(|gateway| three.client(gateway, &format!("userId=alice&appId={}", 1 + gateway)));
    let (status, answer) = three.0.logics[0].push(r#"{"to":{"user":"alice"},"appId":2,"data":1}"#);
    assert_eq!((status, &answer["matched"]), (202, &1.into()));
    assert_eq!(three.push(r#"{"user":"alice"}"#, 2), 3);
    assert_eq!(alice[1].data(), [1]);
    assert!(alice.iter_mut().all(|client| client.data() == [2]));
}

#[test]
fn a_user_is_online_until_the_last_connection_goes() {
    let three = three();
    let (first, last) = (three.client(0, "userId=a%2Fb&appId=1"), three.client(2, "userId=a%2Fb&appId=2"));
    let online = |query: &str| three.get(&format!("/v1/users/a%2fb{query}"))["online"].as_bool().unwrap();
    assert!(online("") && online("?appId=1") && online("?appId=2") && !online("?appId=3"));
    drop(first);
    wait_until("one is left", || !online("?appId=1"));
    assert!(online("") && online("?appId=2"));
    drop(last);
    wait_until("nobody is left", || !online(""));
}

#[test]
fn all_connections_of_a_user_are_closed_or_those_of_one_application() {
    let three = three();
    let mut alice =
        [0, 1, 2].map(|gateway| three.client(gateway, &format!("userId=alice&appId={}", 1 + gateway)));
    assert_eq!(three.done("DELETE /v1/users/alice?appId=3", "")["closed"], 1);
    assert_eq!(alice[2].closed().0, 4502);
    assert_eq!(three.push(r#"{"user":"alice"}"#, 1), 2);
    assert_eq!(three.done("DELETE /v1/users/alice", "")["closed"], 2);
    assert_eq!(three.get("/v1/users/alice")["online"], false);
    assert_eq!(three.done("DELETE /v1/users/alice", "")["closed"], 0, "again is well");
}

#[test]
fn a_user_joins_and_leaves_a_room_with_all_connections_or_those_of_one_application() {
    let three = three();
    let mut alice =
        [0, 1, 2].map(|gateway| three.client(gateway, &format!("userId=alice&appId={}", 1 + gateway)));
    let one = three.done("PUT /v1/users/alice/rooms/r?appId=1", "");
    assert_eq!((&one["matched"], &one["joined"]), (&1.into(), &1.into()));
    let all = three.done("PUT /v1/users/alice/rooms/r", "");
    assert_eq!((&all["matched"], &all["joined"], &all["refused"]), (&3.into(), &2.into(), &0.into()));
    assert_eq!(three.push(r#"{"room":"r"}"#, 1), 3);
    assert!(alice.iter_mut().all(|client| client.data() == [1]));
    let left = three.done("DELETE /v1/users/alice/rooms/r", "");
    assert_eq!((&left["matched"], &left["left"]), (&3.into(), &3.into()));
    assert_eq!(three.push(r#"{"room":"r"}"#, 2), 0);
    assert_eq!(three.refused("PUT /v1/users/nobody/rooms/r", ""), (404, "user_not_online".into()));
    assert_eq!(three.done("DELETE /v1/users/nobody/rooms/r", "")["left"], 0);
}
