//! Beside a naive engine: whatever is appended and read, nothing is missing and nothing is read twice, or the reader is
//! told that the history does not continue.

use std::collections::BTreeMap;

use super::*;

/// What a naive engine knows, which forgets nothing.
#[derive(Default)]
struct Naive {
    /// The items of each history, by number.
    items: BTreeMap<u8, Vec<u64>>,
    /// What each reader knows of each history, if it ever read it.
    readers: BTreeMap<(u8, u8), Position>,
    number: u64,
}

async fn append(naive: &mut Naive, node: &Node, to: &[u8]) {
    naive.number += 1;
    let names: Vec<_> = to.iter().map(|of| format!("r{of}")).collect();
    let names: Vec<_> = names.iter().map(String::as_str).collect();
    let places = node.try_push(&names, &naive.number.to_string()).await.unwrap();
    for (of, place) in to.iter().zip(places) {
        let items = naive.items.entry(*of).or_default();
        items.push(naive.number);
        assert_eq!(place.offset, items.len() as u64, "offsets count up from 1");
    }
}

async fn read(naive: &mut Naive, node: &Node, (reader, of): (u8, u8), items: usize) {
    let known = naive.readers.get(&(reader, of)).copied();
    let since = known.map(|at| Since { epoch: Some(Epoch(at.epoch)), offset: at.offset });
    let name = format!("r{of}");
    let most = Most { items, bytes: 1 << 20 };
    let page = node.read(whose(&name), since, most, Moment::now()).await.unwrap();
    let all = naive.items.get(&of).map_or(&[][..], Vec::as_slice);
    assert_eq!(page.head.offset, all.len() as u64);
    for (offset, item) in &page.items {
        assert_eq!(item.body, all[*offset as usize - 1].to_string());
    }
    assert!(page.items.is_sorted_by(|a, b| a.0 + 1 == b.0), "one after the other");
    let mut seen = page.head;
    match known {
        Some(at) if page.continues => {
            assert_eq!(at.epoch, page.head.epoch);
            let wanted = (page.head.offset - at.offset).min(items as u64);
            assert_eq!(page.items.len() as u64, wanted, "nothing is missing");
            assert!(page.items.first().is_none_or(|(first, _)| *first == at.offset + 1));
            seen.offset = page.last(at.offset);
        }
        Some(at) => {
            assert_eq!(at.epoch, page.head.epoch, "nothing was forgotten");
            assert!(all.len() as u64 - at.offset > KEEP.items as u64, "it would have continued");
        }
        None => assert!(page.items.first().is_none_or(|(first, _)| all.len() as u64 - first < 5)),
    }
    naive.readers.insert((reader, of), seen);
}

#[tokio::test]
async fn readers_miss_nothing_or_are_told() {
    let redis = Server::start(&[]).await;
    let nodes = [node(&redis.url(), "a").await, node(&redis.url(), "b").await];
    for seed in 0..40 {
        let (mut naive, mut random) = (Naive::default(), fastrand::Rng::with_seed(seed));
        redis
            .ask(&[
                "EVAL",
                "for _, k in ipairs(redis.call('KEYS', '*:[hs]:*')) do redis.call('DEL', k) end",
                "0",
            ])
            .await;
        for _ in 0..40 {
            let node = &nodes[random.usize(..2)];
            if random.bool() {
                let to: Vec<u8> = (0..random.usize(1..4)).map(|_| random.u8(..3)).collect();
                append(&mut naive, node, &to).await;
            } else {
                read(&mut naive, node, (random.u8(..3), random.u8(..3)), random.usize(..4)).await;
            }
        }
    }
}

#[tokio::test]
async fn places_that_never_were_do_not_continue() {
    let redis = Server::start(&[]).await;
    let node = node(&redis.url(), "a").await;
    let mut head = Position::default();
    for number in 1..=8 {
        head = node.push("r", &format!("{number:0100}")).await;
    }
    let epoch = Some(Epoch(head.epoch));
    let read = async |epoch, offset, bytes| {
        let since = Some(Since { epoch, offset });
        node.read(whose("r"), since, Most { items: 9, bytes }, Moment::now()).await.unwrap()
    };
    for (epoch, offset, continues) in [
        (epoch, 8, true),
        (epoch, 3, true),
        (None, 3, true),
        (epoch, 2, false),
        (epoch, 9, false),
        (epoch, u64::MAX, false),
        (epoch, 0, false),
        (Some(Epoch(1)), 8, false),
    ] {
        assert_eq!(read(epoch, offset, 1 << 20).await.continues, continues, "{epoch:?} {offset}");
    }
    let offsets = |page: Page| page.items.iter().map(|(offset, _)| *offset).collect::<Vec<_>>();
    assert_eq!(offsets(read(epoch, 3, 250).await), [4, 5], "as many as fit");
    assert_eq!(offsets(read(epoch, 3, 1).await), [4], "one that is too large goes alone");
    assert_eq!(offsets(read(epoch, 2, 1 << 20).await)[0], 4, "from the oldest");
}
