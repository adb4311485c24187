//! A listener that speaks TLS by the installation's own authority, as a client on rustls sees it that was
//! given the roots: a certificate follows another, a root another, and nobody who has both sees a
//! difference.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use accredit_domain::audit::event::Body;
use accredit_domain::ca::listener::{self, Roots};
use accredit_domain::ca::{ROOT_LIFE, ROOT_ROTATED_BEFORE_END, SHOWN_LIFE, SHOWN_RENEWED_AFTER};
use accredit_domain::root;
use accredit_server::certificates::ClientCertificates;
use accredit_server::serve::Listening;
use accredit_server::tls::{MinVersion, Settings, Source, Tls};
use accredit_testkit::{DiskTrouble, Org, TestWorld};
use accredit_wire::time::Time;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName, TrustAnchor, UnixTime};
use rustls::time_provider::TimeProvider;
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;
use x509_cert::Certificate;
use x509_cert::der::Decode as _;
use x509_cert::ext::pkix::ExtendedKeyUsage;

const HOST: &str = "id.example";

/// A listener with the server behind it.
struct Stage {
    world: TestWorld,
    tls: Tls,
    address: SocketAddr,
    stop: watch::Sender<bool>,
    serving: JoinHandle<()>,
}

impl Stage {
    async fn new() -> Self {
        Self::of(TestWorld::new(7).await).await
    }

    /// One that serves, and shows nothing yet.
    async fn of(world: TestWorld) -> Self {
        let settings = Settings {
            certificate: Source::OwnCa,
            min_version: MinVersion::Tls12,
            of_clients: ClientCertificates::Ignored,
        };
        let tls = Tls::read(&settings).expect("no files are needed");
        let listening = Listening::bind(([127, 0, 0, 1], 0).into(), Some(tls.clone())).await;
        let listening = listening.expect("a port");
        let address = listening.address().expect("an address");
        let (stop, stopped) = watch::channel(false);
        let serving = tokio::spawn(listening.serve(world.server.clone(), stopped));
        Self { world, tls, address, stop, serving }
    }

    /// The world without the listener.
    async fn ended(self) -> TestWorld {
        self.stop.send(true).expect("it serves");
        self.serving.await.expect("it ends");
        self.world
    }

    /// Whether there is another certificate after a turn.
    async fn look(&self) -> bool {
        self.tls.look(&self.world.server).await.expect("a certificate")
    }

    async fn roots(&self) -> Roots {
        listener::roots(&self.world.world, self.world.now()).await.expect("roots")
    }

    /// A handshake by whoever trusts these alone: what was shown, or why it failed.
    async fn shown(&self, trusted: &str, host: &str) -> Result<Vec<u8>, String> {
        let mut roots = RootCertStore::empty();
        for root in CertificateDer::pem_slice_iter(trusted.as_bytes()) {
            roots.add(root.expect("PEM")).expect("a root");
        }
        self.handshake(roots, host).await
    }

    async fn handshake(&self, roots: RootCertStore, host: &str) -> Result<Vec<u8>, String> {
        let clock = Arc::new(At(self.world.now()));
        let config = ClientConfig::builder_with_details(Arc::new(default_provider()), clock)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_root_certificates(roots)
            .with_no_client_auth();
        let stream = TcpStream::connect(self.address).await.expect("connected");
        let host = ServerName::try_from(host.to_owned()).expect("a name");
        let stream = TlsConnector::from(Arc::new(config)).connect(host, stream).await;
        let stream = stream.map_err(|error| error.to_string())?;
        let shown = stream.get_ref().1.peer_certificates().expect("shown");
        Ok(shown[0].to_vec())
    }
}

/// A client's time of day.
#[derive(Debug)]
struct At(Time);

impl TimeProvider for At {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(Duration::from_micros(self.0.micros().try_into().ok()?)))
    }
}

#[tokio::test]
async fn the_listener_is_believed_by_its_root_at_its_own_host_and_by_nothing_else() {
    let stage = Stage::new().await;
    let bundle = stage.roots().await.bundle();
    let nothing = stage.shown(&bundle, HOST).await.expect_err("nothing is shown yet");
    assert!(nothing.contains("alert"), "{nothing}");
    assert!(stage.look().await);
    assert!(!stage.look().await, "one is enough");
    let told = accredit_server::metrics::render(&stage.world.server).await.expect("metrics");
    let until = stage.world.now().plus(SHOWN_LIFE).seconds();
    for line in [
        "accredit_listener_certificates_issued_total 1\n".to_owned(),
        format!("accredit_listener_certificate_until_seconds {until}.0\n"),
    ] {
        assert!(told.contains(&line), "{line} {told}");
    }
    stage.shown(&bundle, HOST).await.expect("believed");

    for other in ["localhost", "acme.id.example", "example", "127.0.0.1"] {
        let refused = stage.shown(&bundle, other).await.expect_err(other);
        assert!(refused.contains("not valid for name"), "{other}: {refused}");
    }
    let elsewhere = Stage::of(TestWorld::new(8).await).await.roots().await.bundle();
    for trusted in [&elsewhere, ""] {
        let refused = stage.shown(trusted, HOST).await.expect_err("nobody's root");
        assert!(refused.contains("UnknownIssuer"), "{refused}");
    }
}

#[tokio::test]
async fn another_certificate_is_shown_when_half_of_its_time_is_over_or_the_clock_went_back() {
    let stage = Stage::new().await;
    let bundle = stage.roots().await.bundle();
    assert!(stage.look().await);
    let first = stage.shown(&bundle, HOST).await.expect("believed");
    stage.world.clock.advance(SHOWN_RENEWED_AFTER.saturating_sub(Duration::from_secs(1)));
    assert!(!stage.look().await);
    assert_eq!(stage.shown(&bundle, HOST).await.as_ref(), Ok(&first));
    stage.world.clock.advance(Duration::from_secs(1));
    assert!(stage.look().await);
    let second = stage.shown(&bundle, HOST).await.expect("believed");
    assert_ne!(second, first);

    // What was made at a time that had not come is not believed when the clock is put right.
    let right = stage.world.now();
    stage.world.clock.advance(Duration::from_hours(13));
    assert!(stage.look().await);
    stage.world.clock.set(right);
    let early = stage.shown(&bundle, HOST).await.expect_err("not yet");
    assert!(early.contains("not valid yet") || early.contains("NotValidYet"), "{early}");
    assert!(stage.look().await);
    stage.shown(&bundle, HOST).await.expect("believed");
    stage.world.clock.set(right.minus(Duration::from_secs(20)));
    assert!(!stage.look().await, "that is nothing");
}

#[tokio::test]
async fn a_root_follows_another_and_who_has_both_goes_on() {
    let stage = Stage::new().await;
    let before = stage.roots().await;
    let (bundle, alone) = (before.bundle(), before.active.certificate.pem());
    assert!(stage.look().await);
    stage.shown(&alone, HOST).await.expect("it signs");
    let stays = ROOT_LIFE.saturating_sub(ROOT_ROTATED_BEFORE_END);
    stage.world.clock.advance(stays.saturating_sub(Duration::from_hours(1)));
    assert!(stage.look().await);
    assert_eq!(stage.roots().await.ids(), before.ids());

    stage.world.clock.advance(Duration::from_hours(1));
    assert!(stage.look().await, "another root signs");
    let after = stage.roots().await;
    assert_eq!(after.active.key.id, before.next.key.id);
    assert!(!before.ids().contains(&after.next.key.id));
    stage.shown(&bundle, HOST).await.expect("who had both goes on");
    stage.shown(&after.bundle(), HOST).await.expect("and so do new ones");
    let refused = stage.shown(&alone, HOST).await.expect_err("it signs no more");
    assert!(refused.contains("UnknownIssuer"), "{refused}");

    // A bundle that was given out at any time is good for more than nine years.
    stage.world.clock.advance(stays);
    assert!(stage.look().await);
    assert_eq!(stage.roots().await.ids(), after.ids());
    stage.shown(&bundle, HOST).await.expect("the next one of the first signs for ten years");
    stage.world.clock.advance(Duration::from_hours(365 * 24));
    assert!(stage.look().await);
    assert_eq!(stage.roots().await.active.key.id, after.next.key.id);
    stage.shown(&after.bundle(), HOST).await.expect("who had these");
}

#[tokio::test]
async fn the_operator_lets_the_next_root_sign_and_whoever_comes_first_makes_them() {
    let stage = Stage::new().await;
    let (world, now) = (&stage.world.world, stage.world.now());
    let make = || async { listener::roots(world, now).await.expect("roots").ids() };
    let (one, other) = tokio::join!(make(), make());
    assert_eq!(one, other, "they are made once");
    assert!(stage.look().await);
    let bundle = stage.roots().await.bundle();
    let rotate = || async { listener::rotate(world, now).await.expect("rotated").ids() };
    let (first, second) = tokio::join!(rotate(), rotate());
    assert_eq!(first, second, "two who ask at the same time are asked once");
    assert_eq!(first[0], one[1]);
    assert!(stage.look().await, "it is shown by the other one at the next look");
    stage.shown(&bundle, HOST).await.expect("believed");
}

#[tokio::test]
async fn roots_outlive_another_root_key_and_the_process() {
    let stage = Stage::new().await;
    stage.world.found("acme").await;
    let bundle = stage.roots().await.bundle();
    assert!(stage.look().await);
    let (world, now) = (&stage.world.world, stage.world.now());
    let before = stage.roots().await.active.key.wrapped;
    root::rotate(world, now, Body::default()).await.expect("rotated");
    let after = stage.roots().await.active.key;
    assert!(after.root == 2 && after.wrapped != before);
    let stage = Stage::of(stage.ended().await.reopened(8).await).await;
    assert!(stage.look().await, "with the new root key alone");
    stage.shown(&bundle, HOST).await.expect("believed");

    // A copy of the store, as a backup is one, has the same.
    let copied = Stage::of(stage.world.copied(9).await).await;
    assert!(copied.look().await);
    copied.shown(&bundle, HOST).await.expect("believed");
}

/// The SPIFFE ID in a certificate.
fn spiffe_id(der: &[u8]) -> String {
    accredit_wire::x509::svid::read(der).expect("an X509-SVID").spiffe_id
}

impl Stage {
    /// A handshake by whoever trusts these roots of an organization: by name and key, since rustls reads no
    /// constraints of URIs.
    async fn shown_by(&self, trusted: &str, host: &str) -> Result<Vec<u8>, String> {
        let roots = CertificateDer::pem_slice_iter(trusted.as_bytes()).map(|root| {
            let root = root.expect("PEM");
            let anchor = webpki::anchor_from_trusted_cert(&root).expect("a root").to_owned();
            TrustAnchor { name_constraints: None, ..anchor }
        });
        self.handshake(roots.collect(), host).await
    }

    /// The roots of an organization, PEM.
    async fn roots_of(&self, org: &Org) -> String {
        let shown = self.world.admin(org, "GET", "/v1/ca", None).await.expect(200).json();
        let roots = shown["roots"].as_array().expect("roots");
        roots.iter().filter_map(|root| root["anchor"].as_str()).collect()
    }

    /// Certificates of the bundle endpoint that the log of an organization tells of.
    async fn recorded(&self, org: &Org) -> usize {
        let issued = crate::events(&self.world, org, "certificate.issued").await;
        let subject = format!("spiffe://{}.{HOST}/accredit/bundle-endpoint", org.name);
        assert!(issued.iter().all(|event| event["payload"]["subject"] == subject.as_str()));
        issued.len()
    }
}

#[tokio::test]
async fn who_asks_for_a_trust_domain_is_shown_an_svid_of_it_and_it_is_an_event() {
    let stage = Stage::new().await;
    let org = stage.world.found("acme").await;
    let other = stage.world.found("other").await;
    assert!(stage.look().await);
    let (bundle, roots) = (stage.roots().await.bundle(), stage.roots_of(&org).await);
    assert_eq!(stage.recorded(&org).await, 0);

    let first = stage.shown_by(&roots, "acme.id.example").await.expect("believed");
    assert_eq!(spiffe_id(&first), "spiffe://acme.id.example/accredit/bundle-endpoint");
    let read = Certificate::from_der(&first).expect("a certificate");
    let usage = read.tbs_certificate().get_extension::<ExtendedKeyUsage>().expect("read");
    assert_eq!(usage.expect("there").1.0.len(), 2, "X509-SVID section 4.4: both or none");
    assert_eq!(stage.shown_by(&roots, "acme.id.example").await.as_ref(), Ok(&first));
    assert_eq!(stage.recorded(&org).await, 1, "one for all who ask");
    let told = stage.world.admin(&org, "GET", "/v1/ca", None).await.expect(200).json();
    assert_eq!(told["bundle_endpoint_id"], spiffe_id(&first));
    assert_eq!(told["bundle_endpoint_url"], "https://acme.id.example/o/acme/spiffe/bundle");

    // Another organization's roots vouch for nothing here, nor do these there.
    let others = stage.roots_of(&other).await;
    stage.shown_by(&others, "acme.id.example").await.expect_err("another organization's");
    stage.shown_by(&roots, "other.id.example").await.expect_err("another organization's");
    let shown = stage.shown_by(&others, "other.id.example").await.expect("believed");
    assert_eq!(spiffe_id(&shown), "spiffe://other.id.example/accredit/bundle-endpoint");
    // Nobody's name, and the host's own: what everybody is shown.
    for name in ["nobody.id.example", "acme.other.id.example", "acme.example"] {
        let refused = stage.shown(&bundle, name).await.expect_err(name);
        assert!(refused.contains("not valid for name"), "{name}: {refused}");
        stage.shown_by(&roots, name).await.expect_err(name);
    }
    stage.shown(&bundle, HOST).await.expect("believed");
    stage.shown_by(&roots, HOST).await.expect_err("an organization's root is not for the host");
    assert_eq!((stage.recorded(&org).await, stage.recorded(&other).await), (1, 1));
}

#[tokio::test]
async fn another_svid_is_shown_in_time_and_as_soon_as_another_key_signs() {
    let stage = Stage::new().await;
    let org = stage.world.found("acme").await;
    let name = "acme.id.example";
    assert!(stage.look().await);
    let roots = stage.roots_of(&org).await;
    let first = stage.shown_by(&roots, name).await.expect("believed");
    stage.world.clock.advance(Duration::from_hours(12));
    let second = stage.shown_by(&roots, name).await.expect("believed");
    assert_ne!(second, first);

    // The intermediate is ended: what it signed is shown no more.
    let told = stage.world.admin(&org, "GET", "/v1/ca", None).await.expect(200).json();
    let key = told["intermediates"][0]["id"].as_str().expect("an id");
    stage.world.revoke(&org, key).await.expect("revoked");
    let third = stage.shown_by(&roots, name).await.expect("believed");
    assert_ne!(third, second);
    assert_eq!(stage.recorded(&org).await, 3);

    // An organization that is stopped issues nothing, and nothing of it is shown.
    let tenant = stage.world.tenant(&org).await.id;
    stage.world.revoke(&org, &tenant.to_string()).await.expect("stopped");
    let refused = stage.shown_by(&roots, name).await.expect_err("it is stopped");
    assert!(!refused.contains("expired"), "{refused}");
    let bundle = stage.roots().await.bundle();
    let refused = stage.shown(&bundle, name).await.expect_err("what everybody is shown");
    assert!(refused.contains("not valid for name"), "{refused}");
}

#[tokio::test]
async fn a_store_that_cannot_record_it_shows_no_svid_and_is_not_asked_again_and_again() {
    let stage = Stage::new().await;
    let org = stage.world.found("acme").await;
    assert!(stage.look().await);
    let roots = stage.roots_of(&org).await;
    stage.world.faults.disk(Some(DiskTrouble::Full));
    stage.shown_by(&roots, "acme.id.example").await.expect_err("nothing is recorded");
    stage.world.faults.disk(None);
    stage.shown_by(&roots, "acme.id.example").await.expect_err("it rests for a while");
    assert_eq!(stage.recorded(&org).await, 0);
    stage.world.clock.advance(Duration::from_secs(10));
    stage.shown_by(&roots, "acme.id.example").await.expect("believed");
    assert_eq!(stage.recorded(&org).await, 1);
}
