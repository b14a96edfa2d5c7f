//! Connections: reached, closed, listed, counted, looked at, bound.

use super::{ids, three, wait_until};

#[test]
fn a_broadcast_reaches_every_client() {
    let three = three();
    let mut clients = [0, 1, 2, 0].map(|gateway| three.client(gateway, ""));
    assert_eq!(three.push(r#"{"all":true}"#, 1), 4);
    assert!(clients.iter_mut().all(|client| client.data() == [1]));
}

#[test]
fn a_push_to_a_client_reaches_it_alone() {
    let three = three();
    let mut clients = [0, 1, 2].map(|gateway| three.client(gateway, ""));
    assert_eq!(three.push(&format!(r#"{{"client":"{}"}}"#, clients[1].id), 1), 1);
    assert_eq!(three.push(r#"{"all":true}"#, 2), 3);
    assert_eq!(clients[1].data(), [1]);
    assert_eq!(clients.map(|mut client| client.data()), [[2], [2], [2]]);
}

#[test]
fn a_client_that_is_closed_is_told_4502_and_is_gone() {
    let three = three();
    let (mut closed, _other) = (three.client(0, "userId=u&room=r"), three.client(1, "userId=u&room=r"));
    let path = format!("/v1/clients/{}", closed.id);
    assert_eq!(three.done(&format!("DELETE {path}"), "")["closed"], true);
    // Before the client has said a word.
    assert_eq!(three.0.logics[1].get(&path).0, 404);
    assert_eq!(three.push(r#"{"user":"u"}"#, 1), 1);
    assert_eq!(three.get("/v1/rooms/r")["clients"], 1);
    assert_eq!(three.refused(&format!("DELETE {path}"), ""), (404, "client_not_found".into()));
    assert_eq!(closed.closed(), (4502, "closed by the operator".into()));
}

#[test]
fn clients_are_listed_page_by_page_and_by_application() {
    let three = three();
    let clients = [0, 1, 2, 0, 1].map(|gateway| three.client(gateway, &format!("appId={}", 1 + gateway % 2)));
    let [a, b, c, d, e] = &clients;
    assert_eq!(three.all("/v1/clients", "clients", "clientId"), ids(&[a, b, c, d, e]));
    assert_eq!(three.all("/v1/clients?appId=1", "clients", "clientId"), ids(&[a, c, d]));
    assert_eq!(three.all("/v1/clients?appId=3", "clients", "clientId"), ids(&[]));
}

#[test]
fn clients_are_counted_whole_and_by_application() {
    let three = three();
    let clients = [0, 1, 2, 0, 1].map(|gateway| three.client(gateway, &format!("appId={}", 1 + gateway % 2)));
    assert_eq!(
        (&three.get("/v1/stats")["clients"], &three.get("/v1/clients")["total"]),
        (&5.into(), &5.into())
    );
    assert_eq!(three.get("/v1/stats?appId=2")["clients"], 2);
    assert_eq!(three.get("/v1/clients?appId=2&limit=1")["total"], 2);
    drop(clients);
    wait_until("all are gone", || three.get("/v1/stats")["clients"] == 0);
}

#[test]
fn a_client_is_online_until_it_goes() {
    let three = three();
    let client = three.client(2, "userId=u&appId=7&room=b&room=a");
    let path = format!("/v1/clients/{}", client.id);
    let one = three.get(&path);
    assert_eq!(one["online"], true);
    assert_eq!((&one["clientId"], &one["gateway"]), (&client.id.as_str().into(), &"gw-2".into()));
    assert_eq!((&one["appId"], &one["rooms"]), (&7.into(), &["a", "b"].as_slice().into()));
    assert!(one["since"].as_str().unwrap().ends_with('Z'), "{one}");
    drop(client);
    wait_until("it is gone", || three.0.logics[1].get(&path).0 == 404);
}

#[test]
fn the_user_of_a_client_is_told() {
    let three = three();
    let (known, unknown) = (three.client(0, "userId=alice"), three.client(1, ""));
    assert_eq!(three.get(&format!("/v1/clients/{}", known.id))["userId"], "alice");
    assert!(three.get(&format!("/v1/clients/{}", unknown.id))["userId"].is_null());
}

#[test]
fn a_client_is_bound_to_a_user() {
    let three = three();
    let mut client = three.client(1, "appId=5");
    let head = format!("PUT /v1/clients/{}/user", client.id);
    let bound = three.done(&head, r#"{"userId":"alice"}"#);
    assert_eq!((&bound["userId"], &bound["changed"]), (&"alice".into(), &true.into()));
    assert_eq!(three.done(&head, r#"{"userId":"alice"}"#)["changed"], false, "the same again is well");
    assert_eq!(three.push(r#"{"user":"alice"}"#, 1), 1);
    assert_eq!(client.data(), [1]);
    three.done(&head, r#"{"userId":"bob","appId":6}"#);
    assert_eq!(three.get("/v1/users/alice")["online"], false);
    assert_eq!(three.get("/v1/users/bob?appId=6")["online"], true);
    assert_eq!(three.get("/v1/users/bob?appId=5")["online"], false);
    assert_eq!(three.refused(&head, r#"{"userid":"x"}"#), (400, "invalid_request".into()));
}

#[test]
fn a_client_is_unbound_and_stays() {
    let three = three();
    let mut client = three.client(1, "userId=alice&room=r");
    let head = format!("DELETE /v1/clients/{}/user", client.id);
    assert_eq!(three.done(&head, "")["changed"], true);
    assert_eq!(three.done(&head, "")["changed"], false);
    assert_eq!((three.push(r#"{"user":"alice"}"#, 1), three.push(r#"{"room":"r"}"#, 2)), (0, 1));
    assert_eq!(client.data(), [2]);
    assert_eq!(three.get("/v1/stats")["users"], 0);
}
