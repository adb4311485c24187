//! Two agents prove to each other who they are, and whoever is not one of them gets no connection; the
//! connection ends with the standing of either.

use std::sync::Arc;
use std::time::Duration;

use accredit::mtls::{
    Authority, Ended, Incoming, Mtls, MtlsError, Peers, Standing, Stream, Unfit, X509Source,
};
use accredit::{Agent, PersonId, Secret, Verifier};
use rcgen::{CertificateParams, ExtendedKeyUsagePurpose, KeyUsagePurpose, SanType};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, HandshakeKind, ServerConfig, SignatureScheme};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::ca::{Ca, Key, Shown};
use crate::issuer::{Issuer, now, numbered, until};

/// By when an end is noticed, with an age bound of one second and a busy machine.
const NOTICED_WITHIN: Duration = Duration::from_secs(5);

struct Stage {
    issuer: Issuer,
    verifier: Verifier,
    authority: Authority,
}

type Open = Stream<TcpStream>;

impl Stage {
    async fn new() -> Self {
        Self::of(Issuer::start().await).await
    }

    async fn of(issuer: Issuer) -> Self {
        let verifier = issuer.verifier().await;
        let domain = issuer.ca().domain.to_string();
        let authority = Authority::connect(&verifier, &domain).await.expect("an authority");
        Self { issuer, verifier, authority }
    }

    /// The instance of this number, of an agent.
    async fn source(&self, agent: &str, number: u64) -> X509Source {
        let client = format!("{agent}.{number}");
        let agent = Agent::new(self.issuer.url(), &client, Secret::new("x".to_owned()));
        X509Source::begin(agent.expect("an agent")).await.expect("a certificate")
    }

    async fn mtls(&self, agent: &str, number: u64, peers: Peers) -> Mtls {
        Mtls::new(self.source(agent, number).await, self.authority.clone(), peers)
    }

    /// A connection between two instances: the client's end and the server's.
    async fn connected(&self, client: &Mtls, server: &Mtls) -> (Open, Open) {
        let (here, there) = pair().await;
        let (one, other) = tokio::join!(client.connect(here), server.accept(there));
        (one.expect("the client's end"), other.expect("the server's end"))
    }
}

/// Both ends of a connection.
async fn pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let at = listener.local_addr().expect("an address");
    let (here, there) = tokio::join!(TcpStream::connect(at), listener.accept());
    (here.expect("connected"), there.expect("accepted").0)
}

/// Sends a line from one end to the other.
async fn says(from: &mut Open, to: &mut Open) {
    from.write_all(b"task").await.expect("written");
    from.flush().await.expect("sent");
    let mut read = [0; 4];
    to.read_exact(&mut read).await.expect("read");
    assert_eq!(&read, b"task");
}

/// Whether a line gets through, both ways.
async fn talks((here, there): (&mut Open, &mut Open)) {
    says(here, there).await;
    says(there, here).await;
}

/// What ends a connection that somebody reads from.
async fn ended(stream: &mut Open) -> Ended {
    let mut read = [0; 8];
    let read = tokio::time::timeout(NOTICED_WITHIN, stream.read(&mut read)).await;
    let error = read.expect("it ends in time").expect_err("it does not end well");
    Ended::of(&error).unwrap_or_else(|| panic!("{error:?}")).clone()
}

/// Takes whatever a server shows.
#[derive(Debug)]
struct Anybody;

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        default_provider().signature_verification_algorithms.supported_schemes()
    }
}

fn parts(shown: &Shown) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
    let chain = shown.chain.iter().cloned().map(CertificateDer::from).collect();
    (chain, PrivatePkcs8KeyDer::from(shown.key.clone()).into())
}

/// A client that shows this, or nothing.
fn stranger(shows: Option<&Shown>) -> TlsConnector {
    let config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anybody));
    let config = match shows.map(parts) {
        Some((chain, key)) => config.with_client_auth_cert(chain, key).expect("a client"),
        None => config.with_no_client_auth(),
    };
    TlsConnector::from(Arc::new(config))
}

/// A server that shows this, and asks for nothing.
fn strange_server(shows: &Shown) -> TlsAcceptor {
    let (chain, key) = parts(shows);
    let config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .expect("a server");
    TlsAcceptor::from(Arc::new(config))
}

/// What a server says to a client that shows this.
async fn accepts(server: &Mtls, shows: Option<&Shown>) -> Result<(), MtlsError> {
    let (here, there) = pair().await;
    let client = async {
        let name = ServerName::try_from("localhost").expect("a name");
        let Ok(mut stream) = stranger(shows).connect(name, here).await else { return };
        let _ = stream.read(&mut [0; 8]).await;
    };
    tokio::select! {
        taken = server.accept(there) => taken.map(drop),
        () = async { client.await; std::future::pending().await } => unreachable!(),
    }
}

/// What a client says to a server that shows this.
async fn connects(client: &Mtls, shows: &Shown) -> Result<(), MtlsError> {
    let (here, there) = pair().await;
    let server = async {
        let Ok(mut stream) = strange_server(shows).accept(there).await else { return };
        let _ = stream.read(&mut [0; 8]).await;
    };
    tokio::select! {
        made = client.connect(here) => made.map(drop),
        () = async { server.await; std::future::pending().await } => unreachable!(),
    }
}

fn unfit(error: &MtlsError) -> &Unfit {
    let MtlsError::Ended(Ended::Peer(unfit)) = error else { panic!("{error:?}") };
    unfit
}

/// What a workload's certificate says, to change some of it.
fn params(ids: &[&str]) -> CertificateParams {
    let mut params = CertificateParams::default();
    let uri = |id: &&str| SanType::URI((*id).try_into().expect("a URI"));
    params.subject_alt_names = ids.iter().map(uri).collect();
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages =
        vec![ExtendedKeyUsagePurpose::ClientAuth, ExtendedKeyUsagePurpose::ServerAuth];
    params
}

#[tokio::test]
async fn two_agents_prove_who_they_are_and_talk() {
    let stage = Stage::new().await;
    let planner = stage.mtls("planner", 1, Peers::agent("worker")).await;
    let worker = stage.mtls("worker", 2, Peers::agent("planner")).await;
    let (mut here, mut there) = stage.connected(&planner, &worker).await;
    talks((&mut here, &mut there)).await;
    let id = |agent: &str, number| stage.issuer.ca().id(agent, numbered(number)).to_string();
    assert_eq!(here.peer().spiffe_id(), id("worker", 2));
    assert_eq!(there.peer().spiffe_id(), id("planner", 1));
    assert_eq!((there.peer().agent(), there.peer().instance()), ("planner", numbered(1)));
    assert!(there.peer().expires_at() > now());
    // Closed by either, it ends well.
    here.shutdown().await.expect("closed");
    assert_eq!(there.read(&mut [0; 8]).await.expect("the end"), 0);
}

/// The lists of a root that somebody else keeps are not the issuer's: what the issuer's say is enough.
#[tokio::test]
async fn below_a_root_that_somebody_else_keeps_they_talk_and_end_as_well() {
    let issuer = Issuer::start().await;
    let before = issuer.ca().shown("planner", numbered(4));
    issuer.ca().go_below_another();
    let stage = Stage::of(issuer).await;
    let planner = stage.mtls("planner", 1, Peers::agent("worker")).await;
    let worker = stage.mtls("worker", 2, Peers::agent("planner")).await;
    let (mut here, mut there) = stage.connected(&planner, &worker).await;
    talks((&mut here, &mut there)).await;
    let refused = accepts(&worker, Some(&before)).await.expect_err("ours alone is no root");
    assert!(matches!(unfit(&refused), Unfit::Path(_)), "{refused:?}");
    let listed = stage.issuer.ca().shown("planner", numbered(5));
    accepts(&worker, Some(&listed)).await.expect("it is on no list");
    stage.issuer.ca().list(&listed);
    stage.issuer.revoke(numbered(66));
    until("it is known", || stage.verifier.status().is_some_and(|now| now.rev == 1)).await;
    tokio::time::sleep(Duration::from_millis(1500)).await;
    let refused = accepts(&worker, Some(&listed)).await.expect_err("it is on the list");
    assert_eq!(*unfit(&refused), Unfit::Revoked);
    talks((&mut here, &mut there)).await;
    // One whose authority has no list any more, as one that was revoked.
    let planner = stage.issuer.ca().shown("planner", numbered(6));
    stage.issuer.ca().rotate();
    stage.issuer.revoke(numbered(67));
    assert!(matches!(ended(&mut there).await, Ended::Own(Unfit::Unlisted)));
    accepts(&worker, Some(&planner)).await.expect_err("its authority has no list");
}

#[tokio::test]
async fn a_listener_gives_connections_of_peers_whoever_else_comes() {
    let stage = Stage::new().await;
    let planner = stage.mtls("planner", 1, Peers::agent("worker")).await;
    let worker = stage.mtls("worker", 2, Peers::agent("planner")).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let mut incoming = Incoming::new(listener, worker);
    let at = incoming.local_addr().expect("an address");
    // One says nothing, one is nobody, one speaks no TLS.
    let _silent = TcpStream::connect(at).await.expect("connected");
    let mut other = TcpStream::connect(at).await.expect("connected");
    other.write_all(b"GET / HTTP/1.1\r\n\r\n").await.expect("written");
    let anonymous = TcpStream::connect(at).await.expect("connected");
    tokio::spawn(async move {
        let name = ServerName::try_from("localhost").expect("a name");
        let _ = stranger(None).connect(name, anonymous).await;
    });
    let client = async { planner.connect(TcpStream::connect(at).await.expect("connected")).await };
    let (here, (mut there, _)) = tokio::join!(client, incoming.accept());
    talks((&mut here.expect("connected"), &mut there)).await;
    assert_eq!(there.peer().agent(), "planner");
}

/// What somebody shows, and why it is refused.
type Case = (&'static str, Shown, fn(&Unfit) -> bool);

#[tokio::test]
async fn whoever_is_not_a_peer_gets_no_connection_on_either_side() {
    let stage = Stage::new().await;
    let own = stage.mtls("worker", 2, Peers::agent("planner")).await;
    let mut other = Ca::new("other.127.0.0.1");
    let mut cases: Vec<Case> = Vec::new();
    {
        let mut ca = stage.issuer.ca();
        let id = ca.id("planner", numbered(1));
        let life = accredit_wire::x509::certificate::Life {
            from: now(),
            until: now().plus(Duration::from_hours(1)),
        };
        let path = |unfit: &Unfit| matches!(unfit, Unfit::Path(_));
        let named = |unfit: &Unfit| matches!(unfit, Unfit::Certificate(_));
        let foreign = |unfit: &Unfit| matches!(unfit, Unfit::Foreign { .. });
        let unexpected = |unfit: &Unfit| matches!(unfit, Unfit::NotExpected { .. });
        cases.push(("our id by another's intermediate", other.shown_as(&id, life), path));
        let shown = other.shown("planner", numbered(1));
        cases.push(("another trust domain's own", shown, foreign));
        cases.push(("over", ca.shown_over("planner", numbered(1)), |unfit| {
            *unfit == Unfit::Lifetime
        }));
        cases.push(("another agent", ca.shown("worker", numbered(3)), unexpected));
        cases.push(("an intermediate", ca.itself(), named));
        let second = ca.id("planner", numbered(9)).to_string();
        let two = ca.signed(&params(&[id.as_str(), &second]));
        cases.push(("two names", two, named));
        let https = ca.signed(&params(&[id.as_str(), "https://id.example/planner"]));
        cases.push(("a name of another scheme besides", https, named));
        cases.push(("no name", ca.signed(&params(&[])), named));
        let domain = ca.signed(&params(&["spiffe://dev.127.0.0.1"]));
        cases.push(("the trust domain itself", domain, foreign));
        let upper = id.as_str().replace("spiffe://dev", "spiffe://DEV");
        cases.push(("another spelling", ca.signed(&params(&[&upper])), foreign));
        let mut signing = params(&[id.as_str()]);
        signing.key_usages.push(KeyUsagePurpose::KeyCertSign);
        cases.push(("one that may sign", ca.signed(&signing), named));
        let mut authority = params(&[id.as_str()]);
        authority.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        cases.push(("an authority with our id", ca.signed(&authority), named));
        let mut unused = params(&[id.as_str()]);
        unused.key_usages.clear();
        cases.push(("one without a usage", ca.signed(&unused), named));
        let mut mail = params(&[id.as_str()]);
        mail.extended_key_usages = vec![ExtendedKeyUsagePurpose::EmailProtection];
        cases.push(("one for mail", ca.signed(&mail), path));
        let key = Key::new();
        let own_root = params(&[id.as_str()]).self_signed(&key.pair()).expect("a certificate");
        let shown = Shown { chain: vec![own_root.der().to_vec()], key: key.der };
        cases.push(("one that signed itself", shown, path));
        let mut alone = ca.shown("planner", numbered(1));
        alone.chain.truncate(1);
        cases.push(("one without its intermediate", alone, path));
        // One of ours signs for another: a leaf is no authority.
        let leaf = ca.shown("planner", numbered(1));
        let by = rcgen::Issuer::new(
            CertificateParams::default(),
            rcgen::KeyPair::try_from(leaf.key.as_slice()).expect("a key"),
        );
        let key = Key::new();
        let child = params(&[id.as_str()]).signed_by(&key.pair(), &by).expect("a certificate");
        let chain = [vec![child.der().to_vec()], leaf.chain].concat();
        cases.push(("one that a leaf signed", Shown { chain, key: key.der }, path));
        let listed = ca.shown("planner", numbered(1));
        ca.list(&listed);
        cases.push(("one on the list", listed, |unfit| *unfit == Unfit::Revoked));
        let dead = ca.shown("planner", numbered(66));
        cases.push(("an instance that was ended", dead, |unfit| *unfit == Unfit::Revoked));
    }
    stage.issuer.revoke(numbered(66));
    until("it is known", || stage.verifier.status().is_some_and(|now| now.rev == 2)).await;
    // The lists are fetched where the feed tells of something: here of an instance.
    tokio::time::sleep(Duration::from_millis(1500)).await;
    for (what, shown, is_expected) in &cases {
        let refused = accepts(&own, Some(shown)).await.expect_err(what);
        assert!(is_expected(unfit(&refused)), "accepted {what}: {refused:?}");
        let refused = connects(&own, shown).await.expect_err(what);
        assert!(is_expected(unfit(&refused)), "connected to {what}: {refused:?}");
    }
    assert!(matches!(accepts(&own, None).await, Err(MtlsError::Handshake(_))), "nobody");
    // And what is right is right.
    let good = stage.issuer.ca().shown("planner", numbered(1));
    accepts(&own, Some(&good)).await.expect("a peer");
    connects(&own, &good).await.expect("a peer");
    let rcgens = {
        let ca = stage.issuer.ca();
        ca.signed(&params(&[ca.id("planner", numbered(1)).as_str()]))
    };
    accepts(&own, Some(&rcgens)).await.expect("the cases differ by what they say");
}

#[tokio::test]
async fn nobody_is_talked_to_who_is_not_named() {
    let stage = Stage::new().await;
    let good = stage.issuer.ca().shown("planner", numbered(1));
    let id = stage.issuer.ca().id("planner", numbered(1)).to_string();
    for (peers, is_taken) in [
        (Peers::exactly(&id).expect("an id"), true),
        (Peers::trust_domain(), true),
        (Peers::any_of([Peers::agent("x"), Peers::agent("planner")]), true),
        (Peers::any_of([]), false),
        (Peers::agent("planne"), false),
    ] {
        let own = stage.mtls("worker", 2, peers.clone()).await;
        assert_eq!(accepts(&own, Some(&good)).await.is_ok(), is_taken, "{peers:?}");
    }
}

#[tokio::test]
async fn an_open_connection_ends_with_the_instance_and_its_siblings_goes_on() {
    let stage = Stage::new().await;
    let worker = stage.mtls("worker", 2, Peers::agent("planner")).await;
    let dying = stage.mtls("planner", 1, Peers::agent("worker")).await;
    let living = stage.mtls("planner", 3, Peers::agent("worker")).await;
    let (mut dead, at_dead) = stage.connected(&dying, &worker).await;
    let (mut alive, mut at_alive) = stage.connected(&living, &worker).await;
    talks((&mut alive, &mut at_alive)).await;
    // Whoever reads and whoever writes are both told, though they wait.
    let (mut reader, mut writer) = tokio::io::split(at_dead);
    let writing = tokio::spawn(async move {
        loop {
            if let Err(error) = writer.write_all(&[0; 4096]).await {
                return error;
            }
        }
    });
    let reading = tokio::spawn(async move { reader.read(&mut [0; 8]).await });
    tokio::time::sleep(Duration::from_millis(100)).await;
    stage.issuer.revoke(numbered(1));
    let within = |what| tokio::time::timeout(NOTICED_WITHIN, what);
    let error = within(writing).await.expect("in time").expect("no panic");
    assert_eq!(Ended::of(&error), Some(&Ended::Peer(Unfit::Revoked)), "{error}");
    let read = tokio::time::timeout(NOTICED_WITHIN, reading).await.expect("in time");
    let error = read.expect("no panic").expect_err("ended");
    assert_eq!(Ended::of(&error), Some(&Ended::Peer(Unfit::Revoked)), "{error}");
    // What was ended notices it as well, of itself.
    let mut sink = vec![0; 1 << 20];
    let own = loop {
        match dead.read(&mut sink).await {
            Ok(0) => panic!("it ends badly, not well"),
            Ok(_) => {}
            Err(error) => break error,
        }
    };
    assert_eq!(Ended::of(&own), Some(&Ended::Own(Unfit::Revoked)), "{own}");
    let again = dead.write(b"x").await.expect_err("for ever");
    assert_eq!(Ended::of(&again), Some(&Ended::Own(Unfit::Revoked)));
    talks((&mut alive, &mut at_alive)).await;
    // Nor does it get another one.
    let (here, there) = pair().await;
    let (one, other) = tokio::join!(dying.connect(here), worker.accept(there));
    assert!(one.is_err() && other.is_err());
}

#[tokio::test]
async fn an_open_connection_ends_when_its_certificate_is_on_a_list() {
    let stage = Stage::new().await;
    let worker = stage.mtls("worker", 2, Peers::agent("planner")).await;
    let planner = stage.source("planner", 1).await;
    let Standing::Live(svid) = planner.standing() else { panic!("it is live") };
    let planner = Mtls::new(planner, stage.authority.clone(), Peers::agent("worker"));
    let sibling = stage.mtls("planner", 3, Peers::agent("worker")).await;
    let (_here, mut there) = stage.connected(&planner, &worker).await;
    let (mut alive, mut at_alive) = stage.connected(&sibling, &worker).await;
    let shown = Shown { chain: svid.chain.clone(), key: Vec::new() };
    stage.issuer.ca().list(&shown);
    // Its owner was ended: that is no id in a certificate, and the feed says that something was.
    stage.issuer.revoke(PersonId::new(1, [8; 10]));
    assert_eq!(ended(&mut there).await, Ended::Peer(Unfit::Revoked));
    talks((&mut alive, &mut at_alive)).await;
    // The instance itself lives, and gets another one by itself.
    let began = std::time::Instant::now();
    loop {
        let (io, taken) = pair().await;
        let (one, other) = tokio::join!(planner.connect(io), worker.accept(taken));
        match (one, other) {
            (Ok(mut one), Ok(mut other)) => break talks((&mut one, &mut other)).await,
            _ if began.elapsed() > NOTICED_WITHIN => panic!("it gets no other certificate"),
            _ => tokio::time::sleep(Duration::from_millis(200)).await,
        }
    }
}

#[tokio::test]
async fn what_is_not_known_well_enough_ends_a_connection() {
    let stage = Stage::new().await;
    let worker = stage.mtls("worker", 2, Peers::agent("planner")).await;
    let planner = stage.mtls("planner", 1, Peers::agent("worker")).await;

    // Lists that do not know of the last revocation are believed for as long as the feed is.
    let (mut here, mut there) = stage.connected(&planner, &worker).await;
    stage.issuer.ca().are_lists_down = true;
    stage.issuer.revoke(PersonId::new(1, [8; 10]));
    tokio::time::sleep(Duration::from_secs(10)).await;
    talks((&mut here, &mut there)).await;
    tokio::time::sleep(Duration::from_secs(4)).await;
    assert_eq!(ended(&mut there).await, Ended::Own(Unfit::Stale));
    let good = stage.issuer.ca().shown("planner", numbered(1));
    let refused = accepts(&worker, Some(&good)).await.expect_err("refused");
    assert!(matches!(refused, MtlsError::Ended(Ended::Own(Unfit::Stale))), "{refused:?}");
    stage.issuer.ca().are_lists_down = false;
    // They are asked for again and again, ever more seldom.
    tokio::time::sleep(Duration::from_secs(16)).await;
    let (mut here, mut there) = stage.connected(&planner, &worker).await;
    talks((&mut here, &mut there)).await;

    // And without the feed nothing is known at all.
    stage.issuer.set_down(true);
    assert_eq!(ended(&mut there).await, Ended::Own(Unfit::Stale));
    let refused = accepts(&worker, Some(&good)).await.expect_err("refused");
    assert!(matches!(refused, MtlsError::Ended(Ended::Own(Unfit::Stale))), "{refused:?}");
}

#[tokio::test]
async fn an_open_connection_ends_with_its_certificate_and_a_new_one_is_made_with_the_next() {
    let stage = Stage::new().await;
    stage.issuer.ca().life = Duration::from_secs(4);
    let worker = stage.mtls("worker", 2, Peers::agent("planner")).await;
    let planner = stage.mtls("planner", 1, Peers::agent("worker")).await;
    let (_here, mut there) = stage.connected(&planner, &worker).await;
    let until = there.peer().expires_at();
    let why = tokio::time::timeout(Duration::from_secs(12), async {
        there.read(&mut [0; 8]).await.expect_err("ended")
    });
    let why = why.await.expect("in time");
    let ended = Ended::of(&why).expect("named").clone();
    assert!(matches!(ended, Ended::Peer(Unfit::Lifetime) | Ended::Own(Unfit::Lifetime)));
    let (mut here, mut there) = stage.connected(&planner, &worker).await;
    assert!(there.peer().expires_at() > until, "it was renewed");
    talks((&mut here, &mut there)).await;
}

#[tokio::test]
async fn an_intermediate_that_has_begun_to_sign_just_now_costs_no_handshake() {
    let stage = Stage::new().await;
    let worker = stage.mtls("worker", 2, Peers::agent("planner")).await;
    // The list of this one was never fetched.
    stage.issuer.ca().rotate();
    let own = worker.server_config().expect("a configuration");
    let good = stage.issuer.ca().shown("planner", numbered(1));
    let (here, there) = pair().await;
    let client = async {
        let name = ServerName::try_from("localhost").expect("a name");
        let mut stream = stranger(Some(&good)).connect(name, here).await?;
        stream.read(&mut [0; 8]).await
    };
    let both = async { tokio::join!(TlsAcceptor::from(Arc::new(own)).accept(there), client).0 };
    let refused = tokio::time::timeout(NOTICED_WITHIN, both).await.expect("it ends");
    assert!(refused.is_err(), "a configuration alone waits for nothing");
    // The worker's own certificate is of the intermediate before: its list is not served any more
    // here, so that this is looked at on the other side.
    let renewed = stage.mtls("worker", 2, Peers::agent("planner")).await;
    accepts(&renewed, Some(&good)).await.expect("a peer");
}

#[tokio::test]
async fn no_session_is_resumed() {
    let stage = Stage::new().await;
    let planner = stage.mtls("planner", 1, Peers::agent("worker")).await;
    let worker = stage.mtls("worker", 2, Peers::agent("planner")).await;
    let client = TlsConnector::from(Arc::new(planner.client_config().expect("a configuration")));
    let server = TlsAcceptor::from(Arc::new(worker.server_config().expect("a configuration")));
    for _ in 0..3 {
        let (here, there) = pair().await;
        let name = ServerName::try_from("localhost").expect("a name");
        let (one, other) = tokio::join!(client.connect(name, here), server.accept(there));
        let (one, other) = (one.expect("connected"), other.expect("accepted"));
        assert_eq!(one.get_ref().1.handshake_kind(), Some(HandshakeKind::Full));
        assert_eq!(other.get_ref().1.handshake_kind(), Some(HandshakeKind::Full));
        let mut here = planner.guard(one.into()).await.expect("guarded");
        let mut there = worker.guard(other.into()).await.expect("guarded");
        talks((&mut here, &mut there)).await;
    }
}

#[tokio::test]
async fn a_root_that_is_published_no_more_ends_what_hangs_on_it() {
    let stage = Stage::new().await;
    let worker = stage.mtls("worker", 2, Peers::agent("planner")).await;
    let planner = stage.mtls("planner", 1, Peers::agent("worker")).await;
    let (_here, mut there) = stage.connected(&planner, &worker).await;
    stage.issuer.ca().is_believed = false;
    let why = tokio::time::timeout(Duration::from_secs(12), async {
        there.read(&mut [0; 8]).await.expect_err("ended")
    });
    let why = why.await.expect("within its hint");
    assert!(matches!(Ended::of(&why), Some(Ended::Own(Unfit::Path(_)))), "{why}");
}
