//! The issuance path: every token and every certificate that leaves this process is made here.
//!
//! One line per step of [`attempt`], one type per stage, each with a constructor private to its
//! step: what was not authenticated cannot be proposed, what was not proposed cannot be
//! permitted, what was not permitted cannot be minted. The token is durable in the log before it
//! is visible, and the write re-checks its lineage against what was revoked since the decision.
//!
//! [`authenticate`] (with [`tls`], [`svid`]), or [`workload`] → [`possession`] → [`grants`] → [`permit`] → [`template`] → [`mint`] → the ledger.
//! An instance's [`certificate`] and [`jwt_svid`] begin and end as they do, with steps of their own between.

pub mod admission;
pub mod authenticate;
pub mod certificate;
pub mod clock;
pub mod grants;
pub mod jwt_svid;
pub mod mint;
pub mod permit;
pub mod possession;
pub(crate) mod svid;
pub mod template;
mod tls;
pub mod trial;
pub(crate) mod vouched;
pub mod workload;

use accredit_wire::authority::Scope;
use accredit_wire::ids::{AgentId, AnyId};
use accredit_wire::oauth::authorization_details::AuthorizationDetails;
use accredit_wire::oauth::client_auth::ClientAuth;
use accredit_wire::oauth::token_request::{Grant, TokenRequest};
use accredit_wire::oauth::token_response::TokenType;
use accredit_wire::secret::Secret;
use accredit_wire::verify::fresh::TOKEN_LIFE_MAX;

use self::authenticate::AuthenticatedClient;
use self::template::Format;
use crate::audit::event::{Body, EventKind};
use crate::context::Cx;
use crate::ports::{Audited, Issuance, NotRecorded};
use crate::refusal::{Error, Fault, Refusal, Rule};
use crate::restoration::{self, Issuing};

/// The life of a token where neither agent nor request says, seconds.
pub const TOKEN_LIFETIME_DEFAULT_SECONDS: u32 = 300;
/// The longest life of a token, seconds: what verifiers accept.
pub const TOKEN_LIFETIME_MAX_SECONDS: u32 = TOKEN_LIFE_MAX.as_secs() as u32;
/// How often a decision that a revocation overtook is made again.
pub const ISSUE_TRIES_MAX: usize = 4;

/// A token on its way to its client.
#[derive(Debug)]
pub struct IssuedToken {
    /// The compact JWS, or the Biscuit.
    pub token: Secret,
    /// Seconds it lives.
    pub expires_in: u32,
    /// What was granted.
    pub scope: Scope,
    /// What was granted within limits.
    pub details: AuthorizationDetails,
    /// Whether whoever has it may use it, or whoever holds its key.
    pub token_type: TokenType,
    /// To whom.
    pub client: AgentId,
}

/// What came of a request.
#[derive(Debug)]
pub enum Outcome<T = IssuedToken> {
    /// A token, or a certificate.
    Issued(T),
    /// A no that the client can mend.
    Refused(Refusal),
}

/// Why one attempt did not issue.
enum Stopped {
    /// Nobody knows who asked: counted, not recorded one by one.
    Unauthenticated(Refusal),
    /// The client is known; the refusal is recorded.
    Refused(Box<AuthenticatedClient>, Refusal),
    /// A revocation came between decision and write: decide again.
    Overtaken(AnyId),
    Fault(Fault),
}

impl Stopped {
    /// A no to a client that is known.
    fn of(client: AuthenticatedClient, error: Error) -> Self {
        match error {
            Error::Refused(refusal) => Self::Refused(Box::new(client), refusal),
            Error::Fault(fault) => Self::Fault(fault),
        }
    }
}

impl From<Fault> for Stopped {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

/// Issues a token, or says why not.
pub async fn issue(cx: &Cx, auth: &ClientAuth, request: &TokenRequest) -> Result<Outcome, Fault> {
    decided(cx, auth, None, || attempt(cx, auth, request)).await
}

/// Decides as often as a revocation comes between, and records what is refused, in which format it
/// was asked for.
async fn decided<T, F>(
    cx: &Cx,
    auth: &ClientAuth,
    format: Option<&'static str>,
    attempt: impl Fn() -> F,
) -> Result<Outcome<T>, Fault>
where
    F: Future<Output = Result<T, Stopped>>,
{
    // Before anything is asked of the store, and recorded for nobody: it is so for all.
    if let Err(refusal) = cx.world.latest.may_issue(cx.now) {
        return Ok(Outcome::Refused(refusal));
    }
    if let Err(refusal) = cx.world.view.check(&*cx.world.clock) {
        return Ok(Outcome::Refused(refusal));
    }
    if cx.tenant.issuing() == Issuing::Closed {
        return Ok(Outcome::Refused(restoration::closed()));
    }
    let mut overtaken_by = None;
    for _ in 0..ISSUE_TRIES_MAX {
        match attempt().await {
            Ok(issued) => return Ok(Outcome::Issued(issued)),
            Err(Stopped::Overtaken(id)) => overtaken_by = Some(id),
            Err(Stopped::Fault(fault)) => return Err(fault),
            Err(Stopped::Unauthenticated(refusal)) => {
                cx.tenant.refusals.count(cx, auth.client_id(), &refusal);
                return Ok(Outcome::Refused(refusal));
            }
            Err(Stopped::Refused(client, refusal)) => {
                Box::pin(record_refusal(cx, *client, format, &refusal)).await?;
                return Ok(Outcome::Refused(refusal));
            }
        }
    }
    Err(Fault::new("issue", format!("overtaken by revocations, last of {overtaken_by:?}")))
}

/// Who asks, where they have not asked too often.
async fn known(cx: &Cx, auth: &ClientAuth) -> Result<AuthenticatedClient, Stopped> {
    let client = match workload::shown(auth) {
        None => authenticate::client(cx, auth).await?,
        // Boxed: every request would carry the room that it needs.
        Some(shown) => Box::pin(workload::client(cx, shown)).await?,
    };
    if let Some(standing) = cx.world.limits.client(client.id(), cx.now)
        && let Err(refusal) = standing.refusal()
    {
        return Err(Stopped::Refused(Box::new(client), refusal));
    }
    Ok(client)
}

/// The path, one line per step.
async fn attempt(
    cx: &Cx,
    auth: &ClientAuth,
    request: &TokenRequest,
) -> Result<IssuedToken, Stopped> {
    let mut client = known(cx, auth).await?;
    let shown = (request.proofs.as_slice(), request.certificate);
    if let Err(refusal) = possession::prove(cx, &mut client, shown) {
        return Err(Stopped::Refused(Box::new(client), refusal));
    }
    let proposed = match &request.grant {
        Grant::ClientCredentials | Grant::JwtBearer => {
            grants::client_credentials::propose(cx, &client, request).await
        }
        // Boxed: every request would carry the room that it needs.
        Grant::TokenExchange(exchange) => {
            Box::pin(grants::token_exchange::propose(cx, &client, (request, exchange))).await
        }
    };
    let proposed = match proposed {
        // Boxed: few clients were brought into being by others.
        Ok(proposed) if proposed.is_of_one_born() => {
            Box::pin(grants::descent::within(cx, proposed)).await
        }
        other => other,
    };
    let proposed = match proposed {
        // Boxed for the same reason.
        Ok(proposed) if proposed.is_of_one_vouched_for() => {
            Box::pin(vouched::within(cx, proposed)).await
        }
        other => other,
    };
    let proposed = proposed.and_then(|proposed| Ok(svid::within(cx, proposed)?));
    let permitted = match proposed.and_then(permit::permit) {
        Ok(permitted) => permitted,
        Err(error) => return Err(Stopped::of(client, error)),
    };
    let format = Format::of(request.requested_token_type);
    let template = match template::fill(cx, permitted, format) {
        Ok(template) => template,
        Err(refusal) => return Err(Stopped::Refused(Box::new(client), refusal)),
    };
    let body = template.described(client.method);
    let issuance = Issuance {
        org: cx.tenant.id,
        lineage: template.token.lineage().collect(),
        rev: template.token.rev,
        used_up: client.used_up.clone(),
        status: template.status,
        certificate: None,
    };
    let (minted, block) = match mint::mint(cx, template).await {
        Ok(minted) => minted,
        Err(error) => return Err(Stopped::of(client, error)),
    };
    let event = cx.event(EventKind::TokenIssued, Body { block, ..body });
    record(cx, auth, client, Audited::new(issuance, event)).await?;
    Ok(minted)
}

/// Records an issuance, and that its client was there.
async fn record(
    cx: &Cx,
    auth: &ClientAuth,
    client: AuthenticatedClient,
    issuance: Audited<Issuance>,
) -> Result<(), Stopped> {
    match cx.world.store.record_issuance(issuance).await {
        Ok(()) => {}
        Err(NotRecorded::Overtaken(id)) => return Err(Stopped::Overtaken(id)),
        Err(NotRecorded::Replayed) => return Err(Stopped::Unauthenticated(replayed(auth))),
        Err(NotRecorded::ProofReplayed) => {
            return Err(Stopped::Refused(Box::new(client), possession::replayed()));
        }
        Err(NotRecorded::NoRoom) => {
            return Err(Stopped::Refused(Box::new(client), certificate::no_room()));
        }
        Err(NotRecorded::Fault(fault)) => return Err(Stopped::Fault(fault)),
    }
    let uses = [Some(client.id()), Some(client.credential.id.any()), client.instance()];
    for id in uses.into_iter().flatten() {
        cx.tenant.uses.note(id, cx.now, cx.source);
    }
    Ok(())
}

fn replayed(auth: &ClientAuth) -> Refusal {
    let own = || {
        Refusal::new(
            Rule::AssertionReplayed,
            "this client assertion was used before",
            "sign a new assertion, with a new `jti`, for each request",
        )
    };
    workload::replayed(auth).unwrap_or_else(own)
}

/// Records a refusal to a known client, at most so many a minute; what its proof used up is
/// consumed in any case.
async fn record_refusal(
    cx: &Cx,
    client: AuthenticatedClient,
    format: Option<&'static str>,
    refusal: &Refusal,
) -> Result<(), Fault> {
    let store = &cx.world.store;
    let Some(suppressed) = cx.tenant.refusals.admit(client.id(), cx.now) else {
        for value in client.used_up.each() {
            store.consume_once(cx.tenant.id, value.clone()).await?;
        }
        return Ok(());
    };
    let body = Body {
        actor: Some(client.actor()),
        count: (suppressed > 0).then_some(suppressed),
        credential: Some(client.credential.id),
        decision: Some("deny"),
        format,
        method: Some(client.method),
        reason: Some(refusal.detail.clone()),
        rule: Some(refusal.rule.code()),
        ..Body::default()
    };
    let event = cx.event(EventKind::TokenRefused, body);
    store.record_event(Audited::new((cx.tenant.id, client.used_up), event)).await
}
