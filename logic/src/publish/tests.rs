//! The end of a link with many names: out of all routes at once, and cleaned away without holding anyone up.

use common::link::message::Route;
use common::metrics::Metrics;
use common::names::Kind;

use super::*;
use crate::push::Target;

const NAMES: usize = 100_000;

fn link(publisher: &Publisher, address: &str, instance: u64) -> (LinkId, Arc<Outbox>) {
    publisher.change_roster(|roster| roster.know(&Arc::from(address)));
    let outbox = Arc::new(Outbox::new(1024, Duration::from_secs(1)));
    let ends = Ends { outbox: outbox.clone(), desk: Arc::default(), heads: Arc::default() };
    (publisher.link_up(address, address, Instance(instance), ends).unwrap(), outbox)
}

fn routes(names: impl Iterator<Item = usize>) -> Routes {
    let begun = names.map(|n| Route { kind: Kind::User as i32, name: format!("u{n}") }).collect();
    Routes { serial: 1, begun, ceased: Vec::new(), complete: true }
}

#[tokio::test]
async fn cleaning_after_a_large_link_gives_others_their_turn_and_never_shows_it() {
    let counters = Counters::new(&Metrics::new("logic"));
    let publisher = Publisher::new(Instance(1), Duration::from_secs(1), counters, Histories::none());
    let ((lost, outbox), (stays, _)) = (link(&publisher, "lost", 2), link(&publisher, "stays", 3));
    publisher.routes(lost, &routes(0..NAMES)).await;
    publisher.routes(stays, &routes((0..NAMES).step_by(2))).await;
    let remains = publisher.link_down("lost", lost, &outbox).unwrap();
    let others = async {
        let (mut turns, mut holders) = (0_usize, Vec::new());
        while publisher.with_roster(|roster| roster.routing.count(Kind::User)) > NAMES / 2 {
            for n in [0, 1, NAMES - 2, NAMES - 1] {
                let name = format!("u{n}");
                publisher.with_roster(|roster| roster.routing.holders(Kind::User, &name, &mut holders));
                assert_eq!(holders, if n % 2 == 0 { vec![stays] } else { vec![] }, "{name}");
            }
            turns += 1;
            tokio::task::yield_now().await;
        }
        turns
    };
    let ((), turns) = tokio::join!(publisher.clean(remains), others);
    assert!(turns >= NAMES / ROUTES_STEP - 1, "{turns} turns");
    let push = Push {
        to: Target::Names(Kind::User, vec!["u0".into()]),
        app: None,
        except: Vec::new(),
        event: None,
        data: "1",
        key: String::new(),
        urgent: false,
        ttl_ms: 0,
        wait: Wait::Accepted,
        trace: None,
    };
    assert_eq!(publisher.reach(&push).unwrap().concerned.len(), 1);
}
