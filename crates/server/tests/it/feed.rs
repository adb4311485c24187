//! The revocation feed as its followers see it, checked with what they check it with.

use std::time::Duration;

use accredit_server::followers::{FOLLOWERS_MAX, Held};
use accredit_server::hub::{FRAMES_WAITING_MAX, Resume};
use accredit_server::jobs;
use accredit_server::points::Introduced;
use accredit_testkit::fixture::Scene;
use accredit_testkit::{Ask, Client, Events, TestWorld};
use accredit_wire::jose::jwk::JwkSet;
use accredit_wire::oauth::metadata::Metadata;
use accredit_wire::revocations::feed::{FeedError, MessageKind, SignedMessage};
use accredit_wire::revocations::witness::{LaneProof, LogWitness};
use accredit_wire::revocations::{Applied, Follower, Nonce};
use accredit_wire::tlog::note::Vkey;
use accredit_wire::tlog::proof::ConsistencyProof;
use accredit_wire::verify::{AudienceRule, Config, KeyRing, Rejection, Standing, Verifier};
use futures_util::FutureExt as _;

const READ: (&str, &str) = ("scope", "crm:read");

/// A resource server: a follower that watches the log, and a Verifier that trusts it.
struct Verifying {
    crm: Client,
    keys: JwkSet,
    issuer: String,
    follower: Follower,
    verifier: Verifier,
    proofs_fetched: usize,
}

async fn begin() -> (TestWorld, Scene, Verifying) {
    let world = TestWorld::new(9).await;
    let scene = world.scene().await;
    world.run_hub();
    let verifying = verifying(&world, &scene).await;
    (world, scene, verifying)
}

async fn verifying(world: &TestWorld, scene: &Scene) -> Verifying {
    let set = async |path: &str| {
        let answer = world.ask(Ask::get(scene.org.path(path))).await.expect(200);
        JwkSet::parse(&answer.body).expect("a key set")
    };
    let metadata = Ask::get(scene.org.path("/.well-known/openid-configuration"));
    let metadata: Metadata =
        serde_json::from_slice(&world.ask(metadata).await.body).expect("metadata");
    let vkeys: Vec<Vkey> =
        metadata.accredit_log_keys.iter().map(|key| key.parse().expect("a verifier key")).collect();
    let issuer = scene.org.issuer.clone();
    let config = Config::new(&issuer, AudienceRule::Exact("https://crm.example/".to_owned()));
    let ring = KeyRing::new(&set("/.well-known/jwks.json").await);
    Verifying {
        crm: world.resource_secret(&scene.org, "crm").await,
        keys: set("/.well-known/feed-jwks.json").await,
        follower: Follower::new(issuer.clone(), Some(LogWitness::new(vkeys))),
        issuer,
        verifier: Verifier::new(config, ring),
        proofs_fetched: 0,
    }
}

impl Verifying {
    /// A question with a nonce of its own.
    fn ask(&mut self, world: &TestWorld, path: &str) -> Ask {
        let nonce = Nonce::new(world.world.random());
        self.follower.ask(nonce, world.now());
        let and = if path.contains('?') { '&' } else { '?' };
        let path = format!("/o/acme/revocations{path}{and}nonce={nonce}");
        Ask::get(path).bearer(&self.crm.secret)
    }

    /// Applies a message, with a proof where it asks for one; never with an alarm.
    async fn apply(&mut self, world: &TestWorld, text: &str) -> (Applied, MessageKind) {
        let signed = SignedMessage::verify(text, &self.keys, &self.issuer).expect("a message");
        let applied = match self.follower.apply(&signed, &[], world.now()) {
            Err(FeedError::NeedsProof { lane, from, to }) => {
                self.proofs_fetched += 1;
                let path = format!("/o/acme/log/g1l{lane}/consistency?from={from}&to={to}");
                let answer = world.ask(Ask::get(path).bearer(&self.crm.secret)).await.expect(200);
                let proof: ConsistencyProof = serde_json::from_slice(&answer.body).expect("proof");
                self.follower.apply(&signed, &[LaneProof { lane, proof }], world.now())
            }
            applied => applied,
        };
        let applied = applied.expect("a message without contradiction");
        self.verifier.set_standing(Standing::of(&self.follower).expect("a standing"));
        (applied, signed.message().kind())
    }

    async fn next(&mut self, world: &TestWorld, events: &mut Events) -> (Applied, MessageKind) {
        let (id, text) = events.next().await.expect("an event");
        let told = self.apply(world, &text).await;
        let state = self.follower.state();
        if told.0 != Applied::Old {
            assert_eq!(id, format!("{}.{}", state.generation(), state.rev()));
        }
        told
    }

    fn alive(&self, world: &TestWorld, token: &str) -> Result<(), Rejection> {
        self.verifier.verify_token(token, world.now()).map(|_| ())
    }
}

async fn token(world: &TestWorld, scene: &Scene, client: &Client) -> String {
    world.token(&scene.org, client, &[READ]).await.expect(200).member("access_token")
}

#[tokio::test]
async fn a_snapshot_is_complete_and_signed_with_the_feed_key_alone() {
    let (world, scene, mut verifying) = begin().await;
    let first = token(&world, &scene, &scene.client).await;
    world.revoke(&scene.org, &scene.client.credential).await.expect("revoked");
    let second = world.agent_secret(&scene.org, "planner", None).await;
    let second = token(&world, &scene, &second).await;
    let answer = world.ask(verifying.ask(&world, "")).await.expect(200);
    assert_eq!(answer.header("cache-control"), "no-store");
    let text = answer.text().to_owned();
    assert_eq!(verifying.apply(&world, &text).await, (Applied::Snapshot, MessageKind::Snapshot));
    assert!(matches!(verifying.alive(&world, &first), Err(Rejection::Revoked { .. })));
    verifying.alive(&world, &second).expect("decided after the revocation");
    // Not by a token key, and not as a token.
    let jwks = world.ask(Ask::get("/o/acme/.well-known/jwks.json")).await;
    let token_keys = JwkSet::parse(&jwks.body).expect("a key set");
    assert!(SignedMessage::verify(&text, &token_keys, &scene.org.issuer).is_err());
    assert!(SignedMessage::verify(&text, &verifying.keys, "https://id.example/o/other").is_err());
    assert!(SignedMessage::verify(&second, &verifying.keys, &scene.org.issuer).is_err());
    assert!(verifying.alive(&world, &text).is_err());
}

#[tokio::test]
async fn a_revocation_reaches_a_follower_as_a_delta_and_its_sibling_lives() {
    let (world, scene, mut verifying) = begin().await;
    let one = world.instance(&scene.org, "planner", None).await;
    let two = world.instance(&scene.org, "planner", None).await;
    let (first, second) = (token(&world, &scene, &one).await, token(&world, &scene, &two).await);
    let mut events = world.events(verifying.ask(&world, "/feed")).await;
    let told = verifying.next(&world, &mut events).await;
    assert_eq!(told, (Applied::Snapshot, MessageKind::Snapshot));
    verifying.alive(&world, &first).expect("alive");
    for (n, target) in [one.instance, two.instance].into_iter().enumerate() {
        verifying.alive(&world, &second).expect("its sibling lives");
        world.advance(1);
        world.revoke(&scene.org, target.expect("one")).await.expect("revoked");
        let told = verifying.next(&world, &mut events).await;
        // From nothing to 1 is a snapshot by definition.
        let kind = if n == 0 { MessageKind::Snapshot } else { MessageKind::Delta };
        assert_eq!(told.1, kind);
        assert!(matches!(verifying.alive(&world, &first), Err(Rejection::Revoked { .. })));
    }
    assert!(matches!(verifying.alive(&world, &second), Err(Rejection::Revoked { .. })));
    // A token that is decided after what the follower holds makes it catch up first.
    let three = world.instance(&scene.org, "planner", None).await;
    verifying.alive(&world, &token(&world, &scene, &three).await).expect("nothing ended since");
    world.revoke(&scene.org, one.credential).await.expect_err("ended with its instance");
    world.advance(1);
    world.revoke(&scene.org, &scene.client.credential).await.expect("revoked");
    let later = token(&world, &scene, &three).await;
    assert!(matches!(verifying.alive(&world, &later), Err(Rejection::Behind { .. })));
    verifying.next(&world, &mut events).await;
    verifying.alive(&world, &later).expect("caught up");
}

#[tokio::test]
async fn a_follower_goes_on_from_what_it_holds_or_begins_again() {
    let (world, scene, mut verifying) = begin().await;
    for _ in 0..5 {
        world.advance(1);
        let secret = world.agent_secret(&scene.org, "planner", None).await;
        world.revoke(&scene.org, secret.credential).await.expect("revoked");
    }
    for (query, from) in [
        ("?gen=1&rev=3", 3),
        ("?gen=1&rev=5", 5),
        // What we do not know of, what is another's, and what is nonsense begin again.
        ("", 0),
        ("?gen=1&rev=0", 0),
        ("?gen=1&rev=6", 0),
        ("?gen=2&rev=3", 0),
        ("?gen=0&rev=3", 0),
        ("?rev=3", 0),
        ("?gen=1&rev=x", 0),
        ("?gen=1&rev=-1", 0),
    ] {
        let mut events = world.events(verifying.ask(&world, &format!("/feed{query}"))).await;
        let (id, text) = events.next().await.expect("an event");
        let signed =
            SignedMessage::verify(&text, &verifying.keys, &scene.org.issuer).expect("a message");
        let message = signed.message();
        assert_eq!((message.from, message.to), (from, 5), "{query}");
        assert_eq!(message.entries.len() as u64, 5 - from, "{query}");
        assert_eq!(id, "1.5");
    }
    let mut events = world.events(verifying.ask(&world, "/feed")).await;
    verifying.next(&world, &mut events).await;
    assert_eq!(verifying.follower.state().rev(), 5);
}

#[tokio::test]
async fn a_follower_that_lags_is_given_what_it_lacks() {
    let (world, scene, mut verifying) = begin().await;
    let secret = world.agent_secret(&scene.org, "planner", None).await;
    world.revoke(&scene.org, secret.credential).await.expect("revoked");
    let one = world.instance(&scene.org, "planner", None).await;
    let first = token(&world, &scene, &one).await;
    let mut events = world.events(verifying.ask(&world, "/feed")).await;
    verifying.next(&world, &mut events).await;
    world.revoke(&scene.org, one.instance.expect("one")).await.expect("revoked");
    // It reads nothing while more frames come than wait for it.
    for _ in 0..FRAMES_WAITING_MAX + 50 {
        tokio::task::yield_now().await;
        world.advance(20);
        world.server.hub.tick(world.now()).await;
    }
    let told = verifying.next(&world, &mut events).await;
    assert_eq!(told, (Applied::Delta, MessageKind::Delta));
    assert_eq!(verifying.follower.state().rev(), 2);
    assert!(matches!(
        verifying.alive(&world, &first),
        Err(Rejection::Revoked { .. } | Rejection::Expired { .. })
    ));
    // And follows on.
    world.revoke(&scene.org, &scene.client.credential).await.expect("revoked");
    while verifying.follower.state().rev() < 3 {
        verifying.next(&world, &mut events).await;
    }
}

#[tokio::test]
async fn heartbeats_come_at_least_every_third_of_the_smallest_age_bound() {
    let (world, scene, mut verifying) = begin().await;
    // From 0 to 0 is a snapshot by definition.
    world.revoke(&scene.org, &scene.client.credential).await.expect("revoked");
    let mut events = world.events(verifying.ask(&world, "/feed")).await;
    verifying.next(&world, &mut events).await;
    for (age, third) in [(60, 20), (9, 3), (300, 100)] {
        let body = serde_json::json!({"revocations_age_max": age});
        world.admin(&scene.org, "PATCH", "/v1/resources/crm", Some(body)).await.expect(200);
        // A beat that was due under the old bound comes first.
        world.advance(100);
        world.server.hub.tick(world.now()).await;
        while let Some(Some((_, text))) = events.next().now_or_never() {
            verifying.apply(&world, &text).await;
        }
        let (mut last, mut beats) = (world.now(), 0);
        for _ in 0..third * 4 * 4 {
            world.clock.advance(jobs::HEARTBEAT_EVERY);
            world.server.hub.tick(world.now()).await;
            while let Some(Some((_, text))) = events.next().now_or_never() {
                let told = verifying.apply(&world, &text).await;
                assert_eq!(told, (Applied::Heartbeat, MessageKind::Heartbeat));
                last = world.now();
                beats += 1;
            }
            let silence = world.now().since(last);
            assert!(silence <= Duration::from_secs(third), "silent for {silence:?} of {age} s");
        }
        assert!((3..=8).contains(&beats), "{beats} beats in four thirds of {age} s");
    }
}

#[tokio::test]
async fn a_verifier_that_hears_nothing_refuses_after_its_bound_and_not_before() {
    let (world, scene, mut verifying) = begin().await;
    let mut events = world.events(verifying.ask(&world, "/feed")).await;
    verifying.next(&world, &mut events).await;
    let mut fresh = token(&world, &scene, &scene.client).await;
    for second in 0..300 {
        world.advance(1);
        world.server.hub.tick(world.now()).await;
        while let Some(Some((_, text))) = events.next().now_or_never() {
            verifying.apply(&world, &text).await;
        }
        if second % 100 == 0 {
            fresh = token(&world, &scene, &scene.client).await;
        }
        verifying.alive(&world, &fresh).expect("heard of a moment ago");
    }
    let held = verifying.follower.anchor().expect("an anchor").signed_after();
    // What the two clocks may have come apart since the stream began counts as age.
    let silence = world.now().since(held).as_secs() + 1;
    world.advance(60 - silence);
    verifying.alive(&world, &fresh).expect("just within the bound");
    world.advance(2);
    assert!(matches!(verifying.alive(&world, &fresh), Err(Rejection::Stale { .. })));
    world.server.hub.tick(world.now()).await;
    verifying.next(&world, &mut events).await;
    verifying.alive(&world, &fresh).expect("heard of again");
}

#[tokio::test]
async fn a_servers_wrong_time_of_day_makes_no_follower_stale_or_blind() {
    let (world, scene, mut verifying) = begin().await;
    let ask = verifying.ask(&world, "/feed");
    let mut events = world.events(ask).await;
    verifying.next(&world, &mut events).await;
    let beginning = world.now();
    let mut passed = Duration::ZERO;
    // A day ahead for one heartbeat, right again, a day back, right again. What the local clock of
    // the verifier says is not what the server's says.
    for off in [0i64, 86_400, 0, -86_400, 0] {
        for _ in 0..8 {
            passed += Duration::from_secs(5);
            world.clock.advance(Duration::from_secs(5));
            let right = beginning.plus(passed);
            let by = Duration::from_secs(off.unsigned_abs());
            world.clock.set(if off < 0 { right.minus(by) } else { right.plus(by) });
            world.server.hub.tick(world.now()).await;
            world.clock.set(right);
            while let Some(Some((_, text))) = events.next().now_or_never() {
                verifying.apply(&world, &text).await;
            }
            let anchor = verifying.follower.anchor().expect("an anchor");
            let age = anchor.age(world.now(), verifying.follower.seen()).expect("an age");
            assert!(
                age <= Duration::from_secs(21),
                "{age:?} old with a clock that is off by {off}"
            );
        }
    }
    // And it hears of a revocation while the clock is back.
    let dead = token(&world, &scene, &scene.client).await;
    world.revoke(&scene.org, &scene.client.credential).await.expect("revoked");
    verifying.next(&world, &mut events).await;
    assert!(matches!(verifying.alive(&world, &dead), Err(Rejection::Revoked { .. })));
}

#[tokio::test]
async fn a_nonce_is_shown_in_the_answer_to_whoever_sent_it_and_in_no_other() {
    let (world, scene, verifying) = begin().await;
    let shown = |text: &str| {
        let message = SignedMessage::verify(text, &verifying.keys, &verifying.issuer);
        message.expect("a message").message().nonce
    };
    let path = "/o/acme/revocations";
    let ask = |path: String| Ask::get(path).bearer(&verifying.crm.secret);
    let nonce = "0123456789abcdef0123456789abcdef";
    let answer = world.ask(ask(format!("{path}?nonce={nonce}"))).await.expect(200);
    assert_eq!(shown(answer.text()).expect("a nonce").to_string(), nonce);
    assert_eq!(shown(world.ask(ask(path.to_owned())).await.expect(200).text()), None);
    for bad in ["0", "0123456789ABCDEF0123456789abcdef", "%20", &"0".repeat(33)] {
        for path in [path, "/o/acme/revocations/feed"] {
            world.ask(ask(format!("{path}?nonce={bad}"))).await.expect(400);
        }
    }
    let mut events = world.events(ask(format!("{path}/feed?nonce={nonce}"))).await;
    let mut others = world.events(ask(format!("{path}/feed"))).await;
    assert_eq!(shown(&events.next().await.expect("one").1).expect("a nonce").to_string(), nonce);
    assert_eq!(shown(&others.next().await.expect("one").1), None);
    world.revoke(&scene.org, &scene.client.credential).await.expect("revoked");
    assert_eq!(shown(&events.next().await.expect("one").1), None, "one message for all");
}

#[tokio::test]
async fn every_follower_is_a_witness_of_the_log() {
    let (world, scene, mut verifying) = begin().await;
    jobs::integrate_all(&world.server).await;
    let mut events = world.events(verifying.ask(&world, "/feed")).await;
    verifying.next(&world, &mut events).await;
    let mut sizes = Vec::new();
    for round in 0..6 {
        for _ in 0..=round {
            token(&world, &scene, &scene.client).await;
        }
        jobs::integrate_all(&world.server).await;
        world.advance(20);
        world.server.hub.tick(world.now()).await;
        let told = verifying.next(&world, &mut events).await;
        assert!(matches!(told.0, Applied::Heartbeat | Applied::Snapshot), "{told:?}");
        let witness = verifying.follower.witness().expect("a witness");
        sizes.push(witness.held()[&0].checkpoint.size);
    }
    assert!(sizes.is_sorted_by(|a, b| a < b), "{sizes:?}");
    assert!(verifying.proofs_fetched <= 1, "proofs come with the frames");
}

#[tokio::test]
async fn a_witness_is_not_alarmed_by_a_log_that_only_grew() {
    let (world, scene, mut verifying) = begin().await;
    // A checkpoint is there before anybody follows.
    jobs::integrate_all(&world.server).await;
    let mut events = world.events(verifying.ask(&world, "/feed")).await;
    verifying.next(&world, &mut events).await;
    // A revocation before the next run of the integrating job.
    let revoke = async || {
        world.advance(1);
        let secret = world.agent_secret(&scene.org, "planner", None).await;
        world.revoke(&scene.org, secret.credential).await.expect("revoked");
    };
    revoke().await;
    verifying.next(&world, &mut events).await;
    // A follower that comes between the storing of a checkpoint and its showing.
    let tenant = world.tenant(&scene.org).await;
    accredit_domain::audit::integrate::integrate(&world.world, &tenant).await.expect("integrated");
    let mut second = self::verifying(&world, &scene).await;
    let mut seconds = world.events(second.ask(&world, "/feed")).await;
    second.next(&world, &mut seconds).await;
    revoke().await;
    second.next(&world, &mut seconds).await;
    verifying.next(&world, &mut events).await;
    let snapshot = world.ask(second.ask(&world, "")).await.expect(200).text().to_owned();
    world.advance(20);
    world.server.hub.tick(world.now()).await;
    second.next(&world, &mut seconds).await;
    second.apply(&world, &snapshot).await;
    jobs::integrate_all(&world.server).await;
    revoke().await;
    second.next(&world, &mut seconds).await;
    verifying.next(&world, &mut events).await;
}

#[tokio::test]
async fn closing_ends_the_streams_and_a_fresh_one_begins() {
    let (world, scene, mut verifying) = begin().await;
    let mut events = world.events(verifying.ask(&world, "/feed")).await;
    verifying.next(&world, &mut events).await;
    world.server.hub.close();
    assert_eq!(events.next().await, None);
    world.revoke(&scene.org, &scene.client.credential).await.expect("revoked");
    world.advance(1);
    let mut events = world.events(verifying.ask(&world, "/feed?gen=1&rev=0")).await;
    verifying.next(&world, &mut events).await;
    assert_eq!(verifying.follower.state().rev(), 1);
}

#[tokio::test]
async fn followers_are_bounded_and_one_that_leaves_makes_room() {
    let (world, scene, mut verifying) = begin().await;
    let tenant = world.tenant(&scene.org).await;
    let credential = verifying.crm.credential.parse().expect("an id");
    let (lineage, expires_at) = (Vec::new(), world.now());
    let held = Held { credential, lineage, rev: 0, expires_at, suspended: false };
    let follow = || {
        let (tenant, held) = (std::sync::Arc::clone(&tenant), held.clone());
        world.server.hub.follow(tenant, Resume::default(), held, Introduced::default())
    };
    let mut following = Vec::new();
    for _ in 0..FOLLOWERS_MAX {
        following.push(follow().expect("a place"));
    }
    let answer = world.ask(verifying.ask(&world, "/feed")).await;
    assert_eq!(answer.status, 503, "{}", answer.text());
    assert_eq!(answer.member("rule"), "followers-too-many");
    following.pop();
    drop(follow().expect("a place"));
    // What is not followed is forgotten.
    drop(following);
    world.server.hub.tick(world.now()).await;
    world.events(verifying.ask(&world, "/feed")).await.next().await.expect("an event");
}

/// What ends a stream, and how it is done.
#[derive(Clone, Copy, Debug)]
enum End {
    Credential,
    Resource,
    Organization,
    Expiry,
    Overlap,
}

/// A stream that was begun with `secret` has begun, and ends without a further frame of its own
/// once `end` has happened; nor does another begin.
async fn check_ends(world: &TestWorld, scene: &Scene, secret: &Client, id: &str, end: End) {
    let ask = || Ask::get("/o/acme/revocations/feed").bearer(&secret.secret);
    // Another who follows stays.
    let crm = world.resource_secret(&scene.org, "crm").await;
    let mut others = world.events(Ask::get("/o/acme/revocations/feed").bearer(&crm.secret)).await;
    let mut events = world.events(ask()).await;
    others.next().await.expect("an event");
    events.next().await.expect("an event");
    world.advance(1);
    world.server.hub.tick(world.now()).await;
    let mut heard = 0;
    while events.next().now_or_never().map(|event| event.expect("it goes on")).is_some() {
        heard += 1;
    }
    assert!(heard <= 1, "{end:?}: at most a heartbeat");
    match end {
        End::Credential | End::Resource | End::Organization => {
            world.revoke(&scene.org, id).await.expect("revoked");
            let (id, _) = events.next().await.expect("the frame that says so");
            assert_eq!(id, format!("1.{}", world.tenant(&scene.org).await.rev()), "{end:?}");
        }
        End::Expiry => world.advance(30 * 24 * 3600),
        End::Overlap => {
            let path = format!("/v1/credentials/{id}/rotate");
            let body = serde_json::json!({"overlap": 60});
            world.admin(&scene.org, "POST", &path, Some(body)).await.expect(201);
            world.advance(59);
            world.server.hub.tick(world.now()).await;
            while events.next().now_or_never().map(|event| event.expect("both work")).is_some() {}
            world.advance(1);
        }
    }
    world.server.hub.tick(world.now()).await;
    assert_eq!(events.next().await, None, "{end:?}");
    let rev = world.tenant(&scene.org).await.rev();
    if matches!(end, End::Resource | End::Organization) {
        // Who does not know yet is told, and no more than that.
        let mut late = world.events(ask()).await;
        assert_eq!(late.next().await.expect("a snapshot").0, format!("1.{rev}"), "{end:?}");
        assert_eq!(late.next().await, None, "{end:?}");
    }
    let path = format!("/o/acme/revocations/feed?gen=1&rev={rev}");
    let again = world.ask(Ask::get(path).bearer(&secret.secret)).await;
    assert!([401, 403].contains(&again.status), "{end:?}: {}", again.text());
    let others_go_on = matches!(end, End::Credential | End::Overlap);
    world.advance(20);
    world.server.hub.tick(world.now()).await;
    while let Some(event) = others.next().now_or_never() {
        if event.is_none() {
            assert!(!others_go_on, "{end:?} ends what does not hang on it");
            return;
        }
    }
    assert!(others_go_on, "{end:?}");
}

#[tokio::test]
async fn a_stream_ends_with_the_credential_it_was_begun_with() {
    for end in [End::Credential, End::Expiry, End::Overlap] {
        let (world, scene, verifying) = begin().await;
        check_ends(&world, &scene, &verifying.crm, &verifying.crm.credential, end).await;
    }
}

#[tokio::test]
async fn a_stream_ends_when_its_resource_or_its_organization_is_suspended() {
    for end in [End::Resource, End::Organization] {
        let (world, scene, mut verifying) = begin().await;
        let id = match end {
            End::Resource => scene.crm.id.to_string(),
            _ => world.tenant(&scene.org).await.id.to_string(),
        };
        check_ends(&world, &scene, &verifying.crm, &id, end).await;
        // Activated, it may follow again.
        let path = match end {
            End::Resource => "/v1/resources/crm/activate".to_owned(),
            _ => format!("/v1/orgs/{id}/activate"),
        };
        let reason = serde_json::json!({"reason": "a test"});
        world.admin(&scene.org, "POST", &path, Some(reason)).await.expect(200);
        let mut events = world.events(verifying.ask(&world, "/feed")).await;
        events.next().await.expect("an event");
        world.advance(20);
        world.server.hub.tick(world.now()).await;
        events.next().await.expect("a heartbeat: what was revoked before it began is over");
    }
}

#[tokio::test]
async fn a_stream_ends_with_the_administrators_key_it_was_begun_with() {
    let (world, scene, _) = begin().await;
    let made = |role: &str| serde_json::json!({"role": role, "purpose": "t", "expires_in": 3600});
    for revoked in [true, false] {
        let body = Some(made("auditor"));
        let key = world.admin(&scene.org, "POST", "/v1/admin-keys", body).await.expect(201);
        let ask = || Ask::get("/o/acme/revocations/feed").bearer(&key.member("admin_token"));
        let mut events = world.events(ask()).await;
        events.next().await.expect("an event");
        if revoked {
            world.revoke(&scene.org, key.member("id")).await.expect("revoked");
            events.next().await.expect("the frame that says so");
        } else {
            world.advance(3600);
            world.server.hub.tick(world.now()).await;
        }
        assert_eq!(events.next().await, None);
        assert_eq!(world.ask(ask()).await.status, 401);
    }
}
