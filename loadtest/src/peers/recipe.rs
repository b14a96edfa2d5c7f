//! How a peer is started and spoken to: its `peer.toml`.
//!
//! Words between `@` stand for what is known only when it is started: each of its `ports`, `@dir@` (a folder for
//! this run, where its `files` are copied to), `@here@` (the folder of the `peer.toml`), `@loadtest@` and `@tidegate@`
//! (programs), `@cores@`.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::Discipline;
use crate::any::{Dialect, Error, Publishing};

/// The file in each peer's folder.
pub(super) const FILE: &str = "peer.toml";

/// A peer, as its file has it.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Recipe {
    /// What it is called in tables.
    pub(super) name: String,
    /// How it is come by.
    pub(super) install: String,
    /// A command that prints its version.
    pub(super) version: Vec<String>,
    /// Programs (looked for on the path) and files without which it is not installed.
    pub(super) needs: Vec<String>,
    /// Files beside this one that it reads, with words in them.
    #[serde(default)]
    pub(super) files: Vec<String>,
    /// Names of ports that it listens on.
    pub(super) ports: Vec<String>,
    /// What is started, in order.
    pub(super) process: Vec<Process>,
    /// What says that it is ready, beside its ports.
    #[serde(default)]
    pub(super) ready: Option<Ready>,
    pub(super) client: Dialect,
    pub(super) publish: Publishing,
}

/// One process of it.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Process {
    pub(super) command: Vec<String>,
    /// More arguments when one publish is to be one message.
    #[serde(default)]
    frames: Vec<String>,
    /// More arguments when it may merge.
    #[serde(default)]
    merged: Vec<String>,
}

impl Process {
    pub(super) fn command(&self, discipline: Discipline) -> Vec<String> {
        let more = match discipline {
            Discipline::Frames => &self.frames,
            Discipline::Merged => &self.merged,
        };
        [&self.command[..], more].concat()
    }
}

/// A page that says that it is ready.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Ready {
    /// `http://…`
    pub(super) url: String,
    /// What is on it then.
    pub(super) contains: String,
}

/// A recipe's text, and where it is from.
#[derive(Debug, Clone)]
pub(super) struct Source {
    /// Name of the folder.
    pub(super) id: String,
    pub(super) folder: PathBuf,
    text: String,
}

impl Source {
    pub(super) fn read(folder: &Path) -> Result<Self, Error> {
        let path = folder.join(FILE);
        let text = std::fs::read_to_string(&path);
        let text = text.map_err(|error| Error::Usage(format!("{}: {error}", path.display())))?;
        let id = folder.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
        Ok(Self { id, folder: folder.to_owned(), text })
    }

    /// The recipe with these words filled in.
    pub(super) fn recipe(&self, words: &HashMap<String, String>) -> Result<Recipe, Error> {
        let parsed = toml::from_str(&fill(&self.text, words));
        parsed.map_err(|error| Error::Usage(format!("{}: {error}", self.folder.join(FILE).display())))
    }
}

/// A text with its words filled in; words that are not known stay.
pub(super) fn fill(text: &str, words: &HashMap<String, String>) -> String {
    words.iter().fold(text.to_owned(), |text, (word, meaning)| text.replace(&format!("@{word}@"), meaning))
}

/// The peers in a folder, in the order in which they were asked for, or of their names with Tidegate first.
pub(super) fn all(folder: &Path, only: &[String]) -> Result<Vec<Source>, Error> {
    let unreadable = |error: std::io::Error| {
        Error::Usage(format!("{}: {error}; --peers says where the folders of peers are", folder.display()))
    };
    let mut names = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(unreadable)? {
        let entry = entry.map_err(unreadable)?;
        if entry.path().join(FILE).is_file() {
            names.push(entry.file_name().to_string_lossy().into_owned());
        }
    }
    names.sort_by_key(|name| (name != "tidegate", name.clone()));
    if let Some(unknown) = only.iter().find(|name| !names.contains(name)) {
        let there = names.join(", ");
        return Err(Error::Usage(format!(
            "{unknown}: there is no such peer in {}; there are {there}",
            folder.display()
        )));
    }
    let wanted = if only.is_empty() { &names[..] } else { only };
    wanted.iter().map(|name| Source::read(&folder.join(name))).collect()
}

/// The first of a recipe's needs that is not there.
pub(super) fn missing(recipe: &Recipe) -> Option<String> {
    let paths = std::env::var("PATH").unwrap_or_default() + ":/usr/sbin:/usr/local/sbin";
    let is_there = |need: &str| match need.contains('/') {
        true => Path::new(need).exists(),
        false => paths.split(':').any(|folder| Path::new(folder).join(need).is_file()),
    };
    recipe.needs.iter().find(|need| need.is_empty() || !is_there(need)).cloned()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The peers of this repository.
    fn ours() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/peers")
    }

    #[test]
    fn every_recipe_can_be_read_and_says_where_its_configuration_is_from() {
        let sources = all(&ours(), &[]).unwrap();
        assert_eq!(sources[0].id, "tidegate");
        assert!(sources.len() >= 6, "{}", sources.len());
        for source in sources {
            let recipe = source.recipe(&HashMap::new()).unwrap();
            assert!(
                !recipe.process.is_empty() && recipe.ports.iter().any(|port| port == "client"),
                "{}",
                source.id
            );
            assert!(recipe.client.url.contains("@client@"), "{}", source.id);
            let files =
                recipe.files.iter().map(|file| std::fs::read_to_string(source.folder.join(file)).unwrap());
            let words = files.fold(source.text.clone(), |all, file| all + &file);
            assert!(words.contains("https://"), "{}: no source", source.id);
            for port in &recipe.ports {
                assert!(words.contains(&format!("@{port}@")), "{}: nobody uses {port}", source.id);
            }
        }
    }

    #[test]
    fn unknown_peers_keys_and_folders_are_refused() {
        assert!(all(&ours(), &["nchna".into()]).unwrap_err().to_string().contains("nchan"));
        assert_eq!(all(Path::new("/no/such/folder"), &[]).unwrap_err().exit_code(), 2);
        let source = Source { id: "x".into(), folder: "/x".into(), text: "nmae = \"x\"".into() };
        assert!(source.recipe(&HashMap::new()).unwrap_err().to_string().contains("/x/peer.toml"));
    }

    #[test]
    fn words_are_filled_and_needs_are_looked_for() {
        let words = HashMap::from([("a".to_owned(), "1".to_owned())]);
        assert_eq!(fill("@a@:@b@", &words), "1:@b@");
        let source = all(&ours(), &["plain".into()]).unwrap().remove(0);
        let mut recipe = source.recipe(&HashMap::new()).unwrap();
        recipe.needs = vec!["sh".into(), "/proc".into()];
        assert_eq!(missing(&recipe), None);
        recipe.needs.push("no-such-program".into());
        assert_eq!(missing(&recipe).as_deref(), Some("no-such-program"));
        recipe.needs = vec![String::new()];
        assert!(missing(&recipe).is_some(), "a word that stands for nothing");
    }
}
