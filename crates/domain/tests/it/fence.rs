//! Between a decision and its write something is revoked: the token is decided again, or is not.

use std::sync::Arc;

use accredit_domain::issuance::{self, ISSUE_TRIES_MAX, Outcome};
use accredit_domain::registry::permission::{self, SetPermission};
use accredit_domain::registry::{State, agent, organization};
use accredit_domain::{Fault, Rule};
use accredit_testkit::fixture::Scene;
use accredit_testkit::{Client, Org, TestWorld};
use accredit_wire::crypto::Algorithm;
use accredit_wire::oauth::client_auth::ClientAuth;
use accredit_wire::oauth::token_request::TokenRequest;
use accredit_wire::secret::Secret;
use accredit_wire::token::AccessToken;

use crate::ledger;

struct Race {
    world: Arc<TestWorld>,
    scene: Scene,
}

impl Race {
    async fn begin() -> Self {
        let world = Arc::new(TestWorld::new(500).await);
        let scene = world.scene().await;
        Self { world, scene }
    }

    /// Before the next token is signed, after it was decided, this happens.
    fn meanwhile<F: Future<Output = ()> + Send + 'static>(
        &self,
        happens: impl FnOnce(Arc<TestWorld>, Org) -> F,
    ) {
        let future = happens(Arc::clone(&self.world), self.scene.org.clone());
        self.world.vault.before_next_token(Box::pin(future));
    }

    async fn ask(&self, auth: ClientAuth, scope: &str) -> Result<Outcome, Fault> {
        let request = TokenRequest {
            details: Vec::new(),
            scope: Some(scope.parse().expect("a scope")),
            ..TokenRequest::default()
        };
        issuance::issue(&self.world.cx(&self.scene.org).await, &auth, &request).await
    }

    async fn ask_with(&self, client: &Client, scope: &str) -> Result<Outcome, Fault> {
        let secret = Secret::new(client.secret.clone());
        let auth = ClientAuth::SecretBasic { client_id: client.id.clone(), secret };
        self.ask(auth, scope).await
    }

    /// A token that is alive now, and the only one that ever left.
    async fn only_token(&self, outcome: Result<Outcome, Fault>) -> AccessToken {
        let Ok(Outcome::Issued(issued)) = outcome else { panic!("no token: {outcome:?}") };
        let tenant = self.world.tenant(&self.scene.org).await;
        let principal = tenant.verifier.verify_token(issued.token.expose(), self.world.now());
        let token = principal.expect("alive").token().clone();
        ledger::check(&self.world, &self.scene.org, &[token.id.to_string()]).await;
        token
    }

    /// No token, and nothing that says there was one.
    async fn refused(&self, outcome: Result<Outcome, Fault>, rule: Rule) {
        let Ok(Outcome::Refused(refusal)) = outcome else { panic!("not refused: {outcome:?}") };
        assert_eq!(refusal.rule, rule);
        ledger::check(&self.world, &self.scene.org, &[]).await;
    }
}

#[tokio::test]
async fn what_ends_the_client_ends_the_token_that_was_decided_before() {
    let race = Race::begin().await;
    let credential = race.scene.client.credential.clone();
    race.meanwhile(|world, org| async move {
        world.revoke(&org, credential).await.expect("revoked");
    });
    let outcome = race.ask_with(&race.scene.client, "crm:read").await;
    race.refused(outcome, Rule::CredentialRevoked).await;

    let race = Race::begin().await;
    let instance = race.world.instance(&race.scene.org, "planner", None).await;
    let id = instance.instance.expect("one");
    race.meanwhile(move |world, org| async move {
        world.revoke(&org, id).await.expect("revoked");
    });
    let outcome = race.ask_with(&instance, "crm:read").await;
    race.refused(outcome, Rule::CredentialRevoked).await;

    for (suspend, rule) in [
        (race.scene.planner.id.any(), Rule::AgentNotActive),
        (race.scene.planner.owner.expect("an owner").any(), Rule::OwnerNotActive),
        (race.scene.crm.id.any(), Rule::TargetNotActive),
        (race.world.tenant(&race.scene.org).await.id.any(), Rule::OrganizationNotActive),
    ] {
        // The same seed makes the same ids.
        let race = Race::begin().await;
        race.meanwhile(move |world, org| async move {
            world.revoke(&org, suspend).await.expect("revoked");
        });
        let outcome = race.ask_with(&race.scene.client, "crm:read").await;
        race.refused(outcome, rule).await;
    }
}

#[tokio::test]
async fn what_narrows_the_agent_is_seen_by_the_second_decision() {
    let take_update_away = |world: Arc<TestWorld>, org: Org| async move {
        let actions = vec!["read".to_owned()];
        let cx = world.cx(&org).await;
        permission::set(
            &cx,
            "planner",
            "crm",
            &SetPermission { actions, limited: Vec::new(), across_environments: false },
        )
        .await
        .expect("set");
    };
    let race = Race::begin().await;
    race.meanwhile(take_update_away);
    let outcome = race.ask_with(&race.scene.client, "crm:update").await;
    race.refused(outcome, Rule::ScopeNotHeld).await;

    let race = Race::begin().await;
    race.meanwhile(take_update_away);
    let outcome = race.ask_with(&race.scene.client, "crm:read").await;
    assert_eq!(race.only_token(outcome).await.rev, 1, "decided on what is now");
}

#[tokio::test]
async fn what_ends_somebody_else_holds_nobody_up() {
    let race = Race::begin().await;
    race.world.agent(&race.scene.org, "worker", &["crm:read"]).await;
    race.meanwhile(|world, org| async move {
        agent::suspend(&world.cx(&org).await, "worker", "a test").await.expect("suspended");
    });
    let outcome = race.ask_with(&race.scene.client, "crm:read").await;
    assert_eq!(race.only_token(outcome).await.rev, 0, "as its decision saw it");
}

#[tokio::test]
async fn a_revoked_signing_key_does_not_sign_the_second_time() {
    let race = Race::begin().await;
    let key = race.world.tenant(&race.scene.org).await.token_key().id;
    race.meanwhile(move |world, org| async move {
        world.revoke(&org, key).await.expect("revoked");
    });
    let outcome = race.ask_with(&race.scene.client, "crm:read").await;
    assert_ne!(race.only_token(outcome).await.key, key);
}

#[tokio::test]
async fn an_assertion_is_used_up_once_although_it_was_decided_twice() {
    let race = Race::begin().await;
    let org = race.scene.org.clone();
    let signer = race.world.agent_key(&org, "planner", "k", Algorithm::EdDsa).await;
    let assertion = signer.assertion(race.world.now(), "a");
    race.meanwhile(|world, org| async move {
        let cx = world.cx(&org).await;
        agent::suspend(&cx, "planner", "a test").await.expect("suspended");
        agent::activate(&cx, "planner", "a test").await.expect("activated");
    });
    let auth = || ClientAuth::Assertion { client_id: None, assertion: assertion.clone() };
    let outcome = race.ask(auth(), "crm:read").await;
    race.only_token(outcome).await;
    let Ok(Outcome::Refused(refusal)) = race.ask(auth(), "crm:read").await else {
        panic!("used twice");
    };
    assert_eq!(refusal.rule, Rule::AssertionReplayed);
}

#[tokio::test]
async fn two_requests_with_one_assertion_get_one_token() {
    let race = Race::begin().await;
    let org = race.scene.org.clone();
    let signer = race.world.agent_key(&org, "planner", "k", Algorithm::EdDsa).await;
    let assertion = signer.assertion(race.world.now(), "a");
    let again = assertion.clone();
    let (told, hear) = tokio::sync::oneshot::channel();
    // While the first is being signed, the second is served.
    race.meanwhile(|world, org| async move {
        let answer = world.token_by(&org, &again, &[("scope", "crm:read")]).await;
        told.send(answer.status).expect("heard");
    });
    let auth = ClientAuth::Assertion { client_id: None, assertion };
    let Ok(Outcome::Refused(refusal)) = race.ask(auth, "crm:read").await else {
        panic!("two tokens for one assertion");
    };
    assert_eq!(refusal.rule, Rule::AssertionReplayed);
    assert_eq!(hear.await, Ok(200));
}

#[tokio::test]
async fn who_is_overtaken_again_and_again_gets_a_fault_and_no_token() {
    let race = Race::begin().await;
    for _ in 0..ISSUE_TRIES_MAX {
        race.meanwhile(|world, org| async move {
            let cx = world.cx(&org).await;
            let (off, on) = (State::Suspended, State::Active);
            organization::set_state(&cx, "acme", off, "a test").await.expect("suspended");
            organization::set_state(&cx, "acme", on, "a test").await.expect("activated");
        });
    }
    let outcome = race.ask_with(&race.scene.client, "crm:read").await;
    assert!(outcome.is_err(), "{outcome:?}");
    ledger::check(&race.world, &race.scene.org, &[]).await;
    let outcome = race.ask_with(&race.scene.client, "crm:read").await;
    race.only_token(outcome).await;
}
