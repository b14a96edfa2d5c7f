//! The cluster itself: applications, totals, nodes; one that goes, and one that is gone.

use super::three;

#[test]
fn the_online_are_told_by_application() {
    let three = three();
    let _clients = [1, 2, 2, 3, 3, 3].map(|app| three.client(app - 1, &format!("appId={app}")));
    let _without = three.client(0, "");
    assert_eq!(three.all("/v1/apps", "apps", "appId"), [1, 2, 3]);
    assert_eq!(three.all("/v1/apps", "apps", "clients"), [1, 2, 3]);
    let stats = three.get("/v1/stats");
    assert_eq!((&stats["clients"], &stats["apps"]), (&7.into(), &3.into()));
}

#[test]
fn the_state_of_the_system_is_told() {
    let three = three();
    let _clients = [0, 1, 2].map(|gateway| three.client(gateway, &format!("userId=u{gateway}&room=r")));
    let stats = three.get("/v1/stats");
    assert_eq!((&stats["clients"], &stats["users"], &stats["rooms"]), (&3.into(), &3.into(), &1.into()));
    assert_eq!((&stats["gateways"]["known"], &stats["gateways"]["linked"]), (&3.into(), &3.into()));
    let gateways = three.get("/v1/gateways");
    assert!(gateways.as_array().unwrap().iter().all(|gateway| gateway["state"] == "linked"), "{gateways}");
}

#[test]
fn a_gateway_is_drained_and_its_clients_are_told_to_go() {
    let mut three = three();
    let (mut goes, mut stays) = (three.client(1, "userId=goes"), three.client(2, "userId=stays"));
    let (status, answer) = three.0.logics[0].call("POST /v1/gateways/gw-1/drain", "");
    assert_eq!((status, &answer["gateway"], &answer["changed"]), (202, &"gw-1".into(), &true.into()));
    assert_eq!(goes.closed().0, 1012);
    drop(goes);
    assert_eq!(three.0.gateways[1].ended(), Some(0), "a gateway that has drained ends well");
    assert_eq!(three.push(r#"{"user":"stays"}"#, 1), 1);
    assert_eq!(stays.data(), [1]);
    super::wait_until("it is not missed", || {
        let (status, stats) = three.0.logics[1].get("/v1/stats");
        status == 200 && stats["partial"] == false && stats["clients"] == 1
    });
    assert_eq!(three.refused("POST /v1/gateways/nobody/drain", ""), (404, "gateway_not_found".into()));
}

#[test]
fn a_gateway_that_was_killed_makes_answers_partial_until_it_is_back() {
    let mut three = three();
    let _clients = [0, 1, 2].map(|gateway| three.client(gateway, "userId=u&room=r"));
    three.0.gateways[2].kill();
    super::wait_until("it is missed", || {
        let (status, room) = three.0.logics[1].get("/v1/rooms/r");
        status == 200
            && room["partial"] == true
            && room["clients"] == 2
            && room["failed"][0]["gateway"] == "gw-2"
    });
    let user = three.get("/v1/users/u");
    assert_eq!((&user["online"], &user["partial"], &user["total"]), (&true.into(), &true.into(), &2.into()));
    three.0.gateways[2].start();
    super::wait_until("all is whole again", || {
        let (status, stats) = three.0.logics[1].get("/v1/stats");
        status == 200 && stats["partial"] == false && stats["clients"] == 2
    });
}
