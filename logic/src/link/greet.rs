//! The beginning of a link: two streams, the secret, and who is who.

use bytes::Bytes;
use common::ids::Instance;
use common::link::codec::{Inbound, Outbound};
use common::link::message::{ControlDown, ControlUp, GatewayHello, LogicHello, control_down, control_up};
use common::link::{CONTROL_PATH, DATA_PATH, LINK_HEADER, VERSION, stream};
use h2::client::{ResponseFuture, SendRequest};
use h2::{RecvStream, SendStream};
use http::{HeaderValue, Request, StatusCode, header};

use super::{Link, Peer, Trouble};

/// As much of a refusal as is shown.
const REFUSAL_BYTES_MAX: usize = 512;

/// A stream in both directions.
pub(super) struct Duplex {
    pub(super) send: SendStream<Bytes>,
    pub(super) receive: RecvStream,
    pub(super) inbound: Inbound,
}

/// A link on which both have said who they are.
pub(super) struct Greeted {
    pub(super) control: Duplex,
    pub(super) data: Duplex,
    pub(super) hello: GatewayHello,
    pub(super) peer: Peer,
}

impl Link {
    /// Opens both streams and exchanges hellos.
    pub(super) async fn greet(&self, sender: SendRequest<Bytes>) -> Result<Greeted, Trouble> {
        let mut sender = sender.ready().await.map_err(lost)?;
        let text = Instance::random().to_string();
        let (control_answer, mut control_send) = self.open(&mut sender, CONTROL_PATH, &text)?;
        sender = sender.ready().await.map_err(lost)?;
        let (data_answer, data_send) = self.open(&mut sender, DATA_PATH, &text)?;
        let said = say(&mut control_send, control_down::Body::Hello(self.hello())).await;
        let mut inbound = Inbound::default();
        // Whoever refuses the stream resets it, and the reason is in the answer: so the answer comes first.
        let mut receive = answered(control_answer).await?;
        said?;
        let hello = loop {
            match inbound.next_message::<ControlUp>().map_err(|error| Trouble::Refused(error.to_string()))? {
                Some(message) => break first(message)?,
                None => stream::receive(&mut receive, &mut inbound).await.map_err(stream_lost)?,
            }
        };
        let peer = check(&hello)?;
        let data_receive = answered(data_answer).await?;
        Ok(Greeted {
            control: Duplex { send: control_send, receive, inbound },
            data: Duplex { send: data_send, receive: data_receive, inbound: Inbound::default() },
            hello,
            peer,
        })
    }

    /// Who we are, and whose items are kept. Said again when that changes; a gateway that does not expect it passes over
    /// it, and hears it with its next link.
    pub(super) fn hello(&self) -> LogicHello {
        LogicHello {
            version: VERSION,
            name: self.shared.name.clone(),
            instance: self.shared.publisher.instance.0,
            ..self.shared.publisher.hello_of_histories()
        }
    }

    fn open(
        &self,
        sender: &mut SendRequest<Bytes>,
        path: &str,
        link: &str,
    ) -> Result<(ResponseFuture, SendStream<Bytes>), Trouble> {
        let mut request = Request::post(format!("http://{}{path}", self.address)).header(LINK_HEADER, link);
        if let Some(secret) = &self.shared.secret {
            let mut proof = HeaderValue::try_from(secret.authorization())
                .map_err(|_| Trouble::Refused("the link secret does not fit into a header".into()))?;
            proof.set_sensitive(true);
            request = request.header(header::AUTHORIZATION, proof);
        }
        let request = request.body(()).map_err(|error| Trouble::Refused(format!("bad address: {error}")))?;
        sender.send_request(request, false).map_err(lost)
    }
}

/// Says something on the control stream.
pub(super) async fn say(send: &mut SendStream<Bytes>, body: control_down::Body) -> Result<(), Trouble> {
    let mut outbound = Outbound::default();
    outbound.put(&ControlDown { body: Some(body) });
    match outbound.take() {
        Some(chunk) => stream::send(send, chunk).await.map_err(stream_lost),
        None => Ok(()),
    }
}

/// Waits for the answer to a stream; anything but 200 is a refusal, with what it says.
async fn answered(answer: ResponseFuture) -> Result<RecvStream, Trouble> {
    let answer = answer.await.map_err(lost)?;
    let status = answer.status();
    let mut body = answer.into_body();
    if status == StatusCode::OK {
        return Ok(body);
    }
    let mut text = Vec::new();
    while let Some(Ok(chunk)) = body.data().await {
        let _ = body.flow_control().release_capacity(chunk.len());
        text.extend_from_slice(&chunk);
        if text.len() > REFUSAL_BYTES_MAX {
            break;
        }
    }
    let said = match serde_json::from_slice::<serde_json::Value>(&text) {
        Ok(problem) => problem["detail"].as_str().unwrap_or_default().to_owned(),
        Err(_) => printable(&text),
    };
    let hint = match status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => "; do both nodes have the same link secret?",
        StatusCode::NOT_FOUND => "; is this the link port of a gateway?",
        _ => "",
    };
    let colon = if said.is_empty() { "" } else { ": " };
    Err(Trouble::Refused(format!("the gateway answered {status}{colon}{said}{hint}")))
}

/// The first message on the control stream.
fn first(message: ControlUp) -> Result<GatewayHello, Trouble> {
    match message.body {
        Some(control_up::Body::Hello(hello)) => Ok(hello),
        Some(control_up::Body::Refused(refused)) => Err(Trouble::Refused(refused.reason)),
        _ => Err(Trouble::Refused("the gateway did not begin with its hello".into())),
    }
}

fn check(hello: &GatewayHello) -> Result<Peer, Trouble> {
    if hello.version != VERSION {
        return Err(Trouble::Refused(format!(
            "the gateway speaks version {} of the link, this node version {VERSION}: update the older one",
            hello.version
        )));
    }
    common::names::check(&hello.name).map_err(|bad| Trouble::Refused(format!("the gateway's name {bad}")))?;
    Ok(Peer { name: hello.name.clone(), instance: Instance(hello.instance) })
}

/// At most the first bytes of what a stranger said, on one line.
fn printable(text: &[u8]) -> String {
    let text = String::from_utf8_lossy(&text[..text.len().min(REFUSAL_BYTES_MAX)]);
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect::<String>().trim().to_owned()
}

pub(super) fn lost(error: h2::Error) -> Trouble {
    Trouble::Lost(super::in_words(&error))
}

pub(super) fn stream_lost(lost: stream::Lost) -> Trouble {
    match lost {
        stream::Lost::Garbage(garbage) => Trouble::Refused(garbage.to_string()),
        stream::Lost::Broken(error) => Trouble::Lost(super::in_words(&error)),
        stream::Lost::Ended => Trouble::Lost("the gateway ended the link".into()),
    }
}
