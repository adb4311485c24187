//! RFC 6749 section 2.3, RFC 7523 section 3: who is asking.
//!
//! An unknown client and a wrong proof get the same answer after the same work. Whether a
//! credential has expired or was revoked is told only to who has proved that they hold it.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use accredit_wire::api_key::{ApiKey, SecretKind};
use accredit_wire::crypto::{PrivateKey, PublicKey, equal_in_constant_time, sha256};
use accredit_wire::ids::{AgentId, AnyId, Kind, OrganizationId, ResourceId};
use accredit_wire::jose::jwk::VerifyingKey;
use accredit_wire::jose::jws::{JwsError, TypRule, Unverified};
use accredit_wire::jose::jwt::{Claims, SKEW_MAX};
use accredit_wire::oauth::client_auth::ClientAuth;
use accredit_wire::secret::Secret;
use accredit_wire::time::Time;

use super::Stopped;
use super::admission::{CredentialFacts, HolderFacts, ProofFacts};
use super::grants::External;
use super::possession::Proved;
use super::svid::ShownSvid;
use super::{jwt_svid, tls, workload};
use crate::audit::event::Actor;
use crate::context::{Caller, Cx, World};
use crate::ports::{ClientKeys, KeysWanted, LookedUp, SingleUse, UsedUp};
use crate::refusal::{Fault, Refusal, Rule};
use crate::registry::instance::InstanceState;
use crate::registry::jwks;
use crate::registry::node::JOIN_TOKEN;

/// Live keys that are tried for an assertion, the newest first: those of its `kid`, or all.
pub const KEYS_TRIED_MAX: usize = 8;
/// Ended keys that are tried after them, so that whoever signs with one is told that it has ended.
pub const ENDED_KEYS_TRIED_MAX: usize = 4;
/// The longest life of a client assertion, seconds from now.
pub const ASSERTION_LIFETIME_MAX: Duration = Duration::from_mins(5);

/// A client that has proved who it is.
#[derive(Debug)]
pub struct AuthenticatedClient {
    /// With which credential.
    pub credential: Arc<CredentialFacts>,
    /// By which method, as RFC 8414 names it.
    pub method: &'static str,
    /// What the proofs used up; to be consumed with whatever is decided.
    pub used_up: UsedUp,
    /// What else it proved to hold in this request. What is issued is bound to it.
    pub proved: Proved,
    /// The platform by whose word a workload is who it is.
    pub attested: Option<Arc<External>>,
    /// The certificate or JWT-SVID of ours by which an instance is known. What is issued hangs on it.
    pub svid: Option<Arc<ShownSvid>>,
    /// The revocation counter before anything was read.
    pub rev: u64,
}

impl AuthenticatedClient {
    /// A client that proved to hold `credential`, and nothing besides. `rev` was read before.
    pub fn new(credential: Arc<CredentialFacts>, method: &'static str, rev: u64) -> Self {
        Self {
            credential,
            method,
            used_up: UsedUp::NOTHING,
            proved: Proved::default(),
            attested: None,
            svid: None,
            rev,
        }
    }

    /// The client, where what it proved has not ended.
    pub(super) fn unless_ended(
        self,
        standing: Result<(), Refusal>,
    ) -> Result<Self, NotAuthenticated> {
        match standing {
            Ok(()) => Ok(self),
            Err(refusal) => Err(NotAuthenticated::Ended(Box::new(self), refusal)),
        }
    }

    /// The agent's or the resource's id.
    pub fn id(&self) -> AnyId {
        match &self.credential.holder {
            HolderFacts::Agent(agent) | HolderFacts::Instance { agent, .. } => agent.any(),
            HolderFacts::Resource(resource) => resource.id.any(),
            HolderFacts::Admin(_) => self.credential.id.any(),
        }
    }

    /// The instance that holds the credential.
    pub fn instance(&self) -> Option<AnyId> {
        match &self.credential.holder {
            HolderFacts::Instance { id, .. } => Some(id.any()),
            _ => None,
        }
    }

    /// Who calls.
    pub fn caller(&self) -> Caller {
        let credential = self.credential.id;
        match &self.credential.holder {
            HolderFacts::Admin(permissions) => {
                Caller::Admin { credential, permissions: permissions.clone() }
            }
            HolderFacts::Agent(_) | HolderFacts::Instance { .. } | HolderFacts::Resource(_) => {
                Caller::Client { id: self.id(), credential }
            }
        }
    }

    /// As an event names it.
    pub fn actor(&self) -> Actor {
        let kind = match &self.credential.holder {
            HolderFacts::Agent(_) | HolderFacts::Instance { .. } => "agent",
            HolderFacts::Resource(_) => "resource",
            HolderFacts::Admin(_) => "admin",
        };
        Actor { id: Some(self.id()), kind }
    }
}

/// Why a client was not authenticated.
#[derive(Debug)]
pub enum NotAuthenticated {
    /// Theirs to mend; nobody knows who they are.
    Refused(Refusal),
    /// Their proof is right, and what they proved has ended.
    Ended(Box<AuthenticatedClient>, Refusal),
    /// Ours.
    Fault(Fault),
}

impl From<Fault> for NotAuthenticated {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

impl From<Refusal> for NotAuthenticated {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl From<NotAuthenticated> for Stopped {
    fn from(error: NotAuthenticated) -> Self {
        match error {
            NotAuthenticated::Refused(refusal) => Self::Unauthenticated(refusal),
            NotAuthenticated::Ended(client, refusal) => Self::Refused(client, refusal),
            NotAuthenticated::Fault(fault) => Self::Fault(fault),
        }
    }
}

/// Authenticates an OAuth client: an agent, one of its instances, or a resource server.
pub async fn client(cx: &Cx, auth: &ClientAuth) -> Result<AuthenticatedClient, NotAuthenticated> {
    let rev = cx.tenant.rev();
    let method = auth.method();
    let (credential, assertion) = match auth {
        ClientAuth::SecretBasic { client_id, secret }
        | ClientAuth::SecretPost { client_id, secret } => {
            (by_secret(cx, Some(client_id), secret).await?, None)
        }
        ClientAuth::Bearer(secret) => (by_secret(cx, None, secret).await?, None),
        ClientAuth::Assertion { client_id, assertion } => {
            let (credential, used) = by_assertion(cx, client_id.as_deref(), assertion).await?;
            (credential, Some(used))
        }
        // Boxed: every request would carry the room that it needs.
        ClientAuth::Certificate { client_id, certificate } => {
            return Box::pin(tls::client(cx, client_id, certificate, rev)).await;
        }
        ClientAuth::Svid { client_id, assertion } => {
            return Box::pin(jwt_svid::client(cx, client_id.as_deref(), assertion, rev)).await;
        }
        // It says who asks for a token, and proves nothing elsewhere: see `workload`.
        ClientAuth::Grant { .. } => return Err(unknown().into()),
    };
    let standing = usable(cx, &credential);
    let used_up = UsedUp { assertion, possession: None };
    let client =
        AuthenticatedClient { used_up, ..AuthenticatedClient::new(credential, method, rev) };
    client.unless_ended(standing)
}

/// Authenticates whoever wants to be known by a key of their own: by a join token, by the word of a
/// platform, or as any client.
pub async fn joining(cx: &Cx, auth: &ClientAuth) -> Result<AuthenticatedClient, NotAuthenticated> {
    let ClientAuth::Bearer(token) = auth else {
        return match workload::shown(auth) {
            Some(shown) => workload::client(cx, shown).await,
            None => client(cx, auth).await,
        };
    };
    let client = AuthenticatedClient {
        rev: cx.tenant.rev(),
        credential: by_join_token(cx, token).await?,
        method: JOIN_TOKEN,
        used_up: UsedUp::NOTHING,
        proved: Proved::default(),
        attested: None,
        svid: None,
    };
    let ended = |client, refusal| Err(NotAuthenticated::Ended(Box::new(client), refusal));
    if client.credential.revoked {
        return ended(client, used());
    }
    match usable(cx, &client.credential) {
        Ok(()) => Ok(client),
        Err(refusal) => ended(client, refusal),
    }
}

/// A join token is good once.
pub(crate) fn used() -> Refusal {
    Refusal::new(
        Rule::JoinTokenUsed,
        "the join token was used before, or was ended",
        "make another one: `accredit edge invite`; if nobody here used this one, somebody else did: \
         end that node with `accredit revoke`",
    )
}

/// The one answer to an unknown client and to a wrong proof.
pub(super) fn unknown() -> Refusal {
    Refusal::new(
        Rule::ClientAuthentication,
        "the client is unknown or its secret, signature or certificate is wrong",
        "check `client_id` and the credential; a secret is shown once, when it is created; an \
         assertion names its key by `kid` where the client has more than eight",
    )
}

/// Finds the credential that a secret names and compares the secret. Also for administrators'
/// keys, which name no client.
pub async fn by_secret(
    cx: &Cx,
    client_id: Option<&str>,
    secret: &Secret,
) -> Result<Arc<CredentialFacts>, NotAuthenticated> {
    by_secret_in(&cx.world, Some(cx.tenant.id), client_id, secret).await
}

/// [`by_secret`] where a secret may be known to no organization: it is looked for in one that has
/// no credentials, by the same steps.
pub async fn by_secret_in(
    world: &World,
    org: Option<OrganizationId>,
    client_id: Option<&str>,
    secret: &Secret,
) -> Result<Arc<CredentialFacts>, NotAuthenticated> {
    let kept = |proof: &ProofFacts| match proof {
        ProofFacts::Secret { pepper, mac } => Some((*pepper, *mac)),
        ProofFacts::Key(_) | ProofFacts::Workload | ProofFacts::Join { .. } => None,
    };
    compared(world, org, (client_id, secret), kept).await
}

/// Finds the join token that a secret is. It proves nothing but that, and nowhere else.
pub(crate) async fn by_join_token(
    cx: &Cx,
    secret: &Secret,
) -> Result<Arc<CredentialFacts>, NotAuthenticated> {
    let kept = |proof: &ProofFacts| match proof {
        ProofFacts::Join { pepper, mac } => Some((*pepper, *mac)),
        ProofFacts::Secret { .. } | ProofFacts::Key(_) | ProofFacts::Workload => None,
    };
    compared(&cx.world, Some(cx.tenant.id), (None, secret), kept).await
}

/// Compares a secret with what is kept of it, by the same steps whatever comes of it.
async fn compared(
    world: &World,
    org: Option<OrganizationId>,
    (client_id, secret): (Option<&str>, &Secret),
    kept: impl Fn(&ProofFacts) -> Option<(u32, [u8; 32])>,
) -> Result<Arc<CredentialFacts>, NotAuthenticated> {
    let org = org.unwrap_or_else(|| OrganizationId::new(0, [0; 10]));
    let parsed = ApiKey::parse(secret.expose()).ok();
    let LookedUp { found: facts, from_memory } = match &parsed {
        Some(key) => world.store.credential_facts(org, key.credential).await?,
        None => LookedUp::default(),
    };
    let kept = facts.as_deref().and_then(|facts| kept(&facts.proof));
    // The same work whether there is such a credential or not.
    let (pepper, expected) = kept.unwrap_or((world.vault.pepper_version(), [0; 32]));
    let mac = world.vault.mac(pepper, secret.expose().as_bytes());
    let right = mac.is_some_and(|mac| equal_in_constant_time(&mac, &expected));
    if let (Some(facts), Some(key), true, true) = (facts, parsed, kept.is_some(), right)
        && names_holder(&facts, key.kind, client_id)
    {
        return Ok(facts);
    }
    if from_memory {
        world.store.credential_of_nobody().await?;
    }
    Err(unknown().into())
}

/// Whether the kind in the secret and the `client_id` beside it are those of the holder.
fn names_holder(facts: &CredentialFacts, kind: SecretKind, client_id: Option<&str>) -> bool {
    if matches!(facts.proof, ProofFacts::Join { .. }) {
        return kind == SecretKind::Join && client_id.is_none();
    }
    let (expected_kind, id) = match &facts.holder {
        HolderFacts::Agent(agent) => (SecretKind::Agent, agent.any()),
        HolderFacts::Instance { agent, .. } => (SecretKind::Instance, agent.any()),
        HolderFacts::Resource(resource) => (SecretKind::Resource, resource.id.any()),
        HolderFacts::Admin(_) => return kind == SecretKind::Admin && client_id.is_none(),
    };
    kind == expected_kind && client_id.is_none_or(|text| text.parse() == Ok(id))
}

/// Whether a credential whose proof is right may be used now.
pub fn usable(cx: &Cx, credential: &CredentialFacts) -> Result<(), Refusal> {
    if credential.revoked {
        return Err(Refusal::new(
            Rule::CredentialRevoked,
            format!("credential `{}` was revoked", credential.id),
            "create a new one: `accredit credential create`",
        ));
    }
    if credential.expires_at <= cx.now {
        return Err(Refusal::new(
            Rule::CredentialExpired,
            format!("credential `{}` expired at {}", credential.id, credential.expires_at),
            "create a new one before the old one ends: `accredit credential create`",
        ));
    }
    holder_usable(cx, &credential.holder)
}

/// Whether whoever holds a credential is there still, as far as instances go.
pub(crate) fn holder_usable(cx: &Cx, holder: &HolderFacts) -> Result<(), Refusal> {
    let HolderFacts::Instance { id, state, expires_at, descent, vouched, .. } = holder else {
        return Ok(());
    };
    if *state == InstanceState::Revoked || expires_at.is_some_and(|end| end <= cx.now) {
        return Err(Refusal::new(
            Rule::InstanceNotActive,
            format!("instance `{id}` has expired or was revoked"),
            "register a new instance: `accredit instance create`",
        ));
    }
    if descent.as_ref().is_some_and(|descent| descent.over || descent.expires_at <= cx.now) {
        return Err(Refusal::new(
            Rule::InstanceNotActive,
            format!("the task of instance `{id}`, or whoever stands before it, is over"),
            "its work is done: another parent can bring a new instance into being",
        ));
    }
    if vouched.as_ref().is_some_and(|vouched| vouched.over || vouched.expires_at <= cx.now) {
        return Err(Refusal::new(
            Rule::InstanceNotActive,
            format!("by whose word instance `{id}` is who it is, or the rule for that, is over"),
            "another node or platform can vouch for a new instance",
        ));
    }
    Ok(())
}

/// RFC 7523 section 3 as narrowed by its successor: `iss` = `sub` = the client, `aud` the issuer
/// alone, a short life, and a `jti` that is used once.
async fn by_assertion(
    cx: &Cx,
    client_id: Option<&str>,
    assertion: &str,
) -> Result<(Arc<CredentialFacts>, SingleUse), NotAuthenticated> {
    let parsed = || Unverified::parse(assertion).map_err(|error| invalid(&error.to_string()));
    let unverified = parsed()?;
    let subject = unverified.peek_unverified_subject().map(std::borrow::Cow::into_owned);
    let named = subject.ok_or_else(|| invalid("the claim `sub` is missing"))?;
    if client_id.is_some_and(|client_id| client_id != named) {
        return Err(Refusal::new(
            Rule::AssertionInvalid,
            "`client_id` and the assertion's `sub` name different clients",
            "leave `client_id` out, or send the same",
        )
        .into());
    }
    let kid = unverified.peek_unverified_kid().map(str::to_owned);
    let typ = TypRule::RequiredOrAbsent("client-authentication+jwt");
    let (live, ended, now) = (KEYS_TRIED_MAX, ENDED_KEYS_TRIED_MAX, cx.now);
    let wanted = KeysWanted { kid: kid.as_deref(), live, ended, now };
    let LookedUp { mut found, from_memory } = keys(cx, &named, wanted).await?;
    if found.are_followed && kid.is_some() && !found.keys.iter().any(|key| is_live(key, cx.now)) {
        let agent = named.parse::<AnyId>().ok().and_then(|id| AgentId::try_from(id).ok());
        // Boxed: it happens seldom, and every request would carry the room that it needs.
        if let Some(agent) = agent
            && Box::pin(jwks::asked_for(cx, agent)).await?
        {
            found = keys(cx, &named, wanted).await?.found;
        }
    }
    let mut tried = false;
    for facts in found.keys {
        let ProofFacts::Key(key) = &facts.proof else { continue };
        let verified = match parsed()?.verify(key, typ) {
            Ok(verified) => verified,
            Err(error) => {
                tried |= !matches!(error, JwsError::Alg { .. });
                continue;
            }
        };
        let claims = verified.claims().map_err(|error| invalid(&error.to_string()))?;
        let jti = check_claims(cx, &claims, &named)?;
        let until = claims.exp().unwrap_or(cx.now).plus(SKEW_MAX);
        let client = named.parse::<AnyId>().map_err(|_| unknown())?;
        return Ok((facts, SingleUse { client, hash: sha256(jti.as_bytes()), until }));
    }
    // The same work whether there is such a client or not.
    if !tried {
        for key in decoys() {
            let _ = std::hint::black_box(parsed()?.verify(key, typ).is_ok());
        }
    }
    if from_memory {
        cx.world.store.keys_of_nobody(wanted).await?;
    }
    Err(unknown().into())
}

/// A key of each algorithm, by which nobody is known: what is signed with one proves nothing. They
/// are checked against where there is no key to check against.
fn decoys() -> &'static [VerifyingKey] {
    static DECOYS: OnceLock<Vec<VerifyingKey>> = OnceLock::new();
    DECOYS.get_or_init(|| {
        let ed25519 = PrivateKey::ed25519_from_seed(&[0; 32]).and_then(|key| key.public());
        let keys = [ed25519, PublicKey::p256(&P256_BASE)].into_iter().flatten();
        keys.map(|key| VerifyingKey { kid: String::new(), key }).collect()
    })
}

/// The base point of P-256 (SP 800-186 section 3.2.1.3): a public key like any other.
const P256_BASE: [u8; 65] = [
    0x04, 0x6b, 0x17, 0xd1, 0xf2, 0xe1, 0x2c, 0x42, 0x47, 0xf8, 0xbc, 0xe6, 0xe5, 0x63, 0xa4, 0x40,
    0xf2, 0x77, 0x03, 0x7d, 0x81, 0x2d, 0xeb, 0x33, 0xa0, 0xf4, 0xa1, 0x39, 0x45, 0xd8, 0x98, 0xc2,
    0x96, 0x4f, 0xe3, 0x42, 0xe2, 0xfe, 0x1a, 0x7f, 0x9b, 0x8e, 0xe7, 0xeb, 0x4a, 0x7c, 0x0f, 0x9e,
    0x16, 0x2b, 0xce, 0x33, 0x57, 0x6b, 0x31, 0x5e, 0xce, 0xcb, 0xb6, 0x40, 0x68, 0x37, 0xbf, 0x51,
    0xf5,
];

fn is_live(key: &CredentialFacts, now: Time) -> bool {
    !key.revoked && key.ends_at() > now
}

/// The keys to try.
pub(super) async fn keys(
    cx: &Cx,
    client: &str,
    wanted: KeysWanted<'_>,
) -> Result<LookedUp<ClientKeys>, Fault> {
    let (store, org) = (&cx.world.store, cx.tenant.id);
    match client.parse::<AnyId>() {
        Ok(id) if id.kind() == Kind::Agent => match AgentId::try_from(id) {
            Ok(agent) => store.agent_keys(org, agent, wanted).await,
            Err(_) => Ok(LookedUp::default()),
        },
        Ok(id) if id.kind() == Kind::Resource => match ResourceId::try_from(id) {
            Ok(resource) => store.resource_keys(org, resource, wanted).await,
            Err(_) => Ok(LookedUp::default()),
        },
        _ => Ok(LookedUp::default()),
    }
}

pub(super) fn invalid(detail: &str) -> Refusal {
    Refusal::new(
        Rule::AssertionInvalid,
        format!("client assertion: {detail}"),
        "send a compact JWS with `iss`, `sub`, `aud`, `exp` and `jti` (RFC 7523 section 3)",
    )
}

/// Checks what a client assertion claims and returns its `jti`.
fn check_claims(cx: &Cx, claims: &Claims<'_>, client: &str) -> Result<String, Refusal> {
    if claims.iss() != Some(client) || claims.sub() != Some(client) {
        return Err(invalid("`iss` and `sub` must both be the client's id"));
    }
    // "The audience MUST be the issuer alone": a token endpoint URL there lets another server
    // make a client sign what is good for ours (audience injection).
    if claims.sole_audience() != Some(cx.tenant.issuer.as_str()) {
        return Err(Refusal::new(
            Rule::AssertionAudience,
            "the assertion's `aud` must be the issuer and nothing else",
            format!("set `aud` to `{}`, not to the token endpoint", cx.tenant.issuer),
        ));
    }
    let Some(expiry) = claims.exp() else {
        return Err(invalid("the claim `exp` is missing"));
    };
    claims.check_times(cx.now, SKEW_MAX).map_err(|error| {
        Refusal::new(
            Rule::AssertionLifetime,
            format!("client assertion: {error}"),
            "sign a new one, and check this machine's clock",
        )
    })?;
    if expiry > cx.now.plus(ASSERTION_LIFETIME_MAX + SKEW_MAX) {
        return Err(Refusal::new(
            Rule::AssertionLifetime,
            "the assertion lives longer than five minutes",
            "set `exp` to a minute from now",
        ));
    }
    match claims.jti() {
        Some(jti) if !jti.is_empty() => Ok(jti.to_owned()),
        _ => Err(invalid("the claim `jti` is missing")),
    }
}
