//! Federation: an external issuer whose word is believed here, on who a user is, and on where a workload
//! runs.
//!
//! Issuers are registered by name; none is ever found by what a token says. A federation is in the
//! lineage of every token whose chain began with one of its users', so that suspending it ends them.
//! Whatever narrows what its users may do (a rule or an audience taken away) is an entry of the
//! revocation graph too.

use std::sync::Arc;

use accredit_wire::authority::{Authority, ResourceName};
use accredit_wire::claim_rule::ClaimRule;
use accredit_wire::ids::FederationId;
use accredit_wire::jose::issuer_keys::IssuerKeySet;
use accredit_wire::time::Time;
use serde::{Deserialize, Serialize};

use super::keys::{self, KeptKeys, KeysView};
use crate::attestation::RuleFacts;
use crate::audit::changes;
use crate::audit::event::{Body, EventKind};
use crate::context::Cx;
use crate::ports::{Lookup, Page, Row};
use crate::refusal::{Error, Refusal};
use crate::registry::credential::AdminPermission;
use crate::registry::{
    Listed, STATES, State, Versioned, commit, commit_created, decide, ending, known_state, lookup,
    permission, text, turn,
};

/// Audiences of one federation.
pub const AUDIENCES_MAX: usize = 8;
/// Bytes of an audience.
pub const AUDIENCE_BYTES_MAX: usize = 512;
/// Rules of one federation.
pub const RULES_MAX: usize = 64;
/// Permissions that the rules of one federation give. A person's grants may be as many: both
/// together are an Authority.
pub const RULES_PERMISSIONS_MAX: usize = 128;

/// Why tokens end.
const NARROWED: &str = "a rule or an audience of the federation was taken away";

/// An external issuer.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct Federation {
    /// Its id, `fed_`.
    #[schema(value_type = String)]
    pub id: FederationId,
    /// Its name; immutable and never reused.
    pub name: String,
    /// The issuer, as its tokens name it; immutable and never reused.
    pub issuer: String,
    /// Where its keys are; nothing where the issuer's own metadata says so.
    pub jwks_url: Option<String>,
    /// What users' tokens name as audiences: these, some of them, and nothing else. Where there are none,
    /// it has no users, and speaks for workloads alone.
    pub audiences: Vec<String>,
    /// What claims of its tokens give: claim, operator, value and permissions.
    #[schema(value_type = Vec<Object>)]
    pub rules: Vec<ClaimRule>,
    /// Whether the first token of somebody who is not known makes them known.
    pub provision: bool,
    /// Suspended: its tokens are refused.
    pub state: State,
    /// How it goes with its keys.
    #[serde(flatten)]
    pub keys: Box<KeysView>,
    /// When it was created.
    #[schema(value_type = String)]
    pub created_at: Time,
    /// The row's version.
    #[serde(skip)]
    pub version: i64,
}

impl Versioned for Federation {
    fn version(&self) -> i64 {
        self.version
    }
}

/// A federation as exchange sees it.
#[derive(Debug)]
pub struct FederationFacts {
    /// Its id.
    pub id: FederationId,
    /// Its name.
    pub name: String,
    /// The issuer.
    pub issuer: String,
    /// What its tokens may name as audiences.
    pub audiences: Vec<String>,
    /// What claims give.
    pub rules: Vec<ClaimRule>,
    /// Whether it makes persons known.
    pub provision: bool,
    /// Whether its tokens are taken.
    pub state: State,
    /// How often it was suspended.
    pub suspensions: u32,
    /// Which of its tokens are workloads, and whose.
    pub workloads: Vec<Arc<RuleFacts>>,
    /// Its keys, as they were last had.
    pub keys: IssuerKeySet,
    /// When that was.
    pub keys_fetched_at: Option<Time>,
}

/// A new federation.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateFederation {
    /// Its name.
    pub name: String,
    /// The issuer, as its tokens name it: an https URL.
    pub issuer: String,
    /// Where its keys are. Where it is not given, the issuer's own metadata says so (OpenID Connect
    /// Discovery 1.0).
    pub jwks_url: Option<String>,
    /// What users' tokens name as audiences; none where it speaks for workloads alone.
    #[serde(default)]
    pub audiences: Vec<String>,
    /// What claims of its tokens give, each as text (`groups contains sales => crm:read`) or as an
    /// object.
    #[serde(default)]
    #[schema(value_type = Vec<Object>)]
    pub rules: Vec<ClaimRule>,
    /// Whether the first token of somebody who is not known makes them known: yes where not said.
    pub provision: Option<bool>,
}

/// What may be changed.
#[derive(Debug, Default, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct UpdateFederation {
    /// Where its keys are; empty for where the issuer's own metadata says.
    pub jwks_url: Option<String>,
    /// All audiences from now on. One taken away ends the tokens of its users.
    pub audiences: Option<Vec<String>>,
    /// All rules from now on. One taken away ends the tokens of its users.
    #[schema(value_type = Option<Vec<Object>>)]
    pub rules: Option<Vec<ClaimRule>>,
    /// Whether the first token of somebody who is not known makes them known.
    pub provision: Option<bool>,
}

/// Checks an issuer: a URL that could be fetched, and none of ours.
fn issuer(cx: &Cx, asked: &str) -> Result<String, Refusal> {
    let wrong = |why: String| {
        Refusal::field("issuer", why, "write it as its tokens have it in `iss`: an https URL")
    };
    cx.world.outbound.check(asked).map_err(wrong)?;
    if asked.contains('?') {
        return Err(wrong("an issuer has no query".to_owned()));
    }
    let ours = format!("{}/o/", cx.world.public_url.trim_end_matches('/'));
    if asked.starts_with(&ours) {
        return Err(Refusal::field(
            "issuer",
            "is an organization of this installation",
            "tokens of our own need no federation: they are exchanged as they are",
        ));
    }
    Ok(asked.to_owned())
}

fn jwks_url(cx: &Cx, asked: &str) -> Result<Option<String>, Refusal> {
    if asked.is_empty() {
        return Ok(None);
    }
    let hint = "give the https URL of the issuer's JWK set, or leave it to the issuer's metadata";
    let checked = cx.world.outbound.check(asked);
    checked.map_err(|error| Refusal::field("jwks_url", error, hint))?;
    Ok(Some(asked.to_owned()))
}

fn audiences(asked: &[String]) -> Result<Vec<String>, Refusal> {
    let wrong = |why: String| {
        let hint = "name what the issuer puts into `aud` for us, such as our client id there";
        Refusal::field("audiences", why, hint)
    };
    let mut all = asked.to_vec();
    all.sort();
    all.dedup();
    if all.len() > AUDIENCES_MAX {
        return Err(wrong(format!("must be at most {AUDIENCES_MAX}")));
    }
    let fits = |one: &String| {
        (1..=AUDIENCE_BYTES_MAX).contains(&one.len()) && one.bytes().all(|b| b.is_ascii_graphic())
    };
    if !all.iter().all(fits) {
        let why = format!("each is 1 to {AUDIENCE_BYTES_MAX} visible ASCII characters");
        return Err(wrong(why));
    }
    Ok(all)
}

/// Checks rules: few, and giving what there is.
async fn rules(cx: &Cx, asked: &[ClaimRule]) -> Result<Vec<ClaimRule>, Error> {
    let wrong = |why: String, hint: &str| Refusal::field("rules", why, hint);
    if asked.len() > RULES_MAX {
        let why = format!("are more than {RULES_MAX}");
        return Err(wrong(why, "let the provider put users into fewer groups").into());
    }
    let mut all: Vec<ClaimRule> = Vec::with_capacity(asked.len());
    for rule in asked {
        permission::known(cx, &rule.allow).await?;
        if !all.contains(rule) {
            all.push(rule.clone());
        }
    }
    let given = all.iter().flat_map(|rule| rule.allow.permissions().iter().cloned());
    let hint = "split the work among more federations, or grant it to persons";
    let given = Authority::new(given).map_err(|error| wrong(error.to_string(), hint))?;
    if given.permissions().len() > RULES_PERMISSIONS_MAX {
        return Err(
            wrong(format!("give more than {RULES_PERMISSIONS_MAX} permissions"), hint).into()
        );
    }
    Ok(all)
}

/// Registers an external issuer. Its keys are fetched at once: an issuer whose keys cannot be had
/// is refused, since a wrong address would otherwise show only when a user comes.
pub async fn create(cx: &Cx, asked: &CreateFederation) -> Result<Federation, Error> {
    cx.require(AdminPermission::Registry)?;
    let name = ResourceName::new(&asked.name).map_err(|error| {
        Refusal::field("name", error, "use lower-case letters, digits, `.`, `_` and `-`")
    })?;
    let issuer = issuer(cx, &asked.issuer)?;
    let jwks_url = jwks_url(cx, asked.jwks_url.as_deref().unwrap_or(""))?;
    let audiences = audiences(&asked.audiences)?;
    let rules = rules(cx, &asked.rules).await?;
    let fetched = keys::fetch(cx, &issuer, jwks_url.as_deref()).await.map_err(|why| {
        let field = if jwks_url.is_some() { "jwks_url" } else { "issuer" };
        Refusal::field(field, why, "check the address from where the server runs")
    })?;
    decide(|| async {
        let (millis, random) = cx.seed();
        let id = FederationId::new(millis, random);
        let kept = KeptKeys {
            keys: Some(fetched.clone()),
            due_at: cx.now.plus(keys::FETCH_EVERY),
            fetched_at: Some(cx.now),
            ..KeptKeys::new(id, cx.now)
        };
        let mut federation = Federation {
            id,
            name: name.to_string(),
            issuer: issuer.clone(),
            jwks_url: jwks_url.clone(),
            audiences: audiences.clone(),
            rules: rules.clone(),
            provision: asked.provision.unwrap_or(true),
            state: State::Active,
            keys: Box::new(kept.view()),
            created_at: cx.now,
            version: 0,
        };
        let mut body = Body {
            federation: Some(id.any()),
            issuer: Some(federation.issuer.clone()),
            name: Some(federation.name.clone()),
            ..Body::default()
        };
        body.changes = changes::made(&federation, &body)?;
        let rows = vec![Row::Federation(federation.clone()), Row::FederationKeys(Box::new(kept))];
        let event = cx.event(EventKind::FederationCreated, body);
        commit_created(cx, rows, event, &federation).await?;
        federation.version = 1;
        Ok(federation)
    })
    .await
}

/// Federations of the organization.
pub async fn list(cx: &Cx, page: Page) -> Result<Listed<Federation>, Error> {
    cx.require(AdminPermission::Read)?;
    known_state(&page, &STATES)?;
    Ok(cx.world.store.federations(cx.tenant.id, page).await?)
}

/// One federation.
pub async fn find(cx: &Cx, key: &str) -> Result<Federation, Error> {
    cx.require(AdminPermission::Read)?;
    find_federation(cx, key).await
}

/// Finds a federation by id or name, or says that there is none.
pub(crate) async fn find_federation(cx: &Cx, key: &str) -> Result<Federation, Error> {
    let found = cx.world.store.federation(cx.tenant.id, lookup::<FederationId>(key)).await?;
    Ok(found.ok_or_else(|| Refusal::not_found("federation", key))?)
}

/// Changes what may be changed. What narrows it ends the live tokens of its users.
pub async fn update(cx: &Cx, key: &str, asked: &UpdateFederation) -> Result<Federation, Error> {
    cx.require(AdminPermission::Registry)?;
    let audiences = asked.audiences.as_deref().map(audiences).transpose()?;
    let rules = match &asked.rules {
        Some(asked) => Some(rules(cx, asked).await?),
        None => None,
    };
    let jwks_url = asked.jwks_url.as_deref().map(|url| jwks_url(cx, url)).transpose()?;
    decide(|| async {
        let mut federation = find_federation(cx, key).await?;
        cx.terms.expected.check(federation.version)?;
        let before = federation.clone();
        if let Some(audiences) = &audiences {
            federation.audiences.clone_from(audiences);
        }
        if let Some(rules) = &rules {
            federation.rules.clone_from(rules);
        }
        if let Some(url) = &jwks_url {
            federation.jwks_url.clone_from(url);
        }
        federation.provision = asked.provision.unwrap_or(federation.provision);
        let is_narrower = !before.audiences.iter().all(|one| federation.audiences.contains(one))
            || !before.rules.iter().all(|one| federation.rules.contains(one));
        let revocation = is_narrower.then(|| ending(cx, federation.id.any(), NARROWED));
        let body = Body {
            federation: Some(federation.id.any()),
            changes: changes::made_different(&before, &federation)?,
            ..Body::default()
        };
        let mut rows = vec![Row::Federation(federation.clone())];
        if federation.jwks_url != before.jwks_url {
            // What came from another address is believed no more: the next fetch is due now.
            rows.push(Row::FederationKeys(Box::new(KeptKeys::new(federation.id, cx.now))));
            federation.keys = Box::default();
        }
        let event = cx.event(EventKind::FederationUpdated, body);
        commit(cx, rows, revocation, event).await?;
        federation.version += 1;
        Ok(federation)
    })
    .await
}

/// Suspends or activates a federation. Suspending ends all tokens whose chain began with one of its
/// users', and refuses its tokens until it is active again.
pub async fn set_state(cx: &Cx, key: &str, to: State, reason: &str) -> Result<Federation, Error> {
    cx.require(AdminPermission::Revoke)?;
    let reason = text("reason", reason)?;
    let kinds = [EventKind::FederationSuspended, EventKind::FederationActivated];
    decide(|| async {
        let mut federation = find_federation(cx, key).await?;
        cx.terms.expected.check(federation.version)?;
        let id = federation.id;
        let (event, revocation) = turn(cx, id.any(), &mut federation.state, to, &reason, kinds)?;
        let mut rows = Vec::with_capacity(2);
        let kept = cx.world.store.federation_keys(cx.tenant.id, id).await?;
        if let (State::Active, Some(kept)) = (to, kept) {
            rows.push(Row::FederationKeys(Box::new(KeptKeys { due_at: cx.now, ..kept })));
        }
        rows.push(Row::Federation(federation.clone()));
        commit(cx, rows, revocation, event).await?;
        federation.version += 1;
        Ok(federation)
    })
    .await
}

/// Refuses an id of none of this organization's federations.
pub(crate) async fn there_is(cx: &Cx, id: FederationId) -> Result<(), Error> {
    let found = cx.world.store.federation(cx.tenant.id, Lookup::Id(id)).await?;
    Ok(found.map(drop).ok_or_else(|| Refusal::not_found("federation", id))?)
}
