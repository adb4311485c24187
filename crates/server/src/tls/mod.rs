//! RFC 8446: how the listener speaks TLS, and with which certificate.
//!
//! It is in files ([`files`]), or of the installation's own authority ([`own_ca`]). Either is renewed while
//! it serves: new connections get what is new, those that are open keep theirs. Who asks for the name of a
//! trust domain is shown one of that ([`bundle_endpoints`]).

mod bundle_endpoints;
mod files;
mod fresh_key;
mod held;
mod own_ca;

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rustls::crypto::aws_lc_rs::default_provider;
use rustls::server::{Acceptor, ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::version::{TLS12, TLS13};
use rustls::{ServerConfig, SupportedProtocolVersion};
use tokio::net::TcpStream;
use tokio_rustls::LazyConfigAcceptor;
use tokio_rustls::server::TlsStream;

use self::bundle_endpoints::BundleEndpoints;
use self::files::Files;
use self::own_ca::OwnCa;
use crate::Server;
use crate::certificates::{Asking, ClientCertificates};
use crate::jobs;
use crate::serve::ServeError;

/// How often it is looked whether there is another certificate.
const LOOK_EVERY: Duration = Duration::from_secs(10);

static SINCE_TLS12: [&SupportedProtocolVersion; 2] = [&TLS13, &TLS12];
static SINCE_TLS13: [&SupportedProtocolVersion; 1] = [&TLS13];

/// The oldest version that is spoken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MinVersion {
    /// TLS 1.2 (RFC 5246), with ephemeral keys and authenticated encryption alone (RFC 9325).
    #[default]
    Tls12,
    /// TLS 1.3.
    Tls13,
}

impl MinVersion {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Tls12, Self::Tls13];

    /// As it is written in a configuration.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Tls12 => "1.2",
            Self::Tls13 => "1.3",
        }
    }

    fn versions(self) -> &'static [&'static SupportedProtocolVersion] {
        match self {
            Self::Tls12 => &SINCE_TLS12,
            Self::Tls13 => &SINCE_TLS13,
        }
    }
}

/// Where the listener's certificate is from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// It is in a file, and its key in another.
    Files {
        /// The certificate chain, PEM.
        certificates: PathBuf,
        /// Its key, PEM.
        key: PathBuf,
    },
    /// It is of the installation's own authority, for a key of this process.
    OwnCa,
}

/// How the listener speaks TLS.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where its certificate is from.
    pub certificate: Source,
    /// The oldest version.
    pub min_version: MinVersion,
    /// Whether clients are asked for a certificate of theirs.
    pub of_clients: ClientCertificates,
}

/// TLS with a certificate that is renewed while it is used.
#[derive(Clone)]
pub struct Tls {
    config: Arc<ServerConfig>,
    own: Arc<Own>,
}

impl Tls {
    /// Reads the certificate and its key, where they are in files. An error says which file is wrong.
    pub fn read(settings: &Settings) -> Result<Self, ServeError> {
        let provider = Arc::new(default_provider());
        let for_all = match &settings.certificate {
            Source::Files { certificates, key } => {
                ForAll::Files(Files::read((certificates, key), Arc::clone(&provider))?)
            }
            Source::OwnCa => ForAll::Ca(OwnCa::default()),
        };
        let own = Arc::new(Own { for_all, bundle_endpoints: BundleEndpoints::default() });
        let config = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(settings.min_version.versions())
            .map_err(|error| ServeError::Tls(error.to_string()))?;
        let config = match settings.of_clients {
            ClientCertificates::Ignored => config.with_no_client_auth(),
            ClientCertificates::Asked => {
                config.with_client_cert_verifier(Arc::new(Asking::new(provider)))
            }
        };
        let resolver = Arc::clone(&own);
        let mut config = config.with_cert_resolver(resolver);
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Self { config: Arc::new(config), own })
    }

    /// A handshake with whoever connects; `server` where it serves.
    pub(crate) async fn accept(
        &self,
        stream: TcpStream,
        server: Option<&Server>,
    ) -> io::Result<TlsStream<TcpStream>> {
        let begun = LazyConfigAcceptor::new(Acceptor::default(), stream).await?;
        let name = begun.client_hello().server_name().map(str::to_owned);
        if let (Some(server), Some(name)) = (server, name) {
            self.own.bundle_endpoints.prepare(server, &name).await;
        }
        begun.into_stream(Arc::clone(&self.config)).await
    }

    /// Goes on looking for another certificate, for as long as it is polled.
    pub(crate) async fn renew(&self, server: &Server) {
        loop {
            jobs::pause(LOOK_EVERY).await;
            match self.look(server).await {
                Ok(false) => {}
                Ok(true) => tracing::info!("the listener shows another certificate"),
                Err(error) => {
                    tracing::warn!(%error, "the listener goes on with the certificate that it has");
                }
            }
        }
    }

    /// One turn of that; whether there is another certificate. Where it is of the own authority, no handshake
    /// ends well before the first.
    pub async fn look(&self, server: &Server) -> Result<bool, ServeError> {
        if let ForAll::Ca(own) = &self.own.for_all {
            return own.look(server).await.map_err(|fault| ServeError::Tls(fault.to_string()));
        }
        let own = Arc::clone(&self.own);
        let looked = tokio::task::spawn_blocking(move || match &own.for_all {
            ForAll::Files(files) => files.look(),
            ForAll::Ca(_) => Ok(false),
        });
        looked.await.unwrap_or_else(|error| Err(ServeError::Tls(error.to_string())))
    }
}

/// The listener's own certificates and keys.
struct Own {
    for_all: ForAll,
    bundle_endpoints: BundleEndpoints,
}

/// What is shown to whoever asks for no trust domain.
enum ForAll {
    Files(Files),
    Ca(OwnCa),
}

impl fmt::Debug for Own {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Own")
    }
}

impl ResolvesServerCert for Own {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let of_domain = hello.server_name().and_then(|name| self.bundle_endpoints.certified(name));
        of_domain.or_else(|| match &self.for_all {
            ForAll::Files(files) => Some(files.certified()),
            ForAll::Ca(own) => own.certified(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_version_is_spoken_that_is_older_than_asked_for() {
        for (min, versions) in [(MinVersion::Tls12, 2), (MinVersion::Tls13, 1)] {
            assert_eq!(min.versions().len(), versions);
            assert_eq!(min.versions()[0].version, rustls::ProtocolVersion::TLSv1_3);
        }
    }
}
