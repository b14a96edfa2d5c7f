//! `tidegate push`: one push from a shell.

use std::io::Read;
use std::time::Duration;

use bytes::Bytes;
use clap::ValueEnum;
use http::{Method, Request, header};
use http_body_util::Full;
use serde::Serialize;
use serde_json::value::RawValue;

use super::api::Api;
use super::values;
use crate::failure::Failure;
use crate::{nodes, output};

const EXAMPLES: &str = "Examples:
  tidegate push --room r1 --data '{\"n\":1}'
  tidegate push --all --event notice --data '\"back in five minutes\"' --urgent
  tidegate push --user u1 --user u2 --data @message.json --ttl 30s --wait written
  date +%s | tidegate push --room clock --key now --data -

Prints the answer (JSON). Exit codes: 0 taken, 1 refused (the reason is on standard error), 69 nobody answers.";

/// An answer takes at most a second beyond the window; nobody waits longer than this for a broken one.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(15);

/// With `--wait written`: the longest window, and the time to write.
const WRITTEN_TIME_MAX: Duration = Duration::from_secs(90);

/// Flags of `push`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    #[command(flatten)]
    to: To,
    /// What to push: JSON, - for standard input, @FILE for a file
    #[arg(long, value_name = "JSON", allow_hyphen_values = true)]
    data: String,
    /// Only to connections of this application
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    app_id: Option<u32>,
    /// Not to this client (repeatable)
    #[arg(long, value_name = "ID")]
    except_client: Vec<String>,
    /// Name of the event, given to the client
    #[arg(long, value_parser = values::name)]
    event: Option<String>,
    /// Within a window, only the newest item with this key is sent
    #[arg(long, value_parser = values::name)]
    key: Option<String>,
    /// Do not wait for the window
    #[arg(long)]
    urgent: bool,
    /// Do not send once older than this
    #[arg(long, value_name = "DURATION", value_parser = values::ttl)]
    ttl: Option<Duration>,
    /// Answer after the gateways took it, or wrote it
    #[arg(long, default_value = "accepted")]
    wait: Wait,
    /// The same key and push again give the same answer, and are not sent twice
    #[arg(long, value_name = "KEY")]
    idempotency_key: Option<String>,
    /// The trace that the push belongs to (W3C Trace Context): its id stands in the log lines of all nodes about it
    #[arg(long, value_name = "TRACEPARENT", value_parser = values::traceparent)]
    traceparent: Option<String>,
    /// Say who would be reached, and send nothing
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    api: Api,
}

/// To whom: exactly one of these.
#[derive(Debug, clap::Args)]
#[group(required = true, multiple = false)]
struct To {
    /// To everybody
    #[arg(long)]
    all: bool,
    /// To a room (repeatable)
    #[arg(long, value_parser = values::name)]
    room: Vec<String>,
    /// To several rooms, separated by commas
    #[arg(long, value_delimiter = ',', value_name = "ROOM,…", value_parser = values::name)]
    rooms: Vec<String>,
    /// To a user (repeatable)
    #[arg(long, value_parser = values::name)]
    user: Vec<String>,
    /// To several users, separated by commas
    #[arg(long, value_delimiter = ',', value_name = "USER,…", value_parser = values::name)]
    users: Vec<String>,
    /// To a client, by its id (repeatable)
    #[arg(long, value_name = "ID")]
    client: Vec<String>,
    /// To several clients, separated by commas
    #[arg(long, value_delimiter = ',', value_name = "ID,…")]
    clients: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
enum Wait {
    /// The gateways took it
    Accepted,
    /// The gateways wrote it
    Written,
}

/// The body, as the contract has it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Body<'a> {
    to: Target<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    app_id: Option<u32>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    except_clients: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    event: Option<&'a str>,
    /// As it was typed: what the shell sends is what clients get.
    data: &'a RawValue,
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<&'a str>,
    urgent: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    ttl_ms: Option<u64>,
    wait: Wait,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
enum Target<'a> {
    All(bool),
    Room(&'a str),
    Rooms(&'a [String]),
    User(&'a str),
    Users(&'a [String]),
    Client(&'a str),
    Clients(&'a [String]),
}

impl To {
    fn target(&self) -> Target<'_> {
        match (&self.room[..], &self.user[..], &self.client[..]) {
            ([one], _, _) => Target::Room(one),
            (_, [one], _) => Target::User(one),
            (_, _, [one]) => Target::Client(one),
            ([_, ..], _, _) => Target::Rooms(&self.room),
            (_, [_, ..], _) => Target::Users(&self.user),
            (_, _, [_, ..]) => Target::Clients(&self.client),
            _ if !self.rooms.is_empty() => Target::Rooms(&self.rooms),
            _ if !self.users.is_empty() => Target::Users(&self.users),
            _ if !self.clients.is_empty() => Target::Clients(&self.clients),
            _ => Target::All(self.all),
        }
    }
}

impl Args {
    /// Makes the push and prints the answer.
    ///
    /// # Errors
    /// Data that is not JSON (2), a refusal (1), nobody there (69).
    pub(crate) fn run(&self) -> Result<(), Failure> {
        let text = read(&self.data)?;
        let data: &RawValue = serde_json::from_str(text.trim()).map_err(|error| {
            Failure::usage(format!("--data is not JSON: {error} (a text is JSON in quotes: '\"hello\"')"))
        })?;
        let body = serde_json::to_vec(&self.body(data)).map_err(Failure::failed)?;
        nodes::on_runtime(self.send(body))
    }

    fn body<'a>(&'a self, data: &'a RawValue) -> Body<'a> {
        Body {
            to: self.to.target(),
            app_id: self.app_id,
            except_clients: &self.except_client,
            event: self.event.as_deref(),
            data,
            key: self.key.as_deref(),
            urgent: self.urgent,
            ttl_ms: self.ttl.map(|ttl| u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX)),
            wait: self.wait,
        }
    }

    async fn send(&self, body: Vec<u8>) -> Result<(), Failure> {
        let path = if self.dry_run { "/v1/push?dryRun=true" } else { "/v1/push" };
        let mut request = Request::builder()
            .method(Method::POST)
            .uri(path)
            .header(header::CONTENT_TYPE, "application/json");
        if let Some(key) = &self.idempotency_key {
            request = request.header("idempotency-key", key);
        }
        if let Some(trace) = &self.traceparent {
            request = request.header("traceparent", trace);
        }
        let request = request
            .body(Full::new(Bytes::from(body)))
            .map_err(|error| Failure::usage(format!("--idempotency-key: {error}")))?;
        let time_max = if self.wait == Wait::Written { WRITTEN_TIME_MAX } else { ANSWER_TIME_MAX };
        let answer = self.api.call("push", request, time_max).await?;
        output::line(String::from_utf8_lossy(&answer).trim_end())
    }
}

/// The data itself, from where the flag says.
fn read(data: &str) -> Result<String, Failure> {
    let mut text = String::new();
    let read = match data.strip_prefix('@') {
        _ if data == "-" => {
            std::io::stdin().read_to_string(&mut text).map_err(|error| format!("standard input: {error}"))
        }
        Some(path) => std::fs::File::open(path)
            .and_then(|mut file| file.read_to_string(&mut text))
            .map_err(|error| format!("{path}: {error}")),
        None => return Ok(data.to_owned()),
    };
    read.map(|_| text).map_err(|wrong| Failure::failed(format!("--data {wrong}")))
}

#[cfg(test)]
mod tests {
    use crate::cli::{Cli, Command};
    use clap::Parser;

    fn body(flags: &[&str]) -> String {
        let argv = ["tidegate", "push", "--data", "0"].iter().chain(flags);
        let Command::Push(args) = Cli::parse_from(argv).command else { panic!("not a push") };
        let data = serde_json::value::to_raw_value(&7).unwrap();
        serde_json::to_string(&args.body(&data)).unwrap()
    }

    #[test]
    fn flags_become_the_body_of_the_contract() {
        for (flags, to) in [
            (&["--all"][..], r#"{"all":true}"#),
            (&["--room", "a"], r#"{"room":"a"}"#),
            (&["--room", "a", "--room", "b,c"], r#"{"rooms":["a","b,c"]}"#),
            (&["--rooms", "a,b"], r#"{"rooms":["a","b"]}"#),
            (&["--user", "u"], r#"{"user":"u"}"#),
            (&["--clients", "x"], r#"{"clients":["x"]}"#),
        ] {
            let expected = format!(r#"{{"to":{to},"data":7,"urgent":false,"wait":"accepted"}}"#);
            assert_eq!(body(flags), expected, "{flags:?}");
        }
        let all = ["--all", "--app-id=3", "--event=e", "--key=k", "--urgent", "--ttl=2s", "--wait=written"];
        let expected =
            r#""appId":3,"event":"e","data":7,"key":"k","urgent":true,"ttlMs":2000,"wait":"written"}"#;
        assert!(body(&all).ends_with(expected), "{}", body(&all));
    }
}
