//! RFC 8446, RFC 5246: both sides show a certificate, and neither goes on with somebody unknown.
//!
//! A connection is made in two steps. In the handshake the peer is judged, by name, path, lists and
//! feed; then it is judged once more, with lists that were fetched meanwhile where they did not know its
//! authority (one that has begun to sign just now), and only then is there a [`Stream`].

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::crypto::{verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::NoServerSessionStorage;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::version::{TLS12, TLS13};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, DistinguishedName, Error, OtherError,
    ServerConfig, SignatureScheme, SupportedProtocolVersion,
};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::{TlsAcceptor, TlsConnector, TlsStream};

use super::authority::{Authority, Peer, Side, Unfit};
use super::peers::Peers;
use super::source::{Standing, X509Source};
use super::stream::{Ended, Seen, Stream, Watched};

/// How long a handshake may take.
const HANDSHAKE_WITHIN: Duration = Duration::from_secs(10);

static VERSIONS: [&SupportedProtocolVersion; 2] = [&TLS13, &TLS12];

/// Why there is no connection.
#[derive(Debug)]
pub enum MtlsError {
    /// This program has nothing to show, or the peer is not one to talk to.
    Ended(Ended),
    /// The handshake failed: the other side said no, or does not speak TLS.
    Handshake(io::Error),
    /// The other side took too long.
    TimedOut,
    /// TLS cannot be set up.
    Tls(Error),
}

impl fmt::Display for MtlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ended(ended) => ended.fmt(f),
            Self::Handshake(error) => write!(f, "the handshake failed: {error}"),
            Self::TimedOut => f.write_str("the handshake took too long"),
            Self::Tls(error) => write!(f, "TLS cannot be set up: {error}"),
        }
    }
}

impl std::error::Error for MtlsError {}

impl From<Ended> for MtlsError {
    fn from(ended: Ended) -> Self {
        Self::Ended(ended)
    }
}

/// Who this program is, and with whom it talks. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Mtls {
    own: X509Source,
    authority: Authority,
    peers: Arc<Peers>,
}

impl Mtls {
    /// As the instance of `own`, with those `peers` that `authority` vouches for.
    pub fn new(own: X509Source, authority: Authority, peers: Peers) -> Self {
        Self { own, authority, peers: Arc::new(peers) }
    }

    /// A configuration of rustls for clients, which looks at no name of a host. Connections that are
    /// made with it end with the peer's standing where [`Self::guard`] takes them over.
    pub fn client_config(&self) -> Result<ClientConfig, Error> {
        self.client(Lists::Held)
    }

    /// A configuration of rustls for servers: no client without a certificate gets a connection.
    pub fn server_config(&self) -> Result<ServerConfig, Error> {
        self.server(Lists::Held)
    }

    /// Connects to a peer over what is open to it, such as a `TcpStream`.
    pub async fn connect<S>(&self, io: S) -> Result<Stream<S>, MtlsError>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        self.own_side(Side::Client)?;
        let config = self.client(Lists::Awaited).map_err(MtlsError::Tls)?;
        // Nothing looks at it, and an address is not sent.
        let name = ServerName::from(std::net::IpAddr::from([0, 0, 0, 0]));
        let handshake = TlsConnector::from(Arc::new(config)).connect(name, io);
        let stream = finished(handshake).await?;
        Ok(self.guard(stream.into()).await?)
    }

    /// Takes a connection of a peer.
    pub async fn accept<S>(&self, io: S) -> Result<Stream<S>, MtlsError>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        self.own_side(Side::Server)?;
        let config = self.server(Lists::Awaited).map_err(MtlsError::Tls)?;
        let stream = finished(TlsAcceptor::from(Arc::new(config)).accept(io)).await?;
        Ok(self.guard(stream.into()).await?)
    }

    /// Takes over a connection that was made with one of the configurations: from here on it ends with
    /// the peer's standing or this program's own.
    pub async fn guard<S>(&self, stream: TlsStream<S>) -> Result<Stream<S>, Ended> {
        let (side, own) = match &stream {
            TlsStream::Client(_) => (Side::Server, self.own_side(Side::Client)?),
            TlsStream::Server(_) => (Side::Client, self.own_side(Side::Server)?),
        };
        let shown = stream.get_ref().1.peer_certificates().unwrap_or_default();
        let other = Seen::new(shown.iter().map(|der| der.to_vec()), side, Arc::clone(&self.peers));
        let (watched, peer) = match Watched::new(self, &other, own.as_ref()) {
            Err(Ended::Peer(Unfit::Unlisted) | Ended::Own(Unfit::Unlisted)) => {
                self.authority.learn().await;
                Watched::new(self, &other, own.as_ref())?
            }
            judged => judged?,
        };
        Ok(Stream::new(stream, watched, peer))
    }

    pub(super) fn authority(&self) -> &Authority {
        &self.authority
    }

    pub(super) fn own(&self) -> &X509Source {
        &self.own
    }

    /// That this program itself may not go on. With another certificate it may, where that alone has
    /// ended.
    pub(super) fn own_ended(&self, unfit: Unfit) -> Ended {
        if !matches!(unfit, Unfit::Stale | Unfit::Unlisted) {
            self.own.renew();
        }
        Ended::Own(unfit)
    }

    /// What this program shows, where it may; nothing where its certificate is of another authority.
    /// It is looked at before the peer is: whoever was ended with the other side learns that it was,
    /// and gets another certificate.
    fn own_side(&self, side: Side) -> Result<Option<Seen>, Ended> {
        let svid = match self.own.standing() {
            Standing::Live(svid) => svid,
            Standing::Refused => return Err(Ended::Own(Unfit::Revoked)),
            Standing::Lapsed => return Err(Ended::Own(Unfit::Lifetime)),
        };
        if !self.authority.knows(&svid.spiffe_id) {
            return Ok(None);
        }
        let own = Seen::new(svid.chain.iter().cloned(), side, Arc::new(Peers::trust_domain()));
        match own.judge(&self.authority, &self.authority.held()) {
            Ok(_) | Err(Unfit::Unlisted) => Ok(Some(own)),
            Err(unfit) => Err(self.own_ended(unfit)),
        }
    }

    fn client(&self, lists: Lists) -> Result<ClientConfig, Error> {
        let mut config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
            .with_protocol_versions(&VERSIONS)?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(self.judging(lists)))
            .with_client_cert_resolver(Arc::new(self.own.clone()));
        config.resumption = Resumption::disabled();
        config.enable_sni = false;
        Ok(config)
    }

    fn server(&self, lists: Lists) -> Result<ServerConfig, Error> {
        let mut config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
            .with_protocol_versions(&VERSIONS)?
            .with_client_cert_verifier(Arc::new(self.judging(lists)))
            .with_cert_resolver(Arc::new(self.own.clone()));
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Ok(config)
    }

    fn judging(&self, lists: Lists) -> Judging {
        let Self { authority, peers, .. } = self.clone();
        Judging { authority, peers, lists }
    }
}

async fn finished<S>(handshake: impl Future<Output = io::Result<S>>) -> Result<S, MtlsError> {
    match tokio::time::timeout(HANDSHAKE_WITHIN, handshake).await {
        Ok(Ok(stream)) => Ok(stream),
        Ok(Err(error)) => Err(refused(error)),
        Err(_) => Err(MtlsError::TimedOut),
    }
}

/// What was found in the handshake, by its own name.
fn refused(error: io::Error) -> MtlsError {
    let found = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>());
    if let Some(Error::InvalidCertificate(CertificateError::Other(OtherError(why)))) = found
        && let Some(unfit) = why.downcast_ref::<Unfit>()
    {
        return MtlsError::Ended(Ended::Peer(unfit.clone()));
    }
    MtlsError::Handshake(error)
}

/// Which lists the handshake goes by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lists {
    /// Those that are held: who is on none of them is refused.
    Held,
    /// Whoever takes the connection over waits for those that are missing.
    Awaited,
}

/// Judges the peer in the handshake.
#[derive(Debug)]
struct Judging {
    authority: Authority,
    peers: Arc<Peers>,
    lists: Lists,
}

impl Judging {
    fn judge(
        &self,
        own: &CertificateDer<'_>,
        between: &[CertificateDer<'_>],
        side: Side,
    ) -> Result<Peer, Error> {
        let chain: Vec<CertificateDer<'_>> = std::iter::once(own)
            .chain(between)
            .map(|der| CertificateDer::from(der.as_ref()))
            .collect();
        let held = self.authority.held();
        let with = (side, &*self.peers);
        let judged = match (self.authority.judge(&held, &chain, with), self.lists) {
            (Err(Unfit::Unlisted), Lists::Awaited) => {
                self.authority.judge_without_lists(&held, &chain, with)
            }
            (judged, Lists::Awaited | Lists::Held) => judged,
        };
        judged.map_err(|unfit| {
            tracing::debug!(%unfit, "a peer was refused");
            Error::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(unfit))))
        })
    }

    fn schemes(&self) -> Vec<SignatureScheme> {
        self.authority.algorithms().supported_schemes()
    }
}

impl ServerCertVerifier for Judging {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.judge(end_entity, intermediates, Side::Server)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signature, self.authority.algorithms())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, self.authority.algorithms())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.schemes()
    }
}

impl ClientCertVerifier for Judging {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        // Roots change, and who has a certificate for here knows so.
        &[]
    }

    fn client_auth_mandatory(&self) -> bool {
        true
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.judge(end_entity, intermediates, Side::Client)?;
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signature, self.authority.algorithms())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, self.authority.algorithms())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.schemes()
    }
}
