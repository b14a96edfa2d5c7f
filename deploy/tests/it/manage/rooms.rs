//! Rooms: joined, left, reached, listed, counted, dissolved.

use super::{ids, three};

#[test]
fn a_push_to_a_room_reaches_its_members_at_all_gateways() {
    let three = three();
    let mut members = [0, 1, 2].map(|gateway| three.client(gateway, "room=r"));
    let _stranger = three.client(0, "room=s");
    assert_eq!(three.push(r#"{"room":"r"}"#, 1), 3);
    assert!(members.iter_mut().all(|client| client.data() == [1]));
}

#[test]
fn the_online_of_a_room_are_counted() {
    let three = three();
    let _members =
        [0, 1, 2, 2].map(|gateway| three.client(gateway, &format!("room=r&appId={}", 1 + gateway)));
    let room = three.get("/v1/rooms/r");
    assert_eq!(
        (&room["online"], &room["clients"], &room["partial"]),
        (&true.into(), &4.into(), &false.into())
    );
    assert_eq!(three.get("/v1/rooms/r?appId=3")["clients"], 2);
    let empty = three.get("/v1/rooms/nobody%20here");
    assert_eq!(
        (&empty["room"], &empty["online"], &empty["clients"]),
        (&"nobody here".into(), &false.into(), &0.into())
    );
}

#[test]
fn rooms_are_counted_and_listed_each_once() {
    let three = three();
    let _clients = [0, 1, 2, 0].map(|gateway| {
        three.client(gateway, &format!("room=shared&room=of%20{gateway}&appId={}", 1 + gateway))
    });
    assert_eq!((&three.get("/v1/rooms")["total"], &three.get("/v1/stats")["rooms"]), (&4.into(), &4.into()));
    assert_eq!(three.all("/v1/rooms", "rooms", "room"), ["of 0", "of 1", "of 2", "shared"]);
    assert_eq!(three.all("/v1/rooms", "rooms", "clients"), [1, 1, 2, 4]);
    assert_eq!(three.all("/v1/rooms?appId=2", "rooms", "room"), ["of 1", "shared"]);
    assert_eq!(three.get("/v1/stats?appId=2")["rooms"], 2);
}

#[test]
fn the_clients_of_a_room_are_listed() {
    let three = three();
    let [a, b, c] =
        [0, 1, 2].map(|gateway| three.client(gateway, &format!("room=a%2Fb&appId={}", 1 + gateway)));
    let _stranger = three.client(0, "room=a");
    assert_eq!(three.all("/v1/rooms/a%2Fb/clients", "clients", "clientId"), ids(&[&a, &b, &c]));
    assert_eq!(three.all("/v1/rooms/a%2Fb/clients?appId=3", "clients", "clientId"), ids(&[&c]));
    assert_eq!(three.get("/v1/rooms/a%2Fb/clients?limit=1")["total"], 3);
}

#[test]
fn a_client_joins_a_room_and_what_is_pushed_from_then_on_reaches_it() {
    let three = three();
    let mut client = three.client(1, "");
    for (number, room) in ["r", "комната 1"].into_iter().enumerate() {
        let escaped: String = room.bytes().map(|byte| format!("%{byte:02x}")).collect();
        let head = format!("PUT /v1/clients/{}/rooms/{escaped}", client.id);
        let joined = three.done(&head, "");
        assert_eq!(
            (&joined["room"], &joined["joined"], &joined["changed"]),
            (&room.into(), &true.into(), &true.into())
        );
        assert_eq!(three.push(&format!(r#"{{"room":"{room}"}}"#), number as u32), 1);
        assert_eq!(client.data(), [number as u64]);
        assert_eq!(three.done(&head, "")["changed"], false);
    }
    for room in 0..62 {
        three.done(&format!("PUT /v1/clients/{}/rooms/r{room}", client.id), "");
    }
    let head = format!("PUT /v1/clients/{}/rooms/more", client.id);
    assert_eq!(three.refused(&head, ""), (409, "too_many_rooms".into()));
}

#[test]
fn a_client_leaves_a_room_and_nothing_of_it_reaches_it() {
    let three = three();
    let client = three.client(1, "room=r");
    let head = format!("DELETE /v1/clients/{}/rooms/r", client.id);
    let left = three.done(&head, "");
    assert_eq!((&left["joined"], &left["changed"]), (&false.into(), &true.into()));
    assert_eq!(three.done(&head, "")["changed"], false);
    assert_eq!(three.push(r#"{"room":"r"}"#, 1), 0);
    assert_eq!(three.get("/v1/stats")["rooms"], 0);
}

#[test]
fn a_room_is_dissolved_and_its_members_stay_connected() {
    let three = three();
    let mut members =
        [0, 1, 2, 2].map(|gateway| three.client(gateway, &format!("room=r&appId={}", 1 + gateway)));
    let part = three.done("DELETE /v1/rooms/r?appId=3", "");
    assert_eq!((&part["matched"], &part["left"]), (&2.into(), &2.into()));
    assert_eq!(three.done("DELETE /v1/rooms/r", "")["left"], 2);
    assert_eq!(three.done("DELETE /v1/rooms/r", "")["left"], 0, "again is well");
    assert_eq!((three.push(r#"{"room":"r"}"#, 1), three.push(r#"{"all":true}"#, 2)), (0, 4));
    assert!(members.iter_mut().all(|client| client.data() == [2]));
    assert_eq!(three.get("/v1/rooms")["rooms"].as_array().unwrap().len(), 0);
}
