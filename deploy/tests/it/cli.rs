//! The command line: help, exit codes, where settings come from, what is refused.

use std::path::PathBuf;

use tempfile::TempDir;

use crate::process::{run, said, tidegate};

fn file(text: &str) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tidegate.toml");
    std::fs::write(&path, text).unwrap();
    (folder, path)
}

/// What `check-config` says holds.
fn effective(text: &str, variables: &[(&str, &str)]) -> (i32, String, String) {
    let (_folder, path) = file(text);
    let mut command = tidegate(&["check-config", path.to_str().unwrap()]);
    command.envs(variables.iter().copied());
    said(command)
}

#[test]
fn every_command_has_help_with_examples() {
    for command in [
        "dev",
        "gateway",
        "logic",
        "push",
        "clients",
        "users",
        "rooms",
        "tail",
        "token",
        "check-config",
        "doctor",
        "completions",
    ] {
        let (code, out, _) = said(tidegate(&[command, "--help"]));
        assert_eq!(code, 0, "{command}");
        assert!(out.contains("Examples:") && out.contains("tidegate "), "{command}: {out}");
        assert!(said(tidegate(&["--help"])).1.contains(command), "{command} is not in the help");
    }
    let (code, out, _) = said(tidegate(&["--version"]));
    assert_eq!((code, out), (0, format!("tidegate {}\n", env!("CARGO_PKG_VERSION"))));
}

#[test]
fn usage_errors_are_2_and_say_what_was_meant() {
    for (args, expected) in [
        (&["dev", "--gatewyas", "2"][..], "--gateways"),
        (&["--gatewyas", "2"], "--gateways"),
        (&["gatway"], "gateway"),
        (&["gateway", "--insecure", "--window", "2m"], "from 0s to 1m"),
        (&["gateway", "--insecure", "--window-mode", "leadign"], "'leading'"),
        (&["gateway", "--insecure", "--merger-bytes", "0"], "from 1KiB"),
        (&["gateway", "--insecure", "--heartbeat", "0"], "from 100ms"),
        (&["gateway", "--insecure", "--deflate-level", "10"], "0..=9"),
        (&["dev", "--deflate-min", "2MiB"], "from 0 to 1MiB"),
        (&["gateway", "--insecure", "--max-connections", "0"], "0 is not in 1.."),
        (&["gateway", "--insecure", "--listen", "7200"], "address:port"),
        (&["logic", "--insecure", "--gateway", "gw"], "host:port"),
        (&["logic", "--insecure", "--data-dri", "/tmp"], "--data-dir"),
        (&["dev", "--gateways", "0"], "1..=64"),
        (&["gateway", "--insecure", "--trusted-proxy", "10.0.0.1/8"], "10.0.0.0/8"),
        (&["gateway", "--insecure", "--bytes-per-client", "1KiB"], "from 7KiB"),
        (&["gateway", "--insecure", "--rooms-per-client", "0"], "1..=1024"),
        (&["logic", "--insecure", "--calls-per-key", "many"], "--calls-per-key"),
        (&["logic", "--insecure", "--json-depth", "65"], "4..=64"),
        (&["push", "--data", "1"], "--room"),
        (&["push", "--room", "r", "--all", "--data", "1"], "cannot be used with"),
        (&["push", "--room", "r", "--data", "hello"], "is not JSON"),
        (&["tail", "--url", "http://127.0.0.1:1"], "must begin with ws://"),
    ] {
        let (code, _, err) = said(tidegate(args));
        assert_eq!(code, 2, "{args:?}: {err}");
        assert!(err.contains(expected), "{args:?}: {err}");
    }
}

#[test]
fn an_unkeyed_node_refuses_to_start_and_says_what_to_do() {
    let (_folder, short) = file("short");
    let (_folder, long) = file("0123456789abcdef");
    for (args, expected) in [
        (&["gateway"][..], "--link-secret-file"),
        (&["logic"], "--api-key-file"),
        (&["logic", "--api-key", "0123456789abcdef"], "--link-secret-file"),
        (&["logic", "--api-key", "'0123456789abcdef'"], "quotes"),
        (&["gateway", "--link-secret-file", long.to_str().unwrap()], "--token-key-file"),
        (&["gateway", "--insecure", "--token-key-file", short.to_str().unwrap()], "5 bytes"),
        (&["gateway", "--insecure", "--token-audience", "x"], "need keys"),
        (&["logic", "--insecure", "--engine", "redis:/localhost"], "a URL of Redis is"),
        (&["dev", "--listen-host", "0.0.0.0"], "--insecure"),
        (&["gateway", "--link-secret-file", "/nowhere/secret"], "/nowhere/secret"),
        (&["gateway", "--link-secret-file", short.to_str().unwrap()], "at least 16"),
        (&["gateway", "--insecure", "--silence", "10s"], "--silence must be longer"),
        (&["dev", "--port-base", "65500"], "--port-base 65500"),
        (&["gateway", "--insecure", "--proxy-protocol"], "--trusted-proxy"),
        (&["logic", "--insecure", "--proxy-protocol"], "--trusted-proxy"),
        (&["dev", "--log", "x=y=z"], "log filter"),
    ] {
        let (code, _, err) = said(tidegate(args));
        assert_eq!(code, 78, "{args:?}: {err}");
        assert!(err.contains(expected), "{args:?}: {err}");
    }
}

#[test]
fn a_port_in_use_is_named_with_its_flag() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let free = "127.0.0.1:0";
    for (args, flag) in [
        (["gateway", "--listen", free, "--ingress", &address, "--ops", free], "--ingress"),
        (["logic", "--listen", &address, "--ops", free, "--drain", "1s"], "--listen"),
    ] {
        let mut command = tidegate(&args);
        command.arg("--insecure");
        let (code, _, err) = said(command);
        assert_eq!(code, 1, "{err}");
        assert!(err.contains(&address) && err.contains(&format!("choose another with {flag}")), "{err}");
    }
    let base = taken.local_addr().unwrap().port().to_string();
    let (code, _, err) = said(tidegate(&["dev", "--gateways", "1", "--port-base", &base]));
    // Near the top of the range there is no room for a gateway above the base.
    assert!(code == 1 && err.contains("--port-base") || code == 78, "{err}");
}

#[test]
fn nobody_there_is_69() {
    let (code, _, err) = said(tidegate(&["push", "--all", "--data", "1", "--url", "http://127.0.0.1:1"]));
    assert!(code == 69 && err.contains("127.0.0.1:1"), "{code}: {err}");
    let (code, _, err) = said(tidegate(&["tail", "--room", "r", "--url", "ws://127.0.0.1:1"]));
    assert!(code == 69 && err.contains("127.0.0.1:1"), "{code}: {err}");
}

#[test]
fn unknown_keys_of_a_file_name_the_nearest_known() {
    for (text, expected) in [
        ("[gateway]\nwidnow = \"1s\"", "did you mean \"window\"?"),
        ("[gatewya]\n", "did you mean \"gateway\"?"),
        ("[logic]\ngateways = [\"a:1\"]", "did you mean \"gateway\"?"),
        (
            "[gateway]\nwindow = \"2m\"",
            "tidegate.toml:2: [gateway]: invalid value '2m' for '--window <DURATION>'",
        ),
        ("[gateway]\nwindow = 1.5", "write it in quotes"),
        ("[gateway]\nwindow-mod = \"leading\"", "did you mean \"window-mode\"?"),
        ("[gateway]\nmerger-byte = \"1MiB\"", "did you mean \"merger-bytes\"?"),
        (
            "[gateway]\nwindow-mode = \"first\"",
            "[gateway]: invalid value 'first' for '--window-mode <WINDOW_MODE>'",
        ),
        ("[gateway]\nname = \"g\"", "--link-secret-file"),
        ("[gateway\n", "tidegate.toml:1: "),
    ] {
        let (code, out, err) = effective(text, &[]);
        assert_eq!((code, out.as_str()), (78, ""), "{text}: {err}");
        assert!(err.contains(expected) && err.contains("tidegate.toml"), "{text}: {err}");
        let (_folder, path) = file(text);
        let (code, _, err) = said(tidegate(&["gateway", "--config", path.to_str().unwrap()]));
        assert_eq!(code, 78, "{text}: {err}");
    }
    let (code, _, err) = said(tidegate(&["dev", "--config", "/nowhere.toml"]));
    assert!(code == 78 && err.contains("/nowhere.toml"), "{err}");
}

#[test]
fn flag_goes_before_variable_before_file_before_default() {
    let text = "[gateway]\ninsecure = true\nwindow = \"3s\"\nslow = \"drop\"\nwindow-mode = \"leading\"\nannounce = [\"http://a:1\", \"http://b:2\"]\n\
                connections-per-ip = 7\ntrusted-proxy = [\"10.0.0.0/8\", \"::1/128\"]\n";
    let (code, out, err) = effective(text, &[("TIDEGATE_WINDOW", "2s")]);
    assert_eq!(code, 0, "{err}");
    for expected in [
        "window = \"2s\" # environment",
        "slow = \"drop\" # file",
        "window-mode = \"leading\" # file",
        "merger-bytes = \"64MiB\" # default",
        "insecure = true # file",
        "announce = [\"http://a:1\", \"http://b:2\"] # file",
        "drain = \"30s\" # default",
        "connections-per-ip = \"7\" # file",
        "trusted-proxy = [\"10.0.0.0/8\", \"::1/128\"] # file",
        "commands-per-client = \"100\" # default",
        "calls-per-key = \"0\" # default",
        "body-bytes = \"1MiB\" # default",
    ] {
        let squeezed = out.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(squeezed.contains(expected), "{expected}:\n{out}");
    }
    // The flag is seen to win where it makes the difference between starting and not.
    let (_folder, path) = file("[gateway]\ninsecure = true\nsilence = \"1s\"\n");
    let path = path.to_str().unwrap();
    let (code, _, err) = said(tidegate(&["gateway", "--config", path, "--insecure=false"]));
    assert!(code == 78 && err.contains("without a link secret"), "{err}");
    let mut command = tidegate(&["gateway", "--config", path]);
    command.env("TIDEGATE_INSECURE", "false");
    let (code, _, err) = said(command);
    assert!(code == 78 && err.contains("without a link secret"), "{err}");
    let (code, _, err) = said(tidegate(&["gateway", "--config", path]));
    assert!(code == 78 && err.contains("--silence must be longer"), "{err}");
}

#[test]
fn a_bad_variable_is_a_matter_of_configuration() {
    let mut command = tidegate(&["gateway", "--insecure"]);
    command.env("TIDEGATE_WINDOW", "soon");
    let (code, _, err) = said(command);
    assert!(code == 78 && err.contains("environment") && err.contains("--window"), "{code}: {err}");
    let mut command = tidegate(&["check-config"]);
    command.env("TIDEGATE_WIDNOW", "1s");
    let (code, _, err) = said(command);
    assert!(code == 78 && err.contains("did you mean TIDEGATE_WINDOW?"), "{code}: {err}");
}

#[test]
fn what_check_config_prints_is_a_file_that_says_the_same() {
    let (code, out, err) = said(tidegate(&["check-config"]));
    assert_eq!(code, 0, "{err}");
    let (code, again, err) = effective(&out.replace("insecure = false", "insecure = true"), &[]);
    assert_eq!(code, 0, "{err}");
    let values = |text: &str| -> Vec<String> {
        text.lines()
            .filter_map(|line| Some(line.split_once('#')?.0.trim().replace("true", "false")))
            .collect()
    };
    assert_eq!(values(&out), values(&again));
}

#[test]
fn doctor_says_the_same_to_people_and_to_scripts() {
    let output = run(&["doctor", "--json"]);
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(if report["ok"] == true { 0 } else { 1 }));
    let table = String::from_utf8(run(&["doctor"]).stdout).unwrap();
    for check in report["checks"].as_array().unwrap() {
        assert!(table.contains(check["name"].as_str().unwrap()), "{check}");
        assert!(check["verdict"] == "ok" || check["advice"].is_string(), "{check}");
    }
    for name in [
        "descriptors, hard",
        "net.core.somaxconn",
        "cores",
        "port 7100",
        "--connections-per-ip",
        "--calls-per-key",
    ] {
        assert!(table.contains(name), "{name}:\n{table}");
    }
}

#[test]
fn completions_know_the_commands() {
    for shell in ["bash", "zsh", "fish"] {
        let output = run(&["completions", shell]);
        let script = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success() && script.contains("check-config"), "{shell}");
    }
    assert_eq!(run(&["completions", "tcsh"]).status.code(), Some(2));
}

#[test]
fn a_redis_that_cannot_be_reached_is_told_before_anything_starts_and_never_with_its_password() {
    let (_folder, config) = file("[logic]\ninsecure = true\nengine = \"redis://me:secret@127.0.0.1:1\"\n");
    let config = config.to_str().unwrap();
    let (code, out, err) = said(tidegate(&["check-config", config]));
    assert_eq!(code, 78, "{err}");
    assert!(err.contains("redis://me:…@127.0.0.1:1") && err.contains("cannot be reached"), "{err}");
    assert!(!out.contains("secret") && !err.contains("secret"), "{out} {err}");
    let (code, out, err) = said(tidegate(&["check-config", "--offline", config]));
    assert_eq!(code, 0, "{err}");
    assert!(out.contains("engine = \"redis://me:…@127.0.0.1:1\"") && !out.contains("secret"), "{out}");
}
