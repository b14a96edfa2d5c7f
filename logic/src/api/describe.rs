//! What each call takes and answers, in words and types: what the description of the API is made from.

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde_json::json;

use super::manage::Answer;
use super::routes::Call;
use super::{clients, gateways, history, ledger, push, rooms, stats, users};

/// A query parameter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Query {
    AppId,
    Cursor,
    Limit,
    DryRun,
    Since,
    Epoch,
}

const LISTING: &[Query] = &[Query::AppId, Query::Cursor, Query::Limit];
const HISTORY: &[Query] = &[Query::Since, Query::Epoch, Query::Limit];

/// The body of a call or of its answer.
#[derive(Debug, Clone, Copy)]
pub(super) struct Content {
    pub(super) media_type: &'static str,
    pub(super) schema: fn(&mut SchemaGenerator) -> Schema,
}

/// One call.
#[derive(Debug, Clone, Copy)]
pub(super) struct Described {
    pub(super) id: &'static str,
    pub(super) tag: &'static str,
    pub(super) summary: &'static str,
    pub(super) query: &'static [Query],
    pub(super) takes: &'static [Content],
    pub(super) status: u16,
    pub(super) answer: Content,
    /// Problems that are its own, beside those of every call.
    pub(super) problems: &'static [u16],
}

const fn json_of(schema: fn(&mut SchemaGenerator) -> Schema) -> Content {
    Content { media_type: "application/json", schema }
}

fn of<T: JsonSchema>(generator: &mut SchemaGenerator) -> Schema {
    generator.subschema_for::<T>()
}

/// An answer that may be partial.
fn whole<T: JsonSchema>(generator: &mut SchemaGenerator) -> Schema {
    of::<Answer<T>>(generator)
}

fn any(_: &mut SchemaGenerator) -> Schema {
    json!({"type": "object"}).try_into().expect("an object is a schema")
}

const QUESTION: &[u16] = &[400, 501, 503, 504];
const ABOUT_ONE: &[u16] = &[400, 404, 501, 503, 504];
const CHANGE: &[u16] = &[400, 501, 503, 504];

/// A call that reads or changes something and takes no body.
const fn plain(
    id: &'static str,
    tag: &'static str,
    summary: &'static str,
    query: &'static [Query],
    answer: fn(&mut SchemaGenerator) -> Schema,
    problems: &'static [u16],
) -> Described {
    Described { id, tag, summary, query, takes: &[], status: 200, answer: json_of(answer), problems }
}

/// The description of a call; `None`: it is the machine's own.
#[rustfmt::skip]
pub(super) fn describe(call: Call) -> Option<Described> {
    use Query::AppId;
    Some(match call {
        Call::Push | Call::PushBatch | Call::PushCounts => pushes(call),
        Call::Clients => plain("listClients", "clients", "Connections, in pages", LISTING, whole::<clients::ClientPage>, QUESTION),
        Call::Client => plain("getClient", "clients", "One connection: its user, application, rooms, gateway", &[], of::<clients::OneClient>, ABOUT_ONE),
        Call::CloseClient => plain("closeClient", "clients", "Close a connection, with 4502", &[], of::<clients::ClosedClient>, ABOUT_ONE),
        Call::Bind => Described {
            takes: const { &[json_of(of::<clients::Binding>)] },
            ..plain("bindClient", "clients", "Make a connection a user's", &[], of::<clients::BoundClient>, &[400, 404, 408, 413, 415, 501, 503, 504])
        },
        Call::Unbind => plain("unbindClient", "clients", "Make a connection nobody's; its rooms stay", &[], of::<clients::BoundClient>, ABOUT_ONE),
        Call::JoinClient => plain("joinClient", "clients", "Let a connection join a room: what is pushed from then on reaches it", &[], of::<clients::MovedClient>, &[400, 404, 409, 501, 503, 504]),
        Call::LeaveClient => plain("leaveClient", "clients", "Let a connection leave a room", &[], of::<clients::MovedClient>, ABOUT_ONE),
        Call::Users => plain("listUsers", "users", "Users that are online, each once, in pages", LISTING, whole::<users::UserPage>, QUESTION),
        Call::User => plain("getUser", "users", "Whether a user is online, and its connections, in pages", LISTING, whole::<users::User>, QUESTION),
        Call::CloseUser => plain("closeUser", "users", "Close all connections of a user, with 4502", &[AppId], whole::<users::Closed>, CHANGE),
        Call::JoinUser => plain("joinUser", "users", "Let all connections of a user join a room", &[AppId], whole::<users::Joined>, &[400, 404, 409, 501, 503, 504]),
        Call::LeaveUser => plain("leaveUser", "users", "Let all connections of a user leave a room", &[AppId], whole::<users::Left>, CHANGE),
        Call::Rooms => plain("listRooms", "rooms", "Rooms with a member, each once, in pages", LISTING, whole::<rooms::RoomPage>, QUESTION),
        Call::Room => plain("getRoom", "rooms", "How many are in a room", &[AppId], whole::<rooms::Room>, QUESTION),
        Call::RoomClients => plain("listRoomClients", "rooms", "The members of a room, in pages", LISTING, whole::<clients::ClientPage>, QUESTION),
        Call::RoomHistory => plain("getRoomHistory", "history", "The items that are kept of a room", HISTORY, of::<history::History>, &[400, 404]),
        Call::UserHistory => plain("getUserHistory", "history", "The items that are kept of a user", HISTORY, of::<history::History>, &[400, 404]),
        Call::Dissolve => plain("dissolveRoom", "rooms", "Let all members leave a room; they stay connected", &[AppId], whole::<users::Left>, CHANGE),
        Call::Apps => plain("listApps", "cluster", "Applications with a connection, in pages", LISTING, whole::<stats::AppPage>, QUESTION),
        Call::Stats => plain("getStats", "cluster", "How many are online, in all or of one application", &[AppId], whole::<stats::Stats>, QUESTION),
        Call::Gateways => plain("listGateways", "cluster", "The gateways that are known, linked or not, and why not", &[], of::<Vec<gateways::Gateway>>, &[400]),
        Call::Drain => Described {
            status: 202,
            ..plain("drainGateway", "cluster", "Let a gateway say good-bye to its clients and go", &[], of::<stats::Draining>, &[400, 404, 409, 501, 503, 504])
        },
        Call::OpenApi => plain("getOpenApi", "descriptions", "This document", &[], any, &[400]),
        Call::AsyncApi => plain("getAsyncApi", "descriptions", "The same of the WebSocket side, as AsyncAPI", &[], any, &[400]),
        Call::Announce | Call::Docs => return None,
    })
}

#[rustfmt::skip]
fn pushes(call: Call) -> Described {
    let problems = &[400, 408, 409, 413, 415, 422, 503];
    match call {
        Call::Push => Described {
            takes: const { &[json_of(push::schema::push)] },
            status: 202,
            ..plain("push", "push", "Push to all, rooms, users or connections", &[Query::DryRun], push::schema::answer, problems)
        },
        Call::PushBatch => Described {
            takes: const { &[json_of(push::schema::batch), Content { media_type: "application/x-ndjson", schema: push::schema::lines }] },
            status: 202,
            ..plain("pushBatch", "push", "Many pushes in one call: all of them are checked before any is sent", &[], push::schema::batch_answer, problems)
        },
        _ => plain("getPush", "push", "What became of a push, for five minutes", &[], of::<ledger::Counts>, &[400, 404]),
    }
}
