//! What a running node is told anew by SIGHUP, setting by setting. The one place where that is said: the example file, the
//! warnings of a reload and the documents follow it, and a test holds it to what the nodes do.

/// How a change of a setting comes into force.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    /// By SIGHUP.
    Hangup,
    /// What the file holds by SIGHUP, and by itself within two seconds; another file by a restart.
    File,
    /// By a restart.
    Restart,
}

/// Of gateways.
const GATEWAY: &[&str] = &[
    "bytes-per-client",
    "commands-per-client",
    "connections-per-ip",
    "connections-per-user",
    "drain",
    "forwarded-header",
    "handshake",
    "handshakes-per-ip",
    "handshakes-per-second",
    "log",
    "max-connection-age",
    "max-connections",
    "max-rooms",
    "merger-bytes",
    "message-time",
    "open-room",
    "origin",
    "outbox",
    "proxy-protocol",
    "rooms-per-client",
    "silence",
    "slow",
    "slow-push",
    "trusted-proxy",
];

/// Of logic nodes, beside their tables `[[rooms]]` and `[[users]]`.
const LOGIC: &[&str] = &[
    "body-bytes",
    "body-time",
    "calls-per-ip",
    "calls-per-key",
    "data-bytes",
    "drain",
    "forwarded-header",
    "head-bytes",
    "head-time",
    "header-fields",
    "history-memory",
    "json-depth",
    "log",
    "proxy-protocol",
    "slow-push",
    "trusted-proxy",
];

/// Of both: they name files that are followed.
const FILES: &[&str] = &[
    "api-key-file",
    "engine-ca",
    "link-tls-ca",
    "link-tls-cert",
    "link-tls-client-ca",
    "link-tls-key",
    "tls-ca",
    "tls-cert",
    "tls-key",
    "token-key-file",
];

impl Change {
    /// How a change of this key of this role's table comes into force.
    pub(super) fn of(role: &str, key: &str) -> Self {
        let told: &[&[&str]] = match role {
            "gateway" => &[GATEWAY],
            "logic" => &[LOGIC],
            _ => &[GATEWAY, LOGIC],
        };
        if told.iter().any(|keys| keys.contains(&key)) {
            Self::Hangup
        } else if FILES.contains(&key) {
            Self::File
        } else {
            Self::Restart
        }
    }

    /// As the example file says it.
    pub(super) fn words(self) -> &'static str {
        match self {
            Self::Hangup => "reload: SIGHUP",
            Self::File => "reload: SIGHUP for what the file holds, restart for another file",
            Self::Restart => "reload: restart",
        }
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use clap::FromArgMatches;

    use super::super::config::{keys, role_command};
    use super::super::layers::{ROLES, without_environment};
    use super::super::{Cli, Command};
    use super::*;

    /// One of these is a value for any setting that is no file.
    const VALUES: &[&str] = &[
        "7",
        "17",
        "9s",
        "90s",
        "7m",
        "9KiB",
        "80KiB",
        "9MiB",
        "true",
        "drop",
        "leading",
        "json",
        "forwarded",
        "name",
        "127.0.0.9",
        "127.0.0.1:9",
        "10.0.0.0/8",
        "host:9",
        "http://a:1",
        "https://b.example",
        "wss://c.example",
        "redis://127.0.0.1:9",
        "warn",
        "lobby.*",
        "0123456789abcdef",
        "/nowhere-tidegate",
    ];

    /// What the nodes would be told with these flags, if they can be.
    fn told(role: &str, flags: &[String]) -> Option<String> {
        // Without a proxy that is trusted, none can be told to send a header.
        let argv = ["tidegate", role, "--insecure", "--trusted-proxy=127.0.0.1"].map(str::to_owned);
        let argv = argv.iter().filter(|flag| role != "dev" || !flag.contains("proxy")).chain(flags);
        let matches = without_environment().try_get_matches_from(argv.map(OsString::from)).ok()?;
        match Cli::from_arg_matches(&matches).ok()?.command {
            Command::Gateway(args) => Some(::gateway::Tuner::changing(&args.settings().ok()?)),
            Command::Logic(args) => Some(::logic::Tuner::changing(&args.settings().ok()?)),
            Command::Dev(args) => args.settings().ok().map(|mut cluster| {
                args.share(&mut cluster, usize::MAX);
                cluster.changing()
            }),
            _ => None,
        }
    }

    #[test]
    fn what_is_said_of_each_setting_is_what_nodes_do() {
        let mut untried = Vec::new();
        for role in ROLES {
            let plain = told(role, &[]).unwrap();
            let command = role_command(role);
            for (key, _) in keys(&command) {
                let taken: Vec<_> =
                    VALUES.iter().filter_map(|value| told(role, &[format!("--{key}={value}")])).collect();
                let moves = taken.iter().any(|told| *told != plain);
                // The log is the process's, not a node's.
                let is_told = Change::of(role, key) == Change::Hangup && key != "log";
                assert_eq!(moves, is_told, "{role}: {key}");
                let reads_files = Change::of(role, key) == Change::File || key.ends_with("-file");
                // One is given already, the others are nothing without a file.
                let needs_more =
                    matches!(key, "insecure" | "token-audience" | "token-issuer" | "link-tls-name");
                if taken.is_empty() && !reads_files && !needs_more {
                    untried.push(format!("{role} {key}"));
                }
            }
        }
        assert!(untried.is_empty(), "no value for {untried:?}");
    }

    #[test]
    fn every_key_that_is_named_is_there_once() {
        let known: Vec<_> = ROLES.iter().map(|role| role_command(role)).collect();
        for (names, roles) in [(GATEWAY, &known[1..2]), (LOGIC, &known[2..]), (FILES, &known[1..])] {
            assert!(names.is_sorted_by(|a, b| a < b), "{names:?}");
            for name in names {
                assert!(roles.iter().any(|role| keys(role).any(|(key, _)| key == *name)), "{name}");
            }
        }
    }
}
