//! Attenuable tokens: the same door, the same steps, the same principal.

use super::*;
use crate::authority::Permission;
use crate::binding::dpop::{ProofKey, ToProve};
use crate::binding::uri::BaseUri;
use crate::binding::{Confirmation, Thumbprint};
use crate::biscuit::{BiscuitError, Held, Holder, Narrowing, Unsigned};
use crate::ids::BlockId;

const BASE: &str = "https://crm.example";

/// An issuer with a key for each format, and a Verifier of a resource.
struct Resource {
    signer: Signer,
    biscuit: Signer,
    verifier: Verifier,
}

fn fresh() -> [u8; 32] {
    use std::sync::atomic::AtomicU64;
    static NEXT: AtomicU64 = AtomicU64::new(0);
    crate::crypto::sha256(&NEXT.fetch_add(1, Ordering::Relaxed).to_be_bytes())
}

fn key() -> ProofKey {
    let (private, _) = PrivateKey::generate(Algorithm::Es256).expect("a key");
    ProofKey::new(private).expect("a key")
}

fn mint_by(signer: &Signer, cnf: Option<Thumbprint>) -> String {
    let mut token = claims(signer.id);
    token.cnf = cnf.map(Confirmation::Key);
    let unsigned = Unsigned::new(&token, &fresh()).expect("a token");
    let signature = signer.private.sign(unsigned.signing_input()).expect("a signature");
    unsigned.finish(&signature).expect("a token").text
}

fn set(signers: &[&Signer]) -> JwkSet {
    JwkSet::new(signers.iter().map(|signer| signer.public()).collect()).expect("a set")
}

impl Resource {
    fn new() -> Self {
        Self::that(|_| ())
    }

    fn that(change: impl FnOnce(&mut Config)) -> Self {
        let signer = Signer::new(Algorithm::EdDsa, 1);
        let biscuit = Signer::new(Algorithm::EdDsa, 2);
        let mut config = Config::new(ISSUER, AudienceRule::Exact(AUDIENCE.to_owned()));
        config.proofs = Some(Proofs::new(BaseUri::parse(BASE).expect("a base"), &[5; 32]));
        config.revocations_age_max = Duration::from_hours(1);
        change(&mut config);
        let ring = KeyRing::new(&set(&[&signer])).with_biscuit(&set(&[&biscuit]));
        let verifier = Verifier::new(config, ring);
        verifier.set_standing(Standing::current(State::new(1, 20, now(), &[]), now()));
        Self { signer, biscuit, verifier }
    }

    fn mint(&self, cnf: Option<&ProofKey>) -> String {
        mint_by(&self.biscuit, cnf.map(ProofKey::thumbprint))
    }

    fn send(&self, token: &str, by: &ProofKey) -> Result<Principal, Rejection> {
        let request =
            ToProve { method: "GET", url: &format!("{BASE}/x"), token: Some(token), nonce: None };
        let mut jti = [0; 16];
        jti.copy_from_slice(&fresh()[..16]);
        let proof = by.prove(&request, jti, now()).expect("a proof");
        let authorization = format!("DPoP {token}");
        let head = RequestHead::new("GET", "/x", [authorization.as_bytes()]);
        self.verifier.verify(&head.with_proofs([proof.as_bytes()]), now())
    }

    fn bear(&self, token: &str) -> Result<Principal, Rejection> {
        let authorization = format!("Bearer {token}");
        self.verifier.verify(&RequestHead::new("GET", "/x", [authorization.as_bytes()]), now())
    }

    fn revoke(&self, target: AnyId, below: u64) {
        let entry = Entry { target, below, keep_until: START + 10_000 };
        let state = State::new(1, 40, now(), &[entry]);
        self.verifier.set_standing(Standing::current(state, now()));
    }
}

fn allowing(text: &str) -> Narrowing {
    let permission: Permission = text.parse().expect("a permission");
    let authority = Authority::new([permission]).expect("an authority");
    Narrowing { authority: Some(authority), ..Narrowing::default() }
}

fn narrow(token: &str, narrowing: &Narrowing) -> String {
    Held::read(token).expect("a token").narrow(narrowing, &fresh(), None).expect("narrowed")
}

fn hand_on(token: &str, by: &ProofKey, to: (AgentId, &ProofKey)) -> String {
    let holder = Some(Holder { agent: to.0, key: to.1.thumbprint() });
    let narrowing = Narrowing { holder, ..Narrowing::default() };
    by.narrow(&Held::read(token).expect("a token"), &narrowing, &fresh()).expect("handed on")
}

#[test]
fn a_bound_token_makes_the_same_principal() {
    let (resource, own, other) = (Resource::new(), key(), key());
    let token = resource.mint(Some(&own));
    for _ in 0..2 {
        // The second time from the cache.
        let principal = resource.send(&token, &own).expect("a principal");
        assert_eq!(principal.client_id(), claims(resource.biscuit.id).client_id);
        assert!(principal.allows("crm:read") && !principal.allows("crm:delete"));
        assert_eq!(principal.bound_to(), Some(Confirmation::Key(own.thumbprint())));
        assert_eq!(principal.unnamed_narrowings(), 0);
    }
    let other_key = Rejection::Proof(ProofError::OtherKey);
    assert_eq!(resource.send(&token, &other).map(drop), Err(other_key));
    assert_eq!(resource.bear(&token).map(drop), Err(Rejection::Binding));
    let until = Narrowing { expires_at: Some(START + 5), ..Narrowing::default() };
    let short = narrow(&token, &until);
    let late = now().plus(Duration::from_mins(2));
    let authorization = format!("DPoP {short}");
    let head = RequestHead::new("GET", "/x", [authorization.as_bytes()]);
    let answer = resource.verifier.verify(&head, late).map(drop);
    assert_eq!(answer, Err(Rejection::Expired { expires_at: Time::from_seconds(START + 5) }));
}

#[test]
fn a_token_that_nobody_holds_is_refused_unless_that_is_waived() {
    let resource = Resource::new();
    let token = resource.mint(None);
    assert_eq!(resource.bear(&token).map(drop), Err(Rejection::Unheld));
    assert_eq!(resource.verifier.verify_token(&token, now()).map(drop), Err(Rejection::Unheld));
    // The issuer may look at it, and nobody is let in by that.
    assert!(resource.verifier.alive(&token, now()).is_ok());
    let own = key();
    let to = (AgentId::new(9, [9; 10]), &own);
    // Whoever found it may have named themselves: that makes no holder of them.
    let bound = hand_on(&token, &key(), to);
    assert_eq!(resource.send(&bound, &own).map(drop), Err(Rejection::Unheld));
    let waiving = Resource::that(|config| config.unheld_attenuable = true);
    let bound = hand_on(&waiving.mint(None), &key(), to);
    assert_eq!(waiving.send(&bound, &own).expect("a principal").client_id(), to.0);
    assert_eq!(waiving.bear(&bound).map(drop), Err(Rejection::Binding));
    let narrowed = narrow(&waiving.mint(None), &allowing("crm:read"));
    let principal = waiving.bear(&narrowed).expect("a principal");
    assert!(principal.allows("crm:read") && !principal.allows("crm:write"));
    assert_eq!(principal.unnamed_narrowings(), 1);
    let shown = principal.to_string();
    assert!(shown.ends_with("or whoever narrowed the token since without saying so"), "{shown}");
}

#[test]
fn whoever_was_named_last_is_the_acting_party_and_needs_its_key() {
    let (resource, own, worker) = (Resource::new(), key(), key());
    let agent = AgentId::new(9, [9; 10]);
    let token = hand_on(&resource.mint(Some(&own)), &own, (agent, &worker));
    let principal = resource.send(&token, &worker).expect("a principal");
    assert_eq!((principal.client_id(), principal.chain().len()), (agent, 1));
    assert_eq!(principal.subject(), claims(resource.biscuit.id).subject);
    let other_key = Rejection::Proof(ProofError::OtherKey);
    assert_eq!(resource.send(&token, &own).map(drop), Err(other_key));
    assert!(principal.to_string().starts_with(&format!("{agent} for ")), "{principal}");
    let demands = Demands { depth_max: Some(0), ..Demands::default() };
    assert!(principal.fits(demands, Context::default()).is_err());
}

/// Invariant 3, by every id there is: also those of blocks and of agents that were named offline.
#[test]
fn whatever_is_revoked_in_the_lineage_ends_it() {
    let (own, worker) = (key(), key());
    let agent = AgentId::new(9, [9; 10]);
    let make = || {
        let resource = Resource::new();
        let token = hand_on(&resource.mint(Some(&own)), &own, (agent, &worker));
        (resource, token)
    };
    let (resource, token) = make();
    let lineage: Vec<AnyId> =
        resource.send(&token, &worker).expect("a principal").lineage().collect();
    assert_eq!(lineage.iter().filter(|id| BlockId::try_from(**id).is_ok()).count(), 2);
    for id in claims(resource.biscuit.id).lineage().chain([agent.any()]) {
        assert!(lineage.contains(&id), "{id}");
    }
    for id in lineage {
        resource.revoke(id, 18);
        let answer = resource.send(&token, &worker).map(drop);
        assert_eq!(answer, Err(Rejection::Revoked { id }), "{id}");
    }
    // The issuer decided nothing of who was named: an older end counts, too.
    resource.revoke(agent.any(), 5);
    let revoked = Err(Rejection::Revoked { id: agent.any() });
    assert_eq!(resource.send(&token, &worker).map(drop), revoked);
    let client = claims(resource.biscuit.id).client_id.any();
    resource.revoke(client, 5);
    assert!(resource.send(&token, &worker).is_ok(), "of whom it was decided later");
    // A block that was revoked ends what was added to it, and nothing beside it.
    let (resource, token) = make();
    let one = narrow(&token, &allowing("crm:read"));
    let two = narrow(&token, &allowing("crm:read"));
    let last = resource.send(&one, &worker).expect("a principal");
    let block = last.lineage().filter(|id| BlockId::try_from(*id).is_ok()).last().expect("blocks");
    resource.revoke(block, 18);
    assert_eq!(resource.send(&one, &worker).map(drop), Err(Rejection::Revoked { id: block }));
    assert!(resource.send(&two, &worker).is_ok());
}

#[test]
fn no_key_of_one_format_verifies_the_other() {
    let (resource, own) = (Resource::new(), key());
    let by_token_key = mint_by(&resource.signer, Some(own.thumbprint()));
    assert_eq!(resource.send(&by_token_key, &own).map(drop), Err(Rejection::UnknownKey));
    let mut jwt = claims(resource.biscuit.id);
    jwt.cnf = Some(Confirmation::Key(own.thumbprint()));
    let by_biscuit_key = resource.biscuit.token(&jwt);
    assert_eq!(resource.send(&by_biscuit_key, &own).map(drop), Err(Rejection::UnknownKey));
    // A key that is gone takes its tokens along, warm cache or not.
    let token = resource.mint(Some(&own));
    let principal = resource.send(&token, &own).expect("a principal");
    resource.verifier.set_keys(KeyRing::new(&set(&[&resource.signer])));
    assert_eq!(resource.send(&token, &own).map(drop), Err(Rejection::UnknownKey));
    assert_eq!(resource.verifier.standing_of(&principal, now()), Err(Rejection::UnknownKey));
}

#[test]
fn a_thief_of_a_bound_token_has_no_use_of_it() {
    let (resource, own, thief) = (Resource::new(), key(), key());
    let token = resource.mint(Some(&own));
    let holder = Some(Holder { agent: AgentId::new(9, [9; 10]), key: thief.thumbprint() });
    let narrowing = Narrowing { holder, ..Narrowing::default() };
    let held = Held::read(&token).expect("a token");
    assert!(thief.narrow(&held, &narrowing, &fresh()).is_err());
    assert!(resource.send(&token, &thief).is_err());
    // Every other text is refused by its form.
    for wrong in ["A", "AAAA", &token[..token.len() / 2], &token.replace('_', "-")] {
        assert!(resource.send(wrong, &own).is_err(), "{wrong:.20}");
    }
    let rejection = resource.send("AAAA", &own).expect_err("no token");
    assert_eq!((rejection.code(), rejection.status()), (Some(ErrorCode::InvalidToken), 401));
}

#[cfg(feature = "biscuit")]
#[test]
fn words_of_others_are_asked_question_by_question() {
    use biscuit_auth::{BlockBuilder, UnverifiedBiscuit};

    let (resource, own) = (Resource::new(), key());
    let with = |code: &str| {
        let token = UnverifiedBiscuit::from_base64(resource.mint(Some(&own))).expect("a token");
        let block = BlockBuilder::new().code(code).expect("Datalog");
        token.append(block).expect("added").to_base64().expect("text")
    };
    let principal =
        resource.send(&with("check if operation(\"read\")"), &own).expect("a principal");
    assert!(principal.scope().is_empty(), "nobody reads off it what it does not allow");
    assert!(principal.allows("crm:read") && !principal.allows("crm:write"));
    let may = |action: &str| principal.may(action, None, &Arguments::none(), now());
    assert_eq!(may("crm:read"), Ok(()));
    let needed = "crm:write".to_owned();
    assert_eq!(may("crm:write"), Err(Rejection::NarrowedAway { needed }));
    assert!(matches!(may("crm:delete"), Err(Rejection::NotAllowed { .. })));
    assert!(matches!(may("mail:read"), Err(Rejection::NotAllowed { .. })));
    assert_eq!(principal.require("crm:read"), Ok(()));
    assert!(principal.require("crm:write").is_err());
    // What is beyond the limits is no token.
    let regex = with("check if operation($o), $o.matches(\"a\")");
    let answer = resource.send(&regex, &own).map(drop);
    assert_eq!(answer, Err(Rejection::Biscuit(BiscuitError::Uninterpreted(1))));
}
