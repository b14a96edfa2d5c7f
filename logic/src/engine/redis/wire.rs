//! One connection to one server: opened, looked at, and shared by all calls, which go over it one behind the other.

use std::sync::Arc;
use std::time::Duration;

use common::tls::{self, Stream};
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Cmd, RedisConnectionInfo, RedisError, Value};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::fault::Fault;
use super::scripts::{Call, Script};
use super::settings::{Lay, RedisSettings};

/// For opening a connection, everything that is said first included.
const DIAL_TIME_MAX: Duration = Duration::from_millis(700);

/// The oldest release that has what scripts use.
const VERSION_MIN: u32 = 7;

/// A connection to a server.
#[derive(Debug)]
pub(super) struct Wire {
    connection: MultiplexedConnection,
    /// What each script is called there.
    shas: Vec<String>,
    /// What is not as it should be, and can be worked with.
    pub(super) warnings: Vec<String>,
    /// Ends with the wire.
    _driver: JoinSet<()>,
}

const UNREACHABLE: &str = "cannot be reached";

/// Opens a connection to a server that keeps histories.
pub(super) async fn dial(settings: &RedisSettings, address: &str) -> Result<Wire, String> {
    let opened = async {
        let mut wire = open(settings, address, settings.password.is_some()).await?;
        let about = wire.command(redis::cmd("INFO")).await?;
        let about = About(String::from_utf8_lossy(&bulk(about)).into_owned());
        about.check(settings).map_err(|why| Fault::Away("other", why))?;
        wire.warnings = about.warnings();
        for script in Script::ALL {
            let sha = wire.command(redis::cmd("SCRIPT").arg("LOAD").arg(script.text()).take()).await?;
            wire.shas.push(String::from_utf8_lossy(&bulk(sha)).into_owned());
        }
        Ok(wire)
    };
    said(settings, address, timeout(DIAL_TIME_MAX, opened).await)
}

/// Opens a connection to a Sentinel, with the password only where it wants one.
pub(super) async fn dial_sentinel(settings: &RedisSettings, address: &str) -> Result<Wire, String> {
    let opened = async {
        let wire = open(settings, address, false).await?;
        match wire.command(redis::cmd("PING")).await {
            Err(Fault::Away("password", _)) if settings.password.is_some() => {
                open(settings, address, true).await
            }
            answer => answer.map(|_| wire),
        }
    };
    said(settings, address, timeout(DIAL_TIME_MAX, opened).await)
}

fn said<T>(
    settings: &RedisSettings,
    address: &str,
    result: Result<Result<T, Fault>, tokio::time::error::Elapsed>,
) -> Result<T, String> {
    match result {
        Ok(Ok(opened)) => Ok(opened),
        // A server that wants TLS hangs up on one who speaks none.
        Ok(Err(Fault::Broken(why))) if settings.tls.is_none() && !why.starts_with(UNREACHABLE) => {
            Err(format!("{address}: {why} (does it want TLS? Then the URL begins with rediss)"))
        }
        Ok(Err(fault)) => Err(format!("{address}: {}", fault.words())),
        Err(_) => {
            // A server without TLS waits for the end of what it takes for a command.
            let hint = if settings.tls.is_some() { " (does it speak TLS on this port?)" } else { "" };
            Err(format!("{address}: no answer within {} ms{hint}", DIAL_TIME_MAX.as_millis()))
        }
    }
}

async fn open(settings: &RedisSettings, address: &str, with_password: bool) -> Result<Wire, Fault> {
    let (host, port) = address.rsplit_once(':').unwrap_or((address, ""));
    let bare = host.trim_matches(['[', ']']);
    let unreachable = |error: &std::io::Error| Fault::Broken(format!("{UNREACHABLE}: {error}"));
    let socket = TcpStream::connect((bare, port.parse().unwrap_or(0))).await;
    let socket = socket.map_err(|error| unreachable(&error))?;
    socket.set_nodelay(true).map_err(|error| unreachable(&error))?;
    let stream = match &settings.tls {
        None => Stream::Plain(socket),
        Some(tls) => {
            let shaken = Box::pin(tls.connect(socket, host)).await;
            Stream::Tls(Box::new(shaken.map_err(|error| Fault::Broken(tls::explain(&error)))?))
        }
    };
    let is_sentinel = matches!(settings.lay, Lay::Sentinel(..));
    let mut info = RedisConnectionInfo::default().set_skip_set_lib_name();
    if !is_sentinel {
        info = info.set_db(settings.db);
    }
    if with_password && let Some(password) = &settings.password {
        info = info.set_password(password);
        if let Some(user) = &settings.user {
            info = info.set_username(user);
        }
    }
    // Deadlines are those of whoever calls.
    let config = AsyncConnectionConfig::new().set_response_timeout(None);
    let made = Box::pin(MultiplexedConnection::new_with_config(&info, stream, config)).await;
    let (connection, driver) = made.map_err(|error| Fault::of(&error))?;
    let mut tasks = JoinSet::new();
    tasks.spawn(driver);
    Ok(Wire { connection, shas: Vec::new(), warnings: Vec::new(), _driver: tasks })
}

fn bulk(value: Value) -> Vec<u8> {
    match value {
        Value::BulkString(bytes) => bytes,
        Value::SimpleString(text) | Value::VerbatimString { text, .. } => text.into_bytes(),
        _ => Vec::new(),
    }
}

impl Wire {
    /// Sends a command.
    pub(super) async fn command(&self, command: Cmd) -> Result<Value, Fault> {
        let mut connection = self.connection.clone();
        command.query_async(&mut connection).await.map_err(|error| Fault::of(&error))
    }

    /// Runs a script. With `asks`, for a part that is on its way to this server.
    pub(super) async fn run(&self, script: Script, call: &Call, asks: bool) -> Result<Value, Fault> {
        let sha = self.shas.get(script as usize).map_or("", String::as_str);
        match self.eval(redis::cmd("EVALSHA").arg(sha).take(), call, asks).await {
            // Somebody has emptied its cache of scripts; sending the text fills it again.
            Err(error) if error.code() == Some("NOSCRIPT") => {
                let whole = redis::cmd("EVAL").arg(script.text()).take();
                self.eval(whole, call, asks).await.map_err(|error| Fault::of(&error))
            }
            answer => answer.map_err(|error| Fault::of(&error)),
        }
    }

    async fn eval(&self, mut command: Cmd, call: &Call, asks: bool) -> Result<Value, RedisError> {
        command.arg(call.keys.len()).arg(&call.keys).arg(&call.args);
        let mut connection = self.connection.clone();
        if asks {
            let mut both = redis::pipe();
            both.cmd("ASKING").ignore().add_command(command);
            let (answer,): (Value,) = both.query_async(&mut connection).await?;
            return Ok(answer);
        }
        command.query_async(&mut connection).await
    }
}

/// What a server says of itself (INFO).
struct About(String);

impl About {
    fn find(&self, key: &str) -> Option<&str> {
        self.0.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'))
    }

    fn check(&self, settings: &RedisSettings) -> Result<(), String> {
        let version = self.find("redis_version").unwrap_or("of no version that it says");
        let major = version.split('.').next().and_then(|major| major.parse::<u32>().ok());
        if major.is_none_or(|major| major < VERSION_MIN) {
            return Err(format!("it is Redis {version}; {VERSION_MIN}.0 or newer is needed, or Valkey"));
        }
        if self.find("loading") == Some("1") {
            return Err("Redis is loading its data".to_owned());
        }
        match (self.find("redis_mode"), &settings.lay) {
            (Some("cluster"), Lay::Single(_) | Lay::Sentinel(..)) => {
                Err("it is a server of a Cluster: the URL of one begins with redis+cluster".to_owned())
            }
            (Some("standalone"), Lay::Cluster(_)) => Err("it is no server of a Cluster".to_owned()),
            (Some("sentinel"), _) => {
                Err("it is a Sentinel: the URL of those begins with redis+sentinel".to_owned())
            }
            _ if self.find("role") == Some("slave") && matches!(settings.lay, Lay::Single(_)) => {
                Err(Fault::REPLICA.to_owned())
            }
            _ => Ok(()),
        }
    }

    fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        let policy = self.find("maxmemory_policy").unwrap_or("noeviction");
        if policy != "noeviction" && self.find("maxmemory").is_some_and(|most| most != "0") {
            warnings.push(format!(
                "maxmemory-policy is {policy}: when its memory is full, Redis throws away what was answered 202; \
                 set it to noeviction"
            ));
        }
        if self.find("aof_enabled") == Some("0") {
            warnings.push(
                "appendonly is off: a restart forgets what came since the last snapshot, and histories begin anew"
                    .to_owned(),
            );
        }
        warnings
    }
}

/// A wire that calls share.
pub(super) type Shared = Arc<Wire>;
