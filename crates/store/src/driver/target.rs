//! Where a database is: PostgreSQL's connection URIs (libpq, "Connection Strings"), as far as a store
//! needs them, and stricter.
//!
//! What is not understood is refused, never passed over: a parameter that the server would have been
//! reached without may be the one that made it safe. Absent on purpose: a password, which would stand
//! in configuration, process lists and logs; modes of TLS that fall back to none; whatever a session
//! can be set to.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use accredit_wire::secret::Secret;
use tokio_postgres::Config;
use tokio_postgres::config::{SslMode, TargetSessionAttrs};

use super::DriverError;
use super::postgres::{CONNECT_TIME_MAX, STATEMENT_TIME_MAX};
use super::tls::{Connector, Trust};

/// Servers that one database may be looked for on: a primary and those that may take its place.
pub const HOSTS_MAX: usize = 8;
/// The port where none is named.
const PORT: u16 = 5432;
/// How long a connection may be silent before it is asked whether it is still there.
const SILENCE_MAX: std::time::Duration = std::time::Duration::from_secs(10);

/// Why a URI is no target: what is wrong, and what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TargetError {
    /// What is wrong. It never holds a password.
    pub detail: String,
    /// What to do.
    pub hint: &'static str,
}

impl TargetError {
    fn new(detail: impl Into<String>, hint: &'static str) -> Self {
        Self { detail: detail.into(), hint }
    }
}

impl fmt::Display for TargetError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.detail, self.hint)
    }
}

impl std::error::Error for TargetError {}

const HINT_FORM: &str = "write it as `postgres://user@host:5432/database`";
const HINT_PASSWORD: &str = "take it out of the URL, change it, and put the new one into a file \
     (`store_password_file`) or into ACCREDIT_STORE_PASSWORD";
const HINT_TLS: &str = "write sslmode=verify-full, with the authority in `store_ca_file`";

/// A database on one of some servers, and how it is reached.
#[derive(Clone, Debug)]
pub struct Target {
    hosts: Vec<(Host, u16)>,
    user: String,
    database: String,
    tls: Tls,
    password: Option<Secret>,
    authorities: Option<PathBuf>,
}

/// Where a server is.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Host {
    /// A name or an address.
    Name(String),
    /// The folder of its socket on this machine.
    Socket(PathBuf),
}

impl Host {
    /// Whether nothing leaves this machine.
    fn is_local(&self) -> bool {
        match self {
            Self::Socket(_) => true,
            Self::Name(name) => {
                name == "localhost" || name.parse().is_ok_and(|ip: IpAddr| ip.is_loopback())
            }
        }
    }
}

/// libpq's `sslmode`, without the modes that may end up in the clear.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tls {
    Disable,
    Require,
    VerifyFull,
}

impl Tls {
    const ALL: [Self; 3] = [Self::Disable, Self::Require, Self::VerifyFull];

    const fn as_str(self) -> &'static str {
        match self {
            Self::Disable => "disable",
            Self::Require => "require",
            Self::VerifyFull => "verify-full",
        }
    }
}

impl Target {
    /// Whether a text is meant to be one.
    pub fn is_meant(text: &str) -> bool {
        ["postgres:", "postgresql:"].iter().any(|scheme| text.starts_with(scheme))
    }

    /// With the password that the server is shown.
    #[must_use]
    pub fn with_password(self, password: Option<Secret>) -> Self {
        Self { password, ..self }
    }

    /// With a PEM file of authorities, which alone are believed as to who the server is.
    #[must_use]
    pub fn with_authorities(self, authorities: Option<PathBuf>) -> Self {
        Self { authorities, ..self }
    }

    /// Whether the server is not asked to prove who it is, though it is on another machine.
    pub fn believes_anyone(&self) -> bool {
        self.tls == Tls::Require && !self.hosts.iter().all(|(host, _)| host.is_local())
    }

    /// As the driver takes it.
    pub(super) fn config(&self) -> Config {
        let mut config = Config::new();
        for (host, port) in &self.hosts {
            match host {
                Host::Name(name) => config.host(name),
                Host::Socket(folder) => config.host_path(folder),
            };
            config.port(*port);
        }
        config.user(&self.user).dbname(&self.database);
        config.application_name("accredit").connect_timeout(CONNECT_TIME_MAX);
        config.keepalives_idle(SILENCE_MAX).tcp_user_timeout(STATEMENT_TIME_MAX);
        if let Some(password) = &self.password {
            config.password(password.expose());
        }
        if self.hosts.len() > 1 {
            // Of a primary and its standbys the one that takes writes, whichever that is by now.
            config.target_session_attrs(TargetSessionAttrs::ReadWrite);
        }
        config.ssl_mode(match self.tls {
            Tls::Disable => SslMode::Disable,
            Tls::Require | Tls::VerifyFull => SslMode::Require,
        });
        config
    }

    /// What makes connections to it.
    pub(super) fn connector(&self) -> Result<Connector, DriverError> {
        Connector::new(match self.tls {
            Tls::Disable => Trust::NoTls,
            Tls::Require => Trust::Anyone,
            Tls::VerifyFull => Trust::Authorities(self.authorities.as_deref()),
        })
    }
}

impl FromStr for Target {
    type Err = TargetError;

    fn from_str(text: &str) -> Result<Self, TargetError> {
        let rest = ["postgres://", "postgresql://"].iter().find_map(|it| text.strip_prefix(it));
        let rest = rest.ok_or_else(|| TargetError::new("it is no PostgreSQL URL", HINT_FORM))?;
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (authority, database) = rest.split_once('/').unwrap_or((rest, ""));
        let (user, hosts) = authority.rsplit_once('@').unwrap_or(("", authority));
        if user.contains(':') {
            return Err(TargetError::new("the URL holds a password", HINT_PASSWORD));
        }
        if query.contains('?') {
            // What stands behind it, a password perhaps, would be part of a value.
            return Err(TargetError::new("it has more than one `?`", HINT_FORM));
        }
        let asked = Asked::read(query)?;
        let mut hosts = match asked.socket {
            Some(_) if !hosts.is_empty() => {
                return Err(TargetError::new("it names a host twice", HINT_FORM));
            }
            Some(folder) => vec![(Host::Socket(folder), PORT)],
            None => hosts.split(',').map(host).collect::<Result<_, _>>()?,
        };
        if let Some(port) = asked.port {
            for (_, of_host) in &mut hosts {
                *of_host = port;
            }
        }
        if hosts.len() > HOSTS_MAX {
            let detail = format!("it names more than {HOSTS_MAX} hosts");
            return Err(TargetError::new(detail, "name the primary and its standbys"));
        }
        let sockets = hosts.iter().filter(|(host, _)| matches!(host, Host::Socket(_))).count();
        if sockets > 0 && hosts.len() > 1 {
            return Err(TargetError::new("a socket is the only host", HINT_FORM));
        }
        let local = hosts.iter().all(|(host, _)| host.is_local());
        let tls = match asked.tls {
            _ if sockets > 0 => Tls::Disable,
            Some(Tls::Disable) if !local => {
                let detail = "what is written to another machine is not sent in the clear";
                return Err(TargetError::new(detail, HINT_TLS));
            }
            Some(tls) => tls,
            None if local => Tls::Disable,
            None => Tls::VerifyFull,
        };
        Ok(Self {
            hosts,
            user: named(user, "user")?,
            database: named(database, "database")?,
            tls,
            password: None,
            authorities: None,
        })
    }
}

/// The parameters of a URI.
#[derive(Default)]
struct Asked {
    tls: Option<Tls>,
    socket: Option<PathBuf>,
    port: Option<u16>,
}

impl Asked {
    fn read(query: &str) -> Result<Self, TargetError> {
        let mut asked = Self::default();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            match key {
                "sslmode" => asked.tls = Some(tls(value)?),
                "host" => {
                    let folder = PathBuf::from(decoded(value)?);
                    if !folder.is_absolute() {
                        let detail = "`host` names the folder of a socket";
                        return Err(TargetError::new(detail, HINT_FORM));
                    }
                    asked.socket = Some(folder);
                }
                "port" => asked.port = Some(port(value)?),
                "password" => {
                    return Err(TargetError::new("the URL holds a password", HINT_PASSWORD));
                }
                "sslrootcert" => {
                    let hint = "name the file of the authority with `store_ca_file`";
                    return Err(TargetError::new("`sslrootcert` is not read", hint));
                }
                _ => {
                    // Only the key: a value may be anything.
                    let detail = format!("`{}` is not read", key.escape_default());
                    return Err(TargetError::new(detail, "leave it out"));
                }
            }
        }
        Ok(asked)
    }
}

fn tls(value: &str) -> Result<Tls, TargetError> {
    let found = Tls::ALL.into_iter().find(|tls| tls.as_str() == value);
    found.ok_or_else(|| {
        let detail = format!("sslmode `{}` is not taken", value.escape_default());
        TargetError::new(detail, HINT_TLS)
    })
}

fn port(text: &str) -> Result<u16, TargetError> {
    match text.parse() {
        Ok(port) if port > 0 => Ok(port),
        _ => Err(TargetError::new("the port is no number from 1 to 65535", HINT_FORM)),
    }
}

/// One host with its port.
fn host(text: &str) -> Result<(Host, u16), TargetError> {
    let (name, rest) = match text.strip_prefix('[') {
        Some(text) => {
            let (name, rest) = text
                .split_once(']')
                .ok_or_else(|| TargetError::new("an address has no end", HINT_FORM))?;
            (name, rest.strip_prefix(':'))
        }
        None => text.split_once(':').map_or((text, None), |(name, port)| (name, Some(port))),
    };
    let name = named(name, "host")?;
    let port = rest.map_or(Ok(PORT), port)?;
    if name.starts_with('/') {
        return Ok((Host::Socket(PathBuf::from(name)), port));
    }
    Ok((Host::Name(name), port))
}

/// A part that has to be there.
fn named(text: &str, what: &str) -> Result<String, TargetError> {
    let text = decoded(text)?;
    if text.is_empty() || text.chars().any(char::is_control) {
        return Err(TargetError::new(format!("it names no {what}"), HINT_FORM));
    }
    Ok(text)
}

/// RFC 3986 section 2.1: percent-encoding.
fn decoded(text: &str) -> Result<String, TargetError> {
    let wrong = || TargetError::new("its percent-encoding is broken", HINT_FORM);
    let mut parts = text.split('%');
    let mut bytes = parts.next().unwrap_or_default().as_bytes().to_vec();
    for part in parts {
        let (digits, rest) = part.split_at_checked(2).ok_or_else(wrong)?;
        if !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return Err(wrong());
        }
        bytes.push(u8::from_str_radix(digits, 16).map_err(|_| wrong())?);
        bytes.extend_from_slice(rest.as_bytes());
    }
    String::from_utf8(bytes).map_err(|_| wrong())
}

impl fmt::Display for Target {
    /// As a URI again.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "postgres://{}@", Encoded(&self.user))?;
        for (place, (host, port)) in self.hosts.iter().enumerate() {
            let comma = if place == 0 { "" } else { "," };
            match host {
                Host::Name(name) if name.parse::<Ipv6Addr>().is_ok() => {
                    write!(f, "{comma}[{name}]:{port}")?;
                }
                Host::Name(name) => write!(f, "{comma}{}:{port}", Encoded(name))?,
                Host::Socket(folder) => write!(f, "{}:{port}", Encoded(&shown(folder)))?,
            }
        }
        write!(f, "/{}", Encoded(&self.database))?;
        let local = self.hosts.iter().all(|(host, _)| host.is_local());
        let usual = if local { Tls::Disable } else { Tls::VerifyFull };
        if self.tls == usual { Ok(()) } else { write!(f, "?sslmode={}", self.tls.as_str()) }
    }
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}

/// Text in which only unreserved characters stand for themselves.
struct Encoded<'a>(&'a str);

impl fmt::Display for Encoded<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.bytes().try_for_each(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                write!(f, "{}", char::from(byte))
            }
            _ => write!(f, "%{byte:02X}"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(text: &str) -> Target {
        text.parse().expect(text)
    }

    fn refused(text: &str) -> TargetError {
        text.parse::<Target>().expect_err(text)
    }

    #[test]
    fn the_server_proves_who_it_is_unless_nothing_leaves_the_machine() {
        for (text, tls) in [
            ("postgres://a@db.example/x", Tls::VerifyFull),
            ("postgresql://a@10.0.0.1:5433/x", Tls::VerifyFull),
            ("postgres://a@db.example/x?sslmode=require", Tls::Require),
            ("postgres://a@db.example,localhost/x", Tls::VerifyFull),
            ("postgres://a@localhost/x", Tls::Disable),
            ("postgres://a@[::1]:5433/x?sslmode=verify-full", Tls::VerifyFull),
            ("postgres://a@127.0.0.1/x?sslmode=disable", Tls::Disable),
            ("postgres://a@%2Frun%2Fpostgresql/x", Tls::Disable),
            ("postgres://a@/x?host=/run/postgresql&port=5433", Tls::Disable),
        ] {
            assert_eq!(read(text).tls, tls, "{text}");
            assert_eq!(read(&read(text).to_string()).tls, tls, "{text}");
        }
        for text in [
            "postgres://a@db.example/x?sslmode=disable",
            "postgres://a@localhost,db.example/x?sslmode=disable",
            "postgres://a@db.example/x?sslmode=prefer",
            "postgres://a@db.example/x?sslmode=verify-ca",
            "postgres://a@db.example/x?sslmode=",
        ] {
            assert_eq!(refused(text).hint, HINT_TLS, "{text}");
        }
        assert!(read("postgres://a@db.example/x?sslmode=require").believes_anyone());
        assert!(!read("postgres://a@db.example/x").believes_anyone());
    }

    #[test]
    fn a_password_is_refused_and_never_repeated() {
        for text in [
            "postgres://a:s3cret@db.example/x",
            "postgres://a:@db.example/x",
            "postgres://a:p@s3cret@db.example/x",
            "postgres://a@db.example/x?password=s3cret",
            "postgres://a@db.example/x?pasword=s3cret",
            "postgres://a@db.example/x?sslmode=require&passfile=s3cret",
            "postgres://a@db.example/x?sslmode=require?password=s3cret",
        ] {
            assert!(!refused(text).to_string().contains("s3cret"), "{text}");
        }
        let hidden = read("postgres://a@db/x").with_password(Some(Secret::new("s3cret".into())));
        assert!(!format!("{hidden:?} {hidden}").contains("s3cret"));
        assert_eq!(refused("postgres://a:b@h/x").hint, HINT_PASSWORD);
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        for text in [
            "mysql://a@h/x",
            "postgres:a@h/x",
            "postgres://h/x",
            "postgres://a@/x",
            "postgres://a@h",
            "postgres://a@h/",
            "postgres://a@h:0/x",
            "postgres://a@h:70000/x",
            "postgres://a@[::1/x",
            "postgres://a@h,/x",
            "postgres://a@h/%zz",
            "postgres://a@h/%+1",
            "postgres://a@h/x%00",
            "postgres://a@h/x?options=-c%20fsync%3Doff",
            "postgres://a@h/x?host=/run",
            "postgres://a@/x?host=run",
            "postgres://a@h,%2Frun/x",
            "postgres://a@a,b,c,d,e,f,g,h,i/x",
        ] {
            refused(text);
        }
    }

    proptest! {
        #[test]
        fn whatever_is_read_is_written_as_what_is_read_again(text in "\\PC{0,40}", tail in "\\PC{0,20}") {
            let encoded = text.bytes().fold(String::new(), |all, byte| format!("{all}%{byte:02x}"));
            for text in [
                text.clone(),
                format!("postgres://{text}/{tail}"),
                format!("postgres://a@{text}/x"),
                format!("postgres://a@{encoded}/x"),
            ] {
                let Ok(target) = text.parse::<Target>() else { continue };
                let again = read(&target.to_string());
                prop_assert_eq!(format!("{:?}", again), format!("{:?}", target));
            }
        }
    }
}
