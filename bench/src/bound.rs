//! RFC 9449 in this process, on one core: a bound token and its proof, both never seen before, against
//! two bare signature checks by keys that were read already.

use accredit_wire::binding::Confirmation;
use accredit_wire::binding::dpop::{ProofKey, ToProve};
use accredit_wire::binding::uri::BaseUri;
use accredit_wire::crypto::{Algorithm, PrivateKey, PublicKey};
use accredit_wire::ids::KeyId;
use accredit_wire::jose::b64url_decode;
use accredit_wire::jose::jwk::{JwkSet, VerifyingKey};
use accredit_wire::jose::jws::{ProtectedHeader, SigningInput};
use accredit_wire::token::TOKEN_TYPE;
use accredit_wire::verify::{
    AudienceRule, Config, KeyRing, Proofs, RequestHead, Standing, Verifier,
};

use crate::ambient::{self, Numbers};
use crate::report::{Figure, Target, median, number, spread};
use crate::verify::{AUDIENCE, ISSUER, Stopwatch, claims, dead};
use crate::{Answer, Effort};

/// Tokens, each bound to a key of its own.
const TOKENS: usize = 5_000;
/// What is asked for, as the client writes it and as the service sees it.
const URL: &str = "https://crm.bench.example/customers?page=7";
const PATH: &str = "/customers?page=7";

/// One agent: its token, the key it is bound to, and the public half.
struct Bound {
    token: String,
    key: ProofKey,
    public: PublicKey,
}

/// What is signed, and the signature.
type Signed = (String, Vec<u8>);

/// Measures and compares.
pub(crate) fn run(effort: Effort) -> Answer<Vec<Figure>> {
    let (key, _) = PrivateKey::generate(Algorithm::Es256).map_err(|e| e.to_string())?;
    let (issuer, mut numbers) = (key.public().map_err(|e| e.to_string())?, Numbers::new(3));
    let id = KeyId::new(1, numbers.ten());
    let all = (0..TOKENS).map(|_| Bound::make(&key, id, &mut numbers));
    let all = all.collect::<Answer<Vec<_>>>()?;
    let named = VerifyingKey { kid: id.to_string(), key: issuer.clone() };
    let set = JwkSet::new(vec![named]).map_err(|e| e.to_string())?;
    let (mut bare, mut whole, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..effort.rounds {
        let proofs = all.iter().map(|bound| bound.prove(&mut numbers));
        let proofs = proofs.collect::<Answer<Vec<_>>>()?;
        let pairs = all.iter().zip(&proofs);
        let signed = pairs.map(|(bound, proof)| Ok((taken(&bound.token)?, taken(proof)?)));
        let signed = signed.collect::<Answer<Vec<_>>>()?;
        let verifier = verifier(&set)?;
        // In turns, so that a machine that slows down slows both.
        let first = (round % 2 == 0).then(|| bare_rate(&issuer, &all, &signed)).transpose()?;
        let rate = whole_rate(&verifier, &all, &proofs)?;
        let bare_rate = first.map_or_else(|| bare_rate(&issuer, &all, &signed), Ok)?;
        bare.push(bare_rate);
        whole.push(rate);
        ratios.push(100.0 * rate / bare_rate);
    }
    let beside = format!(
        "{} against {} pairs of bare checks, per core; ratios {}",
        number(median(&whole), "/s"),
        number(median(&bare), "/s"),
        spread(&ratios, "%")
    );
    Ok(vec![Figure {
        scenario: "bound",
        what: "cold, distinct tokens and keys, of two bare signature checks".to_owned(),
        value: median(&ratios),
        unit: "%",
        target: Target::AtLeast(85.0),
        beside,
    }])
}

impl Bound {
    fn make(issuer: &PrivateKey, id: KeyId, numbers: &mut Numbers) -> Answer<Self> {
        let (private, _) = PrivateKey::generate(Algorithm::Es256).map_err(|e| e.to_string())?;
        let public = private.public().map_err(|e| e.to_string())?;
        let key = ProofKey::new(private).map_err(|e| e.to_string())?;
        let mut claims = claims(numbers, id)?;
        claims.cnf = Some(Confirmation::Key(key.thumbprint()));
        let header = ProtectedHeader::new(TOKEN_TYPE, Algorithm::Es256, Some(&id.to_string()));
        let header = header.map_err(|e| e.to_string())?;
        let input = SigningInput::new(&header, &claims.to_payload()).map_err(|e| e.to_string())?;
        let signature = issuer.sign(input.bytes()).map_err(|e| e.to_string())?;
        Ok(Self { token: input.finish(&signature), key, public })
    }

    fn prove(&self, numbers: &mut Numbers) -> Answer<String> {
        let mut jti = [0; 16];
        jti[..10].copy_from_slice(&numbers.ten());
        let request = ToProve { method: "GET", url: URL, token: Some(&self.token), nonce: None };
        self.key.prove(&request, jti, ambient::now()).map_err(|e| e.to_string())
    }
}

/// Takes a signed text apart for the bare check.
fn taken(text: &str) -> Answer<Signed> {
    let (signed, signature) = text.rsplit_once('.').ok_or("nothing signed")?;
    let signature = b64url_decode(signature).map_err(|e| e.to_string())?;
    Ok((signed.to_owned(), signature))
}

/// A Verifier that has seen neither token nor proof.
fn verifier(keys: &JwkSet) -> Answer<Verifier> {
    let mut config = Config::new(ISSUER, AudienceRule::Exact(AUDIENCE.to_owned()));
    let base = BaseUri::parse("https://crm.bench.example").map_err(|e| e.to_string())?;
    config.proofs = Some(Proofs::new(base, &[1; 32]));
    let verifier = Verifier::new(config, KeyRing::new(keys));
    verifier.set_standing(Standing::current(dead(1000), ambient::now()));
    Ok(verifier)
}

fn bare_rate(issuer: &PublicKey, all: &[Bound], signed: &[(Signed, Signed)]) -> Answer<f64> {
    let watch = Stopwatch::start();
    for (bound, (token, proof)) in all.iter().zip(signed) {
        issuer.verify(token.0.as_bytes(), &token.1).map_err(|e| e.to_string())?;
        bound.public.verify(proof.0.as_bytes(), &proof.1).map_err(|e| e.to_string())?;
    }
    Ok(watch.rate(all.len()))
}

fn whole_rate(verifier: &Verifier, all: &[Bound], proofs: &[String]) -> Answer<f64> {
    let headers: Vec<String> = all.iter().map(|bound| format!("DPoP {}", bound.token)).collect();
    let watch = Stopwatch::start();
    for (header, proof) in headers.iter().zip(proofs) {
        let head = RequestHead::new("GET", PATH, [header.as_bytes()]);
        let head = head.with_proofs([proof.as_bytes()]);
        let principal = verifier.verify(&head, ambient::now()).map_err(|e| e.to_string())?;
        principal.require("crm:read").map_err(|e| e.to_string())?;
    }
    Ok(watch.rate(all.len()))
}
