//! RFC 8705: tokens that are bound to a certificate. No way through but a connection with it.

use super::*;
use crate::binding::dpop::{ProofKey, ToProve};
use crate::binding::uri::BaseUri;
use crate::binding::{Confirmation, Thumbprint};

const BASE: &str = "https://crm.example";

fn certificate(byte: u8) -> Thumbprint {
    Thumbprint::of_certificate(&[byte; 300])
}

/// A resource that checks proofs or does not, and a token that is bound to certificate 1.
struct Holder {
    world: World,
    token: String,
}

impl Holder {
    fn new(proofs: bool) -> Self {
        let signer = Signer::new(Algorithm::Es256, 1);
        let mut config = Config::new(ISSUER, AudienceRule::Exact(AUDIENCE.to_owned()));
        let base = BaseUri::parse(BASE).expect("a base");
        config.proofs = proofs.then(|| Proofs::new(base, &[5; 32]));
        config.revocations_age_max = Duration::from_hours(1);
        let verifier = Verifier::new(config, ring(&[&signer]));
        verifier.set_standing(Standing::current(State::new(1, 20, now(), &[]), now()));
        let mut bound = claims(signer.id);
        bound.cnf = Some(Confirmation::Certificate(certificate(1)));
        let token = signer.token(&bound);
        let holder = Self { world: World { signer, verifier }, token };
        // From here on the cache is warm.
        let _ = holder.send("Bearer", &[], None);
        holder
    }

    fn send(
        &self,
        scheme: &str,
        proofs: &[&str],
        certificate: Option<Thumbprint>,
    ) -> Result<Principal, Rejection> {
        let authorization = format!("{scheme} {}", self.token);
        let head = RequestHead::new("GET", "/contacts", [authorization.as_bytes()]);
        let head = head.with_proofs(proofs.iter().map(|value| value.as_bytes()));
        self.world.verifier.verify(&head.with_certificate(certificate), now())
    }

    /// A proof for this very token by somebody's key.
    fn proof(&self) -> String {
        let (private, _) = PrivateKey::generate(Algorithm::Es256).expect("a key");
        let key = ProofKey::new(private).expect("a key");
        let url = format!("{BASE}/contacts");
        let request = ToProve { method: "GET", url: &url, token: Some(&self.token), nonce: None };
        key.prove(&request, [9; 16], now()).expect("a proof")
    }
}

#[test]
fn a_token_that_is_bound_to_a_certificate_goes_with_it_and_says_so() {
    for proofs in [false, true] {
        let holder = Holder::new(proofs);
        for scheme in ["Bearer", "bearer"] {
            let principal = holder.send(scheme, &[], Some(certificate(1))).expect("accepted");
            assert_eq!(principal.bound_to(), Some(Confirmation::Certificate(certificate(1))));
        }
        let plain = holder.world.accepts(&holder.world.good());
        assert_eq!(plain.bound_to(), None, "a plain one goes with whatever connection");
    }
}

#[test]
fn a_thief_without_the_certificate_is_refused_at_every_door() {
    for proofs in [false, true] {
        let holder = Holder::new(proofs);
        let proof = holder.proof();
        for sent in [&[][..], &[&*proof]] {
            for (shown, is_presented) in [(None, false), (Some(certificate(2)), true)] {
                let refused = holder.send("Bearer", sent, shown).expect_err("refused");
                assert_eq!(refused, Rejection::Certificate { is_presented });
                assert_eq!((refused.status(), refused.rule()), (401, "token-certificate"));
                assert_eq!(refused.code(), Some(ErrorCode::InvalidToken));
                assert!(refused.hint().len() > 10 && refused.to_string().contains("certificate"));
            }
            for shown in [None, Some(certificate(1)), Some(certificate(2))] {
                let refused = holder.send("DPoP", sent, shown).expect_err("refused");
                assert_eq!(refused, Rejection::NotBound);
            }
        }
        // Where there is no request nothing is proved: it would pass for a bearer token otherwise.
        let alone = holder.world.verifier.verify_token(&holder.token, now());
        assert_eq!(alone.expect_err("refused"), Rejection::Certificate { is_presented: false });
        let alive = holder.world.verifier.alive(&holder.token, now()).expect("alive");
        assert_eq!(alive.token().cnf, Some(Confirmation::Certificate(certificate(1))));
    }
}

#[test]
fn the_thumbprint_of_a_key_is_no_certificate_and_the_other_way_round() {
    let holder = Holder::new(true);
    let (private, public) = {
        let (private, _) = PrivateKey::generate(Algorithm::Es256).expect("a key");
        let public = private.public().expect("its public half");
        (private, public)
    };
    drop(private);
    let mut by_key = claims(holder.world.signer.id);
    by_key.cnf = Some(Confirmation::Key(Thumbprint::of(&public)));
    let token = holder.world.signer.token(&by_key);
    let sent = format!("Bearer {token}");
    let head = RequestHead::new("GET", "/contacts", [sent.as_bytes()]);
    let head = head.with_certificate(Some(Thumbprint::of(&public)));
    let refused = holder.world.verifier.verify(&head, now());
    assert_eq!(refused.expect_err("refused"), Rejection::Binding);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn it_passes_with_its_own_certificate_and_with_no_other(
        bound in prop::collection::vec(any::<u8>(), 0..40),
        shown in prop::option::of(prop::collection::vec(any::<u8>(), 0..40)),
        same: bool,
        (warm, dpop) in any::<(bool, bool)>(),
    ) {
        let shown = if same { Some(bound.clone()) } else { shown };
        let holder = Holder::new(true);
        let mut token = claims(holder.world.signer.id);
        token.cnf = Some(Confirmation::Certificate(Thumbprint::of_certificate(&bound)));
        let token = holder.world.signer.token(&token);
        let scheme = if dpop { "DPoP" } else { "Bearer" };
        let sent = format!("{scheme} {token}");
        let head = RequestHead::new("GET", "/contacts", [sent.as_bytes()]);
        if warm {
            let own = head.with_certificate(Some(Thumbprint::of_certificate(&bound)));
            let _ = holder.world.verifier.verify(&own, now());
        }
        let thumbprint = shown.as_deref().map(Thumbprint::of_certificate);
        let answer = holder.world.verifier.verify(&head.with_certificate(thumbprint), now());
        prop_assert_eq!(answer.is_ok(), shown == Some(bound) && !dpop);
        prop_assert!(holder.world.verifier.verify_token(&token, now()).is_err());
    }
}
