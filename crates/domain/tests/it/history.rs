//! Random histories: whatever happens in whatever order, nothing dead is accepted and nothing
//! alive is refused, by the server and by a follower of its feed.

use std::sync::Arc;

use accredit_domain::issuance::{self, Outcome};
use accredit_domain::registry::agent::{self, Agent, UpdateAgent};
use accredit_domain::registry::permission::{self, SetPermission};
use accredit_domain::registry::resource::{self, Resource, UpdateResource};
use accredit_domain::registry::{State, find_agent, find_resource, organization, person};
use accredit_domain::{Cx, Error};
use accredit_testkit::{Chance, Client, Org, Signer, TestWorld};
use accredit_wire::crypto::Algorithm;
use accredit_wire::ids::{AnyId, InstanceId};
use accredit_wire::jose::jwk::{JwkSet, VerifyingKey};
use accredit_wire::oauth::client_auth::ClientAuth;
use accredit_wire::oauth::token_request::TokenRequest;
use accredit_wire::revocations::feed::SignedMessage;
use accredit_wire::revocations::{Follower, Nonce};
use accredit_wire::secret::Secret;
use accredit_wire::time::Time;
use accredit_wire::token::AccessToken;
use accredit_wire::verify::{AudienceRule, Config, KeyRing, Standing, Verifier};

use crate::ledger;

const ACTIONS: [&str; 3] = ["read", "update", "delete"];
const RESOURCES: [&str; 2] = ["crm", "mail"];
const AGENTS: [&str; 3] = ["planner", "worker", "writer"];

/// A token that left, and what is expected of it.
struct Left {
    text: String,
    token: AccessToken,
    ended: Option<String>,
}

/// One random history and everything that is known about it.
pub(crate) struct History {
    pub(crate) world: TestWorld,
    pub(crate) org: Org,
    chance: Chance,
    seed: u64,
    clients: Vec<Client>,
    signers: Vec<Signer>,
    tokens: Vec<Left>,
    keys: Vec<VerifyingKey>,
    follower: Follower,
    rev: u64,
    /// What was tried and what came of it, one line each.
    pub(crate) told: Vec<String>,
}

impl History {
    /// Two resources, three agents, each with two secrets, a key pair and an instance.
    pub(crate) async fn begin(seed: u64) -> Self {
        let world = TestWorld::new(seed).await;
        let org = world.found("acme").await;
        for name in RESOURCES {
            world.resource(&org, name, &ACTIONS).await;
        }
        let (mut clients, mut signers) = (Vec::new(), Vec::new());
        for name in AGENTS {
            world.agent(&org, name, &["crm:read", "crm:update", "mail:read"]).await;
            clients.push(world.agent_secret(&org, name, None).await);
            clients.push(world.agent_secret(&org, name, Some(400)).await);
            clients.push(world.instance(&org, name, None).await);
            signers.push(world.agent_key(&org, name, "k", Algorithm::EdDsa).await);
        }
        let follower = Follower::new(org.issuer.clone(), None);
        let chance = Chance::new(seed);
        let (tokens, keys, told) = (Vec::new(), Vec::new(), Vec::new());
        Self { world, org, chance, seed, clients, signers, tokens, keys, follower, rev: 0, told }
    }

    fn tell(&mut self, what: String) {
        self.told.push(what);
    }

    /// Something happens; afterwards everything is as it should be.
    pub(crate) async fn step(&mut self) {
        match self.chance.below(20) {
            0..=7 => self.issue().await,
            8 => self.world.advance(self.chance.below(90) as u64),
            9 | 10 => self.revoke().await,
            11 => self.suspend_agent().await,
            12 | 13 => self.reactivate().await,
            14 => self.set_permission().await,
            15 => self.delete_permission().await,
            16 => self.narrow_resource().await,
            17 => self.new_credential().await,
            18 => match self.chance.below(2) {
                0 => self.change_owner().await,
                _ => self.change_environment().await,
            },
            _ => self.rarely().await,
        }
        self.check().await;
    }

    async fn cx(&self) -> Cx {
        self.world.cx(&self.org).await
    }

    /// A token is asked for, by whoever, for whatever.
    async fn issue(&mut self) {
        let resource = RESOURCES[self.chance.below(2)];
        let wanted: Vec<String> = ACTIONS
            .iter()
            .filter(|_| self.chance.once_in(3))
            .map(|action| format!("{resource}:{action}"))
            .collect();
        let auth = if self.chance.once_in(4) {
            let n = self.chance.below(self.signers.len());
            let nonce = format!("{}-{}", self.told.len(), self.seed);
            let assertion = self.signers[n].assertion(self.world.now(), &nonce);
            ClientAuth::Assertion { client_id: None, assertion }
        } else {
            let n = self.chance.below(self.clients.len());
            let client = &self.clients[n];
            let secret = Secret::new(client.secret.clone());
            ClientAuth::SecretBasic { client_id: client.id.clone(), secret }
        };
        let request = TokenRequest {
            details: Vec::new(),
            scope: (!wanted.is_empty()).then(|| wanted.join(" ").parse().expect("a scope")),
            resources: vec![format!("https://{resource}.example/")],
            ..TokenRequest::default()
        };
        let cx = self.cx().await;
        let outcome = issuance::issue(&cx, &auth, &request).await.expect("no fault");
        let told = match &outcome {
            Outcome::Issued(issued) => format!("issued `{}`", issued.scope),
            Outcome::Refused(refusal) => format!("refused: {}", refusal.rule.code()),
        };
        self.tell(format!("ask {wanted:?}: {told}"));
        if let Outcome::Issued(issued) = outcome {
            let text = issued.token.expose().to_owned();
            let principal = cx.tenant.verifier.verify_token(&text, cx.now);
            let token = principal.expect("alive when it is born").token().clone();
            self.check_scope(&token).await;
            self.tokens.push(Left { text, token, ended: None });
        }
    }

    /// A token says at most what its agent holds and what its resource knows, and only where the two
    /// may meet.
    async fn check_scope(&self, token: &AccessToken) {
        let cx = self.cx().await;
        let agent: Agent = find_agent(&cx, &token.client_id.to_string()).await.expect("an agent");
        let of: Resource = find_resource(&cx, &token.resource.to_string()).await.expect("one");
        for part in token.scope.tokens() {
            let held = agent.permissions.allows(&part.resource, &part.action);
            let known = of.name == part.resource && of.actions.contains(&part.action);
            assert!(held && known, "seed {}: `{part}` was not held", self.seed);
        }
        let meet =
            agent.environment == of.environment || agent.across_environments.contains(&of.name);
        assert!(meet, "seed {}: across environments", self.seed);
        assert!(token.delegable.is_empty());
    }

    /// Notes what a change that was carried out has ended.
    fn note<T>(&mut self, what: &str, result: Result<T, Error>, ends: Option<AnyId>) {
        match result {
            Ok(_) => {
                self.tell(format!("{what}: done"));
                let Some(target) = ends else { return };
                self.rev += 1;
                for left in &mut self.tokens {
                    if left.ended.is_none() && hangs_on(&left.token, target) {
                        left.ended = Some(format!("{what} ({target})"));
                    }
                }
            }
            Err(Error::Refused(refusal)) => self.tell(format!("{what}: {}", refusal.rule.code())),
            Err(Error::Fault(fault)) => panic!("seed {}: {what}: {fault}", self.seed),
        }
    }

    /// An id that something hangs on, of any kind.
    fn target(&mut self) -> Option<AnyId> {
        let n = self.chance.below(self.tokens.len().max(1));
        let token = &self.tokens.get(n)?.token;
        Some(match self.chance.below(8) {
            0..=2 => token.id.any(),
            3 | 4 => token.instance.map_or(token.credential.any(), InstanceId::any),
            5 => token.credential.any(),
            6 => token.owner.any(),
            _ => token.resource.any(),
        })
    }

    async fn revoke(&mut self) {
        let Some(target) = self.target() else { return };
        let result = self.world.revoke(&self.org, target).await;
        if let Ok(view) = &result {
            assert_eq!((view.target, view.rev), (target, self.rev + 1));
        }
        self.note("revoke", result, Some(target));
    }

    async fn suspend_agent(&mut self) {
        let name = AGENTS[self.chance.below(3)];
        let cx = self.cx().await;
        let id = find_agent(&cx, name).await.expect("an agent").id.any();
        let result = agent::suspend(&cx, name, "a test").await;
        self.note("suspend agent", result, Some(id));
    }

    /// Everything that can go on goes on.
    async fn reactivate(&mut self) {
        let cx = self.cx().await;
        for name in AGENTS {
            let owner = find_agent(&cx, name).await.expect("an agent").owner.expect("an owner");
            let owner = owner.to_string();
            let result = person::set_state(&cx, &owner, State::Active, "a test").await;
            self.note("activate person", result, None);
            let result = agent::activate(&cx, name, "a test").await;
            self.note("activate agent", result, None);
        }
        let actions: Vec<String> = ACTIONS.iter().map(ToString::to_string).collect();
        for name in RESOURCES {
            let result = resource::set_state(&cx, name, State::Active, "a test").await;
            self.note("activate resource", result, None);
            let actions = actions.clone();
            let asked =
                UpdateResource { actions: Some(actions.clone()), ..UpdateResource::default() };
            let result = resource::update(&cx, name, &asked).await;
            self.note("widen resource", result, None);
            for agent in AGENTS {
                let asked = SetPermission {
                    actions: actions.clone(),
                    limited: Vec::new(),
                    across_environments: true,
                };
                let result = permission::set(&cx, agent, name, &asked).await;
                self.note("widen permission", result, None);
            }
        }
        let result = organization::set_state(&cx, "acme", State::Active, "a test").await;
        self.note("activate organization", result, None);
    }

    async fn set_permission(&mut self) {
        let (name, of) = (AGENTS[self.chance.below(3)], RESOURCES[self.chance.below(2)]);
        let actions: Vec<String> =
            ACTIONS.iter().filter(|_| self.chance.once_in(2)).map(ToString::to_string).collect();
        let cx = self.cx().await;
        let before = find_agent(&cx, name).await.expect("an agent");
        let across_environments = self.chance.once_in(2);
        let asked = SetPermission { actions, limited: Vec::new(), across_environments };
        let result = permission::set(&cx, name, of, &asked).await;
        let narrowed = |after: &Agent| {
            !after.permissions.covers(&before.permissions)
                || !after.across_environments.is_superset(&before.across_environments)
        };
        let ends = result.as_ref().is_ok_and(narrowed).then_some(before.id.any());
        self.note("set permission", result, ends);
    }

    async fn delete_permission(&mut self) {
        let (name, of) = (AGENTS[self.chance.below(3)], RESOURCES[self.chance.below(2)]);
        let cx = self.cx().await;
        let id = find_agent(&cx, name).await.expect("an agent").id.any();
        let result = permission::delete(&cx, name, of).await;
        self.note("delete permission", result, Some(id));
    }

    async fn narrow_resource(&mut self) {
        let name = RESOURCES[self.chance.below(2)];
        let kept = 1 + self.chance.below(3);
        let actions = ACTIONS[..kept].iter().map(ToString::to_string).collect();
        let cx = self.cx().await;
        let before = find_resource(&cx, name).await.expect("a resource");
        let asked = UpdateResource { actions: Some(actions), ..UpdateResource::default() };
        let result = resource::update(&cx, name, &asked).await;
        let narrowed = |after: &Resource| !before.actions.is_subset(&after.actions);
        let ends = result.as_ref().is_ok_and(narrowed).then_some(before.id.any());
        self.note("update resource", result, ends);
    }

    async fn new_credential(&mut self) {
        let name = AGENTS[self.chance.below(3)];
        let cx = self.cx().await;
        let state = find_agent(&cx, name).await.expect("an agent").state;
        if state.as_str() != "active" {
            return;
        }
        let made = match self.chance.below(3) {
            0 => self.world.agent_secret(&self.org, name, None).await,
            1 => self.world.instance(&self.org, name, Some(150)).await,
            _ => self.world.instance(&self.org, name, None).await,
        };
        self.clients.push(made);
        self.tell("new credential".to_owned());
    }

    async fn change_owner(&mut self) {
        let name = AGENTS[self.chance.below(3)];
        let address = format!("owner{}@example.com", self.chance.below(4));
        let cx = self.cx().await;
        let before = find_agent(&cx, name).await.expect("an agent");
        let asked = UpdateAgent { owner_email: Some(address), ..UpdateAgent::default() };
        let result = agent::update(&cx, name, &asked).await;
        let changed = |after: &Agent| after.owner != before.owner;
        let ends = result.as_ref().is_ok_and(changed).then_some(before.id.any());
        self.note("change owner", result, ends);
    }

    async fn change_environment(&mut self) {
        let name = AGENTS[self.chance.below(3)];
        let named = ["dev", "prod"][self.chance.below(2)];
        let cx = self.cx().await;
        let before = find_agent(&cx, name).await.expect("an agent");
        let environment = Some(named.to_owned());
        let asked = UpdateAgent { environment, ..UpdateAgent::default() };
        let result = agent::update(&cx, name, &asked).await;
        let changed = |after: &Agent| after.environment != before.environment;
        let ends = result.as_ref().is_ok_and(changed).then_some(before.id.any());
        self.note("change environment", result, ends);
    }

    /// The whole organization, a signing key, or an agent for ever.
    async fn rarely(&mut self) {
        let cx = self.cx().await;
        match self.chance.below(4) {
            0 => {
                let id = cx.tenant.id.any();
                let result = self.world.revoke(&self.org, id).await;
                self.note("revoke organization", result, Some(id));
            }
            1 | 2 => {
                let id = cx.tenant.token_key().id.any();
                let result = self.world.revoke(&self.org, id).await;
                self.note("revoke key", result, Some(id));
            }
            _ if self.chance.once_in(3) => {
                let name = AGENTS[2];
                let id = find_agent(&cx, name).await.expect("an agent").id.any();
                let result = agent::decommission(&cx, name, "a test").await;
                self.note("decommission", result, Some(id));
            }
            _ => {}
        }
    }

    /// Every token is as alive as it should be, here and at a follower.
    async fn check(&mut self) {
        let (tenant, now) = (self.world.tenant(&self.org).await, self.world.now());
        assert_eq!(tenant.rev(), self.rev, "seed {}: {:?}", self.seed, self.told.last());
        let nonce = Nonce::new(self.world.world.random());
        self.follower.ask(nonce, now);
        let told = self.world.server.hub.snapshot(&tenant, Some(nonce)).await.expect("a snapshot");
        let keys = tenant.keys();
        let signed = SignedMessage::verify(&told.head, keys.feed_jwks(), &self.org.issuer);
        self.follower.apply(&signed.expect("signed"), &[], now).expect("consistent");
        assert_eq!(self.follower.state().rev(), self.rev);
        // The follower never lets go of a key: it is the feed that ends what was signed with it.
        for key in keys.token_jwks().keys() {
            if !self.keys.iter().any(|held| held.kid == key.kid) {
                self.keys.push(key.clone());
            }
        }
        let set = JwkSet::new(self.keys.clone()).expect("a key set");
        let followers = RESOURCES.map(|name| {
            let audience = AudienceRule::Exact(format!("https://{name}.example/"));
            let verifier =
                Verifier::new(Config::new(&self.org.issuer, audience), KeyRing::new(&set));
            verifier.set_standing(Standing::of(&self.follower).expect("a standing"));
            verifier
        });
        for left in &self.tokens {
            self.check_token(left, &tenant.verifier, &followers, now);
        }
    }

    fn check_token(&self, left: &Left, own: &Verifier, followers: &[Verifier], now: Time) {
        let Left { text, token, ended } = left;
        let over = now.seconds() >= token.expires_at + 60;
        let expected = ended.is_none() && !over;
        let here = own.verify_token(text, now);
        let context = || {
            let (seed, told) = (self.seed, &self.told);
            format!("seed {seed}: {} ended by {ended:?}: {here:?}\n{told:#?}", token.id)
        };
        assert_eq!(here.is_ok(), expected, "here: {}", context());
        for follower in followers {
            let AudienceRule::Exact(audience) = &follower.config().audience else { continue };
            let there = follower.verify_token(text, now);
            let expected = expected && *audience == token.audience;
            assert_eq!(there.is_ok(), expected, "{there:?} there: {}", context());
        }
    }

    /// The log agrees with all of it.
    pub(crate) async fn finish(&self) {
        let left: Vec<String> = self.tokens.iter().map(|left| left.token.id.to_string()).collect();
        ledger::check(&self.world, &self.org, &left).await;
    }
}

/// Whether revoking `target` is to end the token: in words, without asking its lineage.
fn hangs_on(token: &AccessToken, target: AnyId) -> bool {
    target == token.organization.any()
        || target == token.client_id.any()
        || token.instance.is_some_and(|id| id.any() == target)
        || target == token.credential.any()
        || target == token.owner.any()
        || target == token.resource.any()
        || target == token.key.any()
        || target == token.id.any()
}

#[tokio::test]
async fn nothing_dead_is_accepted_and_nothing_alive_is_refused() {
    let (mut issued, mut ended) = (0, 0);
    for seed in 100..116 {
        let mut history = History::begin(seed).await;
        for _ in 0..70 {
            history.step().await;
        }
        history.finish().await;
        issued += history.tokens.len();
        ended += history.tokens.iter().filter(|left| left.ended.is_some()).count();
    }
    assert!(issued > 100 && ended > 50, "histories in which something happens: {issued}, {ended}");
}

#[tokio::test]
async fn a_restart_changes_nothing_about_who_is_alive() {
    for seed in 200..204 {
        let mut history = History::begin(seed).await;
        for round in 0..3 {
            for _ in 0..15 {
                history.step().await;
            }
            // Another seed: what is made after a restart must not repeat what was made before.
            history.world = history.world.reopened(seed * 1000 + round).await;
            history.check().await;
        }
        history.finish().await;
    }
}

/// Issuing and revoking at the same time, on two threads.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn under_concurrency_no_issuance_is_written_after_what_overtook_it() {
    let world = Arc::new(TestWorld::new(300).await);
    let org = world.found("acme").await;
    world.resource(&org, "crm", &ACTIONS).await;
    let mut issuing = Vec::new();
    for n in 0..6 {
        let name = AGENTS[n % 3];
        if n < 3 {
            world.agent(&org, name, &["crm:read"]).await;
        }
        let client = world.instance(&org, name, None).await;
        let (world, org) = (Arc::clone(&world), org.clone());
        issuing.push(tokio::spawn(async move {
            let mut left = Vec::new();
            for _ in 0..60 {
                let cx = world.cx(&org).await;
                let secret = Secret::new(client.secret.clone());
                let auth = ClientAuth::SecretBasic { client_id: client.id.clone(), secret };
                let request = TokenRequest {
                    details: Vec::new(),
                    scope: Some("crm:read".parse().expect("a scope")),
                    ..TokenRequest::default()
                };
                // A fault says that it was overtaken too often: no token, which is all that counts.
                if let Ok(Outcome::Issued(issued)) = issuance::issue(&cx, &auth, &request).await {
                    left.push(issued.token.expose().to_owned());
                }
            }
            left
        }));
    }
    for n in 0..30 {
        let cx = world.cx(&org).await;
        let name = AGENTS[n % 3];
        let _ = agent::suspend(&cx, name, "a test").await.expect("suspended");
        tokio::task::yield_now().await;
        let _ = agent::activate(&cx, name, "a test").await.expect("activated");
    }
    let mut left = Vec::new();
    for task in issuing {
        left.extend(task.await.expect("no panic"));
    }
    let revocations = ledger::revocations(&world, &org).await;
    let (tenant, now) = (world.tenant(&org).await, world.now());
    let mut ids = Vec::new();
    for text in &left {
        let payload = text.split('.').nth(1).expect("three segments");
        let payload = accredit_wire::jose::b64url_decode(payload).expect("base64url");
        let token = AccessToken::parse(&payload, tenant.token_key().id).expect("a token");
        let dead = |entry: &&accredit_domain::revocation::Revocation| {
            hangs_on(&token, entry.target) && token.rev < entry.rev
        };
        let dead = revocations.iter().find(dead);
        assert_eq!(tenant.verifier.verify_token(text, now).is_err(), dead.is_some(), "{token:?}");
        ids.push(token.id.to_string());
    }
    assert!(left.len() > 20, "{} tokens", left.len());
    ledger::check(&world, &org, &ids).await;
}
