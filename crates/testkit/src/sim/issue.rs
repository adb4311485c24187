//! Tokens are asked for: by whoever, for whatever, while the database fails or something is
//! revoked between decision and write.

use std::sync::{Arc, Mutex};

use accredit_domain::issuance::{self, Outcome};
use accredit_domain::tenant::Tenant;
use accredit_wire::authority::Scope;
use accredit_wire::ids::{AnyId, KeyId, TokenId};
use accredit_wire::jose::jws::Unverified;
use accredit_wire::jose::{alg_name, b64url_decode, b64url_encode};
use accredit_wire::oauth::client_auth::ClientAuth;
use accredit_wire::oauth::token_request::TokenRequest;
use accredit_wire::secret::Secret;
use accredit_wire::token::AccessToken;

use super::model::{ACTIONS, RESOURCES};
use super::{Broke, Flaw, Invariant, Simulation, must};
use crate::fault::FailAt;
use crate::{Client, TestWorld};

impl Simulation {
    /// A token is asked for.
    pub(super) async fn issue(&mut self, place: usize) -> Result<(), Broke> {
        let world = self.world();
        let foreign = self.chance.once_in(9);
        let owner = if foreign { 1 - place } else { place };
        let n = self.chance.below(self.sides[owner].clients.len());
        let client = self.sides[owner].clients[n].clone();
        let request = self.request();
        let (mut fault, mut race) = (None, None);
        match self.chance.below(6) {
            0 => fault = Some(self.fault(true)),
            1 => race = self.race(&world, place),
            _ => {}
        }
        let cx = world.cx(&self.sides[place].org).await;
        let secret = Secret::new(client.secret.clone());
        let auth = ClientAuth::SecretBasic { client_id: client.id.clone(), secret };
        if let Some(fault) = fault {
            world.faults.arm(fault);
        }
        let outcome = issuance::issue(&cx, &auth, &request).await;
        let failed = world.faults.disarm();
        world.vault.forget();
        self.raced(place, race)?;
        must(outcome.is_err() == failed, Invariant::StepEndsWell, || {
            format!("a database that failed ({failed}: {fault:?}) came to {outcome:?}")
        })?;
        let told = match &outcome {
            Ok(Outcome::Issued(issued)) => format!("issued `{}`", issued.scope),
            Ok(Outcome::Refused(refusal)) => format!("refused: {}", refusal.rule.code()),
            Err(_) => "fault".to_owned(),
        };
        self.tell(format!("{place} asks for {:?} {foreign}: {told}", request.resources));
        if failed {
            self.report.faults += 1;
        }
        self.check_answer(cx.now, outcome.as_ref().ok())?;
        let Ok(Outcome::Issued(issued)) = outcome else { return Ok(()) };
        must(!foreign, Invariant::OrganizationsNeverMeet, || {
            format!("a client of the other organization was given `{}`", issued.scope)
        })?;
        let over = self.sides[place].overlaps.get(&client.credential).copied();
        must(over.is_none_or(|end| world.now() < end), Invariant::RevokedIsDead, || {
            format!("a token for {}, whose overlap ended at {over:?}", client.credential)
        })?;
        let text = self.broken(&world, &cx.tenant, issued.token.expose()).await;
        self.note_token(place, &client, text)
    }

    pub(super) fn request(&mut self) -> TokenRequest {
        let resource = RESOURCES[self.chance.below(2)];
        let wanted: Vec<String> = ACTIONS
            .iter()
            .filter(|_| self.chance.once_in(3))
            .map(|action| format!("{resource}:{action}"))
            .collect();
        TokenRequest {
            details: Vec::new(),
            scope: (!wanted.is_empty()).then(|| wanted.join(" ").parse().expect("a scope")),
            resources: vec![format!("https://{resource}.example/")],
            ..TokenRequest::default()
        }
    }

    /// Where the database is to fail next; after a commit only where it is known what then holds.
    pub(super) fn fault(&mut self, after_commit: bool) -> FailAt {
        match self.chance.below(4) {
            0 => FailAt::BeforeCommit(1),
            1 if after_commit => FailAt::AfterCommit(1),
            _ => FailAt::Call(1 + self.chance.below(12) as i64),
        }
    }

    /// Something is revoked between the decision and its write.
    fn race(&mut self, world: &Arc<TestWorld>, place: usize) -> Option<Race> {
        let target = self.target(place)?;
        let came = Arc::new(Mutex::new(Came::NotYet));
        let (told, org) = (Arc::clone(&came), self.sides[place].org.clone());
        let world_then = Arc::clone(world);
        world.vault.before_next_token(Box::pin(async move {
            let result = world_then.revoke(&org, target).await;
            let came = result.map_or(Came::Refused, |view| Came::At(view.rev));
            *told.lock().expect("nobody panics with it") = came;
        }));
        Some(Race { target, came })
    }

    fn raced(&mut self, place: usize, race: Option<Race>) -> Result<(), Broke> {
        let Some(Race { target, came }) = race else { return Ok(()) };
        let came = *came.lock().expect("nobody panics with it");
        self.tell(format!("{place} in between, {target} is revoked: {came:?}"));
        let Came::At(rev) = came else { return Ok(()) };
        let side = &mut self.sides[place];
        side.revoked(target);
        self.report.overtaken += 1;
        must(rev == side.rev(), Invariant::LogIsWhole, || {
            format!("the counter is {rev} after {} revocations", side.rev())
        })
    }

    /// Notes a token that left, after looking at what it says.
    pub(super) fn note_token(
        &mut self,
        place: usize,
        client: &Client,
        text: String,
    ) -> Result<(), Broke> {
        let token = read(&text);
        let side = &mut self.sides[place];
        for part in token.scope.tokens() {
            let (resource, action) = (part.resource.as_str(), part.action.as_str());
            let held = side.holds(token.client_id, resource, action);
            let there = token.audience == format!("https://{resource}.example/");
            must(held && there, Invariant::AuthorityNeverGrows, || {
                format!("`{part}` at {} was not held by {}", token.audience, token.client_id)
            })?;
        }
        must(token.delegable.is_empty(), Invariant::AuthorityNeverGrows, || {
            "nobody may delegate, and a token says so".to_owned()
        })?;
        must(token.client_id.to_string() == client.id, Invariant::AuthorityNeverGrows, || {
            format!("{} asked and {} was answered", client.id, token.client_id)
        })?;
        side.left(text, token);
        Ok(())
    }

    /// The token as it leaves: as it is, unless something is broken on purpose.
    pub(super) async fn broken(&self, world: &TestWorld, tenant: &Tenant, text: &str) -> String {
        let mut token = read(text);
        match self.plan.flaw {
            Some(Flaw::PermitGrantsMore) => {
                let resource = RESOURCES.into_iter().find(|name| token.audience.contains(name));
                let more: Scope =
                    format!("{}:delete", resource.expect("one")).parse().expect("one");
                token.scope = more;
            }
            Some(Flaw::TokenWithoutEvent) => {
                token.id = TokenId::new(world.now().millis(), world.world.random());
            }
            _ => return text.to_owned(),
        }
        let key = tenant.token_key();
        let (alg, kid) = (alg_name(key.sealed.algorithm), key.id);
        let header = format!(r#"{{"alg":"{alg}","kid":"{kid}","typ":"at+jwt"}}"#);
        let payload = b64url_encode(&token.to_payload());
        let input = format!("{}.{payload}", b64url_encode(header.as_bytes()));
        let signature = world.world.vault.sign(&key.sealed, input.as_bytes()).await;
        format!("{input}.{}", b64url_encode(&signature.expect("a signature")))
    }
}

/// A revocation that comes between a decision and its write, if the decision comes so far.
struct Race {
    target: AnyId,
    came: Arc<Mutex<Came>>,
}

/// What came of it.
#[derive(Clone, Copy, Debug)]
enum Came {
    /// There was no decision to come after.
    NotYet,
    /// It had ended already.
    Refused,
    /// With this counter.
    At(u64),
}

/// What a token says.
pub(super) fn read(text: &str) -> AccessToken {
    let unverified = Unverified::parse(text).expect("a token");
    let kid: KeyId = unverified.peek_unverified_kid().expect("a key").parse().expect("an id");
    let payload = text.split('.').nth(1).expect("three segments");
    let payload = b64url_decode(payload).expect("base64url");
    AccessToken::parse(&payload, kid).expect("an access token")
}
