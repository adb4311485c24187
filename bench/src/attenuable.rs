//! Biscuit v3 and long chains in this process, on one core: an attenuable token that was narrowed
//! four times against the crate `biscuit-auth`, which verifies and authorizes the same; and a JWT
//! of a chain of eight parties against one of a single party.

use std::time::Duration;

use accredit_wire::authority::{Authority, Permission};
use accredit_wire::biscuit::{Held, Narrowing, Unsigned};
use accredit_wire::crypto::{Algorithm, PrivateKey};
use accredit_wire::ids::{
    AgentId, AnyId, CredentialId, InstanceId, KeyId, PersonId, ResourceId, TokenId,
};
use accredit_wire::jose::jwk::{JwkSet, VerifyingKey};
use accredit_wire::jose::jws::{ProtectedHeader, SigningInput};
use accredit_wire::token::{AccessToken, Actor, TOKEN_TYPE};
use accredit_wire::verify::{AudienceRule, Config, KeyRing, RequestHead, Standing, Verifier};
use biscuit_auth::builder::{Fact, Term};
use biscuit_auth::{AuthorizerBuilder, AuthorizerLimits, Biscuit};

use crate::ambient::{self, Numbers};
use crate::report::{Figure, Target, median, number, spread};
use crate::verify::{AUDIENCE, ISSUER, Stopwatch, claims, dead};
use crate::{Answer, Effort};

/// Attenuable tokens, all different.
const BISCUITS: usize = 2_000;
/// Blocks that are added to each.
const BLOCKS: usize = 4;
/// JWTs of each length of chain, all different.
const CHAINS: usize = 5_000;
/// How long the crate may take for one.
const TIME_MAX: Duration = Duration::from_secs(1);
/// Parties of the long chain.
const DEPTH: usize = 8;

/// Attenuable tokens and what verifies them.
struct Biscuits {
    ring: KeyRing,
    public: biscuit_auth::PublicKey,
    texts: Vec<String>,
}

/// Measures and compares.
pub(crate) fn run(effort: Effort) -> Answer<Vec<Figure>> {
    Ok(vec![narrowed(effort)?, chained(effort)?])
}

fn narrowed(effort: Effort) -> Answer<Figure> {
    let all = Biscuits::make()?;
    let headers: Vec<String> = all.texts.iter().map(|text| format!("Bearer {text}")).collect();
    let pair = compared(effort, || pass(&verifier(&all.ring), &headers), || all.pass_of_crate())?;
    Ok(pair.figure(
        format!("narrowed {BLOCKS} times, cold, time of what the crate takes to authorize it"),
        130.0,
        "of the crate",
    ))
}

fn chained(effort: Effort) -> Answer<Figure> {
    let (key, _) = PrivateKey::generate(Algorithm::Es256).map_err(|e| e.to_string())?;
    let mut numbers = Numbers::new(11);
    let id = KeyId::new(1, numbers.ten());
    let ring = KeyRing::new(&set(id, &key)?);
    let long = jwts((&key, id), DEPTH, &mut numbers)?;
    let short = jwts((&key, id), 1, &mut numbers)?;
    let pair =
        compared(effort, || pass(&verifier(&ring), &long), || pass(&verifier(&ring), &short))?;
    Ok(pair.figure(
        format!("a chain of {DEPTH} as a JWT, cold, time of what one of 1 takes"),
        120.0,
        "of the short one",
    ))
}

/// Two rates of the same rounds.
struct Pair {
    ours: Vec<f64>,
    other: Vec<f64>,
}

fn compared(
    effort: Effort,
    mut ours: impl FnMut() -> Answer<f64>,
    mut other: impl FnMut() -> Answer<f64>,
) -> Answer<Pair> {
    let mut pair = Pair { ours: Vec::new(), other: Vec::new() };
    for round in 0..effort.rounds {
        // In turns, so that a machine that slows down slows both.
        let first = (round % 2 == 0).then(&mut other).transpose()?;
        pair.ours.push(ours()?);
        pair.other.push(first.map_or_else(&mut other, Ok)?);
    }
    Ok(pair)
}

impl Pair {
    /// The time of ours as a part of the other's.
    fn figure(&self, what: String, most: f64, of: &str) -> Figure {
        let ratios = self.ours.iter().zip(&self.other).map(|(ours, other)| 100.0 * other / ours);
        let ratios: Vec<f64> = ratios.collect();
        let beside = format!(
            "{} against {} {of}, per core; ratios {}",
            number(median(&self.ours), "/s"),
            number(median(&self.other), "/s"),
            spread(&ratios, "%")
        );
        let (value, target) = (median(&ratios), Target::AtMost(most));
        Figure { scenario: "attenuable", what, value, unit: "%", target, beside }
    }
}

fn set(id: KeyId, key: &PrivateKey) -> Answer<JwkSet> {
    let key = key.public().map_err(|e| e.to_string())?;
    JwkSet::new(vec![VerifyingKey { kid: id.to_string(), key }]).map_err(|e| e.to_string())
}

/// A Verifier that has seen no token. Whether a key was proved is not what is measured.
fn verifier(ring: &KeyRing) -> Verifier {
    let mut config = Config::new(ISSUER, AudienceRule::Exact(AUDIENCE.to_owned()));
    config.unheld_attenuable = true;
    let verifier = Verifier::new(config, ring.clone());
    verifier.set_standing(Standing::current(dead(1000), ambient::now()));
    verifier
}

/// The rate at which each of these is verified, and asked what it allows.
fn pass(verifier: &Verifier, headers: &[String]) -> Answer<f64> {
    let watch = Stopwatch::start();
    for header in headers {
        let head = RequestHead::new("GET", "/customers?page=7", [header.as_bytes()]);
        let principal = verifier.verify(&head, ambient::now()).map_err(|e| e.to_string())?;
        principal.require("crm:read").map_err(|e| e.to_string())?;
    }
    Ok(watch.rate(headers.len()))
}

impl Biscuits {
    fn make() -> Answer<Self> {
        let (key, _) = PrivateKey::generate(Algorithm::EdDsa).map_err(|e| e.to_string())?;
        let mut numbers = Numbers::new(10);
        let id = KeyId::new(1, numbers.ten());
        let texts = (0..BISCUITS).map(|_| biscuit(&key, id, &mut numbers));
        let texts = texts.collect::<Answer<_>>()?;
        let ring = KeyRing::new(&JwkSet::default()).with_biscuit(&set(id, &key)?);
        let public = key.public().map_err(|e| e.to_string())?;
        let ed25519 = biscuit_auth::Algorithm::Ed25519;
        let public = biscuit_auth::PublicKey::from_bytes(public.bytes(), ed25519);
        Ok(Self { ring, public: public.map_err(|e| e.to_string())?, texts })
    }

    /// The rate of the crate, with the facts that a Verifier supplies.
    fn pass_of_crate(&self) -> Answer<f64> {
        let watch = Stopwatch::start();
        for text in &self.texts {
            let token = Biscuit::from_base64(text, self.public).map_err(|e| e.to_string())?;
            let now = u64::try_from(ambient::now().seconds()).unwrap_or_default();
            let text = |text: &str| Term::Str(text.to_owned());
            let supplied =
                [("time", Term::Date(now)), ("resource", text("crm")), ("operation", text("read"))];
            // Its own bound on time is for a machine that does nothing else.
            let limits = AuthorizerLimits { max_time: TIME_MAX, ..AuthorizerLimits::default() };
            let mut builder = AuthorizerBuilder::new().set_limits(limits);
            for (name, term) in supplied {
                let fact = Fact::new(name.to_owned(), [term]);
                builder = builder.fact(fact).map_err(|e| e.to_string())?;
            }
            let builder = builder.policy("allow if true").map_err(|e| e.to_string())?;
            let authorizer = builder.build(&token).map_err(|e| e.to_string());
            authorizer?.authorize().map_err(|e| e.to_string())?;
        }
        Ok(watch.rate(self.texts.len()))
    }
}

/// A token that was narrowed again and again, each time by less.
fn biscuit(key: &PrivateKey, id: KeyId, numbers: &mut Numbers) -> Answer<String> {
    let token = claims(numbers, id)?;
    let unsigned = Unsigned::new(&token, &random(numbers)).map_err(|e| e.to_string())?;
    let signature = key.sign(unsigned.signing_input()).map_err(|e| e.to_string())?;
    let mut text = unsigned.finish(&signature).map_err(|e| e.to_string())?.text;
    let read: Permission = "crm:read".parse().map_err(|_| "no permission")?;
    for block in (0_i64..).take(BLOCKS) {
        let narrowing = Narrowing {
            authority: Some(Authority::new([read.clone()]).map_err(|e| e.to_string())?),
            expires_at: Some(token.expires_at - block - 1),
            ..Narrowing::default()
        };
        let held = Held::read(&text).map_err(|e| e.to_string())?;
        text = held.narrow(&narrowing, &random(numbers), None).map_err(|e| e.to_string())?;
    }
    Ok(text)
}

fn random(numbers: &mut Numbers) -> [u8; 32] {
    let mut bytes = [0; 32];
    for chunk in bytes.chunks_mut(10) {
        chunk.copy_from_slice(&numbers.ten()[..chunk.len()]);
    }
    bytes
}

/// JWTs of chains of so many parties, with the lineage that exchanges give them.
fn jwts(
    (key, id): (&PrivateKey, KeyId),
    depth: usize,
    numbers: &mut Numbers,
) -> Answer<Vec<String>> {
    let header = ProtectedHeader::new(TOKEN_TYPE, Algorithm::Es256, Some(&id.to_string()));
    let header = header.map_err(|e| e.to_string())?;
    let mut headers = Vec::with_capacity(CHAINS);
    for _ in 0..CHAINS {
        let payload = chain(claims(numbers, id)?, depth, numbers).to_payload();
        let input = SigningInput::new(&header, &payload).map_err(|e| e.to_string())?;
        let signature = key.sign(input.bytes()).map_err(|e| e.to_string())?;
        headers.push(format!("Bearer {}", input.finish(&signature)));
    }
    Ok(headers)
}

fn chain(mut token: AccessToken, depth: usize, numbers: &mut Numbers) -> AccessToken {
    let millis = ambient::now().millis();
    for _ in 0..depth {
        let agent = AgentId::new(millis, numbers.ten());
        let instance = InstanceId::new(millis, numbers.ten());
        token.chain.insert(0, Actor { agent, instance: Some(instance) });
        token.client_id = agent;
        token.instance = Some(instance);
        let before: [AnyId; 4] = [
            CredentialId::new(millis, numbers.ten()).any(),
            PersonId::new(millis, numbers.ten()).any(),
            ResourceId::new(millis, numbers.ten()).any(),
            TokenId::new(millis, numbers.ten()).any(),
        ];
        token.further.extend(before);
    }
    token
}
