//! What nobody knows: clients, secrets, names and keys that were never given out. Unknown means no,
//! and however often it is asked, no more is kept of it than its named bound.

use accredit_domain::audit::refusals::REFUSAL_EVENTS_MAX;
use accredit_domain::issuance::{self, Outcome};
use accredit_wire::crypto::{Algorithm, PrivateKey};
use accredit_wire::ids::{AgentId, KeyId};
use accredit_wire::jose::jwk::VerifyingKey;
use accredit_wire::jose::jws::{ProtectedHeader, SigningInput};
use accredit_wire::oauth::client_auth::ClientAuth;
use accredit_wire::oauth::token_request::TokenRequest;
use accredit_wire::secret::Secret;

use super::{Broke, Flaw, Invariant, Simulation, log, must};
use crate::TestWorld;

/// Refusals of one client in one moment: more than are recorded.
const FLOOD: u32 = REFUSAL_EVENTS_MAX + 5;

impl Simulation {
    /// Somebody asks for a token with something that nobody knows.
    pub(super) async fn a_stranger_asks(
        &mut self,
        world: &TestWorld,
        place: usize,
    ) -> Result<(), Broke> {
        let mut request = self.request();
        let clients = &self.sides[place].clients;
        let (one, other) = (self.chance.below(clients.len()), self.chance.below(clients.len()));
        let (mut id, mut secret) = (clients[one].id.clone(), clients[one].secret.clone());
        let scope = |text: &str| Some(text.parse().expect("a scope"));
        let unknown = match self.chance.below(5) {
            0 => {
                id = AgentId::new(world.now().millis(), world.world.random()).to_string();
                "client"
            }
            1 if clients[other].id != id => {
                secret.clone_from(&clients[other].secret);
                "secret"
            }
            2 => {
                request.scope = scope("attic:read");
                request.resources.clear();
                "resource"
            }
            3 => {
                request.resources = vec!["https://attic.example/".to_owned()];
                "audience"
            }
            _ => {
                request.scope = scope("crm:paint");
                request.resources.clear();
                "action"
            }
        };
        let refused = self.is_refused(world, place, (id, secret), &request).await?;
        self.tell(format!("{place} names a {unknown} that nobody knows"));
        must(refused, Invariant::UnknownIsNo, || format!("a token for an unknown {unknown}"))
    }

    /// A token that says what a good one says, signed by a key that nobody published.
    pub(super) async fn a_stranger_shows(
        &mut self,
        world: &TestWorld,
        place: usize,
    ) -> Result<(), Broke> {
        let (key, _) = PrivateKey::generate(Algorithm::Es256).expect("a key");
        let kid = KeyId::new(world.now().millis(), world.world.random()).to_string();
        let header = ProtectedHeader::new("at+jwt", Algorithm::Es256, Some(&kid)).expect("one");
        let side = &mut self.sides[place];
        let Some(left) = side.tokens.last() else { return Ok(()) };
        let payload = left.token.to_payload();
        let input = SigningInput::new(&header, &payload).expect("a payload");
        let signature = key.sign(input.bytes()).expect("a signature");
        let text = input.finish(&signature);
        if self.plan.flaw == Some(Flaw::PointBelievesAnyKey) {
            let key = VerifyingKey { kid, key: key.public().expect("a public key") };
            side.points.iter_mut().for_each(|point| point.believe(&key));
        }
        let tenant = world.tenant(&side.org).await;
        let right = world.clock.right();
        let points = side.points.iter().map(|point| (point.verifier(), right));
        for (verifier, at) in [(&tenant.verifier, world.now())].into_iter().chain(points) {
            let accepted = verifier.verify_token(&text, at).is_ok();
            must(!accepted, Invariant::UnknownIsNo, || {
                format!("a token by a key that nobody published, like {}", left.told())
            })?;
        }
        self.tell(format!("{place} shows a token by a key that nobody published"));
        Ok(())
    }

    /// One client asks again and again, in one moment, for what it does not hold.
    pub(super) async fn a_flood(&mut self, world: &TestWorld, place: usize) -> Result<(), Broke> {
        let clients = &self.sides[place].clients;
        let client = clients[self.chance.below(clients.len())].clone();
        let mut request = self.request();
        request.scope = Some("crm:paint".parse().expect("a scope"));
        request.resources.clear();
        let before = self.refusals_of(world, place).await?;
        for _ in 0..FLOOD {
            let (id, secret) = (client.id.clone(), client.secret.clone());
            let refused = self.is_refused(world, place, (id, secret), &request).await?;
            must(refused, Invariant::UnknownIsNo, || "a token for an unknown action".to_owned())?;
        }
        let recorded = self.refusals_of(world, place).await? - before;
        self.tell(format!("{place} {FLOOD} refusals in a moment: {recorded} events"));
        must(recorded <= REFUSAL_EVENTS_MAX as usize, Invariant::BoundsHold, || {
            format!("{recorded} events of {FLOOD} refusals to one client")
        })
    }

    async fn is_refused(
        &self,
        world: &TestWorld,
        place: usize,
        (client_id, secret): (String, String),
        request: &TokenRequest,
    ) -> Result<bool, Broke> {
        let cx = world.cx(&self.sides[place].org).await;
        let auth = ClientAuth::SecretBasic { client_id, secret: Secret::new(secret) };
        match issuance::issue(&cx, &auth, request).await {
            Ok(outcome) => Ok(matches!(outcome, Outcome::Refused(_))),
            Err(fault) => Err((Invariant::StepEndsWell, fault.to_string())),
        }
    }

    /// Refusals that stand in the log.
    async fn refusals_of(&self, world: &TestWorld, place: usize) -> Result<usize, Broke> {
        let events = log::events(world, &self.sides[place].org).await?;
        Ok(events.iter().filter(|event| event.kind == "token.refused").count())
    }
}
