//! A revocation state that no message has room for: its snapshot is a head and pieces, for whoever
//! asks, whoever begins to follow, and whoever has fallen behind.

use accredit_testkit::fixture::Scene;
use accredit_testkit::{Ask, Client, Events, TestWorld};
use accredit_wire::ids::TokenId;
use accredit_wire::jose::jwk::JwkSet;
use accredit_wire::revocations::feed::{
    FeedError, MESSAGE_ENTRIES_MAX, MessageKind, SignedMessage,
};
use accredit_wire::revocations::piece::PIECE_ENTRIES_MAX;
use accredit_wire::revocations::{Applied, Follower, Nonce};
use futures_util::stream::{self, StreamExt as _};

/// As many as one piece has, and some.
const MANY: usize = PIECE_ENTRIES_MAX + 10;

struct Following {
    crm: Client,
    keys: JwkSet,
    follower: Follower,
}

async fn following(world: &TestWorld, scene: &Scene) -> Following {
    let keys = world.ask(Ask::get("/o/acme/.well-known/feed-jwks.json")).await.expect(200);
    Following {
        crm: world.resource_secret(&scene.org, "crm").await,
        keys: JwkSet::parse(&keys.body).expect("a key set"),
        follower: Follower::new(scene.org.issuer.clone(), None),
    }
}

impl Following {
    fn ask(&mut self, world: &TestWorld, path: &str) -> Ask {
        let nonce = Nonce::new(world.world.random());
        self.follower.ask(nonce, world.now());
        Ask::get(format!("/o/acme/revocations{path}nonce={nonce}")).bearer(&self.crm.secret)
    }

    fn signed(&self, text: &str) -> SignedMessage {
        SignedMessage::verify(text, &self.keys, self.follower.issuer()).expect("signed")
    }

    /// Takes a head and its pieces.
    fn take(&mut self, world: &TestWorld, head: &str, pieces: &[String]) {
        let head = self.signed(head);
        assert_eq!(head.message().kind(), MessageKind::Snapshot);
        let early = self.follower.apply(&head, &[], world.now());
        assert_eq!(early, Err(FeedError::NeedsPieces(pieces.len())));
        for (piece, missing) in pieces.iter().zip((0..pieces.len()).rev()) {
            assert_eq!(self.follower.take_piece(&head, piece), Ok(missing));
        }
        assert_eq!(self.follower.apply(&head, &[], world.now()), Ok(Applied::Snapshot));
    }

    /// Takes a head that comes next in a stream, and what follows it.
    async fn next(&mut self, world: &TestWorld, events: &mut Events) {
        let (id, head) = events.next().await.expect("a head");
        let count = self.signed(&head).message().pieces.len();
        let mut pieces = Vec::new();
        for _ in 0..count {
            pieces.push(events.piece().await.expect("a piece"));
        }
        self.take(world, &head, &pieces);
        let state = self.follower.state();
        assert_eq!(id, format!("{}.{}", state.generation(), state.rev()));
    }
}

/// Ends so many tokens, many at a time; one of the last.
async fn revoke(world: &TestWorld, scene: &Scene, count: usize) -> TokenId {
    let ended = stream::iter(0..count).map(async |_| {
        let id = TokenId::new(world.now().micros() as u64 / 1000, world.world.random());
        world.revoke(&scene.org, id).await.expect("revoked");
        id
    });
    let ended: Vec<TokenId> = ended.buffer_unordered(64).collect().await;
    ended.last().copied().expect("one at least")
}

#[tokio::test]
async fn a_large_state_comes_in_pieces_whoever_asks() {
    let world = TestWorld::new(11).await;
    let scene = world.scene().await;
    world.run_hub();
    let mut early = following(&world, &scene).await;
    let mut stream = world.events(early.ask(&world, "/feed?")).await;
    let (_, first) = stream.next().await.expect("a message");
    let first = early.signed(&first);
    early.follower.apply(&first, &[], world.now()).expect("a small snapshot");
    assert!(first.message().pieces.is_empty());

    let last = revoke(&world, &scene, MANY).await;
    let tenant = world.tenant(&scene.org).await;
    let rev = tenant.rev();

    // As a snapshot: the head, and a line for each piece.
    let mut asking = following(&world, &scene).await;
    let answer = world.ask(asking.ask(&world, "?")).await.expect(200);
    assert_eq!(answer.header("content-type"), "application/vnd.accredit.revocations");
    assert_eq!(answer.header("cache-control"), "no-store");
    let mut lines = answer.text().lines().map(str::to_owned);
    let head = lines.next().expect("a head");
    let pieces: Vec<String> = lines.collect();
    assert_eq!(pieces.len(), 2);
    asking.take(&world, &head, &pieces);
    assert!(asking.follower.state().entries().eq(tenant.revoked().entries()));
    assert_eq!(asking.follower.state().is_dead([last.any()], 1), Some(last.any()));

    // At the beginning of a stream, which goes on from there.
    let mut begins = following(&world, &scene).await;
    let mut events = world.events(begins.ask(&world, "/feed?")).await;
    begins.next(&world, &mut events).await;
    assert_eq!(begins.follower.state().rev(), rev);
    let more = revoke(&world, &scene, 1).await;
    let (_, delta) = events.next().await.expect("a delta");
    let delta = begins.signed(&delta);
    assert_eq!(begins.follower.apply(&delta, &[], world.now()), Ok(Applied::Delta));
    assert_eq!(begins.follower.state().is_dead([more.any()], rev), Some(more.any()));

    // Who holds what lies further back than a delta reaches gets the same; who does not, a delta.
    for (back, kind) in [
        (MESSAGE_ENTRIES_MAX, MessageKind::Delta),
        (MESSAGE_ENTRIES_MAX + 1, MessageKind::Snapshot),
    ] {
        let from = tenant.rev() - back as u64;
        let path = format!("/feed?gen=1&rev={from}&");
        let mut events = world.events(begins.ask(&world, &path)).await;
        let (_, text) = events.next().await.expect("a message");
        let message = begins.signed(&text);
        assert_eq!(message.message().kind(), kind, "{back}");
        assert_eq!(message.message().entries.is_empty(), kind == MessageKind::Snapshot);
    }
}

#[tokio::test]
async fn the_last_that_a_suspended_resource_hears_has_all_of_its_pieces() {
    let world = TestWorld::new(12).await;
    let scene = world.scene().await;
    world.run_hub();
    let mut following = following(&world, &scene).await;
    revoke(&world, &scene, MESSAGE_ENTRIES_MAX + 1).await;
    let crm = following.crm.id.clone();
    world.revoke(&scene.org, crm).await.expect("suspended");
    let mut events = world.events(following.ask(&world, "/feed?")).await;
    following.next(&world, &mut events).await;
    assert_eq!(events.next().await, None, "and then the stream ends");
}
