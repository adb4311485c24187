//! Verifying in this process, on one core: the bare signature check against the whole of
//! [`accredit_wire::verify`], cold and warm.

use std::time::Duration;

use accredit_wire::authority::{Authority, Scope};
use accredit_wire::crypto::{Algorithm, PrivateKey, PublicKey};
use accredit_wire::ids::{
    AgentId, AnyId, CredentialId, InstanceId, KeyId, OrganizationId, PersonId, ResourceId, TokenId,
};
use accredit_wire::jose::b64url_decode;
use accredit_wire::jose::jwk::{JwkSet, VerifyingKey};
use accredit_wire::jose::jws::{ProtectedHeader, SigningInput};
use accredit_wire::revocations::{Entry, State};
use accredit_wire::token::{AccessToken, SubjectKind, TOKEN_TYPE};
use accredit_wire::verify::{AudienceRule, Config, KeyRing, RequestHead, Standing, Verifier};

use crate::ambient::{self, Numbers};
use crate::report::{Figure, Target, median, number, spread};
use crate::{Answer, Effort, machine};

const SCENARIO: &str = "verify";
pub(crate) const ISSUER: &str = "https://id.example/o/bench";
pub(crate) const AUDIENCE: &str = "https://crm.bench.example";
/// Tokens that are verified, all different.
const TOKENS: usize = 10_000;
/// The organization's counter.
const REV: u64 = 2_000_000;
/// Times that all tokens are verified in one warm round.
const WARM_PASSES: usize = 40;

/// Tokens of one issuer and what is needed to verify them.
struct Tokens {
    ring: KeyRing,
    public: PublicKey,
    /// `Bearer` and the token, as a request sends it.
    headers: Vec<String>,
    /// An order that is not that in which they were made and remembered.
    order: Vec<usize>,
    /// What is signed and the signature, for the bare check.
    bare: Vec<(String, Vec<u8>)>,
}

/// Measures and compares.
pub(crate) fn run(effort: Effort) -> Answer<Vec<Figure>> {
    let tokens = Tokens::make()?;
    let (mut bare, mut cold, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    let standing = dead(1000);
    for round in 0..effort.rounds {
        // In turns, so that a machine that slows down slows both.
        let first = (round % 2 == 0).then(|| tokens.bare_rate()).transpose()?;
        let verifier = tokens.verifier(&standing);
        let cold_rate = tokens.pass(&verifier, 1)?;
        let bare_rate = first.map_or_else(|| tokens.bare_rate(), Ok)?;
        bare.push(bare_rate);
        cold.push(cold_rate);
        ratios.push(100.0 * cold_rate / bare_rate);
    }
    let beside = format!(
        "{} against {} bare, per core; ratios {}",
        number(median(&cold), "/s"),
        number(median(&bare), "/s"),
        spread(&ratios, "%")
    );
    let what = "cold, distinct tokens, of the bare signature check".to_owned();
    let target = Target::AtLeast(85.0);
    let value = median(&ratios);
    let mut figures = vec![Figure { scenario: SCENARIO, what, value, unit: "%", target, beside }];
    for (count, least) in [(1000, 1e6), (1_000_000, 5e5)] {
        figures.extend(warm(&tokens, effort, count, least)?);
    }
    Ok(figures)
}

/// Warm rates with so many dead ids: in one state, and with a new state before each pass.
fn warm(tokens: &Tokens, effort: Effort, count: usize, least: f64) -> Answer<[Figure; 2]> {
    let state = dead(count);
    let verifier = tokens.verifier(&state);
    tokens.pass(&verifier, 1)?;
    let (mut same, mut changing) = (Vec::new(), Vec::new());
    for _ in 0..effort.rounds {
        verifier.set_standing(Standing::current(state.clone(), ambient::now()));
        same.push(tokens.pass(&verifier, WARM_PASSES)?);
        let begun = Stopwatch::start();
        for _ in 0..WARM_PASSES / 4 {
            verifier.set_standing(Standing::current(state.clone(), ambient::now()));
            tokens.verify_all(&verifier)?;
        }
        changing.push(begun.rate(TOKENS * (WARM_PASSES / 4)));
    }
    let figure = |what: &str, rates: &[f64], target| Figure {
        scenario: SCENARIO,
        what: format!("{what}, {} dead ids", number(count as f64, "")),
        value: median(rates),
        unit: "/s",
        target,
        beside: format!(
            "per core; {} cached tokens; {}",
            number(TOKENS as f64, ""),
            spread(rates, "/s")
        ),
    };
    Ok([
        figure("warm", &same, Target::AtLeast(least)),
        figure("warm, a new state before each pass", &changing, Target::None),
    ])
}

/// Processor time of this thread, or, where that is not told, time.
pub(crate) struct Stopwatch(std::time::Instant, Option<Duration>);

impl Stopwatch {
    pub(crate) fn start() -> Self {
        Self(ambient::instant(), machine::cpu_of_thread())
    }

    /// So many of something, per second of one core.
    pub(crate) fn rate(&self, count: usize) -> f64 {
        let used = machine::cpu_of_thread().zip(self.1).map(|(now, then)| now.saturating_sub(then));
        count as f64 / used.unwrap_or_else(|| self.0.elapsed()).as_secs_f64()
    }
}

impl Tokens {
    fn make() -> Answer<Self> {
        let (key, _) = PrivateKey::generate(Algorithm::Es256).map_err(|e| e.to_string())?;
        let public = key.public().map_err(|e| e.to_string())?;
        let mut numbers = Numbers::new(1);
        let id = KeyId::new(1, numbers.ten());
        let named = VerifyingKey { kid: id.to_string(), key: public.clone() };
        let set = JwkSet::new(vec![named]).map_err(|e| e.to_string())?;
        let header = ProtectedHeader::new(TOKEN_TYPE, Algorithm::Es256, Some(&id.to_string()));
        let header = header.map_err(|e| e.to_string())?;
        let mut tokens = Self {
            ring: KeyRing::new(&set),
            public,
            order: (0..TOKENS).collect(),
            headers: Vec::new(),
            bare: Vec::new(),
        };
        tokens.order.sort_by_cached_key(|_| numbers.next());
        for _ in 0..TOKENS {
            let payload = claims(&mut numbers, id)?.to_payload();
            let input = SigningInput::new(&header, &payload).map_err(|e| e.to_string())?;
            let signature = key.sign(input.bytes()).map_err(|e| e.to_string())?;
            let token = input.finish(&signature);
            let (signed, signature) = token.rsplit_once('.').ok_or("no token")?;
            let signature = b64url_decode(signature).map_err(|e| e.to_string())?;
            tokens.bare.push((signed.to_owned(), signature));
            tokens.headers.push(format!("Bearer {token}"));
        }
        Ok(tokens)
    }

    /// A Verifier that has seen no token.
    fn verifier(&self, state: &State) -> Verifier {
        let audience = AudienceRule::Exact(AUDIENCE.to_owned());
        let verifier = Verifier::new(Config::new(ISSUER, audience), self.ring.clone());
        verifier.set_standing(Standing::current(state.clone(), ambient::now()));
        verifier
    }

    fn bare_rate(&self) -> Answer<f64> {
        let watch = Stopwatch::start();
        for (signed, signature) in &self.bare {
            self.public.verify(signed.as_bytes(), signature).map_err(|e| e.to_string())?;
        }
        Ok(watch.rate(self.bare.len()))
    }

    fn pass(&self, verifier: &Verifier, passes: usize) -> Answer<f64> {
        let watch = Stopwatch::start();
        for _ in 0..passes {
            self.verify_all(verifier)?;
        }
        Ok(watch.rate(passes * TOKENS))
    }

    /// Every token once, as a request brings it: with the clock read and the scope asked for.
    fn verify_all(&self, verifier: &Verifier) -> Answer<()> {
        for header in self.order.iter().filter_map(|index| self.headers.get(*index)) {
            let head = RequestHead::new("GET", "/customers?page=7", [header.as_bytes()]);
            let principal = verifier.verify(&head, ambient::now()).map_err(|e| e.to_string())?;
            principal.require("crm:read").map_err(|e| e.to_string())?;
        }
        Ok(())
    }
}

/// A machine token of an instance, all of whose ids but key and organization are its own.
pub(crate) fn claims(numbers: &mut Numbers, key: KeyId) -> Answer<AccessToken> {
    let now = ambient::now();
    let agent = AgentId::new(now.millis(), numbers.ten());
    Ok(AccessToken {
        issuer: ISSUER.to_owned(),
        subject: agent.any(),
        kind: SubjectKind::Agent,
        client_id: agent,
        audience: AUDIENCE.to_owned(),
        issued_at: now.seconds(),
        not_before: None,
        expires_at: now.seconds() + 3600,
        id: TokenId::new(now.millis(), numbers.ten()),
        scope: "crm:read crm:write".parse::<Scope>().map_err(|e| e.to_string())?,
        details: accredit_wire::oauth::authorization_details::AuthorizationDetails::default(),
        key,
        instance: Some(InstanceId::new(now.millis(), numbers.ten())),
        organization: OrganizationId::new(1, [1; 10]),
        credential: CredentialId::new(now.millis(), numbers.ten()),
        owner: PersonId::new(now.millis(), numbers.ten()),
        resource: ResourceId::new(now.millis(), numbers.ten()),
        further: Vec::new(),
        rev: REV,
        delegable: Authority::none(),
        chain: Vec::new(),
        impersonated: false,
        cnf: None,
        status: None,
    })
}

/// A state in which so many ids are dead, none of which is in a token.
pub(crate) fn dead(count: usize) -> State {
    let mut numbers = Numbers::new(2);
    let now = ambient::now();
    let keep_until = now.seconds() + 7200;
    let entry = |number: usize| {
        let id: AnyId = InstanceId::new(now.millis(), numbers.ten()).any();
        Entry { target: id, below: number as u64 + 1, keep_until }
    };
    let entries: Vec<Entry> = (0..count).map(entry).collect();
    State::new(1, REV, now, &entries)
}
