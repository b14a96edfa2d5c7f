//! What the Debian package promises, as far as no package is needed to see it: `deploy/debian/run test` sees the rest.

use std::path::Path;

use toml::Value;

use crate::process::{said, tidegate};

const FOLDER: &str = env!("CARGO_MANIFEST_DIR");

fn manifest() -> Value {
    let text = std::fs::read_to_string(Path::new(FOLDER).join("Cargo.toml")).unwrap();
    let manifest: Value = toml::from_str(&text).unwrap();
    manifest["package"]["metadata"]["deb"].clone()
}

/// Source and place in a system of everything that is packaged.
fn assets() -> Vec<(String, String)> {
    let manifest = manifest();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    manifest["assets"].as_array().unwrap().iter().map(|asset| (text(&asset[0]), text(&asset[1]))).collect()
}

#[test]
fn everything_that_is_packaged_is_there() {
    let assets = assets();
    let sources = assets.iter().map(|(source, _)| source.clone());
    let manifest = manifest();
    let named = ["license-file", "maintainer-scripts"].map(|key| match &manifest[key] {
        Value::Array(array) => array[0].as_str().unwrap().to_owned(),
        other => other.as_str().unwrap().to_owned(),
    });
    for source in sources.chain(named).filter(|source| !source.starts_with("target/")) {
        assert!(Path::new(FOLDER).join(&source).exists(), "{source}");
    }
    let units = manifest["systemd-units"].as_array().unwrap();
    let packaged = |file: &str| {
        units
            .iter()
            .filter_map(|unit| unit["unit-name"].as_str())
            .any(|unit| file.starts_with(&format!("{unit}.")))
    };
    for unit in std::fs::read_dir(Path::new(FOLDER).join("systemd")).unwrap() {
        let name = unit.unwrap().file_name().into_string().unwrap();
        assert!(packaged(&name), "{name} is in no package");
    }
    // Beside /etc/sysctl.d and its like, where a file would change the machine.
    let profile = assets.iter().find(|(source, _)| source.starts_with("sysctl/")).unwrap();
    assert_eq!(profile.1, "usr/share/tidegate/");
}

#[test]
fn nodes_would_start_with_the_packaged_files_once_there_are_secrets() {
    let folder = tempfile::tempdir().unwrap();
    let secret = folder.path().join("secret");
    std::fs::write(&secret, "0123456789abcdef0123456789abcdef\n").unwrap();
    for role in ["gateway", "logic"] {
        let path = Path::new(FOLDER).join(format!("debian/{role}.toml"));
        let check = |with_secrets: bool| {
            let mut command = tidegate(&["check-config", path.to_str().unwrap()]);
            command.env("TIDEGATE_DATA_DIR", folder.path());
            if with_secrets {
                for name in ["LINK_SECRET_FILE", "TOKEN_KEY_FILE", "API_KEY_FILE"] {
                    command.env(format!("TIDEGATE_{name}"), &secret);
                }
            }
            said(command)
        };
        let (code, out, err) = check(true);
        assert_eq!(code, 0, "{err}");
        assert!(out.contains("# file"), "{out}");
        let (code, _, err) = check(false);
        assert!(code == 78 && err.contains("/etc/tidegate/link-secret"), "{code}: {err}");
        let unit =
            std::fs::read_to_string(Path::new(FOLDER).join(format!("systemd/tidegate-{role}.service")))
                .unwrap();
        assert!(unit.contains(&format!(" {role} --config /etc/tidegate/{role}.toml")));
    }
}

#[test]
fn every_command_has_a_page_for_man() {
    let folder = tempfile::tempdir().unwrap();
    let (code, _, err) = said(tidegate(&["man", folder.path().to_str().unwrap()]));
    assert_eq!(code, 0, "{err}");
    let page = |name: &str| std::fs::read_to_string(folder.path().join(name)).unwrap();
    assert!(page("tidegate.1").contains("TIDEGATE_"));
    assert!(page("tidegate-gateway.1").contains("TIDEGATE_LINK_SECRET_FILE"));
    assert!(page("tidegate-doctor.1").contains("doctor"));
}
