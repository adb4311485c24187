//! What issuing reads: facts about agents, resources and credentials, mostly from memory.
//!
//! On a hit nothing waits and no other thread is asked. On a miss one snapshot is read, and kept
//! only if no change was committed in between (see [`crate::cache`]). That something is absent is
//! never kept: strangers could fill the cache with it. Each look-up says whether it was one from
//! memory, so that whoever is refused cannot tell by the time it took whether there is such a
//! client (see [`Admissions::credential_of_nobody`]).

use std::future::ready;
use std::sync::Arc;

use accredit_domain::Fault;
use accredit_domain::attestation::RuleFacts;
use accredit_domain::federation::{FederationFacts, PersonFacts};
use accredit_domain::issuance::admission::{
    AgentFacts, CredentialFacts, Descent, Entitlements, HolderFacts, ProofFacts, ResourceFacts,
    Vouched,
};
use accredit_domain::ports::{Admissions, BoxFuture, ClientKeys, KeysWanted, LookedUp, Lookup};
use accredit_domain::registry::credential::{CredentialState, Holder, Proof};
use accredit_domain::registry::durable::DurableGrant;
use accredit_domain::registry::environment::Environment;
use accredit_domain::registry::impersonation::Impersonation;
use accredit_domain::registry::task::TaskFacts;
use accredit_domain::registry::{Credential, State, agent::AgentState};
use accredit_wire::authority::ResourceName;
use accredit_wire::ids::{
    AgentId, AnyId, CredentialId, FederationId, OrganizationId, ResourceId, TaskId,
};
use accredit_wire::time::Time;
use accredit_wire::token::Actor;
use accredit_wire::x509::dns_name::DnsName;

use crate::cache::{Cache, Stamps, Tag, Ticket, slot_bytes};
use crate::driver::{Conn, DriverError};
use crate::shared::Shared;
use crate::{
    AGENTS_CACHED, CACHE_BYTES_MAX, SqlStore, credentials, descent, federations, followed,
    identities, instances, resources, tasks, vouched,
};

/// Bytes of one name or number among facts, with what it takes to hold it, by estimate.
const WORD_BYTES: usize = 48;

type KeysAsked = (OrganizationId, AnyId, Option<Box<str>>, [usize; 2]);

/// A list of keys, as it is until the first of its live ones ends by itself; where none is live,
/// until it is touched.
#[derive(Clone)]
struct Keys {
    found: ClientKeys,
    until: Option<Time>,
}

/// The caches of a store. A sixteenth of the bytes each is for resources and tasks, for what agents hold,
/// and for federations and their users; an eighth for lists of keys, the rest for agents and
/// credentials.
pub(crate) struct Caches {
    agents: Cache<(OrganizationId, AgentId), Arc<AgentFacts>>,
    credentials: Cache<(OrganizationId, CredentialId), Arc<CredentialFacts>>,
    keys: Cache<KeysAsked, Keys>,
    resources: Cache<(OrganizationId, ResourceName), Arc<ResourceFacts>>,
    resources_by_id: Cache<(OrganizationId, ResourceId), Arc<ResourceFacts>>,
    tasks: Cache<(OrganizationId, TaskId), Arc<TaskFacts>>,
    entitlements: Cache<(OrganizationId, Box<str>), Arc<Entitlements>>,
    federations: Cache<(OrganizationId, Box<str>), Arc<FederationFacts>>,
    persons: Cache<(OrganizationId, FederationId, Box<str>), Arc<PersonFacts>>,
}

/// How many of 32 parts of the bytes are agents', and how many credentials'.
const MOST: usize = 11;

// Facts grow, and nothing but this tells that they have no room any more: agents whose names are as long
// as 32 letters, with a secret.
const _: () = {
    let agent = slot_bytes::<(OrganizationId, AgentId), Arc<AgentFacts>>()
        + size_of::<AgentFacts>()
        + SHARED_BYTES
        + 32;
    let credential = slot_bytes::<(OrganizationId, CredentialId), Arc<CredentialFacts>>()
        + size_of::<CredentialFacts>()
        + SHARED_BYTES;
    let room = CACHE_BYTES_MAX / 32 * MOST;
    assert!(AGENTS_CACHED * agent <= room && AGENTS_CACHED * credential <= room);
};

impl Caches {
    pub(crate) fn new(bytes: usize) -> Self {
        Self {
            agents: Cache::new(bytes / 32 * MOST),
            credentials: Cache::new(bytes / 32 * MOST),
            keys: Cache::new(bytes / 16 * 2),
            tasks: Cache::new(bytes / 64),
            resources: Cache::new(bytes / 32),
            resources_by_id: Cache::new(bytes / 64),
            entitlements: Cache::new(bytes / 16),
            federations: Cache::new(bytes / 32),
            persons: Cache::new(bytes / 32),
        }
    }

    /// How often facts were found in memory, and how often not, since the start.
    pub(crate) fn used(&self) -> (u64, u64) {
        let all = [self.agents.used(), self.credentials.used(), self.keys.used()];
        all.iter().fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1))
    }

    /// What an agent holds, from the texts of its row: one value for all whose texts are the same.
    fn entitlements(
        &self,
        (stamps, ticket): (&Stamps, Ticket),
        conn: &mut dyn Conn,
        org: OrganizationId,
        texts: &Texts,
    ) -> Result<Arc<Entitlements>, DriverError> {
        let key = (org, texts.key());
        if let Some(held) = self.entitlements.get(stamps, &key) {
            return Ok(held);
        }
        let mut held = texts.parse()?;
        let mut resources = Vec::new();
        for name in held.authority.resources() {
            resources.extend(self.resource((stamps, ticket), conn, org, name)?);
        }
        held.resources = resources;
        let held = Arc::new(held);
        let bytes = key.1.len() + entitlement_bytes(&held);
        let entry = (key, Arc::clone(&held));
        self.entitlements.fill(stamps, ticket, entry, &[Tag::of(org.any())], bytes);
        Ok(held)
    }

    /// A resource by the name that a permission has for it: one value for all agents.
    fn resource(
        &self,
        (stamps, ticket): (&Stamps, Ticket),
        conn: &mut dyn Conn,
        org: OrganizationId,
        name: &ResourceName,
    ) -> Result<Option<Arc<ResourceFacts>>, DriverError> {
        let key = (org, name.clone());
        if let Some(facts) = self.resources.get(stamps, &key) {
            return Ok(Some(facts));
        }
        let by_name = Lookup::Name(name.as_str().to_owned());
        let Some(facts) = resources::facts(conn, &org.to_string(), &by_name)? else {
            return Ok(None);
        };
        let bytes = resource_bytes(&facts);
        let entry = (key, Arc::clone(&facts));
        self.resources.fill(stamps, ticket, entry, &[Tag::of(org.any())], bytes);
        Ok(Some(facts))
    }
}

fn resource_bytes(facts: &ResourceFacts) -> usize {
    size_of::<ResourceFacts>() + facts.audience.len() + WORD_BYTES * (2 + facts.actions.len())
}

fn entitlement_bytes(held: &Entitlements) -> usize {
    let words = held.authority.words();
    let scope = held.default_scope.as_ref().map_or(0, |scope| 2 * scope.len());
    size_of::<Entitlements>()
        + WORD_BYTES * (words + scope + held.across.len())
        + size_of::<usize>() * held.resources.len()
}

fn federation_bytes(facts: &FederationFacts) -> usize {
    let rules = facts.rules.iter();
    let rules = rules.map(|rule| rule.value.len() + WORD_BYTES * (2 + rule.allow.words()));
    let words = WORD_BYTES * (2 + facts.audiences.len());
    // The parsed key of the cryptographic library, and its modulus.
    let keys = 2048 * facts.keys.keys().len();
    let workloads = facts.workloads.iter().map(|facts| {
        let claims = facts.rule.claims.values().map(|value| value.len() + WORD_BYTES);
        size_of::<RuleFacts>() + claims.sum::<usize>() + WORD_BYTES * facts.rule.instance_by.len()
    });
    let rules = rules.sum::<usize>() + workloads.sum::<usize>();
    size_of::<FederationFacts>() + SHARED_BYTES + words + rules + keys
}

fn person_bytes(facts: &PersonFacts) -> usize {
    size_of::<PersonFacts>() + SHARED_BYTES + WORD_BYTES * facts.granted.words()
}

fn task_bytes(facts: &TaskFacts) -> usize {
    let grant = facts.grant.as_deref().map_or(0, |grant| {
        let rules = grant.rules.iter();
        let rules = rules.map(|rule| rule.value.len() + WORD_BYTES * (2 + rule.allow.words()));
        let words = WORD_BYTES * (2 + grant.authority.words());
        size_of::<DurableGrant>() + rules.sum::<usize>() + words
    });
    size_of::<TaskFacts>() + SHARED_BYTES + grant
}

/// What two counters and the allocator take besides a shared value.
const SHARED_BYTES: usize = 24;

fn agent_bytes(facts: &AgentFacts) -> usize {
    let impersonates = facts.impersonates.len() * size_of::<AnyId>();
    let hosts = facts.dns_names.iter();
    let hosts = hosts.map(|name| size_of::<DnsName>() + name.as_str().len().next_multiple_of(16));
    let texts = facts.name.len().next_multiple_of(16) + hosts.sum::<usize>();
    size_of::<AgentFacts>() + SHARED_BYTES + texts + impersonates
}

fn credential_bytes(facts: &CredentialFacts) -> usize {
    let proof = match &facts.proof {
        ProofFacts::Secret { .. } | ProofFacts::Workload | ProofFacts::Join { .. } => 0,
        // The parsed key of the cryptographic library is about half a kilobyte.
        ProofFacts::Key(key) => 512 + key.kid.len() + key.key.bytes().len(),
    };
    let before = match &facts.holder {
        HolderFacts::Instance { descent: Some(descent), .. } => {
            let words = WORD_BYTES * descent.authority.words();
            let parties = size_of::<Actor>() * descent.ancestors.len();
            let credentials = size_of::<CredentialId>() * descent.credentials.len();
            let vouched = descent.vouched.as_deref().map_or(0, vouched_bytes);
            size_of::<Descent>() + SHARED_BYTES + words + parties + credentials + vouched
        }
        HolderFacts::Instance { vouched: Some(vouched), .. } => vouched_bytes(vouched),
        _ => 0,
    };
    size_of::<CredentialFacts>() + SHARED_BYTES + proof + before
}

fn vouched_bytes(vouched: &Vouched) -> usize {
    let rules = size_of::<CredentialId>() * vouched.rules.len();
    let issuer = vouched.federation.as_ref().map_or(0, |(_, issuer)| issuer.len());
    size_of::<Vouched>() + SHARED_BYTES + rules + issuer
}

/// What an agent holds, as its row has it.
struct Texts {
    permissions: String,
    across: String,
    default_scope: Option<String>,
}

impl Texts {
    /// The same for the same texts, and for no others: JSON and scopes have no line ends.
    fn key(&self) -> Box<str> {
        let scope = self.default_scope.as_deref().unwrap_or("\n");
        [&self.permissions, "\n", &self.across, "\n", scope].concat().into_boxed_str()
    }

    fn parse(&self) -> Result<Entitlements, DriverError> {
        let scope = self.default_scope.as_deref().map(str::parse).transpose();
        Ok(Entitlements {
            authority: serde_json::from_str(&self.permissions)
                .map_err(|error| DriverError::unreadable(4, error))?,
            across: serde_json::from_str(&self.across)
                .map_err(|error| DriverError::unreadable(9, error))?,
            default_scope: scope.map_err(|error| DriverError::unreadable(5, error))?,
            resources: Vec::new(),
        })
    }
}

/// For whom an agent may act unnamed: mostly for nobody.
fn impersonated(text: &str) -> Result<Vec<AnyId>, serde_json::Error> {
    if text == "[]" {
        return Ok(Vec::new());
    }
    let rows: Vec<Impersonation> = serde_json::from_str(text)?;
    Ok(rows.iter().map(|row| row.subject).collect())
}

/// The facts about an agent, with what it holds.
fn read_agent(
    (caches, shared, ticket): (&Caches, &Shared, Ticket),
    conn: &mut dyn Conn,
    org: OrganizationId,
    id: AgentId,
) -> Result<Option<Arc<AgentFacts>>, DriverError> {
    let (org_text, id_text) = (org.to_string(), id.to_string());
    let found = conn.first(
        "SELECT a.name, a.state, a.owner, p.state, a.permissions, a.default_scope, \
         a.may_delegate, a.token_lifetime, a.environment, a.across, \
         a.rotation_asked_at, a.bound_only, a.impersonates, a.certificate_lifetime, a.dns_names \
         FROM agent a LEFT JOIN person p ON p.org = a.org AND p.id = a.owner \
         WHERE a.org = $1 AND a.id = $2",
        &[org_text.as_str().into(), id_text.as_str().into()],
        |row| {
            let owner = match row.opt_parsed(2)? {
                Some(owner) => Some((owner, row.word(3, State::parse)?)),
                None => None,
            };
            let facts = AgentFacts {
                id,
                name: row.text(0)?.into(),
                state: row.word(1, AgentState::parse)?,
                owner,
                environment: row.word(8, Environment::parse)?,
                entitlements: Arc::default(),
                may_delegate: row.int(6)? != 0,
                bound_only: row.int(11)? != 0,
                impersonates: impersonated(row.text(12)?)
                    .map_err(|error| DriverError::unreadable(12, error))?,
                token_lifetime: row.small(7)?,
                certificate_lifetime: row.small(13)?,
                dns_names: DnsName::parse_all(row.text(14)?)
                    .map_err(|error| DriverError::unreadable(14, error))?
                    .into_iter()
                    .collect(),
                rotation_asked_at: row.opt_time(10)?,
            };
            let texts = Texts {
                permissions: row.text(4)?.to_owned(),
                across: row.text(9)?.to_owned(),
                default_scope: row.opt_text(5)?.map(str::to_owned),
            };
            Ok((facts, texts))
        },
    )?;
    let Some((mut facts, texts)) = found else { return Ok(None) };
    facts.entitlements = caches.entitlements((&shared.stamps, ticket), conn, org, &texts)?;
    let facts = Arc::new(facts);
    let tags = [Tag::of(org.any()), Tag::of(id.any())];
    let entry = ((org, id), Arc::clone(&facts));
    caches.agents.fill(&shared.stamps, ticket, entry, &tags, agent_bytes(&facts));
    Ok(Some(facts))
}

/// The facts about a credential's row, with what its holder's row adds.
fn complete(
    conn: &mut dyn Conn,
    org: OrganizationId,
    row: Credential,
) -> Result<Option<CredentialFacts>, DriverError> {
    let text = org.to_string();
    let holder = match row.holder {
        Holder::Agent(agent) => HolderFacts::Agent(agent),
        Holder::Instance(id, agent) => match instances::find(conn, &text, id)? {
            Some(instance) => HolderFacts::Instance {
                id,
                agent,
                state: instance.state,
                expires_at: instance.expires_at,
                descent: descent::of(conn, &text, &instance)?,
                vouched: vouched::of(conn, &text, &instance)?,
            },
            None => return Ok(None),
        },
        Holder::Resource(id) => match resources::facts(conn, &text, &Lookup::Id(id))? {
            Some(resource) => HolderFacts::Resource(resource),
            None => return Ok(None),
        },
        Holder::Admin(admin) => HolderFacts::Admin(admin.permissions),
    };
    let proof = match row.proof {
        Proof::Secret { pepper, mac } => ProofFacts::Secret { pepper, mac },
        Proof::Key(jwk) => ProofFacts::Key(Box::new(jwk.into_verifying_key())),
        Proof::Workload(_) | Proof::Process(_) => ProofFacts::Workload,
        Proof::Join { pepper, mac, .. } => ProofFacts::Join { pepper, mac },
    };
    let revoked = row.state == CredentialState::Revoked;
    Ok(Some(CredentialFacts {
        id: row.id,
        org,
        holder,
        proof,
        revoked,
        expires_at: row.expires_at,
    }))
}

/// The agent that a credential is of, itself or by its instance.
const fn agent_of(facts: &CredentialFacts) -> Option<AgentId> {
    match facts.holder {
        HolderFacts::Agent(agent) | HolderFacts::Instance { agent, .. } => Some(agent),
        HolderFacts::Resource(_) | HolderFacts::Admin(_) => None,
    }
}

/// What ends cached facts about a credential.
fn tags(facts: &CredentialFacts) -> Vec<Tag> {
    let own = Tag::of(facts.id.any());
    match &facts.holder {
        HolderFacts::Agent(agent) => vec![own, Tag::of(agent.any())],
        HolderFacts::Instance { id, agent, descent, vouched, .. } => {
            let mut tags = vec![own, Tag::of(agent.any()), Tag::of(id.any())];
            let is_born = descent.is_some() || vouched.is_some();
            tags.extend(is_born.then(|| Tag::births_in(facts.org)));
            tags
        }
        HolderFacts::Resource(resource) => vec![own, Tag::of(resource.id.any())],
        HolderFacts::Admin(_) => vec![own],
    }
}

/// Public keys as they stand in the store.
fn read_keys(
    conn: &mut dyn Conn,
    org: OrganizationId,
    holder: AnyId,
    wanted: &KeysWanted<'_>,
) -> Result<ClientKeys, DriverError> {
    let text = org.to_string();
    let rows = credentials::keys_of(conn, &text, holder, wanted)?;
    let mut keys = Vec::with_capacity(rows.len());
    for row in rows {
        keys.extend(complete(conn, org, row)?.map(Arc::new));
    }
    let are_followed = match AgentId::try_from(holder) {
        Ok(agent) => followed::find(conn, &text, agent)?.is_some(),
        Err(_) => false,
    };
    Ok(ClientKeys { keys, are_followed })
}

impl SqlStore {
    /// Public keys of a holder.
    fn keys(
        &self,
        org: OrganizationId,
        holder: AnyId,
        wanted: KeysWanted<'_>,
    ) -> BoxFuture<'_, Result<LookedUp<ClientKeys>, Fault>> {
        let KeysWanted { kid, live, ended, now } = wanted;
        let key: KeysAsked = (org, holder, kid.map(Box::from), [live, ended]);
        if let Some(Keys { found, until }) = self.caches.keys.get(&self.shared.stamps, &key)
            && until.is_none_or(|until| now < until)
        {
            return Box::pin(ready(Ok(LookedUp { found, from_memory: true })));
        }
        Box::pin(async move {
            let ticket = self.shared.stamps.ticket();
            let kid = key.2.clone();
            let found = self
                .read_short("read public keys", move |conn| {
                    let wanted = KeysWanted { kid: kid.as_deref(), live, ended, now };
                    read_keys(conn, org, holder, &wanted)
                })
                .await?;
            // An empty list is not kept: a stranger chooses the `kid`.
            if !found.keys.is_empty() {
                let bytes = found.keys.iter().map(|facts| credential_bytes(facts)).sum();
                let ends = found.keys.iter().map(|facts| facts.ends_at()).filter(|end| *end > now);
                let entry = (key, Keys { found: found.clone(), until: ends.min() });
                let is_born = |key: &Arc<CredentialFacts>| match &key.holder {
                    HolderFacts::Instance { descent, vouched, .. } => {
                        descent.is_some() || vouched.is_some()
                    }
                    _ => false,
                };
                let mut tags = vec![Tag::keys_of(holder)];
                tags.extend(found.keys.iter().any(is_born).then(|| Tag::births_in(org)));
                self.caches.keys.fill(&self.shared.stamps, ticket, entry, &tags, bytes);
            }
            Ok(LookedUp { found, from_memory: false })
        })
    }
}

impl Admissions for SqlStore {
    fn agent_facts(
        &self,
        org: OrganizationId,
        agent: AgentId,
    ) -> BoxFuture<'_, Result<Option<Arc<AgentFacts>>, Fault>> {
        let key = (org, agent);
        if let Some(facts) = self.caches.agents.get(&self.shared.stamps, &key) {
            return Box::pin(ready(Ok(Some(facts))));
        }
        Box::pin(async move {
            let ticket = self.shared.stamps.ticket();
            let (caches, shared) = (Arc::clone(&self.caches), Arc::clone(&self.shared));
            self.read_short("read an agent's facts", move |conn| {
                read_agent((&caches, &shared, ticket), conn, org, agent)
            })
            .await
        })
    }

    fn resource_facts(
        &self,
        org: OrganizationId,
        resource: ResourceId,
    ) -> BoxFuture<'_, Result<Option<Arc<ResourceFacts>>, Fault>> {
        let key = (org, resource);
        if let Some(facts) = self.caches.resources_by_id.get(&self.shared.stamps, &key) {
            return Box::pin(ready(Ok(Some(facts))));
        }
        Box::pin(async move {
            let ticket = self.shared.stamps.ticket();
            let found = self
                .read_short("read a resource's facts", move |conn| {
                    resources::facts(conn, &org.to_string(), &Lookup::Id(resource))
                })
                .await?;
            if let Some(facts) = &found {
                let (tags, bytes) = ([Tag::of(org.any())], resource_bytes(facts));
                let entry = (key, Arc::clone(facts));
                self.caches.resources_by_id.fill(&self.shared.stamps, ticket, entry, &tags, bytes);
            }
            Ok(found)
        })
    }

    fn task_facts(
        &self,
        org: OrganizationId,
        task: TaskId,
    ) -> BoxFuture<'_, Result<Option<Arc<TaskFacts>>, Fault>> {
        let key = (org, task);
        if let Some(facts) = self.caches.tasks.get(&self.shared.stamps, &key) {
            return Box::pin(ready(Ok(Some(facts))));
        }
        Box::pin(async move {
            let ticket = self.shared.stamps.ticket();
            let read = move |conn: &mut dyn Conn| tasks::facts(conn, &org.to_string(), task);
            let found = self.read_short("read a task's facts", read).await?;
            if let Some(facts) = &found {
                let tags = [Tag::of(task.any()), Tag::of(facts.agent.any())];
                let bytes = task_bytes(facts);
                let entry = (key, Arc::clone(facts));
                self.caches.tasks.fill(&self.shared.stamps, ticket, entry, &tags, bytes);
            }
            Ok(found)
        })
    }

    fn credential_facts(
        &self,
        org: OrganizationId,
        id: CredentialId,
    ) -> BoxFuture<'_, Result<LookedUp<Option<Arc<CredentialFacts>>>, Fault>> {
        let key = (org, id);
        if let Some(facts) = self.caches.credentials.get(&self.shared.stamps, &key) {
            return Box::pin(ready(Ok(LookedUp { found: Some(facts), from_memory: true })));
        }
        Box::pin(async move {
            let ticket = self.shared.stamps.ticket();
            let (caches, shared) = (Arc::clone(&self.caches), Arc::clone(&self.shared));
            let found = self
                .read_short("read a credential's facts", move |conn| {
                    let Some(row) = credentials::find(conn, &org.to_string(), id)? else {
                        return Ok(None);
                    };
                    let facts = complete(conn, org, row)?;
                    // What is asked for next, while a connection and its snapshot are at hand.
                    if let Some(agent) = facts.as_ref().and_then(agent_of)
                        && caches.agents.get(&shared.stamps, &(org, agent)).is_none()
                    {
                        read_agent((&caches, &shared, ticket), conn, org, agent)?;
                    }
                    Ok(facts)
                })
                .await?;
            let Some(facts) = found.map(Arc::new) else { return Ok(LookedUp::default()) };
            let (bytes, tags) = (credential_bytes(&facts), tags(&facts));
            let entry = (key, Arc::clone(&facts));
            self.caches.credentials.fill(&self.shared.stamps, ticket, entry, &tags, bytes);
            Ok(LookedUp { found: Some(facts), from_memory: false })
        })
    }

    fn federation_facts<'a>(
        &'a self,
        org: OrganizationId,
        issuer: &'a str,
    ) -> BoxFuture<'a, Result<Option<Arc<FederationFacts>>, Fault>> {
        let key = (org, Box::<str>::from(issuer));
        if let Some(facts) = self.caches.federations.get(&self.shared.stamps, &key) {
            return Box::pin(ready(Ok(Some(facts))));
        }
        Box::pin(async move {
            let ticket = self.shared.stamps.ticket();
            let asked = key.1.clone();
            let found = self.read("read a federation's facts", move |conn| {
                federations::facts(conn, &org.to_string(), &asked)
            });
            let Some(facts) = found.await? else { return Ok(None) };
            let (tags, bytes) = ([Tag::of(facts.id.any())], federation_bytes(&facts));
            let entry = (key, Arc::clone(&facts));
            self.caches.federations.fill(&self.shared.stamps, ticket, entry, &tags, bytes);
            Ok(Some(facts))
        })
    }

    fn person_facts<'a>(
        &'a self,
        org: OrganizationId,
        federation: FederationId,
        subject: &'a str,
    ) -> BoxFuture<'a, Result<Option<Arc<PersonFacts>>, Fault>> {
        let key = (org, federation, Box::<str>::from(subject));
        if let Some(facts) = self.caches.persons.get(&self.shared.stamps, &key) {
            return Box::pin(ready(Ok(Some(facts))));
        }
        Box::pin(async move {
            let ticket = self.shared.stamps.ticket();
            let asked = key.2.clone();
            let found = self.read("read a person's facts", move |conn| {
                identities::facts(conn, &org.to_string(), federation, &asked)
            });
            let Some(facts) = found.await? else { return Ok(None) };
            let (tags, bytes) = ([Tag::of(facts.id.any())], person_bytes(&facts));
            let entry = (key, Arc::clone(&facts));
            self.caches.persons.fill(&self.shared.stamps, ticket, entry, &tags, bytes);
            Ok(Some(facts))
        })
    }

    fn credential_of_nobody(&self) -> BoxFuture<'_, Result<(), Fault>> {
        let org = OrganizationId::new(0, [0; 10]);
        let nobody = CredentialId::new(0, [0; 10]);
        Box::pin(self.read_short("read a credential's facts", move |conn| {
            credentials::find(conn, &org.to_string(), nobody).map(|_| ())
        }))
    }

    fn keys_of_nobody<'a>(&'a self, wanted: KeysWanted<'a>) -> BoxFuture<'a, Result<(), Fault>> {
        let org = OrganizationId::new(0, [0; 10]);
        let nobody = AgentId::new(0, [0; 10]).any();
        let KeysWanted { kid, live, ended, now } = wanted;
        let kid = kid.map(str::to_owned);
        Box::pin(self.read_short("read public keys", move |conn| {
            let wanted = KeysWanted { kid: kid.as_deref(), live, ended, now };
            read_keys(conn, org, nobody, &wanted).map(|_| ())
        }))
    }

    fn admin_organization(
        &self,
        id: CredentialId,
    ) -> BoxFuture<'_, Result<Option<OrganizationId>, Fault>> {
        Box::pin(self.read("find an administrator's organization", move |conn| {
            credentials::admin_organization(conn, id)
        }))
    }

    fn agent_keys<'a>(
        &'a self,
        org: OrganizationId,
        agent: AgentId,
        wanted: KeysWanted<'a>,
    ) -> BoxFuture<'a, Result<LookedUp<ClientKeys>, Fault>> {
        self.keys(org, agent.any(), wanted)
    }

    fn resource_keys<'a>(
        &'a self,
        org: OrganizationId,
        resource: ResourceId,
        wanted: KeysWanted<'a>,
    ) -> BoxFuture<'a, Result<LookedUp<ClientKeys>, Fault>> {
        self.keys(org, resource.any(), wanted)
    }
}
