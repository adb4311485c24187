//! Why a request did not get an answer, by blame.
//!
//! An error names the host that was meant and nothing else of the request or the answer: headers
//! carry credentials and bodies carry whatever a stranger wrote.

use std::fmt;

/// Why a request failed. Every variant names the host (and port, where the URI had one).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NetError {
    /// The caller's: the URI is not one this client sends to. Nothing was sent.
    Unsendable {
        /// The host, as far as it could be read.
        host: String,
        /// Which rule of URIs was broken.
        rule: &'static str,
    },
    /// The destination's: it lies where this client may not go. Nothing was sent.
    Refused {
        /// The host.
        host: String,
        /// Which rule of [`crate::egress`] refused it.
        rule: &'static str,
    },
    /// The name has no address, or the resolver does not answer.
    Unresolved {
        /// The host.
        host: String,
    },
    /// No connection came about.
    Unreachable {
        /// The host.
        host: String,
        /// What the operating system said.
        reason: std::io::ErrorKind,
    },
    /// The other side could not prove that it is this host, or speaks no TLS that we accept.
    Untrusted {
        /// The host.
        host: String,
        /// What the TLS library said; it speaks of certificates, never of content.
        reason: String,
    },
    /// It took too long.
    TimedOut {
        /// The host.
        host: String,
        /// What was being waited for.
        phase: Phase,
    },
    /// The answer's body is larger than the caller accepts.
    TooLarge {
        /// The host.
        host: String,
        /// The bound, in bytes.
        max: usize,
    },
    /// The connection broke, or what came is not HTTP/1.1.
    Broken {
        /// The host.
        host: String,
    },
}

/// What a request was waiting for when its time ran out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Name resolution, TCP and TLS.
    Connect,
    /// The whole exchange.
    Exchange,
    /// The next bytes of a stream.
    Idle,
}

impl NetError {
    /// The host that was meant.
    pub fn host(&self) -> &str {
        match self {
            Self::Unsendable { host, .. }
            | Self::Refused { host, .. }
            | Self::Unresolved { host }
            | Self::Unreachable { host, .. }
            | Self::Untrusted { host, .. }
            | Self::TimedOut { host, .. }
            | Self::TooLarge { host, .. }
            | Self::Broken { host } => host,
        }
    }

    /// Whether the same request might succeed later without anybody changing anything.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Unresolved { .. }
            | Self::Unreachable { .. }
            | Self::TimedOut { .. }
            | Self::Broken { .. } => true,
            Self::Unsendable { .. }
            | Self::Refused { .. }
            | Self::Untrusted { .. }
            | Self::TooLarge { .. } => false,
        }
    }
}

impl fmt::Display for NetError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unsendable { host, rule } => write!(f, "cannot send to `{host}`: {rule}"),
            Self::Refused { host, rule } => {
                write!(f, "may not connect to `{host}`: {rule}")
            }
            Self::Unresolved { host } => {
                write!(f, "`{host}` has no address; check the name and the resolver")
            }
            Self::Unreachable { host, reason } => {
                write!(f, "cannot connect to `{host}`: {reason}; check that it is up")
            }
            Self::Untrusted { host, reason } => write!(
                f,
                "the TLS handshake with `{host}` failed: {reason}; a private authority must be \
                 configured"
            ),
            Self::TimedOut { host, phase } => {
                let what = match phase {
                    Phase::Connect => "the connection",
                    Phase::Exchange => "the answer",
                    Phase::Idle => "the next bytes of the stream",
                };
                write!(f, "{what} of `{host}` took too long")
            }
            Self::TooLarge { host, max } => {
                write!(f, "the answer of `{host}` is larger than {max} bytes")
            }
            Self::Broken { host } => {
                write!(f, "the connection to `{host}` broke or did not speak HTTP/1.1")
            }
        }
    }
}

impl std::error::Error for NetError {}

/// Why a [`crate::Client`] could not be built. All are the operator's to mend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConfigError {
    /// The file of additional authorities cannot be read.
    AuthoritiesUnreadable {
        /// The file.
        path: std::path::PathBuf,
        /// What the operating system said.
        reason: std::io::ErrorKind,
    },
    /// The file holds no certificate, or one that is not a certificate.
    AuthoritiesInvalid {
        /// The file.
        path: std::path::PathBuf,
    },
    /// The file with the client's own certificate, or with its key, cannot be read.
    ShownUnreadable {
        /// The file.
        path: std::path::PathBuf,
        /// What the operating system said.
        reason: std::io::ErrorKind,
    },
    /// The file holds no certificate or no key, or the one is not of the other.
    ShownInvalid {
        /// The file.
        path: std::path::PathBuf,
    },
    /// The TLS library refuses its own settings: ours.
    Tls,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AuthoritiesUnreadable { path, reason } => {
                write!(
                    f,
                    "cannot read the certificate authorities in `{}`: {reason}",
                    path.display()
                )
            }
            Self::AuthoritiesInvalid { path } => write!(
                f,
                "`{}` must hold at least one PEM certificate and only valid ones",
                path.display()
            ),
            Self::ShownUnreadable { path, reason } => {
                write!(f, "cannot read `{}`: {reason}", path.display())
            }
            Self::ShownInvalid { path } => write!(
                f,
                "`{}` must hold a PEM certificate whose key is the one that was named, or that key",
                path.display()
            ),
            Self::Tls => f.write_str("the TLS library refused its settings"),
        }
    }
}

impl std::error::Error for ConfigError {}
