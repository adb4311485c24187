//! A listener that speaks TLS by the installation's own authority, as a client on rustls sees it that was
//! given the roots: a certificate follows another, a root another, and nobody who has both sees a
//! difference.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use accredit_domain::audit::event::Body;
use accredit_domain::ca::listener::{self, Roots, SHOWN_LIFE, SHOWN_RENEWED_AFTER};
use accredit_domain::ca::{ROOT_LIFE, ROOT_ROTATED_BEFORE_END};
use accredit_domain::root;
use accredit_server::certificates::ClientCertificates;
use accredit_server::serve::Listening;
use accredit_server::tls::{MinVersion, Settings, Source, Tls};
use accredit_testkit::TestWorld;
use accredit_wire::time::Time;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::time_provider::TimeProvider;
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;

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
