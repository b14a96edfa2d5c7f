//! `tidegate clients`, `users` and `rooms`: who is connected, page after page, and an end to it.

use std::time::Duration;

use bytes::Bytes;
use clap::Subcommand;
use http::{Method, Request};
use http_body_util::Full;
use serde_json::Value;

use super::api::Api;
use crate::failure::Failure;
use crate::{nodes, output};

pub(super) const OF_CLIENTS: &str = "Examples:
  tidegate clients                              all connections
  tidegate clients --app-id 3 --json | jq -r .userId | sort | uniq -c
  tidegate clients show 01k7m2…                 one, with its rooms
  tidegate clients close 01k7m2…

Exit codes: 0; 1 refused, or not online; 69 nobody answers, or a gateway without a link may hold more.";

pub(super) const OF_USERS: &str = "Examples:
  tidegate users                                who is online, with how many connections
  tidegate users show alice                     the connections of one
  tidegate users close alice bob                all connections of these

Exit codes: 0; 1 refused, or not online; 69 nobody answers, or a gateway without a link may hold more.";

pub(super) const OF_ROOMS: &str = "Examples:
  tidegate rooms                                rooms with a member, with how many connections
  tidegate rooms show r1                        who is in it
  tidegate rooms close r1                       take everybody out of it; connections stay

Exit codes: 0; 1 refused, or nobody there; 69 nobody answers, or a gateway without a link may hold more.";

/// A change takes as long as a gateway needs for all that it holds.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(30);

/// Entries of a page, as many as a call gives.
const PAGE: usize = common::link::ask::PAGE_MAX as usize;

/// Flags of all three.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    what: Option<What>,
    /// Only connections of this application
    #[arg(long, global = true, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    app_id: Option<u32>,
    /// One JSON object a line
    #[arg(long, global = true)]
    json: bool,
    #[command(flatten)]
    api: Api,
}

/// What is done; a list if nothing is said.
#[derive(Debug, Subcommand)]
enum What {
    /// All of them
    List,
    /// One of them, by its id or name
    Show {
        /// Id or name
        name: String,
    },
    /// End these
    Close {
        /// Ids or names
        #[arg(required = true)]
        names: Vec<String>,
    },
}

/// Of what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Of {
    Clients,
    Users,
    Rooms,
}

impl Of {
    fn plural(self) -> &'static str {
        match self {
            Self::Clients => "clients",
            Self::Users => "users",
            Self::Rooms => "rooms",
        }
    }

    /// Members of an entry, in the order of the columns.
    fn columns(self) -> &'static [&'static str] {
        match self {
            Self::Clients => &["clientId", "userId", "appId", "gateway", "since"],
            Self::Users => &["userId", "clients"],
            Self::Rooms => &["room", "clients"],
        }
    }
}

impl Args {
    /// Does it.
    ///
    /// # Errors
    /// A refusal or nobody online (1), nobody there or an answer that is not whole (69).
    pub(super) fn run(&self, of: Of) -> Result<(), Failure> {
        nodes::on_runtime(Box::pin(async {
            match &self.what {
                None | Some(What::List) => self.list(of, &format!("/v1/{}", of.plural())).await.map(drop),
                Some(What::Show { name }) => self.show(of, name).await,
                Some(What::Close { names }) => self.close(of, names).await,
            }
        }))
    }

    async fn show(&self, of: Of, name: &str) -> Result<(), Failure> {
        let path = format!("/v1/{}/{}", of.plural(), segment(name));
        let shown = match of {
            Of::Clients => {
                let client = self.call(Method::GET, &path).await?;
                return if self.json { output::line(&client.to_string()) } else { print_members(&client) };
            }
            Of::Users => self.list(Of::Clients, &path).await?,
            Of::Rooms => self.list(Of::Clients, &format!("{path}/clients")).await?,
        };
        if shown == 0 {
            Err(Failure::failed(format!("nobody is there: {name:?} is not online")))
        } else {
            Ok(())
        }
    }

    async fn close(&self, of: Of, names: &[String]) -> Result<(), Failure> {
        for name in names {
            // An application is asked for of users and rooms; a client is one.
            let app = self.app_id.filter(|_| of != Of::Clients);
            let app = app.map_or_else(String::new, |app| format!("?appId={app}"));
            let answer =
                self.call(Method::DELETE, &format!("/v1/{}/{}{app}", of.plural(), segment(name))).await?;
            if self.json {
                output::line(&answer.to_string())?;
            } else {
                let count = match of {
                    Of::Clients => "closed".to_owned(),
                    Of::Users => format!("{} connections closed", answer["closed"]),
                    Of::Rooms => format!("{} connections taken out", answer["left"]),
                };
                output::line(&format!("{name}: {count}"))?;
            }
            check_whole(&answer)?;
        }
        Ok(())
    }

    /// Prints all entries of a list; how many there were.
    async fn list(&self, of: Of, path: &str) -> Result<usize, Failure> {
        let app = self.app_id.map_or_else(String::new, |app| format!("&appId={app}"));
        let (mut printed, mut cursor, mut whole) = (0, String::new(), Ok(()));
        loop {
            let page = self.call(Method::GET, &format!("{path}?limit={PAGE}{app}{cursor}")).await?;
            for entry in page[of.plural()].as_array().into_iter().flatten() {
                if printed == 0 && !self.json {
                    output::line(&row(of.columns().iter().map(|name| name.to_uppercase())))?;
                }
                let line = match self.json {
                    true => entry.to_string(),
                    false => row(of.columns().iter().map(|name| plain(&entry[name]))),
                };
                output::line(&line)?;
                printed += 1;
            }
            whole = whole.and(check_whole(&page));
            match page["cursor"].as_str() {
                Some(next) => cursor = format!("&cursor={}", segment(next)),
                None => return whole.map(|()| printed),
            }
        }
    }

    async fn call(&self, method: Method, path: &str) -> Result<Value, Failure> {
        let what = format!("{method} {path}");
        let request = Request::builder().method(method).uri(path).body(Full::<Bytes>::default());
        let request = request.map_err(|error| Failure::usage(format!("{path}: {error}")))?;
        let answer = self.api.call(&what, request, ANSWER_TIME_MAX).await?;
        serde_json::from_slice(&answer).map_err(|error| Failure::failed(format!("no JSON came: {error}")))
    }
}

/// Whether gateways that could not be asked may hold more.
fn check_whole(answer: &Value) -> Result<(), Failure> {
    if answer["partial"] != true {
        return Ok(());
    }
    let failed = answer["failed"].as_array().into_iter().flatten();
    let names: Vec<_> =
        failed.map(|one| format!("{} ({})", plain(&one["gateway"]), plain(&one["code"]))).collect();
    Err(Failure::unavailable(format!("this is not all: no answer from {}", names.join(", "))))
}

fn print_members(value: &Value) -> Result<(), Failure> {
    for (name, value) in value.as_object().into_iter().flatten() {
        output::line(&format!("{name:<10} {}", plain(value)))?;
    }
    Ok(())
}

/// A value for people: texts without quotes, nothing as a dash.
fn plain(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.clone(),
        Value::Array(values) => values.iter().map(plain).collect::<Vec<_>>().join(" "),
        other => other.to_string(),
    }
}

/// Columns of a width that ids have, the last as it comes.
fn row(cells: impl Iterator<Item = String>) -> String {
    let cells: Vec<_> = cells.map(|cell| format!("{cell:<26}")).collect();
    cells.join("  ").trim_end().to_owned()
}

/// A name as a segment of a path (RFC 3986 §2.3): all but letters and digits escaped.
fn segment(name: &str) -> String {
    let byte = |byte: u8| match byte {
        b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' => char::from(byte).to_string(),
        other => format!("%{other:02X}"),
    };
    name.bytes().map(byte).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_segments_and_values_become_plain() {
        assert_eq!(segment("a/b ä.?-_9"), "a%2Fb%20%C3%A4%2E%3F-_9");
        assert_eq!(plain(&serde_json::json!(["a", 3, null])), "a 3 -");
        assert_eq!(row(["ab".to_owned(), "c".to_owned()].into_iter()), format!("ab{}  c", " ".repeat(24)));
    }

    #[test]
    fn an_answer_that_is_not_whole_is_said_with_who_is_missing() {
        let answer =
            serde_json::json!({"partial": true, "failed": [{"gateway": "gw-1", "code": "link_lost"}]});
        let Err(Failure::Said { code: 69, text }) = check_whole(&answer) else { panic!("it is not whole") };
        assert!(text.contains("gw-1 (link_lost)"), "{text}");
        assert!(check_whole(&serde_json::json!({"partial": false})).is_ok());
    }
}
