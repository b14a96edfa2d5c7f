//! Flags that say how many at most and how often, and which proxies are believed about who calls.

use std::time::Duration;

use clap::ValueEnum;
use clap::builder::BoolishValueParser;
use common::edge::{self, Cidr};
use common::http1::Bounds;
use common::limits::rate::Rate;

use super::values;
use crate::failure::Failure;

/// Limits of a gateway.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Limits")]
pub(super) struct Gateway {
    /// Connections of one address (of IPv6, one /64) at a time; 0: any number
    #[arg(
        long,
        env = "TIDEGATE_CONNECTIONS_PER_IP",
        hide_env_values = true,
        default_value = "0",
        value_name = "N"
    )]
    connections_per_ip: u32,
    /// Connections of one user at a time; 0: any number
    #[arg(
        long,
        env = "TIDEGATE_CONNECTIONS_PER_USER",
        hide_env_values = true,
        default_value = "0",
        value_name = "N"
    )]
    connections_per_user: u32,
    /// Connections that may begin in a second; 0: any number
    #[arg(
        long,
        env = "TIDEGATE_HANDSHAKES_PER_SECOND",
        hide_env_values = true,
        default_value = "0",
        value_name = "N"
    )]
    handshakes_per_second: u32,
    /// Connections of one address that may begin in a second; 0: any number
    #[arg(
        long,
        env = "TIDEGATE_HANDSHAKES_PER_IP",
        hide_env_values = true,
        default_value = "0",
        value_name = "N"
    )]
    handshakes_per_ip: u32,
    /// Messages of one client a second, those of ten seconds at once; 0: any number
    #[arg(
        long,
        env = "TIDEGATE_COMMANDS_PER_CLIENT",
        hide_env_values = true,
        default_value = "100",
        value_name = "N"
    )]
    commands_per_client: u32,
    /// Bytes of one client a second, those of ten seconds at once; 0: any number
    #[arg(long, env = "TIDEGATE_BYTES_PER_CLIENT", hide_env_values = true, default_value = "64KiB", value_name = "SIZE", value_parser = values::client_bytes)]
    bytes_per_client: u32,
    /// Rooms that one client may be in
    #[arg(long, env = "TIDEGATE_ROOMS_PER_CLIENT", hide_env_values = true, default_value = "64", value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1024))]
    rooms_per_client: u32,
    /// Names of rooms with a member, on the whole node
    #[arg(long, env = "TIDEGATE_MAX_ROOMS", hide_env_values = true, default_value = "1000000", value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    max_rooms: u32,
    /// Bytes that may wait for one client
    #[arg(long, env = "TIDEGATE_OUTBOX", hide_env_values = true, default_value = "256KiB", value_name = "SIZE", value_parser = values::size)]
    outbox: usize,
    /// Bytes that the kernel may hold for one client, beside its outbox; it takes twice that for its own needs
    #[arg(long, env = "TIDEGATE_SEND_BUFFER", hide_env_values = true, default_value = "64KiB", value_name = "SIZE", value_parser = values::size)]
    send_buffer: usize,
    /// Bytes that may wait for their window; past it they leave early, and logic waits until they have
    #[arg(long, env = "TIDEGATE_MERGER_BYTES", hide_env_values = true, default_value = "64MiB", value_name = "SIZE", value_parser = values::size)]
    merger_bytes: usize,
    /// A client that says nothing for so long is closed
    #[arg(long, env = "TIDEGATE_SILENCE", hide_env_values = true, default_value = "60s", value_name = "DURATION", value_parser = values::patience)]
    silence: Duration,
    /// A client that begins a message and does not end it in this time is closed; whole seconds count
    #[arg(long, env = "TIDEGATE_MESSAGE_TIME", hide_env_values = true, default_value = "30s", value_name = "DURATION", value_parser = values::patience)]
    message_time: Duration,
    /// Time for a handshake
    #[arg(long, env = "TIDEGATE_HANDSHAKE", hide_env_values = true, default_value = "5s", value_name = "DURATION", value_parser = values::patience)]
    handshake: Duration,
}

impl Gateway {
    /// Checks them against what else a gateway is told.
    ///
    /// # Errors
    /// What cannot be (78).
    pub(super) fn check(&self, heartbeat: Duration) -> Result<(), Failure> {
        if self.silence > heartbeat {
            return Ok(());
        }
        Err(Failure::config(
            "--silence must be longer than --heartbeat, or clients are closed before they are pinged",
        ))
    }

    /// Puts these into the settings of a gateway.
    pub(super) fn apply(&self, settings: &mut ::gateway::Settings) {
        use ::gateway::{CLIENT_BURST_SECS, HANDSHAKE_BURST_SECS};
        let some = |number: u32| Some(number).filter(|number| *number > 0);
        settings.outbox_bytes_max = self.outbox;
        settings.send_buffer_bytes = self.send_buffer;
        settings.merger_bytes_max = self.merger_bytes;
        settings.silence_max = self.silence;
        settings.message_time_max = self.message_time;
        settings.handshake_time_max = self.handshake;
        settings.limits = ::gateway::Limits {
            connections_per_ip: some(self.connections_per_ip),
            connections_per_user: some(self.connections_per_user),
            handshakes: Rate::a_second(self.handshakes_per_second, HANDSHAKE_BURST_SECS),
            handshakes_per_ip: Rate::a_second(self.handshakes_per_ip, HANDSHAKE_BURST_SECS),
            commands: Rate::a_second(self.commands_per_client, CLIENT_BURST_SECS),
            bytes: Rate::a_second(self.bytes_per_client, CLIENT_BURST_SECS),
            rooms_per_client: self.rooms_per_client as usize,
            rooms: self.max_rooms as usize,
        };
    }
}

/// Limits of a logic node.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Limits")]
pub(super) struct Logic {
    /// Calls with one API key a second, unless its entry says a rate of its own; 0: any number
    #[arg(
        long,
        env = "TIDEGATE_CALLS_PER_KEY",
        hide_env_values = true,
        default_value = "0",
        value_name = "N"
    )]
    calls_per_key: u32,
    /// Calls a second of one address (of IPv6, one /64) that shows no key which may make them; 0: any number
    #[arg(
        long,
        env = "TIDEGATE_CALLS_PER_IP",
        hide_env_values = true,
        default_value = "0",
        value_name = "N"
    )]
    calls_per_ip: u32,
    /// Longest head of a request
    #[arg(long, env = "TIDEGATE_HEAD_BYTES", hide_env_values = true, default_value = "16KiB", value_name = "SIZE", value_parser = values::head)]
    head_bytes: usize,
    /// Header fields of a request
    #[arg(long, env = "TIDEGATE_HEADER_FIELDS", hide_env_values = true, default_value = "64", value_name = "N", value_parser = clap::value_parser!(u32).range(8..=100))]
    header_fields: u32,
    /// Time for the head of a request
    #[arg(long, env = "TIDEGATE_HEAD_TIME", hide_env_values = true, default_value = "5s", value_name = "DURATION", value_parser = values::patience)]
    head_time: Duration,
    /// Longest body of a push or a batch
    #[arg(long, env = "TIDEGATE_BODY_BYTES", hide_env_values = true, default_value = "1MiB", value_name = "SIZE", value_parser = values::body)]
    body_bytes: usize,
    /// Time for the body of a request
    #[arg(long, env = "TIDEGATE_BODY_TIME", hide_env_values = true, default_value = "10s", value_name = "DURATION", value_parser = values::patience)]
    body_time: Duration,
    /// Longest data of a push
    #[arg(long, env = "TIDEGATE_DATA_BYTES", hide_env_values = true, default_value = "64KiB", value_name = "SIZE", value_parser = values::data)]
    data_bytes: usize,
    /// How deep the JSON of a call may nest
    #[arg(long, env = "TIDEGATE_JSON_DEPTH", hide_env_values = true, default_value = "64", value_name = "N", value_parser = clap::value_parser!(u32).range(4..=64))]
    json_depth: u32,
}

impl Logic {
    /// Puts these into the settings of a logic node.
    pub(super) fn apply(&self, settings: &mut ::logic::Settings) {
        use ::logic::CALL_BURST_SECS;
        settings.limits = ::logic::Limits {
            calls_per_key: Rate::a_second(self.calls_per_key, CALL_BURST_SECS),
            calls_per_ip: Rate::a_second(self.calls_per_ip, CALL_BURST_SECS),
            head: Bounds {
                head_bytes_max: self.head_bytes,
                headers_max: self.header_fields as usize,
                head_time_max: self.head_time,
            },
            body_bytes_max: self.body_bytes,
            body_time_max: self.body_time,
            sizes: ::logic::Sizes {
                data_bytes_max: self.data_bytes,
                json_depth_max: self.json_depth as usize,
            },
        };
    }
}

/// Proxies in front of a port that strangers reach.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Behind a proxy")]
pub(super) struct Edge {
    /// Address or range of a proxy that is believed about whom it speaks for, as in 10.0.0.0/8 (repeatable)
    #[arg(long, env = "TIDEGATE_TRUSTED_PROXY", hide_env_values = true, value_name = "CIDR", value_delimiter = ',', value_parser = values::cidr)]
    trusted_proxy: Vec<Cidr>,
    /// Each connection of a trusted proxy begins with a PROXY header, version 1 or 2; from others none is read
    #[arg(long, env = "TIDEGATE_PROXY_PROTOCOL", hide_env_values = true, num_args = 0..=1, require_equals = true,
          default_value = "false", default_missing_value = "true", hide_default_value = true,
          hide_possible_values = true, value_name = "BOOL", value_parser = BoolishValueParser::new())]
    proxy_protocol: bool,
    /// Header in which trusted proxies write whose request it is; they must write it or take it away themselves
    #[arg(
        long,
        env = "TIDEGATE_FORWARDED_HEADER",
        hide_env_values = true,
        default_value = "x-forwarded-for",
        value_name = "HEADER"
    )]
    forwarded_header: Field,
}

/// Which header trusted proxies write.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Field {
    /// Addresses with commas between
    XForwardedFor,
    /// RFC 7239
    Forwarded,
}

impl Edge {
    /// The same for a node.
    ///
    /// # Errors
    /// A header that is expected of nobody (78).
    pub(super) fn edge(&self) -> Result<edge::Edge, Failure> {
        if self.proxy_protocol && self.trusted_proxy.is_empty() {
            return Err(Failure::config(
                "--proxy-protocol believes what the proxy says, so it must be said which proxy: --trusted-proxy CIDR",
            ));
        }
        let field = match self.forwarded_header {
            Field::XForwardedFor => edge::Field::XForwardedFor,
            Field::Forwarded => edge::Field::Forwarded,
        };
        Ok(edge::Edge { trusted: self.trusted_proxy.clone(), proxy_protocol: self.proxy_protocol, field })
    }
}
