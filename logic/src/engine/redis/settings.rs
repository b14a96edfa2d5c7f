//! Where Redis is, as its URL says it, and what may be shown of that.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use common::tls::{Connector, ConnectorFiles, Inside, Named};

/// What URLs look like, for those who wrote another.
const FORMS: &str = "redis://[user:password@]host[:port][/db], redis+sentinel://[…@]host:port,host:port/SERVICE or \
                     redis+cluster://[…@]host:port,host:port; with TLS they begin with rediss";

/// Ports that nobody has to write.
const PORT: u16 = 6379;
const SENTINEL_PORT: u16 = 26379;

/// Which Redis keeps the histories, and how to get there.
#[derive(Clone)]
pub struct RedisSettings {
    pub(super) lay: Lay,
    pub(super) user: Option<String>,
    pub(super) password: Option<String>,
    pub(super) db: i64,
    pub(super) tls: Option<Connector>,
    pub(super) prefix: String,
    shown: String,
}

/// How its servers are laid out. Addresses are `host:port`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Lay {
    /// One server.
    Single(Arc<str>),
    /// A primary that Sentinels know, under the name of its service.
    Sentinel(Vec<Arc<str>>, String),
    /// A Cluster, of which some servers are known.
    Cluster(Vec<Arc<str>>),
}

impl fmt::Debug for RedisSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RedisSettings({}, prefix {})", self.shown, self.prefix)
    }
}

impl fmt::Display for RedisSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
    }
}

/// What stands beside the URL.
#[derive(Debug, Clone, Default)]
pub struct RedisBeside {
    /// The password, if it is not in the URL, where others could read it.
    pub password: Option<String>,
    /// File with the authority that has signed the certificates of the servers, and the flag that named it.
    pub ca: Option<(&'static str, PathBuf)>,
    /// What all keys begin with.
    pub prefix: String,
}

/// A URL without the password in it: what logs and people are shown.
#[must_use]
pub fn without_password(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else {
        // Whatever it is, a password may be in it.
        return if url.contains('@') { "…".to_owned() } else { url.to_owned() };
    };
    match rest.rsplit_once('@') {
        Some((user, hosts)) => {
            let user = user.split_once(':').map_or("", |(user, _)| user);
            format!("{scheme}://{user}:…@{hosts}")
        }
        None => url.to_owned(),
    }
}

impl RedisSettings {
    /// Takes a URL apart.
    ///
    /// # Errors
    /// What is wrong with it, never with the password; a file that cannot be read.
    pub fn parse(url: &str, beside: RedisBeside) -> Result<Self, String> {
        let shown = without_password(url);
        let wrong = |why: &str| format!("{shown:?}: {why}; a URL of Redis is {FORMS}");
        let (scheme, rest) = url.split_once("://").ok_or_else(|| wrong("it has no scheme"))?;
        let (is_tls, form) = match scheme.strip_prefix("rediss") {
            Some(form) => (true, form),
            None => (false, scheme.strip_prefix("redis").ok_or_else(|| wrong("it is of something else"))?),
        };
        let (login, rest) = rest.rsplit_once('@').map_or((None, rest), |(login, rest)| (Some(login), rest));
        let (user, password) = login.map_or(Ok((None, None)), in_login).map_err(wrong)?;
        let (hosts, path) = rest.split_once('/').unwrap_or((rest, ""));
        let hosts = |port| hosts.split(',').map(|host| address(host, port)).collect::<Result<Vec<_>, _>>();
        let (lay, db) = match form {
            "" => {
                let mut hosts = hosts(PORT).map_err(wrong)?;
                if hosts.len() > 1 {
                    return Err(wrong("it names several servers"));
                }
                let db = if path.is_empty() { Ok(0) } else { path.parse::<u16>() };
                let db = db.map_err(|_| wrong("the database behind the slash is no number"))?;
                (Lay::Single(hosts.remove(0)), i64::from(db))
            }
            "+sentinel" if path.is_empty() => {
                return Err(wrong("the name of the service is missing behind a slash"));
            }
            "+sentinel" => (Lay::Sentinel(hosts(SENTINEL_PORT).map_err(wrong)?, path.to_owned()), 0),
            "+cluster" if !path.is_empty() => return Err(wrong("a Cluster has no databases")),
            "+cluster" => (Lay::Cluster(hosts(PORT).map_err(wrong)?), 0),
            _ => return Err(wrong("it is of something else")),
        };
        check_prefix(&beside.prefix)?;
        if beside.ca.is_some() && !is_tls {
            return Err(wrong("it has no TLS, and an authority to trust was named"));
        }
        if password.is_some() && beside.password.is_some() {
            return Err(wrong("a password stands in it and in a file"));
        }
        let ca = beside.ca.as_ref().map(|(flag, path)| Named::new(flag, path));
        let tls =
            is_tls.then(|| Connector::load(ConnectorFiles { ca, identity: None, inside: Inside::Redis }));
        let password = password.or(beside.password);
        Ok(Self { lay, user, password, db, tls: tls.transpose()?, prefix: beside.prefix, shown })
    }

    /// What trusts its servers, if it speaks TLS.
    pub(crate) fn connector(&self) -> Option<&Connector> {
        self.tls.as_ref()
    }

    /// Tries to reach it, and says what is not as it should be and can be worked with.
    ///
    /// # Errors
    /// Why it cannot be used.
    pub async fn try_out(&self) -> Result<Vec<String>, String> {
        super::try_out(self).await
    }

    /// Whether what goes to Redis can be read on the network.
    #[must_use]
    pub fn is_plaintext(&self) -> bool {
        self.tls.is_none() && !self.seeds().iter().all(|address| is_here(address))
    }

    /// Addresses that nobody wrote down come from the servers themselves.
    pub(super) fn unreachable(&self, address: &Arc<str>, why: String) -> String {
        match &self.lay {
            Lay::Cluster(seeds) if !seeds.contains(address) => format!(
                "the Cluster says that a part of it is at {why}; if that is no address to reach it by from here, see \
                 cluster-announce-ip"
            ),
            Lay::Sentinel(..) => {
                format!(
                    "the Sentinels say that the primary is at {why}; see replica-announce-ip if that is wrong"
                )
            }
            Lay::Single(_) | Lay::Cluster(_) => why,
        }
    }

    /// The addresses that were written down.
    pub(super) fn seeds(&self) -> &[Arc<str>] {
        match &self.lay {
            Lay::Single(address) => std::slice::from_ref(address),
            Lay::Sentinel(addresses, _) | Lay::Cluster(addresses) => addresses,
        }
    }
}

fn is_here(address: &str) -> bool {
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host).trim_matches(['[', ']']);
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

fn check_prefix(prefix: &str) -> Result<(), String> {
    let is_good = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'{' | b'}');
    if prefix.is_empty() || prefix.len() > 64 || !prefix.bytes().all(is_good) {
        return Err(format!(
            "{prefix:?} is no prefix of keys: 1 to 64 visible ASCII characters without braces"
        ));
    }
    Ok(())
}

type Login = (Option<String>, Option<String>);

/// The user and the password, which may be written with % (RFC 3986 §2.1).
fn in_login(login: &str) -> Result<Login, &'static str> {
    let (user, password) = login.split_once(':').ok_or("a user without a password; it is user:password@")?;
    let user = decoded(user)?;
    Ok(((!user.is_empty()).then_some(user), Some(decoded(password)?)))
}

fn decoded(text: &str) -> Result<String, &'static str> {
    let bad = "a % in the user or the password is not followed by two hex digits (a % itself is %25)";
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        if *first == b'%' {
            let digits = after.get(..2).and_then(|digits| std::str::from_utf8(digits).ok()).ok_or(bad)?;
            bytes.push(u8::from_str_radix(digits, 16).map_err(|_| bad)?);
            rest = &after[2..];
        } else {
            bytes.push(*first);
            rest = after;
        }
    }
    String::from_utf8(bytes).map_err(|_| "the user or the password is not UTF-8")
}

fn address(host: &str, port: u16) -> Result<Arc<str>, &'static str> {
    let is_v6_alone = host.starts_with('[') && host.ends_with(']');
    let full = if is_v6_alone || !host.contains(':') { format!("{host}:{port}") } else { host.to_owned() };
    let uri: http::uri::Authority = full.parse().map_err(|_| "an address is no host:port")?;
    match uri.port_u16() {
        Some(port) if port > 0 && !uri.host().is_empty() => Ok(full.into()),
        _ => Err("an address is no host:port"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(url: &str) -> Result<RedisSettings, String> {
        RedisSettings::parse(url, RedisBeside { prefix: "t".to_owned(), ..RedisBeside::default() })
    }

    #[test]
    fn urls_say_where_redis_is() {
        let addresses = |list: &[&str]| list.iter().map(|address| Arc::from(*address)).collect::<Vec<_>>();
        for (url, lay) in [
            ("redis://a", Lay::Single("a:6379".into())),
            ("redis://[::1]", Lay::Single("[::1]:6379".into())),
            ("redis://u:p@a:1/3", Lay::Single("a:1".into())),
            ("redis+cluster://a:1,b", Lay::Cluster(addresses(&["a:1", "b:6379"]))),
            ("redis+sentinel://:p@a,b:7/main", Lay::Sentinel(addresses(&["a:26379", "b:7"]), "main".into())),
        ] {
            assert_eq!(parse(url).unwrap().lay, lay, "{url}");
        }
        let login = parse("redis://me:p%40%25:@a/7").unwrap();
        assert_eq!(
            (login.user.as_deref(), login.password.as_deref(), login.db),
            (Some("me"), Some("p@%:"), 7)
        );
    }

    #[test]
    fn what_is_wrong_is_said_and_the_password_never() {
        for url in [
            "redis:/u:secret@a",
            "http://u:secret@a",
            "redis://u:secret@a,b",
            "redis://u:secret@a/x",
            "redis://u:secret@",
            "redis://u:secret@a:0",
            "redis://u:secret%2@a",
            "redis+sentinel://u:secret@a",
            "redis+cluster://u:secret@a/1",
            "redis+x://u:secret@a",
        ] {
            let said = parse(url).unwrap_err();
            assert!(!said.contains("secret") && said.contains("redis+sentinel://"), "{said}");
        }
        let settings = parse("redis://u:secret@a").unwrap();
        assert!(!format!("{settings:?} {settings}").contains("secret"));
        assert!(settings.is_plaintext() && !parse("redis://127.0.0.1").unwrap().is_plaintext());
        let twice = RedisBeside { password: Some("x".into()), ca: None, prefix: "t".into() };
        assert!(RedisSettings::parse("redis://u:secret@a", twice).is_err());
    }
}
