//! SPIFFE Federation section 5, SPIFFE Trust Domain and Bundle: other trust domains whose workloads an
//! organization's instances may know.
//!
//! An organization holds the bundle of each, given by hand or followed at a URL ([`follow`]), and gives it
//! to its instances ([`told`]): to all of them, or to those of the agents that were named. What they do
//! with whoever it names is theirs to say; nobody of another trust domain gets a token here by it.
//!
//! Bundles are never joined: what a domain's keys sign is believed of that domain alone, and the
//! organization's own is never taken from outside.
//!
//! Absent on purpose: a word on whether anybody over there was ended. A bundle has none; a certificate
//! or token of another domain holds until its own end.

pub mod follow;
pub mod told;

use std::time::Duration;

use accredit_wire::crypto::sha256;
use accredit_wire::time::Time;
use accredit_wire::tlog::Hash;
use accredit_wire::x509::bundle::Bundle;
use accredit_wire::x509::spiffe::{SpiffeId, TrustDomain};
use serde::{Deserialize, Serialize};

use crate::audit::changes;
use crate::audit::event::{Body, EventKind};
use crate::ca;
use crate::context::Cx;
use crate::ports::{Page, Row};
use crate::refusal::{Error, Refusal, Rule};
use crate::registry::credential::AdminPermission;
use crate::registry::{Listed, Versioned, commit, commit_created, decide, find_agent};

/// Other trust domains of one organization.
pub const FOREIGN_DOMAINS_MAX: usize = 64;
/// Agents that a trust domain is for, where it is not for all.
pub const AGENTS_MAX: usize = 64;
/// How long until a followed bundle is fetched again where it does not say (SPIFFE Federation section
/// 4.1), and the least and the most that it may say.
pub const REFRESH_DEFAULT: Duration = Duration::from_mins(5);
/// The least.
pub const REFRESH_MIN: Duration = Duration::from_secs(30);
/// The most: so late may it be known that a key over there is believed no more.
pub const REFRESH_MAX: Duration = Duration::from_hours(1);

const NOUN: &str = "trust-domain";

/// Where a bundle comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// An administrator gives it.
    ByHand,
    /// A URL whose host proves by a public authority which it is (profile `https_web`).
    Web {
        /// The URL.
        url: String,
    },
    /// A URL whose server proves by an X.509-SVID of the trust domain itself that it is this one (profile
    /// `https_spiffe`).
    Spiffe {
        /// The URL.
        url: String,
        /// Whom the server must be.
        endpoint: SpiffeId,
    },
}

impl Source {
    /// The URL, where there is one.
    pub fn url(&self) -> Option<&str> {
        match self {
            Self::ByHand => None,
            Self::Web { url } | Self::Spiffe { url, .. } => Some(url),
        }
    }

    /// Whom the server at the URL must be.
    pub fn endpoint(&self) -> Option<&SpiffeId> {
        match self {
            Self::ByHand | Self::Web { .. } => None,
            Self::Spiffe { endpoint, .. } => Some(endpoint),
        }
    }

    const fn profile(&self) -> Option<&'static str> {
        match self {
            Self::ByHand => None,
            Self::Web { .. } => Some("https_web"),
            Self::Spiffe { .. } => Some("https_spiffe"),
        }
    }
}

/// Another trust domain, with its bundle as it was last had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForeignDomain {
    /// Its name.
    pub name: TrustDomain,
    /// Where its bundle comes from.
    pub source: Source,
    /// The names of the agents that it is for; all where there are none.
    pub agents: Vec<String>,
    /// Its bundle.
    pub bundle: Bundle,
    /// When the bundle is fetched next, where it is followed.
    pub due_at: Option<Time>,
    /// When it was last had.
    pub fetched_at: Time,
    /// Since when it cannot be had, or not be used.
    pub failing_since: Option<Time>,
    /// Why.
    pub failure: Option<String>,
    /// When it was taken in.
    pub created_at: Time,
    /// The row's version.
    pub version: i64,
}

/// Another trust domain as it is shown.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct TrustDomainView {
    /// What it is and says.
    #[serde(flatten)]
    pub facts: Facts,
    /// When its bundle was last had, be it the same as before.
    #[schema(value_type = String)]
    pub bundle_fetched_at: Time,
    /// How many seconds that is ago.
    pub bundle_age: u64,
    /// Since when it cannot be had, or not be used; until it can be, the last one is believed.
    #[schema(value_type = Option<String>)]
    pub bundle_failing_since: Option<Time>,
    /// Why.
    pub bundle_failure: Option<String>,
    /// When it was taken in.
    #[schema(value_type = String)]
    pub created_at: Time,
    /// The row's version.
    #[serde(skip)]
    pub version: i64,
}

/// What changes only where somebody changes it, here or over there.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct Facts {
    /// Its name.
    pub name: String,
    /// Where its bundle is; nothing where it is given by hand.
    pub bundle_url: Option<String>,
    /// How whoever serves it proves who that is: `https_web` or `https_spiffe`.
    pub profile: Option<&'static str>,
    /// Whom the server must be, by `https_spiffe`.
    pub endpoint_id: Option<String>,
    /// The agents whose instances are told of it; all where none is named.
    pub agents: Vec<String>,
    /// SHA-256 of each of its roots' certificates, in hexadecimal.
    pub roots: Vec<String>,
    /// The names (`kid`) of its keys for JWT-SVIDs.
    pub jwt_keys: Vec<String>,
    /// The bundle's number, which grows with its changes; nothing where it has none.
    pub sequence: Option<i64>,
    /// After how many seconds it is fetched again.
    pub refresh_seconds: Option<u64>,
}

impl Versioned for TrustDomainView {
    fn version(&self) -> i64 {
        self.version
    }
}

impl ForeignDomain {
    fn facts(&self) -> Facts {
        let roots = self.bundle.roots().map(|der| Hash::new(sha256(der)).to_string());
        Facts {
            name: self.name.to_string(),
            bundle_url: self.source.url().map(str::to_owned),
            profile: self.source.profile(),
            endpoint_id: self.source.endpoint().map(SpiffeId::to_string),
            agents: self.agents.clone(),
            roots: roots.collect(),
            jwt_keys: self.bundle.authorities().names().map(str::to_owned).collect(),
            sequence: self.bundle.sequence,
            refresh_seconds: self.source.url().map(|_| refresh_after(&self.bundle).as_secs()),
        }
    }

    fn view(&self, now: Time) -> TrustDomainView {
        TrustDomainView {
            facts: self.facts(),
            bundle_fetched_at: self.fetched_at,
            bundle_age: now.since(self.fetched_at).as_secs(),
            bundle_failing_since: self.failing_since,
            bundle_failure: self.failure.clone(),
            created_at: self.created_at,
            version: self.version,
        }
    }

    /// Whether an agent's instances are told of it.
    fn is_for(&self, agent: &str) -> bool {
        self.agents.is_empty() || self.agents.iter().any(|named| named == agent)
    }
}

/// After how long a followed bundle is fetched again.
fn refresh_after(bundle: &Bundle) -> Duration {
    let hint = bundle.refresh_hint.and_then(|hint| u64::try_from(hint).ok());
    hint.map_or(REFRESH_DEFAULT, Duration::from_secs).clamp(REFRESH_MIN, REFRESH_MAX)
}

/// Another trust domain to be taken in.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AddTrustDomain {
    /// Its name.
    pub name: String,
    /// Where its bundle is followed; nothing where it is given by hand.
    pub bundle_url: Option<String>,
    /// How whoever serves it proves who that is: `https_web` where not said, or `https_spiffe`.
    pub profile: Option<Profile>,
    /// Whom the server must be, by `https_spiffe`: a SPIFFE ID of the trust domain.
    pub endpoint_id: Option<String>,
    /// A bundle, as text: what is believed where none is followed, and by which the server is known at first by
    /// `https_spiffe`.
    pub bundle: Option<String>,
    /// The agents whose instances are told of it, by id or name; all where none is named.
    #[serde(default)]
    pub agents: Vec<String>,
}

/// How whoever serves a bundle proves who that is (SPIFFE Federation section 5.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Profile {
    /// By a certificate of a public authority.
    HttpsWeb,
    /// By an X.509-SVID.
    HttpsSpiffe,
}

/// A bundle to be taken by hand, or nothing to fetch it.
#[derive(Debug, Default, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RefreshTrustDomain {
    /// The bundle, as text.
    pub bundle: Option<String>,
}

/// Checks a name: one of somebody else's trust domain.
fn name(cx: &Cx, asked: &str) -> Result<TrustDomain, Error> {
    let wrong = |why: String, hint: &str| Refusal::field("name", why, hint);
    let name = TrustDomain::parse(asked)
        .map_err(|error| wrong(error.to_string(), "write the name alone, without `spiffe://`"))?;
    if name == ca::trust_domain(cx.tenant.id, &cx.tenant.issuer)? {
        let hint = "its own bundle is known to whoever belongs to it: `accredit ca show`";
        return Err(wrong("is this organization's own trust domain".to_owned(), hint).into());
    }
    Ok(name)
}

/// Reads a bundle that somebody gave.
fn given(name: &TrustDomain, text: &str) -> Result<Bundle, Refusal> {
    Bundle::parse(name, text.as_bytes()).map_err(|error| {
        let hint = "give the bundle as its trust domain publishes it: a JSON object with `keys`";
        Refusal::field("bundle", error, hint)
    })
}

/// Checks where a bundle is to come from, and the one that was given with it.
fn source(
    cx: &Cx,
    name: &TrustDomain,
    asked: &AddTrustDomain,
) -> Result<(Source, Option<Bundle>), Refusal> {
    let bundle = asked.bundle.as_deref().map(|text| given(name, text)).transpose()?;
    let profile = asked.profile.unwrap_or(Profile::HttpsWeb);
    let Some(url) = &asked.bundle_url else {
        if asked.profile.is_some() || asked.endpoint_id.is_some() {
            let hint = "a profile and an endpoint's id are of a URL: give it, or leave them out";
            return Err(Refusal::field("bundle_url", "is missing", hint));
        }
        if bundle.is_none() {
            let hint = "say where the bundle is followed, or give it by hand";
            return Err(Refusal::field("bundle_url", "is missing, and so is `bundle`", hint));
        }
        return Ok((Source::ByHand, bundle));
    };
    let hint = "give the https URL of the trust domain's bundle";
    cx.world.outbound.check(url).map_err(|error| Refusal::field("bundle_url", error, hint))?;
    let url = url.clone();
    match (profile, &asked.endpoint_id) {
        (Profile::HttpsWeb, None) if bundle.is_some() => {
            let hint = "leave it out: by `https_web` the first is fetched as each one after it";
            Err(Refusal::field("bundle", "is not needed", hint))
        }
        (Profile::HttpsWeb, None) => Ok((Source::Web { url }, None)),
        (Profile::HttpsWeb, Some(_)) => {
            let hint = "it is of the profile `https_spiffe`";
            Err(Refusal::field("endpoint_id", "is not asked for by `https_web`", hint))
        }
        (Profile::HttpsSpiffe, _) if !url.starts_with("https://") => {
            Err(Refusal::field("bundle_url", "does not begin with `https://`", hint))
        }
        (Profile::HttpsSpiffe, endpoint) => {
            let endpoint = endpoint_of(name, endpoint.as_deref().unwrap_or_default())?;
            if bundle.is_none() {
                let hint =
                    "give a bundle that came another way: by it the server is known at first";
                return Err(Refusal::field("bundle", "is missing", hint));
            }
            Ok((Source::Spiffe { url, endpoint }, bundle))
        }
    }
}

/// Checks whom a server must be: somebody of the trust domain whose bundle it serves.
fn endpoint_of(name: &TrustDomain, asked: &str) -> Result<SpiffeId, Refusal> {
    let hint = format!("write whom its certificate names, such as `spiffe://{name}/...`");
    let id =
        SpiffeId::parse(asked).map_err(|error| Refusal::field("endpoint_id", error, &*hint))?;
    if id.trust_domain() != name.as_str() {
        return Err(Refusal::field("endpoint_id", "is of another trust domain", hint));
    }
    Ok(id)
}

/// The names of agents that there are.
async fn agents(cx: &Cx, asked: &[String]) -> Result<Vec<String>, Error> {
    if asked.len() > AGENTS_MAX {
        let why = format!("are more than {AGENTS_MAX}");
        return Err(Refusal::field("agents", why, "name none, and it is for all").into());
    }
    let mut names = Vec::with_capacity(asked.len());
    for key in asked {
        names.push(find_agent(cx, key).await?.name);
    }
    names.sort();
    names.dedup();
    Ok(names)
}

/// Takes in another trust domain. A bundle that is to be followed is fetched at once: a wrong address or
/// a server that is not whom it should be would otherwise show only when an instance needs it.
pub async fn add(cx: &Cx, asked: &AddTrustDomain) -> Result<TrustDomainView, Error> {
    cx.require(AdminPermission::Registry)?;
    let name = name(cx, &asked.name)?;
    let (source, given) = source(cx, &name, asked)?;
    let agents = agents(cx, &asked.agents).await?;
    let bundle = follow::first(cx, &name, &source, given).await?;
    decide(|| async {
        let held = cx.world.store.foreign_domains(cx.tenant.id).await?;
        if held.iter().any(|one| one.name == name) {
            let hint = "remove it first: `accredit trust-domain remove`";
            let why = format!("trust domain `{name}` is there already");
            return Err(Refusal::new(Rule::NameTaken, why, hint).into());
        }
        if held.len() >= FOREIGN_DOMAINS_MAX {
            let why = format!("the organization has {FOREIGN_DOMAINS_MAX} other trust domains");
            let hint = "remove those whose workloads nobody needs to know";
            return Err(Refusal::new(Rule::QuotaReached, why, hint).into());
        }
        let mut domain = ForeignDomain {
            name: name.clone(),
            source: source.clone(),
            agents: agents.clone(),
            bundle: bundle.clone(),
            due_at: source.url().map(|_| cx.now.plus(refresh_after(&bundle))),
            fetched_at: cx.now,
            failing_since: None,
            failure: None,
            created_at: cx.now,
            version: 0,
        };
        let mut body = Body { name: Some(name.to_string()), ..Body::default() };
        body.changes = changes::made(&domain.facts(), &body)?;
        let rows = vec![Row::ForeignDomain(Box::new(domain.clone()))];
        let event = cx.event(EventKind::TrustDomainAdded, body);
        commit_created(cx, rows, event, &domain.view(cx.now)).await?;
        domain.version = 1;
        Ok(domain.view(cx.now))
    })
    .await
}

/// Other trust domains of the organization.
pub async fn list(cx: &Cx, page: Page) -> Result<Listed<TrustDomainView>, Error> {
    cx.require(AdminPermission::Read)?;
    // All of them are read: they are few.
    let mut all = cx.world.store.foreign_domains(cx.tenant.id).await?;
    all.retain(|domain| {
        let prefix = page.prefix.as_deref().unwrap_or_default();
        domain.name.as_str().starts_with(prefix) && page.created.holds(domain.created_at)
    });
    let by_name = page.order.is_by_name();
    let place = |domain: &ForeignDomain| {
        let made_at = if by_name { 0 } else { domain.created_at.micros() };
        format!("{made_at:019} {}", domain.name)
    };
    Ok(Listed::of(all, &page, place).shown(|domain| domain.view(cx.now)))
}

/// One of them.
pub async fn show(cx: &Cx, name: &str) -> Result<TrustDomainView, Error> {
    cx.require(AdminPermission::Read)?;
    Ok(find(cx, name).await?.view(cx.now))
}

async fn find(cx: &Cx, name: &str) -> Result<ForeignDomain, Error> {
    let found = match TrustDomain::parse(name) {
        Ok(name) => cx.world.store.foreign_domain(cx.tenant.id, name).await?,
        Err(_) => None,
    };
    Ok(found.ok_or_else(|| Refusal::not_found(NOUN, name))?)
}

/// Forgets another trust domain: instances are told of it no longer. What it was.
pub async fn remove(cx: &Cx, name: &str) -> Result<TrustDomainView, Error> {
    cx.require(AdminPermission::Registry)?;
    decide(|| async {
        let domain = find(cx, name).await?;
        let body = Body { name: Some(domain.name.to_string()), ..Body::default() };
        let event = cx.event(EventKind::TrustDomainRemoved, body);
        let view = domain.view(cx.now);
        commit(cx, vec![Row::EndForeignDomain(Box::new(domain))], None, event).await?;
        Ok(view)
    })
    .await
}

/// Fetches a bundle now, or takes one that is given by hand.
pub async fn refresh(
    cx: &Cx,
    name: &str,
    asked: &RefreshTrustDomain,
) -> Result<TrustDomainView, Error> {
    cx.require(AdminPermission::Registry)?;
    let domain = find(cx, name).await?;
    let bundle = match (&domain.source, &asked.bundle) {
        (Source::ByHand | Source::Spiffe { .. }, Some(text)) => given(&domain.name, text)?,
        (Source::Web { .. }, Some(_)) => {
            let hint = "it is followed: leave the bundle out, and it is fetched";
            return Err(Refusal::field("bundle", "is not needed", hint).into());
        }
        (Source::ByHand, None) => {
            let hint = "its bundle is given by hand: `--bundle FILE`";
            return Err(Refusal::field("bundle", "is missing", hint).into());
        }
        (Source::Web { .. } | Source::Spiffe { .. }, None) => {
            let fetched = follow::fetch(cx, &domain).await;
            return Ok(follow::taken(cx, domain, fetched).await?.view(cx.now));
        }
    };
    if let Some(why) = follow::is_older(&domain.bundle, &bundle) {
        let hint = "give the newest one; to go back on purpose, remove the trust domain and add it";
        return Err(Refusal::field("bundle", why, hint).into());
    }
    Ok(follow::taken(cx, domain, Ok(bundle)).await?.view(cx.now))
}
