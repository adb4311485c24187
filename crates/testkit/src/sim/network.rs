//! Enforcement points that follow the feed over a network that delays, repeats, reorders and
//! loses; and their restarts.

use accredit_domain::audit::integrate;
use accredit_domain::ports::LaneHead;
use accredit_domain::tenant::Tenant;
use accredit_server::followers::Held;
use accredit_server::hub::Resume;
use accredit_server::jobs;
use accredit_server::points::Introduced;
use accredit_wire::crypto::PublicKey;
use accredit_wire::ids::CredentialId;
use accredit_wire::jose::jwk::{JwkSet, VerifyingKey};
use accredit_wire::revocations::feed::FeedError;
use accredit_wire::revocations::witness::{LaneProof, LogWitness};
use accredit_wire::revocations::{Applied, Follower, Nonce, SignedMessage, State};
use accredit_wire::time::Time;
use accredit_wire::tlog::note::Vkey;
use accredit_wire::tlog::succession;
use accredit_wire::verify::{AudienceRule, Config, KeyRing, Standing, Verifier};
use std::time::Duration;

use super::{Broke, Flaw, Invariant, must};
use crate::entropy::Chance;
use crate::{Org, TestWorld};

/// Steps that a message may be on its way.
const DELAY_MAX: usize = 6;

/// A message on its way.
struct OnItsWay {
    /// The step at which it arrives.
    due: usize,
    /// When it was asked for, which is when it was signed.
    asked_at: Time,
    text: String,
}

/// One enforcement point: the follower of one resource, and the verifier over it.
pub(super) struct Point {
    follower: Follower,
    verifier: Verifier,
    keys: Vec<VerifyingKey>,
    /// Keys of the log: those that it was shown first, and whom they name.
    log_keys: Vec<PublicKey>,
    on_its_way: Vec<OnItsWay>,
    flaw: Option<Flaw>,
    /// What it must know: the counter of the newest message that it took.
    pub(super) rev: u64,
    /// How young its knowledge is: when that message was asked for, by the right time.
    pub(super) at: Option<Time>,
    /// The time of day of the server in that message, microseconds beside the right one.
    off: i64,
}

impl Point {
    pub(super) fn new(org: &Org, resource: &str, flaw: Option<Flaw>) -> Self {
        let audience = AudienceRule::Exact(format!("https://{resource}.example/"));
        let mut config = Config::new(&org.issuer, audience);
        if flaw == Some(Flaw::FollowerNeverAges) {
            config.revocations_age_max = Duration::from_secs(1_000_000);
        }
        let none = JwkSet::new(Vec::new()).expect("a set without keys");
        Self {
            follower: Follower::new(org.issuer.clone(), Some(LogWitness::new(Vec::new()))),
            verifier: Verifier::new(config, KeyRing::new(&none)),
            keys: Vec::new(),
            log_keys: Vec::new(),
            on_its_way: Vec::new(),
            flaw,
            rev: 0,
            at: None,
            off: 0,
        }
    }

    pub(super) fn verifier(&self) -> &Verifier {
        &self.verifier
    }

    /// Takes a key, whoever made it.
    pub(super) fn believe(&mut self, key: &VerifyingKey) {
        self.keys.push(key.clone());
        self.verifier.set_keys(KeyRing::new(&JwkSet::new(self.keys.clone()).expect("a key set")));
    }

    /// The time by which it must judge a token at the right time `now`: that of the server, as far as
    /// it was told, which signs what it issues by it; never less than its own.
    pub(super) fn judges_at(&self, now: Time) -> Time {
        now.max(Time::from_micros(now.micros() + self.off))
    }

    pub(super) fn audience(&self) -> &str {
        match &self.verifier.config().audience {
            AudienceRule::Exact(audience) => audience,
            AudienceRule::Any => "",
        }
    }

    /// It asks for what it lacks; the answer is sent, and perhaps arrives.
    pub(super) async fn ask(
        &mut self,
        world: &TestWorld,
        org: &Org,
        (step, chance): (usize, &mut Chance),
    ) -> Result<(), Broke> {
        let tenant = world.tenant(org).await;
        let state = self.follower.state();
        let held = self.at.map(|_| (state.generation(), state.rev()));
        let nonce = Nonce::new(world.world.random());
        let asked_at = world.clock.right();
        self.follower.ask(nonce, asked_at);
        let from = Resume { state: held, nonce: Some(nonce) };
        let text = message(world, &tenant, from).await?;
        if chance.once_in(5) {
            return Ok(()); // Lost.
        }
        let times = if chance.once_in(6) { 2 } else { 1 };
        for _ in 0..times {
            let due = step + chance.below(DELAY_MAX);
            self.on_its_way.push(OnItsWay { due, asked_at, text: text.clone() });
        }
        Ok(())
    }

    /// Takes what has arrived, in the order in which it arrives; how many messages it took.
    pub(super) async fn hear(
        &mut self,
        world: &TestWorld,
        org: &Org,
        step: usize,
    ) -> Result<usize, Broke> {
        let (mut arrived, later): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.on_its_way).into_iter().partition(|sent| sent.due <= step);
        self.on_its_way = later;
        arrived.sort_by_key(|sent| sent.due);
        let mut taken = 0;
        for sent in arrived {
            taken += usize::from(self.take(world, org, &sent).await?);
        }
        Ok(taken)
    }

    async fn take(&mut self, world: &TestWorld, org: &Org, sent: &OnItsWay) -> Result<bool, Broke> {
        let now = world.clock.right();
        let tenant = world.tenant(org).await;
        let keys = tenant.keys();
        for key in keys.token_jwks().keys() {
            // It never lets go of a key: it is the feed that ends what was signed with it.
            if !self.keys.iter().any(|held| held.kid == key.kid) {
                self.keys.push(key.clone());
            }
        }
        self.verifier.set_keys(KeyRing::new(&JwkSet::new(self.keys.clone()).expect("a key set")));
        let lanes = world.world.store.lanes(tenant.id).await.map_err(failed)?;
        self.learn_log_keys(&tenant, &lanes, org)?;
        let signed = SignedMessage::verify(&sent.text, keys.feed_jwks(), &org.issuer)
            .map_err(|error| (Invariant::StepEndsWell, format!("a message: {error:?}")))?;
        let mut proofs: Vec<LaneProof> = Vec::new();
        let applied = loop {
            match self.follower.apply(&signed, &proofs, now) {
                Err(FeedError::NeedsProof { lane, from, to }) if proofs.is_empty() => {
                    let proof = integrate::consistency(&world.world, &tenant, lane, from, to);
                    proofs.push(LaneProof { lane, proof: proof.await.map_err(failed)? });
                }
                other => break other,
            }
        };
        self.publish(now);
        match applied {
            Ok(Applied::Old) | Err(FeedError::NeedsSnapshot) => Ok(false),
            Ok(_) => {
                (self.rev, self.at) = (signed.message().to, Some(sent.asked_at));
                self.off = signed.message().at.micros() - sent.asked_at.micros();
                Ok(true)
            }
            // The server is honest here: an alarm is a false one, or it was made to lie.
            Err(error) => Err((Invariant::LogIsWhole, format!("a witness says: {error:?}"))),
        }
    }

    /// Fetches the log's keys: of those that are published it takes whom the ones that it knows
    /// name, and all where it knows none yet.
    fn learn_log_keys(
        &mut self,
        tenant: &Tenant,
        lanes: &[LaneHead],
        org: &Org,
    ) -> Result<(), Broke> {
        let Some(lane) = lanes.last() else { return Ok(()) };
        let published = tenant.log_vkeys(lane).map_err(failed)?;
        if self.log_keys.is_empty() {
            self.log_keys.extend(published.iter().map(|vkey| vkey.key().clone()));
        }
        let statements = tenant.keys().log_statements();
        let name = succession::log_name(&org.issuer);
        self.log_keys = succession::follow(&name, self.log_keys.clone(), &statements);
        let mut vkeys = Vec::new();
        for lane in lanes {
            let of_lane = tenant.log_vkeys(lane).map_err(failed)?;
            let known = |vkey: &Vkey| succession::is_among(vkey.key(), &self.log_keys);
            vkeys.extend(of_lane.into_iter().filter(known));
        }
        self.follower.set_log_keys(vkeys);
        Ok(())
    }

    fn publish(&self, now: Time) {
        let standing = if self.flaw == Some(Flaw::FollowerForgets) {
            let state = self.follower.state();
            let (generation, rev) = (state.generation(), state.rev());
            Some(Standing::current(State::new(generation, rev, now, &[]), now))
        } else {
            Standing::of(&self.follower)
        };
        if let Some(standing) = standing {
            self.verifier.set_standing(standing);
        }
    }

    /// Its process ends and starts again, from what it wrote to disk; what is on its way is lost.
    pub(super) fn restart(&mut self, org: &Org, now: Time) -> Result<(), Broke> {
        self.on_its_way.clear();
        let config = self.verifier.config().clone();
        let set = JwkSet::new(self.keys.clone()).expect("a key set");
        self.verifier = Verifier::new(config, KeyRing::new(&set));
        let Some(written) = self.follower.to_bytes(now) else {
            self.follower = Follower::new(org.issuer.clone(), Some(LogWitness::new(Vec::new())));
            return Ok(());
        };
        let again = Follower::from_bytes(&written, &org.issuer, Some(Vec::new()));
        self.follower = again.map_err(|error| (Invariant::StepEndsWell, error.to_string()))?;
        must(self.follower.state().rev() == self.rev, Invariant::RevokedIsDead, || {
            format!("a point restarted from {} to {}", self.rev, self.follower.state().rev())
        })?;
        self.publish(now);
        Ok(())
    }
}

/// What the feed sends first to somebody who holds this much.
async fn message(
    world: &TestWorld,
    tenant: &std::sync::Arc<Tenant>,
    from: Resume,
) -> Result<String, Broke> {
    // A point whose own standing is not what is tried here.
    let by = Held {
        credential: CredentialId::new(0, [0; 10]),
        lineage: Vec::new(),
        rev: tenant.rev(),
        expires_at: world.now().plus(Duration::from_secs(1)),
        suspended: false,
    };
    // As its handler does, where other nodes may have told a follower more.
    jobs::level(&world.server, tenant).await.map_err(failed)?;
    let following =
        world.server.hub.follow(std::sync::Arc::clone(tenant), from, by, Introduced::default());
    let mut following = following.expect("a place for a follower");
    let frame = following.next().await.expect("a first message").map_err(failed)?;
    let frame = std::str::from_utf8(&frame).expect("text");
    let data = frame.lines().find_map(|line| line.strip_prefix("data: "));
    Ok(data.expect("a message").to_owned())
}

fn failed(fault: accredit_domain::Fault) -> Broke {
    (Invariant::StepEndsWell, fault.to_string())
}
