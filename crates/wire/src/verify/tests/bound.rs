//! Bound tokens: no way through but a proof by their key.

use super::*;
use crate::binding::dpop::{PROOF_WINDOW_MAX, ProofKey, ToProve};
use crate::binding::nonce::Nonces;
use crate::binding::uri::BaseUri;
use crate::binding::{Confirmation, Thumbprint};

const BASE: &str = "https://crm.example";
const SECRET: [u8; 32] = [5; 32];

/// An agent that holds a key, and a token that is bound to it.
struct Holder {
    world: World,
    key: ProofKey,
    token: String,
}

fn proof_key() -> ProofKey {
    let (private, _) = PrivateKey::generate(Algorithm::Es256).expect("a key");
    ProofKey::new(private).expect("a key")
}

fn jti() -> [u8; 16] {
    use std::sync::atomic::AtomicU64;
    static NEXT: AtomicU64 = AtomicU64::new(0);
    u128::from(NEXT.fetch_add(1, Ordering::Relaxed)).to_be_bytes()
}

fn prove_by(
    key: &ProofKey,
    method: &str,
    path: &str,
    (token, nonce): (Option<&str>, Option<&str>),
) -> String {
    let request = ToProve { method, url: &format!("{BASE}{path}"), token, nonce };
    key.prove(&request, jti(), now()).expect("a proof")
}

impl Holder {
    fn new(proofs: Option<Proofs>) -> Self {
        let key = proof_key();
        let signer = Signer::new(Algorithm::Es256, 1);
        let mut config = Config::new(ISSUER, AudienceRule::Exact(AUDIENCE.to_owned()));
        config.proofs = proofs;
        config.revocations_age_max = Duration::from_hours(1);
        let verifier = Verifier::new(config, ring(&[&signer]));
        verifier.set_standing(Standing::current(State::new(1, 20, now(), &[]), now()));
        let mut bound = claims(signer.id);
        bound.cnf = Some(Confirmation::Key(key.thumbprint()));
        let token = signer.token(&bound);
        let holder = Self { world: World { signer, verifier }, key, token };
        // From here on the cache is warm.
        let _ = holder.send(&[&holder.authorization()], &[]);
        holder
    }

    fn usual() -> Self {
        Self::new(Some(Proofs::new(BaseUri::parse(BASE).expect("a base"), &SECRET)))
    }

    fn bound_to(&self) -> Confirmation {
        Confirmation::Key(self.key.thumbprint())
    }

    fn authorization(&self) -> String {
        format!("DPoP {}", self.token)
    }

    fn prove(&self, method: &str, path: &str, token: Option<&str>) -> String {
        prove_by(&self.key, method, path, (token, None))
    }

    fn good(&self) -> String {
        self.prove("GET", "/contacts", Some(&self.token))
    }

    fn send_at(
        &self,
        authorization: &[&str],
        proofs: &[&str],
        at: Time,
    ) -> Result<Principal, Rejection> {
        let values = authorization.iter().map(|value| value.as_bytes());
        let head = RequestHead::new("GET", "/contacts?page=2", values);
        let head = head.with_proofs(proofs.iter().map(|value| value.as_bytes()));
        self.world.verifier.verify(&head, at)
    }

    fn send(&self, authorization: &[&str], proofs: &[&str]) -> Result<Principal, Rejection> {
        self.send_at(authorization, proofs, now())
    }

    fn refuses(&self, proofs: &[&str]) -> ProofError {
        match self.send(&[&self.authorization()], proofs) {
            Err(Rejection::Proof(error)) => error,
            other => panic!("not refused for its proof: {other:?}"),
        }
    }
}

#[test]
fn a_bound_token_with_a_proof_by_its_key_is_a_principal_that_says_so() {
    let holder = Holder::usual();
    let good = holder.good();
    let principal = holder.send(&[&holder.authorization()], &[&good]).expect("accepted");
    assert_eq!(principal.bound_to(), Some(holder.bound_to()));
    assert_eq!(principal.evidence().bound_to, Some(holder.bound_to()));
    assert_eq!(holder.world.accepts(&holder.world.good()).bound_to(), None);
    let lower = holder.authorization().replace("DPoP", "dpop");
    assert!(holder.send(&[&lower], &[&holder.good()]).is_ok());
}

#[test]
fn a_proof_is_taken_once() {
    let holder = Holder::usual();
    let good = holder.good();
    assert!(holder.send(&[&holder.authorization()], &[&good]).is_ok());
    for _ in 0..3 {
        assert_eq!(holder.refuses(&[&good]), ProofError::Replayed);
    }
    assert!(holder.send(&[&holder.authorization()], &[&holder.good()]).is_ok());
}

#[test]
fn a_thief_without_the_key_is_refused_whatever_they_send() {
    let holder = Holder::usual();
    let authorization = holder.authorization();
    let bearer = authorization.replace("DPoP", "Bearer");
    assert_eq!(holder.send(&[&bearer], &[]).expect_err("refused"), Rejection::Binding);
    let seen = holder.good();
    assert_eq!(holder.send(&[&bearer], &[&seen]).expect_err("refused"), Rejection::Binding);
    assert_eq!(holder.refuses(&[]), ProofError::Absent);
    assert_eq!(holder.refuses(&[&holder.good(), &holder.good()]), ProofError::Several);
    let (thief, token) = (proof_key(), holder.token.as_str());
    let own = prove_by(&thief, "GET", "/contacts", (Some(token), None));
    assert_eq!(holder.refuses(&[&own]), ProofError::OtherKey);
    let other = holder.prove("POST", "/contacts", Some(token));
    assert_eq!(holder.refuses(&[&other]), ProofError::Method);
    let other = holder.prove("GET", "/contacts/1", Some(token));
    assert_eq!(holder.refuses(&[&other]), ProofError::Uri);
    let other = holder.prove("GET", "/contacts", Some("another"));
    assert_eq!(holder.refuses(&[&other]), ProofError::Token);
    let at_issuer = holder.prove("GET", "/contacts", None);
    assert_eq!(holder.refuses(&[&at_issuer]), ProofError::Missing("ath"));
    assert!(holder.send(&[&authorization], &[&seen]).is_ok(), "nothing of that used it up");
    let late = now().plus(PROOF_WINDOW_MAX * 2);
    let unused = holder.good();
    let rejection = holder.send_at(&[&authorization], &[&unused], late).expect_err("refused");
    assert!(matches!(rejection, Rejection::Proof(ProofError::Time { .. })));
    assert_eq!((rejection.status(), rejection.code()), (401, Some(ErrorCode::InvalidDpopProof)));
}

#[test]
fn a_plain_token_is_no_bound_one() {
    let holder = Holder::usual();
    let plain = holder.world.good();
    let proof = holder.prove("GET", "/contacts", Some(&plain));
    let rejection = holder.send(&[&format!("DPoP {plain}")], &[&proof]).expect_err("refused");
    assert_eq!((rejection.status(), rejection.rule()), (401, "token-not-bound"));
    assert!(holder.send(&[&format!("Bearer {plain}")], &[]).is_ok());
}

#[test]
fn where_proofs_are_not_checked_a_bound_token_is_refused() {
    let holder = Holder::new(None);
    let rejection = holder.send(&[&holder.authorization()], &[&holder.good()]);
    assert_eq!(rejection.expect_err("refused"), Rejection::ProofsUnchecked);
    let alone = holder.world.verifier.verify_token(&holder.token, now());
    assert_eq!(alone.expect_err("refused"), Rejection::Binding);
    let alive = holder.world.verifier.alive(&holder.token, now()).expect("alive");
    assert_eq!(alive.token().cnf, Some(holder.bound_to()));
}

#[test]
fn a_revoked_token_is_refused_before_its_proof_is_used_up() {
    let holder = Holder::usual();
    let good = holder.good();
    let agent = holder.world.claims().client_id.any();
    holder.world.revoke(agent, 18);
    let rejection = holder.send(&[&holder.authorization()], &[&good]).expect_err("refused");
    assert_eq!(rejection, Rejection::Revoked { id: agent });
    assert!(holder.world.verifier.alive(&holder.token, now()).is_err());
    holder.world.revoke(agent, 17);
    assert!(holder.send(&[&holder.authorization()], &[&good]).is_ok());
}

#[test]
fn where_a_nonce_is_required_one_of_this_server_is() {
    let base = BaseUri::parse(BASE).expect("a base");
    let holder = Holder::new(Some(Proofs::new(base, &SECRET).with_nonces()));
    assert_eq!(holder.refuses(&[&holder.good()]), ProofError::Nonce);
    let with = |nonce: &str| {
        let token = Some(holder.token.as_str());
        prove_by(&holder.key, "GET", "/contacts", (token, Some(nonce)))
    };
    let ours = holder.world.verifier.nonce(now()).expect("a nonce");
    assert!(holder.send(&[&holder.authorization()], &[&with(&ours)]).is_ok());
    let issuers = Nonces::new(&[6; 32]).at(now());
    assert_eq!(holder.refuses(&[&with(&issuers)]), ProofError::Nonce);
    assert_eq!(Rejection::Proof(ProofError::Nonce).status(), 401);
}

#[test]
fn where_too_many_proofs_are_remembered_bound_tokens_are_refused_and_plain_ones_are_not() {
    let proofs = Proofs::new(BaseUri::parse(BASE).expect("a base"), &SECRET).remembering(16);
    let holder = Holder::new(Some(proofs));
    let answers: Vec<_> =
        (0..60).map(|_| holder.send(&[&holder.authorization()], &[&holder.good()])).collect();
    let full = answers.iter().find_map(|answer| answer.as_ref().err()).expect("it is full");
    assert_eq!(*full, Rejection::Proof(ProofError::Full));
    assert_eq!(full.status(), 503);
    holder.world.accepts(&holder.world.good());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn a_bound_token_is_accepted_only_with_everything_right(
        wrong in prop::collection::vec(any::<bool>(), 6),
        order in Just(()).prop_perturb(|(), mut rng| rng.next_u32()),
    ) {
        let holder = Holder::usual();
        let wrong = |place: usize| wrong[place] && order % 6 != u32::try_from(place).expect("6");
        let thief = proof_key();
        let key = if wrong(0) { &thief } else { &holder.key };
        let method = if wrong(1) { "PUT" } else { "GET" };
        let path = if wrong(2) { "/contact" } else { "/contacts" };
        let token = if wrong(3) { None } else { Some(holder.token.as_str()) };
        let made = prove_by(key, method, path, (token, None));
        let twice = [made.as_str(), made.as_str()];
        let proofs = if wrong(4) { &twice[..] } else { &twice[..1] };
        let scheme = if wrong(5) { "Bearer" } else { "DPoP" };
        let answer = holder.send(&[&format!("{scheme} {}", holder.token)], proofs);
        prop_assert_eq!(answer.is_err(), (0..6).any(wrong));
    }

    #[test]
    fn a_thumbprint_in_a_token_is_the_one_of_its_key(seed: [u8; 32]) {
        let private = PrivateKey::ed25519_from_seed(&seed).expect("a key");
        let key = ProofKey::new(private).expect("a key");
        let mut claims = claims(KeyId::new(1, [1; 10]));
        claims.cnf = Some(Confirmation::Key(key.thumbprint()));
        let read = AccessToken::parse(&claims.to_payload(), claims.key).expect("claims");
        prop_assert_eq!(read.cnf, Some(Confirmation::Key(key.thumbprint())));
        let text = key.thumbprint().to_string();
        prop_assert_eq!(text.parse::<Thumbprint>().ok(), Some(key.thumbprint()));
    }
}
