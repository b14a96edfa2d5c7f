//! permessage-deflate is agreed on, or not, as RFC 7692 §7.1 and RFC 6455 §9.1 have it, and what was agreed holds. A
//! case is a line: section, the lines of the offer, the answer.

use flate2::{Compress, Compression, FlushCompress};
use gateway::Settings;

use crate::bad_frames::frame;
use crate::deflate::{Deflating, offers};
use crate::node::{settings, start};

/// The answer to an offer that asks for nothing.
const PLAINEST: &str = "permessage-deflate; server_no_context_takeover; client_no_context_takeover";

type Case = (&'static str, &'static [&'static str], Option<&'static str>);

#[rustfmt::skip]
const ACCEPTED: &[Case] = &[
    ("7.1", &["permessage-deflate"], Some(PLAINEST)),
    ("7.1.1.1", &["permessage-deflate; server_no_context_takeover"], Some(PLAINEST)),
    ("7.1.1.2", &["permessage-deflate; client_no_context_takeover"], Some(PLAINEST)),
    ("7.1.1", &["permessage-deflate; client_no_context_takeover; server_no_context_takeover"], Some(PLAINEST)),
    ("7.1.2.2", &["permessage-deflate; client_max_window_bits"], Some(PLAINEST)),
    ("7.1.2.2", &["permessage-deflate; client_max_window_bits=8"], Some(PLAINEST)),
    ("7.1.2.2", &["permessage-deflate; client_max_window_bits=15"], Some(PLAINEST)),
    ("7.1.2.1", &["permessage-deflate; server_max_window_bits=9"], Some("permessage-deflate; server_no_context_takeover; client_no_context_takeover; server_max_window_bits=9")),
    ("7.1.2.1", &["permessage-deflate; server_max_window_bits=10"], Some("permessage-deflate; server_no_context_takeover; client_no_context_takeover; server_max_window_bits=10")),
    ("7.1.2.1", &["permessage-deflate; server_max_window_bits=15"], Some("permessage-deflate; server_no_context_takeover; client_no_context_takeover; server_max_window_bits=15")),
    ("7.1.2", &["permessage-deflate; client_max_window_bits; server_max_window_bits=12"], Some("permessage-deflate; server_no_context_takeover; client_no_context_takeover; server_max_window_bits=12")),
    ("6455 9.1", &["permessage-deflate; server_max_window_bits=\"10\""], Some("permessage-deflate; server_no_context_takeover; client_no_context_takeover; server_max_window_bits=10")),
    ("7.1", &["permessage-deflate ;\tclient_max_window_bits ; server_no_context_takeover"], Some(PLAINEST)),
    ("5.1", &["permessage-deflate; magic, permessage-deflate"], Some(PLAINEST)),
    ("5.1", &["permessage-deflate; server_max_window_bits=8, permessage-deflate; server_max_window_bits=9"], Some("permessage-deflate; server_no_context_takeover; client_no_context_takeover; server_max_window_bits=9")),
    ("5.1", &["permessage-deflate; server_max_window_bits=10, permessage-deflate"], Some("permessage-deflate; server_no_context_takeover; client_no_context_takeover; server_max_window_bits=10")),
    ("5.1", &["permessage-bzip2, permessage-deflate"], Some(PLAINEST)),
    ("6455 9.1", &["x-foo; a=1; b=\"2\"; c", "permessage-deflate"], Some(PLAINEST)),
    ("6455 9.1", &["permessage-deflate; client_max_window_bits=\"\\1\\5\""], Some(PLAINEST)),
    ("9110 5.6.1", &[", ,permessage-deflate,,"], Some(PLAINEST)),
];

#[rustfmt::skip]
const DECLINED: &[Case] = &[
    ("5.1", &[], None),
    ("5.1", &["x-webkit-deflate-frame"], None),
    ("5.1", &["permessage-bzip2"], None),
    ("7", &["permessage-deflate2"], None),
    ("7.1", &["permessage-deflate; magic"], None),
    ("7.1", &["permessage-deflate; magic=1"], None),
    ("7.1", &["permessage-deflate; server_no_context_takeover; server_no_context_takeover"], None),
    ("7.1", &["permessage-deflate; client_max_window_bits; client_max_window_bits=10"], None),
    ("7.1.1.1", &["permessage-deflate; server_no_context_takeover=1"], None),
    ("7.1.1.2", &["permessage-deflate; client_no_context_takeover=true"], None),
    ("7.1.2.1", &["permessage-deflate; server_max_window_bits"], None),
    ("7.1.2.1", &["permessage-deflate; server_max_window_bits=7"], None),
    ("7.1.2.1", &["permessage-deflate; server_max_window_bits=8"], None),
    ("7.1.2.1", &["permessage-deflate; server_max_window_bits=16"], None),
    ("7.1.2.1", &["permessage-deflate; server_max_window_bits=010"], None),
    ("7.1.2.1", &["permessage-deflate; server_max_window_bits=ten"], None),
    ("7.1.2.1", &["permessage-deflate; server_max_window_bits=-10"], None),
    ("7.1.2.2", &["permessage-deflate; client_max_window_bits=7"], None),
    ("7.1.2.2", &["permessage-deflate; client_max_window_bits=16"], None),
    ("7.1.2.2", &["permessage-deflate; client_max_window_bits=09"], None),
    ("6455 9.1", &["permessage-deflate;"], None),
    ("6455 9.1", &["permessage-deflate server_no_context_takeover"], None),
    ("6455 9.1", &["permessage-deflate; server_max_window_bits="], None),
    ("6455 9.1", &["permessage-deflate; server_max_window_bits=\"10"], None),
    ("6455 9.1", &["permessage-deflate", "; ="], None),
];

/// A message as any client compresses it.
fn compressed(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(100);
    Compress::new(Compression::best(), false).compress_vec(text, &mut out, FlushCompress::Sync).unwrap();
    out.truncate(out.len() - 4);
    frame(0xc1, &out)
}

/// What was agreed, and whether it holds: compressed messages are understood if so, and refused if not.
async fn holds(client: &mut Deflating) -> bool {
    // The hello comes first, in any case.
    client.next_text().await;
    client.say(&compressed(b"ping")).await;
    if client.agreed.is_some() {
        let understood = client.next_text().await.1 == "pong";
        // A message says itself whether it is compressed (§6): plain ones are good too.
        client.say(&frame(0x81, b"ping")).await;
        understood && client.next_text().await.1 == "pong"
    } else {
        // The bit has no meaning then (RFC 6455 §5.2).
        client.closed().await == 1002
    }
}

#[tokio::test]
async fn each_offer_gets_the_answer_of_the_rfc() {
    let gateway = start(settings()).await;
    let mut failed = Vec::new();
    for (section, lines, answer) in [ACCEPTED, DECLINED].concat() {
        let mut client = offers(gateway.clients, "", lines).await;
        if client.agreed.as_deref() != answer || !holds(&mut client).await {
            failed.push(format!("§{section} {lines:?}: wanted {answer:?}, got {:?}", client.agreed));
        }
    }
    let cases = ACCEPTED.len() + DECLINED.len();
    assert!(failed.is_empty(), "{} of {cases} cases:\n{}", failed.len(), failed.join("\n"));
}

#[tokio::test]
async fn switched_off_every_offer_is_declined() {
    let gateway = start(Settings { deflate_level: 0, ..settings() }).await;
    for (section, lines, _) in ACCEPTED {
        let mut client = offers(gateway.clients, "", lines).await;
        assert_eq!(client.agreed, None, "§{section} {lines:?}");
        assert!(holds(&mut client).await, "§{section} {lines:?}");
    }
}
