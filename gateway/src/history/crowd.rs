//! Twenty thousand clients of a gateway that died come to this one at once: a question for each room, not for each client.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use common::client;
use common::ids::Epoch;
use common::link::history::{Fetched, KeptItem};
use common::link::message::{LogicHello, Position};
use common::metrics::Metrics;
use common::shutdown::Shutdown;
use common::tasks::Tasks;
use tokio::task::JoinSet;

use super::resume;
use crate::frame;
use crate::node::assemble;
use crate::registry::Identity;
use crate::settings::Settings;
use crate::transport::{Memory, Transport};
use crate::tune::Tuner;

const CLIENTS: usize = 20_000;
const ROOMS: usize = 40;

const EPOCH: u64 = 5;
const KNOWN: u64 = 1;
const HEAD: u64 = 3;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crowd_that_comes_back_is_a_question_for_each_room_and_each_gets_its_items_once() {
    let (settings, shutdown) = (Settings::default(), Shutdown::new());
    let (address, tasks) = (settings.listen, Tasks::new(shutdown.clone()));
    let metrics = Metrics::new("gateway");
    let tuner = Tuner::new(&settings, &metrics);
    let parts = Arc::new(assemble(settings, tuner, address, &metrics, &tasks, &shutdown));
    let hello = LogicHello { history_rooms: vec!["*".to_owned()], ..LogicHello::default() };
    let (_subscribed, mut asked) = parts.fetches.subscribe(&hello);
    let logic = parts.clone();
    let mut crowd = JoinSet::new();
    let began = Instant::now();
    for number in 0..CLIENTS {
        let parts = parts.clone();
        crowd.spawn(async move {
            let registration = parts.registry.register(&Identity::default(), &[], |local| {
                parts.connect(Transport::Memory(Box::<Memory>::default()).into(), local)
            });
            let connection = &registration.connection;
            connection.greet(frame::PING);
            let from = client::Position { epoch: Epoch(EPOCH).to_string(), offset: KNOWN };
            let room = format!("r{}", number % ROOMS);
            let told = resume::join(&parts, connection, &room, Some(&from)).await.unwrap().unwrap();
            assert_eq!((&told["recovered"], &told["offset"]), (&true.into(), &HEAD.into()), "{told}");
            let heard = connection.heard();
            let heard = String::from_utf8_lossy(&heard);
            for offset in KNOWN + 1..=HEAD {
                let times = heard.matches(&format!("\"offset\":{offset},")).count();
                assert_eq!(times, 1, "offset {offset} in {heard}");
            }
        });
    }
    let mut questions = 0;
    let answer = async {
        while let Some(question) = asked.recv().await {
            questions += 1;
            let since = question.since.map_or(0, |at| at.offset);
            let body = Bytes::from_static(b"\"data\":1}");
            let item = |offset| KeptItem { offset, body: body.clone(), ..KeptItem::default() };
            logic.fetches.answered(Fetched {
                id: question.id,
                head: Some(Position { epoch: EPOCH, offset: HEAD }),
                continues: true,
                last: HEAD,
                items: (since + 1..=HEAD).map(item).collect(),
            });
        }
    };
    let all = async { while crowd.join_next().await.transpose().unwrap().is_some() {} };
    tokio::select! { () = answer => unreachable!("the link is there"), () = all => {} }
    // An answer serves for a second.
    let most = ROOMS * (2 + usize::try_from(began.elapsed().as_secs()).unwrap());
    assert!(questions <= most, "{questions} questions for {ROOMS} rooms in {:?}", began.elapsed());
    shutdown.stop();
}
