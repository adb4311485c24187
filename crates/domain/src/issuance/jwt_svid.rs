//! SPIFFE JWT-SVID, draft-ietf-oauth-spiffe-client-auth-02: an instance gets a token that says who it is to
//! whom it names, and is known by one that names us.
//!
//! Whoever has it can show it, so that it lives for minutes and is for a few audiences at most. It is checked
//! by the key of its own purpose alone, which signs nothing else: an access token or a client's assertion
//! is none, and it is neither. It is no row anywhere; what it hangs on stands in it
//! ([decision 15](../../../../docs/decisions/0015-a-jwt-svid-says-what-it-hangs-on.md)).
//!
//! Absent on purpose: a memory of what was shown (it is kept and shown again, which the standard means it
//! to be), and one JWT-SVID for another: whoever has got hold of one does not get it for others.

use std::time::Duration;

use accredit_wire::ids::{AnyId, TokenId};
use accredit_wire::jose::jws::SigningInput;
use accredit_wire::jwt_svid::{JwtSvid, JwtSvidError};
use accredit_wire::oauth::client_auth::{ClientAuth, SPIFFE_JWT};
use accredit_wire::oauth::introspection::{Introspection, NotAvailable, StandingSvid};
use accredit_wire::oauth::jwt_svid_request::JwtSvidRequest;
use accredit_wire::secret::Secret;
use accredit_wire::time::Time;
use accredit_wire::token::LINEAGE_MAX;
use serde::Serialize;
use std::sync::Arc;

use super::admission::HolderFacts;
use super::authenticate::{AuthenticatedClient, NotAuthenticated, invalid, unknown};
use super::svid::{self, ShownSvid, SvidFacts};
use super::{Outcome, Stopped, TOKEN_LIFETIME_MAX_SECONDS, decided, known, record, vouched};
use crate::audit::event::{Actor, Body, EventKind};
use crate::ca;
use crate::context::Cx;
use crate::ports::{Audited, Issuance};
use crate::refusal::{Error, Fault, Refusal, Rule};
use crate::registry::born::PARENTS_MAX;
use crate::registry::credential::AdminPermission;
use crate::tenant::ActiveKey;

/// The longest life of a JWT-SVID, and its life where nothing is said, seconds: whoever has it can show it.
pub const JWT_SVID_LIFETIME_MAX_SECONDS: u32 = 300;

const _: () = assert!(JWT_SVID_LIFETIME_MAX_SECONDS <= TOKEN_LIFETIME_MAX_SECONDS);
/// Its own ids with its task, the platform that vouched for its instance, and the certificate that it was
/// got with, the intermediate and the root of that; and of each that stands before its instance the
/// agent, the instance, the credential and the owner; and whoever vouched for the first of them.
const _: () = assert!(5 + 5 + vouched::IDS_MAX + 4 * PARENTS_MAX <= LINEAGE_MAX);

/// As an event names the format.
const FORMAT: &str = "jwt-svid";

/// A JWT-SVID on its way to its instance.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct IssuedJwtSvid {
    /// Its id, `tok_`, by which it is revoked.
    #[schema(value_type = String)]
    pub id: TokenId,
    /// Whom it names.
    pub spiffe_id: String,
    /// The token: a compact JWS.
    #[serde(serialize_with = "crate::registry::credential::expose")]
    #[schema(value_type = String)]
    pub svid: Secret,
    /// For whom it is.
    pub audience: Vec<String>,
    /// When it is over.
    #[schema(value_type = String)]
    pub expires_at: Time,
    /// Seconds until then.
    pub expires_in: u64,
    /// Whose it is.
    #[serde(skip)]
    pub client: AnyId,
}

/// Issues a JWT-SVID, or says why not.
pub async fn issue(
    cx: &Cx,
    auth: &ClientAuth,
    asked: &JwtSvidRequest,
) -> Result<Outcome<IssuedJwtSvid>, Fault> {
    decided(cx, auth, Some(FORMAT), || attempt(cx, auth, asked)).await
}

async fn attempt(
    cx: &Cx,
    auth: &ClientAuth,
    asked: &JwtSvidRequest,
) -> Result<IssuedJwtSvid, Stopped> {
    let client = known(cx, auth).await?;
    if client.svid.as_ref().is_some_and(|svid| svid.digest.is_none()) {
        let refusal = Refusal::new(
            Rule::GrantNotForClient,
            "a JWT-SVID gets no other, for nobody else",
            "use the credential or the certificate of the instance",
        );
        return Err(Stopped::Refused(Box::new(client), refusal));
    }
    let (key, said) = match fill(cx, &client, asked).await {
        Ok(filled) => filled,
        Err(error) => return Err(Stopped::of(client, error)),
    };
    let text = mint(cx, &key, &said).await?;
    let event = cx.event(EventKind::TokenIssued, described(&client, &said));
    let issuance = Issuance {
        org: cx.tenant.id,
        lineage: said.lineage(),
        rev: said.rev,
        used_up: client.used_up.clone(),
        status: None,
        certificate: None,
    };
    let client_id = client.id();
    record(cx, auth, client, Audited::new(issuance, event)).await?;
    let expires_at = Time::from_seconds(said.expires_at);
    Ok(IssuedJwtSvid {
        id: said.id,
        spiffe_id: said.spiffe_id,
        svid: text,
        audience: said.audiences,
        expires_at,
        expires_in: expires_at.since(cx.now).as_secs(),
        client: client_id,
    })
}

/// Decides what it says, and which key says it.
async fn fill(
    cx: &Cx,
    client: &AuthenticatedClient,
    asked: &JwtSvidRequest,
) -> Result<(Arc<ActiveKey>, JwtSvid), Error> {
    let most = JWT_SVID_LIFETIME_MAX_SECONDS;
    let life = Duration::from_secs(u64::from(asked.expires_in.unwrap_or(most).min(most)));
    let named = svid::named(cx, client, |_| life, asked.task).await?;
    let key = cx.tenant.jwt_svid_key().ok_or_else(no_key_yet)?;
    let (millis, random) = cx.seed();
    let mut said = JwtSvid {
        spiffe_id: named.spiffe.as_str().to_owned(),
        audiences: asked.audiences.clone(),
        issued_at: cx.now.seconds(),
        // Whole seconds: never later than what it hangs on.
        expires_at: named.until.seconds(),
        id: TokenId::new(millis, random),
        key: key.id,
        organization: cx.tenant.id,
        agent: named.agent.id,
        instance: named.instance,
        credential: client.credential.id,
        owner: named.owner,
        further: Vec::new(),
        rev: client.rev,
    };
    said.further = further(&said, &named);
    if said.expires_at <= said.issued_at {
        return Err(Refusal::new(
            Rule::StateForbids,
            "what the JWT-SVID would hang on is over within a second",
            "renew that first",
        )
        .into());
    }
    Ok((key, said))
}

/// What it hangs on besides its own ids, each once.
fn further(said: &JwtSvid, named: &SvidFacts) -> Vec<AnyId> {
    let own = said.lineage();
    let mut further: Vec<AnyId> = Vec::new();
    for id in named.task.map(AnyId::from).iter().chain(&named.further) {
        if !own.contains(id) && !further.contains(id) {
            further.push(*id);
        }
    }
    further
}

async fn mint(cx: &Cx, key: &ActiveKey, said: &JwtSvid) -> Result<Secret, Fault> {
    let unmade = |why: &dyn std::fmt::Display| Fault::new("make a JWT-SVID", why.to_string());
    let payload = said.to_payload().ok_or_else(|| unmade(&"it hangs on too much"))?;
    let input = SigningInput::new(&key.header, &payload).map_err(|error| unmade(&error))?;
    let signature = cx.world.vault.sign(&key.sealed, input.bytes()).await?;
    Ok(Secret::new(input.finish(&signature)))
}

/// In a store of an earlier version the job of rotation makes the first key, within a minute.
fn no_key_yet() -> Refusal {
    let mut refusal = Refusal::new(
        Rule::FormatNotReady,
        "the organization's first key for JWT-SVIDs is just being made",
        "ask again in a minute",
    );
    refusal.retry_after = Some(60);
    refusal
}

/// What its event says.
fn described(client: &AuthenticatedClient, said: &JwtSvid) -> Body {
    let further: Vec<String> = said.further.iter().map(ToString::to_string).collect();
    Body {
        actor: Some(Actor { id: Some(said.agent.any()), kind: "agent" }),
        audience: Some(said.audiences.join(" ")),
        credential: Some(said.credential),
        decision: Some("allow"),
        expires_at: Some(said.expires_at.saturating_mul(1_000_000)),
        federation: client.attested.as_ref().map(|attested| attested.federation.any()),
        format: Some(FORMAT),
        instance: Some(said.instance),
        key: Some(said.key),
        lineage: (!further.is_empty()).then(|| further.join(" ")),
        method: Some(client.method),
        owner: Some(said.owner.any()),
        rev: Some(said.rev),
        subject: Some(said.spiffe_id.clone()),
        task: said.further.iter().find_map(|id| (*id).try_into().ok()),
        token: Some(said.id),
        ..Body::default()
    }
}

/// Reads one of ours, of this organization.
fn read(cx: &Cx, token: &str) -> Result<JwtSvid, JwtSvidError> {
    let said = JwtSvid::read(token, cx.tenant.keys().jwt_svid_jwks())?;
    let domain = ca::trust_domain(cx.tenant.id, &cx.tenant.issuer);
    let named = domain.ok().and_then(|domain| domain.instance_of(&said.spiffe_id));
    // As it was written: whatever key is believed signed nothing else.
    if named != Some(said.instance) || said.organization != cx.tenant.id {
        return Err(JwtSvidError::Claims("sub"));
    }
    Ok(said)
}

/// Authenticates the instance that a JWT-SVID names. `rev` was read before.
///
/// Draft section 3.1: "aud" is the issuer as the sole value; a `client_id` beside it is whom it names.
pub(super) async fn client(
    cx: &Cx,
    client_id: Option<&str>,
    token: &str,
    rev: u64,
) -> Result<AuthenticatedClient, NotAuthenticated> {
    let said = read(cx, token).map_err(|error| match error {
        JwtSvidError::Key => unknown(),
        error @ (JwtSvidError::Signature(_) | JwtSvidError::Claims(_)) => {
            invalid(&error.to_string())
        }
    })?;
    if said.audiences.as_slice() != [cx.tenant.issuer.as_str()] {
        return Err(Refusal::new(
            Rule::AssertionAudience,
            "the JWT-SVID's `aud` must be the issuer and nothing else",
            format!("ask for one with the audience `{}`", cx.tenant.issuer),
        )
        .into());
    }
    let is_named = client_id.is_none_or(|client_id| {
        client_id == said.spiffe_id || client_id.parse() == Ok(said.agent.any())
    });
    if !is_named {
        return Err(Refusal::new(
            Rule::AssertionInvalid,
            "`client_id` and the JWT-SVID's `sub` name different clients",
            "leave `client_id` out, or send the SPIFFE ID",
        )
        .into());
    }
    if !is_known(cx, &said).await? {
        return Err(Refusal::new(
            Rule::SvidRevoked,
            "the JWT-SVID was issued by more than is known here: nobody knows what has ended since",
            "ask for a new one",
        )
        .into());
    }
    svid::client(cx, ShownSvid::from(said), SPIFFE_JWT, rev).await
}

/// Answers a resource about a JWT-SVID that is for it, or an administrator about any of the organization.
pub(crate) async fn introspect(
    cx: &Cx,
    client: Option<&AuthenticatedClient>,
    token: &str,
) -> Result<Introspection, Fault> {
    let Ok(said) = read(cx, token) else { return Ok(Introspection::Inactive) };
    let entitled = match client.map(|client| &client.credential.holder) {
        Some(HolderFacts::Resource(resource)) => said.audiences.contains(&resource.audience),
        Some(HolderFacts::Agent(_) | HolderFacts::Instance { .. } | HolderFacts::Admin(_)) => false,
        None => cx.require(AdminPermission::Read).is_ok(),
    };
    if !entitled || !is_alive(cx, &said).await? {
        return Ok(Introspection::Inactive);
    }
    Ok(Introspection::Svid(Box::new(StandingSvid {
        token_type: NotAvailable::NotAvailable,
        exp: said.expires_at,
        iat: said.issued_at,
        sub: said.spiffe_id,
        aud: said.audiences,
        iss: cx.tenant.issuer.clone(),
        jti: said.id.to_string(),
    })))
}

/// One that its instance would end, where the token is one, and it is not over. Whether it was ended is
/// asked later: who it was issued to is told so of dead ones as of live ones.
pub(crate) fn of_own(cx: &Cx, token: &str) -> Option<JwtSvid> {
    read(cx, token).ok()
}

/// Whether nothing was ended that it hangs on, and it is not over by the clock that set its end.
pub(crate) async fn is_alive(cx: &Cx, said: &JwtSvid) -> Result<bool, Fault> {
    let is_known = is_known(cx, said).await?;
    let now = cx.world.latest.judged_at(cx.now);
    let dead = cx.tenant.revoked().is_dead(said.lineage(), said.rev);
    Ok(is_known && dead.is_none() && now < Time::from_seconds(said.expires_at))
}

/// Whether all that its decision saw is known here. What another node wrote is taken over first; what was
/// lost in a restore nobody knows.
async fn is_known(cx: &Cx, said: &JwtSvid) -> Result<bool, Fault> {
    if cx.world.store.is_shared() && said.rev > cx.tenant.rev() {
        cx.world.store.catch_up().await?;
    }
    Ok(said.rev <= cx.tenant.rev())
}
