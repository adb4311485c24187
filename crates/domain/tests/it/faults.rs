//! The database fails at each of its statements in turn: no token leaves, and nothing is half
//! written.

use accredit_domain::issuance::{self, Outcome};
use accredit_domain::registry::agent::{self, CreateAgent};
use accredit_domain::registry::find_agent;
use accredit_domain::{Error, Fault};
use accredit_testkit::fault::FailAt;
use accredit_testkit::fixture::Scene;
use accredit_testkit::{Signer, TestWorld};
use accredit_wire::crypto::Algorithm;
use accredit_wire::oauth::client_auth::ClientAuth;
use accredit_wire::oauth::token_request::TokenRequest;
use accredit_wire::secret::Secret;

use crate::ledger;

/// Statements of one write, at most; a sweep that gets here has gone wrong.
const STATEMENTS_MAX: i64 = 60;

struct Scenery {
    world: TestWorld,
    scene: Scene,
    signer: Signer,
    issued: Vec<String>,
}

impl Scenery {
    async fn begin() -> Self {
        let world = TestWorld::new(600).await;
        let scene = world.scene().await;
        let signer = world.agent_key(&scene.org, "planner", "k", Algorithm::EdDsa).await;
        Self { world, scene, signer, issued: Vec::new() }
    }

    fn secret(&self) -> ClientAuth {
        let client = &self.scene.client;
        let secret = Secret::new(client.secret.clone());
        ClientAuth::SecretBasic { client_id: client.id.clone(), secret }
    }

    fn assertion(&self, nonce: &str) -> ClientAuth {
        let assertion = self.signer.assertion(self.world.now(), nonce);
        ClientAuth::Assertion { client_id: None, assertion }
    }

    async fn ask(&mut self, auth: &ClientAuth, scope: &str) -> Result<Outcome, Fault> {
        let request = TokenRequest {
            details: Vec::new(),
            scope: Some(scope.parse().expect("a scope")),
            ..TokenRequest::default()
        };
        let cx = self.world.cx(&self.scene.org).await;
        let outcome = issuance::issue(&cx, auth, &request).await;
        if let Ok(Outcome::Issued(issued)) = &outcome {
            let verified = cx.tenant.verifier.verify_token(issued.token.expose(), cx.now);
            self.issued.push(verified.expect("alive").token_id().to_string());
        }
        outcome
    }

    async fn leaves(&self) -> usize {
        ledger::events(&self.world, &self.scene.org).await.len()
    }

    async fn check(&self) {
        ledger::check(&self.world, &self.scene.org, &self.issued).await;
    }
}

#[tokio::test]
async fn an_issue_that_fails_gives_no_token_and_leaves_no_trace() {
    let mut scenery = Scenery::begin().await;
    for by_key in [false, true] {
        let mut failures = 0;
        for call in 1..STATEMENTS_MAX {
            let auth =
                if by_key { scenery.assertion(&format!("call-{call}")) } else { scenery.secret() };
            let before = scenery.leaves().await;
            scenery.world.faults.arm(FailAt::Call(call));
            let outcome = scenery.ask(&auth, "crm:read").await;
            if !scenery.world.faults.disarm() {
                assert!(matches!(outcome, Ok(Outcome::Issued(_))), "{outcome:?}");
                break;
            }
            failures += 1;
            assert!(outcome.is_err(), "call {call}: {outcome:?}");
            assert_eq!(scenery.leaves().await, before, "call {call}");
            // What was not written was not used up either: the same proof works now.
            let again = scenery.ask(&auth, "crm:read").await;
            assert!(matches!(again, Ok(Outcome::Issued(_))), "call {call}: {again:?}");
        }
        assert!((3..STATEMENTS_MAX - 1).contains(&failures), "{failures} statements");
        scenery.check().await;
    }
    let Scenery { world, scene, issued, signer } = scenery;
    let world = world.reopened(601).await;
    let mut scenery = Scenery { world, scene, signer, issued };
    scenery.check().await;
    let auth = scenery.secret();
    assert!(matches!(scenery.ask(&auth, "crm:read").await, Ok(Outcome::Issued(_))));
    scenery.check().await;
}

#[tokio::test]
async fn a_commit_whose_answer_is_lost_gives_no_token_and_the_log_goes_on() {
    let mut scenery = Scenery::begin().await;
    let auth = scenery.secret();
    let before = scenery.leaves().await;
    scenery.world.faults.arm(FailAt::AfterCommit(1));
    let outcome = scenery.ask(&auth, "crm:read").await;
    assert!(scenery.world.faults.disarm());
    assert!(outcome.is_err(), "nobody knows whether it is durable: {outcome:?}");
    // The event is there, of a token that nobody has: the safe side of the two.
    assert_eq!(scenery.leaves().await, before + 1);
    for _ in 0..3 {
        assert!(matches!(scenery.ask(&auth, "crm:read").await, Ok(Outcome::Issued(_))));
    }
    assert_eq!(scenery.leaves().await, before + 4);
}

#[tokio::test]
async fn a_revocation_whose_answer_is_lost_is_in_force_at_once() {
    for fault in [FailAt::AfterCommit(1), FailAt::AfterCommitBlindly(1)] {
        let mut scenery = Scenery::begin().await;
        let org = scenery.scene.org.clone();
        let (auth, tenant) = (scenery.secret(), scenery.world.tenant(&org).await);
        let Ok(Outcome::Issued(issued)) = scenery.ask(&auth, "crm:read").await else {
            panic!("no token");
        };
        let now = scenery.world.now();
        let alive = || tenant.verifier.verify_token(issued.token.expose(), now).is_ok();
        assert!(alive());
        scenery.world.faults.arm(fault);
        let result = scenery.world.revoke(&org, &scenery.scene.client.credential).await;
        assert!(scenery.world.faults.disarm());
        assert!(result.is_err(), "nobody could say whether it is durable: {result:?}");
        // Where it could not be looked up, the next write, here of a job, finds out.
        if fault != FailAt::AfterCommit(1) {
            assert!(alive(), "nobody knows yet");
            scenery.world.world.store.check().await.expect("it writes");
        }
        assert!(!alive());
        assert_eq!((tenant.rev(), tenant.revoked().rev()), (1, 1));
        assert!(!matches!(scenery.ask(&auth, "crm:read").await, Ok(Outcome::Issued(_))));
        let again = scenery.world.revoke(&org, &scenery.scene.client.credential).await;
        assert!(matches!(again, Err(Error::Refused(_))), "{again:?}");
    }
}

#[tokio::test]
async fn a_proof_whose_answer_is_lost_is_used_up() {
    for fault in [FailAt::AfterCommit(1), FailAt::AfterCommitBlindly(1)] {
        let mut scenery = Scenery::begin().await;
        let auth = scenery.assertion("a");
        scenery.world.faults.arm(fault);
        assert!(scenery.ask(&auth, "crm:read").await.is_err());
        assert!(scenery.world.faults.disarm());
        let again = scenery.ask(&auth, "crm:read").await;
        assert!(matches!(again, Ok(Outcome::Refused(_))), "{again:?}");
        let secret = scenery.secret();
        assert!(matches!(scenery.ask(&secret, "crm:read").await, Ok(Outcome::Issued(_))));
        // What was not committed was not used up.
        let auth = scenery.assertion("b");
        scenery.world.faults.arm(FailAt::BeforeCommit(1));
        assert!(scenery.ask(&auth, "crm:read").await.is_err());
        assert!(scenery.world.faults.disarm());
        assert!(matches!(scenery.ask(&auth, "crm:read").await, Ok(Outcome::Issued(_))));
    }
}

#[tokio::test]
async fn a_refusal_that_cannot_be_recorded_is_a_fault() {
    let mut scenery = Scenery::begin().await;
    let auth = scenery.assertion("a");
    let before = scenery.leaves().await;
    scenery.world.faults.arm(FailAt::BeforeCommit(1));
    assert!(scenery.ask(&auth, "crm:delete").await.is_err());
    assert!(scenery.world.faults.disarm());
    assert_eq!(scenery.leaves().await, before);
    assert!(matches!(scenery.ask(&auth, "crm:delete").await, Ok(Outcome::Refused(_))));
    assert_eq!(scenery.leaves().await, before + 1);
}

#[tokio::test]
async fn a_revocation_happens_whole_or_not_at_all() {
    let mut scenery = Scenery::begin().await;
    let org = scenery.scene.org.clone();
    let auth = scenery.secret();
    let tenant = scenery.world.tenant(&org).await;
    let mut failures = 0;
    for call in 1..STATEMENTS_MAX {
        let Ok(Outcome::Issued(issued)) = scenery.ask(&auth, "crm:read").await else {
            panic!("no token");
        };
        let (before, rev) = (scenery.leaves().await, tenant.rev());
        let alive =
            |world: &TestWorld| tenant.verifier.verify_token(issued.token.expose(), world.now());
        scenery.world.faults.arm(FailAt::Call(call));
        let cx = scenery.world.cx(&org).await;
        let result = agent::suspend(&cx, "planner", "a test").await;
        let failed = scenery.world.faults.disarm();
        let state = find_agent(&cx, "planner").await.expect("an agent").state.as_str();
        if !failed {
            assert!(result.is_ok());
            assert!(alive(&scenery.world).is_err());
            assert_eq!((state, tenant.rev()), ("suspended", rev + 1));
            break;
        }
        failures += 1;
        assert!(matches!(result, Err(Error::Fault(_))), "call {call}: {result:?}");
        assert!(alive(&scenery.world).is_ok(), "call {call}");
        assert_eq!((state, tenant.rev()), ("active", rev), "call {call}");
        assert_eq!(scenery.leaves().await, before, "call {call}");
        assert_eq!(ledger::revocations(&scenery.world, &org).await.len() as u64, rev);
    }
    assert!((5..STATEMENTS_MAX - 1).contains(&failures), "{failures} statements");
    scenery.check().await;
}

#[tokio::test]
async fn an_agent_and_its_new_owner_are_there_together_or_not() {
    let scenery = Scenery::begin().await;
    let org = &scenery.scene.org;
    let asked = || CreateAgent {
        name: "late".to_owned(),
        owner_email: Some("new@example.com".to_owned()),
        purpose: Some("to be tested".to_owned()),
        allow: vec!["crm:read".to_owned()],
        activate: true,
        ..CreateAgent::default()
    };
    let mut failures = 0;
    for call in 1..STATEMENTS_MAX {
        let before = scenery.leaves().await;
        scenery.world.faults.arm(FailAt::Call(call));
        let cx = scenery.world.cx(org).await;
        let made = agent::create(&cx, &asked()).await;
        if !scenery.world.faults.disarm() {
            made.expect("an agent");
            assert_eq!(scenery.leaves().await, before + 2, "an event for each of the two");
            break;
        }
        failures += 1;
        assert!(matches!(made, Err(Error::Fault(_))), "call {call}: {made:?}");
        assert!(find_agent(&cx, "late").await.is_err(), "call {call}");
        let owner = accredit_domain::registry::find_person(&cx, "new@example.com").await;
        assert!(owner.is_err(), "call {call}");
        assert_eq!(scenery.leaves().await, before, "call {call}");
    }
    assert!((5..STATEMENTS_MAX - 1).contains(&failures), "{failures} statements");
    scenery.check().await;
}
