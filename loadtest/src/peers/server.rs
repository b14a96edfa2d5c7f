//! A peer that runs: its folder, its ports, its processes.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::Discipline;
use super::keeper::{Keeper, Order};
use super::recipe::{Ready, Recipe, Source, fill};
use crate::any::Error;

/// A server that is not ready after this time never is.
const START_TIME_MAX: Duration = Duration::from_secs(30);

/// A server that is older is ended, whatever the run does.
const TIME_MAX: Duration = Duration::from_secs(1_800);

/// How often is looked whether it is ready.
const LOOK: Duration = Duration::from_millis(50);

/// What is shown of what a server said.
const LOG_LINES: usize = 8;

/// Programs that recipes name.
#[derive(Debug, Clone)]
pub(super) struct Programs {
    pub(super) loadtest: PathBuf,
    /// `None`: there is none beside this program.
    pub(super) tidegate: Option<PathBuf>,
}

/// The words that are known before anything is started.
pub(super) fn words(source: &Source, programs: &Programs) -> HashMap<String, String> {
    let text = |path: &Path| path.display().to_string();
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    HashMap::from([
        ("here".to_owned(), text(&source.folder)),
        ("loadtest".to_owned(), text(&programs.loadtest)),
        ("tidegate".to_owned(), programs.tidegate.as_deref().map(text).unwrap_or_default()),
        ("cores".to_owned(), cores.to_string()),
    ])
}

/// What a peer says its version is.
pub(super) fn version(recipe: &Recipe, source: &Source) -> String {
    let Some((program, arguments)) = recipe.version.split_first() else { return String::new() };
    let mut command = Command::new(program);
    command.args(arguments).current_dir(&source.folder).stdin(Stdio::null());
    let Ok(output) = command.output() else { return String::new() };
    let said = [output.stdout, output.stderr].concat();
    String::from_utf8_lossy(&said)
        .lines()
        .find(|line| !line.trim().is_empty())
        .unwrap_or_default()
        .trim()
        .to_owned()
}

/// A peer that runs. Dropped, it is ended, and its folder removed.
#[derive(Debug)]
pub(super) struct Server {
    pub(super) recipe: Recipe,
    keepers: Vec<Keeper>,
    folder: PathBuf,
}

impl Server {
    /// Starts it, and waits until it is ready.
    pub(super) fn start(source: &Source, discipline: Discipline, programs: &Programs) -> Result<Self, Error> {
        let folder = std::env::temp_dir().join(format!("tidegate-peer-{}-{}", source.id, std::process::id()));
        let broken = |error: std::io::Error| Error::Broken(format!("{}: {error}", folder.display()));
        // One of a run that was killed and had the same number.
        _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder).map_err(broken)?;
        let mut words = words(source, programs);
        words.insert("dir".to_owned(), folder.display().to_string());
        let ports = free_ports(&source.recipe(&words)?.ports).map_err(broken)?;
        words.extend(ports.iter().map(|(name, port)| (name.clone(), port.to_string())));
        let recipe = source.recipe(&words)?;
        for file in &recipe.files {
            let text = std::fs::read_to_string(source.folder.join(file)).map_err(broken)?;
            std::fs::write(folder.join(file), fill(&text, &words)).map_err(broken)?;
        }
        let mut server = Self { recipe, keepers: Vec::new(), folder };
        server.start_processes(discipline)?;
        let until = Instant::now() + START_TIME_MAX;
        while !server.is_ready(&ports) {
            if Instant::now() > until || !server.keepers.iter_mut().all(Keeper::is_alive) {
                return Err(Error::Broken(format!("it did not start: {}", server.last_words())));
            }
            std::thread::park_timeout(LOOK);
        }
        Ok(server)
    }

    fn start_processes(&mut self, discipline: Discipline) -> Result<(), Error> {
        for process in &self.recipe.process {
            let command = process.command(discipline);
            let log = self.folder.join("output.log");
            let order = Order { command, folder: self.folder.clone(), log, time_max: TIME_MAX };
            self.keepers.push(Keeper::start(&order)?);
        }
        Ok(())
    }

    fn is_ready(&self, ports: &[(String, u16)]) -> bool {
        let listens = |port: u16| TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok();
        ports.iter().all(|(_, port)| listens(*port)) && self.recipe.ready.as_ref().is_none_or(says_so)
    }

    /// The processes that were started; they may have started others.
    pub(super) fn processes(&self) -> Vec<u32> {
        self.keepers.iter().map(|keeper| keeper.process).collect()
    }

    /// What it said last, for people.
    pub(super) fn last_words(&self) -> String {
        let said = std::fs::read_to_string(self.folder.join("output.log")).unwrap_or_default();
        let lines: Vec<&str> = said.lines().filter(|line| !line.trim().is_empty()).collect();
        let last = lines.len().saturating_sub(LOG_LINES);
        if lines.is_empty() { "it said nothing".to_owned() } else { lines[last..].join(" | ") }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // In the order of their starts; each is waited for.
        self.keepers.clear();
        // What is left there concerns nobody.
        _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// Whether a page says what it should.
fn says_so(ready: &Ready) -> bool {
    let Some(rest) = ready.url.strip_prefix("http://") else { return false };
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let fetch = || -> std::io::Result<String> {
        let mut stream = TcpStream::connect(authority)?;
        stream.set_read_timeout(Some(Duration::from_secs(1)))?;
        write!(stream, "GET {path} HTTP/1.1\r\nHost: {authority}\r\nConnection: close\r\n\r\n")?;
        let mut page = String::new();
        stream.read_to_string(&mut page)?;
        Ok(page)
    };
    fetch().is_ok_and(|page| page.contains(&ready.contains))
}

/// Ports that nobody listens on; another program may take one before the server does.
fn free_ports(names: &[String]) -> std::io::Result<Vec<(String, u16)>> {
    let listeners: Vec<_> =
        names.iter().map(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0))).collect::<Result<_, _>>()?;
    let port = |(name, listener): (&String, &TcpListener)| Ok((name.clone(), listener.local_addr()?.port()));
    names.iter().zip(&listeners).map(port).collect()
}
